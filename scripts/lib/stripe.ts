/** Stripe's side of a top-up: the event of a paid Checkout Session, signed by Stripe's own package. */
import Stripe from "stripe";
import { type Answer, send } from "./http.ts";

export interface Payment {
  /** The PaymentIntent, the session and the event are named after it, so that the same payment is the same event. */
  readonly name: string;
  readonly reference: string;
  /** In the currency's minor unit. */
  readonly amount: number;
}

/** What Stripe sends for a payment. Sent again, it is the same event under a new signature, as Stripe does it. */
export function completedEvent(payment: Payment): string {
  const created = Math.floor(Date.now() / 1000);
  return JSON.stringify({
    id: `evt_${payment.name}`,
    object: "event",
    type: "checkout.session.completed",
    created,
    livemode: false,
    data: {
      object: {
        id: `cs_test_${payment.name}`,
        object: "checkout.session",
        mode: "payment",
        status: "complete",
        payment_status: "paid",
        payment_intent: paymentIntent(payment),
        payment_link: "plink_harness",
        client_reference_id: payment.reference,
        currency: "usd",
        amount_subtotal: payment.amount,
        amount_total: payment.amount,
        total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
        created,
      },
    },
  });
}

export function paymentIntent(payment: Pick<Payment, "name">): string {
  return `pi_${payment.name}`;
}

export function deliver(
  origin: string,
  payload: string,
  secret: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret });
  return send(origin, "/stripe-webhook", {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json", "Stripe-Signature": signature },
    body: payload,
  });
}
