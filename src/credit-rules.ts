import { stripeMode } from "./stripe-settings.js";
import type { CreditRules } from "./topup/payment.js";
import type { Visit } from "./visit.js";

/** What makes a payment of Stripe's one of this deployment's. */
export function creditRules({ env, options, keys }: Visit<unknown>): CreditRules {
  return {
    currency: options.currency,
    credit: options.credit,
    maxCredit: options.maxCredit,
    paymentLinks: options.paymentLinks,
    mode: stripeMode(env),
    referenceKeys: keys.reference,
    onDispute: options.onDispute,
  };
}
