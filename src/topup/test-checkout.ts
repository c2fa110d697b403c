/**
 * The built-in test checkout: stands where Stripe's page would, so that the whole loop runs without an account. It has no
 * way of its own to put money in: it signs the event that Stripe would send, and sends it through the real webhook.
 */
import type { Currency } from "../money.js";
import { escapeHtml, page } from "../page.js";
import { randomBase62 } from "../secrets.js";

const AMOUNTS_MAIN = [5, 10, 20] as const;

/** The form; with `complaint`, why the last one was not taken. */
export function checkoutPage(reference: string, currency: Currency, complaint?: string): Response {
  if (reference === "") {
    return page(
      "Test checkout",
      `<h1>Test checkout</h1><p>Open this page from a “Top up” link: it says whose envelope to fill.</p>`,
      400,
    );
  }
  const money = new Intl.NumberFormat("en", { style: "currency", currency: currency.code });
  const buttons = AMOUNTS_MAIN.map(
    (main) => `<button name="amount" value="${main}">${escapeHtml(money.format(main))}</button>`,
  );
  const hidden = `<input type="hidden" name="client_reference_id" value="${escapeHtml(reference)}">`;
  return page(
    "Test checkout",
    `<h1>Test checkout</h1><p>This page stands in for Stripe on your machine. No money moves.</p>
${complaint === undefined ? "" : `<p role="alert">${escapeHtml(complaint)}</p>`}
<form method="post">${hidden}<div class="row">${buttons.join("")}</div></form>
<form method="post">${hidden}<div class="row"><label>Other amount, in ${escapeHtml(currency.code.toUpperCase())}<br>
<input name="amount" inputmode="decimal" required></label><button>Pay</button></div></form>
<p><a href="/">Cancel</a></p>
<small>Paying sends a signed <code>checkout.session.completed</code> to the webhook.</small>`,
    complaint === undefined ? 200 : 400,
  );
}

/** A whole number of minor units from an amount in main units; `undefined` for anything else. */
export function minorFromMain(text: string, { exponent }: Currency): number | undefined {
  const digits = /^([0-9]{1,9})(?:\.([0-9]{1,3}))?$/.exec(text.trim());
  const fraction = digits?.[2] ?? "";
  if (digits === null || fraction.length > exponent) return undefined;
  const minor = Number(digits[1]) * 10 ** exponent + Number(fraction.padEnd(exponent, "0"));
  return minor > 0 ? minor : undefined;
}

export interface TestPayment {
  readonly reference: string;
  readonly amount: number;
  readonly currency: Currency;
  readonly payment_link: string;
}

/** The webhook request that Stripe would send for this payment. */
export async function signedPayment(payment: TestPayment, url: URL, secret: string): Promise<Request> {
  const payload = JSON.stringify(completedEvent(payment));
  const { default: Stripe } = await import("stripe");
  const signature = await Stripe.webhooks.generateTestHeaderStringAsync({
    payload,
    secret,
    cryptoProvider: Stripe.createSubtleCryptoProvider(),
  });
  return new Request(new URL("/stripe-webhook", url), {
    method: "POST",
    headers: { "Stripe-Signature": signature, "Content-Type": "application/json" },
    body: payload,
  });
}

function completedEvent({ reference, amount, currency, payment_link }: TestPayment): unknown {
  const created = Math.floor(Date.now() / 1000);
  return {
    id: `evt_test_${randomBase62(24)}`,
    object: "event",
    type: "checkout.session.completed",
    created,
    livemode: false,
    data: {
      object: {
        id: `cs_test_${randomBase62(24)}`,
        object: "checkout.session",
        mode: "payment",
        status: "complete",
        payment_status: "paid",
        payment_intent: `pi_test_${randomBase62(24)}`,
        payment_link,
        client_reference_id: reference,
        currency: currency.code,
        amount_subtotal: amount,
        amount_total: amount,
        total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
        created,
      },
    },
  };
}
