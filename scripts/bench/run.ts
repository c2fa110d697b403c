/**
 * One run: floors and product side by side in one process, by turns, so that what slows the machine slows both. Each round's
 * ratio is taken within the round; what is reported is the median over rounds, with the lowest and highest.
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
  /** How long a turn of a step lasts. */
  readonly turn_ms: number;
  /** How many envelopes the load is spread over. */
  readonly envelopes: number;
  /** How long a turn of that lasts. */
  readonly spread_ms: number;
  /** Length of the long ledger. */
  readonly entries: number;
  /** Ratios that are wanted; all of them where it is absent. */
  readonly only: readonly string[] | undefined;
  readonly say: (text: string) => void;
}

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Speeds {
  readonly results: Readonly<Record<string, Measured>>;
  readonly ratios: Readonly<Record<string, Spread>>;
  readonly start_ms: number;
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
  const stand = await startStand(prepare(folder.path), join(folder.path, "storage"));
  try {
    const envelopes = 4 + (needed.has("charge_128_spread") ? input.envelopes : 0);
    input.say(`workerd up in ${stand.start_ms.toFixed(0)} ms; making ${envelopes} envelopes`);
    const [single, hot, short, long, ...many] = await makeHolders(stand, envelopes);
    if (!single || !hot || !short || !long) throw new Error("No holders");
    if (needed.has("charge_1_long") || names.includes(WAKE)) {
      await fill(stand, short, 1_000);
      await fill(stand, long, input.entries);
    }
    const load = async (url: string, connections: number, holders: readonly Holder[], ms?: number) => {
      // What the last turn's clients asked for, and did not wait for, is not done in this one.
      await sleep(DRAIN_MS);
      const headers = holders.map((one) => one.headers);
      // As many clients as that take a while until all of them have been answered once.
      return measure({ url, connections, ms: ms ?? input.turn_ms * (connections > 100 ? 3 : 1), headers }, folder.path);
    };
    // The same requests, because a longer header alone costs a bare Worker a fifth more.
    const product = (path: string, connections: number, holder: Holder) => () =>
      load(stand.product + path, connections, [holder]);
    const floor = (path: string, connections: number, holder: Holder) => () =>
      load(stand.floor + path, connections, [holder]);
    const spread = (url: string) => async () => {
      await load(url, 128, many, input.spread_ms / 5);
      return load(url, 128, many, input.spread_ms);
    };
    const socket =
      (origin: string, path: string, more: { readonly headers?: Holder["headers"]; readonly away_ms?: number } = {}) =>
      () =>
        measureSocket({ origin, path, headers: {}, seconds: 1, ...more });
    const { headers } = single;
    // Neighbours in this list are divided by each other, so they run one right after the other.
    const steps: Readonly<Record<string, () => Promise<Measured>>> = {
      bare: floor("/bare", 32, single),
      free: product("/free", 32, single),
      naive_1: floor("/naive", 1, single),
      floor_row_1: floor("/row", 1, single),
      charge_1: product("/charge", 1, single),
      floor_row_1_again: floor("/row", 1, single),
      charge_1_short: product("/charge", 1, short),
      charge_1_long: product("/charge", 1, long),
      floor_call_128_hot: floor("/call", 128, hot),
      floor_row_128_hot: floor("/row", 128, hot),
      charge_128_hot: product("/charge", 128, hot),
      socket_row_unwrapped: socket(stand.floor, "/socket-row"),
      socket_row_metered: socket(stand.product, "/socket-row", { headers }),
      socket_unwrapped: socket(stand.floor, "/socket-echo"),
      socket_metered: socket(stand.product, "/socket-echo", { headers }),
      socket_pumped: socket(stand.floor, "/socket-pumped"),
      socket_unwrapped_away: socket(stand.floor, "/socket-echo", { away_ms: AWAY_MS }),
      socket_metered_away: socket(stand.product, "/socket-echo", { headers, away_ms: AWAY_MS }),
      floor_row_128_spread: spread(`${stand.floor}/row`),
      charge_128_spread: spread(`${stand.product}/charge`),
    };
    const rounds: Record<string, Measured>[] = [];
    // The first round warms up and is thrown away: code is compiled, objects are awake.
    for (let round = 0; round <= input.rounds; round++) {
      const order = Object.entries(steps).filter(([name]) => needed.has(name) && takesPart(name, round, input.rounds));
      if (round % 2 === 1) order.reverse();
      const seen: Record<string, Measured> = {};
      for (const [name, step] of order) {
        seen[name] = await step();
        // What envelopes have still to tell the aggregate is not told in the time of what comes next, which is the floor's every second time.
        if (name === "charge_128_spread") await sleep(input.spread_ms * 0.8);
      }
      if (round > 0) rounds.push(seen);
      input.say(round === 0 ? "warmed up" : `round ${round} of ${input.rounds}`);
    }
    const wakes = names.includes(WAKE) ? [await wake(stand, input.rounds, { short, long })] : [];
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

/** A client in the same country, or its region. */
const AWAY_MS = 10;

/**
 * Short turns, and many of them: what holds the machine up for a moment spoils a few rounds of many. Two kinds of step take longer, and are in some rounds only; in
 * an odd share of them, because every second round is the other way round. A socket has to be opened. And a thousand objects are awake only while each has a request
 * every few seconds, so that load begins with a part that does no more than wake them; each envelope tells the aggregate every fifteen seconds, so it lasts for longer.
 */
function takesPart(name: string, round: number, rounds: number): boolean {
  const isSpread = name.endsWith("_spread");
  const every = isSpread ? 15 : name.startsWith("socket_") ? 5 : 1;
  return round === 0 ? !isSpread : round % Math.min(every, rounds) === 0;
}

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
  const sorted = [...values].sort((one, other) => one - other);
  const [low = Number.NaN] = sorted;
  return { median: middle(sorted), low, high: sorted.at(-1) ?? Number.NaN };
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
