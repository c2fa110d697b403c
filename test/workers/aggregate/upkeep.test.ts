/** Proof, rebuild, shards, and what a shard does by itself: with real envelopes. */
import { evictAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AGGREGATE_MIGRATIONS } from "../../../src/aggregate/schema.js";
import type { EnvelopeApi } from "../../../src/contract.js";
import { EnvelopeAggregate } from "../../../src/index.js";
import { hasSchema, migrate } from "../../../src/migrate.js";
import {
  cohortsOf,
  dropFormerShards,
  envelopesPage,
  eventsPage,
  healthOf,
  latestEvents,
  movementsOf,
  overviewOf,
  rebuildPage,
  refusalsOf,
  seriesOf,
  spendByKeyOf,
  spendOf,
  summaryOf,
} from "../../../src/reports.js";
import { aggregateShardOf, aggregateShards, aggregateStub, DIRECTORY_SHARDS } from "../../../src/shards.js";
import { micros } from "../rules/values.js";
import { expectMirrored, proofOf, Site, shipAll } from "../support.js";
import { batchOf, inside, ledger, shardOf, stubOf } from "./support.js";

const site = new Site();
const vars = env as unknown as Record<string, unknown>;
const DAY = 24 * 3_600_000;

// In the future, so that an alarm rings only when a test says so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 15, 12) });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const name of ["ENVELOPE_AGGREGATE_SHARDS", "ENVELOPE_AGGREGATE_SHARDS_PREVIOUS", "ENVELOPE_RAW_EVENT_DAYS"])
    delete vars[name];
});

let names = 0;
/** What a test lost of the directory, it puts back by them. */
const everybody: string[] = [];
const apiOf = (name: string) => env.ENVELOPE.getByName(name) as unknown as EnvelopeApi;

/** An envelope that was granted money and charged a few times; nothing of it is in the directory. */
async function granted(charges: number): Promise<string> {
  const name = `granted-${names++}`;
  everybody.push(name);
  await apiOf(name).grant({ op: "g", key: "g", currency: "usd", amount_micros: micros(1_000) });
  for (let i = 0; i < charges; i++) {
    await apiOf(name).charge({ op: `c${i}`, currency: "usd", amount_micros: micros(1 + i), reason: `GET /${i % 2}` });
  }
  return name;
}

async function rebuild(): Promise<number> {
  let asked = 0;
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await rebuildPage(env, { cursor: cursor ?? null, limit: 3 });
    expect(page.unreachable).toEqual([]);
    asked += page.asked;
    cursor = page.cursor;
  }
  await shipAll();
  return asked;
}

async function forgetDirectory(): Promise<void> {
  for (let shard = 0; shard < DIRECTORY_SHARDS; shard++) {
    await runInDurableObject(env.ENVELOPE_DIRECTORY.getByName(`directory-${shard}`), async (_, { storage }) => {
      if (hasSchema(storage)) storage.sql.exec("DELETE FROM envelope");
    });
  }
}

const money = ({ lag_ms, ...rest }: Awaited<ReturnType<typeof overviewOf>>) => rest;

describe("a proof", () => {
  const TAMPERED: readonly (readonly [name: string, statement: string, what: string])[] = [
    ["a copy", "UPDATE envelope_summary SET spent_micros = spent_micros + 1 WHERE applied_seq > 0", "spent_micros"],
    ["a balance", "UPDATE envelope_summary SET balance_micros = 0 WHERE applied_seq > 0", "balance_micros"],
    ["a total", "UPDATE total SET outstanding_micros = outstanding_micros + 1", "total.outstanding_micros"],
    ["a copy that is gone", "DELETE FROM envelope_summary", "total.envelopes"],
    ["an hour", "UPDATE hour SET spent_micros = 0", "hour.spent_micros"],
    ["a day", "DELETE FROM day", "day.entries"],
    ["a movement", "UPDATE moved_hour SET amount_micros = amount_micros + 1", "moved_hour.granted_micros"],
    ["a reason", "UPDATE spend_day SET spent_micros = spent_micros + 1", "spend_day.spent_micros"],
    ["a cohort", "UPDATE cohort SET spent_micros = 0", "cohort.spent_micros"],
    ["who was active", "UPDATE active SET envelopes = 0", "active.day"],
    ["who is frozen", "UPDATE envelope_summary SET frozen = 1 WHERE applied_seq > 0", "frozen"],
    ["raw events", "DELETE FROM batch WHERE batch_id = 1", "raw.entries"],
    ["a raw amount", `UPDATE batch SET entries = json_set(entries, '$[1][2]', -999)`, "raw.spent_micros"],
  ];
  for (const [name, statement, what] of TAMPERED) {
    it(`finds ${name} that was altered`, async () => {
      await granted(3);
      await shipAll();
      expect((await proofOf(env)).differences).toEqual([]);
      await inside("aggregate-0", async (_, { storage: { sql } }) => void sql.exec(statement));
      expect((await proofOf(env, 2)).differences.map((one) => one.what)).toContain(what);
      await rebuild();
    });
  }

  it("finds a ledger that is not what was copied, and one that cannot be asked", async () => {
    await granted(2);
    await shipAll();
    await shardOf("aggregate-0").mirror(batchOf("invented", ledger([{ kind: "topup", size: 9 }])));
    expect((await proofOf(env)).differences).toContainEqual({
      envelope_id: "invented",
      what: "credited_micros",
      expected: 0,
      found: 9,
    });
    await inside("aggregate-0", async (_, { storage: { sql } }) => {
      sql.exec("DELETE FROM envelope_summary WHERE envelope_id = 'invented'");
    });
    await rebuild();
  });
});

it("the assertion that ends each test fails where a figure is wrong", async () => {
  await granted(2);
  for (const statement of [
    "UPDATE total SET granted_micros = granted_micros + 1",
    "UPDATE envelope_summary SET spent_micros = spent_micros + 1 WHERE applied_seq > 0",
    "UPDATE total SET frozen = frozen + 1",
  ]) {
    await expectMirrored();
    await inside("aggregate-0", async (_, { storage: { sql } }) => void sql.exec(statement));
    await expect(expectMirrored(), statement).rejects.toThrow();
    await rebuild();
  }
});

describe("a rebuild", () => {
  it("T94 brings all of it back, from nothing but the directory where the mirror was lost", async () => {
    const payer = await site.payer(500);
    await payer.fetch("/x?price=20");
    await shipAll();
    const id = payer.id;
    everybody.push(id);
    const before = await aggregateStub(env, id).envelope({ envelope_id: id });
    await inside("aggregate-0", async (shard) => shard.drop());
    expect(await overviewOf(env)).toMatchObject({ envelopes: 0, entries: 0 });
    expect((await proofOf(env)).behind, "those that the directory knows").toBeGreaterThan(0);
    expect(await rebuild()).toBeGreaterThan(0);
    expect(await aggregateStub(env, id).envelope({ envelope_id: id })).toEqual(before);
    expect((await proofOf(env)).differences).toEqual([]);
  });

  it("T94 leaves every report as it was, what keys spent and what moved for other reasons too", async () => {
    const payer = await site.payer(500);
    everybody.push(payer.id);
    const headers = {
      Authorization: `Bearer ${payer.token}`,
      "Content-Type": "application/json",
      "Idempotency-Key": "k",
    };
    const made = await site.fetch("/keys", { method: "POST", body: JSON.stringify({ name: "agent" }), headers });
    const { key } = await made.json<{ readonly key: string }>();
    for (let spent = 0; spent < 2; spent++)
      await site.fetch("/x?price=7", { headers: { Authorization: `Bearer ${key}` } });
    await payer.envelope.refund({ seq: 2 }, { key: "r" });
    await payer.envelope.grant({ micros: 9 }, { key: "g", reason: "sorry" });
    await granted(3);
    await shipAll();
    const period = { from_ms: Date.now() - DAY, to_ms: Date.now() + DAY };
    const reports = async () => ({
      overview: money(await overviewOf(env)),
      hours: await seriesOf(env, { ...period, step: "hour" }),
      days: await seriesOf(env, { ...period, step: "day" }),
      spend: await spendOf(env, { ...period, limit: 100 }),
      keys: await spendByKeyOf(env, { ...period, limit: 100 }),
      movements: await movementsOf(env, { ...period, limit: 100 }),
      cohorts: await cohortsOf(env),
      envelopes: (await envelopesPage(env, { order: "id", limit: 100 })).envelopes,
    });
    const before = await reports();
    expect(before.keys).toMatchObject([{ envelope_id: payer.id, charges: 2, spent_micros: 70_000 }]);
    await rebuild();
    expect(await reports()).toEqual(before);
  });

  it("where mirror and directory are lost, an envelope comes back whole with its next entry", async () => {
    const name = await granted(4);
    await shipAll();
    await inside("aggregate-0", async (shard) => shard.drop());
    await forgetDirectory();
    expect(await rebuild()).toBe(0);
    await apiOf(name).charge({ op: "next", currency: "usd", amount_micros: micros(1) });
    await shipAll();
    expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({
      applied_seq: 6,
      spent_micros: 11,
    });
    for (const id of everybody) await apiOf(id).ship({ after: 0 });
    await shipAll();
  });

  it("that was interrupted is finished by the shard's own alarm", async () => {
    const name = await granted(2);
    await shipAll();
    const real = EnvelopeAggregate.prototype.rebuild;
    await inside("aggregate-0", async (shard) => real.call(shard as EnvelopeAggregate, { cursor: null, limit: 0 }));
    expect(await overviewOf(env)).toMatchObject({ entries: 0 });
    expect((await overviewOf(env)).behind).toBeGreaterThan(0);
    vi.setSystemTime(Date.now() + 121_000);
    await runDurableObjectAlarm(stubOf("aggregate-0"));
    await shipAll();
    expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({ applied_seq: 3 });
    expect(await overviewOf(env)).toMatchObject({ behind: 0 });
  });
});

describe("T93 T94 while everybody is charged", () => {
  /** Charges, gives back and freezes, and lets some alarms ring, again and again until the work is done. */
  async function meanwhile(names: readonly string[], work: () => Promise<unknown>): Promise<void> {
    let [done, step] = [false, 0];
    const working = work().finally(() => {
      done = true;
    });
    while (!done) {
      step += 1;
      const name = names[step % names.length] as string;
      const asked = { op: `m${step}`, currency: "usd", amount_micros: micros(1) };
      await apiOf(name).charge({ ...asked, reason: `GET /${step % 3}` });
      if (step % 5 === 0) await apiOf(name).freeze({ frozen: step % 2 === 0, currency: "usd" });
      if (step % 3 === 0) await runDurableObjectAlarm(env.ENVELOPE.getByName(name));
      if (step % 7 === 0) await runDurableObjectAlarm(stubOf("aggregate-0"));
    }
    await working;
  }

  it("a rebuild, and another before it is through, end with what the ledgers say", async () => {
    const names = await Promise.all(Array.from({ length: 6 }, () => granted(3)));
    await shipAll();
    await meanwhile(names, async () => {
      for (let begun = 0; begun < 2; begun++) {
        // The first is left after two pages.
        let pages = 0;
        for (let cursor: string | null | undefined; cursor !== null && (begun > 0 || pages < 2); pages++) {
          cursor = (await rebuildPage(env, { cursor: cursor ?? null, limit: 2 })).cursor;
        }
      }
    });
    await expectMirrored();
  });

  it("a mirror that is lost altogether comes back", async () => {
    const names = await Promise.all(Array.from({ length: 4 }, () => granted(2)));
    everybody.push(...names);
    await shipAll();
    await meanwhile(names, async () => {
      await inside("aggregate-0", async (shard) => shard.drop());
      await evictAllDurableObjects();
      for (let cursor: string | null | undefined; cursor !== null; ) {
        cursor = (await rebuildPage(env, { cursor: cursor ?? null, limit: 5 })).cursor;
      }
    });
    await expectMirrored();
  });

  it("shards are added and taken away", async () => {
    const names = await Promise.all(Array.from({ length: 8 }, () => granted(2)));
    await shipAll();
    for (const [shards, previous] of [
      ["3", "1"],
      ["2", "3"],
      ["1", "2"],
    ] as const) {
      await meanwhile(names, async () => {
        vars["ENVELOPE_AGGREGATE_SHARDS"] = shards;
        vars["ENVELOPE_AGGREGATE_SHARDS_PREVIOUS"] = previous;
        for (let cursor: string | null | undefined; cursor !== null; ) {
          cursor = (await rebuildPage(env, { cursor: cursor ?? null, limit: 4 })).cursor;
        }
      });
      await expectMirrored();
      expect(await dropFormerShards(env)).toEqual({ outcome: "dropped", shards: Number(previous) });
      await expectMirrored();
    }
  });
});

describe("T93 who is behind", () => {
  it("is told by `behind` and `lag_ms`, is asked after two minutes, and then is not behind any more", async () => {
    const name = await granted(2);
    await shipAll();
    const now = Date.now();
    vi.setSystemTime(now + 10_000);
    await apiOf(name).charge({ op: "a", currency: "usd", amount_micros: micros(1) });
    await apiOf(name).charge({ op: "b", currency: "usd", amount_micros: micros(1) });
    const [, last] = await apiOf(name).entries({ after: 3, limit: 2 });
    if (last === undefined) throw new Error("Two entries were made");
    await shardOf("aggregate-0").mirror(batchOf(name, [last], { head_seq: 5 }));
    vi.setSystemTime(now + 70_000);
    expect(await overviewOf(env)).toMatchObject({ behind: 1, lag_ms: 60_000 });
    expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({ applied_seq: 3, head_seq: 5 });
    const [health] = await healthOf(env);
    expect(health).toMatchObject({ shard: "aggregate-0", behind: 1, lag_ms: 60_000 });
    expect(health?.gaps).toBeGreaterThan(0);

    const ship = vi.spyOn((await import("../../../src/index.js")).Envelope.prototype, "ship");
    await runDurableObjectAlarm(stubOf("aggregate-0"));
    expect(ship, "not before two minutes").not.toHaveBeenCalled();
    vi.setSystemTime(now + 140_000);
    await runDurableObjectAlarm(stubOf("aggregate-0"));
    expect(ship).toHaveBeenCalledWith({ after: 3 });
    await shipAll();
    expect(await overviewOf(env)).toMatchObject({ behind: 0 });
  });

  it("what is sent again says nothing about how fast the mirror is", async () => {
    await granted(3);
    await shipAll();
    const { lag_ms } = await overviewOf(env);
    vi.setSystemTime(Date.now() + 5 * DAY);
    await rebuild();
    expect((await overviewOf(env)).lag_ms).toBe(lag_ms);
  });
});

describe("an envelope's side", () => {
  it("refusals come with the next batch, or by an alarm a minute later, and cost no row", async () => {
    const name = await granted(1);
    await shipAll();
    const period = { from_ms: Date.now() - DAY, to_ms: Date.now() + DAY };
    const count = async () =>
      (await shardOf("aggregate-0").refusals(period)).find(({ limit }) => limit === "balance")?.refusals ?? 0;
    const before = await count();
    for (let i = 0; i < 3; i++) {
      await apiOf(name).charge({ op: `no${i}`, currency: "usd", amount_micros: micros(1_000_000) });
    }
    const at = await runInDurableObject(env.ENVELOPE.getByName(name), (_, { storage }) => storage.getAlarm());
    expect(at).toBe(Date.now() + 60_000);
    expect(await runDurableObjectAlarm(env.ENVELOPE.getByName(name))).toBe(true);
    expect(await count()).toBe(before + 3);
    expect(await runDurableObjectAlarm(env.ENVELOPE.getByName(name)), "and no alarm more").toBe(false);
  });

  it("refusals whose answer was lost are not counted twice", async () => {
    const name = await granted(1);
    await shipAll();
    const before =
      (await shardOf("aggregate-0").refusals({ from_ms: 0, to_ms: Date.now() + DAY })).find(
        ({ limit }) => limit === "balance",
      )?.refusals ?? 0;
    await apiOf(name).charge({ op: "no", currency: "usd", amount_micros: micros(1_000_000) });
    const real = EnvelopeAggregate.prototype.mirror;
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementationOnce(async function (
      this: EnvelopeAggregate,
      batch,
    ) {
      await real.call(this, batch);
      return undefined as never;
    });
    await runDurableObjectAlarm(env.ENVELOPE.getByName(name));
    await runDurableObjectAlarm(env.ENVELOPE.getByName(name));
    const after = (await shardOf("aggregate-0").refusals({ from_ms: 0, to_ms: Date.now() + DAY })).find(
      ({ limit }) => limit === "balance",
    )?.refusals;
    expect(after).toBe(before + 1);
  });

  it("frozen is told without an entry, also after an eviction", async () => {
    const name = await granted(1);
    await shipAll();
    const { frozen } = await overviewOf(env);
    await apiOf(name).freeze({ frozen: true, currency: "usd" });
    await evictAllDurableObjects();
    await shipAll();
    expect((await overviewOf(env)).frozen).toBe(frozen + 1);
    expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({ frozen: true });
    await apiOf(name).freeze({ frozen: false, currency: "usd" });
    await shipAll();
    expect((await overviewOf(env)).frozen).toBe(frozen);
  });
});

describe("T94 what a batch tells besides its entries", () => {
  it("frozen while a batch is on its way is told with the next one", async () => {
    const name = await granted(1);
    const real = EnvelopeAggregate.prototype.mirror;
    for (const frozen of [true, false]) {
      await apiOf(name).charge({ op: `${frozen}`, currency: "usd", amount_micros: micros(1) });
      vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementationOnce(async function (
        this: EnvelopeAggregate,
        batch,
      ) {
        await apiOf(name).freeze({ frozen, currency: "usd" });
        return real.call(this, batch);
      });
      await shipAll();
      expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({ frozen });
    }
  });

  it("a name is told without an entry, before the first one, and also when it changes on the way", async () => {
    const name = `granted-${names++}`;
    const called = async () => (await shardOf("aggregate-0").envelope({ envelope_id: name }))?.name;
    await apiOf(name).configure({ currency: "usd", name: "Zoë & Söhne", windows: [] });
    await shipAll();
    expect(await called()).toBe("Zoë & Söhne");
    const found = await envelopesPage(env, { order: "recent", named: "zoë", limit: 9 });
    expect(found.envelopes).toMatchObject([{ envelope_id: name, applied_seq: 0, head_seq: 0 }]);
    await apiOf(name).grant({ op: "g", key: "g", currency: "usd", amount_micros: micros(5) });
    const real = EnvelopeAggregate.prototype.mirror;
    vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementationOnce(async function (
      this: EnvelopeAggregate,
      batch,
    ) {
      await apiOf(name).configure({ currency: "usd", name: "Zoë GmbH" });
      return real.call(this, batch);
    });
    await shipAll();
    expect(await called()).toBe("Zoë GmbH");
    await rebuild();
    expect(await called()).toBe("Zoë GmbH");
    await apiOf(name).configure({ currency: "usd", name: null });
    await shipAll();
    expect(await called()).toBeNull();
  });

  it("counts no more once it was overtaken, or comes again; its entries do", async () => {
    const shard = shardOf("overtaken");
    const entries = ledger([
      { kind: "topup", size: 100 },
      { kind: "charge", size: 7 },
    ]);
    const batch = (from: number, to: number, told_at_ms: number, frozen: boolean) =>
      batchOf("o", entries.slice(from, to), {
        head_seq: to,
        told_at_ms,
        frozen,
        refusals: { id: `r${told_at_ms}`, by_limit: { balance: told_at_ms } },
      });
    const period = { from_ms: Date.now() - DAY, to_ms: Date.now() + DAY };
    const stands = async () => {
      const { frozen = null, applied_seq = 0 } = (await shard.envelope({ envelope_id: "o" })) ?? {};
      return [applied_seq, frozen, (await shard.refusals(period))[0]?.refusals];
    };
    await shard.mirror(batch(1, 2, 2, true));
    await shard.mirror(batch(0, 1, 1, false));
    expect(await stands(), "a gap, and then what fills it").toEqual([1, true, 2]);
    await shard.mirror(batch(0, 2, 3, true));
    for (const [to, told_at_ms, frozen] of [
      [1, 1, false],
      [2, 2, false],
      [2, 3, false],
    ] as const)
      await shard.mirror(batch(0, to, told_at_ms, frozen));
    expect(await stands()).toEqual([2, true, 5]);
    await shard.mirror(batch(0, 2, 4, false));
    expect(await stands()).toEqual([2, false, 9]);
  });
});

describe("shards", () => {
  const inUse = (shards: string, previous?: string) => {
    vars["ENVELOPE_AGGREGATE_SHARDS"] = shards;
    if (previous !== undefined) vars["ENVELOPE_AGGREGATE_SHARDS_PREVIOUS"] = previous;
  };

  it.each(["0", "65", "1.5", "-1", "three", "1e1"])("ENVELOPE_AGGREGATE_SHARDS=%s is refused by its name", (value) => {
    inUse(value);
    expect(() => aggregateShards(env)).toThrow("ENVELOPE_AGGREGATE_SHARDS must be a whole number from 1 to 64");
  });

  it("every envelope has one, and all are used", () => {
    const used = new Set(Array.from({ length: 1_000 }, (_, i) => aggregateShardOf(`envelope-${i}`, 64)));
    expect(used.size).toBe(64);
    expect(aggregateShardOf("x", 1)).toBe(0);
  });

  it("more of them: set the variable, rebuild, drop the earlier ones; the reports say the same before and after", async () => {
    for (let i = 0; i < 12; i++) await granted(i % 4);
    await (await site.payer(300)).fetch("/x?price=5");
    await shipAll();
    const period = { from_ms: Date.now() - DAY, to_ms: Date.now() + DAY };
    const all = async () => ({
      overview: money(await overviewOf(env)),
      // Refusals are not in any ledger: they stay with the shard that counted them.
      series: (await seriesOf(env, { ...period, step: "hour" })).map(({ refusals, ...point }) => point),
      spend: await spendOf(env, { ...period, limit: 10 }),
      cohorts: await cohortsOf(env),
      envelopes: (await everyEnvelope()).map(({ envelope_id, spent_micros }) => [envelope_id, spent_micros]),
      events: (await everyEvent()).length,
    });
    await expectMirrored();
    const before = await all();

    inUse("5", "1");
    await evictAllDurableObjects();
    expect((await dropFormerShards(env)).outcome, "nothing is there yet").toBe("short");
    await rebuild();
    expect(await all()).toEqual(before);
    for (const { envelope_id } of (await everyEnvelope()).slice(0, 3)) {
      expect(await summaryOf(env, envelope_id)).toMatchObject({ envelope_id });
    }
    await apiOf(await granted(0)).charge({ op: "no", currency: "usd", amount_micros: micros(1_000_000) });
    await shipAll();
    expect(await refusalsOf(env, period)).toEqual([{ limit: "balance", refusals: 1 }]);
    expect((await healthOf(env)).filter(({ envelopes }) => envelopes > 0).length).toBeGreaterThan(1);
    // Whichever shard has it, the newest comes first.
    for (const last of ["one", "two", "three"]) {
      vi.setSystemTime(Date.now() + 30 * DAY);
      const name = await granted(0);
      await shipAll();
      const [newest] = await latestEvents(env, { ...period, to_ms: Date.now() + DAY, limit: 1 });
      expect(newest?.envelope_id, last).toBe(name);
    }
    const grown = await all();
    await expectMirrored();
    expect(await dropFormerShards(env)).toEqual({ outcome: "dropped", shards: 1 });
    expect(await shardOf("aggregate-0").overview()).toMatchObject({ envelopes: 0, entries: 0 });
    expect(await all()).toEqual(grown);

    inUse("1", "5");
    await evictAllDurableObjects();
    await rebuild();
    expect(await all()).toEqual(grown);
  });

  it("T94 more of them bring those, too, that only the earlier ones know of, and those stay until nobody is behind", async () => {
    const name = await granted(3);
    await shipAll();
    const before = money(await overviewOf(env));
    await forgetDirectory();
    inUse("2", "1");
    await evictAllDurableObjects();
    await rebuild();
    expect(await summaryOf(env, name)).toMatchObject({ applied_seq: 4, spent_micros: 6 });
    expect(money(await overviewOf(env))).toEqual(before);
    // As many entries as there were, and one that is known to be missing.
    await aggregateStub(env, "late").mirror(batchOf("late", [], { head_seq: 1 }));
    expect(await dropFormerShards(env)).toEqual({ outcome: "short" });
    expect(await shardOf("aggregate-0").overview()).toMatchObject({ entries: before.entries });
  });

  async function everyEnvelope() {
    const found = [];
    for (let after: { value: number; envelope_id: string } | null | undefined; after !== null; ) {
      const page = await envelopesPage(env, { order: "spent", limit: 3, after });
      found.push(...page.envelopes);
      after = page.after;
    }
    return found;
  }

  async function everyEvent() {
    const found = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await eventsPage(env, {
        from_ms: 0,
        to_ms: Date.now() + DAY,
        limit: 10,
        cursor: cursor ?? undefined,
      });
      found.push(...page.events);
      cursor = page.cursor;
    }
    return found;
  }
});

describe("T90 raw events", () => {
  it("are dropped when their time is over, a few at a time; the sums stay, and the proof still adds up", async () => {
    vars["ENVELOPE_RAW_EVENT_DAYS"] = "30";
    const shard = stubOf("pruned");
    const now = Date.now();
    for (let i = 0; i < 70; i++) {
      await shardOf("pruned").mirror(
        batchOf(
          `p${i}`,
          ledger(
            [
              { kind: "topup", size: 100 },
              { kind: "charge", size: 7, at_ms: now - 40 * DAY + 2 },
            ],
            now - 40 * DAY,
          ),
        ),
      );
    }
    await shardOf("pruned").mirror(batchOf("young", ledger([{ kind: "topup", size: 100 }], now)));
    const before = await shardOf("pruned").overview();
    await runDurableObjectAlarm(shard);
    expect((await shardOf("pruned").health()).raw_events).toBe(41);
    await runDurableObjectAlarm(shard);
    expect(await shardOf("pruned").health()).toMatchObject({ raw_events: 1, raw_since_ms: now, entries: 141 });
    expect(await shardOf("pruned").overview()).toEqual(before);
    const sums = await shardOf("pruned").prove({
      cursor: JSON.stringify({
        at: "raw",
        after: 0,
        pruned: 140,
        sums: {
          entries: "0",
          keyed_micros: "0",
          credited_micros: "0",
          granted_micros: "0",
          spent_micros: "0",
          refunded_micros: "0",
          reversed_micros: "0",
          expired_micros: "0",
        },
      }),
      limit: 1,
    });
    expect(sums).toMatchObject({ differences: [], cursor: null });
  });

  it("what keys spent is kept by day for 400 days, and then as one row for each key; the proof still adds up", async () => {
    const now = Date.now();
    const by = (spender: string, days: number, size: number) =>
      ({ kind: "charge", size, spender, at_ms: now - days * DAY }) as const;
    const entries = ledger([
      { kind: "topup", size: 1_000, at_ms: now - 500 * DAY },
      by("key_a", 450, 5),
      by("key_a", 420, 7),
      by("key_b", 420, 11),
      by("key_a", 30, 13),
      { kind: "refund", size: 3, spender: "key_a", ref_seq: 5, at_ms: now - 29 * DAY },
    ]);
    await shardOf("keyed").mirror(batchOf("k", entries));
    const rows = () =>
      inside("keyed", async (_, { storage: { sql } }) =>
        sql.exec("SELECT at_ms = 0 AS old, spender, charges, spent_micros, refunded_micros FROM spend_key").toArray(),
      );
    expect(await rows()).toHaveLength(5);
    while (await runDurableObjectAlarm(stubOf("keyed"))) if ((await rows()).length === 4) break;
    expect(await rows()).toEqual([
      { old: 1, spender: "key_a", charges: 2, spent_micros: 12, refunded_micros: 0 },
      { old: 1, spender: "key_b", charges: 1, spent_micros: 11, refunded_micros: 0 },
      { old: 0, spender: "key_a", charges: 1, spent_micros: 13, refunded_micros: 0 },
      { old: 0, spender: "key_a", charges: 0, spent_micros: 0, refunded_micros: 3 },
    ]);
    const differences = async () => {
      const found = [];
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const page = await shardOf("keyed").prove({ cursor: cursor ?? null, limit: 9 });
        found.push(...page.differences.filter(({ envelope_id }) => envelope_id === null));
        cursor = page.cursor;
      }
      return found;
    };
    expect(await differences()).toEqual([]);
    await inside("keyed", async (_, { storage: { sql } }) => {
      sql.exec("UPDATE spend_key SET spent_micros = spent_micros + 1 WHERE spender = 'key_b'");
    });
    expect((await differences()).map(({ what }) => what)).toEqual(["spend_key.spent_micros"]);
  });

  it("ENVELOPE_RAW_EVENT_DAYS that is none drops nothing, and says so", async () => {
    vars["ENVELOPE_RAW_EVENT_DAYS"] = "forever";
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    await shardOf("unset").mirror(batchOf("p", ledger([{ kind: "topup", size: 100 }])));
    await runDurableObjectAlarm(stubOf("unset"));
    expect(String(told.mock.calls[0]?.[1])).toContain("ENVELOPE_RAW_EVENT_DAYS must be a whole number from 1 to 3650");
    expect((await shardOf("unset").health()).raw_events).toBe(1);
    expect(await runInDurableObject(stubOf("unset"), (_, { storage }) => storage.getAlarm())).not.toBeNull();
  });
});

it("T91 T92 a copy from before there were roll-ups is asked for again, whole", async () => {
  const name = await granted(3);
  await shipAll();
  await inside("aggregate-0", async (shard, { storage }) => {
    await shard.drop();
    migrate(storage, AGGREGATE_MIGRATIONS.slice(0, 2), Date.now());
    storage.sql.exec(
      `INSERT INTO envelope_summary (envelope_id, currency, applied_seq, balance_micros, credited_micros, granted_micros, spent_micros, refunded_micros, last_at_ms)
       VALUES (?, 'usd', 4, 994, 0, 1000, 6, 0, 1)`,
      name,
    );
  });
  await evictAllDurableObjects();
  expect(await overviewOf(env)).toMatchObject({ envelopes: 0, behind: 1 });
  await shardOf("aggregate-0").mirror(batchOf("another", []));
  await runDurableObjectAlarm(stubOf("aggregate-0"));
  await shipAll();
  expect(await shardOf("aggregate-0").envelope({ envelope_id: name })).toMatchObject({
    applied_seq: 4,
    spent_micros: 6,
  });
  expect((await proofOf(env)).differences).toEqual([]);
  await rebuild();
});
