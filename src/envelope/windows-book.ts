/** The rows of windows, and the ledger as their rules read it. */
import type { EntryKind, WindowRule } from "../contract.js";
import type { Micros } from "../money.js";
import type { Store } from "./store.js";
import type { Ledger, LedgerRow, Tally, Window } from "./windows.js";

const ROW = "seq, at_ms, kind, amount_micros, windows";

export class WindowsBook implements Ledger {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get head(): { readonly seq: number; readonly at_ms: number } {
    return this.#store.head;
  }

  row(seq: number): LedgerRow | undefined {
    const [row] = this.#store.sql
      .exec(`SELECT ${ROW} FROM entry WHERE seq >= ? ORDER BY seq LIMIT 1`, seq)
      .toArray() as unknown as StoredRow[];
    return row && toRow(row);
  }

  newest(): LedgerRow | undefined {
    const [row] = this.#store.sql
      .exec(`SELECT ${ROW} FROM entry ORDER BY seq DESC LIMIT 1`)
      .toArray() as unknown as StoredRow[];
    return row && toRow(row);
  }

  /** From the first entry on, with what is folded. */
  took(from_seq: number, to_seq: number): number {
    const { took } = this.#store.sql
      .exec<{ took: number }>(
        `SELECT coalesce(sum(0 - amount_micros), 0)
             + CASE WHEN ?1 <= 1 THEN (SELECT 0 - folded_micros FROM envelope WHERE id = 1) ELSE 0 END AS took
         FROM entry WHERE seq BETWEEN ?1 AND ?2 AND kind IN ('charge', 'usage')`,
        from_seq,
        to_seq,
      )
      .one();
    return took;
  }

  gaveBack(from_seq: number, to_seq: number): number {
    const { back } = this.#store.sql
      .exec<{ back: number }>(
        "SELECT coalesce(sum(amount_micros), 0) AS back FROM entry WHERE ref_seq BETWEEN ? AND ? AND kind = 'refund'",
        from_seq,
        to_seq,
      )
      .one();
    return back;
  }

  windows(): readonly Window[] {
    if (!this.#store.exists) return [];
    return this.#store.sql
      .exec("SELECT * FROM spending_window WHERE ended_at_ms IS NULL ORDER BY id")
      .toArray()
      .map((row) => toWindow(row as unknown as StoredWindow));
  }

  file({ window_id, rule, since_ms, seen }: Omit<Window, "id">, now_ms: number): void {
    this.#store.sql.exec(
      `INSERT INTO spending_window (window_id, unit, every, alignment, time_zone, week_start, anchor_ms, limit_micros, since_ms,
         seen_seq, seen_mark, seen_micros, at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      window_id,
      rule.unit,
      rule.every,
      rule.alignment,
      rule.time_zone,
      rule.week_start,
      rule.anchor_ms,
      rule.limit_micros,
      since_ms,
      seen.seq,
      seen.tally[1],
      seen.tally[2],
      now_ms,
    );
  }

  setLimit(id: number, limit_micros: Micros): void {
    this.#store.sql.exec("UPDATE spending_window SET limit_micros = ? WHERE id = ?", limit_micros, id);
  }

  end(id: number, now_ms: number): void {
    this.#store.sql.exec("UPDATE spending_window SET ended_at_ms = ? WHERE id = ?", now_ms, id);
  }
}

interface StoredRow extends Omit<LedgerRow, "tallies"> {
  readonly kind: EntryKind;
  readonly windows: string | null;
}

function toRow({ windows, ...row }: StoredRow): LedgerRow {
  return { ...row, tallies: windows === null ? [] : (JSON.parse(windows) as Tally[]) };
}

interface StoredWindow extends WindowRule {
  readonly id: number;
  readonly window_id: string;
  readonly since_ms: number;
  readonly seen_seq: number;
  readonly seen_mark: number;
  readonly seen_micros: number;
}

function toWindow(row: StoredWindow): Window {
  const { id, window_id, since_ms, unit, every, alignment, time_zone, week_start, anchor_ms, limit_micros } = row;
  return {
    id,
    window_id,
    rule: { unit, every, alignment, time_zone, week_start, anchor_ms, limit_micros },
    since_ms,
    seen: { seq: row.seen_seq, tally: [id, row.seen_mark, row.seen_micros] },
  };
}
