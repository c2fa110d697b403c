/** Money that was paid: what Stripe says of payments, and what becomes of them. */
import { type AuditedAction, writeAudit } from "../audit-rows.js";
import type {
  Audited,
  DisownOutcome,
  PaymentOutcome,
  PaymentReport,
  PaymentState,
  Reversal,
  Undo,
} from "../contract.js";
import { found } from "./founding.js";
import { balances } from "./ledger.js";
import type { Office } from "./office.js";
import { decidePayment, type PaymentFile } from "./payments.js";
import { PaymentsBook } from "./payments-book.js";
import type { Store } from "./store.js";

export class PaymentsDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #payments: PaymentsBook;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#payments = new PaymentsBook(office.store);
  }

  async report(report: PaymentReport): Promise<PaymentOutcome & { readonly undo?: Undo }> {
    const { desks } = this.#office;
    // Who is given something besides their first payment, and of whom that may be taken back.
    if (report.sign_up !== undefined || desks.open.lots !== undefined) await desks.ask("giving");
    const outcome = this.#office.alerted(this.#report(report), undefined, Date.now());
    const undo = desks.open.logins?.undo(report.payment_id);
    return undo === undefined ? outcome : { ...outcome, undo };
  }

  /** Files what Stripe says of a payment; its row, its entries and the new balance are one transaction. */
  #report(report: PaymentReport): PaymentOutcome {
    const now = Date.now();
    const { payment_id } = report;
    // A claw-back takes what is there: what was delivered before it is booked before it.
    this.#office.desks.open.meters?.bookLapsed(now);
    // Where we never asked Stripe for anything, it belongs to no top-up of ours.
    const { topups } = this.#office.desks.open;
    const known = this.#payments.paymentFile(payment_id);
    const decision = decidePayment(this.#store.account(now), known, report);
    const giving = this.#office.desks.open.giving;
    if ("outcome" in decision) {
      topups?.tell(report, now);
      if (giving !== undefined) this.#office.transaction(() => giving.signUp(report, now));
      return { ...decision.outcome, ...balances(this.#store.account(now)) };
    }
    const { file, writes, unbooked_micros } = decision;
    const { frozen } = this.#store.account(now);
    const entries = this.#office.transaction(() => {
      found(this.#store, this.#office.name, report.currency, now);
      const written = writes.map((draft) => ({ ...this.#store.append(draft, now), kind: draft.kind }));
      const credit = written.find(({ kind }) => kind === "topup");
      this.#payments.filePayment(payment_id, file, credit?.seq ?? null, now);
      topups?.tell(report, now);
      // Only news: what the owner knew of when they enabled it again does not stop it again. What came before the payment is
      // news once that is credited, and known to be a top-up.
      const news = credit === undefined ? newReversals(known, report) : known.reversals;
      for (const { kind } of news) topups?.stop(payment_id, kind, now);
      if (credit !== undefined) this.#auditAssignment(report, credit, now);
      giving?.signUp(report, now);
      return written;
    });
    if (this.#store.account(now).frozen !== frozen) this.#office.tellMirror();
    const after = balances(this.#store.account(now));
    const credit = entries.find(({ kind }) => kind === "topup");
    if (credit !== undefined)
      return { outcome: "credited", seq: credit.seq, amount_micros: credit.amount_micros, ...after };
    const [reversed] = entries;
    if (reversed !== undefined) return { outcome: "reversed", amount_micros: reversed.amount_micros, ...after };
    if (unbooked_micros !== undefined) return { outcome: "noted", unbooked_micros, ...after };
    if (file.payment !== undefined)
      return { outcome: file.payment.state === "pending" ? "pending" : "failed", ...after };
    return { outcome: "noted", ...after };
  }

  async paymentState(input: { readonly payment_id: string }): Promise<PaymentState | null> {
    return this.#payments.paymentFile(input.payment_id).payment?.state ?? null;
  }

  async disown(input: {
    readonly payment_id: string;
    readonly currency: string;
    readonly assignment: number;
  }): Promise<DisownOutcome> {
    const now = Date.now();
    const { payment_id, currency, assignment } = input;
    const { payment, reversals } = this.#payments.paymentFile(payment_id);
    if (payment?.state === "paid") return { outcome: "paid" };
    this.#store.transaction(() => {
      found(this.#store, this.#office.name, currency, now);
      this.#payments.disown(payment_id, assignment, now);
    });
    return { outcome: "disowned", reversals };
  }

  /** What an owner did, in the transaction that does it. What the app itself does by code of its own has no author. */
  #audit({ by }: Audited, action: AuditedAction, now: number): void {
    if (by !== undefined) writeAudit(this.#store.sql, by, action, now);
  }

  #auditAssignment({ by, payment_id }: PaymentReport, credit: { readonly seq: number }, now: number): void {
    const { balance_micros } = this.#store.head;
    this.#audit(
      { by },
      { action: "assign", before: null, after: { payment_id, seq: credit.seq, balance_micros } },
      now,
    );
  }
}

function newReversals({ reversals }: PaymentFile, { reversal }: PaymentReport): readonly Reversal[] {
  const isKnown = reversals.some(({ reversal_id }) => reversal_id === reversal?.reversal_id);
  return reversal === undefined || isKnown ? [] : [reversal];
}
