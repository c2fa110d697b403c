/**
 * The rules of holds: money reserved for work whose price is not known yet. Pure, like ledger.ts. A hold ends exactly once
 * (settled, released or expired); each later attempt is told how it ended. Expiry is a matter of the time passed in: no
 * alarm has to fire for an expired hold to stop reserving money.
 */
import type {
  ConflictDetail,
  HoldEnd,
  HoldEnded,
  HoldInput,
  HoldOutcome,
  Refusal,
  ReleaseOutcome,
  SettleInput,
  SettleOutcome,
} from "../contract.js";
import { type Micros, toMicros, ZERO } from "../money.js";
import {
  type Account,
  admitting,
  answerPrior,
  balances,
  type Draft,
  isExpired,
  type Priors,
  refuseSpending,
} from "./ledger.js";

export interface Hold {
  readonly hold_id: number;
  readonly at_ms: number;
  readonly expires_at_ms: number;
  readonly amount_micros: Micros;
  readonly state: "open" | HoldEnd;
  readonly settled_micros: Micros | null;
  /** What its charge took: that may be more than the hold, and the entry may be folded. Unknown of holds settled before it was kept. */
  readonly paid_micros: Micros | null;
  readonly settled_seq: number | null;
  readonly op: string;
  readonly end_op: string | null;
  readonly key: string | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly tag: string | null;
  /** JSON: which lots it reserves how much of, in the order they are taken from. `null`: all of it is of what was paid. */
  readonly lots: string | null;
  /** Who took it, where that was not the holder. */
  readonly spender_id: number | null;
  /** Of a meter's hold: what was delivered, as far as is on disk. `null` for any other. */
  readonly used_micros: Micros | null;
}

export type HoldDecision = { readonly open: true } | { readonly outcome: HoldOutcome };

export function decideHold(
  account: Account,
  priors: Priors & { readonly hold?: Hold | undefined },
  input: HoldInput,
  now_ms: number,
): HoldDecision {
  const now = balances(account);
  if (priors.hold !== undefined) {
    const { hold_id, expires_at_ms } = priors.hold;
    return { outcome: { outcome: "held", hold_id, expires_at_ms, ...now } };
  }
  if (
    toMicros(input.amount_micros) === undefined ||
    input.amount_micros <= 0 ||
    !Number.isSafeInteger(input.ttl_ms) ||
    input.ttl_ms <= 0
  ) {
    return {
      outcome: {
        outcome: "invalid",
        detail: "A hold is above zero micros and lasts a whole number of ms above 0",
        ...now,
      },
    };
  }
  const answered = answerEarlier(account, priors, input, now_ms);
  if (answered !== undefined) return { outcome: { ...answered, ...now } };
  const refused = refuseSpending(account, input.amount_micros);
  return refused === undefined ? { open: true } : { outcome: { outcome: "refused", refusal: refused, ...now } };
}

/** Whatever is reserved: its key was used, is held, or it is in another currency. */
export function answerEarlier(
  account: Account,
  priors: Priors,
  input: Pick<HoldInput, "scope" | "replay_ms" | "currency">,
  now_ms: number,
):
  | { readonly outcome: "replayed"; readonly seq: number; readonly amount_micros: Micros }
  | { readonly outcome: "conflict"; readonly detail: ConflictDetail }
  | { readonly outcome: "invalid"; readonly detail: string }
  | undefined {
  // The final price is not known yet, so only the scope can be compared; the price is when the work is done.
  if (priors.key !== undefined)
    return answerPrior(priors.key, { scope: input.scope, replay_ms: input.replay_ms }, now_ms);
  if (priors.key_is_held) return { outcome: "conflict", detail: "in_progress" };
  if (account.currency !== null && account.currency !== input.currency) {
    return { outcome: "invalid", detail: `This envelope is kept in ${account.currency}` };
  }
  return undefined;
}

export type SettleDecision =
  | { readonly outcome: SettleOutcome }
  | {
      readonly end: HoldEnd;
      readonly write?: Draft;
      readonly refusal?: Refusal | undefined;
      readonly outcome?: SettleOutcome;
    };

/** What is taken of a price, once the hold no longer counts as held, and why it is not the whole price. */
export type Taking = (
  after: Account,
  hold: Hold,
  input: SettleInput,
) => { readonly amount_micros: Micros; readonly refusal?: Refusal | undefined };

/** `account` and all its limits still count this hold's amount as held. `paid` is what the hold's entry took, where it has one. */
export function decideSettle(
  account: Account,
  hold: Hold | undefined,
  input: SettleInput,
  now_ms: number,
  paid: Micros = ZERO,
  take: Taking = takeAll,
): SettleDecision {
  const now = balances(account);
  if (hold === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (hold.state === "settled" && hold.end_op === input.op) {
    const parts = { amount_micros: paid, ...partsOf(hold, paid) };
    return { outcome: { outcome: "charged", seq: hold.settled_seq, ...parts, ...now } };
  }
  if (hold.state !== "open") return { outcome: { ...endedAs(hold.state, paid), ...now } };
  if (toMicros(input.amount_micros) === undefined || input.amount_micros < 0) {
    return { outcome: { outcome: "invalid", detail: "An amount is an integer of 0 to 2^53−1 micros", ...now } };
  }
  if (isExpired(hold, now_ms)) return { end: "expired", outcome: { ...endedAs("expired", ZERO), ...now } };
  if (input.amount_micros === 0) return { end: "settled" };

  const after = withoutHold(account, hold);
  const taking = take(after, hold, input);
  if (taking.amount_micros === 0 && taking.refusal !== undefined) {
    return { end: "released", outcome: { outcome: "refused", refusal: taking.refusal, ...balances(after) } };
  }
  const write = { ...chargeOf(account, hold, taking.amount_micros), op: input.op, metadata: input.metadata };
  return { end: "settled", write, refusal: taking.refusal };
}

/** The whole price, or nothing. */
const takeAll: Taking = (after, hold, { amount_micros }) => {
  // What was reserved may still be spent if the envelope was frozen since, or a limit lowered; more than that may not.
  const above = amount_micros > hold.amount_micros;
  const refused = refuseSpending(above ? after : { ...after, frozen: false, limits: undefined }, amount_micros);
  return refused === undefined ? { amount_micros } : { amount_micros: ZERO, refusal: refused };
};

/** As if the hold had ended with nothing taken. */
function withoutHold(account: Account, { amount_micros: held }: Hold): Account {
  return { ...account, held_micros: (account.held_micros - held) as Micros, limits: admitting(account, held) };
}

/** The entry of what a hold is settled at. */
export function chargeOf(account: Account, hold: Hold, amount_micros: Micros): Draft {
  return {
    kind: account.budget ? "usage" : "charge",
    amount_micros: (0 - amount_micros) as Micros,
    key: hold.key ?? undefined,
    scope: hold.scope ?? undefined,
    hold_id: hold.hold_id,
    spender_id: hold.spender_id ?? undefined,
    reason: hold.reason ?? undefined,
    tag: hold.tag ?? undefined,
  };
}

/** What was taken, told apart: of the hold, and above it. */
export function partsOf(
  hold: Pick<Hold, "amount_micros">,
  taken: Micros,
): { readonly settled_micros: Micros; readonly extra_micros: Micros } {
  const settled_micros = Math.min(taken, hold.amount_micros) as Micros;
  return { settled_micros, extra_micros: (taken - settled_micros) as Micros };
}

export function endedAs(end: HoldEnd, paid_micros: Micros): HoldEnded {
  return { outcome: "ended", end, paid_micros };
}

export type ReleaseDecision = { readonly end: HoldEnd } | { readonly outcome: ReleaseOutcome };

export function decideRelease(
  account: Account,
  hold: Hold | undefined,
  now_ms: number,
  paid: Micros = ZERO,
): ReleaseDecision {
  const now = balances(account);
  if (hold === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (hold.state !== "open") return { outcome: { ...endedAs(hold.state, paid), ...now } };
  return { end: isExpired(hold, now_ms) ? "expired" : "released" };
}
