import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { credentialOf, newToken, readToken, successors, type Token, writeToken } from "../../../src/identity/token.js";
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
const token: fc.Arbitrary<Token> = fc.record({
  envelopeId: base62(22),
  generation: fc.oneof(fc.nat(100), fc.integer({ min: 0, max: 62 ** 8 - 1 })),
  secret: base62(27),
});

describe("keys", () => {
  it("are derived as RFC 5869 says: the same as another implementation of it, for any secret and purpose", () => {
    const bytes = (text: string) => new TextEncoder().encode(text);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), fc.string({ maxLength: 40 }), (secret, purpose) => {
        const other = hkdf(sha256, bytes(secret), undefined, bytes(`with-envelope/${purpose}/v1`), 32);
        expect(deriveKey(secret, purpose)).toEqual(other);
      }),
    );
  });
});

describe("shape", () => {
  it("a token is 74 characters of one pattern, for a scanner to find and a header to carry", () => {
    for (let i = 0; i < 200; i++) expect(writeToken(KEYS, newToken())).toMatch(/^we_s1_[0-9A-Za-z]{68}$/);
  });

  it("no two new tokens share an envelope or a secret", () => {
    const tokens = Array.from({ length: 2_000 }, newToken);
    expect(new Set(tokens.map(({ envelopeId }) => envelopeId)).size).toBe(tokens.length);
    expect(new Set(tokens.map(({ secret }) => secret)).size).toBe(tokens.length);
  });

  it("every character of base62 is as likely as the next", () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 2_000; i++) {
      const { secret } = newToken();
      for (const char of secret) counts.set(char, (counts.get(char) ?? 0) + 1);
    }
    // 54,000 characters over 62: 871 each, with a standard deviation of 29. Six of them is one chance in millions.
    expect(counts.size).toBe(62);
    for (const count of counts.values()) expect(Math.abs(count - 871)).toBeLessThan(6 * 29.3);
  });

  it("reading gives back what was written", () => {
    fc.assert(
      fc.property(token, (one) => {
        expect(readToken(KEYS, writeToken(KEYS, one))).toEqual(one);
      }),
    );
  });
});

describe("T49 T57 what is refused", () => {
  const good = writeToken(KEYS, { envelopeId: "E".repeat(22), generation: 3, secret: "s".repeat(27) });

  it("any one character changed, at every place, to every other character of base62 and some beyond", () => {
    for (let at = 0; at < good.length; at++) {
      for (const char of `${BASE62}_-.= é\0`) {
        if (char === good[at]) continue;
        expect(readToken(KEYS, good.slice(0, at) + char + good.slice(at + 1)), `${char} at ${at}`).toBeUndefined();
      }
    }
  });

  it("any two characters exchanged, any removed, any doubled", () => {
    const random = writeToken(KEYS, newToken());
    for (let at = 0; at < random.length; at++) {
      const exchanged = random.slice(0, at) + random.charAt(at + 1) + random.charAt(at) + random.slice(at + 2);
      if (exchanged !== random) expect(readToken(KEYS, exchanged)).toBeUndefined();
      expect(readToken(KEYS, random.slice(0, at) + random.slice(at + 1))).toBeUndefined();
      expect(readToken(KEYS, random.slice(0, at) + random.charAt(at) + random.slice(at))).toBeUndefined();
    }
  });

  it("the check of one token on the body of another", () => {
    fc.assert(
      fc.property(token, token, (left, right) => {
        const [one, other] = [writeToken(KEYS, left), writeToken(KEYS, right)];
        fc.pre(one !== other);
        expect(readToken(KEYS, one.slice(0, -11) + other.slice(-11))).toBeUndefined();
      }),
    );
  });

  it.each([
    ["nothing", ""],
    ["the prefix alone", "we_s1_"],
    ["a blank behind", `${good} `],
    ["a blank before", ` ${good}`],
    ["a line end behind", `${good}\n`],
    ["quotes", `"${good}"`],
    ["a list", `${good},${good}`],
    ["upper case", good.toUpperCase()],
    ["another version", good.replace("we_s1_", "we_s2_")],
    ["no prefix", good.slice(6)],
    ["a UUID, as the predecessor took", "a3bb189e-8bf9-3888-9912-ace4e6543002"],
    ["a million characters", "A".repeat(1_000_000)],
  ])("%s", (_name, text) => {
    expect(readToken(KEYS, text)).toBeUndefined();
  });

  it("random texts, and random texts of the right shape", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(readToken(KEYS, text)).toBeUndefined();
      }),
      { numRuns: 1_000 },
    );
    fc.assert(
      fc.property(base62(68), (text) => {
        expect(readToken(KEYS, `we_s1_${text}`)).toBeUndefined();
      }),
      { numRuns: 1_000 },
    );
  });

  it("a token of another secret, or of another purpose of the same secret", () => {
    const one = newToken();
    expect(readToken(KEYS, writeToken(ring("a-secret-nobody-configured-0123456789abc"), one))).toBeUndefined();
    expect(readToken(KEYS, writeToken([deriveKey(NEW, "reference")], one))).toBeUndefined();
  });
});

describe("T44 a previous secret", () => {
  it("still opens the tokens it signed, and nothing does that was forgotten", () => {
    fc.assert(
      fc.property(token, (one) => {
        expect(readToken(KEYS, writeToken(ring(OLD), one))).toEqual(one);
        expect(readToken(ring(NEW), writeToken(ring(OLD), one))).toBeUndefined();
      }),
    );
  });

  it("what the envelope knows of a token does not depend on the secret that signed it", () => {
    const one = newToken();
    const reread = readToken(KEYS, writeToken(ring(OLD), one)) as Token;
    expect(credentialOf(reread)).toEqual(credentialOf(one));
  });
});

describe("T60 what the envelope may know of a token", () => {
  it("is a hash, and no piece of its secret", () => {
    fc.assert(
      fc.property(token, (one) => {
        const { generation, hash, ...rest } = credentialOf(one);
        expect([generation, rest]).toEqual([one.generation, {}]);
        for (let at = 0; at + 7 <= one.secret.length; at++) expect(hash).not.toContain(one.secret.slice(at, at + 7));
      }),
    );
  });

  it("differs for the same secret in another envelope", () => {
    const one = newToken();
    expect(credentialOf({ ...one, envelopeId: newToken().envelopeId }).hash).not.toBe(credentialOf(one).hash);
  });
});

describe("T62 rotation", () => {
  it("leads to the same successors however often it is asked, one for each secret, of the same envelope", () => {
    fc.assert(
      fc.property(token, (one) => {
        fc.pre(one.generation < 62 ** 8 - 1);
        const next = successors(KEYS, one);
        expect(successors(KEYS, { ...one })).toEqual(next);
        expect(next).toHaveLength(2);
        expect(next[1]).toEqual(successors(ring(OLD), one)[0]);
        for (const { envelopeId, generation } of next)
          expect([envelopeId, generation]).toEqual([one.envelopeId, one.generation + 1]);
        for (const successor of next) expect(readToken(KEYS, writeToken(KEYS, successor))).toEqual(successor);
      }),
    );
  });

  it("leads elsewhere from every other secret, generation, envelope and key", () => {
    const one: Token = { envelopeId: "E".repeat(22), generation: 3, secret: "s".repeat(27) };
    const from = (token: Token, keys = KEYS) => successors(keys, token)[0].secret;
    const others = [
      from({ ...one, secret: `t${one.secret.slice(1)}` }),
      from({ ...one, generation: 4 }),
      from({ ...one, envelopeId: `F${one.envelopeId.slice(1)}` }),
      from(one, ring(OLD)),
      one.secret,
    ];
    expect(new Set([from(one), ...others]).size).toBe(6);
  });
});
