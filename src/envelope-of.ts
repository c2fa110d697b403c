/** Reaching an envelope from outside a request: a queue, a cron trigger, an alarm, an owner's script. */
import { type AlertOptions, resolveAlerts } from "./alert-options.js";
import { attempt } from "./attempt.js";
import { type AutoTopUpOptions, resolveAutoTopUp } from "./auto-topup-options.js";
import type { ChargeOptions } from "./context.js";
import {
  type ChargeOutcome,
  type ConfigureInput,
  type ConfigureOutcome,
  type Entry,
  type EnvelopeState,
  type GrantOutcome,
  METADATA_MAX,
  REASON_MAX,
  type RefundOutcome,
  type RevokeOutcome,
  TAG_MAX,
  type TopUp,
  type WindowInput,
} from "./contract.js";
import type { EnvelopeHold, HoldOptions, HoldResult } from "./held.js";
import { envelopeIdOf } from "./identity/caller.js";
import { isKey, isReason, isTag } from "./keys.js";
import { type Currency, currencyOf, type Micros, type Price, parsePrice } from "./money.js";
import { newOperation } from "./secrets.js";
import { envelopeStub } from "./stubs.js";

/** An envelope by its id (`ctx.envelope.id`), or by what `options.identify` returns for its holder. */
export type EnvelopeAddress = { readonly id: string } | { readonly identity: string };

export interface EnvelopeHandle {
  readonly id: string;
  state(): Promise<EnvelopeState>;
  /** Once per `key`: a queue may deliver a message twice. */
  charge(price: Price, options: KeyedOptions & Omit<ChargeOptions, "key">): Promise<ChargeOutcome>;
  /** Reserves money for work whose price is not known yet. The charge it ends in happens once per `key`; while one is open, another is a `conflict`. */
  hold(max: Price, options: KeyedOptions & Pick<HoldOptions, "ttlSeconds" | "tag">): Promise<HoldResult>;
  /** Goes on with a hold that somebody else took, by its `id`. Asks nothing. */
  heldBy(id: number): Promise<Pick<EnvelopeHold, "id" | "settle" | "release" | "extend">>;
  /** Gives money. Once per `key`: a promotion's code is a good one. */
  grant(amount: Price, options: GrantOptions): Promise<GrantOutcome>;
  /** Takes back what is left of a grant, by its entry number or its own key. Once per `key`. */
  revoke(grant: { readonly seq: number } | { readonly key: string }, options: KeyedOptions): Promise<RevokeOutcome>;
  /** Gives a charge back, by its entry number or its own key: all that is left of it, or `amount`. Once per `key`. */
  refund(
    charge: { readonly seq: number } | { readonly key: string },
    options: KeyedOptions & { readonly amount?: Price | undefined },
  ): Promise<RefundOutcome>;
  /** Entries after number `after`, oldest first, at most 1,000. */
  entries(after?: number, limit?: number): Promise<readonly Entry[]>;
  /** Top-ups that we asked Stripe for, by the owner's server or by a saved card: newest first, at most 1,000. */
  topups(limit?: number): Promise<readonly TopUp[]>;
  /** Settles whether there is a balance, which windows limit it, what it is called. Said again, it changes nothing. */
  configure(settings: EnvelopeConfiguration): Promise<ConfigureOutcome>;
  /** Stops spending; money still comes in. */
  freeze(): Promise<void>;
  unfreeze(): Promise<void>;
}

/** Whatever is absent stays as it is. */
export interface EnvelopeConfiguration
  extends Pick<ConfigureInput, "prepaid" | "name" | "owner_account_id" | "time_zone"> {
  /** All windows that the envelope is to have; those that are left out end. */
  readonly windows?: readonly (Omit<WindowInput, "limit_micros"> & { readonly limit: Price })[] | undefined;
}

/** The time as `options.holdSeconds` is by default. */
const PURSE = { maxPrice: Number.MAX_SAFE_INTEGER as Micros, ttl_ms: 300_000 };

export interface KeyedOptions {
  /** 1 to 255 visible ASCII characters. */
  readonly key: string;
  /** At most 256 characters. */
  readonly reason?: string | undefined;
}

/** Money that is given, and on what terms it may be spent. */
export interface GrantOptions extends KeyedOptions {
  /** 0 to 100; lower is spent first. Default 50: after that comes what was paid. */
  readonly priority?: number | undefined;
  /** What is left of it then is gone. A `Date`, or milliseconds since 1970. Default: it does not expire, as what was paid never does. */
  readonly expiresAt?: Date | number | undefined;
  /** The one tag it may be spent on, such as `"POST /images"`; one that ends in `*` stands for all that begin so. Default any. */
  readonly only?: string | undefined;
  /** A key that the same grant may have been made under before: where it was, nothing is given now. */
  readonly legacyKey?: string | undefined;
  /** Kept with the entry, as JSON of at most 4,096 characters. */
  readonly metadata?: unknown;
}

/** As given to `withEnvelope`. Default: `"usd"`, no saved card is charged, and nobody is told of anything. */
export interface EnvelopeOfOptions {
  readonly currency?: string | undefined;
  readonly autoTopUp?: AutoTopUpOptions | undefined;
  /** What there is to tell goes to `ENVELOPE_WEBHOOK_URL`, and comes with the outcome of `charge` as `alerts`. */
  readonly alerts?: AlertOptions | undefined;
}

/**
 * @param env the Worker's environment
 * @throws {TypeError} for an address or currency that is malformed; its methods reject with one for a malformed amount or key
 */
export function envelopeOf(env: unknown, address: EnvelopeAddress, options: EnvelopeOfOptions = {}): EnvelopeHandle {
  const currency = currencyOf(options.currency ?? "usd");
  if (currency === undefined) {
    throw new TypeError('options.currency must be a lower-case ISO 4217 code such as "usd"');
  }
  const id = "id" in address ? address.id : envelopeIdOf(address.identity);
  if (!/^[0-9A-Za-z]{22}$/.test(id)) throw new TypeError("address.id must be an envelope's id: 22 letters and digits");
  const auto_topup = resolveAutoTopUp(options.autoTopUp, currency);
  const alerts = resolveAlerts(options.alerts, currency);
  const stub = () => envelopeStub(env, id);
  const write = (prefix: string, { key, reason }: KeyedOptions) => {
    if (!isKey(key)) throw new TypeError("options.key must be 1 to 255 visible ASCII characters");
    if (!isReason(reason)) throw new TypeError(`options.reason must be a text of at most ${REASON_MAX} characters`);
    return { key: `${prefix}:${key}`, reason, op: newOperation(), currency: currency.code };
  };
  const purse = { ...PURSE, stub, asked: { currency: currency.code, auto_topup, alerts }, currency };
  const freeze = (frozen: boolean) => attempt(() => stub().freeze({ frozen, currency: currency.code }));
  return {
    id,
    state: async () => {
      const state = await attempt(() => stub().state({}));
      if (state.outcome !== "ok") throw new Error("Cannot happen: no credential was presented");
      const { outcome, superseded, ...rest } = state;
      return rest;
    },
    charge: async (price, given) => {
      const input = {
        ...write("app", given),
        amount_micros: requireAmount(price, currency),
        at_most: given.atMost,
        tag: requireTag("tag", given.tag),
        metadata: writeMetadata(given.metadata),
        auto_topup,
        alerts,
      };
      return attempt((retry) => stub().charge({ ...input, retry }));
    },
    grant: async (amount, given) => {
      const input = { ...write("grant", given), ...termsOf(given), amount_micros: requireAmount(amount, currency) };
      return attempt((retry) => stub().grant({ ...input, retry }));
    },
    hold: async (max, given) => (await import("./held.js")).holdMoney(purse, max, given),
    heldBy: async (hold_id) => (await import("./held.js")).heldBy(purse, hold_id),
    revoke: async (grant, given) => {
      const input = { ...write("revoke", given), grant: "key" in grant ? { key: `grant:${grant.key}` } : grant };
      return attempt((retry) => stub().revoke({ ...input, retry }));
    },
    refund: async (charge, given) => {
      const amount_micros = given.amount === undefined ? undefined : requireAmount(given.amount, currency);
      const of = "key" in charge ? { key: `app:${charge.key}` } : charge;
      const input = { ...write("refund", given), charge: of, amount_micros };
      return attempt((retry) => stub().refund({ ...input, retry }));
    },
    entries: (after = 0, limit = 100) => attempt(() => stub().entries({ after, limit })),
    topups: (limit = 100) => attempt(() => stub().topUps({ limit })),
    configure: async ({ windows, ...given }) => {
      const limited = windows?.map(({ limit, ...one }) => ({ ...one, limit_micros: requireAmount(limit, currency) }));
      return attempt(() => stub().configure({ ...given, windows: limited, currency: currency.code }));
    },
    freeze: async () => void (await freeze(true)),
    unfreeze: async () => void (await freeze(false)),
  };
}

function termsOf({ priority, expiresAt, only, legacyKey, metadata }: GrantOptions) {
  if (legacyKey !== undefined && !isKey(legacyKey)) {
    throw new TypeError("options.legacyKey must be 1 to 255 visible ASCII characters");
  }
  return {
    legacy_key: legacyKey === undefined ? undefined : `grant:${legacyKey}`,
    priority,
    expires_at_ms: expiresAt instanceof Date ? expiresAt.getTime() : expiresAt,
    only: requireTag("only", only),
    metadata: writeMetadata(metadata),
  };
}

function requireTag(name: string, tag: string | undefined): string | undefined {
  if (!isTag(tag)) throw new TypeError(`options.${name} must be a text of 1 to ${TAG_MAX} characters`);
  return tag;
}

function writeMetadata(metadata: unknown): string | undefined {
  const text = metadata === undefined ? undefined : JSON.stringify(metadata);
  if (text !== undefined && text.length > METADATA_MAX) {
    throw new TypeError(`options.metadata must be at most ${METADATA_MAX} characters of JSON`);
  }
  return text;
}

function requireAmount(price: Price, currency: Currency): Micros {
  const micros = parsePrice(price, currency);
  if (micros === undefined) throw new TypeError(`An amount is outside the grammar of prices in ${currency.code}`);
  return micros;
}
