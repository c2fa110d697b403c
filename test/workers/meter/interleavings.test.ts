/** Hold against settle, release, extend, expire, the end of a meter and the leaving of its caller, in every order: each hold ends once. */
import { abortAllDurableObjects } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { EnvelopeApi, MeterSession, OpenMeterOutcome } from "../../../src/contract.js";
import { micros } from "../rules/values.js";
import { holdsOf } from "./support.js";

const START_MS = Date.UTC(2100, 0, 1);
const LEASE_MS = 10_000;
const BALANCE = 1_000;

// In the future, so that no alarm rings while the tests run.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START_MS });
});
afterAll(() => {
  vi.useRealTimers();
});

let names = 0;
const api = (name: string) => env.ENVELOPE.getByName(name) as unknown as EnvelopeApi;

type Outcome = {
  readonly outcome: string;
  readonly amount_micros?: number;
  readonly paid_micros?: number;
  readonly end?: string;
};

/** What may happen to a hold. Each answers with what it was told. */
const MOVES = [
  "settle",
  "settle above",
  "settle again",
  "release",
  "extend",
  "use",
  "renew",
  "end",
  "leave",
  "expire",
  "look",
  "charge",
  "reset",
] as const;
type Move = (typeof MOVES)[number];

class Bench {
  readonly name: string;
  readonly told: { readonly move: Move; readonly answer: Outcome }[] = [];
  #session: MeterSession | undefined;
  #ops = 0;

  constructor(name: string) {
    this.name = name;
  }

  async open(metered: boolean): Promise<void> {
    const grant = { op: "fund", key: "grant:fund", currency: "usd", amount_micros: micros(BALANCE) };
    await api(this.name).grant(grant);
    if (metered) {
      const slice = { taken_micros: micros(0), units: 10, unit_micros: micros(10) };
      const input = { op: "open", currency: "usd", slice, least_micros: micros(10), lease_ms: LEASE_MS };
      const outcome = (await api(this.name).openMeter(input)) as Extract<OpenMeterOutcome, { outcome: "held" }>;
      this.#session = outcome.session;
    } else {
      await api(this.name).hold({ op: "open", currency: "usd", amount_micros: micros(100), ttl_ms: LEASE_MS });
    }
  }

  async make(move: Move): Promise<void> {
    const answer = await this.#make(move).catch((error: unknown) => ({ outcome: "thrown", end: String(error) }));
    if (answer !== undefined) this.told.push({ move, answer });
  }

  async #make(move: Move): Promise<Outcome | undefined> {
    this.#ops += 1;
    const op = move === "settle again" ? "settled-before" : `op-${this.#ops}`;
    const hold_id = 1;
    const currency = "usd";
    const slice = { taken_micros: micros(50), units: 10, unit_micros: micros(10) };
    switch (move) {
      case "settle":
      case "settle again":
        return api(this.name).settle({ op, hold_id, amount_micros: micros(40), retry: move === "settle again" });
      case "settle above":
        return api(this.name).settle({ op, hold_id, amount_micros: micros(130), above: "part" });
      case "release":
        return api(this.name).release({ hold_id });
      case "extend":
        return api(this.name).extend({ hold_id, currency, amount_micros: micros(150) });
      case "use":
        return this.#session?.use({ used_micros: micros(50) });
      case "renew":
        return this.#session?.use({ used_micros: micros(50), slice });
      case "end":
        return this.#session?.end({ op, used_micros: micros(70) });
      case "leave":
        this.#session?.[Symbol.dispose]();
        return undefined;
      case "expire":
        vi.setSystemTime(Date.now() + LEASE_MS);
        return undefined;
      case "charge":
        return api(this.name).charge({ op, currency, amount_micros: micros(1) });
      case "look": {
        const state = await api(this.name).state({});
        if (state.outcome === "ok") {
          expect(state.available_micros).toBe(state.balance_micros - state.held_micros);
          expect(state.held_micros).toBe(state.holds.reduce((sum, { amount_micros }) => sum + amount_micros, 0));
        }
        return undefined;
      }
      case "reset":
        await abortAllDurableObjects();
        return undefined;
    }
  }
}

/** All that must hold afterwards, whatever happened. */
async function judge({ name, told }: Bench): Promise<void> {
  vi.setSystemTime(Date.now() + 10 * LEASE_MS);
  // Whoever comes last is told how it ended, and what is over is marked so.
  expect((await api(name).release({ hold_id: 1 })).outcome).toBe("ended");
  const state = await api(name).state({});
  expect(state).toMatchObject({ outcome: "ok", held_micros: 0, holds: [] });
  const entries = await api(name).entries({ after: 0, limit: 100 });
  const charges = entries.filter(({ hold_id }) => hold_id === 1);
  const [hold, ...others] = await holdsOf(name);
  expect(others).toEqual([]);
  // Settled, released or expired; its charge is its own, and of the hold no more than it held.
  expect(["settled", "released", "expired"]).toContain(hold?.["state"]);
  expect(charges.length).toBeLessThanOrEqual(1);
  const paid = -(charges[0]?.amount_micros ?? 0) + 0;
  expect(hold?.["paid_micros"] ?? 0).toBe(paid);
  expect(Number(hold?.["settled_micros"] ?? 0)).toBe(Math.min(paid, Number(hold?.["amount_micros"])));
  if (hold?.["state"] === "released") expect(paid).toBe(0);
  // Whoever ended it was told so, once; whoever came later was told how it had ended, and nobody anything else.
  const ends = told.filter(({ answer }) => answer.outcome === "charged" && answer.amount_micros !== 1);
  const before = new Set(ends.map(({ move }) => move === "settle again"));
  expect(ends.length <= 1 || (before.size === 1 && before.has(true)), JSON.stringify(told)).toBe(true);
  for (const { answer } of ends) expect(answer.amount_micros).toBe(paid);
  expect(told.filter(({ answer }) => answer.outcome === "released").length).toBeLessThanOrEqual(1);
  for (const { answer } of told) {
    if (answer.outcome === "ended") expect([answer.end, answer.paid_micros]).toEqual([hold?.["state"], paid]);
  }
  expect(entries.every(({ balance_micros }) => balance_micros >= 0)).toBe(true);
}

const moves = fc.array(fc.constantFrom(...MOVES), { minLength: 2, maxLength: 8 });

it("I4 T23 T85 T101 each hold ends once, in whatever order its calls arrive and its time runs out", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.boolean(), moves, async (scheduler, metered, drawn) => {
      names += 1;
      vi.setSystemTime(START_MS + names * 1_000_000);
      const bench = new Bench(`order-${names}`);
      await bench.open(metered);
      // All at once; which is let go next is drawn.
      const all = drawn.map((move) => scheduler.schedule(Promise.resolve(move)).then((next) => bench.make(next)));
      await scheduler.waitFor(Promise.all(all));
      await judge(bench);
    }),
    { numRuns: 250 },
  );
});

it("I4 T101 and when they all arrive in one turn", async () => {
  await fc.assert(
    fc.asyncProperty(fc.boolean(), moves, async (metered, drawn) => {
      names += 1;
      vi.setSystemTime(START_MS + names * 1_000_000);
      const bench = new Bench(`turn-${names}`);
      await bench.open(metered);
      await Promise.all(drawn.filter((move) => move !== "reset").map((move) => bench.make(move)));
      await judge(bench);
    }),
    { numRuns: 150 },
  );
});
