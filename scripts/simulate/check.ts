/**
 * Does the simulation do what the rule says? With arrivals to the millisecond, what must come out is arithmetic: at one charge
 * every `gap_ms`, an envelope that is busy ships every 7 s, an idle one for each charge, and a shipment is as many batches as
 * its entries fill.
 */
import { PACE } from "../lib/pace.ts";
import { choicesOf } from "../lib/random.ts";
import { arrivals } from "./arrivals.ts";
import { type MirrorRule, mirror, paced } from "./mirror.ts";

const { wait_ms: FIRST_MS, apart_ms: APART_MS } = PACE;
const HOUR_MS = 3_600_000;
const BATCH_MAX = 500;

/** Not between 9 and 10 seconds, where how the two times fall together decides. */
const GAPS_MS = [10, 20, 100, 1_000, 2_500, 5_000, 10_000, 20_000, 60_000, 600_000] as const;

export interface Difference {
  readonly gap_ms: number;
  readonly expected_per_hour: number;
  readonly simulated_per_hour: number;
}

export function batchesPerHour(gap_ms: number): number {
  const apart_ms = Math.max(gap_ms, APART_MS);
  return (HOUR_MS / apart_ms) * Math.ceil(apart_ms / gap_ms / BATCH_MAX);
}

/** What a simulation with that rule gets wrong; nothing, for the right rule. */
export function differences(rule: MirrorRule = paced(FIRST_MS, APART_MS)): readonly Difference[] {
  // As many as hold a whole number of shipments.
  const hours = 7;
  return GAPS_MS.flatMap((gap_ms) => {
    const watch = { per_second: 1000 / gap_ms, duration_ms: hours * HOUR_MS, pattern: { kind: "uniform" } } as const;
    const { batches } = mirror(arrivals(watch, choicesOf("unused")), rule, { charge_ms: 1, batch_ms: 0 });
    const [expected_per_hour, simulated_per_hour] = [batchesPerHour(gap_ms), batches / hours];
    // The first shipment comes a second after the first charge and the last one after the end: one too many or too few.
    const slack = Math.max(1, expected_per_hour / (HOUR_MS / Math.max(gap_ms, APART_MS))) / hours;
    return Math.abs(simulated_per_hour - expected_per_hour) <= slack + 1e-9
      ? []
      : [{ gap_ms, expected_per_hour, simulated_per_hour }];
  });
}

/** Deliberately wrong: forgets the pause between shipments, waits for the pause after each charge, or sends each entry alone. */
export const WRONG_RULES: Readonly<Record<string, MirrorRule>> = {
  "no pause": paced(FIRST_MS, 0),
  "twice the pause": paced(FIRST_MS, 2 * APART_MS),
  "one entry a batch": { ...paced(FIRST_MS, APART_MS), batch_max: 1, batches_per_run_max: 1_000_000 },
};
