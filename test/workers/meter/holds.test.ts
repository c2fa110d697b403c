import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { EnvelopeApi } from "../../../src/contract.js";
import type { EnvelopeContext, EnvelopeHold, HoldResult } from "../../../src/index.js";
import { envelopeOf } from "../../../src/index.js";
import { micros } from "../rules/values.js";
import { refund } from "../support.js";
import { expectPaid, holdsOf, inside, MeteredSite } from "./support.js";

const CENT = 10_000;

/** What a handler did with its envelope, called as the runtime would call it. */
async function handle<T>(balance: number, work: (envelope: EnvelopeContext) => Promise<T>) {
  let answer: { readonly value: T } | { readonly error: unknown } | undefined;
  const site = new MeteredSite(async (_request, _env, ctx) => {
    try {
      answer = { value: await work(ctx.envelope) };
    } catch (error) {
      answer = { error };
      throw error;
    }
    return new Response("done");
  });
  const caller = await site.payer(balance);
  const seen = await site.read(caller).catch(() => undefined);
  return { caller, seen, answer: answer as { readonly value: T }, value: (answer as { readonly value: T }).value };
}

const held = (result: HoldResult): EnvelopeHold => {
  if (result.outcome !== "held") throw new Error(`Not held: ${result.outcome}`);
  return result;
};

afterEach(() => {
  vi.useRealTimers();
});

describe("ctx.envelope.hold", () => {
  it("is settled at less: the rest is free again, and the ledger has one entry", async () => {
    const { caller, value, seen } = await handle(100, async (envelope) => {
      const hold = held(await envelope.hold("25", { reason: "painting" }));
      const during = await envelope.state();
      return { hold, during, settled: await hold.settle("7.5", { metadata: { size: 3 } }) };
    });
    expect(value.hold).toMatchObject({ balance: "100", available_micros: 75 * CENT, currency: "usd" });
    expect(value.during).toMatchObject({ balance: "100", available: "75", held_micros: 25 * CENT });
    expect(value.during.holds).toMatchObject([
      { hold_id: value.hold.id, amount_micros: 25 * CENT, reason: "painting" },
    ]);
    expect(value.settled).toMatchObject({
      outcome: "settled",
      settled_micros: 7.5 * CENT,
      extra_micros: 0,
      balance: "92.5",
      available_micros: 92.5 * CENT,
    });
    expect(await caller.envelope.entries(1)).toMatchObject([
      { kind: "charge", reason: "painting", metadata: '{"size":3}', hold_id: value.hold.id },
    ]);
    expect(seen?.headers.get("Cache-Control")).toBe("private, no-store");
    await expectPaid(caller, { paid_micros: 7.5 * CENT });
  });

  it("T23 ends once, and each second attempt is told how", async () => {
    const { caller, value } = await handle(100, async (envelope) => {
      const [one, two, three] = [
        held(await envelope.hold("10")),
        held(await envelope.hold("10")),
        held(await envelope.hold("10", { ttlSeconds: 1 })),
      ];
      const first = [await one.settle("4"), await two.release()];
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 1_000 });
      const again = [];
      for (const hold of [one, two, three]) {
        again.push([await hold.settle("1"), await hold.release(), await hold.extend({ by: "1" })]);
      }
      vi.useRealTimers();
      return { first, again };
    });
    expect(value.first).toMatchObject([{ outcome: "settled" }, { outcome: "released", available_micros: 86 * CENT }]);
    const ended = (end: string, paid_micros: number) => Array(3).fill({ outcome: "ended", end, paid_micros });
    expect(value.again).toMatchObject([ended("settled", 4 * CENT), ended("released", 0), ended("expired", 0)]);
    await expectPaid(caller, { paid_micros: 4 * CENT });
  });

  it("a price above it is taken as a charge of its own, told apart, and is one entry", async () => {
    const { caller, value } = await handle(100, async (envelope) => held(await envelope.hold("10")).settle("35"));
    expect(value).toMatchObject({
      outcome: "settled",
      settled_micros: 10 * CENT,
      extra_micros: 25 * CENT,
      balance: "65",
    });
    expect(await caller.envelope.entries(1)).toMatchObject([{ amount_micros: -35 * CENT }]);
    expect(await holdsOf(caller.id)).toMatchObject([{ settled_micros: 10 * CENT, paid_micros: 35 * CENT }]);
  });

  it("where the balance does not cover that, what was held is taken alone, or with atMost what is there", async () => {
    for (const [atMost, extra] of [
      [false, 0],
      [true, 20],
    ] as const) {
      const { caller, value } = await handle(30, async (envelope) =>
        held(await envelope.hold("10")).settle("35", { atMost }),
      );
      expect(value).toMatchObject({
        outcome: "settled",
        settled_micros: 10 * CENT,
        extra_micros: extra * CENT,
        refusal: { reason: "insufficient_balance", price_micros: 25 * CENT, shortfall_micros: 5 * CENT },
      });
      await expectPaid(caller, { paid_micros: (10 + extra) * CENT });
    }
  });

  it("is extended by money and by time, and stays as it was where there is none", async () => {
    const { caller, value } = await handle(50, async (envelope) => {
      const hold = held(await envelope.hold("10", { ttlSeconds: 5 }));
      const before = hold.expires_at_ms;
      const more = await Promise.all([hold.extend({ by: "5" }), hold.extend({ by: "5", ttlSeconds: 60 })]);
      const tooMuch = await hold.extend({ by: "31" });
      const after = hold.expires_at_ms;
      return { more, tooMuch, longer_ms: after - before, settled: await hold.settle("20") };
    });
    expect(value.more).toMatchObject([
      { outcome: "extended", amount_micros: 15 * CENT },
      { outcome: "extended", amount_micros: 20 * CENT, available_micros: 30 * CENT },
    ]);
    expect(value.tooMuch).toMatchObject({
      outcome: "refused",
      refusal: { reason: "insufficient_balance", shortfall_micros: 1 * CENT },
    });
    expect(value.longer_ms).toBeGreaterThan(50_000);
    expect(value.settled).toMatchObject({ settled_micros: 20 * CENT, extra_micros: 0 });
    await expectPaid(caller, { paid_micros: 20 * CENT });
  });

  it("T12 what a handler that throws left open is released", async () => {
    const { caller } = await handle(100, async (envelope) => {
      await envelope.hold("10");
      await held(await envelope.hold("20")).settle("1");
      throw new Error("the app failed");
    });
    await expectPaid(caller, { paid_micros: 1 * CENT });
  });

  it("T12 T82 what is forgotten expires by itself, without an alarm", async () => {
    const { caller } = await handle(100, async (envelope) => envelope.hold("10", { ttlSeconds: 30 }));
    expect(await caller.envelope.state()).toMatchObject({ available_micros: 90 * CENT });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 30_000 });
    expect(await caller.envelope.state()).toMatchObject({ available_micros: 100 * CENT, holds: [] });
  });

  it("T13 T14 with a key it is charged once: a conflict while it is open, a replay when it was charged", async () => {
    const { caller, value } = await handle(100, async (envelope) => {
      const hold = held(await envelope.hold("10", { key: "job" }));
      const meanwhile = [await envelope.hold("10", { key: "job" }), await envelope.charge("10", { key: "job" })];
      await hold.settle("6");
      return [...meanwhile, await envelope.hold("10", { key: "job" })];
    });
    expect(value).toMatchObject([
      { outcome: "conflict", detail: "in_progress" },
      { outcome: "conflict", detail: "in_progress" },
      { outcome: "replayed", amount_micros: 6 * CENT, balance: "94" },
    ]);
    await expectPaid(caller, { paid_micros: 6 * CENT });
  });

  it("is refused as a charge would be", async () => {
    const { caller, value } = await handle(5, async (envelope) => [
      await envelope.hold("6"),
      await envelope.hold("nonsense"),
      await envelope.hold("1", { ttlSeconds: 0 }),
      await envelope.hold("1", { key: "two words" }),
      await envelope.hold("1", { reason: "x".repeat(257) }),
      await envelope.hold("0"),
    ]);
    expect(value.map(({ outcome }) => outcome)).toEqual([
      "refused",
      "invalid",
      "invalid",
      "invalid",
      "invalid",
      "invalid",
    ]);
    expect(value[0]).toMatchObject({ refusal: { shortfall_micros: 1 * CENT }, balance: "5" });
    await expectPaid(caller, { paid_micros: 0 });
  });

  it("T3 T5 a settlement outside the grammar changes nothing, and the hold stays open", async () => {
    const { value } = await handle(50, async (envelope) => {
      const hold = held(await envelope.hold("10"));
      const wrong = [
        await hold.settle("-1"),
        await hold.settle("1e2"),
        await hold.settle("1", { metadata: "x".repeat(5_000) }),
        await hold.extend({ by: "x" }),
      ];
      return [...wrong, await hold.settle("10")];
    });
    expect(value.map(({ outcome }) => outcome)).toEqual(["invalid", "invalid", "invalid", "invalid", "settled"]);
  });

  it("a stranger is refused without an object, a token that is not ours is told so", async () => {
    const site = new MeteredSite(async (_request, _env, ctx) => Response.json(await ctx.envelope.hold("1")));
    const stranger = await site.site.fetch("/");
    expect(await stranger.json()).toMatchObject({
      outcome: "refused",
      refusal: { reason: "insufficient_balance" },
      balance: "0",
    });
    const bad = await site.site.fetch("/", { headers: { Authorization: "Bearer nonsense" } });
    expect(await bad.json()).toMatchObject({ outcome: "refused", refusal: { reason: "credential_revoked" } });
  });

  it("T22 a settlement whose answer is lost happens once", async () => {
    const { caller, value } = await handle(100, async (envelope) => {
      const hold = held(await envelope.hold("10"));
      await inside(envelope.id, async (object, state) => {
        const exec = state.storage.sync.bind(state.storage);
        let lost = true;
        state.storage.sync = async () => {
          await exec();
          if (lost) {
            lost = false;
            state.abort("killed before the answer");
          }
        };
        void object;
      });
      return hold.settle("10");
    });
    expect(value).toMatchObject({ outcome: "settled", settled_micros: 10 * CENT });
    await expectPaid(caller, { paid_micros: 10 * CENT });
  });
});

describe("ctx.envelope.refund", () => {
  it("gives a charge back by its number or its key, at most what it took", async () => {
    const { caller, value } = await handle(100, async (envelope) => {
      const first = await envelope.charge("10", { key: "one" });
      const seq = first.outcome === "charged" ? (first.seq ?? 0) : 0;
      return [
        await envelope.refund(seq, "4"),
        await envelope.refund("one", "7"),
        await envelope.refund("one"),
        await envelope.refund("one"),
        await envelope.refund(seq, "nonsense"),
        await envelope.refund(999),
        await envelope.refund(1, "1", { key: "two words" }),
      ];
    });
    expect(value).toMatchObject([
      { outcome: "refunded", amount_micros: 4 * CENT, balance: "94" },
      { outcome: "refused", refundable_micros: 6 * CENT },
      { outcome: "refunded", amount_micros: 6 * CENT, balance: "100" },
      { outcome: "refused", refundable_micros: 0 },
      { outcome: "invalid" },
      { outcome: "unknown" },
      { outcome: "invalid" },
    ]);
    expect((await caller.envelope.state()).balance_micros).toBe(100 * CENT);
  });

  it("T13 once per key", async () => {
    const { value } = await handle(100, async (envelope) => {
      await envelope.charge("10", { key: "one" });
      return [
        await envelope.refund("one", "3", { key: "back" }),
        await envelope.refund("one", "3", { key: "back" }),
        await envelope.refund("one", "4", { key: "back" }),
      ];
    });
    expect(value.map(({ outcome }) => outcome)).toEqual(["refunded", "replayed", "conflict"]);
  });

  it("gives back what a meter took, too", async () => {
    const { caller, value } = await handle(100, async (envelope) => {
      const hold = held(await envelope.hold("10", { key: "job" }));
      await hold.settle("35");
      return envelope.refund("job");
    });
    expect(value).toMatchObject({ outcome: "refunded", amount_micros: 35 * CENT, balance: "100" });
    expect((await caller.envelope.state()).balance_micros).toBe(100 * CENT);
  });
});

describe("envelopeOf", () => {
  it("holds, and goes on with a hold that somebody else took", async () => {
    const { caller, value: id } = await handle(100, async (envelope) => held(await envelope.hold("10")).id);
    const queue = envelopeOf(env, { id: caller.id });
    const theirs = await queue.heldBy(id);
    expect(await theirs.extend({ by: "5", ttlSeconds: 900 })).toMatchObject({
      outcome: "extended",
      amount_micros: 15 * CENT,
    });
    expect(await theirs.settle("15")).toMatchObject({ outcome: "settled", settled_micros: 15 * CENT, extra_micros: 0 });
    const own = held(await queue.hold("20", { key: "message-7", ttlSeconds: 60 }));
    expect(await queue.hold("20", { key: "message-7" })).toMatchObject({ outcome: "conflict" });
    expect(await own.release()).toMatchObject({ outcome: "released" });
    expect(await (await queue.heldBy(999)).release()).toMatchObject({ outcome: "unknown" });
    expect(await (await queue.heldBy(999)).settle("1")).toMatchObject({ outcome: "unknown" });
    await expectPaid(caller, { paid_micros: 15 * CENT });
  });
});

it("T40 what was delivered before is booked before a claw-back, whether an alarm has come by or not", async () => {
  for (const rings of [false, true]) {
    const caller = await new MeteredSite(() => new Response("free")).payer(100);
    const payment_id = String((await caller.envelope.entries())[0]?.payment_id);
    const stub = env.ENVELOPE.getByName(caller.id) as unknown as EnvelopeApi;
    const slice = { taken_micros: micros(0), units: 60, unit_micros: micros(CENT) };
    const opening = { op: "open", currency: "usd", slice, least_micros: micros(CENT), lease_ms: 60_000 };
    const meter = await stub.openMeter(opening);
    if (meter.outcome !== "held") throw new Error(`The meter is ${meter.outcome}`);
    const more = { ...slice, taken_micros: micros(40 * CENT), units: 20 };
    await meter.session.use({ used_micros: micros(40 * CENT), slice: more });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    if (rings) await runDurableObjectAlarm(env.ENVELOPE.getByName(caller.id));
    expect(await caller.site.outcomeOf(refund(payment_id, 100))).toBe("reversed");
    const entries = await caller.envelope.entries(1);
    expect(entries.map(({ kind, amount_micros }) => [kind, amount_micros])).toEqual([
      ["charge", -40 * CENT],
      ["clawback", -100 * CENT],
    ]);
    expect((await caller.envelope.state()).balance_micros).toBe(-40 * CENT);
    vi.useRealTimers();
  }
});
