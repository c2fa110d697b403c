/**
 * A Checkout Session as Stripe's API shows it to the page its payer returns to: whether it is a payment of ours, just made,
 * with a card that tells who paid. Pure; every "no" is a value that names its reason, and none of them is told to the payer.
 */
import { type Reference, readReference } from "../reference.js";
import { isObject, type Json } from "./json.js";
import type { CreditRules } from "./payment.js";

const SESSION_ID = /^cs_(?:test|live)_[0-9A-Za-z]{1,200}$/;

/** How long after its charge a payment says who sits at the browser. */
const AGE_SECONDS_MAX = 15 * 60;
/** How far Stripe's clock may be ahead of ours. */
const SKEW_SECONDS_MAX = 5 * 60;

export interface ReturnedPayment {
  readonly outcome: "returned";
  readonly payment_id: string;
  readonly reference: Reference;
  /** The card's fingerprint with Stripe's mode; nothing else of a payer says who they are. */
  readonly card: string;
  /** What the payer is asked for. Never shown: whoever opened a link is not told with what card another paid it. */
  readonly last4: string;
}

/** Whose payment a session is, whatever may be made of it. */
export interface ReturnedSession {
  readonly payment_id: string;
  readonly reference: Reference;
  /** As in `ReturnedPayment`; `undefined` where it says nothing about the payer. */
  readonly card: string | undefined;
}

export type ReturnRefusal =
  | "unknown"
  | "mode"
  | "livemode"
  | "link"
  | "currency"
  | "unpaid"
  | "reference"
  | "charge"
  | "age"
  | "reversed"
  | "card"
  | "prepaid"
  | "unchecked";

type Refused = { readonly outcome: "refused"; readonly reason: ReturnRefusal };

export function isSessionId(text: string): boolean {
  return SESSION_ID.test(text);
}

/** A session that was paid with a reference of ours; its age and its kind do not matter. */
export function readSessionOf(
  session: unknown,
  session_id: string,
  keys: CreditRules["referenceKeys"],
): ReturnedSession | undefined {
  if (!isObject(session) || session["object"] !== "checkout.session" || session["id"] !== session_id) return undefined;
  const { client_reference_id: text, payment_intent: intent } = session;
  const reference = typeof text === "string" ? readReference(keys, text) : undefined;
  if (reference === undefined || session["status"] !== "complete") return undefined;
  if (!isObject(intent) || typeof intent["id"] !== "string") return undefined;
  const charge = isObject(intent["latest_charge"]) ? intent["latest_charge"] : {};
  const card = readCard(charge["payment_method_details"]);
  return {
    payment_id: intent["id"],
    reference,
    card: typeof card === "string" ? undefined : withMode(session, card.fingerprint),
  };
}

function withMode(session: Json, fingerprint: string): string {
  return `${session["livemode"] === true ? "live" : "test"}:${fingerprint}`;
}

export function readReturn(
  session: unknown,
  session_id: string,
  rules: CreditRules,
  now_s: number,
): ReturnedPayment | Refused {
  if (!isObject(session) || session["object"] !== "checkout.session" || session["id"] !== session_id) {
    return refused("unknown");
  }
  const reason = notOurs(session, rules);
  if (reason !== undefined) return refused(reason);
  const text = session["client_reference_id"];
  const reference = typeof text === "string" ? readReference(rules.referenceKeys, text) : undefined;
  if (reference === undefined) return refused("reference");

  const intent = session["payment_intent"];
  const charge = isObject(intent) ? intent["latest_charge"] : undefined;
  if (!isObject(intent) || typeof intent["id"] !== "string" || !isObject(charge)) return refused("charge");
  const why = chargeRefusal(charge, now_s);
  if (why !== undefined) return refused(why);
  const card = readCard(charge["payment_method_details"]);
  if (typeof card === "string") return refused(card);
  return {
    outcome: "returned",
    payment_id: intent["id"],
    reference,
    card: withMode(session, card.fingerprint),
    last4: card.last4,
  };
}

function refused(reason: ReturnRefusal): Refused {
  return { outcome: "refused", reason };
}

/** The same rules as the webhook's, because a payment that is not credited opens nothing. */
function notOurs(session: Json, rules: CreditRules): ReturnRefusal | undefined {
  if (session["mode"] !== "payment") return "mode";
  if (rules.mode === undefined || session["livemode"] !== (rules.mode === "live")) return "livemode";
  if (rules.paymentLinks !== undefined && !rules.paymentLinks.has(String(session["payment_link"]))) return "link";
  if (session["currency"] !== rules.currency.code || isObject(session["currency_conversion"])) return "currency";
  return session["status"] === "complete" && session["payment_status"] === "paid" ? undefined : "unpaid";
}

function chargeRefusal(charge: Json, now_s: number): ReturnRefusal | undefined {
  const { created } = charge;
  if (charge["status"] !== "succeeded" || charge["paid"] !== true) return "charge";
  if (charge["disputed"] !== false || charge["refunded"] !== false || charge["amount_refunded"] !== 0)
    return "reversed";
  if (typeof created !== "number" || !(now_s - created < AGE_SECONDS_MAX) || created - now_s > SKEW_SECONDS_MAX) {
    return "age";
  }
  return undefined;
}

/** The kinds of card that stay with one holder. A prepaid one is passed on, and `unknown` may be prepaid. */
const LASTING: readonly unknown[] = ["credit", "debit"];

function readCard(
  details: unknown,
): { readonly fingerprint: string; readonly last4: string } | "card" | "prepaid" | "unchecked" {
  const card = isObject(details) && details["type"] === "card" ? details["card"] : undefined;
  if (!isObject(card)) return "card";
  const { fingerprint, last4 } = card;
  // Null never matches null.
  if (typeof fingerprint !== "string" || !/^[0-9A-Za-z]{1,64}$/.test(fingerprint)) return "card";
  if (typeof last4 !== "string" || !/^[0-9]{4}$/.test(last4)) return "card";
  if (!LASTING.includes(card["funding"])) return "prepaid";
  const checks = isObject(card["checks"]) ? card["checks"]["cvc_check"] : undefined;
  const secure = isObject(card["three_d_secure"]) ? card["three_d_secure"]["result"] : undefined;
  if (checks !== "pass" && secure !== "authenticated") return "unchecked";
  return { fingerprint, last4 };
}
