/**
 * Money: the only place that parses, formats or bounds an amount.
 *
 * Inside, an amount is an integer number of micros (millionths of the currency's main unit). Outside, it is a decimal
 * string in the currency's minor unit. Nothing here rounds, and no fraction is ever held in a JavaScript number.
 */

declare const microsBrand: unique symbol;

/** An integer number of millionths of the currency's main unit, between −(2^53−1) and 2^53−1. */
export type Micros = number & { readonly [microsBrand]: "Micros" };

/** How a price may be written: `"0.05"` or `0.05` (minor units), or `{ micros: 500 }`. */
export type Price = string | number | { readonly micros: number };

/** A currency, and how its minor unit relates to micros. */
export interface Currency {
  /** ISO 4217, lower case, as Stripe writes it. */
  readonly code: string;
  /** Digits of the minor unit: 2 for cents, 0 for yen, 3 for fils. */
  readonly exponent: number;
  /** Digits allowed after the point of a price in minor units: 6 − exponent. */
  readonly fractionDigits: number;
  readonly microsPerMinorUnit: number;
}

export const ZERO = 0 as Micros;

const MICROS_DIGITS = 6;

// https://docs.stripe.com/currencies: amounts of these are whole main units, or thousandths; all others have two decimals.
const ZERO_DECIMAL = new Set("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split(" "));
const THREE_DECIMAL = new Set("bhd jod kwd omr tnd".split(" "));

/** Returns `undefined` for anything that is not three lower-case letters. */
export function currencyOf(code: string): Currency | undefined {
  if (!/^[a-z]{3}$/.test(code)) return undefined;
  const exponent = ZERO_DECIMAL.has(code) ? 0 : THREE_DECIMAL.has(code) ? 3 : 2;
  const fractionDigits = MICROS_DIGITS - exponent;
  return { code, exponent, fractionDigits, microsPerMinorUnit: 10 ** fractionDigits };
}

/** Narrows a number that is already known to be an integer amount; `undefined` for a fraction or anything unsafe. */
export function toMicros(value: unknown): Micros | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) ? ((value + 0) as Micros) : undefined;
}

/** Adds amounts; `undefined` when one of them, or their sum, is no safe integer. */
export function addMicros(left: Micros, right: Micros): Micros | undefined {
  return toMicros(left) === undefined || toMicros(right) === undefined ? undefined : toMicros(left + right);
}

const PRICE_DIGITS = /^(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?$/;

/**
 * Parses a price. Accepts exactly the grammar of `X-Price`: digits without a leading zero, optionally a point and
 * 1 to `currency.fractionDigits` digits; a number whose shortest text fits it; or `{ micros }`.
 * Returns `undefined` for everything else, and for more than 2^53−1 micros.
 */
export function parsePrice(price: unknown, currency: Currency): Micros | undefined {
  if (typeof price === "object" && price !== null && "micros" in price) {
    const micros = toMicros(price.micros);
    return micros !== undefined && micros >= 0 && !Object.is(micros, -0) ? micros : undefined;
  }
  if (typeof price !== "string" && typeof price !== "number") return undefined;
  if (Object.is(price, -0)) return undefined;
  const text = String(price);
  if (!PRICE_DIGITS.test(text)) return undefined;
  const point = text.indexOf(".");
  // Exact wherever it is accepted: a sum that passes 2^53−1 only grows when rounded, and is refused below.
  if (point === -1) return toMicros(Number(text) * currency.microsPerMinorUnit);
  const fraction = text.slice(point + 1);
  if (fraction.length > currency.fractionDigits) return undefined;
  const whole = Number(text.slice(0, point)) * currency.microsPerMinorUnit;
  return toMicros(whole + Number(fraction.padEnd(currency.fractionDigits, "0")));
}

/** Writes an amount exactly, as a decimal in minor units without needless zeros: 500 micros of usd → `"0.05"`. */
export function formatMinor(micros: Micros, currency: Currency): string {
  const sign = micros < 0 ? "-" : "";
  const amount = Math.abs(micros);
  const rest = amount % currency.microsPerMinorUnit;
  // Exact: what is divided is a multiple.
  const whole = `${sign}${(amount - rest) / currency.microsPerMinorUnit}`;
  if (rest === 0) return whole;
  const digits = String(rest).padStart(currency.fractionDigits, "0");
  let end = digits.length;
  while (digits.charCodeAt(end - 1) === ZERO_DIGIT) end -= 1;
  return `${whole}.${digits.slice(0, end)}`;
}

const ZERO_DIGIT = 48;

/** The same value as a JSON number in minor units, for display; `formatMinor` and `_micros` fields are the exact ones. */
export function minorNumber(micros: Micros, currency: Currency): number {
  return micros / currency.microsPerMinorUnit;
}

/** Converts a whole number of minor units (as Stripe sends them); `undefined` unless it is a safe, non-negative integer. */
export function microsFromMinor(minor: unknown, currency: Currency): Micros | undefined {
  if (typeof minor !== "number" || !Number.isSafeInteger(minor) || minor < 0) return undefined;
  return toMicros(minor * currency.microsPerMinorUnit);
}

/** Any currency's main unit: six digits after the point are micros. */
const MAIN = { fractionDigits: MICROS_DIGITS, microsPerMinorUnit: 10 ** MICROS_DIGITS } as Currency;

/** Parses an amount in main units, as the owner's API has them: `"10.5"` or `10.5` dollars. Same grammar as a price. */
export function parseMain(amount: unknown): Micros | undefined {
  return typeof amount === "object" ? undefined : parsePrice(amount, MAIN);
}

/** Writes an amount exactly, as a decimal in main units: 10,500,000 micros → `"10.5"`. */
export function formatMain(micros: Micros): string {
  return formatMinor(micros, MAIN);
}

/** No such coin any more: Stripe counts in hundredths of them all the same, and takes whole ones. */
const WHOLE_ONLY = new Set(["isk", "ugx"]);

/**
 * Decimals of a main unit that a payment can have: Stripe takes thousandths in steps of ten.
 * https://docs.stripe.com/currencies#special-cases
 */
export function paymentDecimals({ code, exponent }: Currency): number {
  return WHOLE_ONLY.has(code) ? 0 : Math.min(exponent, 2);
}

/** A number of minor units that Stripe takes a payment of; `undefined` for an amount that is none. */
export function minorFromMicros(micros: Micros, currency: Currency): number | undefined {
  const step = 10 ** (MICROS_DIGITS - paymentDecimals(currency));
  return micros % step === 0 ? micros / currency.microsPerMinorUnit : undefined;
}
