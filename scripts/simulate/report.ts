/** The simulation as text: a table for each profile, and one bill line by line. */
import type { Measured } from "./measured.ts";
import { API_EVENTS_PER_SECOND, API_LATENCY_MS, type Assumptions, type Month, type Sampled } from "./model.ts";
import type { StorageBytes } from "./storage.ts";

export interface ProfileReport {
  readonly name: string;
  readonly what: string;
  readonly classes: readonly (Partial<Omit<Sampled, "lags_ms">> & { readonly name: string })[];
  readonly months: readonly Month[];
}

export interface Report {
  readonly measured: Measured;
  readonly bytes: StorageBytes;
  readonly assumptions: Omit<Assumptions, "rule"> & {
    readonly rule_ms: { readonly first: number; readonly apart: number; readonly chases: boolean };
  };
  readonly profiles: readonly ProfileReport[];
}

export function written(report: Report): string {
  return [...preface(report), ...report.profiles.flatMap(profileText), ...LEGEND].join("\n");
}

function preface({ measured, bytes, assumptions }: Report): readonly string[] {
  const { rule_ms, times, peak, month, raw_days, price_cents, api_percent, seed } = assumptions;
  return [
    `Counted: ${measured.source}`,
    `  ${measured.rows_written_per_charge} row a charge, ${measured.rows_written_per_shipment.toFixed(1)} rows a shipment (alarm, cursor, aggregate), ${measured.rows_read_per_charge.toFixed(2)} rows read a charge`,
    `Stored, measured now: ${Math.round(bytes.envelope)} bytes an envelope, ${bytes.entry.toFixed(0)} an entry; at the aggregate ${bytes.summary.toFixed(0)} and ${bytes.mirrored_entry.toFixed(0)}; at the directory ${bytes.claim.toFixed(0)} a payment`,
    `Mirror: ${rule_ms.first / 1000} s after an idle time, at most one shipment in ${rule_ms.apart / 1000} s${rule_ms.chases ? ", with what arrives meanwhile" : ""}; seed ${seed}`,
    `Assumed: an object at work ${times.charge_ms} ms for a charge and ${times.batch_ms} ms for a batch; ${peak} times the mean at the peak; month ${month}, nothing folded,`,
    `  entries at the aggregate for ${raw_days} days; ${price_cents} cent a charge, of which a billing API takes ${api_percent} %`,
    "",
  ];
}

const COLUMNS: readonly (readonly [title: string, of: (month: Month) => string])[] = [
  ["envelopes", ({ envelopes }) => short(envelopes)],
  ["charges", ({ charges }) => short(charges)],
  ["rps mean", ({ mean_per_second }) => short(mean_per_second)],
  ["peak", ({ peak_per_second }) => short(peak_per_second)],
  ["batches", ({ batches }) => short(batches)],
  ["shards", ({ shards }) => short(shards)],
  ["lag p50", ({ lag_p50_ms }) => seconds(lag_p50_ms)],
  ["p99", ({ lag_p99_ms }) => seconds(lag_p99_ms)],
  ["stored GB", ({ usage }) => short(usage.storage_gb)],
  ["largest", ({ largest }) => object(Math.max(largest.ledger_gb, largest.mirrored_gb))],
  ["written", ({ usage }) => short(usage.rows_written)],
  ["read", ({ usage }) => short(usage.rows_read)],
  ["GB-s", ({ usage }) => short(usage.object_seconds * 0.128)],
  ["USD a month", ({ bill }) => usd(bill.usd)],
  ["per million", ({ usd_per_million }) => usd(usd_per_million)],
  ["billing API", ({ api }) => usd(api.usd) + (api.beyond_its_limit ? "*" : "")],
  ["naive", ({ naive }) => usd(naive.usd)],
];

function profileText({ name, what, classes, months }: ProfileReport): readonly string[] {
  const cells = [COLUMNS.map(([title]) => title), ...months.map((month) => COLUMNS.map(([, of]) => of(month)))];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  const last = months.at(-1);
  return [
    `${name}: ${what}`,
    ...classes
      .filter(({ charges = 0 }) => charges > 0)
      .map(
        ({ name, charges = 0, batches_per_charge = 0, batches_error = 0, wakes_per_charge = 0 }) =>
          `  ${name}: ${charges} charges played, ${batches_per_charge.toFixed(4)} batches a charge (± ${batches_error.toFixed(4)}), ${wakes_per_charge.toFixed(3)} wakes a charge`,
      ),
    "",
    ...cells.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  ")),
    "",
    ...(last === undefined ? [] : billText(last)),
    "",
  ];
}

function billText({ envelopes, bill }: Month): readonly string[] {
  return [
    `The bill of ${short(envelopes)} envelopes:`,
    ...bill.lines.map(({ what, used, included, usd: cost }) =>
      what === "plan"
        ? `  ${"plan".padEnd(16)} ${usd(cost).padStart(44)}`
        : `  ${what.padEnd(16)} ${short(used).padStart(12)} less ${short(included).padStart(8)} included ${usd(cost).padStart(10)}`,
    ),
  ];
}

const OBJECT_GB_MAX = 10;

const UNITS = [
  ["T", 1e12],
  ["G", 1e9],
  ["M", 1e6],
  ["k", 1e3],
] as const;

const LEGEND: readonly string[] = [
  "A month has 30 days. Charges only: free requests cost what a Worker costs. Lag is at the peak, from the charge to the aggregate.",
  "USD a month has the plan and what it includes; per million is without the plan's five dollars.",
  `!: GB in one object, more than the ${OBJECT_GB_MAX} it may hold: its entries have to be folded, and kept at the aggregate for fewer days.`,
  `A call of a billing API takes up to ${API_LATENCY_MS} ms in its own region, as one of them says; naive is 7 rows and 2 calls a charge. Neither was measured.`,
  `*: more at the peak than the ${short(API_EVENTS_PER_SECOND)} events a second that the API takes without a contract.`,
];

function object(gb: number): string {
  return short(gb) + (gb > OBJECT_GB_MAX ? "!" : "");
}

/** Three digits. */
function short(value: number): string {
  for (const [unit, size] of UNITS) if (value >= size * 0.9995) return `${three(value / size)}${unit}`;
  return three(value);
}

function three(value: number): string {
  return value === 0 ? "0" : String(Number(value.toPrecision(3)));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function usd(value: number): string {
  return value >= 1000 ? short(Math.round(value)) : value.toFixed(2);
}
