/** Amounts, times and numbers as text. Amounts are digits all the way: no fraction is ever held in a number. */
import { type Child, el, type VNode } from "./dom.js";

interface CurrencyFormat {
  readonly symbol: string;
  readonly exponent: number;
}

const MICROS_DIGITS = 6;

let format: CurrencyFormat = { symbol: "$", exponent: 2 };

export function useCurrency(code: string, exponent: number): void {
  format = { symbol: symbolOf(code.toUpperCase()), exponent };
}

function symbolOf(code: string): string {
  try {
    const parts = new Intl.NumberFormat("en", { style: "currency", currency: code }).formatToParts(0);
    const symbol = parts.find(({ type }) => type === "currency")?.value ?? code;
    return symbol.length > 2 ? `${symbol}\u00a0` : symbol;
  } catch {
    return `${code}\u00a0`;
  }
}

interface Digits {
  readonly sign: string;
  readonly whole: string;
  /** As many digits as the currency has. */
  readonly fraction: string;
  /** The digits below its smallest coin, without trailing zeros. */
  readonly tail: string;
}

function digitsOf(micros: number | bigint): Digits {
  const value = BigInt(micros);
  const digits = (value < 0n ? -value : value).toString().padStart(MICROS_DIGITS + 1, "0");
  const decimals = digits.slice(-MICROS_DIGITS);
  return {
    sign: value < 0n ? "−" : "",
    whole: digits.slice(0, -MICROS_DIGITS).replace(/\B(?=(\d{3})+$)/g, ","),
    fraction: decimals.slice(0, format.exponent),
    tail: decimals.slice(format.exponent).replace(/0+$/, ""),
  };
}

/** `1234560000` → `$1,234.56` */
export function money(micros: number | bigint): string {
  const { sign, whole, fraction, tail } = digitsOf(micros);
  const decimals = fraction + tail;
  return `${sign}${format.symbol}${whole}${decimals === "" ? "" : `.${decimals}`}`;
}

/** The same, with what is below the smallest coin in a fainter colour. */
export function moneyView(micros: number | bigint): Child {
  const { sign, whole, fraction, tail } = digitsOf(micros);
  const head = `${sign}${format.symbol}${whole}`;
  if (tail === "") return [fraction === "" ? head : `${head}.${fraction}`];
  return [`${head}.${fraction}`, el("span", { class: "tail" }, tail)];
}

/** For an axis: no decimals where there are none, thousands as k. */
export function axisMoney(micros: number): string {
  const { sign, whole, fraction, tail } = digitsOf(Math.round(micros));
  if (tail !== "" || /[1-9]/.test(fraction)) return money(Math.round(micros));
  const thousands = /^(.+),(\d)00$/.exec(whole);
  if (thousands === null) return `${sign}${format.symbol}${whole}`;
  return `${sign}${format.symbol}${thousands[1]}${thousands[2] === "0" ? "" : `.${thousands[2]}`}k`;
}

export type Parsed = { readonly micros: number } | { readonly complaint: string };

/** An amount in main units as somebody types it. `12.34` → 12340000. */
export function parseMoney(text: string): Parsed {
  const parts = /^(\d{1,10})(?:\.(\d{1,6}))?$/.exec(text.trim());
  if (parts === null)
    return { complaint: `Write the amount in digits, such as ${format.exponent === 0 ? "12" : "12.34"}.` };
  const micros = BigInt(parts[1] + (parts[2] ?? "").padEnd(MICROS_DIGITS, "0"));
  if (micros === 0n) return { complaint: "The amount must be above zero." };
  if (micros > BigInt(Number.MAX_SAFE_INTEGER)) return { complaint: "The amount is too large." };
  return { micros: Number(micros) };
}

/** Stripe's amount, which is in minor units. */
export function minorMoney(amount: number | null, currency: string | null): string {
  if (amount === null || currency === null) return "unknown";
  const { exponent } = format;
  const digits = String(amount).padStart(exponent + 1, "0");
  const whole = (exponent === 0 ? digits : digits.slice(0, -exponent)).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${whole}${exponent === 0 ? "" : `.${digits.slice(-exponent)}`} ${currency.toUpperCase()}`;
}

export const currencySymbol = (): string => format.symbol.trim();

const COUNT = new Intl.NumberFormat("en");

export function count(number: number | bigint): string {
  return COUNT.format(number);
}

/** `1 envelope`, `2 envelopes` */
export function counted(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const STEPS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

export function duration(ms: number): string {
  const [unit, size] = STEPS.find(([, least]) => ms >= least) ?? ["ms", 1];
  return `${Math.floor(ms / size)} ${unit}`;
}

export function ago(at_ms: number, now = Date.now()): string {
  const passed = now - at_ms;
  return passed < 5000 ? "just now" : `${duration(passed)} ago`;
}

/** A time to come. */
export function soon(at_ms: number, now = Date.now()): string {
  return at_ms <= now ? "now" : `in ${duration(at_ms - now)}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const clock = (at_ms: number): string => CLOCK.format(at_ms);
export const timeOfDay = (at_ms: number): string => HOUR.format(at_ms);

const utc = (at_ms: number): string => `${new Date(at_ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** A time where the reader is; in UTC when pointed at. */
export function timeView(at_ms: number): VNode {
  return el("time", { datetime: new Date(at_ms).toISOString(), title: utc(at_ms) }, clock(at_ms));
}

export function agoView(at_ms: number): VNode {
  return el("time", { datetime: new Date(at_ms).toISOString(), title: utc(at_ms) }, ago(at_ms));
}

export function soonView(at_ms: number): VNode {
  return el("time", { datetime: new Date(at_ms).toISOString(), title: utc(at_ms) }, soon(at_ms));
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  timeZone: "UTC",
});
const UTC_HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

/** What one bar of a chart stands for; `quarter`: six hours. */
export type Step = "hour" | "quarter" | "day" | "week";

const QUARTER_MS = 6 * 3_600_000;

/** The name of an hour or a day of a chart: in UTC, as they are counted. */
export function stepName(at_ms: number, step: Step): string {
  if (step === "quarter")
    return `${DAY.format(at_ms)}, ${UTC_HOUR.format(at_ms)} to ${UTC_HOUR.format(at_ms + QUARTER_MS)} UTC`;
  if (step === "hour") return `${DAY.format(at_ms)}, ${UTC_HOUR.format(at_ms)} UTC`;
  return `${step === "week" ? "Week of " : ""}${DAY_OF_YEAR.format(at_ms)}`;
}

export function stepTick(at_ms: number, step: Step): string {
  return step === "hour" ? UTC_HOUR.format(at_ms) : DAY.format(at_ms);
}

export function bytes(number: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let rest = number;
  let unit = 0;
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${rest < 10 && unit > 0 ? rest.toFixed(1) : Math.round(rest)} ${units[unit]}`;
}
