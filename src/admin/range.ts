/** Stretches of time that reports are asked for. Pure: UTC, by integers. */
import type { Period, SeriesPoint } from "../contract.js";
import { ZERO } from "../money.js";
import type { Range } from "./api.js";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const RANGES = {
  "24h": { step: "hour", count: 24 },
  "7d": { step: "hour", count: 7 * 24 },
  "30d": { step: "day", count: 30 },
  "90d": { step: "day", count: 90 },
  "365d": { step: "day", count: 365 },
} as const satisfies Record<Range, { readonly step: "hour" | "day"; readonly count: number }>;

export interface Stretch extends Period {
  readonly range: Range;
  readonly step: "hour" | "day";
}

/** The hour or day that is under way is the last one. `undefined` for a range that is none. */
export function stretchOf(range: string | null, now_ms: number): Stretch | undefined {
  const name = range ?? "30d";
  if (!Object.hasOwn(RANGES, name)) return undefined;
  const { step, count } = RANGES[name as Range];
  const step_ms = step === "hour" ? HOUR_MS : DAY_MS;
  const to_ms = (Math.floor(now_ms / step_ms) + 1) * step_ms;
  return { range: name as Range, step, from_ms: to_ms - count * step_ms, to_ms };
}

/** One point for each hour or day, also where nothing happened. */
export function everyPoint(points: readonly SeriesPoint[], { step, from_ms, to_ms }: Stretch): readonly SeriesPoint[] {
  const step_ms = step === "hour" ? HOUR_MS : DAY_MS;
  const known = new Map(points.map((point) => [point.at_ms, point]));
  return Array.from({ length: (to_ms - from_ms) / step_ms }, (_, index) => {
    const at_ms = from_ms + index * step_ms;
    return known.get(at_ms) ?? { ...NOTHING, at_ms, active: step === "hour" ? null : 0 };
  });
}

const NOTHING = {
  credited_micros: ZERO,
  granted_micros: ZERO,
  spent_micros: ZERO,
  refunded_micros: ZERO,
  reversed_micros: ZERO,
  charges: 0,
  refusals: 0,
} as const;
