/** Sending a payment back: asks Stripe for a refund, and reads its answer. Only codes are passed on, never Stripe's texts. */
import { ConfigurationError } from "./settings.js";
import { stripeApi } from "./stripe-api.js";
import { failureCode, isKeyInUse } from "./stripe-intent.js";

export interface RefundRequest {
  /** Stripe's idempotency key: stored before the call, the same on every retry. */
  readonly attempt: string;
  readonly payment_id: string;
  /** Minor units. */
  readonly amount: number;
}

export type RefundAnswer =
  /** `status`: pending, requires_action, succeeded, failed or canceled. */
  | { readonly outcome: "made"; readonly refund_id: string; readonly status: string }
  /** Stripe will never take this request: nothing was sent. */
  | { readonly outcome: "rejected"; readonly code: string }
  /** Money may have been sent, or Stripe could not be asked: ask again with the same key. */
  | { readonly outcome: "unknown"; readonly code: string };

export async function askForRefund(env: unknown, request: RefundRequest): Promise<RefundAnswer> {
  const stripe = await stripeApi(env);
  const { attempt, payment_id, amount } = request;
  try {
    const { id, status } = await stripe.refunds.create(
      { payment_intent: payment_id, amount },
      { idempotencyKey: attempt },
    );
    if (typeof id !== "string" || !/^(re|pyr)_\w{1,64}$/.test(id)) return { outcome: "unknown", code: "malformed" };
    return { outcome: "made", refund_id: id, status: status ?? "pending" };
  } catch (error) {
    const { statusCode: status } = (error ?? {}) as { readonly statusCode?: number };
    if (status === 401 || status === 403) {
      throw new ConfigurationError("STRIPE_SECRET_KEY", "is not accepted by Stripe, or may not refund");
    }
    const code = failureCode(error) ?? (status === undefined ? "unreachable" : `status_${status}`);
    // 409 and 429 say nothing about the money, and nor does a 5xx.
    const refused = (status === 400 || status === 402 || status === 404) && !isKeyInUse(error);
    return { outcome: refused ? "rejected" : "unknown", code };
  }
}
