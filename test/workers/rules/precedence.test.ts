import { describe, expect, it } from "vitest";
import type { ChargeInput } from "../../../src/contract.js";
import { type Account, decideCharge, type Priors } from "../../../src/envelope/ledger.js";
import { account, charged, read } from "./ledger-values.js";
import { micros } from "./values.js";

const NOW = 1_000;
const TEN: ChargeInput = { op: "op", key: "k", currency: "usd", amount_micros: micros(10) };
const of = (amount: number): Partial<ChargeInput> => ({ amount_micros: micros(amount) });

describe("precedence of a charge's answers", () => {
  /** In order: each fault, how it is brought about, and the answer it must have while no earlier one is present. */
  const FAULTS: readonly (readonly [name: string, bring: (to: Setting) => void, outcome: string])[] = [
    ["operation already written", (to) => Object.assign(to.priors, { operation: charged(7, 3) }), "charged 7 3"],
    ["amount outside the integers", (to) => Object.assign(to.input, of(Number.NaN)), "invalid"],
    ["key already used", (to) => Object.assign(to.priors, { key: charged(8, 1, "other") }), "conflict scope"],
    ["key of an open hold", (to) => Object.assign(to.priors, { key_is_held: true }), "conflict in_progress"],
    ["another currency", (to) => Object.assign(to.input, { currency: "eur" }), "invalid"],
    [
      "price of zero",
      (to) => Object.assign(to.input, Number.isNaN(to.input.amount_micros) ? {} : of(0)),
      "charged null 0",
    ],
    ["frozen", (to) => Object.assign(to.before, { frozen: true }), "refused frozen short 0"],
    [
      "too little money",
      (to) => Object.assign(to.before, { balance_micros: micros(-1) }),
      "refused insufficient_balance short 11",
    ],
  ];
  interface Setting {
    readonly before: Account;
    readonly priors: Priors;
    readonly input: ChargeInput;
  }

  it("is the documented one for all 256 combinations of faults", () => {
    for (let chosen = 0; chosen < 2 ** FAULTS.length; chosen++) {
      const faults = FAULTS.filter((_, index) => (chosen >> index) % 2 === 1);
      const setting: Setting = { before: { ...account(100) }, priors: {}, input: { ...TEN } };
      for (const [, bring] of faults) bring(setting);
      const answer = read(decideCharge(setting.before, setting.priors, setting.input, NOW), setting.before);
      expect(answer, faults.map(([name]) => name).join(" + ")).toBe(faults[0]?.[2] ?? "write charge -10");
    }
  });
});
