/** The simulation of the mirror: what can be worked out by hand comes out of it, and wrong rules are noticed. */
import { describe, expect, test } from "vitest";
import { PACE } from "../../scripts/lib/pace.ts";
import { choicesOf } from "../../scripts/lib/random.ts";
import { arrivals } from "../../scripts/simulate/arrivals.ts";
import { batchesPerHour, differences, WRONG_RULES } from "../../scripts/simulate/check.ts";
import { DEFAULT_MEASURED, measuredFromReport } from "../../scripts/simulate/measured.ts";
import { mirror, paced } from "../../scripts/simulate/mirror.ts";
import { type Assumptions, type Month, monthOf, sample } from "../../scripts/simulate/model.ts";
import { billOf } from "../../scripts/simulate/prices.ts";
import { MONTH_S, PROFILES } from "../../scripts/simulate/profiles.ts";
import { measureStorage } from "../../scripts/simulate/storage.ts";

const assumptions: Assumptions = {
  seed: "test",
  rule: paced(PACE.wait_ms, PACE.apart_ms),
  times: { charge_ms: 10, batch_ms: 20 },
  peak: 3,
  month: 12,
  raw_days: 90,
  price_cents: 1,
  api_percent: 0.7,
};

test("what is simulated and measured is the pace of an envelope that was told none", async () => {
  const { mirrorPace } = await import("../../src/settings.ts");
  expect(PACE).toEqual(mirrorPace({}));
});

describe("charges to the millisecond", () => {
  test("batches per hour are what arithmetic says", () => {
    expect(differences()).toEqual([]);
  });

  test.each(Object.entries(WRONG_RULES))("a wrong rule is noticed: %s", (_, rule) => {
    expect(differences(rule)).not.toEqual([]);
  });

  test.each([
    [60_000, 60],
    [1_000, 3_600 / 7],
    [10, (3_600 / 7) * 2],
  ])("a charge every %i ms is %i batches an hour", (gap_ms, batches) => {
    expect(batchesPerHour(gap_ms)).toBe(batches);
  });

  test("the first charge after an idle time waits a second, the ones after it for the pause", () => {
    const { lags_ms, runs } = mirror(Float64Array.of(0, 2_000, 60_000), assumptions.rule, {
      charge_ms: 1,
      batch_ms: 0,
    });
    expect([...lags_ms]).toEqual([1_000, 6_000, 1_000]);
    expect(runs).toBe(3);
  });

  test("what overlaps is worked on once, and ten idle seconds are a sleep", () => {
    const times = { charge_ms: 10, batch_ms: 20 };
    const { busy_ms, wakes } = mirror(Float64Array.of(0, 5, 30_000), assumptions.rule, times);
    expect(busy_ms).toBe(15 + 20 + 10 + 20);
    expect(wakes).toBe(2);
  });
});

test("arrivals at random come as often as they should", () => {
  for (const pattern of [{ kind: "poisson" }, { kind: "bursts", charges_per_burst: 10, apart_ms: 500 }] as const) {
    const { length } = arrivals({ per_second: 1, duration_ms: 200_000_000, pattern }, choicesOf("arrivals"));
    expect(length / 200_000).toBeGreaterThan(0.97);
    expect(length / 200_000).toBeLessThan(1.03);
  }
});

test("a bill is what is used above what is included", () => {
  const nothing = { worker_requests: 0, worker_cpu_ms: 0, object_requests: 0, object_seconds: 0, rows_read: 0 };
  const { usd } = billOf({ ...nothing, rows_written: 51e6, storage_gb: 10 });
  expect(usd).toBeCloseTo(5 + 1 + 5 * 0.2);
});

test("a month adds up: a hot envelope alone", () => {
  const profile = PROFILES.find(({ name }) => name === "hot tenant");
  if (profile === undefined) throw new Error("No such profile");
  const bytes = measureStorage();
  const monthBy = (chases: boolean): Month => {
    const under = { ...assumptions, rule: paced(1_000, 10_000, chases) };
    const sampled = profile.classes.map((one) => sample(one, under));
    return monthOf({ profile, envelopes: 1, sampled, measured: DEFAULT_MEASURED, bytes, assumptions: under });
  };
  const month = monthBy(false);
  const shipments = MONTH_S / 10;
  // 3,000 entries every ten seconds: six batches of 500, or one more.
  expect(month.batches / shipments).toBeGreaterThan(6);
  expect(month.batches / shipments).toBeLessThan(7.1);
  expect(month.usage.object_requests).toBeCloseTo(month.charges + shipments + month.batches, -5);
  expect(month.usage.rows_written / month.charges).toBeGreaterThan(1);
  expect(month.lag_p99_ms).toBeLessThan(11_000);
  // Whoever runs after what still arrives sends many small batches.
  expect(monthBy(true).batches).toBeGreaterThan(2 * month.batches);
});

test("counts are taken from a bench report, and a report without them is refused", () => {
  const counts = {
    rows_written_per_charge: 1,
    object_requests_per_charge: 1.02,
    mirror_and_alarm_rows_per_charge_at_10_per_second: 0.14,
    rows_read_per_charge_at_10_per_second: 3,
  };
  const measured = measuredFromReport({ counts }, "bench.json");
  expect(measured.rows_written_per_shipment).toBeCloseTo(14);
  expect(() => measuredFromReport({ counts: {} }, "bench.json")).toThrow("bench.json");
});
