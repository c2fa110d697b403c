/** Of the object that guards the owner's door, which has none of the tables above. */
export const OWNER_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE door_try (
    address TEXT PRIMARY KEY,
    wrong INTEGER NOT NULL,
    locked_until_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX door_try_at ON door_try (at_ms);

  CREATE TABLE owner_session (
    hash TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  // As in an envelope.
  `
  CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT,
    before TEXT,
    after TEXT,
    hash TEXT NOT NULL,
    key TEXT
  ) STRICT;
  CREATE TRIGGER audit_follows BEFORE INSERT ON audit
  WHEN NEW.audit_id <> coalesce((SELECT max(audit_id) FROM audit), 0) + 1
  BEGIN SELECT RAISE(ABORT, 'audit line does not follow the one before it'); END;
  CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never changed'); END;
  CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never deleted'); END;
  `,
];
