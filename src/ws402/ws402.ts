/**
 * ws402 on a Worker: a client shows a proof of payment over a WebSocket, is let in, is charged by the second while the socket is open,
 * and gets back what it did not use. Schema, messages and names are those of ws402 0.1.5; what was wrong with it is not
 * (docs/decisions/0017). By default the proof is who the caller is, and the money stays in their envelope.
 */
import { digest } from "../secrets.js";
import { ConfigurationError } from "../settings.js";
import { isLocalHost } from "../wire.js";
import type { EnvelopeExecutionContext } from "../with-envelope.js";
import {
  type ResolvedConfig,
  type ResolvedResource,
  resolveConfig,
  type WS402Config,
  type WS402Session,
} from "./config.js";
import { type App, openConnection } from "./connection.js";
import { Emitter } from "./events.js";
import {
  BAD_TOKEN,
  json,
  NO_RESOURCE,
  NO_TOKEN,
  OTHER_RESOURCE,
  SCHEMA_VERSION,
  type WS402Schema,
} from "./protocol.js";
import { MockPaymentProvider, type PaymentProvider } from "./provider.js";
import { type Owed, type Receipt, type SessionsEvents, WS402Sessions } from "./sessions.js";
import { endedOf, refundOf, sessionOf } from "./shapes.js";
import { isSessionId, sessionsOf, sessionsShards } from "./stub.js";

const DURATION_DEFAULT_SECONDS = 300;
const DURATION_MAX_SECONDS = 86_400;

/** A provider, or how one is made of the Worker's environment. */
export type ProviderOf = PaymentProvider | ((env: unknown) => PaymentProvider);

export class WS402 extends Emitter {
  /** To be exported from the Worker's main module: `export const WS402Sessions = ws402.Sessions`. */
  readonly Sessions: typeof WS402Sessions;
  readonly #config: WS402Config;
  readonly #resolved: ResolvedConfig;
  readonly #providerOf: ((env: unknown) => PaymentProvider) | undefined;

  /**
   * @param provider who takes the money. Default: the envelope of whoever the caller proves to be.
   * @throws {TypeError} for a wrong configuration; the message names its path.
   */
  constructor(config: WS402Config = {}, provider?: ProviderOf) {
    super();
    this.#config = config;
    this.#resolved = resolveConfig(config, provider === undefined ? "envelope" : "provider");
    this.#providerOf = typeof provider === "function" ? provider : provider && (() => provider);
    const providerOf = this.#providerOf;
    const events = this.#sessionsEvents();
    this.Sessions = class extends WS402Sessions {
      protected override provider(): PaymentProvider {
        return providerOf === undefined ? super.provider() : providerOf(this.env);
      }
      protected override events(): SessionsEvents {
        return events;
      }
    };
  }

  /**
   * Answers ws402's own paths; `undefined` for any other, so that it composes: `(await ws402.handle(…)) ?? notFound()`.
   * To be called inside a handler that `withEnvelope` wraps.
   */
  async handle(request: Request, env: unknown, ctx: EnvelopeExecutionContext, app: App): Promise<Response | undefined> {
    const url = new URL(request.url);
    const { paths } = this.#resolved;
    const below = (path: string): string | undefined => {
      if (!url.pathname.startsWith(`${path}/`)) return undefined;
      const rest = url.pathname.slice(path.length + 1);
      return rest === "" || rest.includes("/") ? undefined : decoded(rest);
    };
    const schema = below(paths.schema);
    if (schema !== undefined) return this.#answerSchema(url, env, schema, "bare");
    const session = below(paths.session);
    if (session !== undefined) return this.#answerReceipt(env, session);
    if (url.pathname === paths.resources) return this.#answerResources();
    if (url.pathname.startsWith(`${paths.resource}/`) && url.pathname.endsWith("/schema")) {
      const id = url.pathname.slice(paths.resource.length + 1, -"/schema".length);
      if (id !== "" && !id.includes("/")) return this.#answerSchema(url, env, decoded(id), "resource");
    }
    const resource = below(paths.resource);
    if (resource !== undefined) return this.#answerResource(request, url, env, resource, app);
    const socket = below(paths.socket);
    if (socket !== undefined && request.headers.get("Upgrade")?.toLowerCase() === "websocket") {
      return this.#connect(request, url, env, ctx, socket, app);
    }
    return undefined;
  }

  /** The schema of a resource. `undefined` for one that is not sold. */
  async generateSchema(
    resourceId: string,
    estimatedDuration: number,
    at: { readonly env: unknown; readonly origin: string },
  ): Promise<WS402Schema | undefined> {
    const resource = this.#resource(resourceId);
    if (resource === undefined) return undefined;
    const { unit, maxSession_ms, paths } = this.#resolved;
    const totalPrice = unit.toNumber(resource.price_micros * estimatedDuration);
    const provider = this.#providerOf?.(at.env);
    const endpoint = new URL(`${paths.socket}/${encodeURIComponent(resourceId)}`, at.origin);
    endpoint.protocol = endpoint.protocol === "http:" ? "ws:" : "wss:";
    return {
      protocol: "ws402",
      version: SCHEMA_VERSION,
      resourceId,
      websocketEndpoint: endpoint.href,
      pricing: {
        pricePerSecond: unit.toNumber(resource.price_micros),
        currency: unit.currency,
        estimatedDuration,
        totalPrice,
      },
      paymentDetails: provider === undefined ? ENVELOPE_DETAILS : await provider.generatePaymentDetails(totalPrice),
      maxSessionDuration: maxSession_ms / 1000,
      ...(resource.info && { resourceInfo: resource.info }),
    };
  }

  /** Sessions that are open now, without their proofs. */
  async getActiveSessions(env: unknown): Promise<readonly WS402Session[]> {
    const shards = await Promise.all(sessionsShards(env).map((shard) => shard.active()));
    return shards.flat().map((session) => sessionOf(session, this.#resolved.unit));
  }

  async getSessionByUserId(env: unknown, userId: string): Promise<WS402Session | null> {
    return (await this.getActiveSessions(env)).find((session) => session.userId === userId) ?? null;
  }

  /** Refunds that are owed and were not paid yet. They are tried again by themselves. */
  async owedRefunds(env: unknown): Promise<readonly (Omit<Owed, "refund_micros"> & { readonly amount: number })[]> {
    const shards = await Promise.all(sessionsShards(env).map((shard) => shard.owed()));
    return shards.flat().map(({ refund_micros, ...owed }) => ({
      ...owed,
      amount: this.#resolved.unit.toNumber(refund_micros),
    }));
  }

  #resource(id: string): ResolvedResource | undefined {
    const { resources, price_micros } = this.#resolved;
    return resources === undefined ? { price_micros, http: false, info: undefined } : resources.get(id);
  }

  async #answerSchema(url: URL, env: unknown, id: string, shape: "bare" | "resource"): Promise<Response> {
    const text = url.searchParams.get("duration") ?? String(DURATION_DEFAULT_SECONDS);
    const duration = /^[1-9][0-9]{0,5}$/.test(text) ? Number(text) : Number.NaN;
    if (!(duration <= DURATION_MAX_SECONDS)) {
      return json({ error: "Invalid duration", message: `duration is 1 to ${DURATION_MAX_SECONDS} seconds` }, 400);
    }
    const schema = await this.generateSchema(id, duration, { env, origin: url.origin });
    if (schema === undefined) return json(NO_RESOURCE, 404);
    if (shape === "bare") return json(schema);
    const { name, type, estimatedTime } = schema.resourceInfo ?? {};
    // Clients that ask for this shape append their user's id to the address as it is.
    const ws402Schema = { ...schema, websocketEndpoint: `${schema.websocketEndpoint}?userId=` };
    return json({ resource: { id, type, filename: name, estimatedTime }, ws402Schema });
  }

  #answerResources(): Response {
    const { resources, unit } = this.#resolved;
    const list = [...(resources ?? [])].map(([id, { price_micros, info }]) => {
      const estimatedTime = info?.estimatedTime ?? DURATION_DEFAULT_SECONDS;
      return {
        id,
        type: info?.type,
        name: info?.name,
        filename: info?.name,
        estimatedTime,
        pricePerSecond: unit.toNumber(price_micros),
        totalPrice: unit.toNumber(price_micros * estimatedTime),
      };
    });
    return json({ resources: list });
  }

  async #answerReceipt(env: unknown, id: string): Promise<Response> {
    const receipt = isSessionId(id) ? await sessionsOf(env, id)?.receipt({ session_id: id }) : null;
    if (!receipt) return json({ error: "Session not found" }, 404);
    return json(receiptOf(receipt, this.#resolved));
  }

  async #answerResource(request: Request, url: URL, env: unknown, id: string, app: App): Promise<Response> {
    const resource = this.#resource(id);
    if (resource === undefined || !resource.http || app.resource === undefined) return json(NO_RESOURCE, 404);
    const token = url.searchParams.get("token") ?? url.searchParams.get("sessionToken");
    if (token === null || token === "") return json(NO_TOKEN, 402);
    const stub = sessionsOf(env, token);
    const found = await stub?.access({ token_hash: digest(token), resource_id: id });
    if (found === undefined || found.session_id === null) return json(BAD_TOKEN, 403);
    if (found.access === "other_resource") return json(OTHER_RESOURCE, 403);
    if (found.access !== "granted") return json(BAD_TOKEN, 403);
    const answer = await app.resource({ resourceId: id, sessionId: found.session_id }, request);
    const headers = new Headers(answer.headers);
    headers.set("X-WS402-Session", found.session_id);
    headers.set("Cache-Control", "private, no-store");
    if (!headers.has("Content-Disposition")) headers.set("Content-Disposition", "inline");
    // The token is in the address: pages that the resource leads to are not told it.
    headers.set("Referrer-Policy", "no-referrer");
    return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
  }

  async #connect(
    request: Request,
    url: URL,
    env: unknown,
    ctx: EnvelopeExecutionContext,
    resourceId: string,
    app: App,
  ): Promise<Response> {
    const resource = this.#resource(resourceId);
    if (resource === undefined) return json(NO_RESOURCE, 404);
    const provider = this.#providerOf?.(env);
    if (provider instanceof MockPaymentProvider && !provider.allows(isLocalHost(url.hostname))) {
      throw new ConfigurationError(
        "MockPaymentProvider",
        "takes no money: it is for development, unless `allowInProduction` says otherwise",
      );
    }
    return openConnection({
      request,
      url,
      env,
      ctx,
      resourceId,
      resource,
      app,
      config: this.#config,
      resolved: this.#resolved,
      fromEnvelope: provider === undefined,
      emitter: this,
    });
  }

  #sessionsEvents(): SessionsEvents {
    const told = (of: Receipt & { readonly proof: unknown }) => sessionOf(of.session, this.#resolved.unit, of.proof);
    return {
      refunded: (of, { amount_micros, id }) => {
        const session = told(of);
        const refund = refundOf(session, this.#resolved.unit.toNumber(amount_micros), id ?? undefined);
        this.emit("refund", { session, refund });
        void this.call(() => this.#config.onRefundIssued?.(session, refund));
      },
      refundFailed: (of, error) => this.emit("refund_error", { session: told(of), error }),
    };
  }
}

const ENVELOPE_DETAILS = {
  provider: "envelope",
  instructions:
    "The caller's balance pays. Open the WebSocket with the cookie or an Authorization header and send a payment_proof with an " +
    "empty proof; or send the token in it: { token }. { amount } sets what the session may cost at most.",
} as const;

function receiptOf(receipt: Receipt, { unit, paths }: ResolvedConfig) {
  const { session } = receipt;
  const { userId: _, paymentProof: __, ...told } = sessionOf(session, unit);
  const at = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    ...told,
    endTime: session.ended_at_ms,
    startedAt: at(session.started_at_ms),
    endedAt: at(session.ended_at_ms),
    ...endedOf(receipt, unit, paths),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
