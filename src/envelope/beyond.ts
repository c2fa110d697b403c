/**
 * What a hold may do besides being settled within its amount: be extended, be settled above it, or lapse with something delivered.
 * Pure, like holds.ts.
 */
import type { ExtendInput, ExtendOutcome } from "../contract.js";
import { type Micros, toMicros, ZERO } from "../money.js";
import { chargeOf, endedAs, type Hold, type Taking } from "./holds.js";
import {
  type Account,
  admitting,
  available,
  balances,
  type Draft,
  headroom,
  isExpired,
  refuseSpending,
} from "./ledger.js";

/** What the hold reserved, and of the rest what the balance covers: all of it or nothing (`"apart"`), or as much as is there. */
export const takeSome: Taking = (after, hold, { amount_micros: price, above }) => {
  // A claw-back may have taken some of what was reserved. A limit that was lowered since did not.
  const there = after.budget ? hold.amount_micros : available(after);
  const settled = Math.max(0, Math.min(price, hold.amount_micros, there)) as Micros;
  const rest = (price - settled) as Micros;
  if (rest === 0) return { amount_micros: price };
  const left = lessBy(after, settled);
  const room = left.frozen ? 0 : Math.max(0, headroom(left));
  const extra = above === "part" ? Math.min(rest, room) : rest <= room ? rest : 0;
  const amount_micros = (settled + extra) as Micros;
  return extra === rest ? { amount_micros } : { amount_micros, refusal: refuseSpending(left, rest) };
};

function lessBy(account: Account, taken: Micros): Account {
  const limits = admitting(account, 0 - taken);
  return { ...account, balance_micros: (account.balance_micros - taken) as Micros, limits };
}

/**
 * The charge of a meter whose lease is over: what is known to have been delivered (`told`, where more was said than is on disk), as
 * far as the balance still covers it: a claw-back may have taken some. `undefined` where there is none. `account` still counts what
 * is on disk as held.
 */
export function decideLapse(account: Account, hold: Hold, told: Micros = ZERO): Draft | undefined {
  const reserved = hold.used_micros ?? ZERO;
  const used = Math.min(hold.amount_micros, Math.max(reserved, told));
  const there = account.budget ? used : available(account) + reserved;
  const amount = Math.max(0, Math.min(used, there)) as Micros;
  return amount === 0 ? undefined : chargeOf(account, hold, amount);
}

export type ExtendDecision =
  | { readonly write: Pick<Hold, "amount_micros" | "expires_at_ms"> }
  | { readonly end: "expired"; readonly outcome: ExtendOutcome }
  | { readonly outcome: ExtendOutcome };

/** A hold is only ever raised and prolonged: what it promised to whoever works on it stays promised. */
export function decideExtend(
  account: Account,
  hold: Hold | undefined,
  input: ExtendInput,
  now_ms: number,
  paid: Micros = ZERO,
): ExtendDecision {
  const now = balances(account);
  if (hold === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (hold.state !== "open") return { outcome: { ...endedAs(hold.state, paid), ...now } };
  const { amount_micros = hold.amount_micros, ttl_ms = 1 } = input;
  if (toMicros(amount_micros) === undefined || amount_micros < 0 || !Number.isSafeInteger(ttl_ms) || ttl_ms <= 0) {
    const detail = "A hold is of whole micros, up to 2^53−1, and lasts a whole number of ms above 0";
    return { outcome: { outcome: "invalid", detail, ...now } };
  }
  if (isExpired(hold, now_ms)) return { end: "expired", outcome: { ...endedAs("expired", ZERO), ...now } };
  const more = (amount_micros - hold.amount_micros) as Micros;
  const refused = more > 0 ? refuseSpending(account, more) : undefined;
  if (refused !== undefined) return { outcome: { outcome: "refused", refusal: refused, ...now } };
  const next = {
    amount_micros: Math.max(amount_micros, hold.amount_micros) as Micros,
    expires_at_ms: input.ttl_ms === undefined ? hold.expires_at_ms : Math.max(hold.expires_at_ms, now_ms + ttl_ms),
  };
  if (next.amount_micros === hold.amount_micros && next.expires_at_ms === hold.expires_at_ms) {
    return { outcome: { outcome: "extended", ...next, ...now } };
  }
  return { write: next };
}
