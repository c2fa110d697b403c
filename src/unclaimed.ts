/** The door to unclaimed payments for the app's own code; what is behind it is loaded when it is used. */
import type { Assignment, AssignmentResult } from "./assigning.js";
import type { UnclaimedPayment } from "./contract.js";
import { currencyOf } from "./money.js";
import { giftOf, resolveSignUp, type SignUpGrantOptions } from "./sign-up-options.js";

/** Every payment that is in no envelope yet, oldest first. */
export async function unclaimedPayments(env: unknown): Promise<readonly UnclaimedPayment[]> {
  return (await import("./assigning.js")).unclaimedPayments(env);
}

/** Puts an unclaimed payment into an envelope, once. `currency` and `signUpGrant` as given to `withEnvelope`. */
export async function assignPayment(
  env: unknown,
  assignment: Assignment,
  currency = "usd",
  signUpGrant?: SignUpGrantOptions,
): Promise<AssignmentResult> {
  const known = currencyOf(currency);
  const sign_up = known && giftOf(resolveSignUp(signUpGrant, known, true));
  return (await import("./assigning.js")).assignPayment(env, assignment, currency, sign_up);
}
