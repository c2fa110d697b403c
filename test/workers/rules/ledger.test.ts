import { describe, expect, it } from "vitest";
import type { ChargeInput, GrantInput, RefundInput } from "../../../src/contract.js";
import { decideGrant, decideRefund, type FoldedCharge, type Refundable } from "../../../src/envelope/giving.js";
import { type Account, answerPrior, decideCharge, type Prior, type Priors } from "../../../src/envelope/ledger.js";
import { account, charged, granted, read } from "./ledger-values.js";
import { micros } from "./values.js";

type Case<Rest extends readonly unknown[]> = readonly [threat: string, name: string, ...Rest, outcome: string];

const charge = (over: Partial<ChargeInput>): ChargeInput => ({
  op: "op",
  currency: "usd",
  amount_micros: micros(10),
  ...over,
});
const of = (amount: number): Partial<ChargeInput> => ({ amount_micros: micros(amount) });

const NOW = 1_000;
/** The charge of entry 4, at 0 ms, some of which was given back. */
const back: Prior = { ...charged(4, 10), refunded: true };

const CHARGES: readonly Case<[account: Account, priors: Priors, input: Partial<ChargeInput>]>[] = [
  ["T8", "covered", account(100), {}, {}, "write charge -10"],
  ["T8", "to the last micro", account(10), {}, {}, "write charge -10"],
  ["T8", "one micro short", account(9), {}, {}, "refused insufficient_balance short 1"],
  ["T8", "nothing there", account(0), {}, {}, "refused insufficient_balance short 10"],
  ["T8", "nobody's envelope", account(0, 0, { currency: null }), {}, {}, "refused insufficient_balance short 10"],
  ["T8", "below zero already", account(-5), {}, {}, "refused insufficient_balance short 15"],
  ["T8", "what is held is not there", account(100, 91), {}, {}, "refused insufficient_balance short 1"],
  ["T8", "what is not held is", account(100, 90), {}, {}, "write charge -10"],
  ["T8", "frozen", account(100, 0, { frozen: true }), {}, {}, "refused frozen short 0"],
  ["T8", "frozen and empty", account(0, 0, { frozen: true }), {}, {}, "refused frozen short 0"],
  ["T8", "atMost, enough", account(100), {}, { at_most: true }, "write charge -10"],
  ["T8", "atMost, some", account(7), {}, { at_most: true }, "write charge -7"],
  ["T8", "atMost, some of it held", account(7, 3), {}, { at_most: true }, "write charge -4"],
  ["T8", "atMost, nothing", account(0), {}, { at_most: true }, "refused insufficient_balance short 10"],
  ["T8", "atMost, below zero", account(-5), {}, { at_most: true }, "refused insufficient_balance short 15"],
  ["T8", "atMost, frozen", account(7, 0, { frozen: true }), {}, { at_most: true }, "refused frozen short 0"],
  ["T8", "atMost, frozen and empty", account(0, 0, { frozen: true }), {}, { at_most: true }, "refused frozen short 0"],
  ["T8", "zero", account(100), {}, of(0), "charged null 0"],
  ["T8", "zero, frozen", account(100, 0, { frozen: true }), {}, of(0), "charged null 0"],
  ["T8", "zero, below zero", account(-5), {}, of(0), "charged null 0"],
  ["T8", "zero, recorded", account(100), {}, { ...of(0), record_zero: true }, "write charge 0"],
  [
    "T8",
    "zero, nobody's envelope",
    account(0, 0, { currency: null }),
    {},
    { ...of(0), record_zero: true },
    "charged null 0",
  ],
  ["T3", "−0", account(100), {}, of(-0), "charged null 0"],
  ["T3", "NaN", account(100), {}, of(Number.NaN), "invalid"],
  ["T5", "negative", account(100), {}, of(-1), "invalid"],
  ["T6", "a fraction of a micro", account(100), {}, of(1.5), "invalid"],
  ["T7", "2^53", account(100), {}, of(2 ** 53), "invalid"],
  ["T7", "Infinity", account(100), {}, of(Number.POSITIVE_INFINITY), "invalid"],
  [
    "T7",
    "2^53−1",
    account(Number.MAX_SAFE_INTEGER),
    {},
    of(Number.MAX_SAFE_INTEGER),
    `write charge -${Number.MAX_SAFE_INTEGER}`,
  ],
  ["T34", "another currency", account(100), {}, { currency: "eur" }, "invalid"],
  ["T13", "retry of what was written", account(90), { operation: charged(4, 10) }, { retry: true }, "charged 4 10"],
  ["T13", "key used, same price", account(90), { key: charged(4, 10) }, { key: "k" }, "replayed 4 10"],
  [
    "T13",
    "key used, frozen since",
    account(90, 0, { frozen: true }),
    { key: charged(4, 10) },
    { key: "k" },
    "replayed 4 10",
  ],
  ["T14", "key used, other price", account(90), { key: charged(4, 11) }, { key: "k" }, "conflict price"],
  [
    "T14",
    "key used, other scope",
    account(90),
    { key: charged(4, 10, "a") },
    { key: "k", scope: "b" },
    "conflict scope",
  ],
  ["T14", "key used without a scope", account(90), { key: charged(4, 10) }, { key: "k", scope: "b" }, "conflict scope"],
  [
    "T14",
    "key used, scope and price",
    account(90),
    { key: charged(4, 9, "a") },
    { key: "k", scope: "b" },
    "conflict scope",
  ],
  ["T13", "atMost replays less", account(0), { key: charged(4, 7) }, { key: "k", at_most: true }, "replayed 4 7"],
  [
    "T14",
    "atMost never replays more",
    account(0),
    { key: charged(4, 11) },
    { key: "k", at_most: true },
    "conflict price",
  ],
  ["T14", "key of an open hold", account(100, 10), { key_is_held: true }, { key: "k" }, "conflict in_progress"],
  [
    "T13",
    "key used, replayed on its last ms",
    account(0),
    { key: charged(4, 10) },
    { key: "k", replay_ms: 1_001 },
    "replayed 4 10",
  ],
  [
    "T14",
    "key used, a ms too old",
    account(90),
    { key: charged(4, 10) },
    { key: "k", replay_ms: 1_000 },
    "conflict expired",
  ],
  [
    "T14",
    "key never to be replayed",
    account(90),
    { key: charged(4, 10, null, NOW) },
    { key: "k", replay_ms: 0 },
    "conflict expired",
  ],
  ["T14", "key given back", account(90), { key: back }, { key: "k" }, "conflict refunded"],
  ["T14", "key given back, another price", account(90), { key: back }, { key: "k", ...of(9) }, "conflict price"],
  ["T14", "key given back, and old", account(90), { key: back }, { key: "k", replay_ms: 1 }, "conflict refunded"],
  [
    "T13",
    "an old operation is still its own",
    account(90),
    { operation: charged(4, 10) },
    { retry: true, replay_ms: 0 },
    "charged 4 10",
  ],
];

const refund = (over: Partial<RefundInput>): RefundInput => ({ op: "op", key: "r", charge: { seq: 3 }, ...over });
const line = (kind: Refundable["kind"], amount: number, refunded: number): Refundable => ({
  seq: 3,
  at_ms: 0,
  kind,
  amount_micros: micros(amount),
  refunded_micros: micros(refunded),
});

const refunded = (ref_seq: number, amount: number): Prior => ({ ...granted(9, amount), kind: "refund", ref_seq });

const REFUNDS: readonly Case<
  [account: Account, line: Refundable | undefined, amount: number | undefined, prior: Prior | undefined]
>[] = [
  ["T39", "all of it", account(0), line("charge", -10, 0), undefined, undefined, "write refund 10"],
  ["T39", "what is left", account(0), line("charge", -10, 4), undefined, undefined, "write refund 6"],
  ["T39", "a part", account(0), line("charge", -10, 4), 5, undefined, "write refund 5"],
  ["T39", "exactly the rest", account(0), line("charge", -10, 4), 6, undefined, "write refund 6"],
  ["T39", "more than the rest", account(0), line("charge", -10, 4), 7, undefined, "refused 6"],
  ["T39", "again", account(0), line("charge", -10, 10), undefined, undefined, "refused 0"],
  ["T39", "a charge of zero", account(0), line("charge", 0, 0), undefined, undefined, "refused 0"],
  ["T39", "zero", account(0), line("charge", -10, 0), 0, undefined, "refused 10"],
  ["T39", "negative", account(0), line("charge", -10, 0), -1, undefined, "refused 10"],
  ["T39", "NaN", account(0), line("charge", -10, 0), Number.NaN, undefined, "refused 10"],
  ["T39", "Infinity", account(0), line("charge", -10, 0), Number.POSITIVE_INFINITY, undefined, "refused 10"],
  ["T39", "a fraction of a micro", account(0), line("charge", -10, 0), 1.5, undefined, "refused 10"],
  [
    "T89",
    "a fraction, on a balance near 2^53",
    account(Number.MAX_SAFE_INTEGER - 20),
    line("charge", -10, 0),
    0.5,
    undefined,
    "refused 10",
  ],
  [
    "T89",
    "past 2^53−1",
    account(Number.MAX_SAFE_INTEGER - 9),
    line("charge", -10, 0),
    undefined,
    undefined,
    "refused 10",
  ],
  ["T39", "frozen", account(0, 0, { frozen: true }), line("charge", -10, 0), undefined, undefined, "write refund 10"],
  ["T39", "of nothing", account(0), undefined, undefined, undefined, "unknown"],
  ["T39", "of a top-up", account(50), line("topup", 10, 0), undefined, undefined, "unknown"],
  ["T39", "of a grant", account(50), line("grant", 10, 0), undefined, undefined, "unknown"],
  ["T39", "of a refund", account(50), line("refund", 10, 0), undefined, undefined, "unknown"],
  [
    "T39",
    "key used for this refund",
    account(10),
    line("charge", -10, 10),
    undefined,
    refunded(3, 10),
    "replayed 9 10",
  ],
  ["T39", "key used for this part", account(4), line("charge", -10, 4), 4, refunded(3, 4), "replayed 9 4"],
  ["T39", "key used for another part", account(4), line("charge", -10, 4), 5, refunded(3, 4), "conflict "],
  ["T39", "key used for another charge", account(4), line("charge", -10, 0), 4, refunded(2, 4), "conflict "],
  ["T39", "key of another kind of entry", account(4), line("charge", -10, 0), 4, granted(9, 4), "conflict "],
  ["T40", "below zero", account(-50), line("charge", -10, 0), undefined, undefined, "write refund 10"],
];

const GRANTS: readonly Case<[account: Account, prior: Prior | undefined, amount: number]>[] = [
  ["T81", "the first money", account(0, 0, { currency: null }), undefined, 10, "write grant 10"],
  ["T81", "frozen", account(0, 0, { frozen: true }), undefined, 10, "write grant 10"],
  ["T81", "below zero", account(-20), undefined, 10, "write grant 10"],
  ["T81", "key used", account(10), granted(2, 10), 10, "replayed 2 10"],
  ["T81", "key used for another amount", account(10), granted(2, 11), 10, "conflict price"],
  ["T81", "key of a charge", account(10), charged(2, 10), 10, "conflict price"],
  ["T81", "another currency", account(0, 0, { currency: "eur" }), undefined, 10, "invalid"],
  ["T81", "zero", account(0), undefined, 0, "invalid"],
  ["T81", "negative", account(100), undefined, -1, "invalid"],
  ["T81", "NaN", account(0), undefined, Number.NaN, "invalid"],
  ["T81", "a fraction of a micro", account(0), undefined, 1.5, "invalid"],
  ["T89", "a fraction, on a balance near 2^53", account(Number.MAX_SAFE_INTEGER - 20), undefined, 0.5, "invalid"],
  ["T89", "up to 2^53−1", account(Number.MAX_SAFE_INTEGER - 10), undefined, 10, "write grant 10"],
  ["T89", "past 2^53−1", account(Number.MAX_SAFE_INTEGER - 9), undefined, 10, "invalid"],
  ["T89", "2^53", account(-10), undefined, 2 ** 53, "invalid"],
];

describe("decision tables", () => {
  for (const [threat, name, before, priors, over, outcome] of CHARGES) {
    it(`${threat} charge: ${name} → ${outcome}`, () => {
      expect(read(decideCharge(before, priors, charge(over), NOW), before)).toBe(outcome);
    });
  }

  for (const [threat, name, before, charge, amount, prior, outcome] of REFUNDS) {
    it(`${threat} refund: ${name} → ${outcome}`, () => {
      const input = refund(amount === undefined ? {} : { amount_micros: micros(amount) });
      expect(read(decideRefund(before, charge, prior, input), before)).toBe(outcome);
    });
  }

  for (const [threat, name, before, prior, amount, outcome] of GRANTS) {
    it(`${threat} grant: ${name} → ${outcome}`, () => {
      const input: GrantInput = { op: "op", key: "g", currency: "usd", amount_micros: micros(amount) };
      expect(read(decideGrant(before, [], prior, input, NOW), before)).toBe(outcome);
    });
  }

  const FINAL: readonly Case<
    [charge: Refundable | FoldedCharge, closed: boolean, prior: Prior | undefined, amount: number | undefined]
  >[] = [
    ["T39", "a charge too old", line("charge", -10, 0), true, undefined, undefined, "expired"],
    ["T39", "too old, and more than it took", line("charge", -10, 0), true, undefined, 11, "expired"],
    ["T39", "too old, a key used for this refund", line("charge", -10, 4), true, refunded(3, 4), 4, "replayed 9 4"],
    ["T39", "too old, a key used for another", line("charge", -10, 4), true, refunded(2, 4), 4, "conflict "],
    ["T39", "of a top-up, however old", line("topup", 10, 0), true, undefined, undefined, "unknown"],
    ["T39", "folded", { folded: 3 }, true, undefined, undefined, "expired"],
    ["T39", "folded, and the clock set back", { folded: 3 }, false, undefined, undefined, "expired"],
    ["T39", "folded, a key used for another", { folded: 3 }, true, refunded(2, 4), 4, "conflict "],
  ];
  for (const [threat, name, charge, closed, prior, amount, outcome] of FINAL) {
    it(`${threat} refund: ${name} → ${outcome}`, () => {
      const input = refund(amount === undefined ? {} : { amount_micros: micros(amount) });
      const isClosed = (at_ms: number) => closed && at_ms === 0;
      expect(read(decideRefund(account(0), charge, prior, input, isClosed), account(0))).toBe(outcome);
    });
  }

  it("a draft carries what its entry must show, and nothing is lost on the way", () => {
    const shown = { key: "k", scope: "s", op: "o", reason: "r", metadata: "{}", tag: "t" };
    expect(decideCharge(account(10), {}, charge(shown), NOW)).toEqual({
      write: { kind: "charge", amount_micros: -10, ...shown },
    });
    expect(decideRefund(account(0), line("charge", -10, 0), undefined, refund({ reason: "r" }))).toEqual({
      write: { kind: "refund", amount_micros: 10, ref_seq: 3, ref_at_ms: 0, key: "r", op: "op", reason: "r" },
    });
    const grant = { key: "g", op: "o", reason: "r", amount_micros: micros(5) };
    const terms = { priority: 7, expires_at_ms: NOW + 1, only: "t" };
    const given = { ...grant, ...terms, metadata: "{}", currency: "usd" };
    expect(decideGrant(account(0), [], undefined, given, NOW)).toEqual({
      write: { kind: "grant", ...grant, metadata: "{}", terms },
    });
  });

  it("T14 a key answers only for the scope it was used in, with and without a price to compare", () => {
    expect(answerPrior(charged(4, 10, "a"), { scope: "a" }, NOW)).toEqual({
      outcome: "replayed",
      seq: 4,
      amount_micros: 10,
    });
    expect(answerPrior(charged(4, 10, "a"), { scope: "b" }, NOW)).toEqual({ outcome: "conflict", detail: "scope" });
  });
});
