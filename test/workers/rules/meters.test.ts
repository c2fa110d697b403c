import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ExtendInput, OpenMeterInput, Slice } from "../../../src/contract.js";
import { decideExtend, decideLapse, takeSome } from "../../../src/envelope/beyond.js";
import { decideSettle, type Hold } from "../../../src/envelope/holds.js";
import { type Account, available, isExpired, reserved } from "../../../src/envelope/ledger.js";
import { decideMeter, decideRenewal, isUse, reserve } from "../../../src/envelope/meters.js";
import { kilobytesBegun, leastOf, rateOfHeaders, secondsBegun } from "../../../src/meter/rates.js";
import { nextSlice, runsLow } from "../../../src/meter/slices.js";
import { type Currency, currencyOf } from "../../../src/money.js";
import { account, charged, readOutcome } from "./ledger-values.js";
import { micros } from "./values.js";

const NOW = 1_000;
const LEASE = 60_000;

const hold = (amount: number, used: number | null, over: Partial<Hold> = {}): Hold => ({
  hold_id: 5,
  at_ms: 0,
  expires_at_ms: NOW + LEASE,
  amount_micros: micros(amount),
  state: "open",
  settled_micros: null,
  paid_micros: null,
  settled_seq: null,
  spender_id: null,
  op: "hold-op",
  end_op: null,
  key: null,
  scope: null,
  reason: null,
  tag: null,
  lots: null,
  used_micros: used === null ? null : micros(used),
  ...over,
});

const slice = (taken: number, units: number, unit: number, ahead?: number): Slice => ({
  taken_micros: micros(taken),
  units,
  unit_micros: micros(unit),
  ahead,
});

describe("what a meter reserves", () => {
  it.each([
    ["all units, where there is money for them", account(100), 0, slice(0, 3, 10), 0, 30],
    ["to the last micro", account(30), 0, slice(0, 3, 10), 0, 30],
    ["whole units only", account(29), 0, slice(0, 3, 10), 0, 20],
    ["none", account(9), 0, slice(0, 3, 10), 0, 0],
    ["the least, although it is no whole unit", account(9), 0, slice(0, 3, 10), 7, 7],
    ["not the least, where there is less", account(6), 0, slice(0, 3, 10), 7, 0],
    ["past what is taken, with what is held already", account(35, 30), 30, slice(27, 3, 4), 0, 35],
    ["with less than a unit of each it is one", account(13, 6), 6, slice(0, 5, 13), 0, 13],
    ["never less than is held", account(100, 50), 50, slice(0, 1, 10), 0, 50],
    ["nothing more where it is frozen", account(100, 20, { frozen: true }), 20, slice(20, 3, 10), 0, 20],
    ["nothing more below zero", account(-5, 20), 20, slice(20, 3, 10), 0, 20],
    ["what is held elsewhere is not there", account(100, 95), 0, slice(0, 3, 10), 0, 0],
    ["as much as the narrowest limit admits", withLimit(account(100), 15), 0, slice(0, 3, 10), 0, 10],
    ["a price that is due already first", account(100, 20), 20, slice(35, 2, 10), 0, 55],
    ["a price that is due and more than there is", account(30, 20), 20, slice(35, 2, 10), 0, 20],
  ] as const)("%s", (_name, from, held, wanted, least, amount) => {
    const { amount_micros, refusal } = reserve(from, micros(held), wanted, micros(least));
    expect(amount_micros).toBe(amount);
    const full = Math.max(least, wanted.taken_micros + wanted.units * wanted.unit_micros);
    expect(refusal === undefined).toBe(amount_micros >= full);
  });

  it.each([
    ["as many as are wanted, where as many are left for others", account(120), 0, slice(0, 6, 10, 5), 60],
    ["half of them, where there are fewer", account(100), 0, slice(0, 9, 10, 8), 50],
    ["the larger half", account(59), 0, slice(0, 9, 10, 8), 30],
    ["the last one", account(10), 0, slice(0, 9, 10, 9), 10],
    ["all that are needed now, whoever else may come", account(100), 0, slice(0, 9, 10, 1), 80],
    ["half of what is free, beside what is held already", account(100, 60), 40, slice(10, 20, 10, 20), 60],
    ["none, where none is free", account(60, 60), 40, slice(10, 20, 10, 20), 40],
    ["half of what the narrowest limit admits", withLimit(account(100), 40), 0, slice(0, 9, 10, 9), 20],
    ["a price that is due already, and half of the rest", account(100, 20), 20, slice(35, 9, 10, 9), 65],
    ["more ahead than are wanted is all of them", account(100), 0, slice(0, 9, 10, 99), 50],
  ] as const)("of units that are not needed yet %s", (_name, from, held, wanted, amount) => {
    const { amount_micros, refusal } = reserve(from, micros(held), wanted);
    expect(amount_micros).toBe(amount);
    // Only where nothing is left there is a reason not to ask again.
    expect(refusal === undefined).toBe(from.balance_micros - from.held_micros - (amount - held) >= 10);
  });

  it("says why there is no further unit, and how much is missing for it", () => {
    expect(reserve(account(25), micros(0), slice(0, 9, 10)).refusal).toMatchObject({
      reason: "insufficient_balance",
      price_micros: 10,
      shortfall_micros: 5,
    });
    expect(reserve(account(25, 0, { frozen: true }), micros(0), slice(0, 9, 10)).refusal).toMatchObject({
      reason: "frozen",
    });
    expect(reserve(withLimit(account(100), 15), micros(0), slice(0, 9, 10)).refusal).toMatchObject({
      reason: "window",
    });
  });

  it("is never more than the limits admit, a whole number of units past what is taken, and as many as can be", () => {
    const amount = fc.nat(200);
    fc.assert(
      fc.property(
        amount,
        amount,
        amount,
        amount,
        fc.nat(20),
        fc.integer({ min: 1, max: 30 }),
        (free, held, other, taken, units, unit) => {
          const from = account(free + held + other, held + other);
          const { amount_micros, refusal } = reserve(from, micros(held), slice(taken, units, unit));
          const raise = amount_micros - held;
          expect(raise).toBeGreaterThanOrEqual(0);
          expect(raise).toBeLessThanOrEqual(free);
          if (raise > 0) expect(Math.abs((amount_micros - taken) % unit)).toBe(0);
          // One unit more than those that are reserved, with what is due already.
          const more = taken + (Math.max(0, Math.floor((amount_micros - taken) / unit)) + 1) * unit;
          if (refusal !== undefined) expect(more - held).toBeGreaterThan(free);
          else expect(amount_micros).toBeGreaterThanOrEqual(taken + units * unit);
        },
      ),
    );
  });
});

function withLimit(from: Account, admits: number): Account {
  return { ...from, limits: [{ reason: "window", admits_micros: micros(admits), resets_at_ms: null }] };
}

const ask = (over: Partial<OpenMeterInput> = {}): OpenMeterInput => ({
  op: "o",
  currency: "usd",
  slice: slice(0, 3, 10),
  least_micros: micros(10),
  lease_ms: LEASE,
  ...over,
});

const resume = { hold_id: 5, used_micros: micros(3) };

describe("a meter begins", () => {
  it.each([
    ["covered", account(100), {}, {}, "open 30"],
    ["in part", account(15), {}, {}, "open 10"],
    ["not at all", account(9), {}, {}, "refused insufficient_balance short 1"],
    ["frozen", account(100, 0, { frozen: true }), {}, {}, "refused frozen short 0"],
    ["in another currency", account(100), {}, { currency: "eur" }, "invalid"],
    ["of a key that was charged", account(0), { key: charged(4, 7) }, { key: "k" }, "replayed 4 7"],
    ["of a key that is held", account(100), { key_is_held: true }, { key: "k" }, "conflict in_progress"],
    ["again, after a lost answer", account(100, 30), { hold: hold(30, 0) }, { retry: true }, "resume 5"],
    ["on a hold that was taken beforehand", account(100, 30), { hold: hold(30, null) }, { resume }, "resume 5"],
    ["on none", account(100), {}, { resume }, "unknown"],
    [
      "on one that ended",
      account(100),
      { hold: hold(30, 3, { state: "settled" }), paid: micros(3) },
      { resume },
      "ended settled",
    ],
    [
      "on one whose time is over",
      account(100),
      { hold: hold(30, null, { expires_at_ms: NOW }) },
      { resume },
      "ended expired",
    ],
    ["of nothing", account(100), {}, { least_micros: micros(0) }, "invalid"],
    ["of less than nothing", account(100), {}, { slice: slice(0, 3, -1) }, "invalid"],
    ["of a fraction", account(100), {}, { slice: slice(0, 0.5, 10) }, "invalid"],
    ["of more than there can be", account(100), {}, { slice: slice(0, 2 ** 40, 2 ** 40) }, "invalid"],
    ["for no time", account(100), {}, { lease_ms: 0 }, "invalid"],
  ] as const)("%s", (_name, from, priors, over, outcome) => {
    const decision = decideMeter(from, priors, ask(over), NOW);
    const read =
      "open" in decision
        ? `open ${decision.open.amount_micros}`
        : "resume" in decision
          ? `resume ${decision.resume.hold_id}`
          : readOutcome(decision.outcome as Parameters<typeof readOutcome>[0]);
    expect(read).toBe(outcome);
  });
});

describe("a meter goes on", () => {
  const renew = (from: Account, one: Hold, used: number, wanted?: Slice, now = NOW) =>
    decideRenewal(from, one, { used_micros: micros(used), slice: wanted }, LEASE, now);

  it("writes nothing while it only says what was delivered", () => {
    expect(renew(account(100, 30), hold(30, 0), 20)).toEqual({ amount_micros: 30 });
  });

  it("writes where more is reserved, with what was delivered and a new lease", () => {
    expect(renew(account(100, 30), hold(30, 0), 20, slice(25, 3, 10)).write).toEqual({
      amount_micros: 55,
      used_micros: 20,
      expires_at_ms: NOW + LEASE,
    });
  });

  it("writes where half of the lease is over, although nothing more is asked for", () => {
    const half = NOW + LEASE / 2;
    expect(renew(account(100, 30), hold(30, 0), 20, undefined, half).write).toBeUndefined();
    expect(renew(account(100, 30), hold(30, 0), 20, undefined, half + 1).write).toEqual({
      amount_micros: 30,
      used_micros: 20,
      expires_at_ms: half + 1 + LEASE,
    });
  });

  it("T83 freezing leaves what is reserved, and gives no more; its lease goes on", () => {
    const frozen = account(100, 30, { frozen: true });
    const decision = renew(frozen, hold(30, 0), 20, slice(25, 3, 10), NOW + LEASE - 1);
    expect(decision).toMatchObject({ amount_micros: 30, refusal: { reason: "frozen" }, write: { amount_micros: 30 } });
  });

  it("what was delivered is never more than is reserved, nor goes back on disk", () => {
    expect(renew(account(100, 30), hold(30, 0), 99, undefined, NOW + LEASE - 1).write?.used_micros).toBe(30);
    expect(renew(account(100, 30), hold(30, 10), 5, undefined, NOW + LEASE - 1).write?.used_micros).toBe(10);
  });

  it.each([
    [{ used_micros: micros(-1) }, false],
    [{ used_micros: micros(0.5) }, false],
    [{ used_micros: micros(Number.NaN) }, false],
    [{ used_micros: micros(1), slice: slice(0, 1, 1.5) }, false],
    [{ used_micros: micros(1), slice: slice(0, 2 ** 40, 2 ** 40) }, false],
    [{ used_micros: micros(1), slice: slice(0, 1, 1) }, true],
    [{ used_micros: micros(0) }, true],
  ])("T89 %o is sound: %s", (use, sound) => {
    expect(isUse(use)).toBe(sound);
  });
});

describe("a meter that nobody hears of any more", () => {
  const over = { expires_at_ms: NOW };

  it("keeps of the money what was delivered, from the end of its lease on", () => {
    expect(reserved(hold(30, 12), NOW + LEASE - 1)).toBe(30);
    expect(reserved(hold(30, 12), NOW + LEASE)).toBe(12);
    expect(reserved(hold(30, null, over), NOW)).toBe(0);
  });

  it.each([
    ["what is on disk", account(100, 12), hold(30, 12, over), 0, -12],
    ["what was said since", account(100, 12), hold(30, 12, over), 20, -20],
    ["no more than was reserved", account(100, 12), hold(30, 12, over), 99, -30],
    ["what a claw-back left of it", account(8, 12), hold(30, 12, over), 0, -8],
    ["nothing, where a claw-back took all", account(-50, 12), hold(30, 12, over), 0, undefined],
    ["nothing, where nothing was delivered", account(100, 0), hold(30, 0, over), 0, undefined],
    ["what is there of what was said since", account(15, 12), hold(30, 12, over), 20, -15],
  ])("is charged %s", (_name, from, one, told, amount) => {
    expect(decideLapse(from, one, micros(told))?.amount_micros).toBe(amount);
  });
});

describe("a settlement above its hold", () => {
  const settle = (from: Account, amount: number, price: number, above: "apart" | "part") =>
    decideSettle(
      from,
      hold(amount, null),
      { op: "new", hold_id: 5, amount_micros: micros(price), above },
      NOW,
      undefined,
      takeSome,
    );

  it.each([
    ["apart", "within", account(100, 10), 10, 7, -7, undefined],
    ["apart", "above, covered", account(100, 10), 10, 15, -15, undefined],
    [
      "apart",
      "above, not covered: the hold alone",
      account(14, 10),
      10,
      15,
      -10,
      { price_micros: 5, shortfall_micros: 1 },
    ],
    [
      "part",
      "above, not covered: what is there",
      account(14, 10),
      10,
      15,
      -14,
      { price_micros: 5, shortfall_micros: 1 },
    ],
    ["part", "above, nothing more there", account(10, 10), 10, 15, -10, { price_micros: 5, shortfall_micros: 5 }],
    ["apart", "above, frozen since", account(100, 10, { frozen: true }), 10, 15, -10, { reason: "frozen" }],
    ["part", "within, frozen since", account(100, 10, { frozen: true }), 10, 10, -10, undefined],
    ["part", "above, a limit lowered since", withLimit(account(100, 10), 2), 10, 15, -12, { reason: "window" }],
    ["apart", "within, a claw-back took some of it", account(6, 10), 10, 10, -6, { shortfall_micros: 4 }],
  ] as const)("%s: %s", (above, _name, from, amount, price, taken, refusal) => {
    const decision = settle(from, amount, price, above);
    if (!("end" in decision)) throw new Error("It must end");
    expect(decision).toMatchObject({ end: "settled", write: { amount_micros: taken } });
    if (refusal === undefined) expect(decision.refusal).toBeUndefined();
    else expect(decision.refusal).toMatchObject(refusal);
  });

  it("of which nothing is there any more releases the hold", () => {
    const decision = settle(account(-5, 10), 10, 15, "part");
    expect(decision).toMatchObject({
      end: "released",
      outcome: { outcome: "refused", refusal: { shortfall_micros: 20 } },
    });
  });

  it("never takes more than there is, nor more than the price, and all of it where it is there", () => {
    const amount = fc.integer({ min: 1, max: 100 });
    fc.assert(
      fc.property(
        fc.integer({ min: -50, max: 200 }),
        amount,
        fc.nat(100),
        amount,
        fc.constantFrom("apart", "part"),
        (balance, own, others, price, above) => {
          const from = account(balance, own + others);
          const decision = settle(from, own, price, above as "apart");
          const taken = "end" in decision ? 0 - (decision.write?.amount_micros ?? 0) : Number.NaN;
          const there = Math.max(0, available(from) + own);
          expect(taken).toBeLessThanOrEqual(Math.min(price, there));
          if (price <= there) expect(taken).toBe(price);
          else expect(taken).toBe(above === "part" ? there : Math.min(own, there));
        },
      ),
    );
  });
});

describe("a hold is extended", () => {
  const extend = (from: Account, one: Hold | undefined, over: Partial<ExtendInput>) => {
    const decision = decideExtend(from, one, { currency: "usd", hold_id: 5, ...over }, NOW, micros(7));
    if ("write" in decision) return `to ${decision.write.amount_micros} until ${decision.write.expires_at_ms}`;
    return `${"end" in decision ? "ends, " : ""}${readOutcome(decision.outcome as Parameters<typeof readOutcome>[0])}`;
  };

  it.each([
    ["by money", account(100, 10), hold(10, null), { amount_micros: micros(25) }, "to 25 until 61000"],
    ["by time", account(100, 10), hold(10, null), { ttl_ms: 70_000 }, "to 10 until 71000"],
    ["by both", account(25, 10), hold(10, null), { amount_micros: micros(25), ttl_ms: 70_000 }, "to 25 until 71000"],
    [
      "never to less",
      account(100, 10),
      hold(10, null),
      { amount_micros: micros(5), ttl_ms: 70_000 },
      "to 10 until 71000",
    ],
    ["never to end sooner", account(100, 10), hold(10, null), { ttl_ms: 1 }, "extended"],
    ["by nothing", account(100, 10), hold(10, null), {}, "extended"],
    [
      "by more than there is",
      account(24, 10),
      hold(10, null),
      { amount_micros: micros(25) },
      "refused insufficient_balance short 1",
    ],
    [
      "frozen",
      account(100, 10, { frozen: true }),
      hold(10, null),
      { amount_micros: micros(25) },
      "refused frozen short 0",
    ],
    ["by time, frozen", account(100, 10, { frozen: true }), hold(10, null), { ttl_ms: 70_000 }, "to 10 until 71000"],
    ["which was never taken", account(100), undefined, {}, "unknown"],
    ["which was settled", account(100), hold(10, null, { state: "settled" }), {}, "ended settled"],
    ["which was released", account(100), hold(10, null, { state: "released" }), {}, "ended released"],
    ["whose time is over", account(100), hold(10, null, { expires_at_ms: NOW }), { ttl_ms: 9 }, "ends, ended expired"],
    ["to a fraction", account(100), hold(10, null), { amount_micros: micros(1.5) }, "invalid"],
    ["for no time", account(100), hold(10, null), { ttl_ms: 0 }, "invalid"],
  ] as const)("%s", (_name, from, one, over, outcome) => {
    expect(extend(from, one, over)).toBe(outcome);
  });
});

describe("T88 a unit is paid for when it begins", () => {
  it.each([
    [0, 1],
    [999, 1],
    [1_000, 2],
    [1_001, 2],
    [59_999, 60],
    [-5, 1],
  ])("%i ms: second %i", (ms, seconds) => {
    expect(secondsBegun(ms)).toBe(seconds);
  });

  it.each([
    [0, 0],
    [1, 1],
    [1_000, 1],
    [1_001, 2],
  ])("%i bytes: kilobyte %i", (bytes, kilobytes) => {
    expect(kilobytesBegun(bytes)).toBe(kilobytes);
  });
});

describe("how much is held ahead", () => {
  const rules = { first_micros: micros(20), slice_ms: 20_000, lease_ms: LEASE };

  it.each([
    ["a second a second: as much as at first", 20, 15, 15_000, 20],
    ["faster: twice as much", 20, 20, 100, 40],
    ["steady: what the next twenty seconds take", 1_000, 800, 10_000, 1_600],
    ["slower: less, and not less than at first", 1_000, 10, 60_000, 20],
    ["in no time at all", 20, 20, 0, 40],
  ])("%s", (_name, last, spent, elapsed_ms, next) => {
    expect(nextSlice(rules, { last_micros: micros(last), spent_micros: spent, elapsed_ms })).toBe(next);
  });

  it("museum: LiteLLM 27509 nothing is held but what a paragraph costs while nothing is known", () => {
    let last = rules.first_micros;
    let asked = 0;
    // A thousand units a second: after a while as many as twenty seconds take, in few steps.
    for (let spent = 0; spent < 60_000; asked++) {
      const elapsed_ms = last;
      spent += last;
      last = nextSlice(rules, { last_micros: last, spent_micros: last, elapsed_ms });
      expect(last).toBeLessThanOrEqual(20_000);
    }
    expect(asked).toBeLessThan(15);
  });

  it("is asked for while a quarter is left", () => {
    expect(runsLow(6, micros(20))).toBe(false);
    expect(runsLow(5, micros(20))).toBe(true);
  });
});

describe("a rate in headers", () => {
  const usd = currencyOf("usd") as Currency;
  const rate = (headers: Record<string, string>, maxPrice = 10 ** 12) =>
    rateOfHeaders(new Headers(headers), usd, micros(maxPrice));

  it("is read as prices are", () => {
    expect(
      rate({ "X-Price": "5", "X-Price-Per-Second": "0.05", "X-Price-Per-Kilobyte": "1", "X-Price-Max": "100" }),
    ).toEqual({
      base_micros: 50_000,
      per_second_micros: 500,
      per_kilobyte_micros: 10_000,
      per_message_micros: 0,
      max_micros: 1_000_000,
    });
    expect(leastOf(rate({ "X-Price-Per-Message": "2" }) as Exclude<ReturnType<typeof rate>, "invalid">)).toBe(20_000);
  });

  for (const name of ["X-Price", "X-Price-Per-Second", "X-Price-Per-Kilobyte", "X-Price-Per-Message", "X-Price-Max"]) {
    it(`T3 T4 T5 T7 ${name} outside the grammar, twice, or above the bound`, () => {
      for (const text of [
        "-1",
        "1e2",
        "",
        "0x10",
        "1, 2",
        "NaN",
        "Infinity",
        "1.00001",
        "+5",
        "007",
        "99999999999999999999",
      ]) {
        expect(rate({ "X-Price-Per-Second": "1", "X-Price-Per-Message": "1", [name]: text })).toBe("invalid");
      }
      expect(rate({ "X-Price-Per-Second": "1", [name]: "2" }, 10_001)).toBe("invalid");
    });
  }

  it("whose maximum does not cover one unit makes no sense", () => {
    expect(rate({ "X-Price-Per-Second": "2", "X-Price": "1", "X-Price-Max": "2.9999" })).toBe("invalid");
    expect(rate({ "X-Price-Per-Second": "2", "X-Price": "1", "X-Price-Max": "3" })).not.toBe("invalid");
  });
});

it("T85 a hold is expired from the very moment on", () => {
  expect(isExpired(hold(1, 0), NOW + LEASE - 1)).toBe(false);
  expect(isExpired(hold(1, 0), NOW + LEASE)).toBe(true);
});
