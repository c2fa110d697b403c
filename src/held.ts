/** Holds in the app's own hands: loaded when a handler, a queue or a cron trigger asks for one. */
import { attempt } from "./attempt.js";
import type {
  Alerted,
  Asked,
  Balances,
  EnvelopeApi,
  ExtendInput,
  ExtendOutcome,
  HoldEnd,
  HoldOutcome,
  Refusal,
  ReleaseOutcome,
  SettleOutcome,
} from "./contract.js";
import { METADATA_MAX, REASON_MAX, TAG_MAX } from "./contract.js";
import { isKey, isReason, isTag } from "./keys.js";
import { type Currency, formatMinor, type Micros, type Price, parsePrice, ZERO } from "./money.js";
import { newOperation } from "./secrets.js";

export interface HoldOptions {
  /** How long the money stays reserved when nothing is done with it. Default `options.holdSeconds` (300). */
  readonly ttlSeconds?: number | undefined;
  /** Makes the charge it ends in happen once per envelope: 1 to 255 visible ASCII characters. */
  readonly key?: string | undefined;
  /** Shown in the ledger. At most 256 characters. */
  readonly reason?: string | undefined;
  /** What the money is spent on, for grants that are for that only. Default: `reason`. At most 256 characters. */
  readonly tag?: string | undefined;
}

/** Every answer tells the balance as it is after it. */
interface Told extends Balances {
  /** In minor units, exact. */
  readonly balance: string;
  readonly currency: string;
}

/** Money reserved for work whose price is not known yet. It ends once; whoever comes later is told how. */
export interface EnvelopeHold extends Told {
  readonly outcome: "held";
  /** Its number in the envelope: another Worker, queue or cron trigger goes on with it by `envelopeOf(…).heldBy(id)`. */
  readonly id: number;
  readonly expires_at_ms: number;
  settle(price: Price, options?: SettleOptions): Promise<SettleResult>;
  /** Gives all of it back. */
  release(): Promise<ReleaseResult>;
  /** Reserves more, or for longer, counted from now. A hold never shrinks. */
  extend(more: ExtendOptions): Promise<ExtendResult>;
}

export type HoldResult = EnvelopeHold | (Exclude<HoldOutcome, { readonly outcome: "held" }> & Told);

export interface SettleOptions {
  /** Of a price above the hold, take what is there; else what is above the hold is taken whole or not at all. */
  readonly atMost?: boolean | undefined;
  /** Kept with the entry, as JSON of at most 4,096 characters. */
  readonly metadata?: unknown;
}

export interface ExtendOptions {
  /** So much more. */
  readonly by?: Price | undefined;
  readonly ttlSeconds?: number | undefined;
}

interface EndedAlready {
  readonly outcome: "ended";
  /** How it had ended. Nothing was changed. */
  readonly end: HoldEnd;
  /** What was taken then. */
  readonly paid_micros?: Micros;
}

export type SettleResult = Told &
  Alerted &
  (
    | {
        readonly outcome: "settled";
        /** `null` for a price of zero, which leaves no entry. */
        readonly seq: number | null;
        /** Of the hold. */
        readonly settled_micros: Micros;
        /** Above it, as a charge of its own: checked like any other, in the same entry. */
        readonly extra_micros: Micros;
        /** Why the rest of the price was not taken. */
        readonly refusal?: Refusal;
      }
    /** Nothing is there any more, not even what was reserved: it was taken back by a refund or dispute. The hold is released. */
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | EndedAlready
    | { readonly outcome: "invalid"; readonly detail: string }
    | { readonly outcome: "unknown" }
  );

export type ReleaseResult = Told & ({ readonly outcome: "released" } | EndedAlready | { readonly outcome: "unknown" });

export type ExtendResult = Told &
  (
    | { readonly outcome: "extended"; readonly amount_micros: Micros; readonly expires_at_ms: number }
    /** The hold stays as it was. */
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | EndedAlready
    | { readonly outcome: "invalid"; readonly detail: string }
    | { readonly outcome: "unknown" }
  );

/** Whose money it is, and how they are reached. */
export interface Purse {
  readonly stub: () => EnvelopeApi;
  readonly asked: Asked;
  readonly currency: Currency;
  readonly maxPrice: Micros;
  /** Default time of a hold. */
  readonly ttl_ms: number;
  /** Hears of what somebody is to be told. */
  readonly tell?: (alerted: Alerted) => void;
}

const TTL_SECONDS_MAX = 86_400;

export async function holdMoney(purse: Purse, max: Price, options: HoldOptions): Promise<HoldResult> {
  const { ttlSeconds, key, reason, tag } = options;
  const amount_micros = priceOf(purse, max);
  const wrong = typeof amount_micros === "string" ? amount_micros : wrongOptions(options);
  if (typeof amount_micros === "string" || wrong !== undefined) {
    return { outcome: "invalid", detail: wrong ?? "", ...told(purse, NO_BALANCES) };
  }
  const ttl_ms = ttlSeconds === undefined ? purse.ttl_ms : ttlSeconds * 1000;
  const named = { key: key === undefined ? undefined : `app:${key}`, reason, tag };
  const input = { ...purse.asked, ...named, amount_micros, ttl_ms, op: newOperation() };
  const outcome = await attempt((retry) => purse.stub().hold({ ...input, retry }));
  if (outcome.outcome !== "held") return { ...outcome, ...told(purse, outcome) };
  return new Held(purse, outcome, amount_micros);
}

/** A hold that somebody else took, by its number. Asks nothing: what became of it is told by the first call. */
export function heldBy(purse: Purse, hold_id: number): Pick<EnvelopeHold, "id" | "settle" | "release" | "extend"> {
  return new Held(purse, { hold_id, expires_at_ms: 0, ...NO_BALANCES }, undefined);
}

class Held implements EnvelopeHold {
  readonly outcome = "held";
  readonly id: number;
  readonly balance_micros: Micros;
  readonly available_micros: Micros;
  readonly balance: string;
  readonly currency: string;
  readonly #purse: Purse;
  #expires_at_ms: number;
  /** Unknown of a hold that somebody else took. */
  #amount_micros: Micros | undefined;
  /** One extension after the other: each names the whole amount, so that one whose answer was lost can be sent again. */
  #extending: Promise<unknown> = Promise.resolve();

  constructor(
    purse: Purse,
    { hold_id, expires_at_ms, ...balances }: { hold_id: number; expires_at_ms: number } & Balances,
    amount_micros: Micros | undefined,
  ) {
    this.#purse = purse;
    this.#expires_at_ms = expires_at_ms;
    this.#amount_micros = amount_micros;
    this.id = hold_id;
    const { balance_micros, available_micros, balance, currency } = told(purse, balances);
    this.balance_micros = balance_micros;
    this.available_micros = available_micros;
    this.balance = balance;
    this.currency = currency;
  }

  get expires_at_ms(): number {
    return this.#expires_at_ms;
  }

  async settle(price: Price, { atMost, metadata }: SettleOptions = {}): Promise<SettleResult> {
    const purse = this.#purse;
    const amount_micros = priceOf(purse, price);
    const text = metadata === undefined ? undefined : (JSON.stringify(metadata) ?? "");
    const tooLong = (text?.length ?? 0) > METADATA_MAX;
    if (typeof amount_micros === "string" || tooLong) {
      const detail = tooLong
        ? `The metadata must be at most ${METADATA_MAX} characters of JSON`
        : String(amount_micros);
      return { outcome: "invalid", detail, ...told(purse, this) };
    }
    const { currency, auto_topup, alerts } = purse.asked;
    const above = atMost === true ? "part" : "apart";
    const input = {
      hold_id: this.id,
      amount_micros,
      metadata: text,
      op: newOperation(),
      currency,
      auto_topup,
      alerts,
    } as const;
    const outcome = await attempt((retry) => purse.stub().settle({ ...input, above, retry }));
    purse.tell?.(outcome);
    return settledAs(outcome, told(purse, outcome));
  }

  async release(): Promise<ReleaseResult> {
    const outcome: ReleaseOutcome = await attempt(() => this.#purse.stub().release({ hold_id: this.id }));
    return { ...outcome, ...told(this.#purse, outcome) };
  }

  extend(more: ExtendOptions): Promise<ExtendResult> {
    const extending = this.#extending.then(() => this.#extend(more));
    this.#extending = extending.catch(() => undefined);
    return extending;
  }

  async #extend({ by, ttlSeconds }: ExtendOptions): Promise<ExtendResult> {
    const purse = this.#purse;
    const more = by === undefined ? ZERO : priceOf(purse, by);
    const wrong = typeof more === "string" ? more : wrongOptions({ ttlSeconds });
    if (typeof more === "string" || wrong !== undefined) {
      return { outcome: "invalid", detail: wrong ?? "", ...told(purse, this) };
    }
    const before = this.#amount_micros ?? (await this.#amount());
    const input: ExtendInput = {
      ...purse.asked,
      hold_id: this.id,
      amount_micros: before === undefined ? undefined : ((before + more) as Micros),
      ttl_ms: ttlSeconds === undefined ? undefined : ttlSeconds * 1000,
    };
    const outcome: ExtendOutcome = await attempt(() => purse.stub().extend(input));
    if (outcome.outcome === "extended") {
      this.#amount_micros = outcome.amount_micros;
      this.#expires_at_ms = outcome.expires_at_ms;
    }
    return { ...outcome, ...told(purse, outcome) };
  }

  /** Of a hold that somebody else took: extended by nothing, it says how much it is. */
  async #amount(): Promise<Micros | undefined> {
    const outcome = await attempt(() => this.#purse.stub().extend({ ...this.#purse.asked, hold_id: this.id }));
    return outcome.outcome === "extended" ? outcome.amount_micros : undefined;
  }
}

function settledAs(outcome: SettleOutcome, after: Told): SettleResult {
  if (outcome.outcome !== "charged") return { ...outcome, ...after };
  const { seq, amount_micros, settled_micros = amount_micros, extra_micros = ZERO, refusal, alerts } = outcome;
  const parts = { seq, settled_micros, extra_micros, ...(refusal && { refusal }), ...(alerts && { alerts }) };
  return { outcome: "settled", ...parts, ...after };
}

const NO_BALANCES = { balance_micros: ZERO, available_micros: ZERO } as const;

function told({ currency }: Purse, { balance_micros, available_micros }: Balances): Told {
  return { balance_micros, available_micros, balance: formatMinor(balance_micros, currency), currency: currency.code };
}

/** The amount, or what is wrong with it. */
function priceOf({ currency, maxPrice }: Purse, price: Price): Micros | string {
  const micros = parsePrice(price, currency);
  if (micros === undefined) return "The price is outside the grammar of X-Price";
  return micros > maxPrice ? "The price is above options.maxPrice" : micros;
}

function wrongOptions({ ttlSeconds, key, reason, tag }: HoldOptions): string | undefined {
  if (ttlSeconds !== undefined && !(Number.isInteger(ttlSeconds) && ttlSeconds > 0 && ttlSeconds <= TTL_SECONDS_MAX)) {
    return `ttlSeconds must be a whole number from 1 to ${TTL_SECONDS_MAX}`;
  }
  if (key !== undefined && !isKey(key)) return "The key must be 1 to 255 visible ASCII characters";
  if (!isReason(reason)) return `The reason must be a text of at most ${REASON_MAX} characters`;
  if (!isTag(tag)) return `The tag must be a text of 1 to ${TAG_MAX} characters`;
  return undefined;
}
