/** T25 T26: what the handler made survives the wrapping. */
import { createExecutionContext } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { type EnvelopeExecutionContext, withEnvelope } from "../../../src/index.js";
import { Site } from "../support.js";

const site = new Site();

describe("a charged response keeps", () => {
  it("T26 each Set-Cookie of the app's own", async () => {
    const payer = await site.payer(5);
    const response = await payer.fetch("/cookies?price=1");
    expect(response.headers.get("X-Balance")).toBe("4");
    expect(response.headers.getSetCookie()).toEqual(["a=1; Path=/", "b=2; Path=/"]);
  });

  it("a 204 without a body", async () => {
    const payer = await site.payer(5);
    const response = await payer.fetch("/x?price=1&status=204");
    expect([response.status, response.body, response.headers.get("X-Balance")]).toEqual([204, null, "4"]);
  });

  it("a streamed body, unread and whole", async () => {
    const payer = await site.payer(5);
    const response = await payer.fetch("/stream?price=1");
    expect(response.headers.get("X-Balance")).toBe("4");
    expect(await response.text()).toBe("one two three");
  });

  it("status, statusText, Content-Length, ETag and Content-Range", async () => {
    const headers = { "X-Price": "1", ETag: '"v1"', "Content-Range": "bytes 0-2/10", "Content-Length": "3" };
    const ranged = new Site({}, {}, () => new Response("abc", { status: 206, statusText: "Some Of It", headers }));
    const payer = await ranged.payer(5);
    const response = await payer.fetch("/x");
    expect([response.status, response.statusText, await response.text()]).toEqual([206, "Some Of It", "abc"]);
    expect(response.headers.get("ETag")).toBe('"v1"');
    expect(response.headers.get("Content-Range")).toBe("bytes 0-2/10");
    expect(response.headers.get("Content-Length")).toBe("3");
  });

  it("one Response object that the app answers everybody with, unchanged", async () => {
    const shared = new Response(null, { status: 204, headers: { "X-Price": "1" } });
    const lazy = new Site({}, {}, () => shared);
    const [one, two] = [await lazy.payer(5), await lazy.payer(9)];
    expect((await one.fetch("/x")).headers.get("X-Balance")).toBe("4");
    expect((await two.fetch("/x")).headers.get("X-Balance")).toBe("8");
    expect([...shared.headers.keys()]).toEqual(["x-price"]);
  });

  it("the app's CORS answer, on a refusal too", async () => {
    const headers = { "X-Price": "9", "Access-Control-Allow-Origin": "https://app.test", Vary: "Origin" };
    const cors = new Site({}, {}, () => new Response("x", { headers }));
    const refused = await cors.fetch("/x");
    expect([refused.status, refused.headers.get("Access-Control-Allow-Origin")]).toEqual([402, "https://app.test"]);
    expect(refused.headers.get("Vary")).toContain("Origin");
    const payer = await cors.payer(9);
    expect((await payer.fetch("/x")).headers.get("Access-Control-Expose-Headers")).toContain("X-Balance");
  });
});

describe("T10 an upgrade", () => {
  it.each(["/socket", "/socket?price=1"])("%s reaches the app's socket uncharged", async (path) => {
    const payer = await site.payer(5);
    const response = await payer.fetch(path, { headers: { Upgrade: "websocket" } });
    expect(response.status).toBe(101);
    const socket = response.webSocket;
    socket?.accept();
    const echoed = new Promise((resolve) => socket?.addEventListener("message", ({ data }) => resolve(data)));
    socket?.send("hello");
    expect(await echoed).toBe("echo hello");
    socket?.close();
    expect((await payer.me()).balance).toBe(5);
  });
});

describe("what the handler is given", () => {
  it("the context as it was, with the envelope added", async () => {
    const ctx = createExecutionContext();
    let seen: EnvelopeExecutionContext | undefined;
    const fetch = withEnvelope((_request, _env, given) => {
      seen = given;
      given.waitUntil(Promise.resolve());
      return new Response("ok");
    });
    await fetch(new Request("https://worker.test/"), {}, ctx);
    expect(seen).toBe(ctx);
    for (const name of ["id", "limited", "identified", "paymentLink", "state", "charge"] as const) {
      expect(seen?.envelope, name).toHaveProperty(name);
    }
    // A handler may take a method out of its context.
    const { charge } = seen?.envelope ?? {};
    expect(await charge?.("1")).toMatchObject({ outcome: "refused" });
  });

  it("a whole handler keeps its other methods, and their this", async () => {
    const worker = withEnvelope({
      name: "mine",
      fetch(): Response {
        return new Response(this.name);
      },
      async scheduled(): Promise<void> {
        ran.push(this.name);
      },
    } as { name: string; fetch(): Response; scheduled(): Promise<void> });
    const ran: string[] = [];
    const { scheduled } = worker as unknown as { scheduled(): Promise<void> };
    await scheduled();
    expect(ran).toEqual(["mine"]);
    const response = await worker.fetch(new Request("https://worker.test/"), {}, createExecutionContext());
    expect(await response.text()).toBe("mine");
  });
});

describe("a class instance as a Worker", () => {
  it("keeps the handlers of its prototype", () => {
    class Worker {
      fetch(): Response {
        return new Response("ok");
      }
      async scheduled(): Promise<void> {}
      async queue(): Promise<void> {}
    }
    expect(Object.keys(withEnvelope(new Worker())).sort()).toEqual(["fetch", "queue", "scheduled"]);
  });
});

describe("T2 a price from upstream", () => {
  it("counts by default, and not where the owner does not trust it", async () => {
    const upstream = () => {
      const response = new Response("third party", { headers: { "X-Price": "1" } });
      Object.defineProperty(response, "url", { value: "https://upstream.test/" });
      return response;
    };
    const trusting = await new Site({}, {}, upstream).payer(5);
    expect((await trusting.fetch("/x")).headers.get("X-Balance")).toBe("4");
    const wary = await new Site({ trustUpstreamPrice: false }, {}, upstream).payer(5);
    const response = await wary.fetch("/x");
    expect([response.status, response.headers.get("X-Price")]).toEqual([200, null]);
    expect((await wary.me()).balance).toBe(5);
  });
});
