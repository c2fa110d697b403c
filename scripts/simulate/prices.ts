/** Cloudflare's bill for a month, at list prices, line by line. Workers Paid, one account, nothing else on it. */
import { PRICES } from "../bench/counts.ts";

export interface Usage {
  readonly worker_requests: number;
  readonly worker_cpu_ms: number;
  readonly object_requests: number;
  /** Seconds that objects were awake and at work, all of them added up; each is billed as 128 MB. */
  readonly object_seconds: number;
  readonly rows_written: number;
  readonly rows_read: number;
  readonly storage_gb: number;
}

export interface Line {
  readonly what: keyof Usage | "plan";
  readonly used: number;
  readonly included: number;
  readonly usd: number;
}

export interface Bill {
  readonly lines: readonly Line[];
  readonly usd: number;
}

/** A month of the plan, and what it includes: https://developers.cloudflare.com/workers/platform/pricing/ and …/durable-objects/platform/pricing/, November 2026. */
export const PLAN_USD = 5;
const OBJECT_GB = 0.128;
export const TERMS: Readonly<Record<keyof Usage, { readonly included: number; readonly each_usd: number }>> = {
  worker_requests: { included: 10e6, each_usd: PRICES.worker_request },
  worker_cpu_ms: { included: 30e6, each_usd: PRICES.worker_cpu_ms },
  object_requests: { included: 1e6, each_usd: PRICES.object_request },
  object_seconds: { included: 400_000 / OBJECT_GB, each_usd: PRICES.object_second },
  rows_written: { included: 50e6, each_usd: PRICES.row_written },
  rows_read: { included: 25e9, each_usd: PRICES.row_read },
  storage_gb: { included: 5, each_usd: 0.2 },
};

export function billOf(usage: Usage): Bill {
  const lines = (Object.keys(TERMS) as (keyof Usage)[]).map((what): Line => {
    const { included, each_usd } = TERMS[what];
    return { what, used: usage[what], included, usd: Math.max(0, usage[what] - included) * each_usd };
  });
  const plan: Line = { what: "plan", used: 1, included: 0, usd: PLAN_USD };
  return { lines: [plan, ...lines], usd: lines.reduce((sum, { usd }) => sum + usd, PLAN_USD) };
}
