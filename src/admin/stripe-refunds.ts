/**
 * Sending a payment back through Stripe. Stored with its idempotency key and its audit line before Stripe is asked; an interruption
 * is repaired by sending the same request again. The money leaves the envelope when Stripe's webhook says so, and not before: there
 * is one way in which a refund is booked.
 */
import { attempt } from "../attempt.js";
import type { StripeRefund } from "../contract.js";
import { type Micros, minorFromMicros, toMicros } from "../money.js";
import { plainProblem } from "../refusal.js";
import { askForRefund } from "../stripe-refund.js";
import { stripeKey, stripeMode } from "../stripe-settings.js";
import { envelopeStub } from "../stubs.js";
import { authorOf } from "./actions.js";
import { invalid, json, keyUsed, notFound, readChange } from "./answers.js";
import type { StripeRefundAnswer } from "./api.js";
import { existing } from "./envelopes.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Params } from "./routes.js";

export async function refundThroughStripe(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const { env, request, currency } = asked;
  const change = await readChange(request);
  if (change instanceof Response) return change;
  const { payment_id, amount_micros } = change.body;
  if (typeof payment_id !== "string" || !/^pi_\w{1,250}$/.test(payment_id)) {
    return invalid("payment_id must be that of a PaymentIntent: pi_…");
  }
  const micros = amount_micros === undefined ? undefined : toMicros(amount_micros);
  const amount = micros === undefined ? undefined : minorFromMicros(micros as Micros, currency);
  if (amount_micros !== undefined && (amount === undefined || amount <= 0)) {
    return invalid("amount_micros must be above zero, and a whole number of the smallest coin that Stripe can send");
  }
  // Before anything is stored: without it nothing could be finished.
  stripeKey(env);
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const input = { key: change.key, payment_id, amount, by: authorOf(asked, change) };
  const begun = await attempt(() => envelopeStub(env, found.id).beginStripeRefund(input));
  switch (begun.outcome) {
    case "conflict":
      return keyUsed("This Idempotency-Key was used for another refund. Nothing was sent.");
    case "expired":
      return plainProblem(409, "outcome-unknown", "Outcome unknown", EXPIRED);
    case "unknown":
      return plainProblem(422, "not-possible", "Not possible", "This envelope has no such payment.");
    case "foreign":
      return plainProblem(422, "not-possible", "Not possible", FOREIGN);
    case "refused": {
      const left = `Of this payment, ${begun.refundable * currency.microsPerMinorUnit} micros can still be sent back.`;
      return plainProblem(422, "not-possible", "Not possible", `${left} Nothing was.`);
    }
    case "begun":
    case "found":
      return finish(asked, found.id, begun);
  }
}

const FOREIGN =
  "This payment was made in another currency than the envelope's: leave out amount_micros to send all of it back.";

const EXPIRED =
  "Stripe never answered this request, and may have forgotten its key by now. Look at the payment in Stripe's dashboard before a new one is made.";

async function finish(
  { env, options, url }: OwnersRequest,
  id: string,
  begun: { readonly refund: StripeRefund; readonly attempt: string },
): Promise<Response> {
  const { refund, attempt: key } = begun;
  if (refund.refund_id !== null) return made(refund.refund_id, refund.status ?? "pending");
  if (refund.status !== null) return rejected(refund.code);
  const mode = stripeMode(env);
  if (mode !== undefined && refund.livemode !== (mode === "live")) {
    await note("wrong_mode");
    return rejected("wrong_mode");
  }
  const answer = await askForRefund(env, { attempt: key, payment_id: refund.payment_id, amount: refund.amount });
  switch (answer.outcome) {
    case "made": {
      const { refund_id, status } = answer;
      await attempt(() => envelopeStub(env, id).noteStripeRefund({ attempt: key, refund_id, status, code: null }));
      return made(refund_id, status);
    }
    case "rejected":
      await note(answer.code);
      return rejected(answer.code);
    case "unknown": {
      const cause = new Error(`Stripe: ${answer.code}`);
      options.onIncident({ kind: "outage", path: url.pathname, served: false, cause });
      const detail = "Stripe could not be asked. Send the same request again, with the same Idempotency-Key.";
      return plainProblem(503, "unavailable", "Stripe unavailable", detail, { "Retry-After": "2" });
    }
  }

  function note(code: string): Promise<void> {
    const rejection = { attempt: key, refund_id: null, status: "rejected", code };
    return attempt(() => envelopeStub(env, id).noteStripeRefund(rejection));
  }
}

function made(refund_id: string, status: string): Response {
  return json({ refund_id, status } satisfies StripeRefundAnswer, 202);
}

function rejected(code: string | null): Response {
  return plainProblem(422, "refund-rejected", "Refund rejected", `Stripe does not take this refund: ${code}.`);
}
