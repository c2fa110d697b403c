/** What owners do to one envelope, and what they look at: each action leaves its audit line in the transaction that does it. */
import type { AuditedAction } from "../audit-rows.js";
import type {
  Audited,
  AuditLine,
  Before,
  BeginStripeRefundOutcome,
  Credential,
  FreezeInput,
  FreezeOutcome,
  PaymentLine,
  PaymentsInput,
  QueryOutcome,
  ReadQuery,
  ReissueInput,
  ReissueOutcome,
  StripeRefundInput,
  StripeRefundNote,
} from "../contract.js";
import { readQuery } from "../read-query.js";
import { randomBase62 } from "../secrets.js";
import { found } from "./founding.js";
import { pageLimit } from "./ledger-book.js";
import type { Office } from "./office.js";
import { OwnersBook, refundableOf, STRIPE_KEY_MS } from "./owners.js";
import { PaymentsBook } from "./payments-book.js";
import type { Store } from "./store.js";

export class OwnersDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #owners: OwnersBook;
  readonly #payments: PaymentsBook;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#owners = new OwnersBook(office.store.sql);
    this.#payments = new PaymentsBook(office.store);
  }

  async freeze(input: FreezeInput): Promise<FreezeOutcome> {
    const now = Date.now();
    const { frozen, currency, by, key } = input;
    const done = this.#done(key) as FreezeOutcome["after"];
    if (done !== undefined)
      return this.#owners.isReason(key, by) ? { frozen, after: done } : { frozen, key_used: true };
    const { head } = this.#store;
    const stays = frozen ? head.frozen : !head.frozen && !head.disputed;
    if (stays && by === undefined) return { frozen };
    const stands = () => {
      const { frozen: stopped, balance_micros } = this.#store.account(now);
      return { frozen: stopped, balance_micros };
    };
    const before = stands();
    const after = this.#store.transaction(() => {
      found(this.#store, this.#office.name, currency, now);
      this.#setFrozen(frozen, now);
      this.#audit(input, { action: frozen ? "freeze" : "unfreeze", before, after: stands(), key }, now);
      return stands();
    });
    this.#office.tellMirror();
    return by === undefined ? { frozen } : { frozen, after };
  }

  async reissue(input: ReissueInput): Promise<ReissueOutcome> {
    const now = Date.now();
    const { hash, currency, key } = input;
    if (this.#done(key) !== undefined) {
      // The very same secret: its answer was lost on the way, and whoever asks still has it.
      const same = this.#store.credentials.find((one) => one.hash === hash);
      return same === undefined ? { outcome: "replayed" } : { outcome: "reissued", generation: same.generation };
    }
    const generation = 1 + this.#store.credentials.reduce((most, one) => Math.max(most, one.generation), 0);
    const before = { generations: this.#store.credentials.map((one) => one.generation) };
    this.#store.transaction(() => {
      found(this.#store, this.#office.name, currency, now);
      this.#replaceCredentials({ generation, hash }, now);
      this.#store.closeLogins(now);
      this.#audit(input, { action: "rotate", before, after: { generation }, key }, now);
    });
    return { outcome: "reissued", generation };
  }

  async beginStripeRefund(input: StripeRefundInput): Promise<BeginStripeRefundOutcome> {
    const now = Date.now();
    const { key, payment_id, by } = input;
    const file = this.#payments.paymentFile(payment_id);
    const prior = this.#store.exists ? this.#owners.refundByKey(key) : undefined;
    if (prior !== undefined) {
      const { attempt, asked_all, refund, at_ms } = prior;
      const same = refund.payment_id === payment_id && (asked_all ? undefined : refund.amount) === input.amount;
      if (!same) return { outcome: "conflict" };
      const unanswered = refund.refund_id === null && refund.status === null;
      return unanswered && now - at_ms > STRIPE_KEY_MS ? { outcome: "expired" } : { outcome: "found", refund, attempt };
    }
    if (file.payment === undefined) return { outcome: "unknown" };
    const { currency, paid_currency } = file.payment;
    // Part of it, in another currency than it was paid in, is an amount that nobody named.
    if (input.amount !== undefined && (paid_currency ?? currency) !== currency) return { outcome: "foreign" };
    const refundable = refundableOf(file, this.#owners.refundsOf(payment_id, now));
    const amount = input.amount ?? refundable;
    if (!(amount > 0) || amount > refundable) return { outcome: "refused", refundable };
    const attempt = randomBase62(22);
    const { livemode } = file.payment;
    const refund = { payment_id, amount, livemode, refund_id: null, status: null, code: null };
    this.#store.transaction(() => {
      this.#owners.beginRefund({ attempt, key, asked_all: input.amount === undefined, refund }, now);
      this.#audit({ by }, { action: "stripe-refund", before: { refundable }, after: { payment_id, amount } }, now);
    });
    return { outcome: "begun", refund, attempt };
  }

  async noteStripeRefund({ attempt, refund_id, status, code }: StripeRefundNote): Promise<void> {
    if (this.#store.exists) this.#owners.noteRefund(attempt, refund_id, status, code);
  }

  async payments(input: PaymentsInput): Promise<readonly PaymentLine[]> {
    return this.#store.exists ? this.#owners.payments(input.before, pageLimit(input.limit)) : [];
  }

  async audit(input: Before & { readonly limit: number }): Promise<readonly AuditLine[]> {
    return this.#store.exists ? this.#owners.lines(input.before, pageLimit(input.limit)) : [];
  }

  async query(input: ReadQuery): Promise<QueryOutcome> {
    return readQuery(this.#store.storage, input);
  }

  /** What an owner did, in the transaction that does it. What the app itself does by code of its own has no author. */
  #audit({ by }: Audited, action: AuditedAction, now: number): void {
    if (by !== undefined) this.#owners.audit(by, action, now);
  }

  #done(key: string | undefined): unknown {
    return this.#store.exists ? this.#owners.done(key) : undefined;
  }

  #setFrozen(frozen: boolean, now_ms: number): void {
    this.#store.sql.exec("UPDATE envelope SET frozen_at_ms = ? WHERE id = 1", frozen ? now_ms : null);
    this.#store.know({ frozen });
    if (!frozen) this.#payments.liftDisputes();
  }

  /** From now on this credential counts, and no other. */
  #replaceCredentials(credential: Credential, now_ms: number): void {
    this.#store.sql.exec("DELETE FROM credential");
    this.#store.fileCredential(credential, now_ms, now_ms);
  }
}
