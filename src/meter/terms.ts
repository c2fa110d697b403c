/** What an app asks of `ctx.envelope.meter`: its types, defaults, and the one place where it is checked. A wrong one throws a TypeError that names its path. */
import { METADATA_MAX, REASON_MAX } from "../contract.js";
import { isKey, isReason } from "../keys.js";
import { type Currency, type Micros, type Price, parsePrice, ZERO } from "../money.js";
import type { SocketOptions } from "../socket-options.js";
import type { EndCause, Ended, Pricer, Units } from "./deliver.js";
import type { Framing } from "./parts.js";
import { type MeteredPart, pricerOf, TokenPricer } from "./pricers.js";
import { firstUnits, leastOf, type Rate, soundRate } from "./rates.js";
import { FIRST_UNITS, LEASE_MS, SLICE_MS, type SliceRules } from "./slices.js";
import type { SocketEnd } from "./socket-rules.js";
import { costOfTokens, resolveTokenPrices, type TokenPrices, type Tokens } from "./tokens.js";

/** What a body costs while it flows. All that is named adds up. */
export interface MeterRate {
  /** Taken at the beginning, as `X-Price` is. */
  readonly base?: Price | undefined;
  /** For each second that begins. */
  readonly perSecond?: Price | undefined;
  /** For each thousand bytes that begin. */
  readonly perKilobyte?: Price | undefined;
  /** For each server-sent event with data, each line of NDJSON that is not blank, or each frame of a socket, either way. */
  readonly perMessage?: Price | undefined;
  /** Prices each message (what an event says, a line), or of other bodies each chunk. `undefined` is free. Asked before it is let through. */
  readonly price?: ((part: MeteredPart) => Price | undefined) | undefined;
  /** Prices the answer of a language model by its tokens: a stream in the shapes of OpenAI or Anthropic, or a whole JSON answer. */
  readonly tokens?: MeteredTokens | undefined;
  /** No more than this in all. */
  readonly max?: Price | undefined;
  /** How far ahead money is held. */
  readonly slice?: SliceOptions | undefined;
  /** Makes it happen once per envelope: 1 to 255 visible ASCII characters. Used again, it lets through what it paid for, free. */
  readonly key?: string | undefined;
  /** Shown in the ledger. At most 256 characters. */
  readonly reason?: string | undefined;
  /** Kept with the entry, as JSON of at most 4,096 characters. */
  readonly metadata?: unknown;
  /** How a socket is kept; what is not named, as `options.sockets` says. */
  readonly socket?: SocketOptions | undefined;
  /** What is paid for when the source fails half-way: what was delivered (default), or nothing. */
  readonly onUpstreamError?: "delivered" | "nothing" | undefined;
  /** Told once, when it is over and settled. Must not throw. */
  readonly onEnd?: ((end: MeterResult) => void) | undefined;
}

export interface MeteredTokens extends TokenPrices {
  /** Tokens of the request, where the app counted them: held until the model says it. Default 0. */
  readonly expectedInput?: number | undefined;
}

export interface SliceOptions {
  /** Held at first, and the least that is held ahead later; minor units. Default: 20 units of each kind; of other prices, one minor unit. Of what is free, no more than half. */
  readonly first?: Price | undefined;
  /** How long what is held ahead should last, in seconds. Default 20. */
  readonly seconds?: number | undefined;
  /** How long money stays held when the Worker is gone, in seconds. Default 60. */
  readonly leaseSeconds?: number | undefined;
}

/** How a metered body ended. */
export interface MeterResult {
  readonly cause: EndCause;
  /** Of a socket: more exactly. */
  readonly socket?: SocketEnd | undefined;
  readonly units: Units;
  /** As the model said them, or as they were estimated (`told: false`). Where tokens are priced. */
  readonly tokens?: Tokens & { readonly told: boolean };
  /** What was taken, in minor units. */
  readonly price: string;
  readonly price_micros: Micros;
  /** Delivered and not paid for: a price that was known only afterwards, or money that was taken back meanwhile. */
  readonly missing_micros: Micros;
  /** Balance after, in minor units; `null` where the envelope could not be reached: it settles by itself within the lease. */
  readonly balance: string | null;
  readonly currency: string;
}

/** What `ctx.envelope.meter` answers for a stream: there is no response yet that a refusal could take the place of. */
export type MeteredStream =
  | { readonly outcome: "metering"; readonly body: ReadableStream<Uint8Array>; readonly ended: Promise<MeterResult> }
  /** `response` says why, to be returned as it is. */
  | { readonly outcome: "refused"; readonly response: Response };

/** A rate that was checked, of a body that is framed so. */
export interface ResolvedMeter {
  readonly rate: Rate;
  readonly slices: SliceRules;
  readonly least_micros: Micros;
  readonly unit_micros: Micros;
  /** Of one body: a price of a part's own may depend on those before. */
  readonly pricer: Pricer | undefined;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly replay_ms?: number | undefined;
  readonly reason?: string | undefined;
  readonly metadata?: string | undefined;
  readonly onUpstreamError: "delivered" | "nothing";
  readonly onEnd?: ((ended: Ended) => void) | undefined;
}

/** Of a rate that a response's headers name. */
export function meterOfHeaders(rate: Rate): ResolvedMeter {
  const first_micros = Math.min(FIRST_UNITS * firstUnits(rate), rate.max_micros) as Micros;
  return {
    rate,
    slices: { first_micros, slice_ms: SLICE_MS, lease_ms: LEASE_MS },
    least_micros: leastOf(rate),
    unit_micros: firstUnits(rate),
    pricer: undefined,
    onUpstreamError: "delivered",
  };
}

const KNOWN = {
  base: true,
  perSecond: true,
  perKilobyte: true,
  perMessage: true,
  price: true,
  tokens: true,
  max: true,
  slice: true,
  key: true,
  reason: true,
  metadata: true,
  socket: true,
  onUpstreamError: true,
  onEnd: true,
} as const satisfies Record<keyof MeterRate, true>;

export function resolveMeter(
  given: MeterRate,
  {
    framing,
    currency,
    maxPrice,
  }: { readonly framing: Framing; readonly currency: Currency; readonly maxPrice: Micros },
): ResolvedMeter {
  for (const name of Object.keys(given)) {
    if (!(name in KNOWN)) throw new TypeError(`rate.${name} is not known; known are ${Object.keys(KNOWN).join(", ")}`);
  }
  if (framing === "frames" && (given.price ?? given.tokens) !== undefined) {
    throw new TypeError("rate.price and rate.tokens are of bodies: a socket's frames have rate.perMessage");
  }
  if (framing !== "frames" && given.socket !== undefined) throw new TypeError("rate.socket is of sockets");
  const rate = resolveRate(given, currency, maxPrice);
  if (framing === "none" && rate.per_message_micros > 0) {
    throw new TypeError("rate.perMessage needs a body of server-sent events or of NDJSON");
  }
  const priced = resolvePricer(given, framing, currency);
  const slices = resolveSlices(given.slice ?? {}, rate, priced?.first_micros ?? ZERO, currency);
  return {
    rate,
    slices,
    // Some of a price that is not known yet must be there, too.
    least_micros: Math.max(leastOf(rate), rate.base_micros + (priced?.least_micros ?? 0)) as Micros,
    unit_micros: priced === undefined ? firstUnits(rate) : (1 as Micros),
    pricer: priced?.pricer,
    ...resolveNotes(given),
    onUpstreamError: oneOf("rate.onUpstreamError", given.onUpstreamError ?? "delivered", ["delivered", "nothing"]),
  };
}

function resolveRate(given: MeterRate, currency: Currency, maxPrice: Micros): Rate {
  const read = (name: "base" | "perSecond" | "perKilobyte" | "perMessage"): Micros => {
    return priceAt(`rate.${name}`, given[name] ?? "0", currency);
  };
  const rate = soundRate(
    {
      base_micros: read("base"),
      per_second_micros: read("perSecond"),
      per_kilobyte_micros: read("perKilobyte"),
      per_message_micros: read("perMessage"),
      max_micros: given.max === undefined ? maxPrice : priceAt("rate.max", given.max, currency),
    },
    maxPrice,
  );
  if (rate === "invalid")
    throw new TypeError("rate.max must cover one unit, and nothing may be above options.maxPrice");
  return rate;
}

interface Priced {
  readonly pricer: Pricer;
  readonly least_micros: Micros;
  readonly first_micros: Micros;
}

/** Tokens held for an answer of which nothing is known: a paragraph. */
const FIRST_TOKENS = 256;

function resolvePricer({ price, tokens }: MeterRate, framing: Framing, currency: Currency): Priced | undefined {
  if (price !== undefined && tokens !== undefined) throw new TypeError("rate.price and rate.tokens exclude each other");
  if (price !== undefined) {
    if (typeof price !== "function") throw new TypeError("rate.price must be a function");
    const first_micros = currency.microsPerMinorUnit as Micros;
    return { pricer: pricerOf(price, framing, currency), least_micros: 1 as Micros, first_micros };
  }
  if (tokens === undefined) return undefined;
  const { expectedInput = 0, ...prices } = tokens;
  const resolved = resolveTokenPrices(prices, currency);
  if (resolved === undefined) throw new TypeError("rate.tokens must hold prices for a million tokens each");
  wholeNumber("rate.tokens.expectedInput", expectedInput, 0, 100_000_000);
  const cost = (output: number) =>
    Math.max(1, costOfTokens({ input: expectedInput, cached: 0, written: 0, output }, resolved)) as Micros;
  const pricer = new TokenPricer(resolved, framing, expectedInput);
  return { pricer, least_micros: cost(1), first_micros: cost(FIRST_TOKENS) };
}

function resolveSlices(
  { first, seconds = SLICE_MS / 1000, leaseSeconds = LEASE_MS / 1000, ...more }: SliceOptions,
  rate: Rate,
  priced_micros: Micros,
  currency: Currency,
): SliceRules {
  for (const name of Object.keys(more)) throw new TypeError(`rate.slice.${name} is not known`);
  wholeNumber("rate.slice.seconds", seconds, 1, 600);
  wholeNumber("rate.slice.leaseSeconds", leaseSeconds, 5, 3_600);
  const own = first === undefined ? undefined : priceAt("rate.slice.first", first, currency);
  const first_micros = own ?? FIRST_UNITS * firstUnits(rate) + priced_micros;
  return {
    first_micros: Math.max(1, Math.min(first_micros, rate.max_micros)) as Micros,
    slice_ms: seconds * 1000,
    lease_ms: leaseSeconds * 1000,
  };
}

function resolveNotes({ key, reason, metadata, onEnd }: MeterRate) {
  if (key !== undefined && !isKey(key)) throw new TypeError("rate.key must be 1 to 255 visible ASCII characters");
  if (!isReason(reason)) throw new TypeError(`rate.reason must be a text of at most ${REASON_MAX} characters`);
  const text = metadata === undefined ? undefined : (JSON.stringify(metadata) ?? "");
  if (text !== undefined && text.length > METADATA_MAX) {
    throw new TypeError(`rate.metadata must be at most ${METADATA_MAX} characters of JSON`);
  }
  if (onEnd !== undefined && typeof onEnd !== "function") throw new TypeError("rate.onEnd must be a function");
  return { key: key === undefined ? undefined : `app:${key}`, reason, metadata: text };
}

function priceAt(path: string, price: Price, currency: Currency): Micros {
  const micros = parsePrice(price, currency);
  if (micros === undefined) throw new TypeError(`${path} is outside the grammar of prices in ${currency.code}`);
  return micros;
}

function wholeNumber(path: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`${path} must be a whole number from ${least} to ${most}`);
  }
}

function oneOf<T extends string>(path: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) {
    throw new TypeError(`${path} must be one of ${allowed.map((one) => `"${one}"`).join(", ")}`);
  }
  return value;
}
