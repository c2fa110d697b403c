/**
 * Local time in an IANA time zone, by `Intl`. Pure: no clock is read here.
 *
 * What a zone's clock reads is written as the milliseconds that `Date.UTC` gives for that reading, a *wall* time. A wall time may
 * never come (the clock is set forward over it) or come twice (the clock is set back). What begins at a wall time begins at the
 * first moment at which the clock reads it or later: where it never comes, when the clock is set forward; where it comes
 * twice, the first time. So beginnings stay in order, and each moment is between exactly two of them.
 */

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

const SECOND_MS = 1_000;
/** No zone is further from UTC than 14 hours, and none sets its clock twice within twice this time. */
const FAR_MS = 16 * HOUR_MS;
/** The year 9999 of every zone ends after it. */
export const LATEST_MS = Date.UTC(9999, 0, 1);

const FORMATS_MAX = 64;
/** To make one costs more than all that is asked of it. */
const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(time_zone: string): Intl.DateTimeFormat {
  let format = formats.get(time_zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: time_zone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    if (formats.size >= FORMATS_MAX) formats.clear();
    formats.set(time_zone, format);
  }
  return format;
}

/** Whether the runtime knows a zone by this name. An offset such as `+02:00` is no zone: it has no rules. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*$/.test(name)) return false;
  try {
    formatOf(name);
    return true;
  } catch {
    return false;
  }
}

/** How far the zone's clock is ahead of UTC. */
function offsetOf(at_ms: number, time_zone: string): number {
  if (time_zone === "UTC") return 0;
  const second_ms = Math.floor(at_ms / SECOND_MS) * SECOND_MS;
  const [month = 0, day = 0, year = 0, hour = 0, minute = 0, second = 0] = (
    formatOf(time_zone).format(second_ms).match(/\d+/g) ?? []
  ).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second) - second_ms;
}

/** What the zone's clock reads. */
export function wallOf(at_ms: number, time_zone: string): number {
  return at_ms + offsetOf(at_ms, time_zone);
}

/** The first moment at which the zone's clock reads this or later. */
export function firstAt(wall: number, time_zone: string): number {
  const [early, late] = [offsetOf(wall - FAR_MS, time_zone), offsetOf(wall + FAR_MS, time_zone)];
  const before = wall - early;
  if (early === late) return before;
  const turn = turnBetween(wall - FAR_MS, wall + FAR_MS, early, time_zone);
  return before < turn ? before : Math.max(turn, wall - late);
}

/** When the clock was set anew: it was at the first offset until then. Clocks are set at whole seconds. */
function turnBetween(from_ms: number, to_ms: number, first: number, time_zone: string): number {
  let [still, past] = [Math.floor(from_ms / SECOND_MS), Math.ceil(to_ms / SECOND_MS)];
  while (past - still > 1) {
    const middle = Math.floor((still + past) / 2);
    if (offsetOf(middle * SECOND_MS, time_zone) === first) still = middle;
    else past = middle;
  }
  return past * SECOND_MS;
}

/** The same time of day so many months later; where the month has no such day, on its last one. */
export function addMonths(wall: number, months: number): number {
  const date = new Date(wall);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth() + months];
  const last = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  return Date.UTC(year, month, Math.min(date.getUTCDate(), last)) + (wall - Math.floor(wall / DAY_MS) * DAY_MS);
}

/** Months since January of the year 0. */
export function monthIndex(wall: number): number {
  const date = new Date(wall);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}
