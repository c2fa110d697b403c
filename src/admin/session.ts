/**
 * The owner's session in a browser: a random token in a cookie, and a row with its hash. The token carries a check that is keyed
 * with the owner's secret too, so that a made-up cookie names no row, and a new owner's secret ends every session.
 */
import type { OwnerSession } from "../contract.js";
import { equalConstantTime, keyedCheck, randomBase62 } from "../secrets.js";
import type { Keyring } from "../settings.js";
import { ADMIN_COOKIE, isLocalHost } from "../wire.js";

const SESSION_MS = 8 * 3_600_000;
const TOKEN_CHARS = 43;
const CHECK_BYTES = 16;
const SHAPE = /^([0-9A-Za-z]{43})([0-9A-Za-z]{22})$/;

export interface NewSession {
  readonly row: OwnerSession;
  readonly cookie: string;
}

export function newSession(keys: Keyring, secret: string, actor: string, url: URL, now_ms: number): NewSession {
  const body = randomBase62(TOKEN_CHARS);
  const token = body + checkOf(keys[0], secret, body);
  return {
    row: { hash: hashOf(keys[0], body), actor, expires_at_ms: now_ms + SESSION_MS },
    cookie: cookieOf(url, token, SESSION_MS / 1000),
  };
}

/** `none`: no cookie of ours. `ended`: one that does not count any more, whatever the rows say. */
export type PresentedSession = { readonly hash: string } | "none" | "ended";

/** The first genuine one of that name counts: another may have been planted. */
export function presentedSession(keys: Keyring, secret: string, url: URL, header: string | null): PresentedSession {
  const values = (header ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${nameOf(url)}=`))
    .map((pair) => pair.slice(nameOf(url).length + 1));
  for (const value of values) {
    const [, body = "", check = ""] = SHAPE.exec(value) ?? [];
    if (body !== "" && equalConstantTime(checkOf(keys[0], secret, body), check)) return { hash: hashOf(keys[0], body) };
  }
  return values.length === 0 ? "none" : "ended";
}

export function forgetSession(url: URL): string {
  return cookieOf(url, "", 0);
}

function checkOf(key: Uint8Array, secret: string, body: string): string {
  return keyedCheck(key, `check\n${body}\n${secret}`, CHECK_BYTES);
}

function hashOf(key: Uint8Array, body: string): string {
  return keyedCheck(key, `row\n${body}`, 32);
}

function nameOf(url: URL): string {
  return url.protocol === "http:" && isLocalHost(url.hostname) ? ADMIN_COOKIE.local : ADMIN_COOKIE.secure;
}

function cookieOf(url: URL, token: string, maxAgeSeconds: number): string {
  const secure = nameOf(url) === ADMIN_COOKIE.local ? "" : " Secure;";
  return `${nameOf(url)}=${token}; Path=/;${secure} HttpOnly; SameSite=Strict; Max-Age=${maxAgeSeconds}`;
}
