/** Meters, in the model-based test: begun, told of, renewed, ended, left alone and gone on with; and holds that are extended. */
import fc from "fast-check";
import { expect } from "vitest";
import type { OpenMeterInput, OpenMeterOutcome, SettleOutcome, Slice } from "../../../src/contract.js";
import { micros } from "../rules/values.js";
import { type Answer, readAnswer } from "./answers.js";
import { currency } from "./drawn.js";
import type { Model } from "./model.js";
import { command, type Real } from "./real.js";

const units = fc.record({
  units: fc.nat(6),
  unit: fc.constantFrom(1, 3, 10),
  ahead: fc.constantFrom(undefined, 1, 3, 6),
});
interface Units {
  readonly units: number;
  readonly unit: number;
  readonly ahead: number | undefined;
}

const sliceOf = (taken: number, { units, unit, ahead }: Units): Slice => ({
  taken_micros: micros(taken),
  units,
  unit_micros: micros(unit),
  ahead,
});

const lease_ms = fc.constantFrom(10_000, 40_000);
const key = fc.constantFrom(undefined, undefined, "app:1", "app:2");
const tagged = fc.constantFrom({}, { reason: "chat" }, { tag: "GET /images/2", reason: "chat" });

function keep(real: Real, outcome: OpenMeterOutcome): Answer {
  if (outcome.outcome !== "held") return outcome;
  const { session, ...answer } = outcome;
  real.sessions.set(outcome.hold_id, session);
  return answer;
}

const begin = command(
  "meter",
  fc.record({ units, lease_ms, key, tagged, currency, base: fc.constantFrom(0, 0, 4), least: fc.constantFrom(1, 5) }),
  async ({ units, base, least, lease_ms, key, tagged, currency }, model, real) => {
    const slice = sliceOf(base, units);
    const asked = { op: real.op(), currency, slice, least_micros: micros(base + least), lease_ms, key, ...tagged };
    const once = async (input: OpenMeterInput) => {
      const answer = await real.inside(async (api) => keep(real, await api.openMeter(input)));
      expect(readAnswer(answer)).toBe(model.meter(input));
    };
    real.last = () => once({ ...asked, retry: true });
    await once(asked);
  },
);

/** A hold whose session is there, or one past all of them. */
const running = (real: Real, back: number): number | undefined => [...real.sessions.keys()].at(-1 - back);

const use = command(
  "use",
  fc.record({ back: fc.nat(2), part: fc.integer({ min: 0, max: 4 }), slice: fc.option(units, { nil: undefined }) }),
  async ({ back, part, slice: drawn }, model, real) => {
    const hold_id = running(real, back);
    const session = hold_id === undefined ? undefined : real.sessions.get(hold_id);
    if (hold_id === undefined || session === undefined) return;
    const { amount, meter } = model.holds[hold_id - 1]!;
    const told = Number(meter?.told ?? 0n);
    const used = told + Math.floor(((Number(amount) - told) * part) / 4);
    const slice = drawn && sliceOf(used, drawn);
    const input = { used_micros: micros(used), slice };
    const answer = await real.inside(() => session.use(input));
    expect(readAnswer(answer)).toBe(model.use(hold_id, input));
  },
);

const end = command(
  "end",
  fc.record({ back: fc.nat(2), part: fc.integer({ min: 0, max: 5 }) }),
  async ({ back, part }, model, real) => {
    const hold_id = running(real, back);
    const session = hold_id === undefined ? undefined : real.sessions.get(hold_id);
    if (hold_id === undefined || session === undefined) return;
    real.sessions.delete(hold_id);
    // A fifth quarter is more than was reserved.
    const used_micros = micros(Math.floor((Number(model.holds[hold_id - 1]!.amount) * part) / 4));
    const op = real.op();
    const answer: SettleOutcome = await real.inside(() => session.end({ op, used_micros }));
    expect(readAnswer(answer)).toBe(model.settle({ op, hold_id, amount_micros: used_micros, above: "part" }));
  },
);

/** Whoever delivered is gone without an end. */
const leave = command("leave", fc.nat(2), async (back, model, real) => {
  const hold_id = running(real, back);
  const session = hold_id === undefined ? undefined : real.sessions.get(hold_id);
  if (hold_id === undefined || session === undefined) return;
  real.sessions.delete(hold_id);
  const hold = model.holds[hold_id - 1]!;
  const told = micros(Number(hold.meter?.told ?? 0n));
  await real.inside(async () => session[Symbol.dispose]());
  if (hold.end === undefined) model.settle({ op: `gone-${hold_id}`, hold_id, amount_micros: told, above: "part" });
});

/** With a new session, on a meter's hold or on any other. */
const resume = command(
  "resume",
  fc.record({ back: fc.integer({ min: -1, max: 2 }), units, lease_ms, part: fc.nat(4) }),
  async ({ back, units, lease_ms, part }, model, real) => {
    const hold_id = Math.max(1, model.holds.length - back);
    const { amount, meter } = model.holds[hold_id - 1] ?? { amount: 0n, meter: undefined };
    const least = Number(meter?.used ?? 0n);
    const used = micros(least + Math.floor(((Number(amount) - least) * part) / 4));
    const slice = sliceOf(used, units);
    const least_micros = micros(1);
    const asked = { op: real.op(), currency: "usd", slice, least_micros, lease_ms };
    const input: OpenMeterInput = { ...asked, resume: { hold_id, used_micros: used } };
    const answer = await real.inside(async (api) => keep(real, await api.openMeter(input)));
    expect(readAnswer(answer)).toBe(model.resume(hold_id, input));
  },
  (model) => model.holds.length > 0,
);

const extend = command(
  "extend",
  fc.record({
    back: fc.integer({ min: -1, max: 2 }),
    more: fc.constantFrom(undefined, -3, 0, 5, 40),
    ttl_ms: fc.constantFrom(undefined, 1, 50_000),
  }),
  async ({ back, more, ttl_ms }, model, real) => {
    const hold_id = Math.max(1, model.holds.length - back);
    const amount = Number(model.holds[hold_id - 1]?.amount ?? 5n);
    const amount_micros = more === undefined ? undefined : micros(Math.max(0, amount + more));
    const input = { hold_id, currency: "usd", amount_micros, ttl_ms };
    expect(readAnswer(await real.api.extend(input))).toBe(model.extend(input));
  },
  (model: Readonly<Model>) => model.holds.length > 0,
);

/** As often as each is to be likely. */
export const METERS = [begin, use, use, end, leave, resume, extend];
