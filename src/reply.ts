/** How a response leaves: the handler's own, with our headers on it. The body is passed on as it is, never read. */
import { EXPOSED_HEADERS, HEADER, NO_STORE } from "./wire.js";

/** A copy of the response with other headers. Keeps status, statusText, `webSocket`, `cf`, and each `Set-Cookie`. */
export function withHeaders(response: Response, change: (headers: Headers) => void): Response {
  // A copy, although setting headers in place is cheaper: an app may answer many callers with one Response object.
  const copy = new Response(response.body, response);
  change(copy.headers);
  return copy;
}

/**
 * The same response with other headers, or a copy where it must be one: an app may answer many callers with one Response
 * object, as long as that has no body; and what `fetch` answered cannot be changed.
 */
export function withOwnHeaders(response: Response, change: (headers: Headers) => void): Response {
  if (response.body === null || response.webSocket != null || response.url !== "") return withHeaders(response, change);
  try {
    change(response.headers);
    return response;
  } catch {
    return withHeaders(response, change);
  }
}

/** Marks a response as one caller's own. */
export function keepPrivate(headers: Headers): void {
  headers.set("Cache-Control", NO_STORE);
  // They outrank Cache-Control at shared caches (RFC 9213).
  for (const name of ["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control"]) headers.delete(name);
  if (!headers.get("Vary")?.includes("Cookie, Authorization")) headers.append("Vary", "Cookie, Authorization");
}

/** Lets a cross-origin page that the app already admits read our headers too. */
export function exposeHeaders(headers: Headers): void {
  if (headers.has("Access-Control-Allow-Origin")) headers.append("Access-Control-Expose-Headers", EXPOSED_HEADERS);
}

/**
 * What takes the place of a priced response: keeps the app's CORS answer, or a cross-origin page could not read why it was
 * refused, and ends the body nobody will read.
 */
export function inPlaceOf(response: Response, answer: Response): Response {
  response.body?.cancel().catch(() => undefined);
  response.webSocket?.accept();
  response.webSocket?.close(1008, "Payment required");
  for (const [name, value] of response.headers) {
    if (name.startsWith("access-control-allow-") || name === "vary") answer.headers.append(name, value);
  }
  return answer;
}

/** Asked of every response: whether it names a price, or one per unit of what flows. */
export function namesPrice(headers: Headers): "price" | "rate" | undefined {
  if (headers.has(HEADER.perSecond) || headers.has(HEADER.perKilobyte) || headers.has(HEADER.perMessage)) return "rate";
  return headers.has(HEADER.price) ? "price" : undefined;
}

/** All that a price is said by. */
export const PRICE_HEADERS = [
  HEADER.price,
  HEADER.perSecond,
  HEADER.perKilobyte,
  HEADER.perMessage,
  HEADER.maxPrice,
  HEADER.updates,
] as const;

export function withoutPrice(response: Response): Response {
  if (namesPrice(response.headers) === undefined) return response;
  return withHeaders(response, (headers) => {
    for (const name of PRICE_HEADERS) headers.delete(name);
  });
}
