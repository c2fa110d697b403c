/**
 * One request's dealings with its envelope: who the caller is, and what was charged. Everything is lazy: a request that
 * asks nothing of it computes nothing, calls no object and gets no cookie.
 */
import { attempt } from "./attempt.js";
import type { AffordOutcome, ChargeInput, ChargeOutcome, EnvelopeState, Refusal } from "./contract.js";
import { METADATA_MAX, REASON_MAX } from "./contract.js";
import { isSameOrigin } from "./csrf.js";
import { type Caller, freshCaller, identifyCaller } from "./identity/caller.js";
import { forgetLimited, keepAside, setCookie } from "./identity/cookie.js";
import { bindingOf } from "./identity/payer.js";
import { credentialOf, limitedCredentialOf, writeToken } from "./identity/token.js";
import { isKey, isReason } from "./keys.js";
import { type Currency, formatMinor, type Micros, type Price, parsePrice, ZERO } from "./money.js";
import type { ResolvedOptions } from "./options.js";
import { writeReference } from "./reference.js";
import { digest, digestOf, newOperation, randomBase62 } from "./secrets.js";
import { ConfigurationError, type Keys, keysOf, paymentLink, stripeMode, testCheckout } from "./settings.js";
import { envelopeStub } from "./stubs.js";
import type { CreditRules } from "./topup/payment.js";
import { pathnameOf } from "./wire.js";

/** What a charge asks for besides its price. */
export interface ChargeOptions {
  /** Makes the charge happen once per envelope: 1 to 255 visible ASCII characters. */
  readonly key?: string | undefined;
  /** Shown in the ledger. At most 256 characters. */
  readonly reason?: string | undefined;
  /** Kept with the entry, as JSON of at most 4,096 characters. */
  readonly metadata?: unknown;
  /** Take what is left when that is less than the price. */
  readonly atMost?: boolean | undefined;
}

/** Outcome of `ctx.envelope.charge`. A "no" is a value; only an envelope that cannot be reached throws. */
export type ChargeResult = ChargeOutcome & {
  /** Balance after, in minor units, exact. */
  readonly balance: string;
  readonly currency: string;
};

export type StateResult = EnvelopeState & { readonly balance: string; readonly available: string };

/** `ctx.envelope`: the caller's envelope. */
export interface EnvelopeContext {
  /** The envelope's id. For a caller without credentials, of the one they will have once they pay. */
  readonly id: string;
  /** True when the caller presented a genuine credential, or the app vouched for them. */
  readonly identified: boolean;
  /** True in a limited session of login by payment: the envelope is another holder's, to be spent from and nothing else. */
  readonly limited: boolean;
  /** Where this caller tops up; `null` when no payment link is configured. */
  readonly paymentLink: string | null;
  /** Balance, holds and flags: one round trip. */
  state(): Promise<StateResult>;
  /** Takes a price from the envelope, checked and written in one turn: one round trip. */
  charge(price: Price, options?: ChargeOptions): Promise<ChargeResult>;
}

/** The caller presented a bearer token that is not ours, or no longer valid. */
export class UnauthorizedError extends Error {
  override readonly name = "UnauthorizedError";
}

/** How long a body may be to be compared: it is held in memory until the handler has read it too. */
const BODY_COMPARED_BYTES_MAX = 1_048_576;
/** How long a body may take to arrive to be compared: an answer does not wait for a slow upload. */
const BODY_COMPARED_MS_MAX = 5_000;

/** `undefined` when the body is too long, too slow, or breaks off. */
async function digestWithin(body: ReadableStream<Uint8Array>): Promise<string | undefined> {
  let timer: number | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, BODY_COMPARED_MS_MAX);
  });
  const read = digestOf(body, BODY_COMPARED_BYTES_MAX).catch(() => undefined);
  return Promise.race([read, late]).finally(() => clearTimeout(timer));
}

export type Known = Exclude<Caller, { readonly kind: "rejected" }>;

export class Visit<Env> {
  readonly request: Request;
  readonly env: Env;
  readonly options: ResolvedOptions<Env>;
  readonly pathname: string;
  readonly startedAt_ms = Date.now();
  /** Balance after the latest charge of this request. */
  balance: Micros | undefined;
  /** The answer depends on who is asking: it is theirs alone, and no cache may keep it. */
  personal = false;
  #identity: string | undefined;
  #caller: Caller | undefined;
  #shown = false;
  #left = false;
  #scope: Promise<string> | undefined;
  #url: URL | undefined;

  constructor(request: Request, env: Env, options: ResolvedOptions<Env>) {
    this.request = request;
    this.env = env;
    this.options = options;
    this.pathname = pathnameOf(request.url);
  }

  /** Parsed only for who asks: a free page is not one of them. */
  get url(): URL {
    this.#url ??= new URL(this.request.url);
    return this.#url;
  }

  /** Asks the app's own login, where there is one. Before the caller is asked for; not on paths that have no caller. */
  async identify(): Promise<void> {
    const identity = (await this.options.identify?.(this.request, this.env)) ?? undefined;
    if (identity !== undefined && (typeof identity !== "string" || identity === "")) {
      throw new TypeError("options.identify must return a non-empty string, or undefined");
    }
    this.#identity = identity;
  }

  get keys(): Keys {
    return keysOf(this.env);
  }

  get currency(): Currency {
    return this.options.currency;
  }

  get caller(): Caller {
    this.#caller ??= identifyCaller(this.request, this.url, () => this.keys, {
      identity: this.#identity,
      limited: this.options.loginByPayment,
    });
    return this.#caller;
  }

  /** The caller without the limited session they may be in: whose payments theirs are, and what they go back to. */
  get self(): Exclude<Known, { readonly kind: "limited" }> {
    const { known } = this;
    return known.kind === "limited" ? known.own : known;
  }

  /** The caller, unless a bad bearer was presented. */
  get known(): Known {
    const { caller } = this;
    if (caller.kind === "rejected") throw new UnauthorizedError("The bearer token is not one of this service's");
    return caller;
  }

  /** Forgets a credential that its envelope no longer honours: the caller is nobody again. */
  becomeFresh(): void {
    this.#caller = freshCaller();
  }

  /** Ends a limited session on this browser, if it is in one: from here on the caller is who they were. */
  leaveLimited(): void {
    if (this.known.kind !== "limited") return;
    this.#caller = this.self;
    this.#left = true;
  }

  /** Asks an envelope as the caller; once more as who they were, when the limited session they came with has ended. */
  async ask<Answer>(call: (caller: Known) => Promise<Answer>): Promise<Answer> {
    const answer = await call(this.known);
    if (this.known.kind !== "limited" || !saysRevoked(answer)) return answer;
    this.leaveLimited();
    return call(this.known);
  }

  /** The identity was told to the caller, so it must reach their browser. */
  show(): Known {
    this.#shown = true;
    this.personal = true;
    return this.known;
  }

  /**
   * The cookies to set for an identity that was made and shown in this request. A token of ours that could not be verified is
   * kept aside: it may be a deployment with the wrong secret that made it so, and it may be the only key to somebody's money.
   */
  cookies(): readonly string[] {
    const left = this.#left ? [forgetLimited(this.url)] : [];
    const caller = this.#caller?.kind === "limited" ? this.#caller.own : this.#caller;
    if (caller?.kind !== "fresh" || !this.#shown) return left;
    // Another site's page can post here without the cookie that the browser holds (SameSite=Lax), and would have it overwritten.
    const { method, headers } = this.request;
    const ours = isSameOrigin(this.request, this.url) || this.options.corsOrigins.has(headers.get("Origin") ?? "");
    if (method !== "GET" && method !== "HEAD" && !ours) return left;
    const aside = keepAside(this.url, this.request.headers.get("Cookie"));
    const set = setCookie(this.url, writeToken(this.keys.token, caller.token));
    return aside === undefined ? [set, ...left] : [set, aside, ...left];
  }

  /**
   * Of the caller's own envelope, also in a limited session: what a browser pays stays where it can always get at it.
   * With a nonce, bound to the browser that has it.
   */
  reference(nonce?: string): string {
    this.show();
    const { envelopeId } = this.self;
    const binding = nonce === undefined ? "" : bindingOf(this.keys.pay[0], nonce, envelopeId);
    return writeReference(this.keys.reference, envelopeId, this.request, binding);
  }

  /** `null` without a link, and for a caller who presented somebody else's bearer token. */
  paymentLink(nonce?: string): string | null {
    if (this.caller.kind === "rejected") return null;
    const test = testCheckout(this.env, this.url);
    if (test instanceof ConfigurationError) this.options.onIncident({ kind: "configuration", message: test.message });
    const { testCheckout: path } = this.options.paths;
    const link = test === "on" && path !== false ? new URL(path, this.url) : paymentLink(this.env);
    if (link === undefined) return null;
    // Paying goes by way of leaving: the money would not be seen in the limited session, and be taken for lost.
    const { pay } = this.options.paths;
    if (this.caller.kind === "limited" && pay !== false) return new URL(pay, this.url).href;
    link.searchParams.set("client_reference_id", this.reference(nonce));
    return link.href;
  }

  /** Charges the caller's envelope. A caller without credentials has nothing to charge, and no object is asked. */
  async charge(
    input: Omit<ChargeInput, "credential" | "currency" | "auto_topup" | "op" | "retry">,
  ): Promise<ChargeOutcome> {
    const op = newOperation();
    const outcome = await this.ask(async (caller) => {
      if (caller.kind === "fresh") return chargeOfNothing(input.amount_micros);
      const asked = withoutAbsent({ ...input, op, ...this.asked(caller) });
      return attempt((retry) => envelopeStub(this.env, caller.envelopeId).charge(retry ? { ...asked, retry } : asked));
    });
    if (this.known.kind !== "fresh") this.balance = outcome.balance_micros;
    return outcome;
  }

  asked(caller: Known): Pick<ChargeInput, "credential" | "currency" | "auto_topup"> {
    // A limited session spends what is there; it does not draw on the holder's card.
    const auto_topup = caller.kind === "limited" ? undefined : this.options.autoTopUp;
    return { currency: this.currency.code, credential: presentedBy(caller), auto_topup };
  }

  /**
   * What an `Idempotency-Key` was used for: method, path, query, range and body. The same key for another is a conflict. Hashed,
   * as all of it may be personal. A body that cannot be read whole (too long, too slow, broken off) is like no other: it is
   * charged, and a second use of its key is a conflict, never free.
   */
  async scope(): Promise<string> {
    this.#scope ??= this.#fingerprint();
    return this.#scope;
  }

  /** Starts to read the request's body beside the handler, when a key was sent that it is to be compared under. */
  watchBody(): void {
    if (this.request.body !== null) this.#scope = this.#fingerprint(this.request.clone().body);
  }

  async #fingerprint(body: ReadableStream | null = null): Promise<string> {
    const { pathname, search } = this.url;
    const { method, headers } = this.request;
    const content = body === null ? "" : ((await digestWithin(body)) ?? randomBase62(22));
    const parts = [method, pathname, search, headers.get("Range"), headers.get("Content-Type"), content];
    return digest(JSON.stringify(parts), 12);
  }

  reason(): string {
    return `${this.request.method} ${this.pathname}`.slice(0, REASON_MAX);
  }

  /** The handler's view of this visit. */
  context(): EnvelopeContext {
    return new VisitContext(this as Visit<unknown>);
  }

  /** Whether the caller could pay this now: one round trip, and nothing is taken. */
  async afford(amount_micros: Micros): Promise<AffordOutcome> {
    return this.ask(async (caller): Promise<AffordOutcome> => {
      const asked = withoutAbsent({ amount_micros, ...this.asked(caller) });
      return attempt(() => envelopeStub(this.env, caller.envelopeId).afford(asked));
    });
  }

  async state(): Promise<StateResult> {
    this.personal = true;
    const state = await this.ask(async (caller) => {
      if (caller.kind === "fresh") return EMPTY_STATE;
      const { credential } = this.asked(caller);
      return attempt(() => envelopeStub(this.env, caller.envelopeId).state({ credential }));
    });
    if (state.outcome === "unauthorized") throw new UnauthorizedError("This token was replaced by a newer one");
    const { outcome, superseded, ...rest } = state;
    return {
      ...rest,
      balance: formatMinor(rest.balance_micros, this.currency),
      available: formatMinor(rest.available_micros, this.currency),
    };
  }

  async chargeForApp(price: Price, options: ChargeOptions): Promise<ChargeResult> {
    this.personal = true;
    const invalid = this.#invalidCharge(price, options);
    if (invalid === undefined && this.caller.kind === "rejected") {
      const price_micros = parsePrice(price, this.currency) as Micros;
      const refusal: Refusal = { reason: "credential_revoked", price_micros, shortfall_micros: ZERO };
      return { outcome: "refused", refusal, ...NO_BALANCES, balance: "0", currency: this.currency.code };
    }
    const outcome: ChargeOutcome =
      invalid !== undefined
        ? { outcome: "invalid", detail: invalid, ...NO_BALANCES }
        : await this.charge({
            amount_micros: parsePrice(price, this.currency) as Micros,
            key: options.key === undefined ? undefined : `app:${options.key}`,
            at_most: options.atMost,
            record_zero: this.options.recordZero,
            reason: options.reason ?? this.reason(),
            metadata: options.metadata === undefined ? undefined : JSON.stringify(options.metadata),
          });
    return { ...outcome, balance: formatMinor(outcome.balance_micros, this.currency), currency: this.currency.code };
  }

  #invalidCharge(price: Price, { key, reason, metadata }: ChargeOptions): string | undefined {
    const micros = parsePrice(price, this.currency);
    if (micros === undefined) return "The price is outside the grammar of X-Price";
    if (micros > this.options.maxPrice) return "The price is above options.maxPrice";
    if (key !== undefined && !isKey(key)) return "The key must be 1 to 255 visible ASCII characters";
    if (!isReason(reason)) return `The reason must be a text of at most ${REASON_MAX} characters`;
    if (metadata !== undefined && (JSON.stringify(metadata) ?? "").length > METADATA_MAX) {
      return `The metadata must be at most ${METADATA_MAX} characters of JSON`;
    }
    return undefined;
  }
}

/** A class, because it is made for every request and asked by few: getters of an object literal are made anew each time. */
class VisitContext implements EnvelopeContext {
  readonly #visit: Visit<unknown>;

  constructor(visit: Visit<unknown>) {
    this.#visit = visit;
  }

  get id(): string {
    return this.#visit.show().envelopeId;
  }

  get limited(): boolean {
    this.#visit.personal = true;
    return this.#visit.caller.kind === "limited";
  }

  get identified(): boolean {
    this.#visit.personal = true;
    return this.#visit.caller.kind !== "fresh" && this.#visit.caller.kind !== "rejected";
  }

  get paymentLink(): string | null {
    return this.#visit.paymentLink();
  }

  /** Bound, so that a handler may take it out of its context. */
  get state(): EnvelopeContext["state"] {
    return () => this.#visit.state();
  }

  get charge(): EnvelopeContext["charge"] {
    return (price, options) => this.#visit.chargeForApp(price, options ?? {});
  }
}

/** What is absent is not sent: each name costs time on the way to the object. */
function withoutAbsent<T extends object>(input: T): T {
  for (const name of Object.keys(input) as (keyof T)[]) if (input[name] === undefined) delete input[name];
  return input;
}

const NO_BALANCES = { balance_micros: ZERO, available_micros: ZERO } as const;

const EMPTY_STATE = {
  outcome: "ok",
  superseded: false,
  ...NO_BALANCES,
  held_micros: ZERO,
  seq: 0,
  funded: false,
  frozen: false,
  open_disputes: 0,
  currency: null,
  holds: [],
  prepaid: true,
  windows: [],
  limited_sessions: [],
  autoTopUp: null,
} as const;

/** Only a caller whom the app vouches for presents nothing. */
function presentedBy(caller: Known): ChargeInput["credential"] {
  switch (caller.kind) {
    case "app":
      return undefined;
    case "limited":
      return limitedCredentialOf(caller.limited);
    case "bearer":
    case "cookie":
    case "fresh":
      return credentialOf(caller.token);
  }
}

function saysRevoked(answer: unknown): boolean {
  const { outcome, refusal } = (answer ?? {}) as { outcome?: string; refusal?: Partial<Refusal> };
  return outcome === "unauthorized" || refusal?.reason === "credential_revoked";
}

export function chargeOfNothing(amount_micros: Micros): ChargeOutcome {
  if (amount_micros === 0) return { outcome: "charged", seq: null, amount_micros, ...NO_BALANCES };
  return { outcome: "refused", refusal: refusalOfNothing(amount_micros), ...NO_BALANCES };
}

export function refusalOfNothing(price_micros: Micros): Refusal {
  return { reason: "insufficient_balance", price_micros, shortfall_micros: price_micros };
}

/** What makes a payment of Stripe's one of this deployment's. */
export function creditRules({ env, options, keys }: Visit<unknown>): CreditRules {
  return {
    currency: options.currency,
    credit: options.credit,
    maxCredit: options.maxCredit,
    paymentLinks: options.paymentLinks,
    mode: stripeMode(env),
    referenceKeys: keys.reference,
    onDispute: options.onDispute,
  };
}
