/** Requests that a page of another site could send with the holder's cookie. */

/**
 * True when a state-changing request may be acted on: it comes from our own pages, or from no browser at all. Fetch
 * Metadata first (`Sec-Fetch-Site`), the Origin header where a browser does not send it.
 */
export function isSameOrigin(request: Request, url: URL): boolean {
  const site = request.headers.get("Sec-Fetch-Site");
  if (site !== null) return site === "same-origin" || site === "none";
  const origin = request.headers.get("Origin");
  return origin === null || origin === url.origin;
}
