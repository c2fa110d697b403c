/**
 * The rules of holds: money reserved for work whose price is not known yet. Pure, like ledger.ts. A hold ends exactly once
 * (settled, released or expired); each later attempt is told how it ended. Expiry is a matter of the time passed in: no
 * alarm has to fire for an expired hold to stop reserving money.
 */
import type { HoldEnd, HoldInput, HoldOutcome, ReleaseOutcome, SettleInput, SettleOutcome } from "../contract.js";
import { type Micros, toMicros, ZERO } from "../money.js";
import {
  type Account,
  answerPrior,
  balances,
  type Draft,
  type Headroom,
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
  if (priors.key !== undefined) {
    // The final price is not known yet, so only the scope can be compared; the price is when the work is done.
    return {
      outcome: { ...answerPrior(priors.key, { scope: input.scope, replay_ms: input.replay_ms }, now_ms), ...now },
    };
  }
  if (priors.key_is_held) return { outcome: { outcome: "conflict", detail: "in_progress", ...now } };
  if (account.currency !== null && account.currency !== input.currency) {
    return { outcome: { outcome: "invalid", detail: `This envelope is kept in ${account.currency}`, ...now } };
  }
  const refused = refuseSpending(account, input.amount_micros);
  return refused === undefined ? { open: true } : { outcome: { outcome: "refused", refusal: refused, ...now } };
}

export type SettleDecision =
  | { readonly outcome: SettleOutcome }
  | { readonly end: HoldEnd; readonly write?: Draft; readonly outcome?: SettleOutcome };

/** `account` and all its limits still count this hold's amount as held. `paid` is what the hold's entry took, where it has one. */
export function decideSettle(
  account: Account,
  hold: Hold | undefined,
  input: SettleInput,
  now_ms: number,
  paid: Micros = ZERO,
): SettleDecision {
  const now = balances(account);
  if (hold === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (hold.state === "settled" && hold.end_op === input.op) {
    return { outcome: { outcome: "charged", seq: hold.settled_seq, amount_micros: paid, ...now } };
  }
  if (hold.state !== "open") return { outcome: { outcome: "ended", end: hold.state, ...now } };
  if (toMicros(input.amount_micros) === undefined || input.amount_micros < 0) {
    return { outcome: { outcome: "invalid", detail: "An amount is an integer of 0 to 2^53−1 micros", ...now } };
  }

  const held = hold.amount_micros;
  const limits = account.limits?.map((limit) => withoutHold(limit, held));
  const after: Account = { ...account, held_micros: (account.held_micros - held) as Micros, limits };
  if (isExpired(hold, now_ms)) {
    return { end: "expired", outcome: { outcome: "ended", end: "expired", ...now } };
  }
  if (input.amount_micros === 0) return { end: "settled" };
  // What was reserved may still be spent if the envelope was frozen since, or a limit lowered; more than that may not.
  const above = input.amount_micros > held;
  const asked = above ? after : { ...after, frozen: false, limits: undefined };
  const refused = refuseSpending(asked, input.amount_micros);
  if (refused !== undefined) {
    return { end: "released", outcome: { outcome: "refused", refusal: refused, ...balances(after) } };
  }
  return {
    end: "settled",
    write: {
      kind: account.budget ? "usage" : "charge",
      amount_micros: (0 - input.amount_micros) as Micros,
      key: hold.key ?? undefined,
      scope: hold.scope ?? undefined,
      op: input.op,
      hold_id: hold.hold_id,
      spender_id: hold.spender_id ?? undefined,
      reason: hold.reason ?? undefined,
      tag: hold.tag ?? undefined,
      metadata: input.metadata,
    },
  };
}

/** As if the hold were not there. */
function withoutHold(limit: Headroom, held: Micros): Headroom {
  const { resetsFor } = limit;
  const without = { ...limit, admits_micros: (limit.admits_micros + held) as Micros };
  return resetsFor === undefined ? without : { ...without, resetsFor: (price) => resetsFor((price - held) as Micros) };
}

export type ReleaseDecision = { readonly end: HoldEnd } | { readonly outcome: ReleaseOutcome };

export function decideRelease(account: Account, hold: Hold | undefined, now_ms: number): ReleaseDecision {
  const now = balances(account);
  if (hold === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (hold.state !== "open") return { outcome: { outcome: "ended", end: hold.state, ...now } };
  return { end: isExpired(hold, now_ms) ? "expired" : "released" };
}
