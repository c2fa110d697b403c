/** The rules of money that is given: grants, and charges that are given back. Pure, like ledger.ts. */
import type { EntryKind, GrantInput, GrantOutcome, RefundInput, RefundOutcome } from "../contract.js";
import { addMicros, type Micros } from "../money.js";
import { type Account, balances, type Decision, type Prior, taken } from "./ledger.js";

/** All that is known of a charge without a row. */
export interface FoldedCharge {
  readonly folded: number;
}

/** What is known of the charge that is to be given back. */
export interface Refundable {
  readonly seq: number;
  readonly at_ms: number;
  readonly kind: EntryKind;
  readonly amount_micros: Micros;
  /** Already given back, over all earlier refunds. */
  readonly refunded_micros: Micros;
  readonly spender_id?: number | null;
}

export function decideRefund(
  account: Account,
  charge: Refundable | FoldedCharge | undefined,
  prior: Prior | undefined,
  input: RefundInput,
  /** Older than what may still be given back. */
  isClosed: (charge_at_ms: number) => boolean = () => false,
): Decision<RefundOutcome> {
  const now = balances(account);
  if (charge === undefined) return { outcome: { outcome: "unknown", ...now } };
  // What was given back in part is never folded: a key that was used, was used for another charge.
  if ("folded" in charge) return { outcome: { outcome: prior === undefined ? "expired" : "conflict", ...now } };
  if (charge.kind !== "charge") return { outcome: { outcome: "unknown", ...now } };
  if (prior !== undefined) {
    const { seq, amount_micros } = prior;
    const same = prior.ref_seq === charge.seq && amount_micros === (input.amount_micros ?? amount_micros);
    return { outcome: same ? { outcome: "replayed", seq, amount_micros, ...now } : { outcome: "conflict", ...now } };
  }
  if (isClosed(charge.at_ms)) return { outcome: { outcome: "expired", ...now } };
  const left = (taken(charge) - charge.refunded_micros) as Micros;
  const amount = input.amount_micros ?? left;
  if (!(amount > 0) || amount > left || addMicros(account.balance_micros, amount) === undefined) {
    return { outcome: { outcome: "refused", refundable_micros: left, ...now } };
  }
  const { key, op, reason } = input;
  const spender_id = charge.spender_id ?? undefined;
  const given = { ref_seq: charge.seq, ref_at_ms: charge.at_ms, spender_id };
  return { write: { kind: "refund", amount_micros: amount, ...given, key, op, reason } };
}

export function decideGrant(account: Account, prior: Prior | undefined, input: GrantInput): Decision<GrantOutcome> {
  const now = balances(account);
  if (prior !== undefined) {
    const { seq, amount_micros } = prior;
    const same = prior.kind === "grant" && amount_micros === input.amount_micros;
    return {
      outcome: same
        ? { outcome: "replayed", seq, amount_micros, ...now }
        : { outcome: "conflict", detail: "price", ...now },
    };
  }
  if (account.currency !== null && account.currency !== input.currency) {
    return { outcome: { outcome: "invalid", detail: `This envelope is kept in ${account.currency}`, ...now } };
  }
  if (!(input.amount_micros > 0) || addMicros(account.balance_micros, input.amount_micros) === undefined) {
    return {
      outcome: {
        outcome: "invalid",
        detail: "A grant is above zero and keeps the balance within 2^53−1 micros",
        ...now,
      },
    };
  }
  const { key, op, reason } = input;
  return { write: { kind: "grant", amount_micros: input.amount_micros, key, op, reason } };
}
