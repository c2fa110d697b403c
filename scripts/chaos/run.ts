/** One run: rounds of clients under kills, each judged on its own, and what they come to together. */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../lib/folders.ts";
import { type Holder, newHolder } from "../lib/holder.ts";
import { readJson, send } from "../lib/http.ts";
import { randomVars, writeProject } from "../lib/project.ts";
import { choicesOf } from "../lib/random.ts";
import { configureWorkerd } from "../lib/workerd.ts";
import { bundle } from "../lib/wrangler.ts";
import { take, type World } from "./client.ts";
import { CrashingServer } from "./crashing-server.ts";
import { type History, newHistory, type ToldPayment } from "./history.ts";
import { type Finding, judge } from "./judge.ts";
import { readLedger, readTotals, totalsOf } from "./ledgers.ts";
import { stepsOf, type TopUp } from "./plan.ts";

export interface RunInput {
  readonly seconds: number;
  readonly seed: number;
  readonly clients: number;
  readonly envelopes: number;
  readonly freshKeys: boolean;
  /** Told of each round as it ends. */
  readonly onRound: (round: Round) => void;
}

export interface Round {
  readonly history: History;
  readonly findings: readonly Finding[];
  /** Why the round proves nothing; `undefined` when it was judged. */
  readonly unknown: string | undefined;
  readonly restarts_ms: readonly number[];
  /** While clients were starting operations. */
  readonly worked_ms: number;
  /** Kept for a look, when something was found. */
  readonly storage: string | undefined;
}

const WORKER = fileURLToPath(new URL("../workers/chaos.ts", import.meta.url));

/** A long run is many rounds, each on fresh storage, so that its history fits in memory. */
const ROUND_SECONDS_MAX = 120;
const KILL_EVERY_MS = [80, 780] as const;
/** As long as the Worker's holds, and a little. */
const HOLDS_OVER_MS = 1_500;
const FINISH_MS = 60_000;
const OPENING_CENTS = 50;

export async function run(input: RunInput): Promise<readonly Round[]> {
  const project = temporaryFolder("chaos");
  const vars = randomVars();
  writeProject({ folder: project.path, main: WORKER, vars });
  const bundled = bundle(project.path);
  configureWorkerd(bundled, vars);
  const rounds: Round[] = [];
  for (let left = input.seconds; left > 0; left -= ROUND_SECONDS_MAX) {
    const seconds = Math.min(left, ROUND_SECONDS_MAX);
    const round = await playRound(input, {
      number: rounds.length,
      seconds,
      bundled,
      secret: vars.STRIPE_WEBHOOK_SECRET,
    });
    rounds.push(round);
    input.onRound(round);
    if (round.findings.length > 0 && !input.freshKeys) break;
  }
  project.remove();
  return rounds;
}

interface RoundInput {
  readonly number: number;
  readonly seconds: number;
  readonly bundled: string;
  readonly secret: string;
}

async function playRound(input: RunInput, { number, seconds, bundled, secret }: RoundInput): Promise<Round> {
  const storage = temporaryFolder("chaos-storage");
  const server = new CrashingServer(bundled, storage.path);
  const holders = await makeHolders(server, input.envelopes);
  const history = newHistory();
  let givenUp = false;
  const world: World = {
    server,
    holders: holders.map(({ holder }) => holder),
    webhookSecret: secret,
    history,
    freshKeys: input.freshKeys,
    givenUp: () => givenUp,
  };
  const opening = await openEnvelopes(world);

  const began_ms = performance.now();
  const over = () => performance.now() - began_ms >= seconds * 1000;
  const clients = Array.from({ length: input.clients }, (_, client) => work(input, { number, client, world, over }));
  await killAtRandom(server, choicesOf("kill", input.seed, number), over);
  const worked_ms = performance.now() - began_ms;
  const giveUp = setTimeout(() => {
    givenUp = true;
  }, FINISH_MS);
  await Promise.all(clients);
  clearTimeout(giveUp);

  const judged = await finalRead(server, holders, { history, opening });
  await server.stop();
  const unknown = judged.unknown ?? whyUnknown(history, server.restarts_ms);
  const keep = !input.freshKeys && (judged.findings.length > 0 || unknown !== undefined);
  if (keep) storage.keep();
  else storage.remove();
  const { restarts_ms } = server;
  const kept = keep ? storage.path : undefined;
  return { history, findings: judged.findings, unknown, restarts_ms, worked_ms, storage: kept };
}

interface ClientInput {
  readonly number: number;
  readonly client: number;
  readonly world: World;
  readonly over: () => boolean;
}

async function work(input: RunInput, { number, client, world, over }: ClientInput): Promise<void> {
  for (const step of stepsOf(input.seed, number, client, input.envelopes)) {
    if (over()) return;
    await take(world, step);
  }
}

async function killAtRandom(
  server: CrashingServer,
  choices: ReturnType<typeof choicesOf>,
  over: () => boolean,
): Promise<void> {
  for (;;) {
    await sleep(choices.between(...KILL_EVERY_MS));
    if (over()) return;
    await server.crash();
  }
}

interface Opened {
  readonly holder: Holder;
  readonly id: string;
}

async function makeHolders(server: CrashingServer, count: number): Promise<readonly Opened[]> {
  const origin = await server.origin();
  const open = async (): Promise<Opened> => {
    const holder = await newHolder(origin);
    const who = readJson(await send(origin, "/who", { headers: { Cookie: holder.cookie } }));
    return { holder, id: String(who["id"]) };
  };
  return Promise.all(Array.from({ length: count }, open));
}

async function openEnvelopes(world: World): Promise<readonly ToldPayment[]> {
  const payments = world.holders.map((_, envelope): TopUp => {
    return { kind: "topup", name: `opening${envelope}`, envelope, cents: OPENING_CENTS, twin: false, again: false };
  });
  await Promise.all(payments.map((payment) => take(world, payment)));
  return world.history.payments.splice(0);
}

/** After one more kill, so that what is read comes from disk and not from an object's memory. */
async function finalRead(
  server: CrashingServer,
  holders: readonly Opened[],
  { history, opening }: { readonly history: History; readonly opening: readonly ToldPayment[] },
): Promise<{ readonly findings: readonly Finding[]; readonly unknown: string | undefined }> {
  try {
    await sleep(HOLDS_OVER_MS);
    await server.crash();
    const origin = await server.origin();
    const ledgers = await Promise.all(holders.map(({ id }) => readLedger(origin, id)));
    const mirrored = await readTotals(origin, totalsOf(ledgers));
    return { findings: judge({ history, ledgers, opening, mirrored }), unknown: undefined };
  } catch (error) {
    return { findings: [], unknown: `The final read failed: ${String(error)}` };
  }
}

function whyUnknown(history: History, restarts_ms: readonly number[]): string | undefined {
  if (history.unfinished > 0) return `${history.unfinished} operations did not come to an end`;
  // One kill belongs to the final read.
  if (restarts_ms.length < 2) return "Nothing was killed";
  if (!history.told.some(({ outcome }) => outcome === "charged")) return "Nothing was acknowledged";
  return undefined;
}
