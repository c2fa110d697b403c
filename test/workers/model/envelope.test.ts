import { afterAll, beforeAll, describe, it, vi } from "vitest";
import { abort, COMMANDS, configure, crash, leap, wait } from "./commands.js";
import { compare, PAID, START } from "./compare.js";
import { counted } from "./real.js";

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterAll(() => {
  vi.useRealTimers();
});

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
    while (counted.commands < enough) await compare(limited, 3, undefined, [...PAID, "budget", "budget", "budget"]);
  });

  it("I1 I2 I3 I4 I5 I10 T22 T58 T82 T85 T87, through time, clocks set back and crashes", {
    timeout: 120_000,
  }, async () => {
    const enough = counted.commands + 600;
    while (counted.commands < enough) await compare([...COMMANDS, wait, wait, wait, abort, crash], 3);
  });
});
