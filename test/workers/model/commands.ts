/** The commands of the model-based test: each is drawn, resolved against the model, done to both, and its answers compared. */
import { abortAllDurableObjects, evictDurableObject } from "cloudflare:test";
import fc from "fast-check";
import { expect, vi } from "vitest";
import type { Credential, WindowInput } from "../../../src/contract.js";
import { micros } from "../rules/values.js";
import { readAnswer, readRotation } from "./answers.js";
import { currency, money } from "./drawn.js";
import { edgeOf, isSpent, type Limit } from "./limits.js";
import { METERS } from "./meters.js";
import type { Model } from "./model.js";
import { credit, disown, freeze, takeBack } from "./money-in.js";
import { command, type Real, send } from "./real.js";

/** Something in so many of ten cases, else nothing. */
const inTen = <T>(weight: number, something: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight, arbitrary: something }, { weight: 10 - weight, arbitrary: fc.constant(undefined) });

const amount = fc.constantFrom(1, 2, 5, 5, 10, 10, 30, 70).map(micros);
const key = inTen(5, fc.constantFrom("app:1", "app:2", "app:3"));
const replay_ms = fc.constantFrom(undefined, undefined, undefined, 0, 30_000);
const scope = fc.constantFrom(undefined, undefined, undefined, "a", "b");

/** Mostly the Worker's own word; else a token of some generation near the newest, now and then one that was never issued. */
const bearer = inTen(
  3,
  fc.record({ back: fc.integer({ min: -1, max: 2 }), forged: fc.constantFrom(false, false, false, true) }),
);

function credentialOf(model: Model, drawn: { readonly back: number; readonly forged: boolean }): Credential {
  const newest = Math.max(0, ...model.issued.map((one) => one.generation));
  const generation = Math.max(0, newest - drawn.back);
  return { generation, hash: drawn.forged ? "forged" : `hash-${generation}` };
}

/** What it is for: a tag, a reason, neither, or both. */
const tagged = fc.constantFrom(
  {},
  {},
  { reason: "chat" },
  { reason: "GET /images/1" },
  { tag: "GET /images/2", reason: "chat" },
);

const spending = fc.record({ amount, currency, key, scope, replay_ms, bearer });

const charge = command(
  "charge",
  fc.record({
    spending,
    tagged,
    zero: fc.constantFrom(false, false, false, true),
    at_most: fc.boolean(),
    record_zero: fc.boolean(),
  }),
  async ({ spending, tagged, zero, at_most, record_zero }, model, real) => {
    const { amount, bearer, ...asked } = spending;
    const credential = bearer && credentialOf(model, bearer);
    const amount_micros = zero ? micros(0) : amount;
    // Where nothing was paid, and below zero, a recorded zero has tests of its own: zero.test.ts.
    const recorded = record_zero && model.lines.length > 0 && model.balance >= 0n;
    const input = { op: real.op(), ...asked, ...tagged, amount_micros, credential, at_most, record_zero: recorded };
    await send(
      real,
      input,
      (sent) => model.charge(sent),
      (api, sent) => api.charge(sent),
      asked.key,
    );
  },
);

/** The short way to the same charge, which is told less of it. Tried again, it goes the long way. */
const take = command(
  "take",
  fc.record({ amount, currency, bearer, zero: fc.constantFrom(false, false, false, true) }),
  async ({ amount, currency, bearer, zero }, model, real) => {
    const credential = bearer && credentialOf(model, bearer);
    const input = { op: real.op(), currency, reason: "chat", amount_micros: zero ? micros(0) : amount, credential };
    const { op, reason, amount_micros } = input;
    real.last = async () => {
      const sent = { ...input, retry: true };
      const expected = model.charge(sent);
      expect(readAnswer(await real.api.charge(sent))).toBe(expected);
    };
    const expected = model.charge(input);
    const answer = await real.api.take(amount_micros, op, currency, reason, credential?.generation, credential?.hash);
    if (typeof answer !== "number") expect(readAnswer(answer)).toBe(expected);
    else expect(expected).toMatch(new RegExp(`^charged (null|[0-9]+) ${amount_micros}; ${answer}/`));
  },
);

/** All that is left for something. */
export const drain = command("drain", tagged, async (tagged, model, real) => {
  const input = { op: real.op(), currency: "usd", ...tagged, amount_micros: micros(2 ** 50), at_most: true };
  await send(
    real,
    input,
    (sent) => model.charge(sent),
    (api, sent) => api.charge(sent),
  );
});

export const hold = command(
  "hold",
  fc.record({ spending, tagged, ttl_ms: fc.integer({ min: 1, max: 100_000 }) }),
  async ({ spending: { amount, bearer, ...spending }, tagged, ttl_ms }, model, real) => {
    const input = {
      op: real.op(),
      ...spending,
      ...tagged,
      ttl_ms,
      amount_micros: amount,
      credential: bearer && credentialOf(model, bearer),
    };
    await send(
      real,
      input,
      (sent) => model.hold(sent),
      (api, sent) => api.hold(sent),
    );
  },
);

/** One of the newest holds; one number past the last stands for a hold that never was. */
const whichHold = fc.constantFrom(0, 0, 0, 1, 1, 2, -1);
const chosenHold = (model: Model, back: number) => Math.max(1, model.holds.length - back);
const anyHold = (model: Readonly<Model>) => model.holds.length > 0;

const settle = command(
  "settle",
  fc.record({
    whichHold,
    price: fc.constantFrom("zero", "below", "equal", "above"),
    above: fc.constantFrom(undefined, "all" as const, "apart" as const, "part" as const),
  }),
  async ({ whichHold, price, above }, model, real) => {
    const hold_id = chosenHold(model, whichHold);
    const { amount, input: held, end } = model.holds[hold_id - 1] ?? { amount: 5n, input: { key: undefined } };
    const reserved = Number(amount);
    const prices = { zero: 0, below: Math.floor(reserved / 2), equal: reserved, above: reserved + 3 };
    const input = { op: real.op(), hold_id, amount_micros: micros(prices[price] ?? 0), above };
    const key = end === undefined ? held.key : undefined;
    await send(
      real,
      input,
      (sent) => model.settle(sent),
      (api, sent) => api.settle(sent),
      key,
    );
    // A settlement above its hold that is sent again has a test of its own: keys.test.ts.
    if (price === "above") real.last = undefined;
  },
  anyHold,
);

const release = command(
  "release",
  whichHold,
  async (back, model, real) => {
    const hold_id = chosenHold(model, back);
    expect(readAnswer(await real.api.release({ hold_id }))).toBe(model.release(hold_id));
  },
  anyHold,
);

export const refund = command(
  "refund",
  fc.record({
    back: fc.nat(3),
    ofCharge: fc.constantFrom(true, true, true, false),
    part: inTen(5, amount),
    byKey: inTen(4, fc.constantFrom("app:1", "app:2", "app:3", "grant:1")),
    key: inTen(4, fc.constantFrom("refund:1", "refund:2", "refund:3")),
  }),
  async ({ back, ofCharge, part, byKey, key: given }, model, real) => {
    const lines = model.lines.filter((line) => !ofCharge || isSpent(line));
    const charge = byKey === undefined ? { seq: lines.at(-1 - back)?.seq ?? 1 } : { key: byKey };
    const op = real.op();
    const key = given ?? `refund:${op}`;
    const input = { op, charge, key, amount_micros: part };
    await send(
      real,
      input,
      (sent) => model.refund(sent),
      (api, sent) => api.refund(sent),
      key,
    );
  },
);

const grantKey = fc.constantFrom("grant:1", "grant:2", "grant:3", "grant:4", "grant:5");

/** Half of the grants on terms of their own. */
export const grant = command(
  "grant",
  fc.record({
    money,
    currency,
    key: grantKey,
    legacy_key: inTen(2, grantKey),
    terms: inTen(
      5,
      fc.record({
        lasts_ms: fc.constantFrom(undefined, 1, 20_000, 60_000, 200_000),
        priority: fc.constantFrom(undefined, 0, 49, 50, 51, 100),
        only: fc.constantFrom(undefined, undefined, "chat", "GET /images/*"),
      }),
    ),
  }),
  async ({ money, currency, key, legacy_key, terms }, model, real) => {
    const { lasts_ms, ...other } = terms ?? {};
    const expires_at_ms = lasts_ms === undefined ? undefined : model.clock + lasts_ms;
    const input = { op: real.op(), amount_micros: money, currency, key, legacy_key, ...other, expires_at_ms };
    await send(
      real,
      input,
      (sent) => model.grant(sent),
      (api, sent) => api.grant(sent),
      // Under a legacy key it was another that was given.
      legacy_key === undefined ? key : undefined,
    );
  },
);

export const revoke = command(
  "revoke",
  fc.record({ byKey: inTen(5, grantKey), back: fc.nat(3), key: inTen(3, fc.constantFrom("revoke:1", "revoke:2")) }),
  async ({ byKey, back, key: given }, model, real) => {
    const seq = model.grants.at(-1 - back)?.seq ?? 1;
    const op = real.op();
    const key = given ?? `revoke:${op}`;
    const input = { op, grant: byKey === undefined ? { seq } : { key: byKey }, key };
    await send(
      real,
      input,
      (sent) => model.revoke(sent),
      (api, sent) => api.revoke(sent),
      key,
    );
  },
);

const rotate = command(
  "rotate",
  fc.record({
    from: fc.record({ back: fc.nat(2), forged: fc.constantFrom(false, false, false, true) }),
    other: fc.constantFrom(false, false, true),
  }),
  async ({ from, other }, model, real) => {
    const credential = credentialOf(model, from);
    const generation = credential.generation + 1;
    const next = { generation, hash: other ? `other-${generation}` : `hash-${generation}` };
    const input = { credential, next };
    expect(readRotation(await real.api.rotate(input))).toBe(model.rotate(input));
  },
);

const look = command(
  "look",
  fc.record({ back: fc.integer({ min: -1, max: 2 }), forged: fc.boolean() }),
  async (drawn, model, real) => {
    const credential = credentialOf(model, drawn);
    const standing = model.present(credential);
    const answer = await real.api.state({ credential });
    expect(answer.outcome === "ok" ? { superseded: answer.superseded } : answer.outcome).toEqual(
      standing === "revoked" ? "unauthorized" : { superseded: standing === "superseded" },
    );
  },
);

const retry = command("retry", fc.constant("the last operation"), async (_drawn, _model, real) => {
  await real.last?.(true);
});

const evict = command("evict", fc.constant("gracefully"), async (_drawn, model, real) => {
  gone(model, real);
  // An object that is not running cannot be evicted, and need not be.
  await evictDurableObject(real.stub).catch(() => undefined);
});

/** Nobody hears of the meters that ran in it any more. */
function gone(model: Model, real: Real): void {
  model.forget();
  real.sessions.clear();
}

/** The object dies with a call on its way: written or not, the same operation sent again has its effect once. */
export const crash = command(
  "crash",
  fc.record({ spending, held: fc.boolean() }),
  async ({ spending: { amount, bearer: _, ...spending }, held }, model, real) => {
    const input = { op: real.op(), amount_micros: amount, ttl_ms: 30_000, ...spending };
    const call = (retry: boolean) => (held ? real.api.hold({ ...input, retry }) : real.api.charge({ ...input, retry }));
    const lost = call(false).catch(() => undefined);
    gone(model, real);
    await abortAllDurableObjects();
    await lost;
    expect(readAnswer(await call(true))).toBe(held ? model.hold(input) : model.charge(input));
  },
);

/** Every object at once: only for a test that runs one envelope at a time. */
export const abort = command("abort", fc.constant("brutally"), async (_drawn, model, real) => {
  gone(model, real);
  await abortAllDurableObjects();
});

/** Time passes; now and then a clock is set back. It is one clock for all: only for a test that runs one envelope at a time. */
export const wait = command(
  "wait",
  fc.oneof(fc.integer({ min: 1, max: 60_000 }), fc.constantFrom(-40_000, 150_000, 1_000_000)),
  async (ms, model) => {
    model.clock += ms;
    model.latest = Math.max(model.latest, model.clock);
    vi.setSystemTime(model.clock);
  },
);

/** Zones whose clocks are set, back at midnight too, and one that never is. */
const window: fc.Arbitrary<WindowInput> = fc
  .record({
    window_id: fc.constantFrom("a", "b", "c"),
    unit: fc.constantFrom("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL", "ONCE"),
    every: fc.constantFrom(1, 1, 2, 5),
    limit: fc.constantFrom(0, 10, 30, 60, 200),
    alignment: fc.constantFrom("calendar", "anchored", "rolling", "rolling"),
    time_zone: fc.constantFrom("UTC", "America/Santiago", "Europe/Berlin", "Asia/Kathmandu"),
    week_start: fc.integer({ min: 1, max: 7 }),
    anchored_ms: fc.integer({ min: -100_000_000_000, max: 0 }),
  })
  .map(({ unit, every, limit, alignment, anchored_ms, ...drawn }) => {
    const once = unit === "ONCE";
    const aligned = once && alignment === "rolling" ? "calendar" : alignment;
    const anchor = aligned === "anchored" ? { anchor_ms: ANCHOR + anchored_ms } : {};
    return { ...drawn, unit, every: once ? 1 : every, limit_micros: micros(limit), alignment: aligned, ...anchor };
  });
const ANCHOR = Date.UTC(2099, 11, 31);

/** One window a name, as it is asked for. */
const windows = fc.uniqueArray(window, { maxLength: 3, selector: ({ window_id }) => window_id });

export const configure = command(
  "configure",
  fc.record({ windows: inTen(8, windows), prepaid: inTen(3, fc.boolean()), currency }),
  async ({ windows, prepaid, currency }, model, real) => {
    const input = { currency, prepaid, windows };
    // What is there already comes first: it was made first.
    const limits = windows?.map((one) => ({ anchor_ms: null, ...one }) as Limit);
    const kept = (model: Model, all: readonly Limit[]) => {
      const isThere = (one: Limit) => model.limits.some((other) => isSame(one, other));
      return [
        ...model.limits.filter((one) => all.some((other) => isSame(one, other))),
        ...all.filter((one) => !isThere(one)),
      ].map((one) => all.find(({ window_id }) => window_id === one.window_id) ?? one);
    };
    const expected = model.configure(input, limits && kept(model, limits));
    const answer = await real.api.configure(input);
    expect(answer.outcome === "conflict" ? `conflict ${answer.detail}` : answer.outcome).toBe(expected);
  },
);

const isSame = ({ limit_micros: _, ...one }: Limit, { limit_micros: __, ...other }: Limit) =>
  (Object.keys(one) as (keyof typeof one)[]).every((member) => one[member] === other[member]);

/** Time goes on to where a window ends, or what it counts leaves it; one before, at, or past that. It is one clock for all. */
export const leap = command(
  "leap",
  fc.record({ which: fc.nat(2), beside: fc.constantFrom(-1, 0, 0, 1, 3_600_000) }),
  async ({ which, beside }, model) => {
    const limit = model.limits[which];
    const edge = limit && edgeOf(limit, model.time);
    // Until then the mirror's alarms, which are of the real time, do not ring.
    if (edge === undefined || edge > Date.UTC(2103, 0, 1)) return;
    model.clock = Math.max(model.clock, edge + beside);
    vi.setSystemTime(model.clock);
  },
  (model) => model.limits.length > 0,
);

/** Listed as often as each is to be likely. */
export const COMMANDS = [
  charge,
  charge,
  charge,
  take,
  take,
  hold,
  hold,
  hold,
  settle,
  settle,
  settle,
  release,
  refund,
  refund,
  grant,
  grant,
  revoke,
  ...METERS,
  credit,
  credit,
  takeBack,
  takeBack,
  takeBack,
  disown,
  freeze,
  rotate,
  look,
  retry,
  retry,
  evict,
];
