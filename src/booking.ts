/**
 * Puts a payment into its envelope, whoever told of it: Stripe's webhook, or the API's own answer. The order of the writes
 * makes every interruption repairable by doing it again: claim, report, apply what came early, settle.
 */
import type {
  ClaimOutcome,
  NewUnclaimedPayment,
  PaymentFacts,
  PaymentOutcome,
  PaymentReport,
  SettledPayment,
} from "./contract.js";
import type { Reference } from "./reference.js";

export interface BookingPorts {
  /** Reports to an envelope; the reference, where there is one, says near whom it is created. */
  readonly report: (envelope_id: string, report: PaymentReport, reference?: Reference) => Promise<PaymentOutcome>;
  readonly claim: (payment_id: string, envelope_id: string) => Promise<ClaimOutcome>;
  readonly settle: (settled: SettledPayment) => Promise<unknown>;
  readonly recordUnclaimed: (payment: NewUnclaimedPayment) => Promise<unknown>;
}

export interface Payment {
  readonly reference: Reference;
  readonly client_reference_id: string;
  readonly report: PaymentReport & { readonly payment: PaymentFacts };
}

/** `unclaimed`: it could not be credited, and waits for the owner. */
export type Booked = PaymentOutcome | { readonly outcome: "unclaimed" };

export async function bookPayment(told: Payment, ports: BookingPorts): Promise<Pick<Booked, "outcome">> {
  const { reference, report, client_reference_id } = told;
  const { payment_id, payment } = report;
  // No money came, and none will: nothing to claim.
  if (payment.state === "failed") return ports.report(reference.envelopeId, report, reference);
  const { envelope_id, parked, listed, assigning } = await ports.claim(payment_id, reference.envelopeId);
  // The owner is giving it to an envelope at this very moment: whoever else credited it now would double it.
  if (assigning) return { outcome: "unclaimed" };
  const outcome = await ports.report(envelope_id, report, reference);
  if (outcome.outcome === "disowned") return { outcome: "unclaimed" };
  if (outcome.outcome === "uncreditable") {
    if (payment.state !== "paid") return outcome;
    const { event_id, currency, amount_total, livemode } = payment;
    const { reason } = outcome;
    const kept = { event_id, reason, client_reference_id, currency, amount_total, livemode, facts: payment };
    await ports.recordUnclaimed({ payment_id, ...kept });
    return { outcome: "unclaimed" };
  }
  const applied: string[] = [];
  for (const { event_id, report: early } of parked) {
    const { outcome: said } = await ports.report(envelope_id, early);
    if (said !== "disowned") applied.push(event_id);
  }
  const booked = listed && payment.state === "paid";
  if (applied.length > 0 || booked) await ports.settle({ payment_id, envelope_id, event_ids: applied, booked });
  return outcome;
}
