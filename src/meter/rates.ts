/**
 * What a body costs while it flows: so much at the beginning, and so much for each second, kilobyte and message. Pure. A unit is
 * whole: it is paid for when it begins, so `n` units of money let exactly `n` units through.
 */
import { type Currency, type Micros, parsePrice, ZERO } from "../money.js";
import { HEADER } from "../wire.js";

export interface Rate {
  /** Taken at the beginning, whatever follows. */
  readonly base_micros: Micros;
  readonly per_second_micros: Micros;
  readonly per_kilobyte_micros: Micros;
  readonly per_message_micros: Micros;
  /** No more than this in all. */
  readonly max_micros: Micros;
}

export const SECOND_MS = 1_000;
/** A kilobyte is a thousand bytes (IEC 80000-13), of the body before any compression on its way. */
export const KILOBYTE_BYTES = 1_000;

/** Seconds that have begun: the first one at once. */
export function secondsBegun(elapsed_ms: number): number {
  return Math.floor(Math.max(0, elapsed_ms) / SECOND_MS) + 1;
}

/** Kilobytes that have begun. */
export function kilobytesBegun(bytes: number): number {
  return Math.ceil(bytes / KILOBYTE_BYTES);
}

/** What must be there before anything is let through: the base, and the first unit of each kind. */
export function leastOf(rate: Rate): Micros {
  return (rate.base_micros + firstUnits(rate)) as Micros;
}

/** One unit of each kind. */
export function firstUnits({ per_second_micros, per_kilobyte_micros, per_message_micros }: Rate): Micros {
  return (per_second_micros + per_kilobyte_micros + per_message_micros) as Micros;
}

/** The rate that a response's headers name. `"invalid"` where one of them is outside the grammar of prices, or they make no sense together. */
export function rateOfHeaders(headers: Headers, currency: Currency, maxPrice: Micros): Rate | "invalid" {
  const read = (name: string): Micros | undefined => {
    const text = headers.get(name);
    return text === null ? ZERO : parsePrice(text, currency);
  };
  const max = headers.has(HEADER.maxPrice) ? read(HEADER.maxPrice) : maxPrice;
  return soundRate(
    {
      base_micros: read(HEADER.price),
      per_second_micros: read(HEADER.perSecond),
      per_kilobyte_micros: read(HEADER.perKilobyte),
      per_message_micros: read(HEADER.perMessage),
      max_micros: max,
    },
    maxPrice,
  );
}

/** A rate whose parts are prices, and whose maximum lets something through. */
export function soundRate(
  parts: { readonly [Name in keyof Rate]: Micros | undefined },
  maxPrice: Micros,
): Rate | "invalid" {
  for (const part of Object.values(parts)) if (part === undefined || part > maxPrice) return "invalid";
  const rate = parts as Rate;
  return leastOf(rate) > rate.max_micros ? "invalid" : rate;
}
