/** Reaching an envelope from outside a request: a queue, a cron trigger, an alarm, an owner's script. */
import { attempt } from "./attempt.js";
import type { ChargeOutcome, Entry, EnvelopeState, GrantOutcome, RefundOutcome } from "./contract.js";
import { envelopeIdOf } from "./identity/caller.js";
import { type Currency, currencyOf, type Micros, type Price, parsePrice } from "./money.js";
import { randomBase62 } from "./secrets.js";
import { envelopeStub } from "./stubs.js";

/** An envelope by its id (`ctx.envelope.id`), or by what `options.identify` returns for its holder. */
export type EnvelopeAddress = { readonly id: string } | { readonly identity: string };

export interface EnvelopeHandle {
  readonly id: string;
  state(): Promise<EnvelopeState>;
  /** Once per `key`: a queue may deliver a message twice. */
  charge(
    price: Price,
    options: { readonly key: string; readonly reason?: string; readonly atMost?: boolean },
  ): Promise<ChargeOutcome>;
  /** Gives money. Once per `key`. */
  grant(amount: Price, options: { readonly key: string; readonly reason?: string }): Promise<GrantOutcome>;
  /** Gives a charge back, by its entry number or its key: all that is left of it, or `amount`. */
  refund(charge: { readonly seq: number } | { readonly key: string }, amount?: Price): Promise<RefundOutcome>;
  /** Entries after number `after`, oldest first, at most 1,000. */
  entries(after?: number, limit?: number): Promise<readonly Entry[]>;
  freeze(): Promise<void>;
  unfreeze(): Promise<void>;
}

/**
 * @param env the Worker's environment
 * @param options `currency` as given to `withEnvelope`; default `"usd"`
 * @throws {TypeError} for an address, price or currency that is malformed
 */
export function envelopeOf(
  env: unknown,
  address: EnvelopeAddress,
  options: { readonly currency?: string } = {},
): EnvelopeHandle {
  const currency = currencyOf(options.currency ?? "usd");
  if (currency === undefined) throw new TypeError('options.currency must be a lower-case ISO 4217 code such as "usd"');
  const id = "id" in address ? address.id : envelopeIdOf(address.identity);
  if (!/^[0-9A-Za-z]{22}$/.test(id)) throw new TypeError("address.id must be an envelope's id: 22 letters and digits");
  const stub = () => envelopeStub(env, id);
  const amountOf = (price: Price) => requireAmount(price, currency);
  return {
    id,
    state: async () => {
      const state = await attempt(() => stub().state({}));
      if (state.outcome === "unauthorized") throw new Error("Cannot happen: no credential was presented");
      return state;
    },
    charge: (price, { key, reason, atMost }) => {
      const input = {
        amount_micros: amountOf(price),
        currency: currency.code,
        op: randomBase62(16),
        key: `app:${key}`,
        reason,
        at_most: atMost,
      };
      return attempt((retry) => stub().charge({ ...input, retry }));
    },
    grant: (amount, { key, reason }) => {
      const input = {
        amount_micros: amountOf(amount),
        currency: currency.code,
        op: randomBase62(16),
        key: `grant:${key}`,
        reason,
      };
      return attempt((retry) => stub().grant({ ...input, retry }));
    },
    refund: (charge, amount) => {
      const amount_micros = amount === undefined ? undefined : amountOf(amount);
      const input = {
        charge: "key" in charge ? { key: `app:${charge.key}` } : charge,
        amount_micros,
        op: randomBase62(16),
      };
      return attempt((retry) => stub().refund({ ...input, retry }));
    },
    entries: (after = 0, limit = 100) => attempt(() => stub().entries({ after, limit })),
    freeze: async () => void (await attempt(() => stub().freeze({ frozen: true }))),
    unfreeze: async () => void (await attempt(() => stub().freeze({ frozen: false }))),
  };
}

function requireAmount(price: Price, currency: Currency): Micros {
  const micros = parsePrice(price, currency);
  if (micros === undefined) throw new TypeError(`An amount is outside the grammar of prices in ${currency.code}`);
  return micros;
}
