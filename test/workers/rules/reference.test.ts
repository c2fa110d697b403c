import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { credentialOf, newToken, writeToken } from "../../../src/identity/token.js";
import { looksLikeReference, readReference, writeReference } from "../../../src/reference.js";
import { keysOf } from "../../../src/settings.js";

const OLD = "an-older-root-secret-0123456789-abcdefgh";
const NEW = "the-newer-root-secret-0123456789-abcdefg";
const before = keysOf({ ENVELOPE_SECRET: OLD });
const after = keysOf({ ENVELOPE_SECRET: NEW, ENVELOPE_SECRET_PREVIOUS: OLD });
const elsewhere = keysOf({ ENVELOPE_SECRET: "a-secret-of-another-deployment-012345678" });

const ID = "0123456789ABCDEFGHIJkl";

/** A request as it comes from somewhere in the world. */
function from(continent?: string, longitude?: string): Request {
  const request = new Request("https://worker.test/");
  Object.defineProperty(request, "cf", { value: { continent, longitude } });
  return request;
}

describe("T36 shape", () => {
  it("a reference fits Stripe's field: at most 200 of letters, digits, - and _", () => {
    const reference = writeReference(after.reference, ID, from());
    expect(reference).toMatch(/^[A-Za-z0-9_-]{1,200}$/);
    expect(reference).toMatch(new RegExp(`^e1_${ID}_0_[0-9A-Za-z]{22}$`));
    expect(looksLikeReference(reference)).toBe(true);
  });

  it.each([
    ["EU", "2.35", "weur"],
    ["EU", "30.5", "eeur"],
    ["NA", "-122.4", "wnam"],
    ["NA", "-74", "enam"],
    ["SA", "-58", "sam"],
    ["AS", "46", "me"],
    ["AS", "139", "apac"],
    ["OC", "151", "oc"],
    ["AF", "18", "afr"],
    ["AN", "0", undefined],
    [undefined, undefined, undefined],
    ["EU", "not a number", "weur"],
  ])("a payer in %s at %s → %s", (continent, longitude, locationHint) => {
    const reference = writeReference(after.reference, ID, from(continent, longitude));
    expect(readReference(after.reference, reference)).toEqual({ envelopeId: ID, locationHint });
  });
});

describe("T36 what is refused", () => {
  const good = writeReference(after.reference, ID, from("EU", "2"));

  it("any one character changed, at every place", () => {
    for (let at = 0; at < good.length; at++) {
      for (const char of "0189AZaz_-. é") {
        if (char === good[at]) continue;
        expect(
          readReference(after.reference, good.slice(0, at) + char + good.slice(at + 1)),
          `${char} at ${at}`,
        ).toBeUndefined();
      }
    }
  });

  it.each([
    ["nothing", ""],
    ["the prefix alone", "e1_"],
    ["one character more", `${good}0`],
    ["one character less", good.slice(0, -1)],
    ["a line end behind", `${good}\n`],
    ["a blank before", ` ${good}`],
    ["another version", good.replace("e1_", "e2_")],
    ["lower case", good.toLowerCase()],
    ["201 characters", "x".repeat(201)],
    ["unicode", "é1_ünïcödé"],
    ["a million characters", "e1_".padEnd(1_000_000, "0")],
    ["of another deployment", writeReference(elsewhere.reference, ID, from())],
    ["signed for another purpose", writeReference(after.token, ID, from())],
  ])("%s", (_name, text) => {
    expect(readReference(after.reference, text)).toBeUndefined();
  });

  it("the check of one envelope on another, of one region on another", () => {
    const other = writeReference(after.reference, ID.replace("k", "K"), from("EU", "2"));
    expect(readReference(after.reference, other.slice(0, 28) + good.slice(28))).toBeUndefined();
    const away = writeReference(after.reference, ID, from("OC", "151"));
    expect(readReference(after.reference, away.slice(0, 27) + good.slice(27))).toBeUndefined();
  });

  it("random texts", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(readReference(after.reference, text)).toBeUndefined();
      }),
      { numRuns: 1_000 },
    );
  });
});

it("T44 a reference signed with the previous secret still finds its envelope", () => {
  const reference = writeReference(before.reference, ID, from());
  expect(readReference(after.reference, reference)?.envelopeId).toBe(ID);
  expect(readReference(keysOf({ ENVELOPE_SECRET: NEW }).reference, reference)).toBeUndefined();
});

it("T35 T60 a reference shows no piece of the token's secret, of its hash or of its check", () => {
  for (let i = 0; i < 200; i++) {
    const token = newToken();
    const reference = writeReference(after.reference, token.envelopeId, from());
    for (const hidden of [token.secret, credentialOf(token).hash, writeToken(after.token, token).slice(28)]) {
      for (let at = 0; at + 7 <= hidden.length; at++) expect(reference).not.toContain(hidden.slice(at, at + 7));
    }
  }
});

it("T35 a reference is the same for every token and generation of an envelope: it gives money, and nothing else", () => {
  const token = newToken();
  const reference = writeReference(after.reference, token.envelopeId, from());
  const rotated = { ...newToken(), envelopeId: token.envelopeId, generation: 1 };
  expect(writeReference(after.reference, rotated.envelopeId, from())).toBe(reference);
});
