import { describe, expect, it } from "vitest";
import { writeReference } from "../../../src/reference.js";
import { keysOf } from "../../../src/settings.js";
import { readEvent } from "../../../src/topup/events.js";
import type { Meaning } from "../../../src/topup/payment.js";
import { micros, USD } from "./values.js";

const KEYS = keysOf({ ENVELOPE_SECRET: "the-root-secret-of-these-tests-0123456789" });
const ID = "0123456789ABCDEFGHIJkl";

function referenceFrom(continent: string): string {
  const request = new Request("https://worker.test/");
  Object.defineProperty(request, "cf", { value: { continent, longitude: "139" } });
  return writeReference(KEYS.reference, ID, request);
}

function meaningOf(session: Readonly<Record<string, unknown>>, type = "checkout.session.completed"): Meaning {
  const object = {
    id: "cs_1",
    mode: "payment",
    payment_status: "paid",
    payment_intent: "pi_1",
    payment_link: "plink_1",
    client_reference_id: referenceFrom("AS"),
    currency: "usd",
    amount_subtotal: 1_000,
    amount_total: 1_150,
    total_details: { amount_discount: 100, amount_shipping: 50, amount_tax: 200 },
    ...session,
  };
  const event = { id: "evt_1", object: "event", type, livemode: true, data: { object } };
  return readEvent(event, {
    currency: USD,
    credit: "net",
    paymentLinks: undefined,
    mode: undefined,
    referenceKeys: KEYS.reference,
    maxCredit: micros(10_000_000_000_000),
    onDispute: "freeze",
  });
}

describe("what is kept of a payment", () => {
  it("T38 that is above the cap: all that its owner needs to assign it, but the owner", () => {
    const meaning = meaningOf({ amount_total: 2_000_000_250 });
    expect(meaning).toMatchObject({
      kind: "unclaimed",
      payment: { reason: "amount", facts: { credit_micros: 20_000_000_000_000 } },
    });
  });

  it("that is credited: every amount as Stripe wrote it, and where the payer was", () => {
    expect(meaningOf({})).toEqual({
      kind: "payment",
      reference: { envelopeId: ID, locationHint: "apac" },
      client_reference_id: referenceFrom("AS"),
      report: {
        payment_id: "pi_1",
        currency: "usd",
        payment: {
          credit_micros: 9_000_000,
          session_id: "cs_1",
          event_id: "evt_1",
          state: "paid",
          currency: "usd",
          livemode: true,
          amount_total: 1_150,
          amount_subtotal: 1_000,
          amount_discount: 100,
          amount_shipping: 50,
          amount_tax: 200,
        },
      },
    });
  });

  it("that nobody claims: enough for the owner to assign it", () => {
    expect(meaningOf({ currency: "jpy" })).toEqual({
      kind: "unclaimed",
      payment: {
        payment_id: "pi_1",
        event_id: "evt_1",
        reason: "currency",
        client_reference_id: referenceFrom("AS"),
        currency: "jpy",
        amount_total: 1_150,
        livemode: true,
        facts: null,
      },
    });
  });

  it("T37 that nobody claims, in our currency: all that its credit needs, once it is assigned", () => {
    const meaning = meaningOf({ client_reference_id: null });
    expect(meaning.kind === "unclaimed" && meaning.payment.facts).toMatchObject({
      state: "paid",
      credit_micros: 9_000_000,
      amount_total: 1_150,
    });
  });

  it.each([
    ["a PaymentIntent's id", "pi_9", "pi_9"],
    ["an expanded PaymentIntent", { id: "pi_9", object: "payment_intent" }, "pi_9"],
    ["none", null, "cs_1"],
    ["an empty id", "", "cs_1"],
    ["an object without an id", {}, "cs_1"],
    ["a number", 9, "cs_1"],
  ])("T32 one payment is one PaymentIntent: %s → $2", (_name, payment_intent, payment_id) => {
    const credited = meaningOf({ payment_intent });
    expect(credited.kind === "payment" && credited.report.payment_id).toBe(payment_id);
    const unclaimed = meaningOf({ payment_intent, mode: "setup" });
    expect(unclaimed.kind === "unclaimed" && unclaimed.payment.payment_id).toBe(payment_id);
  });

  it("T32 the three events of one delayed payment name the same payment", () => {
    const ids = [
      meaningOf({ payment_status: "unpaid" }),
      meaningOf({}, "checkout.session.async_payment_succeeded"),
      meaningOf({}, "checkout.session.async_payment_failed"),
    ].map((meaning) => meaning.kind === "payment" && [meaning.report.payment_id, meaning.report.payment.state]);
    expect(ids).toEqual([
      ["pi_1", "pending"],
      ["pi_1", "paid"],
      ["pi_1", "failed"],
    ]);
  });

  it.each([
    [
      "a reference of 10,000 characters",
      { client_reference_id: `e1_${"x".repeat(10_000)}` },
      { client_reference_id: `e1_${"x".repeat(197)}` },
    ],
    ["a reference that is no text", { client_reference_id: { a: 1 } }, { client_reference_id: null }],
    ["a currency of 100 characters", { currency: "u".repeat(100) }, { currency: "uuuuuuuu" }],
    ["an amount that is none", { amount_total: 0.5 }, { amount_total: null }],
    ["a currency that is no text", { currency: 7 }, { currency: null }],
  ])("T36 T38 nothing of any size or shape: %s", (_name, session, kept) => {
    const meaning = meaningOf(session);
    expect(meaning.kind === "unclaimed" && meaning.payment).toMatchObject(kept);
  });
});
