/**
 * The story: a request is identified, may hold its price, runs, is charged, and only then does the body leave.
 *
 *   identify → hold → run → settle → reply
 *
 * Read this first. Everything else is a leaf of it, or a Durable Object it talks to.
 */
import { EnvelopeUnreachableError } from "./attempt.js";
import { type EnvelopeContext, VisitContext } from "./context.js";
import type { ChargeOutcome } from "./contract.js";
import { isKnown } from "./identity/caller.js";
import { formatMinor, type Micros, parsePrice } from "./money.js";
import { once } from "./once.js";
import { chargeWhenDelivered, type EnvelopeOptions, type ResolvedOptions, resolveOptions } from "./options.js";
import type { Held } from "./quoted.js";
import {
  exposeHeaders,
  inPlaceOf,
  keepPrivate,
  namesPrice,
  PRICE_HEADERS,
  withHeaders,
  withOwnHeaders,
  withoutPrice,
} from "./reply.js";
import { anyRefused, askedFor, noteRefusal, refusedPrice } from "./turned-away.js";
import { type Charge, chargeOfNothing, type Taken, Visit } from "./visit.js";
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

const no = once(() => import("./no.js"));
const quoted = once(() => import("./quoted.js"));
const metering = once(() => import("./metering.js"));

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
  const isOurs = ourPaths(options);
  // One function, because each one more that is waited for costs every request time, those that are free as well.
  return async (request, env, ctx) => {
    const visit = new Visit(request, env, options);
    let held = NOTHING_HELD;
    try {
      if (isOurs(visit)) return await (await import("./routes.js")).answerOwnPath(visit);
      if (options.identify !== undefined) await visit.identify();
      const passed = beforehand(visit);
      const extended = ctx as ExecutionContext & { envelope: EnvelopeContext };
      extended.envelope = new VisitContext(visit as Visit<unknown>, ctx);
      const unpaid = refusedBefore(visit);
      const broke = unpaid && (await (await no()).turnAway(visit, unpaid));
      if (broke !== undefined) return await finish(visit, allowCors(visit, broke));
      if (options.price !== undefined) {
        const reserved = await (await quoted()).hold(visit, passed, ctx);
        if ("refuse" in reserved) return await finish(visit, allowCors(visit, reserved.refuse));
        held = reserved;
      }
      const response = await app(passed, env, extended);
      const named = namesPrice(response.headers);
      // Free, and none of our business.
      if (named === undefined && held === NOTHING_HELD) return await finish(visit, response);
      return await finish(visit, await settleAndReply(visit, { response, named }, held, ctx));
    } catch (error) {
      releaseHeld(visit, held, ctx);
      ctx.waitUntil(visit.letGo());
      return allowCors(visit, (await no()).answerError(error, visit));
    }
  };
}

/** The paths in `options.paths`; below `admin` and `envelopes`, whole prefixes are ours. */
function ourPaths<Env>({ paths }: ResolvedOptions<Env>): (visit: Visit<Env>) => boolean {
  const ours = new Set(Object.values(paths).flatMap((path) => path || []));
  const prefixes = [paths.admin, paths.envelopes].flatMap((path) => (path === false ? [] : [`${path}/`]));
  return (visit) => {
    const { pathname } = visit;
    if (ours.has(pathname)) return true;
    for (const prefix of prefixes) if (pathname.startsWith(prefix)) return true;
    return isKeysPath(visit);
  };
}

/** Of a key that is to be revoked. What else is below is the app's. */
function isKeysPath<Env>({ pathname, method, options: { paths } }: Visit<Env>): boolean {
  if (method !== "DELETE" || paths.keys === false || !pathname.startsWith(`${paths.keys}/`)) return false;
  return /^[0-9A-Za-z]{8}$/.test(pathname.slice(paths.keys.length + 1));
}

/** What has to be done with a request before anybody reads it. */
function beforehand<Env>(visit: Visit<Env>): Request<unknown, IncomingRequestCfProperties> {
  const incoming = visit.request as Request<unknown, IncomingRequestCfProperties>;
  const { headers } = incoming;
  // Read beside the handler, not after it: by then the body is gone. Before the request is copied, which takes its body.
  if (visit.method !== "GET" && headers.has(HEADER.idempotencyKey)) visit.watchBody();
  if (!PRICE_HEADERS.some((name) => headers.has(name))) return incoming;
  // A price in a request is the caller's wish, never a price; nor is what one costs while it flows. Nor how much of that at most: an app
  // may answer with what it was sent, and a maximum that is nonsense makes its whole rate malformed.
  const copy = new Request(incoming) as typeof incoming;
  for (const name of PRICE_HEADERS) copy.headers.delete(name);
  return copy;
}

/** What the same caller could not pay for the same thing a moment ago. */
function refusedBefore<Env>(visit: Visit<Env>): Micros | undefined {
  if (!anyRefused()) return undefined;
  // A key that was charged opens the door again, whatever is left.
  if (!visit.options.refuseEarly || visit.request.headers.has(HEADER.idempotencyKey)) return undefined;
  return refusedPrice(
    () => askedFor(visit),
    () => (isKnown(visit.caller) ? visit.caller.envelopeId : ""),
    visit.startedAt_ms,
  );
}

/** A response, and what its headers name: a price in full, or a rate. */
interface Priced {
  readonly response: Response;
  readonly named: "price" | "rate" | undefined;
}

async function settleAndReply<Env>(
  visit: Visit<Env>,
  { response, named }: Priced,
  held: Held,
  ctx: ExecutionContext,
): Promise<Response> {
  if (named === "rate" && isMetered(visit, response)) {
    if (response.webSocket != null) {
      return (await import("./metered-socket.js")).meterSocketByHeaders(visit, response, held, ctx);
    }
    return (await metering()).meterByHeaders(visit, response, held, ctx);
  }
  const price = priceOf(visit, response, held);
  if (price === undefined || price === "invalid") {
    releaseHeld(visit, held, ctx);
    if (price === undefined) return withoutPrice(response);
    const refused = (await no()).reportInvalidPrice(visit, response.headers.get(HEADER.price) ?? "");
    return refused === undefined ? withoutPrice(response) : inPlaceOf(response, refused);
  }
  try {
    const charging = charge(visit, price, held);
    // Work that was done is paid for, even when the client leaves while the charge is on its way.
    ctx.waitUntil(charging.catch(nothing));
    const outcome = await charging;
    return outcome.outcome === "charged" || outcome.outcome === "replayed"
      ? paidFor(visit, response, outcome)
      : await refuse(visit, response, outcome);
  } catch (error) {
    const { onOutage, onIncident } = visit.options;
    const served = error instanceof EnvelopeUnreachableError && onOutage === "serve";
    if (!served) return inPlaceOf(response, (await no()).answerError(error, visit));
    onIncident({ kind: "outage", path: visit.pathname, served, cause: error.cause });
    return withHeaders(withoutPrice(response), keepPrivate);
  }
}

function paidFor<Env>(visit: Visit<Env>, response: Response, outcome: Paid): Response {
  return withOwnHeaders(response, (headers) => {
    headers.set(HEADER.price, formatMinor(outcome.amount_micros, visit.currency));
    headers.set(HEADER.balance, formatMinor(outcome.balance_micros, visit.currency));
    if (outcome.outcome === "replayed") headers.set(HEADER.replayed, "true");
    keepPrivate(headers);
    exposeHeaders(headers);
  });
}

async function refuse<Env>(visit: Visit<Env>, response: Response, outcome: Unpaid): Promise<Response> {
  const { answerNo, malformedKey } = await no();
  if (outcome.outcome === "malformed_key") return inPlaceOf(response, malformedKey());
  noteRefusal(visit, outcome);
  return inPlaceOf(response, answerNo(visit, outcome));
}

const NOTHING_HELD: Held = {};

function nothing(): void {}

function releaseHeld<Env>(visit: Visit<Env>, held: Held, ctx: ExecutionContext): void {
  if (held.hold_id !== undefined) ctx.waitUntil(quoted().then(({ release }) => release(visit, held)));
}

/** Whether the rate in a response's headers is to be charged while its body, or its socket, flows. */
function isMetered<Env>({ options, method, request }: Visit<Env>, response: Response): boolean {
  // An upgrade is not charged by `X-Price` unless the app says so; but a rate means nothing else.
  if (response.webSocket != null && options.chargeWhen === chargeWhenDelivered) return isTrusted(options, response);
  if ((response.body === null && response.webSocket == null) || method === "OPTIONS") return false;
  return isTrusted(options, response) && options.chargeWhen(request, response);
}

function isTrusted({ trustUpstreamPrice }: { readonly trustUpstreamPrice: boolean }, response: Response): boolean {
  return trustUpstreamPrice || response.url === "";
}

/** The price to take for this response: its own, else the one quoted; `undefined` when it is not to be charged. */
function priceOf<Env>(visit: Visit<Env>, response: Response, held: Held): Micros | "invalid" | undefined {
  const { options, method, request } = visit;
  const text = isTrusted(options, response) ? response.headers.get(HEADER.price) : null;
  if (text === null && held.quote === undefined) return undefined;
  if (method === "OPTIONS" || !options.chargeWhen(request, response)) return undefined;
  if (text === null) return held.quote;
  const price = parsePrice(text, options.currency);
  return price === undefined || price > options.maxPrice ? "invalid" : price;
}

type Charged = ChargeOutcome | Taken | { readonly outcome: "malformed_key" };
type Paid = Extract<Charged, { readonly outcome: "charged" | "replayed" }>;
type Unpaid = Exclude<Charged, Paid>;

function charge<Env>(visit: Visit<Env>, price: Micros, held: Held): Promise<Charged> {
  const key = visit.requestKey();
  const named = { amount_micros: price, reason: visit.reason() };
  const input = visit.options.recordZero ? { ...named, record_zero: true } : named;
  return key === undefined && held === NOTHING_HELD ? visit.take(input) : chargeOnce(visit, input, key, held);
}

async function chargeOnce<Env>(
  visit: Visit<Env>,
  input: Charge,
  key: string | undefined,
  { replayed, hold_id, envelopeId }: Held,
): Promise<Charged> {
  if (key === "malformed") return { outcome: "malformed_key" };
  const { amount_micros: price } = input;
  if (replayed !== undefined) {
    return replayed.amount_micros === price ? replayed : { ...replayed, outcome: "conflict", detail: "price" };
  }
  if (price === 0 && visit.caller.kind === "fresh") return chargeOfNothing(price);
  if (hold_id !== undefined && envelopeId !== undefined) {
    const settled = await (await quoted()).settle(visit, envelopeId, hold_id, price);
    if (settled !== undefined) return settled;
  }
  if (key === undefined) return visit.charge(input);
  const { replay_ms } = visit.options;
  return visit.charge({ ...input, key, scope: await visit.scope(), replay_ms });
}

/** Marks what is the caller's own, and hands out an identity that was shown. A response that is neither leaves as it came. */
function finish<Env>(visit: Visit<Env>, response: Response): Response | Promise<Response> {
  if (visit.cookiesDue !== undefined)
    return import("./cookies.js").then((jar) => own(visit, response, jar.cookiesOf(visit)));
  return visit.personal ? own(visit, response, []) : response;
}

function own<Env>({ balance, currency }: Visit<Env>, response: Response, cookies: readonly string[]): Response {
  return withHeaders(response, (headers) => {
    for (const cookie of cookies) headers.append("Set-Cookie", cookie);
    // The handler charged by itself; what it says of the balance itself, it may know better.
    if (balance !== undefined && !headers.has(HEADER.balance)) {
      headers.set(HEADER.balance, formatMinor(balance, currency));
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
