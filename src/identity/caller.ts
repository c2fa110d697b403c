/** Who is asking. Decided from the request, the keys and what is remembered: no object is asked, and nothing is stored. */
import { knownPlace, type NamedIdentity } from "../places.js";
import { digest } from "../secrets.js";
import type { Keyring, Keys } from "../settings.js";
import { isLocalUrl } from "../wire.js";
import { limitedValues, nameOf, SLOTS, valuesOf } from "./cookie.js";
import { Memory } from "./memory.js";
import {
  type KeyToken,
  type LimitedToken,
  newToken,
  readKeyToken,
  readLimitedToken,
  readToken,
  type Token,
} from "./token.js";

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
  /** Presented an API key: may do what its envelope lets it. */
  | { readonly kind: "key"; readonly envelopeId: string; readonly key: KeyToken }
  /** The app vouches for something the owner authorised for an envelope. */
  | {
      readonly kind: "identity";
      readonly envelopeId: string;
      readonly identityId: string;
      readonly identity: NamedIdentity;
    }
  /** As before, and which envelope that is has to be asked first. */
  | { readonly kind: "unresolved"; readonly identity: NamedIdentity }
  /** No envelope is open to what the app vouches for: never somebody new. */
  | { readonly kind: "unknown"; readonly identity: NamedIdentity }
  /** Nobody yet: an identity to hand out, should it be needed. */
  | { readonly kind: "fresh"; readonly envelopeId: string; readonly token: Token }
  /** Was let into an envelope by a payment, for a day, to spend; and is still who it was. */
  | { readonly kind: "limited"; readonly envelopeId: string; readonly limited: LimitedToken; readonly own: Own }
  /** Presented a bearer token that is not ours: never taken for somebody new. */
  | { readonly kind: "rejected" };

/** A caller who has an envelope, or will have one by paying. */
export type Known = Extract<Caller, { readonly envelopeId: string }>;

export function isKnown(caller: Caller): caller is Known {
  return "envelopeId" in caller;
}

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
  /** What the app's own login says: an id that names an envelope, or something that an envelope was opened to. */
  readonly identity: string | NamedIdentity | undefined;
  /** Limited sessions count. */
  readonly limited: boolean;
  /** Cookies count. */
  readonly cookies: boolean;
}

/** The app's word first, then the bearer token, then the cookies. A bad bearer does not fall back to a cookie. */
export function identifyCaller(request: Request, url: string, keys: () => Keys, presented: Presented): Caller {
  const { identity, limited } = presented;
  if (typeof identity === "string") return { kind: "app", envelopeId: envelopeIdOf(identity) };
  if (identity !== undefined) return placedCaller(identity, keys());

  const { headers } = request;
  const authorization = headers.get("Authorization");
  const bearer = authorization === null ? undefined : bearerCaller(authorization, keys);
  if (bearer !== undefined) return bearer;
  const cookies = presented.cookies ? headers.get("Cookie") : null;
  if (cookies === null) return freshCaller();
  const local = isLocalUrl(url);
  const own = ownCaller(local, cookies, keys);
  return (limited ? limitedCaller(local, cookies, keys, own) : undefined) ?? own;
}

/** `undefined` for other schemes. */
function bearerCaller(authorization: string, keys: () => Keys): Caller | undefined {
  const bearer = bearerToken(authorization);
  if (bearer === undefined) return undefined;
  const { token: keyring } = keys();
  return bearers.recall(keyring, authorization, () => genuineBearer(bearer, keyring)) ?? { kind: "rejected" };
}

function genuineBearer(bearer: string, keyring: Keyring): Caller | undefined {
  const key = readKeyToken(keyring, bearer);
  if (key !== undefined) return { kind: "key", envelopeId: key.envelopeId, key };
  const token = readToken(keyring, bearer);
  return token && { kind: "bearer", envelopeId: token.envelopeId, token };
}

/** By the whole header. */
const bearers = new Memory<Caller>();
/** By the whole header, whose names are others over plain http. */
const cookieOwners = { local: new Memory<Own>(), secure: new Memory<Own>() };
/** By the token itself, because another cookie beside it may be another each time. */
const cookieTokens = new Memory<Own>();

function placedCaller(identity: NamedIdentity, keys: Keys): Caller {
  const place = knownPlace(keys, identity);
  if (place === undefined) return { kind: "unresolved", identity };
  return { kind: "identity", envelopeId: place.envelope_id, identityId: place.identity_id, identity };
}

function ownCaller(local: boolean, cookies: string, keys: () => Keys): Own {
  const name = nameOf(local);
  if (!cookies.includes(name)) return freshCaller();
  const { token: keyring } = keys();
  const memory = cookieOwners[local ? "local" : "secure"];
  return memory.recall(keyring, cookies, () => genuineOwner(name, cookies, keyring)) ?? freshCaller();
}

function genuineOwner(name: string, cookies: string, keyring: Keyring): Own | undefined {
  for (const slot of SLOTS) {
    for (const part of valuesOf(cookies, name + slot)) {
      // A text of its own: a part of the header would keep all of it in memory, however long.
      const value = ` ${part}`.slice(1);
      const own = cookieTokens.recall(keyring, value, () => ownOf(readToken(keyring, value)));
      if (own !== undefined) return own;
    }
  }
  return undefined;
}

function ownOf(token: Token | undefined): Own | undefined {
  return token && { kind: "cookie", envelopeId: token.envelopeId, token };
}

/** Wins over the browser's own cookie, which is left alone; but not for the envelope that is its own anyway. */
function limitedCaller(local: boolean, cookies: string, keys: () => Keys, own: Own): Caller | undefined {
  for (const value of limitedValues(local, cookies)) {
    const limited = readLimitedToken(keys().token, value);
    if (limited !== undefined && limited.envelopeId !== own.envelopeId) {
      return { kind: "limited", envelopeId: limited.envelopeId, limited, own };
    }
  }
  return undefined;
}

/** The credentials of the Bearer scheme (RFC 6750 §2.1; the scheme's name in any case); `undefined` for other schemes. */
export function bearerToken(authorization: string | null): string | undefined {
  const match = /^bearer(?: +(.*))?$/i.exec(authorization?.trim() ?? "");
  return match === null ? undefined : (match[1] ?? "");
}
