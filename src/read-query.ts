/** One statement of the owner's, to be read with: whatever it does is rolled back, and it is told no more than it may carry. */
import type { QueryOutcome, ReadQuery } from "./contract.js";

const ROWS_MAX = 1_000;
/** Settings outlive a roll-back, and one of them switches the checks off that keep amounts whole. */
const FORBIDDEN = /\b(pragma|attach|detach|vacuum|begin|commit|rollback|savepoint|release)\b/i;
const READS = /^\s*(select|with|values|explain)\b/i;

class RolledBack extends Error {
  readonly outcome: QueryOutcome;
  constructor(outcome: QueryOutcome) {
    super("A read is rolled back");
    this.outcome = outcome;
  }
}

export function readQuery(storage: DurableObjectStorage, { statement, bindings = [] }: ReadQuery): QueryOutcome {
  const text = statement.replace(/;\s*$/, "");
  // A `;` inside a text is refused too: telling the two apart would take a parser.
  if (!READS.test(text) || text.includes(";") || FORBIDDEN.test(text)) {
    return {
      outcome: "invalid",
      detail: "One statement that reads, please: SELECT, WITH, VALUES or EXPLAIN, without a semicolon",
    };
  }
  try {
    storage.transactionSync(() => {
      throw new RolledBack(run(storage.sql, text, bindings));
    });
  } catch (error) {
    if (error instanceof RolledBack) return error.outcome;
    return { outcome: "invalid", detail: error instanceof Error ? error.message : String(error) };
  }
  return { outcome: "invalid", detail: "Nothing was read" };
}

function run(sql: SqlStorage, text: string, bindings: readonly (string | number | null)[]): QueryOutcome {
  const began_ms = Date.now();
  const cursor = sql.exec(text, ...bindings);
  const rows: (readonly (string | number | null)[])[] = [];
  let truncated = false;
  for (const row of cursor.raw()) {
    if (rows.length === ROWS_MAX) {
      truncated = true;
      break;
    }
    rows.push(row.map((value) => (value instanceof ArrayBuffer ? `(${value.byteLength} bytes)` : value)));
  }
  return {
    outcome: "rows",
    columns: cursor.columnNames,
    rows,
    truncated,
    rows_read: cursor.rowsRead,
    duration_ms: Date.now() - began_ms,
  };
}
