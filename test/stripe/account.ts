/**
 * One Stripe account: its objects, its events and its books, and what payers, banks and the owner do to them. No HTTP here;
 * stand-in.ts speaks that. Every change makes the events that Stripe makes of it, with the object as it was then.
 */
import type Stripe from "stripe";
import type {
  Charge,
  Dispute,
  Event,
  EventType,
  Intent,
  PaymentMethod,
  Refund,
  Session,
  StripeObject,
  Warning,
} from "./objects.js";

/** Minor units. What the account got for one PaymentIntent, and what went away again. */
export interface Books {
  collected: number;
  refunded: number;
  withdrawn: number;
  reinstated: number;
}

export interface AccountOptions {
  /** Part of every id, so that two accounts in one test never meet. */
  readonly name?: string;
  readonly livemode?: boolean;
  /** Seconds. */
  readonly now?: () => number;
}

export interface Checkout {
  readonly reference: string | null;
  /** Minor units, tax included. */
  readonly amount: number;
  readonly tax?: number;
  readonly currency?: string;
  readonly link?: string | null;
  /** `unpaid`: a delayed method, which `settle` ends. `open`: the payer has not finished. */
  readonly payment?: "paid" | "unpaid" | "open";
  readonly card?: Partial<Stripe.Charge.PaymentMethodDetails.Card>;
}

/** Of the package this is built against: an endpoint may be pinned to an older one. */
export const API_VERSION: typeof Stripe.API_VERSION = "2026-10-28.endive";

export class StripeAccount {
  readonly objects = new Map<string, StripeObject>();
  readonly events: Event[] = [];
  readonly books = new Map<string, Books>();
  readonly livemode: boolean;
  now: () => number;
  readonly #name: string;
  #made = 0;

  constructor(options: AccountOptions = {}) {
    this.#name = options.name ?? crypto.randomUUID().slice(0, 8);
    this.livemode = options.livemode ?? false;
    this.now = options.now ?? (() => Math.floor(Date.now() / 1000));
  }

  id(prefix: string): string {
    this.#made += 1;
    return `${prefix}_${this.#name}${this.#made.toString(36).padStart(4, "0")}`;
  }

  keep<One extends StripeObject>(object: One): One {
    this.objects.set(object.id, object);
    return object;
  }

  /** The object itself, not a copy. @throws when there is none, or it is something else. */
  get<Kind extends StripeObject["object"]>(kind: Kind, id: string): Extract<StripeObject, { object: Kind }> {
    const object = this.objects.get(id);
    if (object?.object !== kind) throw new Error(`No such ${kind}: ${id}`);
    return object as Extract<StripeObject, { object: Kind }>;
  }

  booksOf(intent: string): Books {
    const books = this.books.get(intent) ?? { collected: 0, refunded: 0, withdrawn: 0, reinstated: 0 };
    this.books.set(intent, books);
    return books;
  }

  emit(type: EventType, object: StripeObject): void {
    this.events.push({
      id: this.id("evt"),
      object: "event",
      api_version: API_VERSION,
      created: this.now(),
      livemode: this.livemode,
      pending_webhooks: 1,
      request: { id: null, idempotency_key: null },
      type,
      data: { object: structuredClone(object) },
    });
  }

  // What a payer does.

  checkout(input: Checkout): Session {
    const { reference, amount, tax = 0, currency = "usd", link = "plink_1", payment = "paid", card = {} } = input;
    const open = payment === "open";
    const session: Session = this.keep({
      id: this.id("cs_test"),
      object: "checkout.session",
      amount_subtotal: amount - tax,
      amount_total: amount,
      client_reference_id: reference,
      created: this.now(),
      currency,
      currency_conversion: null,
      customer_details: { email: "payer@example.com", name: "A Payer" },
      livemode: this.livemode,
      metadata: {},
      mode: "payment",
      // Since 2022 a session has no PaymentIntent before the payer confirms.
      payment_intent: open ? null : this.intent({ amount, currency }).id,
      payment_link: link,
      payment_status: "unpaid",
      status: open ? "open" : "complete",
      total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: tax },
    });
    if (open || session.payment_intent === null) return session;
    if (payment === "paid") {
      this.collect(this.get("payment_intent", session.payment_intent), card);
      session.payment_status = "paid";
    }
    this.emit("checkout.session.completed", session);
    return session;
  }

  /** A delayed method comes to its end. */
  settle(session: Session, end: "paid" | "failed"): void {
    const intent = this.get("payment_intent", session.payment_intent ?? "");
    if (end === "failed") {
      this.fail(intent, "payment_intent_payment_attempt_failed");
      this.emit("checkout.session.async_payment_failed", session);
      return;
    }
    this.collect(intent);
    session.payment_status = "paid";
    this.emit("checkout.session.async_payment_succeeded", session);
  }

  expire(session: Session): void {
    session.status = "expired";
    this.emit("checkout.session.expired", session);
  }

  intent(fields: Pick<Intent, "amount" | "currency"> & Partial<Intent>): Intent {
    const id = this.id("pi");
    const intent: Intent = this.keep({
      id,
      object: "payment_intent",
      amount_received: 0,
      client_secret: `${id}_secret_test`,
      created: this.now(),
      customer: null,
      last_payment_error: null,
      latest_charge: null,
      livemode: this.livemode,
      metadata: {},
      payment_method: null,
      status: "requires_payment_method",
      ...fields,
    });
    this.emit("payment_intent.created", intent);
    return intent;
  }

  /** The money arrives. */
  collect(intent: Intent, card: Partial<Stripe.Charge.PaymentMethodDetails.Card> = {}): Charge {
    const method = intent.payment_method ?? this.paymentMethod(intent.customer).id;
    const charge: Charge = this.keep({
      id: this.id("ch"),
      object: "charge",
      amount: intent.amount,
      amount_captured: intent.amount,
      amount_refunded: 0,
      created: this.now(),
      currency: intent.currency,
      customer: intent.customer,
      disputed: false,
      livemode: this.livemode,
      paid: true,
      payment_intent: intent.id,
      payment_method: method,
      payment_method_details: { type: "card", card: { ...CARD, ...card } },
      refunded: false,
      status: "succeeded",
    });
    Object.assign(intent, {
      amount_received: intent.amount,
      latest_charge: charge.id,
      payment_method: method,
      status: "succeeded",
    } satisfies Partial<Intent>);
    this.booksOf(intent.id).collected += intent.amount;
    this.emit("charge.succeeded", charge);
    this.emit("payment_intent.succeeded", intent);
    return charge;
  }

  fail(intent: Intent, code: string): void {
    intent.status = "requires_payment_method";
    intent.last_payment_error = { type: "card_error", code, message: "The payment was refused." };
    this.emit("payment_intent.payment_failed", intent);
  }

  paymentMethod(customer: string | null, id = this.id("pm")): PaymentMethod {
    return this.keep({
      id,
      object: "payment_method",
      card: { brand: "visa", fingerprint: CARD.fingerprint, funding: "credit", last4: "4242" },
      created: this.now(),
      customer,
      livemode: this.livemode,
      type: "card",
    });
  }

  // What the owner does.

  refund(intent_id: string, amount: number, status: Refund["status"] = "succeeded"): Refund {
    const charge = this.#chargeOf(intent_id);
    const refund: Refund = this.keep({
      id: this.id("re"),
      object: "refund",
      amount,
      charge: charge.id,
      created: this.now(),
      currency: charge.currency,
      metadata: {},
      payment_intent: intent_id,
      status,
    });
    this.#countRefund(charge, amount);
    this.emit("refund.created", refund);
    this.emit("charge.refunded", charge);
    return refund;
  }

  moveRefund(refund: Refund, status: Refund["status"]): void {
    const back = isBack(status) && !isBack(refund.status);
    refund.status = status;
    if (back) this.#countRefund(this.#chargeOf(refund.payment_intent), -refund.amount);
    if (status === "failed") refund.failure_reason = "lost_or_stolen_card";
    this.emit(status === "failed" ? "refund.failed" : "refund.updated", refund);
    this.emit("charge.refund.updated", refund);
  }

  // What a bank does.

  /** An inquiry is one with a `warning_…` status. Moves nothing yet. */
  dispute(intent_id: string, amount: number, fields: Partial<Dispute> = {}): Dispute {
    const charge = this.#chargeOf(intent_id);
    charge.disputed = true;
    const dispute: Dispute = this.keep({
      id: this.id("du"),
      object: "dispute",
      amount,
      balance_transactions: [],
      charge: charge.id,
      created: this.now(),
      currency: charge.currency,
      livemode: this.livemode,
      payment_intent: intent_id,
      reason: "fraudulent",
      status: "needs_response",
      ...fields,
    });
    this.emit("charge.dispute.created", dispute);
    return dispute;
  }

  moveDispute(dispute: Dispute, status: Dispute["status"]): void {
    dispute.status = status;
    const closed = ["won", "lost", "warning_closed", "prevented"].includes(status);
    this.emit(closed ? "charge.dispute.closed" : "charge.dispute.updated", dispute);
  }

  withdraw(dispute: Dispute): void {
    this.#moveFunds(dispute, -dispute.amount);
    this.booksOf(dispute.payment_intent).withdrawn += dispute.amount;
    this.emit("charge.dispute.funds_withdrawn", dispute);
  }

  reinstate(dispute: Dispute): void {
    this.#moveFunds(dispute, dispute.amount);
    this.booksOf(dispute.payment_intent).reinstated += dispute.amount;
    this.emit("charge.dispute.funds_reinstated", dispute);
  }

  warn(intent_id: string): Warning {
    const warning: Warning = this.keep({
      id: this.id("issfr"),
      object: "radar.early_fraud_warning",
      actionable: true,
      charge: this.#chargeOf(intent_id).id,
      created: this.now(),
      fraud_type: "unauthorized_use_of_card",
      livemode: this.livemode,
      payment_intent: intent_id,
    });
    this.emit("radar.early_fraud_warning.created", warning);
    return warning;
  }

  #chargeOf(intent_id: string): Charge {
    return this.get("charge", this.get("payment_intent", intent_id).latest_charge ?? "");
  }

  #countRefund(charge: Charge, amount: number): void {
    charge.amount_refunded += amount;
    charge.refunded = charge.amount_refunded === charge.amount;
    this.booksOf(charge.payment_intent).refunded += amount;
  }

  #moveFunds(dispute: Dispute, amount: number): void {
    const { currency = "usd" } = dispute;
    const created = this.now();
    dispute.balance_transactions.push({ id: this.id("txn"), object: "balance_transaction", amount, created, currency });
  }
}

const CARD = {
  brand: "visa",
  checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: "pass" },
  country: "US",
  fingerprint: "Xt5EWLLDS7FJjR1c",
  funding: "credit",
  last4: "4242",
  three_d_secure: null,
  wallet: null,
} satisfies Partial<Stripe.Charge.PaymentMethodDetails.Card>;

/** The refund did not happen after all, so the money is ours again. */
function isBack(status: Refund["status"]): boolean {
  return status === "failed" || status === "canceled";
}
