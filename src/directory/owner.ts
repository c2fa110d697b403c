/** The rows of the object that guards the owner's door: tries by address and sessions, as hashes only, and what was done to the mirror. */
import { auditLines, writeAudit } from "../audit-rows.js";
import type { AuditLine, Author, DoorOutcome, DoorTry, OwnerSession } from "../contract.js";
import { hasSchema, migrate } from "../migrate.js";
import { decideTry, NO_TRIES, TRIES_KEPT_MS, type Tries } from "./door.js";
import { OWNER_MIGRATIONS } from "./owner-schema.js";

/** Most addresses kept. Whoever has more of them than this is not stopped by counting addresses. */
const ADDRESSES_MAX = 10_000;

export class OwnerStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** This object guards the door, and somebody tried it or is in. */
  get exists(): boolean {
    return this.#sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'door_try'").toArray().length > 0;
  }

  /** One turn, so that a hundred tries at once are counted one by one. */
  tryDoor({ address, right }: DoorTry, now_ms: number): DoorOutcome {
    const decision = decideTry(this.#tries(address, now_ms), right, now_ms);
    if (decision.outcome === "locked") return decision;
    if (decision.file !== undefined) this.#fileTries(address, decision.file, now_ms);
    else if (hasSchema(this.#storage)) this.#sql.exec("DELETE FROM door_try WHERE address = ?", address);
    return { outcome: decision.outcome };
  }

  openSession({ hash, actor, expires_at_ms }: OwnerSession, now_ms: number): void {
    migrate(this.#storage, OWNER_MIGRATIONS, now_ms);
    this.#sql.exec("DELETE FROM owner_session WHERE expires_at_ms <= ?", now_ms);
    this.#sql.exec(
      "INSERT INTO owner_session (hash, actor, at_ms, expires_at_ms) VALUES (?, ?, ?, ?)",
      hash,
      actor,
      now_ms,
      expires_at_ms,
    );
  }

  session(hash: string, now_ms: number): { readonly actor: string } | null {
    if (!hasSchema(this.#storage)) return null;
    const [row] = this.#sql
      .exec("SELECT actor FROM owner_session WHERE hash = ? AND expires_at_ms > ?", hash, now_ms)
      .toArray();
    return row === undefined ? null : { actor: row["actor"] as string };
  }

  note(by: Author, action: string, after: unknown, now_ms: number): void {
    migrate(this.#storage, OWNER_MIGRATIONS, now_ms);
    this.#storage.transactionSync(() => writeAudit(this.#sql, by, { action, before: null, after }, now_ms));
  }

  noted(before: number | null, limit: number): readonly AuditLine[] {
    return hasSchema(this.#storage) ? auditLines(this.#sql, before, limit) : [];
  }

  closeSession(hash: string): void {
    if (hasSchema(this.#storage)) this.#sql.exec("DELETE FROM owner_session WHERE hash = ?", hash);
  }

  #tries(address: string, now_ms: number): Tries {
    if (!hasSchema(this.#storage)) return NO_TRIES;
    const [row] = this.#sql
      .exec(
        "SELECT wrong, locked_until_ms FROM door_try WHERE address = ? AND at_ms > ?",
        address,
        now_ms - TRIES_KEPT_MS,
      )
      .toArray();
    return (row as Tries | undefined) ?? NO_TRIES;
  }

  #fileTries(address: string, { wrong, locked_until_ms }: Tries, now_ms: number): void {
    migrate(this.#storage, OWNER_MIGRATIONS, now_ms);
    this.#storage.transactionSync(() => {
      this.#sql.exec(
        `INSERT OR REPLACE INTO door_try (address, wrong, locked_until_ms, at_ms) VALUES (?, ?, ?, ?)`,
        address,
        wrong,
        locked_until_ms,
        now_ms,
      );
      // A new address only: the others are kept or not already.
      if (wrong > 1) return;
      this.#sql.exec("DELETE FROM door_try WHERE at_ms <= ?", now_ms - TRIES_KEPT_MS);
      this.#sql.exec(
        `DELETE FROM door_try WHERE at_ms < (SELECT at_ms FROM door_try ORDER BY at_ms DESC LIMIT 1 OFFSET ?)`,
        ADDRESSES_MAX,
      );
    });
  }
}
