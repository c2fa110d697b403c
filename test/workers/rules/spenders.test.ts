import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Scope, WindowInput } from "../../../src/contract.js";
import {
  allows,
  book,
  type Chain,
  type Counters,
  type Drawing,
  decideMint,
  endedHeadroom,
  headrooms,
  judgeSpender,
  type Spender,
  sameSettings,
  standingOf,
  viewOf,
} from "../../../src/envelope/spenders.js";
import { micros } from "./values.js";

const NOW = Date.UTC(2026, 10, 18, 12);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let numbers = 0;
function spender(over: Partial<Spender> = {}): Spender {
  numbers += 1;
  return {
    spender_id: numbers,
    public_id: `key-${numbers}`,
    kind: "API_KEY",
    minted: true,
    hash: "hash",
    last4: "last",
    shard: null,
    name: null,
    scopes: ["spend"],
    cap_micros: null,
    windows: [],
    maker_id: null,
    at_ms: 0,
    activated_at_ms: 0,
    expires_at_ms: null,
    revoked_at_ms: null,
    ...over,
  };
}

const none: Counters = {
  charges: 0,
  spent_micros: micros(0),
  refunded_micros: micros(0),
  drawn_micros: micros(0),
  last_used_at_ms: null,
  periods: [],
};
const KEY = { api_key: "k", hash: "hash" };
const IDENTITY = { identity_id: "i" };

describe("T58 T63 whether a spender counts", () => {
  const identity = { minted: false, last4: null, shard: 3 } as const;
  const CASES: readonly (readonly [
    name: string,
    chain: Chain | undefined,
    presented: typeof KEY | typeof IDENTITY,
    string,
  ])[] = [
    ["nobody", undefined, KEY, "revoked"],
    ["a key", [spender()], KEY, "active"],
    ["another secret", [spender({ hash: "other" })], KEY, "revoked"],
    ["a key that is presented as an identity", [spender()], IDENTITY, "revoked"],
    ["an identity", [spender(identity)], IDENTITY, "active"],
    ["an identity that is presented as a key", [spender(identity)], KEY, "revoked"],
    ["an identity that is only noted", [spender({ ...identity, activated_at_ms: null })], IDENTITY, "revoked"],
    ["revoked", [spender({ revoked_at_ms: NOW })], KEY, "revoked"],
    ["revoked in the future: the clock was set back", [spender({ revoked_at_ms: NOW + 1 })], KEY, "revoked"],
    ["a millisecond before it expires", [spender({ expires_at_ms: NOW + 1 })], KEY, "active"],
    ["when it expires", [spender({ expires_at_ms: NOW })], KEY, "expired"],
    [
      "expired, and ended for good since",
      [spender({ expires_at_ms: NOW - 2, revoked_at_ms: NOW - 1 })],
      KEY,
      "expired",
    ],
    ["… whatever the clock does", [spender({ expires_at_ms: NOW + 5, revoked_at_ms: NOW + 6 })], KEY, "expired"],
    ["revoked before it expired", [spender({ expires_at_ms: NOW - 1, revoked_at_ms: NOW - 2 })], KEY, "revoked"],
    ["of a maker that counts", [spender(), spender()], KEY, "active"],
    ["of a maker that was revoked", [spender(), spender({ revoked_at_ms: 1 })], KEY, "revoked"],
    ["of a maker's maker that has expired", [spender(), spender(), spender({ expires_at_ms: NOW })], KEY, "expired"],
    ["of a maker with another secret", [spender(), spender({ hash: "other" })], KEY, "active"],
  ];
  it.each(CASES)("%s → %#", (_name, chain, presented, standing) => {
    expect(judgeSpender(chain, presented, NOW)).toBe(standing);
  });

  it("a scope has to be its own and its makers'", () => {
    const all = ["spend", "read", "keys"] as const;
    expect(allows([spender({ scopes: ["spend"] })], "spend")).toBe(true);
    expect(allows([spender({ scopes: ["spend"] })], "read")).toBe(false);
    expect(allows([spender({ scopes: all }), spender({ scopes: ["keys"] })], "spend")).toBe(false);
  });
});

const drawing = (over: Partial<Spender>, counters: Partial<Counters> = {}, held = 0): Drawing => ({
  spender: spender(over),
  counters: { ...none, ...counters },
  held_micros: micros(held),
});
const window = (input: Partial<WindowInput> = {}, time_zone = "UTC") => {
  const decision = decideMint(
    undefined,
    { living: 0, time_zone },
    settings({ windows: [{ unit: "DAILY", limit_micros: micros(10), ...input }] }),
    NOW,
  );
  if ("outcome" in decision) throw new Error(decision.outcome.detail);
  return decision.file.windows;
};
const settings = (over: object = {}) => ({
  name: null,
  scopes: ["spend"] as readonly Scope[],
  cap_micros: null,
  windows: [] as readonly WindowInput[],
  expires_at_ms: null,
  ...over,
});

describe("T63 what its limits admit", () => {
  it("nothing is limited without a cap or a window", () => {
    expect(headrooms([drawing({}, { drawn_micros: micros(1_000) })], NOW)).toEqual([]);
  });

  it("of a cap, what is left of it, with holds taken off; of each of a chain", () => {
    const chain = [
      drawing({ cap_micros: micros(10) }, { drawn_micros: micros(3) }, 2),
      drawing({}),
      drawing({ cap_micros: micros(4) }, { drawn_micros: micros(6) }),
    ];
    expect(headrooms(chain, NOW).map(({ admits_micros, resets_at_ms }) => [admits_micros, resets_at_ms])).toEqual([
      [5, null],
      [-2, null],
    ]);
  });

  it("T88 of a window, what is left in the period that it is in, until the very end of it", () => {
    const start = Date.UTC(2026, 10, 18);
    const periods = [{ start_ms: start, end_ms: start + DAY, drawn_micros: micros(7) }];
    const one = drawing({ windows: window() }, { periods }, 1);
    const at = (at_ms: number) =>
      headrooms([one], at_ms).map(({ admits_micros, resets_at_ms }) => [admits_micros, resets_at_ms]);
    expect(at(start + DAY - 1)).toEqual([[2, start + DAY]]);
    expect(at(start + DAY)).toEqual([[9, start + 2 * DAY]]);
    expect(headrooms([one], NOW)[0]).toMatchObject({ reason: "key_cap", window_id: "daily-1" });
  });

  it("who has ended may settle what was held, and nothing above it", () => {
    expect(endedHeadroom("expired")).toEqual({ reason: "key_expired", admits_micros: 0, resets_at_ms: null });
    expect(endedHeadroom("revoked").reason).toBe("credential_revoked");
  });
});

describe("T63 what an entry adds", () => {
  const charge = (amount: number, at_ms = NOW) =>
    ({ kind: "charge", at_ms, amount_micros: micros(0 - amount) }) as const;
  const refund = (amount: number, ref_at_ms: number, at_ms = NOW) =>
    ({ kind: "refund", at_ms, amount_micros: micros(amount), ref_at_ms }) as const;

  it("to who spent it: one charge, what it took, and when", () => {
    const after = book({ spender: spender(), counters: none }, charge(5), true);
    expect(after).toEqual({ ...none, charges: 1, spent_micros: 5, drawn_micros: 5, last_used_at_ms: NOW });
    expect(book({ spender: spender(), counters: after }, refund(2, NOW), true)).toEqual({
      ...after,
      refunded_micros: 2,
      drawn_micros: 3,
    });
  });

  it("to who made it: only what is drawn", () => {
    expect(book({ spender: spender(), counters: none }, charge(5), false)).toEqual({ ...none, drawn_micros: 5 });
  });

  it("to a window: in the period it is booked in; given back in that one and in no other", () => {
    const of = { windows: window() };
    const begin = (counters: Counters) => ({ spender: of, counters });
    const today = book(begin(none), charge(5), true);
    expect(today.periods).toMatchObject([{ drawn_micros: 5 }]);
    expect(book(begin(today), refund(2, NOW), true).periods).toMatchObject([{ drawn_micros: 3 }]);
    const tomorrow = book(begin(today), charge(4, NOW + DAY), true);
    expect(tomorrow.periods).toMatchObject([{ start_ms: Date.UTC(2026, 10, 19), drawn_micros: 4 }]);
    const late = book(begin(tomorrow), refund(2, NOW, NOW + DAY), true);
    expect(late.periods).toMatchObject([{ drawn_micros: 4 }]);
    // Its cap is of its whole life.
    expect([tomorrow.drawn_micros, late.drawn_micros]).toEqual([9, 7]);
  });

  it("never ends of itself where a window counts once", () => {
    const of = { windows: window({ unit: "ONCE" }) };
    const after = book({ spender: of, counters: none }, charge(5), true);
    expect(after.periods).toEqual([{ start_ms: 0, end_ms: null, drawn_micros: 5 }]);
    expect(book({ spender: of, counters: after }, charge(1, NOW + 9_999 * DAY), true).periods[0]?.drawn_micros).toBe(6);
  });

  it("the sum of all of them, in any order, is what they come to", () => {
    const entry = fc.record({ amount: fc.integer({ min: -50, max: 50 }), hours: fc.nat(200) });
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        const of = { windows: window({ limit_micros: micros(1_000) }) };
        const ordered = [...entries].sort((one, other) => one.hours - other.hours);
        let counters = none;
        for (const { amount, hours } of ordered) {
          const at_ms = NOW + hours * HOUR;
          const one = amount > 0 ? refund(amount, at_ms, at_ms) : charge(0 - amount, at_ms);
          counters = book({ spender: of, counters }, one, true);
        }
        const total = entries.reduce((sum, { amount }) => sum - amount, 0);
        expect(counters.drawn_micros).toBe(total);
        expect(counters.spent_micros - counters.refunded_micros).toBe(total);
        const day = (hours: number) => Math.floor((NOW + hours * HOUR) / DAY);
        const last = ordered.at(-1);
        if (last === undefined) return;
        const today = entries.filter(({ hours }) => day(hours) === day(last.hours));
        expect(counters.periods[0]?.drawn_micros).toBe(today.reduce((sum, { amount }) => sum - amount, 0));
      }),
    );
  });
});

describe("T63 who may make a key", () => {
  const maker = (over: Partial<Spender> = {}): Chain => [spender({ scopes: ["spend", "keys"], ...over })];
  const CASES: readonly (readonly [
    name: string,
    chain: Chain | undefined,
    living: number,
    over: object,
    outcome: string,
  ])[] = [
    ["the holder, all of it", undefined, 0, { scopes: ["spend", "read", "keys"] }, "made"],
    ["no scope", undefined, 0, { scopes: [] }, "invalid"],
    ["below zero", undefined, 0, { cap_micros: micros(-1) }, "invalid"],
    ["a cap of zero", undefined, 0, { cap_micros: micros(0) }, "made"],
    ["now", undefined, 0, { expires_at_ms: NOW }, "invalid"],
    ["a moment later", undefined, 0, { expires_at_ms: NOW + 1 }, "made"],
    ["the thousandth", undefined, 999, {}, "made"],
    ["one more", undefined, 1_000, {}, "invalid"],
    ["a key, what it has", maker(), 0, { scopes: ["spend", "keys"] }, "made"],
    ["a key, what it has not", maker(), 0, { scopes: ["read"] }, "forbidden"],
    ["a key, its whole cap", maker({ cap_micros: micros(5) }), 0, { cap_micros: micros(5) }, "made"],
    ["a key, more", maker({ cap_micros: micros(5) }), 0, { cap_micros: micros(6) }, "forbidden"],
    ["a key, no cap: its own is shared", maker({ cap_micros: micros(5) }), 0, {}, "made"],
    [
      "a key, more than its maker's",
      [...maker(), spender({ cap_micros: micros(5) })],
      0,
      { cap_micros: micros(6) },
      "forbidden",
    ],
    ["a key, for longer", maker({ expires_at_ms: NOW + 5 }), 0, { expires_at_ms: NOW + 6 }, "forbidden"],
    ["a key, as long", maker({ expires_at_ms: NOW + 5 }), 0, { expires_at_ms: NOW + 5 }, "made"],
    ["the third in a line", [...maker(), spender(), spender()], 0, {}, "made"],
    ["the fourth", [...maker(), spender(), spender(), spender()], 0, {}, "forbidden"],
    ["four windows", undefined, 0, { windows: Array(4).fill({ unit: "DAILY", limit_micros: 1 }) }, "made"],
    ["five", undefined, 0, { windows: Array(5).fill({ unit: "DAILY", limit_micros: 1 }) }, "invalid"],
    [
      "a window that rolls",
      undefined,
      0,
      { windows: [{ unit: "DAILY", limit_micros: 1, alignment: "rolling" }] },
      "invalid",
    ],
    ["a window of nothing", undefined, 0, { windows: [{ unit: "DAILY", limit_micros: -1 }] }, "invalid"],
    ["anchored", undefined, 0, { windows: [{ unit: "MONTHLY", limit_micros: 1, anchor_ms: NOW }] }, "made"],
  ];
  it.each(CASES)("%s", (_name, chain, living, over, outcome) => {
    const decision = decideMint(chain, { living, time_zone: "UTC" }, settings(over), NOW);
    expect("file" in decision ? "made" : decision.outcome.outcome).toBe(outcome);
  });

  it("a window is of the envelope's time zone, unless it names one", () => {
    expect(window({}, "Europe/Berlin")[0]?.time_zone).toBe("Europe/Berlin");
    expect(window({ time_zone: "Asia/Tokyo" }, "Europe/Berlin")[0]?.time_zone).toBe("Asia/Tokyo");
  });

  it("settings are the same whatever order they are written in, and no other way", () => {
    const one = { ...settings(), windows: window() };
    expect(
      sameSettings(one, {
        ...one,
        windows: window().map((w) => Object.fromEntries(Object.entries(w).reverse())) as never,
      }),
    ).toBe(true);
    for (const other of [
      { ...one, name: "x" },
      { ...one, scopes: ["spend", "read"] as const },
      { ...one, cap_micros: micros(0) },
      { ...one, expires_at_ms: 1 },
      { ...one, windows: [] },
      { ...one, windows: window({ limit_micros: micros(11) }) },
      { ...one, windows: window({ time_zone: "Asia/Tokyo" }) },
    ])
      expect(sameSettings(one, other)).toBe(false);
  });
});

describe("T60 what is shown of a spender", () => {
  it("is never its hash, and what is left is the tightest of all that limits it, not below zero", () => {
    const own = drawing({ cap_micros: micros(10), windows: window() }, { drawn_micros: micros(3) });
    const above = drawing({ cap_micros: micros(2), hash: "above" }, { drawn_micros: micros(9) });
    const chain = [own.spender, above.spender] as const;
    const view = viewOf(chain, [own, above], NOW, NOW);
    expect(view).toMatchObject({ made_by: above.spender.public_id, remaining_micros: 0, status: "active" });
    expect(view.windows).toMatchObject([{ window_id: "daily-1", remaining_micros: 10, spent_micros: 0 }]);
    // Nothing is drawn in it, and it has its end all the same.
    const [day] = view.windows;
    expect([day?.resets_at_ms, (day?.end_ms ?? 0) > NOW]).toEqual([day?.end_ms, true]);
    expect(JSON.stringify(view)).not.toContain("hash");
    expect(viewOf([own.spender], [own], NOW, NOW).remaining_micros).toBe(7);
    expect(standingOf(chain, NOW)).toBe("active");
  });
});
