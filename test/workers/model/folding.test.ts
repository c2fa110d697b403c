/** Folding changes no answer: the same operations on an envelope that folds, and on one that never does. */
import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AggregateApi, ArchivePage, Entry, EnvelopeApi, WindowInput } from "../../../src/contract.js";
import { leftIn } from "../../../src/envelope/lots.js";
import { Envelope, EnvelopeAggregate } from "../../../src/index.js";
import { batchOf, rowsWritten } from "../aggregate/support.js";
import { dispute, facts, refund as reversed, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";
import { breaksTheMirror, proofOf } from "../support.js";

const DAY = 24 * 3_600_000;
const START = Date.UTC(2100, 0, 1);
/** More than are kept for retries, and a page besides. */
const MANY = 9_300;
const vars = env as unknown as Record<string, unknown>;

// In the future, so that an alarm rings only when a test says so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  delete vars["ENVELOPE_LEDGER_DAYS"];
});

const stubOf = (name: string) => env.ENVELOPE.getByName(name);
const apiOf = (name: string) => stubOf(name) as unknown as EnvelopeApi;
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const inside = <T>(name: string, work: (sql: SqlStorage, envelope: EnvelopeApi) => T | Promise<T>): Promise<T> =>
  runInDurableObject(stubOf(name), async (envelope: Envelope, { storage }) => work(storage.sql, envelope));

const rows = (name: string) =>
  inside(
    name,
    (sql) =>
      sql
        .exec(
          "SELECT seq, at_ms, kind, amount_micros, balance_micros, key, ref_seq, hold_id, payment_id, reason, metadata, lots, spender_id AS spender FROM entry",
        )
        .toArray() as unknown as Entry[],
  );
const foldedSeq = (name: string) =>
  inside(name, (sql) => sql.exec<{ folded_seq: number }>("SELECT folded_seq FROM envelope").one().folded_seq);
// Days and archives of its own, and mirrors that are lost in part: each test proves what it is about itself.
breaksTheMirror("folds what is mirrored by a clock of its own");

/** Without what the mirror has been told: that depends on alarms. */
const all = async (name: string) => {
  const { frozen: _, ...sums } = await apiOf(name).sums({ up_to: Number.MAX_SAFE_INTEGER });
  return sums;
};

/**
 * Charges of one micro without a key, of the largest grant where there is one: by SQL, because thousands of calls would take the
 * time of the test.
 */
async function addCharges(name: string, charges: number, at_ms = Date.now(), kind = "charge"): Promise<void> {
  await inside(name, (sql) => {
    const { seq, balance, lots } = sql
      .exec<{ seq: number; balance: number; lots: string | null }>(
        "SELECT seq, balance_micros AS balance, lots FROM entry ORDER BY seq DESC LIMIT 1",
      )
      .one();
    const left = leftIn(lots).toSorted(([, one], [, other]) => other - one);
    const [largest, ...others] = left;
    sql.exec(
      `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, lots)
       WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
       SELECT ?2 + i, ?4, ?8, -1, ?3 - i, '[[' || ?5 || ',' || (?6 - i) || ',-1]' || ?7 || ']' FROM n`,
      charges,
      seq,
      balance,
      at_ms,
      largest?.[0] ?? null,
      largest?.[1] ?? null,
      others.map((one) => `,${JSON.stringify(one)}`).join(""),
      kind,
    );
  });
  // What it remembers is behind its rows now.
  await evictDurableObject(stubOf(name));
}

let charges = 0;
const charge = (name: string, amount = 1, more: { key?: string; reason?: string } = {}) =>
  apiOf(name).charge({ op: `op-${charges++}`, currency: "usd", amount_micros: micros(amount), ...more });

/** As an entry would. */
const arm = (name: string) =>
  runInDurableObject(stubOf(name), async (_, { storage }) => {
    if ((await storage.getAlarm()) === null) await storage.setAlarm(Date.now());
  });

/** Lets the alarm ring as if the setting were there, for at most so many pages. */
async function fold(name: string, pages = 200): Promise<void> {
  vars["ENVELOPE_LEDGER_DAYS"] = "1";
  await arm(name);
  const until = (await foldedSeq(name)) + pages * 1_000;
  for (let before = -1; ; ) {
    if (!(await runDurableObjectAlarm(stubOf(name)))) break;
    const now = await foldedSeq(name);
    if (now >= until || now === before) break;
    before = now;
    pass(1_000);
  }
  delete vars["ENVELOPE_LEDGER_DAYS"];
}

interface Twins {
  readonly folds: string;
  readonly keeps: string;
}

/** How often each outcome was answered. */
const seen: Record<string, number> = {};
function note(answer: unknown): void {
  const { outcome } = answer as { readonly outcome?: string };
  if (outcome !== undefined) seen[outcome] = (seen[outcome] ?? 0) + 1;
}

/** Both do the same; what they answer must be the same. */
async function both({ folds, keeps }: Twins, act: (api: EnvelopeApi) => Promise<unknown>, what: string): Promise<void> {
  const answer = await act(apiOf(folds));
  expect(answer, what).toEqual(await act(apiOf(keeps)));
  note(answer);
}

type Refund = Parameters<EnvelopeApi["refund"]>[0];

/** The one answer that depends on the setting: whether a charge is too old. Not on whether it is folded, so it is told from the other's rows. */
async function refund(twins: Twins, input: Refund): Promise<void> {
  const { charge, key } = input;
  const [column, value] = "seq" in charge ? ["seq", charge.seq] : ["key", charge.key];
  const read = (query: string, ...bindings: (number | string)[]) =>
    inside(twins.keeps, (sql) => sql.exec(query, ...bindings).toArray());
  const [line] = await read(`SELECT kind, at_ms FROM entry WHERE ${column} = ?`, value);
  const used = (await read("SELECT 1 FROM entry WHERE key = ?", key)).length > 0;
  const closed = line?.["kind"] === "charge" && Date.now() - Number(line["at_ms"]) >= DAY && !used;
  vars["ENVELOPE_LEDGER_DAYS"] = "1";
  const answer = await apiOf(twins.folds).refund(input);
  delete vars["ENVELOPE_LEDGER_DAYS"];
  note(answer);
  if (closed) expect(answer.outcome).toBe("expired");
  else expect(answer, JSON.stringify(input)).toEqual(await apiOf(twins.keeps).refund(input));
}

const key = fc.option(fc.constantFrom<string>("k1", "k2", "k3", "k4", "k5"), { nil: undefined, freq: 2 });
const amount = fc.constantFrom(1, 2, 5, 30).map(micros);
const tag = fc.constantFrom(undefined, undefined, "a", "b");
/** Mostly the Worker's own word: a token that was replaced spends nothing. */
const generation = fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(2) });
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("charge" as const), amount, key, generation, at_most: fc.boolean(), tag }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("hold" as const), amount, key, ttl_ms: fc.nat(200_000), tag }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("grant" as const),
      amount,
      priority: fc.constantFrom(1, 50, 99),
      only: fc.constantFrom(undefined, "a", "b"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("revoke" as const), seq: fc.integer({ min: 2, max: 60 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("settle" as const), back: fc.nat(5), amount }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("release" as const), back: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("again" as const), which: fc.nat(), retry: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("refund" as const),
      /** From the beginning, or from the newest back. */
      seq: fc.oneof(fc.integer({ min: -1, max: 60 }), fc.nat(30_000)),
      back: fc.constantFrom(0, 1, 2, 3, undefined, undefined),
      by: key,
      part: fc.option(amount, { nil: undefined, freq: 2 }),
      key: fc.option(fc.constantFrom<string>("r1", "r2"), { nil: undefined, freq: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("report" as const),
      payment: fc.nat(2),
      rank: fc.integer({ min: -1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rotate" as const), generation: fc.nat(1) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("freeze" as const), frozen: fc.constantFrom(true, false, false) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(1_000, 1_000, 150_000, -40_000, DAY / 2, 3 * DAY),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fold" as const), pages: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("limit" as const),
      units: fc.subarray(["HOURLY", "DAILY", "MONTHLY", "ONCE"] as const),
      alignment: fc.constantFrom("calendar", "rolling"),
      every: fc.integer({ min: 1, max: 3 }),
      limit: fc.constantFrom(20, 100, 100_000).map(micros),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

class Run {
  readonly #twins: Twins;
  readonly #damage: string | undefined;
  /** What was asked, to be asked again. */
  readonly #asked: { readonly name: string; readonly act: (api: EnvelopeApi, retry: boolean) => Promise<unknown> }[] =
    [];
  readonly #refunds: Refund[] = [];
  #holds = 0;
  #ops = 0;
  folded = 0;

  constructor(name: string, damage?: string) {
    this.#twins = { folds: `${name}-folds`, keeps: `${name}-keeps` };
    this.#damage = damage;
  }

  async #ask(name: string, act: (api: EnvelopeApi, retry: boolean) => Promise<unknown>): Promise<void> {
    this.#asked.push({ name, act });
    await both(this.#twins, (api) => act(api, false), name);
  }

  async begin(): Promise<void> {
    const grant = { op: "g", key: "g", currency: "usd", amount_micros: micros(200_000) };
    await this.#ask("grant", (api, retry) => api.grant({ ...grant, retry }));
    // One of each that must be answered the same when it is folded.
    const charge = { do: "charge", amount: micros(5), generation: undefined, at_most: false, tag: undefined } as const;
    await this.do({ ...charge, key: undefined });
    await this.do({ ...charge, key: "k0" });
    await this.do({ ...charge, key: undefined });
    await this.do({ do: "refund", seq: 4, back: undefined, by: undefined, part: micros(2), key: "r0" });
    await this.do({ do: "hold", amount: micros(5), key: undefined, ttl_ms: DAY, tag: undefined });
    await this.do({ do: "settle", back: 0, amount: micros(5) });
    await this.do({ do: "report", payment: 9, rank: -1 });
  }

  /** A busy day, and time enough to fold what was before it. */
  async manyLater(): Promise<void> {
    const { folds, keeps } = this.#twins;
    const now = Date.now();
    // The rows that are added tell nothing of windows.
    await this.limit([]);
    for (const name of [folds, keeps]) {
      const [last] = await inside(name, (sql) => sql.exec("SELECT max(at_ms) AS at_ms FROM entry").toArray());
      await addCharges(name, MANY, Math.max(now, last?.["at_ms"] as number));
    }
    await this.do({ do: "freeze", frozen: false });
    const charge = { do: "charge", amount: micros(1), generation: undefined, at_most: false, tag: undefined } as const;
    await this.do({ ...charge, key: undefined });
    pass(3 * DAY);
  }

  /** With the setting, which says what a new window does not count any more. */
  async limit(windows: readonly WindowInput[]): Promise<void> {
    vars["ENVELOPE_LEDGER_DAYS"] = "1";
    await both(this.#twins, (api) => api.configure({ currency: "usd", windows }), JSON.stringify(windows));
    delete vars["ENVELOPE_LEDGER_DAYS"];
  }

  async do(step: Step): Promise<void> {
    const op = `op-${this.#ops++}`;
    const name = JSON.stringify(step);
    const currency = "usd";
    switch (step.do) {
      case "charge": {
        const { amount: amount_micros, generation, key, at_most, tag } = step;
        const credential = generation === undefined ? undefined : { generation, hash: `h${generation}` };
        const input = { op, currency, amount_micros, key, at_most, credential, tag };
        return this.#ask(name, (api, retry) => api.charge({ ...input, retry }));
      }
      case "hold": {
        const { amount: amount_micros, key, tag } = step;
        const input = { op, currency, amount_micros, key, tag, ttl_ms: step.ttl_ms + 1 };
        this.#holds += 1;
        return this.#ask(name, (api, retry) => api.hold({ ...input, retry }));
      }
      case "grant": {
        const { amount: amount_micros, priority, only } = step;
        const input = { op, currency, amount_micros, key: op, priority, only };
        return this.#ask(name, (api, retry) => api.grant({ ...input, retry }));
      }
      case "revoke": {
        const input = { op, key: op, grant: { seq: step.seq } };
        return this.#ask(name, (api, retry) => api.revoke({ ...input, retry }));
      }
      case "settle": {
        const input = { op, hold_id: Math.max(1, this.#holds - step.back), amount_micros: step.amount };
        return this.#ask(name, (api, retry) => api.settle({ ...input, retry }));
      }
      case "release":
        return both(this.#twins, (api) => api.release({ hold_id: Math.max(1, this.#holds - step.back) }), name);
      case "again": {
        const asked = this.#asked[step.which % this.#asked.length];
        return asked && both(this.#twins, (api) => asked.act(api, step.retry), `again ${asked.name}`);
      }
      case "refund": {
        const seq = step.back === undefined ? step.seq : (await all(this.#twins.keeps)).head_seq - step.back;
        const charge = step.by === undefined ? { seq } : { key: step.by };
        const input = { op, charge, key: step.key ?? op, amount_micros: step.part };
        this.#refunds.push(input);
        return refund(this.#twins, input);
      }
      case "report": {
        const id = `pi_${step.payment}`;
        const word =
          step.rank < 0 ? facts("paid", 7_000, 7) : step.rank > 1 ? dispute(step.rank) : reversed(step.rank + 1);
        return both(this.#twins, (api) => api.report(told(word, id)), name);
      }
      case "rotate": {
        const credential = { generation: step.generation, hash: `h${step.generation}` };
        const next = { generation: step.generation + 1, hash: `h${step.generation + 1}` };
        return both(this.#twins, (api) => api.rotate({ credential, next }), name);
      }
      case "freeze":
        return both(this.#twins, (api) => api.freeze({ frozen: step.frozen, currency }), name);
      case "limit":
        return this.limit(
          step.units.map((unit) => ({
            window_id: unit,
            unit,
            limit_micros: step.limit,
            every: unit === "ONCE" ? 1 : step.every,
            alignment: unit === "ONCE" ? "calendar" : step.alignment,
          })),
        );
      case "wait":
        return void pass(step.ms);
      case "evict":
        for (const one of Object.values(this.#twins)) await evictDurableObject(stubOf(one)).catch(() => undefined);
        return;
      default: {
        await fold(this.#twins.folds, step.pages);
        const statements = this.#damage;
        if (statements !== undefined) await inside(this.#twins.folds, (sql) => void sql.exec(statements));
        return this.compare();
      }
    }
  }

  /** Balances and sums are the same, and what is not listed any more is what may be folded. */
  async compare(): Promise<void> {
    const { folds, keeps } = this.#twins;
    await both(this.#twins, (api) => api.state({}), "state");
    const { folded_seq: _, ...sums } = await all(keeps);
    const { folded_seq = 0, ...folded } = await all(folds);
    expect(folded).toEqual(sums);
    this.folded = folded_seq;
    const [left, ledger] = [await rows(folds), await rows(keeps)];
    const kept = new Set(left.map(({ seq }) => seq));
    const refunded = new Set(ledger.map(({ ref_seq }) => ref_seq));
    // As text, because there are thousands.
    expect(JSON.stringify(left) === JSON.stringify(ledger.filter(({ seq }) => kept.has(seq)))).toBe(true);
    const gone = ledger.filter(({ seq }) => !kept.has(seq));
    expect(gone.filter(({ kind, key, seq }) => kind !== "charge" || key !== null || refunded.has(seq))).toEqual([]);
    expect(gone.every(({ seq, at_ms }) => seq <= folded_seq && Date.now() - at_ms >= DAY)).toBe(true);
    expect(folded_seq).toBeLessThanOrEqual(Math.max(0, sums.head_seq - 8_192));
  }

  /** Everything that was ever asked is asked again. */
  async end(): Promise<void> {
    await this.compare();
    for (const { name, act } of this.#asked) await both(this.#twins, (api) => act(api, false), `at the end: ${name}`);
    for (const input of this.#refunds) await refund(this.#twins, input);
    // And what is answered with a no.
    const charge = { do: "charge", amount: micros(6), generation: undefined, at_most: false, tag: undefined } as const;
    await this.do({ ...charge, key: "k0" });
    await this.do({ ...charge, amount: micros(2 ** 50), key: undefined });
    await both(this.#twins, (api) => api.settle({ op: "late", hold_id: 1, amount_micros: micros(5) }), "late");
    for (const seq of [2, 3, 6]) await refund(this.#twins, { op: "late", key: `late-${seq}`, charge: { seq } });
    await refund(this.#twins, { op: "late", key: "r0", charge: { seq: 2 } });
    await this.compare();
  }
}

const RUNS = 12;
let runs = 0;
const counted = { steps: 0, folded: 0 };

function property(damage?: string) {
  const some = fc.array(step, { minLength: 15, maxLength: 40, size: "max" });
  return fc.asyncProperty(some, some, some, async (early, middle, late) => {
    vi.setSystemTime(START);
    const run = new Run(`twin-${runs++}`, damage);
    const doAll = async (steps: readonly Step[]) => {
      for (const one of steps) await run.do(one);
      counted.steps += steps.length;
    };
    await run.begin();
    await doAll(early);
    await run.manyLater();
    await doAll(middle);
    await run.do({ do: "fold", pages: 20 });
    await run.manyLater();
    await doAll(late);
    await run.do({ do: "fold", pages: 20 });
    // What a rolling window counts is not folded.
    await run.limit([]);
    await run.do({ do: "fold", pages: 20 });
    await run.end();
    counted.folded += run.folded;
  });
}

describe("T90 an envelope that folds answers like one that never does", () => {
  it("I1 I3 I4 charges, keys, holds, refunds, payments, rotation, freezes, jumps of the clock", {
    timeout: 240_000,
  }, async () => {
    await fc.assert(property(), { numRuns: RUNS, endOnFailure: true });
    console.log(
      `folding: ${counted.steps} random steps, ${counted.folded} entries folded over; ${JSON.stringify(seen)}`,
    );
    expect(counted.folded).toBeGreaterThanOrEqual(RUNS * 9_000);
    const outcomes = [
      "charged",
      "replayed",
      "refused",
      "conflict",
      "held",
      "ended",
      "refunded",
      "expired",
      "credited",
      "configured",
    ];
    expect(outcomes.filter((outcome) => seen[outcome] === undefined)).toEqual([]);
  });

  it("I7 what is left of grants, what expires of them and where refunds go: the same over a checkpoint", async () => {
    vi.setSystemTime(START);
    const twins: Twins = { folds: "lots-folds", keeps: "lots-keeps" };
    const usd = (op: string, amount: number) => ({ op, currency: "usd", amount_micros: micros(amount) });
    const days = (count: number) => ({ expires_at_ms: START + count * DAY });
    await both(twins, (api) => api.report(told(facts("paid", 50), "pi_lots")), "a top-up");
    await both(twins, (api) => api.grant({ ...usd("g1", 20_000), key: "g1", ...days(20) }), "a grant that ends");
    await both(twins, (api) => api.grant({ ...usd("g2", 30), key: "g2", only: "a" }), "a grant for something");
    for (const name of Object.values(twins)) await addCharges(name, MANY);
    pass(3 * DAY);
    await fold(twins.folds);
    expect(await foldedSeq(twins.folds)).toBeGreaterThan(0);
    const same = () => both(twins, (api) => api.state({}), "state");
    await same();
    await both(
      twins,
      (api) => api.charge({ ...usd("c", 12_000), at_most: true, tag: "a" }),
      "a charge of three sources",
    );
    const { head_seq: seq } = await all(twins.keeps);
    await refund(twins, { op: "r1", charge: { seq }, key: "r1", amount_micros: micros(200) });
    await same();
    pass(20 * DAY);
    await same();
    await both(twins, (api) => api.charge({ ...usd("d", 1), tag: "a" }), "a charge that books what expired");
    await same();
    const { folded_seq: _, ...sums } = await all(twins.folds);
    const { folded_seq: __, ...kept } = await all(twins.keeps);
    expect(sums).toEqual(kept);
    expect(sums.expired_micros).toBeGreaterThan(0);
    const { credited_micros, granted_micros, refunded_micros, spent_micros, expired_micros, balance_micros } = sums;
    expect(credited_micros + granted_micros + refunded_micros - spent_micros - expired_micros).toBe(balance_micros);
  });

  it("T63 what keys spent and may still spend: the same over a checkpoint", async () => {
    vi.setSystemTime(START);
    const twins: Twins = { folds: "keys-folds", keeps: "keys-keeps" };
    const KEY = { api_key: "key00001", hash: "hash" };
    const by = { actor: "holder", reason: null };
    const window = { unit: "MONTHLY", limit_micros: micros(400) } as const;
    const settings = { name: null, scopes: ["spend"] as const, cap_micros: micros(500), expires_at_ms: null };
    const input = { ...settings, id: KEY.api_key, hash: KEY.hash, last4: "last", key: "k", currency: "usd", by };
    const usd = (op: string, amount: number) => ({ op, currency: "usd", amount_micros: micros(amount) });
    const spend = (op: string, amount: number) =>
      both(twins, (api) => api.charge({ ...usd(op, amount), credential: KEY }), op);
    const same = () => both(twins, (api) => api.spenders({ before: null, limit: 10 }), "keys");
    await both(twins, (api) => api.grant({ ...usd("g", 20_000), key: "g" }), "a grant");
    await both(twins, (api) => api.mintKey({ ...input, windows: [window] }), "a key");
    for (let i = 0; i < 300; i++) await spend(`c${i}`, 1);
    for (const name of Object.values(twins)) await addCharges(name, MANY);
    await spend("more", 50);
    pass(3 * DAY);
    await fold(twins.folds);
    expect(await foldedSeq(twins.folds)).toBeGreaterThan(302);
    await same();
    await refund(twins, { op: "old", charge: { seq: 3 }, key: "old" });
    await spend("late", 40);
    const { head_seq: seq } = await all(twins.keeps);
    await refund(twins, { op: "r", charge: { seq }, key: "r", amount_micros: micros(20) });
    await evictDurableObject(stubOf(twins.folds));
    for (const amount of [31, 30, 1]) await spend(`within-${amount}`, amount);
    await same();
    pass(31 * DAY);
    for (const amount of [101, 100, 1]) await spend(`then-${amount}`, amount);
    await same();
    expect(await apiOf(twins.folds).spenders({ before: null, limit: 10 })).toMatchObject({
      spenders: [{ spent_micros: 520, refunded_micros: 20, remaining_micros: 0 }],
    });
  });

  /** As a fold would be that is wrong, with a checkpoint that adds up. */
  const alsoFolds = (which: string) => `
    DROP TRIGGER IF EXISTS entry_no_delete;
    DROP TRIGGER IF EXISTS envelope_folds;
    UPDATE envelope SET
      folded_charges = folded_charges + (SELECT count(*) FROM entry WHERE seq <= folded_seq AND ${which}),
      folded_micros = folded_micros + (SELECT coalesce(sum(amount_micros), 0) FROM entry WHERE seq <= folded_seq AND ${which});
    DELETE FROM entry WHERE seq <= (SELECT folded_seq FROM envelope) AND ${which};`;

  it.each([
    ["also takes charges with a key", alsoFolds("kind = 'charge' AND key IS NOT NULL")],
    ["also takes refunds", alsoFolds("kind = 'refund'")],
    ["forgets what a hold paid", "UPDATE hold SET paid_micros = NULL"],
    [
      "forgets a charge",
      "DROP TRIGGER IF EXISTS envelope_folds; UPDATE envelope SET folded_micros = folded_micros + 1",
    ],
  ])("the comparison finds a fold that %s", { timeout: 240_000 }, async (_name, damage) => {
    const found = await fc.check(property(damage), { numRuns: RUNS, endOnFailure: true });
    expect(found.failed).toBe(true);
  });
});

/** An envelope of a grant, a charge with a key, a hold that was settled, and many charges, all of it mirrored and old. */
async function old(name: string, charges = MANY): Promise<void> {
  await apiOf(name).grant({ op: "g", key: "g", currency: "usd", amount_micros: micros(1_000_000) });
  await charge(name, 5, { key: "k" });
  await apiOf(name).hold({ op: "h", currency: "usd", amount_micros: micros(3), ttl_ms: DAY });
  await apiOf(name).settle({ op: "s", hold_id: 1, amount_micros: micros(4) });
  await addCharges(name, charges);
  await charge(name);
  await shipped(name);
  pass(3 * DAY);
}

/** Lets the alarm ring, without the setting, until all is sent. */
async function shipped(name: string): Promise<void> {
  for (let rung = 0; rung < 50 && (await runDurableObjectAlarm(stubOf(name))); rung++);
}

/** Lets the alarm ring once, with the setting. */
async function ring(name: string): Promise<boolean> {
  vars["ENVELOPE_LEDGER_DAYS"] = "1";
  await arm(name);
  return runDurableObjectAlarm(stubOf(name));
}

const hook = () => vi.spyOn(Envelope.prototype as unknown as { archive(page: ArchivePage): Promise<void> }, "archive");

const aggregate = () => env.ENVELOPE_AGGREGATE.getByName("aggregate-0") as unknown as AggregateApi;

describe("T90 the archive", () => {
  it("is given each page whole, before anything of it is folded, and not again afterwards", async () => {
    const pages: ArchivePage[] = [];
    const before: number[] = [];
    hook().mockImplementation(async function (this: Envelope, page) {
      pages.push(page);
      before.push((await this.sums({ up_to: 0 })).folded_seq ?? -1);
    });
    await old("archived", 11_200);
    const entries = await rows("archived");
    await fold("archived");
    expect(await foldedSeq("archived")).toBe(3_000);
    expect(before).toEqual([0, 1_000, 2_000]);
    expect(pages.map(({ name }) => name)).toEqual([
      "archived/0000000000000001-0000000000001000",
      "archived/0000000000001001-0000000000002000",
      "archived/0000000000002001-0000000000003000",
    ]);
    expect(pages.flatMap((page) => page.entries)).toEqual(entries.slice(0, 3_000));
  });

  it("that resolved before the object died gets the same page again, and it is folded once", async () => {
    await old("crashed");
    const sums = await all("crashed");
    const pages: ArchivePage[] = [];
    hook()
      .mockImplementationOnce((page) => {
        pages.push(page);
        return new Promise(() => undefined);
      })
      .mockImplementation(async (page) => void pages.push(page));
    await ring("crashed");
    expect([pages.length, await foldedSeq("crashed")]).toEqual([1, 0]);
    await abortAllDurableObjects();
    pass(61_000);
    await runDurableObjectAlarm(stubOf("crashed"));
    expect([pages.length, await foldedSeq("crashed")]).toEqual([2, 1_000]);
    expect(pages[1]).toEqual(pages[0]);
    expect(await all("crashed")).toEqual({ ...sums, folded_seq: 1_000 });
  });

  it("that fails is asked again, later and later, while users and the mirror are served, and nothing is folded", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    await old("refused");
    const archive = hook().mockRejectedValue(new Error("the bucket is away"));
    const alarmAt = () => runInDurableObject(stubOf("refused"), (_, { storage }) => storage.getAlarm());
    const until = Date.now() + 1_800_000;
    while (Date.now() < until) {
      await ring("refused");
      pass(Math.max(1, ((await alarmAt()) ?? 0) - Date.now()));
    }
    // From one second to five minutes, each at least half of it.
    const calls = archive.mock.calls.length;
    expect(calls).toBeGreaterThanOrEqual(12);
    expect(calls).toBeLessThanOrEqual(22);
    expect(told).toHaveBeenCalledTimes(calls);
    expect(await foldedSeq("refused")).toBe(0);
    await ring("refused");
    const then = archive.mock.calls.length;
    expect((await charge("refused")).outcome).toBe("charged");
    await ring("refused");
    expect(archive, "a charge brings no page forward").toHaveBeenCalledTimes(then);
    expect(await mirroredBehind("refused")).toBe(0);
    archive.mockResolvedValue(undefined);
    pass(300_000);
    await ring("refused");
    expect(await foldedSeq("refused")).toBe(1_000);
  });

  it("that is slow delays neither charges nor the mirror", async () => {
    await old("slow");
    let resolve: () => void = () => undefined;
    hook().mockImplementation(
      () =>
        new Promise<void>((done) => {
          resolve = done;
        }),
    );
    await ring("slow");
    expect((await charge("slow")).outcome).toBe("charged");
    await ring("slow");
    expect([await mirroredBehind("slow"), await foldedSeq("slow")]).toEqual([0, 0]);
    await runInDurableObject(stubOf("slow"), async () => resolve());
    await vi.waitFor(async () => expect(await foldedSeq("slow")).toBe(1_000));
  });

  it("is a method to override", async () => {
    const pages: ArchivePage[] = [];
    class Archiving extends Envelope {
      override async archive(page: ArchivePage): Promise<void> {
        pages.push(page);
      }
    }
    await old("subclass");
    vars["ENVELOPE_LEDGER_DAYS"] = "1";
    await runInDurableObject(stubOf("subclass"), (_, state) => new Archiving(state, env).alarm());
    await vi.waitFor(async () => expect(await foldedSeq("subclass")).toBe(1_000));
    expect(pages.map(({ name }) => name)).toEqual(["subclass/0000000000000001-0000000000001000"]);
  });
});

const mirroredBehind = (name: string) =>
  inside(name, (sql) =>
    Number(sql.exec("SELECT (SELECT max(seq) FROM entry) - mirrored_seq AS behind FROM envelope").one()["behind"]),
  );

describe("T90 a folded ledger", () => {
  it("cannot be rewritten: no delete but a fold's, and no checkpoint that is not the sum of what goes", async () => {
    await old("guarded");
    await fold("guarded");
    expect(await foldedSeq("guarded")).toBe(1_000);
    const before = [await rows("guarded"), await all("guarded")];
    const statements = [
      "DELETE FROM entry",
      "DELETE FROM entry WHERE seq = 1",
      "DELETE FROM entry WHERE seq = 2",
      "DELETE FROM entry WHERE seq = 1001",
      "DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)",
      "UPDATE entry SET reason = 'x' WHERE seq = 1",
      "UPDATE entry SET amount_micros = 0",
      "UPDATE envelope SET folded_seq = 0",
      "UPDATE envelope SET folded_seq = 1001",
      "UPDATE envelope SET folded_micros = folded_micros - 1",
      "UPDATE envelope SET folded_charges = folded_charges + 1",
      "UPDATE envelope SET folded_seq = 1002, folded_at_ms = (SELECT at_ms FROM entry WHERE seq = 1002), folded_charges = folded_charges + 2, folded_micros = folded_micros - 3",
      // What would be right, were they not among the newest.
      "UPDATE envelope SET folded_seq = 1200, folded_at_ms = (SELECT at_ms FROM entry WHERE seq = 1200), folded_charges = folded_charges + 200, folded_micros = folded_micros - 200",
      "DELETE FROM envelope",
    ];
    await inside("guarded", (sql) => {
      for (const statement of statements)
        expect(() => sql.exec(statement), statement).toThrow(/never (deleted|changed)|is the sum of what it folds/);
    });
    expect([await rows("guarded"), await all("guarded")]).toEqual(before);
  });

  it("T91 T92 that an earlier version folded is what it was, and goes on", async () => {
    await old("earlier");
    await fold("earlier");
    const before = await all("earlier");
    const column = () => inside("earlier", (sql) => sql.exec("SELECT folded_micros FROM envelope").one());
    const folded = await column();
    // As the version before wrote it.
    await inside("earlier", (sql) => void sql.exec("DELETE FROM migration WHERE version = 15"));
    await evictDurableObject(stubOf("earlier"));
    await charge("earlier");
    expect(await column()).toEqual(folded);
    expect(await all("earlier")).toMatchObject({
      ...before,
      seq: before.seq + 1,
      head_seq: before.head_seq + 1,
      balance_micros: before.balance_micros - 1,
      spent_micros: before.spent_micros + 1,
      exact: { ...before.exact, spent_micros: String(before.spent_micros + 1) },
    });
  });

  it("takes a charge with one row, and pages of entries go on where the folded ones were", async () => {
    await old("counted");
    await fold("counted");
    vars["ENVELOPE_LEDGER_DAYS"] = "1";
    await runInDurableObject(stubOf("counted"), async (envelope: Envelope, state) => {
      const plain = () => envelope.charge({ op: "one", currency: "usd", amount_micros: micros(1) });
      expect(await rowsWritten(state, plain)).toBe(1);
      const keyed = () => envelope.charge({ op: "two", currency: "usd", amount_micros: micros(1), key: "new" });
      expect(await rowsWritten(state, keyed)).toBe(2);
    });
    const page = await apiOf("counted").entries({ after: 0, limit: 4 });
    expect(page.map(({ seq, kind }) => [seq, kind])).toEqual([
      [1, "grant"],
      [2, "charge"],
      [1_001, "charge"],
      [1_002, "charge"],
    ]);
  });

  it("answers sums below its checkpoint for the checkpoint, and says so", async () => {
    await old("summed");
    const at = await apiOf("summed").sums({ up_to: 1_000 });
    await fold("summed");
    expect(await apiOf("summed").sums({ up_to: 1_000 })).toEqual({ ...at, folded_seq: 1_000 });
    expect(await apiOf("summed").sums({ up_to: 7 })).toEqual({ ...at, folded_seq: 1_000 });
  });

  it("answers a hold that was settled before what it paid was noted with it", async () => {
    await old("held");
    await inside("held", (sql) => void sql.exec("UPDATE hold SET paid_micros = NULL"));
    await fold("held");
    const again = await apiOf("held").settle({ op: "s", hold_id: 1, amount_micros: micros(4), retry: true });
    expect(again).toMatchObject({ outcome: "charged", seq: 3, amount_micros: 4 });
  });

  it("is folded although nothing is written any more: the alarm waits for the day", async () => {
    vars["ENVELOPE_LEDGER_DAYS"] = "1";
    await apiOf("idle").grant({ op: "g", key: "g", currency: "usd", amount_micros: micros(1_000_000) });
    await addCharges("idle", MANY);
    await charge("idle");
    const at_ms = Date.now();
    await runDurableObjectAlarm(stubOf("idle"));
    const alarm = await runInDurableObject(stubOf("idle"), (_, { storage }) => storage.getAlarm());
    expect(alarm).toBe(at_ms + 2 * DAY);
    vi.setSystemTime(at_ms + 2 * DAY);
    await runDurableObjectAlarm(stubOf("idle"));
    expect(await foldedSeq("idle")).toBe(1_000);
  });

  it("T47 a wrong setting folds nothing, is told, and stops no charge", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    await old("misset");
    vars["ENVELOPE_LEDGER_DAYS"] = "soon";
    await charge("misset");
    await runDurableObjectAlarm(stubOf("misset"));
    expect([await foldedSeq("misset"), await mirroredBehind("misset")]).toEqual([0, 0]);
    expect(String(told.mock.calls)).toContain("ENVELOPE_LEDGER_DAYS must be a whole number");
    await inside("misset", async (_, envelope) => {
      const refund = envelope.refund({ op: "r", key: "r", charge: { seq: 2 } });
      await expect(refund).rejects.toThrow("ENVELOPE_LEDGER_DAYS");
    });
  });
});

describe("T90 what a rolling window counts", () => {
  it("is not folded as long as it does, whatever the setting is", async () => {
    await old("rolling");
    await apiOf("rolling").configure({
      currency: "usd",
      windows: [{ window_id: "w", unit: "DAILY", every: 10, limit_micros: micros(1_000_000), alignment: "rolling" }],
    });
    const spent = async () => {
      const state = await apiOf("rolling").state({});
      return state.outcome === "ok" ? state.windows[0]?.spent_micros : undefined;
    };
    expect(await spent()).toBe(5 + 4 + MANY + 1);
    await fold("rolling");
    expect(await foldedSeq("rolling")).toBe(0);
    // A little later they leave it; a day after that they go.
    pass(7 * DAY);
    expect(await spent()).toBe(0);
    await fold("rolling");
    expect(await foldedSeq("rolling")).toBe(0);
    pass(DAY);
    await charge("rolling", 3);
    await fold("rolling");
    expect(await foldedSeq("rolling")).toBe(1_000);
    await evictDurableObject(stubOf("rolling"));
    expect(await spent()).toBe(3);
  });
});

describe("T94 a mirror that lost what is folded", () => {
  const spent = async (name: string) => (await all(name)).spent_micros;

  it("of 100,000 entries is rebuilt from nothing, and proved; the database is smaller", {
    timeout: 240_000,
  }, async () => {
    // Without what other tests damaged.
    await aggregate().drop();
    await old("large", 100_000);
    const size = () => inside("large", (sql) => sql.databaseSize);
    const [before, sums] = [await size(), await all("large")];
    const began = performance.now();
    await fold("large");
    const after = await size();
    console.log(
      `folding: ${await foldedSeq("large")} entries in ${Math.round(performance.now() - began)} ms; database ${before} → ${after} bytes`,
    );
    expect(await foldedSeq("large")).toBe(91_000);
    expect(after).toBeLessThan(before / 5);
    expect(await all("large")).toEqual({ ...sums, folded_seq: 91_000 });
    expect((await proofOf(env)).differences).toEqual([]);

    await aggregate().drop();
    await apiOf("large").ship({ after: 0 });
    await shipped("large");
    expect(await aggregate().envelope({ envelope_id: "large" })).toMatchObject({
      applied_seq: sums.head_seq,
      balance_micros: sums.balance_micros,
      spent_micros: sums.spent_micros,
      granted_micros: 1_000_000,
      first_at_ms: START,
    });
    expect((await proofOf(env)).differences).toEqual([]);
    const spends = await aggregate().spend({ from_ms: 0, to_ms: START + DAY, limit: 10 });
    expect(spends.find(({ reason }) => reason === "(folded)")?.charges).toBe(90_999);
  });

  it("in part gets the rest as one sum; until then it is behind, and that is no difference", async () => {
    await old("partly");
    const first = (await rows("partly")).slice(0, 500);
    await fold("partly");
    await aggregate().drop();
    const { head_seq } = await all("partly");
    await aggregate().mirror(batchOf("partly", first, { head_seq }));
    expect(await aggregate().envelope({ envelope_id: "partly" })).toMatchObject({ applied_seq: 500, head_seq });
    const proof = await proofOf(env);
    expect([proof.behind > 0, proof.differences]).toEqual([true, []]);
    await apiOf("partly").ship({ after: 0 });
    await shipped("partly");
    expect((await proofOf(env)).differences).toEqual([]);
    const { applied_seq, spent_micros } = (await aggregate().envelope({ envelope_id: "partly" })) ?? {};
    expect([applied_seq, spent_micros]).toEqual([head_seq, await spent("partly")]);
    const spends = await aggregate().spend({ from_ms: 0, to_ms: START + DAY, limit: 10 });
    expect(spends.find(({ reason }) => reason === "(folded)")?.charges).toBe(500);
  });

  it("of a budget, whose usage is folded as charges are, gets all of it as one sum; what it used is no debt", async () => {
    await aggregate().drop();
    const windows = [{ window_id: "all", unit: "ONCE", limit_micros: micros(20_000) }] as const;
    await apiOf("budget").configure({ currency: "usd", prepaid: false, windows });
    expect(await charge("budget", 5)).toMatchObject({ outcome: "charged", seq: 1, balance_micros: 19_995 });
    await charge("budget", 7, { key: "k" });
    await addCharges("budget", MANY, START, "usage");
    expect(await charge("budget")).toMatchObject({ outcome: "charged", balance_micros: 20_000 - 13 - MANY });
    await shipped("budget");
    pass(3 * DAY);
    await fold("budget");
    expect(await foldedSeq("budget")).toBe(1_000);
    expect((await rows("budget")).slice(0, 3).map(({ seq, kind }) => [seq, kind])).toEqual([
      [1, "usage"],
      [2, "usage"],
      [1_001, "usage"],
    ]);
    await evictDurableObject(stubOf("budget"));
    // A lifetime's window that is made now knows of what is folded, too.
    const later = [...windows, { window_id: "later", unit: "ONCE", limit_micros: micros(20_000) }] as const;
    await apiOf("budget").configure({ currency: "usd", windows: later });
    const state = await apiOf("budget").state({});
    expect(state.outcome === "ok" && state.windows.map(({ spent_micros }) => spent_micros)).toEqual([
      MANY + 13,
      MANY + 13,
    ]);
    for (const lost of [false, true]) {
      if (lost) {
        await aggregate().drop();
        await apiOf("budget").ship({ after: 0 });
        await shipped("budget");
      }
      expect((await proofOf(env)).differences).toEqual([]);
      expect(await aggregate().overview()).toMatchObject({
        spent_micros: MANY + 13,
        outstanding_micros: 0,
        owed_micros: 0,
        budgeted_micros: MANY + 13,
      });
      expect(await aggregate().envelope({ envelope_id: "budget" })).toMatchObject({ budget: true, first_at_ms: START });
    }
  });

  it("T89 of sums that passed 2^53 several times while no balance did is exact, folded, rebuilt and proved", {
    timeout: 120_000,
  }, async () => {
    await aggregate().drop();
    const [name, most] = ["rich", Number.MAX_SAFE_INTEGER];
    let [granted, spent] = [0n, 0n];
    for (let round = 1; round <= 9; round++) {
      const size = most - 2 * round;
      const input = { op: `g${round}`, key: `g${round}`, currency: "usd", amount_micros: micros(size) };
      expect(await apiOf(name).grant(input)).toMatchObject({ outcome: "granted", balance_micros: size });
      expect(await charge(name, size)).toMatchObject({ outcome: "charged", balance_micros: 0 });
      granted += BigInt(size);
      spent += BigInt(size);
    }
    await apiOf(name).grant({ op: "g", key: "g", currency: "usd", amount_micros: micros(1_000_000) });
    await addCharges(name, MANY);
    [granted, spent] = [granted + 1_000_000n, spent + BigInt(MANY)];
    await shipped(name);
    const balance_micros = 1_000_000 - MANY;
    const exact = { granted_micros: String(granted), spent_micros: String(spent) };
    const check = async (what: string) => {
      expect(await all(name), what).toMatchObject({
        balance_micros,
        granted_micros: Number(granted),
        spent_micros: Number(spent),
        exact,
      });
      expect((await proofOf(env)).differences, what).toEqual([]);
      expect(await aggregate().overview(), what).toMatchObject({ outstanding_micros: balance_micros });
      const kept = await runInDurableObject(env.ENVELOPE_AGGREGATE.getByName("aggregate-0"), (_, { storage }) =>
        ["envelope_summary", "total"].map((table) =>
          storage.sql
            .exec(
              `SELECT CAST(granted_micros AS TEXT) AS granted_micros, CAST(spent_micros AS TEXT) AS spent_micros FROM ${table}`,
            )
            .one(),
        ),
      );
      expect(kept, what).toEqual([exact, exact]);
    };
    await check("mirrored");
    pass(3 * DAY);
    await fold(name);
    expect(await foldedSeq(name)).toBe(1_000);
    await check("folded");
    await evictDurableObject(stubOf(name));
    await aggregate().drop();
    await apiOf(name).ship({ after: 0 });
    await shipped(name);
    await check("rebuilt from its opening");
    const spends = await aggregate().spend({ from_ms: 0, to_ms: Date.now(), limit: 10 });
    expect(spends.find(({ reason }) => reason === "(folded)")?.spent_micros).toBe(Number(spent - BigInt(MANY - 981)));

    // What is wrong by one is found, although no number says so.
    await runInDurableObject(env.ENVELOPE_AGGREGATE.getByName("aggregate-0"), (_, { storage }) =>
      storage.sql.exec("UPDATE envelope_summary SET spent_micros = spent_micros + 1"),
    );
    const { differences } = await proofOf(env);
    expect(differences.find(({ envelope_id }) => envelope_id === name)).toMatchObject({
      what: "spent_micros",
      exact: { expected: String(spent), found: String(spent + 1n) },
    });
    expect(differences.map(({ what }) => what)).toContain("total.spent_micros");
    await aggregate().drop();
  });

  it("and loses the answer to what it is sent takes it once", async () => {
    await old("answered");
    await fold("answered");
    await aggregate().drop();
    const { mirror } = EnvelopeAggregate.prototype;
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const lost = vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementation(async function (
      this: EnvelopeAggregate,
      batch,
    ) {
      await mirror.call(this, batch);
      return undefined as never;
    });
    await apiOf("answered").ship({ after: 0 });
    await runDurableObjectAlarm(stubOf("answered"));
    lost.mockRestore();
    await shipped("answered");
    expect((await proofOf(env)).differences).toEqual([]);
    const { head_seq } = await all("answered");
    expect(await aggregate().envelope({ envelope_id: "answered" })).toMatchObject({ applied_seq: head_seq, head_seq });
  });
});
