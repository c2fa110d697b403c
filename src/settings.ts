/**
 * What the environment says: secrets, and how to be paid. Read when a path needs it, so that a missing Stripe secret never
 * takes a free page down. A fault names the variable, never its value.
 */
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
  /** Hashes identities that an owner authorised. */
  readonly identity: Keyring;
}

export const SECRET_CHARS_MIN = 32;
export const PLACEHOLDER = /replace|change.?me|your[_-]|placeholder|example|\.\.\.|<|>|xxxx/i;

export function variable(env: unknown, name: string): string {
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

let derived: { readonly given: unknown; readonly earlier: unknown; readonly keys: Keys } | undefined;

/** Derives the keys once per isolate and set of secrets. */
export function keysOf(env: unknown): Keys {
  const { ENVELOPE_SECRET: given, ENVELOPE_SECRET_PREVIOUS: earlier } = (env ?? {}) as Record<string, unknown>;
  if (derived === undefined || derived.given !== given || derived.earlier !== earlier) {
    const previous = variable(env, "ENVELOPE_SECRET_PREVIOUS");
    const current = rootSecret(env);
    const parts = previous.split(",").map((part) => part.trim());
    // A secret may itself contain a comma: where the parts are too short to be secrets, the whole value is one.
    const older = parts.every((part) => part.length >= SECRET_CHARS_MIN) ? parts : [previous];
    const accepted = new Set([current, ...older.filter((secret) => secret.length >= SECRET_CHARS_MIN)]);
    const ring = (purpose: string): Keyring =>
      [...accepted].map((secret) => deriveKey(secret, purpose)) as unknown as Keyring;
    derived = {
      given,
      earlier,
      keys: {
        token: ring("token"),
        reference: ring("reference"),
        rotation: ring("rotation"),
        pay: ring("pay"),
        ticket: ring("ticket"),
        card: ring("card"),
        login: ring("login"),
        door: ring("door"),
        identity: ring("identity"),
      },
    };
  }
  return derived.keys;
}

/** Mode of the Stripe key. */
export function keyMode(env: unknown): "live" | "test" | undefined {
  const key = /^(?:sk|rk)_(live|test)_/.exec(variable(env, "STRIPE_SECRET_KEY"));
  return key === null ? undefined : (key[1] as "live" | "test");
}

/** Stripe puts `test_` in front of the last part of a test link's path. */
export function isTestLink(link: string): boolean {
  return /^https:\/\/[^/]+\/(.*\/)?test_/.test(link);
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

export interface MirrorPace {
  /** How long an entry waits for company after an idle time. */
  readonly wait_ms: number;
  /** How far apart the shipments of a busy envelope are. */
  readonly apart_ms: number;
}

/**
 * A second after an idle time, seven seconds apart; or as many seconds as the owner's figures may be behind, up to an hour: each
 * shipment of a lone charge costs some fourteen rows, and company makes it cheap (docs/scale.md).
 */
export function mirrorPace(env: unknown): MirrorPace {
  const seconds = wholeNumber(env, "ENVELOPE_MIRROR_SECONDS", 0, 3600);
  return seconds === 0 ? { wait_ms: 1_000, apart_ms: 7_000 } : { wait_ms: seconds * 1000, apart_ms: seconds * 1000 };
}

/** @throws {ConfigurationError} for what is none, or none from 1 to `most` */
export function wholeNumber(env: unknown, name: string, otherwise: number, most: number): number {
  const value = (env as Record<string, unknown> | null | undefined)?.[name];
  const text = typeof value === "number" ? String(value) : variable(env, name);
  if (text === "") return otherwise;
  const number = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > most) throw new ConfigurationError(name, `must be a whole number from 1 to ${most}`);
  return number;
}
