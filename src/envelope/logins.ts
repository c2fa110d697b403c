/**
 * The rules of login by payment: what a payment may open, and for how long. Pure, like ledger.ts.
 *
 * A payment is made into one envelope and may open a limited session of another, once. The payer's envelope notes the session
 * in the turn that finds no reversal on the payment, and names it in the answer to every reversal that comes later, so the
 * two cannot miss each other in any order. The other envelope keeps the session; ending one that is not there yet keeps it out.
 */
import type { AdmitInput, BornSession, LimitedCredential, LoginOutcome, ReturnedOutcome, Undo } from "../contract.js";
import type { PaymentFile } from "./payments.js";

/** What a payment was used for besides its money. */
export interface PaymentLogin {
  /** Keyed hash; empty where the payment was shut and its card tells nothing. */
  readonly card: string;
  readonly session: BornSession | undefined;
  /** Somebody else's browser came back from it: for ever. */
  readonly shut: boolean;
  /** Wrong answers to the question about its card. */
  readonly mistakes: number;
}

export interface StoredLimited {
  /** `null` when it was ended before it was let in. */
  readonly hash: string | null;
  readonly expires_at_ms: number | null;
  readonly ended_at_ms: number | null;
}

const LIMITED_SESSION_MS = 24 * 3_600_000;

/** Of ten thousand answers. Enough for a payer who mistypes. */
const MISTAKES_MAX = 5;

export function standingOf(file: PaymentFile, login: PaymentLogin | undefined): ReturnedOutcome["outcome"] {
  // Whatever became of it: a refund that failed, a dispute that was won and an inquiry are doubts about who paid.
  if (file.disowned || file.reversals.length > 0 || login?.shut) return "reversed";
  if (login?.session !== undefined) return "used";
  return (login?.mistakes ?? 0) < MISTAKES_MAX ? "open" : "reversed";
}

/**
 * Whether a payment may be used: for a session, or for its card to be kept. Only once it is credited, because
 * from then on it stays here, and so does all news of it.
 */
export function decideLogin(
  file: PaymentFile,
  login: PaymentLogin | undefined,
  use: BornSession | "kept",
): LoginOutcome["outcome"] {
  const standing = standingOf(file, login);
  if (standing === "reversed") return "refused";
  if (standing === "used" && use !== "kept" && !isSame(login?.session, use)) return "refused";
  return file.payment?.state === "paid" ? "done" : "unpaid";
}

function isSame(one: BornSession | undefined, other: BornSession): boolean {
  return one?.envelope_id === other.envelope_id && one.key_id === other.key_id;
}

/**
 * `undefined` when there is nothing to undo. A warning or dispute is about the card; a refund only about its payment. A payment
 * that was shut says nothing against its card: only that the one who kept it with this payment may not have it.
 *
 * @param keeps the envelope keeps the card for another payment's sake
 */
export function undoOf(file: PaymentFile, login: PaymentLogin | undefined, keeps: boolean): Undo | undefined {
  if (login === undefined || standingOf(file, login) !== "reversed") return undefined;
  const { session, shut } = login;
  const card = login.card === "" ? null : login.card;
  const suspect = file.reversals.some(({ kind }) => kind === "dispute" || kind === "warning");
  return {
    sessions: session === undefined ? [] : [session],
    card: suspect ? card : null,
    forget: shut && !keeps ? card : null,
  };
}

export function judgeLimited(
  stored: StoredLimited | undefined,
  presented: LimitedCredential,
  now_ms: number,
): "limited" | "revoked" {
  if (stored === undefined || stored.ended_at_ms !== null || stored.expires_at_ms === null) return "revoked";
  return stored.hash === presented.hash && now_ms < stored.expires_at_ms ? "limited" : "revoked";
}

export type AdmitDecision =
  | { readonly outcome: "admitted"; readonly expires_at_ms: number }
  | { readonly outcome: "ended" }
  /** File it. */
  | { readonly expires_at_ms: number };

/** @param keeps the envelope's holder keeps the card */
export function decideAdmission(
  stored: StoredLimited | undefined,
  keeps: boolean,
  input: AdmitInput,
  now_ms: number,
): AdmitDecision {
  if (!keeps) return { outcome: "ended" };
  if (stored === undefined) return { expires_at_ms: now_ms + LIMITED_SESSION_MS };
  if (stored.expires_at_ms === null || judgeLimited(stored, input, now_ms) === "revoked") return { outcome: "ended" };
  return { outcome: "admitted", expires_at_ms: stored.expires_at_ms };
}
