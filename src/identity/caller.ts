/** Who is asking. Decided from the request and the keys alone: no object is asked, and nothing is stored. */
import { digest } from "../secrets.js";
import type { Keys } from "../settings.js";
import { cookieValues } from "./cookie.js";
import { newToken, readToken, type Token } from "./token.js";

export type Caller =
  /** The app's own login vouches for the caller; there is no token of ours. */
  | { readonly kind: "app"; readonly envelopeId: string }
  | { readonly kind: "bearer" | "cookie"; readonly envelopeId: string; readonly token: Token }
  /** Nobody yet: an identity to hand out, should it be needed. */
  | { readonly kind: "fresh"; readonly envelopeId: string; readonly token: Token }
  /** Presented a bearer token that is not ours: never taken for somebody new. */
  | { readonly kind: "rejected" };

/**
 * The envelope of an app's own user. The name depends on no secret, so it is a plain hash: give an opaque user id, not an
 * e-mail address that could be guessed from it.
 */
export function envelopeIdOf(identity: string): string {
  return digest(`with-envelope/identity/v1:${identity}`, 16);
}

export function freshCaller(): Caller & { readonly kind: "fresh" } {
  const token = newToken();
  return { kind: "fresh", envelopeId: token.envelopeId, token };
}

/** The app's word first, then the bearer token, then the cookie. A bad bearer does not fall back to the cookie. */
export function identifyCaller(request: Request, url: URL, keys: () => Keys, identity: string | undefined): Caller {
  if (identity !== undefined) return { kind: "app", envelopeId: envelopeIdOf(identity) };

  const bearer = bearerToken(request.headers.get("Authorization"));
  if (bearer !== undefined) {
    const token = readToken(keys().token, bearer);
    return token === undefined ? { kind: "rejected" } : { kind: "bearer", envelopeId: token.envelopeId, token };
  }
  for (const value of cookieValues(url, request.headers.get("Cookie"))) {
    const token = readToken(keys().token, value);
    if (token !== undefined) return { kind: "cookie", envelopeId: token.envelopeId, token };
  }
  return freshCaller();
}

/** The credentials of the Bearer scheme (RFC 6750 §2.1; the scheme's name in any case); `undefined` for other schemes. */
function bearerToken(authorization: string | null): string | undefined {
  const match = /^bearer(?: +(.*))?$/i.exec(authorization?.trim() ?? "");
  return match === null ? undefined : (match[1] ?? "");
}
