/**
 * The owner's door: who may come in, by the owner's secret (Basic, Bearer, a session of the panel) or by Cloudflare Access. The secret
 * is one of its own: it opens nothing of a holder's and derives no key. It never leaves the Worker: the object that counts tries is
 * told only whether what was presented is right, and answers in the same turn whether that may count.
 */
import { attempt } from "../attempt.js";
import { type AccessSettings, accessSettings, adminSecret } from "../owner-settings.js";
import { digest, equalConstantTime, keyedCheck } from "../secrets.js";
import { ownerStub } from "../shards.js";
import { accessActor } from "./access.js";
import { networkOf } from "./address.js";
import type { Asked, Owner } from "./owners-request.js";
import { presentedSession } from "./session.js";

export interface Door {
  /** `undefined` where Access is the only way in. */
  readonly secret: string | undefined;
  readonly access: AccessSettings | undefined;
}

/** `undefined`: there is no owner's door at all. */
export function doorOf(env: unknown): Door | undefined {
  const door = { secret: adminSecret(env), access: accessSettings(env) };
  return door.secret === undefined && door.access === undefined ? undefined : door;
}

export type Knock =
  | { readonly outcome: "owner"; readonly owner: Owner }
  /** `nobody`: nothing was presented. `ended`: a session that is over. */
  | { readonly outcome: "nobody" | "refused" | "ended" | "unavailable" }
  | { readonly outcome: "locked"; readonly retry_after_ms: number };

/** What was presented by name decides; only without it is the browser's session looked at, and then Access. */
export async function knock(asked: Asked, door: Door): Promise<Knock> {
  const authorization = asked.request.headers.get("Authorization");
  if (authorization !== null && authorization.trim() !== "") return knockWith(asked, door, authorization);
  const session = await sessionOf(asked, door);
  if (typeof session === "object") return { outcome: "owner", owner: session };
  const access = door.access === undefined ? "none" : await accessActor(asked.request, door.access);
  if (typeof access === "object") {
    return { outcome: "owner", owner: { actor: access.actor, readOnly: false } };
  }
  if (access === "unavailable") return { outcome: "unavailable" };
  return { outcome: session === "ended" ? "ended" : "nobody" };
}

/** Tries a secret, whatever way it came in: counted before anything is told about it. */
export async function trySecret(
  asked: Asked,
  secret: string | undefined,
  presented: string | undefined,
): Promise<Knock> {
  // Nothing can be guessed where there is nothing to guess.
  if (secret === undefined) return { outcome: "refused" };
  // Digests, so that the comparison takes as long whatever was presented, however long it is.
  const right = presented !== undefined && equalConstantTime(digest(presented, 32), digest(secret, 32));
  const address = addressOf(asked);
  const retry_after_ms = (lockedUntil.get(address) ?? 0) - Date.now();
  if (retry_after_ms > 0) return { outcome: "locked", retry_after_ms };
  const outcome = await attempt(() => ownerStub(asked.env).tryDoor({ address, right }));
  if (outcome.outcome === "open") remember(address, secret);
  else accepted.delete(address);
  if (outcome.outcome === "locked") {
    if (lockedUntil.size >= KNOWN_MAX) lockedUntil.clear();
    lockedUntil.set(address, Date.now() + outcome.retry_after_ms);
    return outcome;
  }
  return outcome.outcome === "open" ? { outcome: "owner", owner: OWNER } : { outcome: "refused" };
}

const OWNER: Owner = { actor: "owner", readOnly: false };

async function knockWith(asked: Asked, door: Door, authorization: string): Promise<Knock> {
  const presented = presentedIn(authorization);
  const owner: Owner = { ...OWNER, readOnly: presented?.readOnly === true };
  if (door.secret !== undefined && presented !== undefined && wasAccepted(asked, door.secret, presented.secret)) {
    return { outcome: "owner", owner };
  }
  const tried = await trySecret(asked, door.secret, presented?.secret);
  return tried.outcome === "owner" ? { outcome: "owner", owner } : tried;
}

async function sessionOf(asked: Asked, { secret }: Door): Promise<Owner | "none" | "ended"> {
  if (secret === undefined) return "none";
  const presented = presentedSession(asked.keys.door, secret, asked.url, asked.request.headers.get("Cookie"));
  if (typeof presented === "string") return presented;
  const session = await attempt(() => ownerStub(asked.env).session(presented));
  return session === null ? "ended" : { ...OWNER, actor: session.actor };
}

interface Presented {
  readonly secret: string;
  readonly readOnly: boolean;
}

/** Bearer, or Basic with the user name `admin` or `admin-readonly` (RFC 7617; the password may hold colons). */
function presentedIn(authorization: string): Presented | undefined {
  const [, scheme = "", credentials = ""] = /^(\S+) +(\S+)$/.exec(authorization.trim()) ?? [];
  if (scheme.toLowerCase() === "bearer") return { secret: credentials, readOnly: false };
  if (scheme.toLowerCase() !== "basic") return undefined;
  try {
    const bytes = Uint8Array.from(atob(credentials), (char) => char.charCodeAt(0));
    const decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const [, user, secret = ""] = /^(admin|admin-readonly):([\s\S]*)$/.exec(decoded) ?? [];
    return user === undefined ? undefined : { secret, readOnly: user === "admin-readonly" };
  } catch {
    return undefined;
  }
}

/**
 * Addresses that this isolate let in with the secret, so that an owner's server costs no object call per request. Only for minutes,
 * and a wrong try from the address ends it: a locked address is let in at most where it was right shortly before.
 */
const accepted = new Map<string, { readonly secret: string; readonly until_ms: number }>();
const ACCEPTED_MS = 300_000;

/**
 * Addresses that this isolate was told are locked, and until when, which nothing changes: so whoever goes on guessing keeps no
 * object busy, and the owner has it to themselves.
 */
const lockedUntil = new Map<string, number>();
const KNOWN_MAX = 1_000;

function remember(address: string, secret: string): void {
  if (accepted.size >= KNOWN_MAX) accepted.clear();
  accepted.set(address, { secret: digest(secret, 32), until_ms: Date.now() + ACCEPTED_MS });
}

function wasAccepted(asked: Asked, secret: string, presented: string): boolean {
  const known = accepted.get(addressOf(asked));
  if (known === undefined || Date.now() >= known.until_ms || known.secret !== digest(secret, 32)) return false;
  return equalConstantTime(digest(presented, 32), known.secret);
}

/** Keyed, so that what is stored is no list of who came by. Cloudflare sets the header; nobody else can. */
function addressOf({ request, keys }: Asked): string {
  return keyedCheck(keys.door[0], `address\n${networkOf(request.headers.get("CF-Connecting-IP"))}`, 16);
}
