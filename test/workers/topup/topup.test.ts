/** `POST /stripe/topup`: the owner's server asks for a PaymentIntent, once per key, whatever is lost on the way. */
import { evictAllDurableObjects, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Envelope, EnvelopeDirectory } from "../../../src/index.js";
import { type Caller, type Problem, Site } from "../support.js";
import { FaultyStripe } from "./faults.js";

const ADMIN = "an-owners-secret-0123456789-abcdefghij";
const OWNER = { Authorization: `Bearer ${ADMIN}` };
const site = new Site({}, { ENVELOPE_ADMIN_SECRET: ADMIN });
let stripe: FaultyStripe;
beforeEach(() => {
  stripe = new FaultyStripe();
  stripe.install();
});
afterEach(() => vi.restoreAllMocks());

interface Answer {
  readonly paymentIntentId: string;
  readonly clientSecret: string | null;
  readonly status: string;
  readonly amount: string;
  readonly amount_micros: number;
  readonly currency: string;
}

let keys = 0;
const nextKey = () => `key-${keys++}`;

function ask(
  body: unknown,
  key: string | null = nextKey(),
  headers: HeadersInit = OWNER,
  at = site,
): Promise<Response> {
  const all = new Headers(headers);
  all.set("Content-Type", "application/json");
  if (key !== null) all.set("Idempotency-Key", key);
  return at.fetch("/stripe/topup", { method: "POST", body: JSON.stringify(body), headers: all });
}

async function topUp(caller: Caller, amount: unknown = "10", key = nextKey()): Promise<Answer> {
  const response = await ask({ envelopeId: caller.id, amount }, key);
  expect(response.status).toBe(200);
  return response.json<Answer>();
}

const cents = async ({ envelope }: Caller): Promise<number> => (await envelope.state()).balance_micros / 10_000;
const deliver = async (): Promise<string[]> => {
  const outcomes = [];
  for (const event of stripe.news()) outcomes.push(await site.outcomeOf(event));
  return outcomes;
};
const pay = (id: string) => stripe.account.collect(stripe.account.get("payment_intent", id));

describe("POST /stripe/topup", () => {
  it("makes a PaymentIntent that the webhook credits", async () => {
    const caller = await site.newcomer();
    const answer = await topUp(caller, "10.50");
    expect(answer).toEqual({
      paymentIntentId: stripe.intents[0]?.id,
      clientSecret: stripe.intents[0]?.client_secret,
      status: "PENDING",
      amount: "10.5",
      amount_micros: 10_500_000,
      currency: "usd",
    });
    expect(stripe.intents[0]).toMatchObject({ amount: 1050, currency: "usd", customer: null });
    expect(await cents(caller)).toBe(0);
    pay(answer.paymentIntentId);
    expect(await deliver()).toContain("credited");
    expect(await cents(caller)).toBe(1050);
    expect(await caller.envelope.topups()).toMatchObject([
      {
        origin: "api",
        status: "SUCCEEDED",
        amount_micros: 10_500_000,
        payment_id: answer.paymentIntentId,
        failure: null,
      },
    ]);
  });

  it.each([
    ["10", 1000],
    [10, 1000],
    [0.5, 50],
    ["12.34", 1234],
  ])("takes %j main units as %i cents", async (amount, minor) => {
    await topUp(await site.newcomer(), amount);
    expect(stripe.intents[0]?.amount).toBe(minor);
  });

  it("without an Idempotency-Key makes one each time: nobody is charged until it is confirmed", async () => {
    const { id: envelopeId } = await site.newcomer();
    for (const number of [1, 2]) {
      expect((await ask({ envelopeId, amount: "10" }, null)).status).toBe(200);
      expect(new Set(stripe.intents.map(({ id }) => id)).size).toBe(number);
    }
  });

  it("in a currency without a minor unit takes whole units only", async () => {
    const yen = new Site({ currency: "jpy" }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const caller = await yen.newcomer();
    expect((await ask({ envelopeId: caller.id, amount: "500.5" }, nextKey(), OWNER, yen)).status).toBe(400);
    expect((await ask({ envelopeId: caller.id, amount: "500" }, nextKey(), OWNER, yen)).status).toBe(200);
    expect(stripe.intents[0]).toMatchObject({ amount: 500, currency: "jpy" });
  });

  it("T38 asks for no more than would be credited", async () => {
    const small = new Site({ stripe: { maxCredit: "500" } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const { id: envelopeId } = await small.newcomer();
    expect((await ask({ envelopeId, amount: "5.01" }, nextKey(), OWNER, small)).status).toBe(400);
    expect((await ask({ envelopeId, amount: "5" }, nextKey(), OWNER, small)).status).toBe(200);
    expect(stripe.intents).toMatchObject([{ amount: 500 }]);
  });

  const wrong: [unknown, string][] = [
    [{ amount: "10" }, "k"],
    [{ envelopeId: "short", amount: "10" }, "k"],
    ...["0", "-1", "1e3", " 1", "1.001", "", null, true, {}, { micros: 5 }, [1], 0.001, "99999999999999"].map(
      (amount): [unknown, string] => [{ envelopeId: "A".repeat(22), amount }, "k"],
    ),
    [{ envelopeId: "A".repeat(22), amount: "10" }, "a key"],
    ["text", "k"],
  ];
  it.each(wrong)("refuses %j (key %j) as a problem, and asks nobody", async (body, key) => {
    const response = await ask(body, key);
    expect([response.status, response.headers.get("Content-Type")]).toEqual([400, "application/problem+json"]);
    expect(stripe.asked).toEqual([]);
  });

  it("T76 T78 is the owner's alone, and not there at all without a secret", async () => {
    const caller = await site.payer(5);
    const body = { envelopeId: caller.id, amount: "10" };
    const basic = (secret: string): HeadersInit => ({ Authorization: `Basic ${btoa(`admin:${secret}`)}` });
    expect((await ask(body, "k", { Authorization: `Bearer ${caller.token}` })).status).toBe(401);
    expect((await ask(body, "k", basic("wrong"))).status).toBe(401);
    expect((await ask(body, "k", { ...OWNER, "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await ask(body, "k", OWNER, new Site())).status).toBe(404);
    expect((await site.fetch("/stripe/topup", { headers: OWNER })).status).toBe(405);
    expect(stripe.asked).toEqual([]);
    expect((await ask(body, nextKey(), basic(ADMIN))).status).toBe(200);
  });

  it("is found where options.paths says", async () => {
    const moved = new Site({ paths: { stripeTopup: "/billing/topup" } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    expect((await moved.fetch("/billing/topup", { method: "POST", headers: OWNER })).status).toBe(400);
    expect(await (await moved.fetch("/stripe/topup", { method: "POST" })).text()).toBe("paid content");
  });
});

it("leaves one audit line, of the one time it was begun", async () => {
  const caller = await site.newcomer();
  const key = nextKey();
  await topUp(caller, "10", key);
  await topUp(caller, "10", key);
  await ask({ envelopeId: caller.id, amount: "11" }, key);
  const lines = await env.ENVELOPE.getByName(caller.id).audit({ before: null, limit: 10 });
  expect(lines).toMatchObject([{ actor: "owner", action: "topup", reason: null, before: null }]);
  expect(JSON.parse(String(lines[0]?.after))).toEqual({ topup_id: 1, amount_micros: 10_000_000, currency: "usd" });
});

describe("the same Idempotency-Key", () => {
  it("leads to the same PaymentIntent, however often and whenever", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    const first = await topUp(caller, "10", key);
    await evictAllDurableObjects();
    expect(await topUp(caller, 10, key)).toEqual(first);
    const together = await Promise.all([topUp(caller, "10", key), topUp(caller, "10", key)]);
    expect(together).toEqual([first, first]);
    expect([stripe.intents.length, stripe.keys.size]).toEqual([1, 1]);
  });

  it("two at once are one PaymentIntent", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    const [one, other] = await Promise.all([topUp(caller, "10", key), topUp(caller, "10", key)]);
    expect(one).toEqual(other);
    expect(stripe.intents.length).toBe(1);
    expect((await caller.envelope.topups()).length).toBe(1);
  });

  it("for another amount or another envelope is a 422", async () => {
    const [caller, other] = [await site.newcomer(), await site.newcomer()];
    const key = nextKey();
    await topUp(caller, "10", key);
    for (const body of [
      { envelopeId: caller.id, amount: "11" },
      { envelopeId: other.id, amount: "10" },
    ]) {
      const response = await ask(body, key);
      expect([response.status, (await response.json<Problem>()).type]).toEqual([
        422,
        "urn:with-envelope:problem:idempotency-conflict",
      ]);
    }
    expect(stripe.intents.length).toBe(1);
  });
});

describe("a top-up that is interrupted", () => {
  it("between any two steps is finished by asking again: one PaymentIntent, one credit", async () => {
    const steps: [string, () => unknown][] = [
      [
        "the key's claim",
        () => vi.spyOn(EnvelopeDirectory.prototype, "claim").mockRejectedValueOnce(new Error("killed")),
      ],
      ["storing it", () => vi.spyOn(Envelope.prototype, "beginTopUp").mockRejectedValueOnce(new Error("killed"))],
      ["the request", () => (stripe.fault = "lost_request")],
      ["Stripe's answer", () => (stripe.fault = "lost_answer")],
      ["noting it", () => vi.spyOn(Envelope.prototype, "noteTopUp").mockRejectedValueOnce(new Error("killed"))],
    ];
    for (const [step, interrupt] of steps) {
      const caller = await site.newcomer();
      const before = stripe.intents.length;
      const key = nextKey();
      interrupt();
      const broken = await ask({ envelopeId: caller.id, amount: "10" }, key);
      expect([step, broken.status, broken.headers.get("Retry-After")]).toEqual([step, 503, expect.any(String)]);
      stripe.fault = undefined;
      const { paymentIntentId } = await topUp(caller, "10", key);
      pay(paymentIntentId);
      await deliver();
      expect([step, stripe.intents.length - before, await cents(caller)]).toEqual([step, 1, 1000]);
      expect(await caller.envelope.topups()).toMatchObject([{ status: "SUCCEEDED" }]);
    }
  });

  it("is credited even when nobody asks again: the webhook finds it by what the PaymentIntent carries", async () => {
    const caller = await site.newcomer();
    stripe.fault = "lost_answer";
    await ask({ envelopeId: caller.id, amount: "10" });
    stripe.fault = undefined;
    pay(stripe.intents[0]?.id ?? "");
    await deliver();
    expect(await cents(caller)).toBe(1000);
    expect(await caller.envelope.topups()).toMatchObject([{ status: "SUCCEEDED", payment_id: stripe.intents[0]?.id }]);
  });

  it("is not taken for refused where Stripe has the key under other words, as after a deploy: it may have been made", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    stripe.fault = "lost_answer";
    await ask({ envelopeId: caller.id, amount: "10" }, key);
    stripe.fault = undefined;
    await runInDurableObject(env.ENVELOPE.getByName(caller.id), (_, { storage }) => {
      storage.sql.exec("UPDATE topup SET reference = reference || 'x'");
    });
    expect((await ask({ envelopeId: caller.id, amount: "10" }, key)).status).toBe(503);
    expect(await caller.envelope.topups()).toMatchObject([{ status: "PENDING" }]);
    pay(stripe.intents[0]?.id ?? "");
    await deliver();
    expect([await cents(caller), (await caller.envelope.topups())[0]?.status]).toEqual([1000, "SUCCEEDED"]);
  });

  it("while Stripe is down is a 503, and the same key finishes it", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    stripe.fault = "down";
    expect((await ask({ envelopeId: caller.id, amount: "10" }, key)).status).toBe(503);
    expect(await caller.envelope.topups()).toMatchObject([{ status: "PENDING", payment_id: null }]);
    stripe.fault = undefined;
    await topUp(caller, "10", key);
    expect(stripe.keys.size).toBe(1);
  });
});

describe("its state", () => {
  it("only climbs, in any order of events", async () => {
    const caller = await site.newcomer();
    const { paymentIntentId } = await topUp(caller);
    const intent = stripe.account.get("payment_intent", paymentIntentId);
    stripe.account.fail(intent, "card_declined");
    pay(paymentIntentId);
    const [, failed, , succeeded] = stripe.news();
    const status = async () => (await caller.envelope.topups())[0]?.status;
    await site.webhook(failed);
    expect(await status()).toBe("FAILED");
    for (const event of [succeeded, failed, succeeded]) {
      await site.webhook(event);
      expect(await status()).toBe("SUCCEEDED");
    }
    expect(await cents(caller)).toBe(1000);
  });

  it("is told by a payment that Stripe's own answer reports, without a webhook, and credited once", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    const { paymentIntentId } = await topUp(caller, "10", key);
    pay(paymentIntentId);
    expect(await topUp(caller, "10", key)).toMatchObject({ status: "SUCCEEDED" });
    expect(await cents(caller)).toBe(1000);
    await deliver();
    expect(await cents(caller)).toBe(1000);
  });

  it("brings what a first payment brings, whichever tells of it", async () => {
    const giving = new Site({ signUpGrant: { amount: 300, to: "payers" } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const caller = await giving.newcomer();
    const key = nextKey();
    const again = async () => (await ask({ envelopeId: caller.id, amount: "10" }, key, OWNER, giving)).json<Answer>();
    pay((await again()).paymentIntentId);
    expect(await again()).toMatchObject({ status: "SUCCEEDED" });
    expect(await cents(caller)).toBe(1300);
    for (const event of stripe.news()) await giving.webhook(event);
    expect(await cents(caller)).toBe(1300);
  });
});

describe("what Stripe says no to", () => {
  it("is a 422 with its code, remembered under the key", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    for (let i = 0; i < 2; i++) {
      const response = await ask({ envelopeId: caller.id, amount: "0.10" }, key);
      expect([response.status, (await response.json<Problem>())["detail"]]).toEqual([
        422,
        expect.stringContaining("amount_too_small"),
      ]);
    }
    expect(stripe.asked.length).toBe(1);
    expect(await caller.envelope.topups()).toMatchObject([{ status: "FAILED", code: "amount_too_small" }]);
  });

  it("a key that Stripe refuses, or that is missing, is named and never shown", async () => {
    const caller = await site.newcomer();
    const key = nextKey();
    stripe.fault = "refused_key";
    const refused = await ask({ envelopeId: caller.id, amount: "10" }, key);
    const text = await refused.text();
    expect([refused.status, text.includes("STRIPE_SECRET_KEY"), text.includes("sk_test")]).toEqual([500, true, false]);
    stripe.fault = undefined;
    await topUp(caller, "10", key);
    const none = new Site({}, { ENVELOPE_ADMIN_SECRET: ADMIN, STRIPE_SECRET_KEY: "" });
    expect((await ask({ envelopeId: caller.id, amount: "10" }, nextKey(), OWNER, none)).status).toBe(500);
  });

  it("no incident holds a secret or a text of Stripe's", async () => {
    const incidents: unknown[] = [];
    const watched = new Site({ onIncident: (one) => incidents.push(one) }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const caller = await site.newcomer();
    for (const fault of ["down", "refused_key", "lost_answer"] as const) {
      stripe.fault = fault;
      await ask({ envelopeId: caller.id, amount: "10" }, nextKey(), OWNER, watched);
    }
    const told = incidents.map((one) => JSON.stringify(one) + String((one as { cause?: Error }).cause)).join();
    expect([incidents.length, /sk_test|Bearer|Invalid API|wrong on Stripe/.test(told)]).toEqual([3, false]);
  });
});
