/**
 * The proof of a copy. Each envelope's row is held against that envelope's own ledger, up to the entry the row stands at; then,
 * in one turn, all sums that the shard keeps are held against the sum of those rows. Comparing is pure; the rest only reads.
 */
import type { Difference, LedgerSums } from "../contract.js";
import { KIND_OF, SUM_NAMES, SUMS, type SumName, wholeSums } from "./mirror.js";
import { RAW_NAMES, type RawSums, rawSums } from "./raw.js";
import type { Copy } from "./store.js";

const ADDED = Object.fromEntries(SUM_NAMES.map((sum) => [sum, `coalesce(sum(${sum}), 0)`]));
const BATCHES_PER_PAGE = 200;

/** Where a proof is: among the envelopes, or among the raw events, with what was added up there. */
export type ProofCursor =
  | { readonly at: "envelopes"; readonly after: string }
  | { readonly at: "raw"; readonly after: number; readonly pruned: number; readonly sums: RawSums };

export function writeCursor(cursor: ProofCursor): string {
  return JSON.stringify(cursor, (_, value) => (typeof value === "bigint" ? String(value) : value));
}

/** Of one that no page answered, it is a RangeError: half of a cursor would prove half of it. */
export function readCursor(cursor: string | null): ProofCursor {
  if (cursor === null) return { at: "envelopes", after: "" };
  const read = (cursor.startsWith("{") ? JSON.parse(cursor) : {}) as Partial<
    Record<"at" | "after" | "pruned" | "sums", unknown>
  >;
  const { at, after, pruned, sums } = read;
  if (at === "envelopes" && typeof after === "string") return { at, after };
  const digits = RAW_NAMES.map((name) => String((sums as Record<string, unknown> | null | undefined)?.[name]));
  const fits = at === "raw" && isWhole(after) && isWhole(pruned) && digits.every((text) => /^-?\d{1,30}$/.test(text));
  if (!fits) throw new RangeError("This cursor is of no page");
  const added = Object.fromEntries(RAW_NAMES.map((name, index) => [name, BigInt(digits[index] as string)])) as RawSums;
  return { at, after, pruned, sums: added };
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);

/** A ledger that cannot be read proves nothing: that is a difference, too. */
export function compareCopy(copy: Copy, ledger: LedgerSums | undefined): Difference[] {
  const { envelope_id } = copy;
  if (ledger === undefined) return [{ envelope_id, what: "unreachable", expected: copy.applied_seq, found: 0 }];
  // The ledger has folded what this copy still waits for, and is compared once that has come, as one sum.
  if ((ledger.folded_seq ?? 0) > copy.applied_seq) return [];
  const sums = wholeSums(ledger);
  const pairs: Pair[] = [
    ["applied_seq", ledger.seq, copy.applied_seq],
    ["balance_micros", ledger.balance_micros, copy.balance_micros],
    ["budget", ledger.budget ? 1 : 0, copy.budget],
    ...SUM_NAMES.map((sum) => [sum, sums[sum], copy[sum]] as const),
  ];
  return differences(envelope_id, pairs);
}

/** Whether it is frozen is in no entry. Compared where the envelope told all it had to tell, and told nothing while it was asked. */
export function compareFrozen(copy: Copy, since: Copy | undefined, ledger: LedgerSums | undefined): Difference[] {
  if (ledger?.frozen === undefined || since?.told_at_ms !== copy.told_at_ms || ledger.head_seq !== copy.applied_seq)
    return [];
  return differences(copy.envelope_id, [["frozen", ledger.frozen ? 1 : 0, copy.frozen]]);
}

/** Adds up the next raw events by kind. `done` when there are no more. */
export function addRaw(sql: SqlStorage, after: number, sums: RawSums): { after: number; done: boolean; sums: RawSums } {
  const ids = sql
    .exec<{ batch_id: number }>(
      "SELECT batch_id FROM batch WHERE batch_id > ? ORDER BY batch_id LIMIT ?",
      after,
      BATCHES_PER_PAGE,
    )
    .toArray();
  const last = ids.at(-1)?.batch_id ?? after;
  const added = rawSums(sql, "batch_id > ? AND batch_id <= ?", after, last);
  return { after: last, done: ids.length < BATCHES_PER_PAGE, sums: plus(sums, added) };
}

function plus(one: RawSums, other: RawSums): RawSums {
  return Object.fromEntries(RAW_NAMES.map((name) => [name, one[name] + other[name]])) as RawSums;
}

/** All that the shard keeps, against the rows of its envelopes. `raw` is absent where events were pruned meanwhile. */
export function compareSums(sql: SqlStorage, raw: RawSums | undefined): Difference[] {
  const found: Difference[] = [];
  const compare = (name: string, expected: Figures, sums: Figures) => {
    const pairs = Object.keys(sums).map((sum) => [`${name}.${sum}`, expected[sum] ?? 0n, sums[sum] ?? 0n] as const);
    found.push(...differences(null, pairs));
  };
  const copies = standing(sql);
  compare("total", copies, figures(sql, "total", TOTALS));
  const [entries, charges] = ["coalesce(sum(entries), 0)", "coalesce(sum(charges), 0)"];
  const { spent_micros, refunded_micros, credited_micros } = ADDED as Record<SumName, string>;
  const all = { ...copies, ...figures(sql, "day", { charges }) };
  for (const table of ["day", "hour"]) {
    compare(table, all, figures(sql, table, { entries, charges, ...ADDED }));
    compare(`spend_${table}`, all, figures(sql, `spend_${table}`, { charges, spent_micros, refunded_micros }));
  }
  for (const table of ["moved_hour", "moved_day"]) compare(table, copies, movedSums(sql, table));
  compare("cohort", copies, figures(sql, "cohort", { spent_micros, credited_micros }));
  for (const period of ["day", "week", "month"]) compareActive(sql, period, found);
  if (raw !== undefined) {
    const pruned = figures(sql, "pruned", Object.fromEntries(RAW_NAMES.map((name) => [name, name]))) as RawSums;
    const { keyed_micros, ...rest } = plus(pruned, raw);
    compare("raw", copies, rest);
    const byKey = figures(sql, "spend_key", { spent_micros: "coalesce(sum(spent_micros - refunded_micros), 0)" });
    compare("spend_key", { spent_micros: keyed_micros }, byKey);
  }
  return found;
}

type Figures = Readonly<Record<string, bigint>>;

/** As text, which is exact however large. */
function figures(sql: SqlStorage, from: string, columns: Readonly<Record<string, string>>): Figures {
  const texts = Object.entries(columns).map(([name, column]) => `CAST(${column} AS TEXT) AS ${name}`);
  const row = sql.exec<Record<string, string>>(`SELECT ${texts.join(", ")} FROM ${from}`).one();
  return Object.fromEntries(Object.entries(row).map(([name, digits]) => [name, BigInt(digits)]));
}

const STANDING = {
  envelopes: "count(*)",
  entries: "coalesce(sum(applied_seq), 0)",
  ...ADDED,
  outstanding_micros: "coalesce(sum(iif(budget, max(0, balance_micros), balance_micros)), 0)",
  owed_micros: "coalesce(sum(iif(budget, 0, max(0, -balance_micros))), 0)",
  budgeted_micros: "coalesce(sum(iif(budget, max(0, -balance_micros), 0)), 0)",
};
const WAITING = { frozen: "coalesce(sum(frozen), 0)", behind: "count(behind_since_ms)" };
const TOTALS = Object.fromEntries([...Object.keys(STANDING), ...Object.keys(WAITING)].map((name) => [name, name]));

/** What all copies come to. */
function standing(sql: SqlStorage): Figures {
  const copies = figures(sql, "envelope_summary WHERE applied_seq > 0", STANDING);
  return { ...copies, ...figures(sql, "envelope_summary", WAITING) };
}

function movedSums(sql: SqlStorage, table: string): Figures {
  const sums: Record<string, bigint> = Object.fromEntries(Object.keys(KIND_OF).map((sum) => [sum, 0n]));
  const rows = sql.exec(`SELECT kind, CAST(sum(amount_micros) AS TEXT) AS amount FROM ${table} GROUP BY kind`);
  for (const { kind, amount } of rows as Iterable<{ kind: keyof typeof SUMS; amount: string }>) {
    const [sum, sign] = SUMS[kind] ?? [];
    if (sum !== undefined) sums[sum] = (sums[sum] ?? 0n) + BigInt(sign) * BigInt(amount);
  }
  return sums;
}

/** Of the newest period only: of an earlier one, an envelope's row no longer tells. */
function compareActive(sql: SqlStorage, period: string, found: Difference[]): void {
  const row = sql
    .exec(
      `SELECT at_ms, envelopes, (SELECT count(*) FROM envelope_summary WHERE active_${period}_ms = at_ms) AS expected
       FROM active WHERE period = ? ORDER BY at_ms DESC LIMIT 1`,
      period,
    )
    .toArray()[0] as { envelopes: number; expected: number } | undefined;
  if (row !== undefined) found.push(...differences(null, [[`active.${period}`, row.expected, row.envelopes]]));
}

type Pair = readonly [what: string, expected: number | bigint, found: number | bigint];

function differences(envelope_id: string | null, pairs: readonly Pair[]): Difference[] {
  return pairs
    .filter(([, expected, found]) => BigInt(expected) !== BigInt(found))
    .map(([what, expected, found]) => {
      const nearest = { envelope_id, what, expected: Number(expected), found: Number(found) };
      const fits = Number.isSafeInteger(nearest.expected) && Number.isSafeInteger(nearest.found);
      return fits ? nearest : { ...nearest, exact: { expected: String(expected), found: String(found) } };
    });
}
