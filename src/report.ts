/** Telling an envelope what Stripe said of a payment, and undoing what else the payment did. */
import { attempt } from "./attempt.js";
import { blockCard, releaseCard } from "./cards.js";
import type { PaymentOutcome, PaymentReport, Undo } from "./contract.js";
import { envelopeStub } from "./stubs.js";

/**
 * Done when the money is booked, and when the sessions that a reversed or shut payment opened are ended. Every later report
 * names them again, so a caller that fails here and reports once more finishes the job.
 */
export async function reportPayment(
  env: unknown,
  envelope_id: string,
  report: PaymentReport,
  locationHint?: DurableObjectLocationHint,
): Promise<PaymentOutcome> {
  const outcome = await attempt(() => envelopeStub(env, envelope_id, locationHint).report(report));
  if (outcome.undo !== undefined) await undoLogin(env, envelope_id, outcome.undo);
  return outcome;
}

/** Undoes what a payment into this envelope did besides money. Each step, done again, changes nothing. */
export async function undoLogin(env: unknown, envelope_id: string, undo: Undo): Promise<void> {
  const { sessions, card, forget } = undo;
  for (const { envelope_id: opened, key_id } of sessions) {
    await attempt(() => envelopeStub(env, opened).endLimited({ key_id }));
  }
  if (card !== null) await blockCard(env, card);
  if (forget != null) await releaseCard(env, [forget], envelope_id);
}
