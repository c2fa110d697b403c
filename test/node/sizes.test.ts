/** What a Worker has to load, in bytes: ceilings that a change has to stay under, measured in a Worker that runs. */
import { beforeAll, expect, test } from "vitest";
import { gzipBytes, type Loaded, loaded } from "../../scripts/bench/sizes.ts";

let worker: Loaded;
beforeAll(async () => {
  worker = await loaded();
});

test("what is evaluated before the first request is at most 20 kB, compressed", () => {
  expect(gzipBytes(worker.pieces, worker.start)).toBeLessThanOrEqual(20_000);
});

test("all that charging and webhooks load is at most 60 kB, compressed", () => {
  expect(gzipBytes(worker.pieces, worker.core)).toBeLessThanOrEqual(60_000);
});

test("a charge loads nothing", () => {
  expect(worker.charge).toEqual([]);
});

test("what was loaded is what those need: more than at the start, less than there is", () => {
  expect(worker.core.length).toBeGreaterThan(worker.start.length);
  expect(worker.core.length).toBeLessThan(worker.pieces.length);
  // Stripe's own package, and the owner's side.
  const rest = worker.pieces.filter(({ name }) => !worker.core.includes(name));
  for (const name of ["stripe.esm", "owner-routes"])
    expect(
      rest.some((one) => one.name.startsWith(name)),
      name,
    ).toBe(true);
});
