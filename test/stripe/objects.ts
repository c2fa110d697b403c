/**
 * Stripe's objects, as far as a prepaid balance meets them. Fewer fields than Stripe sends, but each is declared over the
 * official package's own types: when those move, this file no longer compiles.
 */
import type Stripe from "stripe";

/** Any part of an object of Stripe's, at any depth. */
export type Sketch<T> = T extends readonly (infer One)[]
  ? Sketch<One>[]
  : T extends object
    ? { [Field in keyof T]?: Sketch<T[Field]> }
    : T;

type Metadata = Record<string, string>;

export interface Session extends Sketch<Stripe.Checkout.Session> {
  id: string;
  object: "checkout.session";
  livemode: boolean;
  amount_total: number;
  currency: string;
  client_reference_id: string | null;
  payment_intent: string | null;
  payment_link: string | null;
  payment_status: Stripe.Checkout.Session.PaymentStatus;
  status: Stripe.Checkout.Session.Status;
}

export interface Intent extends Sketch<Stripe.PaymentIntent> {
  id: string;
  object: "payment_intent";
  livemode: boolean;
  amount: number;
  amount_received: number;
  currency: string;
  customer: string | null;
  latest_charge: string | null;
  metadata: Metadata;
  payment_method: string | null;
  status: Stripe.PaymentIntent.Status;
}

export interface Charge extends Sketch<Stripe.Charge> {
  id: string;
  object: "charge";
  amount: number;
  amount_refunded: number;
  currency: string;
  payment_intent: string;
  disputed: boolean;
}

export interface PaymentMethod extends Sketch<Stripe.PaymentMethod> {
  id: string;
  object: "payment_method";
  customer: string | null;
}

export interface Refund extends Sketch<Stripe.Refund> {
  id: string;
  object: "refund";
  amount: number;
  charge: string;
  payment_intent: string;
  status: "pending" | "requires_action" | "succeeded" | "failed" | "canceled";
}

export interface Dispute extends Sketch<Stripe.Dispute> {
  id: string;
  object: "dispute";
  amount: number;
  balance_transactions: Sketch<Stripe.BalanceTransaction>[];
  charge: string;
  payment_intent: string;
  status: Stripe.Dispute.Status;
}

export interface Warning extends Sketch<Stripe.Radar.EarlyFraudWarning> {
  id: string;
  object: "radar.early_fraud_warning";
  charge: string;
  payment_intent: string;
}

/** What an owner's set-up makes: its fields are whatever was asked for. */
export interface Product extends Sketch<Stripe.Product> {
  id: string;
  object: "product";
}
export interface Price extends Sketch<Stripe.Price> {
  id: string;
  object: "price";
}
export interface PaymentLink extends Sketch<Stripe.PaymentLink> {
  id: string;
  object: "payment_link";
}
export interface WebhookEndpoint extends Sketch<Stripe.WebhookEndpoint> {
  id: string;
  object: "webhook_endpoint";
}
export interface Customer extends Sketch<Stripe.Customer> {
  id: string;
  object: "customer";
}

export type StripeObject =
  | Session
  | Intent
  | Charge
  | PaymentMethod
  | Refund
  | Dispute
  | Warning
  | Product
  | Price
  | PaymentLink
  | WebhookEndpoint
  | Customer;

/** The events that move money, or say that it will. */
export const MONEY_EVENTS = [
  "checkout.session.completed",
  "checkout.session.async_payment_succeeded",
  "checkout.session.async_payment_failed",
  "checkout.session.expired",
  "payment_intent.succeeded",
  "payment_intent.payment_failed",
  "refund.created",
  "refund.updated",
  "refund.failed",
  "charge.refunded",
  "charge.dispute.created",
  "charge.dispute.updated",
  "charge.dispute.funds_withdrawn",
  "charge.dispute.funds_reinstated",
  "charge.dispute.closed",
  "radar.early_fraud_warning.created",
] as const satisfies readonly Stripe.Event["type"][];

/** And some that do not, which an endpoint that asked for everything is sent as well. */
const OTHER_EVENTS = [
  "charge.succeeded",
  "charge.refund.updated",
  "customer.created",
  "payment_intent.created",
  "payment_intent.processing",
] as const satisfies readonly Stripe.Event["type"][];

export type MoneyEvent = (typeof MONEY_EVENTS)[number];
export type EventType = MoneyEvent | (typeof OTHER_EVENTS)[number];

export interface Event extends Sketch<Omit<Stripe.EventBase, "data">> {
  id: string;
  object: "event";
  type: EventType;
  created: number;
  livemode: boolean;
  data: { object: StripeObject };
}

type ThinType = Extract<Stripe.V2.Core.EventNotification["type"], `v1.${EventType}`>;

export interface ThinEvent extends Sketch<Stripe.V2.Core.EventBase> {
  id: string;
  object: "v2.core.event";
  type: ThinType;
  created: string;
  related_object: Stripe.V2.Core.Events.RelatedObject;
}

/** Where an object is fetched, by what it is. */
export const COLLECTIONS = {
  "checkout.session": "checkout/sessions",
  payment_intent: "payment_intents",
  charge: "charges",
  payment_method: "payment_methods",
  refund: "refunds",
  dispute: "disputes",
  "radar.early_fraud_warning": "radar/early_fraud_warnings",
  payment_link: "payment_links",
  product: "products",
  price: "prices",
  webhook_endpoint: "webhook_endpoints",
  customer: "customers",
  event: "events",
} as const satisfies Record<StripeObject["object"] | "event", string>;

/** The same change as a thin event: another id, no object inside. */
export function thinOf(event: Event, changes: Partial<ThinEvent> = {}): ThinEvent {
  const { object } = event.data;
  return {
    id: `${event.id}_thin`,
    object: "v2.core.event",
    type: `v1.${event.type}`,
    created: new Date(event.created * 1000).toISOString(),
    livemode: event.livemode,
    related_object: { id: object.id, type: object.object, url: `/v1/${COLLECTIONS[object.object]}/${object.id}` },
    snapshot_event: event.id,
    ...changes,
  };
}
