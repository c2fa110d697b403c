import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PaymentFacts, Reversal } from "../../../src/contract.js";
import type { Account } from "../../../src/envelope/ledger.js";
import { decidePayment, joinReversal, type PaymentFile, reversedDue } from "../../../src/envelope/payments.js";
import { account, readDraft, readOutcome } from "./ledger-values.js";
import { Books, check, dispute, facts, file, refund, reversal, told } from "./payment-values.js";
import { micros } from "./values.js";

/** Any word about one object, whether Stripe could say it or not. `open` follows from the status, as in Stripe's table. */
const word = (kind: Reversal["kind"], reversal_id: string): fc.Arbitrary<Reversal> =>
  fc
    .record({
      rank: fc.nat(4),
      amount: fc.constantFrom(0, 1, 30, 50, 100),
      whole: fc.constantFrom(false, false, false, true),
      currency: fc.constantFrom(null, "usd", "usd", "eur"),
      freezes: fc.boolean(),
      told_at: fc.nat(2),
      status_rank: fc.nat(3),
    })
    .map((drawn) => ({ ...drawn, reversal_id, kind, open: kind === "dispute" && drawn.status_rank % 2 === 1 }));

const join = (words: readonly Reversal[]): Reversal =>
  words.reduce((known, one) => joinReversal(known, one), words[0] as Reversal);

describe("T33 the join of what Stripe says of one object", () => {
  const any = fc.constantFrom<Reversal["kind"]>("refund", "dispute", "warning", "check").chain((kind) => {
    const one = word(kind, "x");
    return fc.tuple(one, one, one);
  });
  const law = (name: string, check: (a: Reversal, b: Reversal, c: Reversal) => void) =>
    it(name, () =>
      fc.assert(
        fc.property(any, (words) => {
          check(...words);
        }),
        { numRuns: 3_000 },
      ),
    );

  law("is commutative", (a, b) => expect(joinReversal(a, b)).toEqual(joinReversal(b, a)));
  law("is associative", (a, b, c) =>
    expect(joinReversal(joinReversal(a, b), c)).toEqual(joinReversal(a, joinReversal(b, c))),
  );
  law("is idempotent, now and later", (a, b) => {
    expect(joinReversal(a, a)).toEqual(a);
    expect(joinReversal(joinReversal(a, b), a)).toEqual(joinReversal(a, b));
  });
  law("has the first word as it is", (a) => expect(joinReversal(undefined, a)).toBe(a));
  law("only climbs", (a, b) => expect(joinReversal(a, b).rank).toBe(Math.max(a.rank, b.rank)));

  it("the later word says the amount and whether it is open; at the same second, the one whose status had come further", () => {
    const early = dispute(1, { told_at: 1, amount: 100, open: true, status_rank: 4 });
    const late = dispute(0, { told_at: 2, amount: 40, open: false, status_rank: 6 });
    expect(joinReversal(late, early)).toMatchObject({ rank: 1, amount: 40, open: false });
    const decided = dispute(0, { told_at: 1, open: false, status_rank: 6 });
    expect(joinReversal(decided, early)).toMatchObject({ rank: 1, open: false });
    const appealed = dispute(0, { told_at: 3, open: true, status_rank: 4 });
    expect(joinReversal(appealed, late), "by time, even where the status is one that comes earlier").toMatchObject({
      open: true,
    });
  });
});

describe("T39 T40 what is due", () => {
  const CREDIT = 90;
  const rows: readonly (readonly [name: string, reversals: readonly Reversal[], due: number])[] = [
    ["nothing", [], 0],
    ["a refund that is pending", [refund(30, "a", 1)], 27],
    ["a refund that succeeded", [refund(30, "a", 2)], 27],
    ["a refund that failed", [refund(30, "a", 3)], 0],
    ["two refunds", [refund(30, "a"), refund(20, "b")], 45],
    ["two, of which one failed", [refund(30, "a"), refund(20, "b", 3)], 27],
    ["a part of a micro is left to the holder", [refund(33, "a")], 29],
    ["three of them, computed from their sum", [refund(33, "a"), refund(33, "b"), refund(33, "c")], 89],
    ["all of it in parts", [refund(33, "a"), refund(33, "b"), refund(34, "c")], 90],
    ["more than there was", [refund(70, "a"), refund(70, "b")], 90],
    ["of zero", [refund(0, "a")], 0],
    ["a dispute that was only opened", [dispute(0, { amount: 100, open: true })], 0],
    ["a dispute, withdrawn", [dispute(1, { amount: 100 })], 90],
    ["a dispute, reinstated", [dispute(2, { amount: 100 })], 0],
    ["a dispute, withdrawn again", [dispute(3, { amount: 100 })], 90],
    ["a dispute over a part", [dispute(1, { amount: 50 })], 45],
    ["a dispute in another currency", [dispute(1, { amount: 1, whole: true })], 90],
    ["the same, reinstated", [dispute(2, { amount: 1, whole: true })], 0],
    ["a refund and a dispute over the rest", [refund(40, "a"), dispute(1, { amount: 60 })], 90],
    ["a refund and a dispute over all, which is no more than all", [refund(40, "a"), dispute(1, { amount: 100 })], 90],
    ["a warning", [reversal({ kind: "warning", rank: 1, amount: 100 })], 0],
    ["a check: refunds that were not heard of", [check(30)], 27],
    ["a check that says what refunds said", [refund(30, "a"), refund(20, "b"), check(50)], 45],
    ["a check that heard of one more", [refund(30, "a"), check(50)], 45],
    ["a check that is behind", [refund(30, "a"), refund(20, "b"), check(30)], 45],
    ["a check, and a refund that failed after it", [refund(30, "a", 3), check(30)], 0],
    ["… later than it", [reversal({ rank: 3, amount: 30, told_at: 2 }), check(50, { told_at: 1 })], 18],
    [
      "… before it, so that it says less already",
      [reversal({ rank: 3, amount: 30, told_at: 1 }), check(20, { told_at: 2 })],
      18,
    ],
    ["… another since, which was heard of", [refund(30, "a", 3), refund(20, "b"), check(50)], 18],
    ["a check, and a dispute over the rest", [check(40), dispute(1, { amount: 60 })], 90],
    ["a check over more than all", [check(120)], 90],
    ["a check of nothing, in another currency", [check(0, { currency: "eur" })], 0],
    ["a check in another currency", [check(1, { currency: "eur" })], 90],
    ["… whose refund failed", [reversal({ rank: 3, amount: 1, currency: "eur" }), check(1, { currency: "eur" })], 0],
  ];
  it.each(rows)("%s → $2 of 90 credited for 100 paid", (_name, reversals, due) => {
    expect(reversedDue(facts("paid", CREDIT, 100), reversals)).toBe(due);
  });

  it.each<readonly [name: string, reversals: readonly Reversal[], due: number]>([
    ["nothing", [], 0],
    ["a refund of nothing", [refund(0)], 0],
    ["a refund, at its face value", [refund(30)], 300_000],
    ["two", [refund(30, "a"), refund(20, "b")], 500_000],
    ["two, of which one failed", [refund(30, "a"), refund(20, "b", 3)], 300_000],
    ["never more than the credit", [refund(91)], 900_000],
    ["a dispute", [dispute(1, { amount: 50 })], 500_000],
    ["a refund in another currency, whose worth is unknown", [refund(1), reversal({ currency: "eur" })], 900_000],
  ])("of a payment whose total is unknown: %s → $2 of 900,000", (_name, reversals, due) => {
    expect(reversedDue(facts("paid", 900_000, 0), reversals)).toBe(due);
  });

  it("is exact where a product leaves 2^53", () => {
    const [credit, total] = [Number.MAX_SAFE_INTEGER, 900_719_925_474];
    fc.assert(
      fc.property(fc.nat(total), (amount) => {
        const due = reversedDue(facts("paid", credit, total), [refund(amount)]);
        expect(BigInt(due)).toBe((BigInt(credit) * BigInt(amount)) / BigInt(total));
      }),
    );
  });
});

type Row = readonly [name: string, before: Account, known: PaymentFile, word: Reversal, outcome: string];
const paid = facts("paid", 90, 100);
const ROWS: readonly Row[] = [
  ["a refund", account(90), file({ payment: paid }), refund(30), "write clawback -27"],
  ["T40 a refund of what was spent", account(0), file({ payment: paid }), refund(30), "write clawback -27"],
  ["T40 a refund of what is held", account(90, 90), file({ payment: paid }), refund(100), "write clawback -90"],
  ["T40 frozen", account(90, 0, { frozen: true }), file({ payment: paid }), refund(30), "write clawback -27"],
  [
    "told again",
    account(63),
    file({ payment: paid, reversals: [refund(30)], reversed_micros: micros(27) }),
    refund(30),
    "duplicate",
  ],
  [
    "it succeeds: nothing more",
    account(63),
    file({ payment: paid, reversals: [refund(30, "re_1", 1)], reversed_micros: micros(27) }),
    refund(30),
    "file",
  ],
  [
    "it fails",
    account(63),
    file({ payment: paid, reversals: [refund(30)], reversed_micros: micros(27) }),
    refund(30, "re_1", 3),
    "write reinstatement 27",
  ],
  [
    "T33 it had failed",
    account(90),
    file({ payment: paid, reversals: [refund(30, "re_1", 3)] }),
    refund(30),
    "duplicate",
  ],
  ["T33 before its payment", account(0), file({}), refund(30), "file"],
  ["T33 while it is pending", account(0), file({ payment: facts("pending", 90, 100) }), refund(30), "file"],
  [
    "T34 in an envelope of another currency, where it moves nothing",
    account(90, 0, { currency: "eur" }),
    file({}),
    refund(30),
    "file",
  ],
  [
    "T89 back past 2^53−1",
    account(Number.MAX_SAFE_INTEGER),
    file({ payment: paid, reversals: [refund(30)], reversed_micros: micros(27) }),
    refund(30, "re_1", 3),
    "file",
  ],
];

describe("T39 what a word about a refund or a dispute does", () => {
  it.each(ROWS)("%s → $4", (_name, before, known, one, outcome) => {
    const decision = decidePayment(before, known, told(one));
    const read =
      "outcome" in decision ? readOutcome(decision.outcome) : decision.writes.map(readDraft).join(", ") || "file";
    expect(read).toBe(outcome);
  });

  it("T89 what comes back past 2^53−1 is filed, and booked with the next word once it fits", () => {
    const known = file({ payment: paid, reversals: [refund(30)], reversed_micros: micros(27) });
    const failed = refund(30, "re_1", 3);
    const full = decidePayment(account(Number.MAX_SAFE_INTEGER - 26), known, told(failed));
    expect(full).toEqual({
      unbooked_micros: 27,
      file: { reversed_micros: 27, reversal: expect.objectContaining({ rank: 3 }) },
      writes: [],
    });
    const filed = file({ payment: paid, reversals: [failed], reversed_micros: micros(27) });
    for (const word of [failed, paid, reversal({ reversal_id: "issfr_1", kind: "warning" })]) {
      expect(decidePayment(account(Number.MAX_SAFE_INTEGER - 27), filed, told(word))).toMatchObject({
        file: { reversed_micros: 0 },
        writes: [{ kind: "reinstatement", amount_micros: 27 }],
      });
    }
    expect(decidePayment(account(Number.MAX_SAFE_INTEGER), filed, told(failed))).toMatchObject({
      outcome: { outcome: "duplicate" },
    });
  });

  it.each<[string, readonly Reversal[], PaymentFacts | Reversal, string]>([
    ["a refund", [], refund(30), "clawback refund"],
    ["a charge's own total", [], check(30), "clawback refund"],
    ["a refund that failed", [refund(30)], refund(30, "re_1", 3), "reinstatement refund"],
    ["a dispute", [], dispute(1, { amount: 100 }), "clawback dispute"],
    ["a dispute that was won", [dispute(1, { amount: 100 })], dispute(2, { amount: 100 }), "reinstatement dispute"],
    ["a refund beside a dispute", [dispute(1, { amount: 50 })], refund(30), "clawback refund"],
    ["a payment whose refund came before", [refund(30)], paid, "clawback refund"],
    ["a payment whose dispute came before", [refund(30), dispute(1, { amount: 50 })], paid, "clawback dispute"],
    [
      "a warning, when what waited fits",
      [dispute(1, { amount: 50 })],
      reversal({ kind: "warning" }),
      "clawback dispute",
    ],
  ])("%s is booked under its cause", (name, reversals, word, expected) => {
    const known = "state" in word ? {} : { payment: paid };
    const waits = name.startsWith("a warning") ? [] : reversals;
    const reversed = "state" in word ? 0 : reversedDue(paid, waits);
    const decision = decidePayment(
      account(500),
      file({ ...known, reversals, reversed_micros: micros(reversed) }),
      told(word),
    );
    const { kind, reason } = ("writes" in decision ? decision.writes.at(-1) : undefined) ?? {};
    expect(`${kind} ${reason}`).toBe(expected);
  });

  it("T33 a payment that is credited after its refund came is credited and taken back, in two entries", () => {
    const decision = decidePayment(account(0), file({ reversals: [refund(30)] }), told(paid));
    expect(decision).toMatchObject({
      file: { reversed_micros: 27 },
      writes: [
        { kind: "topup", amount_micros: 90, payment_id: "pi_1" },
        { kind: "clawback", amount_micros: -27, payment_id: "pi_1" },
      ],
    });
  });
});

/** A whole cut into parts: the differences of its sorted cuts. */
const parts = (total: number, cuts: readonly number[]): readonly number[] => {
  const ends = [...cuts.map((cut) => cut % (total + 1)).toSorted((left, right) => left - right), total];
  return ends.map((end, index) => end - (ends[index - 1] ?? 0));
};

describe("T39 any number of partial refunds, in any order and number", () => {
  it("takes back floor(credit × refunded ÷ paid) after each, and exactly the credit at the end", () => {
    const total = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 900_719_925_474 }));
    const credit = fc.oneof(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));
    const cuts = fc.array(fc.nat(900_719_925_474), { maxLength: 12 });
    fc.assert(
      fc.property(total, credit, cuts, fc.array(fc.nat(12), { maxLength: 20 }), (total, credit, cuts, order) => {
        const refunds = parts(total, cuts).map((amount, index) => refund(amount, `re_${index}`));
        const books = new Books();
        books.apply(told(facts("paid", credit, total)));
        const known = new Map<string, number>();
        for (const one of [...order.flatMap((index) => refunds[index] ?? []), ...refunds]) {
          books.apply(told(one));
          known.set(one.reversal_id, one.amount);
          const sum = [...known.values()].reduce((all, amount) => all + BigInt(amount), 0n);
          expect(BigInt(credit) - BigInt(books.account.balance_micros)).toBe((BigInt(credit) * sum) / BigInt(total));
        }
        expect(books.account.balance_micros).toBe(0);
      }),
      { numRuns: 1_000 },
    );
  });
});

/** What the check says of refunds that may not have been heard of, less those that failed at its time or since. */
function checkedOf(joined: readonly Reversal[], worth: (one: Reversal) => number): number {
  const total = joined.find(({ kind }) => kind === "check");
  if (total === undefined) return 0;
  let left = total.amount;
  for (const { kind, rank, told_at, amount } of joined) {
    if (kind === "refund" && rank >= 3 && told_at >= total.told_at) left -= amount;
  }
  return left > 0 ? worth({ ...total, amount: left }) : 0;
}

describe("T33 T41 payments, refunds and disputes, in any order and number", () => {
  const about = fc.oneof(
    fc.constantFrom("pending" as const, "failed" as const, "paid" as const).map((state) => facts(state, 90, 100)),
    word("refund", "re_1"),
    word("refund", "re_2"),
    word("dispute", "du_1"),
    word("warning", "issfr_1"),
    word("check", "ch_1"),
  );
  const often = fc.array(about, { minLength: 1, maxLength: 10 }).chain((words) => {
    const twice = [...words, ...words];
    return fc.tuple(fc.constant(words), fc.shuffledSubarray(twice, { minLength: twice.length }));
  });

  it("end the same: the credit less what is due from each object's join, credited once, whatever was spent", () => {
    fc.assert(
      fc.property(often, fc.constantFrom(0, -50, 1_000), ([words, shuffled], spent) => {
        const play = (order: typeof words) => {
          const books = new Books(spent);
          for (const one of order) books.apply(told(one));
          return books;
        };
        const [once, again] = [play(words), play(shuffled)];
        expect(again.end).toEqual(once.end);
        const reversals = words.filter((one): one is Reversal => "kind" in one);
        const objects = new Set(reversals.map(({ reversal_id }) => reversal_id));
        const joined = [...objects].map((id) => join(reversals.filter(({ reversal_id }) => reversal_id === id)));
        const away = joined.filter((one) => {
          if (one.kind === "dispute") return one.rank % 2 === 1;
          return one.kind === "refund" && one.rank <= 2;
        });
        const isAll = ({ currency, whole }: Reversal) => (currency == null ? whole : currency !== "usd");
        const worth = (one: Reversal) => (isAll(one) ? 100 : one.amount);
        const sumOf = (kind: string) => away.reduce((all, one) => all + (one.kind === kind ? worth(one) : 0), 0);
        const sum = Math.max(sumOf("refund"), checkedOf(joined, worth)) + sumOf("dispute");
        const isPaid = words.some((one) => "state" in one && one.state === "paid");
        const expected = isPaid ? 90 - Math.floor((90 * Math.min(sum, 100)) / 100) : 0;
        expect(again.end.balance).toBe(spent + expected);
        expect(again.end.topups).toEqual(isPaid ? ["pi_1"] : []);
        for (const { kind, amount_micros } of again.entries) {
          expect(Math.sign(amount_micros), kind).toBe(kind === "clawback" ? -1 : 1);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});
