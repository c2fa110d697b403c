/**
 * What a setup is made of: what is wanted, what was found, and the calls that lead from one to the other. Only objects that
 * carry our mark and the app's name are ever looked at or changed.
 */
import type Stripe from "stripe";
import { hash } from "./secrets.js";

export type EventType = Stripe.WebhookEndpointCreateParams.EnabledEvent;

/** Where the secrets go. */
export type Store = "dev-vars" | "wrangler";
export type SecretName = "STRIPE_PAYMENT_LINK" | "STRIPE_WEBHOOK_SECRET" | "STRIPE_SECRET_KEY";

export interface Wish {
  readonly app: string;
  /** Of the Worker, without a slash at the end. */
  readonly url: string;
  readonly events: readonly EventType[];
  readonly api_version: Stripe.WebhookEndpointCreateParams.ApiVersion;
  readonly currency: string | undefined;
  readonly minimum: number | undefined;
  readonly maximum: number | undefined;
  readonly preset: number | undefined;
  readonly login_by_payment: boolean | undefined;
  readonly roll_webhook: boolean;
  readonly store: Store;
  readonly store_key: boolean;
  /** Seconds. */
  readonly now: number;
}

export interface PriceTerms {
  readonly currency: string;
  readonly minimum: number | undefined;
  readonly maximum: number | undefined;
  readonly preset: number | undefined;
}

export interface Price extends PriceTerms {
  readonly id: string;
}

export interface Link {
  readonly id: string;
  readonly url: string;
  readonly price_id: string | undefined;
  readonly redirect_url: string | undefined;
  /** `null`: Stripe chooses. */
  readonly payment_method_types: readonly string[] | null;
  readonly revision: number;
}

export interface Endpoint {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly enabled: boolean;
  readonly api_version: string | null;
  /** Seconds. */
  readonly created: number;
  readonly revision: number;
  /** The endpoint that this one took over from. */
  readonly replaces: string | undefined;
  /** Idempotency key of the call that made it. */
  readonly request: string | undefined;
  readonly secret_digest: string | undefined;
  readonly in_wrangler: boolean;
}

/** Only what carries this app's metadata and is active; newest first. */
export interface State {
  readonly product_id: string | undefined;
  readonly prices: readonly Price[];
  readonly links: readonly Link[];
  readonly endpoints: readonly Endpoint[];
  /** Of the signing secrets that `.dev.vars` holds. */
  readonly local_digests: readonly string[];
  /** The signing secret that Stripe told this run; `digest` is absent when it was asked to repeat it and did not. */
  readonly told: { readonly endpoint_id: string; readonly digest: string | undefined } | undefined;
  readonly stored: readonly SecretName[];
  /** In this run, an endpoint was made, or a roll that an earlier run began was finished. */
  readonly rolled: boolean;
}

/** The part of Stripe's answer that its request does not already say. */
export interface Answer {
  readonly id: string;
  readonly url?: string | undefined;
  /** Of the signing secret, where the answer holds one. The plan never sees the secret itself. */
  readonly secret_digest?: string | undefined;
}

export type CallName = "product" | "price" | "payment link" | "webhook";

export interface Call {
  readonly kind: "create" | "update" | "repeat";
  readonly name: CallName;
  readonly path: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Why, in a few words. */
  readonly why: string;
  /** For a `repeat`: which attempt it repeats, and the id it must be answered with. */
  readonly repeats?: { readonly attempt: number; readonly id: string };
  readonly apply: (state: State, answer: Answer) => State;
}

export interface Storing {
  readonly kind: "store";
  readonly names: readonly SecretName[];
}

export type Step = Call | Storing;

export const META = {
  mark: "with_envelope",
  app: "with_envelope_app",
  price: "with_envelope_price",
  revision: "with_envelope_revision",
  replaces: "with_envelope_replaces",
  request: "with_envelope_request",
  secret: "with_envelope_secret",
  secretIn: "with_envelope_secret_in",
} as const;

/** How often a call is made under another key because its old answer is about an object that is gone. */
export const ATTEMPTS_MAX = 8;

/** The same request has the same key, so Stripe does it once however often it is sent. `attempt` 2 and up: see ATTEMPTS_MAX. */
export function requestOf(
  app: string,
  call: Call,
  attempt: number,
): { readonly key: string; readonly params: Readonly<Record<string, unknown>> } {
  const key = `with-envelope-${hash([app, call.name, call.path, call.params, attempt]).slice(0, 40)}`;
  if (call.name !== "webhook" || call.kind === "update") return { key, params: call.params };
  const metadata = { ...(call.params["metadata"] as Stripe.MetadataParam), [META.request]: key };
  return { key, params: { ...call.params, metadata } };
}

export function owned(wish: Wish, more: Stripe.MetadataParam = {}): Stripe.MetadataParam {
  return { [META.mark]: "1", [META.app]: wish.app, ...more };
}

export function sameSet(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((item) => right.includes(item));
}
