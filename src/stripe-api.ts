/** Stripe's API, for the few calls that need it. The package is loaded on the first one, so nothing else pays for it. */
import type Stripe from "stripe";
import { EnvelopeUnreachableError } from "./attempt.js";
import { stripeApiBase, stripeKey } from "./stripe-settings.js";

const TIMEOUT_MS = 20_000;

/** A client for the configured key. Telemetry off: Stripe needs no timings of ours. */
export async function stripeApi(env: unknown): Promise<Stripe> {
  const key = stripeKey(env);
  const base = stripeApiBase(env);
  const { default: StripeClient } = await import("stripe");
  return new StripeClient(key, {
    httpClient: StripeClient.createFetchHttpClient(),
    telemetry: false,
    timeout: TIMEOUT_MS,
    maxNetworkRetries: 1,
    ...(base && {
      host: base.hostname,
      port: base.port || (base.protocol === "https:" ? 443 : 80),
      protocol: base.protocol === "https:" ? "https" : "http",
    }),
  });
}

type Fetcher = (stripe: Stripe, id: string) => Promise<unknown>;

const FETCHERS: readonly (readonly [prefix: string, fetch: Fetcher])[] = [
  ["checkout.session.", (stripe, id) => stripe.checkout.sessions.retrieve(id)],
  ["payment_intent.", (stripe, id) => stripe.paymentIntents.retrieve(id)],
  ["refund.", (stripe, id) => stripe.refunds.retrieve(id)],
  ["charge.dispute.", (stripe, id) => stripe.disputes.retrieve(id)],
  ["charge.", (stripe, id) => stripe.charges.retrieve(id)],
  ["radar.early_fraud_warning.", (stripe, id) => stripe.radar.earlyFraudWarnings.retrieve(id)],
];

/**
 * The object that an event of this type is about, as it is now; `undefined` when Stripe does not know it.
 * @throws {EnvelopeUnreachableError} when Stripe cannot be asked: the caller answers 503, and Stripe sends the event again.
 */
export async function fetchEventObject(env: unknown, type: string, id: string): Promise<unknown> {
  const fetcher = FETCHERS.find(([prefix]) => type.startsWith(prefix));
  if (fetcher === undefined) return undefined;
  const stripe = await stripeApi(env);
  return known(fetcher[1](stripe, id));
}

/**
 * The PaymentIntent that paid an invoice; `undefined` when there is none, or several, or when the key may not read it: better
 * listed under another name than not at all.
 *
 * @throws {EnvelopeUnreachableError} when Stripe cannot be asked.
 */
export async function fetchPaymentOfInvoice(env: unknown, invoice: string): Promise<string | undefined> {
  const stripe = await stripeApi(env);
  try {
    const { data } = await stripe.invoicePayments.list({ invoice, status: "paid", limit: 2 });
    const [paid, another] = data;
    const payment = paid?.payment.payment_intent;
    return another === undefined && typeof payment === "string" ? payment : undefined;
  } catch (cause) {
    const { statusCode = 0 } = cause as { statusCode?: number };
    if (statusCode >= 400 && statusCode < 500 && statusCode !== 429) return undefined;
    throw unreachable(cause);
  }
}

/** A page waits for it: better no offer than a payer who waits. */
const RETURN_TIMEOUT_MS = 5_000;

/**
 * The session a payer returned from, with the charge that tells who paid; `undefined` when Stripe does not know it.
 * @throws {EnvelopeUnreachableError} when Stripe cannot be asked.
 */
export async function fetchReturnedSession(env: unknown, session_id: string): Promise<unknown> {
  const stripe = await stripeApi(env);
  const expand = ["payment_intent.latest_charge"];
  return known(stripe.checkout.sessions.retrieve(session_id, { expand }, { timeout: RETURN_TIMEOUT_MS }));
}

async function known(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (cause) {
    if ((cause as { statusCode?: number }).statusCode === 404) return undefined;
    throw unreachable(cause);
  }
}

/** Not Stripe's own error: its texts quote keys, and the cause is logged. */
function unreachable(cause: unknown): EnvelopeUnreachableError {
  const { statusCode, code } = cause as { statusCode?: number; code?: string };
  return new EnvelopeUnreachableError("Stripe's API could not be asked", {
    cause: new Error(`${statusCode ?? ""} ${code ?? ""}`.trim()),
  });
}
