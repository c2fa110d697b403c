/** What a holder begins with: a grant like any other, under a key that no other has. */
import type { GrantInput, SignUpRules } from "../contract.js";

/** No door writes a key without a prefix. */
export const SIGN_UP_KEY = "sign-up";

export function signUpOf(rules: SignUpRules, currency: string, now_ms: number): GrantInput {
  const { amount_micros, lasts_ms, priority, only } = rules;
  const expires_at_ms = lasts_ms === null ? null : now_ms + lasts_ms;
  const named = { op: SIGN_UP_KEY, key: SIGN_UP_KEY, reason: "sign-up" };
  return { ...named, amount_micros, currency, priority, only, expires_at_ms };
}
