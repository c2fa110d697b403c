import { abortAllDurableObjects, evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { EnvelopeFetchHandler } from "../../../src/index.js";
import { Caller, type Problem } from "../support.js";
import { encoder, expectPaid, holdsOf, inside, MeteredSite, readAll, streamOf, Tap } from "./support.js";

const CENT = 10_000;
const SSE = "text/event-stream";
const event = (n: number) => `data: event ${n}\n\n`;
const events = (count: number) => Array.from({ length: count }, (_, n) => event(n));
const lines = (count: number) => Array.from({ length: count }, (_, n) => `{"line":${n}}\n`);

const answering =
  (body: () => ReadableStream<Uint8Array>, headers: Record<string, string>): EnvelopeFetchHandler<unknown> =>
  () =>
    new Response(body(), { headers });

/** The named events at the end of a stream. */
function told(text: string, name: string): Record<string, unknown> | undefined {
  const data = new RegExp(`(?:^|\\n)event: ${name}\\ndata: (.*)\\n\\n`).exec(text)?.[1];
  return data === undefined ? undefined : JSON.parse(data);
}

describe("a balance for exactly N units lets exactly N through", () => {
  it("T103 messages of an event stream, which says why it ends, and what is left", async () => {
    const site = new MeteredSite(
      answering(() => streamOf(...events(12)), { "Content-Type": SSE, "X-Price-Per-Message": "1" }),
    );
    const caller = await site.payer(7);
    const { text, status, headers } = await site.read(caller);
    expect(status).toBe(200);
    expect(text.startsWith(`${events(7).join("")}event: error\n`)).toBe(true);
    expect(text).not.toContain("event 7");
    expect(told(text, "error")).toMatchObject({
      type: "urn:with-envelope:problem:insufficient-balance",
      status: 402,
      limit: "balance",
      price: "1",
      shortfall: "1",
      canTopUp: true,
      paymentLink: expect.stringContaining("client_reference_id"),
      error: { type: "insufficient_balance", code: 402 },
    });
    expect(told(text, "balance")).toEqual({ price: "7", balance: "0", currency: "usd" });
    expect(headers.get("X-Balance")).toBe("7");
    await expectPaid(caller, { paid_micros: 7 * CENT });
  });

  it("lines of NDJSON, which just ends", async () => {
    const headers = { "Content-Type": "application/x-ndjson", "X-Price-Per-Message": "0.5" };
    const site = new MeteredSite(answering(() => streamOf(...lines(50)), headers));
    const caller = await site.payer(15);
    const seen = await site.read(caller);
    expect([seen.text, seen.broken]).toEqual([lines(30).join(""), false]);
    await expectPaid(caller, { paid_micros: 15 * CENT });
  });

  it("kilobytes of a download", async () => {
    const bytes = Uint8Array.from({ length: 100_000 }, (_, n) => n % 251);
    const site = new MeteredSite(answering(() => streamOf(bytes), { "X-Price-Per-Kilobyte": "1" }));
    const caller = await site.payer(37);
    const seen = await site.read(caller);
    expect(seen.bytes).toEqual(bytes.subarray(0, 37_000));
    expect(seen.broken).toBe(false);
    await expectPaid(caller, { paid_micros: 37 * CENT });
  });

  it("T25 kilobytes of a download whose length was told: it breaks off, so nobody takes it for whole", async () => {
    const bytes = new Uint8Array(50_000).fill(7);
    const handler: EnvelopeFetchHandler<unknown> = () =>
      new Response(streamOf(bytes), { headers: { "Content-Length": "50000", "X-Price-Per-Kilobyte": "1" } });
    const site = new MeteredSite(handler);
    const [rich, poor] = [await site.payer(50), await site.payer(20)];
    const whole = await site.read(rich);
    expect([whole.bytes.length, whole.broken, whole.headers.get("Content-Length")]).toEqual([50_000, false, "50000"]);
    await expectPaid(rich, { paid_micros: 50 * CENT });
    const cut = await site.read(poor);
    expect([cut.bytes.length, cut.broken]).toEqual([20_000, true]);
    await expectPaid(poor, { paid_micros: 20 * CENT });
  });

  it("whatever the pieces it comes in, and the price", async () => {
    const messages = fc.integer({ min: 1, max: 30 });
    const prices = fc.constantFrom("0.0001", "0.03", "1", "7");
    await fc.assert(
      fc.asyncProperty(
        messages,
        messages,
        prices,
        fc.array(fc.nat(2_000), { maxLength: 8 }),
        async (sent, paid, price, cuts) => {
          const bytes = encoder.encode(events(sent).join(""));
          const at = [0, ...cuts.map((cut) => cut % bytes.length).sort((one, other) => one - other), bytes.length];
          const chunks = at.slice(1).map((to, index) => bytes.slice(at[index], to));
          const headers = { "Content-Type": SSE, "X-Price-Per-Message": price };
          const site = new MeteredSite(answering(() => streamOf(...chunks), headers));
          const caller = await site.site.newcomer();
          const micros = Math.round(Number(price) * CENT);
          await caller.envelope.grant({ micros: paid * micros + micros - 1 }, { key: "start" });
          const { text } = await site.read(caller);
          const through = Math.min(sent, paid);
          expect(text.match(/^data: event/gm)).toHaveLength(through);
          expect(text.startsWith(events(through).join(""))).toBe(true);
          expect(told(text, "error") === undefined).toBe(sent <= paid);
          await expectPaid(caller, { paid_micros: through * micros });
        },
      ),
      { numRuns: 25 },
    );
  });

  it("when messages and kilobytes cost both, only what both are paid for", async () => {
    const big = `data: ${"x".repeat(2_500)}\n\n`;
    const headers = { "Content-Type": SSE, "X-Price-Per-Message": "1", "X-Price-Per-Kilobyte": "2", "X-Price": "3" };
    const site = new MeteredSite(answering(() => streamOf(big, big, big), headers));
    // The first: 1 and three kilobytes, the second: 1 and three more, the third is not paid for by two.
    const caller = await site.payer(3 + 7 + 7 + 2);
    const { text } = await site.read(caller);
    expect(text.match(/^data: x/gm)).toHaveLength(2);
    await expectPaid(caller, { paid_micros: 17 * CENT });
  });

  it("and when there is more than enough, all of it, and no more is paid than that", async () => {
    const site = new MeteredSite(
      answering(() => streamOf(...events(100)), { "Content-Type": SSE, "X-Price-Per-Message": "1" }),
    );
    const caller = await site.payer(1_000);
    const { text } = await site.read(caller);
    expect(text.startsWith(events(100).join(""))).toBe(true);
    expect(told(text, "error")).toBeUndefined();
    expect(told(text, "balance")).toMatchObject({ price: "100", balance: "900" });
    await expectPaid(caller, { paid_micros: 100 * CENT });
    expect(await caller.envelope.entries()).toMatchObject([{ kind: "topup" }, { kind: "charge", reason: "GET /" }]);
  });
});

describe("seconds", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: Date.UTC(2100, 0, 1) });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const live = async (site: MeteredSite, caller: Caller) => {
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    return { response, reading, over };
  };
  /** Time goes by a second at a time, and calls have time to be answered. */
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds * 4; second++) {
      await vi.advanceTimersByTimeAsync(250);
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  };

  it("T104 a silent body is cut when its last paid second is over, by the server's time", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, { "X-Price-Per-Second": "1" }));
    const caller = await site.payer(5);
    const { reading, over } = await live(site, caller);
    tap.write("first");
    await pass(4.75);
    expect(tap.cancelled).toBeUndefined();
    tap.write("last");
    await pass(0.5);
    expect(tap.cancelled).toBeDefined();
    const { bytes } = await reading;
    await over();
    expect(new TextDecoder().decode(bytes)).toBe("firstlast");
    await expectPaid(caller, { paid_micros: 5 * CENT });
  });

  it("what ends within a second has paid for it", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, { "X-Price-Per-Second": "1" }));
    const caller = await site.payer(100);
    const { reading, over } = await live(site, caller);
    await pass(2.25);
    tap.write("x").close();
    await pass(0.25);
    await reading;
    await over();
    await expectPaid(caller, { paid_micros: 3 * CENT });
  });
});

describe("before anything is let through", () => {
  const handler = (tap: Tap) =>
    answering(() => tap.stream, { "Content-Type": SSE, "X-Price-Per-Message": "2", "X-Price": "1" });

  it("T8 who cannot pay for one unit is answered 402 in its place, and the source is told", async () => {
    const tap = new Tap();
    const site = new MeteredSite(handler(tap));
    const caller = await site.payer(2);
    const { response } = await site.fetch(caller);
    expect(response.status).toBe(402);
    expect(await response.json<Problem>()).toMatchObject({
      price: "3",
      balance: "2",
      shortfall: "1",
      limit: "balance",
    });
    expect(tap.cancelled).toBeDefined();
    await expectPaid(caller, { paid_micros: 0 });
  });

  it("T57 a stranger gets a 402 and an identity, and nothing is stored", async () => {
    const site = new MeteredSite(handler(new Tap()));
    const response = await site.site.fetch("/");
    expect(response.status).toBe(402);
    expect(response.headers.getSetCookie()).toHaveLength(1);
  });

  it("T66 a token that is not ours is a 401", async () => {
    const site = new MeteredSite(handler(new Tap()));
    expect((await site.site.fetch("/", { headers: { Authorization: "Bearer nonsense" } })).status).toBe(401);
  });

  it("a base price is taken whatever follows", async () => {
    const site = new MeteredSite(handler(new Tap().close()));
    const caller = await site.payer(10);
    const { text } = await site.read(caller);
    expect(told(text, "balance")).toEqual({ price: "1", balance: "9", currency: "usd" });
    await expectPaid(caller, { paid_micros: 1 * CENT });
  });

  it("T21 an envelope that cannot be reached is a 503, or served as the owner has it, without its prices", async () => {
    const [strict, lenient] = [
      new MeteredSite(handler(new Tap())),
      new MeteredSite(handler(new Tap().write("x").close()), { onOutage: "serve" }),
    ];
    for (const site of [strict, lenient]) {
      const caller = await site.payer(10);
      await inside(caller.id, async (envelope) => {
        envelope.openMeter = () => Promise.reject(new Error("gone"));
      });
      const { response } = await site.fetch(caller);
      expect(response.status).toBe(site === strict ? 503 : 200);
      expect(response.headers.get("Retry-After")).toBe(site === strict ? "1" : null);
      expect(response.headers.get("X-Price-Per-Message")).toBeNull();
      expect(site.incidents).toMatchObject([{ kind: "outage", served: site === lenient }]);
      if (site === lenient) expect(await response.text()).toBe("x");
    }
  });

  it("T3 T4 a malformed rate is the owner's fault: 500, nothing charged, an incident; or served", async () => {
    for (const [onInvalidPrice, status] of [
      ["refuse", 500],
      ["serve", 200],
    ] as const) {
      for (const headers of [
        { "X-Price-Per-Second": "1, 2" },
        { "X-Price-Per-Kilobyte": "-1" },
        { "X-Price-Per-Second": "1", "X-Price": "1e2" },
        { "X-Price-Per-Second": "1", "X-Price-Max": "" },
        // What a message is, this content type does not say.
        { "X-Price-Per-Message": "1", "Content-Type": "text/plain" },
      ]) {
        const site = new MeteredSite(
          answering(() => streamOf("body"), headers as Record<string, string>),
          { onInvalidPrice },
        );
        const caller = await site.payer(10);
        const seen = await site.read(caller);
        expect(seen.status).toBe(status);
        if (status === 200) expect(seen.text).toBe("body");
        expect([...seen.headers.keys()].filter((name) => name.startsWith("x-price"))).toEqual([]);
        expect(site.incidents).toMatchObject([{ kind: "invalid_price", served: status === 200 }]);
        await expectPaid(caller, { paid_micros: 0 });
      }
    }
  });

  it("T9 T10 what is not charged is not metered: errors, HEAD, OPTIONS, what an upstream said that is not trusted", async () => {
    const headers = { "X-Price-Per-Kilobyte": "1", "X-Price": "1", "X-Price-Max": "9" };
    const site = new MeteredSite((request) => {
      const failed = new URL(request.url).pathname === "/failed";
      return new Response(request.method === "HEAD" ? null : "body", { status: failed ? 500 : 200, headers });
    });
    const caller = await site.payer(10);
    for (const [path, method] of [
      ["/failed", "GET"],
      ["/", "HEAD"],
      ["/", "OPTIONS"],
    ] as const) {
      const seen = await site.read(caller, path, { method });
      expect(seen.headers.get("X-Balance")).toBeNull();
    }
    const upstream = new Response("body", { headers });
    Object.defineProperty(upstream, "url", { value: "https://elsewhere.test/" });
    const untrusting = new MeteredSite(() => upstream, { trustUpstreamPrice: false });
    const other = await untrusting.payer(10);
    const seen = await untrusting.read(other);
    expect([seen.text, seen.headers.get("X-Price-Per-Kilobyte")]).toEqual(["body", null]);
    await expectPaid(caller, { paid_micros: 0 });
    await expectPaid(other, { paid_micros: 0 });
  });

  it("a rate of nothing is nothing", async () => {
    const site = new MeteredSite(answering(() => streamOf("body"), { "X-Price-Per-Kilobyte": "0" }));
    const seen = await site.read(await site.payer(10));
    expect([seen.text, seen.headers.get("X-Balance")]).toEqual(["body", null]);
  });
});

describe("the response", () => {
  it("T25 T26 T70 keeps status, texts, cookies and headers, and is its caller's own", async () => {
    const site = new MeteredSite(() => {
      const headers = new Headers({
        "X-Price-Per-Kilobyte": "1",
        "X-Price-Max": "5",
        ETag: '"7"',
        "Access-Control-Allow-Origin": "*",
      });
      headers.append("Set-Cookie", "a=1");
      headers.append("Set-Cookie", "b=2");
      return new Response(streamOf("body"), { status: 206, statusText: "Some Of It", headers });
    });
    const caller = await site.payer(10);
    const { response } = await site.fetch(caller);
    expect([response.status, response.statusText, await response.text()]).toEqual([206, "Some Of It", "body"]);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect(response.headers.get("ETag")).toBe('"7"');
    expect(response.headers.get("Cache-Control")).toBe("private, no-store");
    expect(response.headers.get("X-Price-Per-Kilobyte")).toBe("1");
    expect(response.headers.get("Access-Control-Expose-Headers")).toContain("X-Price-Per-Kilobyte");
  });

  it("ends at its maximum, although there is more money", async () => {
    const headers = { "Content-Type": SSE, "X-Price-Per-Message": "1", "X-Price-Max": "4" };
    const site = new MeteredSite(answering(() => streamOf(...events(10)), headers));
    const caller = await site.payer(100);
    const { text } = await site.read(caller);
    expect(text.match(/^data: event/gm)).toHaveLength(4);
    expect(told(text, "error")).toMatchObject({ type: "urn:with-envelope:problem:max-reached", status: 402 });
    expect(told(text, "balance")).toMatchObject({ price: "4", balance: "96" });
    expect(await holdsOf(caller.id)).toMatchObject([{ amount_micros: 4 * CENT, settled_micros: 4 * CENT }]);
  });

  it("what its source left unfinished is ended before anything is added", async () => {
    const site = new MeteredSite(
      answering(() => streamOf("data: a\n\n", "data: b"), { "Content-Type": SSE, "X-Price-Per-Message": "1" }),
    );
    const { text } = await site.read(await site.payer(10));
    expect(text).toBe('data: a\n\ndata: b\n\nevent: balance\ndata: {"price":"2","balance":"8","currency":"usd"}\n\n');
  });

  it("comments that keep the line open are free", async () => {
    const body = [": hi\n\n", event(0), ": still here\n\n", ": still here\n\n", event(1)];
    const site = new MeteredSite(
      answering(() => streamOf(...body), { "Content-Type": SSE, "X-Price-Per-Message": "1" }),
    );
    const { text } = await site.read(await site.payer(10));
    expect(text.startsWith(body.join(""))).toBe(true);
    expect(told(text, "balance")).toMatchObject({ price: "2" });
  });
});

describe("while it flows", () => {
  const headers = { "Content-Type": SSE, "X-Price-Per-Message": "1" };
  /** Reads so many events, and leaves the rest. */
  const readEvents = async (response: Response, count: number) => {
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (let n = 0; n < count; n++) await reader.read();
    return reader;
  };

  it("T19 a client who leaves pays for what they got, and the source is told", async () => {
    const tap = new Tap().write(events(30).join(""));
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reader = await readEvents(response, 5);
    expect(await caller.envelope.state()).toMatchObject({ held_micros: 20 * CENT });
    await reader.cancel();
    await over();
    expect(tap.cancelled).toBeDefined();
    await expectPaid(caller, { paid_micros: 5 * CENT });
  });

  it("T20 a source that fails: what was delivered is paid, and the client sees that it failed", async () => {
    const tap = new Tap().write(event(0)).write(event(1));
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reader = await readEvents(response, 2);
    tap.fail(new Error("the source failed"));
    await expect(reader.read()).rejects.toThrow();
    await over();
    await expectPaid(caller, { paid_micros: 2 * CENT });
  });

  it("money that comes in while it flows lets it go on", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(3);
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    tap.write(events(3).join(""));
    await vi.waitFor(async () => expect((await holdsOf(caller.id))[0]).toMatchObject({ amount_micros: 3 * CENT }));
    await caller.envelope.grant("5", { key: "more" });
    tap.write(events(20).join(""));
    const { bytes } = await reading;
    await over();
    expect(new TextDecoder().decode(bytes).match(/^data: event/gm)).toHaveLength(8);
    await expectPaid(caller, { paid_micros: 8 * CENT });
  });

  it("T83 frozen: what is held is used up, then it ends and says so", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    await caller.envelope.freeze();
    tap.write(events(100).join(""));
    const { bytes } = await reading;
    await over();
    const text = new TextDecoder().decode(bytes);
    expect(text.match(/^data: event/gm)).toHaveLength(20);
    expect(told(text, "error")).toMatchObject({ status: 403, limit: "frozen", canTopUp: false });
    await expectPaid(caller, { paid_micros: 20 * CENT });
  });

  it("T58 a token that is revoked: the same", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    await env.ENVELOPE.getByName(caller.id).reissue({
      hash: "another",
      currency: "usd",
      key: "rotate",
      by: { actor: "owner", reason: "leaked" },
    });
    tap.write(events(100).join(""));
    const { bytes } = await reading;
    await over();
    const text = new TextDecoder().decode(bytes);
    expect(text.match(/^data: event/gm)).toHaveLength(20);
    expect(told(text, "error")).toMatchObject({ status: 401, limit: "key" });
    await expectPaid(caller, { paid_micros: 20 * CENT });
  });

  it.each([
    ["T63 of a key that reaches its cap: what it is paid for, and who spent it", { capacity: "0.35" }, false, 35, 403],
    ["T58 of a key that is revoked: what is held is used up", {}, true, 20, 401],
  ])("%s", async (_name, settings, revoked, delivered, status) => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const holder = await site.payer(100);
    const asking = { "Content-Type": "application/json", "Idempotency-Key": "key" };
    const made = await holder.fetch("/keys", { method: "POST", body: JSON.stringify(settings), headers: asking });
    const { key, id } = await made.json<{ readonly key: string; readonly id: string }>();
    const { response, over } = await site.fetch(new Caller(site.site, key, holder.reference));
    const reading = readAll(response);
    if (revoked) await holder.fetch(`/keys/${id}`, { method: "DELETE", headers: asking });
    tap.write(events(100).join(""));
    const { bytes } = await reading;
    await over();
    const text = new TextDecoder().decode(bytes);
    expect(text.match(/^data: event/gm)).toHaveLength(delivered);
    expect(told(text, "error")).toMatchObject({ status, limit: "key", canTopUp: false });
    const { keys } = await (await holder.fetch("/keys")).json<{ readonly keys: readonly object[] }>();
    expect(keys).toMatchObject([{ id, spent_micros: delivered * CENT, charges: 1 }]);
    await expectPaid(holder, { paid_micros: delivered * CENT });
  });

  it("T82 T83 T97 its object is reset, again and again: nothing is lost, nothing doubled", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    for (let n = 0; n < 60; n++) {
      if (n % 7 === 3) await abortAllDurableObjects();
      tap.write(event(n));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    tap.close();
    const { bytes } = await reading;
    await over();
    expect(new TextDecoder().decode(bytes).startsWith(events(60).join(""))).toBe(true);
    await expectPaid(caller, { paid_micros: 60 * CENT });
  });

  it("T21 its object cannot be reached: what is held is delivered, then it ends and the owner is told", async () => {
    const tap = new Tap();
    const site = new MeteredSite(answering(() => tap.stream, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const reading = readAll(response);
    await abortAllDurableObjects();
    await inside(caller.id, async (envelope) => {
      envelope.openMeter = () => Promise.reject(new Error("gone"));
      envelope.settle = () => Promise.reject(new Error("gone"));
    });
    tap.write(events(50).join(""));
    const { bytes } = await reading;
    await over();
    const text = new TextDecoder().decode(bytes);
    expect(text.match(/^data: event/gm)).toHaveLength(20);
    expect(told(text, "error")).toMatchObject({ status: 503, type: "urn:with-envelope:problem:unavailable" });
    expect(told(text, "balance")).toBeUndefined();
    expect(site.incidents).toMatchObject([{ kind: "outage", served: false }]);
    await abortAllDurableObjects();
    // Nothing of it reached the object, which was asleep all the time: the lease gives it all back.
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
    await expectPaid(caller, { paid_micros: 0 });
    vi.useRealTimers();
  });

  it("two streams share what there is, and neither gets more", async () => {
    const site = new MeteredSite(answering(() => streamOf(...events(100)), headers));
    const caller = await site.payer(90);
    const seen = await Promise.all([site.read(caller), site.read(caller), site.read(caller)]);
    const counts = seen.map(({ text }) => text.match(/^data: event/gm)?.length ?? 0);
    expect(counts.reduce((sum, count) => sum + count)).toBe(90);
    await expectPaid(caller, { paid_micros: 90 * CENT });
  });

  it("T82 an envelope cannot be put to sleep by it for ever, and is not needed to be awake", async () => {
    const site = new MeteredSite(answering(() => streamOf(...events(5)), headers));
    const caller = await site.payer(90);
    await site.read(caller);
    await evictDurableObject(env.ENVELOPE.getByName(caller.id));
    await expectPaid(caller, { paid_micros: 5 * CENT });
  });
});

describe("with an Idempotency-Key", () => {
  const headers = { "Content-Type": SSE, "X-Price-Per-Message": "1" };
  const keyed = { headers: { "Idempotency-Key": "once" } };

  it("T13 once: sent again, it lets through what was paid for, free, and no more", async () => {
    let count = 5;
    const site = new MeteredSite(() => new Response(streamOf(...events(count)), { headers }));
    const caller = await site.payer(100);
    const first = await site.read(caller, "/", keyed);
    expect(told(first.text, "balance")).toMatchObject({ price: "5", balance: "95" });
    count = 9;
    const again = await site.read(caller, "/", keyed);
    expect(again.headers.get("X-Charge-Replayed")).toBe("true");
    expect(again.text.match(/^data: event/gm)).toHaveLength(5);
    expect(told(again.text, "balance")).toMatchObject({ price: "5", balance: "95" });
    await expectPaid(caller, { paid_micros: 5 * CENT });
  });

  it("T14 for something else it is a conflict; while the first flows, too", async () => {
    const taps: Tap[] = [];
    const next = () => {
      taps.push(new Tap());
      return taps.at(-1)!.stream;
    };
    const site = new MeteredSite(answering(next, headers));
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller, "/", keyed);
    expect((await site.fetch(caller, "/", keyed)).response.status).toBe(409);
    taps[0]!.write(event(0)).close();
    await response.text();
    await over();
    expect((await site.fetch(caller, "/other", keyed)).response.status).toBe(422);
    await expectPaid(caller, { paid_micros: 1 * CENT });
  });

  it("T15 malformed it is a 400", async () => {
    const site = new MeteredSite(answering(() => new Tap().stream, headers));
    const caller = await site.payer(100);
    const { response } = await site.fetch(caller, "/", { headers: { "Idempotency-Key": "two words" } });
    expect(response.status).toBe(400);
  });

  it("a refusal does not use it up", async () => {
    const site = new MeteredSite(answering(() => streamOf(...events(3)), headers));
    const caller = await site.site.newcomer();
    await caller.envelope.grant({ micros: 1 }, { key: "start" });
    expect((await site.fetch(caller, "/", keyed)).response.status).toBe(402);
    await caller.envelope.grant("10", { key: "more" });
    await site.read(caller, "/", keyed);
    await expectPaid(caller, { paid_micros: 3 * CENT });
  });
});

describe("beside options.price", () => {
  const headers = { "Content-Type": SSE, "X-Price-Per-Message": "1" };

  it("what was held for the quote goes on as the first slice", async () => {
    const site = new MeteredSite(
      answering(() => streamOf(...events(8)), headers),
      { price: () => "5" },
    );
    const caller = await site.payer(8);
    await site.read(caller);
    expect(await holdsOf(caller.id)).toMatchObject([{ state: "settled", settled_micros: 8 * CENT }]);
    await expectPaid(caller, { paid_micros: 8 * CENT });
  });

  it("what was held is let go where the rate is malformed, or nothing", async () => {
    for (const rate of ["nonsense", "0"]) {
      const site = new MeteredSite(
        answering(() => streamOf("x"), { "X-Price-Per-Kilobyte": rate }),
        { price: () => "5" },
      );
      const caller = await site.payer(8);
      await site.read(caller);
      await expectPaid(caller, { paid_micros: 0 });
    }
  });

  it("what was held is let go where it does not reach for one unit", async () => {
    const site = new MeteredSite(
      answering(() => streamOf("x"), { "X-Price-Per-Kilobyte": "9" }),
      { price: () => "5" },
    );
    const caller = await site.payer(8);
    const seen = await site.read(caller);
    expect(seen.status).toBe(402);
    await expectPaid(caller, { paid_micros: 0 });
  });
});
