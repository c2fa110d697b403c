/** The rows of an audit: in each envelope, and in the object that guards the owner's door. The rule is in audit.ts. */
import { sealOf } from "./audit.js";
import type { AuditLine, Author } from "./contract.js";

export interface AuditedAction {
  readonly action: string;
  readonly before: unknown;
  readonly after: unknown;
  /** Makes the action happen once. */
  readonly key?: string | undefined;
}

const LINE = "audit_id, at_ms, actor, action, reason, before, after, hash";

/** In the transaction of what it tells of. */
export function writeAudit(
  sql: SqlStorage,
  by: Author,
  { action, before, after, key }: AuditedAction,
  now_ms: number,
): void {
  const [last] = sql.exec(`SELECT ${LINE} FROM audit ORDER BY audit_id DESC LIMIT 1`).toArray();
  const previous = last as unknown as AuditLine | undefined;
  const line = {
    audit_id: (previous?.audit_id ?? 0) + 1,
    at_ms: Math.max(now_ms, previous?.at_ms ?? 0),
    actor: storable(by.actor),
    action,
    reason: by.reason === null ? null : storable(by.reason),
    before: before === null ? null : JSON.stringify(before),
    after: after === null ? null : JSON.stringify(after),
  };
  sql.exec(
    `INSERT INTO audit (${LINE}, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    line.audit_id,
    line.at_ms,
    line.actor,
    line.action,
    line.reason,
    line.before,
    line.after,
    sealOf(previous?.hash, line),
    key ?? null,
  );
}

/** Newest first. */
export function auditLines(sql: SqlStorage, before: number | null, limit: number): readonly AuditLine[] {
  return sql
    .exec(
      `SELECT ${LINE} FROM audit WHERE audit_id < ? ORDER BY audit_id DESC LIMIT ?`,
      before ?? Number.MAX_SAFE_INTEGER,
      limit,
    )
    .toArray() as unknown as AuditLine[];
}

/** As SQLite gives it back: half of a character outside the basic plane is no UTF-8, and a line sealed with it would look changed. */
function storable(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
