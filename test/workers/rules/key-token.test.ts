import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type KeyToken,
  keyCredentialOf,
  limitedCredentialOf,
  newKeyToken,
  newToken,
  readKeyToken,
  readLimitedToken,
  readToken,
  writeKeyToken,
  writeLimitedToken,
  writeToken,
} from "../../../src/identity/token.js";
import { deriveKey } from "../../../src/secrets.js";
import type { Keyring } from "../../../src/settings.js";

const OLD = "an-older-root-secret-0123456789-abcdefgh";
const NEW = "the-newer-root-secret-0123456789-abcdefg";
const ring = (...secrets: readonly [string, ...string[]]): Keyring =>
  secrets.map((secret) => deriveKey(secret, "token")) as unknown as Keyring;
const KEYS = ring(NEW, OLD);
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base62 = (length: number) =>
  fc.string({ unit: fc.constantFrom(...BASE62), minLength: length, maxLength: length });
const token: fc.Arbitrary<KeyToken> = fc.record({ envelopeId: base62(22), keyId: base62(8), secret: base62(27) });
const good = writeKeyToken(KEYS, { envelopeId: "E".repeat(22), keyId: "k".repeat(8), secret: "s".repeat(27) });

describe("an API key's token", () => {
  it("is 74 characters of one pattern, for a scanner to find, and names its envelope", () => {
    const one = newKeyToken("E".repeat(22));
    expect(writeKeyToken(KEYS, one)).toMatch(/^we_k1_E{22}[0-9A-Za-z]{46}$/);
    const many = Array.from({ length: 2_000 }, () => newKeyToken("E".repeat(22)));
    expect(new Set(many.map(({ keyId }) => keyId)).size).toBe(many.length);
    expect(new Set(many.map(({ secret }) => secret)).size).toBe(many.length);
  });

  it("reading gives back what was written, each time", () => {
    fc.assert(
      fc.property(token, (one) => {
        const text = writeKeyToken(KEYS, one);
        expect(readKeyToken(KEYS, text)).toEqual(one);
        expect(readKeyToken(KEYS, text)).toEqual(one);
      }),
    );
  });

  it("T44 signed with an earlier secret still counts, and with one that is not listed it does not", () => {
    fc.assert(
      fc.property(token, (one) => {
        expect(readKeyToken(KEYS, writeKeyToken(ring(OLD), one))).toEqual(one);
        expect(readKeyToken(ring(NEW), writeKeyToken(ring(OLD), one))).toBeUndefined();
      }),
    );
  });
});

describe("T49 T57 what is no API key", () => {
  it("any one character changed, at every place, to every other of base62 and some beyond", () => {
    for (let at = 0; at < good.length; at++) {
      for (const char of `${BASE62}_-.= é\0`) {
        if (char === good[at]) continue;
        expect(readKeyToken(KEYS, good.slice(0, at) + char + good.slice(at + 1)), `${char} at ${at}`).toBeUndefined();
      }
    }
  });

  it("T63 one kind of token in the place of another, whatever parts they share", () => {
    fc.assert(
      fc.property(token, (one) => {
        const texts = [
          writeKeyToken(KEYS, one),
          writeLimitedToken(KEYS, one),
          writeToken(KEYS, { envelopeId: one.envelopeId, generation: 0, secret: one.secret }),
        ];
        const readers = [readKeyToken, readLimitedToken, readToken];
        texts.forEach((text, kind) => {
          const read = readers.map((reader) => reader(KEYS, text) !== undefined);
          expect(read).toEqual(readers.map((_, at) => at === kind));
          for (const prefix of ["we_k1_", "we_l1_", "we_s1_"]) {
            if (text.startsWith(prefix)) continue;
            for (const reader of readers) expect(reader(KEYS, prefix + text.slice(6))).toBeUndefined();
          }
        });
      }),
    );
  });

  it.each([
    ["nothing", ""],
    ["the prefix alone", "we_k1_"],
    ["a blank behind", `${good} `],
    ["a line end behind", `${good}\n`],
    ["a list", `${good},${good}`],
    ["upper case", good.toUpperCase()],
    ["another version", good.replace("we_k1_", "we_k2_")],
    ["a million characters", "A".repeat(1_000_000)],
  ])("%s", (_name, text) => {
    expect(readKeyToken(KEYS, text)).toBeUndefined();
  });

  it("T57 random texts of the right shape", () => {
    fc.assert(
      fc.property(base62(68), (text) => {
        expect(readKeyToken(KEYS, `we_k1_${text}`)).toBeUndefined();
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("T60 what the envelope may know of an API key", () => {
  it("is its id and a hash, and no piece of its secret", () => {
    fc.assert(
      fc.property(token, (one) => {
        const { api_key, hash, ...rest } = keyCredentialOf(one);
        expect([api_key, rest]).toEqual([one.keyId, {}]);
        for (let at = 0; at + 7 <= one.secret.length; at++) expect(hash).not.toContain(one.secret.slice(at, at + 7));
      }),
    );
  });

  it("differs for the same secret in another envelope, and is never taken for a limited session's", () => {
    const one = newKeyToken(newToken().envelopeId);
    expect(keyCredentialOf({ ...one, envelopeId: newToken().envelopeId }).hash).not.toBe(keyCredentialOf(one).hash);
    expect(Object.keys(keyCredentialOf(one))).not.toEqual(Object.keys(limitedCredentialOf(one)));
  });
});
