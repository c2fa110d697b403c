/** Every "no" as it leaves, and what an owner is told of it. Loaded with the first: who is served needs none of it. */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import type { AffordOutcome, ChargeOutcome, HoldOutcome } from "./contract.js";
import type { Micros } from "./money.js";
import {
  conflictProblem,
  forbiddenProblem,
  outageProblem,
  plainProblem,
  refusalProblem,
  unauthorizedProblem,
} from "./refusal.js";
import { ConfigurationError } from "./settings.js";
import { envelopeStub } from "./stubs.js";
import { ForbiddenError, refusalOfNothing, refusedToNobody, UnauthorizedError, type Visit } from "./visit.js";

/** A rotation's grace is longer than this: who came with a revoked cookie and is answered sooner had nothing newer when they came. */
const FRESH_COOKIE_MS_MAX = 60_000;

/** Answers a "no" of the envelope. A caller with no credential, or a cookie that was replaced, leaves with a fresh identity. */
export function answerNo<Env>(
  visit: Visit<Env>,
  outcome: Exclude<ChargeOutcome | HoldOutcome, { outcome: "charged" | "replayed" | "held" }>,
): Response {
  if (outcome.outcome === "conflict") return conflictProblem(outcome.detail);
  if (outcome.outcome === "invalid") {
    visit.options.onIncident({ kind: "configuration", message: outcome.detail });
    return plainProblem(
      500,
      "misconfigured",
      "Not set up",
      "The price does not fit this envelope. Nothing was charged.",
    );
  }
  let { refusal } = outcome;
  // Not when the handler took long: a new token may have reached the browser since, and this cookie would take its place.
  const recent = Date.now() - visit.startedAt_ms < FRESH_COOKIE_MS_MAX;
  if (refusal.reason === "credential_revoked" && visit.caller.kind === "cookie" && recent) {
    visit.becomeFresh();
    refusal = refusalOfNothing(refusal.price_micros);
  }
  visit.show();
  const { balance_micros } = outcome;
  return refusalProblem(refusal, { currency: visit.currency, balance_micros, paymentLink: visit.paymentLink() });
}

/** Tells the owner of a malformed price; `undefined` when they chose to serve the response all the same. */
export function reportInvalidPrice<Env>(visit: Visit<Env>, price: string): Response | undefined {
  const served = visit.options.onInvalidPrice === "serve";
  visit.options.onIncident({ kind: "invalid_price", price: price.slice(0, 64), path: visit.pathname, served });
  if (served) return undefined;
  return plainProblem(
    500,
    "invalid-price",
    "Invalid price",
    "The price of this resource is malformed. Nothing was charged.",
  );
}

export function malformedKey(): Response {
  const detail = "Idempotency-Key must be 1 to 255 visible ASCII characters. Nothing was charged.";
  return plainProblem(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail);
}

export function answerError<Env>(error: unknown, { pathname, options }: Visit<Env>): Response {
  if (error instanceof UnauthorizedError) return unauthorizedProblem();
  if (error instanceof ForbiddenError) return forbiddenProblem(error.message);
  if (error instanceof ConfigurationError) {
    options.onIncident({ kind: "configuration", message: error.message });
    return plainProblem(500, "misconfigured", "Not set up", `${error.message}.`);
  }
  if (error instanceof EnvelopeUnreachableError) {
    options.onIncident({ kind: "outage", path: pathname, served: false, cause: error.cause });
    return outageProblem();
  }
  throw error;
}

/** Refuses, before the handler works for it, what is still not to be paid. */
export async function turnAway<Env>(visit: Visit<Env>, price: Micros): Promise<Response | undefined> {
  const { request } = visit;
  // What a body asks for may cost less this time; but not less than nothing.
  const least = request.method === "GET" || request.method === "HEAD" ? price : (1 as Micros);
  // Should the envelope not be reached, the charge after the handler will say so.
  const outcome = await afford(visit, least).catch(() => undefined);
  if (outcome?.outcome !== "refused") return undefined;
  const { reason } = outcome.refusal;
  const missing = reason === "insufficient_balance" ? Math.max(0, price - outcome.available_micros) : 0;
  const refusal = { ...outcome.refusal, price_micros: price, shortfall_micros: missing as Micros };
  return answerNo(visit, { ...outcome, refusal });
}

/** Whether the caller could pay this now: one round trip, and nothing is taken. */
async function afford<Env>(visit: Visit<Env>, amount_micros: Micros): Promise<AffordOutcome> {
  return visit.ask(
    async (caller): Promise<AffordOutcome> => {
      const asked = { amount_micros, tag: visit.reason(), ...visit.asked(caller) };
      return attempt(() => envelopeStub(visit.env, caller.envelopeId).afford(asked));
    },
    () => refusedToNobody(amount_micros),
  );
}
