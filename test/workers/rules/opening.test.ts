import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyBatch, applyEntries, NO_SUMMARY, type Summary } from "../../../src/aggregate/mirror.js";
import { byDay, byHour, capReasons, folded } from "../../../src/aggregate/rollup.js";
import type { EntryKind, MirrorEntry, MirrorOpening } from "../../../src/contract.js";
import { type Line, ledger } from "../aggregate/support.js";
import { micros } from "./values.js";

const KINDS = [
  "topup",
  "grant",
  "charge",
  "charge",
  "charge",
  "refund",
  "clawback",
  "reinstatement",
  "expiry",
] as const;
/** Also what only together is more than a number holds. */
const size = fc.oneof({ weight: 3, arbitrary: fc.nat(50) }, fc.constantFrom(2 ** 52 - 1, 2 ** 51 + 1));
const line: fc.Arbitrary<Line> = fc.record({ kind: fc.constantFrom<EntryKind>(...KINDS), size });

const direct = (entries: readonly MirrorEntry[]): Summary => applyEntries(NO_SUMMARY, entries).summary;

/** As an envelope would say it that has folded up to `seq`, to a copy that has `after_seq`. */
function openingOf(entries: readonly MirrorEntry[], after_seq: number, seq: number): MirrorOpening {
  const { applied_seq: _, last_at_ms, balance_micros, ...whole } = direct(entries.slice(0, seq));
  const charges = entries.slice(after_seq, seq).filter(({ kind }) => kind === "charge").length;
  const told = <Told>(as: (sum: bigint) => Told) =>
    Object.fromEntries(Object.entries(whole).map(([name, sum]) => [name, as(sum)]));
  const at = { first_at_ms: entries[0]?.at_ms ?? 0, at_ms: last_at_ms };
  return { ...told(Number), balance_micros, after_seq, seq, charges, ...at, exact: told(String) } as MirrorOpening;
}

const drawn = fc
  .array(line, { minLength: 2, maxLength: 40 })
  .filter((lines) => ledger(lines).every(({ balance_micros }) => Number.isSafeInteger(balance_micros)))
  .chain((lines) => fc.tuple(fc.constant(ledger(lines)), fc.nat(lines.length - 1), fc.nat(lines.length - 1)))
  .map(([entries, one, other]) => ({ entries, has: Math.min(one, other), seq: Math.max(one, other) + 1 }));

describe("T94 an opening takes the place of the entries it stands for", () => {
  it("wherever the copy is, it ends at the direct fold, and its roll-ups gain what the copy gained", () => {
    fc.assert(
      fc.property(drawn, ({ entries, has, seq }) => {
        const known = direct(entries.slice(0, has));
        const applied = applyBatch(known, openingOf(entries, has, seq), entries.slice(seq));
        expect(applied.summary).toEqual(direct(entries));
        expect(applied.gap).toBe(false);
        const { opened } = applied;
        if (opened === undefined) throw new Error("It was behind");
        const [whole, parts] = [
          byDay(byHour(entries.slice(has), () => "r")),
          byDay([folded(opened), ...byHour(applied.entries, () => "r")]),
        ];
        for (const sum of ["entries", "charges", "spent_micros", "refunded_micros", "credited_micros"] as const)
          expect(parts[0]?.[sum], sum).toBe(whole[0]?.[sum]);
      }),
    );
  });

  it("sent again, it and what follows are in it already", () => {
    fc.assert(
      fc.property(drawn, ({ entries, has, seq }) => {
        const opening = openingOf(entries, has, seq);
        const { summary } = applyBatch(direct(entries.slice(0, has)), opening, entries.slice(seq));
        const again = applyBatch(summary, opening, entries.slice(seq));
        expect(again).toEqual({ summary, entries: [], duplicates: entries.length - seq, gap: false });
      }),
    );
  });

  it.each([
    ["of a copy that has less", 1],
    ["of a copy that has more", 3],
  ])("%s is not taken, nor is what follows it", (_name, after_seq) => {
    const entries = ledger(
      ["grant", "charge", "charge", "charge", "charge"].map((kind) => ({ kind, size: 4 }) as Line),
    );
    const known = direct(entries.slice(0, 2));
    const applied = applyBatch(known, openingOf(entries, after_seq, 4), entries.slice(4));
    expect(applied).toEqual({ summary: known, entries: [], duplicates: 0, gap: true });
  });

  it("of an envelope that an earlier version of this code runs is taken where numbers hold its sums", () => {
    const entries = ledger([
      { kind: "grant", size: 9 },
      { kind: "charge", size: 4 },
    ]);
    const { exact: _, expired_micros: __, ...earlier } = openingOf(entries, 0, 2);
    const applied = applyBatch(NO_SUMMARY, earlier as MirrorOpening, []);
    expect(applied).toMatchObject({ summary: direct(entries), gap: false });
  });

  it("that does not add up is not taken", () => {
    const entries = ledger([
      { kind: "grant", size: 9 },
      { kind: "charge", size: 4 },
    ]);
    const opening = { ...openingOf(entries, 0, 1), balance_micros: micros(8) };
    expect(applyBatch(NO_SUMMARY, opening, entries.slice(1))).toMatchObject({ summary: NO_SUMMARY, gap: true });
  });

  it("is counted under its own name, however many names a day has", () => {
    const entries = ledger([
      { kind: "grant", size: 9 },
      { kind: "charge", size: 4 },
    ]);
    const { opened } = applyBatch(NO_SUMMARY, openingOf(entries, 0, 2), []);
    if (opened === undefined) throw new Error("It was behind");
    const known = new Set(["a"]);
    expect([...capReasons(folded(opened), known, 1, "(other)").reasons.keys()]).toEqual(["(folded)"]);
    expect([...capReasons(folded(opened), known, 9, "(other)").reasons.keys()]).toEqual(["(folded)"]);
    expect([...known]).toEqual(["a"]);
  });
});
