/**
 * Stripe's webhook: verify, read, credit. Answers 200 only when the outcome is durable, because a 2xx ends Stripe's
 * retries; anything that could not be finished is a 503, and Stripe sends it again. No call to Stripe's API is made.
 */
import type { CreditInput, CreditOutcome, UnclaimedPayment } from "../contract.js";
import type { Reference } from "../reference.js";
import { plainProblem } from "../refusal.js";
import { type CreditRules, type Meaning, readEvent } from "./session.js";
import { verify } from "./verify.js";

export type WebhookOutcome = "credited" | "duplicate" | "pending" | "ignored" | "unclaimed" | "reversed";

/** What the webhook is given of the rest of the house. */
export interface WebhookPorts {
  readonly rules: CreditRules;
  readonly credit: (reference: Reference, input: CreditInput) => Promise<CreditOutcome>;
  readonly recordUnclaimed: (payment: Omit<UnclaimedPayment, "at_ms">) => Promise<unknown>;
}

export async function handleWebhook(
  request: Request,
  secrets: readonly string[],
  ports: WebhookPorts,
): Promise<Response> {
  const verified = await verify(request, secrets, Date.now());
  if (verified.outcome === "too_large") {
    return plainProblem(413, "too-large", "Payload too large", "The body is larger than any event of Stripe's.");
  }
  if (verified.outcome === "refused") {
    return plainProblem(400, "not-signed", "Not signed", "The request is not signed by Stripe.");
  }
  const outcome = await act(readEvent(verified.event, ports.rules), ports);
  return Response.json({ received: true, outcome }, { headers: { "Cache-Control": "no-store" } });
}

async function act(meaning: Meaning, ports: WebhookPorts): Promise<WebhookOutcome> {
  if (meaning.kind === "ignore") return "ignored";
  if (meaning.kind === "unclaimed") {
    await ports.recordUnclaimed(meaning.payment);
    return "unclaimed";
  }
  const { payment } = meaning.input;
  const credited = await ports.credit(meaning.reference, meaning.input);
  switch (credited.outcome) {
    case "credited":
    case "duplicate":
    case "pending":
      return credited.outcome;
    case "failed":
      return "ignored";
    case "uncreditable": {
      const { payment_id, event_id, currency, amount_total, livemode } = payment;
      const client_reference_id = meaning.reference.envelopeId;
      await ports.recordUnclaimed({
        payment_id,
        event_id,
        reason: credited.reason,
        client_reference_id,
        currency,
        amount_total,
        livemode,
      });
      return "unclaimed";
    }
  }
}
