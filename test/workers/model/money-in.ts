/** The commands that tell an envelope of payments, refunds and disputes, and its owner's. */
import fc from "fast-check";
import { expect } from "vitest";
import type { PaymentReport, PaymentState, Reversal } from "../../../src/contract.js";
import { check, dispute, facts, refund } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";
import { readAnswer } from "./answers.js";
import { currency, money } from "./drawn.js";
import type { Model } from "./model.js";
import { command, type Real } from "./real.js";

const payment_id = fc.nat(4).map((number) => `pi_${number}`);
const PAID = 7;

async function tell(report: PaymentReport, model: Model, real: Real): Promise<void> {
  // What would come back past 2^53−1 has a test of its own, among the rules of reversals.
  if (report.reversal !== undefined && model.balance > 2n ** 52n) return;
  expect(readAnswer(await real.api.report(report))).toBe(model.report(report));
}

export const credit = command(
  "credit",
  fc.record({
    money: fc.oneof({ weight: 9, arbitrary: money }, { weight: 1, arbitrary: fc.constant(micros(0)) }),
    currency,
    payment_id,
    state: fc.constantFrom<PaymentState>("pending", "failed", "paid", "paid", "paid"),
  }),
  async ({ money, currency, payment_id, state }, model, real) => {
    const payment = { ...facts(state, money, PAID), currency };
    await tell({ payment_id, currency, payment }, model, real);
  },
);

/** A word about one of two refunds, or the dispute, of a payment, heard of before or not. */
const word: fc.Arbitrary<(of: string) => Reversal> = fc.oneof(
  fc
    .record({
      id: fc.nat(1),
      rank: fc.constantFrom(1, 2, 2, 3),
      amount: fc.constantFrom(0, 2, 3, 7),
      told_at: fc.nat(2),
    })
    .map(({ id, rank, amount, told_at }) => (of: string) => ({ ...refund(amount, `re_${id}_${of}`, rank), told_at })),
  fc
    .record({
      rank: fc.nat(4),
      amount: fc.constantFrom(3, 7),
      whole: fc.constantFrom(false, false, true),
      freezes: fc.boolean(),
      open: fc.constantFrom(false, false, true),
      told_at: fc.nat(3),
    })
    .map(({ open, ...drawn }) => {
      return (of: string) =>
        dispute(drawn.rank, { ...drawn, open, status_rank: open ? 4 : 6, reversal_id: `du_${of}` });
    }),
  fc.record({ amount: fc.constantFrom(0, 2, 3, 7), told_at: fc.nat(2) }).map(
    ({ amount, told_at }) =>
      (of: string) =>
        check(amount, { reversal_id: `ch_${of}`, told_at }),
  ),
);

export const takeBack = command(
  "takeBack",
  fc.record({ word, currency, payment_id }),
  async ({ word, currency, payment_id }, model, real) => {
    await tell({ payment_id, currency, reversal: word(payment_id) }, model, real);
  },
);

/** Rarely, because nothing more is heard of a payment afterwards. */
export const disown = command(
  "disown",
  fc.record({ payment_id, meant: fc.constantFrom(true, false, false, false) }),
  async ({ payment_id, meant }, model, real) => {
    if (!meant) return;
    const answer = await real.api.disown({ payment_id, currency: "usd", assignment: 1 });
    const read = answer.outcome === "disowned" ? `disowned ${answer.reversals.length}` : answer.outcome;
    expect(read).toBe(model.disown(payment_id, "usd"));
  },
);

export const freeze = command(
  "freeze",
  fc.record({ frozen: fc.constantFrom(true, false, false), currency }),
  async ({ frozen, currency }, model, real) => {
    const answer = await real.api.freeze({ frozen, currency });
    expect(answer.frozen).toBe(model.freeze(frozen, currency));
  },
);
