/** One metered socket, from its beginning to the end that was drawn for it. */
import { setTimeout as sleep } from "node:timers/promises";
import { openWebSocket, UpgradeRefused, type WebSocketClient } from "../lib/websocket.ts";
import { cents, type Drawn, drawPrice, type Place, type Told } from "./told.ts";

/** How a socket is to end. */
export const SOCKET_ENDINGS = [
  "client_closes",
  "client_vanishes",
  "app_closes",
  "app_fails",
  "exhausted",
  "envelope_resets",
] as const;
type Ending = (typeof SOCKET_ENDINGS)[number];

const ROUNDS_MAX = 12;
const ANSWER_MS_MAX = 15_000;
/** What the app pushed at once, and did not reach a client that was leaving. */
const UNSEEN_FRAMES = 5;

export async function socket(place: Place, { choices, path, envelope }: Drawn): Promise<Told> {
  const ending = SOCKET_ENDINGS[choices.between(0, SOCKET_ENDINGS.length - 1)] as Ending;
  const price_micros = drawPrice(choices);
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
  const most = counts.sent + received + UNSEEN_FRAMES;
  return {
    path,
    envelope,
    ending,
    price_micros,
    least: counts.delivered,
    most,
    short: false,
    began_ms,
    ended_ms,
    refused,
  };
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
