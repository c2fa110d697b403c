/** What the chaos tests found. Each fails until it is fixed, and then belongs with the others of its row. */
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { unclaimedPayments } from "../../../src/index.js";
import type { EventType } from "../../stripe/objects.js";
import { Site } from "../support.js";
import { siteWithStripe } from "./support.js";

afterEach(() => vi.restoreAllMocks());

describe("T34 T39 a payment that is credited already is told again in words that cannot be credited", () => {
  /** Credited; then the owner moves to another link, and somebody presses "Resend" on the old event. */
  async function creditedAndResent() {
    const { site, standIn } = siteWithStripe();
    const { account } = standIn;
    const caller = await site.newcomer();
    const payment_id = String(account.checkout({ reference: caller.reference, amount: 1000 }).payment_intent);
    const newest = (type: EventType) => account.events.findLast((event) => event.type === type);
    expect(await site.outcomeOf(newest("checkout.session.completed"))).toBe("credited");
    const moved = new Site({ stripe: { paymentLinks: ["plink_new"] } });
    await moved.outcomeOf(newest("checkout.session.completed"));
    return { site, account, caller, payment_id, newest };
  }

  it("it is not listed as in no envelope", async () => {
    const { payment_id } = await creditedAndResent();
    expect((await unclaimedPayments(env)).map((one) => one.payment_id)).not.toContain(payment_id);
  });

  it("its refund still reaches its envelope", async () => {
    const { site, account, caller, payment_id, newest } = await creditedAndResent();
    account.refund(payment_id, 400);
    expect(await site.outcomeOf(newest("refund.created"))).toBe("reversed");
    expect((await caller.envelope.state()).balance_micros).toBe(6_000_000);
  });
});

describe("nothing is created until money arrives", () => {
  it("a checkout that nobody finished leaves no envelope behind", async () => {
    const { site, standIn } = siteWithStripe();
    const { account } = standIn;
    const caller = await site.newcomer();
    account.expire(account.checkout({ reference: caller.reference, amount: 1000, payment: "open" }));
    expect(await site.outcomeOf(account.events.at(-1))).toBe("ignored");
    // The currency is written when an envelope is.
    expect((await caller.envelope.state()).currency).toBeNull();
  });
});
