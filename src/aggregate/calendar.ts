/** Hours, days, weeks (from Monday) and months, all UTC, as the millisecond they begin at. */
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
const WEEK_MS = 7 * DAY_MS;
/** 1970-01-01 was a Thursday: the Monday after it is the fifth day. */
const MONDAY_MS = 4 * DAY_MS;

export function hourOf(at_ms: number): number {
  return Math.floor(at_ms / HOUR_MS) * HOUR_MS;
}

export function dayOf(at_ms: number): number {
  return Math.floor(at_ms / DAY_MS) * DAY_MS;
}

export function weekOf(at_ms: number): number {
  return Math.floor((at_ms - MONDAY_MS) / WEEK_MS) * WEEK_MS + MONDAY_MS;
}

export function monthOf(at_ms: number): number {
  const date = new Date(at_ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
}

/** `2026-11` */
export function monthName(at_ms: number): string {
  return new Date(at_ms).toISOString().slice(0, 7);
}
