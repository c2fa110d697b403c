/** What was wrong with ws402 0.1.5, by name: each of these is how it behaved. */
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { MockPaymentProvider, WS402 } from "../../../src/ws402/index.js";
import { refundsOf, resetStrings, strings } from "../../ws402.js";
import { clientOf, UPGRADE } from "../sockets.js";
import {
  behind,
  connect,
  connectAs,
  ownSite,
  paidSite,
  payment,
  prove,
  receiptOf,
  sessionsShard,
  siteOf,
  until,
} from "./support.js";

beforeEach(() => {
  resetStrings();
  behind.sessions.length = 0;
  behind.received.length = 0;
  behind.closes.length = 0;
  behind.fails = false;
});

describe("D8 an idle connection killed the server", () => {
  test("a client that shows nothing is told so, closed, and nobody is hurt", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const client = await connect(paidSite);
      await vi.advanceTimersByTimeAsync(29_000);
      expect(client.closed).toBeUndefined();
      await vi.advanceTimersByTimeAsync(1_001);
      vi.useRealTimers();
      expect(await client.hear("payment_rejected")).toMatchObject({ code: "timeout" });
      expect(await client.end()).toEqual({ code: 1008, reason: "Payment verification failed" });
    } finally {
      vi.useRealTimers();
    }
    const next = await connect(paidSite);
    prove(next, payment(10));
    await next.hear("session_started");
    next.socket.close(1000);
  });

  test("a client that leaves before it shows anything leaves nothing behind", async () => {
    const client = await connect(paidSite);
    client.socket.close(1000);
    await client.end();
    expect(strings.verifications).toBe(0);
  });
});

describe("D15 one malformed frame refunded twice", () => {
  test("any frames, and every way to end at once: one refund", async () => {
    const client = await connect(paidSite);
    const proof = payment(100);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    for (const frame of ["{", "[", '{"type":', "null", '"payment_proof"', '{"type":"payment_proof"}', "\u0000"]) {
      client.send(frame);
    }
    client.send("bye");
    client.socket.close(4005, "and bye");
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    const shard = sessionsShard(String(sessionId));
    const progress = { consumed_micros: 0, open_ms: 0, bytes: 0, messages: 0 };
    await Promise.all([1, 2, 3].map(() => shard.end({ session_id: String(sessionId), progress, reason: "again" })));
    await runDurableObjectAlarm(shard);
    expect(refundsOf(proof.txId)).toHaveLength(1);
    const { amount } = refundsOf(proof.txId)[0] ?? { amount: 0 };
    expect(await receiptOf(paidSite, sessionId)).toMatchObject({
      paidAmount: 100,
      consumedAmount: 100 - amount,
      refundAmount: amount,
      refundStatus: "issued",
    });
  });
});

describe("D15 a session that has ended", () => {
  test("cannot be ended again: neither its receipt nor what it owes changes, paid back or not", async () => {
    const late = { progress: { consumed_micros: 60_000_000, open_ms: 60_000, bytes: 9, messages: 9 }, reason: "again" };
    const client = await connect(paidSite);
    const proof = payment(100);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    // The refund does not go through yet, so it is owed.
    strings.failures = 1;
    client.socket.close(1000);
    await until(async () => (await receiptOf(paidSite, sessionId))["refundStatus"] === "pending", "a failure");
    const shard = sessionsShard(String(sessionId));
    const owed = () =>
      runInDurableObject(shard, (_, { storage: { sql } }) => sql.exec("SELECT refund_micros FROM payment").toArray());
    const [receipt, before] = [await receiptOf(paidSite, sessionId), await owed()];
    expect(await shard.end({ session_id: String(sessionId), ...late })).toMatchObject({
      session: { end_reason: "client_closed" },
    });
    expect([await receiptOf(paidSite, sessionId), await owed()]).toEqual([receipt, before]);
    await until(async () => {
      await runInDurableObject(shard, (_, state) => state.storage.setAlarm(Date.now() + 60_000));
      await runDurableObjectAlarm(shard);
      return refundsOf(proof.txId).length > 0;
    }, "the refund");
    expect(refundsOf(proof.txId)).toEqual([expect.objectContaining({ amount: receipt["refundAmount"] })]);
    await until(async () => (await receiptOf(paidSite, sessionId))["refundStatus"] === "issued", "the answer");
    const issued = await receiptOf(paidSite, sessionId);
    await shard.end({ session_id: String(sessionId), ...late });
    await runDurableObjectAlarm(shard);
    expect(await receiptOf(paidSite, sessionId)).toEqual(issued);
    expect(refundsOf(proof.txId)).toHaveLength(1);
  });
});

describe("D16 a client that left during verification was never refunded", () => {
  test("all of it is given back", async () => {
    const state = { asked: false, answers: false };
    strings.verifying = async () => {
      state.asked = true;
      while (!state.answers) await new Promise((resolve) => setTimeout(resolve, 10));
      return { valid: true, amount: 50 };
    };
    const client = await connect(paidSite);
    const proof = payment(50);
    prove(client, proof);
    await until(() => state.asked, "the provider");
    client.socket.close(1000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    state.answers = true;
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(refundsOf(proof.txId)).toEqual([expect.objectContaining({ amount: 50 })]);
    expect(behind.sessions).toEqual([]);
    const { sessionId } = refundsOf(proof.txId)[0] ?? { sessionId: "" };
    expect(await receiptOf(paidSite, sessionId)).toMatchObject({ consumedAmount: 0, status: "ended" });
  });

  test("also when the object is lost in the middle of it: what was taken is found, and given back", async () => {
    const proof = payment(70);
    let asked = 0;
    strings.verifying = async () => {
      asked += 1;
      // The first answer never comes.
      return asked === 1 ? new Promise(() => undefined) : { valid: true, amount: 70 };
    };
    const client = await connect(paidSite);
    prove(client, proof);
    await until(() => asked === 1, "the provider");
    for (let shard = 0; shard < 16; shard++) {
      const stub = env.WS402_SESSIONS.getByName(`ws402-${shard}`);
      await runInDurableObject(stub, (_, state) => {
        const [table] = state.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'payment'").toArray();
        if (table === undefined) return;
        state.storage.sql.exec("UPDATE payment SET next_at_ms = 1 WHERE status = 'verifying'");
      });
      await runInDurableObject(stub, (_, state) => state.abort("lost")).catch(() => undefined);
    }
    for (let shard = 0; shard < 16; shard++) {
      const stub = env.WS402_SESSIONS.getByName(`ws402-${shard}`);
      await runInDurableObject(stub, (_, state) => state.storage.setAlarm(Date.now() + 60_000));
      await runDurableObjectAlarm(stub);
    }
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(refundsOf(proof.txId)).toEqual([expect.objectContaining({ amount: 70, proof })]);
    expect(asked).toBe(2);
    client.socket.close(1000);
  });
});

describe("D28, D29 a payment opened any number of sessions", () => {
  test("the second time it is used already", async () => {
    const proof = payment(100);
    const first = await connect(paidSite);
    prove(first, proof);
    await first.hear("session_started");
    const second = await connect(paidSite);
    prove(second, proof);
    expect(await second.hear("payment_rejected")).toMatchObject({ code: "already_used" });
    expect(await second.end()).toEqual({ code: 1008, reason: "Payment verification failed" });
    first.socket.close(1000);
    await until(() => refundsOf(proof.txId).length === 1, "a refund");
    const third = await connect(paidSite);
    prove(third, proof);
    expect(await third.hear("payment_rejected")).toMatchObject({ code: "already_used" });
  });

  test("sixteen sockets at once share none", async () => {
    const proof = payment(100);
    const clients = await Promise.all(Array.from({ length: 16 }, () => connect(paidSite)));
    for (const client of clients) prove(client, proof);
    await Promise.all(
      clients.map((one) => one.until(() => one.said("session_started", "payment_rejected").length > 0)),
    );
    expect(clients.filter((one) => one.said("session_started").length > 0)).toHaveLength(1);
    for (const client of clients) client.socket.close(1000);
  });

  test.each([
    ["in another case", { txId: "0xABCDEF01" }, { txId: "0xabcdef01" }],
    ["without its prefix", { txId: "0xABCDEF02" }, { txId: "abcdef02" }],
    ["with another name beside it", { txHash: "hash-3" }, { txHash: "hash-3", signature: "made up", reference: "x" }],
    ["with more said beside it", { signature: "sig-4", note: 1 }, { signature: " sig-4 ", note: 2 }],
    ["in another order", { a: 1, b: { c: 2, d: "5" } }, { b: { d: "5", c: 2 }, a: 1 }],
  ])("also %s", async (_, one, other) => {
    const [first, second] = [await connect(paidSite), await connect(paidSite)];
    prove(first, { amount: 9, ...one });
    await first.hear("session_started");
    prove(second, { amount: 9, ...other });
    expect(await second.hear("payment_rejected")).toMatchObject({ code: "already_used" });
    first.socket.close(1000);
  });

  test("also when only the provider knows that it is the same", async () => {
    strings.verifying = () => ({ valid: true, amount: 9, paymentId: "the-same-coin" });
    const [first, second] = [await connect(paidSite), await connect(paidSite)];
    prove(first, payment(9));
    await first.hear("session_started");
    prove(second, payment(9));
    expect(await second.hear("payment_rejected")).toMatchObject({ code: "already_used" });
    first.socket.close(1000);
  });

  test("one that the provider turned down may be shown again, once it is paid", async () => {
    const proof = payment(5);
    strings.verifying = () => ({ valid: false, amount: 0, reason: "Not confirmed yet" });
    const first = await connect(paidSite);
    prove(first, proof);
    expect(await first.hear("payment_rejected")).toMatchObject({
      code: "invalid_payment",
      reason: "Not confirmed yet",
    });
    resetStrings();
    const second = await connect(paidSite);
    prove(second, proof);
    expect(await second.hear("session_started")).toMatchObject({ balance: 5 });
    second.socket.close(1000);
  });

  test("what is turned down leaves no name behind that could be used up", async () => {
    const used = payment(9);
    const first = await connect(paidSite);
    prove(first, used);
    await first.hear("session_started");
    const second = await connect(paidSite);
    prove(second, { amount: 9, txHash: "mine-alone", signature: used.txId });
    expect(await second.hear("payment_rejected")).toMatchObject({ code: "already_used" });
    const third = await connect(paidSite);
    prove(third, { amount: 9, txHash: "mine-alone" });
    await third.hear("session_started");
    for (const client of [first, third]) client.socket.close(1000);
  });

  test("a refund goes to who paid: nothing else of the proof is looked at", async () => {
    const proof = { ...payment(9), senderAddress: "payer" };
    const client = await connect(paidSite);
    prove(client, proof);
    await client.hear("session_started");
    client.socket.close(1000);
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(refundsOf(proof.txId)[0]?.proof).toEqual(proof);
  });
});

describe("D12 leaving before the first tick was free", () => {
  test("each second that begins is paid", async () => {
    for (let n = 0; n < 3; n++) {
      const client = await connect(paidSite);
      const proof = payment(10);
      prove(client, proof);
      await client.hear("session_started");
      client.socket.close(1000);
      await until(() => refundsOf(proof.txId).length === 1, "a refund");
      expect(refundsOf(proof.txId)[0]?.amount).toBeLessThanOrEqual(9);
    }
  });

  test("the balance never goes below zero, and what it was for has arrived", async () => {
    const client = await connect(paidSite);
    const proof = payment(2);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    await client.end();
    for (const { remainingBalance } of client.said("usage_update")) expect(remainingBalance).toBeGreaterThanOrEqual(0);
    expect(await receiptOf(paidSite, sessionId)).toMatchObject({
      paidAmount: 2,
      consumedAmount: 2,
      refundAmount: 0,
      refundStatus: "none",
    });
    expect(refundsOf(proof.txId)).toEqual([]);
  });
});

describe("D17 a restart lost balances and refunds", () => {
  test("a session whose Worker is gone ends with its lease, and the rest is given back", async () => {
    const client = await connect(paidSite);
    const proof = payment(40);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    const shard = sessionsShard(String(sessionId));
    // As if its Worker had last been heard of long ago.
    await runInDurableObject(shard, (_, state) => {
      state.storage.sql.exec(
        "UPDATE session SET lease_until_ms = 1, consumed_micros = 3000000 WHERE session_id = ?",
        sessionId,
      );
    });
    await runInDurableObject(shard, (_, state) => state.abort("restart")).catch(() => undefined);
    await runInDurableObject(sessionsShard(String(sessionId)), (_, state) =>
      state.storage.setAlarm(Date.now() + 60_000),
    );
    await runDurableObjectAlarm(sessionsShard(String(sessionId)));
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(refundsOf(proof.txId)).toEqual([expect.objectContaining({ amount: 37, sessionId })]);
    expect(await receiptOf(paidSite, sessionId)).toMatchObject({ status: "ended", reason: "lost", consumedAmount: 3 });
    client.socket.close(1000);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(refundsOf(proof.txId)).toHaveLength(1);
  });

  test("a refund that fails is owed until it is paid, once", async () => {
    strings.failures = 2;
    const client = await connect(paidSite);
    const proof = payment(20);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    client.socket.close(1000);
    await until(async () => (await receiptOf(paidSite, sessionId))["refundStatus"] === "pending", "a failure");
    const shard = sessionsShard(String(sessionId));
    await until(async () => {
      await runInDurableObject(shard, (_, state) => {
        state.storage.sql.exec("UPDATE payment SET next_at_ms = 1 WHERE refund_micros > 0 AND refunded_at_ms IS NULL");
        return state.storage.setAlarm(Date.now() + 60_000);
      });
      await runDurableObjectAlarm(shard);
      return refundsOf(proof.txId).length > 0;
    }, "the refund");
    expect(await receiptOf(paidSite, sessionId)).toMatchObject({ refundStatus: "issued" });
    expect(refundsOf(proof.txId)).toHaveLength(1);
  });

  test("a refund whose answer was lost is asked for under the same key, and sent once", async () => {
    strings.lost = 1;
    const client = await connect(paidSite);
    const proof = payment(20);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    client.socket.close(1000);
    await until(() => refundsOf(proof.txId).length === 1, "the money to be sent");
    await until(async () => (await receiptOf(paidSite, sessionId))["refundStatus"] === "issued", "the answer");
    expect(refundsOf(proof.txId)).toHaveLength(1);
  });
});

describe("D22 a token of one resource opened every other, and outlived its session", () => {
  const token = async () => {
    const client = await connect(paidSite, "/ws402/film");
    const proof = payment(100);
    prove(client, proof);
    const granted = await client.hear("http_access_granted");
    await client.hear("session_started");
    return { client, granted, proof, httpToken: String(granted["httpToken"]) };
  };

  test("it opens its own resource, under both of its names, and no other; and dies with the session", async () => {
    const { client, granted, proof, httpToken } = await token();
    expect(granted["resourceUrl"]).toBe(`https://worker.test/api/resource/film?token=${httpToken}`);
    for (const name of ["token", "sessionToken"]) {
      const answer = await paidSite.fetch(`/api/resource/film?${name}=${httpToken}`);
      expect(await answer.text()).toBe("the whole of film");
      expect(answer.headers.get("X-WS402-Session")).toBe(granted["sessionId"]);
      expect(answer.headers.get("Cache-Control")).toBe("private, no-store");
      expect(answer.headers.get("Content-Disposition")).toBe("inline");
    }
    const other = await paidSite.fetch(`/api/resource/other?token=${httpToken}`);
    expect([other.status, await other.json()]).toEqual([
      403,
      { error: "Access Denied", message: "Token is for a different resource" },
    ]);
    client.socket.close(1000);
    await until(() => refundsOf(proof.txId).length > 0, "the end");
    const late = await paidSite.fetch(`/api/resource/film?token=${httpToken}`);
    expect([late.status, await late.json()]).toEqual([
      403,
      { error: "Invalid or expired session", message: "Session not found or has ended" },
    ]);
  });

  test("a token that is none, and no token", async () => {
    const none = await paidSite.fetch("/api/resource/film");
    expect(none.status).toBe(402);
    expect(await none.json()).toMatchObject({ error: "Payment Required", instructions: { step1: expect.anything() } });
    for (const bad of ["x", "http_A", `http_0${"a".repeat(22)}`, "http_g0000000000000000000000"]) {
      expect((await paidSite.fetch(`/api/resource/film?token=${bad}`)).status).toBe(403);
    }
    expect((await paidSite.fetch("/api/resource/feed?token=x")).status).toBe(404);
    expect((await paidSite.fetch("/api/resource/nothing?token=x")).status).toBe(404);
  });

  test("T60 it is kept as a hash only, and is not to be guessed from the session", async () => {
    const { client, granted, httpToken } = await token();
    expect(httpToken).toMatch(/^http_[0-9A-F][0-9A-Za-z]{22}$/);
    const shard = sessionsShard(String(granted["sessionId"]));
    const rows = await runInDurableObject(shard, (_, state) =>
      JSON.stringify(state.storage.sql.exec("SELECT * FROM session").toArray()),
    );
    expect(rows).not.toContain(httpToken);
    expect(rows).not.toContain(httpToken.slice(6));
    client.socket.close(1000);
  });
});

describe("smaller ones", () => {
  test("D1 a price of zero is zero", async () => {
    const site = ownSite({ pricePerSecond: 0 });
    const client = await connect(site);
    prove(client, {});
    expect(await client.hear("session_started")).toMatchObject({ pricePerSecond: 0 });
    client.socket.close(1000);
  });

  test("D3 an app that fails when it is told gives back what was paid", async () => {
    const errors: unknown[] = [];
    const { paid } = await import("../../ws402.js");
    const listener = (error: unknown): void => void errors.push(error);
    paid.on("error", listener);
    behind.fails = true;
    const client = await connect(paidSite);
    const proof = payment(30);
    prove(client, proof);
    expect(await client.end()).toEqual({ code: 1011, reason: "Internal server error" });
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(refundsOf(proof.txId)).toEqual([expect.objectContaining({ amount: 30 })]);
    expect(errors).toEqual([new Error("the app failed")]);
    paid.off("error", listener);
  });

  test("D5 the end is told once, D6 and nobody has to listen to errors", async () => {
    const ends: string[] = [];
    const ws402 = new WS402({
      pricePerSecond: "1",
      onSessionEnd: ({ sessionId }) => {
        ends.push(sessionId);
        throw new Error("the app's listener failed");
      },
    });
    const caller = await siteOf(ws402).payer(100);
    const client = await connectAs(caller);
    prove(client, {});
    const { sessionId } = await client.hear("session_started");
    client.send("bye");
    client.socket.close(1000);
    await until(() => ends.length > 0, "the end");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(ends).toEqual([sessionId]);
  });

  test("D7 who says they are somebody is not: a user id grants nothing", async () => {
    const victim = await connect(paidSite, "/ws402/film?userId=victim");
    prove(victim, payment(100));
    await victim.hear("http_access_granted");
    const other = await connect(paidSite, "/ws402/film?userId=victim");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(other.received).toEqual([]);
    other.socket.close(1000);
    victim.send("still mine");
    await victim.until(() => victim.received.includes("echo still mine"));
    victim.socket.close(1000);
  });

  test("D20 a duration that is none is turned down", async () => {
    for (const duration of ["-5", "0", "1e3", "999999", "x"]) {
      expect((await paidSite.fetch(`/ws402/schema/feed?duration=${duration}`)).status).toBe(400);
    }
  });

  test("D26 what a provider says of paying may come later", async () => {
    const schema = await (await paidSite.fetch("/ws402/schema/feed?duration=10")).json<Record<string, unknown>>();
    expect(schema["paymentDetails"]).toEqual({ provider: "strings", amount: 10 });
  });

  test("D27 a mock provider takes no money unless it is told to, and no amount that is none", async () => {
    const site = siteOf(new WS402({ currency: "credits" }, new MockPaymentProvider()));
    expect((await site.fetch("/ws402/feed", UPGRADE)).status).toBe(500);
    const local = await site.fetch("http://localhost/ws402/feed", UPGRADE);
    expect(local.status).toBe(101);
    clientOf(local).socket.close(1000);
    const allowed = new MockPaymentProvider({ allowInProduction: true });
    for (const amount of [-5, 0, "100", Number.NaN, undefined]) {
      expect(allowed.verifyPayment({ amount, txId: "x" })).toMatchObject({ valid: false });
    }
  });

  test.each([-1, 0, Number.NaN, "12e3", 0.000_000_1, 1e300])("D27 an amount of %s is none", async (amount) => {
    strings.verifying = () => ({ valid: true, amount });
    const client = await connect(paidSite);
    prove(client, payment(1));
    expect(await client.hear("payment_rejected")).toMatchObject({ code: "invalid_payment" });
  });

  test("D18 a list of sessions tells no proof", async () => {
    const { paid } = await import("../../ws402.js");
    const client = await connect(paidSite, "/ws402/feed?userId=listed");
    const proof = payment(77);
    prove(client, proof);
    await client.hear("session_started");
    const session = await paid.getSessionByUserId(env, "listed");
    expect(session).toMatchObject({ userId: "listed", paidAmount: 77, status: "active" });
    expect(JSON.stringify(session)).not.toContain(proof.txId);
    client.socket.close(1000);
    await until(async () => (await paid.getSessionByUserId(env, "listed")) === null, "the end");
  });
});
