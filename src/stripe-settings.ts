/** What the environment says of Stripe. Loaded with what takes payments. */
import { ConfigurationError, isTestLink, keyMode, PLACEHOLDER, variable } from "./settings.js";

/** Signing secrets of the webhook endpoint, newest first: a comma list, so that old and new overlap while one is rolled. */
export function webhookSecrets(env: unknown): readonly [string, ...string[]] {
  const name = "STRIPE_WEBHOOK_SECRET";
  const [first, ...rest] = variable(env, name)
    .split(",")
    .map((part) => part.trim());
  if (first === undefined || (first === "" && rest.length === 0)) throw new ConfigurationError(name, "is not set");
  for (const secret of [first, ...rest]) {
    if (secret === "" || secret === "whsec_" || PLACEHOLDER.test(secret)) {
      throw new ConfigurationError(name, "holds a blank or placeholder secret");
    }
  }
  return [first, ...rest];
}

/**
 * Mode of the Stripe key, else of the payment link. Of a link at an address of the owner's own it cannot be told: then signing
 * secrets decide alone, which belong to one mode each.
 */
export function stripeMode(env: unknown): "live" | "test" | undefined {
  const key = keyMode(env);
  if (key !== undefined) return key;
  const link = variable(env, "STRIPE_PAYMENT_LINK");
  if (isTestLink(link)) return "test";
  return isStripesLink(link) ? "live" : undefined;
}

function isStripesLink(link: string): boolean {
  return URL.canParse(link) && new URL(link).host === "buy.stripe.com";
}

/** The secret or restricted key, for the few paths that call Stripe. */
export function stripeKey(env: unknown): string {
  const name = "STRIPE_SECRET_KEY";
  const key = variable(env, name);
  if (key === "") throw new ConfigurationError(name, "is not set");
  if (!/^(?:sk|rk)_(?:live|test)_\w+$/.test(key))
    throw new ConfigurationError(name, "is not a secret or restricted key");
  return key;
}

/** Whether there is a key at all, good or bad: without one, what needs Stripe's API is not offered. */
export function hasStripeKey(env: unknown): boolean {
  return variable(env, "STRIPE_SECRET_KEY") !== "";
}

/** Another address for Stripe's API, for tests. Refused with a live key: it would hand that key to whoever is there. */
export function stripeApiBase(env: unknown): URL | undefined {
  const name = "STRIPE_API_BASE";
  const base = variable(env, name);
  if (base === "") return undefined;
  if (keyMode(env) === "live") throw new ConfigurationError(name, "is refused together with a live STRIPE_SECRET_KEY");
  if (!URL.canParse(base)) throw new ConfigurationError(name, "is not a URL");
  return new URL(base);
}
