/** Amounts as the panel writes and reads them: digits all the way. */
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { axisMoney, money, parseMoney, useCurrency } from "../../src/panel/format.ts";

beforeEach(() => useCurrency("usd", 2));

test.each([
  [0, "$0.00"],
  [1, "$0.000001"],
  [500, "$0.0005"],
  [10_000, "$0.01"],
  [1_234_560_000, "$1,234.56"],
  [-4_739_500, "−$4.7395"],
  [Number.MAX_SAFE_INTEGER, "$9,007,199,254.740991"],
  [-Number.MAX_SAFE_INTEGER, "−$9,007,199,254.740991"],
])("%d micros are %s", (micros, text) => {
  expect(money(micros)).toBe(text);
});

test("sums beyond what a number holds are exact", () => {
  expect(money(BigInt(Number.MAX_SAFE_INTEGER) * 3n + 1n)).toBe("$27,021,597,764.222974");
});

test("other currencies have their own symbol and digits", () => {
  useCurrency("jpy", 0);
  expect([money(5_000_000), money(5_500_000), axisMoney(1_500_000_000)]).toEqual(["¥5", "¥5.5", "¥1.5k"]);
  useCurrency("kwd", 3);
  expect(money(1_500_000)).toBe("KWD\u00a01.500");
  useCurrency("xxx", 2);
  expect(money(10_000)).toContain("0.01");
});

test("an axis says what it can in short", () => {
  expect([0, 10_000, 1_000_000, 250_000_000, 1_000_000_000, 1_250_000_000, 20_000_000_000].map(axisMoney)).toEqual([
    "$0",
    "$0.01",
    "$1",
    "$250",
    "$1k",
    "$1,250",
    "$20k",
  ]);
});

test("what is typed is read exactly, or not at all", () => {
  expect(parseMoney(" 12.34 ")).toEqual({ micros: 12_340_000 });
  expect(parseMoney("0.000001")).toEqual({ micros: 1 });
  for (const text of [
    "",
    "0",
    "0.00",
    "-1",
    "+1",
    "1e3",
    "1,000",
    "1.",
    ".5",
    "1.0000001",
    "0x10",
    "12 34",
    "99999999999",
  ]) {
    expect(parseMoney(text), text).toHaveProperty("complaint");
  }
});

test("what is written is read again as the same amount", () => {
  const amounts = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  fc.assert(
    fc.property(amounts, (micros) => {
      expect(parseMoney(money(micros).replace(/[$,]/g, ""))).toEqual({ micros });
    }),
  );
});
