/** The wrapper as a black box: what a priced response costs, what leaves, and what a free one does not do. */
import { abortAllDurableObjects } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Envelope, type EnvelopeFetchHandler, type Incident } from "../../../src/index.js";
import { ConfigurationError } from "../../../src/settings.js";
import * as stubs from "../../../src/stubs.js";
import { type Problem, Site } from "../support.js";

const site = new Site();
const incidents: Incident[] = [];
const quiet = new Site({ onIncident: (incident) => incidents.push(incident) });

beforeEach(() => {
  incidents.length = 0;
});
afterEach(() => vi.restoreAllMocks());

describe("a priced response", () => {
  it("charges before the body leaves, and says what is left", async () => {
    const payer = await site.payer(500);
    const response = await payer.fetch("/paid-content?price=1");
    expect(response.status).toBe(200);
    expect(response.headers.get("X-Price")).toBe("1");
    expect(response.headers.get("X-Balance")).toBe("499");
    expect(response.headers.get("Cache-Control")).toBe("private, no-store");
    expect(await response.text()).toBe("paid content");
    expect((await payer.me()).balance_micros).toBe(4_990_000);
  });

  it("T6 charges a twentieth of a cent as 500 micros of usd", async () => {
    const payer = await site.payer(1);
    const response = await payer.fetch("/x?price=0.05");
    expect(response.headers.get("X-Balance")).toBe("0.95");
    const [, charge] = await payer.envelope.entries();
    expect(charge).toMatchObject({ kind: "charge", amount_micros: -500, balance_micros: 9_500 });
  });

  it("takes one object call", async () => {
    const payer = await site.payer(500);
    const calls = spyOnEnvelope();
    await payer.fetch("/x?price=1");
    expect(calls()).toEqual({ take: 1 });
  });

  it("T8 answers 402 in place of the body when the balance does not cover it", async () => {
    const payer = await site.payer(3);
    const response = await payer.fetch("/x?price=4");
    expect(response.status).toBe(402);
    expect(response.headers.get("Content-Type")).toBe("application/problem+json");
    expect(response.headers.get("X-Balance")).toBe("3");
    expect(response.headers.get("Access-Control-Expose-Headers")).toContain("X-Balance");
    const link = response.headers.get("X-Payment-Link");
    expect(link).toBe(`https://buy.stripe.com/test_link?client_reference_id=${payer.reference}`);
    expect(response.headers.get("Link")).toBe(`<${link}>; rel="payment"`);
    expect(await response.json<Problem>()).toMatchObject({
      status: 402,
      limit: "balance",
      price: "4",
      balance: "3",
      shortfall: "1",
      currency: "usd",
      canTopUp: true,
      paymentLink: link,
    });
    expect((await payer.me()).balance).toBe(3);
  });

  it("a frozen envelope is refused with 403, and paying more is not offered", async () => {
    const payer = await site.payer(10);
    await payer.envelope.freeze();
    const response = await payer.fetch("/x?price=1");
    expect(response.status).toBe(403);
    expect(await response.json<Problem>()).toMatchObject({ limit: "frozen", canTopUp: false });
    await payer.envelope.unfreeze();
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
  });

  it("an envelope frozen before it was ever funded is frozen all the same", async () => {
    const caller = await site.newcomer();
    await caller.envelope.freeze();
    await caller.envelope.grant("5", { key: "gift" });
    expect((await caller.fetch("/x?price=1")).status).toBe(403);
  });

  it("a price of zero costs nothing and is not recorded, unless asked", async () => {
    const payer = await site.payer(1);
    const free = await payer.fetch("/x?price=0");
    expect([free.status, free.headers.get("X-Balance")]).toEqual([200, "1"]);
    expect(await payer.envelope.entries()).toHaveLength(1);
    const recording = new Site({ recordZero: true });
    const response = await recording.fetch("/x?price=0", { headers: { Authorization: `Bearer ${payer.token}` } });
    expect(response.status).toBe(200);
    expect(await payer.envelope.entries()).toHaveLength(2);
  });

  it("a price of zero is served to a caller without credentials, with no identity and no object call", async () => {
    const calls = spyOnEnvelope();
    const response = await site.fetch("/x?price=0");
    expect([response.status, response.headers.getSetCookie()]).toEqual([200, []]);
    expect(calls()).toEqual({});
  });
});

describe("T3 T4 T5 T7 a malformed price", () => {
  const cases = [
    "1e400",
    "NaN",
    "-1",
    "0x10",
    "1, 2",
    "+5",
    "9".repeat(30),
    "1.00001",
    "1000000001",
    "007",
    "Infinity",
  ];
  it.each(cases)("%s is the owner's error, and nobody is charged", async (price) => {
    const payer = await quiet.payer(500);
    const response = await payer.fetch(`/x?price=${encodeURIComponent(price)}`);
    expect(response.status).toBe(500);
    expect(response.headers.get("Content-Type")).toBe("application/problem+json");
    expect(await response.text()).not.toContain("paid content");
    expect(incidents).toMatchObject([{ kind: "invalid_price", price, path: "/x", served: false }]);
    expect(await payer.envelope.entries()).toHaveLength(1);
  });

  it("two headers are one malformed price", async () => {
    const payer = await quiet.payer(5);
    expect((await payer.fetch("/x?price=1&price=2")).status).toBe(500);
    expect((await payer.me()).balance).toBe(5);
  });

  it("an empty header is malformed too", async () => {
    const payer = await quiet.payer(5);
    expect((await payer.fetch("/x?price=")).status).toBe(500);
  });

  it("is served uncharged where the owner chose so", async () => {
    const lenient = new Site({ onInvalidPrice: "serve", onIncident: (incident) => incidents.push(incident) });
    const payer = await lenient.payer(5);
    const response = await payer.fetch("/x?price=1e2");
    expect([response.status, response.headers.get("X-Price")]).toEqual([200, null]);
    expect(incidents).toMatchObject([{ kind: "invalid_price", served: true }]);
    expect((await payer.me()).balance).toBe(5);
  });
});

describe("T9 T10 what is not charged", () => {
  const cases: [string, RequestInit][] = [
    ["/x?price=1&status=404", {}],
    ["/x?price=1&status=500", {}],
    ["/x?price=1&status=400", {}],
    ["/x?price=1&status=304", {}],
    ["/x?price=1", { method: "HEAD" }],
    ["/x?price=1", { method: "OPTIONS" }],
  ];
  it.each(cases)("%s %o", async (path, init) => {
    const payer = await site.payer(5);
    const response = await payer.fetch(path, init);
    expect(response.headers.get("X-Price")).toBeNull();
    expect((await payer.me()).balance).toBe(5);
  });

  it("a failed answer is charged where the owner widened the rule, OPTIONS never", async () => {
    const wide = new Site({ chargeWhen: () => true });
    const payer = await wide.payer(5);
    expect((await payer.fetch("/x?price=1&status=404")).status).toBe(404);
    expect((await payer.fetch("/x?price=1", { method: "HEAD" })).headers.get("X-Balance")).toBe("3");
    await payer.fetch("/x?price=1", { method: "OPTIONS" });
    expect((await payer.me()).balance).toBe(3);
  });

  it("T11 a handler that throws", async () => {
    const payer = await site.payer(5);
    await expect(payer.fetch("/throw?price=1")).rejects.toThrow("the app failed");
    expect((await payer.me()).balance).toBe(5);
  });
});

describe("a free response", () => {
  it("leaves as the handler made it: no header, no cookie, no object call", async () => {
    const payer = await site.payer(5);
    const calls = spyOnEnvelope();
    for (const response of [await payer.fetch("/free"), await site.fetch("/free")]) {
      expect([...response.headers.keys()].sort()).toEqual(["content-type", "x-app"]);
      expect(await response.text()).toBe("free");
    }
    expect(calls()).toEqual({});
  });

  it("is served although no secret is set, and a priced one names the variable", async () => {
    const bare = new Site({ onIncident: (incident) => incidents.push(incident) }, { ENVELOPE_SECRET: "" });
    expect((await bare.fetch("/free")).status).toBe(200);
    const response = await bare.fetch("/x?price=1");
    expect(response.status).toBe(500);
    expect((await response.json<Problem>())["detail"]).toContain("ENVELOPE_SECRET");
  });
});

describe("T70 an answer that depends on the caller", () => {
  it.each(["/who", "/state"])("%s is theirs alone, whatever the handler says of caching", async (path) => {
    const cached: EnvelopeFetchHandler<unknown> = async (request, _env, ctx) => {
      const body = request.url.endsWith("/who") ? ctx.envelope.paymentLink : await ctx.envelope.state();
      return Response.json(body, { headers: { "Cache-Control": "public, max-age=60" } });
    };
    const payer = await new Site({}, {}, cached).payer(5);
    expect((await payer.fetch(path)).headers.get("Cache-Control")).toBe("private, no-store");
  });

  it("keeps shared caches out, whatever headers of their own the app sets", async () => {
    const headers = {
      "X-Price": "1",
      "CDN-Cache-Control": "public, max-age=60",
      "Cloudflare-CDN-Cache-Control": "max-age=60",
    };
    const payer = await new Site({}, {}, () => new Response("x", { headers })).payer(5);
    const response = await payer.fetch("/x");
    expect([...response.headers.keys()].filter((name) => name.includes("cdn"))).toEqual([]);
  });

  it("a handler that charges and tells the balance itself is private too", async () => {
    const own: EnvelopeFetchHandler<unknown> = async (_request, _env, ctx) => {
      const { balance } = await ctx.envelope.charge("1");
      return new Response("x", { headers: { "X-Balance": `about ${balance}`, "Cache-Control": "public" } });
    };
    const payer = await new Site({}, {}, own).payer(5);
    const response = await payer.fetch("/x");
    expect([response.headers.get("X-Balance"), response.headers.get("Cache-Control")]).toEqual([
      "about 4",
      "private, no-store",
    ]);
  });
});

describe("a Durable Object class that is not configured", () => {
  it("is the owner's error, named, and never an outage to be served through", async () => {
    const site = new Site({ onOutage: "serve", onIncident: (incident) => incidents.push(incident) });
    const payer = await site.payer(5);
    vi.spyOn(stubs, "envelopeStub").mockImplementation(() => {
      throw new ConfigurationError("Envelope", "is not configured");
    });
    const response = await payer.fetch("/x?price=1");
    expect([response.status, await response.text()]).toEqual([
      500,
      expect.stringContaining("Envelope is not configured"),
    ]);
  });
});

describe("T1 a price in the request", () => {
  it("never reaches the handler", async () => {
    const response = await site.fetch("/request-price", { headers: { "X-Price": "0" } });
    expect(await response.json()).toEqual([]);
  });

  it.each(["Per-Second", "Per-Kilobyte", "Per-Message", "Max", "Updates"])("nor does X-Price-%s", async (name) => {
    const response = await site.fetch("/request-price", { headers: { [`X-Price-${name}`]: "0.1" } });
    expect(await response.json()).toEqual([]);
  });

  it("nor is a body free of whose maximum the caller wrote nonsense, where an app answers with what it was sent", async () => {
    const echo = (request: Request) => {
      const headers = new Headers(request.headers);
      headers.set("X-Price-Per-Kilobyte", "1");
      return new Response("paid content", { headers });
    };
    const lenient = new Site({ onInvalidPrice: "serve" }, {}, echo);
    const payer = await lenient.payer(5);
    const response = await payer.fetch("/x", { headers: { "X-Price-Max": "free" } });
    expect(await response.text()).toBe("paid content");
    await expect.poll(async () => (await payer.me()).balance).toBe(4);
  });
});

describe("T21 T82 T97 an envelope that cannot be reached", () => {
  it("is asked again after a reset, and charged once", async () => {
    const payer = await site.payer(5);
    await abortAllDurableObjects();
    expect((await payer.fetch("/x?price=1")).headers.get("X-Balance")).toBe("4");
    expect(await payer.envelope.entries()).toHaveLength(2);
  });

  it("T22 a charge whose answer was lost is found again by its operation, not made twice", async () => {
    const payer = await site.payer(5);
    const { take, charge } = Envelope.prototype;
    let lost = 0;
    const losing = <Input extends unknown[], Answer>(real: (...input: Input) => Promise<Answer>) =>
      async function (this: Envelope, ...input: Input): Promise<Answer> {
        const outcome = await real.apply(this, input);
        if (lost++ > 1) return outcome;
        throw Object.assign(new Error("Network connection lost."), { retryable: true });
      };
    vi.spyOn(Envelope.prototype, "take").mockImplementation(losing(take));
    vi.spyOn(Envelope.prototype, "charge").mockImplementation(losing(charge));
    const response = await payer.fetch("/x?price=2");
    expect([response.status, response.headers.get("X-Balance")]).toEqual([200, "3"]);
    expect(lost).toBe(3);
    expect(await payer.envelope.entries()).toHaveLength(2);
  });

  it("withholds the body with 503 and Retry-After, or serves it where the owner chose so", async () => {
    const payer = await quiet.payer(5);
    vi.spyOn(Envelope.prototype, "take").mockRejectedValue(new Error("storage is gone"));
    const refused = await payer.fetch("/x?price=1");
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([503, "1"]);
    expect(await refused.text()).not.toContain("paid content");
    const open = new Site({ onOutage: "serve", onIncident: (incident) => incidents.push(incident) });
    const served = await open.fetch("/x?price=1", { headers: { Authorization: `Bearer ${payer.token}` } });
    expect([served.status, served.headers.get("X-Price"), await served.text()]).toEqual([200, null, "paid content"]);
    expect(incidents.map(({ kind }) => kind)).toEqual(["outage", "outage"]);
  });

  it("T95 an overloaded envelope is not asked again", async () => {
    const payer = await quiet.payer(5);
    const take = vi
      .spyOn(Envelope.prototype, "take")
      .mockRejectedValue(Object.assign(new Error("overloaded"), { overloaded: true, retryable: true }));
    expect((await payer.fetch("/x?price=1")).status).toBe(503);
    expect(take).toHaveBeenCalledTimes(1);
  });
});

describe("T16 a storm on one envelope", () => {
  it("1,000 parallel charges of 1 on 500: exactly 500 succeed", async () => {
    const payer = await site.payer(500);
    const responses = await Promise.all(Array.from({ length: 1000 }, () => payer.fetch("/x?price=1")));
    const statuses = responses.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(500);
    expect(statuses.filter((status) => status === 402)).toHaveLength(500);
    const entries = await payer.envelope.entries(0, 1000);
    expect(entries.filter(({ kind }) => kind === "charge")).toHaveLength(500);
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 501 }, (_, index) => index + 1));
    expect(entries.reduce((sum, { amount_micros }) => sum + amount_micros, 0)).toBe(0);
    expect((await payer.me()).balance_micros).toBe(0);
    // I9: each success saw its own balance, every value exactly once.
    const seen = responses
      .filter(({ status }) => status === 200)
      .map(({ headers }) => Number(headers.get("X-Balance")));
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 500 }, (_, index) => index));
  });
});

/** Counts the calls that reach any envelope, by method. */
function spyOnEnvelope(): () => Record<string, number> {
  const methods = [
    "take",
    "charge",
    "hold",
    "settle",
    "release",
    "refund",
    "grant",
    "report",
    "state",
    "entries",
    "rotate",
  ] as const;
  const spies = methods.map((method) => [method, vi.spyOn(Envelope.prototype, method)] as const);
  return () =>
    Object.fromEntries(spies.map(([name, spy]) => [name, spy.mock.calls.length]).filter(([, count]) => count !== 0));
}
