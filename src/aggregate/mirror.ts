/** The mirror's receiving rule: each entry is applied once and in order, whatever is lost, doubled or reordered on the way. */
import type { EntryKind, MirrorEntry } from "../contract.js";
import { type Micros, ZERO } from "../money.js";

export interface Summary {
  readonly applied_seq: number;
  readonly balance_micros: Micros;
  readonly credited_micros: Micros;
  readonly granted_micros: Micros;
  /** Positive: what charges took. */
  readonly spent_micros: Micros;
  readonly refunded_micros: Micros;
  /** What clawbacks took, less what reinstatements gave. */
  readonly reversed_micros: Micros;
  readonly last_at_ms: number;
}

export const NO_SUMMARY: Summary = {
  applied_seq: 0,
  balance_micros: ZERO,
  credited_micros: ZERO,
  granted_micros: ZERO,
  spent_micros: ZERO,
  refunded_micros: ZERO,
  reversed_micros: ZERO,
  last_at_ms: 0,
};

/** The sum an entry counts towards, and its sign there. */
const SUMS = {
  topup: ["credited_micros", 1],
  grant: ["granted_micros", 1],
  charge: ["spent_micros", -1],
  refund: ["refunded_micros", 1],
  clawback: ["reversed_micros", -1],
  reinstatement: ["reversed_micros", -1],
} as const satisfies Record<EntryKind, readonly [keyof Summary, 1 | -1]>;

/** Takes the entries that follow on `known` and leaves the rest: old ones are in it already, later ones wait for the gap to be filled. */
export function applyEntries(known: Summary, entries: readonly MirrorEntry[]): Summary {
  let summary = known;
  for (const entry of entries) {
    if (entry.seq !== summary.applied_seq + 1) continue;
    const sum = SUMS[entry.kind] as (typeof SUMS)[EntryKind] | undefined;
    // An entry that does not follow on the balance, or of a kind this code does not know yet, is not swallowed: the
    // envelope keeps it, and offers it again.
    if (sum === undefined || entry.balance_micros !== summary.balance_micros + entry.amount_micros) break;
    const [column, sign] = sum;
    summary = {
      ...summary,
      applied_seq: entry.seq,
      balance_micros: entry.balance_micros,
      last_at_ms: entry.at_ms,
      [column]: summary[column] + sign * entry.amount_micros,
    };
  }
  return summary;
}
