/**
 * How much a meter holds ahead. Pure. Small at first, because nobody knows how much will flow; then as much as the next seconds
 * will take at the pace of the last ones, so that a fast stream asks as seldom as a slow one, and reserves in proportion to what it
 * uses: never the whole balance because its end is unknown.
 */
import type { Micros } from "../money.js";

export interface SliceRules {
  /** The first slice, and the least that is held ahead later. */
  readonly first_micros: Micros;
  /** How long a slice is to last. */
  readonly slice_ms: number;
  /** How long what is held stays so when nothing is heard any more: money is never kept longer by a Worker that is gone. */
  readonly lease_ms: number;
}

/** Units in the first slice. */
export const FIRST_UNITS = 20;
export const SLICE_MS = 20_000;
export const LEASE_MS = 60_000;

export interface Pace {
  readonly last_micros: Micros;
  /** Since the last slice was asked for. */
  readonly spent_micros: number;
  readonly elapsed_ms: number;
}

/** At most twice the last one, so that a burst is no promise. */
export function nextSlice(
  { first_micros, slice_ms }: SliceRules,
  { last_micros, spent_micros, elapsed_ms }: Pace,
): Micros {
  const steady = elapsed_ms > 0 ? Math.ceil((spent_micros * slice_ms) / elapsed_ms) : Number.POSITIVE_INFINITY;
  return Math.max(first_micros, Math.min(steady, 2 * last_micros)) as Micros;
}

/** Whether it is time to ask for the next slice, while there is still a quarter of this one left to deliver from. */
export function runsLow(left_micros: number, last_micros: Micros): boolean {
  return left_micros * 4 <= last_micros;
}
