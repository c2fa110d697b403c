/**
 * What each collection of the stand-in may be asked: filters of its list, parameters of its objects. Each name is checked
 * against the official package, so a parameter that Stripe dropped fails to compile; one that is not here is refused.
 */
import type Stripe from "stripe";
import { type ApiError, invalid } from "./errors.js";
import type { Params } from "./form.js";
import type { COLLECTIONS } from "./objects.js";

export type Kind = keyof typeof COLLECTIONS;

export const FILTERS: Partial<Record<Kind, readonly string[]>> = {
  "checkout.session": [
    "payment_intent",
    "payment_link",
    "customer",
    "status",
  ] satisfies (keyof Stripe.Checkout.SessionListParams)[],
  payment_intent: ["customer"] satisfies (keyof Stripe.PaymentIntentListParams)[],
  charge: ["payment_intent", "customer"] satisfies (keyof Stripe.ChargeListParams)[],
  payment_method: ["customer", "type"] satisfies (keyof Stripe.PaymentMethodListParams)[],
  refund: ["payment_intent", "charge"] satisfies (keyof Stripe.RefundListParams)[],
  dispute: ["payment_intent", "charge"] satisfies (keyof Stripe.DisputeListParams)[],
  payment_link: ["active"] satisfies (keyof Stripe.PaymentLinkListParams)[],
  product: ["active"] satisfies (keyof Stripe.ProductListParams)[],
  price: ["active", "product", "currency", "type"] satisfies (keyof Stripe.PriceListParams)[],
  customer: ["email"] satisfies (keyof Stripe.CustomerListParams)[],
  event: ["type"] satisfies (keyof Stripe.EventListParams)[],
  "radar.early_fraud_warning": [
    "payment_intent",
    "charge",
  ] satisfies (keyof Stripe.Radar.EarlyFraudWarningListParams)[],
};

/** What each kind is made of: fields that must be there, fields that may be. A parameter that Stripe dropped fails to compile. */
const PARAMS: Partial<Record<Kind, { readonly must: readonly string[]; readonly may: readonly string[] }>> = {
  payment_intent: {
    must: ["amount", "currency"] satisfies (keyof Stripe.PaymentIntentCreateParams)[],
    may: [
      "allowed_payment_method_types",
      "automatic_payment_methods",
      "confirm",
      "customer",
      "description",
      "error_on_requires_action",
      "excluded_payment_method_types",
      "metadata",
      "off_session",
      "payment_method",
      "receipt_email",
      "setup_future_usage",
      "statement_descriptor_suffix",
    ] satisfies (keyof Stripe.PaymentIntentCreateParams)[],
  },
  refund: {
    must: [],
    may: ["amount", "charge", "metadata", "payment_intent", "reason"] satisfies (keyof Stripe.RefundCreateParams)[],
  },
  customer: {
    must: [],
    may: ["description", "email", "metadata", "name"] satisfies (keyof Stripe.CustomerCreateParams)[],
  },
  product: {
    must: ["name"] satisfies (keyof Stripe.ProductCreateParams)[],
    may: ["active", "description", "metadata", "tax_code", "unit_label"] satisfies (keyof Stripe.ProductCreateParams)[],
  },
  price: {
    must: ["currency", "product"] satisfies (keyof Stripe.PriceCreateParams)[],
    may: [
      "active",
      "custom_unit_amount",
      "lookup_key",
      "metadata",
      "nickname",
      "tax_behavior",
      "unit_amount",
    ] satisfies (keyof Stripe.PriceCreateParams)[],
  },
  payment_link: {
    must: ["line_items"] satisfies (keyof Stripe.PaymentLinkCreateParams)[],
    may: [
      "active" satisfies keyof Stripe.PaymentLinkUpdateParams,
      ...([
        "after_completion",
        "automatic_tax",
        "billing_address_collection",
        "currency",
        "customer_creation",
        "metadata",
        "payment_intent_data",
        "payment_method_types",
        "submit_type",
      ] satisfies (keyof Stripe.PaymentLinkCreateParams)[]),
    ],
  },
  webhook_endpoint: {
    must: ["enabled_events", "url"] satisfies (keyof Stripe.WebhookEndpointCreateParams)[],
    may: [
      "disabled" satisfies keyof Stripe.WebhookEndpointUpdateParams,
      ...(["api_version", "description", "metadata"] satisfies (keyof Stripe.WebhookEndpointCreateParams)[]),
    ],
  },
};

/** Those that are only kept: the prefix of their ids, and what Stripe adds to the parameters. */
export const MADE: Partial<Record<Kind, { readonly prefix: string; readonly fields: (id: string) => object }>> = {
  customer: { prefix: "cus", fields: () => ({ email: null, name: null }) },
  product: { prefix: "prod", fields: () => ({ active: true }) },
  price: { prefix: "price", fields: () => ({ active: true, type: "one_time", recurring: null }) },
  payment_link: { prefix: "plink", fields: (id) => ({ active: true, url: `https://buy.stripe.com/test_${id}` }) },
  webhook_endpoint: { prefix: "we", fields: () => ({ api_version: null, status: "enabled" }) },
};

/** @throws {ApiError} naming the first parameter that is missing or unknown. */
export function check(kind: Kind, params: Params, purpose: "create" | "update" = "create"): void {
  const { must = [], may = ["metadata"] } = PARAMS[kind] ?? {};
  const absent = purpose === "create" ? must.find((name) => params[name] === undefined) : undefined;
  if (absent !== undefined) {
    throw invalid(`Missing required param: ${absent}.`, { code: "parameter_missing", param: absent });
  }
  const unknown = Object.keys(params).find((name) => !must.includes(name) && !may.includes(name));
  if (unknown !== undefined) throw unknownParameter(unknown);
}

export function unknownParameter(param: string): ApiError {
  return invalid(`Received unknown parameter: ${param}`, { code: "parameter_unknown", param });
}
