/** What the tests of payments share: Stripe's words in short, and an account's books kept as the object keeps them. */
import type { PaymentFacts, PaymentReport, PaymentState, Reversal } from "../../../src/contract.js";
import type { Account, Draft } from "../../../src/envelope/ledger.js";
import { decidePayment, NO_FILE, type PaymentFile } from "../../../src/envelope/payments.js";
import { account } from "./ledger-values.js";
import { micros } from "./values.js";

/** A payment of `amount_total` minor units that is worth `credit` micros. */
export function facts(state: PaymentState, credit: number, amount_total = 5): PaymentFacts {
  const amounts = { amount_total, amount_subtotal: 5, amount_discount: 0, amount_shipping: 0, amount_tax: 0 };
  const names = { session_id: "cs_1", event_id: "evt_1", currency: "usd", livemode: false };
  return { state, ...names, ...amounts, credit_micros: micros(credit) };
}

export const reversal = (over: Partial<Reversal>): Reversal => ({
  reversal_id: "re_1",
  kind: "refund",
  rank: 2,
  amount: 1,
  whole: false,
  open: false,
  freezes: false,
  told_at: 0,
  status_rank: 2,
  ...over,
});

export const refund = (amount: number, reversal_id = "re_1", rank = 2): Reversal =>
  reversal({ reversal_id, amount, rank, status_rank: rank });

export const dispute = (rank: number, over: Partial<Reversal> = {}): Reversal =>
  reversal({ reversal_id: "du_1", kind: "dispute", rank, freezes: true, status_rank: 4, ...over });

/** A charge's running total of what was refunded. */
export const check = (amount: number, over: Partial<Reversal> = {}): Reversal =>
  reversal({ reversal_id: "ch_1", kind: "check", rank: 0, amount, status_rank: 0, ...over });

export const told = (word: PaymentFacts | Reversal, payment_id = "pi_1", currency = "usd"): PaymentReport => ({
  payment_id,
  currency,
  ...("state" in word ? { payment: word } : { reversal: word }),
});

export const file = (over: Partial<PaymentFile>): PaymentFile => ({ ...NO_FILE, ...over });

/** Applies decisions as the object does: the rows, the entries and the balance together. */
export class Books {
  account: Account;
  readonly files = new Map<string, PaymentFile>();
  readonly entries: Draft[] = [];

  constructor(balance = 0) {
    this.account = account(balance);
  }

  apply(report: PaymentReport): void {
    const known = this.files.get(report.payment_id) ?? NO_FILE;
    const decision = decidePayment(this.account, known, report);
    if ("outcome" in decision) return;
    const { payment, reversal, reversed_micros } = decision.file;
    const others = known.reversals.filter(({ reversal_id }) => reversal_id !== reversal?.reversal_id);
    this.files.set(report.payment_id, {
      payment: payment ?? known.payment,
      reversals: reversal === undefined ? known.reversals : [...others, reversal],
      reversed_micros,
      disowned: null,
    });
    this.entries.push(...decision.writes);
    const moved = decision.writes.reduce((sum, { amount_micros }) => sum + amount_micros, 0);
    this.account = account(this.account.balance_micros + moved);
  }

  /** What must not depend on the order and number of reports. */
  get end() {
    // A payment that failed is not filed unless it was pending before: short of paid, what is on file may differ.
    const sorted = ({ payment, reversals, reversed_micros }: PaymentFile) => ({
      paid: payment?.state === "paid",
      reversals: reversals.toSorted((left, right) => (left.reversal_id < right.reversal_id ? -1 : 1)),
      reversed_micros,
    });
    const files = [...this.files].map(([id, one]) => [id, sorted(one)] as const);
    return {
      balance: this.account.balance_micros,
      topups: this.entries
        .filter(({ kind }) => kind === "topup")
        .map(({ payment_id }) => payment_id)
        .toSorted(),
      files: files.filter(([, { paid, reversals }]) => paid || reversals.length > 0).toSorted(),
    };
  }
}
