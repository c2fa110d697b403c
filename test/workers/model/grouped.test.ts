import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { EnvelopeApi } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { micros } from "../rules/values.js";

type Step = (envelope: EnvelopeApi) => Promise<unknown>;

const amount = fc.integer({ min: 0, max: 40 });
const key = fc.option(fc.constantFrom("request:a", "request:b", "app:c"), { nil: undefined });
const op = fc.string({ minLength: 12, maxLength: 12, unit: "grapheme-ascii" });
const hold_id = fc.integer({ min: 1, max: 6 });

/** Each step is told what it is, so that a counterexample can be read. */
const step: fc.Arbitrary<readonly [string, Step]> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(amount, key, op, fc.boolean())
      .map(
        ([amount_micros, key, op, at_most]) =>
          [
            `charge ${amount_micros} ${key ?? ""}`,
            (envelope: EnvelopeApi) =>
              envelope.charge({ op, key, at_most, currency: "usd", amount_micros: micros(amount_micros) }),
          ] as const,
      ),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(amount, key, op)
      .map(
        ([amount_micros, key, op]) =>
          [
            `hold ${amount_micros} ${key ?? ""}`,
            (envelope: EnvelopeApi) =>
              envelope.hold({ op, key, currency: "usd", amount_micros: micros(amount_micros), ttl_ms: 60_000 }),
          ] as const,
      ),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(amount, hold_id, op)
      .map(
        ([amount_micros, hold_id, op]) =>
          [
            `settle ${hold_id} ${amount_micros}`,
            (envelope: EnvelopeApi) => envelope.settle({ op, hold_id, amount_micros: micros(amount_micros) }),
          ] as const,
      ),
  },
  {
    weight: 1,
    arbitrary: hold_id.map(
      (hold_id) => [`release ${hold_id}`, (envelope: EnvelopeApi) => envelope.release({ hold_id })] as const,
    ),
  },
);

// In the future, so that no mirror's alarm rings while the tests run, or end.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
});
afterAll(() => {
  vi.useRealTimers();
});

let names = 0;

async function funded(): Promise<string> {
  names += 1;
  const name = `grouped-${names}`;
  await env.ENVELOPE.getByName(name).grant({
    op: "fund",
    key: "grant:fund",
    currency: "usd",
    amount_micros: micros(300),
  });
  return name;
}

/** What a caller was told, and the ledger, without the moments they happened at. */
const timeless = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (name, one) => (name.endsWith("at_ms") ? undefined : one)));

describe("grouped", () => {
  it("is told from ungrouped by nothing but time: the same answers in the same order, the same ledger", async () => {
    let together = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 30 }), async (steps) => {
        const [one, other] = [await funded(), await funded()];
        const alone: unknown[] = [];
        for (const [, run] of steps) alone.push(await inside(one, run));
        // In one turn of the object: the first is done at once, all others find its commit on the way.
        const grouped = await inside(other, async (envelope) => {
          // The desk of holds is open: the first hold of all waits for it, and those that come meanwhile do not wait for that hold.
          await envelope.release({ hold_id: 1_000 });
          const syncs = countSyncs(envelope);
          const answers = await Promise.all(steps.map(([, run]) => run(envelope)));
          if (syncs() < steps.length) together += 1;
          return answers;
        });
        expect(timeless(grouped)).toEqual(timeless(alone));
        const ledgers = await Promise.all(
          [one, other].map((name) => inside(name, (envelope) => envelope.entries({ after: 0, limit: 1000 }))),
        );
        expect(timeless(ledgers[1])).toEqual(timeless(ledgers[0]));
      }),
      { numRuns: 60 },
    );
    expect(together).toBeGreaterThan(40);
  });

  it("leaves nothing of a group that is cut off in its middle, and all of the one before: each is one transaction", async () => {
    const name = await funded();
    const answered: number[] = [];
    await inside(name, async (envelope) => {
      const { ctx } = envelope as unknown as { ctx: DurableObjectState };
      const { sql } = ctx.storage;
      const exec = sql.exec.bind(sql);
      let entries = 0;
      sql.exec = ((query: string, ...bindings: unknown[]) => {
        if (query.startsWith("INSERT INTO entry")) entries += 1;
        // The first is done at once, the other nine wait for its commit.
        if (entries === 7) ctx.abort("cut off");
        return exec(query, ...bindings);
      }) as typeof sql.exec;
      await Promise.all(
        Array.from({ length: 10 }, async (_, number) => {
          await envelope.charge({ op: `cut-${number}`, currency: "usd", amount_micros: micros(1) });
          answered.push(number);
        }),
      );
    }).catch(() => undefined);
    const ledger = await env.ENVELOPE.getByName(name).entries({ after: 0, limit: 100 });
    expect(ledger.map(({ kind, balance_micros }) => [kind, balance_micros])).toEqual([
      ["grant", 300],
      ["charge", 299],
    ]);
    expect(answered).toEqual([0]);
  });

  it("answers 1,000 charges at once exactly, over RPC", async () => {
    const name = await funded();
    const outcomes = await Promise.all(
      Array.from({ length: 1_000 }, (_, number) =>
        env.ENVELOPE.getByName(name).charge({ op: `op-${number}`, currency: "usd", amount_micros: micros(1) }),
      ),
    );
    const charged = outcomes.filter(({ outcome }) => outcome === "charged");
    expect(charged).toHaveLength(300);
    expect(new Set(charged.map(({ balance_micros }) => balance_micros)).size).toBe(300);
    expect(outcomes.filter(({ outcome }) => outcome === "refused")).toHaveLength(700);
  });
});

function inside<T>(name: string, work: (envelope: EnvelopeApi) => Promise<T>): Promise<T> {
  return runInDurableObject(env.ENVELOPE.getByName(name), (instance: Envelope) => work(instance));
}

function countSyncs(envelope: EnvelopeApi): () => number {
  const { storage } = (envelope as unknown as { ctx: DurableObjectState }).ctx;
  const sync = storage.sync.bind(storage);
  let syncs = 0;
  storage.sync = () => {
    syncs += 1;
    return sync();
  };
  return () => syncs;
}
