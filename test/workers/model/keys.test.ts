import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { EnvelopeApi } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { micros } from "../rules/values.js";
import { readAnswer } from "./answers.js";

/** Runs inside the object, so that an exception is told to the test and not printed on its way through RPC. */
const inside = <T>(name: string, work: (envelope: EnvelopeApi) => Promise<T>): Promise<T> =>
  runInDurableObject(env.ENVELOPE.getByName(name), (envelope: Envelope) => work(envelope));

const usd = { currency: "usd", amount_micros: micros(10) } as const;
const grant = (envelope: EnvelopeApi, key: string) => envelope.grant({ ...usd, op: `grant ${key}`, key });
const hold = (envelope: EnvelopeApi, key: string) => envelope.hold({ ...usd, op: `hold ${key}`, key, ttl_ms: 60_000 });
const charge = (envelope: EnvelopeApi, key: string) => envelope.charge({ ...usd, op: `charge ${key}`, key });
const refund = (envelope: EnvelopeApi, seq: number, key: string) =>
  envelope.refund({ op: `refund ${key}`, charge: { seq }, key });

/** A key is one line's for ever. The doors put what a key is for in front of it, so that kinds never meet. */
describe("T14 I3 one key, two uses", () => {
  it("the same word of a request, an app, a grant and a refund is four keys", async () => {
    await inside("four-keys", async (envelope) => {
      await grant(envelope, "grant:k");
      await hold(envelope, "request:k");
      await envelope.settle({ op: "settle", hold_id: 1, amount_micros: micros(5) });
      await refund(envelope, 2, "refund:k");
      expect(readAnswer(await charge(envelope, "app:k"))).toBe("charged 4 10; 0/0");
      expect(readAnswer(await charge(envelope, "request:k"))).toBe("conflict price; 0/0");
    });
  });

  it("a key that a charge used is a conflict for a grant, and for a refund", async () => {
    await inside("key-of-a-charge", async (envelope) => {
      await grant(envelope, "first");
      await charge(envelope, "k");
      expect(readAnswer(await grant(envelope, "k"))).toBe("conflict price; 0/0");
      expect((await refund(envelope, 2, "k")).outcome).toBe("conflict");
    });
  });

  it("a key whose charge was given back is no way in any more, and its refund happens once", async () => {
    await inside("key-given-back", async (envelope) => {
      await grant(envelope, "first");
      await charge(envelope, "k");
      expect(readAnswer(await charge(envelope, "k"))).toBe("replayed 2 10; 0/0");
      expect(readAnswer(await refund(envelope, 2, "r"))).toBe("refunded 3 10; 10/10");
      expect(readAnswer(await refund(envelope, 2, "r"))).toBe("replayed 3 10; 10/10");
      expect(readAnswer(await charge(envelope, "k"))).toBe("conflict refunded; 10/10");
      expect(readAnswer(await hold(envelope, "k"))).toBe("conflict refunded; 10/10");
    });
  });

  it("a key is free again when its hold was released, expired or settled at zero", async () => {
    await inside("key-is-free", async (envelope) => {
      await grant(envelope, "first");
      await hold(envelope, "k");
      expect(readAnswer(await charge(envelope, "k"))).toBe("conflict in_progress; 10/0");
      await envelope.release({ hold_id: 1 });
      await hold(envelope, "k");
      await envelope.settle({ op: "settle", hold_id: 2, amount_micros: micros(0) });
      expect(readAnswer(await charge(envelope, "k"))).toBe("charged 2 10; 0/0");
    });
  });
});

it("T23 a settlement above its hold that is sent again is told what was taken, not what was held", async () => {
  await inside("above-its-hold", async (envelope) => {
    await envelope.grant({ op: "grant", key: "grant", currency: "usd", amount_micros: micros(100) });
    await envelope.hold({ op: "hold", currency: "usd", amount_micros: micros(1), ttl_ms: 60_000 });
    const settle = (retry: boolean) => envelope.settle({ op: "settle", hold_id: 1, amount_micros: micros(4), retry });
    expect(readAnswer(await settle(false))).toBe("charged 2 4; 96/96");
    expect(readAnswer(await settle(true))).toBe("charged 2 4; 96/96");
  });
});
