/** What the tests of the rules share: amounts, currencies, and how a case is shown in its name. */
import { type Currency, currencyOf, type Micros } from "../../../src/money.js";

/** For amounts that a test knows to be sound, and for those it knows not to be. */
export const micros = (amount: number): Micros => amount as Micros;

function known(code: string): Currency {
  const currency = currencyOf(code);
  if (currency === undefined) throw new Error(`${code} is no currency`);
  return currency;
}

export const USD = known("usd");
export const JPY = known("jpy");
export const KWD = known("kwd");

/** A value as one would write it in the code, cut to a readable length. */
export function show(value: unknown): string {
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "string") return cut(JSON.stringify(value));
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return `{${Object.entries(value).map(([name, member]) => `${name}: ${show(member)}`)}}`;
  }
  return cut(JSON.stringify(value) ?? String(value));
}

const cut = (text: string): string => (text.length > 40 ? `${text.slice(0, 36)}… (${text.length})` : text);
