/** The tables of one shard of the directory. docs/storage.md explains them. */
export const DIRECTORY_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE claim (
    payment_id TEXT PRIMARY KEY,
    envelope_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE parked (
    event_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    report TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX parked_payment ON parked (payment_id);
  CREATE INDEX parked_at ON parked (at_ms);

  CREATE TABLE unclaimed (
    payment_id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    client_reference_id TEXT,
    currency TEXT,
    amount_total INTEGER,
    livemode INTEGER NOT NULL,
    facts TEXT,
    at_ms INTEGER NOT NULL,
    assigned_to TEXT,
    claimed_by TEXT NOT NULL DEFAULT '[]',
    assignment INTEGER NOT NULL DEFAULT 0,
    booked_at_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE card (
    card TEXT PRIMARY KEY,
    envelope_id TEXT,
    at_ms INTEGER NOT NULL,
    blocked_at_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  `,
  // Envelopes from before are known by their payments; each is enrolled again when it is mirrored from its beginning.
  `
  CREATE TABLE envelope (envelope_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  INSERT INTO envelope (envelope_id) SELECT DISTINCT envelope_id FROM claim;
  `,
  // What is still listed is looked at every few seconds, and what was assigned is kept for ever.
  `
  CREATE INDEX unclaimed_listed ON unclaimed (at_ms, payment_id) WHERE booked_at_ms IS NULL;
  `,
  `
  CREATE TABLE identity (
    hash TEXT PRIMARY KEY,
    envelope_id TEXT NOT NULL,
    identity_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX identity_of ON identity (identity_id);
  `,
];
