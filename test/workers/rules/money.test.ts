import { describe, expect, it } from "vitest";
import {
  type Currency,
  currencyOf,
  formatMinor,
  microsFromMinor,
  minorFromMicros,
  parsePrice,
  toMicros,
} from "../../../src/money.js";
import { JPY, KWD, micros, show, USD } from "./values.js";

const REFUSED = undefined;

type PriceCase = readonly [threat: string, currency: Currency, price: unknown, micros: number | undefined];

const TEXTS: readonly PriceCase[] = [
  ["T3", USD, "0", 0],
  ["T3", USD, "1", 10_000],
  ["T3", USD, "10", 100_000],
  ["T3", USD, "0.0", 0],
  ["T3", USD, "0.0000", 0],
  ["T3", USD, "NaN", REFUSED],
  ["T3", USD, "Infinity", REFUSED],
  ["T3", USD, "-Infinity", REFUSED],
  ["T3", USD, "1e400", REFUSED],
  ["T3", USD, "1e2", REFUSED],
  ["T3", USD, "1E2", REFUSED],
  ["T3", USD, "0x10", REFUSED],
  ["T3", USD, "0b1", REFUSED],
  ["T3", USD, "+5", REFUSED],
  ["T3", USD, "-0", REFUSED],
  ["T3", USD, "5.", REFUSED],
  ["T3", USD, ".5", REFUSED],
  ["T3", USD, ".", REFUSED],
  ["T3", USD, "1.2.3", REFUSED],
  ["T3", USD, "00", REFUSED],
  ["T3", USD, "007", REFUSED],
  ["T3", USD, "00.5", REFUSED],
  ["T3", USD, "1_000", REFUSED],
  ["T3", USD, "1,000", REFUSED],
  ["T3", USD, "1,5", REFUSED],
  ["T3", USD, "1;2", REFUSED],
  ["T3", USD, "1n", REFUSED],
  ["T3", USD, "$1", REFUSED],
  ["T3", USD, "1 usd", REFUSED],
  ["T3", USD, "١", REFUSED],
  ["T3", USD, "１", REFUSED],
  ["T3", USD, "1.٢", REFUSED],
  ["T3", USD, "", REFUSED],
  ["T3", USD, " ", REFUSED],
  ["T3", USD, " 1", REFUSED],
  ["T3", USD, "1 ", REFUSED],
  ["T3", USD, "1\n", REFUSED],
  ["T3", USD, "1\r\n", REFUSED],
  ["T3", USD, "1\u00a0", REFUSED],
  ["T3", USD, "\ufeff1", REFUSED],
  ["T3", USD, "1\0", REFUSED],
  ["T3", USD, "null", REFUSED],
  ["T4", USD, "1, 2", REFUSED],
  ["T4", USD, "1,1", REFUSED],
  ["T5", USD, "-1", REFUSED],
  ["T5", USD, "-0.5", REFUSED],
  ["T5", USD, "−1", REFUSED],
  ["T6", USD, "0.05", 500],
  ["T6", USD, "1.5", 15_000],
  ["T6", USD, "1.50", 15_000],
  ["T6", USD, "0.0001", 1],
  ["T6", USD, "0.1", 1_000],
  ["T6", USD, "0.00001", REFUSED],
  ["T6", USD, "1.00000", REFUSED],
  ["T6", JPY, "1", 1_000_000],
  ["T6", JPY, "0.000001", 1],
  ["T6", JPY, "1.5", 1_500_000],
  ["T6", JPY, "0.0000001", REFUSED],
  ["T6", KWD, "1", 1_000],
  ["T6", KWD, "0.001", 1],
  ["T6", KWD, "0.0001", REFUSED],
  ["T7", USD, "900719925474.0991", Number.MAX_SAFE_INTEGER],
  ["T7", USD, "900719925474.0992", REFUSED],
  ["T7", USD, "900719925474.9999", REFUSED],
  ["T7", USD, "900719925475", REFUSED],
  ["T7", USD, "999999999999", REFUSED],
  ["T7", USD, "1000000000000", REFUSED],
  ["T7", USD, "123456789012345678901234567890", REFUSED],
  ["T7", JPY, "9007199254.740991", Number.MAX_SAFE_INTEGER],
  ["T7", JPY, "9007199254.740992", REFUSED],
  ["T7", JPY, "999999999999.999999", REFUSED],
  // Twelve digits before the point is the grammar's own limit, below 2^53−1 micros where the minor unit is a thousandth.
  ["T7", KWD, "999999999999.999", 999_999_999_999_999],
  ["T7", KWD, "1000000000000", REFUSED],
];

const VALUES: readonly PriceCase[] = [
  ["T3", USD, 1, 10_000],
  ["T3", USD, 0, 0],
  ["T3", USD, -0, REFUSED],
  ["T3", USD, Number.NaN, REFUSED],
  ["T3", USD, Number.POSITIVE_INFINITY, REFUSED],
  ["T5", USD, -1, REFUSED],
  ["T6", USD, 0.05, 500],
  ["T6", USD, 0.1 + 0.2, REFUSED],
  ["T6", USD, 1e-7, REFUSED],
  ["T6", JPY, 0.000001, 1],
  ["T7", USD, 1e21, REFUSED],
  ["T7", USD, 1e11, 1e15],
  ["T7", USD, Number.MAX_SAFE_INTEGER, REFUSED],
  ["T3", USD, { micros: 500 }, 500],
  ["T3", USD, { micros: 0 }, 0],
  ["T3", USD, { micros: Number.NaN }, REFUSED],
  ["T3", USD, { micros: "500" }, REFUSED],
  ["T3", USD, { micros: 5n }, REFUSED],
  ["T3", USD, { micros: null }, REFUSED],
  ["T5", USD, { micros: -1 }, REFUSED],
  ["T6", USD, { micros: 0.5 }, REFUSED],
  ["T7", USD, { micros: Number.MAX_SAFE_INTEGER }, Number.MAX_SAFE_INTEGER],
  ["T7", USD, { micros: 2 ** 53 }, REFUSED],
  ["T7", USD, { micros: Number.POSITIVE_INFINITY }, REFUSED],
  ["T3", USD, {}, REFUSED],
  ["T3", USD, ["1"], REFUSED],
  ["T3", USD, null, REFUSED],
  ["T3", USD, undefined, REFUSED],
  ["T3", USD, true, REFUSED],
  ["T3", USD, 1n, REFUSED],
  ["T3", USD, new String("1"), REFUSED],
];

describe("parsePrice", () => {
  for (const [threat, currency, price, expected] of [...TEXTS, ...VALUES]) {
    it(`${threat} ${currency.code} ${show(price)} → ${expected ?? "refused"}`, () => {
      expect(parsePrice(price, currency)).toBe(expected);
    });
  }

  it("T3 zero is never −0, which no grammar could write", () => {
    for (const zero of ["0", "0.0", 0, { micros: 0 }, { micros: -0 }]) {
      expect(Object.is(parsePrice(zero, USD), -0)).toBe(false);
    }
  });

  it("T4 two X-Price headers are joined by the platform to a list, and refused", () => {
    const headers = new Headers([
      ["X-Price", "1"],
      ["X-Price", "2"],
    ]);
    expect(headers.get("X-Price")).toBe("1, 2");
    expect(parsePrice(headers.get("X-Price"), USD)).toBeUndefined();
  });
});

describe("what Stripe takes a payment of", () => {
  it.each<readonly [code: string, micros: number, minor: number | undefined]>([
    ["usd", 10_010_000, 1001],
    ["usd", 10_010_001, REFUSED],
    ["jpy", 500_000_000, 500],
    ["jpy", 500_500_000, REFUSED],
    ["kwd", 5_120_000, 5120],
    ["kwd", 5_124_000, REFUSED],
    ["isk", 5_000_000, 500],
    ["isk", 5_010_000, REFUSED],
    ["ugx", 5_500_000, REFUSED],
  ])("%s: %d micros is %s minor units", (code, amount, minor) => {
    expect(minorFromMicros(micros(amount), currencyOf(code) as Currency)).toBe(minor);
  });
});

describe("smaller rules", () => {
  it.each([
    ["usd", 0, "0"],
    ["usd", 1, "0.0001"],
    ["usd", 500, "0.05"],
    ["usd", 10_000, "1"],
    ["usd", 15_000, "1.5"],
    ["usd", -15_000, "-1.5"],
    ["usd", Number.MAX_SAFE_INTEGER, "900719925474.0991"],
    ["jpy", 1, "0.000001"],
    ["jpy", 1_000_000, "1"],
    ["kwd", 1_001, "1.001"],
  ])("formatMinor %s %d → %s", (code, value, text) => {
    expect(formatMinor(micros(value), currencyOf(code) as Currency)).toBe(text);
  });

  const MINORS: readonly PriceCase[] = [
    ["T38", USD, 500, 5_000_000],
    ["T38", JPY, 500, 500_000_000],
    ["T38", KWD, 500, 500_000],
    ["T38", USD, 0, 0],
    ["T38", USD, 900_719_925_474, 9_007_199_254_740_000],
    ["T38", USD, 900_719_925_475, REFUSED],
    ["T38", USD, Number.MAX_SAFE_INTEGER, REFUSED],
    ["T38", USD, -1, REFUSED],
    ["T38", USD, 1.5, REFUSED],
    ["T38", USD, Number.NaN, REFUSED],
    ["T38", USD, "500", REFUSED],
    ["T38", USD, null, REFUSED],
  ];
  for (const [threat, of, minor, expected] of MINORS) {
    it(`${threat} microsFromMinor ${of.code} ${show(minor)} → ${expected ?? "refused"}`, () => {
      expect(microsFromMinor(minor, of)).toBe(expected);
    });
  }

  it.each(["", "us", "usdd", "USD", "u$d", " usd", "usd\n", "123"])("currencyOf %j → refused", (code) => {
    expect(currencyOf(code)).toBeUndefined();
  });

  it.each([-0, 0, 1, -1, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER])(
    "toMicros %d → the same, never −0",
    (value) => {
      expect(toMicros(value)).toBe(value + 0);
    },
  );

  it.each([1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, "1", 1n, null, undefined, true])(
    "toMicros %s → refused",
    (value) => {
      expect(toMicros(value)).toBeUndefined();
    },
  );
});
