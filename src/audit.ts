/**
 * The rule of audit lines: each seals the one before it, so that a line which was changed, dropped or put in later shows. Pure.
 * It convinces whoever kept a later hash somewhere else; nobody else, as a database that can be written can be written anew.
 */
import type { AuditLine } from "./contract.js";
import { digest } from "./secrets.js";

/** What the first line follows. */
const BEGINNING = "";

export type UnsealedLine = Omit<AuditLine, "hash">;

/** Base62 SHA-256 over the hash of the line before and this line, as a JSON array with one defined order. */
export function sealOf(previous_hash: string | undefined, line: UnsealedLine): string {
  const { audit_id, at_ms, actor, action, reason, before, after } = line;
  const text = JSON.stringify([previous_hash ?? BEGINNING, audit_id, at_ms, actor, action, reason, before, after]);
  return digest(text, 32);
}

/**
 * The number of the first line that does not follow, `null` when all do. Lines oldest first, from the first one, or from the one
 * after the line whose hash is given.
 */
export function verifyAudit(
  lines: readonly AuditLine[],
  after?: { readonly audit_id: number; readonly hash: string },
): number | null {
  let [number, hash] = [after?.audit_id ?? 0, after?.hash];
  for (const line of lines) {
    if (line.audit_id !== number + 1 || line.hash !== sealOf(hash, line)) return number + 1;
    [number, hash] = [line.audit_id, line.hash];
  }
  return null;
}
