/**
 * The mirror on a very bad line: envelopes write and send, and 30 % of the deliveries that reach the aggregate are lost (the
 * request or its answer), doubled, or kept and delivered after later ones; half of the time it is down altogether. Then the line
 * is sound, the envelopes catch up, and the aggregate is held against every ledger.
 *
 *   npm run chaos:mirror -- --entries 1000000 --envelopes 200 --seed 2026 --json
 *   npm run chaos:mirror -- --control no-seq-check     an aggregate that takes whatever comes: asserts that the proof finds it
 *
 * Exits 0 for no difference; with --control, only if differences were found.
 */
import { randomInt } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PACKAGE_FOLDER, temporaryFolder } from "./lib/folders.ts";
import { readJson, send } from "./lib/http.ts";
import { type Machine, thisMachine } from "./lib/machine.ts";
import { randomVars, writeProject } from "./lib/project.ts";
import { choicesOf } from "./lib/random.ts";
import { configureWorkerd, startWorkerd } from "./lib/workerd.ts";
import { bundle } from "./lib/wrangler.ts";

interface Input {
  readonly entries: number;
  readonly envelopes: number;
  readonly seed: number;
  readonly control: "no-seq-check" | null;
}

interface Difference {
  readonly envelope_id: string | null;
  readonly what: string;
  readonly expected: number;
  readonly found: number;
}

type Figures = Readonly<Record<string, number>>;

export interface MirrorReport extends Input {
  /** `pass` of the control: differences were there, and were found. */
  readonly verdict: "pass" | "fail";
  readonly why: string;
  readonly written: number;
  readonly rounds: number;
  readonly rounds_down: number;
  /** What was sent, and what became of it. */
  readonly deliveries: Figures;
  readonly health: Figures;
  /** That the owner is told of, of `deliveries.refused` that there were. */
  readonly refusals: number;
  readonly differences: number;
  readonly examples: readonly Difference[];
  readonly seconds: number;
  readonly catch_up_seconds: number;
  readonly proof_seconds: number;
  readonly machine: Machine;
}

const EXAMPLES_MAX = 10;
const ENTRIES_PER_ROUND = 60;
const TIMEOUT_MS = 15 * 60_000;

async function main(input: Input): Promise<MirrorReport> {
  const started = performance.now();
  const folder = temporaryFolder("mirror-chaos");
  const vars = { ...randomVars(), ...(input.control && { CONTROL: input.control }) };
  writeProject({ folder: folder.path, main: join(PACKAGE_FOLDER, "scripts/workers/mirror-chaos.ts"), vars });
  const bundled = bundle(folder.path);
  configureWorkerd(bundled, vars);
  const server = await startWorkerd(bundled, join(folder.path, "storage"));
  const ask = async (path: string, asked: Record<string, string | number | boolean>) => {
    const query = new URLSearchParams(
      Object.entries(asked).map(([name, value]): [string, string] => [name, `${value}`]),
    );
    const answer = await send(server.origin, `${path}?${query}`, { timeout_ms: TIMEOUT_MS });
    if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
    return readJson(answer);
  };
  try {
    const disturbed = await disturb(input, ask);
    const before = performance.now();
    const { overview, health, refusals, counted } = await ask("/catch-up", { envelopes: input.envelopes });
    const caughtUp = performance.now();
    const differences = [
      ...(await prove(ask)),
      ...(await compare(input, ask, overview as Figures)),
      ...compareRefusals(Number(refusals), counted as Figures),
    ];
    const proved = performance.now();
    return {
      ...input,
      ...verdictOf(input, disturbed, differences, overview as Figures),
      ...disturbed,
      deliveries: counted as Figures,
      health: health as Figures,
      refusals: Number(refusals),
      differences: differences.length,
      examples: differences.slice(0, EXAMPLES_MAX),
      seconds: seconds(proved - started),
      catch_up_seconds: seconds(caughtUp - before),
      proof_seconds: seconds(proved - caughtUp),
      machine: thisMachine(),
    };
  } finally {
    await server.kill();
    folder.remove();
  }
}

type Ask = (
  path: string,
  asked: Record<string, string | number | boolean>,
) => Promise<Readonly<Record<string, unknown>>>;

interface Disturbed {
  readonly written: number;
  readonly rounds: number;
  readonly rounds_down: number;
}

/** Rounds until all is written. Down and up for a few rounds each, as long as each other on average. */
async function disturb({ entries, envelopes, seed }: Input, ask: Ask): Promise<Disturbed> {
  const choices = choicesOf("mirror", seed);
  let [written, rounds, rounds_down, down, left] = [0, 0, 0, choices.chance(0.5), choices.between(1, 6)];
  while (written < entries) {
    if (left === 0) {
      down = !down;
      left = choices.between(1, 6);
    }
    left -= 1;
    const asked = { seed, round: rounds, envelopes, entries: ENTRIES_PER_ROUND, down };
    written = Number((await ask("/round", asked))["entries"]);
    rounds += 1;
    if (down) rounds_down += 1;
    if (rounds % 20 === 0) console.error(`${written} entries after ${rounds} rounds`);
  }
  return { written, rounds, rounds_down };
}

/** The aggregate's own proof, page by page. */
async function prove(ask: Ask): Promise<readonly Difference[]> {
  const differences: Difference[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await ask("/prove", cursor === undefined ? {} : { cursor });
    differences.push(...(page["differences"] as readonly Difference[]));
    cursor = page["cursor"] as string | null;
  }
  return differences;
}

/** The owner's totals against the ledgers, added up here: owes nothing to the proof. */
async function compare({ envelopes }: Input, ask: Ask, overview: Figures): Promise<readonly Difference[]> {
  const ledgers = (await ask("/ledgers", { envelopes }))["ledgers"] as readonly Figures[];
  const same = ["granted_micros", "spent_micros", "refunded_micros"].map((name) => [name, name] as const);
  const frozen = ledgers.filter((ledger) => ledger["frozen"]).length;
  if (overview["frozen"] !== frozen)
    return [{ envelope_id: null, what: "owner.frozen", expected: frozen, found: overview["frozen"] ?? 0 }];
  const pairs = [["entries", "head_seq"] as const, ["outstanding_micros", "balance_micros"] as const, ...same];
  return pairs.flatMap(([figure, column]) => {
    const expected = ledgers.reduce((sum, ledger) => sum + (ledger[column] ?? 0), 0);
    const found = overview[figure] ?? 0;
    return expected === found ? [] : [{ envelope_id: null, what: `owner.${figure}`, expected, found }];
  });
}

/** Some are lost with their batch, where the line said that it had arrived. None counts twice. */
function compareRefusals(found: number, { refused = 0 }: Figures): readonly Difference[] {
  return found > 0 && found <= refused ? [] : [{ envelope_id: null, what: "owner.refusals", expected: refused, found }];
}

function verdictOf(
  { control, entries }: Input,
  { written, rounds_down, rounds }: Disturbed,
  differences: readonly Difference[],
  overview: Figures,
): Pick<MirrorReport, "verdict" | "why"> {
  if (control !== null) {
    return differences.length > 0
      ? {
          verdict: "pass",
          why: `Without the check of numbers the copy is wrong, and ${differences.length} differences were found`,
        }
      : { verdict: "fail", why: "Without the check of numbers nothing was found: this harness would not notice" };
  }
  if (differences.length > 0) return { verdict: "fail", why: `${differences.length} differences` };
  if (written < entries || rounds_down === 0 || rounds_down === rounds || overview["behind"] !== 0) {
    return { verdict: "fail", why: "The line was not as bad as it should be, or not caught up with" };
  }
  return { verdict: "pass", why: "After catch-up every copy and every sum is what the ledgers say" };
}

function printable(report: MirrorReport): string {
  const { machine, deliveries, health } = report;
  const faults = Object.entries(deliveries).filter(([name]) => name !== "deliveries" && name !== "refused");
  return [
    `seed ${report.seed}, ${report.envelopes} envelopes, ${report.written} entries in ${report.seconds} s`,
    `machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memory_gb} GB, ${machine.system}, node ${machine.node}, workerd ${machine.workerd}`,
    `deliveries: ${deliveries["deliveries"]} (${faults.map(([name, count]) => `${count} ${name}`).join(", ")}); down in ${report.rounds_down} of ${report.rounds} rounds`,
    `aggregate: ${health["entries"]} entries, ${health["gaps"]} gaps asked for, ${health["duplicates"]} duplicates left out, ${health["behind"]} behind`,
    `refusals: ${report.refusals} told of ${deliveries["refused"]}, none twice`,
    `caught up in ${report.catch_up_seconds} s, proved in ${report.proof_seconds} s`,
    ...report.examples.map(
      ({ envelope_id, what, expected, found }) =>
        `  ${envelope_id ?? "all"}: ${what} is ${found}, should be ${expected}`,
    ),
    `${report.control === null ? "" : `control ${report.control}: `}${report.verdict}, ${report.differences} differences. ${report.why}.`,
  ].join("\n");
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}

const { values } = parseArgs({
  // A `--` that npm did not take away.
  args: process.argv.slice(2).filter((argument) => argument !== "--"),
  options: {
    entries: { type: "string", default: "1000000" },
    envelopes: { type: "string", default: "200" },
    seed: { type: "string", default: String(randomInt(1, 1_000_000)) },
    control: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
if (values.control !== undefined && values.control !== "no-seq-check") {
  throw new TypeError("--control must be no-seq-check");
}
const report = await main({
  entries: wholeNumber("entries", values.entries),
  envelopes: wholeNumber("envelopes", values.envelopes),
  seed: wholeNumber("seed", values.seed),
  control: values.control ?? null,
});
console.log(values.json ? JSON.stringify(report, null, 2) : printable(report));
process.exitCode = report.verdict === "pass" ? 0 : 1;
