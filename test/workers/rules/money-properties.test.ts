import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addMicros, formatMinor, parsePrice } from "../../../src/money.js";
import { JPY, KWD, micros, USD } from "./values.js";

/** The grammar a second time, by hand: digits before and after the point, read as one whole number of micros. */
function oracle(text: string, exponent: number): bigint | undefined {
  const digits = (part: string): boolean => part !== "" && [...part].every((char) => "0123456789".includes(char));
  const [whole = "", fraction, ...more] = text.split(".");
  if (more.length > 0 || !digits(whole) || whole.length > 12) return undefined;
  if (whole.startsWith("0") && whole !== "0") return undefined;
  if (fraction !== undefined && (!digits(fraction) || fraction.length > 6 - exponent)) return undefined;
  const value = BigInt(whole + (fraction ?? "").padEnd(6 - exponent, "0"));
  return value < 2n ** 53n ? value : undefined;
}

const currency = fc.constantFrom(USD, JPY, KWD);
const digit = fc.integer({ min: 0, max: 9 }).map(String);
/** Mostly inside the grammar, and often at its edges. */
const priceLike = fc.oneof(
  fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 13n }), fc.array(digit, { maxLength: 7 })).map(([whole, fraction]) => {
    return fraction.length === 0 ? `${whole}` : `${whole}.${fraction.join("")}`;
  }),
  fc
    .tuple(fc.constantFrom("900719925474.", "9007199254.", "0.", "00."), fc.array(digit, { maxLength: 7 }))
    .map(([whole, fraction]) => whole + fraction.join("")),
  fc.array(fc.constantFrom(..."0123456789..+-eExX_, \t"), { maxLength: 16 }).map((chars) => chars.join("")),
  fc.string({ unit: "binary" }),
);
/** Safe integers, dense where carries and limits are. */
const amount = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(20_000),
  fc.nat(1_000_000).map((below) => Number.MAX_SAFE_INTEGER - below),
  fc
    .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: -3, max: 3 }))
    .map(([power, off]) => Math.abs(10 ** power + off)),
);

describe("money, over all amounts", () => {
  it("T3 T6 T7 parsePrice accepts exactly the grammar, with exactly the value of a BigInt reading", () => {
    fc.assert(
      fc.property(priceLike, currency, (text, of) => {
        const parsed = parsePrice(text, of);
        const expected = oracle(text, of.exponent);
        expect(parsed === undefined ? undefined : BigInt(parsed)).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
  });

  it("T6 a number is accepted exactly when its shortest text is", () => {
    const number = fc.oneof(
      fc.double(),
      fc.integer(),
      amount.map((units) => units / 10_000),
      fc.nat(99_999).map((units) => units / 100),
    );
    fc.assert(
      fc.property(number, currency, (price, of) => {
        const expected = Object.is(price, -0) ? undefined : oracle(String(price), of.exponent);
        const parsed = parsePrice(price, of);
        expect(parsed === undefined ? undefined : BigInt(parsed)).toBe(expected);
      }),
      { numRuns: 5_000 },
    );
  });

  it("I10 whatever is parsed is a safe integer from 0, or nothing", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true }), currency, (price, of) => {
        const parsed = parsePrice(price, of);
        expect(parsed === undefined || (Number.isSafeInteger(parsed) && parsed >= 0)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  it("formatting and parsing an amount gives it back, over all safe integers", () => {
    fc.assert(
      fc.property(amount, fc.constantFrom(USD, JPY), (value, of) => {
        expect(parsePrice(formatMinor(micros(value), of), of)).toBe(value);
        expect(formatMinor(micros(0 - value), of)).toBe(`${value === 0 ? "" : "-"}${formatMinor(micros(value), of)}`);
      }),
      { numRuns: 20_000 },
    );
  });

  it("formatting and parsing gives an amount back in thousandths too, up to the grammar's twelve digits", () => {
    fc.assert(
      fc.property(amount, (value) => {
        expect(parsePrice(formatMinor(micros(value), KWD), KWD)).toBe(value < 1e15 ? value : undefined);
      }),
      { numRuns: 5_000 },
    );
  });

  it("I10 a sum is exact, or refused", () => {
    fc.assert(
      fc.property(amount, amount, fc.boolean(), (left, right, negative) => {
        const sum = BigInt(left) + (negative ? -BigInt(right) : BigInt(right));
        const safe = sum < 2n ** 53n && sum > -(2n ** 53n);
        const added = addMicros(micros(left), micros(negative ? 0 - right : right));
        expect(added === undefined ? undefined : BigInt(added)).toBe(safe ? sum : undefined);
      }),
    );
  });
});
