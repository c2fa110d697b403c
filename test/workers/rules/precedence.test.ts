import { describe, expect, it } from "vitest";
import type { ChargeInput } from "../../../src/contract.js";
import { decideSettle } from "../../../src/envelope/holds.js";
import {
  type Account,
  decideCharge,
  type Headroom,
  headroom,
  type Priors,
  refuseSpending,
} from "../../../src/envelope/ledger.js";
import { canTopUp } from "../../../src/limits.js";
import { refusalProblem } from "../../../src/refusal.js";
import { account, charged, read } from "./ledger-values.js";
import { micros, USD } from "./values.js";

const NOW = 1_000;
const TEN: ChargeInput = { op: "op", key: "k", currency: "usd", amount_micros: micros(10) };
const of = (amount: number): Partial<ChargeInput> => ({ amount_micros: micros(amount) });

describe("precedence of a charge's answers", () => {
  /** In order: each fault, how it is brought about, and the answer it must have while no earlier one is present. */
  const FAULTS: readonly (readonly [name: string, bring: (to: Setting) => void, outcome: string])[] = [
    ["operation already written", (to) => Object.assign(to.priors, { operation: charged(7, 3) }), "charged 7 3"],
    ["amount outside the integers", (to) => Object.assign(to.input, of(Number.NaN)), "invalid"],
    ["key already used", (to) => Object.assign(to.priors, { key: charged(8, 1, "other") }), "conflict scope"],
    ["key of an open hold", (to) => Object.assign(to.priors, { key_is_held: true }), "conflict in_progress"],
    ["another currency", (to) => Object.assign(to.input, { currency: "eur" }), "invalid"],
    [
      "price of zero",
      (to) => Object.assign(to.input, Number.isNaN(to.input.amount_micros) ? {} : of(0)),
      "charged null 0",
    ],
    ["frozen", (to) => Object.assign(to.before, { frozen: true }), "refused frozen short 0"],
    [
      "too little money",
      (to) => Object.assign(to.before, { balance_micros: micros(-1) }),
      "refused insufficient_balance short 11",
    ],
  ];
  interface Setting {
    readonly before: Account;
    readonly priors: Priors;
    readonly input: ChargeInput;
  }

  it("is the documented one for all 256 combinations of faults", () => {
    for (let chosen = 0; chosen < 2 ** FAULTS.length; chosen++) {
      const faults = FAULTS.filter((_, index) => (chosen >> index) % 2 === 1);
      const setting: Setting = { before: { ...account(100) }, priors: {}, input: { ...TEN } };
      for (const [, bring] of faults) bring(setting);
      const answer = read(decideCharge(setting.before, setting.priors, setting.input, NOW), setting.before);
      expect(answer, faults.map(([name]) => name).join(" + ")).toBe(faults[0]?.[2] ?? "write charge -10");
    }
  });
});

const window = (admits: number, resets_at_ms: number | null = 60_000, window_id = `w${admits}`): Headroom => ({
  reason: "window",
  admits_micros: micros(admits),
  resets_at_ms,
  window_id,
});
const cap = (admits: number): Headroom => ({ reason: "key_cap", admits_micros: micros(admits), resets_at_ms: null });
const limited = (balance: number, limits: readonly Headroom[], over: Partial<Account> = {}): Account =>
  account(balance, 0, { limits, ...over });

/** What was refused, by which limit, and what a client is told to do about it. */
function told(before: Account, price: number, least?: number): string {
  const refused = refuseSpending(before, micros(price), least === undefined ? undefined : micros(least));
  if (refused === undefined) return "admitted";
  const { reason, window_id, admits_micros, resets_at_ms, shortfall_micros } = refused;
  return `${reason} ${window_id ?? "-"} admits ${admits_micros ?? "-"} resets ${resets_at_ms ?? "-"} short ${shortfall_micros}`;
}

describe("precedence of limits: the refusal names one of those that refuse", () => {
  const CASES: readonly (readonly [name: string, before: Account, price: number, told: string])[] = [
    ["no other limit", account(9), 10, "insufficient_balance - admits 9 resets - short 1"],
    ["all admit it", limited(10, [window(10), cap(10)]), 10, "admitted"],
    ["a window alone", limited(10, [window(9)]), 10, "window w9 admits 9 resets 60000 short 0"],
    ["the tighter of two windows", limited(10, [window(5), window(3)]), 10, "window w3 admits 3 resets 60000 short 0"],
    ["a cap tighter than a window", limited(10, [window(5), cap(3)]), 10, "key_cap - admits 3 resets - short 0"],
    ["a window tighter than a cap", limited(10, [cap(5), window(3)]), 10, "window w3 admits 3 resets 60000 short 0"],
    [
      "of equals, the one that resets last",
      limited(10, [window(3, 1_000, "hour"), window(3, 9_000, "day"), window(3, 5_000, "week")]),
      10,
      "window day admits 3 resets 9000 short 0",
    ],
    [
      "of equals, the one that never resets",
      limited(10, [window(3, 1_000, "hour"), window(3, null, "once"), window(3, 5_000, "week")]),
      10,
      "window once admits 3 resets - short 0",
    ],
    [
      "of equals in all, the first",
      limited(10, [window(3, 1_000, "one"), window(3, 1_000, "two")]),
      10,
      "window one admits 3 resets 1000 short 0",
    ],
    [
      "what paying does not lift, although the balance is tighter",
      limited(1, [window(5)]),
      10,
      "window w5 admits 5 resets 60000 short 0",
    ],
    [
      "the balance, where the window admits the price",
      limited(1, [window(10)]),
      10,
      "insufficient_balance - admits 1 resets - short 9",
    ],
    [
      "a limit that paying lifts stands back behind one that it does not",
      limited(10, [{ reason: "insufficient_balance", admits_micros: micros(0), resets_at_ms: null }, window(9)]),
      10,
      "window w9 admits 9 resets 60000 short 0",
    ],
    [
      "of two that paying lifts, the tighter",
      limited(9, [{ reason: "insufficient_balance", admits_micros: micros(4), resets_at_ms: null }]),
      10,
      "insufficient_balance - admits 4 resets - short 1",
    ],
    ["frozen before all", limited(0, [window(0), cap(0)], { frozen: true }), 10, "frozen - admits - resets - short 0"],
    ["a limit that was lowered", limited(10, [window(-4)]), 1, "window w-4 admits -4 resets 60000 short 0"],
  ];
  for (const [name, before, price, expected] of CASES) {
    it(name, () => expect(told(before, price)).toBe(expected));
  }

  it("in all combinations: refused if any refuses, by one that refuses, never told to pay in vain, the tightest of its sort", () => {
    const amounts = [-1, 0, 1, 2, 3];
    let refusals = 0;
    for (const balance of amounts)
      for (const first of amounts)
        for (const second of amounts)
          for (const third of amounts)
            for (const price of [1, 2, 3]) {
              const paid: Headroom = {
                reason: "insufficient_balance",
                admits_micros: micros(third),
                resets_at_ms: null,
              };
              const before = limited(balance, [window(first, 5), cap(second), paid]);
              const all = [
                { reason: "insufficient_balance", admits: balance } as const,
                { reason: "window", admits: first } as const,
                { reason: "key_cap", admits: second } as const,
                { reason: "insufficient_balance", admits: third } as const,
              ];
              const refuse = all.filter(({ admits }) => price > admits);
              const named = refuseSpending(before, micros(price));
              expect(named === undefined).toBe(refuse.length === 0);
              expect(price > headroom(before)).toBe(refuse.length > 0);
              if (named === undefined) continue;
              refusals += 1;
              const inVain = refuse.some(({ reason }) => !canTopUp(reason));
              expect(canTopUp(named.reason)).toBe(!inVain);
              const sort = refuse.filter(({ reason }) => canTopUp(reason) === !inVain);
              expect(named.admits_micros).toBe(Math.min(...sort.map(({ admits }) => admits)));
              expect(sort.map(({ reason }) => reason)).toContain(named.reason);
            }
    expect(refusals).toBeGreaterThan(1_000);
  });

  it("at most: what all limits leave is taken, and what leaves nothing is named", () => {
    const charge = (before: Account, amount: number) =>
      read(decideCharge(before, {}, { ...TEN, ...of(amount), at_most: true }, NOW), before);
    expect(charge(limited(10, [window(7), cap(5)]), 10)).toBe("write charge -5");
    expect(charge(limited(3, [window(7), cap(5)]), 10)).toBe("write charge -3");
    expect(charge(limited(3, [window(0)]), 10)).toBe("refused window short 0");
    // The window admits less than the price, and paying helps all the same: it is the balance that leaves nothing.
    expect(charge(limited(0, [window(5)]), 10)).toBe("refused insufficient_balance short 10");
    expect(charge(limited(0, [window(0)]), 10)).toBe("refused window short 0");
    expect(charge(limited(0, [window(-3)]), 10)).toBe("refused window short 0");
  });

  it("a settlement up to its hold fits whatever the limits are by now; above it, they decide", () => {
    const hold = {
      hold_id: 1,
      at_ms: 0,
      expires_at_ms: NOW + 1,
      amount_micros: micros(10),
      state: "open",
      settled_micros: null,
      paid_micros: null,
      settled_seq: null,
      op: "hold",
      end_op: null,
      key: null,
      scope: null,
      reason: null,
      tag: null,
      lots: null,
      spender_id: null,
      used_micros: null,
    } as const;
    const settle = (amount: number, limits: readonly Headroom[]) => {
      const before = account(100, 10, { limits });
      const decision = decideSettle(before, hold, { op: "end", hold_id: 1, amount_micros: micros(amount) }, NOW);
      if ("write" in decision) return `write ${decision.write?.amount_micros}`;
      return decision.outcome?.outcome === "refused" ? `refused ${decision.outcome.refusal.reason}` : "ended";
    };
    expect(settle(10, [window(-50)])).toBe("write -10");
    // With the hold taken off, five more are admitted.
    expect(settle(15, [window(5)])).toBe("write -15");
    expect(settle(16, [window(5)])).toBe("refused window");
    expect(settle(16, [window(5), cap(4)])).toBe("refused key_cap");
  });
});

describe("what a client is told of the limit that refused", () => {
  const answer = async (before: Account) => {
    const refusal = refuseSpending(before, micros(10_000));
    if (refusal === undefined) throw new Error("It was admitted");
    const response = refusalProblem(refusal, { currency: USD, balance_micros: micros(50_000), paymentLink: null });
    return { status: response.status, ...(await response.json<Record<string, unknown>>()) };
  };

  it("a window: 402, when it resets, and that paying does not help", async () => {
    const resets_at_ms = Date.UTC(2026, 1, 28);
    expect(await answer(limited(50_000, [window(0, resets_at_ms, "w_month")]))).toMatchObject({
      status: 402,
      type: "urn:with-envelope:problem:window",
      limit: "window",
      windowId: "w_month",
      resetsAt: "2026-02-28T00:00:00.000Z",
      canTopUp: false,
      price: "1",
      shortfall: "0",
    });
  });

  it("a key's cap: 403", async () => {
    expect(await answer(limited(50_000, [cap(0)]))).toMatchObject({
      status: 403,
      limit: "key",
      resetsAt: null,
      canTopUp: false,
    });
  });

  it("the balance: 402, and that paying helps", async () => {
    expect(await answer(account(0))).toMatchObject({ status: 402, limit: "balance", resetsAt: null, canTopUp: true });
  });
});
