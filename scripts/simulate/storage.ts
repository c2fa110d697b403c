/** Bytes that envelopes and their mirror take: the package's own tables, filled and measured by SQLite itself. */
import { DatabaseSync } from "node:sqlite";
import { AGGREGATE_MIGRATIONS } from "../../src/aggregate/schema.ts";
import { DIRECTORY_MIGRATIONS } from "../../src/directory/schema.ts";
import { ENVELOPE_MIGRATIONS } from "../../src/envelope/schema.ts";

export interface StorageBytes {
  /** An envelope that was paid into once. */
  readonly envelope: number;
  readonly entry: number;
  /** Of an envelope, at the aggregate. */
  readonly summary: number;
  /** Of an entry as the aggregate keeps it, until it is pruned; 0 where it keeps sums only. */
  readonly mirrored_entry: number;
  /** Of a payment, at the directory. */
  readonly claim: number;
}

const ENTRIES = 20_000;
const SUMMARIES = 5_000;
const BATCHES = 200;
const ENTRIES_PER_BATCH = 100;
const NOW_MS = 1_790_000_000_000;

export function measureStorage(): StorageBytes {
  const envelope = created(ENVELOPE_MIGRATIONS);
  envelope.exec(
    `INSERT INTO envelope (id, envelope_id, currency, created_at_ms) VALUES (1, 'env_0123456789abcdef0123', 'usd', ${NOW_MS})`,
  );
  envelope.exec(
    `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, payment_id)
     VALUES (1, ${NOW_MS}, 'topup', 4000000000, 4000000000, 'pi_0123456789abcdefghijklmn')`,
  );
  const empty = bytesOf(envelope);
  envelope.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ENTRIES})
     INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, op, reason)
     SELECT 1 + i, ${NOW_MS} + 1000 * i, 'charge', -10000, 4000000000 - 10000 * i, hex(randomblob(8)), 'GET /charge' FROM n`,
  );
  const entry = (bytesOf(envelope) - empty) / ENTRIES;
  envelope.close();

  const aggregate = created(AGGREGATE_MIGRATIONS);
  const nothing = bytesOf(aggregate);
  aggregate.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${SUMMARIES})
     INSERT INTO envelope_summary (envelope_id, currency, applied_seq, balance_micros, credited_micros, granted_micros,
       spent_micros, refunded_micros, last_at_ms)
     SELECT 'env_' || hex(randomblob(10)), 'usd', 1000 + i, 4000000000 - i, 4000000000, 0, i, 0, ${NOW_MS} + i FROM n`,
  );
  const summaries = bytesOf(aggregate);
  const mirrored_entry = keepsEntries(aggregate) ? mirroredEntry(aggregate, summaries) : 0;
  aggregate.close();
  return { envelope: empty, entry, summary: (summaries - nothing) / SUMMARIES, mirrored_entry, claim: claim() };
}

function claim(): number {
  const directory = created(DIRECTORY_MIGRATIONS);
  const before = bytesOf(directory);
  directory.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${SUMMARIES})
     INSERT INTO claim (payment_id, envelope_id, at_ms)
     SELECT 'pi_' || hex(randomblob(12)), 'env_' || hex(randomblob(10)), ${NOW_MS} + i FROM n`,
  );
  const bytes = (bytesOf(directory) - before) / SUMMARIES;
  directory.close();
  return bytes;
}

function created(migrations: readonly string[]): DatabaseSync {
  const database = new DatabaseSync(":memory:");
  for (const migration of migrations) database.exec(migration);
  return database;
}

function keepsEntries(aggregate: DatabaseSync): boolean {
  return aggregate.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'batch'").get() !== undefined;
}

/** As `src/aggregate/store.ts` writes them: an array for each entry, a row for each batch. */
function mirroredEntry(aggregate: DatabaseSync, before: number): number {
  const insert = aggregate.prepare(
    `INSERT INTO batch (envelope_id, first_seq, last_seq, first_at_ms, last_at_ms, received_at_ms, entries)
     VALUES ('env_0123456789abcdef0123', ?, ?, ?, ?, ?, ?)`,
  );
  for (let batch = 0; batch < BATCHES; batch++) {
    const first = batch * ENTRIES_PER_BATCH;
    const entries = Array.from({ length: ENTRIES_PER_BATCH }, (_, n) => {
      return [n * 100, "charge", -10_000, 4_000_000_000 - (first + n) * 10_000, "GET /charge"];
    });
    const at_ms = NOW_MS + first * 100;
    insert.run(first, first + ENTRIES_PER_BATCH - 1, at_ms, at_ms + 9_900, at_ms + 10_000, JSON.stringify(entries));
  }
  return (bytesOf(aggregate) - before) / (BATCHES * ENTRIES_PER_BATCH);
}

function bytesOf(database: DatabaseSync): number {
  const pragma = (name: string): number => Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
  return pragma("page_count") * pragma("page_size");
}
