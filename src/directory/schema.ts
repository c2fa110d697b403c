/** The tables of one shard of the directory. */
export const DIRECTORY_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE unclaimed (
    payment_id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    client_reference_id TEXT,
    currency TEXT,
    amount_total INTEGER,
    livemode INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];
