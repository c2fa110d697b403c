/** T8 T11 T12: requests priced beforehand: money is held before the handler runs, and settled, or given back, after it. */
import { describe, expect, it, vi } from "vitest";
import { Envelope, type EnvelopeOptions, type Incident } from "../../../src/index.js";
import { type Problem, Site } from "../support.js";

const quoteOf = (request: Request) => new URL(request.url).searchParams.get("quote") ?? undefined;
const ran = vi.fn();

const site = (options: EnvelopeOptions = {}) =>
  new Site({ price: quoteOf, ...options }, {}, async (request) => {
    ran();
    const { searchParams, pathname } = new URL(request.url);
    if (pathname === "/throw") throw new Error("the app failed");
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 1_300));
    if (pathname === "/meanwhile") await meanwhile();
    const price = searchParams.get("price");
    const headers: HeadersInit = price === null ? {} : { "X-Price": price };
    return new Response("worked", { status: Number(searchParams.get("status") ?? 200), headers });
  });
let meanwhile = async (): Promise<void> => undefined;

describe("options.price", () => {
  it("turns a broke caller away before the handler runs", async () => {
    const payer = await site().payer(3);
    ran.mockClear();
    const response = await payer.fetch("/x?quote=4");
    expect(response.status).toBe(402);
    expect(await response.json<Problem>()).toMatchObject({ price: "4", balance: "3", shortfall: "1" });
    expect((await payer.site.fetch("/x?quote=4")).status).toBe(402);
    expect(ran).not.toHaveBeenCalled();
  });

  // quote, what the handler answers, balance after, held after
  const cases: [string, string, string | null][] = [
    ["the quoted price", "/x?quote=4", "6"],
    ["the response's own price when it is lower", "/x?quote=4&price=1.5", "8.5"],
    ["nothing when the response's own price is zero", "/x?quote=4&price=0", "10"],
    ["more than was held when the balance covers it", "/x?quote=4&price=7", "3"],
    ["nothing on a 404", "/x?quote=4&status=404", null],
    ["nothing on a 500 with a price", "/x?quote=4&price=2&status=500", null],
    ["nothing without a quote or a price", "/x", null],
  ];
  it.each(cases)("takes %s", async (_what, path, balance) => {
    const payer = await site().payer(10);
    const response = await payer.fetch(path);
    expect(response.headers.get("X-Balance")).toBe(balance);
    expect(await payer.envelope.state()).toMatchObject({
      balance_micros: Number(balance ?? 10) * 10_000,
      held_micros: 0,
      holds: [],
    });
  });

  it("holds the money while the handler runs, apart from the balance", async () => {
    const payer = await site().payer(10);
    const seen: unknown[] = [];
    meanwhile = async () => void seen.push(await payer.me());
    await payer.fetch("/meanwhile?quote=4");
    expect(seen).toMatchObject([{ balance: 10, available_micros: 60_000 }]);
  });

  it("gives the hold back when anything fails after the handler", async () => {
    const failing = site({
      chargeWhen: () => {
        throw new Error("the owner's rule failed");
      },
    });
    const payer = await failing.payer(10);
    await expect(payer.fetch("/x?quote=4")).rejects.toThrow("the owner's rule failed");
    await vi.waitFor(async () => expect(await payer.envelope.state()).toMatchObject({ held_micros: 0 }));
  });

  it("says the price that was taken, not one that was not honoured", async () => {
    const payer = await site().payer(10);
    expect((await payer.fetch("/x?quote=4")).headers.get("X-Price")).toBe("4");
    expect((await payer.fetch("/x?quote=4&price=1.50")).headers.get("X-Price")).toBe("1.5");
  });

  it("asks nothing for a HEAD, an OPTIONS or a quote of zero", async () => {
    const payer = await site().payer(3);
    const hold = vi.spyOn(Envelope.prototype, "hold");
    for (const [path, method] of [
      ["/x?quote=4", "HEAD"],
      ["/x?quote=4", "OPTIONS"],
      ["/x?quote=0", "GET"],
    ] as const) {
      expect((await payer.fetch(path, { method })).status).toBe(200);
    }
    expect(hold).not.toHaveBeenCalled();
  });

  it("T69 a refusal before the handler can be read by a listed origin's page", async () => {
    const listed = site({ cors: { origins: ["https://app.test"] } });
    const refused = await listed.fetch("/x?quote=4", { headers: { Origin: "https://app.test" } });
    expect([refused.status, refused.headers.get("Access-Control-Allow-Origin")]).toEqual([402, "https://app.test"]);
    const other = await listed.fetch("/x?quote=4", { headers: { Origin: "https://evil.test" } });
    expect(other.headers.get("Access-Control-Allow-Origin")).toBeNull();
  });

  it("T21 serves through an outage of the hold where the owner chose so", async () => {
    const payer = await site().payer(10);
    vi.spyOn(Envelope.prototype, "hold").mockRejectedValueOnce(new Error("storage is gone"));
    expect((await payer.fetch("/x?quote=4")).status).toBe(503);
    vi.spyOn(Envelope.prototype, "hold").mockRejectedValueOnce(new Error("storage is gone"));
    const open = site({ onOutage: "serve", onIncident: () => undefined });
    const served = await open.fetch("/x?quote=4", { headers: { Authorization: `Bearer ${payer.token}` } });
    expect([served.status, served.headers.get("X-Balance")]).toEqual([200, "6"]);
  });

  it("T22 a hold that was written and whose answer was lost is let go, and its key with it", async () => {
    const payer = await site().payer(10);
    const hold = Envelope.prototype.hold;
    vi.spyOn(Envelope.prototype, "hold").mockImplementationOnce(async function (this: Envelope, input) {
      await hold.call(this, input);
      throw new Error("killed before the answer");
    });
    const headers = { "Idempotency-Key": "order" };
    expect((await payer.fetch("/x?quote=9", { headers })).status).toBe(503);
    await vi.waitFor(async () => expect(await payer.envelope.state()).toMatchObject({ held_micros: 0 }));
    expect((await payer.fetch("/x?quote=9", { headers })).headers.get("X-Balance")).toBe("1");
  });

  it("T8 refuses a final price that neither hold nor balance covers, and gives the hold back", async () => {
    const payer = await site().payer(10);
    const response = await payer.fetch("/x?quote=4&price=11");
    expect([response.status, await response.json<Problem>()]).toMatchObject([402, { price: "11", shortfall: "1" }]);
    expect(await payer.envelope.state()).toMatchObject({ balance_micros: 100_000, held_micros: 0 });
  });

  it("T12 gives the hold back when the handler throws", async () => {
    const payer = await site().payer(10);
    await expect(payer.fetch("/throw?quote=4")).rejects.toThrow("the app failed");
    await vi.waitFor(async () => expect(await payer.envelope.state()).toMatchObject({ held_micros: 0 }));
    expect((await payer.me()).balance).toBe(10);
  });

  it("charges work that outlived its hold, once", async () => {
    const payer = await site({ holdSeconds: 1 }).payer(10);
    const response = await payer.fetch("/slow?quote=4");
    expect([response.status, response.headers.get("X-Balance")]).toEqual([200, "6"]);
    expect(await payer.envelope.entries()).toHaveLength(2);
  });

  it("T16 never promises the same money twice: 20 parallel requests of 3 on 10", async () => {
    const payer = await site().payer(10);
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => (await payer.fetch("/slow?quote=3")).status),
    );
    expect(statuses.filter((status) => status === 200)).toHaveLength(3);
    expect((await payer.me()).balance).toBe(1);
  });

  it("T13 T14 with a key: once, a conflict while it is worked on, a conflict for another price", async () => {
    const payer = await site().payer(10);
    const headers = { "Idempotency-Key": "order" };
    const [one, two] = await Promise.all([
      payer.fetch("/slow?quote=4", { headers }),
      payer.fetch("/slow?quote=4", { headers }),
    ]);
    expect([one.status, two.status].sort()).toEqual([200, 409]);
    const replayed = await payer.fetch("/slow?quote=4", { headers });
    expect([replayed.status, replayed.headers.get("X-Charge-Replayed")]).toEqual([200, "true"]);
    expect((await payer.fetch("/slow?quote=4&price=2", { headers })).status).toBe(422);
    expect((await payer.fetch("/x?quote=4", { headers })).status).toBe(422);
    expect((await payer.me()).balance).toBe(6);
  });

  it("T3 a malformed quote is the owner's error: a 500 problem, before the handler runs", async () => {
    const incidents: Incident[] = [];
    const payer = await site({ onIncident: (incident) => incidents.push(incident) }).payer(10);
    ran.mockClear();
    expect((await payer.fetch("/x?quote=1e2")).status).toBe(500);
    expect(ran).not.toHaveBeenCalled();
    expect(incidents).toMatchObject([{ kind: "invalid_price", price: "1e2" }]);
    expect((await payer.me()).balance).toBe(10);
  });
});
