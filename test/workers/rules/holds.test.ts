import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HoldEnd, HoldInput } from "../../../src/contract.js";
import { decideHold, decideRelease, decideSettle, type Hold } from "../../../src/envelope/holds.js";
import type { Account, Priors } from "../../../src/envelope/ledger.js";
import { isExpired } from "../../../src/envelope/ledger.js";
import { account, charged, readDraft, readOutcome } from "./ledger-values.js";
import { micros } from "./values.js";

const NOW = 1_000;

function hold(amount: number, over: Partial<Hold> = {}): Hold {
  return {
    hold_id: 5,
    at_ms: 0,
    expires_at_ms: NOW + 1,
    amount_micros: micros(amount),
    state: "open",
    settled_micros: null,
    paid_micros: null,
    settled_seq: null,
    op: "hold-op",
    end_op: null,
    key: null,
    scope: null,
    reason: null,
    tag: null,
    lots: null,
    spender_id: null,
    used_micros: null,
    ...over,
  };
}

const settled = (amount: number, seq: number | null, end_op: string): Partial<Hold> => ({
  state: "settled",
  settled_micros: micros(amount),
  settled_seq: seq,
  end_op,
});

const ask = (over: Partial<HoldInput>): HoldInput => ({
  op: "o",
  currency: "usd",
  amount_micros: micros(10),
  ttl_ms: 1,
  ...over,
});

type HoldPriors = Priors & { readonly hold?: Hold };

const HOLDS: readonly (readonly [string, string, Account, HoldPriors, Partial<HoldInput>, outcome: string])[] = [
  ["T12", "covered", account(100), {}, {}, "open"],
  ["T12", "to the last micro", account(10), {}, {}, "open"],
  ["T12", "one micro short", account(9), {}, {}, "refused insufficient_balance short 1"],
  ["T99", "what is held is not there", account(100, 91), {}, {}, "refused insufficient_balance short 1"],
  ["T12", "nobody's envelope", account(0, 0, { currency: null }), {}, {}, "refused insufficient_balance short 10"],
  ["T12", "frozen", account(100, 0, { frozen: true }), {}, {}, "refused frozen short 0"],
  ["T12", "zero", account(100), {}, { amount_micros: micros(0) }, "invalid"],
  ["T5", "negative", account(100), {}, { amount_micros: micros(-1) }, "invalid"],
  ["T6", "a fraction of a micro", account(100), {}, { amount_micros: micros(1.5) }, "invalid"],
  ["T3", "NaN", account(100), {}, { amount_micros: micros(Number.NaN) }, "invalid"],
  ["T7", "2^53", account(100), {}, { amount_micros: micros(2 ** 53) }, "invalid"],
  ["T12", "for no time", account(100), {}, { ttl_ms: 0 }, "invalid"],
  ["T12", "for less than no time", account(100), {}, { ttl_ms: -1 }, "invalid"],
  ["T12", "for NaN ms", account(100), {}, { ttl_ms: Number.NaN }, "invalid"],
  ["T12", "for ever", account(100), {}, { ttl_ms: Number.POSITIVE_INFINITY }, "invalid"],
  ["T12", "for a fraction of a ms", account(100), {}, { ttl_ms: 1.5 }, "invalid"],
  ["T34", "another currency", account(100), {}, { currency: "eur" }, "invalid"],
  ["T13", "retry of what was opened", account(100, 10), { hold: hold(10) }, { retry: true }, "held 5"],
  ["T13", "key charged already", account(0), { key: charged(4, 99) }, { key: "k" }, "replayed 4 99"],
  [
    "T14",
    "key charged in another scope",
    account(100),
    { key: charged(4, 10, "a") },
    { key: "k", scope: "b" },
    "conflict scope",
  ],
  ["T14", "key of an open hold", account(100, 10), { key_is_held: true }, { key: "k" }, "conflict in_progress"],
  [
    "T14",
    "key charged, then given back",
    account(100),
    { key: { ...charged(4, 10), refunded: true } },
    { key: "k" },
    "conflict refunded",
  ],
  [
    "T14",
    "key charged too long ago",
    account(100),
    { key: charged(4, 10) },
    { key: "k", replay_ms: 1_000 },
    "conflict expired",
  ],
  [
    "T13",
    "key charged just long enough ago",
    account(0),
    { key: charged(4, 10) },
    { key: "k", replay_ms: 1_001 },
    "replayed 4 10",
  ],
  ["T40", "below zero", account(-5), {}, {}, "refused insufficient_balance short 15"],
];

const SETTLES: readonly (readonly [string, string, Account, Hold | undefined, price: number, outcome: string])[] = [
  ["T12", "equal", account(100, 10), hold(10), 10, "settled, write charge -10"],
  ["T12", "below", account(100, 10), hold(10), 7, "settled, write charge -7"],
  ["T12", "zero", account(100, 10), hold(10), 0, "settled"],
  ["T12", "above, covered by what is left", account(100, 10), hold(10), 11, "settled, write charge -11"],
  ["T12", "above, one micro short", account(10, 10), hold(10), 11, "released, refused insufficient_balance short 1"],
  [
    "T12",
    "above, the rest is held elsewhere",
    account(100, 100),
    hold(10),
    11,
    "released, refused insufficient_balance short 1",
  ],
  ["T12", "equal, the rest is held elsewhere", account(100, 100), hold(10), 10, "settled, write charge -10"],
  ["T12", "equal, frozen since", account(100, 10, { frozen: true }), hold(10), 10, "settled, write charge -10"],
  ["T12", "above, frozen since", account(100, 10, { frozen: true }), hold(10), 11, "released, refused frozen short 0"],
  [
    "T40",
    "balance below the hold since",
    account(5, 10),
    hold(10),
    10,
    "released, refused insufficient_balance short 5",
  ],
  ["T5", "negative", account(100, 10), hold(10), -1, "invalid"],
  ["T6", "a fraction of a micro", account(100, 10), hold(10), 1.5, "invalid"],
  ["T3", "NaN", account(100, 10), hold(10), Number.NaN, "invalid"],
  ["T7", "Infinity", account(100, 10), hold(10), Number.POSITIVE_INFINITY, "invalid"],
  ["T85", "on its last ms", account(100, 10), hold(10, { expires_at_ms: NOW + 1 }), 10, "settled, write charge -10"],
  ["T88", "on the edge", account(100), hold(10, { expires_at_ms: NOW }), 10, "expired, ended expired"],
  ["T85", "too late", account(100), hold(10, { expires_at_ms: 1 }), 10, "expired, ended expired"],
  ["T23", "retry of its own settlement", account(93), hold(10, settled(7, 8, "op")), 7, "charged 8 7"],
  ["T23", "retry of its own settlement at zero", account(100), hold(10, settled(0, null, "op")), 0, "charged null 0"],
  ["T23", "settled by another", account(93), hold(10, settled(7, 8, "other")), 7, "ended settled"],
  ["T23", "released", account(100), hold(10, { state: "released" }), 7, "ended released"],
  ["T23", "expired", account(100), hold(10, { state: "expired" }), 7, "ended expired"],
  ["T24", "of nothing", account(100), undefined, 7, "unknown"],
];

const RELEASES: readonly (readonly [string, string, Hold | undefined, outcome: string])[] = [
  ["T12", "open", hold(10), "released"],
  ["T88", "on the edge", hold(10, { expires_at_ms: NOW }), "expired"],
  ["T23", "released", hold(10, { state: "released" }), "ended released"],
  ["T23", "settled", hold(10, settled(7, 8, "op")), "ended settled"],
  ["T23", "expired", hold(10, { state: "expired" }), "ended expired"],
  ["T24", "of nothing", undefined, "unknown"],
];

function readSettle(before: Account, of: Hold | undefined, price: number, now = NOW): string {
  const input = { op: "op", hold_id: 5, amount_micros: micros(price) };
  const decision = decideSettle(before, of, input, now, of?.settled_micros ?? undefined);
  if (!("end" in decision)) return readOutcome(decision.outcome);
  const write = decision.write && readDraft(decision.write);
  const outcome = decision.outcome && readOutcome(decision.outcome);
  return [decision.end, write, outcome].filter((part) => part !== undefined).join(", ");
}

describe("decision tables", () => {
  for (const [threat, name, before, priors, over, outcome] of HOLDS) {
    it(`${threat} hold: ${name} → ${outcome}`, () => {
      const decision = decideHold(before, priors, ask(over), NOW);
      expect("open" in decision ? "open" : readOutcome(decision.outcome)).toBe(outcome);
    });
  }

  for (const [threat, name, before, of, price, outcome] of SETTLES) {
    it(`${threat} settle: ${name} → ${outcome}`, () => {
      expect(readSettle(before, of, price)).toBe(outcome);
    });
  }

  for (const [threat, name, of, outcome] of RELEASES) {
    it(`${threat} release: ${name} → ${outcome}`, () => {
      const decision = decideRelease(account(100, 10), of, NOW);
      expect("end" in decision ? decision.end : readOutcome(decision.outcome)).toBe(outcome);
    });
  }

  it("T13 a settlement is written under the hold's key, scope and reason, and its own operation", () => {
    const of = hold(10, { key: "k", scope: "s", reason: "r" });
    const input = { op: "op", hold_id: 5, amount_micros: micros(7), metadata: "{}" };
    expect(decideSettle(account(100, 10), of, input, NOW)).toEqual({
      end: "settled",
      write: {
        kind: "charge",
        amount_micros: -7,
        key: "k",
        scope: "s",
        op: "op",
        hold_id: 5,
        reason: "r",
        metadata: "{}",
      },
    });
  });

  it("T8 a refused settlement tells the balances after its release", () => {
    const decision = decideSettle(account(10, 10), hold(10), { op: "op", hold_id: 5, amount_micros: micros(11) }, NOW);
    expect("outcome" in decision && decision.outcome).toMatchObject({ balance_micros: 10, available_micros: 10 });
  });
});

/** Several holds on one account, kept as the object keeps them. Counts how often each ends. */
class Desk {
  readonly start: number;
  balance: number;
  now = 0;
  readonly holds: Hold[] = [];
  readonly ends: HoldEnd[][] = [];

  constructor(start: number) {
    this.start = start;
    this.balance = start;
  }

  get account(): Account {
    const reserving = this.holds.filter((one) => one.state === "open" && !isExpired(one, this.now));
    return account(
      this.balance,
      reserving.reduce((sum, one) => sum + one.amount_micros, 0),
    );
  }

  open(amount: number, ttl_ms: number): void {
    if (!("open" in decideHold(this.account, {}, ask({ amount_micros: micros(amount), ttl_ms }), this.now))) return;
    this.holds.push(hold(amount, { hold_id: this.holds.length, at_ms: this.now, expires_at_ms: this.now + ttl_ms }));
    this.ends.push([]);
  }

  #end(index: number, end: HoldEnd, over: Partial<Hold>): void {
    this.holds[index] = { ...(this.holds[index] as Hold), ...over, state: end };
    this.ends[index]?.push(end);
  }

  settle(index: number, amount: number, op: string): void {
    const input = { op, hold_id: index, amount_micros: micros(amount) };
    const decision = decideSettle(this.account, this.holds[index], input, this.now);
    if (!("end" in decision)) return;
    this.balance += decision.write?.amount_micros ?? 0;
    this.#end(index, decision.end, decision.end === "settled" ? settled(amount, null, op) : {});
  }

  release(index: number): void {
    const decision = decideRelease(this.account, this.holds[index], this.now);
    if ("end" in decision) this.#end(index, decision.end, {});
  }
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant("open"),
    amount: fc.integer({ min: 1, max: 40 }),
    ttl: fc.integer({ min: 1, max: 5 }),
  }),
  fc.record({ kind: fc.constant("settle"), index: fc.nat(5), amount: fc.nat(60), op: fc.constantFrom("a", "b") }),
  fc.record({ kind: fc.constant("release"), index: fc.nat(5) }),
  fc.record({ kind: fc.constant("wait"), ms: fc.integer({ min: 1, max: 3 }) }),
);

describe("I4 a hold ends once", () => {
  it("T23 T85 T101 in any interleaving of settle, release and time, and never overdraws (I2)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const desk = new Desk(100);
        for (const one of steps) {
          if ("ttl" in one) desk.open(one.amount, one.ttl);
          else if ("op" in one) desk.settle(one.index, one.amount, one.op);
          else if ("index" in one) desk.release(one.index);
          else desk.now += one.ms;
          const { balance_micros, held_micros } = desk.account;
          expect(balance_micros).toBeGreaterThanOrEqual(held_micros);
        }
        for (const ends of desk.ends) expect(ends.length).toBeLessThanOrEqual(1);
        const taken = desk.holds.reduce((sum, one) => sum + (one.settled_micros ?? 0), 0);
        expect(desk.balance).toBe(desk.start - taken);
      }),
      { numRuns: 3_000 },
    );
  });
});
