import { describe, expect, it } from "vitest";
import type { Reversal } from "../../../src/contract.js";
import { joinReversal } from "../../../src/envelope/payments.js";
import { writeReference } from "../../../src/reference.js";
import { keysOf } from "../../../src/settings.js";
import { readEvent, readThin, snapshotOf } from "../../../src/topup/events.js";
import { type CreditRules, type Meaning, REFERENCE_METADATA } from "../../../src/topup/payment.js";
import { micros, USD } from "./values.js";

const KEYS = keysOf({ ENVELOPE_SECRET: "the-root-secret-of-these-tests-0123456789" });
const REFERENCE = writeReference(KEYS.reference, "0123456789ABCDEFGHIJkl", new Request("https://worker.test/"));
const RULES: CreditRules = {
  currency: USD,
  credit: "net",
  paymentLinks: undefined,
  mode: undefined,
  referenceKeys: KEYS.reference,
  maxCredit: micros(10_000_000_000_000),
  onDispute: "freeze",
};

type Patch = Readonly<Record<string, unknown>>;

function meaningOf(type: string, object: Patch, rules: Partial<CreditRules> = {}, event: Patch = {}): Meaning {
  const about = { id: "x_1", payment_intent: "pi_1", currency: "usd", amount: 300, ...object };
  return readEvent(
    { id: "evt_1", object: "event", type, livemode: false, created: 1_700_000_000, data: { object: about }, ...event },
    { ...RULES, ...rules },
  );
}

function read(meaning: Meaning): string {
  if (meaning.kind === "payment") return `${meaning.report.payment.state} ${meaning.report.payment.credit_micros}`;
  if (meaning.kind === "unclaimed") return `unclaimed ${meaning.payment.reason}`;
  if (meaning.kind === "ignore") return "ignore";
  const { kind, rank, amount, whole, open, freezes } = meaning.report.reversal as Reversal;
  const flags = Object.entries({ whole, open, freezes }).flatMap(([name, on]) => (on ? [name] : []));
  return [kind, rank, amount, ...flags].join(" ");
}

const listed = (...amounts: number[]) => ({ balance_transactions: amounts.map((amount) => ({ amount })) });
const moves = (count: number) => ({ balance_transactions: Array.from({ length: count }, () => ({})) });

const CASES: readonly (readonly [threat: string, type: string, object: Patch, outcome: string])[] = [
  ["T39", "refund.created", { status: "pending" }, "refund 1 300"],
  ["T39", "refund.created", { status: "requires_action" }, "refund 1 300"],
  ["T39", "refund.updated", { status: "succeeded" }, "refund 2 300"],
  ["T39", "refund.failed", { status: "failed" }, "refund 3 300"],
  ["T39", "refund.updated", { status: "canceled" }, "refund 3 300"],
  ["T39", "refund.updated", { status: "of tomorrow" }, "ignore"],
  ["T39", "refund.updated", { status: "constructor" }, "ignore"],
  ["T39", "refund.updated", { status: "__proto__" }, "ignore"],
  ["T38", "refund.updated", { status: "succeeded", amount: 0.5 }, "ignore"],
  ["T38", "refund.updated", { status: "succeeded", amount: -1 }, "ignore"],
  ["T39", "refund.updated", { status: "succeeded", payment_intent: null }, "ignore"],
  ["T39", "refund.updated", { status: "succeeded", payment_intent: { id: "pi_1" } }, "refund 2 300"],
  ["T39", "charge.refunded", { amount_refunded: 200 }, "check 0 200"],
  ["T39", "charge.refunded", { amount_refunded: null }, "ignore"],
  ["T40", "charge.dispute.created", { status: "needs_response" }, "dispute 0 300 open freezes"],
  ["T40", "charge.dispute.created", { status: "warning_needs_response" }, "dispute 0 300 freezes"],
  ["T40", "charge.dispute.created", { status: "needs_response", ...moves(1) }, "dispute 1 300 open freezes"],
  ["T40", "charge.dispute.funds_withdrawn", { status: "under_review" }, "dispute 1 300 open freezes"],
  ["T40", "charge.dispute.funds_reinstated", { status: "won" }, "dispute 2 300 freezes"],
  ["T40", "charge.dispute.funds_withdrawn", { status: "lost", ...moves(3) }, "dispute 3 300 freezes"],
  ["T40", "charge.dispute.updated", { status: "under_review", ...listed(-300, -15) }, "dispute 1 300 open freezes"],
  ["T40", "charge.dispute.updated", { status: "won", ...listed(-300, -15, 300, 15) }, "dispute 2 300 freezes"],
  ["T40", "charge.dispute.updated", { status: "won", ...listed(0, -300, 0, 300, 0) }, "dispute 2 300 freezes"],
  ["T40", "charge.dispute.closed", { status: "lost", ...listed(-300, 300, -300) }, "dispute 3 300 freezes"],
  ["T40", "charge.dispute.closed", { status: "lost", ...moves(1) }, "dispute 1 300 freezes"],
  ["T40", "charge.dispute.closed", { status: "won", ...moves(2) }, "dispute 2 300 freezes"],
  ["T40", "charge.dispute.updated", { status: "of tomorrow" }, "ignore"],
  ["T40", "charge.dispute.updated", { status: "constructor" }, "ignore"],
  ["T40", "charge.dispute.updated", { status: "of tomorrow", ...moves(1) }, "dispute 1 300 freezes"],
  ["T40", "charge.dispute.funds_withdrawn", { status: "of tomorrow" }, "dispute 1 300 freezes"],
  ["T34", "charge.dispute.funds_withdrawn", { status: "lost", currency: "eur" }, "dispute 1 300 whole freezes"],
  ["T40", "radar.early_fraud_warning.created", {}, "warning 0 0"],
  ["T39", "charge.refund.updated", { status: "succeeded" }, "ignore"],
];

describe("what a refund, a dispute or a warning means", () => {
  it.each(CASES)("%s %s %j → %s", (_threat, type, object, outcome) => {
    expect(read(meaningOf(type, object))).toBe(outcome);
  });

  it("T33 names its payment, itself and when it was told, so that it can be parked and joined", () => {
    expect(meaningOf("refund.created", { id: "re_9", status: "pending" })).toEqual({
      kind: "reversal",
      event_id: "evt_1",
      report: {
        payment_id: "pi_1",
        currency: "usd",
        reversal: {
          reversal_id: "re_9",
          kind: "refund",
          rank: 1,
          amount: 300,
          currency: "usd",
          whole: false,
          open: false,
          freezes: false,
          told_at: 1_700_000_000,
          status_rank: 1,
        },
      },
    });
  });

  it("T40 a dispute does not freeze where the owner said so; T34 nor is one of another mode or account heard", () => {
    const lost = { status: "needs_response" };
    expect(read(meaningOf("charge.dispute.created", lost, { onDispute: "ignore" }))).toBe("dispute 0 300 open");
    expect(read(meaningOf("charge.dispute.created", lost, { mode: "live" }))).toBe("ignore");
    expect(read(meaningOf("charge.dispute.created", lost, {}, { account: "acct_1" }))).toBe("ignore");
    expect(read(meaningOf("charge.dispute.created", lost, {}, { created: "soon" }))).toBe("ignore");
  });
});

it("T41 a status that Stripe has yet to invent moves money, and neither freezes nor unfreezes", () => {
  const of = (status: string) => {
    const meaning = meaningOf("charge.dispute.funds_withdrawn", { status });
    if (meaning.kind !== "reversal" || meaning.report.reversal === undefined) throw new Error("Not a reversal");
    return meaning.report.reversal;
  };
  const [unknown, open] = [of("of tomorrow"), of("under_review")];
  for (const joined of [joinReversal(unknown, open), joinReversal(open, unknown)]) expect(joined).toEqual(open);
});

describe("T32 a PaymentIntent", () => {
  const ours = { metadata: { [REFERENCE_METADATA]: REFERENCE }, amount_received: 300 };
  it.each<readonly [name: string, type: string, object: Patch, outcome: string]>([
    ["that we made", "payment_intent.succeeded", ours, "paid 3000000"],
    [
      "that we made, over what was received",
      "payment_intent.succeeded",
      { ...ours, amount_received: 200 },
      "paid 2000000",
    ],
    ["that failed", "payment_intent.payment_failed", ours, "failed 3000000"],
    ["of a session, which speaks for it", "payment_intent.succeeded", { metadata: {} }, "ignore"],
    ["without metadata", "payment_intent.succeeded", { metadata: null }, "ignore"],
    ["in another currency", "payment_intent.succeeded", { ...ours, currency: "eur" }, "unclaimed currency"],
    [
      "with a forged reference",
      "payment_intent.succeeded",
      { metadata: { [REFERENCE_METADATA]: "e1_x" }, amount_received: 300 },
      "unclaimed reference_invalid",
    ],
    ["that failed, in another currency", "payment_intent.payment_failed", { ...ours, currency: "eur" }, "ignore"],
    ["T38 of a fraction", "payment_intent.succeeded", { ...ours, amount_received: 0.5 }, "unclaimed amount"],
  ])("%s: %s → $3", (_name, type, object, outcome) => {
    expect(read(meaningOf(type, object))).toBe(outcome);
  });
});

describe("T29 a thin event", () => {
  const thin = {
    id: "evt_thin",
    object: "v2.core.event",
    type: "v1.refund.updated",
    created: "2023-11-14T22:13:20.000Z",
    livemode: false,
    related_object: { id: "x_1", type: "refund" },
  };

  it("means what its snapshot would mean, with the object as it is now", () => {
    const event = readThin(thin);
    if (event === undefined) throw new Error("It is a thin event");
    const object = { id: "x_1", payment_intent: "pi_1", currency: "usd", amount: 300, status: "succeeded" };
    expect(readEvent(snapshotOf(event, object), RULES)).toEqual({
      ...meaningOf("refund.updated", { status: "succeeded" }),
      event_id: "evt_thin",
    });
    expect(readEvent(snapshotOf(event, undefined), RULES), "the object is gone").toEqual({ kind: "ignore" });
  });

  it.each<readonly [name: string, patch: Patch]>([
    ["a snapshot", { object: "event" }],
    ["a type that moves no money", { type: "v1.customer.created" }],
    ["no object", { related_object: null }],
    ["no time", { created: "soon" }],
    ["of another account", { context: "acct_1" }],
    ["without an id", { id: 7 }],
  ])("is none: %s", (_name, patch) => {
    expect(readThin({ ...thin, ...patch })).toBeUndefined();
  });
});
