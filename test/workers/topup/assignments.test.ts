/** T31 T37 T39: an owner's assignment against everything that can come between its steps: deliveries, refunds, other assignments. */
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { assignPayment, Envelope, type Incident, unclaimedPayments } from "../../../src/index.js";
import type { Micros } from "../../../src/money.js";
import { directoryStub } from "../../../src/shards.js";
import { type Caller, completed, nextId, refund, reversalEvent, Site } from "../support.js";

const ADMIN = "an-owners-secret-0123456789-abcdefghij";
const site = new Site();
const euros = new Site({ currency: "eur" });
/** The same deployment before the owner allowed the link. */
const before = new Site({ stripe: { paymentLinks: ["plink_other"] } });
afterEach(() => vi.restoreAllMocks());

const cents = async ({ envelope }: Caller): Promise<number> => (await envelope.state()).balance_micros / 10_000;
const isListed = async (id: string): Promise<boolean> =>
  (await unclaimedPayments(env)).some(({ payment_id }) => payment_id === id);

/** A payment that nobody is named by. */
async function stray(fields: Record<string, unknown> = {}): Promise<string> {
  const payment_intent = nextId("pi");
  await site.outcomeOf(completed({ client_reference_id: null, payment_intent, amount_total: 1000, ...fields }));
  return payment_intent;
}

/** An envelope that takes no dollars. */
async function inEuros(): Promise<Caller> {
  const caller = await site.newcomer();
  await euros.outcomeOf(completed({ client_reference_id: caller.reference, amount_total: 5, currency: "eur" }));
  return caller;
}

describe("a delivery that meets an assignment", () => {
  it("never has the payment credited twice, whichever step it meets", async () => {
    const [named, given] = [await site.newcomer(), await site.newcomer()];
    const payment_intent = nextId("pi");
    const event = completed({ client_reference_id: named.reference, payment_intent, amount_total: 700 });
    expect(await before.outcomeOf(event)).toBe("unclaimed");
    // One delivery has claimed for the envelope it names, and waits; another comes while the owner assigns.
    await directoryStub(env, payment_intent).claim({ payment_id: payment_intent, envelope_id: named.id });
    const disown = Envelope.prototype.disown;
    vi.spyOn(Envelope.prototype, "disown").mockImplementationOnce(async function (this: Envelope, input) {
      expect(await site.outcomeOf({ ...event, id: nextId("evt") })).toBe("unclaimed");
      return disown.call(this, input);
    });
    expect(await assignPayment(env, { paymentId: payment_intent, envelopeId: given.id })).toEqual({
      outcome: "credited",
    });
    await site.outcomeOf(event);
    expect([await cents(named), await cents(given)]).toEqual([0, 700]);
  });

  it("of a payment that is only pending does not take it off the list", async () => {
    const caller = await site.newcomer();
    const payment_intent = nextId("pi");
    const fields = { client_reference_id: caller.reference, payment_intent, amount_total: 700 };
    const succeeded = { ...completed(fields), type: "checkout.session.async_payment_succeeded" };
    expect(await before.outcomeOf(succeeded)).toBe("unclaimed");
    expect(await site.outcomeOf(refund(payment_intent, 100))).toBe("pending");
    await site.outcomeOf(completed({ ...fields, payment_status: "unpaid" }));
    expect(await isListed(payment_intent)).toBe(true);
    expect(await assignPayment(env, { paymentId: payment_intent, envelopeId: caller.id })).toEqual({
      outcome: "credited",
    });
    expect(await cents(caller)).toBe(600);
  });
});

describe("a refund that meets an assignment", () => {
  it("is said again by Stripe until it reaches the envelope that has the payment", async () => {
    const [unable, given] = [await inEuros(), await site.newcomer()];
    const payment_intent = nextId("pi");
    await site.outcomeOf(completed({ client_reference_id: unable.reference, payment_intent, amount_total: 1000 }));
    const event = refund(payment_intent, 1000);
    const report = Envelope.prototype.report;
    vi.spyOn(Envelope.prototype, "report").mockImplementationOnce(async function (this: Envelope, told) {
      await assignPayment(env, { paymentId: payment_intent, envelopeId: given.id });
      return report.call(this, told);
    });
    expect((await site.webhook(event)).status).toBe(503);
    expect(await site.outcomeOf(event)).toBe("reversed");
    expect(await cents(given)).toBe(0);
  });

  it("waits for an unclaimed payment however long that takes", async () => {
    const caller = await site.newcomer();
    const paymentId = await stray();
    await site.outcomeOf(refund(paymentId, 1000));
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 91 * 86_400_000 });
    await directoryStub(env, paymentId).route({
      event_id: nextId("evt"),
      report: { payment_id: nextId("pi"), currency: "usd" },
    });
    vi.useRealTimers();
    await assignPayment(env, { paymentId, envelopeId: caller.id });
    expect(await cents(caller)).toBe(0);
  });
});

describe("T89 money that comes back and does not fit", () => {
  it("is told to whoever assigned the payment", async () => {
    const incidents: Incident[] = [];
    const owners = new Site({ onIncident: (one) => incidents.push(one) }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const caller = await site.newcomer();
    const paymentId = await stray();
    const back = refund(paymentId, 400);
    await site.outcomeOf(back);
    const failed = { ...back.data.object, status: "failed" };
    await site.outcomeOf({ ...reversalEvent("refund.failed", failed), created: back.created + 1 });
    const report = Envelope.prototype.report;
    vi.spyOn(Envelope.prototype, "report").mockImplementation(async function (this: Envelope, told) {
      // Between the refund and its failure, so much else comes in that there is no room.
      if (told.reversal?.rank === 3) {
        const { balance_micros } = await this.state({}).then((state) => ({ balance_micros: 0, ...state }));
        const amount_micros = (Number.MAX_SAFE_INTEGER - balance_micros) as Micros;
        await this.grant({ op: "full", key: "full", currency: "usd", amount_micros });
      }
      return report.call(this, told);
    });
    const response = await owners.fetch(`/db/api/unclaimed/${paymentId}/assign`, {
      method: "POST",
      body: JSON.stringify({ envelopeId: caller.reference, reason: "theirs" }),
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${ADMIN}` },
    });
    expect(await response.json()).toEqual({ outcome: "credited", unbooked_micros: 4_000_000 });
    const which = { payment_id: paymentId, envelope_id: caller.id };
    expect(incidents).toEqual([{ kind: "unbooked_reversal", ...which, amount_micros: 4_000_000 }]);
    vi.restoreAllMocks();
    await caller.envelope.charge({ micros: 5_000_000 }, { key: "room" });
    expect(await site.outcomeOf(back)).toBe("reversed");
  });
});

it("T39 a part of a payment whose total Stripe never told is taken back at its face value", async () => {
  const caller = await site.newcomer();
  const paymentId = await stray({ amount_total: null });
  expect(await assignPayment(env, { paymentId, envelopeId: caller.id, amount: "900" })).toEqual({
    outcome: "credited",
  });
  expect(await site.outcomeOf(refund(paymentId, 400))).toBe("reversed");
  expect(await cents(caller)).toBe(500);
  expect(await site.outcomeOf(refund(paymentId, 600))).toBe("reversed");
  expect(await cents(caller)).toBe(0);
});

describe("a dispute that meets an assignment", () => {
  /** A payment that its own envelope could not take, and that is disputed. */
  async function disputed(): Promise<{ named: Caller; paymentId: string }> {
    const named = await inEuros();
    const paymentId = nextId("pi");
    const fields = { client_reference_id: named.reference, payment_intent: paymentId, amount_total: 1000 };
    expect(await site.outcomeOf(completed(fields))).toBe("unclaimed");
    const dispute = { id: nextId("du"), payment_intent: paymentId, amount: 1000, status: "needs_response" };
    await site.outcomeOf(reversalEvent("charge.dispute.created", dispute));
    return { named, paymentId };
  }
  const isFrozen = async ({ envelope }: Caller): Promise<boolean> => (await envelope.state()).frozen;

  it("T41 freezes the envelope that has the payment, and no other", async () => {
    const { named, paymentId } = await disputed();
    const [wrong, right] = [await inEuros(), await site.newcomer()];
    expect(await isFrozen(named)).toBe(false);
    expect(await assignPayment(env, { paymentId, envelopeId: wrong.id })).toMatchObject({ outcome: "invalid" });
    expect(await assignPayment(env, { paymentId, envelopeId: right.id })).toEqual({ outcome: "credited" });
    expect([await isFrozen(named), await isFrozen(wrong), await isFrozen(right)]).toEqual([false, false, true]);
  });

  it("T41 is still open where the assignment had to be made twice", async () => {
    const { paymentId } = await disputed();
    const right = await site.newcomer();
    vi.spyOn(Envelope.prototype, "report").mockRejectedValueOnce(new Error("killed"));
    await expect(assignPayment(env, { paymentId, envelopeId: right.id })).rejects.toThrow();
    expect(await assignPayment(env, { paymentId, envelopeId: right.id })).toEqual({ outcome: "credited" });
    expect(await isFrozen(right)).toBe(true);
  });
});

describe("an assignment that was interrupted, or made to the wrong envelope", () => {
  it("can still be made to the right one, with every refund that came in between", async () => {
    const [right, unable] = [await site.newcomer(), await inEuros()];
    const paymentId = await stray();
    vi.spyOn(Envelope.prototype, "report").mockRejectedValueOnce(new Error("killed"));
    await expect(assignPayment(env, { paymentId, envelopeId: right.id })).rejects.toThrow();
    expect(await assignPayment(env, { paymentId, envelopeId: unable.id })).toMatchObject({ outcome: "invalid" });
    await site.outcomeOf(refund(paymentId, 400));
    expect(await assignPayment(env, { paymentId, envelopeId: right.id })).toEqual({ outcome: "credited" });
    expect([await cents(right), await isListed(paymentId)]).toEqual([600, false]);
  });

  it("does not count another currency's amounts as its own", async () => {
    const caller = await site.newcomer();
    const yen = new Site({ currency: "jpy" });
    const paymentId = nextId("pi");
    await yen.outcomeOf(
      completed({ client_reference_id: null, payment_intent: paymentId, amount_total: 5000, currency: "jpy" }),
    );
    expect(await assignPayment(env, { paymentId, envelopeId: caller.id })).toMatchObject({ outcome: "invalid" });
  });
});
