/**
 * The rules of windows: limits on what is spent in a period of time. Pure, like ledger.ts: what they need of the ledger they read
 * through what they are given.
 *
 * Spent in a period is what charges took that were booked in it, less what was given back of those charges, whenever that was: a
 * refund makes room in the period that its charge was booked in, and none in any other. Periods are half-open: a charge at the very
 * end of one is in the next. The time is the ledger's, which never goes back: a clock that is set back reopens no period.
 *
 * A period of the calendar is one of those that follow each other since 1 January 1970, 00:00, in the zone's own time (weeks: since the
 * first of their first day from then on): three months are a quarter, seven hours begin where seven hours began. Anchored periods follow
 * each other from the anchor: days, weeks, months and years at its local time of day, hours as they pass. A month that lacks the
 * anchor's day ends with its last, and the one after it has that day again. When clocks are set, calendar.ts says what is first.
 *
 * A rolling period is a length of time and has no calendar: a day is 24 hours, a month 30 days, a year 365. A charge counts from the
 * moment it is booked until, and not including, the moment a period later.
 */
import { addMonths, DAY_MS, firstAt, HOUR_MS, isTimeZone, LATEST_MS, monthIndex, wallOf } from "../calendar.js";
import {
  type EntryKind,
  isSpending,
  type WindowInput,
  type WindowRule,
  type WindowUnit,
  type WindowView,
} from "../contract.js";
import { type Micros, toMicros, ZERO } from "../money.js";
import type { Headroom } from "./ledger.js";

const EVERY_MAX = 10_000;
const UNTALLIED_MAX = 1_000;
const MONDAY = 1;
/** 1 January 1970, by the numbers of ISO 8601. */
const THURSDAY = 4;

const UNIT_MS: Readonly<Record<Exclude<WindowUnit, "ONCE">, number>> = {
  HOURLY: HOUR_MS,
  DAILY: DAY_MS,
  WEEKLY: 7 * DAY_MS,
  MONTHLY: 30 * DAY_MS,
  ANNUAL: 365 * DAY_MS,
};

/** A window as it is stored. */
export interface Window {
  /** Of its row: never used for another rule. */
  readonly id: number;
  readonly window_id: string;
  readonly rule: WindowRule;
  /** What was booked before this was too old to be counted when the window was made. */
  readonly since_ms: number;
  /** What it had counted when it was made, after this entry. */
  readonly seen: { readonly seq: number; readonly tally: Tally };
}

/**
 * What a window had counted after an entry; travels with the entry, so that a charge writes one row and waking reads one. Of a rolling
 * window: the number of the entry after which it began to add up, and what all charges took since then. Of any other: when the
 * period began, and what was spent in it.
 */
export type Tally = readonly [id: number, mark: number, micros: number];

/** What the rules read of the ledger. */
export interface LedgerRow {
  readonly seq: number;
  readonly at_ms: number;
  readonly kind: EntryKind;
  readonly amount_micros: Micros;
  readonly tallies: readonly Tally[];
}

export interface Ledger {
  /** The newest entry; of none, number and time are 0. */
  readonly head: { readonly seq: number; readonly at_ms: number };
  /** The first entry there is of this number or a later one: those that are folded are not there. */
  row(seq: number): LedgerRow | undefined;
  /** What charges of these numbers took. */
  took(from_seq: number, to_seq: number): number;
  /** What was given back, by now, of charges of these numbers. */
  gaveBack(from_seq: number, to_seq: number): number;
}

/** A window and what it has counted, as of some moment. */
export interface Counted {
  readonly window: Window;
  readonly count: Count;
}

type Count = PeriodCount | RollingCount;

interface PeriodCount {
  readonly start_ms: number;
  /** Infinite where it never ends. */
  readonly end_ms: number;
  readonly spent_micros: Micros;
}

/** `before`, `total`, `given_back` only grow, and wrap around: differences between them are exact however much money goes round. */
interface RollingCount {
  readonly since_seq: number;
  /** What charges took after entry `since_seq`. */
  readonly total: number;
  /** The first entry that is still counted; the one after the newest where there is none. */
  readonly first_seq: number;
  /** When that one is no longer counted; infinite where there is none. */
  readonly leaves_ms: number;
  /** Of `total`, what was taken before the first that is counted. */
  readonly before: number;
  /** Of what is counted. */
  readonly given_back: number;
}

/** A rule as it was asked for, with all that was left open said; or what is wrong with it. */
export function resolveWindow(input: WindowInput, time_zone: string): WindowRule | { readonly invalid: string } {
  const { unit, limit_micros, every = 1, week_start = MONDAY, anchor_ms } = input;
  const alignment = input.alignment ?? (anchor_ms === undefined ? "calendar" : "anchored");
  const zone = input.time_zone ?? time_zone;
  const invalid = (detail: string) => ({ invalid: detail });
  if (unit !== "ONCE" && !Object.hasOwn(UNIT_MS, unit)) {
    return invalid("unit must be HOURLY, DAILY, WEEKLY, MONTHLY, ANNUAL or ONCE");
  }
  if (toMicros(limit_micros) === undefined || limit_micros < 0) {
    return invalid("limit_micros must be an integer of 0 to 2^53−1");
  }
  if (!Number.isSafeInteger(every) || every < 1 || every > (unit === "ONCE" ? 1 : EVERY_MAX)) {
    return invalid(`every must be an integer of 1 to ${EVERY_MAX}, and 1 for ONCE`);
  }
  if (!["calendar", "anchored", "rolling"].includes(alignment)) {
    return invalid("alignment must be calendar, anchored or rolling");
  }
  if (unit === "ONCE" && alignment === "rolling") return invalid("ONCE has no length that could roll");
  if ((alignment === "anchored") !== (anchor_ms !== undefined)) {
    return invalid("anchor_ms goes with the alignment anchored, and that with it");
  }
  if (anchor_ms !== undefined && !(Number.isSafeInteger(anchor_ms) && anchor_ms >= 0 && anchor_ms < LATEST_MS)) {
    return invalid("anchor_ms must be a time after 1970, in whole milliseconds");
  }
  if (!Number.isSafeInteger(week_start) || week_start < MONDAY || week_start > 7) {
    return invalid("week_start must be 1 (Monday) to 7 (Sunday)");
  }
  if (typeof zone !== "string" || !isTimeZone(zone)) return invalid("time_zone must be an IANA time zone");
  return { unit, every, alignment, time_zone: zone, week_start, anchor_ms: anchor_ms ?? null, limit_micros };
}

/** Whether both count the same: only the limit may differ. */
export function countsTheSame(one: WindowRule, other: WindowRule): boolean {
  return (["unit", "every", "alignment", "time_zone", "week_start", "anchor_ms"] as const).every(
    (member) => one[member] === other[member],
  );
}

/** How long a rolling window counts a charge; `undefined` for the others. */
export function spanMs({ unit, every, alignment }: WindowRule): number | undefined {
  return alignment === "rolling" && unit !== "ONCE" ? every * UNIT_MS[unit] : undefined;
}

/** The period that a moment is in. `end_ms` is infinite where there is no other. Not of a rolling window. */
export function periodOf(rule: WindowRule, at_ms: number): { readonly start_ms: number; readonly end_ms: number } {
  if (rule.unit === "ONCE") return { start_ms: rule.anchor_ms ?? 0, end_ms: Number.POSITIVE_INFINITY };
  const grid = gridOf(rule, rule.unit);
  let number = numberAt(grid, wallOf(at_ms, grid.time_zone));
  let start_ms = beginningOf(grid, number);
  for (;;) {
    number += 1;
    const end_ms = beginningOf(grid, number);
    // Where clocks are set back over a beginning, it has come already although they read what was before it.
    if (end_ms > at_ms) return { start_ms, end_ms };
    start_ms = end_ms;
  }
}

/** Beginnings in wall time: `origin` and every step from there, both ways. */
interface Grid {
  readonly time_zone: string;
  readonly origin: number;
  readonly step: { readonly months: number } | { readonly ms: number };
}

function gridOf(rule: WindowRule, unit: Exclude<WindowUnit, "ONCE">): Grid {
  const { every, anchor_ms, week_start } = rule;
  const months = unit === "MONTHLY" ? every : unit === "ANNUAL" ? every * 12 : undefined;
  const step = months === undefined ? { ms: every * UNIT_MS[unit] } : { months };
  if (anchor_ms !== null) {
    // Hours that pass are the same in every zone.
    const time_zone = unit === "HOURLY" ? "UTC" : rule.time_zone;
    return { time_zone, origin: wallOf(anchor_ms, time_zone), step };
  }
  const origin = unit === "WEEKLY" ? ((week_start - THURSDAY + 7) % 7) * DAY_MS : 0;
  return { time_zone: rule.time_zone, origin, step };
}

function edgeOf({ origin, step }: Grid, number: number): number {
  // From the origin and not from the one before, so that the end of a short month is not handed on.
  return "ms" in step ? origin + number * step.ms : addMonths(origin, number * step.months);
}

/** The last beginning that is not after what the clock reads. */
function numberAt(grid: Grid, wall: number): number {
  const { origin, step } = grid;
  if ("ms" in step) return Math.floor((wall - origin) / step.ms);
  const number = Math.floor((monthIndex(wall) - monthIndex(origin)) / step.months);
  return edgeOf(grid, number) > wall ? number - 1 : number;
}

function beginningOf(grid: Grid, number: number): number {
  return firstAt(edgeOf(grid, number), grid.time_zone);
}

/** Counters that only grow wrap around here, so that they stay exact. */
const ROUND = 2 ** 53;

function add(one: number, other: number): number {
  return one >= ROUND - other ? one - (ROUND - other) : one + other;
}

function subtract(one: number, other: number): number {
  return one >= other ? one - other : one - other + ROUND;
}

/** Two amounts of at least zero; what no amount can hold stays the greatest there is. */
function sum(one: number, other: number): Micros {
  return Math.min(one + other, Number.MAX_SAFE_INTEGER) as Micros;
}

function took({ kind, amount_micros }: Pick<LedgerRow, "kind" | "amount_micros">): number {
  return isSpending(kind) ? 0 - amount_micros : 0;
}

/** What a window has counted by now, from what travels with the newest entry. Where that says nothing of it, it is read from the ledger. */
export function begin(window: Window, newest: readonly Tally[], ledger: Ledger, at_ms: number): Counted {
  const { id, rule, seen } = window;
  const known = newest.find(([of]) => of === id) ?? (seen.seq === ledger.head.seq ? seen.tally : undefined);
  const span = spanMs(rule);
  if (span !== undefined) {
    const [, since_seq, total] = known ?? [id, ledger.head.seq, 0];
    const whole = { since_seq, total, given_back: 0, first_seq: 1, leaves_ms: 0, before: 0 };
    const count = slide(window, span, whole, ledger, at_ms);
    return { window, count: { ...count, given_back: ledger.gaveBack(count.first_seq, ledger.head.seq) % ROUND } };
  }
  const period = periodOf(rule, at_ms);
  const fits = known !== undefined && known[1] === period.start_ms;
  const spent = fits ? known[2] : spentSince(ledger, Math.max(period.start_ms, window.since_ms));
  return { window, count: { ...period, spent_micros: spent as Micros } };
}

/** What is on the ledger of what was spent from a moment on. */
function spentSince(ledger: Ledger, from_ms: number): Micros {
  const { head } = ledger;
  if (head.at_ms < from_ms) return ZERO;
  const first = firstAfter(ledger, 1, from_ms - 1);
  if (first === undefined) return ZERO;
  const net = ledger.took(first.seq, head.seq) - ledger.gaveBack(first.seq, head.seq);
  return Math.min(net, Number.MAX_SAFE_INTEGER) as Micros;
}

/** The first entry of this number or a later one that was booked after a moment. Numbers follow time, so few are looked at. */
function firstAfter(ledger: Ledger, from_seq: number, after_ms: number): LedgerRow | undefined {
  let [low, high] = [from_seq - 1, from_seq];
  let found = ledger.row(high);
  for (let stride = 1; found !== undefined && found.at_ms <= after_ms; stride *= 2) {
    low = found.seq;
    high = low + stride;
    found = ledger.row(high);
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const row = ledger.row(middle);
    if (row !== undefined && row.at_ms <= after_ms) low = row.seq;
    else [high, found] = [middle, row];
  }
  return found;
}

/** The count at a later moment: periods end, and what is too old leaves. */
export function advance(counted: Counted, ledger: Ledger, at_ms: number): Counted {
  const { window, count } = counted;
  if ("leaves_ms" in count) {
    const span = spanMs(window.rule);
    if (at_ms < count.leaves_ms || span === undefined) return counted;
    return { window, count: slide(window, span, count, ledger, at_ms) };
  }
  if (at_ms < count.end_ms) return counted;
  return { window, count: { ...periodOf(window.rule, at_ms), spent_micros: ZERO } };
}

function slide(window: Window, span: number, count: RollingCount, ledger: Ledger, at_ms: number): RollingCount {
  const { total, since_seq } = count;
  const { head } = ledger;
  const after_ms = Math.max(at_ms - span, window.since_ms - 1);
  const first = head.at_ms <= after_ms ? undefined : firstAfter(ledger, count.first_seq, after_ms);
  if (first === undefined) {
    const empty = { first_seq: head.seq + 1, leaves_ms: Number.POSITIVE_INFINITY, before: total, given_back: 0 };
    return { since_seq, total, ...empty };
  }
  const left_with = count.given_back === 0 ? 0 : ledger.gaveBack(count.first_seq, first.seq - 1) % ROUND;
  return {
    since_seq,
    total,
    first_seq: first.seq,
    leaves_ms: first.at_ms + span,
    before: takenBefore(window, count, ledger, first),
    given_back: subtract(count.given_back, left_with),
  };
}

/** What charges took before an entry, as `total` counts it. */
function takenBefore({ id }: Window, { since_seq, total }: RollingCount, ledger: Ledger, row: LedgerRow): number {
  const tally = row.tallies.find(([of, mark]) => of === id && mark === since_seq);
  if (tally !== undefined) return subtract(tally[2], took(row));
  return subtract(total, ledger.took(row.seq, ledger.head.seq) % ROUND);
}

/** The count once an entry is booked. `given_back_of` is the charge that it gives back. */
export function book(
  counted: Counted,
  entry: Pick<LedgerRow, "seq" | "at_ms" | "kind" | "amount_micros">,
  given_back_of: { readonly seq: number; readonly at_ms: number } | undefined,
): Counted {
  const { window, count } = counted;
  if ("leaves_ms" in count) {
    const span = spanMs(window.rule) ?? 0;
    const isFirst = count.leaves_ms === Number.POSITIVE_INFINITY;
    const back = given_back_of !== undefined && given_back_of.seq >= count.first_seq ? entry.amount_micros : 0;
    return {
      window,
      count: {
        ...count,
        ...(isFirst ? { first_seq: entry.seq, leaves_ms: entry.at_ms + span } : {}),
        total: add(count.total, took(entry)),
        given_back: add(count.given_back, back),
      },
    };
  }
  const back = given_back_of !== undefined && given_back_of.at_ms >= count.start_ms ? entry.amount_micros : 0;
  const counts = entry.at_ms >= count.start_ms ? took(entry) : 0;
  if (back === 0 && counts === 0) return counted;
  return { window, count: { ...count, spent_micros: sum(Math.max(0, count.spent_micros - back), counts) } };
}

export function tallyOf({ window, count }: Counted): Tally {
  return "leaves_ms" in count
    ? [window.id, count.since_seq, count.total]
    : [window.id, count.start_ms, count.spent_micros];
}

export function spentOf({ count }: Counted): Micros {
  if (!("leaves_ms" in count)) return count.spent_micros;
  return subtract(subtract(count.total, count.before), count.given_back) as Micros;
}

/** What the window still admits, with what is held taken off. */
function leftOf(counted: Counted, held_micros: Micros): Micros {
  const left = counted.window.rule.limit_micros - spentOf(counted) - held_micros;
  return Math.max(left, -Number.MAX_SAFE_INTEGER) as Micros;
}

function resetsAt({ count }: Counted): number | null {
  const at_ms = "leaves_ms" in count ? count.leaves_ms : count.end_ms;
  return at_ms === Number.POSITIVE_INFINITY ? null : at_ms;
}

export function headroomOf(counted: Counted, held_micros: Micros, ledger: Ledger): Headroom {
  const { window_id, rule } = counted.window;
  const resets_at_ms = resetsAt(counted);
  const limit = { reason: "window", admits_micros: leftOf(counted, held_micros), resets_at_ms, window_id } as const;
  if (!("leaves_ms" in counted.count)) return limit;
  // For a price that never fits: when nothing is spent any more.
  const resetsFor = (price: Micros) => fallsTo(counted, Math.max(0, rule.limit_micros - held_micros - price), ledger);
  return { ...limit, resetsFor };
}

/** When no more than this is left in a rolling window of what it counts now, if nothing else happens; `null` where that is so already. */
function fallsTo(counted: Counted, most: number, ledger: Ledger): number | null {
  const { window, count } = counted;
  const span = spanMs(window.rule);
  if (span === undefined || !("leaves_ms" in count)) return resetsAt(counted);
  if (spentOf(counted) <= most) return null;
  // What was booked before the window was made is added up each time it is asked for: of much, it is told when the oldest leaves.
  if (count.since_seq - count.first_seq > UNTALLIED_MAX) return count.leaves_ms;
  // What the entries after this one come to, once this one and all before it have left.
  const rest = (row: LedgerRow): number => {
    const taken = subtract(count.total, add(takenBefore(window, count, ledger, row), took(row)));
    return subtract(taken, ledger.gaveBack(row.seq + 1, ledger.head.seq) % ROUND);
  };
  let [low, high] = [count.first_seq, ledger.head.seq];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = ledger.row(middle);
    if (row === undefined || rest(row) <= most) high = middle;
    else low = row.seq + 1;
  }
  const last = ledger.row(low);
  return last === undefined ? null : last.at_ms + span;
}

/** Where the period begins and ends; `null` where it has no such edge, as a rolling one, which is another at every moment. */
function edgesOf({ window, count }: Counted): Pick<WindowView, "start_ms" | "end_ms"> {
  if ("leaves_ms" in count) return { start_ms: null, end_ms: null };
  const isEndless = count.end_ms === Number.POSITIVE_INFINITY;
  return isEndless
    ? { start_ms: window.rule.anchor_ms, end_ms: null }
    : { start_ms: count.start_ms, end_ms: count.end_ms };
}

/** As far as somebody is told when much of it is spent (alerts.ts). Reads nothing of the ledger: it is asked after every charge. */
export function watchedOf(counted: Counted) {
  const { window_id, rule } = counted.window;
  return { window_id, limit_micros: rule.limit_micros, spent_micros: spentOf(counted), ...edgesOf(counted) };
}

export function viewOf(counted: Counted, held_micros: Micros, ledger: Ledger, at_ms: number): WindowView {
  const { window } = counted;
  const spent_micros = spentOf(counted);
  const span = spanMs(window.rule);
  return {
    window_id: window.window_id,
    ...window.rule,
    spent_micros,
    held_micros,
    remaining_micros: Math.max(0, leftOf(counted, held_micros)) as Micros,
    ...edgesOf(counted),
    // Whole milliseconds: what was booked a span ago, to the millisecond, is not in it any more, and what is booked now is.
    ...(span === undefined ? {} : { start_ms: at_ms - span + 1, end_ms: at_ms + 1 }),
    resets_at_ms: fallsTo(counted, Math.max(0, spent_micros - 1), ledger),
  };
}
