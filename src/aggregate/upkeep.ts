/** What a shard does by itself: forgets all copies when it is rebuilt, drops raw events that are too old, knows whom to ask. */

import { DAY_MS } from "./calendar.js";
import { SUM_NAMES } from "./mirror.js";
import { RAW_NAMES, rawSums } from "./raw.js";
import { raised } from "./store.js";

/** One step of pruning reads this many batches: at most 25,000 entries. */
const PRUNED_PER_STEP = 50;

export interface Missing {
  readonly envelope_id: string;
  readonly applied_seq: number;
}

/** Forgets what was copied, not whose copies there were: each of them is behind now, until it has sent everything again. */
export function forgetCopies(sql: SqlStorage, now_ms: number, pull_at_ms: number): void {
  for (const table of [
    "batch",
    "hour",
    "day",
    "spend_hour",
    "spend_day",
    "spend_key",
    "moved_hour",
    "moved_day",
    "active",
    "cohort",
  ]) {
    sql.exec(`DELETE FROM ${table}`);
  }
  const nothing = SUM_NAMES.map((sum) => `${sum} = 0`).join(", ");
  sql.exec(
    `UPDATE envelope_summary SET head_seq = max(head_seq, applied_seq), applied_seq = 0, balance_micros = 0, ${nothing},
       last_at_ms = 0, first_at_ms = 0, frozen = 0, cohort = '', active_day_ms = -1, active_week_ms = -1, active_month_ms = -1,
       behind_since_ms = ?, pull_at_ms = ?, told_at_ms = 0`,
    now_ms,
    pull_at_ms,
  );
  sql.exec(`UPDATE pruned SET entries = 0, keyed_micros = 0, ${nothing}`);
  sql.exec(
    `UPDATE total SET envelopes = 0, entries = 0, ${nothing}, outstanding_micros = 0, owed_micros = 0, budgeted_micros = 0, frozen = 0,
       behind = (SELECT count(*) FROM envelope_summary)`,
  );
}

/** Drops a few of the oldest batches whose time is over; what they came to is kept. True when more are left. */
export function prune(storage: DurableObjectStorage, before_ms: number): boolean {
  const { sql } = storage;
  const old = sql
    .exec<{ batch_id: number }>(
      "SELECT batch_id FROM batch WHERE last_at_ms < ? ORDER BY last_at_ms LIMIT ?",
      before_ms,
      PRUNED_PER_STEP,
    )
    .toArray();
  storage.transactionSync(() => {
    for (const { batch_id } of old) {
      const sums = rawSums(sql, "batch_id = ?", batch_id);
      sql.exec(`UPDATE pruned SET ${RAW_NAMES.map(raised).join(", ")}`, ...RAW_NAMES.map((name) => String(sums[name])));
      sql.exec("DELETE FROM batch WHERE batch_id = ?", batch_id);
    }
  });
  return old.length === PRUNED_PER_STEP;
}

/** Of what a key spent, the days of this time are kept; what is older is one row for each key, of no day. */
const KEY_DAYS_MS = 400 * DAY_MS;
const KEYS_PER_STEP = 500;
const THIS_ROW = "(at_ms, envelope_id, spender) = (?, ?, ?)";

/** True when more is left to do. */
export function sumUpKeys(storage: DurableObjectStorage, now_ms: number): boolean {
  const { sql } = storage;
  const old = sql
    .exec(
      `SELECT at_ms, envelope_id, spender FROM spend_key WHERE at_ms = (SELECT min(at_ms) FROM spend_key WHERE at_ms > 0) AND at_ms < ? LIMIT ?`,
      now_ms - KEY_DAYS_MS,
      KEYS_PER_STEP,
    )
    .toArray();
  storage.transactionSync(() => {
    for (const { at_ms, envelope_id, spender } of old) {
      sql.exec(
        `INSERT INTO spend_key (at_ms, envelope_id, spender, charges, spent_micros, refunded_micros)
         SELECT 0, envelope_id, spender, charges, spent_micros, refunded_micros FROM spend_key WHERE ${THIS_ROW}
         ON CONFLICT DO UPDATE SET charges = charges + excluded.charges, spent_micros = spent_micros + excluded.spent_micros,
           refunded_micros = refunded_micros + excluded.refunded_micros`,
        at_ms,
        envelope_id,
        spender,
      );
      sql.exec(`DELETE FROM spend_key WHERE ${THIS_ROW}`, at_ms, envelope_id, spender);
    }
  });
  return old.length > 0;
}

/** Takes those whose turn it is to be asked, and notes when it will be their turn again. */
export function takeMissing(sql: SqlStorage, now_ms: number, again_at_ms: number, limit: number): Missing[] {
  const missing = sql
    .exec(
      "SELECT envelope_id, applied_seq FROM envelope_summary WHERE pull_at_ms <= ? ORDER BY pull_at_ms LIMIT ?",
      now_ms,
      limit,
    )
    .toArray() as unknown as Missing[];
  for (const { envelope_id } of missing) {
    sql.exec("UPDATE envelope_summary SET pull_at_ms = ? WHERE envelope_id = ?", again_at_ms, envelope_id);
  }
  return missing;
}

export function nextPullMs(sql: SqlStorage): number | undefined {
  const { next } = sql
    .exec<{ next: number | null }>("SELECT min(pull_at_ms) AS next FROM envelope_summary WHERE pull_at_ms IS NOT NULL")
    .one();
  return next ?? undefined;
}
