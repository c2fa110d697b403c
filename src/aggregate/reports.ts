/** What a shard answers, read from sums that are kept: no question costs more for more entries. */
import type {
  AggregateEvent,
  CohortRow,
  EnvelopeOrder,
  EnvelopeSummary,
  EnvelopesInput,
  EventsInput,
  EventsPage,
  MovementRow,
  Overview,
  Period,
  RefusalRow,
  SeriesPoint,
  ShardHealth,
  SpenderSpendRow,
  SpendRow,
} from "../contract.js";
import { DAY_MS, dayOf, HOUR_MS, hourOf, monthOf, weekOf } from "./calendar.js";

const PAGE_MAX = 1_000;
/** A year of hours. A longer series is cut at its old end. */
const POINTS_MAX = 366 * 24;
const SUMS = "credited_micros, granted_micros, spent_micros, refunded_micros, reversed_micros, expired_micros";

export function overview(sql: SqlStorage, now_ms: number): Overview {
  const row = sql
    .exec(
      `SELECT envelopes, entries, ${SUMS}, outstanding_micros, owed_micros, budgeted_micros,
         (SELECT coalesce(0 - sum(amount_micros), 0) FROM moved_day WHERE ${DISPUTED}) AS disputed_micros,
         coalesce((SELECT envelopes FROM active WHERE period = 'day' AND at_ms = ?), 0) AS active_today,
         coalesce((SELECT envelopes FROM active WHERE period = 'week' AND at_ms = ?), 0) AS active_this_week,
         coalesce((SELECT envelopes FROM active WHERE period = 'month' AND at_ms = ?), 0) AS active_this_month,
         frozen, behind FROM total`,
      dayOf(now_ms),
      weekOf(now_ms),
      monthOf(now_ms),
    )
    .one();
  return { ...(row as unknown as Overview), lag_ms: lag(sql, now_ms) };
}

/** The age of the oldest entry known to be missing, else how long the newest batch took. */
function lag(sql: SqlStorage, now_ms: number): number {
  const { since, arrival_ms } = sql
    .exec<{ since: number | null; arrival_ms: number }>(
      `SELECT arrival_ms, (SELECT min(behind_since_ms) FROM envelope_summary WHERE behind_since_ms IS NOT NULL) AS since FROM total`,
    )
    .one();
  return since === null ? arrival_ms : Math.max(0, now_ms - since);
}

/** As the index has it. */
const DISPUTED = "kind IN ('clawback', 'reinstatement') AND reason = 'dispute'";

type Row = Record<string, SqlStorageValue>;

/** Dense: a point for each hour or day that the period touches. Without `sql`, nothing happened. */
export function series(
  sql: SqlStorage | undefined,
  { from_ms, to_ms, step }: Period & { readonly step: "hour" | "day" },
): SeriesPoint[] {
  const size = step === "hour" ? HOUR_MS : DAY_MS;
  const end = Math.ceil(to_ms / size) * size;
  const begin = Math.max(Math.floor(from_ms / size) * size, end - POINTS_MAX * size);
  const found = sql === undefined ? NOTHING : periods(sql, step, begin, end);
  const refused = sql === undefined ? NOTHING : refusalsBy(sql, size, begin, end);
  const points: SeriesPoint[] = [];
  for (let at_ms = begin; at_ms < end; at_ms += size) {
    const { entries, ...row } = found.get(at_ms) ?? NO_POINT;
    const refusals = refused.get(at_ms)?.["refusals"] ?? 0;
    points.push({ ...row, at_ms, refusals, active: step === "day" ? row["active"] : null } as unknown as SeriesPoint);
  }
  return points;
}

function periods(sql: SqlStorage, step: "hour" | "day", begin: number, end: number): Map<number, Row> {
  const active = "coalesce((SELECT envelopes FROM active WHERE period = 'day' AND active.at_ms = day.at_ms), 0)";
  const disputed = `coalesce((SELECT 0 - sum(amount_micros) FROM moved_${step} AS moved WHERE ${DISPUTED} AND moved.at_ms = ${step}.at_ms), 0)`;
  const rows = sql.exec(
    `SELECT *, ${step === "day" ? active : "NULL"} AS active, ${disputed} AS disputed_micros FROM ${step} WHERE at_ms >= ? AND at_ms < ?`,
    begin,
    end,
  );
  return byTime(rows);
}

function refusalsBy(sql: SqlStorage, size: number, begin: number, end: number): Map<number, Row> {
  const rows = sql.exec(
    // Cast, because a number is bound as a real one and would divide as such.
    `SELECT at_ms / CAST(?1 AS INTEGER) * CAST(?1 AS INTEGER) AS at_ms, sum(refusals) AS refusals FROM refusal
     WHERE at_ms >= ?2 AND at_ms < ?3 GROUP BY 1`,
    size,
    begin,
    end,
  );
  return byTime(rows);
}

function byTime(rows: Iterable<Row>): Map<number, Row> {
  return new Map([...rows].map((row) => [row["at_ms"] as number, row]));
}

const NOTHING: ReadonlyMap<number, Row> = new Map();
const NO_POINT: Row = {
  charges: 0,
  active: 0,
  credited_micros: 0,
  granted_micros: 0,
  spent_micros: 0,
  refunded_micros: 0,
  reversed_micros: 0,
  expired_micros: 0,
  disputed_micros: 0,
};

export function spend(sql: SqlStorage, { limit, ...period }: Period & { readonly limit: number }): SpendRow[] {
  const { from, bindings } = tables("spend", period);
  return sql
    .exec(
      `SELECT reason, sum(charges) AS charges, sum(spent_micros - refunded_micros) AS spent_micros FROM ${from}
       GROUP BY reason ORDER BY spent_micros DESC, reason LIMIT ?`,
      ...bindings,
      pageSize(limit),
    )
    .toArray() as unknown as SpendRow[];
}

/** Of whole days: those that the period touches. */
export function spendByKey(
  sql: SqlStorage,
  { from_ms, to_ms, limit }: Period & { readonly limit: number },
): SpenderSpendRow[] {
  return sql
    .exec(
      `SELECT envelope_id, spender, sum(charges) AS charges, sum(spent_micros - refunded_micros) AS spent_micros
       FROM spend_key WHERE at_ms >= ? AND at_ms < ? GROUP BY envelope_id, spender
       ORDER BY spent_micros DESC, envelope_id, spender LIMIT ?`,
      dayOf(from_ms),
      to_ms,
      pageSize(limit),
    )
    .toArray() as unknown as SpenderSpendRow[];
}

export function movements(sql: SqlStorage, { limit, ...period }: Period & { readonly limit: number }): MovementRow[] {
  const { from, bindings } = tables("moved", period);
  return sql
    .exec(
      `SELECT kind, reason, sum(entries) AS entries, sum(amount_micros) AS amount_micros FROM ${from}
       GROUP BY kind, reason ORDER BY abs(sum(amount_micros)) DESC, kind, reason LIMIT ?`,
      ...bindings,
      pageSize(limit),
    )
    .toArray() as unknown as MovementRow[];
}

/** Whole days from the sums by day, what is left at both ends from those by hour. */
function tables(name: "spend" | "moved", { from_ms, to_ms }: Period): { from: string; bindings: number[] } {
  const hours = { from: hourOf(from_ms), to: Math.ceil(to_ms / HOUR_MS) * HOUR_MS };
  const days = { from: Math.ceil(hours.from / DAY_MS) * DAY_MS, to: dayOf(hours.to) };
  if (days.from >= days.to) days.from = days.to = hours.to;
  const from = `(
    SELECT * FROM ${name}_day WHERE at_ms >= ? AND at_ms < ?
    UNION ALL SELECT * FROM ${name}_hour WHERE at_ms >= ? AND at_ms < ?
    UNION ALL SELECT * FROM ${name}_hour WHERE at_ms >= ? AND at_ms < ?
  )`;
  return { from, bindings: [days.from, days.to, hours.from, days.from, days.to, hours.to] };
}

export function refusals(sql: SqlStorage, { from_ms, to_ms }: Period): RefusalRow[] {
  return sql
    .exec(
      `SELECT limited_by AS "limit", sum(refusals) AS refusals FROM refusal WHERE at_ms >= ? AND at_ms < ?
       GROUP BY limited_by ORDER BY refusals DESC, limited_by`,
      hourOf(from_ms),
      to_ms,
    )
    .toArray() as unknown as RefusalRow[];
}

export function cohorts(sql: SqlStorage): CohortRow[] {
  return sql.exec("SELECT * FROM cohort ORDER BY cohort, month").toArray() as unknown as CohortRow[];
}

const SUMMARY = `envelope_id, name, currency, balance_micros, applied_seq, head_seq, frozen, budget, first_at_ms, last_at_ms, ${SUMS}`;

const ORDERS = {
  recent: "last_at_ms",
  // As its index has it, and as it is told.
  spent: "CAST(spent_micros AS REAL)",
  balance: "balance_micros",
  id: "envelope_id",
} as const satisfies Record<EnvelopeOrder, string>;

/** It has entries here, or none at all. Of the others, nothing was copied yet. */
const SHOWN = "(applied_seq > 0 OR head_seq = 0)";

export function envelopes(sql: SqlStorage, { order, prefix, named, after, limit }: EnvelopesInput): EnvelopeSummary[] {
  const column = ORDERS[order];
  const conditions = [SHOWN];
  const bindings: (string | number)[] = [];
  const beginnings = [
    ["envelope_id", prefix],
    ["name COLLATE NOCASE", named],
  ].filter(([, text]) => text !== undefined && text !== "") as [string, string][];
  if (beginnings.length > 0) {
    conditions.push(`(${beginnings.map(([what]) => `(${what} >= ? AND ${what} < ?)`).join(" OR ")})`);
    bindings.push(...beginnings.flatMap(([, text]) => [text, `${text}\u{10ffff}`]));
  }
  if (after !== undefined && order === "id") {
    conditions.push("envelope_id < ?");
    bindings.push(after.envelope_id);
  } else if (after !== undefined) {
    conditions.push(`(${column}, envelope_id) < (?, ?)`);
    bindings.push(after.value, after.envelope_id);
  }
  // Of what is looked for, few are left, and are found by what they begin with; else the index has them in order.
  const by = beginnings.length === 0 ? column : `+${column}`;
  return sql
    .exec(
      `SELECT ${SUMMARY} FROM envelope_summary WHERE ${conditions.join(" AND ")} ORDER BY ${by} DESC, envelope_id DESC LIMIT ?`,
      ...bindings,
      pageSize(limit),
    )
    .toArray()
    .map(toSummary);
}

export function envelope(sql: SqlStorage, envelope_id: string): EnvelopeSummary | null {
  const [row] = sql
    .exec(`SELECT ${SUMMARY} FROM envelope_summary WHERE envelope_id = ? AND ${SHOWN}`, envelope_id)
    .toArray();
  return row === undefined ? null : toSummary(row);
}

function toSummary(row: Record<string, SqlStorageValue>): EnvelopeSummary {
  return { ...row, frozen: row["frozen"] === 1, budget: row["budget"] === 1 } as unknown as EnvelopeSummary;
}

/** Newest batches first, and in each the newest entry first. A cursor is the batch's time and number, and the entry that was told last. */
export function events(sql: SqlStorage, { from_ms, to_ms, cursor, limit }: EventsInput): EventsPage {
  const from = cursorOf(cursor);
  const most = pageSize(limit);
  const found: AggregateEvent[] = [];
  const batches = sql.exec(
    `SELECT batch_id, envelope_id, last_at_ms FROM batch
     WHERE last_at_ms >= ? AND first_at_ms < ? AND (last_at_ms, batch_id) <= (?, ?) ORDER BY last_at_ms DESC, batch_id DESC`,
    from_ms,
    to_ms,
    from?.last_at_ms ?? Number.MAX_SAFE_INTEGER,
    from?.batch_id ?? Number.MAX_SAFE_INTEGER,
  );
  for (const { batch_id, last_at_ms } of batches as Iterable<{ batch_id: number; last_at_ms: number }>) {
    const below = batch_id === from?.batch_id ? from.seq : Number.MAX_SAFE_INTEGER;
    const entries = sql
      .exec(
        `SELECT envelope_id, seq, at_ms, kind, amount_micros, balance_micros, reason, payment_id, ref_seq, hold_id, charge_reason, spender
         FROM event WHERE batch_id = ? AND at_ms >= ? AND at_ms < ? AND seq < ? ORDER BY seq DESC LIMIT ?`,
        batch_id,
        from_ms,
        to_ms,
        below,
        most - found.length,
      )
      .toArray() as unknown as AggregateEvent[];
    found.push(...entries);
    const last = entries.at(-1);
    if (found.length === most && last !== undefined) {
      return { events: found, cursor: `${last_at_ms}.${batch_id}.${last.seq}` };
    }
  }
  return { events: found, cursor: null };
}

function cursorOf(
  cursor: string | undefined,
): { readonly last_at_ms: number; readonly batch_id: number; readonly seq: number } | undefined {
  const [, last_at_ms, batch_id, seq] = /^(\d{1,16})\.(\d{1,16})\.(\d{1,16})$/.exec(cursor ?? "") ?? [];
  if (seq === undefined) return undefined;
  return { last_at_ms: Number(last_at_ms), batch_id: Number(batch_id), seq: Number(seq) };
}

export function health(sql: SqlStorage, now_ms: number): Omit<ShardHealth, "shard"> {
  const row = sql
    .exec(
      `SELECT envelopes, total.entries AS entries, behind, last_batch_at_ms, gaps, duplicates,
         total.entries - pruned.entries AS raw_events,
         (SELECT first_at_ms FROM batch ORDER BY last_at_ms LIMIT 1) AS raw_since_ms FROM total, pruned`,
    )
    .one();
  const measured = { lag_ms: lag(sql, now_ms), database_bytes: sql.databaseSize };
  return { ...(row as unknown as Omit<ShardHealth, "shard" | keyof typeof measured>), ...measured };
}

function pageSize(limit: number): number {
  return Math.max(1, Math.min(Math.trunc(limit) || 1, PAGE_MAX));
}
