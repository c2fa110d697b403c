import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { AggregateApi, Entry, EntryKind, EnvelopeApi } from "../../../src/contract.js";
import { EnvelopeAggregate } from "../../../src/index.js";
import { facts, reversal, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";

// In the future, so that an alarm rings only when a test says so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Has no balance that limits it: what it used is nobody's debt. */
const BUDGET = "mirrored-budget";
const DRAWN = ["mirrored-a", "mirrored-b", "mirrored-c", "mirrored-d", BUDGET] as const;
/** No dispute ever freezes it, so that it takes charges whatever was drawn. */
const CALM = "mirrored-calm";
const NAMES = [...DRAWN, CALM] as const;
const stubOf = (name: string) => env.ENVELOPE.getByName(name);
const apiOf = (name: string) => stubOf(name) as unknown as EnvelopeApi;
const aggregate = () => env.ENVELOPE_AGGREGATE.getByName("aggregate-0");

let ops = 0;

type Moved = Exclude<EntryKind, "usage">;

async function move(name: string, kind: Moved, size: number): Promise<void> {
  const envelope = apiOf(name);
  const window = { window_id: "w", unit: "ONCE", limit_micros: micros(5_000) } as const;
  if (name === BUDGET) await envelope.configure({ currency: "usd", prepaid: false, windows: [window] });
  ops += 1;
  const [op, amount_micros] = [`op-${ops}`, micros(size)];
  const asked = { op, currency: "usd", amount_micros };
  if (kind === "charge") await envelope.charge({ ...asked, at_most: true });
  else if (kind === "grant") await envelope.grant({ ...asked, key: op });
  else if (kind === "refund") await envelope.refund({ op, key: op, charge: { seq: (await stateOf(name)).seq } });
  else if (kind === "topup") await envelope.report(told(facts("paid", size), op));
  else if (kind === "clawback" || kind === "reinstatement") await dispute(name, kind);
  else await lapse(name, kind);
}

/** The dispute of an envelope's first payment, where there is one: withdrawn, reinstated, and so on. */
async function dispute(name: string, kind: "clawback" | "reinstatement"): Promise<void> {
  const entries = await apiOf(name).entries({ after: 0, limit: 1_000 });
  const { payment_id } = entries.find((entry) => entry.kind === "topup") ?? { payment_id: null };
  if (payment_id === null) return;
  const moves = entries.filter((entry) => entry.payment_id === payment_id).length - 1;
  const rank = moves + (moves % 2 === (kind === "clawback" ? 0 : 1) ? 1 : 0);
  await apiOf(name).report(told(reversal({ reversal_id: `du_${name}`, kind: "dispute", rank, amount: 3 }), payment_id));
}

/** The oldest grant of which something is left is revoked; or what expires at once is given, and noticed with the next thing given. */
async function lapse(name: string, kind: "expiry" | "revocation"): Promise<void> {
  const [op, usd] = [`op-${ops}`, { currency: "usd", amount_micros: micros(2) }];
  const [lot] = (await stateOf(name)).lots;
  if (kind === "revocation") {
    if (lot !== undefined) await apiOf(name).revoke({ op, key: op, grant: { seq: lot.seq } });
    return;
  }
  await apiOf(name).grant({ ...usd, op, key: op, expires_at_ms: Date.now() + 1 });
  vi.setSystemTime(Date.now() + 1);
  await apiOf(name).grant({ ...usd, op: `${op}b`, key: `${op}b` });
}

async function stateOf(name: string) {
  const state = await apiOf(name).state({});
  if (state.outcome !== "ok") throw new Error("state() without a credential is always told");
  return state;
}

/** What the aggregate must say, from every entry of every envelope. */
async function wholeLedger(name: string): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  for (let page: readonly Entry[] | undefined; page === undefined || page.length > 0; entries.push(...page)) {
    page = await apiOf(name).entries({ after: entries.at(-1)?.seq ?? 0, limit: 1_000 });
  }
  return entries;
}

async function directOverview() {
  const ledgers = await Promise.all(NAMES.map(wholeLedger));
  const entries = ledgers.flat();
  const sum = (kind: EntryKind) =>
    entries
      .filter((entry) => entry.kind === kind)
      .reduce((total, { amount_micros }) => total + Math.abs(amount_micros), 0);
  const last = (ledger: (typeof ledgers)[number]) => ledger.at(-1)?.balance_micros ?? 0;
  const below = (of: (name: string) => boolean) =>
    ledgers.filter((_, index) => of(NAMES[index] ?? "")).reduce((total, one) => total + Math.max(0, 0 - last(one)), 0);
  const budgeted_micros = below((name) => name === BUDGET);
  return {
    envelopes: ledgers.filter((ledger) => ledger.length > 0).length,
    entries: entries.length,
    behind: 0,
    owed_micros: below((name) => name !== BUDGET),
    budgeted_micros,
    credited_micros: sum("topup"),
    granted_micros: sum("grant"),
    spent_micros: sum("charge") + sum("usage"),
    refunded_micros: sum("refund"),
    reversed_micros: sum("clawback") - sum("reinstatement"),
    expired_micros: sum("expiry") + sum("revocation"),
    outstanding_micros: budgeted_micros + ledgers.reduce((total, ledger) => total + last(ledger), 0),
  };
}

/** Lets every pending alarm ring, until none is left. */
async function settleDown(): Promise<void> {
  for (const name of NAMES) while (await runDurableObjectAlarm(stubOf(name)));
}

const overview = () => (aggregate() as unknown as AggregateApi).overview();

/**
 * The aggregate gives no sound answer for as long as `work` takes: before it stores a batch, or after. (It answers nothing
 * instead of throwing, because workerd prints each exception that crosses RPC; to the envelope's alarm it is the same.)
 */
async function whileBroken(when: "before" | "after", work: () => Promise<unknown>): Promise<void> {
  const { mirror } = EnvelopeAggregate.prototype;
  const broken = vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementation(async function (
    this: EnvelopeAggregate,
    batch,
  ) {
    if (when === "after") await mirror.call(this, batch);
    return undefined as never;
  });
  await work();
  broken.mockRestore();
}

it("I6 I7 T93 T94 after any moves, alarms, evictions and outages, the aggregate says what all entries say", {
  timeout: 60_000,
}, async () => {
  const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const step = fc.record({
    name: fc.constantFrom(...DRAWN),
    what: fc.constantFrom<Moved | "alarm" | "evict" | "lose" | "lose the answer">(
      "topup",
      "grant",
      "charge",
      "charge",
      "charge",
      "refund",
      "clawback",
      "clawback",
      "reinstatement",
      "expiry",
      "revocation",
      "alarm",
      "alarm",
      "evict",
      "lose",
      "lose the answer",
    ),
    size: fc.integer({ min: 1, max: 100 }),
  });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 25, size: "max" }), async (steps) => {
    for (const { name, what, size } of steps) {
      if (what === "alarm") await runDurableObjectAlarm(stubOf(name));
      else if (what === "evict") await evictDurableObject(stubOf(name)).catch(() => undefined);
      else if (what === "lose" || what === "lose the answer") {
        await whileBroken(what === "lose" ? "before" : "after", () => runDurableObjectAlarm(stubOf(name)));
      } else await move(name, what, size);
    }
    await settleDown();
    expect(await overview()).toMatchObject(await directOverview());
  });
  await fc.assert(property, { numRuns: 15, endOnFailure: true });
  expect(told, "the outages did happen").toHaveBeenCalled();
});

it("I6 the aggregate is never ahead, and keeps what it had while an envelope moves on", async () => {
  await move(CALM, "grant", 50);
  await settleDown();
  const before = await overview();
  await move(CALM, "charge", 20);
  expect(await overview()).toEqual(before);
  await settleDown();
  expect(await overview()).toMatchObject({
    envelopes: before.envelopes,
    credited_micros: before.credited_micros,
    granted_micros: before.granted_micros,
    entries: before.entries + 1,
    spent_micros: before.spent_micros + 20,
    outstanding_micros: before.outstanding_micros - 20,
  });
});

it("T93 an envelope serves all the same while the aggregate is down, and its alarm is set again", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  await move(CALM, "grant", 50);
  await whileBroken("before", async () => {
    for (let failure = 0; failure < 8; failure++) {
      expect(await runDurableObjectAlarm(stubOf(CALM)), "past the six failures after which the platform gives up").toBe(
        true,
      );
    }
    const charged = await apiOf(CALM).charge({ op: "during", currency: "usd", amount_micros: micros(7) });
    expect(charged.outcome).toBe("charged");
  });
  await settleDown();
  expect(await overview()).toMatchObject(await directOverview());
});

it("T93 a busy envelope does not ask an aggregate that is down more often than its pauses say", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  const name = CALM;
  const alarmAt = () => runInDurableObject(stubOf(name), (_instance, { storage }) => storage.getAlarm());
  await move(name, "grant", 50);
  await whileBroken("before", async () => {
    let pause = 0;
    for (let failure = 0; failure < 6; failure++) {
      await runDurableObjectAlarm(stubOf(name));
      const at = (await alarmAt()) ?? 0;
      for (const kind of ["charge", "grant", "topup"] as const) await move(name, kind, 1);
      expect(await alarmAt(), "a write brings nothing forward").toBe(at);
      pause = at - Date.now();
    }
    expect(pause).toBeGreaterThanOrEqual(16_000);
    // The clock is set back by an hour: no pause is longer than the longest one.
    vi.setSystemTime(Date.now() - 3_600_000);
    await runDurableObjectAlarm(stubOf(name));
    expect(((await alarmAt()) ?? 0) - Date.now()).toBeLessThanOrEqual(300_000);
  });
  await settleDown();
  await move(name, "grant", 1);
  expect(((await alarmAt()) ?? 0) - Date.now(), "up again: within seconds").toBeLessThanOrEqual(7_000);
  await settleDown();
  expect(await overview()).toMatchObject(await directOverview());
});

it("T94 a ledger longer than one batch is mirrored whole", { timeout: 30_000 }, async () => {
  await move(CALM, "grant", 5_000);
  await runInDurableObject(stubOf(CALM), async (envelope) => {
    for (let i = 0; i < 1_100; i++)
      await envelope.charge({ op: `long-${i}`, currency: "usd", amount_micros: micros(1) });
  });
  await settleDown();
  const { spent_micros } = await overview();
  expect(spent_micros).toBeGreaterThanOrEqual(1_100);
  expect(await overview()).toMatchObject(await directOverview());
});
