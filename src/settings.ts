/**
 * What the environment says: secrets, and how to be paid. Read when a path needs it, so that a missing Stripe secret never
 * takes a free page down. A fault names the variable, never its value.
 */
import type { WebhookTarget } from "./outbound.js";
import { deriveKey } from "./secrets.js";
import { isLocalHost } from "./wire.js";

/** The deployment is set up wrongly. Its message names an environment variable or a class, and may be shown. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
  readonly variable: string;
  constructor(variable: string, what: string) {
    super(`${variable} ${what}`);
    this.variable = variable;
  }
}

/** Keys of one purpose: the first signs, all verify. */
export type Keyring = readonly [Uint8Array, ...Uint8Array[]];

export interface Keys {
  readonly token: Keyring;
  readonly reference: Keyring;
  readonly rotation: Keyring;
  /** Binds a reference to the browser it was made for. */
  readonly pay: Keyring;
  /** Signs an offer, so that only what was offered can be accepted. */
  readonly ticket: Keyring;
  /** Hashes card fingerprints. */
  readonly card: Keyring;
  /** Derives the limited session that accepting an offer leads to. */
  readonly login: Keyring;
  /** Signs the owner's sessions, and hashes the addresses that tried the owner's door. Derived from nothing of the owner's. */
  readonly door: Keyring;
}

const SECRET_CHARS_MIN = 32;
const PLACEHOLDER = /replace|change.?me|your[_-]|placeholder|example|\.\.\.|<|>|xxxx/i;

function variable(env: unknown, name: string): string {
  const value = (env as Record<string, unknown> | null | undefined)?.[name];
  return typeof value === "string" ? value.trim() : "";
}

function rootSecret(env: unknown): string {
  const secret = variable(env, "ENVELOPE_SECRET");
  if (secret === "") throw new ConfigurationError("ENVELOPE_SECRET", "is not set");
  if (secret.length < SECRET_CHARS_MIN || PLACEHOLDER.test(secret) || new Set(secret).size < 8) {
    throw new ConfigurationError("ENVELOPE_SECRET", `is weak: it takes at least ${SECRET_CHARS_MIN} random characters`);
  }
  return secret;
}

let derived: { readonly current: string; readonly previous: string; readonly keys: Keys } | undefined;

/** Derives the keys once per isolate and set of secrets. */
export function keysOf(env: unknown): Keys {
  const given = variable(env, "ENVELOPE_SECRET");
  const previous = variable(env, "ENVELOPE_SECRET_PREVIOUS");
  if (derived?.current !== given || derived.previous !== previous) {
    const current = rootSecret(env);
    const parts = previous.split(",").map((part) => part.trim());
    // A secret may itself contain a comma: where the parts are too short to be secrets, the whole value is one.
    const older = parts.every((part) => part.length >= SECRET_CHARS_MIN) ? parts : [previous];
    const accepted = new Set([current, ...older.filter((secret) => secret.length >= SECRET_CHARS_MIN)]);
    const ring = (purpose: string): Keyring =>
      [...accepted].map((secret) => deriveKey(secret, purpose)) as unknown as Keyring;
    derived = {
      current,
      previous,
      keys: {
        token: ring("token"),
        reference: ring("reference"),
        rotation: ring("rotation"),
        pay: ring("pay"),
        ticket: ring("ticket"),
        card: ring("card"),
        login: ring("login"),
        door: ring("door"),
      },
    };
  }
  return derived.keys;
}

/** Signing secrets of the webhook endpoint, newest first: a comma list, so that old and new overlap while one is rolled. */
export function webhookSecrets(env: unknown): readonly [string, ...string[]] {
  const name = "STRIPE_WEBHOOK_SECRET";
  const [first, ...rest] = variable(env, name)
    .split(",")
    .map((part) => part.trim());
  if (first === undefined || (first === "" && rest.length === 0)) throw new ConfigurationError(name, "is not set");
  for (const secret of [first, ...rest]) {
    if (secret === "" || secret === "whsec_" || PLACEHOLDER.test(secret)) {
      throw new ConfigurationError(name, "holds a blank or placeholder secret");
    }
  }
  return [first, ...rest];
}

/**
 * Mode of the Stripe key, else of the payment link. Of a link at an address of the owner's own it cannot be told: then signing
 * secrets decide alone, which belong to one mode each.
 */
export function stripeMode(env: unknown): "live" | "test" | undefined {
  const key = keyMode(env);
  if (key !== undefined) return key;
  const link = variable(env, "STRIPE_PAYMENT_LINK");
  if (isTestLink(link)) return "test";
  return isStripesLink(link) ? "live" : undefined;
}

function keyMode(env: unknown): "live" | "test" | undefined {
  const key = /^(?:sk|rk)_(live|test)_/.exec(variable(env, "STRIPE_SECRET_KEY"));
  return key === null ? undefined : (key[1] as "live" | "test");
}

/** Stripe puts `test_` in front of the last part of a test link's path. */
function isTestLink(link: string): boolean {
  return /^https:\/\/[^/]+\/(.*\/)?test_/.test(link);
}

function isStripesLink(link: string): boolean {
  return URL.canParse(link) && new URL(link).host === "buy.stripe.com";
}

/** The secret or restricted key, for the few paths that call Stripe. */
export function stripeKey(env: unknown): string {
  const name = "STRIPE_SECRET_KEY";
  const key = variable(env, name);
  if (key === "") throw new ConfigurationError(name, "is not set");
  if (!/^(?:sk|rk)_(?:live|test)_\w+$/.test(key))
    throw new ConfigurationError(name, "is not a secret or restricted key");
  return key;
}

/** Whether there is a key at all, good or bad: without one, what needs Stripe's API is not offered. */
export function hasStripeKey(env: unknown): boolean {
  return variable(env, "STRIPE_SECRET_KEY") !== "";
}

/** Another address for Stripe's API, for tests. Refused with a live key: it would hand that key to whoever is there. */
export function stripeApiBase(env: unknown): URL | undefined {
  const name = "STRIPE_API_BASE";
  const base = variable(env, name);
  if (base === "") return undefined;
  if (keyMode(env) === "live") throw new ConfigurationError(name, "is refused together with a live STRIPE_SECRET_KEY");
  if (!URL.canParse(base)) throw new ConfigurationError(name, "is not a URL");
  return new URL(base);
}

/** Fewer bytes could be guessed from one signature. */
const WEBHOOK_SECRET_BYTES_MIN = 24;

/** Where alerts are sent; `undefined` where they are not. https only, but on this machine: what is sent is nobody else's business. */
export function webhookTarget(env: unknown): WebhookTarget | undefined {
  const name = "ENVELOPE_WEBHOOK_URL";
  const address = variable(env, name);
  if (address === "") return undefined;
  if (!URL.canParse(address)) throw new ConfigurationError(name, "is not a URL");
  const url = new URL(address);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLocalHost(url.hostname))) {
    throw new ConfigurationError(name, "must be https");
  }
  const secrets = variable(env, "ENVELOPE_WEBHOOK_SECRET")
    .split(",")
    .map((part) => bytesOf(part.trim()));
  const [first, ...rest] = secrets.filter((secret) => secret !== undefined);
  if (first === undefined || rest.length + 1 < secrets.length) {
    throw new ConfigurationError(
      "ENVELOPE_WEBHOOK_SECRET",
      `must be whsec_ and the base64 of at least ${WEBHOOK_SECRET_BYTES_MIN} random bytes`,
    );
  }
  return { url, secrets: [first, ...rest] };
}

/** Whether there is an address at all, good or bad. */
export function hasWebhook(env: unknown): boolean {
  return variable(env, "ENVELOPE_WEBHOOK_URL") !== "";
}

function bytesOf(secret: string): Uint8Array | undefined {
  try {
    const bytes = Uint8Array.from(atob(secret.replace(/^whsec_/, "")), (char) => char.charCodeAt(0));
    return bytes.length < WEBHOOK_SECRET_BYTES_MIN ? undefined : bytes;
  } catch {
    return undefined;
  }
}

/** The owner's secret; `undefined` where there is none, and then no owner's path exists. */
export function adminSecret(env: unknown): string | undefined {
  const name = "ENVELOPE_ADMIN_SECRET";
  const secret = variable(env, name);
  if (secret === "") return undefined;
  if (secret.length < SECRET_CHARS_MIN || PLACEHOLDER.test(secret)) {
    throw new ConfigurationError(name, `is weak: it takes at least ${SECRET_CHARS_MIN} random characters`);
  }
  if (secret === variable(env, "ENVELOPE_SECRET"))
    throw new ConfigurationError(name, "must not be the same as ENVELOPE_SECRET");
  return secret;
}

export interface AccessSettings {
  /** `https://<team>.cloudflareaccess.com`: who issues the tokens, and where its keys are. */
  readonly team: string;
  readonly audience: string;
}

/** Cloudflare Access as another way in for the owner; `undefined` where it is not set up. Half a set-up is a fault, never an open door. */
export function accessSettings(env: unknown): AccessSettings | undefined {
  const [team, audience] = [variable(env, "ENVELOPE_ACCESS_TEAM"), variable(env, "ENVELOPE_ACCESS_AUD")];
  if (team === "" && audience === "") return undefined;
  if (!/^https:\/\/[a-z0-9-]+\.cloudflareaccess\.com$/.test(team)) {
    throw new ConfigurationError("ENVELOPE_ACCESS_TEAM", "is not https://<team>.cloudflareaccess.com");
  }
  if (!/^[0-9a-zA-Z-]{16,128}$/.test(audience)) {
    throw new ConfigurationError("ENVELOPE_ACCESS_AUD", "is not an Access application's audience tag");
  }
  return { team, audience };
}

export type TestCheckout = "off" | "on" | ConfigurationError;

/**
 * Whether the built-in test checkout takes the place of Stripe. It gives money away, so it is refused next to a live key
 * or link, and on any host that others can reach.
 */
export function testCheckout(env: unknown, url: URL): TestCheckout {
  const name = "ENVELOPE_TEST_CHECKOUT";
  if (variable(env, name) !== "true") return "off";
  const refuse = (why: string) => new ConfigurationError(name, `is refused ${why}`);
  if (keyMode(env) === "live") return refuse("together with a live STRIPE_SECRET_KEY");
  const link = variable(env, "STRIPE_PAYMENT_LINK");
  if (link !== "" && !/^https:\/\/[^/]+\/(.*\/)?test_/.test(link))
    return refuse("together with a live STRIPE_PAYMENT_LINK");
  if (!isLocalHost(url.hostname)) return refuse("on a host that is not local");
  return "on";
}

/** The configured payment link; `undefined` when there is none. */
export function paymentLink(env: unknown): URL | undefined {
  const name = "STRIPE_PAYMENT_LINK";
  const link = variable(env, name);
  if (link === "") return undefined;
  if (!URL.canParse(link) || new URL(link).protocol !== "https:")
    throw new ConfigurationError(name, "is not an https URL");
  return new URL(link);
}

/** Most shards of the aggregate. Reports ask all of them at once, and one alone takes more than one account's traffic. */
const SHARDS_MAX = 64;

/** Over how many objects the aggregate is spread. */
export function aggregateShardCount(env: unknown): number {
  return wholeNumber(env, "ENVELOPE_AGGREGATE_SHARDS", 1, SHARDS_MAX);
}

/** Over how many it was spread before: a rebuild asks those whose copies they had. `undefined` where it never changed. */
export function previousShardCount(env: unknown): number | undefined {
  const name = "ENVELOPE_AGGREGATE_SHARDS_PREVIOUS";
  return variable(env, name) === "" ? undefined : wholeNumber(env, name, 1, SHARDS_MAX);
}

/** How long the aggregate keeps single entries. Sums, series and cohorts are kept for ever. */
export function rawEventDays(env: unknown): number {
  return wholeNumber(env, "ENVELOPE_RAW_EVENT_DAYS", 90, 3650);
}

export interface MirrorPace {
  /** How long an entry waits for company after an idle time. */
  readonly wait_ms: number;
  /** How far apart the shipments of a busy envelope are. */
  readonly apart_ms: number;
}

/**
 * A second after an idle time, six seconds apart; or as many seconds as the owner's figures may be behind, up to an hour: each
 * shipment of a lone charge costs some fourteen rows, and company makes it cheap (docs/scale.md).
 */
export function mirrorPace(env: unknown): MirrorPace {
  const seconds = wholeNumber(env, "ENVELOPE_MIRROR_SECONDS", 0, 3600);
  return seconds === 0 ? { wait_ms: 1_000, apart_ms: 6_000 } : { wait_ms: seconds * 1000, apart_ms: seconds * 1000 };
}

const LEDGER_DAYS_MAX = 36_500;

/** After how many days a charge is final, and may be folded. `undefined`: never. */
export function ledgerDays(env: unknown): number | undefined {
  const days = wholeNumber(env, "ENVELOPE_LEDGER_DAYS", 0, LEDGER_DAYS_MAX);
  return days === 0 ? undefined : days;
}

function wholeNumber(env: unknown, name: string, otherwise: number, most: number): number {
  const value = (env as Record<string, unknown> | null | undefined)?.[name];
  const text = typeof value === "number" ? String(value) : variable(env, name);
  if (text === "") return otherwise;
  const number = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > most) throw new ConfigurationError(name, `must be a whole number from 1 to ${most}`);
  return number;
}
