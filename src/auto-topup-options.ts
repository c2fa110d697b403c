/** `options.autoTopUp`: its type, its defaults, and where it is checked. Apart from options.ts, because `envelopeOf` takes it too. */
import type { AutoTopUpRules } from "./contract.js";
import { type Currency, type Micros, minorFromMicros, type Price, parsePrice, toMicros } from "./money.js";

/** Charges a saved card when the balance is low. Only envelopes whose card the owner's server named are charged at all. */
export interface AutoTopUpOptions {
  /** Charged when less than this is available, in minor units. */
  readonly threshold: Price;
  /** What each top-up charges, in whole minor units. */
  readonly amount: Price;
  /** Attempts per envelope and window, declined ones included. 1 to 100; default 3. */
  readonly maxPerWindow?: number | undefined;
  /** Length of the rolling window. 60 to 31 days; default 86,400 (one day). */
  readonly windowSeconds?: number | undefined;
  /** No more money per envelope and window, in minor units. Default `amount` × `maxPerWindow`. */
  readonly ceilingPerWindow?: Price | undefined;
  /** Pause after an attempt has ended. 0 to `windowSeconds`; default 60, or `windowSeconds` where that is less. */
  readonly coolDownSeconds?: number | undefined;
}

const KNOWN = {
  threshold: true,
  amount: true,
  maxPerWindow: true,
  windowSeconds: true,
  ceilingPerWindow: true,
  coolDownSeconds: true,
} as const satisfies Record<keyof AutoTopUpOptions, true>;

/** How many attempts are looked at when one is decided on: a window never holds more. */
const MAX_PER_WINDOW = 100;
const WINDOW_SECONDS_MAX = 31 * 86_400;

/** @throws {TypeError} that names the option's path */
export function resolveAutoTopUp(
  options: AutoTopUpOptions | undefined,
  currency: Currency,
): AutoTopUpRules | undefined {
  if (options === undefined) return undefined;
  if (typeof options !== "object" || options === null) throw new TypeError("options.autoTopUp must be an object");
  for (const name of Object.keys(options)) {
    if (!(name in KNOWN)) {
      throw new TypeError(`options.autoTopUp.${name} is not an option; known are ${Object.keys(KNOWN).join(", ")}`);
    }
  }
  const threshold_micros = money("threshold", options.threshold, currency);
  const amount_micros = money("amount", options.amount, currency);
  if (amount_micros === 0 || minorFromMicros(amount_micros, currency) === undefined) {
    throw new TypeError(
      "options.autoTopUp.amount must be above zero, in whole minor units (tens of them where there are thousandths, hundreds for isk and ugx): a card is charged that much",
    );
  }
  const max_per_window = whole("maxPerWindow", options.maxPerWindow ?? 3, 1, MAX_PER_WINDOW);
  const seconds = whole("windowSeconds", options.windowSeconds ?? 86_400, 60, WINDOW_SECONDS_MAX);
  const ceiling_micros =
    options.ceilingPerWindow === undefined
      ? toMicros(amount_micros * max_per_window)
      : money("ceilingPerWindow", options.ceilingPerWindow, currency);
  if (ceiling_micros === undefined || ceiling_micros < amount_micros) {
    throw new TypeError("options.autoTopUp.ceilingPerWindow must be at least amount, and within 2^53−1 micros");
  }
  const coolDown = whole("coolDownSeconds", options.coolDownSeconds ?? Math.min(60, seconds), 0, seconds);
  return {
    threshold_micros,
    amount_micros,
    max_per_window,
    ceiling_micros,
    window_ms: seconds * 1000,
    cool_down_ms: coolDown * 1000,
  };
}

function money(name: string, price: Price, currency: Currency): Micros {
  const micros = parsePrice(price, currency);
  if (micros === undefined) throw new TypeError(`options.autoTopUp.${name} must be a price in minor units`);
  return micros;
}

function whole(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`options.autoTopUp.${name} must be a whole number from ${least} to ${most}`);
  }
  return value;
}
