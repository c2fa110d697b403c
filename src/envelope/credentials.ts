/**
 * The rules of credentials: which token of an envelope still counts. Pure, like ledger.ts.
 *
 * A token carries a generation. The Worker has checked its MAC, so the question here is only whether it was replaced: the
 * newest generation seen rules, the one before it stays valid for a grace period, everything older is revoked. An envelope
 * that never held money keeps no credential; it learns the first one when it is first used on money.
 */
import type { Credential, RotateInput, RotateOutcome } from "../contract.js";

export interface StoredCredential extends Credential {
  readonly expires_at_ms: number | null;
}

/** `new`: of a generation not seen before, to be learnt. */
export type Standing = "known" | "new" | "revoked";

export function judge(stored: readonly StoredCredential[], presented: Credential, now_ms: number): Standing {
  const same = stored.find((one) => one.generation === presented.generation);
  if (same !== undefined) {
    const live = same.expires_at_ms === null || now_ms < same.expires_at_ms;
    return live && same.hash === presented.hash ? "known" : "revoked";
  }
  return stored.every((one) => one.generation < presented.generation) ? "new" : "revoked";
}

export type RotateDecision = { readonly outcome: RotateOutcome } | { readonly learn: readonly Credential[] };

/** Rotating from one generation always leads to the same next one, so that two clicks, or a lost answer, agree. */
export function decideRotation(
  stored: readonly StoredCredential[],
  input: RotateInput,
  now_ms: number,
): RotateDecision {
  const standing = judge(stored, input.credential, now_ms);
  if (standing === "revoked") return { outcome: { outcome: "unauthorized" } };
  const next = stored.find((one) => one.generation === input.next.generation);
  if (next !== undefined) {
    return {
      outcome: next.hash === input.next.hash ? { outcome: "rotated" } : { outcome: "superseded", hash: next.hash },
    };
  }
  return { learn: standing === "new" ? [input.credential, input.next] : [input.next] };
}
