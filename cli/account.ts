/** One Stripe account: what of ours is in it, and the calls that change it. Says in a sentence what went wrong. */
import Stripe from "stripe";
import { Failure } from "./failure.js";
import { ATTEMPTS_MAX, type Call, type Endpoint, type Link, META, type Price, requestOf, type State } from "./model.js";
import { redact } from "./secrets.js";

const TIMEOUT_MS = 30_000;
const PAGE_OBJECTS = 100;

/** As a restricted key's permissions are called. */
const RESOURCES = {
  "/v1/products": "Products",
  "/v1/prices": "Prices",
  "/v1/payment_links": "Payment Links",
  "/v1/webhook_endpoints": "Webhook Endpoints",
} as const;
type Path = keyof typeof RESOURCES;

/** The part of Stripe's answer that the request did not already say. */
export interface Made {
  readonly id: string;
  readonly url?: string | undefined;
  /** A new endpoint's signing secret: this once. */
  readonly secret?: string | undefined;
}

type Found = Pick<State, "product_id" | "prices" | "links" | "endpoints">;

export class Account {
  readonly #stripe: Stripe;
  readonly #app: string;

  constructor(key: string, app: string, base: URL | undefined) {
    this.#app = app;
    this.#stripe = new Stripe(key, {
      telemetry: false,
      timeout: TIMEOUT_MS,
      maxNetworkRetries: 2,
      ...(base && {
        host: base.hostname,
        port: base.port || (base.protocol === "https:" ? 443 : 80),
        protocol: base.protocol === "https:" ? "https" : "http",
      }),
    });
  }

  /** What carries this app's mark and is active, newest first, as Stripe lists it. */
  async find(): Promise<Found> {
    const stripe = this.#stripe;
    const limit = PAGE_OBJECTS;
    const [product] = await this.#owned("/v1/products", stripe.products.list({ active: true, limit }));
    const product_id = product?.id;
    const prices =
      product_id === undefined
        ? []
        : await this.#owned("/v1/prices", stripe.prices.list({ product: product_id, active: true, limit }));
    const links = await this.#owned("/v1/payment_links", stripe.paymentLinks.list({ active: true, limit }));
    const endpoints = await this.#owned("/v1/webhook_endpoints", stripe.webhookEndpoints.list({ limit }));
    return {
      product_id,
      prices: prices.map(readPrice),
      links: links.map(readLink),
      endpoints: endpoints.map(readEndpoint).sort((left, right) => right.created - left.created),
    };
  }

  async perform(call: Call): Promise<Made> {
    if (call.kind === "create") return this.#create(call);
    const answer = await this.#post(call, call.repeats?.attempt ?? 1);
    if (call.repeats === undefined || answer.id === call.repeats.id) return answer;
    // Stripe no longer had the answer, and made a second endpoint: nobody knows of it, so it can go.
    await this.#explained("/v1/webhook_endpoints", "write", this.#stripe.webhookEndpoints.del(answer.id));
    return { id: call.repeats.id };
  }

  /**
   * Stripe answers a key that it knows with the old answer, whatever became of the object since: what counts is whether it is
   * there now. If it is gone, the call is made under the key of the next attempt.
   */
  async #create(call: Call): Promise<Made> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const answer = await this.#post(call, attempt).catch((error: unknown) => {
        if (isReplayed(error) && attempt < ATTEMPTS_MAX) return undefined;
        throw error;
      });
      if (answer !== undefined && (await this.#isThere(call, answer.id))) return answer;
    }
    throw new Failure(
      "stale",
      `The ${call.name} was made and removed ${ATTEMPTS_MAX} times within a day. Run the command again tomorrow.`,
    );
  }

  async #post(call: Call, attempt: number): Promise<Made> {
    const { key, params } = requestOf(this.#app, call, attempt);
    const path = resourceOf(call.path);
    const sent = this.#stripe.rawRequest("POST", call.path, params, { idempotencyKey: key });
    const { id, url, secret } = (await this.#explained(path, "write", sent)) as unknown as Made;
    return { id, url, secret };
  }

  async #isThere(call: Call, id: string): Promise<boolean> {
    const asked = this.#stripe.rawRequest("GET", `${call.path}/${id}`).catch((error: unknown) => {
      if (error instanceof Stripe.errors.StripeError && error.statusCode === 404) return { deleted: true };
      throw error;
    });
    const now = (await this.#explained(resourceOf(call.path), "read", asked)) as { deleted?: true; active?: boolean };
    return now.deleted !== true && now.active !== false;
  }

  async #owned<T extends { metadata: Stripe.Metadata }>(path: Path, list: AsyncIterable<T>): Promise<T[]> {
    const isOurs = ({ metadata }: T) => metadata[META.mark] === "1" && metadata[META.app] === this.#app;
    const collect = async () => {
      const found: T[] = [];
      for await (const object of list) if (isOurs(object)) found.push(object);
      return found;
    };
    return this.#explained(path, "read", collect());
  }

  async #explained<T>(path: Path, access: "read" | "write", work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw explain(error, RESOURCES[path], access);
    }
  }
}

function resourceOf(path: string): Path {
  const known = (Object.keys(RESOURCES) as Path[]).find((prefix) => path.startsWith(prefix));
  if (known === undefined) throw new Error(`no resource at ${path}`);
  return known;
}

function readPrice({ id, currency, custom_unit_amount: amount }: Stripe.Price): Price {
  return {
    id,
    currency,
    minimum: amount?.minimum ?? undefined,
    maximum: amount?.maximum ?? undefined,
    preset: amount?.preset ?? undefined,
  };
}

function readLink({ id, url, metadata, after_completion, payment_method_types }: Stripe.PaymentLink): Link {
  return {
    id,
    url,
    price_id: metadata[META.price],
    redirect_url: after_completion.redirect?.url,
    payment_method_types,
    revision: Number(metadata[META.revision] ?? 0),
  };
}

function readEndpoint(endpoint: Stripe.WebhookEndpoint): Endpoint {
  const { id, url, enabled_events, status, api_version, created, metadata } = endpoint;
  return {
    id,
    url,
    events: enabled_events,
    enabled: status === "enabled",
    api_version,
    created,
    revision: Number(metadata[META.revision] ?? 0),
    replaces: metadata[META.replaces],
    request: metadata[META.request],
    secret_digest: metadata[META.secret],
    in_wrangler: metadata[META.secretIn] === "wrangler",
  };
}

/** An error that Stripe kept and gave again. The look at what is there came after the first time, so nothing was made then. */
function isReplayed(error: unknown): boolean {
  const cause = error instanceof Failure ? error.cause : undefined;
  return cause instanceof Stripe.errors.StripeError && cause.headers?.["idempotent-replayed"] === "true";
}

const AGAIN = "Run the command again: what was done is found, and not done twice.";

function explain(error: unknown, resource: string, access: "read" | "write"): Failure {
  if (error instanceof Failure) return error;
  const [code, message] = sentence(error, resource, access);
  const failure = new Failure(code, redact(message));
  // Stripe's own error stays inside: it is asked whether it was replayed, and never printed.
  failure.cause = error;
  return failure;
}

function sentence(error: unknown, resource: string, access: string): readonly [code: string, message: string] {
  const { errors } = Stripe;
  if (!(error instanceof errors.StripeError)) return ["stripe", `Stripe's answer was not understood. ${AGAIN}`];
  if (error instanceof errors.StripeConnectionError) return ["unreachable", `Stripe could not be reached. ${AGAIN}`];
  if (error instanceof errors.StripeAuthenticationError) {
    return ["key_refused", "Stripe does not accept this key: it is wrong, revoked or expired."];
  }
  if (error instanceof errors.StripePermissionError) return ["permission", lacking(error.message, resource, access)];
  if (error instanceof errors.StripeRateLimitError) return ["rate_limit", `Stripe asks to slow down. ${AGAIN}`];
  const request = error.requestId === undefined ? "" : ` (${error.requestId})`;
  const retry = (error.statusCode ?? 0) >= 500 ? ` ${AGAIN}` : "";
  return ["stripe", `Stripe refused to ${access} ${resource}: ${error.message}${request}${retry}`];
}

function lacking(message: string, resource: string, access: string): string {
  // Stripe names the permission in two ways: 'rak_product_write', or 'product_write' in brackets.
  const named = /'(?:rak_)?([a-z_]+_(?:read|write))'/.exec(message)?.[1];
  const also = named === undefined ? "" : ` (Stripe calls it ${named})`;
  const all = Object.values(RESOURCES).join(", ");
  return `This key has no permission to ${access} ${resource}${also}. A restricted key for this command needs "write" for: ${all}.`;
}
