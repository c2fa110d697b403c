/** Who is asking. Decided from the request and the keys alone: no object is asked, and nothing is stored. */
import { digest } from "../secrets.js";
import type { Keys } from "../settings.js";
import { cookieValues, limitedValues } from "./cookie.js";
import { type LimitedToken, newToken, readLimitedToken, readToken, type Token } from "./token.js";

/** What a browser is by its own cookie, or will be by the one it gets. */
export type Own = {
  readonly kind: "cookie" | "fresh";
  readonly envelopeId: string;
  readonly token: Token;
};

export type Caller =
  /** The app's own login vouches for the caller; there is no token of ours. */
  | { readonly kind: "app"; readonly envelopeId: string }
  | { readonly kind: "bearer" | "cookie"; readonly envelopeId: string; readonly token: Token }
  /** Nobody yet: an identity to hand out, should it be needed. */
  | { readonly kind: "fresh"; readonly envelopeId: string; readonly token: Token }
  /** Was let into an envelope by a payment, for a day, to spend; and is still who it was. */
  | { readonly kind: "limited"; readonly envelopeId: string; readonly limited: LimitedToken; readonly own: Own }
  /** Presented a bearer token that is not ours: never taken for somebody new. */
  | { readonly kind: "rejected" };

/**
 * The envelope of an app's own user. The name depends on no secret, so it is a plain hash: give an opaque user id, not an
 * e-mail address that could be guessed from it.
 */
export function envelopeIdOf(identity: string): string {
  return digest(`with-envelope/identity/v1:${identity}`, 16);
}

export function freshCaller(): Own & { readonly kind: "fresh" } {
  const token = newToken();
  return { kind: "fresh", envelopeId: token.envelopeId, token };
}

export interface Presented {
  /** What the app's own login says. */
  readonly identity: string | undefined;
  /** Limited sessions count. */
  readonly limited: boolean;
}

/** The app's word first, then the bearer token, then the cookies. A bad bearer does not fall back to a cookie. */
export function identifyCaller(request: Request, url: URL, keys: () => Keys, { identity, limited }: Presented): Caller {
  if (identity !== undefined) return { kind: "app", envelopeId: envelopeIdOf(identity) };

  const bearer = bearerToken(request.headers.get("Authorization"));
  if (bearer !== undefined) {
    const token = readToken(keys().token, bearer);
    return token === undefined ? { kind: "rejected" } : { kind: "bearer", envelopeId: token.envelopeId, token };
  }
  const cookies = request.headers.get("Cookie");
  const own = ownCaller(url, cookies, keys);
  return (limited ? limitedCaller(url, cookies, keys, own) : undefined) ?? own;
}

function ownCaller(url: URL, cookies: string | null, keys: () => Keys): Own {
  for (const value of cookieValues(url, cookies)) {
    const token = readToken(keys().token, value);
    if (token !== undefined) return { kind: "cookie", envelopeId: token.envelopeId, token };
  }
  return freshCaller();
}

/** Wins over the browser's own cookie, which is left alone; but not for the envelope that is its own anyway. */
function limitedCaller(url: URL, cookies: string | null, keys: () => Keys, own: Own): Caller | undefined {
  for (const value of limitedValues(url, cookies)) {
    const limited = readLimitedToken(keys().token, value);
    if (limited !== undefined && limited.envelopeId !== own.envelopeId) {
      return { kind: "limited", envelopeId: limited.envelopeId, limited, own };
    }
  }
  return undefined;
}

/** The credentials of the Bearer scheme (RFC 6750 §2.1; the scheme's name in any case); `undefined` for other schemes. */
function bearerToken(authorization: string | null): string | undefined {
  const match = /^bearer(?: +(.*))?$/i.exec(authorization?.trim() ?? "");
  return match === null ? undefined : (match[1] ?? "");
}
