/**
 * One request's dealings with its envelope: who the caller is, and what was charged. Everything is lazy: a request that
 * asks nothing of it computes nothing, calls no object and gets no cookie.
 */
import { tellAlerts } from "./alerting.js";
import { attempt } from "./attempt.js";
import type { Alerted, ChargeInput, ChargeOutcome, Credential, KeyCredential, Refusal } from "./contract.js";
import { REASON_MAX } from "./contract.js";
import { isSameOrigin } from "./csrf.js";
import type { EnvelopeHold } from "./held.js";
import { bearerToken, type Caller, freshCaller, identifyCaller, isKnown, type Known } from "./identity/caller.js";
import { credentialOf, keyCredentialOf, limitedCredentialOf, type Token } from "./identity/token.js";
import { isKey } from "./keys.js";
import { tellsBalance } from "./limits.js";
import { type Currency, type Micros, ZERO } from "./money.js";
import { once } from "./once.js";
import type { ResolvedOptions } from "./options.js";
import type { NamedIdentity } from "./places.js";
import { writeReference } from "./reference.js";
import { newOperation } from "./secrets.js";
import { ConfigurationError, type Keys, keysOf, paymentLink, testCheckout } from "./settings.js";
import { envelopeStub } from "./stubs.js";
import { HEADER, pathnameOf } from "./wire.js";

/** The caller presented a bearer token that is not ours, or no longer valid. */
export class UnauthorizedError extends Error {
  override readonly name = "UnauthorizedError";
}

/** The caller's key may not do that. */
export class ForbiddenError extends Error {
  override readonly name = "ForbiddenError";
}

/** Who asks, and on what terms of the deployment's. */
type AskedAs = Pick<ChargeInput, "credential" | "currency" | "auto_topup" | "alerts" | "sign_up">;
/** What is asked. */
export type Charge = Omit<ChargeInput, keyof AskedAs | "op" | "retry">;

/** What there is to tell of a charge where nothing else was asked. */
export type Taken = Pick<
  Extract<ChargeOutcome, { readonly outcome: "charged" }>,
  "outcome" | "amount_micros" | "balance_micros"
>;

const identities = once(() => import("./identities.js"));

export class Visit<Env> {
  readonly request: Request;
  readonly env: Env;
  readonly options: ResolvedOptions<Env>;
  /** The request's URL, asked of it once: each time is a call out of JavaScript, and a new text. */
  readonly address: string;
  readonly pathname: string;
  readonly startedAt_ms = Date.now();
  /** Balance after the latest charge of this request. */
  balance: Micros | undefined;
  /** The answer depends on who is asking: it is theirs alone, and no cache may keep it. */
  personal = false;
  #identity: string | NamedIdentity | undefined;
  #caller: Caller | undefined;
  #shown = false;
  #left = false;
  #scope: Promise<string> | undefined;
  #url: URL | undefined;
  #method: string | undefined;
  #holds: Pick<EnvelopeHold, "release">[] | undefined;

  constructor(request: Request, env: Env, options: ResolvedOptions<Env>) {
    this.request = request;
    this.env = env;
    this.options = options;
    this.address = request.url;
    this.pathname = pathnameOf(this.address);
  }

  /** Parsed only for who asks: a free page is not one of them. */
  get url(): URL {
    this.#url ??= new URL(this.address);
    return this.#url;
  }

  /** Asks the app's own login, where there is one. Before the caller is asked for; not on paths that have no caller. */
  async identify(): Promise<void> {
    const identity = (await this.options.identify?.(this.request, this.env)) ?? undefined;
    const named = typeof identity === "object" && (await identities()).normalIdentity(identity.type, identity.value);
    const fits = typeof identity === "object" ? named : identity === undefined || (isText(identity) && identity !== "");
    if (!fits) {
      throw new TypeError(
        'options.identify must return a non-empty string, { type, value } such as { type: "EMAIL", value: "…" }, or undefined',
      );
    }
    this.#identity = named || (identity as string | undefined);
  }

  /** The app's own login says who the caller is. */
  get vouched(): boolean {
    return this.#identity !== undefined;
  }

  get keys(): Keys {
    return keysOf(this.env);
  }

  get currency(): Currency {
    return this.options.currency;
  }

  get caller(): Caller {
    this.#caller ??= identifyCaller(this.request, this.address, () => this.keys, {
      identity: this.#identity,
      limited: this.options.loginByPayment,
      cookies: !this.isForeignUpgrade,
    });
    return this.#caller;
  }

  /**
   * A page of an origin that is not listed opens a WebSocket with what the browser adds by itself. Browsers let any page do that, and
   * read what comes back; so a cookie counts for nothing here. A bearer token is nothing that a browser adds; what it was once told for HTTP Basic, it does.
   */
  get isForeignUpgrade(): boolean {
    const { headers } = this.request;
    if (headers.get("Upgrade")?.toLowerCase() !== "websocket") return false;
    const authorization = headers.get("Authorization");
    if ((!headers.has("Cookie") && authorization === null) || bearerToken(authorization) !== undefined) return false;
    return !isSameOrigin(this.request, this.url) && !this.options.sockets.origins.has(headers.get("Origin") ?? "");
  }

  /** The caller without the limited session they may be in: whose payments theirs are, and what they go back to. */
  get self(): Exclude<Known, { readonly kind: "limited" }> {
    const { known } = this;
    return known.kind === "limited" ? known.own : known;
  }

  /** The caller, unless a bad bearer was presented, or no envelope is open to who the app vouches for. */
  get known(): Known {
    const { caller } = this;
    if (isKnown(caller)) return caller;
    throw new UnauthorizedError("The caller has no envelope");
  }

  /**
   * The caller, after the directory was asked for the envelope of an identity that is not remembered; `undefined` where no envelope
   * is open to it.
   */
  async resolve(): Promise<Known | undefined> {
    const { caller } = this;
    if (caller.kind === "unresolved") await this.#place(caller.identity);
    return this.caller.kind === "unknown" ? undefined : this.known;
  }

  async #place(identity: NamedIdentity): Promise<void> {
    const place = await (await identities()).findPlace(this.env, this.keys, identity);
    this.#caller =
      place === undefined
        ? { kind: "unknown", identity }
        : { kind: "identity", envelopeId: place.envelope_id, identityId: place.identity_id, identity };
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

  /**
   * Asks an envelope as the caller; once more as who they were, when the limited session they came with has ended; and once more where
   * the directory says that an identity is now, when the envelope that was remembered refuses it.
   */
  ask<Answer>(call: (caller: Known) => Promise<Answer>, nobody: () => Answer): Promise<Answer> {
    const { caller } = this;
    switch (caller.kind) {
      case "cookie":
      case "bearer":
      case "key":
      case "app":
      case "fresh":
        return call(caller);
      default:
        return this.#askAgain(call, nobody);
    }
  }

  async #askAgain<Answer>(call: (caller: Known) => Promise<Answer>, nobody: () => Answer): Promise<Answer> {
    const caller = this.caller.kind === "unresolved" ? await this.resolve() : this.known;
    if (caller === undefined) return nobody();
    const answer = await call(caller);
    if (caller.kind === "limited" && saysRevoked(answer)) {
      this.leaveLimited();
      return call(this.known);
    }
    if (caller.kind !== "identity" || !(saysRevoked(answer) || saysExpired(answer))) return answer;
    await this.#place(caller.identity);
    const anew = await this.resolve();
    if (anew === undefined) return nobody();
    return anew.kind === "identity" && anew.identityId === caller.identityId ? answer : call(anew);
  }

  /** The identity was told to the caller, so it must reach their browser. */
  show(): void {
    this.#shown = true;
    this.personal = true;
  }

  /** Cookies are to be set: an identity was made and shown in this request, or a limited session was left. */
  get cookiesDue(): { readonly left: boolean; readonly fresh: Token | undefined } | undefined {
    const caller = this.#caller?.kind === "limited" ? this.#caller.own : this.#caller;
    const fresh = caller?.kind === "fresh" && this.#shown ? caller.token : undefined;
    return this.#left || fresh !== undefined ? { left: this.#left, fresh } : undefined;
  }

  /**
   * Of the caller's own envelope, also in a limited session: what a browser pays stays where it can always get at it.
   * With a binding, made for one browser (identity/payer.ts).
   */
  reference(binding?: string): string {
    this.show();
    return writeReference(this.keys.reference, this.self.envelopeId, this.request, binding);
  }

  /** `null` without a link, and for a caller who has no envelope: somebody else's bearer token, an identity that is not authorised. */
  paymentLink(binding?: string): string | null {
    if (!isKnown(this.caller)) return null;
    const test = testCheckout(this.env, this.url);
    if (test instanceof ConfigurationError) this.options.onIncident({ kind: "configuration", message: test.message });
    const { testCheckout: path } = this.options.paths;
    const link = test === "on" && path !== false ? new URL(path, this.url) : paymentLink(this.env);
    if (link === undefined) return null;
    // Paying goes by way of leaving: the money would not be seen in the limited session, and be taken for lost.
    const { pay } = this.options.paths;
    if (this.caller.kind === "limited" && pay !== false) return new URL(pay, this.url).href;
    link.searchParams.set("client_reference_id", this.reference(binding));
    return link.href;
  }

  /**
   * Charges the caller's envelope, and notes how it stands then, for the reply and for the app. A caller without credentials has nothing to charge, and no object is asked. What is absent is
   * not to be named: each name costs time on the way to the object.
   */
  async charge(input: Charge): Promise<ChargeOutcome> {
    const op = newOperation();
    const outcome = await this.ask(
      (caller) => {
        if (caller.kind === "fresh") return Promise.resolve(chargeOfNothing(input.amount_micros));
        const asked: ChargeInput = { ...input, op, ...this.asked(caller) };
        return attempt((retry) =>
          envelopeStub(this.env, caller.envelopeId).charge(retry ? { ...asked, retry } : asked),
        );
      },
      () => refusedToNobody(input.amount_micros),
    );
    return this.#noted(outcome);
  }

  /** The same for a price and a reason alone, which takes less time where the caller and the options are as most are. */
  async take(
    input: Pick<Charge, "amount_micros" | "record_zero"> & { readonly reason: string },
  ): Promise<ChargeOutcome | Taken> {
    const { caller, currency } = this;
    if (!this.options.isPlain || !isPlain(caller)) return this.charge(input);
    const { amount_micros, reason } = input;
    const op = newOperation();
    const credential = plainCredentialOf(caller);
    const answer = await attempt((retry) => {
      const envelope = envelopeStub(this.env, caller.envelopeId);
      if (retry) return envelope.charge({ amount_micros, reason, op, ...this.asked(caller), retry });
      const presented = credential && ("api_key" in credential ? credential.api_key : credential.generation);
      return envelope.take(amount_micros, op, currency.code, reason, presented, credential?.hash);
    });
    if (typeof answer !== "number") return this.#noted(answer);
    this.balance = answer;
    return { outcome: "charged", amount_micros, balance_micros: answer };
  }

  #noted(outcome: ChargeOutcome): ChargeOutcome {
    const hidden = outcome.outcome === "refused" && !tellsBalance(outcome.refusal.reason);
    if (this.caller.kind !== "fresh" && !hidden) this.balance = outcome.balance_micros;
    if (outcome.alerts !== undefined) this.alert(outcome);
    return outcome;
  }

  /** Tells the app what it wanted to be told of. */
  alert({ alerts }: Alerted): void {
    if (alerts === undefined) return;
    tellAlerts(this.options, alerts, { envelope_id: this.known.envelopeId, currency: this.currency.code });
  }

  asked(caller: Known): AskedAs {
    const { options } = this;
    const asked: { -readonly [Name in keyof AskedAs]: AskedAs[Name] } = { currency: options.currency.code };
    const credential = presentedBy(caller);
    if (credential !== undefined) asked.credential = credential;
    // A limited session spends what is there; it does not draw on the holder's card.
    if (options.autoTopUp !== undefined && caller.kind !== "limited") asked.auto_topup = options.autoTopUp;
    if (options.alerts !== undefined) asked.alerts = options.alerts;
    if (caller.kind === "app" && options.signUpGrant?.to === "identified") asked.sign_up = options.signUpGrant.rules;
    return asked;
  }

  /**
   * What an `Idempotency-Key` was used for: method, path, query, range and body. The same key for another is a conflict. Hashed,
   * as all of it may be personal. A body that cannot be read whole (too long, too slow, broken off) is like no other: it is
   * charged, and a second use of its key is a conflict, never free.
   */
  scope(): Promise<string> {
    this.#scope ??= this.#fingerprint(null);
    return this.#scope;
  }

  /** Asked of the request once: each time is a call out of JavaScript. */
  get method(): string {
    this.#method ??= this.request.method;
    return this.#method;
  }

  /** The caller's `Idempotency-Key`, apart from keys the app makes. */
  requestKey(): string | undefined | "malformed" {
    const key = this.request.headers.get(HEADER.idempotencyKey);
    if (key === null) return undefined;
    return isKey(key) ? `request:${key}` : "malformed";
  }

  /** Starts to read the request's body beside the handler, when a key was sent that it is to be compared under. */
  watchBody(): void {
    if (this.request.body !== null) this.#scope = this.#fingerprint(this.request.clone().body);
  }

  async #fingerprint(body: ReadableStream<Uint8Array> | null): Promise<string> {
    return (await import("./fingerprint.js")).fingerprint(this.request, this.url, body);
  }

  /** Notes what is to be let go should the handler fail. */
  keep(hold: Pick<EnvelopeHold, "release">): void {
    this.#holds ??= [];
    this.#holds.push(hold);
  }

  /** Never throws: a hold that cannot be released now gives its money back by expiring. */
  async letGo(): Promise<void> {
    await Promise.allSettled((this.#holds ?? []).map((hold) => hold.release()));
  }

  reason(): string {
    return `${this.method} ${this.pathname}`.slice(0, REASON_MAX);
  }
}

export const NO_BALANCES = { balance_micros: ZERO, available_micros: ZERO } as const;

function presentedBy(caller: Known): ChargeInput["credential"] {
  switch (caller.kind) {
    case "limited":
      return limitedCredentialOf(caller.limited);
    case "identity":
      return { identity_id: caller.identityId };
    default:
      return plainCredentialOf(caller);
  }
}

/** Callers who have one envelope, and say who they are by nothing, or by a number or name and a hash. */
type PlainCaller = Exclude<Known, { readonly kind: "limited" | "identity" }>;

function isPlain(caller: Caller): caller is Exclude<PlainCaller, { readonly kind: "fresh" }> {
  return caller.kind === "cookie" || caller.kind === "bearer" || caller.kind === "key" || caller.kind === "app";
}

/** A caller whom the app vouches for by an id presents nothing. */
function plainCredentialOf(caller: PlainCaller): Credential | KeyCredential | undefined {
  if (caller.kind === "app") return undefined;
  return caller.kind === "key" ? keyCredentialOf(caller.key) : credentialOf(caller.token);
}

function saysRevoked(answer: unknown): boolean {
  const { outcome, refusal } = (answer ?? {}) as { outcome?: string; refusal?: Partial<Refusal> };
  return outcome === "unauthorized" || refusal?.reason === "credential_revoked";
}

/** Of a look, nothing more than that it may not. */
function saysExpired(answer: unknown): boolean {
  const { outcome, refusal } = (answer ?? {}) as { outcome?: string; refusal?: Partial<Refusal> };
  return outcome === "forbidden" || refusal?.reason === "key_expired";
}

/** An app's own function answers whatever it likes. */
function isText(value: unknown): boolean {
  return typeof value === "string";
}

/** No envelope is open to who the app vouches for: no price is so small that it is let pass. */
export function refusedToNobody(price_micros: Micros) {
  const refusal: Refusal = { reason: "identity_unknown", price_micros, shortfall_micros: ZERO };
  return { outcome: "refused", refusal, ...NO_BALANCES } as const;
}

export function chargeOfNothing(amount_micros: Micros): ChargeOutcome {
  if (amount_micros === 0) return { outcome: "charged", seq: null, amount_micros, ...NO_BALANCES };
  return { outcome: "refused", refusal: refusalOfNothing(amount_micros), ...NO_BALANCES };
}

export function refusalOfNothing(price_micros: Micros): Refusal {
  return { reason: "insufficient_balance", price_micros, shortfall_micros: price_micros };
}
