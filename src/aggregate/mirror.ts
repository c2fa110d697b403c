/** The mirror's receiving rule: each entry is applied once and in order, whatever is lost, doubled or reordered on the way. */
import { type EntryKind, isSpending, type MirrorEntry, type MirrorOpening, type Sums } from "../contract.js";
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
  /** What expired of grants, or was taken back by the owner. */
  readonly expired_micros: Micros;
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
  expired_micros: ZERO,
  last_at_ms: 0,
};

export type SumName = keyof Sums;

/** The sum an entry counts towards, and its sign there. */
export const SUMS = {
  topup: ["credited_micros", 1],
  grant: ["granted_micros", 1],
  charge: ["spent_micros", -1],
  usage: ["spent_micros", -1],
  refund: ["refunded_micros", 1],
  clawback: ["reversed_micros", -1],
  reinstatement: ["reversed_micros", -1],
  expiry: ["expired_micros", -1],
  revocation: ["expired_micros", -1],
} as const satisfies Record<EntryKind, readonly [SumName, 1 | -1]>;

/** Charges and what is given back of them are counted by their reasons; all else is a movement, by kind and reason. */
export function isMovement(kind: EntryKind): boolean {
  return !isSpending(kind) && kind !== "refund";
}

/** The kind under which a sum is counted of which no more is known. */
export const KIND_OF = {
  credited_micros: "topup",
  granted_micros: "grant",
  reversed_micros: "clawback",
  expired_micros: "expiry",
} as const satisfies Partial<Record<SumName, EntryKind>>;

export interface Applied {
  readonly summary: Summary;
  /** The opening, where it was taken. */
  readonly opened?: Opened | undefined;
  /** Those that were taken: consecutive. */
  readonly entries: readonly MirrorEntry[];
  /** Entries that were in the summary already. */
  readonly duplicates: number;
  /** An entry could not be taken, because one before it is missing or it does not follow. */
  readonly gap: boolean;
}

/** What an opening adds to what was known. */
export interface Opened {
  readonly opening: MirrorOpening;
  readonly entries: number;
  readonly charges: number;
  readonly sums: Readonly<Record<SumName, number>>;
}

/** Takes an opening, where there is one that begins at what is known, and then the entries that follow. */
export function applyBatch(known: Summary, told: MirrorOpening | undefined, entries: readonly MirrorEntry[]): Applied {
  if (told === undefined || told.seq <= known.applied_seq) return applyEntries(known, entries);
  // An envelope that an earlier version of this code runs knows of nothing that expired, and has none.
  const opening = Object.assign({ expired_micros: ZERO }, told);
  // An opening says how many of the entries it stands for were charges: of others than those, it is of no use.
  if (opening.after_seq !== known.applied_seq || !addsUp(opening)) return { ...applyEntries(known, []), gap: true };
  const { after_seq: _, charges, first_at_ms: __, at_ms, seq, ...sums } = opening;
  const change = (sum: SumName) => opening[sum] - known[sum];
  const applied = applyEntries({ ...sums, applied_seq: seq, last_at_ms: at_ms }, entries);
  const opened: Opened = {
    opening,
    entries: seq - known.applied_seq,
    charges,
    sums: {
      credited_micros: change("credited_micros"),
      granted_micros: change("granted_micros"),
      spent_micros: change("spent_micros"),
      refunded_micros: change("refunded_micros"),
      reversed_micros: change("reversed_micros"),
      expired_micros: change("expired_micros"),
    },
  };
  return { ...applied, opened };
}

/** A balance is what came in less what went out: of anything else, nothing would follow. */
function addsUp(opening: MirrorOpening): boolean {
  const { credited_micros, granted_micros, refunded_micros, spent_micros, reversed_micros, expired_micros } = opening;
  const out = spent_micros + reversed_micros + expired_micros;
  return credited_micros + granted_micros + refunded_micros - out === opening.balance_micros;
}

/** Takes the entries that follow on `known` and leaves the rest: old ones are in it already, later ones wait for the gap to be filled. */
export function applyEntries(known: Summary, entries: readonly MirrorEntry[]): Applied {
  // A plain loop over one mutable copy: this is all that a shard does per entry.
  const summary: { -readonly [name in keyof Summary]: number } = { ...known };
  const taken: MirrorEntry[] = [];
  let duplicates = 0;
  let gap = false;
  for (const entry of entries) {
    if (entry.seq !== summary.applied_seq + 1) {
      if (entry.seq <= summary.applied_seq) duplicates += 1;
      else gap = true;
      continue;
    }
    const sum = SUMS[entry.kind] as (typeof SUMS)[EntryKind] | undefined;
    // An entry that does not follow on the balance, or of a kind this code does not know yet, is not swallowed: the
    // envelope keeps it, and offers it again.
    if (sum === undefined || entry.balance_micros !== summary.balance_micros + entry.amount_micros) {
      gap = true;
      break;
    }
    summary.applied_seq = entry.seq;
    summary.balance_micros = entry.balance_micros;
    summary.last_at_ms = entry.at_ms;
    summary[sum[0]] += sum[1] * entry.amount_micros;
    taken.push(entry);
  }
  return { summary: summary as Summary, entries: taken, duplicates, gap };
}
