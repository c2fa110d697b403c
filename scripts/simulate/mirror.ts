/** One envelope's mirror, event by event: what `src/envelope/outbox.ts` and the alarm do with charges that arrive at given times. */

export interface MirrorRule {
  /** When the alarm goes off for the first entry that was not shipped, given when it came and when the last shipment began. */
  readonly alarmAt: (entry_ms: number, last_ms: number) => number;
  readonly batch_max: number;
  readonly batches_per_run_max: number;
  /** A run also takes what arrives while it sends, until it is level or has sent its most; else only what was there when it began. */
  readonly chases: boolean;
}

export interface MirrorRun {
  /** How often the alarm ran: an alarm is set once and billed once for each. */
  readonly runs: number;
  readonly batches: number;
  /** Of each entry, in order: from its arrival until the aggregate had it. */
  readonly lags_ms: Float64Array;
  /** How long the object was at work, charges and shipments that overlap counted once. */
  readonly busy_ms: number;
  /** How often it had been idle for long enough to be put to sleep. */
  readonly wakes: number;
}

export interface Times {
  /** An object is at work on a charge for this long. */
  readonly charge_ms: number;
  /** … and on a batch, from sending it to noting that it arrived. */
  readonly batch_ms: number;
}

/** As in `src/envelope/outbox.ts`. */
const BATCH_MAX = 500;
const BATCHES_PER_RUN_MAX = 20;
/** An object with nothing to do is put to sleep: https://developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle/ */
const SLEEPS_AFTER_MS = 10_000;

/** A second after an idle time; while an envelope is busy, at most one shipment in `apart_ms`. */
export function paced(first_ms: number, apart_ms: number, chases = false): MirrorRule {
  return {
    alarmAt: (entry_ms, last_ms) => Math.max(entry_ms + first_ms, last_ms + apart_ms),
    batch_max: BATCH_MAX,
    batches_per_run_max: BATCHES_PER_RUN_MAX,
    chases,
  };
}

/** The usual outbox: an alarm a second after a charge, at most 100 rows a batch. */
export const NAIVE_RULE: MirrorRule = {
  alarmAt: (entry_ms) => entry_ms + 1_000,
  batch_max: 100,
  batches_per_run_max: 1,
  chases: false,
};

export function mirror(arrivals: Float64Array, rule: MirrorRule, times: Times): MirrorRun {
  const lags_ms = new Float64Array(arrivals.length);
  const work: [from_ms: number, to_ms: number][] = [];
  let [runs, batches, shipped] = [0, 0, 0];
  let last_ms = Number.NEGATIVE_INFINITY;
  let free_ms = Number.NEGATIVE_INFINITY;
  let more = false;
  while (shipped < arrivals.length) {
    // More than a run may take is left for the next one, which follows at once.
    const began_ms: number = more ? free_ms : Math.max(rule.alarmAt(at(arrivals, shipped), last_ms), free_ms);
    let now_ms = began_ms;
    for (let batch = 0; batch < rule.batches_per_run_max; batch++) {
      const there = arrivedBy(arrivals, rule.chases ? now_ms : began_ms, shipped);
      if (there === shipped) break;
      const upTo = Math.min(there, shipped + rule.batch_max);
      now_ms += times.batch_ms;
      for (; shipped < upTo; shipped++) lags_ms[shipped] = now_ms - at(arrivals, shipped);
      batches += 1;
    }
    runs += 1;
    more = shipped < arrivedBy(arrivals, rule.chases ? now_ms : began_ms, shipped);
    work.push([began_ms, now_ms]);
    [last_ms, free_ms] = [began_ms, now_ms];
  }
  return { runs, batches, lags_ms, ...atWork(arrivals, work, times.charge_ms) };
}

/** How many have arrived by then. From a hint on, because the next answer is never far. */
function arrivedBy(arrivals: Float64Array, now_ms: number, from: number): number {
  let there = from;
  while (there < arrivals.length && at(arrivals, there) <= now_ms) there++;
  return there;
}

/** The length of what the charges' and the shipments' times cover together, and the sleeps between them. */
function atWork(
  arrivals: Float64Array,
  shipments: readonly (readonly [number, number])[],
  charge_ms: number,
): { readonly busy_ms: number; readonly wakes: number } {
  let [busy_ms, wakes, next] = [0, 0, 0];
  let until_ms = Number.NEGATIVE_INFINITY;
  const cover = (from_ms: number, to_ms: number): void => {
    if (from_ms - until_ms > SLEEPS_AFTER_MS) wakes += 1;
    busy_ms += Math.max(0, to_ms - Math.max(from_ms, until_ms));
    until_ms = Math.max(until_ms, to_ms);
  };
  for (const arrival of arrivals) {
    for (let shipment = shipments[next]; shipment !== undefined && shipment[0] <= arrival; shipment = shipments[next]) {
      cover(...shipment);
      next++;
    }
    cover(arrival, arrival + charge_ms);
  }
  for (const shipment of shipments.slice(next)) cover(...shipment);
  return { busy_ms, wakes };
}

function at(arrivals: Float64Array, index: number): number {
  const time = arrivals[index];
  if (time === undefined) throw new RangeError(`No arrival ${index}`);
  return time;
}
