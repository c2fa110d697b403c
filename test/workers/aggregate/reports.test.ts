/** What a shard answers, against the same figures counted by hand; what it stores for it, and how fast it takes it. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import { normalReason } from "../../../src/aggregate/reasons.js";
import { batchOf, inside, type Line, ledger, rowsWritten, shardOf, stubOf } from "./support.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A Wednesday. */
const T = Date.UTC(2026, 10, 18, 10);

let names = 0;
let name = "";
beforeEach(() => {
  names += 1;
  name = `reports-${names}`;
});

const shard = () => shardOf(name);
const send = (id: string, lines: readonly Line[], more = {}) => shard().mirror(batchOf(id, ledger(lines, T), more));
const charge = (at_ms: number, size = 10, reason: string | null = "GET /x"): Line => ({
  kind: "charge",
  size,
  at_ms,
  reason,
});

describe("a shard's reports", () => {
  it("the series is dense, and has each hour and day at its place", async () => {
    await send("a", [
      { kind: "topup", size: 1_000, at_ms: T - DAY },
      charge(T - DAY + 1),
      charge(T + 5),
      charge(T + 6),
      { kind: "refund", size: 4, at_ms: T + HOUR, ref_seq: 3, charge_reason: "GET /x" },
      { kind: "clawback", size: 100, at_ms: T + 2 * HOUR },
    ]);
    await send("b", [{ kind: "grant", size: 50 }, charge(T + 7)]);
    const hours = await shard().series({ from_ms: T, to_ms: T + 3 * HOUR, step: "hour" });
    expect(
      hours.map(({ at_ms, charges, spent_micros, refunded_micros, reversed_micros }) => [
        at_ms - T,
        charges,
        spent_micros,
        refunded_micros,
        reversed_micros,
      ]),
    ).toEqual([
      [0, 3, 30, 0, 0],
      [HOUR, 0, 0, 4, 0],
      [2 * HOUR, 0, 0, 0, 100],
    ]);
    expect(hours[0]?.active).toBeNull();
    const days = await shard().series({ from_ms: T - 2 * DAY, to_ms: T + DAY, step: "day" });
    expect(
      days.map(({ charges, active, credited_micros, granted_micros }) => [
        charges,
        active,
        credited_micros,
        granted_micros,
      ]),
    ).toEqual([
      [0, 0, 0, 0],
      [1, 1, 1_000, 0],
      [3, 2, 0, 50],
      [0, 0, 0, 0],
    ]);
  });

  it("a year of days, and a shard that has nothing: points all the same, and nothing is stored by asking", async () => {
    const points = await shard().series({ from_ms: T - 365 * DAY, to_ms: T, step: "day" });
    expect(points).toHaveLength(366);
    expect(points.every(({ charges, active }) => charges === 0 && active === 0)).toBe(true);
    await Promise.all([
      shard().overview(),
      shard().health(),
      shard().cohorts(),
      shard().prove({ cursor: null, limit: 5 }),
    ]);
    await inside(name, async (_, { storage }) => {
      expect(
        storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").toArray(),
      ).toEqual([]);
    });
  });

  it("spend is by reason with its ids taken out, net of refunds; a limit takes the highest", async () => {
    await send("a", [
      { kind: "topup", size: 1_000 },
      charge(T + 1, 10, "GET /users/17/posts"),
      charge(T + 2, 20, "GET /users/18/posts"),
      charge(T + 3, 50, "translate"),
      charge(T + 4, 5, null),
      { kind: "refund", size: 15, at_ms: T + 5, ref_seq: 3, charge_reason: "GET /users/18/posts", reason: "sorry" },
    ]);
    const rows = await shard().spend({ from_ms: T, to_ms: T + HOUR, limit: 10 });
    expect(rows).toEqual([
      { reason: "translate", charges: 1, spent_micros: 50 },
      { reason: "GET /users/:id/posts", charges: 2, spent_micros: 15 },
      { reason: "(none)", charges: 1, spent_micros: 5 },
    ]);
    expect(await shard().spend({ from_ms: T, to_ms: T + HOUR, limit: 1 })).toEqual(rows.slice(0, 1));
  });

  it("what is no charge is by kind and reason, and disputes are told apart from refunds", async () => {
    await send("a", [
      { kind: "topup", size: 1_000, payment_id: "pi_1" },
      { kind: "grant", size: 30, reason: "welcome", at_ms: T + 1 },
      { kind: "grant", size: 20, reason: "ticket/4711", at_ms: T + 2 },
      { kind: "grant", size: 5, reason: "ticket/4712", at_ms: T + 3 },
      { kind: "clawback", size: 400, reason: "dispute", at_ms: T + 4 },
      { kind: "clawback", size: 100, reason: "refund", at_ms: T + 5 },
      charge(T + 6, 7),
      { kind: "reinstatement", size: 150, reason: "dispute", at_ms: T + DAY },
    ]);
    expect(await shard().movements({ from_ms: T, to_ms: T + 2 * DAY, limit: 10 })).toEqual([
      { kind: "topup", reason: "(none)", entries: 1, amount_micros: 1_000 },
      { kind: "clawback", reason: "dispute", entries: 1, amount_micros: -400 },
      { kind: "reinstatement", reason: "dispute", entries: 1, amount_micros: 150 },
      { kind: "clawback", reason: "refund", entries: 1, amount_micros: -100 },
      { kind: "grant", reason: "welcome", entries: 1, amount_micros: 30 },
      { kind: "grant", reason: "ticket/:id", entries: 2, amount_micros: 25 },
    ]);
    expect(await shard().movements({ from_ms: T + DAY, to_ms: T + DAY + HOUR, limit: 10 })).toHaveLength(1);
    expect(await shard().movements({ from_ms: T, to_ms: T + HOUR, limit: 2 })).toHaveLength(2);
    expect(await shard().overview()).toMatchObject({ reversed_micros: 350, disputed_micros: 250 });
    const days = await shard().series({ from_ms: T, to_ms: T + 2 * DAY, step: "day" });
    expect(days.map(({ reversed_micros, disputed_micros }) => [reversed_micros, disputed_micros])).toEqual([
      [500, 400],
      [-150, -150],
      [0, 0],
    ]);
  });

  it("spend over days and parts of days counts each charge once", async () => {
    const lines: Line[] = [{ kind: "topup", size: 1_000, at_ms: T - 3 * DAY }];
    for (let hour = -60; hour < 40; hour++) lines.push(charge(T + hour * HOUR, 1));
    await send("a", lines);
    for (const [from, to] of [
      [-60, 40],
      [-59, 39],
      [-30, -20],
      [0, 1],
      [-34, -10],
      [-34, 14],
    ] as const) {
      const [row] = await shard().spend({ from_ms: T + from * HOUR, to_ms: T + to * HOUR, limit: 1 });
      expect(row?.charges, `${from} to ${to}`).toBe(to - from);
    }
  });

  it("a day has 300 reasons, and one name for all beyond", async () => {
    const lines: Line[] = [{ kind: "topup", size: 10_000 }];
    for (let i = 0; i < 400; i++) lines.push(charge(T + 1, 1, `reason ${i}`));
    await send("a", lines);
    const rows = await shard().spend({ from_ms: T, to_ms: T + HOUR, limit: 1_000 });
    expect(rows).toHaveLength(301);
    expect(rows[0]).toEqual({ reason: "(other)", charges: 100, spent_micros: 100 });
    expect(await shard().prove({ cursor: null, limit: 1 })).toMatchObject({ envelopes: 1 });
  });

  it.each([
    ["GET /v1/chat/completions", "GET /v1/chat/completions"],
    ["GET /users/123", "GET /users/:id"],
    ["GET /o/6f1c2e9a-0b7d-4a53-9c11-0123456789ab/x", "GET /o/:id/x"],
    ["GET /b/deadbeef00", "GET /b/:id"],
    ["GET /cafe/decade", "GET /cafe/decade"],
    ["GET /c/cus_NffrFeUfNV2Hib", "GET /c/:id"],
    ["GET /r/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /r/:id"],
    ["GET /internationalization", "GET /internationalization"],
    ["GET /m/ann@example.com", "GET /m/:id"],
    ["GET /2026/11/20", "GET /:id/:id/:id"],
    ["write 500 words", "write 500 words"],
    ["", "(none)"],
    [`GET /${"x".repeat(300)}`, `GET /${"x".repeat(115)}`],
  ])("the reason %s is counted as %s", (reason, name) => {
    expect(normalReason(reason)).toBe(name);
  });

  it("active envelopes are counted once a day, week and month, and only when they paid something", async () => {
    await send("a", [
      { kind: "topup", size: 1_000, at_ms: T },
      charge(T),
      charge(T + 1),
      charge(T + DAY),
      charge(T + 14 * DAY),
    ]);
    await send("b", [{ kind: "topup", size: 1_000, at_ms: T }, charge(T + 2, 0)]);
    await send("c", [{ kind: "topup", size: 1_000, at_ms: T }, charge(T + 3)]);
    const rows = await inside(name, async (_, { storage }) =>
      storage.sql.exec("SELECT period, at_ms, envelopes FROM active ORDER BY period, at_ms").toArray(),
    );
    expect(
      rows.map(
        ({ period, at_ms, envelopes }) =>
          `${period} ${new Date(at_ms as number).toISOString().slice(0, 10)} ${envelopes}`,
      ),
    ).toEqual([
      "day 2026-11-18 2",
      "day 2026-11-19 1",
      "day 2026-12-02 1",
      "month 2026-11-01 2",
      "month 2026-12-01 1",
      "week 2026-11-16 2",
      "week 2026-11-30 1",
    ]);
  });

  it("cohorts are by the month of the first top-up; before it, nobody is in one, however the entries are cut into batches", async () => {
    await send("a", [
      { kind: "grant", size: 100, at_ms: T },
      charge(T + 1, 10),
      { kind: "topup", size: 70, at_ms: T + 20 * DAY },
      charge(T + 20 * DAY, 30),
    ]);
    await send("b", [{ kind: "topup", size: 500, at_ms: T + 20 * DAY }]);
    expect(await shard().cohorts()).toEqual([
      { cohort: "", month: "2026-11", active: 1, credited_micros: 0, spent_micros: 10 },
      { cohort: "2026-12", month: "2026-12", active: 1, credited_micros: 570, spent_micros: 30 },
    ]);
  });

  it("refusals count once however often they are sent, and never under a name that is none", async () => {
    const now = Date.now();
    const period = { from_ms: now - HOUR, to_ms: now + HOUR };
    const refusals = { id: "r1", by_limit: { balance: 3, frozen: 1, "x y": 5, key: -1 } };
    await send("a", [{ kind: "topup", size: 10 }], { refusals });
    await send("a", [{ kind: "topup", size: 10 }], { refusals });
    await send("a", [], { refusals: { id: "r2", by_limit: { balance: 1 } } });
    expect(await shard().refusals(period)).toEqual([
      { limit: "balance", refusals: 4 },
      { limit: "frozen", refusals: 1 },
    ]);
    const hours = await shard().series({ ...period, step: "hour" });
    expect(hours.reduce((sum, point) => sum + point.refusals, 0)).toBe(5);
  });

  it("lists envelopes by three orders, page by page, each once; and by the beginning of an id", async () => {
    const ids = Array.from({ length: 23 }, (_, i) => `${"abc"[i % 3]}${i}`);
    for (const [i, id] of ids.entries()) {
      await send(id, [{ kind: "topup", size: 1_000 + (i % 5), at_ms: T }, charge(T + (i % 4), i % 6)]);
    }
    for (const [order, value] of [
      ["recent", "last_at_ms"],
      ["spent", "spent_micros"],
      ["balance", "balance_micros"],
    ] as const) {
      const found = [];
      for (let after: { value: number; envelope_id: string } | undefined; ; ) {
        const page = await shard().envelopes({ order, limit: 4, after });
        found.push(...page);
        const last = page.at(-1);
        if (last === undefined) break;
        after = { value: last[value], envelope_id: last.envelope_id };
      }
      expect(found.map(({ envelope_id }) => envelope_id).sort()).toEqual([...ids].sort());
      const values = found.map((one) => one[value]);
      expect(values).toEqual([...values].sort((one, other) => other - one));
    }
    const some = await shard().envelopes({ order: "spent", prefix: "b", limit: 100 });
    expect(some.map(({ envelope_id }) => envelope_id).sort()).toEqual(ids.filter((id) => id.startsWith("b")).sort());
    expect(await shard().envelope({ envelope_id: "a0" })).toMatchObject({
      applied_seq: 2,
      head_seq: 2,
      frozen: false,
      first_at_ms: T,
    });
    expect(await shard().envelope({ envelope_id: "nobody" })).toBeNull();
  });

  it("T89 lists each once by what they spent, one by one, where numbers do not hold it to the last digit", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    // 2^53, and then 2^53 + 1, + 2 …: every other one has no number of its own.
    for (let i = 0; i < 9; i++) {
      const money = [most, 100].flatMap((size): Line[] => [
        { kind: "topup", size },
        charge(T, size - (size === 100 ? 99 - i : 0)),
      ]);
      await send(`rich${"gaebhcfdi"[i]}`, money);
    }
    const found: string[] = [];
    for (let after: { value: number; envelope_id: string } | undefined; found.length < 20; ) {
      const [one] = await shard().envelopes({ order: "spent", limit: 1, after });
      if (one === undefined) break;
      found.push(one.envelope_id);
      after = { value: one.spent_micros, envelope_id: one.envelope_id };
    }
    expect(found).toHaveLength(9);
    expect(new Set(found).size).toBe(9);
    const plan = await inside(name, async (_, { storage: { sql } }) =>
      sql
        .exec(
          "EXPLAIN QUERY PLAN SELECT envelope_id FROM envelope_summary ORDER BY CAST(spent_micros AS REAL) DESC, envelope_id DESC LIMIT 9",
        )
        .toArray(),
    );
    expect(JSON.stringify(plan)).toContain("summary_spent");
    expect(JSON.stringify(plan)).not.toContain("TEMP B-TREE");
  });

  it("whoever goes through them by id misses none that is charged meanwhile", async () => {
    const ids = ["a", "b", "c", "d"];
    for (const [i, id] of ids.entries()) await send(id, [{ kind: "topup", size: 1_000, at_ms: T + i }]);
    const found: string[] = [];
    for (let after: { value: number; envelope_id: string } | undefined; ; ) {
      const [page] = await shard().envelopes({ order: "id", limit: 1, after });
      if (page === undefined) break;
      found.push(page.envelope_id);
      after = { value: 0, envelope_id: page.envelope_id };
      // Now the newest of all.
      const busy = ids.find((id) => !found.includes(id));
      if (busy !== undefined) await send(busy, [{ kind: "topup", size: 1_000, at_ms: T }, charge(T + HOUR)]);
    }
    expect(found.sort()).toEqual(ids);
  });

  it("spend by key is of whole days, net of refunds, of each envelope's own keys, highest first", async () => {
    const of = (spender: string, line: Line): Line => ({ ...line, spender });
    await send("a", [
      { kind: "topup", size: 1_000, at_ms: T - DAY },
      of("one", charge(T - DAY + 1, 100)),
      of("one", charge(T, 10)),
      of("two", charge(T + 1, 30)),
      charge(T + 2, 500),
      of("one", charge(T + 3, 5)),
      of("two", { kind: "refund", size: 4, at_ms: T + 4, ref_seq: 4, charge_reason: "GET /x" }),
    ]);
    await send("b", [{ kind: "grant", size: 50 }, of("one", charge(T + 7, 26))]);
    const rows = await shard().spendByKey({ from_ms: T, to_ms: T + HOUR, limit: 10 });
    expect(rows).toEqual([
      { envelope_id: "a", spender: "two", charges: 1, spent_micros: 26 },
      { envelope_id: "b", spender: "one", charges: 1, spent_micros: 26 },
      { envelope_id: "a", spender: "one", charges: 2, spent_micros: 15 },
    ]);
    expect(await shard().spendByKey({ from_ms: T, to_ms: T + HOUR, limit: 1 })).toEqual(rows.slice(0, 1));
    const both = await shard().spendByKey({ from_ms: T - DAY, to_ms: T + HOUR, limit: 10 });
    expect(both[0]).toEqual({ envelope_id: "a", spender: "one", charges: 3, spent_micros: 115 });
    // Sent again from the beginning, it is the same.
    await shard().rebuild({ cursor: null, limit: 0 });
    expect(await shard().spendByKey({ from_ms: T - DAY, to_ms: T + HOUR, limit: 10 })).toEqual([]);
  });

  it("raw events come newest first and page by page, with all that was sent of them; the view says the same", async () => {
    const lines: Line[] = [{ kind: "topup", size: 1_000, payment_id: "pi_1" }];
    for (let i = 1; i < 30; i++) lines.push(charge(T + i, 1, `r${i}`));
    lines.push({ ...charge(T + 30, 1, null), spender: "key-1" });
    lines.push({ kind: "refund", size: 1, at_ms: T + 31, ref_seq: 5, hold_id: 7, reason: "x", charge_reason: "r4" });
    const entries = ledger(lines, T);
    await shard().mirror(batchOf("a", entries.slice(0, 10)));
    await shard().mirror(batchOf("a", entries.slice(10)));
    const told = [];
    for (let cursor: string | undefined; ; ) {
      const page = await shard().events({ from_ms: T, to_ms: T + HOUR, cursor, limit: 7 });
      told.push(...page.events);
      if (page.cursor === null) break;
      cursor = page.cursor;
    }
    const nothing = {
      reason: null,
      payment_id: null,
      ref_seq: null,
      hold_id: null,
      charge_reason: null,
      spender: null,
    };
    expect(told).toEqual(entries.toReversed().map((entry) => ({ envelope_id: "a", ...nothing, ...entry })));
    const view = await shard().query({
      statement: "SELECT count(*), sum(amount_micros) FROM event WHERE kind = 'charge'",
    });
    expect(view).toMatchObject({ outcome: "rows", rows: [[30, -30]] });
    expect(
      (await shard().events({ from_ms: T + 3, to_ms: T + 6, limit: 100 })).events.map(({ at_ms }) => at_ms - T),
    ).toEqual([5, 4, 3]);
  });

  it("an envelope on earlier code sends no more than it knows of, and counts all the same", async () => {
    const old = ledger(
      [
        { kind: "topup", size: 100 },
        { kind: "charge", size: 30, at_ms: T + 1 },
        { kind: "refund", size: 5, at_ms: T + 2 },
      ],
      T,
    );
    expect(await shard().mirror({ envelope_id: "old", currency: "usd", entries: old })).toEqual({ next_seq: 4 });
    expect(await shard().spend({ from_ms: T, to_ms: T + HOUR, limit: 5 })).toEqual([
      { reason: "(none)", charges: 1, spent_micros: 25 },
    ]);
    expect(await shard().overview()).toMatchObject({ entries: 3, behind: 0, spent_micros: 30, outstanding_micros: 75 });
  });
});

describe("I10 sums that pass what a number holds", () => {
  it("are exact in the database, and the proof adds up", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    for (let i = 0; i < 5; i++) {
      await send(`rich-${i}`, [{ kind: "topup", size: most }, charge(T + 1, 2 + i), charge(T + 2, most - 100)]);
    }
    const exact = (5n * (BigInt(most) - 100n) + 20n).toString();
    const { rows } = (await shard().query({ statement: "SELECT CAST(spent_micros AS TEXT) FROM total" })) as {
      readonly rows: readonly (readonly unknown[])[];
    };
    expect(rows).toEqual([[exact]]);
    const sums = async (cursor: string | null) => {
      const differences = [];
      for (let next: string | null = cursor; next !== null; ) {
        const page = await shard().prove({ cursor: next, limit: 10 });
        differences.push(...page.differences);
        next = page.cursor;
      }
      return differences;
    };
    const { cursor } = await shard().prove({ cursor: null, limit: 10 });
    expect(await sums(cursor)).toEqual([]);
    await inside(name, async (_, { storage: { sql } }) => {
      sql.exec("UPDATE batch SET last_at_ms = 0 WHERE batch_id <= 3");
    });
    await runDurableObjectAlarm(stubOf(name));
    expect((await shard().health()).raw_events).toBe(6);
    const after = await shard().prove({ cursor: null, limit: 10 });
    expect(await sums(after.cursor)).toEqual([]);
  });
});

describe("a statement of the owner's", () => {
  it.each([
    "DELETE FROM total",
    "SELECT 1; DELETE FROM total",
    "PRAGMA ignore_check_constraints = 1",
    "WITH x AS (SELECT 1) DELETE FROM total",
    "SELECT nothing FROM nowhere",
  ])("%s changes nothing", async (statement) => {
    await send("a", [{ kind: "topup", size: 10 }]);
    await shard().query({ statement });
    expect(await shard().overview()).toMatchObject({ credited_micros: 10 });
  });
});

describe("what a batch costs", () => {
  it.each([1, 3])("a batch of 100 charges for %d reasons writes 10 rows, and 2 for each reason", async (reasons) => {
    await inside(name, async (instance, state) => {
      const lines: Line[] = [{ kind: "topup", size: 1_000_000 }];
      for (let i = 0; i < 200; i++) lines.push(charge(T + i, 1, ["GET /a", "GET /b", "POST /c"][i % reasons]));
      const entries = ledger(lines, T);
      const told = { frozen: false, head_seq: 201 };
      await instance.mirror(batchOf("a", entries.slice(0, 101), { ...told, head_seq: 101 }));
      const last = batchOf("a", entries.slice(101), told);
      expect(await rowsWritten(state, () => instance.mirror(last))).toBe(10 + 2 * reasons);
      expect(await rowsWritten(state, () => instance.mirror(last)), "sent again").toBe(1);
    });
  });

  it("a key adds one row for each day that it spent in, however often", async () => {
    await inside(name, async (instance, state) => {
      const lines: Line[] = [{ kind: "topup", size: 1_000_000 }];
      for (let i = 0; i < 200; i++) lines.push({ ...charge(T + i, 1), spender: "key-1" });
      const entries = ledger(lines, T);
      await instance.mirror(batchOf("a", entries.slice(0, 101), { frozen: false, head_seq: 101 }));
      const last = batchOf("a", entries.slice(101), { frozen: false, head_seq: 201 });
      expect(await rowsWritten(state, () => instance.mirror(last))).toBe(13);
    });
  });

  it("T94 a batch that fails half-way leaves nothing of itself", async () => {
    await inside(name, async (instance, { storage: { sql } }) => {
      await instance.mirror(batchOf("a", ledger([{ kind: "topup", size: 100 }], T)));
      sql.exec("CREATE TRIGGER fails BEFORE INSERT ON cohort BEGIN SELECT RAISE(ABORT, 'half-way'); END");
      const before = await instance.overview();
      await expect(
        instance.mirror(batchOf("a", ledger([{ kind: "topup", size: 100 }, charge(T + 40 * DAY)], T))),
      ).rejects.toThrow("half-way");
      expect(await instance.overview()).toEqual(before);
      sql.exec("DROP TRIGGER fails");
      await instance.mirror(batchOf("a", ledger([{ kind: "topup", size: 100 }, charge(T + 40 * DAY)], T)));
      expect(await instance.overview()).toMatchObject({ entries: 2, spent_micros: 10 });
    });
  });
});
