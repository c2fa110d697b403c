/** Windows as the control plane takes and shows them: amounts in main units with micros beside them, times as ISO 8601. */
import type { WindowInput, WindowUnit, WindowView } from "./contract.js";
import { formatMain, parseMain } from "./money.js";

const UNITS: readonly WindowUnit[] = ["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL", "ONCE"];
const KNOWN = new Set(["timeWindow", "capacity", "every", "timeZone", "weekStart", "anchor", "rolling"]);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/;

/** A text is what is wrong with it. What is left open, and whether all of it fits together, is for the envelope to say. */
export function readWindow(value: unknown): WindowInput | string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "a window must be an object";
  const {
    timeWindow,
    capacity,
    every,
    timeZone,
    weekStart,
    anchor,
    rolling = false,
  } = value as Record<string, unknown>;
  const unknown = Object.keys(value).find((name) => !KNOWN.has(name));
  if (unknown !== undefined) return `${unknown} is not known in a window; known are ${[...KNOWN].join(", ")}`;
  const unit = UNITS.find((one) => one === timeWindow);
  if (unit === undefined) return `timeWindow must be ${UNITS.join(", ")}`;
  const limit_micros = parseMain(capacity);
  if (limit_micros === undefined) return "a window's capacity must be a decimal in main units, such as 10 or 0.5";
  const anchor_ms = anchor === undefined ? undefined : readTime(anchor);
  if (anchor !== undefined && anchor_ms === undefined) return "anchor must be a time such as 2027-01-31T12:00:00Z";
  if (!isOptional("number", every) || !isOptional("number", weekStart)) return "every and weekStart must be numbers";
  if (!isOptional("string", timeZone)) return "timeZone must be an IANA time zone";
  if (typeof rolling !== "boolean") return "rolling must be true or false";
  const input: WindowInput = { unit, limit_micros, every, time_zone: timeZone, week_start: weekStart, anchor_ms };
  return rolling ? { ...input, alignment: "rolling" } : input;
}

interface Optional {
  readonly number: number | undefined;
  readonly string: string | undefined;
}

function isOptional<Type extends keyof Optional>(type: Type, value: unknown): value is Optional[Type] {
  return value === undefined || typeof value === type;
}

/** `undefined` for what is no time of day with its offset from UTC. */
export function readTime(text: unknown): number | undefined {
  const at_ms = typeof text === "string" && TIME.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at_ms) ? undefined : at_ms;
}

export function timeText(at_ms: number | null): string | null {
  return at_ms === null ? null : new Date(at_ms).toISOString();
}

export function windowBody(window: WindowView) {
  const { window_id: id, unit, every, alignment, time_zone, week_start, anchor_ms } = window;
  const { limit_micros, spent_micros, held_micros, remaining_micros } = window;
  return {
    ...{
      id,
      timeWindow: unit,
      every,
      alignment,
      timeZone: time_zone,
      weekStart: week_start,
      anchor: timeText(anchor_ms),
    },
    capacity: formatMain(limit_micros),
    capacity_micros: limit_micros,
    spent: formatMain(spent_micros),
    spent_micros,
    held_micros,
    remaining: formatMain(remaining_micros),
    remaining_micros,
    windowStart: timeText(window.start_ms),
    windowEnd: timeText(window.end_ms),
    resetsAt: timeText(window.resets_at_ms),
  };
}
