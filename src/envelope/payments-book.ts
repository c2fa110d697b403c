/** The rows of payments and of what was taken back of them. Decides nothing, keeps nothing in memory. */
import type { PaymentFacts, PaymentReport, Reversal } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { NO_FILE, type PaymentFile } from "./payments.js";
import type { Store } from "./store.js";

export class PaymentsBook {
  readonly #store: Store;
  readonly #sql: SqlStorage;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = store.sql;
  }

  paymentFile(payment_id: string): PaymentFile {
    if (!this.#store.exists) return NO_FILE;
    const [row] = this.#sql.exec("SELECT * FROM payment WHERE payment_id = ?", payment_id).toArray();
    const [disowned] = this.#sql.exec("SELECT assignment FROM disowned WHERE payment_id = ?", payment_id).toArray();
    const reversals = this.#sql
      .exec(
        `SELECT reversal_id, kind, rank, amount, currency, whole, open, freezes, told_at, status_rank
         FROM reversal WHERE payment_id = ? ORDER BY reversal_id`,
        payment_id,
      )
      .toArray()
      .map((one) => ({ ...one, whole: one["whole"] === 1, open: one["open"] === 1, freezes: one["freezes"] === 1 }));
    return {
      payment: row && ({ ...row, livemode: row["livemode"] === 1 } as unknown as PaymentFacts),
      reversals: reversals as unknown as Reversal[],
      reversed_micros: (row?.["reversed_micros"] as Micros | undefined) ?? ZERO,
      disowned: (disowned?.["assignment"] as number | undefined) ?? null,
    };
  }

  /** Open disputes freeze no longer. One that is decided and opened again does. */
  liftDisputes(): void {
    this.#sql.exec(
      `UPDATE reversal SET lifted = 1 WHERE open = 1 AND freezes = 1
         AND payment_id IN (SELECT payment_id FROM payment WHERE state = 'paid')`,
    );
    this.#store.loadDisputes();
  }

  /** How a payment stands that was credited before any other; `undefined` of one that was not. */
  firstPaid(
    payment_id: string,
  ): { readonly credited_seq: number; readonly credit_micros: Micros; readonly reversed_micros: Micros } | undefined {
    if (!this.#store.exists) return undefined;
    const [row] = this.#sql
      .exec<{ credited_seq: number; credit_micros: Micros; reversed_micros: Micros }>(
        `SELECT credited_seq, credit_micros, reversed_micros FROM payment WHERE payment_id = ? AND state = 'paid'
           AND credited_seq = (SELECT min(credited_seq) FROM payment WHERE state = 'paid')`,
        payment_id,
      )
      .toArray();
    return row;
  }

  disown(payment_id: string, assignment: number, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO disowned (payment_id, assignment, at_ms) VALUES (?, ?, ?)
       ON CONFLICT (payment_id) DO UPDATE SET assignment = max(assignment, excluded.assignment)`,
      payment_id,
      assignment,
      now_ms,
    );
  }

  /** Files what a report changed. `credited_seq` is the entry of the payment's credit, when this report brought it. */
  filePayment(
    payment_id: string,
    file: Pick<PaymentReport, "payment" | "reversal"> & { readonly reversed_micros: Micros },
    credited_seq: number | null,
    now_ms: number,
  ): void {
    if (file.payment !== undefined) this.#sql.exec("DELETE FROM disowned WHERE payment_id = ?", payment_id);
    if (file.payment !== undefined) this.#filePaymentFacts(payment_id, file.payment, credited_seq, now_ms);
    this.#sql.exec(
      "UPDATE payment SET reversed_micros = ?2 WHERE payment_id = ?1 AND reversed_micros <> ?2",
      payment_id,
      file.reversed_micros,
    );
    if (file.reversal !== undefined) this.#fileReversal(payment_id, file.reversal);
    this.#store.loadDisputes();
  }

  #filePaymentFacts(payment_id: string, facts: PaymentFacts, credited_seq: number | null, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO payment (payment_id, state, credit_micros, credited_seq, session_id, event_id, livemode, currency,
         amount_total, amount_subtotal, amount_discount, amount_shipping, amount_tax, paid_currency, at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (payment_id) DO UPDATE SET state = excluded.state, credit_micros = excluded.credit_micros,
         credited_seq = excluded.credited_seq, session_id = excluded.session_id, event_id = excluded.event_id,
         at_ms = excluded.at_ms, amount_total = excluded.amount_total, amount_subtotal = excluded.amount_subtotal,
         amount_discount = excluded.amount_discount, amount_shipping = excluded.amount_shipping,
         amount_tax = excluded.amount_tax, paid_currency = excluded.paid_currency`,
      payment_id,
      facts.state,
      facts.credit_micros,
      credited_seq,
      facts.session_id,
      facts.event_id,
      facts.livemode ? 1 : 0,
      facts.currency,
      facts.amount_total,
      facts.amount_subtotal,
      facts.amount_discount,
      facts.amount_shipping,
      facts.amount_tax,
      facts.paid_currency ?? null,
      now_ms,
    );
  }

  #fileReversal(payment_id: string, reversal: Reversal): void {
    this.#sql.exec(
      `INSERT INTO reversal (reversal_id, payment_id, kind, rank, amount, currency, whole, open, freezes, told_at, status_rank)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (reversal_id) DO UPDATE SET payment_id = excluded.payment_id, kind = excluded.kind, rank = excluded.rank,
         amount = excluded.amount, currency = excluded.currency, whole = excluded.whole, open = excluded.open,
         freezes = excluded.freezes, told_at = excluded.told_at, status_rank = excluded.status_rank,
         lifted = lifted AND excluded.open`,
      reversal.reversal_id,
      payment_id,
      reversal.kind,
      reversal.rank,
      reversal.amount,
      reversal.currency ?? null,
      reversal.whole ? 1 : 0,
      reversal.open ? 1 : 0,
      reversal.freezes ? 1 : 0,
      reversal.told_at,
      reversal.status_rank,
    );
  }
}
