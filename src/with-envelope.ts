/**
 * The story: a request is identified, may hold its price, runs, is charged, and only then does the body leave.
 *
 *   identify → hold → run → settle → reply
 *
 * Read this first. Everything else is a leaf of it, or a Durable Object it talks to.
 */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import type { ChargeOutcome, HoldInput, HoldOutcome, RefusalReason } from "./contract.js";
import { isKey } from "./keys.js";
import { formatMinor, type Micros, parsePrice } from "./money.js";
import { chargeWhenDelivered, type EnvelopeOptions, type ResolvedOptions, resolveOptions } from "./options.js";
import { conflictProblem, outageProblem, plainProblem, refusalProblem, unauthorizedProblem } from "./refusal.js";
import { exposeHeaders, inPlaceOf, keepPrivate, withHeaders, withOwnHeaders, withoutPrice } from "./reply.js";
import { newOperation } from "./secrets.js";
import { ConfigurationError } from "./settings.js";
import { envelopeStub } from "./stubs.js";
import { anyRefused, refusedPrice, rememberRefusal } from "./turned-away.js";
import { chargeOfNothing, type EnvelopeContext, refusalOfNothing, UnauthorizedError, Visit } from "./visit.js";
import { HEADER } from "./wire.js";

/** What a wrapped handler gets as `ctx`: all it had, and the caller's envelope. */
export type EnvelopeExecutionContext = ExecutionContext & { readonly envelope: EnvelopeContext };

export type EnvelopeFetchHandler<Env> = (
  request: Request<unknown, IncomingRequestCfProperties>,
  env: Env,
  ctx: EnvelopeExecutionContext,
) => Response | Promise<Response>;

/** A whole Worker whose `fetch` is to be wrapped; its other handlers pass through. */
export type EnvelopeHandler<Env> = Omit<ExportedHandler<Env>, "fetch"> & {
  readonly fetch?: EnvelopeFetchHandler<Env> | undefined;
};

/** A rotation's grace is longer than this: who came with a revoked cookie and is answered sooner had nothing newer when they came. */
const FRESH_COOKIE_MS_MAX = 60_000;

type Fetch<Env> = (request: Request, env: Env, ctx: ExecutionContext) => Promise<Response>;

/**
 * Gives every caller of a Worker a prepaid balance. A response that carries `X-Price` (decimal, minor units) charges the
 * caller's envelope before its body leaves; too little money answers 402 in its place.
 *
 * @throws {TypeError} at creation, when an option is wrong; the message names its path.
 */
export function withEnvelope<Env = unknown>(app: EnvelopeFetchHandler<Env>, options?: EnvelopeOptions<Env>): Fetch<Env>;
export function withEnvelope<Env = unknown>(
  app: EnvelopeHandler<Env>,
  options?: EnvelopeOptions<Env>,
): Omit<ExportedHandler<Env>, "fetch"> & { readonly fetch: Fetch<Env> };
export function withEnvelope<Env>(
  app: EnvelopeFetchHandler<Env> | EnvelopeHandler<Env>,
  options: EnvelopeOptions<Env> = {},
): unknown {
  const resolved = resolveOptions(options);
  if (typeof app === "function") return wrapFetch(app, resolved);
  if (typeof app?.fetch !== "function") {
    throw new TypeError("withEnvelope takes a fetch handler, or an object with a fetch method");
  }
  const handlers = app as Readonly<Record<string, unknown>>;
  const others = OTHER_HANDLERS.flatMap((name) => {
    const handler = handlers[name];
    return typeof handler === "function" ? [[name, handler.bind(app)]] : [];
  });
  return { ...Object.fromEntries(others), fetch: wrapFetch(app.fetch.bind(app), resolved) };
}

/** Named, because the methods of a class instance are not found by looking at its own keys. */
const OTHER_HANDLERS = [
  "scheduled",
  "queue",
  "email",
  "tail",
  "trace",
  "tailStream",
  "test",
] as const satisfies readonly (keyof ExportedHandler | "tailStream")[];

function wrapFetch<Env>(app: EnvelopeFetchHandler<Env>, options: ResolvedOptions<Env>): Fetch<Env> {
  const { envelopes, ...exact } = options.paths;
  const ownPaths = new Set(Object.values(exact).flatMap((path) => path || []));
  return async (request, env, ctx) => {
    const visit = new Visit(request, env, options);
    try {
      if (ownPaths.has(visit.pathname) || isOwnersPath(visit.pathname, options)) {
        const { answerOwnPath } = await import("./routes.js");
        return await answerOwnPath(visit);
      }
      return await serve(app, visit, ctx);
    } catch (error) {
      return allowCors(visit, answerError(error, visit));
    }
  };
}

function isOwnersPath<Env>(pathname: string, { paths }: ResolvedOptions<Env>): boolean {
  if (paths.admin !== false && pathname.startsWith(`${paths.admin}/`)) return true;
  const below = paths.envelopes !== false && pathname.startsWith(`${paths.envelopes}/`);
  return below && /^\/[^/]+\/auto-topup$/.test(pathname.slice(String(paths.envelopes).length));
}

/** identify → hold → run → settle → reply */
async function serve<Env>(app: EnvelopeFetchHandler<Env>, visit: Visit<Env>, ctx: ExecutionContext): Promise<Response> {
  const { options, env } = visit;
  if (options.identify !== undefined) await visit.identify();
  // Read beside the handler, not after it: by then the body is gone. Before the request is copied, which takes its body.
  if (visit.request.method !== "GET" && visit.request.headers.has(HEADER.idempotencyKey)) visit.watchBody();
  const request = withoutRequestPrice(visit.request);
  const extended = ctx as ExecutionContext & { envelope: EnvelopeContext };
  extended.envelope = visit.context();
  const unpaid = refusedBefore(visit);
  const broke = unpaid && (await turnAway(visit, unpaid));
  if (broke !== undefined) return finish(visit, allowCors(visit, broke));
  const held = options.price === undefined ? NOTHING_HELD : await hold(visit, request, ctx);
  if ("refuse" in held) return finish(visit, allowCors(visit, held.refuse));
  try {
    const response = await app(request, env, extended);
    return finish(visit, await settleAndReply(visit, response, held, ctx));
  } catch (error) {
    ctx.waitUntil(release(visit, held));
    throw error;
  }
}

/** What the same caller could not pay for the same thing a moment ago. */
function refusedBefore<Env>(visit: Visit<Env>): Micros | undefined {
  if (!anyRefused()) return undefined;
  // A key that was charged opens the door again, whatever is left.
  if (!visit.options.refuseEarly || visit.request.headers.has(HEADER.idempotencyKey)) return undefined;
  return refusedPrice(
    () => askedFor(visit),
    () => (visit.caller.kind === "rejected" ? "" : visit.known.envelopeId),
    visit.startedAt_ms,
  );
}

/** Refuses, before the handler works for it, what is still not to be paid. */
async function turnAway<Env>(visit: Visit<Env>, price: Micros): Promise<Response | undefined> {
  const { request } = visit;
  // What a body asks for may cost less this time; but not less than nothing.
  const least = request.method === "GET" || request.method === "HEAD" ? price : (1 as Micros);
  // Should the envelope not be reached, the charge after the handler will say so.
  const outcome = await visit.afford(least).catch(() => undefined);
  if (outcome?.outcome !== "refused") return undefined;
  const { reason } = outcome.refusal;
  const missing = reason === "insufficient_balance" ? Math.max(0, price - outcome.available_micros) : 0;
  const refusal = { ...outcome.refusal, price_micros: price, shortfall_micros: missing as Micros };
  return answerNo(visit, { ...outcome, refusal });
}

function askedFor<Env>({ request }: Visit<Env>): string {
  return `${request.method} ${request.url}`;
}

async function settleAndReply<Env>(
  visit: Visit<Env>,
  response: Response,
  held: Held,
  ctx: ExecutionContext,
): Promise<Response> {
  const price = priceOf(visit, response, held);
  const unpriced = price === undefined || price === "invalid";
  if (unpriced && held.hold_id !== undefined) ctx.waitUntil(release(visit, held));
  if (price === undefined) return withoutPrice(response);
  if (price === "invalid") {
    const refused = reportInvalidPrice(visit, response.headers.get(HEADER.price) ?? "");
    return refused === undefined ? withoutPrice(response) : inPlaceOf(response, refused);
  }
  const charging = charge(visit, price, held);
  // Work that was done is paid for, even when the client leaves while the charge is on its way.
  ctx.waitUntil(charging.catch(() => undefined));
  return reply(visit, response, charging);
}

/** What was reserved before the handler ran; empty when nothing was. */
interface Held {
  readonly quote?: Micros;
  readonly hold_id?: number;
  /** Whose the hold is: by the end of the handler the caller may be someone else, when a limited session ended on the way. */
  readonly envelopeId?: string;
  /** The caller's key was already charged: nothing is held, nothing is charged again. */
  readonly replayed?: Extract<HoldOutcome, { outcome: "replayed" }>;
}

const NOTHING_HELD: Held = {};

async function hold<Env>(
  visit: Visit<Env>,
  request: Request,
  ctx: ExecutionContext,
): Promise<Held | { readonly refuse: Response }> {
  const { options } = visit;
  const probe =
    request.method === "OPTIONS" || (request.method === "HEAD" && options.chargeWhen === chargeWhenDelivered);
  if (options.price === undefined || probe) return {};
  const price = (await options.price(request, visit.env)) ?? undefined;
  if (price === undefined) return {};
  const quote = parsePrice(price, options.currency);
  if (quote === undefined || quote > options.maxPrice) {
    const refuse = reportInvalidPrice(visit, String(price));
    return refuse === undefined ? {} : { refuse };
  }
  if (quote === 0) return {};
  const key = requestKey(visit);
  if (key === "malformed") return { refuse: malformedKey() };
  const op = newOperation();
  try {
    const outcome = await holdQuote(visit, quote, key, op);
    if (outcome.outcome === "held") {
      return { quote, hold_id: outcome.hold_id, envelopeId: visit.known.envelopeId };
    }
    if (outcome.outcome === "replayed") return { quote, replayed: outcome };
    return { refuse: answerNo(visit, outcome) };
  } catch (error) {
    // Perhaps it was written and only its answer was lost: it would keep the money, and the key, until it expires.
    ctx.waitUntil(releaseOperation(visit, op));
    // Where the owner serves through an outage, the handler runs without a hold, and the price is asked for once more after it.
    if (!(error instanceof EnvelopeUnreachableError) || options.onOutage === "refuse") throw error;
    return { quote };
  }
}

async function holdQuote<Env>(
  visit: Visit<Env>,
  quote: Micros,
  key: string | undefined,
  op: string,
): Promise<HoldOutcome> {
  const scope = key && visit.known.kind !== "fresh" ? await visit.scope() : undefined;
  return visit.ask(async (caller): Promise<HoldOutcome> => {
    if (caller.kind === "fresh") {
      return {
        outcome: "refused",
        refusal: refusalOfNothing(quote),
        balance_micros: 0 as Micros,
        available_micros: 0 as Micros,
      };
    }
    const input: HoldInput = {
      ...visit.asked(caller),
      amount_micros: quote,
      ttl_ms: visit.options.hold_ms,
      op,
      key,
      scope,
      replay_ms: visit.options.replay_ms,
      reason: visit.reason(),
    };
    return attempt((retry) => envelopeStub(visit.env, caller.envelopeId).hold({ ...input, retry }));
  });
}

async function releaseOperation<Env>(visit: Visit<Env>, op: string): Promise<void> {
  const { envelopeId } = visit.known;
  await attempt(() => envelopeStub(visit.env, envelopeId).release({ op })).catch(() => undefined);
}

/** Never throws: a hold that cannot be released now gives its money back by expiring. */
async function release<Env>(visit: Visit<Env>, held: Held): Promise<void> {
  const { hold_id, envelopeId } = held;
  if (hold_id === undefined || envelopeId === undefined) return;
  await attempt(() => envelopeStub(visit.env, envelopeId).release({ hold_id })).catch(() => undefined);
}

/** The price to take for this response: its own, else the one quoted; `undefined` when it is not to be charged. */
function priceOf<Env>(visit: Visit<Env>, response: Response, held: Held): Micros | "invalid" | undefined {
  const { options, request } = visit;
  const upstream = !options.trustUpstreamPrice && response.url !== "";
  const text = upstream ? null : response.headers.get(HEADER.price);
  if (text === null && held.quote === undefined) return undefined;
  if (request.method === "OPTIONS" || !options.chargeWhen(request, response)) return undefined;
  if (text === null) return held.quote;
  const price = parsePrice(text, options.currency);
  return price === undefined || price > options.maxPrice ? "invalid" : price;
}

type Charged = ChargeOutcome | { readonly outcome: "malformed_key" };

async function charge<Env>(visit: Visit<Env>, price: Micros, held: Held): Promise<Charged> {
  const { replayed, hold_id, envelopeId } = held;
  const key = requestKey(visit);
  if (key === "malformed") return { outcome: "malformed_key" };
  if (replayed !== undefined) {
    return replayed.amount_micros === price ? replayed : { ...replayed, outcome: "conflict", detail: "price" };
  }
  if (price === 0 && visit.known.kind === "fresh") return chargeOfNothing(price);
  if (hold_id !== undefined && envelopeId !== undefined) {
    const settled = await settle(visit, envelopeId, hold_id, price);
    if (settled !== undefined) return settled;
  }
  return visit.charge({
    amount_micros: price,
    key,
    scope: key && (await visit.scope()),
    replay_ms: visit.options.replay_ms,
    reason: visit.reason(),
    record_zero: visit.options.recordZero,
  });
}

/** `undefined` when the hold had ended before the work did: the price is then charged without it. */
async function settle<Env>(
  visit: Visit<Env>,
  envelopeId: string,
  hold_id: number,
  price: Micros,
): Promise<ChargeOutcome | undefined> {
  const { currency, auto_topup } = visit.asked(visit.known);
  const input = { hold_id, amount_micros: price, op: newOperation(), currency, auto_topup };
  const outcome = await attempt((retry) => envelopeStub(visit.env, envelopeId).settle({ ...input, retry }));
  if (outcome.outcome === "ended" || outcome.outcome === "unknown") return undefined;
  visit.balance = outcome.balance_micros;
  return outcome;
}

async function reply<Env>(visit: Visit<Env>, response: Response, charging: Promise<Charged>): Promise<Response> {
  try {
    const outcome = await charging;
    if (outcome.outcome !== "charged" && outcome.outcome !== "replayed") {
      noteRefusal(visit, outcome);
      return inPlaceOf(response, outcome.outcome === "malformed_key" ? malformedKey() : answerNo(visit, outcome));
    }
    return withOwnHeaders(response, (headers) => {
      headers.set(HEADER.price, formatMinor(outcome.amount_micros, visit.currency));
      headers.set(HEADER.balance, formatMinor(outcome.balance_micros, visit.currency));
      if (outcome.outcome === "replayed") headers.set(HEADER.replayed, "true");
      keepPrivate(headers);
      exposeHeaders(headers);
    });
  } catch (error) {
    if (!(error instanceof EnvelopeUnreachableError)) {
      return inPlaceOf(response, answerError(error, visit));
    }
    const served = visit.options.onOutage === "serve";
    visit.options.onIncident({ kind: "outage", path: visit.pathname, served, cause: error.cause });
    return served ? withHeaders(withoutPrice(response), keepPrivate) : inPlaceOf(response, outageProblem());
  }
}

/** Refusals that are the same for the same price until money comes or time passes: what the handler would do for it would be for nothing. */
const LASTING: ReadonlySet<RefusalReason> = new Set(["insufficient_balance", "window", "key_cap"]);

function noteRefusal<Env>(visit: Visit<Env>, outcome: Charged): void {
  if (outcome.outcome !== "refused" || !LASTING.has(outcome.refusal.reason)) return;
  // Of a caller without credentials nothing is known, not even that they were here before.
  if (!visit.options.refuseEarly || visit.known.kind === "fresh") return;
  rememberRefusal(askedFor(visit), visit.known.envelopeId, outcome.refusal.price_micros, visit.startedAt_ms);
}

/** Answers a "no" of the envelope. A caller with no credential, or a cookie that was replaced, leaves with a fresh identity. */
function answerNo<Env>(
  visit: Visit<Env>,
  outcome: Exclude<ChargeOutcome | HoldOutcome, { outcome: "charged" | "replayed" | "held" }>,
): Response {
  if (outcome.outcome === "conflict") return conflictProblem(outcome.detail);
  if (outcome.outcome === "invalid") {
    visit.options.onIncident({ kind: "configuration", message: outcome.detail });
    return plainProblem(
      500,
      "misconfigured",
      "Not set up",
      "The price does not fit this envelope. Nothing was charged.",
    );
  }
  let { refusal } = outcome;
  // Not when the handler took long: a new token may have reached the browser since, and this cookie would take its place.
  const recent = Date.now() - visit.startedAt_ms < FRESH_COOKIE_MS_MAX;
  if (refusal.reason === "credential_revoked" && visit.known.kind === "cookie" && recent) {
    visit.becomeFresh();
    refusal = refusalOfNothing(refusal.price_micros);
  }
  visit.show();
  const { balance_micros } = outcome;
  return refusalProblem(refusal, { currency: visit.currency, balance_micros, paymentLink: visit.paymentLink() });
}

/** Tells the owner of a malformed price; `undefined` when they chose to serve the response all the same. */
function reportInvalidPrice<Env>(visit: Visit<Env>, price: string): Response | undefined {
  const served = visit.options.onInvalidPrice === "serve";
  visit.options.onIncident({ kind: "invalid_price", price: price.slice(0, 64), path: visit.pathname, served });
  if (served) return undefined;
  return plainProblem(
    500,
    "invalid-price",
    "Invalid price",
    "The price of this resource is malformed. Nothing was charged.",
  );
}

/** Marks what is the caller's own, and hands out an identity that was shown. A response that is neither leaves as it came. */
function finish<Env>(visit: Visit<Env>, response: Response): Response {
  const cookies = visit.cookies();
  if (!visit.personal && cookies.length === 0) return response;
  const { balance } = visit;
  return withHeaders(response, (headers) => {
    for (const cookie of cookies) headers.append("Set-Cookie", cookie);
    // The handler charged by itself; what it says of the balance itself, it may know better.
    if (balance !== undefined && !headers.has(HEADER.balance)) {
      headers.set(HEADER.balance, formatMinor(balance, visit.currency));
    }
    keepPrivate(headers);
  });
}

/** A refusal that no handler of the app's has seen still has to be readable by the pages the owner listed. */
function allowCors<Env>(visit: Visit<Env>, response: Response): Response {
  const origin = visit.request.headers.get("Origin");
  if (origin !== null && visit.options.corsOrigins.has(origin)) {
    response.headers.set("Access-Control-Allow-Origin", origin);
    response.headers.set("Access-Control-Allow-Credentials", "true");
    response.headers.append("Vary", "Origin");
  }
  return response;
}

/** The caller's `Idempotency-Key`, apart from keys the app makes. */
function requestKey<Env>(visit: Visit<Env>): string | undefined | "malformed" {
  const key = visit.request.headers.get(HEADER.idempotencyKey);
  if (key === null) return undefined;
  return isKey(key) ? `request:${key}` : "malformed";
}

function malformedKey(): Response {
  const detail = "Idempotency-Key must be 1 to 255 visible ASCII characters. Nothing was charged.";
  return plainProblem(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail);
}

/** A price in a request is the caller's wish, never a price. */
function withoutRequestPrice(request: Request): Request<unknown, IncomingRequestCfProperties> {
  const incoming = request as Request<unknown, IncomingRequestCfProperties>;
  if (!request.headers.has(HEADER.price)) return incoming;
  const copy = new Request(incoming) as typeof incoming;
  copy.headers.delete(HEADER.price);
  return copy;
}

function answerError<Env>(error: unknown, { pathname, options }: Visit<Env>): Response {
  if (error instanceof UnauthorizedError) return unauthorizedProblem();
  if (error instanceof ConfigurationError) {
    options.onIncident({ kind: "configuration", message: error.message });
    return plainProblem(500, "misconfigured", "Not set up", `${error.message}.`);
  }
  if (error instanceof EnvelopeUnreachableError) {
    options.onIncident({ kind: "outage", path: pathname, served: false, cause: error.cause });
    return outageProblem();
  }
  throw error;
}
