/** The holder's cookies, as they come. Where they are set is cookie-jar.ts. */
import { COOKIE, LIMITED_COOKIE } from "../wire.js";

/**
 * Where a token of ours may be, in the order in which it counts. The main one may have been planted, so the caller takes the first
 * genuine one. Those kept aside come last; two, because a deployment may be wrong twice in a row.
 */
export const SLOTS = ["", "_aside", "_aside2"] as const;

export function limitedValues(local: boolean, header: string | null): readonly string[] {
  return valuesOf(header, nameOf(local, LIMITED_COOKIE));
}

export function nameOf(local: boolean, cookie: { readonly secure: string; readonly local: string } = COOKIE): string {
  return local ? cookie.local : cookie.secure;
}

/** Every value sent under a name, in order. However long the header is, because who overlooks a genuine cookie will overwrite it. */
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
