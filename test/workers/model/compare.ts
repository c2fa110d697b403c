/** Random commands against the model and a new envelope. */
import fc from "fast-check";
import { vi } from "vitest";
import { micros } from "../rules/values.js";
import type { COMMANDS } from "./commands.js";
import { Model } from "./model.js";
import { Real } from "./real.js";

/** In the future, so that the mirror's alarms do not ring in the middle of a run. */
export const START = Date.UTC(2100, 0, 1);

let envelopes = 0;

/** What an envelope was given before: three times out of four, something. */
export const PAID = [100, 100, 40, 0] as const;

/** Or nothing, and it is a budget. `ended` looks at what a run came to. */
export async function compare(
  commands: typeof COMMANDS,
  numRuns: number,
  ended: (model: Model) => void = () => undefined,
  before: readonly (number | "budget")[] = PAID,
): Promise<void> {
  const first = fc.constantFrom(...before);
  const property = fc.asyncProperty(
    first,
    fc.commands(commands, { maxCommands: 60, size: "max" }),
    async (first, drawn) => {
      envelopes += 1;
      const [model, real] = [new Model(START), new Real(`model-${envelopes}`)];
      vi.setSystemTime(START);
      const setup = async () => {
        if (first === "budget") {
          const budget = { currency: "usd", prepaid: false };
          model.configure(budget);
          await real.api.configure(budget);
          return { model, real };
        }
        const input = { op: "first", key: "first", currency: "usd", amount_micros: micros(first) };
        model.grant(input);
        await real.api.grant(input);
        return { model, real };
      };
      await fc.asyncModelRun(setup, drawn);
      ended(model);
    },
  );
  // A failure names its seed, and the commands it was shrunk to.
  await fc.assert(property, { numRuns });
}
