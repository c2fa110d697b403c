/** Money that comes in and goes back: what Stripe says of payments, grants, and charges that are given back. */
import { type AuditedAction, writeAudit } from "../audit-rows.js";
import type {
  Audited,
  DisownOutcome,
  EntryKind,
  GrantInput,
  GrantOutcome,
  PaymentOutcome,
  PaymentReport,
  PaymentState,
  RefundInput,
  RefundOutcome,
  Reversal,
  SignUpRules,
  Undo,
} from "../contract.js";
import { ledgerDays } from "../copy-settings.js";
import type { Micros } from "../money.js";
import { isClosed, retentionMs } from "./folding.js";
import { found } from "./founding.js";
import { decideGrant, decideRefund } from "./giving.js";
import { balances } from "./ledger.js";
import { LedgerBook } from "./ledger-book.js";
import type { LoginsDesk } from "./logins-desk.js";
import type { LotsDesk } from "./lots-desk.js";
import type { Office } from "./office.js";
import { decidePayment, type PaymentFile } from "./payments.js";
import { PaymentsBook } from "./payments-book.js";
import { SIGN_UP_KEY, signUpOf } from "./sign-up.js";
import type { Store } from "./store.js";
import type { TopUpDesk } from "./topup-desk.js";

interface BookedEntry {
  readonly kind: EntryKind;
  readonly seq: number;
  readonly amount_micros: Micros;
}

export class PaymentsDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #payments: PaymentsBook;
  readonly #ledger: LedgerBook;
  readonly #logins: LoginsDesk;
  readonly #topups: TopUpDesk;
  readonly #lots: LotsDesk;

  constructor(office: Office, logins: LoginsDesk, topups: TopUpDesk, lots: LotsDesk) {
    this.#office = office;
    this.#store = office.store;
    this.#payments = new PaymentsBook(office.store);
    this.#ledger = new LedgerBook(office.store);
    this.#logins = logins;
    this.#topups = topups;
    this.#lots = lots;
  }

  async report(report: PaymentReport): Promise<PaymentOutcome & { readonly undo?: Undo }> {
    const outcome = this.#office.alerted(this.#report(report), undefined, Date.now());
    const undo = this.#logins.undo(report.payment_id);
    return undo === undefined ? outcome : { ...outcome, undo };
  }

  /** Files what Stripe says of a payment; its row, its entries and the new balance are one transaction. */
  #report(report: PaymentReport): PaymentOutcome {
    const now = Date.now();
    const { payment_id } = report;
    const known = this.#payments.paymentFile(payment_id);
    const decision = decidePayment(this.#store.account(now), known, report);
    if ("outcome" in decision) {
      this.#topups.tell(report, now);
      return decision.outcome;
    }
    const { file, writes, unbooked_micros } = decision;
    const { frozen } = this.#store.account(now);
    const entries = this.#office.transaction(() => {
      found(this.#store, this.#office.name, report.currency, now);
      const written = writes.map((draft) => ({ ...this.#store.append(draft, now), kind: draft.kind }));
      const credit = written.find(({ kind }) => kind === "topup");
      this.#payments.filePayment(payment_id, file, credit?.seq ?? null, now);
      this.#topups.tell(report, now);
      // Only news: what the owner knew of when they enabled it again does not stop it again. What came before the payment is
      // news once that is credited, and known to be a top-up.
      const news = credit === undefined ? newReversals(known, report) : known.reversals;
      for (const { kind } of news) this.#topups.stop(payment_id, kind, now);
      if (credit !== undefined) this.#auditAssignment(report, credit, now);
      this.#signUp(report, written, now);
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

  async grant(input: GrantInput): Promise<GrantOutcome> {
    const now = Date.now();
    const account = this.#store.account(now);
    // Both keys in the turn that gives: between them, nothing is given twice.
    const prior = this.#store.priorByKey(input.key) ?? this.#store.priorByKey(input.legacy_key);
    const decision = decideGrant(account, this.#lots.open(now), prior, input, now);
    if ("outcome" in decision) return decision.outcome;
    const { balance_micros } = account;
    const entry = this.#office.transaction(() => {
      found(this.#store, this.#office.name, input.currency, now);
      const written = this.#store.append(decision.write, now);
      this.#audit(input, { action: "grant", before: { balance_micros }, after: this.#after(written) }, now);
      return written;
    });
    const granted = { outcome: "granted", ...entry, ...balances(this.#store.account(now)) } as const;
    return this.#office.alerted(granted, undefined, now);
  }

  async refund(input: RefundInput): Promise<RefundOutcome> {
    const now = Date.now();
    const prior = this.#store.priorByKey(input.key);
    const charge = this.#ledger.refundable(input.charge);
    const account = this.#store.account(now);
    const decision = decideRefund(account, charge, prior, input, (at_ms) =>
      isClosed(at_ms, now, retentionMs(ledgerDays(this.#office.env))),
    );
    if ("outcome" in decision) return decision.outcome;
    const { balance_micros } = account;
    const entry = this.#office.transaction(() => {
      const written = this.#store.append(decision.write, now);
      this.#audit(input, { action: "refund", before: { balance_micros }, after: this.#after(written) }, now);
      return written;
    });
    const after = balances(this.#store.account(now));
    const gone = (balance_micros + entry.amount_micros - after.balance_micros) as Micros;
    const refunded = { outcome: "refunded", ...entry, ...(gone > 0 && { expired_micros: gone }), ...after } as const;
    return this.#office.alerted(refunded, undefined, now);
  }

  /** Gives whoever the app vouches for what they begin with, once. */
  async welcome(rules: SignUpRules, currency: string): Promise<void> {
    if (this.#store.priorByKey(SIGN_UP_KEY) === undefined) await this.grant(signUpOf(rules, currency, Date.now()));
  }

  /** Whoever pays for the first time is given something besides, as long as it stays paid. */
  #signUp({ payment_id, sign_up, currency }: PaymentReport, written: readonly BookedEntry[], now: number): void {
    const credit = written.find(({ kind }) => kind === "topup");
    if (written.some(({ kind }) => kind === "clawback")) {
      const given = this.#payments.givenWith(payment_id);
      if (given !== undefined) this.#lots.withdraw(given, now);
    } else if (credit !== undefined && sign_up !== undefined && !this.#payments.isOneOfMany(payment_id)) {
      const amount_micros = Math.min(sign_up.amount_micros, credit.amount_micros) as Micros;
      const input = signUpOf({ ...sign_up, amount_micros }, currency, now);
      const prior = this.#store.priorByKey(input.key);
      const decision = decideGrant(this.#store.account(now), this.#lots.open(now), prior, input, now);
      if ("write" in decision) this.#store.append({ ...decision.write, ref_seq: credit.seq }, now);
    }
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

  #after(entry: { readonly seq: number; readonly amount_micros: Micros }): unknown {
    return { ...entry, balance_micros: this.#store.head.balance_micros };
  }
}

function newReversals({ reversals }: PaymentFile, { reversal }: PaymentReport): readonly Reversal[] {
  const isKnown = reversals.some(({ reversal_id }) => reversal_id === reversal?.reversal_id);
  return reversal === undefined || isKnown ? [] : [reversal];
}
