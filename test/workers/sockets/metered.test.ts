/** Metered WebSockets through the wrapper, as a client, an app and a ledger see them. */
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import { type Client, clientOf, UPGRADE } from "../sockets.js";
import { type Caller, completed, ORIGIN, Site } from "../support.js";
import { seen, socketApp, useRate } from "./app.js";

const site = new Site({}, {}, socketApp);

beforeEach(() => {
  seen.closes.length = 0;
  seen.received.length = 0;
  useRate(undefined);
});

/** What was charged so far, and what is still held, once it is settled. */
async function books(
  caller: Caller,
  settled: (state: { held_micros: number }) => boolean = (s) => s.held_micros === 0,
) {
  for (let tries = 0; ; tries++) {
    const state = await caller.envelope.state();
    if (settled(state) || tries === 100) {
      const charges = (await caller.envelope.entries(0, 1000)).filter(({ kind }) => kind === "charge");
      const spent = charges.reduce((sum, { amount_micros }) => sum - amount_micros, 0);
      return { spent, held: state.held_micros, balance: state.balance_micros, charges: charges.length };
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const resetEnvelope = (caller: Caller) =>
  runInDurableObject(env.ENVELOPE.getByName(caller.id), (_, state) => state.abort("reset")).catch(() => undefined);

const open = async (caller: Caller, path: string, headers: Record<string, string> = {}) =>
  clientOf(await caller.fetch(path, { headers: { Upgrade: "websocket", ...headers } }));

describe("T10 a 101", () => {
  test("without a rate passes through untouched, and asks nobody", async () => {
    const response = await site.fetch("/echo", UPGRADE);
    expect(response.headers.get("Cache-Control")).toBeNull();
    const client = clientOf(response);
    client.send("hello");
    await client.until(() => client.received.length === 1);
    client.socket.close(4005, "done");
    await client.until(() => seen.closes.length === 1);
    expect(seen.closes).toEqual([{ code: 4005, reason: "done" }]);
  });

  test("with a rate for nobody is a 402 with a payment link, and closes the app's socket", async () => {
    const response = await site.fetch("/echo?message=1", UPGRADE);
    expect(response.status).toBe(402);
    expect(response.webSocket).toBeNull();
    expect(await response.json()).toMatchObject({ limit: "balance", canTopUp: true });
    for (let n = 0; n < 100 && seen.closes.length === 0; n++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(seen.closes).toEqual([{ code: 1008, reason: "Payment required" }]);
  });

  test("T3 a malformed rate is the owner's error, and nothing is charged", async () => {
    const caller = await site.payer(100);
    expect((await caller.fetch("/echo?message=1e2", UPGRADE)).status).toBe(500);
    expect(await books(caller)).toEqual({ spent: 0, held: 0, balance: 1_000_000, charges: 0 });
  });

  test("headers, cookies and the subprotocol survive; the prices are gone, the balance is told", async () => {
    const caller = await site.payer(100);
    const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": "one, two" };
    const response = await caller.fetch("/echo?message=1&updates=5", { headers });
    expect(response.status).toBe(101);
    expect(response.headers.get("Sec-WebSocket-Protocol")).toBe("two");
    expect(response.headers.getSetCookie()).toEqual(["app=1; Path=/", "app=2; Path=/"]);
    expect(response.headers.get("X-Balance")).toBe("100");
    expect(response.headers.get("Cache-Control")).toBe("private, no-store");
    expect([...response.headers.keys()].filter((name) => name.startsWith("x-price"))).toEqual([]);
    clientOf(response).socket.close(1000);
    await books(caller);
  });
});

describe("T103 exactly what there is money for", () => {
  test("ten messages, five each way, and not one more; nothing is held afterwards", async () => {
    const caller = await site.payer(10);
    const client = await open(caller, "/echo?message=1");
    for (let n = 1; n <= 8; n++) client.send(`${n}`);
    expect(await client.end()).toEqual({ code: 4402, reason: "Balance exhausted" });
    expect(seen.received.length + client.received.length).toBe(10);
    expect(await books(caller)).toEqual({ spent: 100_000, held: 0, balance: 0, charges: 1 });
  });

  test("a burst of the app's", async () => {
    const caller = await site.payer(7);
    const client = await open(caller, "/echo?message=0.5");
    client.send("many");
    await client.end();
    expect(client.received).toEqual(Array.from({ length: 13 }, (_, n) => `${n + 1}`));
    expect(await books(caller)).toEqual({ spent: 70_000, held: 0, balance: 0, charges: 1 });
  });

  test("sockets at once share a small balance: each begins while there is money for a frame, together they get what there is", async () => {
    const caller = await site.payer(20);
    const clients = [];
    for (let n = 0; n < 4; n++) clients.push(await open(caller, "/echo?message=1"));
    for (const [n, client] of clients.entries()) {
      client.send(`${n}`);
      await client.until(() => client.received.length === 1, "an echo");
    }
    // Whoever goes on uses what is left; the others have what is reserved for them.
    const [first] = clients;
    for (let n = 0; n < 20; n++) first?.send("more");
    expect(await first?.end()).toEqual({ code: 4402, reason: "Balance exhausted" });
    for (const client of clients) client.socket.close(1000);
    const { spent, held, balance } = await books(caller);
    const frames = seen.received.length + clients.reduce((sum, { received }) => sum + received.length, 0);
    expect([spent, held, balance]).toEqual([frames * 10_000, 0, 200_000 - frames * 10_000]);
    expect(frames).toBeGreaterThan(10);
  });

  test("two seconds, to the millisecond that a timer can tell", async () => {
    const caller = await site.payer(2);
    const began = Date.now();
    const client = await open(caller, "/echo?second=1");
    expect((await client.end()).code).toBe(4402);
    expect(Date.now() - began).toBeGreaterThanOrEqual(1_990);
    expect(await books(caller)).toEqual({ spent: 20_000, held: 0, balance: 0, charges: 1 });
  });

  test("kilobytes, both ways, binary and text", async () => {
    const caller = await site.payer(3);
    const client = await open(caller, "/echo?kilobyte=1");
    client.send(new Uint8Array(1_500).buffer);
    await client.until(() => client.received.length === 1);
    expect((client.received[0] as ArrayBuffer).byteLength).toBe(1_500);
    client.send("x");
    expect((await client.end()).code).toBe(4402);
    expect(seen.received).toHaveLength(1);
    expect(await books(caller)).toEqual({ spent: 30_000, held: 0, balance: 0, charges: 1 });
  });

  test("a price at the beginning, and no more than the maximum", async () => {
    const caller = await site.payer(1000);
    const client = await open(caller, "/echo?price=5&message=1&max=9");
    for (let n = 1; n <= 5; n++) client.send("silent");
    expect(await client.end()).toEqual({ code: 4402, reason: "Price maximum reached" });
    expect(seen.received).toHaveLength(4);
    expect(await books(caller)).toMatchObject({ spent: 90_000, held: 0 });
  });

  test("T99 ten sockets on one envelope share what is there", async () => {
    const caller = await site.payer(210);
    const clients = await Promise.all(Array.from({ length: 10 }, () => open(caller, "/echo?message=1")));
    for (let n = 0; n < 40; n++) {
      for (const client of clients) if (client.closed === undefined) client.send("silent");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const client of clients) if (client.closed === undefined) client.socket.close(1000);
    for (const client of clients) await client.end();
    const { spent, held, balance } = await books(caller);
    expect(held).toBe(0);
    expect(spent).toBe(seen.received.length * 10_000);
    expect([spent, balance]).toEqual([2_100_000, 0]);
  });
});

describe("T103 exactly what another limit admits", () => {
  const frames = (client: Client) => seen.received.length + client.received.length;
  const chatter = async (client: Client) => {
    for (let n = 0; n < 12; n++) client.send("silent");
    expect(await client.end()).toEqual({ code: 4402, reason: "Balance exhausted" });
    return frames(client);
  };

  test("a window", async () => {
    const caller = await site.payer(100);
    await caller.envelope.configure({ windows: [{ window_id: "day", unit: "DAILY", limit: "7" }] });
    expect(await chatter(await open(caller, "/echo?message=1"))).toBe(7);
    expect(await books(caller)).toEqual({ spent: 70_000, held: 0, balance: 930_000, charges: 1 });
    expect((await caller.fetch("/echo?message=1", UPGRADE)).status).toBe(402);
  });

  test("a key's cap", async () => {
    const caller = await site.payer(100);
    const made = await caller.fetch("/keys", {
      method: "POST",
      body: JSON.stringify({ capacity: "0.09" }),
      headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
    });
    const { key } = await made.json<{ key: string }>();
    const headers = { Upgrade: "websocket", Authorization: `Bearer ${key}` };
    expect(await chatter(clientOf(await site.fetch("/echo?message=1", { headers })))).toBe(9);
    expect(await books(caller)).toEqual({ spent: 90_000, held: 0, balance: 910_000, charges: 1 });
  });

  test("a budget, which moves no money", async () => {
    const teams = new Site({ identify: () => "team-with-sockets" }, {}, socketApp);
    const team = envelopeOf(teams.env, { identity: "team-with-sockets" });
    await team.configure({ prepaid: false, windows: [{ unit: "MONTHLY", limit: "5" }] });
    expect(await chatter(clientOf(await teams.fetch("/echo?message=1", UPGRADE)))).toBe(5);
    for (let tries = 0; (await team.state()).held_micros > 0 && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await team.entries()).map(({ kind, amount_micros }) => [kind, amount_micros])).toEqual([
      ["usage", -50_000],
    ]);
    expect(await team.state()).toMatchObject({ held_micros: 0, balance_micros: 0 });
  });

  test("what was given and what was paid together", async () => {
    const caller = await site.payer(4);
    await caller.envelope.grant("3", { key: "gift" });
    expect(await chatter(await open(caller, "/echo?message=1"))).toBe(7);
    expect(await books(caller)).toEqual({ spent: 70_000, held: 0, balance: 0, charges: 1 });
  });
});

describe("ends", () => {
  test("the client's close reaches the app, with its code and reason, and the rest is given back", async () => {
    const caller = await site.payer(100);
    const client = await open(caller, "/echo?message=1");
    client.send("one");
    await client.until(() => client.received.length === 1);
    client.socket.close(4005, "the client says bye");
    await client.until(() => seen.closes.length === 1);
    expect(seen.closes).toEqual([{ code: 4005, reason: "the client says bye" }]);
    expect(await books(caller)).toEqual({ spent: 20_000, held: 0, balance: 980_000, charges: 1 });
  });

  test("the app's close reaches the client, after what it sent before", async () => {
    const caller = await site.payer(100);
    const client = await open(caller, "/echo?message=1");
    client.send("last");
    client.send("bye");
    expect(await client.end()).toEqual({ code: 4001, reason: "the app says bye" });
    expect(client.received).toEqual(["last"]);
    expect(await books(caller)).toMatchObject({ spent: 30_000, held: 0 });
  });

  test("a close without a code", async () => {
    const caller = await site.payer(100);
    const client = await open(caller, "/echo?message=1");
    client.socket.close();
    await client.until(() => seen.closes.length === 1);
    expect(seen.closes[0]?.code).toBe(1005);
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0 });
  });

  test("T102 a frame that is too long", async () => {
    const short = new Site({ sockets: { maxMessageBytes: 10 } }, {}, socketApp);
    const caller = await short.payer(100);
    const client = await open(caller, "/echo?message=1");
    client.send("0123456789");
    client.send("0123456789a");
    expect(await client.end()).toEqual({ code: 1009, reason: "Message too large" });
    expect(await books(caller)).toMatchObject({ held: 0 });
  });

  test("T98 silence ends it", async () => {
    const impatient = new Site({ sockets: { idleSeconds: 1 } }, {}, socketApp);
    const caller = await impatient.payer(100);
    const client = await open(caller, "/echo?message=1");
    expect(await client.end()).toEqual({ code: 1008, reason: "Idle" });
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0 });
  });

  test("T99 no more sockets of an envelope than allowed", async () => {
    const narrow = new Site({ sockets: { maxPerEnvelope: 2 } }, {}, socketApp);
    const caller = await narrow.payer(1000);
    const [one, two] = [await open(caller, "/echo?message=1"), await open(caller, "/echo?message=1")];
    const third = await caller.fetch("/echo?message=1", UPGRADE);
    expect(third.status).toBe(429);
    expect(third.headers.get("Retry-After")).toBe("1");
    one.socket.close(1000);
    await books(caller, ({ held_micros }) => held_micros <= 200_000);
    const again = await open(caller, "/echo?message=1");
    for (const client of [two, again]) client.socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0 });
  });

  test("T82 the envelope's object is reset in the middle: the hold is on disk, and it goes on", async () => {
    const caller = await site.payer(1000);
    const client = await open(caller, "/echo?message=1");
    for (let n = 1; n <= 60; n++) {
      client.send(`${n}`);
      await client.until(() => client.received.length === n);
      if (n % 20 === 0) await resetEnvelope(caller);
    }
    client.socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 1_200_000, held: 0, balance: 8_800_000 });
  });
});

describe("without money", () => {
  test("a top-up during the session goes on with it; the client is told where the app asks for it", async () => {
    useRate({ perMessage: "1", socket: { pauseSeconds: 30, updateSeconds: 1, lowBalance: "3" } });
    const caller = await site.payer(4);
    const client = await open(caller, "/metered");
    for (let n = 1; n <= 3; n++) client.send(`${n}`);
    const paused = await client.hear("envelope.paused");
    expect(paused).toMatchObject({ messages: 4, price: "4", available: "0", currency: "usd" });
    expect(paused["paymentLink"]).toContain("client_reference_id=");
    await site.webhook(completed({ client_reference_id: caller.reference, amount_total: 100 }));
    await client.hear("envelope.resumed");
    await client.until(() => client.received.includes("3"));
    await client.hear("envelope.usage");
    client.socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 60_000, held: 0, balance: 980_000 });
  });

  test("nothing is said to a client whose app did not ask for it", async () => {
    const caller = await site.payer(3);
    const client = await open(caller, "/echo?message=1");
    client.send("a");
    client.send("b");
    await client.end();
    expect(client.received).toEqual(["a"]);
  });

  test("by a header, of an app that only speaks HTTP", async () => {
    const caller = await site.payer(300);
    const client = await open(caller, "/echo?second=1&updates=1");
    expect(await client.hear("envelope.usage")).toMatchObject({ messages: 0, currency: "usd" });
    client.socket.close(1000);
    await books(caller);
  });

  test("the app is told once how it ended", async () => {
    const ends: unknown[] = [];
    useRate({ perMessage: "2", onEnd: (end) => void ends.push(end) });
    const caller = await site.payer(5);
    const client = await open(caller, "/metered");
    client.send("silent");
    client.send("silent");
    client.send("silent");
    await client.end();
    await books(caller);
    expect(ends).toHaveLength(1);
    expect(ends[0]).toMatchObject({
      cause: "exhausted",
      socket: "balance_exhausted",
      units: { messages: 2 },
      price: "4",
      missing_micros: 0,
      balance: "1",
    });
  });
});

describe("T68 a page of another origin", () => {
  const cookie = (caller: Caller) => ({ Cookie: `__Host-we=${caller.token}` });
  const upgrade = (caller: Caller, origin: string) => ({
    headers: { Upgrade: "websocket", Origin: origin, ...cookie(caller) },
  });

  test("opens no metered socket with the holder's cookie, and leaves the cookie alone", async () => {
    const caller = await site.payer(100);
    const response = await site.fetch("/echo?message=1", upgrade(caller, "https://evil.example"));
    expect(response.status).toBe(403);
    expect(response.headers.getSetCookie().join()).not.toContain("__Host-we");
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0, balance: 1_000_000 });
  });

  test("is nobody to the handler: it spends nothing and is told nothing", async () => {
    const caller = await site.payer(100);
    const who = await site.fetch("/who", upgrade(caller, "https://evil.example"));
    const { id, identified } = await who.json<{ id: string; identified: boolean }>();
    expect(identified).toBe(false);
    expect(id).not.toBe(caller.id);
    expect(who.headers.getSetCookie()).toEqual([]);
    const spent = await site.fetch("/spend", upgrade(caller, "https://evil.example"));
    expect(spent.status).toBe(101);
    clientOf(spent).socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 0, balance: 1_000_000 });
  });

  test.each([
    "https://evil.example",
    "null",
    "http://worker.test",
    "https://worker.test:444",
    "https://sub.worker.test",
  ])("%s is another one", async (origin) => {
    const caller = await site.payer(100);
    expect((await site.fetch("/echo?message=1", upgrade(caller, origin))).status).toBe(403);
  });

  test("our own page, no page at all, and a bearer are let in", async () => {
    const caller = await site.payer(100);
    const own = await site.fetch("/echo?message=1", upgrade(caller, ORIGIN));
    const none = await site.fetch("/echo?message=1", { headers: { Upgrade: "websocket", ...cookie(caller) } });
    const bearer = await open(caller, "/echo?message=1", { Origin: "https://elsewhere.example" });
    for (const client of [clientOf(own), clientOf(none), bearer]) client.socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0 });
  });

  test("is not let in by what a browser adds by itself: the name and password of the owner's panel, or of the app's login", async () => {
    const caller = await site.payer(100);
    const basic = { Authorization: `Basic ${btoa("admin:secret")}` };
    const init = upgrade(caller, "https://evil.example");
    const headers = { ...init.headers, ...basic };
    expect((await site.fetch("/echo?message=1", { headers })).status).toBe(403);
    const spent = await site.fetch("/spend", { headers });
    clientOf(spent).socket.close(1000);
    expect(await books(caller)).toMatchObject({ spent: 0, held: 0, balance: 1_000_000 });
    // Vouched for by the app, which knows the name and password.
    const vouching = new Site({ identify: () => "somebody" }, {}, socketApp);
    const { Cookie: _, ...without } = headers;
    expect((await vouching.fetch("/echo?message=1", { headers: without })).status).toBe(403);
  });

  test("a listed one is let in: by its own list, or that of cors", async () => {
    const origin = "https://app.example.com";
    for (const options of [{ sockets: { origins: [origin] } }, { cors: { origins: [origin] } }]) {
      const listed = new Site(options, {}, socketApp);
      const caller = await listed.payer(100);
      clientOf(await listed.fetch("/echo?message=1", upgrade(caller, origin))).socket.close(1000);
      expect(await books(caller)).toMatchObject({ held: 0 });
    }
  });

  test("a free socket is open to any page, as ever", async () => {
    const caller = await site.payer(100);
    const response = await site.fetch("/echo", upgrade(caller, "https://evil.example"));
    expect(response.status).toBe(101);
    clientOf(response).socket.close(1000);
  });
});

describe("a socket that ends in an object of the app's own", () => {
  test("keeps its attachment and hibernates while its frames are metered", async () => {
    const caller = await site.payer(1000);
    const room = env.ROOM.getByName("hibernates");
    const client = await open(caller, "/room/hibernates?message=1");
    client.send("woke");
    await client.until(() => client.received.length === 1);
    await evictDurableObject(room, { webSockets: "hibernate" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    client.send("woke");
    await client.until(() => client.received.length === 2);
    const [[woke, joined], [wokeAgain, stillJoined]] = client.received.map((text) => String(text).split(" ")) as [
      [string, string],
      [string, string],
    ];
    expect(stillJoined).toBe(joined);
    expect(Number(wokeAgain)).toBeGreaterThan(Number(woke));
    client.socket.close(4005, "left");
    for (let n = 0; n < 100 && (await room.closed()) === undefined; n++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(await room.closed()).toEqual({ code: 4005, reason: "left" });
    expect(await books(caller)).toMatchObject({ spent: 40_000, held: 0 });
  });

  test("T83 is lost with the object: the client is told that it may come again", async () => {
    const caller = await site.payer(1000);
    const client = await open(caller, "/room/resets?message=1");
    client.send("reset");
    expect((await client.end()).code).toBe(1012);
    expect(await books(caller)).toMatchObject({ spent: 10_000, held: 0 });
  });

  test("closes for itself", async () => {
    const caller = await site.payer(1000);
    const client = await open(caller, "/room/closes?message=1");
    client.send("bye");
    expect(await client.end()).toEqual({ code: 4001, reason: "the room says bye" });
    expect(await books(caller)).toMatchObject({ spent: 10_000, held: 0 });
  });
});
