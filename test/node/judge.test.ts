/** The judge of the crash harness notices each fault it is there for. */
import { describe, expect, test } from "vitest";
import { newHistory, type Told } from "../../scripts/chaos/history.ts";
import { type Evidence, judge } from "../../scripts/chaos/judge.ts";
import { type Ledger, type LedgerEntry, totalsOf } from "../../scripts/chaos/ledgers.ts";
import type { Operation, TopUp } from "../../scripts/chaos/plan.ts";

const topUp: TopUp = { kind: "topup", name: "p", envelope: 0, cents: 5, twin: false, again: false };

function operation(id: string, price_micros: number, more: Partial<Operation> = {}): Operation {
  const basics = { kind: "operation", envelope: 0, held: false, keyed: true, fails: false, probe: "none" } as const;
  return { ...basics, id, path: `/charge/${id}`, asked: {}, price_micros, ...more };
}

function charged(asked: Operation, balance_micros: number): Told {
  const told = { outcome: "charged", attempts: 1, lost: 0, replayed: false } as const;
  return { operation: asked, ...told, price_micros: asked.price_micros, balance_micros };
}

const paid: LedgerEntry = {
  seq: 1,
  kind: "topup",
  amount_micros: 50_000,
  balance_micros: 50_000,
  key: null,
  payment_id: "pi_p",
  reason: null,
};

function charge(seq: number, id: string, amount_micros: number, balance_micros: number): LedgerEntry {
  const names = { key: `request:${id}`, payment_id: null, reason: `POST /charge/${id}` };
  return { seq, kind: "charge", amount_micros, balance_micros, ...names };
}

function ledger(entries: readonly LedgerEntry[], more: Partial<Ledger> = {}): Ledger {
  const balance_micros = entries.at(-1)?.balance_micros ?? 0;
  return { entries, balance_micros, available_micros: balance_micros, held_micros: 0, holds: 0, ...more };
}

interface Case {
  readonly told?: readonly Told[];
  readonly book?: Ledger;
  readonly credited?: number;
  readonly oddities?: readonly string[];
  readonly mirrorOff?: number;
}

const good = [charged(operation("a", 100), 49_900), charged(operation("b", 900), 49_000)];
const goodBook = ledger([paid, charge(2, "a", -100, 49_900), charge(3, "b", -900, 49_000)]);

function rulesFor({
  told = good,
  book = goodBook,
  credited = 1,
  oddities = [],
  mirrorOff = 0,
}: Case): readonly string[] {
  const history = newHistory();
  history.told.push(...told);
  history.oddities.push(...oddities);
  const totals = totalsOf([book]);
  const evidence: Evidence = {
    history,
    ledgers: [book],
    opening: [{ topUp, credited, deliveries: 2, acknowledged: true }],
    mirrored: { ...totals, spent_micros: totals.spent_micros + mirrorOff },
  };
  return [...new Set(judge(evidence).map(({ rule }) => rule))];
}

const refused: Told = { ...charged(operation("a", 100), 0), outcome: "refused" };
const [first, second] = good as [Told, Told];

describe("the judge", () => {
  test("finds nothing where all is right", () => {
    expect(rulesFor({})).toEqual([]);
  });

  test("takes an indefinite operation either way", () => {
    const unsure: Told = { ...first, outcome: "indefinite" };
    expect(rulesFor({ told: [unsure, second] })).toEqual([]);
    expect(rulesFor({ told: [...good, { ...unsure, operation: operation("c", 1) }] })).toEqual([]);
  });

  test.each<[string, Case]>([
    ["lost", { told: [...good, charged(operation("c", 1), 48_999)] }],
    ["phantom", { told: [refused, second] }],
    ["phantom", { told: [first] }],
    ["wrong_amount", { told: [charged(operation("a", 99), 49_900), second] }],
    ["wrong_balance_told", { told: [charged(operation("a", 100), 50_000), second] }],
    ["wrong_key", { told: [charged(operation("a", 100, { keyed: false }), 49_900), second] }],
    ["wrong_balance", { book: ledger(goodBook.entries, { balance_micros: 1, available_micros: 1 }) }],
    ["still_held", { book: ledger(goodBook.entries, { held_micros: 5, holds: 1 }) }],
    ["payment_doubled", { credited: 2 }],
    ["odd_answer", { oddities: ["/charge/a answered 500"] }],
    ["mirror_differs", { mirrorOff: 1 }],
  ])("finds %s", (rule, fault) => {
    expect(rulesFor(fault)).toEqual([rule]);
  });

  test.each<[string, readonly LedgerEntry[]]>([
    ["doubled", [paid, charge(2, "a", -100, 49_900), charge(3, "b", -900, 49_000), charge(4, "b", -900, 48_100)]],
    ["broken_ledger", [paid, charge(2, "a", -100, 49_900), charge(4, "b", -900, 49_000)]],
    ["broken_ledger", [paid, charge(2, "a", -100, 49_900), charge(3, "b", -900, 49_001)]],
    ["payment_doubled", [paid, { ...paid, seq: 2, balance_micros: 100_000 }]],
    ["payment_lost", [charge(1, "a", -100, -100), charge(2, "b", -900, -1_000)]],
    ["overdrawn", [charge(1, "a", -100, -100), charge(2, "b", -900, -1_000)]],
  ])("finds %s in a ledger", (rule, entries) => {
    expect(rulesFor({ book: ledger(entries) })).toContain(rule);
  });
});
