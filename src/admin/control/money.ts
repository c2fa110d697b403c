/** Money that an owner's server gives or gives back, and the owner's switch: once per key, with a reason and an audit line. */
import { attempt } from "../../attempt.js";
import type { Alerted, Author } from "../../contract.js";
import { type Micros, parseMain } from "../../money.js";
import { plainProblem } from "../../refusal.js";
import { digest, newOperation } from "../../secrets.js";
import { envelopeStub } from "../../stubs.js";
import { invalid, json, keyUsed, notFound, readReason } from "../answers.js";
import { existing, foundEnvelope, stateOf } from "../envelopes.js";
import { tell } from "../told.js";
import { type Called, type Handler, keyOf } from "./called.js";
import { moneyOf, stateWord } from "./views.js";

export function authorOf({ owner }: Pick<Called<"grant">, "owner">, reason: string): Author {
  return { actor: owner.actor, reason };
}

/** Above zero, in main units. */
export function amountOf(amount: string | number): Micros | undefined {
  const micros = parseMain(amount);
  return micros === undefined || micros === 0 ? undefined : micros;
}

export const badAmount = (): Response => invalid("amount must be a decimal above zero in main units");

export const notPossible = (detail: string): Response => plainProblem(422, "not-possible", "Not possible", detail);

export const grant: Handler<"grant"> = async (called) => {
  const { body, key, currency, env } = called;
  const amount_micros = amountOf(body.amount);
  if (amount_micros === undefined) return badAmount();
  const reason = readReason(body.reason);
  if (reason instanceof Response) return reason;
  const found = await foundEnvelope(called, called.params["id"]);
  if (found === undefined) return notFound();
  const input = {
    amount_micros,
    currency: currency.code,
    key: `grant:${key}`,
    scope: scopeOf(reason, body.priority, body.scope, body.expiresAt),
    reason,
    op: newOperation(),
    by: authorOf(called, reason),
    ...(body.priority !== undefined && { priority: body.priority }),
    ...(body.scope !== undefined && { only: body.scope }),
    ...(body.expiresAt !== undefined && { expires_at_ms: Date.parse(body.expiresAt) }),
  };
  const outcome = await attempt((retry) => envelopeStub(env, found.id).grant({ ...input, retry }));
  switch (outcome.outcome) {
    case "granted":
    case "replayed":
      return acted(called, found.id, outcome, 201);
    case "conflict":
      return keyUsed("This Idempotency-Key was used for another grant. Nothing was given.");
    case "invalid":
      return notPossible(`${outcome.detail}.`);
  }
};

export const refund: Handler<"refund"> = async (called) => {
  const { body, key, env } = called;
  const amount_micros = body.amount === undefined ? undefined : amountOf(body.amount);
  if (body.amount !== undefined && amount_micros === undefined) return badAmount();
  if ((body.seq === undefined) === (body.key === undefined))
    return invalid("Give seq or key of the charge, and not both");
  const reason = readReason(body.reason);
  if (reason instanceof Response) return reason;
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const charge = body.seq === undefined ? { key: `usage:${body.key}` } : { seq: body.seq };
  const op = newOperation();
  const scope = scopeOf(reason, body.seq, body.key, amount_micros);
  const input = { charge, amount_micros, key: `refund:${key}`, scope, reason, op, by: authorOf(called, reason) };
  const outcome = await attempt((retry) => envelopeStub(env, found.id).refund({ ...input, retry }));
  switch (outcome.outcome) {
    case "refunded":
    case "replayed":
      return acted(called, found.id, outcome, 201);
    case "refused":
      return notPossible(`Of this charge, ${moneyOf(outcome.refundable_micros)} can still be given back. Nothing was.`);
    case "expired":
      return notPossible("This charge is older than ENVELOPE_LEDGER_DAYS and final. A grant still can be made.");
    case "conflict":
      return keyUsed("This Idempotency-Key was used for another refund. Nothing was given back.");
    case "unknown":
      return notPossible("There is no such charge.");
  }
};

/** What a key is used for, besides the amount: the same key for anything else is a conflict. */
function scopeOf(...asked: readonly (string | number | undefined)[]): string {
  return digest(JSON.stringify(asked), 12);
}

export const freeze: Handler<"freeze"> = (called) => setFrozen(called, true);

export const unfreeze: Handler<"unfreeze"> = (called) => setFrozen(called, false);

async function setFrozen(called: Called<"freeze"> | Called<"unfreeze">, frozen: boolean): Promise<Response> {
  const reason = readReason(called.body.reason);
  if (reason instanceof Response) return reason;
  const found = await foundEnvelope(called, called.params["id"]);
  if (found === undefined) return notFound();
  const key = `${frozen ? "freeze" : "unfreeze"}:${keyOf(called)}`;
  const input = { frozen, currency: called.currency.code, key, by: authorOf(called, reason) };
  const { after, key_used } = await attempt(() => envelopeStub(called.env, found.id).freeze(input));
  if (key_used) return keyUsed("This Idempotency-Key was used with another reason. Nothing was changed.");
  const { balance_micros } = after ?? found;
  return json({
    outcome: frozen ? "frozen" : "unfrozen",
    seq: null,
    balance: moneyOf(balance_micros),
    balance_micros,
    state: stateWord({ frozen: after?.frozen ?? frozen }),
  });
}

async function acted(
  called: Called<"grant"> | Called<"refund">,
  id: string,
  outcome: Alerted & { readonly outcome: string; readonly seq: number; readonly balance_micros: Micros },
  status: number,
): Promise<Response> {
  tell(called, id, outcome);
  const state = stateWord(await stateOf(called, id));
  const { seq, balance_micros } = outcome;
  return json({ outcome: outcome.outcome, seq, balance: moneyOf(balance_micros), balance_micros, state }, status);
}
