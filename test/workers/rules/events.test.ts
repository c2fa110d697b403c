import type Stripe from "stripe";
import { describe, expect, it } from "vitest";
import { writeReference } from "../../../src/reference.js";
import { keysOf } from "../../../src/settings.js";
import { readEvent } from "../../../src/topup/events.js";
import type { CreditRules, Meaning } from "../../../src/topup/payment.js";
import { JPY, KWD, micros, USD } from "./values.js";

const KEYS = keysOf({ ENVELOPE_SECRET: "the-root-secret-of-these-tests-0123456789" });
const FORGERS = keysOf({ ENVELOPE_SECRET: "the-root-secret-of-somebody-else-01234567" });
const ID = "0123456789ABCDEFGHIJkl";
const REFERENCE = writeReference(KEYS.reference, ID, new Request("https://worker.test/"));
const FORGED = writeReference(FORGERS.reference, ID, new Request("https://worker.test/"));

const RULES: CreditRules = {
  currency: USD,
  credit: "net",
  paymentLinks: undefined,
  mode: undefined,
  referenceKeys: KEYS.reference,
  maxCredit: micros(10_000_000_000_000),
  onDispute: "freeze",
};
const OURS = { paymentLinks: new Set(["plink_ours"]) };

/** A paid session as Stripe sends it, so far as we read it. Typed by Stripe's package: a field that is renamed there fails here. */
const SESSION = {
  id: "cs_test_1",
  object: "checkout.session",
  mode: "payment",
  status: "complete",
  payment_status: "paid",
  payment_intent: "pi_1",
  payment_link: "plink_ours",
  client_reference_id: REFERENCE,
  currency: "usd",
  currency_conversion: null,
  amount_subtotal: 500,
  amount_total: 500,
  total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
} satisfies Partial<Stripe.Checkout.Session>;

const EVENT = {
  id: "evt_1",
  object: "event",
  type: "checkout.session.completed",
  livemode: false,
} satisfies Partial<Stripe.CheckoutSessionCompletedEvent>;

type Patch = Readonly<Record<string, unknown>>;
type Type = Stripe.Event.Type | "invoice.made_up" | "toString";

interface Case {
  readonly type?: Type;
  readonly session?: Patch;
  readonly event?: Patch;
  readonly rules?: Partial<CreditRules>;
}

function eventOf({ type = EVENT.type, session = {}, event = {} }: Case): unknown {
  return { ...EVENT, type, data: { object: { ...SESSION, ...session } }, ...event };
}

function read(meaning: Meaning): string {
  switch (meaning.kind) {
    case "ignore":
      return "ignore";
    case "unclaimed":
      return `unclaimed ${meaning.payment.reason}`;
    case "payment":
      return `${meaning.report.payment.state} ${meaning.report.payment.credit_micros}`;
    case "reversal":
      return "reversal";
  }
}

const SUCCEEDED = "checkout.session.async_payment_succeeded";
const FAILED = "checkout.session.async_payment_failed";
const taxed = {
  amount_total: 1_150,
  amount_subtotal: 1_000,
  total_details: { amount_discount: 100, amount_shipping: 50, amount_tax: 200 },
};
const STRANGER = { client_reference_id: "order-77", payment_link: "plink_foreign" };

const CASES: readonly (readonly [threat: string, name: string, given: Case, outcome: string])[] = [
  ["T32", "paid", {}, "paid 5000000"],
  ["T32", "unpaid: a delayed method", { session: { payment_status: "unpaid" } }, "pending 5000000"],
  [
    "T32",
    "nothing to pay: a full discount",
    { session: { payment_status: "no_payment_required", amount_total: 0 } },
    "ignore",
  ],
  ["T32", "delayed, succeeded", { type: SUCCEEDED }, "paid 5000000"],
  [
    "T32",
    "delayed, succeeded, whatever the status says",
    { type: SUCCEEDED, session: { payment_status: "unpaid" } },
    "paid 5000000",
  ],
  ["T32", "delayed, failed", { type: FAILED, session: { payment_status: "unpaid" } }, "failed 5000000"],
  ["T32", "payment_intent.succeeded: the session speaks for it", { type: "payment_intent.succeeded" }, "ignore"],
  ["T32", "paid, and the session is open", { session: { status: "open" } }, "pending 5000000"],
  ["T32", "paid, and the session expired", { session: { status: "expired" } }, "pending 5000000"],
  ["T32", "paid, in a status of tomorrow", { session: { status: "paused" } }, "pending 5000000"],
  [
    "T32",
    "delayed, succeeded, and the session is open",
    { type: SUCCEEDED, session: { status: "open" } },
    "pending 5000000",
  ],
  ["T32", "paid, and no status", { session: { status: null } }, "paid 5000000"],
  ["T32", "expired", { type: "checkout.session.expired", session: { payment_status: "unpaid" } }, "failed 5000000"],
  ["T34", "expired, a stranger's", { type: "checkout.session.expired", session: STRANGER, rules: OURS }, "ignore"],
  ["T32", "a type of tomorrow", { type: "invoice.made_up" }, "ignore"],
  ["T32", "a type that every object has", { type: "toString" }, "ignore"],
  ["T32", "a status of tomorrow", { session: { payment_status: "paid_partly" } }, "unclaimed malformed"],
  ["T32", "net of tax and shipping", { session: taxed }, "paid 9000000"],
  ["T32", "total", { session: taxed, rules: { credit: "total" } }, "paid 11500000"],
  ["T32", "subtotal", { session: taxed, rules: { credit: "subtotal" } }, "paid 10000000"],
  ["T32", "subtotal missing, not asked for", { session: { amount_subtotal: null } }, "paid 5000000"],
  [
    "T38",
    "subtotal missing, asked for",
    { session: { amount_subtotal: null }, rules: { credit: "subtotal" } },
    "unclaimed amount",
  ],
  ["T32", "no details: no tax, no shipping", { session: { total_details: null } }, "paid 5000000"],
  ["T32", "details without a shipping field", { session: { total_details: { amount_tax: 100 } } }, "paid 4000000"],
  ["T34", "yen on usd", { session: { currency: "jpy" } }, "unclaimed currency"],
  ["T32", "yen on yen: whole main units", { session: { currency: "jpy" }, rules: { currency: JPY } }, "paid 500000000"],
  ["T32", "fils on fils: thousandths", { session: { currency: "kwd" }, rules: { currency: KWD } }, "paid 500000"],
  ["T34", "currency in upper case", { session: { currency: "USD" } }, "unclaimed currency"],
  ["T34", "currency null", { session: { currency: null } }, "unclaimed currency"],
  [
    "T34",
    "converted from another currency",
    { session: { currency_conversion: { amount_total: 450 } } },
    "unclaimed currency",
  ],
  ["T34", "subscription", { session: { mode: "subscription" } }, "unclaimed mode"],
  ["T34", "setup", { session: { mode: "setup" } }, "unclaimed mode"],
  ["T34", "setup, nothing due", { session: { mode: "setup", payment_status: "no_payment_required" } }, "ignore"],
  ["T34", "live event, test key", { event: { livemode: true }, rules: { mode: "test" } }, "unclaimed livemode"],
  ["T34", "test event, live key", { rules: { mode: "live" } }, "unclaimed livemode"],
  ["T34", "test event, test key", { rules: { mode: "test" } }, "paid 5000000"],
  ["T34", "live event, live key", { event: { livemode: true }, rules: { mode: "live" } }, "paid 5000000"],
  ["T34", "no livemode, live key", { event: { livemode: undefined }, rules: { mode: "live" } }, "unclaimed livemode"],
  ["T34", "a connected account", { event: { account: "acct_1" } }, "ignore"],
  ["T34", "a context of another account", { event: { context: "acct_1" } }, "ignore"],
  ["T34", "account null is our own", { event: { account: null } }, "paid 5000000"],
  ["T34", "our link", { rules: OURS }, "paid 5000000"],
  [
    "T34",
    "a foreign link with a reference of ours",
    { session: { payment_link: "plink_foreign" }, rules: OURS },
    "unclaimed link",
  ],
  ["T34", "no link with a reference of ours", { session: { payment_link: null }, rules: OURS }, "unclaimed link"],
  ["T34", "no link, no list", { session: { payment_link: null } }, "paid 5000000"],
  ["T34", "a stranger's payment", { session: STRANGER, rules: OURS }, "ignore"],
  ["T34", "a stranger's payment without a link", { session: { ...STRANGER, payment_link: null } }, "ignore"],
  ["T34", "a stranger's, and no list to tell the link by", { session: STRANGER }, "unclaimed reference_invalid"],
  [
    "T36",
    "no reference, our link",
    { session: { client_reference_id: null }, rules: OURS },
    "unclaimed reference_missing",
  ],
  [
    "T36",
    "an empty reference, our link",
    { session: { client_reference_id: "" }, rules: OURS },
    "unclaimed reference_missing",
  ],
  ["T36", "no reference, no list", { session: { client_reference_id: null } }, "unclaimed reference_missing"],
  ["T36", "no reference, no link, no list", { session: { client_reference_id: null, payment_link: null } }, "ignore"],
  [
    "T36",
    "no reference, a foreign link",
    { session: { ...STRANGER, client_reference_id: null }, rules: OURS },
    "ignore",
  ],
  ["T36", "a forged reference", { session: { client_reference_id: FORGED } }, "unclaimed reference_invalid"],
  [
    "T36",
    "a forged reference, no link",
    { session: { client_reference_id: FORGED, payment_link: null } },
    "unclaimed reference_invalid",
  ],
  [
    "T36",
    "201 characters",
    { session: { client_reference_id: `e1_${"x".repeat(198)}` } },
    "unclaimed reference_invalid",
  ],
  ["T36", "unicode", { session: { client_reference_id: "e1_ünïcödé" } }, "unclaimed reference_invalid"],
  ["T36", "a reference that is no text", { session: { client_reference_id: 7 } }, "unclaimed reference_missing"],
  ["T38", "amount null", { session: { amount_total: null } }, "unclaimed amount"],
  ["T38", "amount missing", { session: { amount_total: undefined } }, "unclaimed amount"],
  ["T38", "amount 0", { session: { amount_total: 0 } }, "unclaimed amount"],
  ["T38", "amount negative", { session: { amount_total: -500 } }, "unclaimed amount"],
  ["T38", "amount a fraction", { session: { amount_total: 0.5 } }, "unclaimed amount"],
  ["T38", "amount a text", { session: { amount_total: "500" } }, "unclaimed amount"],
  ["T38", "amount 2^53", { session: { amount_total: 2 ** 53 } }, "unclaimed amount"],
  ["T38", "amount above 2^53−1 micros", { session: { amount_total: 900_719_925_475 } }, "unclaimed amount"],
  ["T38", "amount just below 2^53 micros", { session: { amount_total: 900_719_925_474 } }, "unclaimed amount"],
  ["T38", "amount at the cap", { session: { amount_total: 1_000_000_000 } }, "paid 10000000000000"],
  ["T38", "amount above the cap", { session: { amount_total: 1_000_000_001 } }, "unclaimed amount"],
  [
    "T38",
    "amount above the cap, of which the rest is tax",
    { session: { amount_total: 1_000_000_001, total_details: { amount_tax: 1 } } },
    "paid 10000000000000",
  ],
  [
    "T38",
    "amount above a cap of its own",
    { session: { amount_total: 501 }, rules: { maxCredit: micros(5_000_000) } },
    "unclaimed amount",
  ],
  ["T38", "above the cap and unpaid", { session: { payment_status: "unpaid", amount_total: 1e10 } }, "ignore"],
  ["T38", "all of it tax", { session: { total_details: { amount_tax: 500 } } }, "unclaimed amount"],
  ["T38", "more tax than money", { session: { total_details: { amount_tax: 501 } } }, "unclaimed amount"],
  ["T38", "tax negative", { session: { total_details: { amount_tax: -100 } } }, "unclaimed amount"],
  ["T38", "tax a fraction", { session: { total_details: { amount_tax: 0.5 } } }, "unclaimed amount"],
  ["T38", "shipping a text", { session: { total_details: { amount_shipping: "9" } } }, "unclaimed amount"],
  [
    "T34",
    "pending and not creditable: not yet anybody's",
    { session: { payment_status: "unpaid", currency: "jpy" } },
    "ignore",
  ],
  ["T34", "failed and not creditable: no money came", { type: FAILED, session: { currency: "jpy" } }, "ignore"],
];

describe("from an event of Stripe's to what it means", () => {
  for (const [threat, name, given, outcome] of CASES) {
    it(`${threat} ${name} → ${outcome}`, () => {
      expect(read(readEvent(eventOf(given), { ...RULES, ...given.rules }))).toBe(outcome);
    });
  }

  it.each<readonly [name: string, event: unknown, outcome: string]>([
    ["nothing", undefined, "ignore"],
    ["null", null, "ignore"],
    ["a number", 1, "ignore"],
    ["an array", [EVENT], "ignore"],
    ["an empty object", {}, "ignore"],
    ["another object", { ...EVENT, object: "charge" }, "ignore"],
    ["a thin event", { ...EVENT, object: "v2.core.event" }, "ignore"],
    ["an event without an id", { ...EVENT, id: undefined }, "ignore"],
    ["an event without data", EVENT, "unclaimed malformed"],
    ["data null", { ...EVENT, data: null }, "unclaimed malformed"],
    ["data an array", { ...EVENT, data: [] }, "unclaimed malformed"],
    ["data.object missing", { ...EVENT, data: {} }, "unclaimed malformed"],
    ["data.object null", { ...EVENT, data: { object: null } }, "unclaimed malformed"],
    ["data.object an array", { ...EVENT, data: { object: [SESSION] } }, "unclaimed malformed"],
    ["data.object a text", { ...EVENT, data: { object: "cs_1" } }, "unclaimed malformed"],
    ["a session without an id", { ...EVENT, data: { object: { ...SESSION, id: 7 } } }, "unclaimed malformed"],
    ["of a session that expired", { ...EVENT, type: "checkout.session.expired", data: null }, "ignore"],
  ])("T29 %s → $2", (_name, event, outcome) => {
    expect(read(readEvent(event, RULES))).toBe(outcome);
  });
});
