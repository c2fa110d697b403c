/**
 * The rules of top-ups that we ask Stripe for: when a saved card is charged, and how an attempt ends. Pure, like ledger.ts.
 *
 * An attempt is stored before Stripe is asked, one at a time; its state only climbs (pending, failed, succeeded), whoever tells
 * of it and in whatever order. Whether auto top-up goes on is read off the attempts themselves, so no counter can drift.
 */
import type {
  AutoTopUpRules,
  AutoTopUpState,
  AutoTopUpStop,
  BeginTopUpInput,
  TopUp,
  TopUpFailure,
  TopUpStatus,
} from "../contract.js";
import { addMicros, currencyOf, type Micros, minorFromMicros } from "../money.js";
import type { Account } from "./ledger.js";

/** What the owner's server said: whose card may be charged. */
export interface AutoTopUp {
  readonly enabled: boolean;
  readonly customer: string;
  readonly payment_method: string;
  /** News that ended it. What attempts themselves tell is read off them. */
  readonly stopped: AutoTopUpStop | null;
  /** Attempts up to this one were made before it was enabled, and no longer speak against it. */
  readonly since_topup_id: number;
}

export type Attempt = Pick<
  TopUp,
  "topup_id" | "status" | "amount_micros" | "failure" | "code" | "at_ms" | "ended_at_ms"
>;

const DECLINES_MAX = 3;

/**
 * Whether there is reason to charge the card: less than the threshold is available, or a price was refused that one top-up
 * would cover. A price that no single top-up covers is no reason: it may be a mistake.
 */
export function isLow(rules: AutoTopUpRules, available_micros: Micros, refused_micros: Micros | undefined): boolean {
  if (available_micros < rules.threshold_micros) return true;
  if (refused_micros === undefined || refused_micros <= available_micros) return false;
  return refused_micros <= available_micros + rules.amount_micros;
}

/** `attempts`: of this envelope's auto top-up, newest first. */
export function standing(saved: AutoTopUp, attempts: readonly Attempt[]): AutoTopUpState {
  const counted = attempts.filter(({ topup_id }) => topup_id > saved.since_topup_id);
  const stopped = saved.stopped ?? stopOf(counted);
  const pending = attempts.some(({ status }) => status === "PENDING");
  const [newest] = attempts;
  return {
    enabled: saved.enabled,
    status: pending ? "pending" : !saved.enabled ? "off" : stopped !== null ? "stopped" : "ready",
    stopped,
    lastFailure: newest?.status === "FAILED" ? (newest.code ?? newest.failure) : null,
  };
}

/** What the attempts since it was enabled say against another one. */
function stopOf(attempts: readonly Attempt[]): AutoTopUpStop | null {
  let declines = 0;
  for (const { status, failure } of attempts) {
    if (status === "SUCCEEDED") return null;
    if (status === "PENDING" || failure === "canceled" || failure === null) continue;
    if (failure !== "declined") return failure;
    declines += 1;
    if (declines >= DECLINES_MAX) return "declined";
  }
  return null;
}

type NoTopUpReason =
  | "budget"
  | "none"
  | "off"
  | "pending"
  | "stopped"
  | "frozen"
  | "disputed"
  | "currency"
  | "cool_down"
  | "count"
  | "ceiling"
  | "range";

export type AutoTopUpDecision = { readonly charge_micros: Micros } | { readonly no: NoTopUpReason };

export interface AutoTopUpFacts {
  readonly account: Account;
  readonly open_disputes: number;
  readonly saved: AutoTopUp | undefined;
  /** Newest first; at least as many as a window may hold. */
  readonly attempts: readonly Attempt[];
  /** The deployment's. */
  readonly currency: string;
}

/** Asked only where `isLow`. */
export function decideAutoTopUp(facts: AutoTopUpFacts, rules: AutoTopUpRules, now_ms: number): AutoTopUpDecision {
  const { account, saved, attempts } = facts;
  // Paying does not let it spend more.
  if (account.budget) return { no: "budget" };
  if (saved === undefined) return { no: "none" };
  const { status } = standing(saved, attempts);
  if (status !== "ready") return { no: status };
  // Money would come in and could not be spent: not what anybody agreed to.
  if (account.frozen) return { no: "frozen" };
  if (facts.open_disputes > 0) return { no: "disputed" };
  if (account.currency !== null && account.currency !== facts.currency) return { no: "currency" };

  // A clock that was set back makes attempts look as if they were still to come: they count all the same.
  const [newest] = attempts;
  const ended_ms = newest && Math.max(newest.at_ms, newest.ended_at_ms ?? 0);
  if (ended_ms !== undefined && now_ms - ended_ms < rules.cool_down_ms) return { no: "cool_down" };
  const recent = attempts.filter(
    // By when it charged, not by when it was decided: an attempt may wait for Stripe for hours.
    ({ at_ms, ended_at_ms }) => Math.max(at_ms, ended_at_ms ?? now_ms) > now_ms - rules.window_ms,
  );
  if (recent.length >= rules.max_per_window) return { no: "count" };
  // Failed ones too: what failed may be paid after all.
  const spent = recent.reduce((sum, { amount_micros }) => sum + amount_micros, 0);
  if (spent + rules.amount_micros > rules.ceiling_micros) return { no: "ceiling" };
  if (addMicros(account.balance_micros, rules.amount_micros) === undefined) return { no: "range" };
  return { charge_micros: rules.amount_micros };
}

/** What of a top-up changes as its state climbs. */
export type TopUpState = Pick<TopUp, "status" | "payment_id" | "failure" | "code">;

const STATUS_RANK: Readonly<Record<TopUpStatus, number>> = { PENDING: 1, FAILED: 2, SUCCEEDED: 3 };

/** The graver one stays, so that it does not matter which was heard first. */
const FAILURE_RANK: Readonly<Record<TopUpFailure, number>> = {
  canceled: 0,
  outcome_unknown: 1,
  declined: 2,
  rejected: 3,
  authentication_required: 4,
};

/** Joins what is known with what is told; `undefined` when nothing changes. */
export function climbTopUp(known: TopUpState, told: TopUpState): TopUpState | undefined {
  const climbs = STATUS_RANK[told.status] > STATUS_RANK[known.status];
  const status = climbs ? told.status : known.status;
  const tellsWhy = told.failure !== null && rankOf(told.failure) > rankOf(known.failure);
  const why = tellsWhy ? told : known;
  const joined: TopUpState = {
    status,
    payment_id: known.payment_id ?? told.payment_id,
    failure: status === "FAILED" ? why.failure : null,
    code: status === "FAILED" ? (why.code ?? told.code ?? known.code) : null,
  };
  const same = (Object.keys(joined) as (keyof TopUpState)[]).every((field) => joined[field] === known[field]);
  return same ? undefined : joined;
}

function rankOf(failure: TopUpFailure | null): number {
  return failure === null ? -1 : FAILURE_RANK[failure];
}

/** A bank that asks for its customer will ask again: only they can help. */
export function failureOf(code: string | null): TopUpFailure {
  return code === "authentication_required" ? "authentication_required" : "declined";
}

export type BeginDecision =
  | { readonly begin: true }
  | { readonly found: true }
  | { readonly outcome: "conflict" }
  | { readonly outcome: "invalid"; readonly detail: string };

/** A top-up that the owner's server asks for: once per key. */
export function decideTopUp(account: Account, prior: TopUp | undefined, input: BeginTopUpInput): BeginDecision {
  if (prior !== undefined) {
    const same = prior.amount_micros === input.amount_micros && prior.currency === input.currency;
    return same ? { found: true } : { outcome: "conflict" };
  }
  const currency = currencyOf(input.currency);
  const invalid = (detail: string) => ({ outcome: "invalid", detail }) as const;
  if (account.currency !== null && account.currency !== input.currency) {
    return invalid(`This envelope is kept in ${account.currency}`);
  }
  if (
    !(input.amount_micros > 0) ||
    currency === undefined ||
    minorFromMicros(input.amount_micros, currency) === undefined
  ) {
    return invalid("A top-up is a whole number of minor units above zero");
  }
  if (addMicros(account.balance_micros, input.amount_micros) === undefined) {
    return invalid("The balance would leave 2^53−1 micros");
  }
  return { begin: true };
}

/** Stripe keeps an idempotency key for at least 24 hours; asked again later, it would charge once more. */
const KEY_KEPT_MS = 23 * 3_600_000;
const RETRY_FIRST_MS = 2_000;
const RETRY_MAX_MS = 15 * 60_000;
/** The webhook tells of a bank's delayed answer; looking, now and then, is for the case that it never comes. */
const LOOK_AGAIN_MS = 3_600_000;

/** One attempt as the alarm meets it. */
export interface Sending {
  readonly payment_id: string | null;
  /** How often Stripe was asked. */
  readonly tries: number;
  /** When Stripe was first asked. */
  readonly first_try_ms: number | null;
  /** The owner, a dispute or a freeze has since said no. */
  readonly unwanted: boolean;
}

/**
 * What to do with an attempt that is due. An intent that exists is only looked at. One that may exist is asked for again with
 * the same key, as long as Stripe remembers that, and as long as charging is still wanted: asking may charge.
 */
export function decideSending(sending: Sending, now_ms: number): "ask" | { readonly giveUp: TopUpFailure } {
  if (sending.payment_id !== null) return "ask";
  if (sending.unwanted) return { giveUp: sending.tries === 0 ? "canceled" : "outcome_unknown" };
  const forgotten = sending.first_try_ms !== null && now_ms - sending.first_try_ms >= KEY_KEPT_MS;
  return forgotten ? { giveUp: "outcome_unknown" } : "ask";
}

/** When to ask again. The jitter (0 to 1) keeps envelopes from coming back all at once. */
export function nextTryMs(sending: Pick<Sending, "payment_id" | "tries">, jitter: number): number {
  if (sending.payment_id !== null) return LOOK_AGAIN_MS;
  const delay = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(Math.max(0, sending.tries - 1), 30));
  return Math.round(delay * (0.5 + jitter / 2));
}
