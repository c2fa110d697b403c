import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import { micros } from "../rules/values.js";
import { proofOf, shipAll } from "../support.js";
import { counting, pass, START, Subject } from "./support.js";

let one: Subject;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
  one = new Subject();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const in_ms = (ms: number) => ({ expires_at_ms: Date.now() + ms });

describe("what is burned first", () => {
  it("priority, then expiry, then what was given, then what was paid; each entry says where it was taken", async () => {
    await one.topUp(10);
    await one.grant(10);
    await one.grant(10, in_ms(5_000));
    await one.grant(10, { priority: 0 });
    await one.grant(10, { priority: 51, ...in_ms(1_000) });
    await one.charge(35);
    expect(await one.moved()).toBe("4:-10 3:-10 2:-10 0:-5");
    expect(await one.left()).toBe("5:10");
    await one.charge(7);
    expect(await one.moved()).toBe("0:-5 5:-2");
    expect(await one.state()).toMatchObject({ balance_micros: 8, paid_micros: 0, promotional_micros: 8 });
  });

  it("an envelope whose grants are spent is a plain one again: no state in its entries, and nothing loaded when it wakes", async () => {
    await one.topUp(10);
    await one.grant(5);
    await one.charge(5);
    await one.charge(1);
    expect((await one.entries()).map(({ lots }) => lots)).toEqual([null, "[[2,5,5]]", "[[2,0,-5]]", null]);
    await one.evict();
    const opened = await one.inside(async (_, envelope) => {
      await envelope.charge({ op: "plain", currency: "usd", amount_micros: micros(1) });
      return (envelope as unknown as { readonly ctx: DurableObjectState }).ctx.id.name;
    });
    expect(opened).toBe(one.name);
    expect(await one.state()).toMatchObject({ balance_micros: 8, lots: [], promotional_micros: 0, paid_micros: 8 });
  });
});

describe("a grant that is for something only", () => {
  it("pays for its tag, else the charge's reason, and is no part of what anything else can have", async () => {
    await one.topUp(5);
    await one.grant(10, { only: "GET /images/*" });
    expect(await one.charge(6, { reason: "GET /chat" })).toMatchObject({
      outcome: "refused",
      refusal: { reason: "insufficient_balance", shortfall_micros: 1 },
      balance_micros: 15,
      available_micros: 5,
    });
    expect(await one.charge(6, { reason: "GET /images/7" })).toMatchObject({ outcome: "charged", available_micros: 9 });
    expect(await one.charge(2, { reason: "GET /images/7", tag: "chat" })).toMatchObject({ available_micros: 3 });
    expect(await one.moved()).toBe("0:-2");
    expect(await one.state()).toMatchObject({ balance_micros: 7, available_micros: 3 });
    expect(await one.charge(100, { tag: "GET /images/8", at_most: true })).toMatchObject({ amount_micros: 7 });
  });

  it("is what afford and a hold ask for, too", async () => {
    await one.grant(10, { only: "a" });
    const asked = { currency: "usd", amount_micros: micros(5) };
    expect((await one.api.afford({ ...asked, tag: "a" })).outcome).toBe("affordable");
    expect((await one.api.afford({ ...asked, tag: "b" })).outcome).toBe("refused");
    expect((await one.hold(5, 60_000, { reason: "b" })).outcome).toBe("refused");
    expect(await one.hold(5, 60_000, { reason: "a" })).toMatchObject({ outcome: "held", available_micros: 5 });
    expect(await one.settle(1, 5)).toMatchObject({ outcome: "charged", amount_micros: 5 });
    expect(await one.moved()).toBe("1:-5");
  });

  it("is not counted where a low balance asks a saved card for more", async () => {
    await one.grant(100, { only: "a" });
    await one.topUp(20);
    await one.api.setAutoTopUp({ enabled: true, currency: "usd", customer: "cus_1", payment_method: "pm_1" });
    const auto_topup = {
      threshold_micros: micros(15),
      amount_micros: micros(10_000),
      max_per_window: 1,
      ceiling_micros: micros(10_000),
      window_ms: 60_000,
      cool_down_ms: 0,
    };
    await one.charge(1, { tag: "a", auto_topup });
    expect(await one.api.topUps({ limit: 9 })).toHaveLength(0);
    await one.charge(10, { tag: "b", auto_topup });
    expect(await one.api.topUps({ limit: 9 })).toHaveLength(1);
  });
});

describe("T88 expiry", () => {
  it("at its instant the money is gone, from every answer, and booked once with the next entry", async () => {
    await one.topUp(5);
    await one.grant(10, in_ms(1_000));
    pass(999);
    expect(await one.state()).toMatchObject({
      balance_micros: 15,
      expiring: { at_ms: START + 1_000, amount_micros: 10 },
    });
    pass(1);
    expect(await one.state()).toMatchObject({
      balance_micros: 5,
      available_micros: 5,
      lots: [],
      expiring: null,
      seq: 2,
    });
    expect(await one.charge(6)).toMatchObject({
      outcome: "refused",
      refusal: { shortfall_micros: 1 },
      balance_micros: 5,
    });
    expect(await one.lines()).toHaveLength(2);
    expect(await one.charge(5)).toMatchObject({ outcome: "charged", balance_micros: 0 });
    expect(await one.lines()).toEqual(["topup 5 5", "grant 10 15", "expiry -10 5", "charge -5 0"]);
    expect((await one.entries())[2]).toMatchObject({ ref_seq: 2, lots: "[[2,0,-10]]" });
  });

  it("T84 the alarm books it where nobody comes, tells the mirror, and is set for the next; no alarm is needed for it to count", async () => {
    await one.grant(10, in_ms(60_000));
    await one.grant(20, in_ms(120_000));
    await one.ring();
    const alarm = () => one.inside((_sql, _envelope, storage) => storage.getAlarm());
    expect(await alarm()).toBe(START + 60_000);
    pass(60_000);
    await one.evict();
    await one.ring();
    expect(await one.lines()).toEqual(["grant 10 10", "grant 20 30", "expiry -10 20"]);
    expect(await alarm()).toBe(START + 120_000);
    pass(120_000);
    await one.ring();
    expect(await one.lines()).toHaveLength(4);
    expect(await alarm()).toBeNull();
    await shipAll();
    expect(await proofOf(env)).toEqual({ behind: 0, differences: [] });
    expect(await one.api.sums({ up_to: 99 })).toMatchObject({
      granted_micros: 30,
      expired_micros: 30,
      balance_micros: 0,
    });
  });

  it("T87 a clock that is set back brings nothing back that was booked", async () => {
    await one.topUp(5);
    await one.grant(10, in_ms(1_000));
    pass(2_000);
    await one.charge(1);
    pass(-60_000);
    expect(await one.state()).toMatchObject({ balance_micros: 4, lots: [] });
    expect((await one.charge(5)).outcome).toBe("refused");
  });
});

describe("a hold", () => {
  it("can be settled up to its amount, whatever expires meanwhile; what it does not take is gone with it", async () => {
    await one.grant(10, in_ms(1_000));
    await one.hold(6);
    pass(5_000);
    expect(await one.state()).toMatchObject({ balance_micros: 6, held_micros: 6, available_micros: 0 });
    expect(await one.settle(1, 4)).toMatchObject({ outcome: "charged", balance_micros: 0, available_micros: 0 });
    await one.topUp(1);
    expect(await one.lines()).toEqual(["grant 10 10", "expiry -4 6", "charge -4 2", "expiry -2 0", "topup 1 1"]);
  });

  it("that is released, refused or expires gives back nothing of what is over", async () => {
    for (const end of ["release", "refuse", "expire"] as const) {
      const subject = new Subject();
      await subject.grant(10, in_ms(1_000));
      await subject.hold(6, 30_000);
      pass(2_000);
      if (end === "release") expect(await subject.api.release({ hold_id: 1 })).toMatchObject({ balance_micros: 0 });
      if (end === "refuse") expect(await subject.settle(1, 7)).toMatchObject({ outcome: "refused", balance_micros: 0 });
      if (end === "expire") pass(30_000);
      expect(await subject.state(), end).toMatchObject({ balance_micros: 0, available_micros: 0, held_micros: 0 });
    }
  });

  it("I4 keeps its lots from all others, also through eviction; above it, only what is free is taken", async () => {
    await one.grant(10, { priority: 1 });
    await one.grant(10, { priority: 2 });
    await one.hold(12);
    await one.evict();
    expect(await one.charge(9)).toMatchObject({ outcome: "refused" });
    await one.charge(5);
    expect(await one.moved()).toBe("2:-5");
    expect(await one.settle(1, 14)).toMatchObject({ outcome: "charged", balance_micros: 1 });
    expect(await one.moved()).toBe("1:-10 2:-4");
  });

  it("the alarm comes back for what it keeps alive", async () => {
    await one.grant(10, in_ms(1_000));
    await one.hold(6, 30_000);
    pass(2_000);
    await one.ring();
    expect(await one.lines()).toEqual(["grant 10 10", "expiry -4 6"]);
    expect(await one.inside((_sql, _envelope, storage) => storage.getAlarm())).toBe(START + 30_000);
    pass(28_000);
    await one.ring();
    expect(await one.lines()).toEqual(["grant 10 10", "expiry -4 6", "expiry -6 0"]);
  });
});

describe("T39 giving back", () => {
  it("unwinds what the charge took, last first, whatever burns first by now; all of it restores every grant exactly", async () => {
    await one.topUp(10);
    await one.grant(5, { priority: 10 });
    await one.grant(5, { priority: 60 });
    await one.charge(17);
    expect(await one.moved()).toBe("2:-5 0:-10 3:-2");
    // From now on this one would be the first.
    await one.grant(3, { priority: 0 });
    await one.refund(4, 5);
    expect(await one.moved()).toBe("3:2 0:3");
    await one.refund(4);
    expect(await one.moved()).toBe("0:7 2:5");
    expect(await one.left()).toBe("5:3 2:5 3:5");
    expect(await one.state()).toMatchObject({ paid_micros: 10, promotional_micros: 13 });
  });

  it("what came from a grant that is over by now goes back there, and is gone at once: booked, and said", async () => {
    await one.topUp(10);
    await one.grant(5, in_ms(1_000));
    await one.charge(8);
    pass(1_000);
    expect(await one.refund(3)).toMatchObject({
      outcome: "refunded",
      amount_micros: 8,
      expired_micros: 5,
      balance_micros: 10,
      available_micros: 10,
    });
    expect((await one.lines()).slice(3)).toEqual(["refund 8 15", "expiry -5 10"]);
    await one.evict();
    expect(await one.state()).toMatchObject({ balance_micros: 10, paid_micros: 10, lots: [] });
  });

  it("a charge of before there were grants is paid money", async () => {
    await one.topUp(10);
    await one.charge(4);
    await one.grant(5);
    await one.refund(2);
    expect(await one.moved()).toBe("0:4");
  });
});

describe("T40 claw-backs", () => {
  it("take what was paid and leave what was given; below zero, debt and grant are netted, and nothing is lost", async () => {
    await one.topUp(10, "pi_debt");
    await one.charge(10);
    await one.grant(15, in_ms(60_000));
    await one.takeBack("pi_debt", 10);
    expect(await one.moved()).toBe("0:-10");
    expect(await one.state()).toMatchObject({
      balance_micros: 5,
      available_micros: 5,
      paid_micros: -10,
      promotional_micros: 15,
    });
    expect(await one.charge(6)).toMatchObject({ outcome: "refused" });
    expect(await one.charge(5)).toMatchObject({ outcome: "charged", balance_micros: 0 });
    expect(await one.moved()).toBe("3:-5");
    // The grant stood against the debt. When it is over, the debt is there for all to see; paying lifts it.
    pass(60_000);
    expect(await one.state()).toMatchObject({ balance_micros: -10, paid_micros: -10, promotional_micros: 0 });
    expect((await one.charge(1)).outcome).toBe("refused");
    expect(await one.topUp(12)).toMatchObject({ outcome: "credited", balance_micros: 2, available_micros: 2 });
  });
});

describe("revoking", () => {
  const by = { actor: "owner", reason: "Given by mistake" };

  it("takes what is left, once per key, with an audit line; what returns later is gone at once", async () => {
    await one.topUp(10);
    await one.grant(10, { key: "grant:a" });
    await one.charge(4);
    const input = { op: "r", key: "revoke:1", grant: { key: "grant:a" }, reason: "oops", by };
    expect(await one.api.revoke(input)).toMatchObject({
      outcome: "revoked",
      seq: 4,
      amount_micros: 6,
      balance_micros: 10,
    });
    expect(await one.api.revoke(input)).toMatchObject({ outcome: "replayed", seq: 4, amount_micros: 6 });
    expect((await one.api.revoke({ ...input, grant: { seq: 99 } })).outcome).toBe("unknown");
    expect((await one.revoke(1)).outcome).toBe("unknown");
    expect(await one.refund(3)).toMatchObject({ outcome: "refunded", expired_micros: 4, balance_micros: 10 });
    expect(await one.revoke(2)).toMatchObject({ outcome: "revoked", amount_micros: 0 });
    expect(await one.api.audit({ before: null, limit: 9 })).toMatchObject([
      { actor: "owner", action: "revoke", reason: "Given by mistake" },
    ]);
    expect((await one.entries())[3]).toMatchObject({ kind: "revocation", ref_seq: 2, reason: "oops" });
  });

  it("leaves to a hold what it reserves; a key of something else is a conflict", async () => {
    await one.grant(10);
    await one.grant(1, { key: "other" });
    await one.hold(4);
    expect(await one.revoke(1)).toMatchObject({ outcome: "revoked", amount_micros: 6 });
    expect(await one.settle(1, 3)).toMatchObject({ outcome: "charged", balance_micros: 1 });
    expect((await one.revoke(1, { key: "other" })).outcome).toBe("conflict");
    const used = { op: "x", key: "used" };
    expect((await one.api.revoke({ ...used, grant: { seq: 1 } })).outcome).toBe("revoked");
    expect((await one.api.revoke({ ...used, grant: { seq: 2 } })).outcome).toBe("conflict");
  });

  it("finds a grant of before grants were kept apart, and says that it is unknown", async () => {
    await one.grant(10);
    await one.inside((sql) => {
      sql.exec("INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros) VALUES (2, 0, 'grant', 5, 15)");
    });
    await one.evict();
    expect((await one.revoke(2)).outcome).toBe("unknown");
    expect(await one.state()).toMatchObject({ balance_micros: 15, lots: [], paid_micros: 15 });
  });
});

describe("many grants", () => {
  it("of the 65th that something is left of: on terms that another has it joins that one, else it is invalid", async () => {
    for (let number = 0; number < 64; number++) await one.grant(1, number === 0 ? { only: "a" } : {});
    expect(await one.grant(2)).toMatchObject({ outcome: "granted", seq: 65, balance_micros: 66 });
    expect(await one.moved()).toBe("64:2");
    expect(await one.grant(1, { priority: 1 })).toMatchObject({ outcome: "invalid", balance_micros: 66 });
    expect((await one.state()).lots).toHaveLength(64);
    expect((await one.state()).lots.at(-1)).toMatchObject({ seq: 64, granted_micros: 3, remaining_micros: 3 });
    // Who shares a lot gives back no more than they brought, and its lot goes on for the others.
    expect(await one.revoke(65)).toMatchObject({ outcome: "revoked", amount_micros: 2 });
    expect(await one.revoke(65)).toMatchObject({ outcome: "revoked", amount_micros: 0 });
    expect((await one.state()).lots).toHaveLength(64);
    await one.charge(1, { tag: "a" });
    expect((await one.grant(1, { priority: 1 })).outcome).toBe("granted");
  });

  it("a refund reopens a lot beyond that number, and is never refused for it", async () => {
    await one.grant(5);
    await one.charge(5);
    for (let number = 0; number < 64; number++) await one.grant(1);
    expect(await one.refund(2)).toMatchObject({ outcome: "refunded", balance_micros: 69 });
    expect((await one.state()).lots).toHaveLength(65);
    await one.charge(69);
    expect((await one.entries()).at(-1)?.balance_micros).toBe(0);
  });
});

describe("what is asked of a grant", () => {
  const CASES: readonly (readonly [name: string, over: object])[] = [
    ["an expiry that is not in the future", { expires_at_ms: START }],
    ["an expiry that is no whole number", { expires_at_ms: START + 0.5 }],
    ["an expiry that is no date", { expires_at_ms: Number.NaN }],
    ["a priority below zero", { priority: -1 }],
    ["a priority above 100", { priority: 101 }],
    ["a fraction of a priority", { priority: 1.5 }],
    ["an empty tag", { only: "" }],
    ["a long tag", { only: "x".repeat(257) }],
    ["long metadata", { metadata: "x".repeat(4_097) }],
    ["nothing", { amount_micros: micros(0) }],
  ];
  for (const [name, over] of CASES) {
    it(`T57 ${name}: invalid, and nothing is stored`, async () => {
      expect((await one.grant(5, over)).outcome).toBe("invalid");
      expect(
        await one.inside((sql) => sql.exec("SELECT name FROM sqlite_master WHERE name = 'entry'").toArray()),
      ).toEqual([]);
    });
  }

  it("T14 once per key, and not again where it was made under an earlier one: in one turn", async () => {
    const first = await one.grant(5, { key: "stripe:evt_1" });
    const again = await one.grant(5, { key: "cs:sess_1", legacy_key: "stripe:evt_1" });
    expect(again).toMatchObject({ outcome: "replayed", seq: first.outcome === "granted" ? first.seq : 0 });
    expect(await one.grant(6, { key: "cs:sess_1", legacy_key: "stripe:evt_1" })).toMatchObject({ outcome: "conflict" });
    const race = Array.from({ length: 20 }, (_, number) =>
      one.grant(7, number % 2 === 0 ? { key: "old" } : { key: "new", legacy_key: "old" }),
    );
    const outcomes = (await Promise.all(race)).map(({ outcome }) => outcome);
    // Under both where the new one came first, as the old code would have done: but never twice under one.
    expect(outcomes.filter((outcome) => outcome === "granted").length).toBeLessThanOrEqual(2);
    expect((await one.entries()).filter(({ key }) => key === "old")).toHaveLength(1);
  });

  it("I10 what is in grants stays a safe number, also where paid money is owed", async () => {
    const most = 2 ** 53 - 1;
    await one.topUp(100, "pi_safe");
    await one.charge(100);
    await one.takeBack("pi_safe", 100);
    expect(await one.grant(most)).toMatchObject({ outcome: "granted", balance_micros: most - 100 });
    expect(await one.grant(1)).toMatchObject({ outcome: "invalid" });
  });
});

describe("who is told", () => {
  it("a limited session reads the balance, and nothing about grants", async () => {
    await one.grant(10, in_ms(60_000));
    await one.inside((sql) => {
      sql.exec(
        "INSERT INTO limited_session (key_id, hash, payment_id, at_ms, expires_at_ms) VALUES ('k', 'h', 'pi', 0, ?)",
        START + 60_000,
      );
    });
    await one.evict();
    expect(await one.api.state({ credential: { key_id: "k", hash: "h" } })).toMatchObject({
      outcome: "ok",
      balance_micros: 10,
      lots: [],
      expiring: null,
    });
  });

  it("envelopeOf gives with terms, takes back, and says what is wrong by name", async () => {
    const envelope = envelopeOf(env, { identity: one.name });
    const expiresAt = new Date(START + 1_000);
    await envelope.grant("0.001", {
      key: "promo:SPRING",
      expiresAt,
      priority: 7,
      only: "chat",
      metadata: { campaign: 3 },
    });
    expect((await envelope.state()).lots).toEqual([
      {
        seq: 1,
        granted_micros: 10,
        remaining_micros: 10,
        held_micros: 0,
        priority: 7,
        expires_at_ms: START + 1_000,
        only: "chat",
      },
    ]);
    expect(await envelope.entries()).toMatchObject([{ key: "grant:promo:SPRING", metadata: '{"campaign":3}' }]);
    expect(await envelope.charge("0.0004", { key: "c", tag: "chat" })).toMatchObject({ outcome: "charged" });
    expect(await envelope.revoke({ key: "promo:SPRING" }, { key: "r" })).toMatchObject({ amount_micros: 6 });
    await expect(envelope.grant("1", { key: "k", only: "" })).rejects.toThrow("options.only");
    await expect(envelope.grant("1", { key: "k", legacyKey: "ä" })).rejects.toThrow("options.legacyKey");
    await expect(envelope.charge("1", { key: "k", tag: "" })).rejects.toThrow("options.tag");
    await expect(envelope.grant("1", { key: "k", metadata: "x".repeat(5_000) })).rejects.toThrow("options.metadata");
  });
});

describe("SQLite itself refuses an entry that loses or makes any of a lot", () => {
  const INSERTS: readonly (readonly [name: string, lots: string, amount: number])[] = [
    ["moves that are not its amount", "[[1,8,-2]]", -3],
    ["more left than there was", "[[1,9,-3]]", -3],
    ["less left than there was", "[[1,6,-3]]", -3],
    ["a lot that is missing", "[[0,-3,-3]]", -3],
    ["a lot from nowhere", "[[1,10],[7,3],[0,-6,-3]]", -3],
    ["a lot below zero", "[[1,-1,-11],[0,8,8]]", -3],
  ];
  for (const [name, lots, amount] of INSERTS) {
    it(name, async () => {
      await one.grant(10);
      await one.inside((sql) => {
        const insert = () =>
          sql.exec(
            "INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, lots) VALUES (2, 0, 'charge', ?, ?, ?)",
            amount,
            10 + amount,
            lots,
          );
        expect(insert).toThrow("lots do not follow");
      });
    });
  }

  it("and takes one that does not", async () => {
    await one.grant(10);
    await one.inside((sql) => {
      sql.exec(
        "INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, lots) VALUES (2, 0, 'charge', -3, 7, '[[1,7,-3]]')",
      );
    });
    await one.evict();
    expect(await one.left()).toBe("1:7");
  });
});

describe("what it costs", () => {
  it("a charge writes one row; what it reads is the trigger's, a few rows for each lot", async () => {
    const reads: number[] = [];
    for (const lots of [0, 1, 64]) {
      const subject = new Subject();
      await subject.topUp(100);
      for (let number = 0; number < lots; number++) await subject.grant(100);
      await subject.evict();
      await subject.charge(1);
      const { read, written } = await subject.inside(async (sql, envelope) => {
        const counted = counting(sql);
        await envelope.charge({ op: "counted", currency: "usd", amount_micros: micros(1) });
        counted.stop();
        return counted.rows();
      });
      expect(written).toBe(1);
      reads.push(read);
    }
    const [none = 0, one = 0, many = 0] = reads;
    expect(one - none).toBeLessThan(10);
    expect(many - none).toBeLessThan(64 * 3);
  });
});
