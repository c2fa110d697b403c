/** The tables of one shard of `WS402Sessions`. docs/storage.md explains them. */
export const SESSIONS_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE session (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    envelope_id TEXT,
    price_micros INTEGER NOT NULL CHECK (price_micros >= 0),
    paid_micros INTEGER NOT NULL CHECK (paid_micros BETWEEN 0 AND 9007199254740991),
    consumed_micros INTEGER NOT NULL DEFAULT 0 CHECK (consumed_micros BETWEEN 0 AND paid_micros),
    open_ms INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    end_reason TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'ended')),
    lease_until_ms INTEGER NOT NULL,
    token_hash TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX session_open ON session (state) WHERE state = 'open';
  CREATE UNIQUE INDEX session_token ON session (token_hash) WHERE token_hash IS NOT NULL;

  CREATE TABLE payment (
    payment_ref TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    names TEXT NOT NULL,
    proof TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('verifying', 'paid')),
    amount_micros INTEGER NOT NULL DEFAULT 0 CHECK (amount_micros >= 0),
    refund_micros INTEGER NOT NULL DEFAULT 0 CHECK (refund_micros BETWEEN 0 AND amount_micros),
    refunded_at_ms INTEGER,
    refund_id TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at_ms INTEGER,
    error TEXT,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX payment_session ON payment (session_id);
  CREATE INDEX payment_due ON payment (next_at_ms) WHERE next_at_ms IS NOT NULL;

  CREATE TABLE used_name (
    name TEXT PRIMARY KEY,
    payment_ref TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- What was paid is given back at most once, and never taken back: a refund that was issued stays so.
  CREATE TRIGGER refund_is_final BEFORE UPDATE ON payment WHEN OLD.refunded_at_ms IS NOT NULL
    AND (NEW.refund_micros <> OLD.refund_micros OR NEW.refunded_at_ms IS NOT OLD.refunded_at_ms)
    BEGIN SELECT RAISE(ABORT, 'a refund that was issued is final'); END;
  CREATE TRIGGER session_is_final BEFORE UPDATE ON session WHEN OLD.state = 'ended'
    AND (NEW.state <> 'ended' OR NEW.consumed_micros <> OLD.consumed_micros OR NEW.paid_micros <> OLD.paid_micros)
    BEGIN SELECT RAISE(ABORT, 'a session that ended is final'); END;
  `,
];
