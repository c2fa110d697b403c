/** T13 T14 T15: a key makes a charge happen once. */
import { describe, expect, it, vi } from "vitest";
import { Site } from "../support.js";

const site = new Site();
const keyed = (key: string, init: RequestInit = {}): RequestInit => ({ ...init, headers: { "Idempotency-Key": key } });

describe("Idempotency-Key", () => {
  it("T13 charges once, however often and however parallel the request comes", async () => {
    const payer = await site.payer(100);
    const responses = await Promise.all(Array.from({ length: 100 }, () => payer.fetch("/x?price=3", keyed("order-1"))));
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(responses.map(({ headers }) => headers.get("X-Balance")))).toEqual(new Set(["97"]));
    expect(responses.filter(({ headers }) => headers.get("X-Charge-Replayed") === "true")).toHaveLength(99);
    expect(await payer.envelope.entries()).toHaveLength(2);
  });

  it("T14 with another price is a conflict, and takes nothing", async () => {
    const payer = await site.payer(100);
    await payer.fetch("/x?price=3", keyed("order-1"));
    const response = await payer.fetch("/x?price=4", keyed("order-1"));
    expect(response.status).toBe(422);
    expect(response.headers.get("Content-Type")).toBe("application/problem+json");
    expect(await response.text()).not.toContain("paid content");
    expect((await payer.me()).balance).toBe(97);
  });

  it("T14 with another body is a conflict, with the same one a replay", async () => {
    const payer = await site.payer(100);
    const send = (body: string) => payer.fetch("/x?price=3", keyed("order-1", { method: "POST", body }));
    expect((await send("a cat")).headers.get("X-Balance")).toBe("97");
    expect((await send("a cat")).headers.get("X-Charge-Replayed")).toBe("true");
    expect((await send("a dog")).status).toBe(422);
    expect((await payer.me()).balance).toBe(97);
  });

  it("T14 compares bodies whatever else is sent: a price in the request, a long common beginning, another range", async () => {
    const payer = await site.payer(100);
    const send = (key: string, body: string, more: Record<string, string> = {}) =>
      payer.fetch("/x?price=3", { method: "POST", body, headers: { "Idempotency-Key": key, ...more } });
    const twice = async (
      key: string,
      one: [string, Record<string, string>?],
      other: [string, Record<string, string>?],
    ) => [(await send(key, ...one)).status, (await send(key, ...other)).status];
    expect(await twice("price", ["a cat", { "X-Price": "1" }], ["a dog", { "X-Price": "1" }])).toEqual([200, 422]);
    const blanks = " ".repeat(1_100_000);
    expect(await twice("long", [`${blanks}a cat`], [`${blanks}a dog`])).toEqual([200, 422]);
    expect(await twice("range", ["x", { Range: "bytes=0-1" }], ["x", { Range: "bytes=2-3" }])).toEqual([200, 422]);
    expect((await payer.me()).balance).toBe(91);
  });

  it("charges work that was done although its upload broke off, and never serves that key again", async () => {
    const payer = await site.payer(100);
    const broken = () =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("half"));
          controller.error(new Error("the client left"));
        },
      });
    const send = () =>
      payer.fetch("/x?price=3", { method: "POST", body: broken(), headers: { "Idempotency-Key": "k" } });
    expect([(await send()).status, (await send()).status]).toEqual([200, 422]);
    expect((await payer.me()).balance).toBe(97);
  });

  it("T14 leaves the body to the handler, whole", async () => {
    const echo = new Site(
      {},
      {},
      async (request) => new Response(await request.text(), { headers: { "X-Price": "1" } }),
    );
    const payer = await echo.payer(5);
    const body = "x".repeat(3_000_000);
    const response = await payer.fetch("/x", keyed("large", { method: "POST", body }));
    expect([response.headers.get("X-Balance"), (await response.text()).length]).toEqual(["4", body.length]);
  });

  it("opens no door for ever: after options.replaySeconds it is a conflict", async () => {
    const payer = await site.payer(100);
    await payer.fetch("/x?price=3", keyed("order-1"));
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 86_400_000 });
    expect((await payer.fetch("/x?price=3", keyed("order-1"))).status).toBe(422);
    vi.useRealTimers();
    const strict = new Site({ replaySeconds: 0 });
    const other = await strict.payer(5);
    const statuses = [await other.fetch("/x?price=1", keyed("k")), await other.fetch("/x?price=1", keyed("k"))].map(
      ({ status }) => status,
    );
    expect(statuses).toEqual([200, 422]);
    expect((await other.me()).balance).toBe(4);
  });

  it("does not deliver again what was refunded", async () => {
    const payer = await site.payer(100);
    await payer.fetch("/x?price=3", keyed("order-1"));
    await payer.envelope.refund({ seq: 2 }, { key: "sorry" });
    expect((await payer.fetch("/x?price=3", keyed("order-1"))).status).toBe(422);
    expect((await payer.me()).balance).toBe(100);
  });

  it("T14 on another path, query or method is a conflict", async () => {
    const payer = await site.payer(100);
    await payer.fetch("/x?price=3", keyed("order-1"));
    expect((await payer.fetch("/x?price=3&page=2", keyed("order-1"))).status).toBe(422);
    expect((await payer.fetch("/y?price=3", keyed("order-1"))).status).toBe(422);
    expect((await payer.fetch("/x?price=3", keyed("order-1", { method: "POST" }))).status).toBe(422);
    expect((await payer.me()).balance).toBe(97);
  });

  it("is not used up by a refusal: the same request succeeds once the money is there", async () => {
    const payer = await site.payer(2);
    expect((await payer.fetch("/x?price=3", keyed("order-1"))).status).toBe(402);
    await payer.envelope.grant("1", { key: "gift" });
    const response = await payer.fetch("/x?price=3", keyed("order-1"));
    expect([response.status, response.headers.get("X-Balance")]).toEqual([200, "0"]);
  });

  it("belongs to one envelope: another caller's same key is another charge", async () => {
    const [one, two] = [await site.payer(5), await site.payer(5)];
    await one.fetch("/x?price=1", keyed("same"));
    const response = await two.fetch("/x?price=1", keyed("same"));
    expect([response.headers.get("X-Balance"), response.headers.get("X-Charge-Replayed")]).toEqual(["4", null]);
  });

  const malformed = ["x".repeat(256), "", "with space", "tab\there", "ünïcode", "x".repeat(10_240)];
  it.each(malformed)("T15 %j is a 400, and nothing is charged", async (key) => {
    const payer = await site.payer(5);
    const response = await payer.fetch("/x?price=1", keyed(encodeHeader(key)));
    expect(response.status).toBe(400);
    expect((await payer.me()).balance).toBe(5);
  });

  it("T15 of any form is the app's own business on a free response", async () => {
    expect((await site.fetch("/free", keyed("x".repeat(300)))).status).toBe(200);
  });

  it("does not collide with a key of the app's own", async () => {
    const payer = await site.payer(5);
    await payer.fetch("/x?price=1", keyed("k"));
    const charged = await payer.fetch("/charge", { method: "POST", body: JSON.stringify({ price: "1", key: "k" }) });
    expect(await charged.json()).toMatchObject({ outcome: "charged", balance: "3" });
  });
});

describe("ctx.envelope.charge", () => {
  const charge = async (payer: { fetch(path: string, init: RequestInit): Promise<Response> }, body: unknown) => {
    const response = await payer.fetch("/charge", { method: "POST", body: JSON.stringify(body) });
    return { response, result: await response.json<Record<string, unknown>>() };
  };

  it("answers each outcome as a value that carries the balance after", async () => {
    const payer = await site.payer(10);
    const first = await charge(payer, { price: "4", key: "a", reason: "report", metadata: { pages: 2 } });
    expect(first.result).toMatchObject({ outcome: "charged", balance: "6", amount_micros: 40_000, currency: "usd" });
    expect(first.response.headers.get("X-Balance")).toBe("6");
    expect(first.response.headers.get("Cache-Control")).toBe("private, no-store");
    expect((await charge(payer, { price: "4", key: "a" })).result).toMatchObject({ outcome: "replayed", balance: "6" });
    expect((await charge(payer, { price: "5", key: "a" })).result).toMatchObject({ outcome: "conflict", balance: "6" });
    expect((await charge(payer, { price: "7" })).result).toMatchObject({
      outcome: "refused",
      balance: "6",
      refusal: { shortfall_micros: 10_000 },
    });
    expect((await charge(payer, { price: "1e2" })).result).toMatchObject({ outcome: "invalid" });
    expect((await charge(payer, { price: "1", key: "has space" })).result).toMatchObject({ outcome: "invalid" });
    expect((await charge(payer, { price: "1", metadata: "x".repeat(5000) })).result).toMatchObject({
      outcome: "invalid",
    });
    expect((await charge(payer, { price: "9", atMost: true })).result).toMatchObject({
      outcome: "charged",
      amount_micros: 60_000,
      balance: "0",
    });
    expect((await charge(payer, { price: "9", atMost: true })).result).toMatchObject({
      outcome: "refused",
      balance: "0",
    });
    const [, entry] = await payer.envelope.entries();
    expect(entry).toMatchObject({ reason: "report", metadata: '{"pages":2}' });
  });

  it("of a caller without credentials is refused, and asks no object", async () => {
    const { response, result } = await charge(site, { price: "1" });
    expect(result).toMatchObject({ outcome: "refused", balance: "0" });
    expect(response.headers.getSetCookie()).toEqual([]);
  });

  it("T39 a refund with one key happens once, however often its queue delivers it", async () => {
    const payer = await site.payer(10);
    await charge(payer, { price: "6", key: "a" });
    const refund = (amount: string) => payer.envelope.refund({ key: "a" }, { key: "ticket-7", amount });
    expect(await refund("2")).toMatchObject({ outcome: "refunded", balance_micros: 60_000 });
    expect(await refund("2")).toMatchObject({ outcome: "replayed", balance_micros: 60_000 });
    expect(await refund("3")).toMatchObject({ outcome: "conflict", balance_micros: 60_000 });
  });

  it("of a charge can be given back, at most what it took", async () => {
    const payer = await site.payer(10);
    await charge(payer, { price: "6", key: "a" });
    const { envelope } = payer;
    expect(await envelope.refund({ key: "a" }, { key: "r1", amount: "2" })).toMatchObject({
      outcome: "refunded",
      amount_micros: 20_000,
    });
    expect(await envelope.refund({ key: "a" }, { key: "r2", amount: "5" })).toMatchObject({
      outcome: "refused",
      refundable_micros: 40_000,
    });
    expect(await envelope.refund({ key: "a" }, { key: "r3" })).toMatchObject({
      outcome: "refunded",
      amount_micros: 40_000,
      balance_micros: 100_000,
    });
    expect(await envelope.refund({ key: "a" }, { key: "r4" })).toMatchObject({
      outcome: "refused",
      refundable_micros: 0,
    });
    expect(await envelope.refund({ seq: 1 }, { key: "r5" })).toMatchObject({ outcome: "unknown" });
    expect(await envelope.refund({ seq: 99 }, { key: "r6" })).toMatchObject({ outcome: "unknown" });
  });
});

/** The Fetch API takes no header outside Latin-1; what a client puts on the wire arrives as such bytes. */
function encodeHeader(value: string): string {
  return String.fromCharCode(...new TextEncoder().encode(value));
}
