/**
 * The figures of docs/performance.md, with the floors they are divided by, in one run.
 *
 *   npm run bench -- --rounds 45 --turn-ms 300 --json
 *   npm run bench -- --quick      a minute, to see that it works: its figures mean nothing
 *   npm run bench -- --only charge_latency_vs_floor,control_floor_vs_itself      these ratios, and nothing else; "counts" for the rest of it
 *   npm run bench -- --mirror-seconds 3600      with ENVELOPE_MIRROR_SECONDS
 *
 * Raw workerd on a real disk, not `wrangler dev`. Nothing here passes or fails: a busy machine is no fault of the code's. What
 * it does not show: the network, Cloudflare's replicated storage, and what other tenants do.
 */
import { statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { benchAggregate } from "./bench/aggregate.ts";
import { counts } from "./bench/counts.ts";
import { diskCommitMs } from "./bench/disk.ts";
import { CLIENT } from "./bench/load.ts";
import { type Speeds, speeds } from "./bench/run.ts";
import { sizes } from "./bench/sizes.ts";
import { thisMachine } from "./lib/machine.ts";
import { PACE } from "./lib/pace.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "45" },
    "turn-ms": { type: "string", default: "300" },
    envelopes: { type: "string", default: "1000" },
    entries: { type: "string", default: "1000000" },
    "mirror-seconds": { type: "string" },
    mirrored: { type: "string", default: "10000000" },
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const quick = values.quick;
const only = values.only?.split(",");
const input = {
  rounds: quick ? 1 : wholeNumber("rounds", values.rounds),
  turn_ms: wholeNumber("turn-ms", values["turn-ms"]),
  envelopes: quick ? 20 : wholeNumber("envelopes", values.envelopes),
  pause_ms: quick ? 1_000 : PACE.apart_ms,
  entries: quick ? 10_000 : wholeNumber("entries", values.entries),
  only: only?.filter((name) => name !== "counts"),
  vars: values["mirror-seconds"] === undefined ? {} : { ENVELOPE_MIRROR_SECONDS: values["mirror-seconds"] },
  say: (text: string) => console.error(text),
};

const TMPFS = 0x01021994;
if (statfsSync(tmpdir()).type === TMPFS) {
  console.error(`${tmpdir()} is memory, not a disk: set TMPDIR to a folder on one`);
  process.exit(2);
}

const disk_commit_ms = diskCommitMs();
const { results, ratios, start_ms } = await speeds(input);
const rest = only === undefined || only.includes("counts") ? await everythingElse() : {};

if (values.json) {
  const { node, workerd, ...machine } = thisMachine();
  const report = {
    machine: { ...machine, load: CLIENT },
    versions: { node, workerd },
    rounds: input.rounds,
    results: mapped(results, ({ rps, p50_ms, p99_ms }) => ({
      rps: Math.round(rps),
      p50_ms: round(p50_ms),
      p99_ms: round(p99_ms),
    })),
    ratios: mapped(ratios, ({ median }) => round(median)),
    spreads: mapped(ratios, ({ low, high, times }) => [round(low), round(high), times]),
    counts: mapped({ ...rest, workerd_start_ms: start_ms, disk_commit_ms }, round),
  };
  console.log(JSON.stringify(report, null, 2));
} else print({ results, ratios, start_ms });

/** What is counted, not timed; and the aggregate. */
async function everythingElse(): Promise<Readonly<Record<string, number>>> {
  const billed = quick ? {} : await counts(input.say);
  const bundle = await sizes();
  input.say("filling a shard of the aggregate");
  const shard = await benchAggregate({ entries: quick ? 50_000 : wholeNumber("mirrored", values.mirrored) });
  return {
    ...billed,
    aggregate_entries: shard.entries,
    aggregate_ingest_entries_per_second: shard.ingest_entries_per_second,
    aggregate_ingest_entries_per_second_full: shard.ingest_entries_per_second_full,
    aggregate_bytes_per_entry: shard.bytes_per_entry,
    ...Object.fromEntries(Object.entries(shard.report_ms).map(([name, ms]) => [`aggregate_${name}_ms`, ms])),
    ...bundle,
  };
}

function print({ results, ratios, start_ms }: Speeds): void {
  const { cpu, cores, memory_gb, system, node, workerd } = thisMachine();
  console.log(
    `${cpu}, ${cores} cores, ${memory_gb} GB, ${system}; node ${node}, workerd ${workerd}; load by ${CLIENT}`,
  );
  if (CLIENT === "node") console.log("wrk is not installed: the client in Node may be what is measured.");
  console.log(
    `${input.rounds} rounds, ${input.turn_ms} ms a short turn; workerd up in ${start_ms.toFixed(0)} ms; a commit takes the disk ${disk_commit_ms.toFixed(2)} ms\n`,
  );
  for (const [name, { rps, p50_ms, p99_ms }] of Object.entries(results)) {
    console.log(
      `${name.padEnd(44)} ${String(Math.round(rps)).padStart(7)} rps ${p50_ms.toFixed(2).padStart(8)} ms ${p99_ms.toFixed(1).padStart(8)} ms (99 %)`,
    );
  }
  console.log();
  for (const [name, { median, low, high, times }] of Object.entries(ratios)) {
    console.log(
      `${name.padEnd(44)} ${median.toFixed(2).padStart(7)}   (${low.toFixed(2)} to ${high.toFixed(2)} in ${times})`,
    );
  }
  console.log();
  for (const [name, count] of Object.entries(rest)) {
    console.log(`${name.padEnd(60)} ${String(round(count)).padStart(10)}`);
  }
}

function mapped<In, Out>(record: Readonly<Record<string, In>>, change: (one: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(record).map(([name, one]) => [name, change(one)]));
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,7}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}
