/** Nobody makes the owner work for nothing twice in a row: who could not pay is asked for the money before the handler runs. */
import { describe, expect, it, vi } from "vitest";
import { Envelope } from "../../../src/index.js";
import { completed, type Problem, Site } from "../support.js";

function site(options: ConstructorParameters<typeof Site>[0] = {}) {
  const runs = { count: 0 };
  const made = new Site(options, {}, (request) => {
    runs.count += 1;
    const price = new URL(request.url).searchParams.get("price");
    return new Response("work", { headers: price === null ? {} : { "X-Price": price } });
  });
  return { runs, made };
}

describe("who could not pay", () => {
  it("is refused the same again without the handler, until the money is there", async () => {
    const { runs, made } = site();
    const payer = await made.payer(3);
    expect((await payer.fetch("/x?price=5")).status).toBe(402);
    expect(runs.count).toBe(1);

    const again = await payer.fetch("/x?price=5");
    expect(again.status).toBe(402);
    expect(await again.json<Problem>()).toMatchObject({ price: "5", balance: "3", shortfall: "2", canTopUp: true });
    expect(again.headers.get("X-Payment-Link")).toContain(payer.reference);
    expect(runs.count).toBe(1);

    await made.webhook(completed({ client_reference_id: payer.reference, amount_total: 2 }));
    const paid = await payer.fetch("/x?price=5");
    expect(paid.status).toBe(200);
    expect(paid.headers.get("X-Balance")).toBe("0");
    expect(runs.count).toBe(2);
  });

  it("may have anything else: another URL, another method, and what is free", async () => {
    const { runs, made } = site();
    const payer = await made.payer(3);
    await payer.fetch("/x?price=5");
    expect((await payer.fetch("/x?price=2")).status).toBe(200);
    expect((await payer.fetch("/x")).status).toBe(200);
    await payer.fetch("/x?price=5", { method: "POST", body: "less" });
    expect(runs.count).toBe(4);
    await payer.fetch("/y?price=5", { method: "POST", body: "much" });
    await payer.fetch("/y?price=5");
    expect(runs.count).toBe(6);
  });

  it("is turned away from a POST only when nothing at all is left, because its body may ask for less", async () => {
    const { runs, made } = site();
    const payer = await made.payer(3);
    await payer.fetch("/x?price=5", { method: "POST", body: "much" });
    await payer.fetch("/x?price=5", { method: "POST", body: "less" });
    expect(runs.count).toBe(2);
    await payer.fetch("/y?price=3");
    await payer.fetch("/x?price=5", { method: "POST", body: "more" });
    expect(runs.count).toBe(3);
    expect((await payer.fetch("/x?price=5", { method: "POST", body: "more" })).status).toBe(402);
    expect(runs.count).toBe(3);
  });

  it("is let through again after ten seconds, and when the owner wants it so", async () => {
    const { runs, made } = site();
    const payer = await made.payer(3);
    await payer.fetch("/x?price=5");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10_001 });
    await payer.fetch("/x?price=5");
    vi.useRealTimers();
    expect(runs.count).toBe(2);

    const other = site({ refuseEarly: false });
    const second = await other.made.payer(3);
    await second.fetch("/x?price=5");
    await second.fetch("/x?price=5");
    expect(other.runs.count).toBe(2);
  });

  it("is not held up where a key was charged: what was paid for is delivered again", async () => {
    const { runs, made } = site();
    const payer = await made.payer(5);
    const headers = { "Idempotency-Key": "once" };
    expect((await payer.fetch("/x?price=5", { headers })).status).toBe(200);
    expect((await payer.fetch("/x?price=5")).status).toBe(402);
    const replay = await payer.fetch("/x?price=5", { headers });
    expect(replay.status).toBe(200);
    expect(replay.headers.get("X-Charge-Replayed")).toBe("true");
    expect(runs.count).toBe(3);
  });

  it("costs others nothing: no call more, and nobody is known who was not refused", async () => {
    const { made } = site();
    const [poor, rich] = [await made.payer(3), await made.payer(500)];
    await poor.fetch("/x?price=5");
    const calls = [vi.spyOn(Envelope.prototype, "take"), vi.spyOn(Envelope.prototype, "afford")];
    expect((await rich.fetch("/x?price=5")).status).toBe(200);
    expect((await made.fetch("/x?price=5")).status).toBe(402);
    expect(calls.map((call) => call.mock.calls.length)).toEqual([1, 0]);
    vi.restoreAllMocks();
  });
});
