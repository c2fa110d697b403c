import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PRIORITY_DEFAULT } from "../../../src/contract.js";
import {
  apart,
  burnsBefore,
  isOver,
  type Lot,
  lapsed,
  leftIn,
  move,
  movedBy,
  negated,
  type Part,
  type Purse,
  pays,
  reservedBy,
  take,
  unwind,
  writePurse,
} from "../../../src/envelope/lots.js";
import { micros } from "./values.js";

const NOW = 1_000;

const lot = (lot_id: number, left: number, over: Partial<Lot> = {}): Lot => ({
  lot_id,
  left_micros: micros(left),
  priority: PRIORITY_DEFAULT,
  expires_at_ms: null,
  only: null,
  revoked: false,
  ...over,
});
const purse = (pool: number, ...lots: readonly Lot[]): Purse => ({
  pool_micros: micros(pool),
  lots: [...lots].sort(burnsBefore),
});
const parts = (...given: readonly (readonly [number, number])[]) => given as readonly Part[];
const NONE = reservedBy([]);
const at = (time_ms: number, tag?: string) => ({ time_ms, tag });

describe("burn order: priority, earliest expiry, given before paid, oldest", () => {
  const order = (of: Purse) => {
    const all = of.pool_micros + of.lots.reduce((sum, { left_micros }) => sum + left_micros, 0);
    return take(of, NONE, micros(all), at(NOW)).map(([id]) => id);
  };
  const CASES: readonly (readonly [name: string, purse: Purse, order: readonly number[]])[] = [
    ["given before paid", purse(5, lot(3, 5)), [3, 0]],
    ["the oldest first", purse(0, lot(9, 5), lot(3, 5)), [3, 9]],
    [
      "the earliest expiry first, none last",
      purse(5, lot(1, 5), lot(2, 5, { expires_at_ms: 9_000 }), lot(3, 5, { expires_at_ms: 2_000 })),
      [3, 2, 1, 0],
    ],
    ["priority before expiry", purse(0, lot(1, 5, { expires_at_ms: 2_000 }), lot(2, 5, { priority: 49 })), [2, 1]],
    [
      "a higher number is kept for last, after what was paid",
      purse(5, lot(1, 5, { priority: 51, expires_at_ms: 2_000 })),
      [0, 1],
    ],
    [
      "what was paid burns at 50",
      purse(5, lot(1, 5, { priority: 51 }), lot(2, 5), lot(3, 5, { priority: 0 })),
      [3, 2, 0, 1],
    ],
  ];
  for (const [name, of, expected] of CASES) it(name, () => expect(order(of)).toEqual(expected));
});

describe("what a grant may be spent on", () => {
  const CASES: readonly (readonly [only: string | null, tag: string | undefined, pays: boolean])[] = [
    [null, undefined, true],
    [null, "GET /a", true],
    ["GET /a", "GET /a", true],
    ["GET /a", "GET /a/b", false],
    ["GET /a*", "GET /a/b", true],
    ["GET /a*", "GET /a", true],
    ["GET /a*", "GET /b", false],
    ["GET /a", undefined, false],
    ["*", "anything", true],
    ["*", undefined, false],
    ["a*b", "a*b", true],
    ["a*b", "axb", false],
  ];
  for (const [only, tag, expected] of CASES)
    it(`${only} on ${tag} → ${expected}`, () => expect(pays(only, tag)).toBe(expected));

  it("money for something else is apart, and is not taken", () => {
    const of = purse(5, lot(1, 10, { only: "a" }), lot(2, 3));
    expect(apart(of, NONE, at(NOW, "b"))).toBe(10);
    expect(apart(of, NONE, at(NOW, "a"))).toBe(0);
    expect(take(of, NONE, micros(8), at(NOW, "b"))).toEqual([
      [2, 3],
      [0, 5],
    ]);
    expect(take(of, NONE, micros(8), at(NOW, "a"))).toEqual([[1, 8]]);
    expect(() => take(of, NONE, micros(9), at(NOW, "b"))).toThrow("1 micros more");
  });
});

describe("T88 expiry is half-open: over from its instant on", () => {
  const dated = lot(1, 10, { expires_at_ms: 2_000 });
  it("one millisecond before it is spent, at its instant it is not", () => {
    expect([isOver(dated, 1_999), isOver(dated, 2_000)]).toEqual([false, true]);
    expect(take(purse(5, dated), NONE, micros(5), at(1_999))).toEqual([[1, 5]]);
    expect(take(purse(5, dated), NONE, micros(5), at(2_000))).toEqual([[0, 5]]);
    expect(lapsed(purse(5, dated), NONE, 1_999)).toEqual([]);
    expect(lapsed(purse(5, dated), NONE, 2_000)).toEqual([[1, 10]]);
  });

  it("what a hold reserves is not over before the hold is", () => {
    const held = reservedBy([parts([1, 4])]);
    expect(lapsed(purse(0, dated), held, 2_000)).toEqual([[1, 6]]);
    expect(lapsed(purse(0, lot(1, 4, { expires_at_ms: 2_000 })), held, 2_000)).toEqual([]);
    expect(take(purse(0, dated), NONE, micros(4), at(2_000), parts([1, 4]))).toEqual([[1, 4]]);
    expect(() => take(purse(0, dated), NONE, micros(5), at(2_000), parts([1, 4]))).toThrow();
  });

  it("revoked is over, whatever the time", () => {
    expect(lapsed(purse(0, lot(1, 3, { revoked: true })), NONE, 0)).toEqual([[1, 3]]);
  });
});

describe("holds", () => {
  it("what one reserves no other charge takes; its own settlement takes that first, then what is free", () => {
    const of = purse(10, lot(1, 10), lot(2, 10));
    const reserved = reservedBy([parts([1, 10], [2, 2])]);
    expect(take(of, reserved, micros(9), at(NOW))).toEqual([
      [2, 8],
      [0, 1],
    ]);
    expect(take(of, NONE, micros(5), at(NOW), parts([2, 3], [0, 1]))).toEqual([
      [2, 3],
      [0, 1],
      [1, 1],
    ]);
  });

  it("of paid money that was taken back meanwhile it takes what is left, and lots make up for the rest", () => {
    expect(take(purse(-5, lot(1, 10)), NONE, micros(4), at(NOW), parts([0, 10]))).toEqual([[1, 4]]);
  });
});

describe("giving back", () => {
  it("in reverse of the order it was taken in, not of today's", () => {
    const took = parts([7, 5], [0, 3], [9, 2]);
    expect(unwind(took, [], micros(4))).toEqual([
      [9, 2],
      [0, 2],
    ]);
    expect(unwind(took, parts([9, 2], [0, 2]), micros(6))).toEqual([
      [0, 1],
      [7, 5],
    ]);
    expect(() => unwind(took, parts([9, 2]), micros(9))).toThrow("1 micros more");
  });
});

describe("what the ledger keeps", () => {
  it("nothing for a purse without lots", () => {
    expect(writePurse(purse(5), parts([0, -5]))).toBeNull();
    expect(movedBy({ lots: null, amount_micros: micros(-5) })).toEqual([[0, -5]]);
    expect(movedBy({ lots: null, amount_micros: micros(0) })).toEqual([]);
    expect(leftIn(null)).toEqual([]);
  });

  it("what moved and in which order, and what is left of every open lot", () => {
    const before = purse(9, lot(7, 5), lot(8, 1, { only: "x" }), lot(9, 6));
    const moved = negated(take(before, NONE, micros(13), at(NOW)));
    const after = move(before, moved);
    const lots = writePurse(after, moved);
    expect(lots).toBe("[[7,0,-5],[9,0,-6],[0,7,-2],[8,1]]");
    expect(movedBy({ lots, amount_micros: micros(-13) })).toEqual([
      [7, -5],
      [9, -6],
      [0, -2],
    ]);
    expect(leftIn(lots)).toEqual([[8, 1]]);
  });

  it("a lot below zero, or one that nobody knows, is an error and not a balance", () => {
    expect(() => move(purse(0, lot(1, 3)), parts([1, -4]))).toThrow("below zero");
    expect(() => move(purse(0), parts([1, 4]))).toThrow("not known");
  });
});

const anyLot = fc
  .record({
    left: fc.integer({ min: 1, max: 20 }),
    priority: fc.constantFrom(0, 49, 50, 50, 51, 100),
    expires_at_ms: fc.constantFrom(null, null, NOW - 1, NOW, NOW + 1, NOW + 50),
    only: fc.constantFrom(null, null, "a", "a*", "b"),
    revoked: fc.constantFrom(false, false, false, true),
  })
  .map(({ left, ...terms }) => ({ left_micros: micros(left), ...terms }));

it("in 10,000 purses: what is taken is what was asked for, of what may be, in the order of burning; given back, all is as it was", () => {
  let refused = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: -10, max: 30 }),
      fc.array(anyLot, { maxLength: 6 }),
      fc.integer({ min: 1, max: 60 }),
      fc.constantFrom(undefined, "a", "ab", "b"),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 7, maxLength: 7 }),
      fc.integer({ min: 1, max: 60 }),
      (pool, drawn, asked, tag, shares, given) => {
        const of = purse(pool, ...drawn.map((one, index) => ({ ...one, lot_id: index + 1 })));
        const held = of.lots.map(
          ({ lot_id, left_micros }, index): Part => [lot_id, micros(Math.floor(left_micros * (shares[index] ?? 0)))],
        );
        held.push([0, micros(Math.floor(Math.max(0, pool) * (shares[6] ?? 0)))]);
        const reserved = reservedBy([held]);
        const free = ({ lot_id, left_micros }: Lot) => left_micros - (reserved.get(lot_id) ?? 0);
        const spendable = of.lots.filter(
          (one) => !one.revoked && (one.expires_at_ms ?? 9e9) > NOW && pays(one.only, tag),
        );
        const available = pool - (reserved.get(0) ?? 0) + spendable.reduce((sum, one) => sum + free(one), 0);
        // The same, as an account reckons it.
        const balance = pool + of.lots.reduce((sum, { left_micros }) => sum + left_micros, 0);
        const gone = lapsed(of, reserved, NOW).reduce((sum, [, part]) => sum + part, 0);
        const all = [...reserved.values()].reduce((sum, part) => sum + part, 0);
        expect(balance - gone - all - apart(of, reserved, at(NOW, tag))).toBe(available);
        if (asked > available) {
          refused += 1;
          return;
        }
        const took = take(of, reserved, micros(asked), at(NOW, tag));
        expect(took.reduce((sum, [, part]) => sum + part, 0)).toBe(asked);
        expect(new Set(took.map(([id]) => id)).size).toBe(took.length);
        const order = [...spendable, { ...lot(1e9, 0), pool: true }].sort(burnsBefore);
        const ids = order.map((one) => ("pool" in one ? 0 : one.lot_id));
        const most = (id: number) =>
          id === 0
            ? Math.max(0, pool - (reserved.get(0) ?? 0))
            : free(of.lots.find(({ lot_id }) => lot_id === id) as Lot);
        // Whatever burns before the last of what was taken is taken whole.
        let rest = asked;
        const expected: [number, number][] = [];
        for (const id of ids) {
          const part = Math.min(rest, most(id));
          if (part > 0) expected.push([id, part]);
          rest -= part;
        }
        expect(took).toEqual(expected);
        const moved = negated(took);
        const after = move(of, moved);
        const lots = writePurse(after, moved);
        expect(movedBy({ lots, amount_micros: micros(-asked) })).toEqual(moved);
        const left = new Map(leftIn(lots));
        expect([...left].sort(([one], [other]) => one - other)).toEqual(
          after.lots
            .map(({ lot_id, left_micros }) => [lot_id, left_micros])
            .sort(([one = 0], [other = 0]) => one - other),
        );
        // In two pieces, whatever is burned first by then.
        const first = Math.min(given, asked);
        const one = unwind(took, [], micros(first));
        const other = unwind(took, one, micros(asked - first));
        expect(
          move(
            move(
              after,
              one,
              of.lots.map((was) => ({ ...was, left_micros: micros(0) })),
            ),
            other,
            of.lots.map((was) => ({ ...was, left_micros: micros(0) })),
          ),
        ).toEqual(of);
      },
    ),
    { numRuns: 10_000 },
  );
  expect(refused).toBeGreaterThan(1_000);
});
