/** Holds what the clients know against what the envelopes have on disk. Pure. */
import type { Told } from "./told.ts";

/** A hold as it is on disk, with what the ledger has of it. */
export interface HoldRow {
  readonly hold_id: number;
  readonly state: string;
  readonly amount_micros: number;
  readonly paid_micros: number | null;
  readonly reason: string | null;
  readonly charged_micros: number;
  readonly entries: number;
}

export interface Book {
  readonly granted_micros: number;
  readonly balance_micros: number;
  readonly available_micros: number;
  readonly held_micros: number;
  readonly entries: readonly {
    readonly kind: string;
    readonly amount_micros: number;
    readonly reason: string | null;
    readonly balance_micros: number;
  }[];
  readonly holds: readonly HoldRow[];
}

export type Rule =
  /** Money is held although every lease is over. */
  | "kept"
  /** Σ settled + Σ released ≠ Σ held: a hold ended with another charge than the ledger has, or with more than one. */
  | "unequal"
  | "negative"
  /** The balance is not what was granted less what was charged. */
  | "balance"
  /** More was charged than went through, or less than is known to have been delivered. */
  | "overcharged"
  | "undercharged"
  /** A body was cut too early. */
  | "short"
  /** A charge of no session. */
  | "stray";

export interface Finding {
  readonly rule: Rule;
  readonly what: string;
}

/**
 * A session whose server was killed while it ran, or before its end can have been settled, may have delivered what nobody wrote down.
 * `kills_ms`: when.
 */
export function isKilled({ began_ms, ended_ms }: Told, kills_ms: readonly number[]): boolean {
  return kills_ms.some((at_ms) => at_ms >= began_ms && at_ms <= ended_ms + SETTLED_MS);
}

const SETTLED_MS = 2_000;

export function judge(told: readonly Told[], books: readonly Book[], kills_ms: readonly number[]): readonly Finding[] {
  const findings: Finding[] = [];
  const found = (rule: Rule, what: string): void => void findings.push({ rule, what });
  const charged = new Map<string, number>();
  books.forEach((book, index) => {
    judgeBook(book, `envelope ${index}`, found);
    for (const { kind, amount_micros, reason } of book.entries) {
      if (kind === "charge") charged.set(reason ?? "", (charged.get(reason ?? "") ?? 0) - amount_micros);
    }
  });
  for (const one of told) {
    const reason = `GET ${one.path}`;
    const paid = charged.get(reason) ?? 0;
    charged.delete(reason);
    const most = one.most * one.price_micros;
    const least = one.least * one.price_micros;
    const what = `${one.path} (${one.ending}): charged ${paid}, delivered ${least}, at most ${most}`;
    if (paid > most) found("overcharged", what);
    const killed = isKilled(one, kills_ms);
    if (paid < least && !killed) found("undercharged", what);
    if (one.short && !killed) found("short", what);
  }
  for (const [reason, micros] of charged) found("stray", `${reason}: ${micros}`);
  return findings;
}

function judgeBook(book: Book, name: string, found: (rule: Rule, what: string) => void): void {
  const { granted_micros, balance_micros, available_micros, held_micros, entries, holds } = book;
  if (held_micros !== 0) found("kept", `${name}: ${held_micros}`);
  if (balance_micros < 0 || available_micros < 0 || entries.some((entry) => entry.balance_micros < 0)) {
    found("negative", name);
  }
  for (const { hold_id, state, amount_micros, paid_micros, charged_micros, entries: count } of holds) {
    const what = `${name}, hold ${hold_id}: ${state}, of ${amount_micros} paid ${paid_micros}, charged ${charged_micros} in ${count}`;
    if (state === "open") found("kept", what);
    else if ((paid_micros ?? 0) !== charged_micros || count > 1 || charged_micros < 0) found("unequal", what);
  }
  const spent = entries.reduce((sum, entry) => sum + (entry.kind === "charge" ? entry.amount_micros : 0), 0);
  if (granted_micros + spent !== balance_micros)
    found("balance", `${name}: ${granted_micros} ${spent} ${balance_micros}`);
}
