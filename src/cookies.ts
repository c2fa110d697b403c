/** The cookies that a request ends with. Loaded where one is due. */
import { isSameOrigin } from "./csrf.js";
import { forgetLimited, keepAside, setCookie } from "./identity/cookie-jar.js";
import { writeToken } from "./identity/token.js";
import type { Visit } from "./visit.js";

/**
 * For an identity that was made and shown in this request. A token of ours that could not be verified is kept aside: it may be a
 * deployment with the wrong secret that made it so, and it may be the only key to somebody's money.
 */
export function cookiesOf<Env>(visit: Visit<Env>): readonly string[] {
  const { cookiesDue, request, url, options } = visit;
  if (cookiesDue === undefined) return [];
  const left = cookiesDue.left ? [forgetLimited(url)] : [];
  if (cookiesDue.fresh === undefined) return left;
  // The browser has a cookie of ours, perhaps; it was not looked at.
  if (visit.isForeignUpgrade) return left;
  // Another site's page can post here without the cookie that the browser holds (SameSite=Lax), and would have it overwritten.
  const { method, headers } = request;
  const ours = isSameOrigin(request, url) || options.corsOrigins.has(headers.get("Origin") ?? "");
  if (method !== "GET" && method !== "HEAD" && !ours) return left;
  const aside = keepAside(url, headers.get("Cookie"));
  const set = setCookie(url, writeToken(visit.keys.token, cookiesDue.fresh));
  return aside === undefined ? [set, ...left] : [set, aside, ...left];
}
