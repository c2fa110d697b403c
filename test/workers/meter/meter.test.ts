import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { EnvelopeApi, MeterSession } from "../../../src/contract.js";
import {
  type Meter,
  MeterEndedError,
  type OpenCall,
  openMeter,
  type Payer,
  type Terms,
} from "../../../src/meter/meter.js";
import { micros } from "../rules/values.js";
import { holdsOf, inside } from "./support.js";

let names = 0;

/** An envelope with so much in it. */
async function funded(balance: number): Promise<string> {
  names += 1;
  const name = `meter-${names}`;
  await env.ENVELOPE.getByName(name).grant({
    op: "fund",
    key: "grant:fund",
    currency: "usd",
    amount_micros: micros(balance),
  });
  return name;
}

type Fault = "none" | "lost" | "refused" | "reset" | "gone";

/** Reaches the real object, by a line that loses calls and answers, resets the object, and thinks that the caller is gone. */
function payerOf(name: string, fault: () => Fault = () => "none"): Payer & { asked: number } {
  const stub = () => env.ENVELOPE.getByName(name) as unknown as EnvelopeApi;
  const reset = () => inside(name, async (_, state) => state.abort("reset")).catch(() => undefined);
  const sent = async <T>(call: () => Promise<T>): Promise<T> => {
    payer.asked += 1;
    const what = fault();
    if (what === "refused") throw new Error("The call was lost");
    if (what === "reset") await reset();
    const answer = await call();
    if (what === "lost") throw new Error("The answer was lost");
    return answer;
  };
  /** As the wrapper does: until it is answered. */
  const again = async <T>(call: (retry: boolean) => Promise<T>): Promise<T> => {
    for (let tried = 0; ; tried++) {
      try {
        return await sent(() => call(tried > 0));
      } catch {
        // Tried again, under the same name.
      }
    }
  };
  const wrapped = (session: MeterSession): MeterSession => ({
    use: async (input) => {
      if (fault() === "gone") session[Symbol.dispose]();
      return sent(() => session.use(input));
    },
    end: (input) => sent(() => session.end(input)),
    [Symbol.dispose]: () => session[Symbol.dispose](),
  });
  const payer: Payer & { asked: number } = {
    asked: 0,
    open: async ({ again: sentBefore, ...input }: OpenCall) => {
      const outcome = await again((retry) =>
        stub().openMeter({ ...input, currency: "usd", retry: retry || sentBefore === true }),
      );
      return outcome.outcome === "held" ? { ...outcome, session: wrapped(outcome.session) } : outcome;
    },
    settle: (input) => again((retry) => stub().settle({ ...input, retry })),
    charge: (input) => again((retry) => stub().charge({ ...input, currency: "usd", retry })),
  };
  return payer;
}

const TERMS: Terms = {
  base_micros: micros(0),
  least_micros: micros(1),
  unit_micros: micros(10),
  first_micros: micros(50),
  max_micros: micros(1_000_000),
  slice_ms: 20_000,
  lease_ms: 60_000,
};

async function begun(payer: Payer, over: Partial<Terms> = {}): Promise<Meter> {
  const opened = await openMeter(payer, { ...TERMS, ...over });
  if (opened.outcome !== "metering") throw new Error(`It did not begin: ${opened.outcome}`);
  return opened.meter;
}

async function paidBy(name: string): Promise<number> {
  const { balance_micros } = await env.ENVELOPE.getByName(name).sums({ up_to: Number.MAX_SAFE_INTEGER });
  const entries = await env.ENVELOPE.getByName(name).entries({ after: 0, limit: 1_000 });
  expect(entries.reduce((sum, { amount_micros }) => sum + amount_micros, 0)).toBe(balance_micros);
  return entries.filter(({ kind }) => kind === "charge").reduce((sum, { amount_micros }) => sum - amount_micros, 0);
}

afterEach(() => {
  vi.useRealTimers();
});

describe("a meter", () => {
  it("answers at once while the money is reserved, and asks seldom", async () => {
    const payer = payerOf(await funded(100_000));
    const meter = await begun(payer);
    let later = 0;
    for (let n = 0; n < 5_000; n++) {
      const paid = meter.pay(1, micros(10));
      if (typeof paid !== "number") later += 1;
      expect(await paid).toBe(1);
      meter.delivered(10);
    }
    expect((await meter.end()).price_micros).toBe(50_000);
    expect(payer.asked).toBeLessThan(25);
    expect(later).toBeLessThan(15);
  });

  it("lets exactly as many units through as there is money for, whoever asks, and however many at a time", async () => {
    const units = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.nat(9),
        units,
        fc.boolean(),
        async (there, more, asked, together) => {
          const name = await funded(there * 10 + more);
          const meter = await begun(payerOf(name), { least_micros: micros(10) });
          const pay = async (some: number) => {
            const paid = await meter.pay(some, micros(10));
            meter.delivered(paid * 10);
            return paid;
          };
          const paid = [];
          if (together) paid.push(...(await Promise.all(asked.map(pay))));
          else for (const some of asked) paid.push(await pay(some));
          const wanted = asked.reduce((sum, some) => sum + some);
          expect(paid.reduce((sum, some) => sum + some)).toBe(Math.min(wanted, there));
          const end = await meter.end();
          expect(end).toMatchObject({ price_micros: Math.min(wanted, there) * 10, missing_micros: 0 });
          expect(await paidBy(name)).toBe(Math.min(wanted, there) * 10);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("T23 T24 ends once: the second end is the first one's answer, and nothing is paid for afterwards", async () => {
    const name = await funded(1_000);
    const meter = await begun(payerOf(name));
    await meter.pay(3, micros(10));
    meter.delivered(20);
    const [first, second] = await Promise.all([meter.end(), meter.end()]);
    expect(second).toEqual(first);
    expect(await meter.end()).toEqual(first);
    expect(() => meter.pay(1, micros(10))).toThrow(MeterEndedError);
    expect(first).toMatchObject({
      price_micros: 20,
      missing_micros: 0,
      balances: { balance_micros: 980, available_micros: 980 },
    });
    expect(await holdsOf(name)).toMatchObject([{ state: "settled", settled_micros: 20 }]);
  });

  it("T23 T97 T100 pays exactly for what it delivered, whatever is lost on the way, reset or thought to be gone", async () => {
    const faults = fc.infiniteStream(
      fc.oneof(
        { weight: 6, arbitrary: fc.constant<Fault>("none") },
        { weight: 4, arbitrary: fc.constantFrom<Fault[]>("lost", "refused", "reset", "gone") },
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        faults,
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 25 }),
        async (drawn, steps) => {
          const name = await funded(900);
          const meter = await begun(payerOf(name, () => drawn.next().value));
          let delivered = 0;
          for (const step of steps) {
            const paid = await meter.pay(step, micros(10));
            delivered += paid * 10;
            meter.delivered(paid * 10);
          }
          const end = await meter.end();
          expect(end.missing_micros).toBe(0);
          expect(end.price_micros).toBe(delivered);
          expect(await paidBy(name)).toBe(delivered);
          expect(delivered).toBeLessThanOrEqual(900);
          const state = await env.ENVELOPE.getByName(name).state({});
          expect(state).toMatchObject({ held_micros: 0, balance_micros: 900 - delivered });
          for (const { amount_micros, settled_micros } of await holdsOf(name)) {
            expect(Number(settled_micros)).toBeLessThanOrEqual(Number(amount_micros));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("never holds the whole balance because its end is unknown (museum: LiteLLM 27509)", async () => {
    const name = await funded(1_000_000);
    const meter = await begun(payerOf(name));
    expect((await env.ENVELOPE.getByName(name).state({})) as unknown).toMatchObject({ held_micros: 50 });
    await meter.end();
  });

  it("a price that is known only afterwards is taken as far as it is there, and what is missing is said", async () => {
    const name = await funded(100);
    const meter = await begun(payerOf(name));
    await meter.pay(2, micros(10));
    meter.delivered(20);
    meter.adjust(130);
    expect(await meter.end()).toMatchObject({ price_micros: 100, missing_micros: 50, balances: { balance_micros: 0 } });
    expect(await paidBy(name)).toBe(100);
  });

  it("what turns out to have cost less is paid at that, and the rest goes on", async () => {
    const name = await funded(100);
    const meter = await begun(payerOf(name));
    await meter.pay(9, micros(10));
    meter.delivered(90);
    meter.adjust(-60);
    expect(await meter.pay(7, micros(10))).toBe(7);
    meter.delivered(70);
    expect(await meter.end()).toMatchObject({ price_micros: 100, missing_micros: 0 });
  });

  it("is never above its maximum", async () => {
    const name = await funded(1_000);
    const meter = await begun(payerOf(name), {
      max_micros: micros(55),
      base_micros: micros(5),
      least_micros: micros(15),
    });
    expect([await meter.pay(3, micros(10)), await meter.pay(9, micros(10)), await meter.pay(1, micros(10))]).toEqual([
      3, 2, 0,
    ]);
    expect(meter.short).toBe("max");
    meter.delivered(50);
    expect(await meter.end()).toMatchObject({ price_micros: 55 });
    expect(await holdsOf(name)).toMatchObject([{ amount_micros: 55 }]);
  });
});

describe("time", () => {
  const pass = async (ms: number) => {
    for (let gone = 0; gone < ms; gone += 500) {
      await vi.advanceTimersByTimeAsync(500);
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  };

  it("T82 a meter that is silent keeps its money; one that is silent for long gives it back, and goes on when it must", async () => {
    vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: Date.UTC(2100, 0, 1) });
    const name = await funded(1_000);
    const meter = await begun(payerOf(name));
    await meter.pay(2, micros(10));
    meter.delivered(20);
    await pass(150_000);
    expect((await env.ENVELOPE.getByName(name).state({})) as unknown).toMatchObject({
      held_micros: 50,
      balance_micros: 1_000,
    });
    await pass(400_000);
    expect((await env.ENVELOPE.getByName(name).state({})) as unknown).toMatchObject({
      held_micros: 0,
      balance_micros: 980,
    });
    expect(await meter.pay(3, micros(10))).toBe(3);
    meter.delivered(30);
    expect(await meter.end()).toMatchObject({ price_micros: 50, missing_micros: 0 });
    expect(await paidBy(name)).toBe(50);
    expect(await holdsOf(name)).toMatchObject([
      { state: "expired", settled_micros: 20 },
      { state: "settled", settled_micros: 30 },
    ]);
  });

  it("T98 T100 when Worker and object are both gone, what is on disk as delivered is charged when the lease is over, and the rest is free", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
    const name = await funded(1_000);
    const payer = payerOf(name);
    const meter = await begun(payer);
    // Thirty are told with the renewal that the fourth asks for; what is delivered after that is not.
    for (let n = 0; n < 5; n++) {
      await meter.pay(1, micros(10));
      meter.delivered(10);
    }
    await meter.pay(1, micros(10));
    expect(await holdsOf(name)).toMatchObject([{ state: "open", used_micros: 30, amount_micros: 140 }]);
    // From here on nobody is heard of any more.
    await inside(name, async (_, state) => state.abort("killed")).catch(() => undefined);
    const held = async () => (await env.ENVELOPE.getByName(name).state({})) as unknown;
    expect(await held()).toMatchObject({ balance_micros: 1_000, available_micros: 1_000 - 140 });
    vi.setSystemTime(Date.now() + 60_000 - 1);
    expect(await held()).toMatchObject({ balance_micros: 1_000, available_micros: 1_000 - 140 });
    vi.setSystemTime(Date.now() + 1);
    expect(await held()).toMatchObject({ balance_micros: 970, available_micros: 970, holds: [] });
    expect(await holdsOf(name)).toMatchObject([{ state: "expired", settled_micros: 30, paid_micros: 30 }]);
  });

  it("T100 the end that comes after the lease is over charges the rest of what was delivered", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
    const name = await funded(1_000);
    const meter = await begun(payerOf(name));
    await meter.pay(4, micros(10));
    meter.delivered(40);
    await inside(name, async (_, state) => state.abort("killed")).catch(() => undefined);
    vi.setSystemTime(Date.now() + 61_000);
    expect(await meter.end()).toMatchObject({ price_micros: 40, missing_micros: 0 });
    expect(await paidBy(name)).toBe(40);
  });

  it("T87 the caller's clock set back or forward neither cuts a stream that is paid for nor keeps one that is not", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
    const name = await funded(60);
    const meter = await begun(payerOf(name));
    vi.setSystemTime(Date.UTC(2100, 0, 1) - 3_600_000);
    expect(await meter.pay(3, micros(10))).toBe(3);
    vi.setSystemTime(Date.UTC(2100, 0, 1) + 10_000);
    expect(await meter.pay(4, micros(10))).toBe(3);
    meter.delivered(60);
    expect(await meter.end()).toMatchObject({ price_micros: 60 });
  });
});
