/**
 * ws402 counts in JSON numbers of some currency. Inside they are integers: micros of the envelope's currency, or millionths of the
 * provider's. Pure.
 */
import { currencyOf, formatMain, formatMinor, type Micros, parseMain, parsePrice } from "../money.js";

export interface Unit {
  readonly currency: string;
  /** `undefined` for what is no amount: negative, a fraction of a millionth, or beyond 2^53−1 of them. */
  parse(amount: unknown): Micros | undefined;
  /** For the wire: exact up to 15 digits. */
  toNumber(micros: number): number;
}

/** The envelope's: minor units, as a price has them. */
export function envelopeUnit(code: string): Unit | undefined {
  const currency = currencyOf(code.toLowerCase());
  if (currency === undefined) return undefined;
  return {
    currency: currency.code,
    parse: (amount) => parsePrice(amount, currency),
    toNumber: (micros) => Number(formatMinor(micros as Micros, currency)),
  };
}

/** A provider's own: whatever one of it is, down to a millionth. */
export function providerUnit(currency: string): Unit {
  return { currency, parse: parseMain, toNumber: (micros) => Number(formatMain(micros as Micros)) };
}
