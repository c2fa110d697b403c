/**
 * Round trips over one WebSocket at a thousand messages a second: the client sends on time, whether or not the last one is back, so
 * that what waits is seen.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { distanceTo } from "../lib/distance.ts";
import { openWebSocket } from "../lib/websocket.ts";
import type { Measured } from "./load.ts";

const PER_SECOND = 1_000;
/** A short chat message. The first characters are its number. */
const PADDING = "x".repeat(56);
/** A disk may be slower than the messages for a while: what waits then is late, and comes all the same. */
const DRAIN_MS_MAX = 10_000;

export interface SocketLoad {
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly seconds: number;
  /** How long a round trip to the client takes by itself. Absent: it is on this machine. */
  readonly away_ms?: number;
}

export async function measureSocket(load: SocketLoad): Promise<Measured> {
  if (load.away_ms === undefined) return measureFrom(load.origin, load);
  const distance = await distanceTo(load.origin, load.away_ms);
  try {
    return await measureFrom(distance.origin, load);
  } finally {
    distance.close();
  }
}

async function measureFrom(origin: string, { path, headers, seconds }: SocketLoad): Promise<Measured> {
  const client = await openWebSocket(origin, path, headers);
  const sent_ms: number[] = [];
  const took_ms: number[] = [];
  client.onMessage = (text) => {
    const at_ms = sent_ms[Number(text.slice(0, 8))];
    if (at_ms !== undefined) took_ms.push(performance.now() - at_ms);
  };
  const began_ms = performance.now();
  while (sent_ms.length < seconds * PER_SECOND) {
    const due = Math.floor(((performance.now() - began_ms) * PER_SECOND) / 1000);
    while (sent_ms.length < Math.min(due, seconds * PER_SECOND)) {
      sent_ms.push(performance.now());
      client.send(String(sent_ms.length - 1).padStart(8, "0") + PADDING);
    }
    await sleep(1);
  }
  const ended_ms = performance.now();
  while (took_ms.length < sent_ms.length && performance.now() - ended_ms < DRAIN_MS_MAX) await sleep(10);
  client.close(1000);
  await client.over;
  if (took_ms.length < sent_ms.length) {
    throw new Error(`${path}: ${took_ms.length} of ${sent_ms.length} messages came back; closed with ${client.code}`);
  }
  took_ms.sort((one, other) => one - other);
  const at = (share: number): number => took_ms[Math.floor((took_ms.length - 1) * share)] ?? Number.NaN;
  return { rps: (took_ms.length / (ended_ms - began_ms)) * 1000, p50_ms: at(0.5), p99_ms: at(0.99) };
}
