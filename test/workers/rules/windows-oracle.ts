/**
 * What the rules of windows are held against: the same things said again, with other means. Clocks are tables that were read off
 * `Intl` once, days are counted one year after the other, and what was spent is added up anew from all entries, in BigInt.
 */
import type { WindowRule } from "../../../src/contract.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The years that the tables of clocks are of. */
const FIRST_YEAR = 1970;
const LAST_YEAR = 2106;

/** Clocks that are set at midnight, by half an hour, at a minute past midnight, by hours, over a whole day, in a month of fasting, or never. */
export const ZONES = [
  "UTC",
  "Europe/Berlin",
  "America/New_York",
  "America/St_Johns",
  "America/Sao_Paulo",
  "America/Havana",
  "America/Santiago",
  "Australia/Lord_Howe",
  "Asia/Kathmandu",
  "Asia/Tehran",
  "Asia/Beirut",
  "Asia/Gaza",
  "Africa/Casablanca",
  "Africa/Cairo",
  "Pacific/Apia",
  "Pacific/Chatham",
  "Antarctica/Troll",
  "Antarctica/Casey",
] as const;

/** While a clock is so far ahead of UTC. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly ahead: number;
}

const clocks = new Map<string, readonly Stretch[]>();

function readOffset(format: Intl.DateTimeFormat, at: number): number {
  const name = format.formatToParts(at).find(({ type }) => type === "timeZoneName")?.value ?? "";
  const [, sign = "+", hours = "0", minutes = "0", seconds = "0"] =
    /^GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?$/.exec(name) ?? [];
  return (sign === "-" ? -1 : 1) * (Number(hours) * HOUR + Number(minutes) * MINUTE + Number(seconds) * 1_000);
}

export function clockOf(zone: string): readonly Stretch[] {
  const known = clocks.get(zone);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const stretches: Stretch[] = [];
  let [from, ahead] = [Number.NEGATIVE_INFINITY, readOffset(format, Date.UTC(FIRST_YEAR, 0, 1))];
  // Between two turns of a clock there was always more than that.
  const step = 3 * DAY;
  for (let at = Date.UTC(FIRST_YEAR, 0, 1); at < Date.UTC(LAST_YEAR, 0, 1); at += step) {
    const next = readOffset(format, at + step);
    if (next === ahead) continue;
    let turn = at;
    while (readOffset(format, turn + HOUR) === ahead) turn += HOUR;
    while (readOffset(format, turn) === ahead) turn += MINUTE;
    stretches.push({ from, to: turn, ahead });
    [from, ahead] = [turn, next];
  }
  stretches.push({ from, to: Number.POSITIVE_INFINITY, ahead });
  clocks.set(zone, stretches);
  return stretches;
}

function readingAt(zone: string, at: number): number {
  const stretch = clockOf(zone).find(({ to }) => at < to);
  return at + (stretch?.ahead ?? 0);
}

/** The highest reading so far: a clock that is set back has shown more before. */
function highestReading(zone: string, at: number): number {
  const earlier = clockOf(zone)
    .filter(({ to }) => to <= at && to > at - 2 * DAY)
    .map(({ to, ahead }) => to - 1 + ahead);
  return Math.max(readingAt(zone, at), ...earlier);
}

/** The first moment of all at which the clock reads this or later. */
export function firstReading(zone: string, reading: number): number {
  const moments = clockOf(zone).map(({ from, to, ahead }) => {
    const at = Math.max(from, reading - ahead);
    return at < to ? at : Number.POSITIVE_INFINITY;
  });
  return Math.min(...moments);
}

interface Day {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
}

const isLeap = (year: number) => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
const daysIn = (year: number, month: number) =>
  month === 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;

/** Days since 1 January 1970. */
function numberOf({ year, month, day }: Day): number {
  let days = 0;
  for (let one = 1970; one < year; one++) days += isLeap(one) ? 366 : 365;
  for (let one = year; one < 1970; one++) days -= isLeap(one) ? 366 : 365;
  for (let one = 1; one < month; one++) days += daysIn(year, one);
  return days + day - 1;
}

function dayOf(number: number): Day {
  let [year, month, left] = [1970, 1, number];
  while (left < 0) {
    year -= 1;
    left += isLeap(year) ? 366 : 365;
  }
  while (left >= (isLeap(year) ? 366 : 365)) {
    left -= isLeap(year) ? 366 : 365;
    year += 1;
  }
  while (left >= daysIn(year, month)) {
    left -= daysIn(year, month);
    month += 1;
  }
  return { year, month, day: left + 1 };
}

function split(reading: number): { readonly number: number; readonly time: number } {
  let number = Math.trunc(reading / DAY);
  while (number * DAY > reading) number -= 1;
  return { number, time: reading - number * DAY };
}

/** The day of a month, or its last where it has no such day. */
function readingOf(months: number, day: number, time: number): number {
  let [year, month] = [1970, 1 + months];
  while (month > 12) [year, month] = [year + 1, month - 12];
  while (month < 1) [year, month] = [year - 1, month + 12];
  return numberOf({ year, month, day: Math.min(day, daysIn(year, month)) }) * DAY + time;
}

/** Beginning and end, as the clock reads them, of the period that has this reading in it. */
function readings({ unit, every, week_start }: WindowRule, reading: number, anchor: number | null): [number, number] {
  const { number, time } = split(reading);
  const { year, month } = dayOf(number);
  const origin = split(anchor ?? 0);
  const back = (count: number) => ((count % every) + every) % every;
  if (unit === "HOURLY") {
    const hours = number * 24 + Math.trunc(time / HOUR);
    const first = hours - back(hours);
    return [first * HOUR, (first + every) * HOUR];
  }
  if (unit === "DAILY") {
    const days = number - (time < origin.time ? 1 : 0);
    const first = days - back(days - origin.number);
    return [first * DAY + origin.time, (first + every) * DAY + origin.time];
  }
  if (unit === "WEEKLY") {
    // 2 January 2006 was a Monday.
    const monday = numberOf({ year: 2006, month: 1, day: 2 });
    let first_day = 0;
    while ((((first_day - monday) % 7) + 7) % 7 !== week_start - 1) first_day += 1;
    const begin = anchor === null ? { number: first_day, time: 0 } : origin;
    let first = number - (time < begin.time ? 1 : 0);
    while ((((first - begin.number) % (7 * every)) + 7 * every) % (7 * every) !== 0) first -= 1;
    return [first * DAY + begin.time, (first + 7 * every) * DAY + begin.time];
  }
  const step = unit === "MONTHLY" ? every : 12 * every;
  const from = anchor === null ? { year: 1970, month: 1, day: 1 } : dayOf(origin.number);
  const months = (of: { readonly year: number; readonly month: number }) => (of.year - 1970) * 12 + of.month - 1;
  let begin = months(from);
  while (begin + step <= months({ year, month })) begin += step;
  while (begin > months({ year, month })) begin -= step;
  if (readingOf(begin, from.day, origin.time) > reading) begin -= step;
  return [readingOf(begin, from.day, origin.time), readingOf(begin + step, from.day, origin.time)];
}

export function lengthOf({ unit, every }: WindowRule): number {
  const hours = { HOURLY: 1, DAILY: 24, WEEKLY: 168, MONTHLY: 720, ANNUAL: 8_760, ONCE: 0 }[unit];
  return hours * every * HOUR;
}

/** Beginning and end of the period that a moment is in. */
export function period(rule: WindowRule, at: number): readonly [from: number, to: number] {
  const { unit, anchor_ms, time_zone: zone } = rule;
  if (unit === "ONCE") return [anchor_ms ?? 0, Number.POSITIVE_INFINITY];
  if (unit === "HOURLY" && anchor_ms !== null) {
    let from = anchor_ms + Math.trunc((at - anchor_ms) / lengthOf(rule)) * lengthOf(rule);
    while (from > at) from -= lengthOf(rule);
    return [from, from + lengthOf(rule)];
  }
  const anchor = anchor_ms === null ? null : readingAt(zone, anchor_ms);
  const [from, to] = readings(rule, highestReading(zone, at), anchor);
  return [firstReading(zone, from), firstReading(zone, to)];
}

export interface Spending {
  readonly at: number;
  readonly took: bigint;
  /** By now. */
  readonly back: bigint;
}

export function isCounted(rule: WindowRule, { at }: Spending, now: number): boolean {
  if (rule.alignment === "rolling") return at <= now && now < at + lengthOf(rule);
  const [from, to] = period(rule, now);
  return from <= at && at < to;
}

export function spent(rule: WindowRule, all: readonly Spending[], now: number): bigint {
  const [from, to] = rule.alignment === "rolling" ? [now - lengthOf(rule) + 1, now + 1] : period(rule, now);
  return all.reduce((sum, { at, took, back }) => (from <= at && at < to ? sum + took - back : sum), 0n);
}

/** When no more than this is left of what counts now; of a rolling window, `null` where it is so already. */
export function fallsTo(rule: WindowRule, all: readonly Spending[], now: number, most: bigint): number | null {
  if (rule.unit === "ONCE") return null;
  if (rule.alignment !== "rolling") return period(rule, now)[1];
  if (spent(rule, all, now) <= most) return null;
  const ends = all.filter((one) => isCounted(rule, one, now)).map(({ at }) => at + lengthOf(rule));
  return ends.find((end) => spent(rule, all, end) <= most) ?? null;
}
