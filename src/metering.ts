/** Metered bodies: loaded when a response names a rate, or a handler asks for one. */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import { readCapped } from "./body.js";
import type { ChargeOutcome, OpenMeterOutcome } from "./contract.js";
import { isKnown, type Known } from "./identity/caller.js";
import { deliver, type Ended } from "./meter/deliver.js";
import { BLANK_LINES, balanceEvent, problemEvent } from "./meter/finale.js";
import { type Meter, type OpenCall, type Opened, openMeter, type Payer } from "./meter/meter.js";
import { type Framing, framingOf, partsOf } from "./meter/parts.js";
import { TokenPricer } from "./meter/pricers.js";
import { kilobytesBegun, rateOfHeaders } from "./meter/rates.js";
import {
  type MeteredStream,
  type MeterRate,
  type MeterResult,
  meterOfHeaders,
  type ResolvedMeter,
  resolveMeter,
} from "./meter/terms.js";
import { formatMinor, type Micros, ZERO } from "./money.js";
import { answerError, answerNo, malformedKey, reportInvalidPrice } from "./no.js";
import { crowdedProblem, outageProblem, type ProblemBody, plainProblem, refusalProblem } from "./refusal.js";
import { exposeHeaders, inPlaceOf, keepPrivate, withHeaders, withoutPrice } from "./reply.js";
import { envelopeStub } from "./stubs.js";
import { noteRefusal } from "./turned-away.js";
import { refusalOfNothing, refusedToNobody, type Visit } from "./visit.js";
import { HEADER } from "./wire.js";

/** What was reserved before the handler ran. */
export interface Quoted {
  readonly hold_id?: number;
  readonly envelopeId?: string;
}

interface Body {
  readonly framing: Framing;
  readonly resolved: ResolvedMeter;
  readonly ctx: ExecutionContext;
}

/** A response that names a rate in its headers: the first slice is held before it leaves. `X-Price` beside a rate is taken at the beginning. */
export async function meterByHeaders<Env>(
  visit: Visit<Env>,
  response: Response,
  quoted: Quoted,
  ctx: ExecutionContext,
): Promise<Response> {
  const framing = framingOf(response.headers.get("Content-Type"));
  const resolved = await termsOfHeaders(visit, response, framing, quoted, ctx);
  return resolved instanceof Response ? resolved : meterResponse(visit, response, { framing, resolved, ctx }, quoted);
}

/** What a response's headers ask for; or the answer, where nothing is metered. */
export async function termsOfHeaders<Env>(
  visit: Visit<Env>,
  response: Response,
  framing: Framing,
  quoted: Quoted,
  ctx: ExecutionContext,
): Promise<ResolvedMeter | Response> {
  const { headers } = response;
  const rate = rateOfHeaders(headers, visit.currency, visit.options.maxPrice);
  if (rate === "invalid" || (framing === "none" && rate.per_message_micros > 0)) {
    ctx.waitUntil(letGo(visit, quoted));
    const refused = reportInvalidPrice(visit, namesOf(headers));
    return refused === undefined ? withoutPrice(response) : inPlaceOf(response, refused);
  }
  const key = visit.requestKey();
  const resolved = meterOfHeaders(rate);
  if (key === "malformed" || resolved.least_micros === 0) {
    ctx.waitUntil(letGo(visit, quoted));
    return key === "malformed" ? inPlaceOf(response, malformedKey()) : withoutPrice(response);
  }
  const scope = key && (await visit.scope());
  return { ...resolved, key, scope, replay_ms: visit.options.replay_ms, reason: visit.reason() };
}

/** The prices that a response names, for the owner who has to find the one that is malformed. */
function namesOf(headers: Headers): string {
  const names = [HEADER.price, HEADER.perSecond, HEADER.perKilobyte, HEADER.perMessage, HEADER.maxPrice];
  return names.flatMap((name) => (headers.has(name) ? [`${name}: ${headers.get(name)}`] : [])).join("; ");
}

/** `ctx.envelope.meter(response, rate)`. What its headers say of prices, the rate replaces. */
export async function meterForApp<Env>(
  visit: Visit<Env>,
  given: Response,
  rate: MeterRate,
  ctx: ExecutionContext,
): Promise<Response> {
  visit.personal = true;
  const framing = framingOf(given.headers.get("Content-Type"));
  const resolved = resolveFor(visit, rate, framing);
  const response = withoutPrice(given);
  if (response.body === null) return response;
  if (rate.tokens !== undefined && framing === "none") return meterAnswer(visit, response, rate, resolved);
  return meterResponse(visit, response, { framing, resolved, ctx }, {});
}

/** `ctx.envelope.meter(stream, rate)`. */
export async function meterStream<Env>(
  visit: Visit<Env>,
  source: ReadableStream<Uint8Array>,
  { contentType, ...rate }: MeterRate & { readonly contentType?: string | undefined },
  ctx: ExecutionContext,
): Promise<MeteredStream> {
  visit.personal = true;
  const framing = framingOf(contentType ?? null);
  const resolved = resolveFor(visit, rate, framing);
  const begun = await begin(visit, resolved, {});
  if (!("meter" in begun)) {
    source.cancel().catch(() => undefined);
    return { outcome: "refused", response: begun.refuse ?? outageProblem() };
  }
  const { body, ended } = flow(visit, source, begun.meter, { framing, resolved, ctx });
  return { outcome: "metering", body, ended: ended.then((end) => resultOf(visit, end, resolved)) };
}

export function resolveFor<Env>(visit: Visit<Env>, rate: MeterRate, framing: Framing): ResolvedMeter {
  const { currency, options } = visit;
  const resolved = resolveMeter(rate, { framing, currency, maxPrice: options.maxPrice });
  const { onEnd } = rate;
  return {
    ...resolved,
    reason: resolved.reason ?? visit.reason(),
    onEnd: onEnd && ((ended) => onEnd(resultOf(visit, ended, resolved))),
  };
}

function resultOf<Env>({ currency }: Visit<Env>, ended: Ended, { pricer }: ResolvedMeter): MeterResult {
  const { cause, units, price_micros, missing_micros, balances, socket } = ended;
  return {
    cause,
    ...(socket && { socket }),
    units,
    ...(pricer instanceof TokenPricer && { tokens: { ...pricer.count.tokens, told: pricer.count.isTold } }),
    price: formatMinor(price_micros, currency),
    price_micros,
    missing_micros,
    balance: balances === undefined ? null : formatMinor(balances.balance_micros, currency),
    currency: currency.code,
  };
}

/** Longer than any answer of a language model. */
const ANSWER_BYTES_MAX = 16 * 1_048_576;

/** A whole answer of a language model: it says what it used, so it is charged at once, before it leaves. */
async function meterAnswer<Env>(
  visit: Visit<Env>,
  response: Response,
  rate: MeterRate,
  resolved: ResolvedMeter,
): Promise<Response> {
  const bytes = await readCapped(response, ANSWER_BYTES_MAX);
  if (bytes === undefined) {
    visit.options.onIncident({
      kind: "configuration",
      message: "An answer of more than 16 MiB cannot be metered by its tokens",
    });
    const detail = "The answer is too long to be priced. Nothing was charged.";
    return inPlaceOf(response, plainProblem(500, "misconfigured", "Not set up", detail));
  }
  const { base_micros, per_kilobyte_micros, per_message_micros, max_micros } = resolved.rate;
  const { pricer } = resolved;
  const tokens = pricer?.next({ bytes, message: true }).micros ?? 0;
  const others = base_micros + per_message_micros + kilobytesBegun(bytes.length) * per_kilobyte_micros;
  const amount_micros = Math.min(max_micros, others + tokens) as Micros;
  const { key, reason, metadata } = resolved;
  try {
    const outcome = await visit.charge({ amount_micros, key, reason, metadata, record_zero: visit.options.recordZero });
    if (outcome.outcome !== "charged" && outcome.outcome !== "replayed") {
      noteRefusal(visit, outcome);
      return inPlaceOf(response, answerNo(visit, outcome));
    }
    const units = { seconds: 0, bytes: bytes.length, messages: 1 };
    const end = { price_micros: outcome.amount_micros, missing_micros: ZERO, balances: outcome };
    rate.onEnd?.(resultOf(visit, { ...end, cause: "complete", units, refusal: undefined }, resolved));
    const priced = new Response(bytes, response);
    markMetered(priced.headers, visit, outcome.balance_micros, outcome.outcome === "replayed");
    return priced;
  } catch (error) {
    return inPlaceOf(response, answerError(error, visit));
  }
}

async function meterResponse<Env>(
  visit: Visit<Env>,
  response: Response,
  body: Body,
  quoted: Quoted,
): Promise<Response> {
  const source = response.body as ReadableStream<Uint8Array>;
  const begun = await begin(visit, body.resolved, quoted);
  if (!("meter" in begun)) {
    body.ctx.waitUntil(letGo(visit, quoted));
    if (begun.refuse === undefined) return withHeaders(withoutPrice(response), keepPrivate);
    return inPlaceOf(response, begun.refuse);
  }
  const { meter, balance_micros } = begun;
  const length = announcedLength(response.headers);
  const flowing = flow(visit, source, meter, body, length);
  const metered = new Response(flowing.body, response);
  // It is of the body as it is encoded on its way, and that is shorter now, where it is cut.
  if (length === undefined) metered.headers.delete("Content-Length");
  markMetered(metered.headers, visit, balance_micros, meter.isReplay);
  return metered;
}

export function markMetered<Env>(
  headers: Headers,
  { currency }: Visit<Env>,
  balance_micros: Micros,
  replayed: boolean,
): void {
  headers.set(HEADER.balance, formatMinor(balance_micros, currency));
  if (replayed) headers.set(HEADER.replayed, "true");
  keepPrivate(headers);
  exposeHeaders(headers);
}

/** How long a body says it is: then a client can tell that it was cut. */
function announcedLength(headers: Headers): number | undefined {
  const text = headers.get("Content-Length");
  if (text === null || headers.has("Content-Encoding") || !/^[0-9]{1,15}$/.test(text)) return undefined;
  return Number(text);
}

type Begun =
  | { readonly meter: Meter; readonly balance_micros: Micros }
  /** Nothing is metered: the answer in its place, or `undefined` where the body is served all the same. */
  | { readonly refuse: Response | undefined };

/** `open_max`: no more than so many meters of an envelope, where there is a limit. */
export async function begin<Env>(
  visit: Visit<Env>,
  resolved: ResolvedMeter,
  quoted: Quoted,
  open_max?: number,
): Promise<Begun> {
  try {
    const opened = await open(visit, resolved, quoted, open_max);
    if (opened.outcome === "metering") return { meter: opened.meter, balance_micros: opened.balances.balance_micros };
    if (opened.outcome === "crowded") return { refuse: crowdedProblem() };
    if (opened.outcome === "ended" || opened.outcome === "unknown") return { refuse: outageProblem() };
    noteRefusal(visit, opened);
    return { refuse: answerNo(visit, opened) };
  } catch (error) {
    if (!(error instanceof EnvelopeUnreachableError)) return { refuse: answerError(error, visit) };
    const served = visit.options.onOutage === "serve";
    visit.options.onIncident({ kind: "outage", path: visit.pathname, served, cause: error.cause });
    return { refuse: served ? undefined : outageProblem() };
  }
}

async function open<Env>(
  visit: Visit<Env>,
  resolved: ResolvedMeter,
  quoted: Quoted,
  open_max: number | undefined,
): Promise<Opened> {
  const { rate, slices, pricer, onEnd, onUpstreamError, ...notes } = resolved;
  const terms = { ...notes, ...slices, base_micros: rate.base_micros, max_micros: rate.max_micros, open_max };
  const payer = payerOf(visit);
  // By now the caller may be somebody else, when a limited session ended on the way.
  const same = isKnown(visit.caller) && quoted.envelopeId === visit.caller.envelopeId;
  const hold_id = same ? quoted.hold_id : undefined;
  if (hold_id !== undefined) {
    const opened = await openMeter(payer, { ...terms, hold_id });
    // Its time was over before the handler was done.
    if (opened.outcome !== "ended" && opened.outcome !== "unknown") return opened;
  }
  return openMeter(payer, terms);
}

/** Never throws: a hold that cannot be released now gives its money back by expiring. */
export async function letGo<Env>(visit: Visit<Env>, { hold_id, envelopeId }: Quoted): Promise<void> {
  if (hold_id === undefined || envelopeId === undefined) return;
  await attempt(() => envelopeStub(visit.env, envelopeId).release({ hold_id })).catch(() => undefined);
}

/** Whoever began to pay goes on paying, whatever becomes of the visit. */
export function payerOf<Env>(visit: Visit<Env>): Payer {
  let who: Known | undefined;
  const payer = () => who ?? visit.known;
  const stub = () => envelopeStub(visit.env, payer().envelopeId);
  const open = async (caller: Known, { again, ...input }: OpenCall): Promise<OpenMeterOutcome> => {
    if (caller.kind === "fresh") {
      const refusal = refusalOfNothing(input.least_micros);
      return { outcome: "refused", refusal, balance_micros: ZERO, available_micros: ZERO };
    }
    const asked = { ...visit.asked(caller), ...input };
    const outcome = await attempt((retry) =>
      envelopeStub(visit.env, caller.envelopeId).openMeter({ ...asked, retry: retry || again === true }),
    );
    who = caller;
    return outcome;
  };
  return {
    open: (input) =>
      who === undefined
        ? visit.ask(
            (caller) => open(caller, input),
            () => refusedToNobody(input.least_micros),
          )
        : open(who, input),
    settle: async (input) => {
      const { currency, auto_topup, alerts } = visit.asked(payer());
      const outcome = await attempt((retry) => stub().settle({ ...input, currency, auto_topup, alerts, retry }));
      visit.alert(outcome);
      return outcome;
    },
    settled: (outcome) => visit.alert(outcome),
    charge: async (input): Promise<ChargeOutcome> => {
      const asked = { ...visit.asked(payer()), ...input };
      const outcome = await attempt((retry) => stub().charge({ ...asked, retry }));
      visit.alert(outcome);
      return outcome;
    },
  };
}

/** Starts the loop that lets the body through. */
function flow<Env>(
  visit: Visit<Env>,
  source: ReadableStream<Uint8Array>,
  meter: Meter,
  { framing, resolved, ctx }: Body,
  length?: number,
): { readonly body: ReadableStream<Uint8Array>; readonly ended: Promise<Ended> } {
  const { rate, pricer, onUpstreamError, onEnd } = resolved;
  const { readable, writable } = length === undefined ? new IdentityTransformStream() : new FixedLengthStream(length);
  const parts = partsOf(framing);
  const ended = deliver({
    source,
    sink: writable,
    meter,
    rate,
    parts,
    pricer,
    onUpstreamError,
    signal: visit.request.signal,
    breaksOff: length !== undefined,
    last: framing === "events" ? (end) => lastEvents(visit, end, parts.whole) : undefined,
  });
  const told = ended.then((end) => {
    report(visit, end);
    onEnd?.(end);
  });
  ctx.waitUntil(told);
  return { body: readable, ended };
}

async function lastEvents<Env>(visit: Visit<Env>, ended: Ended, whole: boolean): Promise<readonly Uint8Array[]> {
  const { balances, price_micros } = ended;
  const { currency } = visit;
  const events = whole ? [] : [BLANK_LINES];
  if (ended.cause !== "complete") events.push(problemEvent(await problemOf(visit, ended)));
  if (balances !== undefined) {
    const [price, balance] = [price_micros, balances.balance_micros].map((micros) => formatMinor(micros, currency));
    events.push(balanceEvent({ price: price ?? "", balance: balance ?? "", currency: currency.code }));
  }
  return events;
}

async function problemOf<Env>(visit: Visit<Env>, { cause, refusal, balances }: Ended): Promise<ProblemBody> {
  const answer =
    refusal !== undefined
      ? refusalProblem(refusal, {
          currency: visit.currency,
          balance_micros: balances?.balance_micros ?? ZERO,
          paymentLink: visit.paymentLink(),
        })
      : cause === "max"
        ? plainProblem(402, "max-reached", "Maximum price reached", "This response has cost as much as it may.")
        : outageProblem();
  return answer.json<ProblemBody>();
}

/** What the owner should know of. */
export function report<Env>(
  { options, pathname, known }: Visit<Env>,
  { cause, missing_micros, balances }: Ended,
): void {
  if (cause === "unreachable" || balances === undefined) {
    options.onIncident({ kind: "outage", path: pathname, served: false, cause });
  } else if (missing_micros > 0) {
    options.onIncident({ kind: "unpaid", path: pathname, envelope_id: known.envelopeId, missing_micros });
  }
}
