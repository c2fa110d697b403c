/** The tables of one shard of the aggregate: copies for reports, never asked for a decision about money. docs/storage.md explains them. */
const SUMS = ["credited_micros", "granted_micros", "spent_micros", "refunded_micros", "reversed_micros"]
  .map((sum) => `${sum} INTEGER NOT NULL DEFAULT 0`)
  .join(", ");

export const AGGREGATE_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE envelope_summary (
    envelope_id TEXT PRIMARY KEY,
    currency TEXT NOT NULL,
    applied_seq INTEGER NOT NULL,
    balance_micros INTEGER NOT NULL,
    credited_micros INTEGER NOT NULL,
    granted_micros INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL,
    refunded_micros INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE envelope_summary ADD COLUMN reversed_micros INTEGER NOT NULL DEFAULT 0;
  `,
  // Copies made before there were roll-ups are forgotten, and their envelopes asked to send everything again.
  `
  ALTER TABLE envelope_summary ADD COLUMN head_seq INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope_summary ADD COLUMN frozen INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope_summary ADD COLUMN first_at_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope_summary ADD COLUMN cohort TEXT NOT NULL DEFAULT '';
  ALTER TABLE envelope_summary ADD COLUMN active_day_ms INTEGER NOT NULL DEFAULT -1;
  ALTER TABLE envelope_summary ADD COLUMN active_week_ms INTEGER NOT NULL DEFAULT -1;
  ALTER TABLE envelope_summary ADD COLUMN active_month_ms INTEGER NOT NULL DEFAULT -1;
  ALTER TABLE envelope_summary ADD COLUMN behind_since_ms INTEGER;
  ALTER TABLE envelope_summary ADD COLUMN pull_at_ms INTEGER;
  ALTER TABLE envelope_summary ADD COLUMN refusals_id TEXT;
  UPDATE envelope_summary SET head_seq = applied_seq, applied_seq = 0, balance_micros = 0, credited_micros = 0,
    granted_micros = 0, spent_micros = 0, refunded_micros = 0, reversed_micros = 0, last_at_ms = 0,
    behind_since_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER), pull_at_ms = 0;
  CREATE INDEX summary_recent ON envelope_summary (last_at_ms);
  CREATE INDEX summary_spent ON envelope_summary (spent_micros);
  CREATE INDEX summary_balance ON envelope_summary (balance_micros);
  CREATE INDEX summary_behind ON envelope_summary (behind_since_ms) WHERE behind_since_ms IS NOT NULL;
  CREATE INDEX summary_pull ON envelope_summary (pull_at_ms) WHERE pull_at_ms IS NOT NULL;

  CREATE TABLE total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    envelopes INTEGER NOT NULL DEFAULT 0,
    entries INTEGER NOT NULL DEFAULT 0,
    ${SUMS},
    outstanding_micros INTEGER NOT NULL DEFAULT 0,
    owed_micros INTEGER NOT NULL DEFAULT 0,
    frozen INTEGER NOT NULL DEFAULT 0,
    behind INTEGER NOT NULL DEFAULT 0,
    gaps INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    last_batch_at_ms INTEGER,
    arrival_ms INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  INSERT INTO total (id, behind) SELECT 1, count(*) FROM envelope_summary;

  -- Entries that were raw and are kept in sums only.
  CREATE TABLE pruned (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    entries INTEGER NOT NULL DEFAULT 0,
    ${SUMS}
  ) STRICT;
  INSERT INTO pruned (id) VALUES (1);

  CREATE TABLE hour (at_ms INTEGER PRIMARY KEY, entries INTEGER NOT NULL, charges INTEGER NOT NULL, ${SUMS}) STRICT;
  CREATE TABLE day (at_ms INTEGER PRIMARY KEY, entries INTEGER NOT NULL, charges INTEGER NOT NULL, ${SUMS}) STRICT;
  CREATE TABLE spend_hour (
    at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    charges INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL,
    refunded_micros INTEGER NOT NULL,
    PRIMARY KEY (at_ms, reason)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE spend_day (
    at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    charges INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL,
    refunded_micros INTEGER NOT NULL,
    PRIMARY KEY (at_ms, reason)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE active (
    period TEXT NOT NULL CHECK (period IN ('day', 'week', 'month')),
    at_ms INTEGER NOT NULL,
    envelopes INTEGER NOT NULL,
    PRIMARY KEY (period, at_ms)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE cohort (
    cohort TEXT NOT NULL,
    month TEXT NOT NULL,
    active INTEGER NOT NULL,
    credited_micros INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL,
    PRIMARY KEY (cohort, month)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE refusal (
    at_ms INTEGER NOT NULL,
    limited_by TEXT NOT NULL,
    refusals INTEGER NOT NULL,
    PRIMARY KEY (at_ms, limited_by)
  ) STRICT, WITHOUT ROWID;

  -- The entries last: what is before them is read without them.
  CREATE TABLE batch (
    batch_id INTEGER PRIMARY KEY,
    envelope_id TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    entries TEXT NOT NULL
  ) STRICT;
  CREATE INDEX batch_recent ON batch (last_at_ms);
  CREATE VIEW event AS
    SELECT batch.batch_id, batch.envelope_id, batch.first_seq + one.key AS seq, batch.first_at_ms + (one.value ->> 0) AS at_ms,
      one.value ->> 1 AS kind, one.value ->> 2 AS amount_micros, one.value ->> 3 AS balance_micros, one.value ->> 4 AS reason,
      one.value ->> 5 AS payment_id, one.value ->> 6 AS ref_seq, one.value ->> 7 AS hold_id, one.value ->> 8 AS charge_reason
    FROM batch, json_each(batch.entries) AS one;
  `,
  // What was given and never spent.
  ["envelope_summary", "total", "pruned", "hour", "day"]
    .map((table) => `ALTER TABLE ${table} ADD COLUMN expired_micros INTEGER NOT NULL DEFAULT 0;`)
    .join("\n"),
  // What budgets used is nobody's debt.
  `
  ALTER TABLE envelope_summary ADD COLUMN budget INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE total ADD COLUMN budgeted_micros INTEGER NOT NULL DEFAULT 0;
  `,
  // By key: a row for each day that one spent in. Of entries that came before it, who spent them is not known.
  `
  CREATE TABLE spend_key (
    at_ms INTEGER NOT NULL,
    envelope_id TEXT NOT NULL,
    spender TEXT NOT NULL,
    charges INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL,
    refunded_micros INTEGER NOT NULL,
    PRIMARY KEY (at_ms, envelope_id, spender)
  ) STRICT, WITHOUT ROWID;

  DROP VIEW event;
  CREATE VIEW event AS
    SELECT batch.batch_id, batch.envelope_id, batch.first_seq + one.key AS seq, batch.first_at_ms + (one.value ->> 0) AS at_ms,
      one.value ->> 1 AS kind, one.value ->> 2 AS amount_micros, one.value ->> 3 AS balance_micros, one.value ->> 4 AS reason,
      one.value ->> 5 AS payment_id, one.value ->> 6 AS ref_seq, one.value ->> 7 AS hold_id, one.value ->> 8 AS charge_reason,
      one.value ->> 9 AS spender
    FROM batch, json_each(batch.entries) AS one;
  `,
  `
  ALTER TABLE envelope_summary ADD COLUMN told_at_ms INTEGER NOT NULL DEFAULT 0;
  `,
  // What moved money and was no charge: by kind and reason, as charges are by reason. Of what came before, what the sums of hours and days say.
  ["hour", "day"]
    .map(
      (table) => `
  CREATE TABLE moved_${table} (
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    entries INTEGER NOT NULL,
    amount_micros INTEGER NOT NULL,
    PRIMARY KEY (at_ms, kind, reason)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO moved_${table} SELECT at_ms, 'topup', '(none)', 0, credited_micros FROM ${table} WHERE credited_micros <> 0;
  INSERT INTO moved_${table} SELECT at_ms, 'grant', '(none)', 0, granted_micros FROM ${table} WHERE granted_micros <> 0;
  INSERT INTO moved_${table} SELECT at_ms, 'clawback', '(none)', 0, -reversed_micros FROM ${table} WHERE reversed_micros <> 0;
  INSERT INTO moved_${table} SELECT at_ms, 'expiry', '(none)', 0, -expired_micros FROM ${table} WHERE expired_micros <> 0;
  CREATE INDEX moved_${table}_disputed ON moved_${table} (at_ms, amount_micros) WHERE kind IN ('clawback', 'reinstatement') AND reason = 'dispute';`,
    )
    .join(""),
  `
  ALTER TABLE pruned ADD COLUMN keyed_micros INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope_summary ADD COLUMN name TEXT;
  CREATE INDEX summary_name ON envelope_summary (name COLLATE NOCASE) WHERE name IS NOT NULL;
  `,
  // In the order of the numbers that a page and its cursor tell, which above 2^53 are the nearest ones.
  `
  DROP INDEX summary_spent;
  CREATE INDEX summary_spent ON envelope_summary (CAST(spent_micros AS REAL));
  `,
];
