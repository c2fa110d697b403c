/** Stretches of time that reports are asked for. Pure: UTC, by integers. */
import type { Period } from "../contract.js";
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
