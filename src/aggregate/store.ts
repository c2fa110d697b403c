/** The rows of one shard: what an applied batch adds to them. Decides nothing. Grouped before, so each row is written once a batch. */
import type { MirrorBatch, MirrorEntry } from "../contract.js";
import { dayOf, hourOf, monthName } from "./calendar.js";
import { type Applied, NO_SUMMARY, type Opened, SUM_NAMES, type Summary, sumsOf } from "./mirror.js";
import { FOLDED_REASON, NO_REASON, normalReason, OTHER_REASON } from "./reasons.js";
import {
  type Activity,
  activity,
  byDay,
  byHour,
  byMonth,
  bySpender,
  capReasons,
  folded,
  type LastActive,
  type PeriodChange,
} from "./rollup.js";

const COUNTS = [
  "envelopes",
  "entries",
  "outstanding_micros",
  "owed_micros",
  "budgeted_micros",
  "frozen",
  "behind",
  "gaps",
  "duplicates",
] as const;
const REASONS_PER_DAY_MAX = 300;
/** Reasons as envelopes send them, remembered with their names: most batches bring no new one. */
const NAMES_KEPT = 4_096;
/** Days whose reasons are remembered: today's, and the few that late batches are about. */
const DAYS_KEPT = 8;
/** Words for what said no, from envelopes of later versions too, but never many or long. */
const LIMIT_NAME = /^[a-z_]{1,32}$/;

/** An envelope's row. */
export interface Copy extends Summary, LastActive {
  readonly envelope_id: string;
  readonly currency: string;
  readonly head_seq: number;
  readonly frozen: number;
  /** As the owner called it. */
  readonly name: string | null;
  /** It has no balance that limits it. */
  readonly budget: number;
  readonly first_at_ms: number;
  /** `2026-11`: of the first entry, which is always money in. */
  readonly cohort: string;
  readonly behind_since_ms: number | null;
  /** When the shard asks the envelope by itself; `null` where nothing is missing. */
  readonly pull_at_ms: number | null;
  readonly refusals_id: string | null;
  /** When the newest batch was sent that told something besides its entries. */
  readonly told_at_ms: number;
}

/** What a batch says of an envelope besides its entries. */
export interface Told
  extends Pick<
    Copy,
    "head_seq" | "frozen" | "name" | "behind_since_ms" | "pull_at_ms" | "refusals_id" | "told_at_ms"
  > {}

export class AggregateStore {
  readonly #sql: SqlStorage;
  #names = new Map<string, string>();
  #reasons = new Map<number, Set<string>>();

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** After a roll-back: what was remembered may never have been stored. */
  forget(): void {
    this.#names.clear();
    this.#reasons.clear();
  }

  copy(envelope_id: string): Copy | undefined {
    const [row] = this.#sql.exec(`SELECT ${COPY} FROM envelope_summary WHERE envelope_id = ?`, envelope_id).toArray();
    return row && toCopy(row);
  }

  /** To be called inside a transaction. */
  file(batch: MirrorBatch, before: Copy | undefined, applied: Applied, told: Told, now_ms: number): void {
    const { entries, opened } = applied;
    const hours = byHour(entries, (reason) => this.#nameOf(reason));
    if (opened !== undefined) hours.unshift(folded(opened));
    const days = byDay(hours);
    const cohort = this.#cohortOf(before, entries, opened);
    const active = activity(before ?? NEVER_ACTIVE, days);
    const first = entries[0];
    const first_at_ms = opened?.opening.first_at_ms ?? first?.at_ms;
    const known = before !== undefined && before.applied_seq > 0;
    const copy: Copy = {
      ...applied.summary,
      ...told,
      ...active.last,
      envelope_id: batch.envelope_id,
      currency: batch.currency,
      budget: batch.budget === undefined ? (before?.budget ?? 0) : Number(batch.budget),
      first_at_ms: known ? before.first_at_ms : (first_at_ms ?? 0),
      cohort: cohort.name,
    };
    this.#fileCopy(copy);
    if (opened !== undefined) this.#filePruned(opened);
    if (hours.length > 0) {
      this.#fileRaw(batch.envelope_id, entries, now_ms);
      this.#fileSpenders(batch.envelope_id, entries);
      this.#filePeriods(hours, days);
      this.#fileActive(active.first);
      if (cohort.from === 0) this.#fileMonths(cohort.name, days, active.first);
      else {
        // What comes before the first top-up was not yet any cohort's, however the entries are cut into batches.
        const early = byDay(byHour(entries.slice(0, cohort.from), () => NO_REASON));
        const then = activity(before ?? NEVER_ACTIVE, early);
        this.#fileMonths(NO_COHORT, early, then.first);
        const late = byDay(byHour(entries.slice(cohort.from), () => NO_REASON));
        this.#fileMonths(cohort.name, late, activity(then.last, late).first);
      }
    }
    const arrival_ms = first === undefined || batch.again ? null : Math.max(0, now_ms - first.at_ms);
    this.#fileTotal(before, copy, applied, { arrival_ms, now_ms });
  }

  refuse(by_limit: Readonly<Record<string, number>>, now_ms: number): void {
    for (const [limit, refusals] of Object.entries(by_limit)) {
      if (!LIMIT_NAME.test(limit) || !Number.isSafeInteger(refusals) || refusals <= 0) continue;
      this.#sql.exec(
        `INSERT INTO refusal (at_ms, limited_by, refusals) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET refusals = refusals + excluded.refusals`,
        hourOf(now_ms),
        limit,
        refusals,
      );
    }
  }

  /** Counts a batch that brought nothing new. */
  count({ duplicates, gap }: Pick<Applied, "duplicates" | "gap">, now_ms: number): void {
    this.#sql.exec(
      "UPDATE total SET gaps = gaps + ?, duplicates = duplicates + ?, last_batch_at_ms = ? WHERE id = 1",
      gap ? 1 : 0,
      duplicates,
      now_ms,
    );
  }

  /** The month of the first top-up, and the entry it begins at. */
  #cohortOf(
    before: Copy | undefined,
    entries: Applied["entries"],
    opened: Applied["opened"],
  ): { readonly name: string; readonly from: number } {
    const known = before !== undefined && before.applied_seq > 0 ? before.cohort : NO_COHORT;
    if (known !== NO_COHORT) return { name: known, from: 0 };
    // Of what was folded, no more is known than when it began and whether any of it was paid.
    if (opened !== undefined && opened.sums.credited_micros > 0n) {
      return { name: monthName(opened.opening.first_at_ms), from: 0 };
    }
    const from = entries.findIndex(({ kind }) => kind === "topup");
    const topup = entries[from];
    return topup === undefined ? { name: NO_COHORT, from: 0 } : { name: monthName(topup.at_ms), from };
  }

  #fileCopy(copy: Copy): void {
    this.#sql.exec(
      `INSERT INTO envelope_summary (envelope_id, currency, applied_seq, balance_micros, credited_micros, granted_micros,
         spent_micros, refunded_micros, reversed_micros, expired_micros, last_at_ms, head_seq, frozen, first_at_ms, cohort,
         active_day_ms, active_week_ms, active_month_ms, behind_since_ms, pull_at_ms, refusals_id, budget, told_at_ms, name)
       VALUES (?, ?, ?, ?${`, ${WHOLE}`.repeat(6)}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET applied_seq = excluded.applied_seq, balance_micros = excluded.balance_micros,
         credited_micros = excluded.credited_micros, granted_micros = excluded.granted_micros,
         spent_micros = excluded.spent_micros, refunded_micros = excluded.refunded_micros,
         reversed_micros = excluded.reversed_micros, expired_micros = excluded.expired_micros,
         last_at_ms = excluded.last_at_ms, head_seq = excluded.head_seq,
         frozen = excluded.frozen, first_at_ms = excluded.first_at_ms, cohort = excluded.cohort,
         active_day_ms = excluded.active_day_ms, active_week_ms = excluded.active_week_ms,
         active_month_ms = excluded.active_month_ms, behind_since_ms = excluded.behind_since_ms,
         pull_at_ms = excluded.pull_at_ms, refusals_id = excluded.refusals_id, budget = excluded.budget,
         told_at_ms = excluded.told_at_ms, name = excluded.name`,
      copy.envelope_id,
      copy.currency,
      copy.applied_seq,
      copy.balance_micros,
      String(copy.credited_micros),
      String(copy.granted_micros),
      String(copy.spent_micros),
      String(copy.refunded_micros),
      String(copy.reversed_micros),
      String(copy.expired_micros),
      copy.last_at_ms,
      copy.head_seq,
      copy.frozen,
      copy.first_at_ms,
      copy.cohort,
      copy.active_day_ms,
      copy.active_week_ms,
      copy.active_month_ms,
      copy.behind_since_ms,
      copy.pull_at_ms,
      copy.refusals_id,
      copy.budget,
      copy.told_at_ms,
      copy.name,
    );
  }

  #fileRaw(envelope_id: string, entries: readonly MirrorEntry[], now_ms: number): void {
    const [first, last] = [entries[0], entries.at(-1)];
    if (first === undefined || last === undefined) return;
    this.#sql.exec(
      `INSERT INTO batch (envelope_id, first_seq, last_seq, first_at_ms, last_at_ms, received_at_ms, entries)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      envelope_id,
      first.seq,
      last.seq,
      first.at_ms,
      last.at_ms,
      now_ms,
      rawText(entries, first.at_ms),
    );
  }

  #fileSpenders(envelope_id: string, entries: readonly MirrorEntry[]): void {
    for (const { at_ms, spender, charges, spent_micros, refunded_micros } of bySpender(entries)) {
      this.#sql.exec(
        `INSERT INTO spend_key (at_ms, envelope_id, spender, charges, spent_micros, refunded_micros) VALUES (?, ?, ?, ?, ${WHOLE}, ${WHOLE})
         ON CONFLICT DO UPDATE SET charges = charges + excluded.charges, spent_micros = spent_micros + excluded.spent_micros,
           refunded_micros = refunded_micros + excluded.refunded_micros`,
        at_ms,
        envelope_id,
        spender,
        charges,
        String(spent_micros),
        String(refunded_micros),
      );
    }
  }

  /** Was never raw here. */
  #filePruned({ entries, sums }: Opened): void {
    this.#sql.exec(
      `UPDATE pruned SET ${["entries", ...SUM_NAMES].map(raised).join(", ")}`,
      entries,
      ...SUM_NAMES.map((sum) => String(sums[sum])),
    );
  }

  #filePeriods(hours: readonly PeriodChange[], days: readonly PeriodChange[]): void {
    for (const hour of hours) this.#filePeriod("hour", hour);
    for (const day of days) this.#filePeriod("day", day);
  }

  #filePeriod(table: "hour" | "day", change: PeriodChange): void {
    this.#sql.exec(
      `INSERT INTO ${table} (at_ms, entries, charges, ${SUM_NAMES.join(", ")}) VALUES (?, ?, ?${`, ${WHOLE}`.repeat(SUM_NAMES.length)})
       ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, charges = charges + excluded.charges,
         ${SUM_NAMES.map((sum) => `${sum} = ${sum} + excluded.${sum}`).join(", ")}`,
      change.at_ms,
      change.entries,
      change.charges,
      ...SUM_NAMES.map((sum) => String(change[sum])),
    );
    const { reasons, moved } = capReasons(change, this.#reasonsOf(change.at_ms), REASONS_PER_DAY_MAX, OTHER_REASON);
    for (const [reason, { charges, spent_micros, refunded_micros }] of reasons) {
      this.#sql.exec(
        `INSERT INTO spend_${table} (at_ms, reason, charges, spent_micros, refunded_micros) VALUES (?, ?, ?, ${WHOLE}, ${WHOLE})
         ON CONFLICT DO UPDATE SET charges = charges + excluded.charges, spent_micros = spent_micros + excluded.spent_micros,
           refunded_micros = refunded_micros + excluded.refunded_micros`,
        change.at_ms,
        reason,
        charges,
        String(spent_micros),
        String(refunded_micros),
      );
    }
    for (const { kind, reason, entries, amount_micros } of moved.values()) {
      this.#sql.exec(
        `INSERT INTO moved_${table} (at_ms, kind, reason, entries, amount_micros) VALUES (?, ?, ?, ?, ${WHOLE})
         ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, amount_micros = amount_micros + excluded.amount_micros`,
        change.at_ms,
        kind,
        reason,
        entries,
        String(amount_micros),
      );
    }
  }

  #fileMonths(cohort: string, days: readonly PeriodChange[], first: Activity["first"]): void {
    for (const { month, active, credited_micros, spent_micros } of byMonth(days, first)) {
      this.#sql.exec(
        `INSERT INTO cohort (cohort, month, active, credited_micros, spent_micros) VALUES (?, ?, ?, ${WHOLE}, ${WHOLE})
         ON CONFLICT DO UPDATE SET active = active + excluded.active, credited_micros = credited_micros + excluded.credited_micros,
           spent_micros = spent_micros + excluded.spent_micros`,
        cohort,
        month,
        active,
        String(credited_micros),
        String(spent_micros),
      );
    }
  }

  #fileActive(first: Activity["first"]): void {
    for (const [period, at_ms] of first) {
      this.#sql.exec(
        `INSERT INTO active (period, at_ms, envelopes) VALUES (?, ?, 1)
         ON CONFLICT DO UPDATE SET envelopes = envelopes + 1`,
        period,
        at_ms,
      );
    }
  }

  #fileTotal(
    before: Copy | undefined,
    after: Copy,
    { entries, opened, duplicates, gap }: Applied,
    { arrival_ms, now_ms }: { readonly arrival_ms: number | null; readonly now_ms: number },
  ): void {
    const was: Pick<Copy, keyof Summary | "frozen" | "behind_since_ms" | "budget"> = before ?? NO_COPY;
    const [stood, stands] = [standing(was), standing(after)];
    this.#sql.exec(
      `UPDATE total SET ${[...COUNTS, ...SUM_NAMES].map(raised).join(", ")},
         last_batch_at_ms = ?, arrival_ms = coalesce(?, arrival_ms) WHERE id = 1`,
      was.applied_seq === 0 && after.applied_seq > 0 ? 1 : 0,
      entries.length + (opened?.entries ?? 0),
      String(stands.outstanding - stood.outstanding),
      String(stands.owed - stood.owed),
      String(stands.budgeted - stood.budgeted),
      after.frozen - was.frozen,
      (after.behind_since_ms === null ? 0 : 1) - (was.behind_since_ms === null ? 0 : 1),
      gap ? 1 : 0,
      duplicates,
      ...SUM_NAMES.map((sum) => String(after[sum] - was[sum])),
      now_ms,
      arrival_ms,
    );
  }

  #nameOf(reason: string | null | undefined): string {
    if (reason === null || reason === undefined) return NO_REASON;
    let name = this.#names.get(reason);
    if (name === undefined) {
      name = normalReason(reason);
      if (this.#names.size >= NAMES_KEPT) this.#names.clear();
      this.#names.set(reason, name);
    }
    return name;
  }

  #reasonsOf(at_ms: number): Set<string> {
    const day = dayOf(at_ms);
    let reasons = this.#reasons.get(day);
    if (reasons === undefined) {
      const rows = this.#sql
        .exec("SELECT reason FROM spend_day WHERE at_ms = ?1 UNION SELECT reason FROM moved_day WHERE at_ms = ?1", day)
        .toArray();
      reasons = new Set(rows.map((row) => row["reason"] as string));
      // They are no reasons of the day's own, so they take no place among them.
      for (const none of [OTHER_REASON, FOLDED_REASON]) reasons.delete(none);
      if (this.#reasons.size >= DAYS_KEPT) this.#reasons.clear();
      this.#reasons.set(day, reasons);
    }
    return reasons;
  }
}

/** A number is bound as a real one: sums may pass 2^53, and would then lose their last digits. As text, none is lost. */
const WHOLE = "CAST(? AS INTEGER)";

/** For the same reason they are read as text. Whatever else a row has is never that large. */
export const COPY = `*, ${SUM_NAMES.map((sum) => `CAST(${sum} AS TEXT) AS ${sum}_text`).join(", ")}`;

export function toCopy(row: Record<string, SqlStorageValue>): Copy {
  return { ...row, ...sumsOf((sum) => BigInt(row[`${sum}_text`] as string)) } as unknown as Copy;
}

export function raised(sum: string): string {
  return `${sum} = ${sum} + ${WHOLE}`;
}

const NEVER_ACTIVE: LastActive = { active_day_ms: -1, active_week_ms: -1, active_month_ms: -1 };
/** Of who never topped up. */
const NO_COHORT = "";
const NO_COPY = { ...NO_SUMMARY, frozen: 0, behind_since_ms: null, budget: 0 } as const;

/** What a balance is to the owner. A budget's below zero is what was used and not paid for: it is nobody's debt, and takes nothing from what others have. */
function standing({ balance_micros, budget }: Pick<Copy, "balance_micros" | "budget">) {
  const balance = BigInt(balance_micros);
  const below = balance < 0n ? -balance : 0n;
  return budget === 1
    ? { outstanding: balance + below, owed: 0n, budgeted: below }
    : { outstanding: balance, owed: below, budgeted: 0n };
}

/** One array of arrays: without the numbers, which are consecutive, with times from the first on, and without what is empty at the end. */
function rawText(entries: readonly MirrorEntry[], first_at_ms: number): string {
  return JSON.stringify(
    entries.map((entry) => {
      const line: (string | number | null)[] = [
        entry.at_ms - first_at_ms,
        entry.kind,
        entry.amount_micros,
        entry.balance_micros,
      ];
      const { reason, payment_id, ref_seq, hold_id, charge_reason, spender } = entry;
      if ((reason ?? payment_id ?? ref_seq ?? hold_id ?? charge_reason ?? spender ?? null) === null) return line;
      line.push(reason ?? null);
      if ((payment_id ?? ref_seq ?? hold_id ?? charge_reason ?? spender ?? null) === null) return line;
      line.push(payment_id ?? null, ref_seq ?? null, hold_id ?? null, charge_reason ?? null);
      if ((spender ?? null) !== null) line.push(spender ?? null);
      return line;
    }),
  );
}
