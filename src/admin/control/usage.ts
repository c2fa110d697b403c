/**
 * `POST /usage`: spends, by an identity that was authorised, or by an API key of ours. One call of the envelope decides and writes; a "no" is kept there in the
 * same turn. An identity that nobody authorised is refused, never waved through.
 */
import { attempt } from "../../attempt.js";
import {
  type ChargeInput,
  type ChargeOutcome,
  type IdentityCredential,
  type IdentityPlace,
  type KeyCredential,
  METADATA_MAX,
  REASON_MAX,
  type RefusalReason,
} from "../../contract.js";
import { findPlace, normalIdentity } from "../../identities.js";
import { isKey } from "../../keys.js";
import { formatMain, type Micros, parseMain } from "../../money.js";
import { knownPlace, type NamedIdentity } from "../../places.js";
import { writeReference } from "../../reference.js";
import { conflictProblem, type ProblemBody, plainProblem, problem, refusalProblem } from "../../refusal.js";
import { digest, newOperation } from "../../secrets.js";
import { paymentLink } from "../../settings.js";
import { envelopeStub } from "../../stubs.js";
import { invalid, json } from "../answers.js";
import { tell } from "../told.js";
import type { Called, Handler } from "./called.js";
import { notPossible } from "./money.js";
import type * as schemas from "./schemas.js";
import type { Of } from "./typed.js";

export const use: Handler<"use"> = async (called) => {
  const { body, currency, options } = called;
  const amount_micros = parseMain(body.amount);
  if (amount_micros === undefined) return invalid("amount must be a decimal in main units");
  if (amount_micros > options.maxPrice) return notPossible("amount is above options.maxPrice.");
  const identity = normalIdentity(body.identityType, body.identity);
  if (identity === undefined) return invalid(`identity is no ${body.identityType}`);
  const asked = readMetadata(called);
  if (typeof asked === "string") return invalid(asked);
  const charged = await charge(called, identity, (credential) => ({
    ...asked,
    amount_micros,
    currency: currency.code,
    credential,
    auto_topup: options.autoTopUp,
    alerts: options.alerts,
    record_refusal: true,
    record_zero: options.recordZero,
    replay_ms: options.replay_ms,
    // What the key was used for: the same key for another identity is a conflict.
    scope: asked.key && digest(JSON.stringify([identity.type, identity.value]), 12),
    op: newOperation(),
  }));
  return charged === undefined ? unknownIdentity() : answer(called, charged, amount_micros);
};

interface Charged {
  readonly envelope_id: string;
  readonly outcome: ChargeOutcome;
}

/**
 * A key of ours says which envelope it is of. An identity is looked for once more where a remembered place says that it has ended
 * there: it may be another envelope's by now.
 */
async function charge(
  { env, keys, readKey }: Called<"use">,
  identity: NamedIdentity,
  inputFor: (credential: KeyCredential | IdentityCredential) => ChargeInput,
): Promise<Charged | undefined> {
  const chargeBy = async (envelope_id: string, input: ChargeInput): Promise<Charged> => ({
    envelope_id,
    outcome: await attempt((retry) => envelopeStub(env, envelope_id).charge({ ...input, retry })),
  });
  const key = identity.type === "API_KEY" ? readKey(identity.value) : undefined;
  if (key !== undefined) {
    const byKey = await chargeBy(key.envelope_id, inputFor(key.credential));
    return isRefused(byKey, "credential_revoked") ? undefined : byKey;
  }
  const chargeAt = ({ envelope_id, identity_id }: IdentityPlace) => chargeBy(envelope_id, inputFor({ identity_id }));
  const known = knownPlace(keys, identity);
  const first = known && (await chargeAt(known));
  if (first !== undefined && !isRefused(first, "credential_revoked", "key_expired")) return first;
  const place = await findPlace(env, keys, identity);
  if (place === undefined) return undefined;
  const charged = first !== undefined && place.identity_id === known?.identity_id ? first : await chargeAt(place);
  return isRefused(charged, "credential_revoked") ? undefined : charged;
}

function isRefused({ outcome }: Charged, ...reasons: readonly RefusalReason[]): boolean {
  return outcome.outcome === "refused" && reasons.includes(outcome.refusal.reason);
}

type Asked = Pick<ChargeInput, "key" | "reason" | "metadata">;

/** A text is what is wrong with it. */
function readMetadata({ body, key: header }: Called<"use">): Asked | string {
  const { metadata } = body;
  const requestId = metadata?.["requestId"];
  if (requestId !== undefined && !isKey(requestId)) {
    return "metadata.requestId must be 1 to 255 visible ASCII characters";
  }
  if (header !== undefined && requestId !== undefined && header !== requestId) {
    return "Idempotency-Key and metadata.requestId must be the same, where both are given";
  }
  const text = metadata === undefined ? undefined : JSON.stringify(metadata);
  if (text !== undefined && text.length > METADATA_MAX) {
    return `metadata must be at most ${METADATA_MAX} characters of JSON`;
  }
  const key = header ?? (requestId as string | undefined);
  const endpoint = metadata?.["endpoint"];
  const reason = typeof endpoint === "string" ? endpoint.slice(0, REASON_MAX) : "usage";
  return { key: key && `usage:${key}`, reason, metadata: text };
}

async function answer(called: Called<"use">, { envelope_id, outcome }: Charged, asked: Micros): Promise<Response> {
  const { currency } = called;
  tell(called, envelope_id, outcome);
  const of = { envelopeId: envelope_id, amount_micros: asked, remaining_micros: outcome.available_micros };
  switch (outcome.outcome) {
    case "charged":
    case "replayed":
      return json({
        id: outcome.seq === null ? null : String(outcome.seq),
        status: "SUCCESS",
        replayed: outcome.outcome === "replayed",
        envelopeId: envelope_id,
        amount: formatMain(outcome.amount_micros),
        amount_micros: outcome.amount_micros,
        remaining: formatMain(outcome.available_micros),
        remaining_micros: outcome.available_micros,
        currency: currency.code,
      } satisfies Of<typeof schemas.usage>);
    case "refused": {
      const { refusal, balance_micros } = outcome;
      const at = { currency, balance_micros, paymentLink: linkTo(called, envelope_id) };
      return withUsage(refusalProblem(refusal, at), { status: "BLOCKED", ...of });
    }
    case "conflict":
      return withUsage(conflictProblem(outcome.detail), { status: "ERROR", ...of });
    case "invalid":
      return withUsage(notPossible(`${outcome.detail}.`), { status: "ERROR", ...of });
  }
}

interface Refused {
  readonly status: "BLOCKED" | "ERROR";
  readonly envelopeId: string;
  readonly amount_micros: Micros;
  readonly remaining_micros: Micros;
}

/** The members of a refusal are in minor units, as everywhere; those of `usage` in main units, as everywhere here. */
async function withUsage(
  response: Response,
  { status, envelopeId, amount_micros, remaining_micros }: Refused,
): Promise<Response> {
  const body = (await response.json()) as ProblemBody;
  const amounts = { amount: formatMain(amount_micros), amount_micros };
  const left = { remaining: formatMain(remaining_micros), remaining_micros };
  return problem({ ...body, usage: { status, envelopeId, ...amounts, ...left } }, response.headers);
}

function linkTo({ env, keys }: Called<"use">, envelope_id: string): string | null {
  const link = paymentLink(env);
  if (link === undefined) return null;
  link.searchParams.set("client_reference_id", writeReference(keys.reference, envelope_id));
  return link.href;
}

function unknownIdentity(): Response {
  return plainProblem(
    404,
    "unknown-identity",
    "Unknown identity",
    "No envelope is open to this identity. Nothing was charged.",
  );
}
