/** Secrets on their way from Stripe to where they are kept: recognised, masked, compared by digest, never printed. */
import { createHash } from "node:crypto";

const KEY = /^(?:sk|rk)_(live|test)_\w+$/;
/** Anything of a secret's shape, wherever it turns up: in an error of Stripe's, in wrangler's output, in an argument. */
const ANY_SECRET = /\b(?:sk|rk)_(?:live|test|org)_\w+|\bwhsec_[^\s"',;…]+/g;

const TAIL_CHARS = 4;
/** Below it, four characters would be too much of the whole. */
const BODY_CHARS_MIN = 12;

export type Mode = "live" | "test";

/** `undefined` for what is not a secret or restricted key of one account. */
export function modeOf(key: string): Mode | undefined {
  return KEY.exec(key)?.[1] as Mode | undefined;
}

export function mask(secret: string): string {
  const prefix = /^(?:(?:sk|rk)_[a-z]+_|whsec_)/.exec(secret)?.[0] ?? "";
  const tail = secret.length - prefix.length < BODY_CHARS_MIN ? "" : secret.slice(-TAIL_CHARS);
  return `${prefix}…${tail}`;
}

export function redact(text: string): string {
  return text.replace(ANY_SECRET, mask);
}

export function holdsSecret(text: string): boolean {
  return text.search(ANY_SECRET) >= 0;
}

/**
 * Says which secret an endpoint signs with, without being it: kept in the endpoint's metadata, so that another secret under
 * the same name (of local development, of an earlier endpoint) is not taken for it. A signing secret is random: its digest tells nothing.
 */
export function secretDigest(secret: string): string {
  return hash(["with-envelope/webhook-secret", secret]).slice(0, 16);
}

export function hash(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
