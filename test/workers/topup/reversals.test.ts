/** T33 T39 T40 T41: refunds and disputes take back what was given, in proportion, exactly, in any order. */
import { evictAllDurableObjects } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { type Caller, completed, nextId, Site } from "../support.js";

const site = new Site();
let clock = Math.floor(Date.now() / 1000);

const event = (type: string, object: Record<string, unknown>) => ({
  id: nextId("evt"),
  object: "event",
  type,
  livemode: false,
  created: clock++,
  data: { object },
});

const refund = (
  payment_intent: string,
  amount: number,
  status = "succeeded",
  id = nextId("re"),
  type = "refund.updated",
) => event(type, { id, object: "refund", payment_intent, amount, status, currency: "usd" });

const dispute = (payment_intent: string, type: string, status: string, id: string, moves: number, amount = 1000) =>
  event(`charge.dispute.${type}`, {
    id,
    object: "dispute",
    payment_intent,
    amount,
    currency: "usd",
    status,
    balance_transactions: Array.from({ length: moves }, () => ({ object: "balance_transaction" })),
  });

async function paid(amount_total = 1000): Promise<{ payer: Caller; pi: string }> {
  const payer = await site.newcomer();
  const pi = nextId("pi");
  await site.outcomeOf(
    completed({
      client_reference_id: payer.reference,
      amount_total,
      amount_subtotal: amount_total,
      payment_intent: pi,
    }),
  );
  return { payer, pi };
}

const cents = async (payer: Caller): Promise<number> => (await payer.envelope.state()).balance_micros / 10_000;

describe("a refund", () => {
  it("takes back what it refunds, once, whatever events tell of it", async () => {
    const { payer, pi } = await paid();
    const id = nextId("re");
    const events = [
      refund(pi, 300, "pending", id, "refund.created"),
      refund(pi, 300, "succeeded", id),
      refund(pi, 300, "succeeded", id),
    ];
    const outcomes = [];
    for (const one of events) outcomes.push(await site.outcomeOf(one));
    expect(outcomes).toEqual(["reversed", "ignored", "ignored"]);
    expect(await cents(payer)).toBe(700);
  });

  it("of a payment that carried tax takes its part of the credit, and the last one exactly the rest", async () => {
    const payer = await site.newcomer();
    const pi = nextId("pi");
    const fields = {
      amount_total: 1190,
      amount_subtotal: 1000,
      total_details: { amount_tax: 190 },
      payment_intent: pi,
    };
    await site.outcomeOf(completed({ client_reference_id: payer.reference, ...fields }));
    expect(await cents(payer)).toBe(1000);
    for (const part of [397, 397]) await site.outcomeOf(refund(pi, part));
    expect((await payer.envelope.state()).balance_micros).toBe(10_000_000 - Math.floor((10_000_000 * 794) / 1190));
    await site.outcomeOf(refund(pi, 396));
    expect(await cents(payer)).toBe(0);
  });

  it("T39 that failed later is undone", async () => {
    const { payer, pi } = await paid();
    const id = nextId("re");
    await site.outcomeOf(refund(pi, 1000, "pending", id, "refund.created"));
    expect(await cents(payer)).toBe(0);
    expect(await site.outcomeOf(refund(pi, 1000, "failed", id, "refund.failed"))).toBe("reversed");
    expect(await cents(payer)).toBe(1000);
    expect((await payer.envelope.entries()).map(({ kind }) => kind)).toEqual(["topup", "clawback", "reinstatement"]);
  });

  it("T39 above the payment takes no more than it gave", async () => {
    const { payer, pi } = await paid();
    for (const part of [800, 800]) await site.outcomeOf(refund(pi, part));
    expect(await cents(payer)).toBe(0);
  });

  it("T39 before its payment waits, and is applied when the payment comes", async () => {
    const payer = await site.newcomer();
    const pi = nextId("pi");
    expect(await site.outcomeOf(refund(pi, 400))).toBe("pending");
    expect(await site.outcomeOf(refund(pi, 100))).toBe("pending");
    expect(
      await site.outcomeOf(completed({ client_reference_id: payer.reference, amount_total: 1000, payment_intent: pi })),
    ).toBe("credited");
    expect(await cents(payer)).toBe(500);
    expect(await site.outcomeOf(refund(pi, 100))).toBe("reversed");
    expect(await cents(payer)).toBe(400);
  });

  it("T39 of a payment that is not ours touches nothing", async () => {
    const { payer } = await paid();
    expect(await site.outcomeOf(refund(nextId("pi"), 400))).toBe("pending");
    expect(
      await site.outcomeOf(
        event("refund.created", { id: "re_x", amount: 5, status: "succeeded", payment_intent: null }),
      ),
    ).toBe("ignored");
    expect(await cents(payer)).toBe(1000);
  });

  it("T40 of money already spent leaves a debt: spending is refused until it is paid", async () => {
    const { payer, pi } = await paid();
    await payer.fetch("/x?price=900");
    await site.outcomeOf(refund(pi, 1000));
    expect(await cents(payer)).toBe(-900);
    const refused = await payer.fetch("/x?price=1");
    expect([refused.status, refused.headers.get("X-Balance")]).toEqual([402, "-900"]);
    expect(await refused.json()).toMatchObject({ limit: "balance", shortfall: "901", canTopUp: true });
    await site.outcomeOf(completed({ client_reference_id: payer.reference, amount_total: 1000 }));
    expect((await payer.fetch("/x?price=100")).headers.get("X-Balance")).toBe("0");
  });

  it("T40 races with charges: both apply, and the ledger adds up", async () => {
    const { payer, pi } = await paid();
    const charges = Array.from({ length: 40 }, () => payer.fetch("/x?price=20"));
    const statuses = await Promise.all([
      ...charges.map(async (one) => (await one).status),
      site.outcomeOf(refund(pi, 500)),
    ]);
    const charged = statuses.filter((status) => status === 200).length;
    expect(await cents(payer)).toBe(500 - 20 * charged);
  });

  it("charge.refunded alone books nothing: it is a check", async () => {
    const { payer, pi } = await paid();
    const charge = { id: "ch_1", object: "charge", payment_intent: pi, amount_refunded: 300, currency: "usd" };
    expect(await site.outcomeOf(event("charge.refunded", charge))).toBe("ignored");
    expect(await cents(payer)).toBe(1000);
  });
});

describe("T41 a dispute", () => {
  it("freezes when it opens, debits when the money is withdrawn, gives back when it is won", async () => {
    const { payer, pi } = await paid();
    const id = nextId("du");
    expect(await site.outcomeOf(dispute(pi, "created", "needs_response", id, 0))).toBe("ignored");
    expect(await payer.envelope.state()).toMatchObject({ frozen: true, open_disputes: 1, balance_micros: 10_000_000 });
    expect((await payer.fetch("/x?price=1")).status).toBe(403);
    expect(await site.outcomeOf(dispute(pi, "funds_withdrawn", "needs_response", id, 1))).toBe("reversed");
    expect(await cents(payer)).toBe(0);
    await evictAllDurableObjects();
    expect(await payer.envelope.state()).toMatchObject({ frozen: true, open_disputes: 1 });
    expect(await site.outcomeOf(dispute(pi, "funds_reinstated", "won", id, 2))).toBe("reversed");
    expect(await payer.envelope.state()).toMatchObject({ frozen: false, open_disputes: 0, balance_micros: 10_000_000 });
  });

  it("that is lost keeps what it took, and lifts the freeze", async () => {
    const { payer, pi } = await paid();
    const id = nextId("du");
    await site.outcomeOf(dispute(pi, "funds_withdrawn", "needs_response", id, 1, 600));
    await site.outcomeOf(dispute(pi, "closed", "lost", id, 1, 600));
    expect(await payer.envelope.state()).toMatchObject({ frozen: false, balance_micros: 4_000_000 });
  });

  it("that is only an inquiry moves nothing and freezes nothing", async () => {
    const { payer, pi } = await paid();
    const id = nextId("du");
    for (const status of ["warning_needs_response", "warning_under_review", "warning_closed"]) {
      await site.outcomeOf(dispute(pi, status === "warning_closed" ? "closed" : "created", status, id, 0));
    }
    expect(await payer.envelope.state()).toMatchObject({ frozen: false, balance_micros: 10_000_000 });
  });

  it("that is appealed and won in the end is given back", async () => {
    const { payer, pi } = await paid();
    const id = nextId("du");
    const story = [
      dispute(pi, "created", "needs_response", id, 1),
      dispute(pi, "closed", "lost", id, 1),
      dispute(pi, "updated", "appeal_under_review", id, 1),
      dispute(pi, "funds_reinstated", "won", id, 2),
    ];
    for (const one of [story[2], story[0], story[3], story[1]]) await site.outcomeOf(one);
    expect(await payer.envelope.state()).toMatchObject({ frozen: false, balance_micros: 10_000_000 });
  });

  it("won before a refund: the refund takes its part all the same", async () => {
    const { payer, pi } = await paid();
    const id = nextId("du");
    await site.outcomeOf(dispute(pi, "funds_withdrawn", "needs_response", id, 1));
    await site.outcomeOf(dispute(pi, "funds_reinstated", "won", id, 2));
    await site.outcomeOf(refund(pi, 250));
    expect(await cents(payer)).toBe(750);
  });

  it("in the card's own currency counts as the whole payment", async () => {
    const { payer, pi } = await paid();
    const sent = dispute(pi, "funds_withdrawn", "needs_response", nextId("du"), 1, 913);
    Object.assign(sent.data.object, { currency: "eur" });
    await site.outcomeOf(sent);
    expect(await cents(payer)).toBe(0);
  });

  it("freezes nothing where the owner chose so", async () => {
    const lenient = new Site({ stripe: { onDispute: "ignore" } });
    const { payer, pi } = await paid();
    await lenient.outcomeOf(dispute(pi, "created", "needs_response", nextId("du"), 0));
    expect(await payer.envelope.state()).toMatchObject({ frozen: false, open_disputes: 1 });
  });

  it("does not lift a freeze of the owner's own", async () => {
    const { payer, pi } = await paid();
    await payer.envelope.freeze();
    const id = nextId("du");
    await site.outcomeOf(dispute(pi, "created", "needs_response", id, 0));
    await site.outcomeOf(dispute(pi, "closed", "won", id, 0));
    expect((await payer.envelope.state()).frozen).toBe(true);
  });
});

describe("rule 10: what Stripe may invent later", () => {
  it("an unknown status or type is ignored, never an error", async () => {
    const { payer, pi } = await paid();
    expect(await site.outcomeOf(refund(pi, 5, "something_new"))).toBe("ignored");
    expect(await site.outcomeOf(dispute(pi, "created", "something_new", nextId("du"), 0))).toBe("ignored");
    expect(await site.outcomeOf(event("charge.dispute.something_new", { id: "du_x", payment_intent: pi }))).toBe(
      "ignored",
    );
    expect(await cents(payer)).toBe(1000);
  });
});
