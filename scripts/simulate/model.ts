/** From sampled envelopes to a month of all of them: what arrives, what is billed, and the same month done in two other ways. */
import { WORKER_CPU_MS } from "../bench/counts.ts";
import { type Choices, choicesOf } from "../lib/random.ts";
import { arrivals } from "./arrivals.ts";
import type { Measured } from "./measured.ts";
import { type MirrorRule, mirror, NAIVE_RULE, type Times } from "./mirror.ts";
import { type Bill, billOf, PLAN_USD, type Usage } from "./prices.ts";
import { type Class, MONTH_S, type Profile } from "./profiles.ts";
import { queueAt, SHARD_BATCHES_PER_SECOND, shardsFor } from "./shard.ts";
import type { StorageBytes } from "./storage.ts";

export interface Assumptions {
  readonly seed: string;
  readonly rule: MirrorRule;
  readonly times: Times;
  /** The busiest hour has this many times the mean. */
  readonly peak: number;
  /** The month that is billed: so many months of entries are stored, and none are folded. */
  readonly month: number;
  /** How long the aggregate keeps entries. */
  readonly raw_days: number;
  readonly price_cents: number;
  readonly api_percent: number;
}

export interface Sampled {
  readonly charges: number;
  readonly runs_per_charge: number;
  readonly batches_per_charge: number;
  /** Half the width of the interval that holds the true figure in 95 of 100 cases. */
  readonly batches_error: number;
  readonly busy_ms_per_charge: number;
  readonly wakes_per_charge: number;
  readonly naive_batches_per_charge: number;
  /** A part of the lags, in no order. */
  readonly lags_ms: readonly number[];
}

export interface Month {
  readonly envelopes: number;
  readonly charges: number;
  readonly mean_per_second: number;
  readonly peak_per_second: number;
  readonly batches: number;
  readonly peak_batches_per_second: number;
  readonly shards: number;
  /** Of the busiest envelope, at the end of the month: its own ledger, and what its one shard keeps of it. */
  readonly largest: { readonly ledger_gb: number; readonly mirrored_gb: number };
  readonly lag_p50_ms: number;
  readonly lag_p99_ms: number;
  readonly usage: Usage;
  readonly bill: Bill;
  readonly usd_per_million: number;
  readonly api: { readonly usd: number; readonly beyond_its_limit: boolean };
  readonly naive: { readonly usd: number };
}

const SAMPLES = 24;
const CHARGES_PER_SAMPLE = 2_000;
const WATCH_S_MIN = 300;
const LAGS_PER_SAMPLE = 500;

/** Plays some envelopes of a class for long enough to see many charges of each. They behave the same all the time, so longer would not be other. */
export function sample(one: Class, assumptions: Assumptions): Sampled {
  if (one.charges_per_month === 0) return NOTHING;
  const per_second = one.charges_per_month / MONTH_S;
  const duration_ms = 1000 * Math.max(WATCH_S_MIN, CHARGES_PER_SAMPLE / per_second);
  const totals = { charges: 0, runs: 0, batches: 0, busy_ms: 0, wakes: 0, naive: 0 };
  const shares: number[] = [];
  const lags_ms: number[] = [];
  for (let number = 0; number < SAMPLES; number++) {
    const choices = choicesOf(assumptions.seed, one.name, number);
    const times = arrivals({ per_second, duration_ms, pattern: one.pattern }, choices);
    if (times.length === 0) continue;
    const played = mirror(times, assumptions.rule, assumptions.times);
    totals.charges += times.length;
    totals.runs += played.runs;
    totals.batches += played.batches;
    totals.busy_ms += played.busy_ms;
    totals.wakes += played.wakes;
    totals.naive += mirror(times, NAIVE_RULE, assumptions.times).batches;
    shares.push(played.batches / times.length);
    for (let n = 0; n < LAGS_PER_SAMPLE; n++) {
      lags_ms.push(played.lags_ms[choices.between(0, times.length - 1)] ?? Number.NaN);
    }
  }
  const { charges } = totals;
  return {
    charges,
    runs_per_charge: totals.runs / charges,
    batches_per_charge: totals.batches / charges,
    batches_error: 1.96 * standardError(shares),
    busy_ms_per_charge: totals.busy_ms / charges,
    wakes_per_charge: totals.wakes / charges,
    naive_batches_per_charge: totals.naive / charges,
    lags_ms,
  };
}

const NOTHING: Sampled = {
  charges: 0,
  runs_per_charge: 0,
  batches_per_charge: 0,
  batches_error: 0,
  busy_ms_per_charge: 0,
  wakes_per_charge: 0,
  naive_batches_per_charge: 0,
  lags_ms: [],
};

export interface MonthInput {
  readonly profile: Profile;
  readonly envelopes: number;
  /** One for each class, in their order. */
  readonly sampled: readonly Sampled[];
  readonly measured: Measured;
  readonly bytes: StorageBytes;
  readonly assumptions: Assumptions;
}

export function monthOf({ profile, envelopes, sampled, measured, bytes, assumptions }: MonthInput): Month {
  const parts = profile.classes.map((one, index) => {
    const found = sampled[index] ?? NOTHING;
    return { charges: Math.max(0, one.envelopes(envelopes)) * one.charges_per_month, found };
  });
  const sum = (of: (found: Sampled) => number): number =>
    parts.reduce((total, { charges, found }) => total + charges * of(found), 0);
  const charges = sum(() => 1);
  const [runs, batches] = [sum((one) => one.runs_per_charge), sum((one) => one.batches_per_charge)];
  const peak_batches_per_second = (batches / MONTH_S) * assumptions.peak;
  const stored = storedGb(envelopes, charges, bytes, assumptions);
  const shards = shardsFor(peak_batches_per_second, stored.aggregate);
  const choices = choicesOf(assumptions.seed, profile.name, envelopes);
  const lags_ms = lagsOf(parts, queueAt(peak_batches_per_second / shards, choices), choices);
  const common = { worker_requests: charges, worker_cpu_ms: charges * WORKER_CPU_MS };
  const shard_seconds = batches / SHARD_BATCHES_PER_SECOND;
  const usage: Usage = {
    ...common,
    object_requests: charges + runs + batches,
    object_seconds: sum((one) => one.busy_ms_per_charge) / 1000 + shard_seconds,
    rows_written: charges * measured.rows_written_per_charge + rowsOfMirror(runs, batches, measured, bytes),
    rows_read: charges * measured.rows_read_per_charge,
    storage_gb: stored.envelopes + stored.aggregate,
  };
  const bill = billOf(usage);
  const peak_per_second = (charges / MONTH_S) * assumptions.peak;
  return {
    envelopes,
    charges,
    mean_per_second: charges / MONTH_S,
    peak_per_second,
    batches,
    peak_batches_per_second,
    shards,
    largest: largestOf(profile, envelopes, bytes, assumptions),
    lag_p50_ms: quantile(lags_ms, 0.5),
    lag_p99_ms: quantile(lags_ms, 0.99),
    usage,
    bill,
    usd_per_million: ((bill.usd - PLAN_USD) / charges) * 1e6,
    api: viaApi(common, charges, peak_per_second, assumptions),
    naive: {
      usd: naiveUsd(
        usage,
        charges,
        sum((one) => one.naive_batches_per_charge),
      ),
    },
  };
}

/** What a shipment writes beside its batch: `setAlarm` is one row. */
const ROWS_PER_ALARM = 1;

function rowsOfMirror(runs: number, batches: number, measured: Measured, { mirrored_entry }: StorageBytes): number {
  const per_batch = measured.rows_written_per_shipment - ROWS_PER_ALARM;
  // A batch that the aggregate keeps is deleted one day, and a deleted row counts as a written one.
  return runs * ROWS_PER_ALARM + batches * (per_batch + (mirrored_entry > 0 ? 1 : 0));
}

function storedGb(
  envelopes: number,
  charges_per_month: number,
  bytes: StorageBytes,
  { month, raw_days }: Assumptions,
): { readonly envelopes: number; readonly aggregate: number } {
  // Over the month that is billed the store grows: half of it counts.
  const months = month - 0.5;
  const raw_months = Math.min(months, raw_days / 30);
  return {
    envelopes: (envelopes * bytes.envelope + charges_per_month * months * bytes.entry) / 1e9,
    aggregate: (envelopes * bytes.summary + charges_per_month * raw_months * bytes.mirrored_entry) / 1e9,
  };
}

/** No number of shards helps an envelope that is too large for one: it is mirrored to one of them. */
function largestOf(
  { classes }: Profile,
  envelopes: number,
  bytes: StorageBytes,
  { month, raw_days }: Assumptions,
): Month["largest"] {
  const per_month = Math.max(...classes.map((one) => (one.envelopes(envelopes) > 0 ? one.charges_per_month : 0)));
  return {
    ledger_gb: (bytes.envelope + per_month * month * bytes.entry) / 1e9,
    mirrored_gb: (bytes.summary + per_month * Math.min(month, raw_days / 30) * bytes.mirrored_entry) / 1e9,
  };
}

/** An entry waits in its envelope and then at the shard. */
function lagsOf(
  parts: readonly { readonly charges: number; readonly found: Sampled }[],
  queue_ms: Float64Array,
  choices: Choices,
): readonly number[] {
  const all = parts.reduce((sum, { charges }) => sum + charges, 0);
  return parts
    .flatMap(({ charges, found: { lags_ms } }) =>
      Array.from({ length: Math.round((LAGS * charges) / all) }, () => {
        const waited_ms = lags_ms[choices.between(0, lags_ms.length - 1)] ?? Number.NaN;
        return waited_ms + (queue_ms[choices.between(0, queue_ms.length - 1)] ?? Number.NaN);
      }),
    )
    .sort((one, other) => one - other);
}

const LAGS = 20_000;

/** Figures of a metering API: a share of what is billed through it, and how many events a second it takes. docs/scale.md has the sources. */
export const API_EVENTS_PER_SECOND = 10_000;
export const API_LATENCY_MS = 20;

function viaApi(
  common: Pick<Usage, "worker_requests" | "worker_cpu_ms">,
  charges: number,
  peak_per_second: number,
  { price_cents, api_percent }: Assumptions,
): Month["api"] {
  const none = { object_requests: 0, object_seconds: 0, rows_written: 0, rows_read: 0, storage_gb: 0 };
  const fee_usd = ((charges * price_cents) / 100) * (api_percent / 100);
  return {
    usd: billOf({ ...common, ...none }).usd + fee_usd,
    beyond_its_limit: peak_per_second > API_EVENTS_PER_SECOND,
  };
}

/** Balance, event, unique key, index of what is unsent, alarm, acknowledgement, copy. */
export const NAIVE_ROWS_PER_CHARGE = 7;
/** The balance is asked for before the work and charged after it. */
const NAIVE_CALLS_PER_CHARGE = 2;

/** Duration, reads and storage as ours, to its advantage: it keeps more and works longer. */
function naiveUsd(ours: Usage, charges: number, batches: number): number {
  const object_requests = charges * NAIVE_CALLS_PER_CHARGE + 2 * batches;
  return billOf({ ...ours, object_requests, rows_written: charges * NAIVE_ROWS_PER_CHARGE }).usd;
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function standardError(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
