/** `ctx.envelope.hold` and `ctx.envelope.refund`: loaded when a handler asks for one. */
import { attempt } from "./attempt.js";
import type { Balances, RefundInput, RefundOutcome, Refusal } from "./contract.js";
import { REASON_MAX } from "./contract.js";
import { type EnvelopeHold, type HoldOptions, type HoldResult, holdMoney, type Purse } from "./held.js";
import type { Known } from "./identity/caller.js";
import { isKey, isReason } from "./keys.js";
import { formatMinor, type Price, parsePrice, ZERO } from "./money.js";
import { newOperation } from "./secrets.js";
import { envelopeStub } from "./stubs.js";
import { NO_BALANCES, refusalOfNothing, refusedToNobody, type Visit } from "./visit.js";

/** What a refund asks for besides its price. */
export interface RefundOptions {
  /** Makes the refund happen once: 1 to 255 visible ASCII characters. */
  readonly key?: string | undefined;
  readonly reason?: string | undefined;
}

/** Outcome of `ctx.envelope.refund`; with its balance in minor units. */
export type RefundResult = (RefundOutcome | ({ readonly outcome: "invalid"; readonly detail: string } & Balances)) & {
  readonly balance: string;
  readonly currency: string;
};

export async function holdForApp(visit: Visit<unknown>, max: Price, options: HoldOptions): Promise<HoldResult> {
  visit.personal = true;
  const { currency } = visit;
  const price_micros = parsePrice(max, currency) ?? ZERO;
  const refused = (refusal: Refusal): HoldResult => {
    return { outcome: "refused", refusal, ...NO_BALANCES, balance: "0", currency: currency.code };
  };
  if (visit.caller.kind === "rejected") {
    return refused({ reason: "credential_revoked", price_micros, shortfall_micros: ZERO });
  }
  const named = { ...options, reason: options.reason ?? visit.reason() };
  const result = await visit.ask(
    async (caller): Promise<HoldResult> => {
      if (caller.kind === "fresh") return refused(refusalOfNothing(price_micros));
      return holdMoney(purseOf(visit, caller), max, named);
    },
    () => refused(refusedToNobody(price_micros).refusal),
  );
  if (result.outcome === "held") visit.keep(result as EnvelopeHold);
  return result;
}

export async function refundForApp(
  visit: Visit<unknown>,
  charge: number | string,
  price: Price | undefined,
  { key, reason }: RefundOptions,
): Promise<RefundResult> {
  visit.personal = true;
  const { currency } = visit;
  const told = (balance_micros = ZERO) => ({ balance: formatMinor(balance_micros, currency), currency: currency.code });
  const amount_micros = price === undefined ? undefined : parsePrice(price, currency);
  const detail =
    price !== undefined && amount_micros === undefined
      ? "The price is outside the grammar of X-Price"
      : key !== undefined && !isKey(key)
        ? "The key must be 1 to 255 visible ASCII characters"
        : isReason(reason)
          ? undefined
          : `The reason must be a text of at most ${REASON_MAX} characters`;
  if (detail !== undefined) return { outcome: "invalid", detail, ...NO_BALANCES, ...told() };
  const known = await visit.resolve();
  if (known === undefined || known.kind === "fresh") return { outcome: "unknown", ...NO_BALANCES, ...told() };
  const op = newOperation();
  const input: RefundInput = {
    op,
    charge: typeof charge === "number" ? { seq: charge } : { key: `app:${charge}` },
    key: `refund:${key ?? op}`,
    amount_micros,
    reason,
  };
  const outcome = await attempt((retry) => envelopeStub(visit.env, known.envelopeId).refund({ ...input, retry }));
  visit.balance = outcome.balance_micros;
  return { ...outcome, ...told(outcome.balance_micros) };
}

/** The hold stays with whoever took it, should the caller be somebody else by its end. */
function purseOf(visit: Visit<unknown>, caller: Known): Purse {
  const { currency, options, env } = visit;
  return {
    stub: () => envelopeStub(env, caller.envelopeId),
    asked: visit.asked(caller),
    currency,
    maxPrice: options.maxPrice,
    ttl_ms: options.hold_ms,
    tell: (alerted) => visit.alert(alerted),
  };
}
