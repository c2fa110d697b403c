/**
 * The rules of money: what a charge, refund, grant or payment does to an account. Pure and synchronous: no `this`, no I/O,
 * no clock, no storage. A rule answers with the entry to write, or with the outcome when nothing is to be written.
 *
 * Precedence of a charge's answers, so that a request with two faults has one defined outcome: an operation already
 * written, a key already used, a price of zero, frozen, a limit.
 *
 * Of several limits that refuse (the balance, windows, the cap of a key), one is named: one that paying does not lift before
 * one that it does, because a refusal that says "pay" must be true; of those the one that admits least; of equals the one that
 * is lifted last, and then the first in the list.
 */
import {
  type Balances,
  type ChargeInput,
  type ChargeOutcome,
  type ConflictDetail,
  type EntryKind,
  isSpending,
  type LotTerms,
  type Refusal,
  type RefusalReason,
} from "../contract.js";
import { canTopUp } from "../limits.js";
import { type Micros, toMicros, ZERO } from "../money.js";

/** What the rules know of an envelope: the newest entry, and what open holds reserve. */
export interface Account {
  readonly balance_micros: Micros;
  readonly held_micros: Micros;
  /** Neither held nor to be spent on what is asked for: it was given for something else. Absent on the envelopes that have no grant. */
  readonly apart_micros?: Micros;
  /** Of the balance, what is left of grants. */
  readonly given_micros?: Micros;
  readonly frozen: boolean;
  /** Money was put in at some time. */
  readonly funded: boolean;
  /** Of its first entry; `null` until there is one. */
  readonly currency: string | null;
  /** What limits spending besides the balance. Absent on the envelopes that have no other limit. */
  readonly limits?: readonly Headroom[] | undefined;
  /** Limited by nothing but its limits, of which it has one at least: the balance is what was paid, less what was used. */
  readonly budget?: boolean;
}

/** What one limit still admits, with open holds taken off. */
export interface Headroom {
  readonly reason: RefusalReason;
  /** Below zero where the limit was lowered since. */
  readonly admits_micros: Micros;
  /** When it admits more by itself; `null` for never. */
  readonly resets_at_ms: number | null;
  /** The same for a price that it does not admit, where it is not the same for all. */
  readonly resetsFor?: (price: Micros) => number | null;
  /** Which window. */
  readonly window_id?: string | null;
}

/** An entry before it has its number and running balance. */
export interface Draft {
  readonly kind: EntryKind;
  readonly amount_micros: Micros;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly op?: string | undefined;
  readonly ref_seq?: number | undefined;
  /** When what it gives back was booked. Not stored: that entry says it. */
  readonly ref_at_ms?: number | undefined;
  readonly hold_id?: number | undefined;
  readonly payment_id?: string | undefined;
  /** Who spent it, where that was not the holder. Of a refund: of the charge it gives back. */
  readonly spender_id?: number | undefined;
  readonly reason?: string | undefined;
  readonly metadata?: string | undefined;
  /** Of a charge: what it is for. */
  readonly tag?: string | undefined;
  /** Of a grant: on what terms. */
  readonly terms?: LotTerms | undefined;
  /** Of what expires or is revoked: the lot. */
  readonly lot_id?: number | undefined;
}

/** What was written earlier under the same operation or key. */
export interface Prior {
  readonly seq: number;
  readonly kind: EntryKind;
  readonly amount_micros: Micros;
  readonly scope: string | null;
  readonly at_ms: number;
  /** Some of it was given back. */
  readonly refunded?: boolean;
  readonly ref_seq?: number | null;
}

export type Decision<Outcome> = { readonly write: Draft } | { readonly outcome: Outcome };

/** As a caller is told them. On a budget, what is left of it. */
export function balances(account: Account): Balances {
  const available_micros = available(account);
  if (!account.budget) return { balance_micros: account.balance_micros, available_micros };
  return { balance_micros: (available_micros + account.held_micros) as Micros, available_micros };
}

/** Told to whom the balance is none of their business. */
export const NOTHING: Balances = { balance_micros: ZERO, available_micros: ZERO };

export function available(account: Account): Micros {
  if (account.budget) return lowestOf(account.limits ?? NO_LIMITS, Number.MAX_SAFE_INTEGER as Micros);
  return (account.balance_micros - account.held_micros - (account.apart_micros ?? 0)) as Micros;
}

/** What money is spent on: what was said, else the reason. */
export function tagOf({
  tag,
  reason,
}: {
  readonly tag?: string | null | undefined;
  readonly reason?: string | null | undefined;
}): string | undefined {
  return tag ?? reason ?? undefined;
}

/** Expiry is a matter of the time passed in: an expired hold reserves nothing, whether or not that was noted. */
export function isExpired(hold: { readonly expires_at_ms: number }, now_ms: number): boolean {
  return hold.expires_at_ms <= now_ms;
}

/** What an open hold keeps from being spent. Of a meter's whose lease is over, what was delivered: that is still to be booked. */
export function reserved(
  hold: { readonly expires_at_ms: number; readonly amount_micros: Micros; readonly used_micros: Micros | null },
  now_ms: number,
): Micros {
  return isExpired(hold, now_ms) ? (hold.used_micros ?? ZERO) : hold.amount_micros;
}

/** Positive amount that an entry took. */
export function taken(entry: { readonly amount_micros: Micros }): Micros {
  return (0 - entry.amount_micros) as Micros;
}

/** What all limits together admit. Below zero where one of them does. */
export function headroom(account: Account): Micros {
  const left = available(account);
  return account.limits === undefined ? left : lowestOf(account.limits, left);
}

function lowestOf(limits: readonly Headroom[], most: Micros): Micros {
  let left = most;
  for (const { admits_micros } of limits) if (admits_micros < left) left = admits_micros;
  return left;
}

/** The account's limits, as if so much less counted in each; below zero, as if so much more did. */
export function admitting({ limits }: Account, more: number): Account["limits"] {
  return limits?.map((limit) => {
    const { resetsFor } = limit;
    const shifted = { ...limit, admits_micros: (limit.admits_micros + more) as Micros };
    return resetsFor === undefined
      ? shifted
      : { ...shifted, resetsFor: (price) => resetsFor((price - more) as Micros) };
  });
}

/** One key for two spenders is two uses of it: what one paid for is not given to the other. */
export function askedBy<Input extends { readonly scope?: string | undefined }>(
  caller: readonly [{ readonly spender_id: number }, ...unknown[]] | undefined,
  input: Input,
): Input {
  if (caller === undefined || input.scope === undefined) return input;
  return { ...input, scope: `${input.scope}:${caller[0].spender_id}` };
}

export function refusal(account: Account, reason: RefusalReason, price: Micros): Refusal {
  const missing = Math.max(0, price - available(account));
  return {
    reason,
    price_micros: price,
    shortfall_micros: (reason === "insufficient_balance" ? missing : 0) as Micros,
  };
}

/** Why money must not leave, or `undefined` when it may. `least` is what would do, where that is less than the price. */
export function refuseSpending(account: Account, price: Micros, least: Micros = price): Refusal | undefined {
  if (account.frozen) return refusal(account, "frozen", price);
  const left = available(account);
  let named: Headroom | undefined = least > left && !account.budget ? { ...BALANCE, admits_micros: left } : undefined;
  for (const limit of account.limits ?? NO_LIMITS) {
    if (least > limit.admits_micros && (named === undefined || comesBefore(limit, named, least))) named = limit;
  }
  if (named === undefined) return undefined;
  const { resetsFor: _, ...told } = named;
  return { ...refusal(account, named.reason, price), ...told, resets_at_ms: resetsAt(named, least) };
}

const NO_LIMITS: readonly Headroom[] = [];
const BALANCE = { reason: "insufficient_balance", resets_at_ms: null } as const;

function comesBefore(one: Headroom, other: Headroom, price: Micros): boolean {
  const [lifted, liftedToo] = [canTopUp(one.reason), canTopUp(other.reason)];
  if (lifted !== liftedToo) return liftedToo;
  if (one.admits_micros !== other.admits_micros) return one.admits_micros < other.admits_micros;
  const never = Number.POSITIVE_INFINITY;
  return (resetsAt(one, price) ?? never) > (resetsAt(other, price) ?? never);
}

function resetsAt({ resets_at_ms, resetsFor }: Headroom, price: Micros): number | null {
  return resetsFor === undefined ? resets_at_ms : resetsFor(price);
}

interface Keyed {
  readonly scope?: string | undefined;
  readonly replay_ms?: number | undefined;
  readonly amount_micros?: Micros;
  readonly at_most?: boolean | undefined;
}

/**
 * Answers a key that was used before: a replay when it was for the same thing, and not too long ago; else a conflict. The
 * work is done again for a replay, so a key must not open a door for ever, nor one that was paid back.
 */
export function answerPrior(
  prior: Prior,
  input: Keyed,
  now_ms: number,
):
  | { readonly outcome: "replayed"; readonly seq: number; readonly amount_micros: Micros }
  | { readonly outcome: "conflict"; readonly detail: ConflictDetail } {
  const conflict = (detail: ConflictDetail) => ({ outcome: "conflict", detail }) as const;
  if (!isSpending(prior.kind) || prior.scope !== (input.scope ?? null)) return conflict("scope");
  const amount = taken(prior);
  const wanted = input.amount_micros ?? amount;
  if (input.at_most ? amount > wanted : amount !== wanted) return conflict("price");
  if (prior.refunded) return conflict("refunded");
  if (input.replay_ms !== undefined && now_ms - prior.at_ms >= input.replay_ms) return conflict("expired");
  return { outcome: "replayed", seq: prior.seq, amount_micros: amount };
}

export interface Priors {
  /** Written by an earlier attempt of this very operation. */
  readonly operation?: Prior | undefined;
  readonly key?: Prior | undefined;
  /** An open hold was taken with this key: its charge is still to come. */
  readonly key_is_held?: boolean;
}

export function decideCharge(
  account: Account,
  priors: Priors,
  input: ChargeInput,
  now_ms: number,
): Decision<ChargeOutcome> {
  const now = balances(account);
  if (priors.operation !== undefined) {
    const { seq } = priors.operation;
    return { outcome: { outcome: "charged", seq, amount_micros: taken(priors.operation), ...now } };
  }
  if (toMicros(input.amount_micros) === undefined || input.amount_micros < 0) {
    return { outcome: { outcome: "invalid", detail: "An amount is an integer of 0 to 2^53−1 micros", ...now } };
  }
  if (priors.key !== undefined) return { outcome: { ...answerPrior(priors.key, input, now_ms), ...now } };
  if (priors.key_is_held) return { outcome: { outcome: "conflict", detail: "in_progress", ...now } };
  if (account.currency !== null && account.currency !== input.currency) {
    return { outcome: { outcome: "invalid", detail: `This envelope is kept in ${account.currency}`, ...now } };
  }

  if (input.amount_micros === 0 && (!input.record_zero || !account.funded)) {
    return { outcome: { outcome: "charged", seq: null, amount_micros: ZERO, ...now } };
  }
  const amount = input.at_most
    ? (Math.max(0, Math.min(input.amount_micros, headroom(account))) as Micros)
    : input.amount_micros;
  // Of what would be taken at most, one micro would do: what refuses is what leaves nothing.
  const least = (amount === 0 ? Math.min(1, input.amount_micros) : amount) as Micros;
  const refused = least > 0 ? refuseSpending(account, amount === 0 ? input.amount_micros : amount, least) : undefined;
  if (refused !== undefined) return { outcome: { outcome: "refused", refusal: refused, ...now } };

  const { key, scope, op, reason, metadata, tag } = input;
  const kind = account.budget ? "usage" : "charge";
  return { write: { kind, amount_micros: (0 - amount) as Micros, key, scope, op, reason, metadata, tag } };
}
