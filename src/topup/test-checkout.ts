/**
 * The built-in test checkout: stands where Stripe's page would, so that the whole loop runs without an account. It has no
 * way of its own to put money in: it signs the event that Stripe would send, and sends it through the real webhook.
 */
import { type Currency, formatMinor, type Micros, parsePrice } from "../money.js";
import { escapeHtml, page } from "../page.js";
import { randomBase62 } from "../secrets.js";

const AMOUNTS_MAIN = [5, 10, 20] as const;

export function checkoutPage(url: URL, currency: Currency): Response {
  const reference = escapeHtml(url.searchParams.get("client_reference_id") ?? "");
  const buttons = AMOUNTS_MAIN.map((main) => {
    const minor = formatMinor((main * 1_000_000) as Micros, currency);
    return `<button name="amount" value="${minor}">${main} ${currency.code.toUpperCase()}</button>`;
  }).join("");
  return page(
    "Test checkout",
    `<h1>Test checkout</h1><p>This page stands in for Stripe on your machine. No money moves.</p>
<form method="post"><input type="hidden" name="client_reference_id" value="${reference}"><div class="row">${buttons}</div></form>
<form method="post"><input type="hidden" name="client_reference_id" value="${reference}">
<div class="row"><label>Other amount, in minor units<br><input name="amount" inputmode="numeric" pattern="[0-9]+" required></label><button>Pay</button></div></form>
<small>Sends a signed <code>checkout.session.completed</code> to the webhook.</small>`,
  );
}

/** The webhook request that Stripe would send for this form; `undefined` when the amount is not a whole number above zero. */
export async function signedPayment(
  request: Request,
  url: URL,
  currency: Currency,
  secret: string,
  paymentLinks: ReadonlySet<string> | undefined,
): Promise<Request | undefined> {
  const form = await request.formData().catch(() => undefined);
  const amount = String(form?.get("amount") ?? "");
  if (!/^[1-9][0-9]{0,11}$/.test(amount) || parsePrice(amount, currency) === undefined) return undefined;
  const reference = String(form?.get("client_reference_id") ?? "");
  const [link = "plink_test"] = paymentLinks ?? [];
  const payload = JSON.stringify(completedEvent(reference, Number(amount), currency, link));
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

function completedEvent(
  client_reference_id: string,
  amount: number,
  currency: Currency,
  payment_link: string,
): unknown {
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
        client_reference_id: client_reference_id === "" ? null : client_reference_id,
        currency: currency.code,
        amount_subtotal: amount,
        amount_total: amount,
        total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
        created,
      },
    },
  };
}
