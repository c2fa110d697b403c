import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ledgerDays } from "../../../src/copy-settings.js";
import { foldableAtMs, isClosed, nextPage, pageName, retentionMs } from "../../../src/envelope/folding.js";
import { ConfigurationError } from "../../../src/settings.js";

const DAY = 24 * 3_600_000;
const KEPT = 8_192;

describe("T90 what may be folded", () => {
  it.each([
    ["the first stretch", 9_192, 9_192, 0, { first_seq: 1, last_seq: 1_000 }],
    ["the one after it", 11_000, 10_500, 1_000, { first_seq: 1_001, last_seq: 2_000 }],
    ["one entry short of the newest that are kept", 9_191, 9_191, 0, undefined],
    ["not all of it mirrored", 50_000, 999, 0, undefined],
    ["all of it mirrored, no more", 50_000, 1_000, 0, { first_seq: 1, last_seq: 1_000 }],
    ["a mirror that begins anew", 50_000, 0, 1_000, undefined],
    ["nothing", 0, 0, 0, undefined],
  ])("%s", (_name, seq, mirrored_seq, folded_seq, page) => {
    expect(nextPage({ seq, mirrored_seq, folded_seq }, KEPT)).toEqual(page);
  });

  it("pages are without gap or overlap, whatever happens between them, and end before what is kept", () => {
    const moment = fc.record({ entries: fc.nat(5_000), unmirrored: fc.nat(3_000) });
    fc.assert(
      fc.property(fc.array(moment), (moments) => {
        let [seq, folded_seq] = [0, 0];
        for (const { entries, unmirrored } of moments) {
          seq += entries;
          const mirrored_seq = Math.max(0, seq - unmirrored);
          const page = nextPage({ seq, mirrored_seq, folded_seq }, KEPT);
          if (page === undefined) continue;
          expect(page.first_seq).toBe(folded_seq + 1);
          expect(page.last_seq).toBeLessThanOrEqual(Math.min(mirrored_seq, seq - KEPT));
          folded_seq = page.last_seq;
        }
      }),
    );
  });

  it("a charge is closed at its age, and folded a day later, so that a clock set back by less changes no answer", () => {
    expect(isClosed(0, 2 * DAY - 1, 2 * DAY)).toBe(false);
    expect(isClosed(0, 2 * DAY, 2 * DAY)).toBe(true);
    expect(isClosed(0, Number.MAX_SAFE_INTEGER, undefined)).toBe(false);
    expect(foldableAtMs(5, 2 * DAY)).toBe(5 + 3 * DAY);
    expect(isClosed(5, foldableAtMs(5, 2 * DAY) - DAY, 2 * DAY)).toBe(true);
  });

  it("names of pages sort like their numbers", () => {
    expect(pageName("e", { first_seq: 1, last_seq: 1_000 })).toBe("e/0000000000000001-0000000000001000");
    const seq = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(seq, seq, (one, other) => {
        const name = (first_seq: number) => pageName("e", { first_seq, last_seq: first_seq });
        expect(name(one) < name(other)).toBe(one < other);
      }),
    );
  });
});

describe("T47 ENVELOPE_LEDGER_DAYS", () => {
  it.each([
    [undefined, undefined],
    ["", undefined],
    ["1", DAY],
    [" 365 ", 365 * DAY],
    [30, 30 * DAY],
  ])("%j → %j ms", (value, ms) => {
    expect(retentionMs(ledgerDays({ ENVELOPE_LEDGER_DAYS: value }))).toBe(ms);
  });

  it.each(["0", "-1", "1.5", "ever", "1e3", "36501", 0.5, 0, Number.NaN])("%j is refused by name", (value) => {
    expect(() => ledgerDays({ ENVELOPE_LEDGER_DAYS: value })).toThrow(ConfigurationError);
    expect(() => ledgerDays({ ENVELOPE_LEDGER_DAYS: value })).toThrow(/^ENVELOPE_LEDGER_DAYS /);
  });
});
