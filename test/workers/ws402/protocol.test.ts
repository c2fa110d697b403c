/** The wire of ws402: its schema, the order of its messages, its receipts; and the envelope as who pays. */
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, test } from "vitest";
import { isWS402Request, WS402, type WS402Session } from "../../../src/ws402/index.js";
import { refundsOf, resetStrings, strings } from "../../ws402.js";
import { clientOf } from "../sockets.js";
import { type Caller, completed } from "../support.js";
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

async function books(caller: Caller) {
  await until(async () => (await caller.envelope.state()).held_micros === 0, "what is held");
  const { balance_micros } = await caller.envelope.state();
  const charges = (await caller.envelope.entries(0, 1000)).filter(({ kind }) => kind === "charge");
  return { balance: balance_micros, charges: charges.map(({ amount_micros }) => -amount_micros) };
}

describe("the schema", () => {
  test("has what a client needs before it connects", async () => {
    const response = await paidSite.fetch("/ws402/schema/film?duration=30");
    expect(response.headers.get("Content-Type")).toContain("application/json");
    expect(await response.json()).toEqual({
      protocol: "ws402",
      version: "0.1.2",
      resourceId: "film",
      websocketEndpoint: "wss://worker.test/ws402/film",
      pricing: { pricePerSecond: 2, currency: "credits", estimatedDuration: 30, totalPrice: 60 },
      paymentDetails: { provider: "strings", amount: 60 },
      maxSessionDuration: 3600,
      resourceInfo: { name: 'Film "1"', type: "video" },
    });
  });

  test("in its other envelope, and the list of all", async () => {
    const body = await (await paidSite.fetch("/api/resource/feed/schema")).json<Record<string, unknown>>();
    expect(body["resource"]).toEqual({ id: "feed", type: "stream", filename: "Feed", estimatedTime: 60 });
    expect(body["ws402Schema"]).toMatchObject({ protocol: "ws402", pricing: { estimatedDuration: 300 } });
    // Its clients append their user's id to the address, whatever it is.
    const { websocketEndpoint } = body["ws402Schema"] as { websocketEndpoint: string };
    for (const [appended, userId] of [
      ["ann", "ann"],
      ["", "anonymous"],
    ]) {
      const client = await connect(paidSite, `${websocketEndpoint.replace("wss:", "https:")}${appended}`);
      prove(client, payment(9));
      await client.hear("session_started");
      expect(behind.sessions.pop()).toMatchObject({ userId, resourceId: "feed" });
      client.socket.close(1000);
    }
    const { resources } = await (await paidSite.fetch("/api/resources")).json<{ resources: { id: string }[] }>();
    expect(resources).toContainEqual(
      expect.objectContaining({ id: "feed", name: "Feed", pricePerSecond: 1, totalPrice: 60 }),
    );
    for (const path of ["/ws402/schema/nothing", "/api/resource/nothing/schema"]) {
      const missing = await paidSite.fetch(path);
      expect([missing.status, await missing.json()]).toEqual([404, { error: "Resource not found" }]);
    }
  });

  test("of an envelope, in minor units; whatever is not ws402's is the app's", async () => {
    const site = ownSite({ pricePerSecond: "0.05" });
    const schema = await (await site.fetch("/ws402/schema/anything?duration=7")).json<Record<string, unknown>>();
    expect(schema["pricing"]).toMatchObject({ pricePerSecond: 0.05, currency: "usd", totalPrice: 0.35 });
    expect(await (await site.fetch("/else")).text()).toBe("not ws402's");
    expect((await site.fetch("/ws402/feed")).status).toBe(404);
  });

  test("a request says that it is for ws402 in one of two ways", () => {
    const at = (url: string, headers = {}) => isWS402Request(new Request(url, { headers }));
    expect(at("https://x.test/")).toBe(false);
    expect(at("https://x.test/?protocol=ws402")).toBe(true);
    expect(at("https://x.test/", { "X-Protocol": "WS402" })).toBe(true);
  });
});

describe("a session that a provider was paid for", () => {
  test("from the proof to the receipt", async () => {
    const client = await connect(paidSite, "/ws402/feed?userId=ann");
    client.send("before the proof: ignored");
    client.send({ type: "hello" });
    const proof = payment(60);
    prove(client, proof);
    const started = await client.hear("session_started");
    expect(started).toMatchObject({ balance: 60, pricePerSecond: 1, currency: "credits", resourceId: "feed" });
    expect(behind.sessions[0]).toMatchObject({ userId: "ann", paidAmount: 60, _resourceId: "feed", status: "active" });
    client.send("hello");
    await client.until(() => client.received.includes("echo hello"));
    const update = await client.hear("usage_update", 2);
    expect(Object.keys(update)).toEqual([
      "type",
      "sessionId",
      "elapsedSeconds",
      "consumedAmount",
      "remainingBalance",
      "bytesTransferred",
      "messageCount",
      "seq",
      "timestamp",
    ]);
    expect(update).toMatchObject({ messageCount: 2, seq: 2 });
    expect(Number(update["consumedAmount"]) + Number(update["remainingBalance"])).toBe(60);
    expect(update["bytesTransferred"]).toBe("hello".length + "echo hello".length);
    expect(behind.received).toEqual(["hello"]);
    client.socket.close(1000, "thanks");
    await until(() => refundsOf(proof.txId).length > 0, "a refund");
    expect(behind.closes).toEqual([{ code: 1000, reason: "thanks" }]);
    expect(await receiptOf(paidSite, started["sessionId"])).toMatchObject({
      status: "ended",
      reason: "client_closed",
      paidAmount: 60,
      refundStatus: "issued",
      messageCount: 2,
      currency: "credits",
    });
  });

  test("tells the app of each step, under ws402's names, with the proof that nobody else is told", async () => {
    strings.failures = 1;
    const client = await connect(paidSite, "/ws402/feed?userId=ann");
    const proof = payment(60);
    prove(client, proof);
    const { sessionId } = await client.hear("session_started");
    const verified = ["onPaymentVerified", "payment_verified"];
    expect(strings.told.map(({ name }) => name)).toEqual(verified);
    client.socket.close(1000);
    await until(() => strings.told.some(({ name }) => name === "refund_error"), "a failure");
    const shard = sessionsShard(String(sessionId));
    await until(async () => {
      await runInDurableObject(shard, (_, state) => {
        state.storage.sql.exec("UPDATE payment SET next_at_ms = 1 WHERE refund_micros > 0 AND refunded_at_ms IS NULL");
        return state.storage.setAlarm(Date.now() + 60_000);
      });
      await runDurableObjectAlarm(shard);
      return strings.told.some(({ name }) => name === "onRefundIssued");
    }, "the refund");
    await until(() => strings.told.length === 7, "all that is told");
    const told = (name: string) => strings.told.filter((one) => one.name === name);
    for (const name of [...verified, "onSessionEnd", "session_end", "onRefundIssued", "refund", "refund_error"]) {
      expect([name, told(name).length]).toEqual([name, 1]);
      const status = verified.includes(name) ? "active" : "ended";
      expect(told(name)[0]?.session).toMatchObject({
        sessionId,
        userId: "ann",
        paidAmount: 60,
        status,
        paymentProof: proof,
      });
    }
    const { refundAmount } = await receiptOf(paidSite, sessionId);
    const refund = { sessionId, amount: refundAmount, reason: "unused_balance", timestamp: expect.any(Number) };
    for (const name of ["onRefundIssued", "refund"]) {
      expect(told(name)[0]?.more).toEqual({ ...refund, id: expect.stringMatching(/^refund-/) });
    }
    expect(told("refund_error")[0]?.more).toEqual(new Error("The bank is closed"));
  });

  test("is exhausted: it is told, with what it came to, and closed as ws402 closes", async () => {
    const client = await connect(paidSite);
    prove(client, payment(1));
    await client.hear("session_started");
    expect(await client.end()).toEqual({ code: 1000, reason: "Balance exhausted" });
    const [exhausted, ended] = client.said("balance_exhausted", "session_ended");
    expect(exhausted).toEqual({ type: "balance_exhausted", message: "Prepaid balance has been fully consumed" });
    expect(ended).toMatchObject({
      reason: "balance_exhausted",
      consumedAmount: 1,
      refundAmount: 0,
      refundStatus: "none",
    });
    expect(client.said("low_balance")).toHaveLength(1);
  });

  test("is over after the longest it may last", async () => {
    const caller = await ownSite({ maxSessionDuration: 1 }).payer(100);
    const client = await connectAs(caller);
    prove(client, {});
    expect(await client.end()).toEqual({ code: 1000, reason: "Max duration reached" });
    expect(client.said("max_duration_reached", "session_ended").map(({ type }) => type)).toEqual([
      "max_duration_reached",
      "session_ended",
    ]);
    expect(await books(caller)).toEqual({ balance: 990_000, charges: [10_000] });
  });

  test("a second payment goes on with it", async () => {
    const client = await connect(paidSite);
    const [first, second] = [payment(1), payment(5)];
    prove(client, first);
    const { sessionId } = await client.hear("session_started");
    client.send({ type: "top_up", proof: second });
    await client.until(() => client.said("usage_update").some(({ remainingBalance }) => Number(remainingBalance) >= 4));
    client.send({ type: "top_up", proof: { amount: -1 } });
    expect(await client.hear("payment_rejected")).toMatchObject({ code: "invalid_payment" });
    client.socket.close(1000);
    await until(() => refundsOf(second.txId).length > 0, "a refund");
    const receipt = await receiptOf(paidSite, sessionId);
    expect(receipt).toMatchObject({ paidAmount: 6 });
    expect(Number(receipt["consumedAmount"]) + Number(receipt["refundAmount"])).toBe(6);
    // Of the newest payment, as far as it goes.
    const back = [...refundsOf(first.txId), ...refundsOf(second.txId)];
    expect(back.reduce((sum, { amount }) => sum + amount, 0)).toBe(receipt["refundAmount"]);
  });

  test("T99 payments are verified one at a time, however many are shown at once", async () => {
    const client = await connect(paidSite);
    prove(client, payment(30));
    await client.hear("session_started");
    const proofs = Array.from({ length: 20 }, () => payment(5));
    for (const proof of proofs) client.send({ type: "top_up", proof });
    await client.hear("payment_rejected", 19);
    for (const said of client.said("payment_rejected")) expect(said).toMatchObject({ code: "unavailable" });
    await client.until(() => client.said("usage_update").some(({ remainingBalance }) => Number(remainingBalance) > 30));
    expect(strings.verifications).toBe(2);
    // What was not looked at may be shown again.
    client.send({ type: "top_up", proof: proofs[19] });
    await client.until(() => client.said("usage_update").some(({ remainingBalance }) => Number(remainingBalance) > 35));
    client.socket.close(1000);
    expect(strings.verifications).toBe(3);
  });

  test("a price that the app changes before it begins is the price", async () => {
    const onPaymentVerified = (session: WS402Session): void => {
      session.pricePerSecond = 3;
    };
    const ws402 = new WS402({ pricePerSecond: "1", onPaymentVerified });
    const caller = await siteOf(ws402).payer(100);
    const client = await connectAs(caller);
    prove(client, {});
    expect(await client.hear("session_started")).toMatchObject({ pricePerSecond: 3 });
    client.socket.close(1000);
    expect((await books(caller)).charges).toEqual([30_000]);
  });

  test("nobody finds a session by a name that is none", async () => {
    for (const id of ["x", "ws402_", `ws402_0${"a".repeat(22)}`, "ws402_G0000000000000000000000"]) {
      expect(await receiptOf(paidSite, id)).toMatchObject({ status: 404 });
    }
  });
});

describe("a session that an envelope pays", () => {
  test("the balance pays by the second, and what was held is free again", async () => {
    const caller = await ownSite().payer(50);
    const client = await connectAs(caller);
    prove(client, {});
    const started = await client.hear("session_started");
    expect(started).toMatchObject({ balance: 50, pricePerSecond: 1, currency: "usd" });
    client.send("hi");
    await client.until(() => client.received.includes("echo hi"));
    client.socket.close(1000);
    expect(await books(caller)).toEqual({ balance: 490_000, charges: [10_000] });
    const [entry] = (await caller.envelope.entries(0, 10)).filter(({ kind }) => kind === "charge");
    expect(entry).toMatchObject({ reason: "ws402 feed", metadata: JSON.stringify({ ws402: started["sessionId"] }) });
    await until(async () => (await receiptOf(caller.site, started["sessionId"]))["status"] === "ended", "the receipt");
    expect(await receiptOf(caller.site, started["sessionId"])).toMatchObject({
      consumedAmount: 1,
      refundAmount: 49,
      refundStatus: "released",
    });
  });

  test("what was never taken is told as its refund, without a proof", async () => {
    const told: { readonly name: string; readonly session: WS402Session; readonly amount?: number }[] = [];
    const ws402 = new WS402({
      pricePerSecond: "1",
      onPaymentVerified: (session) => void told.push({ name: "onPaymentVerified", session }),
      onRefundIssued: (session, { amount }) => void told.push({ name: "onRefundIssued", session, amount }),
      onSessionEnd: (session) => void told.push({ name: "onSessionEnd", session }),
    });
    const caller = await siteOf(ws402).payer(50);
    const client = await connectAs(caller);
    prove(client, { token: caller.token });
    await client.hear("session_started");
    client.socket.close(1000);
    await until(() => told.length === 3, "the end");
    expect(told.map(({ name, amount }) => [name, amount])).toEqual([
      ["onPaymentVerified", undefined],
      ["onRefundIssued", 49],
      ["onSessionEnd", undefined],
    ]);
    expect(JSON.stringify(told)).not.toContain(caller.token);
  });

  test("exactly two seconds", async () => {
    const caller = await ownSite().payer(2);
    const client = await connectAs(caller);
    prove(client, {});
    expect(await client.end()).toEqual({ code: 1000, reason: "Balance exhausted" });
    expect(await books(caller)).toEqual({ balance: 0, charges: [20_000] });
  });

  test("the proof may carry the token, and a limit", async () => {
    const site = ownSite();
    const caller = await site.payer(50);
    const client = await connect(site);
    prove(client, { token: caller.token, amount: 1 });
    expect(await client.hear("session_started")).toMatchObject({ balance: 1 });
    expect(await client.end()).toEqual({ code: 1000, reason: "Balance exhausted" });
    expect(await books(caller)).toEqual({ balance: 490_000, charges: [10_000] });
  });

  test.each([
    ["nobody", {}, "insufficient_balance"],
    ["a token that is none", { token: "we_s1_nonsense" }, "unauthorized"],
    ["a token with line breaks", { token: "x\r\ny: z" }, "unauthorized"],
    ["an amount that is none", { amount: "-1" }, "invalid_payment"],
  ])("%s is turned away", async (_, proof, code) => {
    const client = await connect(ownSite());
    prove(client, proof);
    expect(await client.hear("payment_rejected")).toMatchObject({ code });
    expect(await client.end()).toEqual({ code: 1008, reason: "Payment verification failed" });
  });

  test("T68 a page of another origin has no cookie here", async () => {
    const site = ownSite();
    const caller = await site.payer(50);
    const headers = { Upgrade: "websocket", Origin: "https://evil.example", Cookie: `__Host-we=${caller.token}` };
    const client = clientOf(await site.fetch("/ws402/feed", { headers }));
    prove(client, {});
    expect(await client.hear("payment_rejected")).toMatchObject({ code: "unauthorized" });
    expect(await books(caller)).toEqual({ balance: 500_000, charges: [] });
    // A token in the proof is nothing that a browser adds.
    const other = clientOf(await site.fetch("/ws402/feed", { headers }));
    prove(other, { token: caller.token });
    await other.hear("session_started");
    other.socket.close(1000);
  });

  test("T68 nor has it what the app's own login goes by", async () => {
    const site = siteOf(new WS402({ pricePerSecond: "1" }), { identify: () => "somebody" });
    const { client_reference_id } = await (await site.fetch("/me")).json<{ client_reference_id: string }>();
    await site.webhook(completed({ client_reference_id, amount_total: 50 }));
    const headers = { Upgrade: "websocket", Cookie: "login=somebody" };
    const foreign = clientOf(
      await site.fetch("/ws402/feed", { headers: { ...headers, Origin: "https://evil.example" } }),
    );
    prove(foreign, {});
    expect(await foreign.hear("payment_rejected")).toMatchObject({ code: "unauthorized" });
    const own = clientOf(await site.fetch("/ws402/feed", { headers: { ...headers, Origin: "https://worker.test" } }));
    prove(own, {});
    await own.hear("session_started");
    own.socket.close(1000);
  });

  test("a top-up during the session goes on with it", async () => {
    const caller = await ownSite({ pauseSeconds: 30 }).payer(1);
    const client = await connectAs(caller);
    prove(client, {});
    const paused = await client.hear("session_paused");
    expect(paused["paymentLink"]).toContain("client_reference_id=");
    await caller.site.webhook(completed({ client_reference_id: caller.reference, amount_total: 3 }));
    client.send({ type: "resume", sessionId: paused["sessionId"] });
    await client.hear("session_resumed");
    client.send("go on");
    await client.until(() => client.received.includes("echo go on"));
    client.socket.close(1000);
    expect(await books(caller)).toEqual({ balance: 20_000, charges: [20_000] });
    expect(behind.received).toEqual(["go on"]);
  });
});
