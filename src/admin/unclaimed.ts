/** Payments that are in no envelope yet, and the owner's decision about each. */

import { assignPayment, unclaimedPage } from "../assigning.js";
import type { Price } from "../money.js";
import { problem, TYPE } from "../refusal.js";
import { giftOf } from "../sign-up-options.js";
import { invalid, json, notFound, readJson, readLimit, readPlace, readReason, writePlace } from "./answers.js";
import type { UnclaimedAnswer } from "./api.js";
import { foundEnvelope } from "./envelopes.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Params } from "./routes.js";
import { targetOf } from "./target.js";

export async function listUnclaimed({ env, url }: OwnersRequest): Promise<Response> {
  const limit = readLimit(url);
  const after = readPlace(url);
  if (limit === undefined || after === undefined) return invalid("cursor or limit is malformed");
  const { payments, next } = await unclaimedPage(env, { after, limit });
  return json({ unclaimed: payments, next: next && writePlace(next) } satisfies UnclaimedAnswer);
}

/** Once per payment by itself, so that it needs no key. */
export async function assign(asked: OwnersRequest, { payment = "" }: Params): Promise<Response> {
  const { env, request, currency, owner, options } = asked;
  const body = await readJson(request);
  const { envelopeId, amount, amount_micros } = body ?? {};
  if (body === undefined || typeof envelopeId !== "string") {
    return invalid('The body must be JSON such as {"envelopeId":"…","reason":"…"}');
  }
  if (targetOf(asked, envelopeId) === undefined) {
    return invalid("envelopeId must be an envelope's id or a genuine client_reference_id");
  }
  // A misspelt id would be nobody's envelope, and the payment in it for good.
  const target = await foundEnvelope(asked, envelopeId);
  if (target === undefined) {
    return invalid("There is no envelope of this id: where nothing was paid yet, name it by its client_reference_id");
  }
  const reason = readReason(body["reason"]);
  if (reason instanceof Response) return reason;
  const worth = amount_micros === undefined ? amount : { micros: amount_micros };
  const paymentId = decoded(payment);
  if (paymentId === undefined) return notFound();
  const assignment = {
    paymentId,
    envelopeId: target.id,
    by: { actor: owner.actor, reason },
    ...(worth === undefined ? {} : { amount: worth as Price }),
  };
  const result = await assignPayment(env, assignment, currency.code, giftOf(options.signUpGrant));
  switch (result.outcome) {
    case "credited": {
      const { unbooked_micros: amount_micros } = result;
      const which = { payment_id: paymentId, envelope_id: target.id };
      if (amount_micros !== undefined) options.onIncident({ kind: "unbooked_reversal", ...which, amount_micros });
      return json(result);
    }
    case "taken":
      // Asked again after a lost answer: it is where it was to be, and nothing was done now.
      if (result.envelopeId === target.id) return json({ outcome: "replayed" });
      return problem({
        type: `${TYPE}taken`,
        title: "Already assigned",
        status: 409,
        detail: "This payment is in another envelope already.",
        envelopeId: result.envelopeId,
      });
    case "unknown":
      return notFound();
    case "invalid":
      return invalid(result.detail);
  }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
