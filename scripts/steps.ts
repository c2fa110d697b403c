/**
 * Kills the whole server between any two steps of every flow that moves money or says who may spend it, and has whoever was
 * interrupted ask again: Stripe, the owner, the payer, the envelope's alarm. A real process, real files, SIGKILL.
 *
 *   node scripts/steps.ts --json               each step of each flow
 *   node scripts/steps.ts --pairs 200 --seed 1 and two kills, at a step and at one of the retry
 *   node scripts/steps.ts --only refund        flows whose names hold this
 *   node scripts/steps.ts --control            a directory that forgets news too early: asserts that it is found
 *
 * Exits 0 only if the retry finished every job once; with --control, only if that was found not to be so.
 */
import { randomInt } from "node:crypto";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { type Machine, thisMachine } from "./lib/machine.ts";
import { choicesOf } from "./lib/random.ts";
import { FLOWS, type Flow } from "./steps/flows.ts";
import { Stage } from "./steps/stage.ts";

interface Input {
  readonly pairs: number;
  readonly seed: number;
  readonly only: string;
  readonly control: boolean;
}

interface Played {
  readonly flow: string;
  /** Where it was killed, in order. */
  readonly steps: readonly string[];
}

export interface StepsReport extends Input {
  readonly machine: Machine;
  readonly seconds: number;
  readonly kills: number;
  readonly flows: readonly Played[];
  readonly twice: number;
  readonly findings: readonly string[];
  readonly verdict: "exact" | "wrong";
}

/** More than any flow has: a flow that never comes to its end is a finding, and no endless loop. */
const STEPS_MAX = 60;
const TRIES_MAX = 5;

class Run {
  readonly findings: string[] = [];
  kills = 0;
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Killed at its first step, played again and killed at its second, and so on until it ends before it is killed. */
  async each(flow: Flow): Promise<Played> {
    const steps: string[] = [];
    for (let nth = 1; nth <= STEPS_MAX; nth++) {
      const [step] = await this.play(flow, [nth]);
      if (step === undefined) return { flow: flow.name, steps };
      steps.push(step);
    }
    throw new Error(`${flow.name} has more than ${STEPS_MAX} steps`);
  }

  async play(flow: Flow, killAt: readonly number[]): Promise<readonly string[]> {
    this.#stage.newAccount();
    const { act, judge } = await flow.prepare(this.#stage);
    const steps: string[] = [];
    for (const nth of killAt) {
      const step = await this.#stage.killedAt(nth, act);
      if (step === undefined) break;
      steps.push(step);
    }
    this.kills += steps.length;
    const where = `${flow.name}, killed at ${steps.join(" and ") || "nothing"}`;
    const failed = steps.length === 0 ? undefined : await again(act);
    const [found, expected] = await judge();
    if (failed !== undefined) this.findings.push(`${where}: not finished by asking again: ${failed}`);
    else if (!isDeepStrictEqual(found, expected))
      this.findings.push(`${where}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
    return steps;
  }
}

/** What the last try failed with. */
async function again(act: () => Promise<unknown>): Promise<string | undefined> {
  let failed: string | undefined;
  for (let tried = 0; tried < TRIES_MAX; tried++) {
    failed = await act().then(
      () => undefined,
      (error: unknown) => String(error),
    );
    if (failed === undefined) return undefined;
  }
  return failed;
}

async function main(input: Input): Promise<StepsReport> {
  const started = performance.now();
  const stage = await Stage.open(input.control);
  try {
    const run = new Run(stage);
    const flows: Played[] = [];
    for (const flow of FLOWS.filter(({ name }) => name.includes(input.only))) {
      flows.push(await run.each(flow));
      console.error(`${flow.name}: ${flows.at(-1)?.steps.length} steps`);
    }
    const choices = choicesOf("pairs", input.seed);
    let twice = 0;
    for (let pair = 0; pair < input.pairs; pair++) {
      const { flow: name, steps } = flows[choices.between(0, flows.length - 1)] as Played;
      const flow = FLOWS.find((one) => one.name === name) as Flow;
      const at = [choices.between(1, steps.length), choices.between(1, steps.length)];
      twice += (await run.play(flow, at)).length === 2 ? 1 : 0;
    }
    const { findings, kills } = run;
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    const verdict = findings.length === 0 ? "exact" : "wrong";
    return { ...input, machine: thisMachine(), seconds, kills, flows, twice, findings, verdict };
  } finally {
    await stage.close();
  }
}

function printable({ machine, seed, seconds, kills, flows, twice, findings, verdict }: StepsReport): string {
  return [
    `seed ${seed} · ${machine.cpu}, ${machine.cores} cores · node ${machine.node} · workerd ${machine.workerd}`,
    ...flows.map(({ flow, steps }) => `${String(steps.length).padStart(3)} steps: ${flow}`),
    `${kills} kills, ${twice} times two of one job, in ${seconds} s`,
    ...findings.map((finding) => `  ! ${finding}`),
    verdict,
  ].join("\n");
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,10}$/.test(text)) throw new TypeError(`--${name} must be a whole number`);
  return Number(text);
}

const { values } = parseArgs({
  // A `--` that npm did not take away.
  args: process.argv.slice(2).filter((argument) => argument !== "--"),
  options: {
    pairs: { type: "string", default: "0" },
    seed: { type: "string", default: String(randomInt(1, 1_000_000_000)) },
    only: { type: "string", default: "" },
    control: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const input: Input = {
  pairs: wholeNumber("pairs", values.pairs),
  seed: wholeNumber("seed", values.seed),
  only: values.only,
  control: values.control,
};
const report = await main(input);
console.log(values.json ? JSON.stringify(report, null, 2) : printable(report));
process.exitCode = (report.verdict === "wrong") === input.control ? 0 : 1;
