/**
 * The proof of a copy. Each envelope's row is held against that envelope's own ledger, up to the entry the row stands at; then,
 * in one turn, all sums that the shard keeps are held against the sum of those rows. Comparing is pure; the rest only reads.
 */
import type { Difference, LedgerSums } from "../contract.js";
import { KIND_OF, SUMS } from "./mirror.js";
import { RAW_NAMES, type RawSums, rawSums, SUM_NAMES } from "./raw.js";
import type { Copy } from "./store.js";

const ADDED = SUM_NAMES.map((sum) => `coalesce(sum(${sum}), 0) AS ${sum}`).join(", ");
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
  const pairs: (readonly [what: string, expected: number, found: number])[] = [
    ["applied_seq", ledger.seq, copy.applied_seq],
    ["balance_micros", ledger.balance_micros, copy.balance_micros],
    ["budget", ledger.budget ? 1 : 0, copy.budget],
    // An earlier version of an envelope knows fewer of them: of what it does not know, it has none.
    ...SUM_NAMES.map((sum) => [sum, ledger[sum] ?? 0, copy[sum]] as const),
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
  const read = (query: string) => sql.exec(query).one() as Record<string, number>;
  const copies = read(
    `SELECT count(*) AS envelopes, coalesce(sum(applied_seq), 0) AS entries, ${ADDED},
       coalesce(sum(iif(budget, max(0, balance_micros), balance_micros)), 0) AS outstanding_micros,
       coalesce(sum(iif(budget, 0, max(0, -balance_micros))), 0) AS owed_micros,
       coalesce(sum(iif(budget, max(0, -balance_micros), 0)), 0) AS budgeted_micros
     FROM envelope_summary WHERE applied_seq > 0`,
  );
  const waiting = read(
    "SELECT coalesce(sum(frozen), 0) AS frozen, count(behind_since_ms) AS behind FROM envelope_summary",
  );
  const found: Difference[] = [];
  const compare = (name: string, expected: Record<string, number>, sums: Record<string, number>) => {
    const pairs = Object.keys(sums).map((sum) => [`${name}.${sum}`, expected[sum] ?? 0, sums[sum] ?? 0] as const);
    found.push(...differences(null, pairs));
  };
  compare(
    "total",
    { ...copies, ...waiting },
    read(
      `SELECT envelopes, entries, ${SUM_NAMES.join(", ")}, outstanding_micros, owed_micros, budgeted_micros, frozen,
         behind FROM total`,
    ),
  );
  const charges = read("SELECT coalesce(sum(charges), 0) AS charges FROM day");
  for (const table of ["day", "hour"]) {
    compare(
      table,
      { ...copies, ...charges },
      read(`SELECT coalesce(sum(entries), 0) AS entries, coalesce(sum(charges), 0) AS charges, ${ADDED} FROM ${table}`),
    );
    compare(
      `spend_${table}`,
      { ...copies, ...charges },
      read(
        `SELECT coalesce(sum(charges), 0) AS charges, coalesce(sum(spent_micros), 0) AS spent_micros,
           coalesce(sum(refunded_micros), 0) AS refunded_micros FROM spend_${table}`,
      ),
    );
  }
  for (const table of ["moved_hour", "moved_day"]) compare(table, copies, movedSums(sql, table));
  compare(
    "cohort",
    copies,
    read(
      "SELECT coalesce(sum(spent_micros), 0) AS spent_micros, coalesce(sum(credited_micros), 0) AS credited_micros FROM cohort",
    ),
  );
  for (const period of ["day", "week", "month"]) compareActive(sql, period, found);
  if (raw !== undefined) {
    const added = RAW_NAMES.map((name) => `${name} + CAST('${raw[name]}' AS INTEGER) AS ${name}`);
    const { keyed_micros = 0, ...all } = read(`SELECT ${added.join(", ")} FROM pruned`);
    compare("raw", copies, all);
    const byKey = read("SELECT coalesce(sum(spent_micros - refunded_micros), 0) AS spent_micros FROM spend_key");
    compare("spend_key", { spent_micros: keyed_micros }, byKey);
  }
  return found;
}

function movedSums(sql: SqlStorage, table: string): Record<string, number> {
  const sums: Record<string, bigint> = Object.fromEntries(Object.keys(KIND_OF).map((sum) => [sum, 0n]));
  const rows = sql.exec(`SELECT kind, CAST(sum(amount_micros) AS TEXT) AS amount FROM ${table} GROUP BY kind`);
  for (const { kind, amount } of rows as Iterable<{ kind: keyof typeof SUMS; amount: string }>) {
    const [sum, sign] = SUMS[kind] ?? [];
    if (sum !== undefined) sums[sum] = (sums[sum] ?? 0n) + BigInt(sign) * BigInt(amount);
  }
  return Object.fromEntries(Object.entries(sums).map(([sum, amount]) => [sum, Number(amount)]));
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

function differences(
  envelope_id: string | null,
  pairs: readonly (readonly [what: string, expected: number, found: number])[],
): Difference[] {
  return pairs
    .filter(([, expected, found]) => expected !== found)
    .map(([what, expected, found]) => ({ envelope_id, what, expected, found }));
}
