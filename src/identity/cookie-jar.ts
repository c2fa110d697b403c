/** The cookies we set: host-only, never shared with sub-domains, never readable by a page's scripts. Loaded with the first one. */
import { COOKIE, isLocalUrl, LIMITED_COOKIE, PAY_COOKIE } from "../wire.js";
import { nameOf, SLOTS, valuesOf } from "./cookie.js";
import { looksLikeToken } from "./token.js";

/** 400 days, the longest a browser keeps a cookie (RFC 6265bis §5.6.3). Sent anew by `/me` once a month, so it lasts. */
const MAX_AGE_SECONDS = 34_560_000;

const [, ...KEPT_ASIDE] = SLOTS;

const named = (url: URL, cookie: { readonly secure: string; readonly local: string } = COOKIE): string =>
  nameOf(isLocalUrl(url.href), cookie);

export function setCookie(url: URL, token: string): string {
  return attributes(url, named(url), token);
}

/**
 * Keeps a main cookie that looks like a token of ours, and could not be verified, where it will be found again. Never over one
 * that is kept already: the oldest is the likeliest to hold money. Ask only when no value was genuine.
 */
export function keepAside(url: URL, header: string | null): string | undefined {
  const name = named(url);
  const token = valuesOf(header, name).find(looksLikeToken);
  const kept = KEPT_ASIDE.flatMap((slot) => valuesOf(header, name + slot));
  const free = KEPT_ASIDE.find((slot) => !valuesOf(header, name + slot).some(looksLikeToken));
  return token === undefined || free === undefined || kept.includes(token)
    ? undefined
    : attributes(url, name + free, token);
}

/** A month between renewals: often enough for cookies that last 400 days, seldom enough not to meet a rotation under way. */
const RENEWED_MAX_AGE_SECONDS = 2_592_000;
const RENEWED = "_renewed";

export function wasRenewed(url: URL, header: string | null): boolean {
  return valuesOf(header, named(url) + RENEWED).length > 0;
}

export function setRenewed(url: URL): string {
  return attributes(url, named(url) + RENEWED, "1", RENEWED_MAX_AGE_SECONDS);
}

/** An hour to finish a payment in. */
const PAY_MAX_AGE_SECONDS = 3600;
const NONCE = /^[0-9A-Za-z]{22}$/;

/** The nonces this browser started payments with. */
export function payNonces(url: URL, header: string | null): readonly string[] {
  return valuesOf(header, named(url, PAY_COOKIE)).filter((value) => NONCE.test(value));
}

export function setPayNonce(url: URL, nonce: string): string {
  return attributes(url, named(url, PAY_COOKIE), nonce, PAY_MAX_AGE_SECONDS);
}

export function forgetPayNonce(url: URL): string {
  return attributes(url, named(url, PAY_COOKIE), "", 0);
}

export function setLimited(url: URL, token: string, maxAgeSeconds: number): string {
  return attributes(url, named(url, LIMITED_COOKIE), token, maxAgeSeconds);
}

export function forgetLimited(url: URL): string {
  return attributes(url, named(url, LIMITED_COOKIE), "", 0);
}

function attributes(url: URL, name: string, token: string, maxAgeSeconds = MAX_AGE_SECONDS): string {
  const secure = isLocalUrl(url.href) ? "" : " Secure;";
  return `${name}=${token}; Path=/;${secure} HttpOnly; SameSite=Lax; Max-Age=${maxAgeSeconds}`;
}
