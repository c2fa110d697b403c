/**
 * Where identities are, as this isolate was told a moment ago. What is remembered opens nothing: the envelope looks at its own list,
 * and one that refuses has the directory asked again (visit.ts).
 */
import type { IdentityPlace, IdentityType } from "./contract.js";
import type { Keyring, Keys } from "./settings.js";

/** What `options.identify` may answer, and an owner's server names. */
export interface NamedIdentity {
  readonly type: IdentityType;
  readonly value: string;
}

const REMEMBERED_MS = 60_000;
const REMEMBERED_MAX = 10_000;

interface Remembered extends IdentityPlace {
  readonly until_ms: number;
}

/** By keyring, so that nothing is found under a secret that is not in use any more. */
const places = new WeakMap<Keyring, Map<string, Remembered>>();

const nameOf = ({ type, value }: NamedIdentity): string => `${type}\n${value}`;

/** `undefined` when the directory has to be asked. */
export function knownPlace({ identity: keys }: Keys, identity: NamedIdentity): IdentityPlace | undefined {
  const known = places.get(keys)?.get(nameOf(identity));
  return known === undefined || known.until_ms <= Date.now() ? undefined : known;
}

/** One that is nobody's is not remembered: it may be authorised the next moment. */
export function rememberPlace(
  { identity: keys }: Keys,
  identity: NamedIdentity,
  place: IdentityPlace | undefined,
): void {
  let known = places.get(keys);
  if (known === undefined) {
    known = new Map();
    places.set(keys, known);
  }
  known.delete(nameOf(identity));
  if (place === undefined) return;
  if (known.size >= REMEMBERED_MAX) known.clear();
  known.set(nameOf(identity), { ...place, until_ms: Date.now() + REMEMBERED_MS });
}
