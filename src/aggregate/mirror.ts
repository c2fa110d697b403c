/** The mirror's receiving rule: each entry is applied once and in order, whatever is lost, doubled or reordered on the way. */
import {
  type EntryKind,
  type ExactSums,
  isSpending,
  type MirrorEntry,
  type MirrorOpening,
  type Sums,
} from "../contract.js";
import { type Micros, ZERO } from "../money.js";

export type SumName = keyof Sums;

/** No balance is more than a number holds, but what was ever paid in or spent may be. */
export type WholeSums = Readonly<Record<SumName, bigint>>;

export interface Summary extends WholeSums {
  readonly applied_seq: number;
  readonly balance_micros: Micros;
  readonly last_at_ms: number;
}

export const NO_SUMS: WholeSums = {
  credited_micros: 0n,
  granted_micros: 0n,
  spent_micros: 0n,
  refunded_micros: 0n,
  reversed_micros: 0n,
  expired_micros: 0n,
};

export const SUM_NAMES = Object.keys(NO_SUMS) as readonly SumName[];

export const NO_SUMMARY: Summary = { ...NO_SUMS, applied_seq: 0, balance_micros: ZERO, last_at_ms: 0 };

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
  readonly sums: WholeSums;
}

/** Takes an opening, where there is one that begins at what is known, and then the entries that follow. */
export function applyBatch(known: Summary, told: MirrorOpening | undefined, entries: readonly MirrorEntry[]): Applied {
  if (told === undefined || told.seq <= known.applied_seq) return applyEntries(known, entries);
  const { after_seq, balance_micros, charges, at_ms, seq } = told;
  const sums = wholeSums(told);
  // An opening says how many of the entries it stands for were charges: of others than those, it is of no use.
  if (after_seq !== known.applied_seq || !addsUp(sums, balance_micros)) {
    return { ...applyEntries(known, []), gap: true };
  }
  const applied = applyEntries({ ...sums, balance_micros, applied_seq: seq, last_at_ms: at_ms }, entries);
  const opened: Opened = {
    opening: told,
    entries: seq - known.applied_seq,
    charges,
    sums: sumsOf((sum) => sums[sum] - known[sum]),
  };
  return { ...applied, opened };
}

/** An envelope that an earlier version of this code runs knows fewer sums: of what it does not know, it has none. */
export function wholeSums(told: Partial<Sums> & { readonly exact?: Partial<ExactSums> }): WholeSums {
  return sumsOf((sum) => BigInt(told.exact?.[sum] ?? told[sum] ?? 0));
}

export function sumsOf(of: (sum: SumName) => bigint): WholeSums {
  return {
    credited_micros: of("credited_micros"),
    granted_micros: of("granted_micros"),
    spent_micros: of("spent_micros"),
    refunded_micros: of("refunded_micros"),
    reversed_micros: of("reversed_micros"),
    expired_micros: of("expired_micros"),
  };
}

/** A balance is what came in less what went out: of anything else, nothing would follow. */
function addsUp(sums: WholeSums, balance_micros: number): boolean {
  const { credited_micros, granted_micros, refunded_micros, spent_micros, reversed_micros, expired_micros } = sums;
  const out = spent_micros + reversed_micros + expired_micros;
  return credited_micros + granted_micros + refunded_micros - out === BigInt(balance_micros);
}

/** Takes the entries that follow on `known` and leaves the rest: old ones are in it already, later ones wait for the gap to be filled. */
export function applyEntries(known: Summary, entries: readonly MirrorEntry[]): Applied {
  // A plain loop over one mutable copy: this is all that a shard does per entry.
  const summary: { -readonly [name in keyof Summary]: Summary[name] } = { ...known };
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
    summary[sum[0]] += BigInt(sum[1] * entry.amount_micros);
    taken.push(entry);
  }
  return { summary, entries: taken, duplicates, gap };
}
