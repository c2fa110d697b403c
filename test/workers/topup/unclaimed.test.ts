/** Unclaimed payments: kept with their reason, assigned once, whatever is interrupted and whoever is faster. */
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { UnclaimedAnswer } from "../../../src/admin/api.js";
import { assignPayment, Envelope, EnvelopeDirectory, unclaimedPayments } from "../../../src/index.js";
import { ADMIN, signedIn } from "../admin/support.js";
import { type Caller, completed, nextId, type Problem, refund, Site } from "../support.js";

const site = new Site({}, { ENVELOPE_ADMIN_SECRET: ADMIN });
const euros = new Site({ currency: "eur" });
afterEach(() => vi.restoreAllMocks());

const cents = async ({ envelope }: Caller): Promise<number> => (await envelope.state()).balance_micros / 10_000;
const isListed = async (paymentId: string): Promise<boolean> =>
  (await unclaimedPayments(env)).some(({ payment_id }) => payment_id === paymentId);

/** A payment without a reference. */
async function stray(fields: Record<string, unknown> = {}): Promise<string> {
  const payment_intent = nextId("pi");
  expect(await site.outcomeOf(completed({ client_reference_id: null, payment_intent, ...fields }))).toBe("unclaimed");
  return payment_intent;
}

describe("assignPayment", () => {
  it("credits once, and takes the payment off the list", async () => {
    const [one, other] = [await site.newcomer(), await site.newcomer()];
    const paymentId = await stray({ amount_total: 700 });
    expect(await isListed(paymentId)).toBe(true);
    expect(await assignPayment(env, { paymentId, envelopeId: one.id })).toEqual({ outcome: "credited" });
    expect(await assignPayment(env, { paymentId, envelopeId: one.id })).toEqual({
      outcome: "taken",
      envelopeId: one.id,
    });
    expect(await assignPayment(env, { paymentId, envelopeId: other.id })).toEqual({
      outcome: "taken",
      envelopeId: one.id,
    });
    expect([await cents(one), await cents(other), await isListed(paymentId)]).toEqual([700, 0, false]);
  });

  it("by two owners at once goes to one envelope", async () => {
    const callers = await Promise.all(Array.from({ length: 6 }, () => site.newcomer()));
    const paymentId = await stray({ amount_total: 700 });
    await Promise.all(callers.map(({ id }) => assignPayment(env, { paymentId, envelopeId: id })));
    const total = (await Promise.all(callers.map(cents))).reduce((sum, one) => sum + one, 0);
    expect(total).toBe(700);
  });

  it("that is interrupted at any step stays listed, and is finished by making it again", async () => {
    const steps = [
      () => vi.spyOn(EnvelopeDirectory.prototype, "assign").mockRejectedValueOnce(new Error("killed")),
      () => vi.spyOn(EnvelopeDirectory.prototype, "claim").mockRejectedValueOnce(new Error("killed")),
      () => vi.spyOn(Envelope.prototype, "report").mockRejectedValueOnce(new Error("killed")),
      () => vi.spyOn(EnvelopeDirectory.prototype, "settle").mockRejectedValueOnce(new Error("killed")),
    ];
    for (const interrupt of steps) {
      const caller = await site.newcomer();
      const paymentId = await stray({ amount_total: 300 });
      interrupt();
      await expect(assignPayment(env, { paymentId, envelopeId: caller.id })).rejects.toThrow();
      expect(await isListed(paymentId)).toBe(true);
      expect(await assignPayment(env, { paymentId, envelopeId: caller.id })).toEqual({ outcome: "credited" });
      expect([await cents(caller), await isListed(paymentId)]).toEqual([300, false]);
    }
  });

  it("applies the refunds that came before it", async () => {
    const caller = await site.newcomer();
    const paymentId = await stray({ amount_total: 1000 });
    expect(await site.outcomeOf(refund(paymentId, 400))).toBe("pending");
    await assignPayment(env, { paymentId, envelopeId: caller.id });
    expect(await cents(caller)).toBe(600);
    expect(await site.outcomeOf(refund(paymentId, 100))).toBe("reversed");
    expect(await cents(caller)).toBe(500);
  });

  it("moves a payment from an envelope that could not take it, with what that one heard of it", async () => {
    const [holder, other] = [await site.payer(5), await site.newcomer()];
    const payment_intent = nextId("pi");
    const sent = completed({
      client_reference_id: holder.reference,
      currency: "eur",
      payment_intent,
      amount_total: 800,
    });
    expect(await euros.outcomeOf(sent)).toBe("unclaimed");
    expect(await assignPayment(env, { paymentId: payment_intent, envelopeId: other.id, amount: "900" })).toEqual({
      outcome: "credited",
    });
    expect([await cents(holder), await cents(other)]).toEqual([5, 900]);
    expect(await euros.outcomeOf(sent)).not.toBe("credited");
    expect([await cents(holder), await cents(other)]).toEqual([5, 900]);
  });

  it("needs an amount where Stripe's could not be understood", async () => {
    const caller = await site.newcomer();
    const paymentId = await stray({ currency: "jpy", amount_total: 5000 });
    expect(await assignPayment(env, { paymentId, envelopeId: caller.id })).toMatchObject({ outcome: "invalid" });
    expect(await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "0" })).toMatchObject({
      outcome: "invalid",
    });
    expect(await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "3300" })).toEqual({
      outcome: "credited",
    });
    expect(await cents(caller)).toBe(3300);
  });

  it("T39 takes refunds back in proportion to what was paid in its own currency, exactly, and gives back one that failed", async () => {
    const caller = await site.newcomer();
    const paymentId = await stray({ currency: "jpy", amount_total: 1500 });
    const yen = (amount: number, fields = {}) => refund(paymentId, amount, { currency: "jpy", ...fields });
    // One comes before the owner has decided, the others after it.
    expect(await site.outcomeOf(yen(500))).toBe("pending");
    await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "1000" });
    expect((await caller.envelope.state()).balance_micros).toBe(6_666_667);
    const second = yen(1);
    expect(await site.outcomeOf(second)).toBe("reversed");
    expect((await caller.envelope.state()).balance_micros).toBe(6_660_000);
    const failed = { id: second.data.object.id, status: "failed" };
    expect(await site.outcomeOf({ ...yen(1, failed), type: "refund.failed" })).toBe("reversed");
    expect((await caller.envelope.state()).balance_micros).toBe(6_666_667);
    await site.outcomeOf(yen(1000));
    expect(await cents(caller)).toBe(0);
  });

  it("T41 takes all of it back where a bank disputes in a third currency", async () => {
    const caller = await site.newcomer();
    const paymentId = await stray({ currency: "jpy", amount_total: 1500 });
    await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "1000" });
    expect(await site.outcomeOf(refund(paymentId, 5, { currency: "eur" }))).toBe("reversed");
    expect(await cents(caller)).toBe(0);
  });

  it("refuses what is not an envelope, and does not know what was never listed", async () => {
    expect(await assignPayment(env, { paymentId: "pi_x", envelopeId: "short" })).toMatchObject({ outcome: "invalid" });
    expect(await assignPayment(env, { paymentId: "pi_never", envelopeId: "0".repeat(22) })).toEqual({
      outcome: "unknown",
    });
  });
});

describe("T39 a subscription's payment, which its session does not name", () => {
  const BASE = "http://stripe.test";
  const keyed = new Site({}, { STRIPE_SECRET_KEY: "sk_test_0123456789", STRIPE_API_BASE: BASE });

  /** What Stripe's API says of an invoice's payments. */
  function invoicePaidBy(answer: readonly string[] | number | "unreachable"): string[] {
    const asked: string[] = [];
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const url = new URL(new Request(input, init).url);
      expect(url.origin + url.pathname).toBe(`${BASE}/v1/invoice_payments`);
      asked.push(url.searchParams.get("invoice") ?? "");
      if (answer === "unreachable") throw new TypeError("the network is gone");
      if (typeof answer === "number") return Response.json({ error: { type: "api_error" } }, { status: answer });
      const data = answer.map((payment_intent) => ({
        object: "invoice_payment",
        status: "paid",
        payment: { type: "payment_intent", payment_intent },
      }));
      return Response.json({ object: "list", data, has_more: false, url: url.pathname });
    });
    return asked;
  }

  const subscription = () => {
    const fields = { mode: "subscription", payment_intent: null, invoice: nextId("in"), client_reference_id: null };
    const event = completed({ ...fields, amount_total: 1000 });
    return { event, invoice: fields.invoice, session_id: event.data.object.id };
  };

  it("is listed under that payment, so that refunds find it, before and after it is assigned", async () => {
    const caller = await site.newcomer();
    const { event, invoice, session_id } = subscription();
    const paymentId = nextId("pi");
    const asked = invoicePaidBy([paymentId]);
    expect(await keyed.outcomeOf(event)).toBe("unclaimed");
    expect(await keyed.outcomeOf(event)).toBe("unclaimed");
    expect(asked).toEqual([invoice, invoice]);
    expect([await isListed(paymentId), await isListed(session_id)]).toEqual([true, false]);
    expect(await keyed.outcomeOf(refund(paymentId, 300))).toBe("pending");
    expect(await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "1000" })).toEqual({
      outcome: "credited",
    });
    expect(await cents(caller)).toBe(700);
    expect(await keyed.outcomeOf(refund(paymentId, 200))).toBe("reversed");
    expect(await cents(caller)).toBe(500);
  });

  it.each<readonly [string, readonly string[] | number]>([
    ["none paid it", []],
    ["two paid it", ["pi_one", "pi_two"]],
    ["the key may not read it", 403],
    ["Stripe does not know it", 404],
  ])("stays under its session where %s", async (_why, answer) => {
    const { event, session_id } = subscription();
    invoicePaidBy(answer);
    expect(await keyed.outcomeOf(event)).toBe("unclaimed");
    expect(await isListed(session_id)).toBe(true);
  });

  it("and without a key; once listed, it is not listed a second time under its payment", async () => {
    const { event, session_id } = subscription();
    const payment = nextId("pi");
    const asked = invoicePaidBy([payment]);
    const keyless = new Site({}, { STRIPE_SECRET_KEY: "" });
    expect(await keyless.outcomeOf(event)).toBe("unclaimed");
    expect(await keyed.outcomeOf(event)).toBe("unclaimed");
    expect(asked).toEqual([]);
    expect([await isListed(session_id), await isListed(payment)]).toEqual([true, false]);
  });

  it("waits for Stripe's API, as Stripe's retries do", async () => {
    const { event, session_id } = subscription();
    invoicePaidBy("unreachable");
    expect((await keyed.webhook(event)).status).toBe(503);
    const paymentId = nextId("pi");
    invoicePaidBy([paymentId]);
    expect(await keyed.outcomeOf(event)).toBe("unclaimed");
    expect([await isListed(paymentId), await isListed(session_id)]).toEqual([true, false]);
  });
});

describe("a payment that becomes creditable", () => {
  it("is credited by Stripe's retry, and leaves the list", async () => {
    const caller = await site.newcomer();
    const strict = new Site({ stripe: { paymentLinks: ["plink_new"] } });
    const sent = completed({
      client_reference_id: caller.reference,
      payment_intent: nextId("pi"),
      payment_link: "plink_1",
    });
    const id = String(sent.data.object["payment_intent"]);
    expect(await strict.outcomeOf(sent)).toBe("unclaimed");
    expect(await site.outcomeOf(sent)).toBe("credited");
    expect(await isListed(id)).toBe(false);
    expect(await assignPayment(env, { paymentId: id, envelopeId: (await site.newcomer()).id })).toEqual({
      outcome: "taken",
      envelopeId: caller.id,
    });
  });
});

describe("the owner's API", () => {
  const as = (secret: string): HeadersInit => ({ Authorization: `Basic ${btoa(`admin:${secret}`)}` });
  const assign = (id: string, body: object, headers: HeadersInit = { Authorization: `Bearer ${ADMIN}` }) =>
    site.fetch(`/db/api/unclaimed/${id}/assign`, {
      method: "POST",
      body: JSON.stringify({ reason: "they wrote to us", ...body }),
      headers: { "Content-Type": "application/json", ...headers },
    });

  it("lists and assigns, with Basic or Bearer", async () => {
    const caller = await site.newcomer();
    const id = await stray({ amount_total: 100 });
    const listed = await site.fetch("/db/api/unclaimed", { headers: as(ADMIN) });
    const { unclaimed } = await listed.json<{ unclaimed: { payment_id: string; reason: string }[] }>();
    expect(unclaimed.find(({ payment_id }) => payment_id === id)).toMatchObject({ reason: "reference_missing" });
    // Of nobody's envelope: an id with a slip in it looks no different.
    const nobody = await assign(id, { envelopeId: caller.id });
    expect([nobody.status, (await nobody.json<Problem>())["detail"]]).toEqual([
      400,
      expect.stringContaining("client_reference_id"),
    ]);
    expect((await assign(id, { envelopeId: caller.reference })).status).toBe(200);
    const again = await assign(id, { envelopeId: caller.id });
    expect([again.status, await again.json()]).toEqual([200, { outcome: "replayed" }]);
    const elsewhere = await assign(id, { envelopeId: (await site.newcomer()).reference });
    expect([elsewhere.status, await elsewhere.json()]).toMatchObject([409, { envelopeId: caller.id }]);
    expect((await caller.envelope.state()).balance_micros).toBe(1_000_000);
    for (const malformed of ["%E0", "%", "pi_%zz"]) {
      expect((await assign(malformed, { envelopeId: caller.id })).status).toBe(404);
    }
    expect((await assign("pi_never", { envelopeId: caller.id })).status).toBe(404);
    expect((await assign(id, {})).status).toBe(400);
    expect(
      (await site.fetch("/db/api/unclaimed/x/assign", { method: "POST", body: "envelopeId=x", headers: as(ADMIN) }))
        .status,
    ).toBe(400);
  });

  it("lists in pages, each payment once and the oldest first, and counts without reading them", async () => {
    for (let made = 0; made < 7; made++) await stray();
    const all = (await unclaimedPayments(env)).map(({ payment_id }) => payment_id);
    expect(all.length).toBeGreaterThanOrEqual(7);
    const listed: string[] = [];
    let next: string | null = "";
    while (next !== null) {
      const cursor = next === "" ? "" : `&cursor=${next}`;
      const page = await site.fetch(`/db/api/unclaimed?limit=3${cursor}`, { headers: as(ADMIN) });
      const answer = await page.json<{ unclaimed: { payment_id: string; at_ms: number }[]; next: string | null }>();
      expect(answer.unclaimed.length).toBeLessThanOrEqual(3);
      listed.push(...answer.unclaimed.map(({ payment_id }) => payment_id));
      next = answer.next;
    }
    expect(listed).toEqual(all);
    const overview = await site.fetch("/db/api/overview", { headers: as(ADMIN) });
    expect((await overview.json<{ unclaimed: number }>()).unclaimed).toBe(all.length);
    for (const query of ["limit=0", "limit=501", "cursor=x", "cursor=1"]) {
      expect((await site.fetch(`/db/api/unclaimed?${query}`, { headers: as(ADMIN) })).status).toBe(400);
    }
  });

  it("T76 T79 is closed to everybody else, and to another site's page", async () => {
    const payer = await site.payer(5);
    const wrong: HeadersInit[] = [
      {},
      as("wrong"),
      as(""),
      as(`${ADMIN}x`),
      { Authorization: `Bearer ${payer.token}` },
      { Authorization: "Basic %%%" },
    ];
    for (const headers of wrong) expect((await site.fetch("/db/api/unclaimed", { headers })).status).toBe(401);
    expect(
      (await assign("pi_x", { envelopeId: payer.id }, { ...as(ADMIN), "Sec-Fetch-Site": "cross-site" })).status,
    ).toBe(403);
  });

  it("T78 has nothing else to find, and is not there at all without a secret", async () => {
    const none = new Site();
    for (const path of ["/db/api/unclaimed", "/db/x", "/db/api/", "/db/..%2fme", "/db//"]) {
      expect((await none.fetch(path, { headers: as(ADMIN) })).status).toBe(404);
      if (path !== "/db/api/unclaimed") expect((await site.fetch(path, { headers: as(ADMIN) })).status).toBe(404);
    }
  });

  it.each(["short", "replace-me-with-at-least-32-random-characters", "test-root-secret-0123456789-abcdefghij"])(
    "a weak secret, or the root one (%s), is refused by name",
    async (secret) => {
      const weak = new Site({ onIncident: () => undefined }, { ENVELOPE_ADMIN_SECRET: secret });
      const response = await weak.fetch("/db/api/unclaimed", { headers: as(secret) });
      expect([response.status, (await response.json<Problem>())["detail"]]).toEqual([
        500,
        expect.stringContaining("ENVELOPE_ADMIN_SECRET"),
      ]);
    },
  );
});

describe("the owner's list", () => {
  it("comes in pages, oldest first, each payment once; the overview counts without fetching them", async () => {
    const owner = await signedIn(site);
    for (let i = 0; i < 7; i++) await stray();
    const whole = (await unclaimedPayments(env)).map(({ payment_id }) => payment_id);
    const paged: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page: UnclaimedAnswer = await owner.json<UnclaimedAnswer>(
        `/db/api/unclaimed?limit=2${cursor === undefined ? "" : `&cursor=${cursor}`}`,
      );
      expect(page.unclaimed.length).toBeLessThanOrEqual(2);
      paged.push(...page.unclaimed.map(({ payment_id }) => payment_id));
      cursor = page.next;
    }
    expect(paged).toEqual(whole);
    expect(new Set(paged).size).toBe(paged.length);
    const listed = vi.spyOn(EnvelopeDirectory.prototype, "unclaimed");
    expect(await owner.json("/db/api/overview")).toMatchObject({ unclaimed: whole.length });
    expect(listed).not.toHaveBeenCalled();
    for (const wrong of ["limit=0", "cursor=x", "cursor=1.", "cursor=.pi_1"]) {
      expect((await owner.fetch(`/db/api/unclaimed?${wrong}`)).status).toBe(400);
    }
    const lines = await (await owner.fetch("/db/api/export/unclaimed.jsonl")).text();
    expect(lines.trimEnd().split("\n")).toHaveLength(whole.length);
  });
});
