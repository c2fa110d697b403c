/**
 * What a Checkout Session, or a PaymentIntent of ours, means for an envelope. Pure: a verified event and the deployment's
 * rules in, one meaning out. Reads only fields that are stable over Stripe's API versions since 2025-03-31, and checks each,
 * because the endpoint's version and not ours decides their shape.
 */
import type { NewUnclaimedPayment, PaymentFacts, PaymentReport, PaymentState } from "../contract.js";
import { type Currency, type Micros, microsFromMinor, ZERO } from "../money.js";
import { looksLikeReference, namedEnvelope, type Reference, readReference } from "../reference.js";
import type { Keyring } from "../settings.js";
import { failureCode } from "../stripe-intent.js";
import { METADATA } from "../wire.js";
import { idOf, isObject, type Json, minor } from "./json.js";

export interface CreditRules {
  readonly currency: Currency;
  readonly credit: "net" | "total" | "subtotal";
  /** Above it, a payment is more likely a mistake than a top-up: the owner decides. */
  readonly maxCredit: Micros;
  readonly paymentLinks: ReadonlySet<string> | undefined;
  /** Mode of the Stripe key; `undefined` without one. */
  readonly mode: "live" | "test" | undefined;
  readonly referenceKeys: Keyring;
  readonly onDispute: "freeze" | "ignore";
}

export type UnclaimedReason =
  | "malformed"
  | "reference_missing"
  | "reference_invalid"
  | "link"
  | "mode"
  | "livemode"
  | "currency"
  | "amount";

export type Meaning =
  | { readonly kind: "ignore" }
  | {
      readonly kind: "payment";
      readonly reference: Reference;
      readonly client_reference_id: string;
      readonly report: PaymentReport & { readonly payment: PaymentFacts };
    }
  /** A refund, dispute or warning: names the payment, not the envelope. */
  | { readonly kind: "reversal"; readonly event_id: string; readonly report: PaymentReport }
  /** Signed, perhaps ours, and not creditable: kept for the owner. */
  | {
      readonly kind: "unclaimed";
      readonly payment: NewUnclaimedPayment;
      /** Where it names no payment: what the payment can be found by. */
      readonly invoice?: string;
      /** Where we did not make its reference: the top-up that it says it is of. Another Worker's says so too. */
      readonly topup?: { readonly envelope_id: string; readonly attempt: string };
    };

export const IGNORE: Meaning = { kind: "ignore" };

/** Live where we are not, or the other way round, as far as we know. */
export function isOtherMode({ livemode }: { readonly livemode?: unknown }, { mode }: CreditRules): boolean {
  return mode !== undefined && livemode !== (mode === "live");
}

/** Where our own PaymentIntents carry their reference. */
export const REFERENCE_METADATA = METADATA.reference;

/** What each event says of its session's payment; `undefined` leaves it to `payment_status`. */
export const SESSION_STATES: Readonly<Record<string, PaymentState | undefined>> = {
  "checkout.session.completed": undefined,
  "checkout.session.async_payment_succeeded": "paid",
  "checkout.session.async_payment_failed": "failed",
  "checkout.session.expired": "failed",
};

export const INTENT_STATES: Readonly<Record<string, PaymentState>> = {
  "payment_intent.succeeded": "paid",
  "payment_intent.payment_failed": "failed",
};

export function readSession(event: Json, session: Json, rules: CreditRules): Meaning {
  const said = SESSION_STATES[String(event["type"])] ?? stateOf(session["payment_status"]);
  // Money counts once its payer is done: a session that is still open may change, and its completion is told by an event of its own.
  const state = said === "paid" && !isComplete(session) ? "pending" : said;
  const facts = state !== undefined && state !== "nothing_due" ? readFacts(event, session, state, rules) : null;
  const invoice = idOf(session["payment_intent"]) === undefined ? idOf(session["invoice"]) : undefined;
  const keep = (reason: UnclaimedReason): Meaning =>
    isOurs(session, rules) && state !== "pending" && state !== "failed"
      ? {
          kind: "unclaimed",
          payment: unclaimedPayment(event, session, reason, facts),
          ...(invoice !== undefined && { invoice }),
        }
      : IGNORE;

  if (state === "nothing_due") return IGNORE;
  if (state === undefined) return keep("malformed");
  if (session["mode"] !== "payment") return keep("mode");
  if (isOtherMode(event, rules)) return keep("livemode");
  if (rules.paymentLinks !== undefined && !rules.paymentLinks.has(String(session["payment_link"]))) return keep("link");
  // Before API version 2025-03-31 a converted payment carried the payer's currency here and ours in currency_conversion.
  if (session["currency"] !== rules.currency.code || isObject(session["currency_conversion"])) return keep("currency");
  const text = session["client_reference_id"];
  if (typeof text !== "string" || text === "") return keep("reference_missing");
  const reference = readReference(rules.referenceKeys, text);
  if (reference === undefined) return keep("reference_invalid");
  if (facts === null || facts.credit_micros > rules.maxCredit) return keep("amount");
  const payment_id = idOf(session["payment_intent"]) ?? String(session["id"]);
  return {
    kind: "payment",
    reference,
    client_reference_id: text,
    report: { payment_id, currency: rules.currency.code, payment: facts },
  };
}

/** Only PaymentIntents that we made: those of sessions come without our metadata, and are reported by their session. */
export function readIntent(event: Json, intent: Json, rules: CreditRules): Meaning {
  const metadata = isObject(intent["metadata"]) ? intent["metadata"] : {};
  const text = metadata[REFERENCE_METADATA];
  const state = INTENT_STATES[String(event["type"])];
  if (typeof text !== "string" || state === undefined) return IGNORE;
  const amount = state === "paid" ? intent["amount_received"] : intent["amount"];
  // Nothing but credit is bought by it: no tax, no shipping, no discount.
  const session = { ...intent, amount_total: amount, amount_subtotal: amount, client_reference_id: text };
  const facts = readFacts(event, session, state, rules);
  const reference = readReference(rules.referenceKeys, text);
  const attempt = metadata[METADATA.topup];
  const named = reference === undefined ? namedEnvelope(text) : undefined;
  const keep = (reason: UnclaimedReason): Meaning =>
    state === "paid"
      ? {
          kind: "unclaimed",
          payment: unclaimedPayment(event, session, reason, facts),
          ...(named !== undefined && typeof attempt === "string" && { topup: { envelope_id: named, attempt } }),
        }
      : IGNORE;
  if (isOtherMode(event, rules)) return keep("livemode");
  if (intent["currency"] !== rules.currency.code) return keep("currency");
  if (reference === undefined) return keep("reference_invalid");
  if (facts === null || facts.credit_micros > rules.maxCredit) return keep("amount");
  const report = {
    payment_id: String(intent["id"]),
    currency: rules.currency.code,
    payment: facts,
    ...(typeof attempt === "string" && {
      topup: { attempt, code: state === "failed" ? failureCode(intent["last_payment_error"]) : null },
    }),
  };
  return { kind: "payment", reference, client_reference_id: text, report };
}

/**
 * Whether the money may be ours at all: a reference of our shape, or a link that is, or could be, ours. Where the links are listed,
 * what came by another one is another Worker's of the same account, whose references have the same shape: unless we made this one.
 */
function isOurs(session: Json, rules: CreditRules): boolean {
  const { client_reference_id, payment_link: link } = session;
  const text = typeof client_reference_id === "string" ? client_reference_id : "";
  if (rules.paymentLinks === undefined) return typeof link === "string" || looksLikeReference(text);
  if (typeof link === "string" && rules.paymentLinks.has(link)) return true;
  return readReference(rules.referenceKeys, text) !== undefined;
}

/** Where it says so: `open`, `complete` or `expired`. */
function isComplete({ status }: Json): boolean {
  return status == null || status === "complete";
}

function stateOf(payment_status: unknown): PaymentState | "nothing_due" | undefined {
  switch (payment_status) {
    case "paid":
      return "paid";
    case "unpaid":
      // A delayed method (bank debit, voucher): the money comes, or not, with a later event.
      return "pending";
    case "no_payment_required":
      return "nothing_due";
    default:
      return undefined;
  }
}

/** `null` unless every amount is a safe, non-negative integer and something is left to credit. */
function readFacts(
  event: Json,
  session: Json,
  state: PaymentState,
  { currency, credit }: CreditRules,
): PaymentFacts | null {
  const details = isObject(session["total_details"]) ? session["total_details"] : {};
  const amount_total = minor(session["amount_total"]);
  const amount_subtotal = session["amount_subtotal"] == null ? null : minor(session["amount_subtotal"]);
  const amount_discount = minor(details["amount_discount"] ?? 0);
  const amount_shipping = minor(details["amount_shipping"] ?? 0);
  const amount_tax = minor(details["amount_tax"] ?? 0);
  if (
    amount_total === undefined ||
    amount_subtotal === undefined ||
    amount_discount === undefined ||
    amount_shipping === undefined ||
    amount_tax === undefined
  ) {
    return null;
  }
  const paidFor = {
    net: amount_total - amount_tax - amount_shipping,
    total: amount_total,
    subtotal: amount_subtotal ?? Number.NaN,
  }[credit];
  const credit_micros = microsFromMinor(paidFor, currency);
  if (credit_micros === undefined || credit_micros === ZERO) return null;
  return {
    state,
    session_id: String(session["id"]),
    event_id: String(event["id"]),
    currency: currency.code,
    livemode: event["livemode"] === true,
    amount_total,
    amount_subtotal,
    amount_discount,
    amount_shipping,
    amount_tax,
    credit_micros,
  };
}

export function unclaimedPayment(
  event: Json,
  session: Json,
  reason: UnclaimedReason,
  facts: PaymentFacts | null,
): NewUnclaimedPayment {
  const { id, client_reference_id, currency, amount_total } = session;
  return {
    payment_id: idOf(session["payment_intent"]) ?? (typeof id === "string" ? id : String(event["id"])),
    event_id: String(event["id"]),
    reason,
    // Cut, because a reference is whatever the payer's URL said.
    client_reference_id: typeof client_reference_id === "string" ? client_reference_id.slice(0, 200) : null,
    currency: typeof currency === "string" ? currency.slice(0, 8) : null,
    amount_total: minor(amount_total) ?? null,
    livemode: event["livemode"] === true,
    facts: facts !== null && currency === facts.currency ? facts : null,
  };
}
