/** The tables of one shard of the aggregate: copies for reports, never asked for a decision about money. */
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
];
