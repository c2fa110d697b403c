import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nextAttemptMs } from "../../../src/envelope/pace.js";

describe("T93 how long the mirror waits after a failure", () => {
  it.each([
    [1, 0, 500],
    [1, 1, 1_000],
    [2, 1, 2_000],
    [3, 0.5, 3_000],
    [9, 1, 256_000],
    [10, 0, 150_000],
    [10, 1, 300_000],
    [1_000, 1, 300_000],
    [1_000_000, 0, 150_000],
  ])("failure %d, jitter %d → %d ms", (failures, jitter, expected) => {
    expect(nextAttemptMs(failures, jitter)).toBe(expected);
  });

  it("is a whole number of ms between half a second and five minutes, and never shorter for more failures", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (failures, jitter) => {
          const wait = nextAttemptMs(failures, jitter);
          expect(Number.isInteger(wait) && wait >= 500 && wait <= 300_000).toBe(true);
          expect(nextAttemptMs(failures + 1, jitter)).toBeGreaterThanOrEqual(wait);
        },
      ),
    );
  });
});
