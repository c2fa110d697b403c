/** When charges arrive at one envelope, in milliseconds from the start of the watch, in order. */
import type { Choices } from "../lib/random.ts";

export type Pattern =
  /** One every so often, to the millisecond: only for what can be worked out by hand. */
  | { readonly kind: "uniform" }
  /** Each charge on its own, whatever the one before did. */
  | { readonly kind: "poisson" }
  /** An agent or a page at work: some charges close together, then nothing. */
  | { readonly kind: "bursts"; readonly charges_per_burst: number; readonly apart_ms: number };

export interface Watch {
  readonly per_second: number;
  readonly duration_ms: number;
  readonly pattern: Pattern;
}

export function arrivals({ per_second, duration_ms, pattern }: Watch, choices: Choices): Float64Array {
  const times: number[] = [];
  switch (pattern.kind) {
    case "uniform": {
      // Multiplied, not added up: a sum of rounded gaps drifts.
      for (let n = 0; (n * 1000) / per_second < duration_ms; n++) times.push((n * 1000) / per_second);
      break;
    }
    case "poisson": {
      const gap_ms = 1000 / per_second;
      for (let at = exponential(gap_ms, choices); at < duration_ms; at += exponential(gap_ms, choices)) times.push(at);
      break;
    }
    case "bursts": {
      const { charges_per_burst, apart_ms } = pattern;
      const gap_ms = (1000 * charges_per_burst) / per_second;
      for (let start = exponential(gap_ms, choices); start < duration_ms; start += exponential(gap_ms, choices)) {
        let at = start;
        // Geometric: each charge is the last one of its burst in one of so many cases.
        do {
          times.push(at);
          at += exponential(apart_ms, choices);
        } while (!choices.chance(1 / charges_per_burst));
      }
      times.sort((one, other) => one - other);
      break;
    }
  }
  return Float64Array.from(times);
}

function exponential(mean: number, choices: Choices): number {
  return -mean * Math.log(1 - choices.fraction());
}
