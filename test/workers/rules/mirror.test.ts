import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyEntries as apply, NO_SUMMARY, type Summary } from "../../../src/aggregate/mirror.js";
import type { EntryKind, MirrorEntry } from "../../../src/contract.js";
import { TAKES } from "../aggregate/support.js";
import { micros } from "./values.js";

const KINDS = ["topup", "grant", "charge", "refund", "clawback", "reinstatement", "expiry", "revocation"] as const;

/** A ledger as an envelope would write it: consecutive numbers, running balance. */
function ledger(lines: readonly (readonly [kind: EntryKind, size: number])[]): readonly MirrorEntry[] {
  let balance = 0;
  return lines.map(([kind, size], index) => {
    const amount = TAKES.includes(kind) ? 0 - size : size;
    balance += amount;
    return {
      seq: index + 1,
      at_ms: 1_000 + index,
      kind,
      amount_micros: micros(amount),
      balance_micros: micros(balance),
    };
  });
}

/** What a summary must say after these entries: sums of BigInt, one kind at a time. */
function directFold(entries: readonly MirrorEntry[]): Summary {
  const sum = (kind: EntryKind) =>
    entries
      .filter((entry) => entry.kind === kind)
      .reduce((total, entry) => total + BigInt(Math.abs(entry.amount_micros)), 0n);
  const last = entries.at(-1);
  return {
    applied_seq: entries.length,
    balance_micros: last?.balance_micros ?? micros(0),
    credited_micros: sum("topup"),
    granted_micros: sum("grant"),
    spent_micros: sum("charge"),
    refunded_micros: sum("refund"),
    reversed_micros: sum("clawback") - sum("reinstatement"),
    expired_micros: sum("expiry") + sum("revocation"),
    last_at_ms: last?.at_ms ?? 0,
  };
}

const applyEntries: Apply = (summary, entries) => apply(summary, entries).summary;

type Apply = (summary: Summary, entries: readonly MirrorEntry[]) => Summary;

/** A batch as sent: where it starts, how long it is, and how many ms late it comes (`undefined`: never). */
type Sent = readonly [from: number, length: number, delay: number | undefined, copies: number];

/** Sends batches that are lost, doubled, delayed past each other and cut anywhere; then re-sends from the cursor until all is there. */
function deliver(
  apply: Apply,
  entries: readonly MirrorEntry[],
  sent: readonly Sent[],
  check: (summary: Summary) => void,
): Summary {
  const arrivals = sent.flatMap(([from, length, delay, copies], index) =>
    delay === undefined
      ? []
      : Array.from({ length: copies }, (_, copy) => ({ from, length, at: index + delay * (copy + 1) })),
  );
  let summary: Summary = NO_SUMMARY;
  for (const { from, length } of arrivals.toSorted((left, right) => left.at - right.at)) {
    summary = apply(summary, entries.slice(from, from + length));
    check(summary);
  }
  for (let attempt = 0; summary.applied_seq < entries.length && attempt <= entries.length; attempt++) {
    summary = apply(summary, entries.slice(summary.applied_seq, summary.applied_seq + 3));
    check(summary);
  }
  return summary;
}

/** The rule without its check: every entry is applied, whenever it comes. */
const unchecked: Apply = (before, entries) => {
  let summary = before;
  for (const entry of entries) {
    const balance_micros = micros(entry.balance_micros - entry.amount_micros);
    summary = applyEntries({ ...summary, applied_seq: entry.seq - 1, balance_micros }, [entry]);
  }
  return summary;
};

/** Also what only together is more than a number holds. */
const size = fc.oneof(fc.nat(1_000_000), fc.constantFrom(2 ** 52 - 1, 2 ** 51 + 1));
const lines = fc
  .array(fc.tuple(fc.constantFrom(...KINDS), size), { minLength: 1, maxLength: 20 })
  // As an envelope would refuse it: no balance is more than a number holds.
  .filter((drawn) => ledger(drawn).every(({ balance_micros }) => Number.isSafeInteger(balance_micros)));
const sent = fc.array(
  fc.tuple(
    fc.nat(20),
    fc.integer({ min: 1, max: 8 }),
    fc.option(fc.nat(10), { nil: undefined }),
    fc.integer({ min: 1, max: 3 }),
  ),
  { maxLength: 15 },
);

const summaryOf = (over: Partial<Summary>): Summary => ({ ...NO_SUMMARY, ...over });
const ENTRIES = ledger([
  ["topup", 10],
  ["charge", 4],
  ["refund", 1],
  ["grant", 5],
  ["charge", 0],
  ["clawback", 20],
  ["reinstatement", 3],
]);

describe("I6 the mirror", () => {
  it.each<readonly [threat: string, name: string, from: number, batch: readonly number[], applied: number]>([
    ["T94", "the first batch", 0, [1, 2, 3], 3],
    ["T94", "the next batch", 3, [4, 5], 5],
    ["T94", "the same batch again", 3, [1, 2, 3], 3],
    ["T94", "a batch that overlaps", 2, [1, 2, 3, 4], 4],
    ["T94", "a batch past a gap", 1, [3, 4], 1],
    ["T94", "a batch with a gap", 0, [1, 2, 4, 5], 2],
    ["T94", "a batch in the wrong order", 0, [2, 1], 1],
    ["T94", "one entry twice in a batch", 0, [1, 1, 2, 2], 2],
    ["T94", "an empty batch", 2, [], 2],
  ])("%s %s: from %d, %j → %d", (_threat, _name, from, batch, applied) => {
    const before = directFold(ENTRIES.slice(0, from));
    const after = applyEntries(
      before,
      batch.map((seq) => ENTRIES[seq - 1] as MirrorEntry),
    );
    expect(after).toEqual(directFold(ENTRIES.slice(0, applied)));
  });

  it("each kind is summed in its own column, as a positive number", () => {
    expect(applyEntries(NO_SUMMARY, ENTRIES)).toEqual(
      summaryOf({
        applied_seq: 7,
        balance_micros: micros(-5),
        credited_micros: 10n,
        granted_micros: 5n,
        spent_micros: 4n,
        refunded_micros: 1n,
        reversed_micros: 17n,
        last_at_ms: 1_006,
      }),
    );
  });

  it("stops at an entry that does not follow on the balance, and takes none behind it, until a right one comes", () => {
    const broken = ENTRIES.with(2, { ...(ENTRIES[2] as MirrorEntry), balance_micros: micros(8) });
    const stopped = applyEntries(NO_SUMMARY, broken);
    expect(stopped).toEqual(directFold(ENTRIES.slice(0, 2)));
    expect(applyEntries(stopped, broken)).toEqual(stopped);
    expect(applyEntries(stopped, ENTRIES)).toEqual(directFold(ENTRIES));
  });

  it.each(["bonus", ""])("stops at an entry of the unknown kind %j, for a later version to take", (kind) => {
    const newer = ENTRIES.with(2, { ...(ENTRIES[2] as MirrorEntry), kind: kind as EntryKind });
    expect(applyEntries(NO_SUMMARY, newer)).toEqual(directFold(ENTRIES.slice(0, 2)));
  });

  it("T93 T94 ends at the direct fold after any loss, doubling and reordering, and is a prefix of it all along", () => {
    fc.assert(
      fc.property(lines, sent, (drawn, batches) => {
        const entries = ledger(drawn);
        const isPrefix = (summary: Summary) =>
          expect(summary).toEqual(directFold(entries.slice(0, summary.applied_seq)));
        expect(deliver(applyEntries, entries, batches, isPrefix)).toEqual(directFold(entries));
      }),
      { numRuns: 2_000 },
    );
  });

  it("T94 negative control: without the check of numbers the same deliveries do not end at the direct fold", () => {
    const outcome = fc.check(
      fc.property(lines, sent, (drawn, batches) => {
        const entries = ledger(drawn);
        expect(deliver(unchecked, entries, batches, () => undefined)).toEqual(directFold(entries));
      }),
    );
    expect(outcome.failed).toBe(true);
  });

  it("T94 negative control: the unchecked copy is right when every batch comes once and in order", () => {
    const inOrder: readonly Sent[] = [
      [0, 2, 0, 1],
      [2, 5, 0, 1],
    ];
    expect(deliver(unchecked, ENTRIES, inOrder, () => undefined)).toEqual(directFold(ENTRIES));
  });
});
