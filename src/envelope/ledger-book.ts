/** The ledger as it is read by whoever is not a charge: pages of it, its sums, and what of it is to be mirrored or folded. */
import {
  ENTRIES_PAGE_MAX,
  type Entry,
  type EntryKind,
  type ExactSums,
  type LedgerSums,
  type MirrorEntry,
  type MirrorOpening,
} from "../contract.js";
import type { Stretch } from "./folding.js";
import type { FoldedCharge, Refundable } from "./giving.js";
import type { Store } from "./store.js";

/** The sum that a kind of entry counts towards, and its sign there: said apart from the aggregate's own list, so that the proof compares two. */
const SUM_OF = {
  topup: ["credited_micros", 1],
  grant: ["granted_micros", 1],
  charge: ["spent_micros", -1],
  usage: ["spent_micros", -1],
  refund: ["refunded_micros", 1],
  clawback: ["reversed_micros", -1],
  reinstatement: ["reversed_micros", -1],
  expiry: ["expired_micros", -1],
  revocation: ["expired_micros", -1],
} as const satisfies Record<EntryKind, readonly [keyof ExactSums, 1 | -1]>;

/** What a page's charges come to; the amount as text, because all of them together may be more than a number holds. */
export interface FoldedSums {
  readonly charges: number;
  readonly amount: string;
}

const SPENDER = "(SELECT public_id FROM spender WHERE spender.spender_id = entry.spender_id) AS spender";

export class LedgerBook {
  readonly #store: Store;
  readonly #sql: SqlStorage;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = store.sql;
  }

  refundable(charge: { readonly seq: number } | { readonly key: string }): Refundable | FoldedCharge | undefined {
    if (!this.#store.exists) return undefined;
    const [column, value] = "seq" in charge ? ["seq", charge.seq] : ["key", charge.key];
    const [row] = this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, spender_id,
           (SELECT coalesce(sum(amount_micros), 0) FROM entry AS back WHERE back.ref_seq = entry.seq) AS refunded_micros
         FROM entry WHERE ${column} = ?`,
        value,
      )
      .toArray();
    if (row === undefined && "seq" in charge && this.#isFolded(charge.seq)) return { folded: charge.seq };
    return row as unknown as Refundable | undefined;
  }

  /** Of a number that has no row. */
  #isFolded(seq: number): boolean {
    return Number.isSafeInteger(seq) && seq >= 1 && seq <= this.#store.head.folded_seq;
  }

  entries(after: number, limit: number): readonly Entry[] {
    if (!this.#store.exists) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, key, ref_seq, hold_id, payment_id, reason, metadata, lots, ${SPENDER}
         FROM entry WHERE seq > ? ORDER BY seq LIMIT ?`,
        after,
        limit,
      )
      .toArray() as unknown as Entry[];
  }

  atOf(seq: number): number {
    const [row] = this.#sql.exec("SELECT at_ms FROM entry WHERE seq = ?", seq).toArray();
    return (row?.["at_ms"] as number | undefined) ?? 0;
  }

  page({ first_seq, last_seq }: Stretch): { readonly entries: readonly Entry[]; readonly sums: FoldedSums } {
    const sums = this.#sql
      .exec(
        "SELECT count(*) AS charges, CAST(coalesce(sum(amount_micros), 0) AS TEXT) AS amount FROM foldable WHERE seq BETWEEN ? AND ?",
        first_seq,
        last_seq,
      )
      .one() as unknown as FoldedSums;
    return { entries: this.entries(first_seq - 1, last_seq - first_seq + 1), sums };
  }

  /** What was archived becomes part of the checkpoint, and its rows go. The schema refuses it where the sums are others by now. */
  fold({ first_seq, last_seq }: Stretch, { charges, amount }: FoldedSums): void {
    this.#store.transaction(() => {
      // Holds that were settled before what they paid was noted with them.
      this.#sql.exec(
        `UPDATE hold SET paid_micros = (SELECT 0 - amount_micros FROM entry WHERE seq = settled_seq)
         WHERE paid_micros IS NULL AND hold_id IN (SELECT hold_id FROM foldable WHERE seq BETWEEN ? AND ?)`,
        first_seq,
        last_seq,
      );
      this.#sql.exec(
        `UPDATE envelope SET folded_seq = ?1, folded_at_ms = (SELECT at_ms FROM entry WHERE seq = ?1),
           folded_charges = folded_charges + ?2, folded_micros = folded_micros + CAST(?3 AS INTEGER) WHERE id = 1`,
        last_seq,
        charges,
        amount,
      );
      this.#sql.exec(
        "DELETE FROM entry WHERE seq IN (SELECT seq FROM foldable WHERE seq BETWEEN ? AND ?)",
        first_seq,
        last_seq,
      );
    });
    this.#store.know({ folded_seq: last_seq });
  }

  /** What the mirror has to send first, where the next entries are folded. */
  opening(): MirrorOpening | undefined {
    const { mirrored_seq, folded_seq } = this.#store.head;
    if (mirrored_seq >= folded_seq) return undefined;
    const { head_seq: _, folded_seq: __, ...sums } = this.sums(folded_seq);
    // Only charges are ever folded, so all others can still be counted.
    const { others, first_at_ms, at_ms } = this.#sql
      .exec<{ others: number; first_at_ms: number; at_ms: number }>(
        `SELECT (SELECT count(*) FROM entry WHERE kind NOT IN ('charge', 'usage') AND seq > ? AND seq <= ?) AS others,
           (SELECT at_ms FROM entry ORDER BY seq LIMIT 1) AS first_at_ms, folded_at_ms AS at_ms FROM envelope`,
        mirrored_seq,
        folded_seq,
      )
      .one();
    return { ...sums, after_seq: mirrored_seq, charges: folded_seq - mirrored_seq - others, first_at_ms, at_ms };
  }

  /** The next entries that the mirror has to send. A refund carries the reason of its charge, which the aggregate would have to search for. */
  unmirrored(limit: number): readonly MirrorEntry[] {
    if (this.#store.head.mirrored_seq >= this.#store.head.seq) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, reason, payment_id, ref_seq, hold_id, ${SPENDER},
           (SELECT reason FROM entry AS charge WHERE charge.seq = entry.ref_seq) AS charge_reason
         FROM entry WHERE seq > ? ORDER BY seq LIMIT ?`,
        Math.max(this.#store.head.mirrored_seq, this.#store.head.folded_seq),
        limit,
      )
      .toArray() as unknown as MirrorEntry[];
  }

  /**
   * Read from the checkpoint and every row up to an entry, so that it owes nothing to what is in memory. What was before the end of
   * the checkpoint cannot be told any more: then it is of the checkpoint's end.
   */
  sums(up_to: number): LedgerSums {
    const sums = {
      credited_micros: 0n,
      granted_micros: 0n,
      spent_micros: 0n,
      refunded_micros: 0n,
      reversed_micros: 0n,
      expired_micros: 0n,
    };
    let seq = 0;
    // Each may be more than a number holds; what they come to is a balance, which is not.
    let balance = 0n;
    const [checkpoint] = this.#store.exists ? this.#sql.exec("SELECT folded_seq FROM envelope").toArray() : [];
    const folded_seq = (checkpoint?.["folded_seq"] as number | undefined) ?? 0;
    const rows = this.#store.exists
      ? this.#sql.exec(
          `SELECT kind, CAST(sum(amount_micros) AS TEXT) AS amount, count(*) AS entries FROM entry WHERE seq <= ? GROUP BY kind
           UNION ALL SELECT 'charge', CAST(folded_micros AS TEXT), folded_charges FROM envelope`,
          Math.max(up_to, folded_seq),
        )
      : [];
    for (const row of rows) {
      const amount = BigInt(row["amount"] as string);
      const [sum, sign] = SUM_OF[row["kind"] as EntryKind];
      sums[sum] += BigInt(sign) * amount;
      balance += amount;
      seq += row["entries"] as number;
    }
    return {
      ...told(sums, Number),
      seq,
      balance_micros: Number(balance),
      head_seq: this.#store.head.seq,
      folded_seq,
      exact: told(sums, String),
    } as LedgerSums;
  }

  newest(before: number | null, limit: number): readonly Entry[] {
    if (!this.#store.exists) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, key, ref_seq, hold_id, payment_id, reason, metadata, lots, ${SPENDER}
         FROM entry WHERE seq < ? ORDER BY seq DESC LIMIT ?`,
        before ?? Number.MAX_SAFE_INTEGER,
        limit,
      )
      .toArray() as unknown as Entry[];
  }
}

function told<Told>(sums: Readonly<Record<keyof ExactSums, bigint>>, as: (sum: bigint) => Told) {
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, as(sum)]));
}

export function pageLimit(limit: number): number {
  return Math.max(1, Math.min(limit, ENTRIES_PAGE_MAX));
}
