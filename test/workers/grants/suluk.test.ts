/**
 * What @suluk/credits promised in its own fourteen statements, several of which failed on a Durable Object, and what a replacement
 * needs besides: on the real object, through `envelopeOf`.
 */
import { abortAllDurableObjects } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import {
  addCredits,
  debitCredits,
  debitIfCovers,
  debitOnceIfCovers,
  getBalance,
  grantOnce,
  grantSaying,
  InsufficientCreditsError,
  keySpend,
  ledgerStats,
  listTransactions,
  nonceFor,
} from "./credits.js";
import { START } from "./support.js";

let user = "";
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
  user = crypto.randomUUID();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("its own statements", () => {
  it("1 a new user's balance is 0; adding 100 returns 100, adding 50 returns 150, and that is the balance", async () => {
    expect(await getBalance(user)).toBe(0);
    expect(await addCredits(user, 100, "welcome")).toBe(100);
    expect(await addCredits(user, 50, "more")).toBe(150);
    expect(await getBalance(user)).toBe(150);
  });

  it("2 adding 0 or 1.5 rejects", async () => {
    await expect(addCredits(user, 0, "nothing")).rejects.toThrow(TypeError);
    await expect(addCredits(user, 1.5, "a fraction")).rejects.toThrow(TypeError);
    await expect(envelopeOf(env, { identity: user }).grant({ micros: 1.5 }, { key: "k" })).rejects.toThrow(TypeError);
  });

  it("3 with 100: debiting 30 is true and leaves 70; debiting 100 is false and leaves 70", async () => {
    await addCredits(user, 100, "welcome");
    expect(await debitIfCovers(user, 30, "work")).toBe(true);
    expect(await getBalance(user)).toBe(70);
    expect(await debitIfCovers(user, 100, "work")).toBe(false);
    expect(await getBalance(user)).toBe(70);
  });

  it("4 with 10: debiting −50 is false and leaves 10", async () => {
    await addCredits(user, 10, "welcome");
    expect(await debitIfCovers(user, -50, "mint")).toBe(false);
    await expect(envelopeOf(env, { identity: user }).charge({ micros: -50 }, { key: "k" })).rejects.toThrow(TypeError);
    expect(await getBalance(user)).toBe(10);
  });

  it("5 a debit of 40 under key_abc: that key has spent 40, another nothing", async () => {
    await addCredits(user, 100, "welcome");
    expect(await debitIfCovers(user, 40, "work", "key_abc")).toBe(true);
    expect(await keySpend(user, "key_abc")).toBe(40);
    expect(await keySpend(user, "key_other")).toBe(0);
  });

  it("6 with 20: debiting 15 returns 5; debiting 99 throws InsufficientCreditsError", async () => {
    await addCredits(user, 20, "welcome");
    expect(await debitCredits(user, 15, "work")).toBe(5);
    await expect(debitCredits(user, 99, "work")).rejects.toThrow(InsufficientCreditsError);
  });

  it("7 debiting 30 once is debited, with a nonce that is always the same; again it is replayed, and 70 stay", async () => {
    await addCredits(user, 100, "welcome");
    const nonce = nonceFor("refund", "stripe_re_1");
    expect(await debitOnceIfCovers(user, 30, "refund", "stripe_re_1")).toEqual({ outcome: "debited", nonce });
    expect(await getBalance(user)).toBe(70);
    expect(await debitOnceIfCovers(user, 30, "refund", "stripe_re_1")).toEqual({ outcome: "replayed", nonce });
    expect(await getBalance(user)).toBe(70);
  });

  it("8 with 10: a new key for 50 is insufficient, and leaves 10", async () => {
    await addCredits(user, 10, "welcome");
    expect(await debitOnceIfCovers(user, 50, "work", "new")).toMatchObject({ outcome: "insufficient" });
    expect(await getBalance(user)).toBe(10);
  });

  it("9 debiting 25 twice under one key: the key has spent 25", async () => {
    await addCredits(user, 100, "welcome");
    for (const outcome of ["debited", "replayed"])
      expect(await debitOnceIfCovers(user, 25, "work", "job-1", "key_abc")).toMatchObject({ outcome });
    expect(await keySpend(user, "key_abc")).toBe(25);
  });

  it("10 granting 600 for pi:abc is true; again it is false, and 600 stay", async () => {
    expect(await grantOnce(user, 600, "pi:abc", "topup", 2_000)).toBe(true);
    expect(await getBalance(user)).toBe(600);
    expect(await grantOnce(user, 600, "pi:abc", "topup", 2_000)).toBe(false);
    expect(await getBalance(user)).toBe(600);
  });

  it("11 granted under stripe:evt_1, it is not granted again under cs:sess_1 with that as its legacy key", async () => {
    expect(await grantOnce(user, 100, "stripe:evt_1")).toBe(true);
    expect(await grantOnce(user, 100, "cs:sess_1", "topup", undefined, "stripe:evt_1")).toBe(false);
    expect(await getBalance(user)).toBe(100);
  });

  it("12 granting Infinity, 500.9 or −100 is false, and leaves 0", async () => {
    for (const amount of [Number.POSITIVE_INFINITY, 500.9, -100]) {
      expect(await grantOnce(user, amount, "k")).toBe(false);
      await expect(envelopeOf(env, { identity: user }).grant({ micros: amount }, { key: "k" })).rejects.toThrow(
        TypeError,
      );
    }
    expect(await getBalance(user)).toBe(0);
  });

  it("13 an amount of 2000 cents is shown with its transaction", async () => {
    await grantOnce(user, 600, "pi:abc", "topup", 2_000);
    expect((await listTransactions(user)).find(({ id }) => id === "grant:pi:abc")).toMatchObject({
      amountCents: 2_000,
    });
  });

  it("14 after +100 and −30: two transactions, −30 and 100; 100 issued, 30 spent, 70 outstanding", async () => {
    await addCredits(user, 100, "welcome");
    await debitIfCovers(user, 30, "work");
    expect((await listTransactions(user)).map(({ delta }) => delta)).toEqual([-30, 100]);
    expect(await ledgerStats(user)).toEqual({ creditsIssued: 100, creditsSpent: 30, balanceOutstanding: 70 });
  });
});

describe("what a replacement needs besides", () => {
  it("I8 two users with one key are both debited; a key is never made of two others", async () => {
    const other = crypto.randomUUID();
    for (const one of [user, other]) {
      await addCredits(one, 100, "welcome");
      expect(await debitOnceIfCovers(one, 30, "work", "k")).toMatchObject({ outcome: "debited" });
      expect(await getBalance(one)).toBe(70);
    }
    expect(await debitOnceIfCovers(user, 1, "a:b", "c")).toMatchObject({ outcome: "debited" });
    expect(await debitOnceIfCovers(user, 1, "a", "b:c")).toMatchObject({ outcome: "debited" });
  });

  it("T16 200 debits of 7 at once on 500 serve exactly 71", async () => {
    await addCredits(user, 500, "welcome");
    const debits = Array.from({ length: 200 }, (_, number) => debitOnceIfCovers(user, 7, "work", `job-${number}`));
    const outcomes = (await Promise.all(debits)).map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === "debited")).toHaveLength(71);
    expect(outcomes.filter((outcome) => outcome === "insufficient")).toHaveLength(129);
    expect(await getBalance(user)).toBe(3);
  });

  it("T22 a crash of a debit leaves what its key has spent right: it is in the debit's own row", async () => {
    await addCredits(user, 100, "welcome");
    for (let round = 0; round < 5; round++) {
      const lost = debitOnceIfCovers(user, 5, "work", `job-${round}`, "key_abc").catch(() => undefined);
      await abortAllDurableObjects();
      await lost;
      await debitOnceIfCovers(user, 5, "work", `job-${round}`, "key_abc");
      expect(await keySpend(user, "key_abc")).toBe(100 - (await getBalance(user)));
    }
    expect(await keySpend(user, "key_abc")).toBe(25);
  });

  it("T43 a credit that failed is credited by the redelivery, once", async () => {
    for (let round = 0; round < 5; round++) {
      const lost = grantSaying(user, 100, `pi:${round}`).catch(() => undefined);
      await abortAllDurableObjects();
      await lost;
      await grantSaying(user, 100, `pi:${round}`);
      expect(await getBalance(user)).toBe(100 * (round + 1));
    }
  });

  it("the order is right within one second", async () => {
    await addCredits(user, 100, "welcome");
    for (const amount of [1, 2, 3, 4, 5]) await debitIfCovers(user, amount, "work");
    const lines = await listTransactions(user, 5);
    expect(lines.map(({ delta }) => delta)).toEqual([-5, -4, -3, -2, -1]);
    expect(new Set(lines.map(({ createdAt }) => createdAt)).size).toBe(1);
  });

  it("a grant that was rejected is told from one that was made before", async () => {
    expect(await grantSaying(user, 100, "k")).toBe("granted");
    expect(await grantSaying(user, 100, "k")).toBe("replayed");
    expect(await grantSaying(user, 99, "k")).toBe("conflict");
    expect(await grantSaying(user, 2 ** 53 - 1, "too-much")).toBe("invalid");
  });

  it("a debit of nothing succeeds", async () => {
    const envelope = envelopeOf(env, { identity: user });
    expect(await envelope.charge("0", { key: "k" })).toMatchObject({
      outcome: "charged",
      seq: null,
      balance_micros: 0,
    });
  });
});
