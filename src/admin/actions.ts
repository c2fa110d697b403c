/**
 * What an owner does to one envelope: once per `Idempotency-Key`, with a reason, and an audit line in the same transaction. Keys are
 * those of `envelopeOf`, so a server and the panel that use one key for one grant give it once.
 */
import { attempt } from "../attempt.js";
import type { Alerted, Author } from "../contract.js";
import { revokeSpender } from "../identities.js";
import { type Micros, toMicros } from "../money.js";
import { plainProblem } from "../refusal.js";
import { randomBase62 } from "../secrets.js";
import { envelopeStub } from "../stubs.js";
import { type Change, invalid, json, keyUsed, notFound, readChange } from "./answers.js";
import type { ActionAnswer, RevokeKeyAnswer, RotateAnswer } from "./api.js";
import { existing, foundEnvelope, stateOf } from "./envelopes.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Params } from "./routes.js";
import { tell } from "./told.js";

export const authorOf = ({ owner }: OwnersRequest, { reason }: Change): Author => ({ actor: owner.actor, reason });

export async function grant(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const amount_micros = positive(change.body["amount_micros"]);
  if (amount_micros === undefined) return invalid("amount_micros must be a whole number above zero, at most 2^53−1");
  const expires_at_ms = change.body["expires_at_ms"] ?? null;
  if (expires_at_ms !== null && !Number.isSafeInteger(expires_at_ms))
    return invalid("expires_at_ms, where it is given, must be a time in milliseconds since 1970");
  // Also where nothing was paid yet, if its holder's own reference names it: a first grant opens an envelope.
  const found = await foundEnvelope(asked, name);
  if (found === undefined) return notFound();
  const input = {
    amount_micros,
    currency: asked.currency.code,
    key: `grant:${change.key}`,
    reason: change.reason,
    op: randomBase62(16),
    by: authorOf(asked, change),
    ...(expires_at_ms === null ? {} : { expires_at_ms: expires_at_ms as number }),
  };
  const outcome = await attempt((retry) => envelopeStub(asked.env, found.id).grant({ ...input, retry }));
  switch (outcome.outcome) {
    case "granted":
    case "replayed":
      return acted(asked, found.id, outcome, 201);
    case "conflict":
      return keyUsed("This Idempotency-Key was used for another amount. Nothing was given.");
    case "invalid":
      return plainProblem(422, "not-possible", "Not possible", `${outcome.detail}.`);
  }
}

/** Takes back what is left of a grant. */
export async function revokeGrant(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const seq = positive(change.body["seq"]);
  if (seq === undefined) return invalid("seq must be the number of a grant");
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const input = {
    grant: { seq },
    key: `revoke:${change.key}`,
    reason: change.reason,
    op: randomBase62(16),
    by: authorOf(asked, change),
  };
  const outcome = await attempt((retry) => envelopeStub(asked.env, found.id).revoke({ ...input, retry }));
  switch (outcome.outcome) {
    case "revoked":
    case "replayed":
      return acted(asked, found.id, outcome, 201);
    case "conflict":
      return keyUsed("This Idempotency-Key was used for something else. Nothing was taken.");
    case "unknown":
      return plainProblem(
        422,
        "not-possible",
        "Not possible",
        "There is no grant with this number that can be revoked.",
      );
  }
}

/** Ends a key, or an identity: from now on it is refused. Ended before, it is answered the same. */
export async function revokeKey(asked: OwnersRequest, { id: name, key: id = "" }: Params): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const input = { id, minted: change.body["minted"] !== false, by: authorOf(asked, change) };
  const outcome = await revokeSpender(asked.env, found.id, input);
  if (outcome.outcome !== "revoked") return notFound();
  return json({ id, status: outcome.spender.status } satisfies RevokeKeyAnswer);
}

export async function refund(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const seq = positive(change.body["seq"]);
  const asks = change.body["amount_micros"] !== undefined;
  const amount_micros = asks ? positive(change.body["amount_micros"]) : undefined;
  if (seq === undefined || (asks && amount_micros === undefined)) {
    return invalid("seq must be the number of a charge; amount_micros, where it is given, a whole number above zero");
  }
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const input = {
    charge: { seq },
    amount_micros,
    key: `refund:${change.key}`,
    reason: change.reason,
    op: randomBase62(16),
    by: authorOf(asked, change),
  };
  const outcome = await attempt((retry) => envelopeStub(asked.env, found.id).refund({ ...input, retry }));
  switch (outcome.outcome) {
    case "refunded":
    case "replayed":
      return acted(asked, found.id, outcome, 201);
    case "refused":
      return plainProblem(
        422,
        "not-possible",
        "Not possible",
        `Of this charge, ${outcome.refundable_micros} micros can still be given back. Nothing was.`,
      );
    case "expired":
      return plainProblem(
        422,
        "not-possible",
        "Not possible",
        "This charge is older than ENVELOPE_LEDGER_DAYS and final. Nothing was given back; a grant still can be made.",
      );
    case "conflict":
      return keyUsed("This Idempotency-Key was used for another refund. Nothing was given back.");
    case "unknown":
      return plainProblem(422, "not-possible", "Not possible", "There is no charge with this number.");
  }
}

export const freeze = (asked: OwnersRequest, params: Params): Promise<Response> => setFrozen(asked, params, true);

export const unfreeze = (asked: OwnersRequest, params: Params): Promise<Response> => setFrozen(asked, params, false);

async function setFrozen(asked: OwnersRequest, { id: name }: Params, frozen: boolean): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const found = await foundEnvelope(asked, name);
  if (found === undefined) return notFound();
  const word = frozen ? "freeze" : "unfreeze";
  const input = {
    frozen,
    currency: asked.currency.code,
    key: `${word}:${change.key}`,
    by: authorOf(asked, change),
  };
  const { after, key_used } = await attempt(() => envelopeStub(asked.env, found.id).freeze(input));
  if (key_used) return keyUsed("This Idempotency-Key was used with another reason. Nothing was changed.");
  const { balance_micros } = after ?? found;
  return json({
    outcome: frozen ? "frozen" : "unfrozen",
    seq: null,
    balance_micros,
    frozen: after?.frozen ?? frozen,
  } satisfies ActionAnswer);
}

/** The old tokens are refused from now on. The new one is told once: only its hash is kept. */
export async function rotate(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const change = await readChange(asked.request);
  if (change instanceof Response) return change;
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const token = asked.newToken(found.id);
  const input = {
    hash: token.hash,
    currency: asked.currency.code,
    key: `rotate:${change.key}`,
    by: authorOf(asked, change),
  };
  const outcome = await attempt(() => envelopeStub(asked.env, found.id).reissue(input));
  if (outcome.outcome === "replayed") {
    const detail =
      "With this Idempotency-Key a token was made and shown. It is not kept: use a new key for a new token.";
    return plainProblem(409, "shown-once", "Shown once", detail);
  }
  return json({ token: token.write(outcome.generation) } satisfies RotateAnswer);
}

async function acted(
  asked: OwnersRequest,
  id: string,
  outcome: Alerted & { readonly outcome: string; readonly seq: number; readonly balance_micros: Micros },
  status: number,
): Promise<Response> {
  tell(asked, id, outcome);
  const { frozen } = await stateOf(asked, id);
  const { seq, balance_micros } = outcome;
  return json({ outcome: outcome.outcome, seq, balance_micros, frozen } satisfies ActionAnswer, status);
}

function positive(value: unknown): Micros | undefined {
  const micros = toMicros(value);
  return micros !== undefined && micros > 0 ? micros : undefined;
}
