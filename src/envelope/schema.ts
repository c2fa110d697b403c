/**
 * The tables of one envelope. docs/storage.md explains them column by column.
 *
 * STRICT, because every JavaScript number is bound as REAL and an ordinary column would keep a fraction. No TEXT primary
 * key on a rowid table and no AUTOINCREMENT, because each doubles the rows an insert writes, and rows written are what a
 * charge costs.
 */

import type { ENTRIES_KEPT, ENVELOPE_VERSION } from "./constants.js";

/** Does not compile where it is another than the one retries go by. */
const KEPT: typeof ENTRIES_KEPT = 8_192;

const SAFE = "9007199254740991";

/** `amount BETWEEN −(2^53−1) AND 2^53−1`: what a JavaScript number holds exactly, and what workerd reads back unharmed. */
const safe = (column: string): string => `CHECK (${column} BETWEEN -${SAFE} AND ${SAFE})`;

export const ENVELOPE_MIGRATIONS = [
  `
  CREATE TABLE envelope (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    envelope_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    frozen_at_ms INTEGER,
    mirrored_seq INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    amount_micros INTEGER NOT NULL ${safe("amount_micros")},
    balance_micros INTEGER NOT NULL ${safe("balance_micros")},
    key TEXT,
    scope TEXT,
    op TEXT,
    ref_seq INTEGER,
    hold_id INTEGER,
    payment_id TEXT,
    reason TEXT,
    metadata TEXT,
    CHECK (kind <> 'charge' OR amount_micros = 0 OR (amount_micros < 0 AND balance_micros >= 0))
  ) STRICT;
  CREATE UNIQUE INDEX entry_key ON entry (key) WHERE key IS NOT NULL;
  CREATE INDEX entry_ref ON entry (ref_seq) WHERE ref_seq IS NOT NULL;

  CREATE TRIGGER entry_follows BEFORE INSERT ON entry
  WHEN NEW.seq <> coalesce((SELECT max(seq) FROM entry), 0) + 1
    OR NEW.balance_micros <> NEW.amount_micros + coalesce((SELECT balance_micros FROM entry WHERE seq = NEW.seq - 1), 0)
  BEGIN SELECT RAISE(ABORT, 'entry does not follow the one before it'); END;
  CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
  CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;

  CREATE TABLE hold (
    hold_id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    amount_micros INTEGER NOT NULL ${safe("amount_micros")} CHECK (amount_micros > 0),
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released', 'expired')),
    settled_micros INTEGER ${safe("settled_micros")},
    settled_seq INTEGER,
    op TEXT NOT NULL,
    end_op TEXT,
    key TEXT,
    scope TEXT,
    reason TEXT
  ) STRICT;
  CREATE INDEX hold_open ON hold (hold_id) WHERE state = 'open';

  CREATE TABLE payment (
    payment_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('pending', 'failed', 'paid')),
    credit_micros INTEGER NOT NULL ${safe("credit_micros")},
    credited_seq INTEGER,
    session_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    livemode INTEGER NOT NULL,
    currency TEXT NOT NULL,
    amount_total INTEGER NOT NULL,
    amount_subtotal INTEGER,
    amount_discount INTEGER NOT NULL,
    amount_shipping INTEGER NOT NULL,
    amount_tax INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    CHECK ((state = 'paid') = (credited_seq IS NOT NULL))
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE credential (
    generation INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    used_at_ms INTEGER,
    expires_at_ms INTEGER
  ) STRICT;
  `,
  `
  ALTER TABLE payment ADD COLUMN reversed_micros INTEGER NOT NULL DEFAULT 0 ${safe("reversed_micros")} CHECK (reversed_micros BETWEEN 0 AND credit_micros);

  CREATE TABLE reversal (
    reversal_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('refund', 'dispute', 'warning', 'check')),
    rank INTEGER NOT NULL,
    amount INTEGER NOT NULL ${safe("amount")},
    whole INTEGER NOT NULL,
    open INTEGER NOT NULL,
    freezes INTEGER NOT NULL,
    told_at INTEGER NOT NULL,
    status_rank INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX reversal_payment ON reversal (payment_id);
  CREATE TABLE disowned (
    payment_id TEXT PRIMARY KEY,
    assignment INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX reversal_open ON reversal (reversal_id) WHERE open = 1;
  `,
  `
  CREATE TABLE payment_login (
    payment_id TEXT PRIMARY KEY,
    card TEXT NOT NULL,
    session_envelope_id TEXT,
    session_key_id TEXT,
    kept INTEGER NOT NULL DEFAULT 0,
    at_ms INTEGER NOT NULL,
    CHECK ((session_envelope_id IS NULL) = (session_key_id IS NULL))
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE limited_session (
    key_id TEXT PRIMARY KEY,
    hash TEXT,
    payment_id TEXT,
    at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    ended_at_ms INTEGER,
    CHECK (ended_at_ms IS NOT NULL OR (hash IS NOT NULL AND payment_id IS NOT NULL AND expires_at_ms IS NOT NULL))
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE topup (
    topup_id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL CHECK (origin IN ('api', 'auto')),
    status TEXT NOT NULL CHECK (status IN ('PENDING', 'FAILED', 'SUCCEEDED')),
    attempt TEXT NOT NULL,
    key TEXT,
    amount_micros INTEGER NOT NULL ${safe("amount_micros")} CHECK (amount_micros > 0),
    currency TEXT NOT NULL,
    reference TEXT,
    customer TEXT,
    payment_method TEXT,
    payment_id TEXT,
    failure TEXT,
    code TEXT,
    at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    first_try_ms INTEGER,
    next_try_ms INTEGER,
    CHECK ((status = 'PENDING') = (ended_at_ms IS NULL)),
    CHECK ((origin = 'auto') = (customer IS NOT NULL AND payment_method IS NOT NULL))
  ) STRICT;
  CREATE UNIQUE INDEX topup_attempt ON topup (attempt);
  CREATE UNIQUE INDEX topup_key ON topup (key) WHERE key IS NOT NULL;
  CREATE INDEX topup_payment ON topup (payment_id) WHERE payment_id IS NOT NULL;
  CREATE UNIQUE INDEX topup_in_flight ON topup (origin) WHERE origin = 'auto' AND status = 'PENDING';

  CREATE TABLE auto_topup (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    enabled INTEGER NOT NULL,
    customer TEXT NOT NULL,
    payment_method TEXT NOT NULL,
    stopped TEXT,
    since_topup_id INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT;
  `,
  `
  ALTER TABLE payment_login ADD COLUMN shut_at_ms INTEGER;
  ALTER TABLE payment_login ADD COLUMN mistakes INTEGER NOT NULL DEFAULT 0;
  `,
  `
  ALTER TABLE payment ADD COLUMN paid_currency TEXT;
  ALTER TABLE reversal ADD COLUMN currency TEXT;
  `,
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
  CREATE UNIQUE INDEX audit_key ON audit (key) WHERE key IS NOT NULL;
  CREATE TRIGGER audit_follows BEFORE INSERT ON audit
  WHEN NEW.audit_id <> coalesce((SELECT max(audit_id) FROM audit), 0) + 1
  BEGIN SELECT RAISE(ABORT, 'audit line does not follow the one before it'); END;
  CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never changed'); END;
  CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never deleted'); END;

  CREATE TABLE stripe_refund (
    attempt TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    amount INTEGER NOT NULL ${safe("amount")} CHECK (amount > 0),
    asked_all INTEGER NOT NULL,
    livemode INTEGER NOT NULL,
    refund_id TEXT,
    status TEXT,
    code TEXT,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX stripe_refund_key ON stripe_refund (key);
  CREATE INDEX stripe_refund_payment ON stripe_refund (payment_id);
  `,
  // Folding. What is deleted is what the checkpoint gained, or nothing is: a fold raises folded_seq, where its sums are checked,
  // and only then are the rows free to go. None of them is left below folded_seq afterwards, so no other delete gets through.
  `
  ALTER TABLE hold ADD COLUMN paid_micros INTEGER ${safe("paid_micros")};
  ALTER TABLE envelope ADD COLUMN folded_seq INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope ADD COLUMN folded_at_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope ADD COLUMN folded_charges INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE envelope ADD COLUMN folded_micros INTEGER NOT NULL DEFAULT 0 ${safe("folded_micros")};

  CREATE VIEW foldable AS SELECT seq, at_ms, amount_micros, hold_id FROM entry
    WHERE kind = 'charge' AND key IS NULL AND NOT EXISTS (SELECT 1 FROM entry AS back WHERE back.ref_seq = entry.seq);

  CREATE TRIGGER envelope_folds BEFORE UPDATE OF folded_seq, folded_at_ms, folded_charges, folded_micros ON envelope
  WHEN NEW.folded_seq <= OLD.folded_seq OR NEW.folded_seq > NEW.mirrored_seq
    OR NEW.folded_seq > (SELECT max(seq) FROM entry) - ${KEPT}
    OR NEW.folded_at_ms IS NOT (SELECT at_ms FROM entry WHERE seq = NEW.folded_seq)
    OR (NEW.folded_charges - OLD.folded_charges, NEW.folded_micros - OLD.folded_micros) IS NOT
      (SELECT count(*), coalesce(sum(amount_micros), 0) FROM foldable WHERE seq > OLD.folded_seq AND seq <= NEW.folded_seq)
  BEGIN SELECT RAISE(ABORT, 'a checkpoint is the sum of what it folds'); END;
  CREATE TRIGGER envelope_stays BEFORE DELETE ON envelope BEGIN SELECT RAISE(ABORT, 'a checkpoint is never deleted'); END;

  DROP TRIGGER entry_no_delete;
  CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry
  WHEN OLD.seq > coalesce((SELECT folded_seq FROM envelope WHERE id = 1), 0)
    OR NOT EXISTS (SELECT 1 FROM foldable WHERE seq = OLD.seq)
  BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
  `,
  `
  CREATE TABLE alert (
    watch TEXT PRIMARY KEY,
    threshold_micros INTEGER NOT NULL ${safe("threshold_micros")},
    start_ms INTEGER,
    at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE announcement (
    announcement_id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL,
    body TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_try_ms INTEGER
  ) STRICT;

  CREATE TABLE refused_usage (
    record_id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('BLOCKED', 'ERROR')),
    amount_micros INTEGER NOT NULL ${safe("amount_micros")},
    detail TEXT NOT NULL,
    key TEXT,
    spender_id TEXT,
    reason TEXT,
    metadata TEXT
  ) STRICT;
  `,
  // An owner may open an envelope although a dispute is not decided yet.
  `
  ALTER TABLE reversal ADD COLUMN lifted INTEGER NOT NULL DEFAULT 0;
  `,
  // Lots. What an entry says that it moved is its amount, and all lots together have what they had, and what it moved in them. (In
  // one pass over each: SQLite's billing counts what json_each reads.)
  `
  CREATE TABLE lot (
    lot_id INTEGER PRIMARY KEY,
    granted_micros INTEGER NOT NULL ${safe("granted_micros")} CHECK (granted_micros > 0),
    priority INTEGER NOT NULL,
    expires_at_ms INTEGER,
    only_tag TEXT,
    revoked_at_ms INTEGER
  ) STRICT;
  ALTER TABLE entry ADD COLUMN lots TEXT;
  ALTER TABLE hold ADD COLUMN tag TEXT;
  ALTER TABLE hold ADD COLUMN lots TEXT;

  CREATE TRIGGER entry_lots BEFORE INSERT ON entry
  WHEN NEW.lots IS NOT NULL AND (
    SELECT coalesce(sum(value ->> 2), 0) <> NEW.amount_micros
      OR min(iif(value ->> 0 = 0, 0, value ->> 1)) < 0
      OR sum(iif(value ->> 0 = 0, 0, (value ->> 1) - coalesce(value ->> 2, 0))) <> (
        SELECT coalesce(sum(iif(value ->> 0 = 0, 0, value ->> 1)), 0)
        FROM json_each((SELECT lots FROM entry WHERE seq = NEW.seq - 1)))
    FROM json_each(NEW.lots))
  BEGIN SELECT RAISE(ABORT, 'lots do not follow on the entry before'); END;
  `,
  // Windows and budgets. What a window has counted travels in the entries; its row keeps the rule, and what it had counted when it was made.
  // A row is never used for another rule, so it stays when its window ends. The first entry stays in the ledger, so that it is known when that began.
  `
  ALTER TABLE envelope ADD COLUMN prepaid INTEGER NOT NULL DEFAULT 1 CHECK (prepaid IN (0, 1));
  ALTER TABLE envelope ADD COLUMN name TEXT;
  ALTER TABLE envelope ADD COLUMN owner_account_id TEXT;
  ALTER TABLE envelope ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';
  ALTER TABLE entry ADD COLUMN windows TEXT;

  CREATE TABLE spending_window (
    id INTEGER PRIMARY KEY,
    window_id TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('HOURLY', 'DAILY', 'WEEKLY', 'MONTHLY', 'ANNUAL', 'ONCE')),
    every INTEGER NOT NULL CHECK (every >= 1),
    alignment TEXT NOT NULL CHECK (alignment IN ('calendar', 'anchored', 'rolling')),
    time_zone TEXT NOT NULL,
    week_start INTEGER NOT NULL CHECK (week_start BETWEEN 1 AND 7),
    anchor_ms INTEGER,
    limit_micros INTEGER NOT NULL ${safe("limit_micros")} CHECK (limit_micros >= 0),
    since_ms INTEGER NOT NULL,
    seen_seq INTEGER NOT NULL,
    seen_mark INTEGER NOT NULL,
    seen_micros INTEGER NOT NULL ${safe("seen_micros")},
    at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    CHECK ((alignment = 'anchored') = (anchor_ms IS NOT NULL))
  ) STRICT;
  CREATE UNIQUE INDEX spending_window_open ON spending_window (window_id) WHERE ended_at_ms IS NULL;
  CREATE TRIGGER spending_window_stays BEFORE DELETE ON spending_window
  BEGIN SELECT RAISE(ABORT, 'what counted is never deleted'); END;

  CREATE TRIGGER entry_usage BEFORE INSERT ON entry
  WHEN NEW.kind = 'usage' AND (NEW.amount_micros > 0 OR coalesce((SELECT prepaid FROM envelope WHERE id = 1), 1) = 1)
  BEGIN SELECT RAISE(ABORT, 'only a budget is used'); END;
  CREATE TRIGGER envelope_prepaid BEFORE UPDATE OF prepaid ON envelope
  WHEN NEW.prepaid <> OLD.prepaid AND EXISTS (SELECT 1 FROM entry)
  BEGIN SELECT RAISE(ABORT, 'a ledger is of one sort'); END;

  DROP VIEW foldable;
  CREATE VIEW foldable AS SELECT seq, at_ms, amount_micros, hold_id FROM entry
    WHERE kind IN ('charge', 'usage') AND key IS NULL AND seq > 1
      AND NOT EXISTS (SELECT 1 FROM entry AS back WHERE back.ref_seq = entry.seq);
  `,
  // Who may spend beside the holder. Sums are of entries up to counted_seq, so what is not counted yet is not folded.
  `
  CREATE TABLE spender (
    spender_id INTEGER PRIMARY KEY,
    public_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('USERNAME', 'EMAIL', 'PHONE', 'API_KEY', 'WALLET', 'CUSTOM')),
    minted INTEGER NOT NULL CHECK (minted IN (0, 1)),
    hash TEXT NOT NULL,
    last4 TEXT,
    shard INTEGER,
    name TEXT,
    scopes TEXT NOT NULL,
    cap_micros INTEGER ${safe("cap_micros")},
    windows TEXT NOT NULL,
    maker_id INTEGER,
    at_ms INTEGER NOT NULL,
    activated_at_ms INTEGER,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER,
    charges INTEGER NOT NULL DEFAULT 0,
    spent_micros INTEGER NOT NULL DEFAULT 0,
    refunded_micros INTEGER NOT NULL DEFAULT 0,
    drawn_micros INTEGER NOT NULL DEFAULT 0,
    last_used_at_ms INTEGER,
    periods TEXT NOT NULL DEFAULT '[]',
    CHECK ((minted = 1) = (last4 IS NOT NULL) AND (minted = 0) = (shard IS NOT NULL)),
    CHECK (minted = 0 OR activated_at_ms IS NOT NULL),
    CHECK (maker_id < spender_id)
  ) STRICT;
  CREATE UNIQUE INDEX spender_public ON spender (public_id);
  CREATE INDEX spender_hash ON spender (hash) WHERE minted = 0;
  CREATE INDEX spender_maker ON spender (maker_id) WHERE maker_id IS NOT NULL;
  CREATE TRIGGER spender_stays BEFORE DELETE ON spender WHEN OLD.activated_at_ms IS NOT NULL
  BEGIN SELECT RAISE(ABORT, 'what could spend is never deleted'); END;
  CREATE TRIGGER spender_ends BEFORE UPDATE OF revoked_at_ms ON spender WHEN OLD.revoked_at_ms IS NOT NULL
  BEGIN SELECT RAISE(ABORT, 'what was revoked stays so'); END;

  ALTER TABLE entry ADD COLUMN spender_id INTEGER;
  ALTER TABLE hold ADD COLUMN spender_id INTEGER;
  ALTER TABLE envelope ADD COLUMN counted_seq INTEGER;
  CREATE TRIGGER envelope_counts BEFORE UPDATE OF counted_seq, folded_seq ON envelope
  WHEN NEW.counted_seq < NEW.folded_seq OR NEW.counted_seq < OLD.counted_seq
  BEGIN SELECT RAISE(ABORT, 'what is folded is counted'); END;
  `,
  // Meters: what was delivered, as of the last renewal.
  `
  ALTER TABLE hold ADD COLUMN used_micros INTEGER ${safe("used_micros")} CHECK (used_micros BETWEEN 0 AND amount_micros);
  `,
  // What all folded charges took may be more than any one amount, so this one sum is not kept within what a number holds.
  `
  DROP TRIGGER envelope_folds;
  ALTER TABLE envelope RENAME COLUMN folded_micros TO folded_safe_micros;
  ALTER TABLE envelope ADD COLUMN folded_micros INTEGER NOT NULL DEFAULT 0;
  UPDATE envelope SET folded_micros = folded_safe_micros;
  ALTER TABLE envelope DROP COLUMN folded_safe_micros;
  CREATE TRIGGER envelope_folds BEFORE UPDATE OF folded_seq, folded_at_ms, folded_charges, folded_micros ON envelope
  WHEN NEW.folded_seq <= OLD.folded_seq OR NEW.folded_seq > NEW.mirrored_seq
    OR NEW.folded_seq > (SELECT max(seq) FROM entry) - ${KEPT}
    OR NEW.folded_at_ms IS NOT (SELECT at_ms FROM entry WHERE seq = NEW.folded_seq)
    OR (NEW.folded_charges - OLD.folded_charges, NEW.folded_micros - OLD.folded_micros) IS NOT
      (SELECT count(*), coalesce(sum(amount_micros), 0) FROM foldable WHERE seq > OLD.folded_seq AND seq <= NEW.folded_seq)
  BEGIN SELECT RAISE(ABORT, 'a checkpoint is the sum of what it folds'); END;
  `,
] as const satisfies readonly string[] & { readonly length: typeof ENVELOPE_VERSION };
