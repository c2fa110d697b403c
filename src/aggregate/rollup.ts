/** What a batch of applied entries changes in the roll-ups, grouped by key, so that each row is written once. Pure. */
import { type EntryKind, isSpending, type MirrorEntry } from "../contract.js";
import { dayOf, hourOf, monthName, monthOf, weekOf } from "./calendar.js";
import { isMovement, KIND_OF, NO_SUMS, type Opened, SUM_NAMES, SUMS, type SumName } from "./mirror.js";
import { FOLDED_REASON } from "./reasons.js";

export type MutableSums = Record<SumName, bigint>;

export interface SpendChange {
  charges: number;
  spent_micros: bigint;
  refunded_micros: bigint;
}

export interface Movement {
  readonly kind: EntryKind;
  readonly reason: string;
  entries: number;
  amount_micros: bigint;
}

export interface PeriodChange extends MutableSums {
  readonly at_ms: number;
  entries: number;
  charges: number;
  /** Charges of more than nothing. */
  paid: number;
  readonly reasons: Map<string, SpendChange>;
  /** Of what is no charge and gives none back; by kind and reason. */
  readonly moved: Map<string, Movement>;
}

export interface MonthChange {
  readonly month: string;
  active: number;
  credited_micros: bigint;
  spent_micros: bigint;
}

/** When an envelope was last charged: an earlier period tells that it is the first time in the new one. */
export interface LastActive {
  readonly active_day_ms: number;
  readonly active_week_ms: number;
  readonly active_month_ms: number;
}

export type ActivePeriod = "day" | "week" | "month";

export interface Activity {
  readonly last: LastActive;
  /** Periods in which the envelope is active for the first time. */
  readonly first: readonly (readonly [period: ActivePeriod, at_ms: number])[];
}

/** By hour; the entries are in the order of time. `nameOf` says under which name a reason is counted. */
export function byHour(
  entries: readonly MirrorEntry[],
  nameOf: (reason: string | null | undefined) => string,
): PeriodChange[] {
  const hours: PeriodChange[] = [];
  let hour: PeriodChange | undefined;
  for (const entry of entries) {
    if (hour === undefined || entry.at_ms < hour.at_ms || entry.at_ms >= hour.at_ms + 3_600_000) {
      hour = noPeriod(hourOf(entry.at_ms));
      hours.push(hour);
    }
    const [sum, sign] = SUMS[entry.kind];
    const amount = BigInt(entry.amount_micros);
    hour.entries += 1;
    hour[sum] += sign === 1 ? amount : -amount;
    if (isSpending(entry.kind)) {
      hour.charges += 1;
      if (entry.amount_micros < 0) hour.paid += 1;
      const spend = spendOf(hour, nameOf(entry.reason));
      spend.charges += 1;
      spend.spent_micros -= amount;
    } else if (entry.kind === "refund") {
      spendOf(hour, nameOf(entry.charge_reason)).refunded_micros += amount;
    }
    if (isMovement(entry.kind)) move(hour, entry.kind, nameOf(entry.reason), 1, amount);
  }
  return hours;
}

export interface SpenderChange extends SpendChange {
  readonly at_ms: number;
  readonly spender: string;
}

/** By day and key: of the entries that another than the holder spent, and of what was given back of those. */
export function bySpender(entries: readonly MirrorEntry[]): SpenderChange[] {
  const changes = new Map<string, SpenderChange>();
  for (const { kind, at_ms, amount_micros, spender } of entries) {
    if (spender === null || spender === undefined) continue;
    const day = dayOf(at_ms);
    const key = `${day} ${spender}`;
    let change = changes.get(key);
    if (change === undefined) {
      change = { at_ms: day, spender, charges: 0, spent_micros: 0n, refunded_micros: 0n };
      changes.set(key, change);
    }
    if (kind === "refund") change.refunded_micros += BigInt(amount_micros);
    else {
      change.charges += 1;
      change.spent_micros -= BigInt(amount_micros);
    }
  }
  return [...changes.values()];
}

/** What is known as one sum only, in the hour of its last entry. */
export function folded({ opening, entries, charges, sums }: Opened): PeriodChange {
  const { spent_micros, refunded_micros } = sums;
  const reasons = new Map([[FOLDED_REASON, { charges, spent_micros, refunded_micros }]]);
  const moved: PeriodChange["moved"] = new Map();
  const hour = {
    ...sums,
    at_ms: hourOf(opening.at_ms),
    entries,
    charges,
    paid: spent_micros > 0 ? 1 : 0,
    reasons,
    moved,
  };
  for (const [sum, kind] of Object.entries(KIND_OF) as [keyof typeof KIND_OF, EntryKind][]) {
    if (sums[sum] !== 0n) move(hour, kind, FOLDED_REASON, 0, BigInt(SUMS[kind][1]) * sums[sum]);
  }
  return hour;
}

function noPeriod(at_ms: number): PeriodChange {
  return { ...NO_SUMS, at_ms, entries: 0, charges: 0, paid: 0, reasons: new Map(), moved: new Map() };
}

function move(
  { moved }: Pick<PeriodChange, "moved">,
  kind: EntryKind,
  reason: string,
  entries: number,
  amount_micros: bigint,
): void {
  const key = `${kind} ${reason}`;
  const movement = moved.get(key);
  if (movement === undefined) moved.set(key, { kind, reason, entries, amount_micros });
  else {
    movement.entries += entries;
    movement.amount_micros += amount_micros;
  }
}

/** By day, from the hours. */
export function byDay(hours: readonly PeriodChange[]): PeriodChange[] {
  const days: PeriodChange[] = [];
  for (const hour of hours) {
    const at_ms = dayOf(hour.at_ms);
    let day = days.at(-1);
    if (day?.at_ms !== at_ms) {
      day = noPeriod(at_ms);
      days.push(day);
    }
    day.entries += hour.entries;
    day.charges += hour.charges;
    day.paid += hour.paid;
    for (const sum of SUM_NAMES) day[sum] += hour[sum];
    for (const [reason, change] of hour.reasons) {
      add(spendOf(day, reason), change);
    }
    for (const { kind, reason, entries, amount_micros } of hour.moved.values())
      move(day, kind, reason, entries, amount_micros);
  }
  return days;
}

export function activity(before: LastActive, days: readonly PeriodChange[]): Activity {
  let { active_day_ms, active_week_ms, active_month_ms } = before;
  const first: (readonly [ActivePeriod, number])[] = [];
  for (const { at_ms, paid } of days) {
    if (paid === 0 || at_ms <= active_day_ms) continue;
    active_day_ms = at_ms;
    first.push(["day", at_ms]);
    const [week, month] = [weekOf(at_ms), monthOf(at_ms)];
    if (week > active_week_ms) first.push(["week", week]);
    if (month > active_month_ms) first.push(["month", month]);
    active_week_ms = Math.max(active_week_ms, week);
    active_month_ms = Math.max(active_month_ms, month);
  }
  return { last: { active_day_ms, active_week_ms, active_month_ms }, first };
}

/** What an envelope's cohort gains, by month. */
export function byMonth(days: readonly PeriodChange[], first: Activity["first"]): MonthChange[] {
  const months = new Map<string, MonthChange>();
  for (const { at_ms, credited_micros, spent_micros } of days) {
    const month = monthName(at_ms);
    let change = months.get(month);
    if (change === undefined) {
      change = { month, active: 0, credited_micros: 0n, spent_micros: 0n };
      months.set(month, change);
    }
    change.credited_micros += credited_micros;
    change.spent_micros += spent_micros;
  }
  for (const [period, at_ms] of first) {
    const change = period === "month" ? months.get(monthName(at_ms)) : undefined;
    if (change !== undefined) change.active += 1;
  }
  return [...months.values()];
}

/** Counts what is beyond the names that a day may have under one name for all of it; what is folded has a name besides. `known` gains what is new. */
export function capReasons(change: PeriodChange, known: Set<string>, most: number, other: string): PeriodChange {
  const capped: PeriodChange = { ...change, reasons: new Map(), moved: new Map() };
  const nameOf = (reason: string): string => {
    if (known.size < most && reason !== FOLDED_REASON) known.add(reason);
    return known.has(reason) || reason === FOLDED_REASON ? reason : other;
  };
  for (const [reason, spend] of change.reasons) add(spendOf(capped, nameOf(reason)), spend);
  for (const { kind, reason, entries, amount_micros } of change.moved.values())
    move(capped, kind, nameOf(reason), entries, amount_micros);
  return capped;
}

function add(spend: SpendChange, change: SpendChange): void {
  spend.charges += change.charges;
  spend.spent_micros += change.spent_micros;
  spend.refunded_micros += change.refunded_micros;
}

function spendOf({ reasons }: Pick<PeriodChange, "reasons">, reason: string): SpendChange {
  let spend = reasons.get(reason);
  if (spend === undefined) {
    spend = { charges: 0, spent_micros: 0n, refunded_micros: 0n };
    reasons.set(reason, spend);
  }
  return spend;
}
