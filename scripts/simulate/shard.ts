/** The aggregate: how many shards, and how long a batch waits for its turn at one. */
import type { Choices } from "../lib/random.ts";

/** An object takes 200 to 500 calls a second that write: https://developers.cloudflare.com/durable-objects/best-practices/rules-of-durable-objects/. The low end. */
export const SHARD_BATCHES_PER_SECOND = 200;
/** … and is planned to be this full at the peak, so that the queue stays short. */
export const SHARD_FULL = 0.7;
/** Of the 10 GB that an object holds, what is planned with: https://developers.cloudflare.com/durable-objects/platform/limits/ */
export const SHARD_GB = 8;

export function shardsFor(peak_batches_per_second: number, stored_gb: number): number {
  const for_batches = peak_batches_per_second / (SHARD_BATCHES_PER_SECOND * SHARD_FULL);
  return Math.max(1, Math.ceil(for_batches), Math.ceil(stored_gb / SHARD_GB));
}

const WATCHED_BATCHES = 20_000;

/**
 * Waiting and service of batches at one shard. Many envelopes that do not know of each other together arrive like a Poisson
 * stream, however each of them behaves, so this is one server with a fixed service time.
 */
export function queueAt(batches_per_second: number, choices: Choices): Float64Array {
  const service_ms = 1000 / SHARD_BATCHES_PER_SECOND;
  const times_ms = new Float64Array(WATCHED_BATCHES);
  let [now_ms, free_ms] = [0, 0];
  for (let batch = 0; batch < WATCHED_BATCHES; batch++) {
    now_ms += batches_per_second > 0 ? (-1000 / batches_per_second) * Math.log(1 - choices.fraction()) : 1e9;
    free_ms = Math.max(now_ms, free_ms) + service_ms;
    times_ms[batch] = free_ms - now_ms;
  }
  return times_ms;
}
