/**
 * The rules of credentials: which token of an envelope still counts. Pure, like ledger.ts.
 *
 * A token carries a generation; the Worker has checked its MAC, so the question here is only whether it was replaced. An
 * envelope learns its first credential when it is first used on money; from then on only learnt ones count, so a MAC alone
 * opens nothing. Rotating leads from one generation to the next. The old one stays good until the new one is first used,
 * and for a grace period after that: a lost answer locks nobody out, and a leaked token dies once its successor is in use.
 */
import type {
  AnyCredential,
  Credential,
  IdentityCredential,
  KeyCredential,
  RotateInput,
  RotateOutcome,
} from "../contract.js";

/** Of a key or an identity that spends beside the holder (spenders.ts). */
export function isSpender(credential: AnyCredential | undefined): credential is KeyCredential | IdentityCredential {
  return credential !== undefined && ("api_key" in credential || "identity_id" in credential);
}

export interface StoredCredential extends Credential {
  /** `null` until it is first presented. */
  readonly used_at_ms: number | null;
  /** `null` as long as nothing replaces it. */
  readonly expires_at_ms: number | null;
}

/**
 * `first`: none is known yet, this one is to be learnt. `successor`: issued by a rotation and used for the first time, so
 * those before it begin to expire. `superseded`: replaced, in its grace.
 */
export type Standing = "first" | "successor" | "current" | "superseded" | "revoked";

export function judge(stored: readonly StoredCredential[], presented: Credential, now_ms: number): Standing {
  if (stored.length === 0) return "first";
  const own = stored.find((one) => one.generation === presented.generation);
  if (own === undefined || own.hash !== presented.hash) return "revoked";
  if (own.expires_at_ms !== null) return now_ms < own.expires_at_ms ? "superseded" : "revoked";
  if (own.used_at_ms === null) return "successor";
  return "current";
}

export type RotateDecision =
  | { readonly outcome: RotateOutcome }
  /** File the successor, in the place of an unused one if there is one, and the presented credential too when it is the first. */
  | { readonly issue: Credential; readonly first: Credential | undefined };

/**
 * Rotating the same token again leads to the same successor, as long as nobody has used that: two clicks, or a lost answer,
 * agree. Once it was used, the old token can no longer be exchanged for it. One that was issued under a secret which is gone by
 * now can be derived by nobody, and its own check is genuine to nobody: unused, it makes way.
 */
export function decideRotation(
  stored: readonly StoredCredential[],
  input: RotateInput,
  now_ms: number,
): RotateDecision {
  const standing = judge(stored, input.credential, now_ms);
  if (standing === "revoked" || standing === "superseded") return { outcome: { outcome: "unauthorized" } };
  const next = stored.find((one) => one.generation === input.next.generation);
  if (next === undefined) return { issue: input.next, first: standing === "first" ? input.credential : undefined };
  if (next.hash !== input.next.hash && next.hash === input.replaces && next.used_at_ms === null) {
    return { issue: input.next, first: undefined };
  }
  return {
    outcome: next.hash === input.next.hash ? { outcome: "rotated" } : { outcome: "superseded", hash: next.hash },
  };
}
