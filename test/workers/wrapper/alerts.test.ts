/** Alerts of a real envelope: to the app's listeners, and to the owner's webhook, signed, once for each crossing, whatever fails. */
import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type EnvelopeAlert, envelopeOf } from "../../../src/index.js";
import { ok, ownersServer, SECRET } from "../control/support.js";
import { completed, nextId, Site } from "../support.js";

const SECRETS = String((env as unknown as Record<string, string>)["ENVELOPE_WEBHOOK_SECRET"]).split(",");

interface Delivered {
  /** What was signed is for this address: `manual` follows nobody to another. */
  readonly redirect: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** What the owner's server got, and what it answers next; everything else of the network is as it was. */
const owner = { got: [] as Delivered[], answers: [] as number[] };
const realFetch = globalThis.fetch;

beforeEach(() => {
  owner.got = [];
  owner.answers = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input as RequestInfo, init as RequestInit);
    if (new URL(request.url).host !== "owner.test") return realFetch(request);
    const { redirect, headers } = request;
    owner.got.push({ redirect, headers: Object.fromEntries(headers), body: await request.text() });
    return new Response(null, { status: owner.answers.shift() ?? 204 });
  });
});
afterEach(() => vi.restoreAllMocks());

const alarm = (id: string) => runDurableObjectAlarm(env.ENVELOPE.getByName(id));

/** Of one envelope: others may still be telling theirs. */
const gotOf = (id: string) => owner.got.filter(({ body }) => body.includes(id));

/** The alarm also rings by itself: whichever comes first sends. */
async function delivered(id: string, count: number): Promise<readonly Delivered[]> {
  await expect
    .poll(async () => {
      await alarm(id);
      return gotOf(id).length;
    })
    .toBe(count);
  return gotOf(id);
}

describe("a low balance", () => {
  const told: EnvelopeAlert[] = [];
  const low: EnvelopeAlert[] = [];
  const site = new Site({
    alerts: { lowBalance: "100" },
    onAlert: (alert) => void told.push(alert),
    onLowBalance: async (alert) => {
      low.push(alert);
      throw new Error("the app's listener failed");
    },
  });
  beforeEach(() => {
    told.length = 0;
    low.length = 0;
    vi.spyOn(console, "error").mockImplementation(() => undefined);
  });

  it("is told once, to the listeners and to the webhook, and once more when it is over", async () => {
    const payer = await site.payer(105);
    for (let i = 0; i < 10; i++) expect((await payer.fetch("/?price=2")).status).toBe(200);
    const whose = { envelope_id: payer.id, currency: "usd", threshold_micros: 1_000_000 };
    const first = { kind: "low_balance", balance_micros: 990_000, ...whose };
    expect([told, low]).toEqual([[first], [first]]);

    await site.webhook(completed({ client_reference_id: payer.reference, amount_total: 100 }));
    expect(told).toEqual([first, { ...first, kind: "low_balance_recovered", balance_micros: 1_850_000 }]);
    expect(low).toHaveLength(1);

    const messages = (await delivered(payer.id, 2)).map(({ body }) => JSON.parse(body) as { readonly type: string });
    expect(messages.map(({ type }) => type)).toEqual(["envelope.low_balance", "envelope.low_balance_recovered"]);
    expect(messages[0]).toEqual({
      type: "envelope.low_balance",
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      data: { envelope_id: payer.id, currency: "usd", balance_micros: 990_000, threshold_micros: 1_000_000 },
    });
    await alarm(payer.id);
    expect(gotOf(payer.id)).toHaveLength(2);
  });

  it("is signed so that the official library accepts it, with either secret, and nothing that was changed", async () => {
    const payer = await site.payer(101);
    await payer.fetch("/?price=2");
    const [{ redirect, headers, body } = { redirect: "", headers: {}, body: "" }] = await delivered(payer.id, 1);
    expect(redirect).toBe("manual");
    for (const secret of SECRETS)
      expect(new Webhook(secret).verify(body, headers)).toMatchObject({ type: "envelope.low_balance" });
    expect(() => new Webhook(SECRETS[0] ?? "").verify(body.replace("usd", "eur"), headers)).toThrow();
    expect(() => new Webhook("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=").verify(body, headers)).toThrow();
    expect(headers["webhook-id"]).toMatch(/^msg_[0-9A-Za-z]{22}$/);
  });

  it("is sent again, under the same id, until it is taken, also after the object was put to sleep", async () => {
    const payer = await site.payer(101);
    await alarm(payer.id);
    owner.answers = [500, 302];
    await payer.fetch("/?price=2");
    await delivered(payer.id, 1);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10_000 });
    await evictDurableObject(env.ENVELOPE.getByName(payer.id));
    await delivered(payer.id, 2);
    vi.setSystemTime(Date.now() + 600_000);
    await abortAllDurableObjects();
    const all = await delivered(payer.id, 3);
    vi.useRealTimers();
    expect(new Set(all.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    await alarm(payer.id);
    expect(gotOf(payer.id)).toHaveLength(3);
  });

  it("is not told of a crossing that was rolled back: what is refused changes nothing", async () => {
    const payer = await site.payer(100);
    expect((await payer.fetch("/?price=101")).status).toBe(402);
    expect(told).toEqual([]);
  });

  it("is told once although a thousand charges cross it together", async () => {
    const payer = await site.payer(1_000);
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => payer.fetch("/?price=1")));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1_000);
    expect(told.map(({ kind }) => kind)).toEqual(["low_balance"]);
  });

  it("of what the owner's servers use, give back and give is told as well, once a crossing", async () => {
    told.length = 0;
    low.length = 0;
    const options = {
      alerts: { lowBalance: "100", windowThresholds: [0.5] },
      onAlert: (alert: EnvelopeAlert) => void told.push(alert),
      onLowBalance: (alert: EnvelopeAlert) => void low.push(alert),
    };
    const { control } = ownersServer(options);
    const { id } = ok(
      await control.createEnvelope({ body: { name: "Team", prepaid: true, timeWindow: "DAILY", capacity: 4 } }),
    );
    ok(await control.grant({ id, body: { amount: 3, reason: "to begin with" }, idempotencyKey: "g-1" }));
    const value = nextId("alerted");
    ok(await control.authorize({ id, body: { type: "CUSTOM", value } }));
    const use = (amount: string, requestId: string) =>
      control.use({ body: { amount, identity: value, identityType: "CUSTOM", metadata: { requestId } } });
    const kinds = () => told.splice(0).map(({ kind, envelope_id }) => [kind, envelope_id]);
    ok(await use("1.5", "r-1"));
    expect(kinds()).toEqual([]);
    for (let again = 0; again < 3; again++) ok(await use("0.6", "r-2"));
    ok(await use("0.1", "r-3"));
    expect([kinds(), low.length]).toEqual([
      [
        ["low_balance", id],
        ["window_threshold", id],
      ],
      1,
    ]);
    ok(await control.refund({ id, body: { key: "r-2", reason: "failed" }, idempotencyKey: "b-1" }));
    expect(kinds()).toEqual([
      ["low_balance_recovered", id],
      ["window_recovered", id],
    ]);
    ok(await use("0.6", "r-4"));
    expect(kinds()).toHaveLength(2);
    ok(await control.grant({ id, body: { amount: 3, reason: "more" }, idempotencyKey: "g-2" }));
    expect(kinds()).toEqual([["low_balance_recovered", id]]);
    // By the owner's own hand, in the panel.
    const asked = { "Content-Type": "application/json", Authorization: `Bearer ${SECRET}`, "Idempotency-Key": "b-2" };
    const body = JSON.stringify({ seq: 2, reason: "failed, too" });
    const server = ownersServer(options);
    expect(
      (await server.fetch(`/db/api/envelopes/${id}/refunds`, { method: "POST", headers: asked, body })).status,
    ).toBe(201);
    expect(kinds()).toEqual([["window_recovered", id]]);
  });

  it("comes with the outcome where a queue charges", async () => {
    const payer = await site.payer(101);
    const handle = envelopeOf(site.env, { id: payer.id }, { alerts: { lowBalance: 100 } });
    expect(await handle.charge(2, { key: "a" })).toMatchObject({
      outcome: "charged",
      alerts: [{ kind: "low_balance" }],
    });
    expect(await handle.charge(2, { key: "b" })).not.toHaveProperty("alerts");
    expect(await handle.charge(2, { key: "a" })).not.toHaveProperty("alerts");
  });
});
