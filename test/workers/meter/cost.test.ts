/** What a metered stream costs on the platform: requests of the object, and rows it writes, counted by SQLite itself. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Envelope } from "../../../src/index.js";
import { expectPaid, inside, MeteredSite, readAll, Tap } from "./support.js";

const CENT = 10_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: Date.UTC(2100, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

interface Counts {
  /** RPC calls on the object's stub, and alarms. Calls on a session are none (https://developers.cloudflare.com/durable-objects/platform/pricing/). */
  requests: string[];
  rows: number;
  alarms: number;
}

/** Counts everything that an object does from now on. No alarm is set when it begins. */
async function counting(id: string): Promise<Counts> {
  await ring(id);
  const counts: Counts = { requests: [], rows: 0, alarms: 0 };
  const { prototype } = Envelope;
  const methods = prototype as unknown as Record<string, (...input: unknown[]) => unknown>;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    if (name === "constructor" || name === "archive") continue;
    const method = methods[name] as (...input: unknown[]) => unknown;
    vi.spyOn(methods, name).mockImplementation(function (this: unknown, ...input: unknown[]) {
      counts.requests.push(name);
      return method.apply(this, input);
    });
  }
  await inside(id, async (_, { storage }) => {
    const exec = storage.sql.exec.bind(storage.sql);
    storage.sql.exec = (query, ...bindings) => {
      const cursor = exec(query, ...bindings);
      // Counted when it is spent: what a cursor wrote is known once its rows are read.
      cursors.push(cursor);
      return cursor as never;
    };
    const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
    Object.defineProperty(counts, "rows", {
      get: () => cursors.reduce((sum, { rowsWritten }) => sum + rowsWritten, 0),
    });
    const setAlarm = storage.setAlarm.bind(storage);
    storage.setAlarm = (...input) => {
      counts.alarms += 1;
      return setAlarm(...input);
    };
  });
  return counts;
}

/** The alarm, as often as it is set. */
async function ring(id: string): Promise<void> {
  while (await runDurableObjectAlarm(env.ENVELOPE.getByName(id)));
}

const pass = async (ms: number, step = 250) => {
  for (let gone = 0; gone < ms; gone += step) {
    await vi.advanceTimersByTimeAsync(step);
    for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
};

it("a stream of 60 s at one tick a second: at most 5 requests and 15 rows", async () => {
  const tap = new Tap();
  const headers = { "Content-Type": "text/event-stream", "X-Price-Per-Second": "1" };
  const site = new MeteredSite(() => new Response(tap.stream, { headers }));
  const caller = await site.payer(1_000);
  const counts = await counting(caller.id);
  const { response, over } = await site.fetch(caller);
  const reading = readAll(response);
  for (let second = 0; second < 60; second++) {
    tap.write(`data: ${second}\n\n`);
    await pass(second === 59 ? 750 : 1_000);
  }
  tap.close();
  await reading;
  await over();
  // The mirror's alarm, with all that it does.
  await ring(caller.id);
  const { requests, rows, alarms } = counts;
  expect(requests).toEqual(["openMeter", "alarm"]);
  expect([rows, alarms]).toEqual([9, 2]);
  expect(requests.length).toBeLessThanOrEqual(5);
  expect(rows + alarms).toBeLessThanOrEqual(15);
  vi.restoreAllMocks();
  await expectPaid(caller, { paid_micros: 60 * CENT });
});

it("also where the money is for these 60 s and no more: what is ahead is halved, again and again, and not asked for at each tick", async () => {
  const tap = new Tap();
  const headers = { "Content-Type": "text/event-stream", "X-Price-Per-Second": "1" };
  const site = new MeteredSite(() => new Response(tap.stream, { headers }));
  const caller = await site.payer(60);
  const counts = await counting(caller.id);
  const { response, over } = await site.fetch(caller);
  const reading = readAll(response);
  await pass(61_000);
  await reading;
  await over();
  await ring(caller.id);
  const { requests, rows, alarms } = counts;
  expect(requests).toEqual(["openMeter", "alarm"]);
  expect(rows + alarms).toBeLessThanOrEqual(15);
  vi.restoreAllMocks();
  await expectPaid(caller, { paid_micros: 60 * CENT });
});

it("a fast stream asks as seldom as a slow one: 60,000 messages in a minute, each its own price", async () => {
  const tap = new Tap();
  const headers = { "Content-Type": "application/x-ndjson", "X-Price-Per-Message": "0.01" };
  const site = new MeteredSite(() => new Response(tap.stream, { headers }));
  const caller = await site.payer(1_000);
  const counts = await counting(caller.id);
  const { response, over } = await site.fetch(caller);
  const reading = readAll(response);
  for (let second = 0; second < 60; second++) {
    tap.write(`${second}\n`.repeat(1_000));
    await pass(1_000);
  }
  tap.close();
  await reading;
  await over();
  expect(counts.requests).toEqual(["openMeter"]);
  // A dozen slices that double, then one every fifteen seconds.
  expect(counts.rows).toBeLessThanOrEqual(25);
  vi.restoreAllMocks();
  await expectPaid(caller, { paid_micros: 600 * CENT });
}, 120_000);
