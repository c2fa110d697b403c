import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { EnvelopeApi } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { facts, refund, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";

const inside = <T>(name: string, work: (envelope: EnvelopeApi) => Promise<T>): Promise<T> =>
  runInDurableObject(env.ENVELOPE.getByName(name), (envelope: Envelope) => work(envelope));

const usd = { currency: "usd" } as const;
const zero = (envelope: EnvelopeApi) =>
  envelope.charge({ op: "zero", ...usd, amount_micros: micros(0), record_zero: true });

describe("T8 T40 a charge of zero that is to be recorded", () => {
  it("below zero: what is free stays free, and throws at nobody", async () => {
    await inside("zero-below", async (envelope) => {
      await envelope.report(told(facts("paid", 5)));
      await envelope.charge({ op: "spend", ...usd, amount_micros: micros(5) });
      await envelope.report(told(refund(5)));
      expect(await envelope.state({})).toMatchObject({ balance_micros: -5 });
      const outcome = await zero(envelope).then(
        (answer) => answer.outcome,
        (error: unknown) => `throws ${error}`,
      );
      expect(outcome).toBe("charged");
    });
  });

  it.each<readonly [name: string, before: (envelope: EnvelopeApi) => Promise<unknown>]>([
    ["frozen before funding", (envelope) => envelope.freeze({ frozen: true, ...usd })],
    ["a payment still pending", (envelope) => envelope.report(told(facts("pending", 5)))],
  ])("T57 %s: does not make an envelope look funded", async (name, before) => {
    await inside(`zero-${name}`, async (envelope) => {
      await before(envelope);
      expect(await envelope.state({})).toMatchObject({ funded: false, seq: 0 });
      await zero(envelope);
      expect(await envelope.state({})).toMatchObject({ funded: false, balance_micros: 0 });
    });
  });
});
