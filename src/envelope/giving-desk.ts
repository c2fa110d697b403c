/** Money that is given: grants, what a holder begins with, and charges that are given back. What was taken from grants goes back to them. */
import { type AuditedAction, writeAudit } from "../audit-rows.js";
import type {
  Audited,
  GrantInput,
  GrantOutcome,
  PaymentReport,
  RefundInput,
  RefundOutcome,
  SignUpRules,
} from "../contract.js";
import { ledgerDays } from "../copy-settings.js";
import type { Micros } from "../money.js";
import { isClosed, retentionMs } from "./folding.js";
import { found } from "./founding.js";
import { decideGrant, decideRefund } from "./giving.js";
import { balances } from "./ledger.js";
import { LedgerBook } from "./ledger-book.js";
import type { LotsDesk } from "./lots-desk.js";
import type { Office } from "./office.js";
import { PaymentsBook } from "./payments-book.js";
import { SIGN_UP_KEY, signUpOf } from "./sign-up.js";
import type { Store } from "./store.js";

export class GivingDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #payments: PaymentsBook;
  readonly #ledger: LedgerBook;
  readonly #lots: LotsDesk;

  constructor(office: Office, lots: LotsDesk) {
    this.#office = office;
    this.#store = office.store;
    this.#payments = new PaymentsBook(office.store);
    this.#ledger = new LedgerBook(office.store);
    this.#lots = lots;
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

  /**
   * In a transaction: the payment that was credited here first brings a gift, which stands for as long as nothing of that payment is taken
   * back. It is given with the word that it was paid, whoever booked it, and also where that was taken back before: then it is withdrawn
   * at once, to stand again should that not last. So what there is of it follows from how the payment stands, in whatever order one heard.
   */
  signUp({ payment_id, payment, sign_up, currency }: PaymentReport, now: number): void {
    const paid = this.#payments.firstPaid(payment_id);
    if (paid === undefined) return;
    const { credited_seq, credit_micros, reversed_micros } = paid;
    if (sign_up !== undefined && payment?.state === "paid" && this.#lots.giftWith(credited_seq) === undefined) {
      const amount_micros = Math.min(sign_up.amount_micros, credit_micros) as Micros;
      const input = signUpOf({ ...sign_up, amount_micros }, currency, now);
      const prior = this.#store.priorByKey(input.key);
      const decision = decideGrant(this.#store.account(now), this.#lots.open(now), prior, input, now);
      if ("write" in decision) this.#store.append({ ...decision.write, ref_seq: credited_seq }, now);
    }
    const gift = this.#lots.giftWith(credited_seq);
    if (gift === undefined) return;
    if (reversed_micros > 0) this.#lots.withdraw(gift, now);
    else this.#lots.restore(gift, now);
  }

  /** What an owner did, in the transaction that does it. What the app itself does by code of its own has no author. */
  #audit({ by }: Audited, action: AuditedAction, now: number): void {
    if (by !== undefined) writeAudit(this.#store.sql, by, action, now);
  }

  #after(entry: { readonly seq: number; readonly amount_micros: Micros }): unknown {
    return { ...entry, balance_micros: this.#store.head.balance_micros };
  }
}
