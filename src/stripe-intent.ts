/**
 * PaymentIntents of our own: asks Stripe for one, and reads its answer. What went wrong is a value that says whether money may
 * have moved: `unknown` is asked again with the same idempotency key, everything else is the end of the matter. Only codes are
 * passed on, never Stripe's texts: those quote requests and keys.
 */
import type Stripe from "stripe";
import type { PaymentFacts } from "./contract.js";
import { currencyOf, type Micros, microsFromMinor, minorFromMicros } from "./money.js";
import { ConfigurationError } from "./settings.js";
import { stripeApi } from "./stripe-api.js";
import { METADATA } from "./wire.js";

export interface IntentRequest {
  /** Stripe's idempotency key: stored before the call, the same on every retry. */
  readonly attempt: string;
  readonly amount_micros: Micros;
  readonly currency: string;
  readonly reference: string;
  /** A saved card, to be charged now, without the payer. */
  readonly card: SavedCard | undefined;
  /** Known once Stripe has answered: then it is only looked at. */
  readonly payment_id: string | null;
}

export interface SavedCard {
  readonly customer: string;
  readonly payment_method: string;
}

export type IntentAnswer =
  | {
      readonly outcome: "paid" | "pending";
      readonly payment_id: string;
      readonly client_secret: string | null;
      readonly facts: PaymentFacts;
    }
  | { readonly outcome: "declined"; readonly payment_id: string | null; readonly code: string }
  /** Stripe will never take this request: nothing was charged. */
  | { readonly outcome: "rejected"; readonly code: string }
  /** Money may have moved, or Stripe could not be asked. */
  | { readonly outcome: "unknown"; readonly code: string };

export async function askForIntent(env: unknown, request: IntentRequest): Promise<IntentAnswer> {
  const confirmed = request.card !== undefined;
  const stripe = await stripeApi(env);
  try {
    const intent =
      request.payment_id === null
        ? await stripe.paymentIntents.create(paramsOf(request), {
            idempotencyKey: request.attempt,
            // A card is asked again by the envelope alone, which looks first whether that is still wanted.
            maxNetworkRetries: confirmed ? 0 : 1,
          })
        : await stripe.paymentIntents.retrieve(request.payment_id);
    return readIntentAnswer(intent, confirmed);
  } catch (error) {
    return readFailure(error);
  }
}

/** What Stripe would answer, of one that waits for its payer. */
export function testIntent(request: IntentRequest): IntentAnswer {
  const { currency, attempt } = request;
  const id = `pi_test_${attempt}`;
  const intent: Partial<Stripe.PaymentIntent> = {
    ...{ id, currency, livemode: false, amount: amountOf(request) },
    ...{ status: "requires_payment_method", client_secret: `${id}_secret_test` },
  };
  return readIntentAnswer(intent as Stripe.PaymentIntent, false);
}

function amountOf({ amount_micros, currency }: IntentRequest): number {
  const known = currencyOf(currency);
  const amount = known && minorFromMicros(amount_micros, known);
  if (amount === undefined) throw new Error("A top-up is a whole number of minor units");
  return amount;
}

function paramsOf(request: IntentRequest): Stripe.PaymentIntentCreateParams {
  const { currency, reference, attempt, card } = request;
  return {
    amount: amountOf(request),
    currency,
    metadata: { [METADATA.reference]: reference, [METADATA.topup]: attempt },
    // Nobody is there to be sent to a bank's page when a saved card is charged.
    automatic_payment_methods: { enabled: true, ...(card && { allow_redirects: "never" as const }) },
    ...(card && { ...card, confirm: true, off_session: true }),
  };
}

/** What an intent says. `confirmed`: by us, so one that asks for a card or for its holder has failed. */
function readIntentAnswer(intent: Stripe.PaymentIntent, confirmed: boolean): IntentAnswer {
  const { id, status, currency, livemode, client_secret } = intent;
  const known = currencyOf(String(currency));
  if (typeof id !== "string" || id === "") return { outcome: "unknown", code: "malformed" };
  const outcome = outcomeOf(status, confirmed);
  if (outcome === "declined") {
    const why = status === "requires_action" ? "authentication_required" : failureCode(intent.last_payment_error);
    return { outcome, payment_id: id, code: why ?? status };
  }
  const amount_total = outcome === "paid" ? intent.amount_received : intent.amount;
  const credit_micros = known && microsFromMinor(amount_total, known);
  if (credit_micros === undefined) return { outcome: "unknown", code: "malformed" };
  return {
    outcome,
    payment_id: id,
    client_secret,
    facts: {
      state: outcome,
      session_id: id,
      event_id: `api:${id}`,
      currency,
      livemode: livemode === true,
      amount_total,
      amount_subtotal: null,
      amount_discount: 0,
      amount_shipping: 0,
      amount_tax: 0,
      credit_micros,
    },
  };
}

function outcomeOf(status: string, confirmed: boolean): "paid" | "pending" | "declined" {
  if (status === "succeeded") return "paid";
  if (status === "canceled") return "declined";
  const asksForPayer = status === "requires_payment_method" || status === "requires_action";
  return confirmed && asksForPayer ? "declined" : "pending";
}

/** A decline that names its reason is told by it: a bank may ask for its customer under a plain `card_declined`. */
export function failureCode(error: unknown): string | null {
  const { code, decline_code } = (error ?? {}) as Readonly<Record<string, unknown>>;
  if (decline_code === "authentication_required") return decline_code;
  return typeof code === "string" && CODE.test(code) ? code : null;
}

const CODE = /^[a-z0-9_]{1,64}$/;

function readFailure(error: unknown): Exclude<IntentAnswer, { outcome: "paid" | "pending" }> {
  const { statusCode: status, payment_intent } = (error ?? {}) as {
    readonly statusCode?: number;
    readonly payment_intent?: { readonly id?: string };
  };
  const code = failureCode(error) ?? (status === undefined ? "unreachable" : `status_${status}`);
  if (status === 401 || status === 403) throw new ConfigurationError("STRIPE_SECRET_KEY", "is not accepted by Stripe");
  if (status === 402) return { outcome: "declined", payment_id: payment_intent?.id ?? null, code };
  // 409: another call with this key is under way. 429: too many. Both, and every 5xx, say nothing about the money.
  const refused = (status === 400 || status === 404) && !isKeyInUse(error);
  return { outcome: refused ? "rejected" : "unknown", code };
}

/** The key is another request's, as after a deploy that asks in other words: what became of that one, this answer does not tell. */
export function isKeyInUse(error: unknown): boolean {
  return (error as { readonly rawType?: unknown } | null | undefined)?.rawType === "idempotency_error";
}

/** Whether a card may be charged for this customer; `undefined` when Stripe could not be asked. */
export async function isCardOf(env: unknown, card: SavedCard): Promise<boolean | undefined> {
  const stripe = await stripeApi(env);
  try {
    const { customer } = await stripe.paymentMethods.retrieve(card.payment_method);
    return (typeof customer === "string" ? customer : customer?.id) === card.customer;
  } catch (error) {
    return readFailure(error).outcome === "unknown" ? undefined : false;
  }
}
