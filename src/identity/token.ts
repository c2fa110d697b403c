/**
 * A holder's token: `we_s1_<envelope id, 22><generation, 8><secret, 27><check, 11>`, base62, fixed length, the same in a cookie
 * and after `Bearer`. The envelope's id routes straight to its object; the check is keyed, so junk is told apart before any
 * object is named; the object itself keeps only a hash of the secret. The prefix lets secret scanners find a leaked one.
 * A limited session's token is `we_l1_…` with a key id in the generation's place: the check covers the prefix, so neither can
 * stand in for the other.
 */
import type { Credential, LimitedCredential } from "../contract.js";
import { base62Number, digest, equalConstantTime, keyedCheck, numberFromBase62, randomBase62 } from "../secrets.js";
import type { Keyring } from "../settings.js";

const SHAPE = /^we_s1_([0-9A-Za-z]{22})([0-9A-Za-z]{8})([0-9A-Za-z]{27})([0-9A-Za-z]{11})$/;
const PREFIX = "we_s1_";
const LIMITED_SHAPE = /^we_l1_([0-9A-Za-z]{22})([0-9A-Za-z]{8})([0-9A-Za-z]{27})([0-9A-Za-z]{11})$/;
const LIMITED_PREFIX = "we_l1_";
const ENVELOPE_ID_CHARS = 22;
const GENERATION_CHARS = 8;
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

/**
 * `undefined` for anything that none of the keys signed. Remembers the genuine ones: whether a token still counts is its
 * envelope's to say, each time, so remembering keeps none alive.
 */
export function readToken(keys: Keyring, text: string): Token | undefined {
  const genuine = remembered(keys);
  const known = genuine.get(text);
  if (known !== undefined) return known;
  const parts = genuineParts(keys, SHAPE, text);
  if (parts === undefined) return undefined;
  const [envelopeId, generation, secret] = parts;
  const token = { envelopeId, generation: numberFromBase62(generation), secret };
  const [oldest] = genuine.size < TOKENS_REMEMBERED ? [] : genuine.keys();
  if (oldest !== undefined) genuine.delete(oldest);
  genuine.set(text, token);
  return token;
}

/** Per isolate; a token takes about 500 bytes. */
const TOKENS_REMEMBERED = 4_096;

const tokens = new WeakMap<Keyring, Map<string, Token>>();
const credentials = new WeakMap<Token, Credential>();

/** By keyring, so that a secret that was taken out of service takes its tokens with it. */
function remembered(keys: Keyring): Map<string, Token> {
  let known = tokens.get(keys);
  if (known === undefined) {
    known = new Map();
    tokens.set(keys, known);
  }
  return known;
}

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
    credential = { generation: token.generation, hash: digest(token.envelopeId + token.secret, 32) };
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

/** Opens an envelope for a day, to spend and to read the balance. Issued by its envelope, never learnt. */
export interface LimitedToken {
  readonly envelopeId: string;
  readonly keyId: string;
  readonly secret: string;
}

export function writeLimitedToken(keys: Keyring, { envelopeId, keyId, secret }: LimitedToken): string {
  const body = LIMITED_PREFIX + envelopeId + keyId + secret;
  return body + keyedCheck(keys[0], body, CHECK_BYTES);
}

/** `undefined` for anything that none of the keys signed. */
export function readLimitedToken(keys: Keyring, text: string): LimitedToken | undefined {
  const parts = genuineParts(keys, LIMITED_SHAPE, text);
  if (parts === undefined) return undefined;
  const [envelopeId, keyId, secret] = parts;
  return { envelopeId, keyId, secret };
}

export function limitedCredentialOf({ envelopeId, keyId, secret }: LimitedToken): LimitedCredential {
  return { key_id: keyId, hash: digest(envelopeId + secret, 32) };
}
