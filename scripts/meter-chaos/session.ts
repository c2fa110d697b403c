/** One metered session, from its beginning to the end that was drawn for it; and what its client knows of it afterwards. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Choices } from "../lib/random.ts";
import { openWebSocket, UpgradeRefused, type WebSocketClient } from "../lib/websocket.ts";

/** How a session is to end. */
export const ENDINGS = [
  "client_closes",
  "client_vanishes",
  "app_closes",
  "app_fails",
  "exhausted",
  "envelope_resets",
] as const;
export type Ending = (typeof ENDINGS)[number];

export interface Told {
  readonly path: string;
  readonly envelope: number;
  readonly ending: Ending;
  readonly price_micros: number;
  /** Frames that the client sent, and that reached it. What it sent last may not have been delivered. */
  readonly sent: number;
  readonly received: number;
  /** Frames that are known to have been delivered both ways. */
  readonly delivered: number;
  /** When it began and ended, by a clock that only goes forward. */
  readonly began_ms: number;
  readonly ended_ms: number;
  readonly refused: number | undefined;
}

export interface Place {
  readonly origin: () => Promise<string>;
  readonly cookie: string;
  readonly id: string;
  readonly reset: () => Promise<unknown>;
}

/** A frame costs a ten-thousandth to a fiftieth of a cent, so that all sessions of a run fit into one grant. */
const PRICES_MICROS = [1, 7, 50, 200] as const;
const ROUNDS_MAX = 12;
const ANSWER_MS_MAX = 15_000;

export async function session(
  place: Place,
  { choices, path, envelope }: { readonly choices: Choices; readonly path: string; readonly envelope: number },
): Promise<Told> {
  const ending = ENDINGS[choices.between(0, ENDINGS.length - 1)] as Ending;
  const price_micros = PRICES_MICROS[choices.between(0, PRICES_MICROS.length - 1)] as number;
  const rounds = choices.between(0, ROUNDS_MAX);
  const pushes = choices.chance(0.3);
  const first = price_micros * choices.between(2, 30);
  const max = ending === "exhausted" ? price_micros * choices.between(2, 2 * ROUNDS_MAX) : undefined;
  const asked = new URLSearchParams({ price: cents(price_micros), first: cents(Math.min(first, max ?? first)) });
  if (max !== undefined) asked.set("max", cents(max));
  const counts = { sent: 0, delivered: 0 };
  const began_ms = performance.now();
  let client: WebSocketClient | undefined;
  let refused: number | undefined;
  try {
    client = await openWebSocket(await place.origin(), `${path}?${asked}`, { Cookie: place.cookie });
    let isOver = false;
    void client.over.then(() => {
      isOver = true;
    });
    for (let round = 0; round < (ending === "exhausted" ? 1_000 : rounds) && !isOver; round++) {
      await exchange(client, pushes && round % 3 === 0 ? "push" : `${round}`, counts);
      if (ending === "envelope_resets" && round === Math.floor(rounds / 2)) await place.reset();
    }
    await end(client, ending, counts);
  } catch (error) {
    if (error instanceof UpgradeRefused) refused = error.status;
    client?.vanish();
  }
  const received = client?.received.length ?? 0;
  const ended_ms = performance.now();
  return { path, envelope, ending, price_micros, ...counts, received, began_ms, ended_ms, refused };
}

/** Sends a frame and waits for what it brings: one back, or five. */
async function exchange(
  client: WebSocketClient,
  text: string,
  counts: { sent: number; delivered: number },
): Promise<void> {
  const wanted = client.received.length + (text === "push" ? 5 : 1);
  const got = new Promise<"got">((resolve) => {
    client.onMessage = () => {
      if (client.received.length >= wanted) resolve("got");
    };
  });
  counts.sent += 1;
  client.send(text);
  const late = new AbortController();
  const answer = await Promise.race([
    got,
    client.over.then(() => "over" as const),
    sleep(ANSWER_MS_MAX, "late" as const, { signal: late.signal }).catch(() => "late" as const),
  ]);
  late.abort();
  client.onMessage = undefined;
  if (answer === "got") counts.delivered += 1 + (text === "push" ? 5 : 1);
  if (answer === "late") throw new Error("No frame came");
}

async function end(
  client: WebSocketClient,
  ending: Ending,
  counts: { sent: number; delivered: number },
): Promise<void> {
  switch (ending) {
    case "client_closes":
    case "envelope_resets":
      client.close(1000);
      break;
    case "client_vanishes":
      client.vanish();
      break;
    case "app_closes":
    case "app_fails":
      counts.sent += 1;
      // It is a frame like any other: it reached the app, which closes for it.
      client.send(ending === "app_closes" ? "close" : "fail");
      await client.over;
      if (client.code === (ending === "app_closes" ? 4001 : 1011)) counts.delivered += 1;
      return;
    case "exhausted":
      break;
  }
  await Promise.race([client.over, sleep(ANSWER_MS_MAX)]);
}

function cents(micros: number): string {
  return (micros / 10_000).toFixed(4);
}
