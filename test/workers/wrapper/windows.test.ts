/** Windows and budgets as a caller and an owner meet them, through the Worker. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { type EnvelopeOptions, envelopeOf } from "../../../src/index.js";
import { type Caller, type Problem, Site } from "../support.js";

const DAY = 24 * 3_600_000;
const nextMidnight = () => new Date((Math.floor(Date.now() / DAY) + 1) * DAY).toISOString();

function site(options: EnvelopeOptions = {}) {
  const runs = { count: 0 };
  const made = new Site(options, {}, (request) => {
    runs.count += 1;
    const price = new URL(request.url).searchParams.get("price");
    return new Response("work", { headers: price === null ? {} : { "X-Price": price } });
  });
  return { runs, made };
}

const perDay = (payer: Caller, limit: string) =>
  payer.envelope.configure({ windows: [{ window_id: "day", unit: "DAILY", limit }] });

describe("a full window", () => {
  it("is a 402 that names it, says when it resets and that paying does not help; and the handler is not asked for the same again", async () => {
    const { runs, made } = site();
    const payer = await made.payer(10);
    await perDay(payer, "3");
    const paid = await payer.fetch("/x?price=2");
    expect([paid.status, paid.headers.get("X-Balance")]).toEqual([200, "8"]);
    const resetsAt = nextMidnight();
    for (const _ of [1, 2]) {
      const refused = await payer.fetch("/y?price=2");
      expect(refused.status).toBe(402);
      expect(refused.headers.get("X-Balance")).toBe("8");
      expect(await refused.json<Problem>()).toMatchObject({
        type: "urn:with-envelope:problem:window",
        limit: "window",
        windowId: "day",
        price: "2",
        balance: "8",
        shortfall: "0",
        canTopUp: false,
        resetsAt,
      });
    }
    expect(runs.count).toBe(2);
    // What fits is admitted, and what is free.
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
    expect((await payer.fetch("/x")).status).toBe(200);
  });

  it("refuses a quoted price before any work", async () => {
    const { runs, made } = site({ price: () => "2" });
    const payer = await made.payer(10);
    await perDay(payer, "3");
    expect((await payer.fetch("/x")).status).toBe(200);
    expect(await (await payer.fetch("/x")).json<Problem>()).toMatchObject({ limit: "window", canTopUp: false });
    expect(runs.count).toBe(1);
  });

  it("is told by /me, and counted among the owner's refusals", async () => {
    const { made } = site();
    const payer = await made.payer(10);
    await perDay(payer, "3");
    await payer.fetch("/x?price=2");
    await payer.fetch("/x?price=2");
    const { windows } = await (await payer.fetch("/me")).json<{ windows: object[] }>();
    expect(windows).toEqual([
      {
        window_id: "day",
        unit: "DAILY",
        every: 1,
        alignment: "calendar",
        time_zone: "UTC",
        week_start: 1,
        anchor_ms: null,
        limit_micros: 30_000,
        spent_micros: 20_000,
        held_micros: 0,
        remaining_micros: 10_000,
        start_ms: Math.floor(Date.now() / DAY) * DAY,
        end_ms: Date.parse(nextMidnight()),
        resets_at_ms: Date.parse(nextMidnight()),
      },
    ]);
    await runDurableObjectAlarm(env.ENVELOPE.getByName(payer.id));
    const period = { from_ms: 0, to_ms: Date.now() + DAY };
    const rows = await (
      env.ENVELOPE_AGGREGATE.getByName("aggregate-0") as unknown as { refusals(of: object): Promise<object[]> }
    ).refusals(period);
    expect(rows).toContainEqual({ limit: "window", refusals: expect.any(Number) });
  });
});

describe("a budget", () => {
  it("lets those spend whom the app vouches for, without a payment; X-Balance is what is left of it", async () => {
    const { made } = site({ identify: (request) => request.headers.get("X-Team") ?? undefined });
    const team = envelopeOf(made.env, { identity: "team" });
    expect(
      await team.configure({ prepaid: false, name: "Team", windows: [{ unit: "MONTHLY", limit: "5" }] }),
    ).toMatchObject({
      outcome: "configured",
      settings: { prepaid: false, name: "Team" },
    });
    const headers = { "X-Team": "team" };
    const first = await made.fetch("/x?price=3", { headers });
    expect([first.status, first.headers.get("X-Balance")]).toEqual([200, "2"]);
    const second = await made.fetch("/x?price=3", { headers });
    expect(second.status).toBe(402);
    expect(await second.json<Problem>()).toMatchObject({ limit: "window", balance: "2", canTopUp: false });
    const me = await (await made.fetch("/me", { headers })).json<{ balance: number; available_micros: number }>();
    expect([me.balance, me.available_micros]).toEqual([2, 20_000]);
  });

  it("has a limit that is written as a price is, or is refused", async () => {
    const { made } = site();
    const team = envelopeOf(made.env, { identity: "other" });
    await expect(team.configure({ windows: [{ unit: "DAILY", limit: "-1" }] })).rejects.toThrow(TypeError);
    expect(await team.configure({ windows: [{ unit: "1d" as "DAILY", limit: 1 }] })).toMatchObject({
      outcome: "invalid",
    });
  });
});
