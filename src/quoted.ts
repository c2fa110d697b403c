/** A price that is known before the handler runs: held, then settled with the response, or released. Loaded where `options.price` is set. */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import type { ChargeOutcome, HoldInput, HoldOutcome } from "./contract.js";
import { isKnown } from "./identity/caller.js";
import { type Micros, parsePrice } from "./money.js";
import { answerNo, malformedKey, reportInvalidPrice } from "./no.js";
import { chargeWhenDelivered } from "./options.js";
import { newOperation } from "./secrets.js";
import { envelopeStub } from "./stubs.js";
import { refusalOfNothing, refusedToNobody, type Visit } from "./visit.js";

/** What was reserved before the handler ran; empty when nothing was. */
export interface Held {
  readonly quote?: Micros;
  readonly hold_id?: number;
  /** Whose the hold is: by the end of the handler the caller may be someone else, when a limited session ended on the way. */
  readonly envelopeId?: string;
  /** The caller's key was already charged: nothing is held, nothing is charged again. */
  readonly replayed?: Extract<HoldOutcome, { outcome: "replayed" }>;
}

export async function hold<Env>(
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
  const key = visit.requestKey();
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
  const scope = key && visit.caller.kind !== "fresh" ? await visit.scope() : undefined;
  return visit.ask(
    async (caller): Promise<HoldOutcome> => {
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
    },
    () => refusedToNobody(quote),
  );
}

async function releaseOperation<Env>(visit: Visit<Env>, op: string): Promise<void> {
  const { caller } = visit;
  // Where no envelope was found, none holds anything.
  if (!isKnown(caller)) return;
  await attempt(() => envelopeStub(visit.env, caller.envelopeId).release({ op })).catch(() => undefined);
}

/** Never throws: a hold that cannot be released now gives its money back by expiring. */
export async function release<Env>(visit: Visit<Env>, held: Held): Promise<void> {
  const { hold_id, envelopeId } = held;
  if (hold_id === undefined || envelopeId === undefined) return;
  await attempt(() => envelopeStub(visit.env, envelopeId).release({ hold_id })).catch(() => undefined);
}

/** `undefined` when the hold had ended before the work did: the price is then charged without it. */
export async function settle<Env>(
  visit: Visit<Env>,
  envelopeId: string,
  hold_id: number,
  price: Micros,
): Promise<ChargeOutcome | undefined> {
  const { currency, auto_topup, alerts } = visit.asked(visit.known);
  const input = { hold_id, amount_micros: price, op: newOperation(), currency, auto_topup, alerts };
  const outcome = await attempt((retry) => envelopeStub(visit.env, envelopeId).settle({ ...input, retry }));
  if (outcome.outcome === "ended" || outcome.outcome === "unknown") return undefined;
  visit.balance = outcome.balance_micros;
  visit.alert(outcome);
  return outcome;
}
