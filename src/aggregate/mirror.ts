/** The mirror's receiving rule: each entry is applied once and in order, whatever is lost, doubled or reordered on the way. */
import type { MirrorEntry } from "../contract.js";
import { type Micros, ZERO } from "../money.js";

export interface Summary {
  readonly applied_seq: number;
  readonly balance_micros: Micros;
  readonly credited_micros: Micros;
  readonly granted_micros: Micros;
  /** Positive: what charges took. */
  readonly spent_micros: Micros;
  readonly refunded_micros: Micros;
  readonly last_at_ms: number;
}

export const NO_SUMMARY: Summary = {
  applied_seq: 0,
  balance_micros: ZERO,
  credited_micros: ZERO,
  granted_micros: ZERO,
  spent_micros: ZERO,
  refunded_micros: ZERO,
  last_at_ms: 0,
};

const COLUMN = {
  topup: "credited_micros",
  grant: "granted_micros",
  charge: "spent_micros",
  refund: "refunded_micros",
} as const;

/** Takes the entries that follow on `summary` and leaves the rest: old ones are known already, later ones wait for a gap to be filled. */
export function applyEntries(summary: Summary, entries: readonly MirrorEntry[]): Summary {
  return entries.reduce((so_far, entry) => {
    if (entry.seq !== so_far.applied_seq + 1) return so_far;
    const column = COLUMN[entry.kind];
    return {
      ...so_far,
      applied_seq: entry.seq,
      balance_micros: entry.balance_micros,
      last_at_ms: entry.at_ms,
      [column]: so_far[column] + Math.abs(entry.amount_micros),
    };
  }, summary);
}
