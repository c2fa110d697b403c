/** The holder's cookie. Host-only, never shared with sub-domains, never readable by a page's scripts. */
import { COOKIE, isLocalHost } from "../wire.js";

/** 400 days, the longest a browser keeps a cookie (RFC 6265bis §5.6.3). Sent anew on every visit to `/me`, so it lasts. */
const MAX_AGE_SECONDS = 34_560_000;
/** More than any browser sends. */
const HEADER_CHARS_MAX = 16_384;

const isLocal = (url: URL): boolean => url.protocol === "http:" && isLocalHost(url.hostname);

export function setCookie(url: URL, token: string): string {
  const [name, secure] = isLocal(url) ? [COOKIE.local, ""] : [COOKIE.secure, " Secure;"];
  return `${name}=${token}; Path=/;${secure} HttpOnly; SameSite=Lax; Max-Age=${MAX_AGE_SECONDS}`;
}

/** Every value sent under our name, in order: a page of a sibling may have planted one, so the caller takes the first genuine. */
export function cookieValues(url: URL, header: string | null): readonly string[] {
  if (header === null || header.length > HEADER_CHARS_MAX) return [];
  const prefix = `${isLocal(url) ? COOKIE.local : COOKIE.secure}=`;
  return header
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(prefix))
    .map((pair) => pair.slice(prefix.length).replace(/^"(.*)"$/, "$1"));
}
