/** The holder's cookies, as they come. Where they are set is cookie-jar.ts. */
import { COOKIE, isLocalHost, LIMITED_COOKIE } from "../wire.js";

export const isLocal = (url: URL): boolean => url.protocol === "http:" && isLocalHost(url.hostname);

/**
 * Every value sent under our names, in order: one may have been planted, so the caller takes the first genuine one. The one
 * kept aside comes last. However long the header is, because who overlooks a genuine cookie will overwrite it.
 */
export function* cookieValues(url: URL, header: string | null): Generator<string, void> {
  if (header === null) return;
  const name = nameOf(url);
  yield* valuesOf(header, name);
  for (const slot of ASIDE) yield* valuesOf(header, name + slot);
}

export function limitedValues(url: URL, header: string | null): readonly string[] {
  return valuesOf(header, nameOf(url, LIMITED_COOKIE));
}

/** Two, because a deployment may be wrong twice in a row. */
export const ASIDE = ["_aside", "_aside2"] as const;

export function nameOf(url: URL, cookie: { readonly secure: string; readonly local: string } = COOKIE): string {
  return isLocal(url) ? cookie.local : cookie.secure;
}

export function valuesOf(header: string | null, name: string): readonly string[] {
  const values: string[] = [];
  for (const pair of (header ?? "").split(";")) {
    const own = pair.trim();
    if (own.startsWith(name) && own.charAt(name.length) === "=") {
      values.push(own.slice(name.length + 1).replace(/^"(.*)"$/, "$1"));
    }
  }
  return values;
}
