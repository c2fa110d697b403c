import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { IdentityType } from "../../../src/contract.js";
import { identityName, isIdentityType, normalIdentity } from "../../../src/identities.js";
import { deriveKey } from "../../../src/secrets.js";
import type { Keyring } from "../../../src/settings.js";

const ring = (...secrets: readonly [string, ...string[]]): Keyring =>
  secrets.map((secret) => deriveKey(secret, "identity")) as unknown as Keyring;
const [OLD, NEW] = ["an-older-root-secret-0123456789-abcdefgh", "the-newer-root-secret-0123456789-abcdefg"];

describe("one identity has one form, however it is written", () => {
  const CASES: readonly (readonly [IdentityType, written: string, normal: string | undefined])[] = [
    ["EMAIL", "  Jane.Doe@Example.ORG ", "jane.doe@example.org"],
    ["EMAIL", "jane+tag@example.org", "jane+tag@example.org"],
    ["EMAIL", "jane", undefined],
    ["EMAIL", "jane@", undefined],
    ["EMAIL", "@example.org", undefined],
    ["EMAIL", "jane@a@example.org", undefined],
    ["EMAIL", "jane doe@example.org", undefined],
    ["PHONE", "+49 (30) 901-820 ", "+4930901820"],
    ["PHONE", "+1\u2011202\u2013555\u00a00100", "+12025550100"],
    ["PHONE", "030 901820", undefined],
    ["PHONE", "+0 30 901820", undefined],
    ["PHONE", "+12345", undefined],
    ["PHONE", "+1234567890123456", undefined],
    ["PHONE", "+49 30 90182O", undefined],
    ["WALLET", "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01", "0xabcdef0123456789abcdef0123456789abcdef01"],
    ["WALLET", "4Nd1mYzDqVxWvRk", "4Nd1mYzDqVxWvRk"],
    ["USERNAME", " Jane ", "Jane"],
    ["USERNAME", "Zoe\u0308", "Zo\u00eb"],
    ["API_KEY", "sk-abc.DEF", "sk-abc.DEF"],
    ["CUSTOM", "tenant:7/desk:3", "tenant:7/desk:3"],
    ["CUSTOM", "", undefined],
    ["CUSTOM", "   ", undefined],
    ["CUSTOM", "a\nb", undefined],
    ["CUSTOM", "a\0b", undefined],
    ["CUSTOM", "\ud800", undefined],
    ["CUSTOM", "x".repeat(512), "x".repeat(512)],
    ["CUSTOM", "x".repeat(513), undefined],
  ];
  it.each(CASES)("%s %j → %j", (type, written, normal) => {
    expect(normalIdentity(type, written)?.value).toBe(normal);
  });

  it("a normal form is its own normal form", () => {
    const types = fc.constantFrom<IdentityType>("USERNAME", "EMAIL", "PHONE", "API_KEY", "WALLET", "CUSTOM");
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.emailAddress(),
      fc.string({ unit: fc.constantFrom(..."+0123456789 -()") }),
    );
    fc.assert(
      fc.property(types, value, (type, text) => {
        const once = normalIdentity(type, text);
        if (once !== undefined) expect(normalIdentity(type, once.value)).toEqual(once);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([undefined, null, "", "email", "toString", "__proto__", 7, {}])("%j is no type", (type) => {
    expect(isIdentityType(type)).toBe(false);
    expect(normalIdentity(type, "x")).toBeUndefined();
  });

  it.each([undefined, null, 7, {}, ["a"]])("%j is no value", (value) => {
    expect(normalIdentity("CUSTOM", value)).toBeUndefined();
  });
});

describe("T60 what the directory knows an identity by", () => {
  const jane = { type: "EMAIL", value: "jane@example.org" } as const;

  it("is a hash under each secret, the newest first, that says nothing without a secret", () => {
    const { hashes } = identityName(ring(NEW, OLD), jane);
    expect(hashes).toEqual([...identityName(ring(NEW), jane).hashes, ...identityName(ring(OLD), jane).hashes]);
    expect(new Set(hashes).size).toBe(2);
    expect(JSON.stringify(hashes)).not.toContain("jane");
  });

  it("is on one shard under every secret, so that one object decides whose it is", () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const identity = { type: "CUSTOM", value } as const;
        expect(identityName(ring(NEW), identity).shard).toBe(identityName(ring(OLD), identity).shard);
      }),
    );
    const shards = Array.from(
      { length: 2_000 },
      (_, i) => identityName(ring(NEW), { type: "CUSTOM", value: `u${i}` }).shard,
    );
    expect(new Set(shards).size).toBe(16);
  });

  it("differs for the same value of another type", () => {
    const [one] = identityName(ring(NEW), { type: "USERNAME", value: "a" }).hashes;
    expect(identityName(ring(NEW), { type: "CUSTOM", value: "a" }).hashes).not.toContain(one);
  });
});
