/**
 * How fast one shard of the aggregate takes entries, and how long it takes to answer the owner when it has them all: in workerd
 * itself, over RPC as envelopes call it, with the sender in the same process and so on the same core.
 *
 *   node scripts/bench/aggregate.ts --entries 10000000 --json
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PACKAGE_FOLDER, temporaryFolder } from "../lib/folders.ts";
import { readJson, send } from "../lib/http.ts";
import { type Machine, thisMachine } from "../lib/machine.ts";
import { randomVars, writeProject } from "../lib/project.ts";
import { configureWorkerd, startWorkerd } from "../lib/workerd.ts";
import { bundle } from "../lib/wrangler.ts";

export interface AggregateInput {
  readonly entries: number;
  readonly envelopes?: number;
  readonly batch?: number;
}

export interface AggregateFigures {
  readonly entries: number;
  readonly envelopes: number;
  readonly batch: number;
  readonly ingest_entries_per_second: number;
  /** Of the last tenth: whether it gets slower as it gets fuller. */
  readonly ingest_entries_per_second_full: number;
  /** Median of several, with the HTTP request that asks for it. */
  readonly report_ms: Readonly<Record<string, number>>;
  readonly bytes_per_entry: number;
}

const DAYS = 90;
const DAY_MS = 86_400_000;
const CHUNKS = 10;
const ASKED = 9;
const REPORTS = ["overview", "hours", "days", "spend", "envelopes", "events", "cohorts"] as const;
const TIMEOUT_MS = 10 * 60_000;

export async function benchAggregate(input: AggregateInput): Promise<AggregateFigures> {
  const { entries, envelopes = 1_000, batch = 500 } = input;
  const folder = temporaryFolder("bench-aggregate");
  const vars = randomVars();
  writeProject({ folder: folder.path, main: join(PACKAGE_FOLDER, "scripts/workers/bench-aggregate.ts"), vars });
  const bundled = bundle(folder.path);
  configureWorkerd(bundled, vars);
  const server = await startWorkerd(bundled, join(folder.path, "storage"));
  try {
    const ask = async (path: string, asked: Readonly<Record<string, number>>) => {
      const query = Object.entries(asked).map(([name, value]) => `${name}=${value}`);
      const answer = await send(server.origin, `${path}?${query.join("&")}`, { timeout_ms: TIMEOUT_MS });
      if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
      return readJson(answer);
    };
    const to_ms = Date.now();
    const period = { from_ms: to_ms - DAYS * DAY_MS, to_ms };
    const batches = Math.ceil(entries / batch);
    const common = { size: batch, envelopes, begin_ms: period.from_ms, step_ms: (DAYS * DAY_MS) / batches };
    const times: number[] = [];
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      const [from, to] = [chunk, chunk + 1].map((at) => Math.floor((at * batches) / CHUNKS)) as [number, number];
      const before = performance.now();
      await ask("/ingest", { ...common, from, to });
      times.push((performance.now() - before) / ((to - from) * batch));
    }
    const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
    const health = await ask("/health", {});
    if (health["entries"] !== batches * batch) throw new Error(`The shard has ${health["entries"]} entries`);
    return {
      entries: batches * batch,
      envelopes,
      batch,
      ingest_entries_per_second: Math.round(1000 / mean),
      ingest_entries_per_second_full: Math.round(1000 / (times.at(-1) ?? mean)),
      report_ms: await reportTimes(ask, period),
      bytes_per_entry: Math.round(Number(health["database_bytes"]) / (batches * batch)),
    };
  } finally {
    await server.kill();
    folder.remove();
  }
}

async function reportTimes(
  ask: (path: string, asked: Readonly<Record<string, number>>) => Promise<unknown>,
  period: { readonly from_ms: number; readonly to_ms: number },
): Promise<Readonly<Record<string, number>>> {
  const times: Record<string, number> = {};
  for (const report of REPORTS) {
    const samples: number[] = [];
    for (let i = 0; i < ASKED; i++) {
      const before = performance.now();
      await ask(`/${report}`, period);
      samples.push(performance.now() - before);
    }
    samples.sort((one, other) => one - other);
    times[report] = Math.round((samples[Math.floor(ASKED / 2)] ?? 0) * 10) / 10;
  }
  return times;
}

function printable(figures: AggregateFigures, machine: Machine): string {
  return [
    `machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memory_gb} GB, ${machine.system}, node ${machine.node}, workerd ${machine.workerd}`,
    `${figures.entries} entries of ${figures.envelopes} envelopes over ${DAYS} days, in batches of ${figures.batch}`,
    `ingest: ${figures.ingest_entries_per_second} entries/s, the last tenth ${figures.ingest_entries_per_second_full}; ${figures.bytes_per_entry} bytes each`,
    ...Object.entries(figures.report_ms).map(([report, ms]) => `${report}: ${ms} ms`),
  ].join("\n");
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { entries: { type: "string", default: "1000000" }, json: { type: "boolean", default: false } },
  });
  if (!/^[1-9][0-9]{0,8}$/.test(values.entries)) throw new TypeError("--entries must be a whole number above zero");
  const figures = await benchAggregate({ entries: Number(values.entries) });
  const machine = thisMachine();
  console.log(values.json ? JSON.stringify({ ...figures, machine }, null, 2) : printable(figures, machine));
}
