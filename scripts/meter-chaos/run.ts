/** Sessions on a few envelopes, ended at random, while the whole server is killed now and then; and the books afterwards. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CrashingServer } from "../chaos/crashing-server.ts";
import { temporaryFolder } from "../lib/folders.ts";
import { newHolder } from "../lib/holder.ts";
import { readJson, send } from "../lib/http.ts";
import { randomVars, writeProject } from "../lib/project.ts";
import { choicesOf } from "../lib/random.ts";
import { configureWorkerd } from "../lib/workerd.ts";
import { bundle } from "../lib/wrangler.ts";
import { type Book, type Finding, type HoldRow, isKilled, judge } from "./judge.ts";
import { socket } from "./socket.ts";
import { stream } from "./stream.ts";
import type { Place, Told } from "./told.ts";

export interface RunInput {
  readonly sessions: number;
  readonly seed: number;
  readonly clients: number;
  readonly envelopes: number;
  /** The negative controls: envelopes that keep what their meters left, or bodies that are paid for when they have flowed. */
  readonly control: "keep" | "flush" | undefined;
  readonly say: (text: string) => void;
}

export interface Run {
  readonly told: readonly Told[];
  readonly findings: readonly Finding[];
  /** SIGKILLs of the whole server, and sessions that one of them may have met. */
  readonly kills: number;
  readonly killed: number;
  readonly held_micros: number;
  readonly settled_micros: number;
  readonly released_micros: number;
  readonly lapsed: number;
  readonly seconds: number;
}

const WORKER = fileURLToPath(new URL("../workers/meter-chaos.ts", import.meta.url));
const LEASE_SECONDS = 5;
/** After the last lease, until what it left is booked by whoever asks. */
const TIDY_MS = 1_500;
/** How many sessions end between one SIGKILL and the next: each meets most of those that run. */
const KILL_EVERY = [100, 250] as const;
const GRANT_MICROS = 1_000_000_000;

export async function run(input: RunInput): Promise<Run> {
  const folder = temporaryFolder("meter-chaos");
  const vars = { ...randomVars(), LEASE_SECONDS: `${LEASE_SECONDS}`, CONTROL: input.control ?? "" };
  writeProject({ folder: folder.path, main: WORKER, vars });
  const bundled = bundle(folder.path);
  configureWorkerd(bundled, vars);
  const server = new CrashingServer(bundled, join(folder.path, "storage"));
  try {
    return await work(input, server);
  } finally {
    await server.stop();
    folder.remove();
  }
}

async function work(input: RunInput, server: CrashingServer): Promise<Run> {
  const began_ms = performance.now();
  const kills_ms: number[] = [];
  const places = await makePlaces(input, server);
  const told: Told[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    for (let number = next++; number < input.sessions; number = next++) {
      const choices = choicesOf("session", input.seed, number);
      const envelope = choices.between(0, places.length - 1);
      const place = places[envelope] as Place;
      const [kind, session] = choices.chance(0.5) ? (["socket", socket] as const) : (["stream", stream] as const);
      told.push(await session(place, { choices, path: `/${kind}/${number}`, envelope }));
      if (told.length % 1_000 === 0) input.say(`${told.length} sessions, ${server.restarts_ms.length} kills`);
    }
  };
  const crashing = async (): Promise<void> => {
    const choices = choicesOf("kills", input.seed);
    for (let at = choices.between(...KILL_EVERY); at < input.sessions; at += choices.between(...KILL_EVERY)) {
      while (told.length < at) await sleep(20);
      kills_ms.push(performance.now());
      await server.crash();
    }
  };
  await Promise.all([crashing(), ...Array.from({ length: input.clients }, client)]);
  await sleep(LEASE_SECONDS * 1000 + TIDY_MS);
  const books: Book[] = [];
  for (const { id } of places) books.push(await readBook(await server.origin(), id));
  const holds = books.flatMap((book) => book.holds);
  const sum = (of: (hold: HoldRow) => number): number => holds.reduce((all, hold) => all + of(hold), 0);
  return {
    told,
    findings: judge(told, books, kills_ms),
    killed: told.filter((one) => isKilled(one, kills_ms)).length,
    kills: server.restarts_ms.length,
    held_micros: sum(({ amount_micros }) => amount_micros),
    // What was taken above a hold came from the balance.
    settled_micros: sum(({ amount_micros, charged_micros }) => Math.min(amount_micros, charged_micros)),
    released_micros: sum(({ amount_micros, charged_micros, state }) =>
      state === "open" ? 0 : Math.max(0, amount_micros - charged_micros),
    ),
    lapsed: holds.filter(({ state }) => state === "expired").length,
    seconds: (performance.now() - began_ms) / 1000,
  };
}

async function makePlaces(input: RunInput, server: CrashingServer): Promise<readonly Place[]> {
  const origin = await server.origin();
  return Promise.all(
    Array.from({ length: input.envelopes }, async () => {
      const { cookie } = await newHolder(origin);
      const id = String(readJson(await send(origin, "/who", { headers: { Cookie: cookie } }))["id"]);
      await get(origin, `/grant?id=${id}&micros=${GRANT_MICROS}&key=fund`);
      return {
        id,
        cookie,
        origin: () => server.origin(),
        reset: async () => send(await server.origin(), `/reset?id=${id}`).catch(() => undefined),
      };
    }),
  );
}

async function readBook(origin: string, id: string): Promise<Book> {
  // The state first: whoever decides on money books what the leases left.
  const { balance_micros, available_micros, held_micros } = await get(origin, `/state?id=${id}`);
  return {
    granted_micros: GRANT_MICROS,
    balance_micros: Number(balance_micros),
    available_micros: Number(available_micros),
    held_micros: Number(held_micros),
    entries: await pages<Book["entries"][number]>(origin, `/ledger?id=${id}`, "entries", "seq"),
    holds: await pages<HoldRow>(origin, `/holds?id=${id}`, "holds", "hold_id"),
  };
}

async function pages<Row>(origin: string, path: string, name: string, number: string): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (let after = 0; ; ) {
    const page = (await get(origin, `${path}&after=${after}`))[name] as readonly Record<string, unknown>[];
    rows.push(...(page as unknown as Row[]));
    if (page.length < 1000) return rows;
    after = Number(page.at(-1)?.[number]);
  }
}

async function get(origin: string, path: string): Promise<Readonly<Record<string, unknown>>> {
  const answer = await send(origin, path);
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
  return readJson(answer);
}
