/** Options: their types, their defaults, and the one place where they are checked. A wrong one throws a TypeError that names its path. */
import { type AlertOptions, resolveAlerts } from "./alert-options.js";
import type { AlertListener } from "./alerting.js";
import { type AutoTopUpOptions, resolveAutoTopUp } from "./auto-topup-options.js";
import type { AlertRules, AutoTopUpRules } from "./contract.js";
import { type Currency, currencyOf, type Micros, type Price, parsePrice } from "./money.js";
import type { NamedIdentity } from "./places.js";
import { resolveSignUp, type SignUpGrant, type SignUpGrantOptions } from "./sign-up-options.js";
import { type ResolvedSockets, resolveSockets, type SocketsOptions } from "./socket-options.js";
import { DEFAULT_PATHS, type Paths } from "./wire.js";

type MaybePromise<T> = T | Promise<T>;

/** Something the owner should know of and no caller is told. Never holds a secret or a token. */
export type Incident =
  /** A response carried an `X-Price` outside the grammar, or above `maxPrice`. */
  | { readonly kind: "invalid_price"; readonly price: string; readonly path: string; readonly served: boolean }
  /** The envelope could not be reached. */
  | { readonly kind: "outage"; readonly path: string; readonly served: boolean; readonly cause: unknown }
  /** Signed money that could not be credited: it waits for the owner to assign it. */
  | { readonly kind: "unclaimed_payment"; readonly payment_id: string; readonly reason: string }
  /** A refund or dispute whose effect does not fit into the balance: on file, and booked with the next event of its payment that fits. */
  | {
      readonly kind: "unbooked_reversal";
      readonly payment_id: string;
      readonly envelope_id: string;
      readonly amount_micros: number;
    }
  /** A metered body, or the answer of a language model, was delivered and some of its price was not there any more. */
  | {
      readonly kind: "unpaid";
      readonly path: string;
      readonly envelope_id: string;
      readonly missing_micros: number;
    }
  /** A payment opened a limited session of this envelope. */
  | { readonly kind: "login_by_payment"; readonly payment_id: string; readonly envelope_id: string }
  /** The deployment is set up wrongly; the message names the variable. */
  | { readonly kind: "configuration"; readonly message: string };

export interface EnvelopeOptions<Env = unknown> {
  /** ISO 4217, lower case. One per deployment. Default `"usd"`. */
  readonly currency?: string | undefined;
  /** No single price may be above this, in minor units. Default 1,000,000,000. */
  readonly maxPrice?: Price | undefined;
  /**
   * The app's own login: a stable, opaque id of the signed-in user, or `undefined` for a caller it does not know (who then
   * may bring a token or cookie of ours). Or `{ type, value }`, an identity that the owner authorised for an envelope: one that is
   * authorised for none is refused. Runs on every request that reaches the handler, and on `/me`, `/pay`, `/rotate-token` and
   * `/keys`. Must not read the body: read a clone.
   */
  readonly identify?:
    | ((request: Request, env: Env) => MaybePromise<string | NamedIdentity | null | undefined>)
    | undefined;
  /**
   * Prices a request before the handler runs: that much is held, then settled with the response's own `X-Price` or this price.
   * To read the body, read `request.clone()`.
   */
  readonly price?: ((request: Request, env: Env) => MaybePromise<Price | null | undefined>) | undefined;
  /** How long a hold of `price` lasts when the handler never answers, in seconds. Default 300, at most 86,400. */
  readonly holdSeconds?: number | undefined;
  /**
   * How long a charge may be replayed by its `Idempotency-Key`, in seconds; later the key is a conflict. The handler runs again
   * for a replay. `0`: a key is never delivered on twice. Default 86,400.
   */
  readonly replaySeconds?: number | undefined;
  /** Which priced responses are charged. Default: status below 400, and not HEAD, 304 or 101. OPTIONS never is. */
  readonly chargeWhen?: ((request: Request, response: Response) => boolean) | undefined;
  /** What a caller gets when the envelope cannot be reached: `"refuse"` (503, default) or `"serve"` (the body, uncharged). */
  readonly onOutage?: "refuse" | "serve" | undefined;
  /** What a caller gets when `X-Price` is malformed: `"refuse"` (500, default) or `"serve"` (the body, uncharged). */
  readonly onInvalidPrice?: "refuse" | "serve" | undefined;
  /** `false` ignores an `X-Price` that came from a `fetch()` which the handler passed on as it was. Default `true`. */
  readonly trustUpstreamPrice?: boolean | undefined;
  /** Write an entry for a charge of zero. Default `false`. */
  readonly recordZero?: boolean | undefined;
  /**
   * Whether a caller who could not pay is asked for the money before the handler runs, when they ask for the same (method and
   * URL) again within ten seconds. `false` where the same URL may be dear now and free in a moment. Default `true`.
   */
  readonly refuseEarly?: boolean | undefined;
  /** Renames a path of ours, or turns it off with `false`. */
  readonly paths?: Partial<Paths> | undefined;
  /** Origins whose pages may read `GET /me` with credentials. Default none. */
  readonly cors?: { readonly origins: readonly string[] } | undefined;
  /**
   * Lets a browser that comes back from paying keep its card for its envelope, and another browser that pays with that card
   * open the envelope for a day, to spend. Only by asking, and never by the webhook. Needs `STRIPE_SECRET_KEY`. Default `false`.
   */
  readonly loginByPayment?: boolean | undefined;
  readonly stripe?:
    | {
        /** Ids (`plink_…`) of the payment links that buy credit. Default: every link that carries a reference of ours. */
        readonly paymentLinks?: readonly string[] | undefined;
        /** What becomes credit: what was paid less tax and shipping (`"net"`, default), all that was paid, or the items' sum. */
        readonly credit?: "net" | "total" | "subtotal" | undefined;
        /** A payment worth more than this, in minor units, waits for the owner to assign it. Default 1,000,000,000. */
        readonly maxCredit?: Price | undefined;
        /** What an open dispute does to spending: `"freeze"` (default) stops it until the dispute is decided, `"ignore"` does not. */
        readonly onDispute?: "freeze" | "ignore" | undefined;
      }
    | undefined;
  /** Charges a saved card when the balance is low. Default: none is ever charged. */
  readonly autoTopUp?: AutoTopUpOptions | undefined;
  /** When somebody is told how an envelope stands: by the listeners below, and by `ENVELOPE_WEBHOOK_URL`. Default: never. */
  readonly alerts?: AlertOptions | undefined;
  /** Told of every alert that a request of this Worker brought about, once, beside its response. */
  readonly onAlert?: AlertListener | undefined;
  /** The same, of a low balance only. */
  readonly onLowBalance?: AlertListener | undefined;
  /** Money to begin with, once per envelope: for the app's own users, or for who pays. Default: nobody is given any. */
  readonly signUpGrant?: SignUpGrantOptions | undefined;
  /** Metered WebSockets: how they are kept, and which pages may open one with the holder's cookie. */
  readonly sockets?: SocketsOptions | undefined;
  /** Told of every incident. Default: `console.error`. */
  readonly onIncident?: ((incident: Incident) => void) | undefined;
}

export interface ResolvedOptions<Env = unknown> {
  readonly currency: Currency;
  readonly maxPrice: Micros;
  readonly identify: EnvelopeOptions<Env>["identify"];
  readonly price: EnvelopeOptions<Env>["price"];
  readonly hold_ms: number;
  readonly replay_ms: number;
  readonly chargeWhen: (request: Request, response: Response) => boolean;
  readonly onOutage: "refuse" | "serve";
  readonly onInvalidPrice: "refuse" | "serve";
  readonly trustUpstreamPrice: boolean;
  readonly recordZero: boolean;
  readonly refuseEarly: boolean;
  readonly loginByPayment: boolean;
  readonly paths: Paths;
  readonly corsOrigins: ReadonlySet<string>;
  readonly sockets: ResolvedSockets;
  readonly paymentLinks: ReadonlySet<string> | undefined;
  readonly credit: "net" | "total" | "subtotal";
  readonly maxCredit: Micros;
  readonly onDispute: "freeze" | "ignore";
  /** No charge says more than its price and reason. */
  readonly isPlain: boolean;
  readonly autoTopUp: AutoTopUpRules | undefined;
  readonly alerts: AlertRules | undefined;
  readonly onAlert: AlertListener | undefined;
  readonly onLowBalance: AlertListener | undefined;
  readonly signUpGrant: SignUpGrant | undefined;
  readonly onIncident: (incident: Incident) => void;
}

const HOLD_SECONDS_DEFAULT = 300;
const REPLAY_SECONDS_DEFAULT = 86_400;
const HOLD_SECONDS_MAX = 86_400;
const MAX_PRICE_DEFAULT = "1000000000";
const MAX_CREDIT_DEFAULT = "1000000000";

/** Names every option, so that a misspelt one is an error and not silence. */
const KNOWN = {
  currency: true,
  maxPrice: true,
  identify: true,
  price: true,
  holdSeconds: true,
  replaySeconds: true,
  chargeWhen: true,
  onOutage: true,
  onInvalidPrice: true,
  trustUpstreamPrice: true,
  recordZero: true,
  refuseEarly: true,
  loginByPayment: true,
  paths: true,
  cors: true,
  stripe: true,
  autoTopUp: true,
  alerts: true,
  onAlert: true,
  onLowBalance: true,
  signUpGrant: true,
  sockets: true,
  onIncident: true,
} as const satisfies Record<keyof EnvelopeOptions, true>;

export function resolveOptions<Env>(options: EnvelopeOptions<Env> = {}): ResolvedOptions<Env> {
  requireKnown("options", options, KNOWN);
  const currency = currencyOf(options.currency ?? "usd");
  if (currency === undefined) throw new TypeError('options.currency must be a lower-case ISO 4217 code such as "usd"');
  const maxPrice = parsePrice(options.maxPrice ?? MAX_PRICE_DEFAULT, currency);
  if (maxPrice === undefined) throw new TypeError("options.maxPrice must be a price within 2^53−1 micros");
  const holdSeconds = options.holdSeconds ?? HOLD_SECONDS_DEFAULT;
  if (!Number.isInteger(holdSeconds) || holdSeconds < 1 || holdSeconds > HOLD_SECONDS_MAX) {
    throw new TypeError(`options.holdSeconds must be a whole number from 1 to ${HOLD_SECONDS_MAX}`);
  }
  const replaySeconds = options.replaySeconds ?? REPLAY_SECONDS_DEFAULT;
  if (!Number.isInteger(replaySeconds) || replaySeconds < 0) {
    throw new TypeError("options.replaySeconds must be a whole number of 0 or more");
  }
  const stripe = { paymentLinks: true, credit: true, maxCredit: true, onDispute: true } as const;
  requireKnown("options.stripe", options.stripe ?? {}, stripe);
  const maxCredit = parsePrice(options.stripe?.maxCredit ?? MAX_CREDIT_DEFAULT, currency);
  if (maxCredit === undefined) throw new TypeError("options.stripe.maxCredit must be a price within 2^53−1 micros");
  const autoTopUp = resolveAutoTopUp(options.autoTopUp, currency);
  // Its webhook would list it as unclaimed.
  if (autoTopUp !== undefined && autoTopUp.amount_micros > maxCredit) {
    throw new TypeError("options.autoTopUp.amount must not be above options.stripe.maxCredit");
  }
  const recordZero = boolean("options.recordZero", options.recordZero ?? false);
  const alerts = resolveAlertOptions(options, currency);
  const signUpGrant = resolveSignUp(options.signUpGrant, currency, options.identify !== undefined);
  return {
    currency,
    maxPrice,
    identify: optionalFunction("options.identify", options.identify),
    price: optionalFunction("options.price", options.price),
    hold_ms: holdSeconds * 1000,
    replay_ms: replaySeconds * 1000,
    chargeWhen: optionalFunction("options.chargeWhen", options.chargeWhen) ?? chargeWhenDelivered,
    onOutage: oneOf("options.onOutage", options.onOutage ?? "refuse", ["refuse", "serve"]),
    onInvalidPrice: oneOf("options.onInvalidPrice", options.onInvalidPrice ?? "refuse", ["refuse", "serve"]),
    trustUpstreamPrice: boolean("options.trustUpstreamPrice", options.trustUpstreamPrice ?? true),
    recordZero,
    refuseEarly: boolean("options.refuseEarly", options.refuseEarly ?? true),
    loginByPayment: resolveLogin(options),
    paths: resolvePaths(options.paths ?? {}),
    corsOrigins: resolveOrigins(options.cors),
    sockets: resolveSockets(options.sockets ?? {}, currency, resolveOrigins(options.cors), readOrigins),
    paymentLinks: resolvePaymentLinks(options.stripe?.paymentLinks),
    credit: oneOf("options.stripe.credit", options.stripe?.credit ?? "net", ["net", "total", "subtotal"]),
    maxCredit,
    onDispute: oneOf("options.stripe.onDispute", options.stripe?.onDispute ?? "freeze", ["freeze", "ignore"]),
    isPlain: !recordZero && [autoTopUp, alerts, signUpGrant].every((rules) => rules === undefined),
    autoTopUp,
    alerts,
    onAlert: optionalFunction("options.onAlert", options.onAlert),
    onLowBalance: optionalFunction("options.onLowBalance", options.onLowBalance),
    signUpGrant,
    onIncident: optionalFunction("options.onIncident", options.onIncident) ?? logIncident,
  };
}

/** A listener without a rule would wait for ever. */
function resolveAlertOptions<Env>(options: EnvelopeOptions<Env>, currency: Currency): AlertRules | undefined {
  const rules = resolveAlerts(options.alerts, currency);
  if (options.onLowBalance !== undefined && (rules?.low_micros ?? null) === null) {
    throw new TypeError("options.onLowBalance needs options.alerts.lowBalance");
  }
  if (options.onAlert !== undefined && rules === undefined) throw new TypeError("options.onAlert needs options.alerts");
  return rules;
}

/** The default rule of `chargeWhen`: what was delivered, and is not a probe or an upgrade. */
export function chargeWhenDelivered(request: Request, { status }: Response): boolean {
  return status < 400 && status !== 304 && status !== 101 && request.method !== "HEAD";
}

function logIncident(incident: Incident): void {
  console.error("with-envelope:", incident);
}

function requireKnown(path: string, value: unknown, known: Readonly<Record<string, true>>): void {
  if (typeof value !== "object" || value === null) throw new TypeError(`${path} must be an object`);
  for (const name of Object.keys(value)) {
    if (!(name in known))
      throw new TypeError(`${path}.${name} is not an option; known are ${Object.keys(known).join(", ")}`);
  }
}

function optionalFunction<F>(path: string, value: F): F {
  if (value !== undefined && typeof value !== "function") throw new TypeError(`${path} must be a function`);
  return value;
}

function boolean(path: string, value: boolean): boolean {
  if (typeof value !== "boolean") throw new TypeError(`${path} must be true or false`);
  return value;
}

function resolveLogin({ loginByPayment, paths }: Pick<EnvelopeOptions, "loginByPayment" | "paths">): boolean {
  const on = boolean("options.loginByPayment", loginByPayment ?? false);
  if (on && (paths?.pay === false || paths?.paid === false)) {
    throw new TypeError("options.loginByPayment needs options.paths.pay and options.paths.paid");
  }
  return on;
}

function oneOf<T extends string>(path: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value))
    throw new TypeError(`${path} must be one of ${allowed.map((one) => `"${one}"`).join(", ")}`);
  return value;
}

function resolvePaths(paths: Partial<Paths>): Paths {
  requireKnown(
    "options.paths",
    paths,
    Object.fromEntries(Object.keys(DEFAULT_PATHS).map((name) => [name, true])) as Record<string, true>,
  );
  const resolved = { ...DEFAULT_PATHS, ...paths };
  const seen = new Map<string, string>();
  for (const [name, path] of Object.entries(resolved) as [string, string | readonly string[] | false][]) {
    for (const one of path === false ? [] : typeof path === "string" ? [path] : path) {
      if (typeof one !== "string" || !/^(\/[0-9A-Za-z._~-]+)+$/.test(one)) {
        throw new TypeError(`options.paths.${name} must be false or a path such as "/billing/${name}"`);
      }
      const other = seen.get(one);
      if (other !== undefined) throw new TypeError(`options.paths.${name} is the same path as options.paths.${other}`);
      seen.set(one, name);
    }
  }
  return resolved;
}

function resolveOrigins(cors: EnvelopeOptions["cors"]): ReadonlySet<string> {
  if (cors === undefined) return new Set();
  requireKnown("options.cors", cors, { origins: true });
  return readOrigins("options.cors.origins", cors.origins);
}

function readOrigins(path: string, origins: readonly string[]): ReadonlySet<string> {
  if (!Array.isArray(origins)) throw new TypeError(`${path} must be an array of origins`);
  origins.forEach((origin, index) => {
    // "*" and "null" would let any page read a holder's balance with the holder's cookie.
    if (typeof origin !== "string" || !URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new TypeError(`${path}[${index}] must be an origin such as "https://app.example.com"`);
    }
  });
  return new Set(origins);
}

function resolvePaymentLinks(links: readonly string[] | undefined): ReadonlySet<string> | undefined {
  if (links === undefined) return undefined;
  if (!Array.isArray(links) || links.length === 0 || links.some((id) => !/^plink_[0-9A-Za-z]+$/.test(id))) {
    throw new TypeError('options.stripe.paymentLinks must be an array of ids such as "plink_…"');
  }
  return new Set(links);
}
