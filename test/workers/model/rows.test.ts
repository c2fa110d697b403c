import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type {
  ChargeInput,
  EnvelopeApi,
  HoldInput,
  MeterSession,
  MintKeyInput,
  OpenMeterInput,
} from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import type { Micros } from "../../../src/money.js";
import { dispute, facts, refund as reversed, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";

let names = 0;
let name = "";
// In the future, so that the mirror's alarm does not ring in the middle of a test.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
});
afterAll(() => {
  vi.useRealTimers();
});
beforeEach(() => {
  names += 1;
  name = `rows-${names}`;
});

const KEY = { api_key: "key00001", hash: "hash-key" };
const mint =
  (id: string, over: Partial<MintKeyInput> = {}) =>
  (envelope: EnvelopeApi) =>
    envelope.mintKey({
      ...{ id, hash: "hash-key", last4: "last", key: id, currency: "usd", by: { actor: "x", reason: null } },
      ...{ name: null, scopes: ["spend"], cap_micros: micros(1_000_000), windows: [], expires_at_ms: null },
      ...over,
    });
const DAILY = { unit: "DAILY", limit_micros: micros(1_000_000) } as const;

const inside = <T>(work: (envelope: EnvelopeApi, state: DurableObjectState) => Promise<T>): Promise<T> =>
  runInDurableObject(env.ENVELOPE.getByName(name), (instance: Envelope, state) => work(instance, state));

/**
 * The billed rows that some calls write in SQL: the sum over all statements' cursors. The mirror is not in it: its alarm (one
 * row, set at most once for all charges within a second) is no SQL, and its cursor is written when the alarm rings.
 */
async function rowsWritten(calls: (envelope: EnvelopeApi) => Promise<unknown>): Promise<number> {
  return inside(async (envelope, { storage: { sql } }) => {
    const exec = sql.exec.bind(sql);
    const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
    sql.exec = (query, ...bindings) => {
      const cursor = exec(query, ...bindings);
      cursors.push(cursor);
      return cursor as never;
    };
    try {
      await calls(envelope);
    } finally {
      sql.exec = exec;
    }
    return cursors.reduce((sum, cursor) => sum + cursor.rowsWritten, 0);
  });
}

const credential = { generation: 1, hash: "hash-1" };
const SUCCESSOR = { generation: 2, hash: "hash-2" };
const charge =
  (amount: number, over: Partial<ChargeInput> = {}) =>
  (envelope: EnvelopeApi) =>
    envelope.charge({ op: "new", currency: "usd", amount_micros: micros(amount), ...over });
const hold =
  (amount: number, over: Partial<HoldInput> = {}) =>
  (envelope: EnvelopeApi) =>
    envelope.hold({ op: "new", currency: "usd", amount_micros: micros(amount), ttl_ms: 60_000, ...over });
const settle =
  (amount: number, hold_id = 1) =>
  (envelope: EnvelopeApi) =>
    envelope.settle({ op: "new", hold_id, amount_micros: micros(amount) });
const slice = (taken: number, units = 3) => ({ taken_micros: micros(taken), units, unit_micros: micros(10) });
const meter =
  (over: Partial<OpenMeterInput> = {}) =>
  (envelope: EnvelopeApi) => {
    const asked = { op: "new", currency: "usd", slice: slice(0), least_micros: micros(10), lease_ms: 60_000 };
    return envelope.openMeter({ ...asked, ...over });
  };
/** A meter is begun, and then something is done to it. */
const metered =
  (work: (session: MeterSession) => Promise<{ readonly outcome: string }>): Calls =>
  async (envelope) => {
    const begun = await meter()(envelope);
    return begun.outcome === "held" ? work(begun.session) : begun;
  };
const extend =
  (amount: number, hold_id = 1) =>
  (envelope: EnvelopeApi) =>
    envelope.extend({ hold_id, currency: "usd", amount_micros: micros(amount) });
const refund =
  (seq: number, amount?: number, key = "refund:new") =>
  (envelope: EnvelopeApi) => {
    const amount_micros = amount === undefined ? undefined : micros(amount);
    return envelope.refund({ op: "new", charge: { seq }, key, amount_micros });
  };
const report = (word: Parameters<typeof told>[0], payment_id: string) => (envelope: EnvelopeApi) =>
  envelope.report(told(word, payment_id));
const [PAID, PENDING] = [facts("paid", 7), facts("pending", 7)];
const grant = (amount: number, key: string) => (envelope: EnvelopeApi) =>
  envelope.grant({ op: "new", currency: "usd", key, amount_micros: micros(amount) });

/** A grant of 1,000 (entry 1), a charge of 100 under the key `paid` (entry 2), hold 1 of 50, payment `pi_paid` of 7, taken back once, a refund of 1, a credential and its unused successor. */
async function fund(envelope: EnvelopeApi): Promise<void> {
  await grant(1_000, "given")(envelope);
  await charge(100, { key: "paid", op: "old", credential })(envelope);
  await hold(50, { key: "held", op: "old-hold" })(envelope);
  await report(PAID, "pi_paid")(envelope);
  await report(reversed(1), "pi_paid")(envelope);
  await refund(2, 1, "refund:old")(envelope);
  await charge(100, { key: "whole", op: "whole" })(envelope);
  await envelope.rotate({ credential, next: SUCCESSOR });
}

type Calls = (envelope: EnvelopeApi) => Promise<{ readonly outcome: string }>;

/** What a hold comes to that costs more than it was. */
const LATE = { op: "new", hold_id: 1, amount_micros: micros(70) } as const;

async function fourTimes(session: MeterSession) {
  for (const used of [5, 10, 15]) await session.use({ used_micros: micros(used) });
  return session.use({ used_micros: micros(20) });
}

const WRITES: readonly (readonly [name: string, calls: Calls, outcome: string, rows: number])[] = [
  ["a charge", charge(10), "charged", 1],
  ["a charge with reason and metadata", charge(10, { reason: "r", metadata: "{}" }), "charged", 1],
  ["a charge by a holder whose token is known", charge(10, { credential }), "charged", 1],
  ["a charge of what is left", charge(10_000, { at_most: true }), "charged", 1],
  ["a charge with a key", charge(10, { key: "new" }), "charged", 2],
  ["a charge of zero, recorded", charge(0, { record_zero: true }), "charged", 1],
  ["a hold", hold(10), "held", 2],
  ["a settlement", settle(10), "charged", 3],
  ["a settlement at zero", settle(0), "charged", 1],
  ["a release", (envelope) => envelope.release({ hold_id: 1 }), "released", 1],
  ["a settlement above it", (envelope) => envelope.settle({ ...LATE, above: "part" }), "charged", 3],
  ["an extension", extend(60), "extended", 1],
  ["an extension that is refused", extend(10_000), "refused", 0],
  ["an extension of nothing", extend(60, 99), "unknown", 0],
  ["a meter", meter(), "held", 2],
  ["a meter that is refused", meter({ least_micros: micros(10_000) }), "refused", 0],
  ["a meter that goes on with a hold", meter({ resume: { hold_id: 1, used_micros: micros(0) } }), "held", 1],
  ["a meter, told of four times", metered(fourTimes), "held", 2],
  ["a meter, renewed", metered((session) => session.use({ used_micros: micros(20), slice: slice(20) })), "held", 3],
  ["a meter, to its end", metered((session) => session.end({ op: "end", used_micros: micros(20) })), "charged", 4],
  [
    "a meter that delivers nothing",
    metered((session) => session.end({ op: "end", used_micros: micros(0) })),
    "charged",
    3,
  ],
  ["a refund", refund(2), "refunded", 3],
  ["a refund replayed", refund(2, 1, "refund:old"), "replayed", 0],
  ["a refund in conflict", refund(2, 2, "refund:old"), "conflict", 0],
  ["a grant", grant(10, "new"), "granted", 3],
  ["a payment", report(PAID, "pi_new"), "credited", 2],
  ["a payment that is pending", report(PENDING, "pi_new"), "pending", 1],
  ["a payment that failed", report(facts("failed", 7), "pi_new"), "failed", 0],
  ["a refund by Stripe", report(reversed(2, "re_2"), "pi_paid"), "reversed", 4],
  ["its success, which moves nothing more", report(reversed(1, "re_1", 2), "pi_paid"), "duplicate", 0],
  ["its failure", report(reversed(1, "re_1", 3), "pi_paid"), "reversed", 4],
  ["a dispute that was opened", report(dispute(0, { open: true }), "pi_paid"), "noted", 3],
  ["a refund of a payment still to come", report(reversed(1, "re_3"), "pi_new"), "noted", 2],
  ["a charge by a successor for the first time", charge(10, { credential: SUCCESSOR }), "charged", 3],
  ["a charge of zero", charge(0), "charged", 0],
  ["a charge that is refused", charge(10_000), "refused", 0],
  ["a charge with a key that is refused", charge(10_000, { key: "new" }), "refused", 0],
  ["a charge with a revoked token", charge(10, { credential: { generation: 0, hash: "h" } }), "refused", 0],
  ["a charge that is invalid", charge(-1), "invalid", 0],
  ["a charge in another currency", charge(10, { currency: "eur" }), "invalid", 0],
  ["a charge replayed by its key", charge(100, { key: "whole" }), "replayed", 0],
  ["a charge replayed by its operation", charge(100, { op: "old", retry: true }), "charged", 0],
  ["a charge in conflict", charge(99, { key: "whole" }), "conflict", 0],
  ["a charge whose key is too old", charge(100, { key: "whole", replay_ms: 0 }), "conflict", 0],
  ["a charge whose key was given back", charge(100, { key: "paid" }), "conflict", 0],
  ["a charge while its key is held", charge(50, { key: "held" }), "conflict", 0],
  ["a hold that is refused", hold(10_000), "refused", 0],
  ["a hold replayed by its operation", hold(50, { op: "old-hold", retry: true }), "held", 0],
  ["a settlement of nothing", settle(10, 99), "unknown", 0],
  ["a settlement that is invalid", settle(-1), "invalid", 0],
  ["a refund of too much", refund(2, 101), "refused", 0],
  ["a refund of nothing", refund(99), "unknown", 0],
  ["a grant replayed", grant(1_000, "given"), "replayed", 0],
  ["a payment told again", report(PAID, "pi_paid"), "duplicate", 0],
  ["a refund by Stripe told again", report(reversed(1), "pi_paid"), "duplicate", 0],
  ["a look", (envelope) => envelope.state({ credential }), "ok", 0],
  [
    "a look with a revoked token",
    (envelope) => envelope.state({ credential: { generation: 0, hash: "h" } }),
    "unauthorized",
    0,
  ],
];

describe("rows written, which are what a charge costs", () => {
  for (const [name, calls, outcome, rows] of WRITES) {
    it(`${name} → ${rows}`, async () => {
      await inside(fund);
      let answered = "";
      expect(
        await rowsWritten(async (envelope) => {
          answered = (await calls(envelope)).outcome;
        }),
      ).toBe(rows);
      expect(answered).toBe(outcome);
    });
  }

  it("a charge that somebody watches → 1; the one that crosses the line → 3: entry, alert, what is to be told", async () => {
    await inside(fund);
    const { balance_micros } = (await inside((envelope) => envelope.state({}))) as { readonly balance_micros: Micros };
    const alerts = { low_micros: micros(balance_micros - 5), window_bps: [] };
    expect(await rowsWritten(charge(5, { alerts, op: "op-1" }))).toBe(1);
    expect(await rowsWritten(charge(1, { alerts, op: "op-2" }))).toBe(3);
    expect(await rowsWritten(charge(1, { alerts, op: "op-3" }))).toBe(1);
  });

  const twoWindows = (envelope: EnvelopeApi) =>
    envelope.configure({
      currency: "usd",
      windows: [
        { window_id: "hour", unit: "HOURLY", limit_micros: micros(300), alignment: "rolling" },
        { window_id: "month", unit: "MONTHLY", limit_micros: micros(900), time_zone: "Europe/Berlin" },
      ],
    });
  describe("by a key with a cap and two windows of its own", () => {
    const begin = async (envelope: EnvelopeApi) => {
      await fund(envelope);
      await grant(1_000_000, "more")(envelope);
      await mint(KEY.api_key, { windows: [DAILY, { ...DAILY, unit: "MONTHLY" }] })(envelope);
    };
    const BY_KEY: readonly (readonly [name: string, calls: Calls, outcome: string, rows: number])[] = [
      ["a charge", charge(10, { credential: KEY }), "charged", 1],
      ["a charge with a key", charge(10, { credential: KEY, key: "new" }), "charged", 2],
      ["a charge above its cap", charge(1_000_001, { credential: KEY }), "refused", 0],
      ["a charge by none", charge(1, { credential: { ...KEY, hash: "h" } }), "refused", 0],
      ["a hold", hold(10, { credential: KEY }), "held", 2],
      ["a meter", meter({ credential: KEY }), "held", 2],
      ["a look", (envelope) => envelope.spenders({ before: null, limit: 10 }), "ok", 0],
      ["another key", mint("key00002"), "minted", 4],
      ["a key made again", mint("key00003", { key: KEY.api_key }), "replayed", 0],
    ];
    for (const [name, calls, outcome, rows] of BY_KEY) {
      it(`${name} → ${rows}`, async () => {
        await inside(begin);
        let answered = "";
        const count = await rowsWritten(async (envelope) => {
          answered = (await calls(envelope)).outcome;
        });
        expect([answered, count]).toEqual([outcome, rows]);
      });
    }

    it("a charge in two windows of the envelope as well → 1, also where all of them begin a period", async () => {
      await inside(begin);
      await inside(twoWindows);
      expect(await rowsWritten(charge(10, { credential: KEY }))).toBe(1);
      vi.setSystemTime(Date.now() + 40 * 24 * 3_600_000);
      expect(await rowsWritten(charge(1, { credential: KEY, op: "later" }))).toBe(1);
    });

    it("1,024 charges → 1,024, and 2 each 256 times for what they come to; by 64 keys, 65", async () => {
      await inside(begin);
      const many = (keys: number) => async (envelope: EnvelopeApi) => {
        for (let i = 0; i < 1_024; i++) {
          const credential = { ...KEY, api_key: `key${String(1 + (i % keys)).padStart(5, "0")}` };
          expect((await charge(1, { op: `op-${i}`, credential })(envelope)).outcome).toBe("charged");
        }
      };
      expect(await rowsWritten(many(1))).toBe(1_024 + 4 * 2);
      await inside(async (envelope) => {
        for (let i = 2; i <= 64; i++) await mint(`key${String(i).padStart(5, "0")}`)(envelope);
      });
      expect(await rowsWritten(many(64))).toBe(1_024 + 4 * 65);
    });
  });

  const aBudget = async (envelope: EnvelopeApi) => {
    const window = { window_id: "month", unit: "MONTHLY", limit_micros: micros(900) } as const;
    await envelope.configure({ currency: "usd", prepaid: false, windows: [window] });
    await charge(1)(envelope);
  };
  const limited: typeof WRITES = [
    ["a charge", charge(10), "charged", 1],
    ["a charge with a key", charge(10, { key: "new" }), "charged", 2],
    ["a charge that a window refuses", charge(301), "refused", 0],
    ["a hold", hold(10), "held", 2],
    ["a settlement", settle(10), "charged", 3],
    ["a refund", refund(2), "refunded", 3],
    ["a grant", grant(10, "new"), "granted", 3],
    ["a look", (envelope) => envelope.state({ credential }), "ok", 0],
    ["the end of both windows", (envelope) => envelope.configure({ currency: "usd", windows: [] }), "configured", 3],
  ];
  for (const [name, calls, outcome, rows] of limited) {
    it(`with two windows, ${name} → ${rows}`, async () => {
      await inside(fund);
      await inside(twoWindows);
      let answered = "";
      const counted = async (envelope: EnvelopeApi) => {
        answered = (await calls(envelope)).outcome;
      };
      expect(await rowsWritten(counted)).toBe(rows);
      expect(answered).toBe(outcome);
      // The period is another one by now.
      vi.setSystemTime(Date.now() + 40 * 24 * 3_600_000);
      expect(await rowsWritten(charge(1, { op: "later" })), "when a period begins").toBe(1);
    });
  }

  it("with two windows, a charge by a key with a cap → 1", async () => {
    await inside(fund);
    await inside(twoWindows);
    await inside(mint(KEY.api_key));
    expect(await rowsWritten(charge(10, { credential: KEY }))).toBe(1);
    expect(await rowsWritten(charge(10, { credential: KEY, key: "new", op: "keyed" }))).toBe(2);
  });

  it("on a budget, a charge → 1", async () => {
    await inside(aBudget);
    expect(await rowsWritten(charge(10))).toBe(1);
  });

  it("a hundred charges → 100, and one alarm", async () => {
    await inside(fund);
    const hundred = async (envelope: EnvelopeApi) => {
      for (let i = 0; i < 100; i++) await charge(1, { op: `op-${i}` })(envelope);
    };
    expect(await rowsWritten(hundred)).toBe(100);
    expect(await inside((_, { storage }) => storage.getAlarm())).not.toBeNull();
  });
});

describe("T57 an envelope that nobody paid for stores nothing", () => {
  const VISITS: readonly (readonly [
    name: string,
    visit: (envelope: EnvelopeApi) => Promise<unknown>,
    answer: object | null,
  ])[] = [
    ["state", (envelope) => envelope.state({}), { outcome: "ok", funded: false, balance_micros: 0, currency: null }],
    ["state with a token", (envelope) => envelope.state({ credential }), { outcome: "ok" }],
    ["entries", (envelope) => envelope.entries({ after: 0, limit: 10 }), { length: 0 }],
    ["charge", charge(10), { outcome: "refused" }],
    ["charge with a token", charge(10, { credential }), { outcome: "refused" }],
    ["charge with a key", charge(10, { key: "k" }), { outcome: "refused" }],
    ["charge at most", charge(10, { at_most: true }), { outcome: "refused" }],
    ["charge of zero, to be recorded", charge(0, { record_zero: true }), { outcome: "charged", seq: null }],
    ["charge sent again", charge(10, { retry: true, key: "k" }), { outcome: "refused" }],
    ["hold", hold(10), { outcome: "refused" }],
    ["hold sent again", hold(10, { retry: true, key: "k" }), { outcome: "refused" }],
    ["settle", settle(10), { outcome: "unknown" }],
    ["release", (envelope) => envelope.release({ hold_id: 1 }), { outcome: "unknown" }],
    ["extend", extend(10), { outcome: "unknown" }],
    ["meter", meter(), { outcome: "refused" }],
    ["meter sent again", meter({ retry: true, key: "k" }), { outcome: "refused" }],
    ["meter that goes on", meter({ resume: { hold_id: 1, used_micros: micros(5) } }), { outcome: "unknown" }],
    ["refund", refund(1), { outcome: "unknown" }],
    [
      "a setting that is refused",
      (envelope) => envelope.configure({ currency: "usd", time_zone: "?" }),
      { outcome: "invalid" },
    ],
    [
      "rotate",
      (envelope) => envelope.rotate({ credential, next: { generation: 2, hash: "n" } }),
      { outcome: "unfunded" },
    ],
    ["unfreeze", (envelope) => envelope.freeze({ frozen: false, currency: "usd" }), { frozen: false }],
    ["a payment that failed", report(facts("failed", 7), "pi"), { outcome: "failed" }],
    ["what is on file of a payment", (envelope) => envelope.paymentState({ payment_id: "pi" }), null],
    ["a grant of nothing", grant(0, "k"), { outcome: "invalid" }],
    ["a charge with a key", charge(10, { credential: KEY }), { outcome: "refused" }],
    ["a charge as an identity", charge(10, { credential: { identity_id: "i" } }), { outcome: "refused" }],
    ["a look with a key", (envelope) => envelope.state({ credential: KEY }), { outcome: "unauthorized" }],
    ["a key that is made", mint("key00001"), { outcome: "unfunded" }],
    ["keys", (envelope) => envelope.spenders({ before: null, limit: 1 }), { outcome: "ok", spenders: [] }],
    ["an identity that ends", (envelope) => envelope.endIdentity({ identity_id: "i" }), { ended: true }],
    ["a payment of nothing", report(facts("paid", 0), "pi"), { outcome: "uncreditable" }],
  ];

  for (const [name, visit, answer] of VISITS) {
    it(`${name}: no table, no row, no alarm`, async () => {
      let answered: unknown;
      expect(
        await rowsWritten(async (envelope) => {
          answered = await visit(envelope);
        }),
      ).toBe(0);
      expect(answered).toEqual(answer && expect.objectContaining(answer));
      await inside(async (_, { storage }) => {
        expect(
          storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").toArray(),
        ).toEqual([]);
        expect(await storage.getAlarm()).toBeNull();
      });
    });
  }

  it("the first grant makes the tables, so the checks above can fail", async () => {
    expect(await rowsWritten(grant(10, "k"))).toBeGreaterThan(2);
    const tables = await inside(async (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE type = 'table'").toArray(),
    );
    expect(tables.length).toBeGreaterThan(4);
  });
});
