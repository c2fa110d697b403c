/**
 * Identities that an owner authorises for an envelope: something the app knows a caller by (an e-mail address, a user name, a key
 * of its own). The directory knows each by keyed hashes only, and whose it is; the envelope keeps the list that decides. Nothing
 * here is stored or logged in plain text.
 */
import { attempt } from "./attempt.js";
import type {
  Author,
  AuthorizeOutcome,
  ClaimIdentityInput,
  IdentityPlace,
  IdentityType,
  RevokeSpenderInput,
  RevokeSpenderOutcome,
  SpenderSettings,
} from "./contract.js";
import { type NamedIdentity, rememberPlace } from "./places.js";
import { digest, keyedCheck, randomBase62 } from "./secrets.js";
import type { Keyring, Keys } from "./settings.js";
import { directoryShard, directoryShardOf } from "./shards.js";
import { envelopeStub } from "./stubs.js";

const VALUE_CHARS_MAX = 512;
const EMAIL = /^[^\s@]{1,64}@[^\s@]{1,255}$/;
/** E.164: a country code and at most fifteen digits in all. */
const PHONE = /^\+[1-9][0-9]{6,14}$/;
const PHONE_PUNCTUATION = /[\s().\-\u2010-\u2015]/g;
const HEX_ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const CONTROL = /\p{Cc}|\p{Surrogate}/u;

const asGiven = (value: string): string => value;

/** How a value is brought to the one form that is hashed; `undefined` for what is none of its type. */
const NORMAL: Readonly<Record<IdentityType, (value: string) => string | undefined>> = {
  USERNAME: asGiven,
  EMAIL: (value) => (EMAIL.test(value) ? value.toLowerCase() : undefined),
  PHONE: (value) => {
    const digits = value.replace(PHONE_PUNCTUATION, "");
    return PHONE.test(digits) ? digits : undefined;
  },
  API_KEY: asGiven,
  // The case of a hexadecimal address is a checksum (EIP-55) and not part of it; that of others is.
  WALLET: (value) => (HEX_ADDRESS.test(value) ? value.toLowerCase() : value),
  CUSTOM: asGiven,
};

export function isIdentityType(type: unknown): type is IdentityType {
  return typeof type === "string" && Object.hasOwn(NORMAL, type);
}

/**
 * The form that is hashed, so that one identity is one however it is written: trimmed and NFC, at most 512 characters, without
 * control characters. E-mail addresses in lower case; phone numbers as `+` and digits; hexadecimal wallet addresses in lower case.
 * `undefined` for what is none.
 */
export function normalIdentity(type: unknown, value: unknown): NamedIdentity | undefined {
  if (!isIdentityType(type) || typeof value !== "string") return undefined;
  const text = value.trim().normalize("NFC");
  if (text === "" || text.length > VALUE_CHARS_MAX || CONTROL.test(text)) return undefined;
  const normal = NORMAL[type](text);
  return normal === undefined ? undefined : { type, value: normal };
}

const HASH_BYTES = 16;
const ID_CHARS = 16;

/** Where the directory keeps an identity, and what it knows it by: a hash under each secret, the newest first. */
interface IdentityName {
  /** Of a plain hash, so that it is the same under every secret: one object decides. Four bits of it tell nothing. */
  readonly shard: number;
  readonly hashes: readonly string[];
}

export function identityName(keys: Keyring, { type, value }: NamedIdentity): IdentityName {
  const text = `${type}\n${value}`;
  return {
    shard: directoryShardOf(`identity\n${digest(text)}`),
    hashes: keys.map((key) => keyedCheck(key, text, HASH_BYTES)),
  };
}

/** Whose the identity is, as the directory says now; `undefined` when nobody's. Remembered for a while, unless it is nobody's. */
export async function findPlace(env: unknown, keys: Keys, identity: NamedIdentity): Promise<IdentityPlace | undefined> {
  const { shard, hashes } = identityName(keys.identity, identity);
  const place = (await attempt(() => directoryShard(env, shard).identity({ hashes }))) ?? undefined;
  rememberPlace(keys, identity, place);
  return place;
}

export interface Authorization extends SpenderSettings {
  readonly envelope_id: string;
  readonly identity: NamedIdentity;
  readonly by: Author;
  /** Makes it happen once. */
  readonly key: string;
}

/** Claims that meet what has ended are tried again once that is released; so many times, because others may claim it meanwhile. */
const TRIES_MAX = 3;

/**
 * Lets an identity spend from an envelope. The order of the writes makes every interruption repairable by doing it again:
 *
 * 1. The envelope _notes_ it. It counts for nothing yet.
 * 2. The directory lets the first one _claim_ it; asking again is answered the same.
 * 3. The envelope _activates_ it.
 *
 * `taken`: it is another envelope's.
 */
export async function authorizeIdentity(
  env: unknown,
  keys: Keys,
  { envelope_id, identity, by, key, ...settings }: Authorization,
): Promise<AuthorizeOutcome> {
  const { shard, hashes } = identityName(keys.identity, identity);
  const envelope = () => envelopeStub(env, envelope_id);
  let known_as: string | undefined;
  for (let tried = 1; ; tried++) {
    const fresh = { ...settings, kind: identity.type, shard, hashes, identity_id: randomBase62(ID_CHARS), known_as };
    const noted = await attempt(() => envelope().noteIdentity({ ...fresh, by, key }));
    if (noted.outcome !== "noted") return noted;
    const { identity_id } = noted;
    const owner = await claim(env, shard, { hashes, envelope_id, identity_id });
    if (owner === undefined) {
      const outcome = await attempt(() => envelope().activateIdentity({ ...settings, identity_id, by, key }));
      // Revoked while it was being authorised, or its key used for another one: then nobody has it.
      if (outcome.outcome === "ended" || outcome.outcome === "key_used") await release(env, shard, identity_id);
      return outcome;
    }
    await attempt(() => envelope().dropIdentity({ identity_id }));
    if (owner.envelope_id !== envelope_id || tried >= TRIES_MAX) {
      return { outcome: "taken", envelope_id: owner.envelope_id };
    }
    // The envelope's own already, under a secret that is not listed any more.
    known_as = owner.identity_id;
  }
}

/** Who has it instead; `undefined` when it was claimed. */
async function claim(env: unknown, shard: number, input: ClaimIdentityInput): Promise<IdentityPlace | undefined> {
  for (let tried = 1; ; tried++) {
    const owner = await attempt(() => directoryShard(env, shard).claimIdentity(input));
    const { envelope_id, identity_id } = owner;
    if (identity_id === input.identity_id) return undefined;
    if (tried >= TRIES_MAX) return owner;
    // Revoked there or expired, and the directory was never told: what has ended never begins again.
    const { ended } = await attempt(() => envelopeStub(env, envelope_id).endIdentity({ identity_id }));
    if (!ended) return owner;
    await release(env, shard, identity_id);
  }
}

async function release(env: unknown, shard: number, identity_id: string): Promise<void> {
  await attempt(() => directoryShard(env, shard).releaseIdentity({ identity_id }));
}

/**
 * Ends a key or an identity: the envelope first, which refuses it from that moment on, then the directory, so that another envelope
 * can claim the identity. Done again, it finishes what was interrupted.
 */
export async function revokeSpender(
  env: unknown,
  envelope_id: string,
  input: RevokeSpenderInput,
): Promise<RevokeSpenderOutcome> {
  const outcome = await attempt(() => envelopeStub(env, envelope_id).revokeSpender(input));
  if (outcome.outcome === "revoked" && outcome.shard !== null) await release(env, outcome.shard, outcome.spender.id);
  return outcome;
}
