/** What went wrong elsewhere with money that was given, each as a test of ours. The threads are named by system and number. */
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import { micros } from "../rules/values.js";
import { pass, START, Subject } from "./support.js";

let one: Subject;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
  one = new Subject();
});
afterEach(() => {
  vi.useRealTimers();
});

const YEARS = 100 * 366 * 24 * 3_600_000;
const DAY = 24 * 3_600_000;

describe("museum", () => {
  it("museum: Autumn 3398 bought credits expired: what was paid never does; what was given does only if it says so, in one entry", async () => {
    await one.topUp(10);
    await one.grant(20);
    await one.grant(5, { expires_at_ms: Date.now() + DAY });
    pass(YEARS);
    expect(await one.state()).toMatchObject({ balance_micros: 30, paid_micros: 10, promotional_micros: 20 });
    for (let day = 0; day < 3; day++) {
      await one.ring();
      await one.charge(1);
      pass(DAY);
    }
    expect((await one.entries()).filter(({ kind }) => kind === "expiry")).toMatchObject([
      { amount_micros: -5, ref_seq: 3 },
    ]);
  });

  it("museum: OpenMeter 4313 credits stayed funded and were never consumed: what charges took is what grants and payments lost", async () => {
    await one.topUp(30);
    await one.grant(20, { priority: 1 });
    await one.grant(20, { only: "a" });
    for (const [amount, tag] of [
      [7, "a"],
      [9, "b"],
      [13, "a"],
      [11, "b"],
      [30, "a"],
    ] as const)
      await one.charge(amount, { tag });
    const entries = await one.entries();
    const moved = entries.flatMap(({ kind, lots }) =>
      kind === "charge"
        ? (JSON.parse(lots ?? "[]") as [number, number, number?][]).map(
            ([source, , part = 0]) => [source, part] as const,
          )
        : [],
    );
    const links = moved.reduce((sum, [, part]) => sum - part, 0);
    const spent = entries
      .filter(({ kind }) => kind === "charge")
      .reduce((sum, { amount_micros }) => sum - amount_micros, 0);
    expect(links).toBe(spent);
    const { lots, paid_micros } = await one.state();
    for (const { seq, granted_micros, remaining_micros } of lots)
      expect(granted_micros + moved.filter(([source]) => source === seq).reduce((sum, [, part]) => sum + part, 0)).toBe(
        remaining_micros,
      );
    expect(30 + moved.filter(([source]) => source === 0).reduce((sum, [, part]) => sum + part, 0)).toBe(paid_micros);
  });

  it("museum: OpenMeter 3293 no grant on a managed entitlement: one works on any balance, with windows, frozen or in debt", async () => {
    const limited = new Subject();
    await limited.topUp(10);
    const window = { window_id: "day", unit: "DAILY", limit_micros: micros(12) } as const;
    await limited.api.configure({ currency: "usd", windows: [window] });
    expect(await limited.grant(5)).toMatchObject({ outcome: "granted", balance_micros: 15 });
    expect(await limited.charge(13)).toMatchObject({ outcome: "refused", refusal: { reason: "window" } });
    expect(await limited.charge(12)).toMatchObject({ outcome: "charged", balance_micros: 3 });
    expect(await limited.moved()).toBe("2:-5 0:-7");
    // Back in the window it was spent in, and in the grant and the payment it came from.
    await limited.refund(3, 8);
    expect(await limited.moved()).toBe("0:7 2:1");
    expect((await limited.charge(8)).outcome).toBe("charged");
    await one.api.freeze({ frozen: true, currency: "usd" });
    expect(await one.grant(5)).toMatchObject({ outcome: "granted", balance_micros: 5 });
    const debtor = new Subject();
    await debtor.topUp(10, "pi_debtor");
    await debtor.charge(10);
    await debtor.takeBack("pi_debtor", 10);
    expect(await debtor.grant(4)).toMatchObject({ outcome: "granted", balance_micros: -6 });
    expect(await debtor.grant(7)).toMatchObject({ outcome: "granted", balance_micros: 1, available_micros: 1 });
  });

  it("museum: OpenMeter 2721 promotion codes: once per code and envelope, whoever asks how often", async () => {
    const redeem = (identity: string, code: string) =>
      envelopeOf(env, { identity }).grant("5", { key: `promo:${code}`, reason: `Code ${code}` });
    const [first, second] = [crypto.randomUUID(), crypto.randomUUID()];
    const asked = await Promise.all(Array.from({ length: 20 }, () => redeem(first, "SPRING")));
    expect(asked.filter(({ outcome }) => outcome === "granted")).toHaveLength(1);
    expect((await redeem(second, "SPRING")).outcome).toBe("granted");
    expect(await redeem(first, "AUTUMN")).toMatchObject({ outcome: "granted", balance_micros: 100_000 });
  });

  it("museum: OpenMeter 4846 grant usage lost over snapshots: what is left of each is read from the newest entry alone", async () => {
    await one.topUp(10);
    await one.grant(10, { priority: 1 });
    await one.grant(10, { expires_at_ms: Date.now() + DAY });
    const seen: string[] = [];
    for (let round = 0; round < 6; round++) {
      await one.charge(4);
      if (round % 2 === 0) await one.evict();
      seen.push(await one.left());
    }
    expect(seen).toEqual(["2:6 3:10", "2:2 3:10", "3:8", "3:4", "", ""]);
    expect(await one.state()).toMatchObject({ balance_micros: 6, paid_micros: 6 });
  });

  it("museum: Lago 1050 paid and granted at once gave twice: one door for each, and a key that was used gives nothing more", async () => {
    const envelope = envelopeOf(env, { identity: one.name });
    await one.topUp(10, "pi_1");
    expect((await one.topUp(10, "pi_1")).outcome).toBe("duplicate");
    expect(await one.grant(10, { key: "a" })).toMatchObject({ outcome: "granted" });
    expect(await one.grant(10, { key: "b" })).toMatchObject({ outcome: "granted" });
    // Two keys that were both used: nothing is given, whichever is asked under.
    expect(await one.grant(10, { key: "a", legacy_key: "b" })).toMatchObject({
      outcome: "replayed",
      balance_micros: 30,
    });
    expect(await one.grant(20, { key: "c", legacy_key: "b" })).toMatchObject({
      outcome: "conflict",
      balance_micros: 30,
    });
    await expect(envelope.grant({ paid: 5, granted: 5 } as unknown as string, { key: "d" })).rejects.toThrow(TypeError);
  });

  it("museum: Unkey 5529 buffered decrements landed after an explicit set: an adjustment is an entry, and nothing lands late", async () => {
    await one.grant(50);
    const charges = Promise.all(Array.from({ length: 20 }, () => one.charge(1)));
    const revoked = one.revoke(1);
    await Promise.all([charges, revoked]);
    const { balance_micros } = await one.state();
    await one.evict();
    pass(DAY);
    expect((await one.state()).balance_micros).toBe(balance_micros);
    expect(balance_micros).toBe(0);
    const entries = await one.entries();
    expect(entries.reduce((sum, { amount_micros }) => sum + amount_micros, 0)).toBe(0);
  });

  it("museum: Unkey 3304 2742 one-time credits became monthly: a grant is given once, and never again by itself", async () => {
    await one.grant(50, { key: "once", expires_at_ms: Date.now() + 30 * DAY });
    for (let month = 0; month < 12; month++) {
      pass(31 * DAY);
      await one.ring();
    }
    expect(await one.lines()).toEqual(["grant 50 50", "expiry -50 0"]);
    expect((await one.grant(50, { key: "once" })).outcome).toBe("replayed");
  });

  it("museum: Polar 7103 9565 7971 no one-time grants beside a period's: any number of them, each with its own end", async () => {
    for (let month = 1; month <= 3; month++)
      await one.grant(10, { key: `2100-0${month}`, expires_at_ms: START + month * 30 * DAY });
    await one.grant(7, { key: "sorry" });
    await one.charge(4);
    pass(30 * DAY);
    expect(await one.state()).toMatchObject({ balance_micros: 27 });
    pass(60 * DAY);
    expect(await one.state()).toMatchObject({ balance_micros: 7 });
  });

  it("museum: OpenMeter 4412 ended twice with credits on: a release, a settlement and a revocation each have one outcome", async () => {
    await one.grant(10);
    await one.hold(5);
    expect((await one.api.release({ hold_id: 1 })).outcome).toBe("released");
    expect((await one.api.release({ hold_id: 1 })).outcome).toBe("ended");
    expect((await one.settle(1, 5)).outcome).toBe("ended");
    const input = { op: "r", key: "r", grant: { seq: 1 } };
    expect((await one.api.revoke(input)).outcome).toBe("revoked");
    expect(await one.api.revoke(input)).toMatchObject({ outcome: "replayed", amount_micros: 10, balance_micros: 0 });
  });
});
