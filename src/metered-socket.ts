/** Metered sockets: loaded when a 101 names a rate, or a handler asks for one. */
import type { EndCause } from "./meter/deliver.js";
import type { Meter, MeterEnd } from "./meter/meter.js";
import { secondsBegun } from "./meter/rates.js";
import type { MeteredSocket, SocketHooks, SocketPorts, SocketReport } from "./meter/socket.js";
import { meterPair } from "./meter/socket-pair.js";
import type { SocketEnd } from "./meter/socket-rules.js";
import type { MeterRate, ResolvedMeter } from "./meter/terms.js";
import { begin, letGo, markMetered, type Quoted, report, resolveFor, termsOfHeaders } from "./metering.js";
import { formatMinor, type Micros } from "./money.js";
import { plainProblem } from "./refusal.js";
import { inPlaceOf, withoutPrice } from "./reply.js";
import { type ResolvedSocket, resolveSocket } from "./socket-options.js";
import type { Visit } from "./visit.js";
import { HEADER } from "./wire.js";

/** A 101 that names a rate in its headers. */
export async function meterSocketByHeaders<Env>(
  visit: Visit<Env>,
  response: Response,
  quoted: Quoted,
  ctx: ExecutionContext,
): Promise<Response> {
  const resolved = await termsOfHeaders(visit, response, "frames", quoted, ctx);
  if (resolved instanceof Response) return resolved;
  return meterSocket(visit, response, { resolved, limits: updatesOf(visit, response.headers), ctx }, quoted);
}

/** `ctx.envelope.meter(response, rate)` of a 101. */
export async function meterSocketForApp<Env>(
  visit: Visit<Env>,
  response: Response,
  rate: MeterRate,
  ctx: ExecutionContext,
): Promise<Response> {
  visit.personal = true;
  const { currency, options } = visit;
  const resolved = resolveFor(visit, rate, "frames");
  const limits = resolveSocket("rate.socket", rate.socket ?? {}, currency, options.sockets);
  return meterSocket(visit, withoutPrice(response), { resolved, limits, ctx }, {});
}

/** The app's 101, with us between its socket and the client's. Prices in its headers are gone. */
async function meterSocket<Env>(
  visit: Visit<Env>,
  response: Response,
  {
    resolved,
    limits,
    ctx,
  }: { readonly resolved: ResolvedMeter; readonly limits: ResolvedSocket; readonly ctx: ExecutionContext },
  quoted: Quoted,
): Promise<Response> {
  const app = response.webSocket as WebSocket;
  // Of a page that is not ours, the cookie is not asked for: it would be told the holder's balance, and spend it.
  const refuse = visit.isForeignUpgrade ? foreignProblem() : undefined;
  const begun =
    refuse === undefined ? await begin(visit, resolved, quoted, visit.options.sockets.open_max) : { refuse };
  if (!("meter" in begun)) {
    ctx.waitUntil(letGo(visit, quoted));
    return begun.refuse === undefined ? withoutPrice(response) : inPlaceOf(response, begun.refuse);
  }
  const { meter, balance_micros } = begun;
  const { rate } = resolved;
  const low_micros = limits.low_micros ?? LOW_UNITS * resolved.unit_micros;
  const ended = new Ending(visit, meter, resolved, ctx);
  const { client, socket } = meterPair(app, {
    rate,
    meter,
    limits: { ...limits, low_micros },
    hooks: hooksOf(visit, () => socket, limits.update_ms, ended),
    ports: portsOf(ctx),
  });
  socket.start();
  const { headers } = withoutPrice(response);
  const metered = new Response(null, { status: 101, statusText: response.statusText, headers, webSocket: client });
  markMetered(metered.headers, visit, balance_micros, meter.isReplay);
  return metered;
}

/** `X-Price-Updates` of a handler that only speaks HTTP: seconds between two words to the client. What is no number of them is left alone. */
function updatesOf<Env>({ options }: Visit<Env>, headers: Headers): ResolvedSocket {
  const text = headers.get(HEADER.updates) ?? "";
  return /^[1-9][0-9]{0,5}$/.test(text) ? { ...options.sockets, update_ms: Number(text) * 1000 } : options.sockets;
}

/** Units of each kind that a low balance is less than, where the app does not say. */
const LOW_UNITS = 30;

function foreignProblem(): Response {
  const detail = "A page of another origin cannot open a paid socket with this site's cookie.";
  return plainProblem(403, "foreign-origin", "Forbidden", detail);
}

export function portsOf(ctx: ExecutionContext): SocketPorts {
  return {
    now: () => Date.now(),
    after: (delay_ms, work) => {
      const timer = setTimeout(work, delay_ms);
      return () => clearTimeout(timer);
    },
    waitUntil: (work) => ctx.waitUntil(work),
  };
}

/** What the client is told, where the app asked for it; and the end, in any case. */
function hooksOf<Env>(
  visit: Visit<Env>,
  socket: () => MeteredSocket,
  update_ms: number,
  ended: Ending<Env>,
): SocketHooks {
  const end = (why: SocketEnd, report: SocketReport) => ended.tell(why, report);
  if (update_ms === Number.POSITIVE_INFINITY) return { ended: end };
  const say =
    (type: string, more: object = {}) =>
    (report: SocketReport) => {
      socket().tell(JSON.stringify({ type: `envelope.${type}`, ...told(visit, report), ...more }));
    };
  const link = { paymentLink: visit.paymentLink() };
  return {
    usage: say("usage"),
    low: say("low", link),
    paused: say("paused", link),
    resumed: say("resumed"),
    ended: (why, report) => {
      say("ended", { reason: why })(report);
      end(why, report);
    },
  };
}

function told<Env>({ currency }: Visit<Env>, { usage, used_micros, left_micros }: SocketReport) {
  const { open_ms, messages, bytes } = usage;
  return {
    seconds: Math.floor(open_ms / 1000),
    messages,
    bytes,
    price: formatMinor(used_micros as Micros, currency),
    available: formatMinor(left_micros as Micros, currency),
    currency: currency.code,
  };
}

/** The end of a socket, told to the app and to the owner as that of a body is. */
class Ending<Env> {
  readonly #visit: Visit<Env>;
  readonly #meter: Meter;
  readonly #resolved: ResolvedMeter;
  readonly #ctx: ExecutionContext;

  constructor(visit: Visit<Env>, meter: Meter, resolved: ResolvedMeter, ctx: ExecutionContext) {
    this.#visit = visit;
    this.#meter = meter;
    this.#resolved = resolved;
    this.#ctx = ctx;
  }

  tell(end: SocketEnd, { usage }: SocketReport): void {
    const { short } = this.#meter;
    const refusal = typeof short === "object" ? short : undefined;
    const { messages, bytes, open_ms } = usage;
    const units = { messages, bytes, seconds: secondsBegun(open_ms) };
    const settled = this.#meter.end().then((paid: MeterEnd) => {
      const ended = { ...paid, cause: CAUSES[end], units, refusal, socket: end };
      report(this.#visit, ended);
      this.#resolved.onEnd?.(ended);
    });
    this.#ctx.waitUntil(settled);
  }
}

const CAUSES: Readonly<Record<SocketEnd, EndCause>> = {
  client_closed: "complete",
  app_closed: "complete",
  ended: "complete",
  idle: "complete",
  max_duration_reached: "complete",
  client_gone: "client_gone",
  message_too_large: "client_gone",
  overflow: "exhausted",
  balance_exhausted: "exhausted",
  credential_revoked: "exhausted",
  frozen: "exhausted",
  price_max_reached: "max",
  app_gone: "upstream_failed",
  unavailable: "unreachable",
};
