/** The bench of the aggregate runs; its figures are no test on a machine that others use. */
import { expect, test } from "vitest";
import { benchAggregate } from "../../scripts/bench/aggregate.ts";

test("a shard takes batches and answers its reports", async () => {
  const figures = await benchAggregate({ entries: 20_000, envelopes: 10 });
  expect(figures.entries).toBe(20_000);
  expect(figures.ingest_entries_per_second).toBeGreaterThan(0);
  expect(Object.keys(figures.report_ms)).toContain("overview");
});
