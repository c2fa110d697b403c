/**
 * One run: floors and product side by side in one process, by turns, so that what slows the machine slows both. Turns are short, and many, where
 * that can be: what holds the machine up for a moment spoils a few of them. Each round's ratio is taken within the round; what is reported is
 * the median over rounds, with the lowest and highest.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryFolder } from "../lib/folders.ts";
import { newHolder } from "../lib/holder.ts";
import { readJson, send } from "../lib/http.ts";
import { completedEvent, deliver } from "../lib/stripe.ts";
import { type Measured, measure } from "./load.ts";
import { measureSocket } from "./sockets.ts";
import { prepare, type Stand, startStand } from "./stand.ts";

export interface BenchInput {
  readonly rounds: number;
  /** How long a short turn lasts. */
  readonly turn_ms: number;
  /** How many envelopes the load is spread over. */
  readonly envelopes: number;
  /** How far apart a busy envelope tells the aggregate (src/settings.ts): what is measured with that lasts as long, or twice. */
  readonly pause_ms: number;
  /** Length of the long ledger. */
  readonly entries: number;
  /** Of the deployment, besides its secrets. */
  readonly vars: Readonly<Record<string, string>>;
  /** Ratios that are wanted; all of them where it is absent. */
  readonly only: readonly string[] | undefined;
  readonly say: (text: string) => void;
}

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly times: number;
}

export interface Speeds {
  readonly results: Readonly<Record<string, Measured>>;
  readonly ratios: Readonly<Record<string, Spread>>;
  readonly start_ms: number;
}

/** Something that is measured, in turns. */
interface Step {
  /** It has a turn in one round of so many. Odd, because every second round is the other way round. */
  readonly every: number;
  readonly turn: () => Promise<Measured>;
  /** Before the first round: code is compiled, objects are awake. */
  readonly warmUp: () => Promise<unknown>;
}

interface Holder {
  readonly id: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What is divided by what. `latency`: of the medians; `rps`: of requests per second. `added`: of the medians, one less the other, in ms. */
const PAIRS = {
  charge_latency_vs_floor: { kind: "latency", of: "charge_1", by: "floor_row_1" },
  hot_envelope_vs_floor: { kind: "rps", of: "charge_128_hot", by: "floor_row_128_hot" },
  /** Not a promise: an object that is called for each request and writes nothing. Where a call costs as much as a commit, no grouping of commits gets beyond it. */
  object_call_vs_floor: { kind: "rps", of: "floor_call_128_hot", by: "floor_row_128_hot" },
  spread_vs_floor: { kind: "rps", of: "charge_128_spread", by: "floor_row_128_spread" },
  free_vs_bare: { kind: "rps", of: "free", by: "bare" },
  charge_at_1e6_entries_vs_1e3: { kind: "latency", of: "charge_1_long", by: "charge_1_short" },
  /** Of round trips at 1,000 messages a second. For comparison: metered ÷ the least that a Worker can put between a client and an app's socket. */
  socket_vs_pumped: { kind: "latency", of: "socket_metered", by: "socket_pumped" },
  /** What is to be kept: ÷ no Worker in between at all, of an app that does nothing but echo; for a client ten milliseconds away. */
  socket_vs_unwrapped_10_ms_away: { kind: "latency", of: "socket_metered_away", by: "socket_unwrapped_away" },
  /** … and for one on this machine, where there is no other time for it to be a share of. */
  socket_vs_unwrapped: { kind: "latency", of: "socket_metered", by: "socket_unwrapped" },
  /** … and its floor: whatever a Worker puts in between, this much is the runtime's. */
  socket_pumped_vs_unwrapped: { kind: "latency", of: "socket_pumped", by: "socket_unwrapped" },
  /** The same in time. It is the same however long a round trip is, so a client who is further away sees a smaller share of it. */
  socket_added_ms: { kind: "added", of: "socket_metered", by: "socket_unwrapped" },
  socket_pumped_added_ms: { kind: "added", of: "socket_pumped", by: "socket_unwrapped" },
  /** … and of an app whose own object writes a row for each message. */
  socket_row_vs_unwrapped: { kind: "latency", of: "socket_row_metered", by: "socket_row_unwrapped" },
  /** Not a promise: what the usual way costs (ask for the balance, then update it and file an event under a unique id). */
  naive_latency_vs_floor: { kind: "latency", of: "naive_1", by: "floor_row_1" },
  /** The same thing twice: how far from 1 it is, is how far any of the others may be wrong. */
  control_floor_vs_itself: { kind: "latency", of: "floor_row_1_again", by: "floor_row_1" },
} as const;

const WAKE = "wake_at_1e6_entries_vs_1e3";

/** The ratios that a run takes. */
function wanted(only: BenchInput["only"]): readonly (keyof typeof PAIRS | typeof WAKE)[] {
  const all = [...(Object.keys(PAIRS) as (keyof typeof PAIRS)[]), WAKE] as const;
  const unknown = only?.find((name) => !all.some((one) => one === name));
  if (unknown !== undefined) throw new TypeError(`--only: there is no ratio ${unknown}; there are ${all.join(", ")}`);
  return all.filter((name) => only === undefined || only.includes(name));
}

export async function speeds(input: BenchInput): Promise<Speeds> {
  const names = wanted(input.only);
  const pairs = names.flatMap((name) => (name === WAKE ? [] : [[name, PAIRS[name]] as const]));
  const needed = new Set<string>(pairs.flatMap(([, { of, by }]) => [of, by]));
  const folder = temporaryFolder("bench");
  const stand = await startStand(prepare(folder.path, input.vars), join(folder.path, "storage"));
  try {
    const envelopes = 4 + (needed.has("charge_128_spread") ? input.envelopes : 0);
    input.say(`workerd up in ${stand.start_ms.toFixed(0)} ms; making ${envelopes} envelopes`);
    const [single, hot, short_ledger, long_ledger, ...many] = await makeHolders(stand, envelopes);
    if (!single || !hot || !short_ledger || !long_ledger) throw new Error("No holders");
    if (needed.has("charge_1_long") || names.includes(WAKE)) {
      await fill(stand, short_ledger, 1_000);
      await fill(stand, long_ledger, input.entries);
    }
    const load = async (url: string, connections: number, holders: readonly Holder[], ms: number) => {
      // What the last turn's clients asked for, and did not wait for, is not done in this one.
      await sleep(DRAIN_MS);
      return measure({ url, connections, ms, headers: holders.map((one) => one.headers) }, folder.path);
    };
    // Both sides get the same requests, because a longer header alone costs a bare Worker a fifth more.
    const short = (url: string, connections: number, holder: Holder): Step => ({
      every: 1,
      turn: () => load(url, connections, [holder], input.turn_ms),
      warmUp: () => load(url, connections, [holder], WARM_UP_MS),
    });
    // Objects that nobody asks for ten seconds sleep, and tell the aggregate a second after they woke: that much does not count. Then as long as from one shipment to the next.
    const long = (url: string, holders: readonly Holder[], pauses: number): Step => ({
      every: 9,
      turn: async () => {
        await load(url, 128, holders, input.pause_ms * 0.6);
        const measured = await load(url, 128, holders, input.pause_ms * pauses);
        // What envelopes have still to tell is not told in the time of what comes next, which is the floor's every second time.
        if (url.startsWith(stand.product)) await sleep(input.pause_ms + 2_000);
        return measured;
      },
      warmUp: async () => undefined,
    });
    const socket = (
      origin: string,
      path: string,
      more: { readonly headers?: Holder["headers"]; readonly away_ms?: number } = {},
    ): Step => {
      const turn = () => measureSocket({ origin, path, headers: {}, seconds: 1, ...more });
      return { every: 5, turn, warmUp: turn };
    };
    const { headers } = single;
    // Neighbours in this list are divided by each other, so they run one right after the other.
    const steps: Readonly<Record<string, Step>> = {
      bare: short(`${stand.floor}/bare`, 32, single),
      free: short(`${stand.product}/free`, 32, single),
      naive_1: short(`${stand.floor}/naive`, 1, single),
      floor_row_1: short(`${stand.floor}/row`, 1, single),
      charge_1: short(`${stand.product}/charge`, 1, single),
      floor_row_1_again: short(`${stand.floor}/row`, 1, single),
      charge_1_short: short(`${stand.product}/charge`, 1, short_ledger),
      charge_1_long: short(`${stand.product}/charge`, 1, long_ledger),
      floor_call_128_hot: long(`${stand.floor}/call`, [hot], 1),
      floor_row_128_hot: long(`${stand.floor}/row`, [hot], 1),
      charge_128_hot: long(`${stand.product}/charge`, [hot], 1),
      floor_row_128_spread: long(`${stand.floor}/row`, many, 2),
      charge_128_spread: long(`${stand.product}/charge`, many, 2),
      socket_row_unwrapped: socket(stand.floor, "/socket-row"),
      socket_row_metered: socket(stand.product, "/socket-row", { headers }),
      socket_unwrapped: socket(stand.floor, "/socket-echo"),
      socket_metered: socket(stand.product, "/socket-echo", { headers }),
      socket_pumped: socket(stand.floor, "/socket-pumped"),
      socket_unwrapped_away: socket(stand.floor, "/socket-echo", { away_ms: AWAY_MS }),
      socket_metered_away: socket(stand.product, "/socket-echo", { headers, away_ms: AWAY_MS }),
    };
    const taking = Object.entries(steps).filter(([name]) => needed.has(name));
    for (const [, { warmUp }] of taking) await warmUp();
    input.say("warmed up");
    const rounds: Record<string, Measured>[] = [];
    const most = Math.min(...taking.map(([, { every }]) => every));
    for (let round = 1; round <= input.rounds; round++) {
      // Where only long ones are wanted, they need not wait for short ones.
      const order = taking.filter(([, { every }]) => round % Math.min(input.rounds, every === most ? 1 : every) === 0);
      if (round % 2 === 1) order.reverse();
      const seen: Record<string, Measured> = {};
      for (const [name, step] of order) seen[name] = await step.turn();
      rounds.push(seen);
      input.say(`round ${round} of ${input.rounds}`);
    }
    const wakes = names.includes(WAKE)
      ? [await wake(stand, input.rounds, { short: short_ledger, long: long_ledger })]
      : [];
    return {
      results: Object.fromEntries(
        Object.keys(steps).flatMap((name) =>
          needed.has(name) ? [[name, medianOf(rounds.map((one) => one[name]))]] : [],
        ),
      ),
      ratios: Object.fromEntries([
        ...pairs.map(([name, pair]) => [name, ratioOf(rounds, pair)] as const),
        ...wakes.map((ratios) => [WAKE, spreadOf(ratios)] as const),
      ]),
      start_ms: stand.start_ms,
    };
  } finally {
    await stand.kill();
    folder.remove();
  }
}

const DRAIN_MS = 100;
const WARM_UP_MS = 2_000;

/** A client in the same country, or its region. */
const AWAY_MS = 10;

async function makeHolders(stand: Stand, count: number): Promise<readonly Holder[]> {
  const holders: Holder[] = [];
  while (holders.length < count) {
    const some = Array.from({ length: Math.min(50, count - holders.length) }, () => makeHolder(stand));
    holders.push(...(await Promise.all(some)));
  }
  return holders;
}

/** Somebody who paid: what was only given is kept apart, and costs more to charge. */
export async function makeHolder(stand: Stand): Promise<Holder> {
  const { cookie, reference } = await newHolder(stand.product);
  const headers = { Cookie: cookie };
  const id = String(readJson(await send(stand.product, "/id", { headers }))["id"]);
  const paid = await deliver(stand.product, completedEvent({ name: id, reference, amount: CENTS }), stand.secret);
  if (paid.status !== 200) throw new Error(`The webhook answered ${paid.status}: ${paid.body}`);
  return { id, headers };
}

/** Enough for every charge of a run, and for a ledger of many millions. */
const CENTS = 400_000_000;

/** Gives an envelope a long life, and waits until its mirror has caught up with it. */
async function fill(stand: Stand, { id, headers }: Holder, entries: number): Promise<void> {
  for (let left = entries; left > 0; left -= 50_000) {
    await must(stand, `/stage/fill?id=${id}&entries=${Math.min(left, 50_000)}`);
  }
  const answer = await send(stand.product, "/charge", { headers });
  if (answer.status !== 200) throw new Error(`A filled envelope answered ${answer.status}: ${answer.body}`);
  for (let waited_ms = 0; ; waited_ms += POLL_MS) {
    const { behind } = readJson(await send(stand.product, `/stage/behind?id=${id}`));
    if (Number(behind) < 100) return;
    if (waited_ms > CATCH_UP_MS_MAX) throw new Error(`The mirror is still ${behind} entries behind`);
    await sleep(POLL_MS);
  }
}

const POLL_MS = 500;
const CATCH_UP_MS_MAX = 600_000;

/** Time from asleep to charged, of a long ledger over that of a short one, taken by turns. */
async function wake(
  stand: Stand,
  rounds: number,
  { short, long }: { readonly short: Holder; readonly long: Holder },
): Promise<readonly number[]> {
  const timed = async ({ id, headers }: Holder): Promise<number> => {
    await must(stand, `/stage/sleep?id=${id}`);
    const began_ms = performance.now();
    const answer = await send(stand.product, "/charge", { headers });
    if (answer.status !== 200) throw new Error(`Waking answered ${answer.status}: ${answer.body}`);
    return performance.now() - began_ms;
  };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const by = await timed(short);
    ratios.push((await timed(long)) / by);
  }
  return ratios;
}

async function must(stand: Stand, path: string): Promise<void> {
  const answer = await send(stand.product, path, { timeout_ms: 600_000 });
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body}`);
}

function ratioOf(
  rounds: readonly Readonly<Record<string, Measured>>[],
  pair: (typeof PAIRS)[keyof typeof PAIRS],
): Spread {
  const ratios = rounds.flatMap((round) => {
    const [of, by] = [round[pair.of], round[pair.by]];
    if (of === undefined || by === undefined) return [];
    if (pair.kind === "added") return [of.p50_ms - by.p50_ms];
    return [pair.kind === "rps" ? of.rps / by.rps : of.p50_ms / by.p50_ms];
  });
  if (ratios.length === 0) throw new Error(`${pair.of} or ${pair.by} was not measured`);
  return spreadOf(ratios);
}

export function spreadOf(values: readonly number[]): Spread {
  if (!values.every(Number.isFinite)) throw new Error(`${values.join(", ")}: not all are measured`);
  const sorted = [...values].sort((one, other) => one - other);
  const [low = Number.NaN] = sorted;
  return { median: middle(sorted), low, high: sorted.at(-1) ?? Number.NaN, times: sorted.length };
}

function medianOf(measured: readonly (Measured | undefined)[]): Measured {
  const of = (pick: (one: Measured) => number): number =>
    middle(measured.flatMap((one) => (one === undefined ? [] : [pick(one)])).sort((one, other) => one - other));
  return { rps: of(({ rps }) => rps), p50_ms: of(({ p50_ms }) => p50_ms), p99_ms: of(({ p99_ms }) => p99_ms) };
}

function middle(sorted: readonly number[]): number {
  const half = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}
