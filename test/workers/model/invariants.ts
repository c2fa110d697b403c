/** What must hold of an envelope after every command, told from `entries()` and `state()` alone. */
import { runInDurableObject } from "cloudflare:test";
import { expect } from "vitest";
import type { Entry, EnvelopeState } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { resetOf, spentOf } from "./limits.js";
import type { Model } from "./model.js";
import type { Real } from "./real.js";

export async function inspect(model: Model, real: Real): Promise<void> {
  // Whoever looks, and whatever they look at: what is over is booked before.
  model.bookLapsed();
  // Asked inside the object, because one visit costs the test half of two calls.
  const look = async (envelope: Envelope) =>
    [await envelope.state({}), await envelope.entries({ after: 0, limit: 1_000 })] as const;
  const [answer, entries] = await runInDurableObject(real.stub, look);
  if (answer.outcome !== "ok") throw new Error("state() without a credential is always told");
  const { outcome: _, ...state } = answer;
  conservation(state, entries, model);
  lots(state, entries);
  holds(state, entries);
  exactlyOnce(real, entries);
  payments(entries);
  integers(state, entries);
  sameAsModel(model, state, entries);
}

/**
 * I1: numbers without a gap, each running balance recomputed, the sum of all is the balance, less what has expired and is not
 * booked yet. I2: never below zero by spending.
 */
function conservation(state: EnvelopeState, entries: readonly Entry[], model: Model): void {
  let balance = 0n;
  const recomputed = entries.map(({ amount_micros }, index) => {
    balance += BigInt(amount_micros);
    return [index + 1, balance];
  });
  expect(
    entries.map(({ seq, balance_micros }) => [seq, BigInt(balance_micros)]),
    "I1",
  ).toEqual(recomputed);
  expect(
    entries.filter(({ kind, balance_micros }) => kind === "charge" && balance_micros < 0),
    "I2",
  ).toEqual([]);
  const lapsed = model.grants.reduce((sum, given) => sum + model.lapsed(given), 0n);
  if (state.prepaid) expect(BigInt(state.balance_micros), "I1").toBe(balance - lapsed);
  expect(state.seq, "I1").toBe(entries.length);
  const falls = entries.filter(({ kind, amount_micros, balance_micros, lots }) => {
    // A grant that is over no longer stands against what was clawed back before.
    const owed = kind === "expiry" || kind === "revocation" ? paidIn(balance_micros, lots) < 0 : kind === "clawback";
    return !owed && kind !== "usage" && amount_micros < 0 && balance_micros < 0;
  });
  expect(falls, "I2: only a clawback takes a balance below zero").toEqual([]);
  // A clock that was set back opens holds again whose money may be spent.
  const reopened = model.open.some(({ until }) => until <= model.latest);
  if (state.prepaid && !reopened && !entries.some(({ kind }) => kind === "clawback"))
    expect(state.available_micros, "I2").toBeGreaterThanOrEqual(0);
}

/** I4: held is the sum of open holds, available is what is left, and no hold is settled twice. */
function holds(state: EnvelopeState, entries: readonly Entry[]): void {
  const held = state.holds.reduce((sum, hold) => sum + BigInt(hold.amount_micros), 0n);
  expect(BigInt(state.held_micros), "I4").toBe(held);
  const apart = state.lots
    .filter(({ only }) => only !== null)
    .reduce((sum, lot) => sum + BigInt(Math.max(0, lot.remaining_micros - lot.held_micros)), 0n);
  expect(BigInt(state.available_micros), "I4").toBe(BigInt(state.balance_micros) - held - apart);
  const settled = entries.flatMap(({ hold_id }) => (hold_id === null ? [] : [hold_id]));
  expect(new Set(settled).size, "I4").toBe(settled.length);
  expect(
    state.holds.filter(({ hold_id }) => settled.includes(hold_id)),
    "I4",
  ).toEqual([]);
}

type Moves = readonly (readonly [source: number, left: number, moved?: number])[];
const movesOf = (lots: string | null): Moves => (lots === null ? [] : (JSON.parse(lots) as Moves));

const paidIn = (balance: number, lots: string | null): number =>
  movesOf(lots).reduce((paid, [source, left]) => paid - (source === 0 ? 0 : left), balance);

/** Σ links = spend, of every entry; nothing is left of a lot but what was moved in it, and never less than nothing. */
function lots(state: EnvelopeState, entries: readonly Entry[]): void {
  const left = new Map<number, bigint>();
  for (const { seq, amount_micros, balance_micros, lots } of entries) {
    if (lots === null) {
      expect(
        [...left.values()].filter((one) => one !== 0n),
        `lots of ${seq}`,
      ).toEqual([]);
      continue;
    }
    const moves = movesOf(lots);
    expect(
      moves.reduce((sum, [, , moved = 0]) => sum + BigInt(moved), 0n),
      `Σ links of ${seq}`,
    ).toBe(BigInt(amount_micros));
    for (const [source, , moved = 0] of moves)
      if (source !== 0) left.set(source, (left.get(source) ?? 0n) + BigInt(moved));
    const told = new Map(moves.filter(([source]) => source !== 0).map(([source, rest]) => [source, BigInt(rest)]));
    for (const [source, rest] of left) expect(told.get(source) ?? 0n, `left of ${source} after ${seq}`).toBe(rest);
    expect(
      [...told.values()].filter((rest) => rest < 0n),
      "I2",
    ).toEqual([]);
    const [pool] = moves.filter(([source]) => source === 0);
    if (pool !== undefined) expect(pool[1], `paid after ${seq}`).toBe(paidIn(balance_micros, lots));
  }
  const { promotional_micros, paid_micros, balance_micros } = state;
  // A budget's balance is what its limits admit.
  if (state.prepaid) {
    expect(BigInt(promotional_micros) + BigInt(paid_micros), "paid and given").toBe(BigInt(balance_micros));
  }
  expect(state.lots.reduce((sum, lot) => sum + BigInt(lot.remaining_micros), 0n)).toBe(BigInt(promotional_micros));
}

/** I3: a key has one entry at most; a key that was acknowledged has exactly one, over the amount that was acknowledged. */
function exactlyOnce(real: Real, entries: readonly Entry[]): void {
  const keyed = new Map<string, bigint[]>();
  for (const { key, amount_micros } of entries) {
    if (key === null) continue;
    const size = BigInt(Math.abs(amount_micros));
    keyed.set(key, [...(keyed.get(key) ?? []), size]);
  }
  expect(
    [...keyed].filter(([, amounts]) => amounts.length > 1),
    "I3",
  ).toEqual([]);
  for (const [key, amount] of real.acknowledged) expect(keyed.get(key), "I3").toEqual([amount]);
}

/** I5: a payment is credited once, and never gives more than its credit nor less than nothing. */
function payments(entries: readonly Entry[]): void {
  const ids = new Set(entries.flatMap(({ payment_id }) => payment_id ?? []));
  for (const id of ids) {
    const own = entries.filter(({ payment_id }) => payment_id === id);
    const [credit, ...others] = own.filter(({ kind }) => kind === "topup");
    expect([credit?.seq, others], "I5: credited once, before it is taken back").toEqual([own[0]?.seq, []]);
    let left = 0;
    for (const { kind, amount_micros } of own) {
      left += amount_micros;
      expect(Math.sign(amount_micros), kind).toBe(kind === "clawback" ? -1 : 1);
      expect(left, "I5").toBeGreaterThanOrEqual(0);
      expect(left, "I5").toBeLessThanOrEqual(credit?.amount_micros ?? 0);
    }
  }
}

/** I10: every amount is a safe integer. */
function integers(state: EnvelopeState, entries: readonly Entry[]): void {
  const amounts = [
    ...[
      state.balance_micros,
      state.available_micros,
      state.held_micros,
      state.promotional_micros,
      state.paid_micros,
      ...state.holds.map((hold) => hold.amount_micros),
      ...state.lots.flatMap((lot) => [lot.granted_micros, lot.remaining_micros, lot.held_micros]),
    ],
    ...entries.flatMap((entry) => [entry.amount_micros, entry.balance_micros]),
    ...entries.flatMap(({ lots }) => movesOf(lots).flatMap((move) => [...move])),
  ];
  expect(
    amounts.filter((amount) => !Number.isSafeInteger(amount)),
    "I10",
  ).toEqual([]);
}

function sameAsModel(model: Model, state: EnvelopeState, entries: readonly Entry[]): void {
  expect(
    entries.map(({ kind, amount_micros, at_ms, key, ref_seq, hold_id, payment_id, lots }) => [
      kind,
      BigInt(amount_micros),
      at_ms,
      key,
      ref_seq,
      hold_id,
      payment_id,
      lots === null
        ? [[0, BigInt(amount_micros)]].filter(([, amount]) => amount !== 0n)
        : movesOf(lots).flatMap(([source, , moved]) => (moved === undefined ? [] : [[source, BigInt(moved)]])),
    ]),
  ).toEqual(
    model.lines.map(({ kind, amount, at, key, ref, hold, payment, links }) => [
      kind,
      amount,
      at,
      key ?? null,
      ref ?? null,
      hold ?? null,
      payment ?? null,
      links,
    ]),
  );
  expect({
    ...state,
    balance_micros: BigInt(state.balance_micros),
    available_micros: BigInt(state.available_micros),
    promotional_micros: BigInt(state.promotional_micros),
    held_micros: BigInt(state.held_micros),
  }).toMatchObject({
    balance_micros: model.told,
    available_micros: model.available(),
    promotional_micros: model.given,
    held_micros: model.held,
    seq: model.lines.length,
    funded: model.lines.length > 0,
    frozen: model.frozen,
    open_disputes: model.openDisputes.length,
    currency: model.currency,
    prepaid: model.prepaid,
    windows: model.limits.map((limit) => ({
      ...limit,
      spent_micros: Number(spentOf(limit, model.lines, model.time)),
      held_micros: Number(model.held),
      remaining_micros: Math.max(0, Number(model.leftOf(limit))),
      resets_at_ms: resetOf(limit, model.lines, model.time),
    })),
    holds: model.open.map(({ id, until, amount, meter }) => ({
      hold_id: id,
      expires_at_ms: until,
      amount_micros: Number(amount),
      used_micros: meter === undefined ? null : Number(meter.used),
    })),
  });
  const open = model.grants
    .map((given) => ({ ...given, left: model.left(given.seq) - model.lapsed(given) }))
    .filter(({ left }) => left > 0n);
  expect(
    state.lots
      .map((lot) => [lot.seq, lot.remaining_micros, lot.held_micros, lot.priority, lot.expires_at_ms, lot.only])
      .sort(([one], [other]) => Number(one) - Number(other)),
  ).toEqual(
    open.map(({ seq, left, priority, until, only }) => [
      seq,
      Number(left),
      Number(model.reserved(seq)),
      priority,
      until,
      only,
    ]),
  );
}
