/** T33 to T45 for what takes money back: refunds, disputes and thin events through the real webhook. */
import { abortAllDurableObjects } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Envelope, EnvelopeDirectory, unclaimedPayments } from "../../../src/index.js";
import type { StripeAccount } from "../../stripe/account.js";
import type { Dispute, Event, EventType, Session } from "../../stripe/objects.js";
import { thinOf } from "../../stripe/objects.js";
import { STORIES, tellStory } from "../../stripe/orders.js";
import type { StripeStandIn } from "../../stripe/stand-in.js";
import { type Caller, Site } from "../support.js";
import { judgeSite, siteWithStripe } from "./support.js";

const CENT = 10_000;

let site: Site;
let standIn: StripeStandIn;
let account: StripeAccount;
let caller: Caller;
/** Seconds. Moves by hand, so that a test says what shared a second and what did not. */
let now: number;

beforeEach(async () => {
  now = Math.floor(Date.now() / 1000) - 3600;
  ({ site, standIn } = siteWithStripe({ now: () => now }));
  ({ account } = standIn);
  caller = await site.newcomer();
});
afterEach(() => vi.restoreAllMocks());

const pay = (amount = 1000, tax = 0) => account.checkout({ reference: caller.reference, amount, tax });
const intentOf = (session: Session) => String(session.payment_intent);

const eventOf = (type: EventType): Event => {
  const event = account.events.findLast((one) => one.type === type);
  if (event === undefined) throw new Error(`No ${type} yet`);
  return event;
};

/** Delivers the newest event of this type, or of each. */
async function deliver(...types: EventType[]): Promise<string[]> {
  const outcomes: string[] = [];
  for (const type of types) outcomes.push(await site.outcomeOf(eventOf(type)));
  return outcomes;
}

const balance = async () => (await caller.envelope.state()).balance_micros / CENT;
const kinds = async () =>
  (await caller.envelope.entries()).map(({ kind, amount_micros }) => [kind, amount_micros / CENT]);

/** A caller who has paid, and whose payment is booked. */
async function paid(amount = 1000, tax = 0): Promise<string> {
  const session = pay(amount, tax);
  expect(await deliver("checkout.session.completed")).toEqual(["credited"]);
  return intentOf(session);
}

describe("T39 refunds", () => {
  it("more is refunded than was paid for goods: never more than the credit is taken", async () => {
    const id = await paid(1190, 190);
    expect(await balance()).toBe(1000);
    account.refund(id, 1190);
    expect(await deliver("refund.created")).toEqual(["reversed"]);
    expect(await balance()).toBe(0);
    // And a bank that takes the whole of it once more.
    account.withdraw(account.dispute(id, 1190));
    await deliver("charge.dispute.created", "charge.dispute.funds_withdrawn");
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -1000],
    ]);
  });

  it("a single refund larger than the payment is no more than all of it", async () => {
    const id = await paid();
    account.refund(id, 5000);
    await deliver("refund.created");
    expect(await balance()).toBe(0);
  });

  it("of money that is spent already goes below zero; then only a top-up helps", async () => {
    const id = await paid();
    expect(await caller.fetch("/page?price=900").then(({ status }) => status)).toBe(200);
    account.refund(id, 1000);
    await deliver("refund.created");
    expect(await balance()).toBe(-900);
    const refused = await caller.fetch("/page?price=1");
    expect([refused.status, refused.headers.get("X-Balance")]).toEqual([402, "-900"]);
    await paid(1000);
    expect(await balance()).toBe(100);
    expect((await caller.fetch("/page?price=100")).status).toBe(200);
  });

  it("of a PaymentIntent of somebody else: nobody's balance changes, however often it comes", async () => {
    await paid();
    const shop = account.checkout({ reference: null, amount: 700, link: null });
    account.refund(intentOf(shop), 700);
    for (let time = 0; time < 3; time++) expect(await deliver("refund.created")).toEqual(["pending"]);
    expect(await kinds()).toEqual([["topup", 1000]]);
  });

  it("before the top-up is parked, and applied with it", async () => {
    const session = pay();
    account.refund(intentOf(session), 400);
    expect(await deliver("refund.created", "charge.refunded")).toEqual(["pending", "pending"]);
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: 0, funded: false });
    expect(await deliver("checkout.session.completed")).toEqual(["credited"]);
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -400],
    ]);
    expect(await deliver("refund.created", "checkout.session.completed")).toEqual(["duplicate", "duplicate"]);
    expect(await balance()).toBe(600);
  });

  it("between the pending and the paid session takes effect when the money does", async () => {
    const session = account.checkout({ reference: caller.reference, amount: 1000, payment: "unpaid" });
    expect(await deliver("checkout.session.completed")).toEqual(["pending"]);
    account.settle(session, "paid");
    account.refund(intentOf(session), 1000);
    await deliver("refund.created");
    expect(await balance()).toBe(0);
    expect(await deliver("checkout.session.async_payment_succeeded")).toEqual(["credited"]);
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -1000],
    ]);
  });

  it.each(["failed", "canceled"] as const)(
    "that is %s later gives the money back, whichever comes first",
    async (end) => {
      const id = await paid();
      const type = end === "failed" ? "refund.failed" : "refund.updated";
      const refund = account.refund(id, 300, "pending");
      const created = eventOf("refund.created");
      account.moveRefund(refund, end);
      expect(await site.outcomeOf(created)).toBe("reversed");
      expect(await balance()).toBe(700);
      expect(await deliver(type)).toEqual(["reversed"]);
      expect(await balance()).toBe(1000);
      expect(await site.outcomeOf(created)).toBe("duplicate");

      const other = account.refund(id, 200, "pending");
      account.moveRefund(other, end);
      await deliver(type, "refund.created");
      expect(await balance()).toBe(1000);
    },
  );

  it("in parts: each takes its share, and the last exactly the rest", async () => {
    const id = await paid(1190, 190);
    const left: number[] = [];
    for (const part of [397, 397, 395, 1]) {
      account.refund(id, part);
      await deliver("refund.created");
      left.push((await caller.envelope.state()).balance_micros);
    }
    // 1,000 × 397/1,190 = 333.6134… cents, rounded down to a micro of what was taken so far.
    expect(left).toEqual([6_663_866, 3_327_732, 8_404, 0]);
  });

  it("whose own event is late or lost is taken back by charge.refunded, and once", async () => {
    const id = await paid();
    account.refund(id, 300);
    expect(await deliver("charge.refunded")).toEqual(["reversed"]);
    expect(await balance()).toBe(700);
    expect(await deliver("refund.created")).toEqual(["ignored"]);
    account.refund(id, 200);
    expect(await deliver("charge.refunded")).toEqual(["reversed"]);
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -300],
      ["clawback", -200],
    ]);
  });

  it("that fails is given back, whether or not charge.refunded was all that told of it", async () => {
    const id = await paid();
    const refund = account.refund(id, 300);
    await deliver("charge.refunded");
    account.moveRefund(refund, "failed");
    expect(await deliver("refund.failed")).toEqual(["reversed"]);
    expect(await balance()).toBe(1000);
    expect(await deliver("refund.created", "charge.refunded")).toEqual(["duplicate", "duplicate"]);
    expect(await balance()).toBe(1000);
  });

  it.each([
    ["another mode", { livemode: true }],
    ["another account", { account: "acct_somebody_else" }],
  ])("told of %s is ignored", async (_of, changes) => {
    account.refund(await paid(), 300);
    expect(await site.outcomeOf({ ...eventOf("refund.created"), ...changes })).toBe("ignored");
    expect(await balance()).toBe(1000);
  });

  it("with a status or an amount that nobody knows is ignored, and answered 200", async () => {
    account.refund(await paid(), 300);
    const event = eventOf("refund.created");
    for (const changes of [{ status: "reversed_by_magic" }, { amount: -300 }, { amount: 0.5 }, { amount: null }]) {
      const object = { ...event.data.object, ...changes };
      expect(await site.outcomeOf({ ...event, data: { object } })).toBe("ignored");
    }
    expect(await balance()).toBe(1000);
  });
});

describe("T34 T39 a credited payment that is told again in words that cannot be credited", () => {
  /** The owner moves to another link, and somebody presses "Resend" on an old event. */
  async function creditedAndResent(): Promise<string> {
    const id = await paid();
    await new Site({ stripe: { paymentLinks: ["plink_new"] } }).webhook(eventOf("checkout.session.completed"));
    return id;
  }

  it("is not listed as in no envelope", async () => {
    const id = await creditedAndResent();
    expect((await unclaimedPayments(env)).map(({ payment_id }) => payment_id)).not.toContain(id);
  });

  it("its refund still reaches its envelope", async () => {
    account.refund(await creditedAndResent(), 400);
    expect(await deliver("refund.created")).toEqual(["reversed"]);
    expect(await balance()).toBe(600);
  });
});

describe("nothing is created until money arrives", () => {
  it("a checkout that nobody finished leaves no envelope behind", async () => {
    account.expire(account.checkout({ reference: caller.reference, amount: 1000, payment: "open" }));
    expect(await deliver("checkout.session.expired")).toEqual(["ignored"]);
    // The currency is written when an envelope is.
    expect((await caller.envelope.state()).currency).toBeNull();
  });
});

describe("T40 a refund that races spending", () => {
  it("both apply; nothing is spent below zero but what was taken back", async () => {
    const id = await paid();
    account.refund(id, 600);
    const charges = Array.from({ length: 20 }, () => caller.fetch("/page?price=100"));
    const [statuses] = await Promise.all([
      Promise.all(charges).then((answers) => answers.map(({ status }) => status)),
      deliver("refund.created"),
    ]);
    const spent = statuses.filter((status) => status === 200).length * 100;
    expect(spent).toBeGreaterThanOrEqual(400);
    expect(spent).toBeLessThanOrEqual(1000);
    expect(await balance()).toBe(400 - spent);
    expect((await caller.fetch("/page?price=1")).status).toBe(402);
  });
});

describe("T41 disputes", () => {
  const stateOf = async () => {
    const { balance_micros, frozen, open_disputes } = await caller.envelope.state();
    return [balance_micros / CENT, frozen, open_disputes];
  };
  const step = async (move: () => void, type: EventType): Promise<string[]> => {
    now += 1;
    move();
    return deliver(type);
  };
  const open = async (id: string, amount = 1000, fields: Partial<Dispute> = {}): Promise<Dispute> => {
    now += 1;
    const dispute = account.dispute(id, amount, fields);
    await deliver("charge.dispute.created");
    return dispute;
  };

  it("an inquiry moves nothing and freezes nothing", async () => {
    const dispute = await open(await paid(), 1000, { status: "warning_needs_response" });
    expect(await stateOf()).toEqual([1000, false, 0]);
    await step(() => account.moveDispute(dispute, "warning_under_review"), "charge.dispute.updated");
    await step(() => account.moveDispute(dispute, "warning_closed"), "charge.dispute.closed");
    expect(await stateOf()).toEqual([1000, false, 0]);
    expect(await kinds()).toHaveLength(1);
  });

  it("an inquiry that becomes a dispute freezes, and takes when the bank takes", async () => {
    const dispute = await open(await paid(), 1000, { status: "warning_needs_response" });
    await step(() => account.moveDispute(dispute, "needs_response"), "charge.dispute.updated");
    expect(await stateOf()).toEqual([1000, true, 1]);
    expect((await caller.fetch("/page?price=1")).status).toBe(403);
    expect(await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn")).toEqual(["reversed"]);
    expect(await stateOf()).toEqual([0, true, 1]);
  });

  it("lost: the money stays away, and the envelope opens again", async () => {
    const dispute = await open(await paid());
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "lost"), "charge.dispute.closed");
    expect(await stateOf()).toEqual([0, false, 0]);
    await paid(500);
    expect((await caller.fetch("/page?price=500")).status).toBe(200);
  });

  it("won: the money comes back when the bank gives it back", async () => {
    const dispute = await open(await paid());
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "won"), "charge.dispute.closed");
    expect(await stateOf()).toEqual([0, false, 0]);
    await step(() => account.reinstate(dispute), "charge.dispute.funds_reinstated");
    expect(await stateOf()).toEqual([1000, false, 0]);
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -1000],
      ["reinstatement", 1000],
    ]);
  });

  it("won, then refunded: the refund takes its whole part (I5)", async () => {
    const id = await paid();
    const dispute = await open(id);
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "won"), "charge.dispute.closed");
    await step(() => account.reinstate(dispute), "charge.dispute.funds_reinstated");
    await step(() => account.refund(id, 700), "refund.created");
    expect(await balance()).toBe(300);
  });

  it("lost, appealed and won after all", async () => {
    const dispute = await open(await paid());
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "lost"), "charge.dispute.closed");
    await step(() => account.moveDispute(dispute, "appeal_needs_response"), "charge.dispute.updated");
    expect(await stateOf()).toEqual([0, true, 1]);
    await step(() => account.moveDispute(dispute, "appeal_under_review"), "charge.dispute.updated");
    await step(() => account.moveDispute(dispute, "won"), "charge.dispute.closed");
    await step(() => account.reinstate(dispute), "charge.dispute.funds_reinstated");
    expect(await stateOf()).toEqual([1000, false, 0]);
  });

  it("won, reopened and lost: withdrawn, given back, withdrawn", async () => {
    const dispute = await open(await paid());
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    const first = eventOf("charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "won"), "charge.dispute.closed");
    await step(() => account.reinstate(dispute), "charge.dispute.funds_reinstated");
    await step(() => account.moveDispute(dispute, "needs_response"), "charge.dispute.updated");
    expect(await stateOf()).toEqual([1000, true, 1]);
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await step(() => account.moveDispute(dispute, "lost"), "charge.dispute.closed");
    expect(await stateOf()).toEqual([0, false, 0]);
    // Old news, late: it says nothing new.
    expect(await site.outcomeOf(first)).toBe("duplicate");
    expect(await stateOf()).toEqual([0, false, 0]);
  });

  it("no longer stops spending once the owner unfreezes, until it is opened again or another one comes", async () => {
    const id = await paid();
    const dispute = await open(id);
    expect(await stateOf()).toEqual([1000, true, 1]);
    await caller.envelope.unfreeze();
    expect(await stateOf()).toEqual([1000, false, 1]);
    expect((await caller.fetch("/page?price=100")).status).toBe(200);
    // News of the same dispute is no other dispute, and it takes what it takes.
    await step(() => account.moveDispute(dispute, "under_review"), "charge.dispute.updated");
    await step(() => account.withdraw(dispute), "charge.dispute.funds_withdrawn");
    await abortAllDurableObjects();
    expect(await stateOf()).toEqual([-100, false, 1]);
    await step(() => account.moveDispute(dispute, "won"), "charge.dispute.closed");
    await step(() => account.reinstate(dispute), "charge.dispute.funds_reinstated");
    await step(() => account.moveDispute(dispute, "needs_response"), "charge.dispute.updated");
    expect(await stateOf()).toEqual([900, true, 1]);
    await caller.envelope.unfreeze();
    await open(await paid(), 100);
    expect(await stateOf()).toEqual([1900, true, 2]);
  });

  it("of a part takes that part; in another currency it takes all", async () => {
    const part = await open(await paid(), 250);
    await step(() => account.withdraw(part), "charge.dispute.funds_withdrawn");
    expect(await balance()).toBe(750);
    const foreign = await open(await paid(), 90, { currency: "eur" });
    await step(() => account.withdraw(foreign), "charge.dispute.funds_withdrawn");
    expect(await balance()).toBe(750);
  });

  it("a payment and its lost dispute in the order in which nothing is known yet", async () => {
    const dispute = account.dispute(intentOf(pay()), 1000);
    account.withdraw(dispute);
    now += 1;
    account.moveDispute(dispute, "lost");
    const late = ["charge.dispute.closed", "charge.dispute.funds_withdrawn", "charge.dispute.created"] as const;
    expect(await deliver(...late)).toEqual(["pending", "pending", "pending"]);
    await deliver("checkout.session.completed");
    expect(await stateOf()).toEqual([0, false, 0]);
  });

  it("an early fraud warning is kept and moves nothing", async () => {
    account.warn(await paid());
    expect(await deliver("radar.early_fraud_warning.created")).toEqual(["ignored"]);
    expect(await stateOf()).toEqual([1000, false, 0]);
  });
});

describe("T42 thin events while Stripe's API is down", () => {
  const thin = async (type: EventType) => site.webhook(thinOf(eventOf(type)));

  it.each(["error", "unreachable"] as const)("%s: 503, nothing half-written, and the retry works", async (outage) => {
    pay();
    standIn.outage = outage;
    const answer = await thin("checkout.session.completed");
    expect([answer.status, answer.headers.has("Retry-After")]).toEqual([503, true]);
    expect(await caller.envelope.entries()).toEqual([]);
    standIn.outage = "none";
    expect(await (await thin("checkout.session.completed")).json()).toMatchObject({ outcome: "credited" });
    expect(await kinds()).toEqual([["topup", 1000]]);
  });

  it("a refund: 503, then taken once", async () => {
    account.refund(await paid(), 400);
    standIn.outage = "error";
    for (let time = 0; time < 2; time++) expect((await thin("refund.created")).status).toBe(503);
    expect(await balance()).toBe(1000);
    standIn.outage = "none";
    expect((await thin("refund.created")).status).toBe(200);
    expect(await balance()).toBe(600);
  });

  it("a snapshot needs nobody", async () => {
    standIn.outage = "unreachable";
    account.refund(await paid(), 400);
    await deliver("refund.created");
    expect(await balance()).toBe(600);
    expect(standIn.asked).toEqual([]);
  });

  it("an object that Stripe does not know is answered 200 and changes nothing", async () => {
    account.refund(await paid(), 400);
    const event = thinOf(eventOf("refund.created"));
    const gone = { ...event, related_object: { ...event.related_object, id: "re_gone" } };
    expect(await site.outcomeOf(gone)).toBe("ignored");
    expect(await balance()).toBe(1000);
  });
});

describe("T43 cut off between two steps, the retry finishes the job once", () => {
  /** Delivers an event, and cuts it off before or after the nth call of a method. */
  const cut = async (target: object, method: string, before: boolean, event: Event, nth = 1) => {
    const methods = target as Record<string, (...given: unknown[]) => Promise<unknown>>;
    const real = methods[method] as (...given: unknown[]) => Promise<unknown>;
    let calls = 0;
    const spy = vi.spyOn(methods, method).mockImplementation(async function (this: unknown, ...given) {
      calls += 1;
      if (calls !== nth) return real.call(this, ...given);
      if (!before) await real.call(this, ...given);
      throw new Error("cut off");
    });
    const { status } = await site.webhook(event);
    spy.mockRestore();
    return status;
  };

  it.each([
    ["claim", EnvelopeDirectory.prototype, true, 1],
    ["claim", EnvelopeDirectory.prototype, false, 1],
    ["report", Envelope.prototype, true, 1],
    ["report", Envelope.prototype, false, 1],
    ["report", Envelope.prototype, true, 2],
    ["report", Envelope.prototype, false, 2],
    ["settle", EnvelopeDirectory.prototype, true, 1],
    ["settle", EnvelopeDirectory.prototype, false, 1],
  ] as const)("%s of a payment whose refund came first (%#)", async (method, target, before, nth) => {
    const session = pay();
    account.refund(intentOf(session), 400);
    await deliver("refund.created");
    expect(await cut(target, method, before, eventOf("checkout.session.completed"), nth)).toBe(503);
    expect((await site.webhook(eventOf("checkout.session.completed"))).status).toBe(200);
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -400],
    ]);
  });

  it("a payment that is claimed and not credited yet, refunded in between", async () => {
    const session = pay();
    expect(await cut(Envelope.prototype, "report", true, eventOf("checkout.session.completed"))).toBe(503);
    account.refund(intentOf(session), 400);
    await deliver("refund.created");
    expect(await deliver("checkout.session.completed")).toEqual(["credited"]);
    expect(await balance()).toBe(600);
  });

  it.each([
    ["route", EnvelopeDirectory.prototype, true],
    ["route", EnvelopeDirectory.prototype, false],
    ["report", Envelope.prototype, true],
    ["report", Envelope.prototype, false],
  ] as const)("%s of a refund (%#)", async (method, target, before) => {
    account.refund(await paid(), 400);
    expect(await cut(target, method, before, eventOf("refund.created"))).toBe(503);
    await deliver("refund.created");
    expect(await balance()).toBe(600);
    expect(await kinds()).toHaveLength(2);
  });
});

describe("T45 thin and snapshot of one change", () => {
  it("one credit, one claw-back, one reinstatement, in either order and at once", async () => {
    const session = pay();
    const id = intentOf(session);
    const both = (type: EventType) => {
      const event = eventOf(type);
      return Promise.all([event, thinOf(event), thinOf(event), event].map((one) => site.outcomeOf(one)));
    };
    expect((await both("checkout.session.completed")).sort()).toEqual([
      "credited",
      "duplicate",
      "duplicate",
      "duplicate",
    ]);
    const refund = account.refund(id, 400);
    expect((await both("refund.created")).sort()).toEqual(["duplicate", "duplicate", "duplicate", "reversed"]);
    account.moveRefund(refund, "failed");
    expect(await both("refund.failed")).toContain("reversed");
    expect(await kinds()).toEqual([
      ["topup", 1000],
      ["clawback", -400],
      ["reinstatement", 400],
    ]);
  });

  it("a thin event that is late finds the object as it is now, and says nothing old", async () => {
    const id = await paid();
    const refund = account.refund(id, 400, "pending");
    const created = eventOf("refund.created");
    now += 60;
    account.moveRefund(refund, "failed");
    await site.outcomeOf(thinOf(created));
    expect(await balance()).toBe(1000);
    expect(await site.outcomeOf(created)).toBe("duplicate");
    expect(await balance()).toBe(1000);
  });

  it("of another account is ignored, and nothing is fetched", async () => {
    pay();
    const event = thinOf(eventOf("checkout.session.completed"), { context: "acct_somebody_else" });
    expect(await site.outcomeOf(event)).toBe("ignored");
    expect([standIn.asked, await balance()]).toEqual([[], 0]);
  });

  it("of another mode is not credited, nor asked for: it is kept once, by its session, and not where it failed", async () => {
    pay();
    const completed = thinOf(eventOf("checkout.session.completed"), { livemode: true });
    const later = { ...completed, id: "evt_later", type: "v1.checkout.session.async_payment_succeeded" };
    for (const event of [completed, later]) expect(await site.outcomeOf(event)).toBe("unclaimed");
    const expired = { ...completed, id: "evt_expired", type: "v1.checkout.session.expired" };
    expect(await site.outcomeOf(expired)).toBe("ignored");
    expect([standIn.asked, await balance()]).toEqual([[], 0]);
    const session = completed.related_object?.id;
    const listed = (await unclaimedPayments(site.env)).filter(({ payment_id }) => payment_id === session);
    expect(listed).toMatchObject([{ reason: "livemode", livemode: true, facts: null }]);
  });
});

describe("T33 every event of a payment at once", () => {
  it.each(STORIES)("$name", async (story) => {
    const told = tellStory(story, caller.reference);
    await Promise.all([...told.events, ...told.events].map((event) => site.outcomeOf(event)));
    const owners = new Map([[told.payment_id, { envelope_id: caller.id, goods: story.amount - story.tax }]]);
    expect((await judgeSite(site, told.account, owners, [caller])).findings).toEqual([]);
  });
});
