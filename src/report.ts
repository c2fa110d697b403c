/** Telling an envelope what Stripe said of a payment, and undoing what else the payment did. */
import { attempt } from "./attempt.js";
import { blockCard } from "./cards.js";
import type { PaymentOutcome, PaymentReport } from "./contract.js";
import { envelopeStub } from "./stubs.js";

/**
 * Done when the money is booked, and when the sessions that a reversed payment opened are ended. Every report of a reversal
 * names them again, so a caller that fails here and reports once more finishes the job.
 */
export async function reportPayment(
  env: unknown,
  envelope_id: string,
  report: PaymentReport,
  locationHint?: DurableObjectLocationHint,
): Promise<PaymentOutcome> {
  const outcome = await attempt(() => envelopeStub(env, envelope_id, locationHint).report(report));
  const { sessions = [], card = null } = outcome.undo ?? {};
  for (const { envelope_id: opened, key_id } of sessions) {
    await attempt(() => envelopeStub(env, opened).endLimited({ key_id }));
  }
  if (card !== null) await blockCard(env, card);
  return outcome;
}
