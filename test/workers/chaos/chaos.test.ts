/** I5, I7: whatever the deliveries go through, one credit per payment, and all envelopes hold what the books say. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { Envelope } from "../../../src/index.js";
import { runChaos } from "../../stripe/chaos.js";
import type { Deliveries } from "../../stripe/deliverer.js";
import type { Verdict } from "../../stripe/judge.js";
import { nextId, WEBHOOK_SECRETS } from "../support.js";
import { judgeSite, newcomers, siteWithStripe, webhookOf } from "./support.js";

afterEach(() => vi.restoreAllMocks());

async function chaos(
  seed: string,
  payments: number,
  deliveries: number,
): Promise<{ readonly delivered: Deliveries; readonly verdict: Verdict }> {
  const { site, standIn } = siteWithStripe();
  const callers = await newcomers(site, Math.ceil(payments / 5));
  const run = await runChaos({
    seed,
    payments,
    deliveries,
    holders: callers.map(({ id, reference }) => ({ envelope_id: id, reference })),
    standIn,
    webhook: webhookOf(site),
    secrets: WEBHOOK_SECRETS,
  });
  const verdict = await judgeSite(site, standIn.account, run.owners, callers);
  return { delivered: run.deliveries, verdict };
}

describe("Stripe on a bad day", () => {
  it("300 payments in 3,000 deliveries: 300 credits, and the books agree", { timeout: 120_000 }, async () => {
    const { delivered, verdict } = await chaos("bad day", 300, 3_000);
    expect(verdict.findings).toEqual([]);
    expect(verdict).toMatchObject({ exact: true, payments: 300, credits: 300 });
    expect(verdict.envelopes_micros).toBe(verdict.books_micros);

    expect(delivered.unanswered).toEqual([]);
    expect(delivered.deliveries).toBeGreaterThanOrEqual(3_000);
    expect(Object.keys(delivered.statuses)).toEqual(["200"]);
    // The day was as bad as it was meant to be.
    for (const share of [delivered.thin, delivered.lost_answers, delivered.lost_requests, delivered.noise]) {
      expect(share).toBeGreaterThan(10);
    }
    expect(delivered.outcomes["credited"]).toBeGreaterThanOrEqual(300 - delivered.lost_answers);
    expect(delivered.outcomes["reversed"]).toBeGreaterThan(50);
    expect(verdict.books.refunded * verdict.books.withdrawn * verdict.books.reinstated).toBeGreaterThan(0);
  });

  it("negative control: keyed by the event in place of the payment, the judge finds it", {
    timeout: 60_000,
  }, async () => {
    const real = Envelope.prototype.report;
    vi.spyOn(Envelope.prototype, "report").mockImplementation(function (this: Envelope, report) {
      return real.call(this, { ...report, payment_id: nextId(report.payment_id) });
    });
    const { delivered, verdict } = await chaos("control", 40, 400);
    expect(delivered.unanswered).toEqual([]);
    expect(verdict.exact).toBe(false);
    expect(verdict.credits).toBeGreaterThan(verdict.payments);
    expect(verdict.envelopes_micros).toBeGreaterThan(verdict.books_micros);
  });
});
