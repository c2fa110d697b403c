/**
 * What a Checkout Session means for us. Pure: a verified event and the deployment's rules in, one decision out. Reads only
 * fields that are stable over Stripe's API versions since 2025-03-31, and checks each, because the endpoint's version and
 * not ours decides their shape.
 */
import type { CreditInput, PaymentState, UnclaimedPayment } from "../contract.js";
import { type Currency, type Micros, microsFromMinor, ZERO } from "../money.js";
import { looksLikeReference, type Reference, readReference } from "../reference.js";
import type { Keyring } from "../settings.js";

export interface CreditRules {
  readonly currency: Currency;
  readonly credit: "net" | "total" | "subtotal";
  readonly paymentLinks: ReadonlySet<string> | undefined;
  /** Mode of the Stripe key; `undefined` without one. */
  readonly mode: "live" | "test" | undefined;
  readonly referenceKeys: Keyring;
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
  | { readonly kind: "credit"; readonly reference: Reference; readonly input: CreditInput }
  /** Signed, perhaps ours, and not creditable: kept for the owner. */
  | { readonly kind: "unclaimed"; readonly payment: Omit<UnclaimedPayment, "at_ms"> };

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What each event says of its session's payment; `undefined` leaves it to `payment_status`. */
const STATES: Readonly<Record<string, PaymentState | undefined>> = {
  "checkout.session.completed": undefined,
  "checkout.session.async_payment_succeeded": "paid",
  "checkout.session.async_payment_failed": "failed",
};

export function readEvent(event: unknown, rules: CreditRules): Meaning {
  if (!isObject(event) || event["object"] !== "event" || typeof event["id"] !== "string") return ignore;
  const { type } = event;
  if (typeof type !== "string" || !Object.hasOwn(STATES, type)) return ignore;
  // Connect: an event of another account.
  if (typeof event["account"] === "string" || typeof event["context"] === "string") return ignore;

  const data = event["data"];
  const session = isObject(data) ? data["object"] : undefined;
  if (!isObject(session) || typeof session["id"] !== "string") {
    return { kind: "unclaimed", payment: unclaimedPayment(event, {}, "malformed") };
  }
  return readSession(event, session, STATES[type], rules);
}

const ignore: Meaning = { kind: "ignore" };

function readSession(event: Json, session: Json, said: PaymentState | undefined, rules: CreditRules): Meaning {
  const ours = isOurs(session, rules);
  const keep = (reason: UnclaimedReason): Meaning =>
    ours && state !== "pending" && state !== "failed"
      ? { kind: "unclaimed", payment: unclaimedPayment(event, session, reason) }
      : ignore;

  const state = said ?? stateOf(session["payment_status"]);
  if (state === "nothing_due") return ignore;
  if (state === undefined) return keep("malformed");

  const text = session["client_reference_id"];
  if (session["mode"] !== "payment") return keep("mode");
  if (rules.mode !== undefined && event["livemode"] !== (rules.mode === "live")) return keep("livemode");
  if (rules.paymentLinks !== undefined && !rules.paymentLinks.has(String(session["payment_link"]))) return keep("link");
  // Before API version 2025-03-31 a converted payment carried the payer's currency here and ours in currency_conversion.
  if (session["currency"] !== rules.currency.code || isObject(session["currency_conversion"])) return keep("currency");
  if (typeof text !== "string" || text === "") return keep("reference_missing");
  const reference = readReference(rules.referenceKeys, text);
  if (reference === undefined) return keep("reference_invalid");
  const amounts = readAmounts(session, rules);
  if (amounts === undefined) return keep("amount");

  const { credit_micros, ...facts } = amounts;
  const payment = {
    payment_id: paymentId(session) ?? String(session["id"]),
    session_id: String(session["id"]),
    event_id: String(event["id"]),
    state,
    currency: rules.currency.code,
    livemode: event["livemode"] === true,
    ...facts,
  };
  return { kind: "credit", reference, input: { payment, credit_micros } };
}

/** Whether the money may be ours at all: a reference of our shape, or a link that is, or could be, ours. */
function isOurs(session: Json, rules: CreditRules): boolean {
  const { client_reference_id: text, payment_link: link } = session;
  if (typeof text === "string" && looksLikeReference(text)) return true;
  if (typeof link !== "string") return false;
  return rules.paymentLinks?.has(link) ?? true;
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

type Amounts = Pick<
  CreditInput["payment"],
  "amount_total" | "amount_subtotal" | "amount_discount" | "amount_shipping" | "amount_tax"
> & { readonly credit_micros: Micros };

/** `undefined` unless every amount is a safe, non-negative integer and something is left to credit. */
function readAmounts(session: Json, { currency, credit }: CreditRules): Amounts | undefined {
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
    return undefined;
  }
  const paidFor = {
    net: amount_total - amount_tax - amount_shipping,
    total: amount_total,
    subtotal: amount_subtotal ?? Number.NaN,
  }[credit];
  const credit_micros = microsFromMinor(paidFor, currency);
  if (credit_micros === undefined || credit_micros === ZERO) return undefined;
  return { amount_total, amount_subtotal, amount_discount, amount_shipping, amount_tax, credit_micros };
}

function minor(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** One payment is one PaymentIntent, under whatever events it is reported; a session without one stands for itself. */
function paymentId(session: Json): string | undefined {
  const intent = session["payment_intent"];
  if (typeof intent === "string" && intent !== "") return intent;
  return isObject(intent) && typeof intent["id"] === "string" ? intent["id"] : undefined;
}

function unclaimedPayment(event: Json, session: Json, reason: UnclaimedReason): Omit<UnclaimedPayment, "at_ms"> {
  const { id, client_reference_id, currency, amount_total } = session;
  return {
    payment_id: paymentId(session) ?? (typeof id === "string" ? id : String(event["id"])),
    event_id: String(event["id"]),
    reason,
    // Cut, because a reference is whatever the payer's URL said.
    client_reference_id: typeof client_reference_id === "string" ? client_reference_id.slice(0, 200) : null,
    currency: typeof currency === "string" ? currency.slice(0, 8) : null,
    amount_total: minor(amount_total) ?? null,
    livemode: event["livemode"] === true,
  };
}
