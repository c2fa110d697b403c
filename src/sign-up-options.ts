/** `options.signUpGrant`: its type, and where it is checked. */
import { PRIORITY_DEFAULT, PRIORITY_MAX, type SignUpRules, TAG_MAX } from "./contract.js";
import { type Currency, type Price, parsePrice } from "./money.js";

/**
 * Money to begin with, once per envelope. A new identity of ours costs nothing, so nobody is given anything for having one: only for
 * an account of the app's own, or for paying.
 */
export interface SignUpGrantOptions {
  /** In minor units. */
  readonly amount: Price;
  /**
   * `"identified"`: whoever `options.identify` vouches for, with their first priced request or look at `/me`. Worth as much as an
   * account of the app's is hard to get. `"payers"`: with the first top-up, and never more than that brought; what is left of it is
   * taken back when that top-up is refunded or disputed, and comes again where that does not last.
   */
  readonly to: "identified" | "payers";
  /** Default: it does not expire. */
  readonly expiresInSeconds?: number | undefined;
  /** As of any grant: 0 to 100, lower is spent first. Default 50. */
  readonly priority?: number | undefined;
  /** As of any grant: the one tag it may be spent on. Default any. */
  readonly only?: string | undefined;
}

export interface SignUpGrant {
  readonly to: "identified" | "payers";
  readonly rules: SignUpRules;
}

/** What a payment is to bring besides. */
export function giftOf(grant: SignUpGrant | undefined): SignUpRules | undefined {
  return grant?.to === "payers" ? grant.rules : undefined;
}

const KNOWN = {
  amount: true,
  to: true,
  expiresInSeconds: true,
  priority: true,
  only: true,
} as const satisfies Record<keyof SignUpGrantOptions, true>;

/** A hundred years: later is not a date that anybody means. */
const SECONDS_MAX = 100 * 366 * 86_400;

/** @throws {TypeError} that names the option's path */
export function resolveSignUp(
  options: SignUpGrantOptions | undefined,
  currency: Currency,
  hasIdentify: boolean,
): SignUpGrant | undefined {
  if (options === undefined) return undefined;
  if (typeof options !== "object" || options === null) throw new TypeError("options.signUpGrant must be an object");
  for (const name of Object.keys(options)) {
    if (!(name in KNOWN)) {
      throw new TypeError(`options.signUpGrant.${name} is not an option; known are ${Object.keys(KNOWN).join(", ")}`);
    }
  }
  const { to, only } = options;
  const amount_micros = parsePrice(options.amount, currency);
  if (amount_micros === undefined || amount_micros === 0) {
    throw new TypeError("options.signUpGrant.amount must be a price above zero, in minor units");
  }
  if (to !== "identified" && to !== "payers") {
    throw new TypeError('options.signUpGrant.to must be "identified" or "payers"');
  }
  if (to === "identified" && !hasIdentify) {
    throw new TypeError('options.signUpGrant.to "identified" needs options.identify: an identity of ours is free');
  }
  if (only !== undefined && (typeof only !== "string" || only === "" || only.length > TAG_MAX)) {
    throw new TypeError(`options.signUpGrant.only must be a tag of 1 to ${TAG_MAX} characters`);
  }
  const seconds = options.expiresInSeconds;
  const lasts_ms = seconds === undefined ? null : whole("expiresInSeconds", seconds, 1, SECONDS_MAX) * 1000;
  const priority = whole("priority", options.priority ?? PRIORITY_DEFAULT, 0, PRIORITY_MAX);
  return { to, rules: { amount_micros, lasts_ms, priority, only: only ?? null } };
}

function whole(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`options.signUpGrant.${name} must be a whole number from ${least} to ${most}`);
  }
  return value;
}
