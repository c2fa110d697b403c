/** The measured part of docs/performance.md, from a report of `npm run bench -- --json`. */
import { OBJECT_MS, PRICES, WORKER_CPU_MS } from "./counts.ts";

export interface BenchReport {
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memory_gb: number;
    readonly system: string;
    readonly load: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly results: Readonly<
    Record<string, { readonly rps: number; readonly p50_ms: number; readonly p99_ms: number }>
  >;
  readonly ratios: Readonly<Record<string, number>>;
  /** Lowest and highest over the rounds, and in how many of them it was measured. */
  readonly spreads: Readonly<Record<string, readonly [low: number, high: number, times: number]>>;
  readonly counts: Readonly<Record<string, number>>;
}

const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

/** What the project wants to keep; a figure without one is there for comparison. */
const BOUNDS: Readonly<Record<string, string>> = {
  charge_latency_vs_floor: "≤ 1.15",
  hot_envelope_vs_floor: "≥ 2.5",
  spread_vs_floor: "≥ 0.85",
  free_vs_bare: "≥ 0.95",
  charge_at_1e6_entries_vs_1e3: "≤ 1.05",
  wake_at_1e6_entries_vs_1e3: "≤ 1.5",
  socket_vs_unwrapped: "≤ 1.10",
  socket_vs_unwrapped_10_ms_away: "≤ 1.10",
  rows_written_per_charge: "1.00",
  rows_written_per_keyed_charge: "2.00",
  mirror_and_alarm_rows_per_charge_at_10_per_second: "≤ 0.25",
  object_requests_per_charge: "≤ 1.05",
  list_price_per_million_charges_usd: "≤ 3.2",
  aggregate_ingest_entries_per_second: "≥ 50,000",
  ...Object.fromEntries(
    ["overview", "hours", "days", "spend", "envelopes", "events", "cohorts"].map((name) => [
      `aggregate_${name}_ms`,
      "< 50",
    ]),
  ),
  start_gzip_kb: "≤ 20",
  core_gzip_kb: "≤ 60",
  client_gzip_kb: "≤ 3",
};

/** The document with its block replaced. */
export function withBlock(document: string, report: BenchReport): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`The document has no ${BEGIN} … ${END}`);
  return `${document.slice(0, begin + BEGIN.length)}\n\n${block(report)}\n\n${document.slice(end)}`;
}

export function block(report: BenchReport): string {
  const { machine, versions, rounds, results, ratios, spreads, counts } = report;
  const built = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memory_gb} GB, ${machine.system}; ${built.join(", ")}; load by ${machine.load}; ${rounds} rounds, medians.`,
    table(
      ["result", "requests per second", "p50, ms", "p99, ms"],
      Object.entries(results).map(([name, { rps, p50_ms, p99_ms }]) => [
        `\`${name}\``,
        Math.round(rps).toLocaleString("en-US"),
        p50_ms.toFixed(2),
        p99_ms.toFixed(1),
      ]),
    ),
    table(
      ["ratio", "median", "lowest to highest", "in rounds", "to keep"],
      Object.entries(ratios).map(([name, ratio]) => {
        const [low, high, times] = spreads[name] ?? [Number.NaN, Number.NaN, 0];
        const range = `${low.toFixed(2)} to ${high.toFixed(2)}`;
        return [`\`${name}\``, ratio.toFixed(2), range, String(times), BOUNDS[name] ?? ""];
      }),
    ),
    table(
      ["count", "figure", "to keep"],
      Object.entries(counts).map(([name, count]) => [`\`${name}\``, figure(count), BOUNDS[name] ?? ""]),
    ),
    ...arithmetic(counts),
  ].join("\n\n");
}

/** A million charges of a hot envelope at list prices, above what a plan includes. */
function arithmetic(counts: BenchReport["counts"]): readonly string[] {
  const { rows_written_per_hot_charge: written, object_requests_per_hot_charge: requests } = counts;
  const total = counts["list_price_per_million_charges_usd"];
  if (written === undefined || requests === undefined || total === undefined) return [];
  const lines: (readonly [what: string, each: number, usd_per_million: number])[] = [
    ["Worker request", 1, PRICES.worker_request],
    ["millisecond of CPU in the Worker (assumed)", WORKER_CPU_MS, PRICES.worker_cpu_ms],
    ["object request: the charge, its share of alarms and batches", requests, PRICES.object_request],
    ["millisecond of an object of 128 MB (assumed)", OBJECT_MS, PRICES.object_second / 1000],
    ["row written: the entry, its share of alarm, cursor and aggregate", written, PRICES.row_written],
    ["row read", counts["rows_read_per_hot_charge"] ?? 0, PRICES.row_read],
  ];
  const sum = lines.reduce((usd, [, each, price]) => usd + each * price * 1e6, 0);
  // A report of other prices, or of another formula, must not get this arithmetic.
  if (Math.abs(sum - total) > TOLERANCE_USD) {
    throw new Error(`The lines add up to $${sum.toFixed(3)}, the report says $${total.toFixed(3)}`);
  }
  const rows = lines.map(([what, each, price]) => [what, figure(each), usd(price * 1e6), usd(each * price * 1e6)]);
  return [
    "A million charges on a hot envelope, at list prices and above what the plan includes:",
    table(["what", "per charge", "USD per million", "USD"], [...rows, ["**together**", "", "", `**${usd(sum)}**`]]),
  ];
}

/** Counts are rounded to a thousandth in the report, and rows read may be missing from an older one. */
const TOLERANCE_USD = 0.01;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, column) => (column === 0 ? "---" : "--:"))), ...rows.map(line)].join("\n");
}

function usd(amount: number): string {
  return `$${amount.toFixed(4)}`;
}

function figure(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}
