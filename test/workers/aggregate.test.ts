/** T93 T94: the mirror follows each envelope, exactly once and in order, and is never in a charge's way. */
import { evictAllDurableObjects, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { EnvelopeAggregate, type Overview } from "../../src/index.js";
import { type Caller, Site } from "./support.js";

const site = new Site();
const aggregate = env.ENVELOPE_AGGREGATE.getByName("aggregate-0");
const ship = (caller: Caller) => runDurableObjectAlarm(env.ENVELOPE.getByName(caller.id));

afterEach(() => vi.restoreAllMocks());

describe("the mirror", () => {
  it("shows the owner what the envelopes hold, after their alarms", async () => {
    const before = await aggregate.overview();
    const [one, two] = [await site.payer(500), await site.payer(300)];
    await one.fetch("/x?price=200");
    await one.envelope.refund({ seq: 2 }, { key: "r", amount: "50" });
    await two.envelope.grant("7", { key: "welcome" });
    await Promise.all([ship(one), ship(two)]);
    const after = await aggregate.overview();
    const change = Object.fromEntries(
      (Object.entries(after) as [keyof Overview, number][]).map(([name, value]) => [name, value - before[name]]),
    );
    expect(change).toEqual({
      envelopes: 2,
      entries: 5,
      owed_micros: 0,
      budgeted_micros: 0,
      active_today: 1,
      active_this_week: 1,
      active_this_month: 1,
      frozen: 0,
      behind: 0,
      lag_ms: expect.any(Number),
      credited_micros: 8_000_000,
      granted_micros: 70_000,
      reversed_micros: 0,
      expired_micros: 0,
      disputed_micros: 0,
      spent_micros: 2_000_000,
      refunded_micros: 500_000,
      outstanding_micros: 6_570_000,
    });
  });

  it("applies an entry once although its acknowledgement was lost, and after an eviction", async () => {
    const before = await aggregate.overview();
    const payer = await site.payer(500);
    const real = EnvelopeAggregate.prototype.mirror;
    const mirror = vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementationOnce(async function (
      this: EnvelopeAggregate,
      batch,
    ) {
      await real.call(this, batch);
      throw new Error("the acknowledgement was lost");
    });
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    await ship(payer);
    await evictAllDurableObjects();
    await payer.fetch("/x?price=1");
    await ship(payer);
    expect(mirror).toHaveBeenCalledTimes(2);
    const after = await aggregate.overview();
    expect(after.credited_micros - before.credited_micros).toBe(5_000_000);
    expect(after.outstanding_micros - before.outstanding_micros).toBe(4_990_000);
  });

  const entry = (seq: number, kind = "grant", balance_micros = 5 * seq) => ({
    seq,
    at_ms: 1,
    kind,
    amount_micros: 5,
    balance_micros,
  });
  // A shard that no envelope has, so that the owner's totals are left alone.
  const byHand = env.ENVELOPE_AGGREGATE.getByName("by-hand");
  const send = async (envelope_id: string, ...entries: object[]): Promise<number> => {
    const { next_seq } = await byHand.mirror({ envelope_id, currency: "usd", entries } as never);
    return next_seq;
  };

  it("asks for what it missed: an aggregate that lost a batch names the entry it wants next", async () => {
    expect(await send("gap", entry(2), entry(3))).toBe(1);
    expect(await send("gap", entry(1))).toBe(2);
    expect(await send("gap", entry(1), entry(2), entry(4))).toBe(3);
    expect(await send("gap", entry(3), entry(4))).toBe(5);
  });

  it("T92 does not swallow an entry that does not follow, or of a kind it does not know", async () => {
    expect(await send("odd", entry(1), entry(2, "grant", 7), entry(3))).toBe(2);
    expect(await send("odd", entry(2, "something_new"))).toBe(2);
    expect(await send("odd", entry(2))).toBe(3);
  });

  it("that is down costs a caller nothing: charges go on, and are caught up with later", async () => {
    const payer = await site.payer(500);
    const mirror = vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockRejectedValue(new Error("down"));
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    for (let i = 0; i < 5; i++) {
      expect((await payer.fetch("/x?price=1")).status).toBe(200);
      await ship(payer);
    }
    const before = await aggregate.overview();
    mirror.mockRestore();
    await ship(payer);
    const after = await aggregate.overview();
    expect(after.spent_micros - before.spent_micros).toBe(50_000);
  });
});
