import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PaymentState } from "../../../src/contract.js";
import { type Account, decideCharge } from "../../../src/envelope/ledger.js";
import { climb, decidePayment } from "../../../src/envelope/payments.js";
import { account, readDraft, readOutcome } from "./ledger-values.js";
import { Books, facts, file, refund, told } from "./payment-values.js";
import { micros } from "./values.js";

type Case = readonly [
  threat: string,
  name: string,
  before: Account,
  known: PaymentState | undefined,
  said: PaymentState,
  credit: number,
  outcome: string,
];

const CASES: readonly Case[] = [
  ["T32", "new, paid", account(0), undefined, "paid", 10, "file paid, write topup 10"],
  [
    "T32",
    "new, paid, nobody's envelope yet",
    account(0, 0, { currency: null }),
    undefined,
    "paid",
    10,
    "file paid, write topup 10",
  ],
  ["T32", "new, pending", account(0), undefined, "pending", 10, "file pending"],
  ["T32", "new, failed: nothing is filed", account(0), undefined, "failed", 10, "failed"],
  ["T32", "pending, paid", account(0), "pending", "paid", 10, "file paid, write topup 10"],
  ["T32", "pending, failed", account(0), "pending", "failed", 10, "file failed"],
  ["T32", "failed, paid", account(0), "failed", "paid", 10, "file paid, write topup 10"],
  ["T30", "paid, paid", account(10), "paid", "paid", 10, "duplicate"],
  ["T30", "paid, another amount", account(10), "paid", "paid", 99, "duplicate"],
  ["T30", "pending, pending", account(0), "pending", "pending", 10, "pending"],
  ["T30", "failed, failed", account(0), "failed", "failed", 10, "failed"],
  ["T33", "paid, pending", account(10), "paid", "pending", 10, "duplicate"],
  ["T33", "paid, failed", account(10), "paid", "failed", 10, "duplicate"],
  ["T33", "failed, pending", account(0), "failed", "pending", 10, "pending"],
  [
    "T40",
    "frozen: money comes in",
    account(0, 0, { frozen: true }),
    undefined,
    "paid",
    10,
    "file paid, write topup 10",
  ],
  ["T40", "below zero: money comes in", account(-50), undefined, "paid", 10, "file paid, write topup 10"],
  ["T34", "another currency", account(0, 0, { currency: "eur" }), undefined, "paid", 10, "uncreditable currency"],
  [
    "T34",
    "another currency, pending",
    account(0, 0, { currency: "eur" }),
    undefined,
    "pending",
    10,
    "uncreditable currency",
  ],
  ["T34", "another currency, known as paid", account(0, 0, { currency: "eur" }), "paid", "paid", 10, "duplicate"],
  [
    "T40",
    "past 2^53−1 from below zero",
    account(-10),
    undefined,
    "paid",
    Number.MAX_SAFE_INTEGER,
    `file paid, write topup ${Number.MAX_SAFE_INTEGER}`,
  ],
  ["T38", "zero", account(0), undefined, "paid", 0, "uncreditable amount"],
  ["T38", "negative", account(100), undefined, "paid", -1, "uncreditable amount"],
  ["T38", "NaN", account(0), undefined, "paid", Number.NaN, "uncreditable amount"],
  ["T38", "Infinity", account(0), undefined, "paid", Number.POSITIVE_INFINITY, "uncreditable amount"],
  ["T38", "a fraction of a micro", account(0), undefined, "paid", 1.5, "uncreditable amount"],
  [
    "T89",
    "a fraction, on a balance near 2^53",
    account(Number.MAX_SAFE_INTEGER - 20),
    undefined,
    "paid",
    0.5,
    "uncreditable amount",
  ],
  ["T89", "2^53, on a balance below zero", account(-10), undefined, "paid", 2 ** 53, "uncreditable amount"],
  ["T89", "up to 2^53−1", account(Number.MAX_SAFE_INTEGER - 10), undefined, "paid", 10, "file paid, write topup 10"],
  ["T89", "past 2^53−1", account(Number.MAX_SAFE_INTEGER - 9), undefined, "paid", 10, "uncreditable amount"],
];

function read(before: Account, known: PaymentState | undefined, said: PaymentState, credit: number): string {
  const known_ = known === undefined ? file({}) : file({ payment: facts(known, 10) });
  const decision = decidePayment(before, known_, told(facts(said, credit)));
  if ("outcome" in decision) return readOutcome(decision.outcome);
  expect(decision.file.reversed_micros).toBe(0);
  return [`file ${decision.file.payment?.state}`, ...decision.writes.map(readDraft)].join(", ");
}

describe("what Stripe says of a payment", () => {
  for (const [threat, name, before, known, said, credit, outcome] of CASES) {
    it(`${threat} ${name} → ${outcome}`, () => {
      expect(read(before, known, said, credit)).toBe(outcome);
    });
  }

  it("the draft names its payment, so that the entry can be traced, and what was told is filed", () => {
    const payment = facts("paid", 10);
    expect(decidePayment(account(0), file({}), told(payment, "pi_7"))).toEqual({
      file: { payment, reversed_micros: 0 },
      writes: [{ kind: "topup", amount_micros: 10, payment_id: "pi_7" }],
    });
  });

  it("T30 once paid, the facts stay those that were credited", () => {
    const first = facts("paid", 10);
    expect(climb(first, facts("paid", 99))).toBe(first);
    expect(climb(facts("pending", 99), first)).toBe(first);
  });

  it("T37 nothing of a payment that was given up is booked any more", () => {
    for (const word of [facts("pending", 10), facts("paid", 10), refund(1)]) {
      const decision = decidePayment(account(5), file({ disowned: 1 }), told(word));
      expect(decision).toEqual({ outcome: { outcome: "disowned", balance_micros: 5, available_micros: 5 } });
    }
  });
});

const STATES = ["pending", "failed", "paid"] as const;

describe("I5 one credit per payment", () => {
  it("T30 T32 T33 every sequence of up to 7 events of one payment is credited once if any says paid, and files a failure only of what was pending", () => {
    let sequences: (readonly PaymentState[])[] = [[]];
    for (let length = 1; length <= 7; length++) {
      sequences = sequences.flatMap((sequence) => STATES.map((state) => [...sequence, state]));
      for (const sequence of sequences) {
        const books = new Books();
        for (const state of sequence) books.apply(told(facts(state, 10)));
        const isPaid = sequence.includes("paid");
        const failedLast = sequence.lastIndexOf("failed") > sequence.indexOf("pending");
        const filed = isPaid ? "paid" : sequence.includes("pending") ? (failedLast ? "failed" : "pending") : undefined;
        const { balance, topups } = books.end;
        expect([balance, topups, books.files.get("pi_1")?.payment?.state], sequence.join(" ")).toEqual([
          isPaid ? 10 : 0,
          isPaid ? ["pi_1"] : [],
          filed,
        ]);
      }
    }
  });

  it("T31 T33 events of several payments end the same in any order and number", () => {
    const event = fc.tuple(fc.constantFrom(0, 1, 2, 3), fc.constantFrom(...STATES));
    const shuffledTwice = fc.array(event, { minLength: 1, maxLength: 12 }).chain((events) => {
      const often = fc.shuffledSubarray([...events, ...events, ...events], { minLength: events.length * 3 });
      return fc.tuple(fc.constant(events), often, often);
    });
    const play = (events: readonly (readonly [number, PaymentState])[]) => {
      const books = new Books();
      for (const [payment, state] of events) books.apply(told(facts(state, 10 ** payment), `pi_${payment}`));
      return books.end;
    };
    fc.assert(
      fc.property(shuffledTwice, ([once, first, second]) => {
        expect(play(first)).toEqual(play(once));
        expect(play(second)).toEqual(play(once));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("I2 no overdraft by spending", () => {
  it("T8 T16 whatever is written was available, and atMost takes the smaller of price and what is available", () => {
    const amount = fc.oneof(fc.maxSafeNat(), fc.nat(30));
    fc.assert(
      fc.property(amount, amount, amount, fc.boolean(), (balance, held, price, at_most) => {
        const before = account(balance, Math.min(balance, held));
        const available = balance - Math.min(balance, held);
        const decision = decideCharge(
          before,
          {},
          { op: "o", currency: "usd", amount_micros: micros(price), at_most },
          0,
        );
        const taken = "write" in decision ? 0 - decision.write.amount_micros : 0;
        const expected = at_most ? Math.min(price, available) : price <= available ? price : 0;
        expect(taken).toBe(expected + 0);
      }),
      { numRuns: 5_000 },
    );
  });
});
