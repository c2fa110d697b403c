/**
 * Stripe's webhook: verify, read, book. Answers 200 only when the outcome is durable, because a 2xx ends Stripe's retries;
 * anything that could not be finished is a 503, and Stripe sends it again. Only a thin event asks Stripe's API for anything.
 *
 * The order of the writes makes every interruption repairable: a payment is claimed in the directory before it is credited,
 * news that came before the claim is applied before it is forgotten, and each step, done again, changes nothing.
 */
import { EnvelopeUnreachableError } from "../attempt.js";
import { type Booked, type BookingPorts, bookPayment } from "../booking.js";
import type { NewUnclaimedPayment, ParkedReport, PaymentState } from "../contract.js";
import { plainProblem } from "../refusal.js";
import { readEvent, readThin, snapshotOf, type ThinEvent } from "./events.js";
import { type CreditRules, isOtherMode, type Meaning } from "./payment.js";
import { verify } from "./verify.js";

export type WebhookOutcome = "credited" | "duplicate" | "pending" | "ignored" | "unclaimed" | "reversed";

/** What the webhook is given of the rest of the house. */
export interface WebhookPorts extends BookingPorts {
  readonly rules: CreditRules;
  readonly route: (parked: ParkedReport) => Promise<{ readonly envelope_id: string | null }>;
  readonly claimant: (payment_id: string) => Promise<{ readonly envelope_id: string | null }>;
  readonly paymentState: (envelope_id: string, payment_id: string) => Promise<PaymentState | null>;
  /** Whether an envelope asked for a top-up. */
  readonly knowsTopUp: (topup: { readonly envelope_id: string; readonly attempt: string }) => Promise<boolean>;
  /** Whether a payment is, or was, on the owner's list. */
  readonly isListed: (payment_id: string) => Promise<boolean>;
  /** The PaymentIntent that paid an invoice; `undefined` where that cannot be known. */
  readonly paymentOfInvoice: (invoice: string) => Promise<string | undefined>;
  /** The object a thin event is about, from Stripe's API; `undefined` when Stripe says there is none. */
  readonly fetchObject: (event: ThinEvent) => Promise<unknown>;
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
  const thin = readThin(verified.event);
  const event = thin === undefined ? verified.event : snapshotOf(thin, await objectOf(thin, ports));
  const outcome = await act(readEvent(event, ports.rules), ports);
  return Response.json({ received: true, outcome }, { headers: { "Cache-Control": "no-store" } });
}

/** Of another mode than our key's, it is not there to be asked for. */
async function objectOf(thin: ThinEvent, { rules, fetchObject }: WebhookPorts): Promise<unknown> {
  return isOtherMode(thin, rules) ? undefined : fetchObject(thin);
}

async function act(meaning: Meaning, ports: WebhookPorts): Promise<WebhookOutcome> {
  switch (meaning.kind) {
    case "ignore":
      return "ignored";
    case "unclaimed":
      // Another Worker's of the same account: we never asked for it.
      if (meaning.topup !== undefined && !(await ports.knowsTopUp(meaning.topup))) return "ignored";
      return keepUnclaimed(await underItsPayment(meaning, ports), ports);
    case "payment":
      return said(await bookPayment(meaning, ports));
    case "reversal": {
      const parked = { event_id: meaning.event_id, report: meaning.report };
      const { envelope_id } = await ports.route(parked);
      if (envelope_id === null) return "pending";
      const outcome = await ports.report(envelope_id, meaning.report);
      // Given to another envelope in this very moment: whoever has it now must hear of this, so Stripe is asked to say it again.
      if (outcome.outcome === "disowned") throw new EnvelopeUnreachableError("The payment is being assigned");
      return said(outcome);
    }
  }
}

/**
 * A subscription's session names an invoice and no payment, and its refunds name the payment: they meet only under that. Not
 * where the session is listed already, or one payment would be on the list twice.
 */
async function underItsPayment(
  { payment, invoice }: Extract<Meaning, { readonly kind: "unclaimed" }>,
  ports: WebhookPorts,
): Promise<NewUnclaimedPayment> {
  if (invoice === undefined || (await ports.isListed(payment.payment_id))) return payment;
  return { ...payment, payment_id: (await ports.paymentOfInvoice(invoice)) ?? payment.payment_id };
}

/** Kept for the owner, unless it is credited already: an old event, sent again after the owner's rules have changed. */
async function keepUnclaimed(payment: NewUnclaimedPayment, ports: WebhookPorts): Promise<WebhookOutcome> {
  const { payment_id } = payment;
  const { envelope_id } = await ports.claimant(payment_id);
  if (envelope_id !== null && (await ports.paymentState(envelope_id, payment_id)) === "paid") return "duplicate";
  await ports.recordUnclaimed(payment);
  return "unclaimed";
}

function said({ outcome }: Pick<Booked, "outcome">): WebhookOutcome {
  switch (outcome) {
    case "credited":
    case "reversed":
    case "duplicate":
    case "pending":
    case "unclaimed":
      return outcome;
    case "failed":
    case "noted":
    case "uncreditable":
    case "disowned":
      return "ignored";
  }
}
