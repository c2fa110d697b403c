/** The rules of money that is given: grants, grants that are taken back, and charges that are given back. Pure, like ledger.ts. */
import {
  type EntryKind,
  type GrantInput,
  type GrantOutcome,
  isSpending,
  type LotTerms,
  METADATA_MAX,
  PRIORITY_DEFAULT,
  PRIORITY_MAX,
  type RefundInput,
  type RefundOutcome,
  type RevokeInput,
  type RevokeOutcome,
  TAG_MAX,
} from "../contract.js";
import { addMicros, type Micros, ZERO } from "../money.js";
import { type Account, balances, type Decision, type Prior, taken } from "./ledger.js";
import { joinable, type Lot, OPEN_LOTS_MAX } from "./lots.js";
import { SIGN_UP_KEY } from "./sign-up.js";

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
  if (!isSpending(charge.kind)) return { outcome: { outcome: "unknown", ...now } };
  if (prior !== undefined) {
    const { seq, amount_micros } = prior;
    const same =
      prior.ref_seq === charge.seq && amount_micros === (input.amount_micros ?? amount_micros) && isScope(prior, input);
    return { outcome: same ? { outcome: "replayed", seq, amount_micros, ...now } : { outcome: "conflict", ...now } };
  }
  if (isClosed(charge.at_ms)) return { outcome: { outcome: "expired", ...now } };
  const left = (taken(charge) - charge.refunded_micros) as Micros;
  const amount = input.amount_micros ?? left;
  const fits = [account.balance_micros, account.given_micros ?? ZERO].every(
    (before) => addMicros(before, amount) !== undefined,
  );
  if (!(amount > 0) || amount > left || !fits) {
    return { outcome: { outcome: "refused", refundable_micros: left, ...now } };
  }
  const { key, scope, op, reason } = input;
  const spender_id = charge.spender_id ?? undefined;
  const given = { ref_seq: charge.seq, ref_at_ms: charge.at_ms, spender_id };
  return { write: { kind: "refund", amount_micros: amount, ...given, key, scope, op, reason } };
}

/** What was asked without one, before there were any or by code of the app's own, is told apart by the amount alone. */
function isScope(prior: Prior, { scope }: { readonly scope?: string | undefined }): boolean {
  return scope === undefined || prior.scope === null || prior.scope === scope;
}

/** `open` are the lots that something is left of. `prior` was written under the grant's key, or under its legacy key. */
export function decideGrant(
  account: Account,
  open: readonly Lot[],
  prior: Prior | undefined,
  input: GrantInput,
  now_ms: number,
): Decision<GrantOutcome> {
  const now = balances(account);
  if (prior !== undefined) {
    const { seq, amount_micros } = prior;
    const same = prior.kind === "grant" && amount_micros === input.amount_micros && isScope(prior, input);
    return {
      outcome: same
        ? { outcome: "replayed", seq, amount_micros, ...now }
        : { outcome: "conflict", detail: "price", ...now },
    };
  }
  const terms = termsOf(input);
  const detail = whyNot(account, open, terms, input, now_ms);
  if (detail !== undefined) return { outcome: { outcome: "invalid", detail, ...now } };
  const { key, scope, op, reason, metadata } = input;
  return { write: { kind: "grant", amount_micros: input.amount_micros, key, scope, op, reason, metadata, terms } };
}

function termsOf({ priority, expires_at_ms, only }: GrantInput): LotTerms {
  return { priority: priority ?? PRIORITY_DEFAULT, expires_at_ms: expires_at_ms ?? null, only: only ?? null };
}

/** Why a grant cannot be made. */
function whyNot(
  account: Account,
  open: readonly Lot[],
  terms: LotTerms,
  { amount_micros, currency, metadata, key }: GrantInput,
  now_ms: number,
): string | undefined {
  const { priority, expires_at_ms, only } = terms;
  if (account.currency !== null && account.currency !== currency) return `This envelope is kept in ${account.currency}`;
  if (account.budget) return "A budget has no balance to give to: raise its limits";
  const fits = [account.balance_micros, account.given_micros ?? ZERO].every(
    (before) => addMicros(before, amount_micros) !== undefined,
  );
  if (!(amount_micros > 0) || !fits) return "A grant is above zero and keeps the balance within 2^53−1 micros";
  if (!Number.isInteger(priority) || priority < 0 || priority > PRIORITY_MAX) {
    return `A priority is a whole number from 0 to ${PRIORITY_MAX}`;
  }
  if (expires_at_ms !== null && (!Number.isSafeInteger(expires_at_ms) || expires_at_ms <= now_ms)) {
    return "A grant expires at a whole number of milliseconds, in the future";
  }
  if (only !== null && (only === "" || only.length > TAG_MAX)) return `A tag has 1 to ${TAG_MAX} characters`;
  if (metadata !== undefined && metadata.length > METADATA_MAX) {
    return `The metadata must be at most ${METADATA_MAX} characters of JSON`;
  }
  if (key !== SIGN_UP_KEY && open.length >= OPEN_LOTS_MAX && joinable(open, terms, now_ms) === undefined) {
    return `Something is left of ${OPEN_LOTS_MAX} grants already, and of none on these terms`;
  }
  return undefined;
}

/** What is known of the grant that is to be taken back. */
export interface Revocable {
  readonly seq: number;
  readonly amount_micros: Micros;
  /** Taken back before. */
  readonly revoked_micros: Micros;
  /** What its lot has that no hold reserves. */
  readonly free_micros: Micros;
}

export function decideRevoke(
  account: Account,
  grant: Revocable | undefined,
  prior: Prior | undefined,
  input: RevokeInput,
): Decision<RevokeOutcome> {
  const now = balances(account);
  if (grant === undefined) return { outcome: { outcome: "unknown", ...now } };
  if (prior !== undefined) {
    const { seq, kind, ref_seq, amount_micros } = prior;
    if (kind !== "revocation" || ref_seq !== grant.seq) return { outcome: { outcome: "conflict", ...now } };
    return { outcome: { outcome: "replayed", seq, amount_micros: taken({ amount_micros }), ...now } };
  }
  // Where several grants share a lot, each takes back no more than it gave.
  const left = Math.min(Math.max(0, grant.free_micros), grant.amount_micros - grant.revoked_micros);
  const { key, op, reason } = input;
  return { write: { kind: "revocation", amount_micros: (0 - left) as Micros, ref_seq: grant.seq, key, op, reason } };
}
