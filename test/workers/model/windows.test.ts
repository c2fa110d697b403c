/** Windows and budgets in the real object. That their rules are right is shown in rules/windows.test.ts and by the model. */
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type {
  ChargeInput,
  ChargeOutcome,
  ConfigureInput,
  EnvelopeApi,
  EnvelopeState,
  WindowInput,
} from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { canTopUp, limitOf } from "../../../src/limits.js";
import { facts, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** In the future, so that the mirror's alarms do not ring in the middle of a test. */
const START = Date.UTC(2100, 0, 1);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterEach(() => {
  vi.useRealTimers();
  delete (env as unknown as Record<string, unknown>)["ENVELOPE_LEDGER_DAYS"];
});

let names = 0;
let ops = 0;
const at = (iso: string) => void vi.setSystemTime(Date.parse(iso));

/** One envelope, asked as a Worker would ask it. */
class Holder {
  readonly name: string;

  constructor() {
    names += 1;
    this.name = `windows-${names}`;
  }
  get stub() {
    return env.ENVELOPE.getByName(this.name);
  }
  get api(): EnvelopeApi {
    return this.stub as unknown as EnvelopeApi;
  }
  grant(amount: number) {
    ops += 1;
    return this.api.grant({ op: `g${ops}`, key: `g${ops}`, currency: "usd", amount_micros: micros(amount) });
  }
  charge(amount: number, more: Partial<ChargeInput> = {}): Promise<ChargeOutcome> {
    ops += 1;
    return this.api.charge({ op: `c${ops}`, currency: "usd", amount_micros: micros(amount), ...more });
  }
  refund(seq: number, amount?: number) {
    ops += 1;
    const amount_micros = amount === undefined ? undefined : micros(amount);
    return this.api.refund({ op: `r${ops}`, key: `r${ops}`, charge: { seq }, amount_micros });
  }
  hold(amount: number, ttl_ms = DAY) {
    ops += 1;
    return this.api.hold({ op: `h${ops}`, currency: "usd", amount_micros: micros(amount), ttl_ms });
  }
  settle(hold_id: number, amount: number) {
    ops += 1;
    return this.api.settle({ op: `s${ops}`, hold_id, amount_micros: micros(amount) });
  }
  configure(input: Partial<ConfigureInput>) {
    return this.api.configure({ currency: "usd", ...input });
  }
  limit(...windows: readonly WindowInput[]) {
    return this.configure({ windows });
  }
  async state(): Promise<EnvelopeState> {
    const state = await this.api.state({});
    if (state.outcome !== "ok") throw new Error("state() without a credential is always told");
    return state;
  }
  async spent(): Promise<readonly number[]> {
    return (await this.state()).windows.map(({ spent_micros }) => spent_micros);
  }
  evict() {
    return evictDurableObject(this.stub).catch(() => undefined);
  }
  inside<T>(work: (sql: SqlStorage, envelope: EnvelopeApi) => T | Promise<T>): Promise<T> {
    return runInDurableObject(this.stub, async (envelope: Envelope, { storage }) => work(storage.sql, envelope));
  }
}

async function payer(balance: number, ...windows: readonly WindowInput[]): Promise<Holder> {
  const holder = new Holder();
  await holder.grant(balance);
  expect(await holder.limit(...windows)).toMatchObject({ outcome: "configured" });
  return holder;
}

async function budget(...windows: readonly WindowInput[]): Promise<Holder> {
  const holder = new Holder();
  expect(await holder.configure({ prepaid: false, windows })).toMatchObject({ outcome: "configured" });
  return holder;
}

const window = (unit: WindowInput["unit"], limit: number, more: Partial<WindowInput> = {}): WindowInput => ({
  window_id: unit.toLowerCase(),
  unit,
  limit_micros: micros(limit),
  ...more,
});

/** What a client reads of an answer: which limit refused, when that resets, and whether paying helps. */
function read(answer: ChargeOutcome | Awaited<ReturnType<EnvelopeApi["hold"]>>): string {
  if (answer.outcome !== "refused") return answer.outcome;
  const { reason, window_id, resets_at_ms } = answer.refusal;
  const resets = resets_at_ms == null ? "never" : new Date(resets_at_ms).toISOString();
  return `${limitOf(reason)} ${window_id ?? "-"}, resets ${resets}, ${canTopUp(reason) ? "pay" : "wait"}`;
}

describe("two windows, a balance and 1,000 parallel charges", () => {
  const NEXT_HOUR = "2100-01-01T01:00:00.000Z";
  const NEXT_DAY = "2100-01-02T00:00:00.000Z";
  it.each([
    ["the hour", { balance: 900, hour: 400, day: 700 }, 400, `window hourly, resets ${NEXT_HOUR}, wait`],
    ["the day", { balance: 900, hour: 800, day: 700 }, 700, `window daily, resets ${NEXT_DAY}, wait`],
    ["the balance", { balance: 300, hour: 400, day: 700 }, 300, "balance -, resets never, pay"],
    // Both refuse: paying lifts one of them only, so the other is named, and of the windows the one that resets last.
    ["both at once", { balance: 400, hour: 400, day: 400 }, 400, `window daily, resets ${NEXT_DAY}, wait`],
  ])("T16 T88 the tightest is met exactly, and named: %s", async (_name, { balance, hour, day }, admitted, refused) => {
    const holder = await payer(balance, window("HOURLY", hour), window("DAILY", day));
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => holder.charge(1)));
    const counted: Record<string, number> = {};
    for (const answer of answers) counted[read(answer)] = (counted[read(answer)] ?? 0) + 1;
    expect(counted).toEqual({ charged: admitted, [refused]: 1_000 - admitted });
    expect(await holder.spent()).toEqual([admitted, admitted]);
    expect((await holder.state()).balance_micros).toBe(balance - admitted);
  });

  it("T63 beside a key's cap, which is a limit like the others", async () => {
    for (const [cap, balance, hour, refused] of [
      [300, 900, 400, "key -, resets never, wait"],
      [500, 900, 400, `window hourly, resets ${NEXT_HOUR}, wait`],
      [500, 200, 400, "balance -, resets never, pay"],
    ] as const) {
      const holder = await payer(balance, window("HOURLY", hour), window("DAILY", 700));
      const minted = await holder.api.mintKey({
        ...{
          id: "key00001",
          hash: "h",
          last4: "last",
          key: "k",
          currency: "usd",
          by: { actor: "owner", reason: null },
        },
        ...{ name: null, scopes: ["spend"], cap_micros: micros(cap), windows: [], expires_at_ms: null },
      });
      expect(minted.outcome).toBe("minted");
      const credential = { api_key: "key00001", hash: "h" };
      const answers = await Promise.all(Array.from({ length: 1_000 }, () => holder.charge(1, { credential })));
      const counted: Record<string, number> = {};
      for (const answer of answers) counted[read(answer)] = (counted[read(answer)] ?? 0) + 1;
      const admitted = Math.min(cap, balance, hour);
      expect(counted).toEqual({ charged: admitted, [refused]: 1_000 - admitted });
    }
  });

  it("T16 a budget of two windows, too", async () => {
    const holder = await budget(window("HOURLY", 250), window("MONTHLY", 600));
    for (const hour of [0, 1, 2]) {
      vi.setSystemTime(START + hour * HOUR);
      const answers = await Promise.all(Array.from({ length: 400 }, () => holder.charge(1)));
      const admitted = answers.filter(({ outcome }) => outcome === "charged").length;
      expect(admitted).toBe([250, 250, 100][hour]);
    }
    expect(read(await holder.charge(1))).toBe("window monthly, resets 2100-02-01T00:00:00.000Z, wait");
  });
});

describe("alerts of windows", () => {
  const alerts = { low_micros: null, window_bps: [8_000, 10_000] };
  const told = ({ alerts }: ChargeOutcome) =>
    (alerts ?? []).map((one) => ("threshold" in one ? `${one.kind} ${one.window_id} ${one.threshold}` : one.kind));

  it("are told once a crossing, of a rolling window too, and that it is over", async () => {
    const rolling = window("DAILY", 100, { window_id: "rolling", alignment: "rolling" });
    const holder = await payer(1_000, window("MONTHLY", 200), rolling);
    const charge = async (amount: number) => told(await holder.charge(amount, { alerts }));
    expect(await charge(79)).toEqual([]);
    vi.setSystemTime(START + 1_000);
    expect(await charge(1)).toEqual(["window_threshold rolling 0.8"]);
    for (let second = 2; second < 12; second++) {
      vi.setSystemTime(START + second * 1_000);
      expect(await charge(1)).toEqual([]);
    }
    expect(await charge(10)).toEqual(["window_threshold rolling 1"]);
    vi.setSystemTime(START + DAY);
    expect(await charge(1)).toEqual(["window_recovered rolling 0.8", "window_recovered rolling 1"]);
    vi.setSystemTime(START + 2 * DAY);
    expect(await charge(75)).toEqual(["window_threshold monthly 0.8"]);
  });
});

describe("what counts in a window", () => {
  it("T88 a charge on the very edge is in the period that begins there", async () => {
    const holder = await payer(100, window("DAILY", 10));
    at("2100-01-01T23:59:59.999Z");
    expect(read(await holder.charge(10))).toBe("charged");
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-02T00:00:00.000Z, wait");
    at("2100-01-02T00:00:00.000Z");
    expect(read(await holder.charge(10))).toBe("charged");
    expect(await holder.spent()).toEqual([10]);
  });

  it("a refund makes room in the period its charge was booked in, and none once that is over", async () => {
    const holder = await payer(100, window("DAILY", 10), window("MONTHLY", 50));
    await holder.charge(10);
    expect(await holder.refund(2, 4)).toMatchObject({ outcome: "refunded" });
    expect(await holder.spent()).toEqual([6, 6]);
    expect(read(await holder.charge(4))).toBe("charged");
    at("2100-01-02T10:00:00Z");
    await holder.charge(7);
    // Of yesterday's charge: today has no more room for it, the month has.
    await holder.refund(2, 6);
    expect(await holder.spent()).toEqual([7, 11]);
    expect(read(await holder.charge(4))).toBe("window daily, resets 2100-01-03T00:00:00.000Z, wait");
  });

  it("a rolling window forgets a charge when it has been in it for as long as it is, to the millisecond; its refund then makes no room", async () => {
    const holder = await payer(100, window("DAILY", 10, { alignment: "rolling" }));
    at("2100-01-01T08:00:00Z");
    await holder.charge(6);
    at("2100-01-01T20:00:00Z");
    await holder.charge(4);
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-02T08:00:00.000Z, wait");
    // That needs both to have left.
    expect(read(await holder.charge(7))).toBe("window daily, resets 2100-01-02T20:00:00.000Z, wait");
    at("2100-01-02T07:59:59.999Z");
    expect(await holder.spent()).toEqual([10]);
    at("2100-01-02T08:00:00Z");
    expect(await holder.spent()).toEqual([4]);
    await holder.refund(2);
    expect(await holder.spent()).toEqual([4]);
    await holder.refund(3, 3);
    expect(await holder.spent()).toEqual([1]);
    at("2100-01-02T20:00:00Z");
    expect(await holder.spent()).toEqual([0]);
    expect((await holder.state()).windows[0]).toMatchObject({ resets_at_ms: null, end_ms: Date.now() + 1 });
  });

  it("T23 open holds count in every window while they are open; up to it a settlement fits, above it is decided", async () => {
    const holder = await payer(100, window("DAILY", 10), window("ONCE", 12));
    const [held] = [await holder.hold(8, 2 * DAY)];
    expect(held).toMatchObject({ outcome: "held" });
    expect((await holder.state()).windows.map((one) => [one.held_micros, one.remaining_micros])).toEqual([
      [8, 2],
      [8, 4],
    ]);
    expect(read(await holder.charge(3))).toBe("window daily, resets 2100-01-02T00:00:00.000Z, wait");
    expect(read(await holder.hold(3))).toBe("window daily, resets 2100-01-02T00:00:00.000Z, wait");
    // The next day it still reserves, in that day's period too.
    at("2100-01-02T01:00:00Z");
    expect(read(await holder.charge(3))).toBe("window daily, resets 2100-01-03T00:00:00.000Z, wait");
    // A limit that was lowered since does not take back what was promised.
    await holder.limit(window("DAILY", 1), window("ONCE", 12));
    expect(await holder.settle(1, 8)).toMatchObject({ outcome: "charged", amount_micros: 8 });
    expect(await holder.spent()).toEqual([8, 8]);
    await holder.limit(window("DAILY", 20), window("ONCE", 12));
    expect(await holder.hold(2)).toMatchObject({ outcome: "held" });
    expect(await holder.settle(2, 5)).toMatchObject({ outcome: "refused", refusal: { window_id: "once" } });
    expect(await holder.hold(2)).toMatchObject({ outcome: "held" });
    expect(await holder.settle(3, 4)).toMatchObject({ outcome: "charged", amount_micros: 4 });
  });

  it("at most takes what the tightest of all leaves", async () => {
    const holder = await payer(100, window("DAILY", 10), window("MONTHLY", 14));
    expect(await holder.charge(50, { at_most: true })).toMatchObject({ outcome: "charged", amount_micros: 10 });
    at("2100-01-02T00:00:00Z");
    expect(await holder.charge(50, { at_most: true })).toMatchObject({ outcome: "charged", amount_micros: 4 });
    expect(read(await holder.charge(50, { at_most: true }))).toBe(
      "window monthly, resets 2100-02-01T00:00:00.000Z, wait",
    );
  });

  it("T87 a clock that is set back reopens no period", async () => {
    const holder = await payer(100, window("DAILY", 10));
    at("2100-01-02T12:00:00Z");
    await holder.charge(10);
    at("2100-01-01T12:00:00Z");
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-03T00:00:00.000Z, wait");
    await holder.evict();
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-03T00:00:00.000Z, wait");
  });

  it("a window that is made later counts what was spent in its period before; one that differs only in its limit goes on", async () => {
    const holder = await payer(100);
    at("2100-01-01T06:00:00Z");
    await holder.charge(5);
    at("2100-01-02T00:00:00Z");
    await holder.charge(7);
    await holder.refund(3, 1);
    await holder.limit(
      window("DAILY", 50),
      window("MONTHLY", 50),
      window("ONCE", 50),
      window("HOURLY", 50, { alignment: "rolling", every: 25 }),
    );
    expect(await holder.spent()).toEqual([6, 11, 11, 11]);
    await holder.evict();
    expect(await holder.spent()).toEqual([6, 11, 11, 11]);
    await holder.charge(2);
    await holder.limit(window("DAILY", 8));
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-03T00:00:00.000Z, wait");
    // Another zone is another window, under the same id: its day began when charge 2 was made already.
    await holder.limit(window("DAILY", 50, { time_zone: "America/New_York" }));
    expect(await holder.spent()).toEqual([8 + 5]);
  });

  it("one whose limit alone changes goes on, named or not: what is final by now counts on, and nobody is told twice", async () => {
    const alerts = { low_micros: null, window_bps: [5_000] };
    const settings = env as unknown as Record<string, unknown>;
    settings["ENVELOPE_LEDGER_DAYS"] = "2";
    const holder = new Holder();
    await holder.grant(1_000);
    at("2100-03-02T00:00:00Z");
    const unnamed = (limit: number): readonly WindowInput[] => [
      { unit: "DAILY", limit_micros: micros(500) },
      { unit: "MONTHLY", limit_micros: micros(limit) },
    ];
    await holder.limit(...unnamed(100));
    expect((await holder.charge(60, { alerts })).alerts).toMatchObject([{ kind: "window_threshold" }]);
    const [day, month] = (await holder.state()).windows.map(({ window_id }) => window_id);
    at("2100-03-20T00:00:00Z");
    await holder.limit(...unnamed(90));
    expect(await holder.spent()).toEqual([0, 60]);
    expect((await holder.state()).windows.map(({ window_id }) => window_id)).toEqual([day, month]);
    expect(read(await holder.charge(31))).toContain(`window ${month}`);
    expect((await holder.charge(1, { alerts })).alerts).toBeUndefined();
    // In another order, and with one more that is the same: each goes on once, and asked for again it is the same.
    const more = [...[...unnamed(90)].reverse(), { unit: "DAILY", limit_micros: micros(7) } as const];
    const asked = { windows: more, key: "more", by: { actor: "owner", reason: null } };
    expect((await holder.configure(asked)).outcome).toBe("configured");
    expect((await holder.configure(asked)).outcome).toBe("replayed");
    expect((await holder.configure({ ...asked, windows: more.slice(1) })).outcome).toBe("conflict");
    expect((await holder.configure({ ...asked, windows: [...more.slice(1), ...unnamed(91).slice(1)] })).outcome).toBe(
      "conflict",
    );
    const ids = (await holder.state()).windows.map(({ window_id }) => window_id);
    expect([ids.slice(0, 2), new Set(ids).size]).toEqual([[day, month], 3]);
    // A name that is said is nobody else's.
    await holder.limit({ unit: "DAILY", limit_micros: micros(7) }, window("DAILY", 500, { window_id: day as string }));
    const left = (await holder.state()).windows.map(({ window_id, limit_micros }) => [window_id, limit_micros]);
    expect(left).toEqual([
      [day, 500],
      [ids[2], 7],
    ]);
  });

  it("T92 entries that an earlier version wrote, which say nothing of windows, are counted", async () => {
    const holder = await payer(
      100,
      window("DAILY", 50),
      window("DAILY", 50, { window_id: "day", alignment: "rolling" }),
    );
    await holder.charge(10);
    await holder.inside((sql) =>
      sql.exec(
        "INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros) VALUES (3, ?, 'charge', -7, 83)",
        Date.now(),
      ),
    );
    await holder.evict();
    expect(await holder.spent()).toEqual([17, 17]);
    await holder.charge(1);
    vi.setSystemTime(START + DAY - 1);
    await holder.evict();
    expect(await holder.spent()).toEqual([18, 18]);
    vi.setSystemTime(START + DAY);
    expect(await holder.spent()).toEqual([0, 0]);
  });
});

describe("T82 waking", () => {
  it("reads a few rows, however long the ledger is and however much the window counts", async () => {
    const rolling = window("DAILY", 1_000_000, { window_id: "rolling", alignment: "rolling" });
    const holder = await payer(1_000_000, window("HOURLY", 1_000_000), window("MONTHLY", 1_000_000), rolling);
    await holder.inside(async (_, envelope) => {
      for (let i = 0; i < 3_000; i++) {
        vi.setSystemTime(START + i * 20_000);
        await envelope.charge({ op: `long-${i}`, currency: "usd", amount_micros: micros(1) });
      }
    });
    vi.setSystemTime(START + DAY + 5 * HOUR);
    await holder.evict();
    const rows = await holder.inside(async (sql, envelope) => {
      const cursors: { readonly rowsRead: number }[] = [];
      const exec = sql.exec.bind(sql);
      sql.exec = (query, ...bindings) => {
        const cursor = exec(query, ...bindings);
        cursors.push(cursor);
        return cursor as never;
      };
      const state = await envelope.state({});
      if (state.outcome !== "ok") throw new Error("It was not told");
      // Five hours of the sixteen and two thirds have left.
      expect(state.windows.map(({ spent_micros }) => spent_micros)).toEqual([0, 3_000, 2_099]);
      sql.exec = exec;
      return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
    });
    expect(rows).toBeLessThan(200);
  });
});

describe("a budget", () => {
  it("is charged without any money, up to its window; what it is told as its balance is what is left", async () => {
    const holder = await budget(window("MONTHLY", 100));
    expect(await holder.charge(30)).toMatchObject({
      outcome: "charged",
      seq: 1,
      balance_micros: 70,
      available_micros: 70,
    });
    await holder.hold(20);
    expect(await holder.state()).toMatchObject({
      prepaid: false,
      balance_micros: 70,
      available_micros: 50,
      held_micros: 20,
      funded: true,
      windows: [{ window_id: "monthly", spent_micros: 30, held_micros: 20, remaining_micros: 50 }],
    });
    expect(await holder.settle(1, 15)).toMatchObject({ outcome: "charged", balance_micros: 55 });
    expect(read(await holder.charge(56))).toBe("window monthly, resets 2100-02-01T00:00:00.000Z, wait");
    expect(
      (await holder.api.entries({ after: 0, limit: 9 })).map((one) => [
        one.kind,
        one.amount_micros,
        one.balance_micros,
      ]),
    ).toEqual([
      ["usage", -30, -30],
      ["usage", -15, -45],
    ]);
    at("2100-02-01T00:00:00Z");
    expect(await holder.state()).toMatchObject({ balance_micros: 100, available_micros: 100 });
  });

  it("answers keys, retries and refunds as a prepaid one does", async () => {
    const holder = await budget(window("MONTHLY", 100));
    expect(await holder.charge(10, { key: "k" })).toMatchObject({ outcome: "charged", seq: 1 });
    expect(await holder.charge(10, { key: "k" })).toMatchObject({ outcome: "replayed", seq: 1 });
    expect(await holder.charge(11, { key: "k" })).toMatchObject({ outcome: "conflict", detail: "price" });
    expect(await holder.refund(1, 4)).toMatchObject({ outcome: "refunded", amount_micros: 4, balance_micros: 94 });
    expect(await holder.charge(10, { key: "k" })).toMatchObject({ outcome: "conflict", detail: "refunded" });
    expect(await holder.charge(1, { currency: "eur" })).toMatchObject({ outcome: "invalid" });
  });

  it("without a window refuses everything, but what is free", async () => {
    const holder = await budget();
    expect(read(await holder.charge(1))).toBe("window -, resets never, wait");
    expect(read(await holder.charge(5, { at_most: true }))).toBe("window -, resets never, wait");
    expect(read(await holder.hold(1))).toBe("window -, resets never, wait");
    expect(await holder.charge(0)).toMatchObject({ outcome: "charged", seq: null, balance_micros: 0 });
    await holder.evict();
    expect(read(await holder.charge(1))).toBe("window -, resets never, wait");
  });

  it("takes a payment, which pays for what was used and opens no window; it is not given to", async () => {
    const holder = await budget(window("DAILY", 10));
    await holder.charge(10);
    expect(await holder.grant(5)).toMatchObject({ outcome: "invalid" });
    expect(await holder.api.report(told(facts("paid", 7), "pi_budget"))).toMatchObject({ outcome: "credited" });
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-01-02T00:00:00.000Z, wait");
    expect(await holder.api.sums({ up_to: 99 })).toMatchObject({
      balance_micros: -3,
      spent_micros: 10,
      credited_micros: 7,
    });
    expect(await holder.state()).toMatchObject({ balance_micros: 0, available_micros: 0 });
  });

  it("is one for good: what sort an envelope is of is fixed by its first entry, or hold", async () => {
    const holder = await budget(window("MONTHLY", 100));
    expect(await holder.configure({ prepaid: true })).toMatchObject({ outcome: "configured" });
    expect(read(await holder.charge(1))).toBe("balance -, resets never, pay");
    expect(await holder.configure({ prepaid: false })).toMatchObject({ outcome: "configured" });
    await holder.hold(1);
    expect(await holder.configure({ prepaid: true })).toEqual({ outcome: "conflict", detail: "prepaid" });
    await holder.charge(1);
    await holder.settle(1, 0);
    expect(await holder.configure({ prepaid: true })).toEqual({ outcome: "conflict", detail: "prepaid" });
    const prepaid = await payer(10);
    expect(await prepaid.configure({ prepaid: false })).toEqual({ outcome: "conflict", detail: "prepaid" });
  });

  it("I2 SQLite itself refuses a usage that adds, one in a prepaid envelope, and another sort for a ledger that has begun", async () => {
    const holder = await budget(window("MONTHLY", 100));
    await holder.charge(1);
    const row = (amount: number, balance: number) =>
      `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros) VALUES (2, 0, 'usage', ${amount}, ${balance})`;
    const prepaid = await payer(10);
    await holder.inside((sql) => expect(() => sql.exec(row(1, 0))).toThrow("only a budget is used"));
    await prepaid.inside((sql) => expect(() => sql.exec(row(-1, 9))).toThrow("only a budget is used"));
    await holder.inside((sql) => expect(() => sql.exec("UPDATE envelope SET prepaid = 1")).toThrow("of one sort"));
    await holder.inside((sql) => expect(() => sql.exec("DELETE FROM spending_window")).toThrow("never deleted"));
  });

  it("T89 its ledger ends where an integer does", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    const holder = await budget(window("DAILY", most));
    expect(await holder.charge(most)).toMatchObject({ outcome: "charged" });
    at("2100-01-02T00:00:00Z");
    expect(read(await holder.charge(1))).toBe("window -, resets never, wait");
    expect(await holder.state()).toMatchObject({ balance_micros: 0, windows: [{ remaining_micros: most }] });
  });
});

describe("what an owner settles", () => {
  const by = { actor: "owner", reason: "A new contract" };

  it("is told by state(), happens once a key, and leaves an audit line with what was so before and after", async () => {
    const holder = new Holder();
    const windows = [window("MONTHLY", 100), { unit: "DAILY", limit_micros: micros(10) } as const];
    const input = {
      by,
      key: "k",
      prepaid: false,
      name: "Team",
      owner_account_id: "acct_1",
      time_zone: "Asia/Tokyo",
      windows,
    };
    const answer = await holder.configure(input);
    if (answer.outcome !== "configured") throw new Error(answer.outcome);
    const { settings } = answer;
    expect(settings).toMatchObject({
      prepaid: false,
      name: "Team",
      owner_account_id: "acct_1",
      time_zone: "Asia/Tokyo",
    });
    expect(settings.windows.map(({ window_id, time_zone, unit }) => [window_id.length > 5, time_zone, unit])).toEqual([
      [true, "Asia/Tokyo", "MONTHLY"],
      [true, "Asia/Tokyo", "DAILY"],
    ]);
    expect(await holder.configure(input)).toEqual({ outcome: "replayed", settings });
    for (const other of [{ name: "Other" }, { windows: [] }, { windows: [window("MONTHLY", 101), windows[1]] }]) {
      expect(await holder.configure({ ...input, ...(other as object) })).toEqual({
        outcome: "conflict",
        detail: "key",
      });
    }
    await holder.evict();
    const { name, owner_account_id, time_zone, windows: views } = await holder.state();
    expect([name, owner_account_id, time_zone, views.length]).toEqual(["Team", "acct_1", "Asia/Tokyo", 2]);
    const lines = await holder.api.audit({ before: null, limit: 9 });
    expect(lines.map(({ actor, action, reason }) => [actor, action, reason])).toEqual([
      ["owner", "configure", by.reason],
    ]);
    expect(JSON.parse(lines[0]?.after ?? "")).toEqual(settings);
    expect(JSON.parse(lines[0]?.before ?? "")).toMatchObject({ prepaid: true, name: null, windows: [] });
    await holder.api.freeze({ frozen: true, currency: "usd", key: "f", by });
    expect(await holder.configure({ by, key: "f", name: "Team" })).toEqual({ outcome: "conflict", detail: "key" });
  });

  it("stays as it is where nothing is said of it", async () => {
    const holder = await budget(window("MONTHLY", 100));
    await holder.configure({ name: "Team" });
    await holder.configure({ owner_account_id: "acct_1" });
    expect(await holder.state()).toMatchObject({ prepaid: false, name: "Team", owner_account_id: "acct_1" });
    expect((await holder.state()).windows).toHaveLength(1);
    await holder.configure({ name: null, windows: [] });
    expect(await holder.state()).toMatchObject({ name: null, windows: [] });
  });

  const one = { unit: "DAILY", limit_micros: 1 };
  it.each([
    [{ name: "" }, "name"],
    [{ name: "n".repeat(257) }, "name"],
    [{ owner_account_id: 7 }, "owner_account_id"],
    [{ prepaid: "no" }, "prepaid"],
    [{ time_zone: "Mars/Olympus" }, "time_zone"],
    [{ time_zone: "+02:00" }, "time_zone"],
    [{ windows: {} }, "windows"],
    [{ windows: Array.from({ length: 9 }, () => one) }, "windows"],
    [{ windows: [{ ...one, unit: "1mo" }] }, "windows[0].unit"],
    [{ windows: [{ ...one, unit: "toString" }] }, "windows[0].unit"],
    [{ windows: [one, { ...one, limit_micros: 1.5 }] }, "windows[1].limit_micros"],
    [{ windows: [{ ...one, limit_micros: -1 }] }, "windows[0].limit_micros"],
    [{ windows: [{ ...one, every: 0 }] }, "windows[0].every"],
    [{ windows: [{ ...one, every: 1.5 }] }, "windows[0].every"],
    [{ windows: [{ ...one, unit: "ONCE", every: 2 }] }, "windows[0].every"],
    [{ windows: [{ ...one, unit: "ONCE", alignment: "rolling" }] }, "windows[0].ONCE"],
    [{ windows: [{ ...one, alignment: "sliding" }] }, "windows[0].alignment"],
    [{ windows: [{ ...one, alignment: "anchored" }] }, "windows[0].anchor_ms"],
    [{ windows: [{ ...one, alignment: "rolling", anchor_ms: 5 }] }, "windows[0].anchor_ms"],
    [{ windows: [{ ...one, anchor_ms: -5 }] }, "windows[0].anchor_ms"],
    [{ windows: [{ ...one, unit: "ONCE", anchor_ms: START + 1 }] }, "windows[0].anchor_ms"],
    [{ windows: [{ ...one, week_start: 0 }] }, "windows[0].week_start"],
    [{ windows: [{ ...one, time_zone: "Europe/Atlantis" }] }, "windows[0].time_zone"],
    [{ windows: [{ ...one, window_id: "a b" }] }, "windows[0].window_id"],
    [
      {
        windows: [
          { ...one, window_id: "a" },
          { ...one, window_id: "a" },
        ],
      },
      "windows[1].window_id",
    ],
    [{ currency: "eur" }, "usd"],
  ])("%o is refused, by name, and nothing of it is written", async (input, named) => {
    const holder = await payer(100, window("MONTHLY", 50));
    const answer = await holder.configure(input as Partial<ConfigureInput>);
    expect(answer.outcome === "invalid" && answer.detail).toContain(named);
    expect((await holder.state()).windows.map(({ window_id }) => window_id)).toEqual(["monthly"]);
    expect(await holder.state()).toMatchObject({ name: null, owner_account_id: null, time_zone: "UTC" });
  });
});

describe("museum: what others' windows did", () => {
  it("litellm 4042, 9098: a month is no 30 days, and its end is not handed on", async () => {
    at("2101-01-31T09:00:00Z");
    const holder = await payer(100, window("MONTHLY", 10, { anchor_ms: Date.now() }));
    for (const until of ["2101-02-28", "2101-03-31", "2101-04-30", "2101-05-31"]) {
      expect(read(await holder.charge(10))).toBe("charged");
      expect(read(await holder.charge(1))).toBe(`window monthly, resets ${until}T09:00:00.000Z, wait`);
      at(`${until}T08:59:59.999Z`);
      expect(read(await holder.charge(1))).toBe(`window monthly, resets ${until}T09:00:00.000Z, wait`);
      at(`${until}T09:00:00Z`);
    }
  });

  it("litellm 10288: a day of the calendar ends at midnight, whenever it was first used", async () => {
    at("2100-03-04T17:23:45Z");
    const holder = await payer(100, window("DAILY", 10));
    await holder.charge(10);
    expect(read(await holder.charge(1))).toBe("window daily, resets 2100-03-05T00:00:00.000Z, wait");
    at("2100-03-05T00:00:00Z");
    expect(read(await holder.charge(1))).toBe("charged");
  });

  it("litellm 34896, 40978: midnight is the zone's, also on days of 23 and 25 hours", async () => {
    at("2100-03-04T14:00:00Z");
    const tokyo = await payer(100, window("DAILY", 10, { time_zone: "Asia/Tokyo" }));
    expect((await tokyo.state()).windows[0]).toMatchObject({
      start_ms: Date.parse("2100-03-03T15:00:00Z"),
      end_ms: Date.parse("2100-03-04T15:00:00Z"),
    });
    for (const [now, hours] of [
      ["2101-03-27T12:00:00Z", 23],
      ["2101-10-30T12:00:00Z", 25],
      ["2101-06-01T12:00:00Z", 24],
    ] as const) {
      at(now);
      const berlin = await payer(100, window("DAILY", 10, { time_zone: "Europe/Berlin" }));
      const [day] = (await berlin.state()).windows;
      expect(((day?.end_ms ?? 0) - (day?.start_ms ?? 0)) / HOUR).toBe(hours);
    }
  });

  it("litellm 33161: a week begins on the day that was said", async () => {
    // A Thursday.
    at("2026-12-03T12:00:00Z");
    const starts = await Promise.all(
      [1, 4, 7].map(async (week_start) => {
        const holder = await payer(10, window("WEEKLY", 5, { week_start }));
        return new Date((await holder.state()).windows[0]?.start_ms ?? 0).toISOString().slice(0, 10);
      }),
    );
    expect(starts).toEqual(["2026-11-30", "2026-12-03", "2026-11-29"]);
  });

  it("litellm 6601: whatever is accepted has an effect: each is met, and resets when it said", async () => {
    const units = ["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL"] as const;
    for (const unit of units)
      for (const alignment of ["calendar", "anchored", "rolling"] as const)
        for (const every of [1, 3]) {
          at("2100-02-10T10:10:10.010Z");
          const anchor = alignment === "anchored" ? { anchor_ms: Date.UTC(2099, 11, 31, 7) } : {};
          const holder = await payer(100, window(unit, 10, { alignment, every, ...anchor }));
          await holder.charge(10);
          const refused = await holder.charge(1);
          if (refused.outcome !== "refused") throw new Error(`${every} × ${unit} ${alignment} limits nothing`);
          const resets = refused.refusal.resets_at_ms ?? 0;
          vi.setSystemTime(resets - 1);
          expect((await holder.charge(1)).outcome).toBe("refused");
          vi.setSystemTime(resets);
          expect((await holder.charge(10)).outcome, `${every} × ${unit} ${alignment}`).toBe("charged");
        }
  });

  it("litellm 27735, 30460, 36926: nobody is refused below the limit, after any number of evictions and refunds", async () => {
    const holder = await payer(
      10_000,
      window("MONTHLY", 500),
      window("DAILY", 500, { window_id: "r", alignment: "rolling", every: 30 }),
    );
    let spent = 0;
    for (let i = 0; i < 60; i++) {
      if (i % 4 === 0) await holder.evict();
      const charged = await holder.charge(25);
      expect(charged.outcome).toBe(spent + 25 <= 500 ? "charged" : "refused");
      if (charged.outcome === "charged") spent += 25;
      if (charged.outcome === "charged" && i % 3 === 0 && charged.seq !== null) {
        await holder.refund(charged.seq, 15);
        spent -= 15;
      }
      expect(await holder.spent()).toEqual([spent, spent]);
    }
  });

  it("litellm 27639, 38647: what is held in a window comes back when the hold ends, by itself too", async () => {
    const holder = await budget(window("MONTHLY", 10));
    for (let i = 0; i < 5; i++) await holder.hold(2, HOUR);
    expect(read(await holder.charge(1))).toBe("window monthly, resets 2100-02-01T00:00:00.000Z, wait");
    vi.setSystemTime(START + HOUR);
    expect(read(await holder.charge(10))).toBe("charged");
  });

  it("litellm 31078: what is free is refused by no window", async () => {
    const holder = await payer(100, window("MONTHLY", 0));
    expect(await holder.charge(0)).toMatchObject({ outcome: "charged" });
    expect(read(await holder.charge(1))).toBe("window monthly, resets 2100-02-01T00:00:00.000Z, wait");
  });

  it("polar 8451: the end of a period never touches what was paid", async () => {
    const holder = await payer(100, window("DAILY", 30));
    await holder.charge(30);
    for (const day of [2, 3]) {
      at(`2100-01-0${day}T00:00:00Z`);
      await holder.evict();
      expect(await holder.state()).toMatchObject({ balance_micros: 130 - 30 * day, windows: [{ spent_micros: 0 }] });
      await holder.charge(30);
    }
  });

  it("unkey 2090: a period begins on the customer's own day, and not on the first", async () => {
    at("2100-05-20T12:00:00Z");
    const anchor_ms = Date.parse("2100-03-17T00:00:00Z");
    const holder = await payer(100, window("MONTHLY", 10, { anchor_ms }));
    await holder.charge(10);
    expect(read(await holder.charge(1))).toBe("window monthly, resets 2100-06-17T00:00:00.000Z, wait");
  });

  it("unkey 7000, claude code 77703: a full window is no lack of money, before and after a payment", async () => {
    const holder = await payer(5, window("MONTHLY", 10));
    expect(read(await holder.charge(6))).toBe("balance -, resets never, pay");
    await holder.charge(5);
    await holder.api.report(told(facts("paid", 100), "pi_full"));
    expect(read(await holder.charge(6))).toBe("window monthly, resets 2100-02-01T00:00:00.000Z, wait");
    expect(await holder.charge(6)).toMatchObject({ refusal: { shortfall_micros: 0, admits_micros: 5 } });
  });

  it("openmeter 3293: an envelope with windows is given to as any other", async () => {
    const holder = await payer(5, window("MONTHLY", 100));
    expect(await holder.grant(50)).toMatchObject({ outcome: "granted", balance_micros: 55 });
    expect(read(await holder.charge(55))).toBe("charged");
  });

  it("openmeter 1408, 4252, 4278: no period is missed or begun twice by a clock that jumps", async () => {
    const holder = await budget(window("DAILY", 10));
    for (const now of [
      "2100-01-01T12:00",
      "2100-01-05T12:00",
      "2100-01-03T12:00",
      "2100-01-05T13:00",
      "2100-03-01T00:00",
    ]) {
      at(`${now}:00Z`);
      await holder.charge(10, { at_most: true });
    }
    // The third and the fourth are of the fifth of January, too: the ledger's time does not go back.
    expect((await holder.api.sums({ up_to: 99 })).spent_micros).toBe(30);
  });
});
