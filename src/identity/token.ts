/**
 * A holder's token: `we_s1_<envelope id, 22><generation, 8><secret, 27><check, 11>`, base62, fixed length, the same in a cookie
 * and after `Bearer`. The envelope's id routes straight to its object; the check is keyed, so junk is told apart before any
 * object is named; the object itself keeps only a hash of the secret. The prefix lets secret scanners find a leaked one.
 * A limited session's token is `we_l1_…` and an API key `we_k1_…`, both with a key id in the generation's place: the check covers
 * the prefix, so none can stand in for another.
 */
import type { Credential, KeyCredential, LimitedCredential } from "../contract.js";
import { base62Number, digest, equalConstantTime, keyedCheck, numberFromBase62, randomBase62 } from "../secrets.js";
import type { Keyring } from "../settings.js";

const SHAPE = /^we_s1_([0-9A-Za-z]{22})([0-9A-Za-z]{8})([0-9A-Za-z]{27})([0-9A-Za-z]{11})$/;
const PREFIX = "we_s1_";
const LIMITED_SHAPE = /^we_l1_([0-9A-Za-z]{22})([0-9A-Za-z]{8})([0-9A-Za-z]{27})([0-9A-Za-z]{11})$/;
const LIMITED_PREFIX = "we_l1_";
const KEY_SHAPE = /^we_k1_([0-9A-Za-z]{22})([0-9A-Za-z]{8})([0-9A-Za-z]{27})([0-9A-Za-z]{11})$/;
const KEY_PREFIX = "we_k1_";
const ENVELOPE_ID_CHARS = 22;
const GENERATION_CHARS = 8;
const KEY_ID_CHARS = 8;
const SECRET_CHARS = 27;
const SECRET_BYTES = 20;
const CHECK_BYTES = 8;

export interface Token {
  readonly envelopeId: string;
  readonly generation: number;
  readonly secret: string;
}

/** A token nobody has yet, for an envelope nobody has yet. Made of randomness alone: nothing is stored. */
export function newToken(): Token {
  return {
    envelopeId: randomBase62(ENVELOPE_ID_CHARS),
    generation: 0,
    secret: randomBase62(SECRET_CHARS),
  };
}

export function writeToken(keys: Keyring, token: Token): string {
  const body = bodyOf(token);
  return body + keyedCheck(keys[0], body, CHECK_BYTES);
}

/** True for anything of a token's shape, genuine or not. */
export function looksLikeToken(text: string): boolean {
  return SHAPE.test(text);
}

/** `undefined` for anything that none of the keys signed. */
export function readToken(keys: Keyring, text: string): Token | undefined {
  const parts = genuineParts(keys, SHAPE, text);
  if (parts === undefined) return undefined;
  const [envelopeId, generation, secret] = parts;
  return { envelopeId, generation: numberFromBase62(generation), secret };
}

const credentials = new WeakMap<Token, Credential>();
const keyCredentials = new WeakMap<KeyToken, KeyCredential>();

/** The parts between prefix and check, if the check is right. */
function genuineParts(keys: Keyring, shape: RegExp, text: string): readonly [string, string, string] | undefined {
  const parts = shape.exec(text);
  if (parts === null) return undefined;
  const [, envelopeId = "", middle = "", secret = "", check = ""] = parts;
  const body = text.slice(0, -check.length);
  const genuine = keys.some((key) => equalConstantTime(keyedCheck(key, body, CHECK_BYTES), check));
  return genuine ? [envelopeId, middle, secret] : undefined;
}

/** What the envelope may know of a token. */
export function credentialOf(token: Token): Credential {
  let credential = credentials.get(token);
  if (credential === undefined) {
    credential = { generation: token.generation, hash: secretHash(token) };
    credentials.set(token, credential);
  }
  return credential;
}

/**
 * The tokens that may follow this one, the likeliest first. Derived from its secret and a key, so that rotating twice at
 * once, or again after a lost answer, leads to the same successor. It takes the key and the old token to derive it.
 */
export function successors(keys: Keyring, token: Token): readonly [Token, ...Token[]] {
  const generation = token.generation + 1;
  const seed = token.envelopeId + base62Number(generation, GENERATION_CHARS) + token.secret;
  const [first, ...rest] = keys.map((key) => ({
    envelopeId: token.envelopeId,
    generation,
    secret: keyedCheck(key, seed, SECRET_BYTES),
  }));
  return [first as Token, ...rest];
}

function bodyOf(token: Token): string {
  return PREFIX + token.envelopeId + base62Number(token.generation, GENERATION_CHARS) + token.secret;
}

/** A token that its envelope knows by a key id. Issued by its envelope, never learnt. */
interface NamedToken {
  readonly envelopeId: string;
  readonly keyId: string;
  readonly secret: string;
}

/** Opens an envelope for a day, to spend and to read the balance. */
export type LimitedToken = NamedToken;

/** Spends from an envelope beside its holder, as far as the envelope lets it. */
export type KeyToken = NamedToken;

export function newKeyToken(envelopeId: string): KeyToken {
  return { envelopeId, keyId: randomBase62(KEY_ID_CHARS), secret: randomBase62(SECRET_CHARS) };
}

export function writeLimitedToken(keys: Keyring, token: LimitedToken): string {
  return writeNamed(keys, LIMITED_PREFIX, token);
}

export function writeKeyToken(keys: Keyring, token: KeyToken): string {
  return writeNamed(keys, KEY_PREFIX, token);
}

function writeNamed(keys: Keyring, prefix: string, { envelopeId, keyId, secret }: NamedToken): string {
  const body = prefix + envelopeId + keyId + secret;
  return body + keyedCheck(keys[0], body, CHECK_BYTES);
}

/** `undefined` for anything that none of the keys signed. */
export function readLimitedToken(keys: Keyring, text: string): LimitedToken | undefined {
  return readNamed(keys, LIMITED_SHAPE, text);
}

export function readKeyToken(keys: Keyring, text: string): KeyToken | undefined {
  return readNamed(keys, KEY_SHAPE, text);
}

function readNamed(keys: Keyring, shape: RegExp, text: string): NamedToken | undefined {
  const parts = genuineParts(keys, shape, text);
  if (parts === undefined) return undefined;
  const [envelopeId, keyId, secret] = parts;
  return { envelopeId, keyId, secret };
}

export function limitedCredentialOf(token: LimitedToken): LimitedCredential {
  return { key_id: token.keyId, hash: secretHash(token) };
}

/** What the envelope may know of an API key. */
export function keyCredentialOf(token: KeyToken): KeyCredential {
  let credential = keyCredentials.get(token);
  if (credential === undefined) {
    credential = { api_key: token.keyId, hash: secretHash(token) };
    keyCredentials.set(token, credential);
  }
  return credential;
}

/** With the envelope's id, so that one secret in two envelopes has two hashes. */
function secretHash({ envelopeId, secret }: { readonly envelopeId: string; readonly secret: string }): string {
  return digest(envelopeId + secret, 32);
}
