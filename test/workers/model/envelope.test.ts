import fc from "fast-check";
import { afterAll, beforeAll, describe, it, vi } from "vitest";
import { micros } from "../rules/values.js";
import { abort, COMMANDS, configure, crash, leap, wait } from "./commands.js";
import { Model } from "./model.js";
import { counted, Real } from "./real.js";

/** In the future, so that the mirror's alarms do not ring in the middle of a run. */
const START = Date.UTC(2100, 0, 1);

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterAll(() => {
  vi.useRealTimers();
});

let envelopes = 0;

/** What was paid for an envelope before: three times out of four, something. */
const PAID = [100, 100, 40, 0] as const;
/** Or nothing, and it is a budget. */
type Before = number | "budget";

/** Random commands against the model and a new envelope. */
async function compare(commands: typeof COMMANDS, numRuns: number, before: readonly Before[] = PAID): Promise<void> {
  const paid = fc.constantFrom(...before);
  const property = fc.asyncProperty(
    paid,
    fc.commands(commands, { maxCommands: 60, size: "max" }),
    async (paid, drawn) => {
      envelopes += 1;
      const name = `model-${envelopes}`;
      vi.setSystemTime(START);
      const setup = async () => {
        const [model, real] = [new Model(START), new Real(name)];
        if (paid === "budget") {
          const budget = { currency: "usd", prepaid: false };
          model.configure(budget);
          await real.api.configure(budget);
          return { model, real };
        }
        const input = { op: "first", key: "first", currency: "usd", amount_micros: micros(paid) };
        model.grant(input);
        await real.api.grant(input);
        return { model, real };
      };
      await fc.asyncModelRun(setup, drawn);
    },
  );
  // A failure names its seed, and the commands it was shrunk to.
  await fc.assert(property, { numRuns });
}

describe("the real envelope does what the model does, in 3,000 random commands and more", () => {
  it("I1 I2 I3 I4 I5 I10 T8 T13 T14 T23 T30 T39 T62 T82, through eviction", { timeout: 120_000 }, async () => {
    const enough = counted.commands + 2_400;
    const lane = async () => {
      while (counted.commands < enough) await compare(COMMANDS, 3);
    };
    // To the end of all of them, because the next test sets the clock they share.
    const ended = await Promise.allSettled([lane(), lane(), lane(), lane()]);
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  });

  it("I1 I2 I3 I4 I10 T82 T87 T88, with windows and budgets, through time, clocks set back and eviction", {
    timeout: 120_000,
  }, async () => {
    const enough = counted.commands + 900;
    const limited = [...COMMANDS, configure, configure, configure, wait, wait, leap, leap, leap];
    while (counted.commands < enough) await compare(limited, 3, [...PAID, "budget", "budget", "budget"]);
  });

  it("I1 I2 I3 I4 I5 I10 T22 T58 T82 T85 T87, through time, clocks set back and crashes", {
    timeout: 120_000,
  }, async () => {
    const enough = counted.commands + 600;
    while (counted.commands < enough) await compare([...COMMANDS, wait, wait, wait, abort, crash], 3);
  });
});
