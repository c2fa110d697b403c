/**
 * What the owner's servers can ask for, one row each: the router, the OpenAPI document, the checks of bodies and the client's types
 * are all read from here. Paths are below the names in `options.paths`.
 */
import * as schemas from "./schemas.js";

export interface Operation {
  readonly method: "get" | "post" | "put" | "delete";
  /** Which of `options.paths` it is below. */
  readonly below: "envelopes" | "usage" | "stripeTopup" | "keys";
  /** In the manner of OpenAPI: `/{id}/status`. */
  readonly path: string;
  readonly summary: string;
  /** Query parameters of its own. */
  readonly query?: readonly string[];
  /** Of a list: takes `cursor` and `limit`. */
  readonly list?: true;
  readonly body?: object;
  /** `Idempotency-Key`: `needed` where money moves; elsewhere, without one, each request stands for itself. */
  readonly key?: "needed" | "taken";
  readonly status: 200 | 201;
  readonly answer: object;
  /** Statuses of its refusals, besides those that any may answer (openapi.ts). */
  readonly refuses?: readonly number[];
}

export const OPERATIONS = {
  createEnvelope: {
    method: "post",
    below: "envelopes",
    path: "",
    summary: "Create an envelope: a budget over windows, a prepaid balance, or both",
    body: schemas.newEnvelope,
    key: "taken",
    status: 201,
    answer: schemas.envelope,
    refuses: [422],
  },
  listEnvelopes: {
    method: "get",
    below: "envelopes",
    path: "",
    summary: "Envelopes, in the order of their ids",
    list: true,
    status: 200,
    answer: schemas.pageOf("envelopes", schemas.envelope),
  },
  showEnvelope: {
    method: "get",
    below: "envelopes",
    path: "/{id}",
    summary: "One envelope",
    status: 200,
    answer: schemas.envelope,
  },
  showStatus: {
    method: "get",
    below: "envelopes",
    path: "/{id}/status",
    summary: "What is spent, what is left, and when it resets",
    status: 200,
    answer: schemas.envelopeStatus,
  },
  setWindows: {
    method: "post",
    below: "envelopes",
    path: "/{id}/windows",
    summary: "Replace the windows of an envelope",
    body: schemas.newWindows,
    key: "taken",
    status: 200,
    answer: schemas.envelope,
    refuses: [422],
  },
  authorize: {
    method: "post",
    below: "envelopes",
    path: "/{id}/authorize",
    summary: "Let an identity spend from an envelope",
    body: schemas.newIdentity,
    key: "taken",
    status: 201,
    answer: schemas.spender,
    refuses: [409, 422],
  },
  listIdentities: {
    method: "get",
    below: "envelopes",
    path: "/{id}/authorize",
    summary: "Who may spend from an envelope",
    list: true,
    status: 200,
    answer: schemas.pageOf("identities", schemas.spender),
  },
  revokeIdentity: {
    method: "delete",
    below: "envelopes",
    path: "/{id}/authorize/{identityId}",
    summary: "Revoke an identity: refused from the very next charge on",
    key: "taken",
    status: 200,
    answer: schemas.spender,
  },
  listEntries: {
    method: "get",
    below: "envelopes",
    path: "/{id}/entries",
    summary: "The ledger, newest first",
    list: true,
    status: 200,
    answer: schemas.pageOf("entries", schemas.entry),
  },
  listUsage: {
    method: "get",
    below: "envelopes",
    path: "/{id}/usage",
    summary: "Usage, newest first: what was charged, what was blocked, what was in error",
    list: true,
    status: 200,
    answer: schemas.pageOf("usage", schemas.usageRecord),
  },
  listTopUps: {
    method: "get",
    below: "envelopes",
    path: "/{id}/topups",
    summary: "Top-ups that were asked for here, newest first",
    list: true,
    status: 200,
    answer: schemas.pageOf("topups", schemas.topUp),
  },
  listAudit: {
    method: "get",
    below: "envelopes",
    path: "/{id}/audit",
    summary: "Who changed what, newest first; each line seals the one before it",
    list: true,
    status: 200,
    answer: schemas.pageOf("audit", schemas.auditLine),
  },
  grant: {
    method: "post",
    below: "envelopes",
    path: "/{id}/grants",
    summary: "Give money",
    body: schemas.newGrant,
    key: "needed",
    status: 201,
    answer: schemas.acted,
    refuses: [422],
  },
  refund: {
    method: "post",
    below: "envelopes",
    path: "/{id}/refunds",
    summary: "Give a charge back, into the window it was spent in",
    body: schemas.newRefund,
    key: "needed",
    status: 201,
    answer: schemas.acted,
    refuses: [422],
  },
  freeze: {
    method: "post",
    below: "envelopes",
    path: "/{id}/freeze",
    summary: "Stop spending; money still comes in",
    body: schemas.onlyReason,
    key: "taken",
    status: 200,
    answer: schemas.acted,
    refuses: [422],
  },
  unfreeze: {
    method: "post",
    below: "envelopes",
    path: "/{id}/unfreeze",
    summary: "Let spending go on",
    body: schemas.onlyReason,
    key: "taken",
    status: 200,
    answer: schemas.acted,
    refuses: [422],
  },
  createKey: {
    method: "post",
    below: "keys",
    path: "",
    summary: "Make an API key that spends from an envelope; its secret is shown once",
    body: schemas.newKey,
    key: "needed",
    status: 201,
    answer: schemas.mintedKey,
    refuses: [403, 409],
  },
  listKeys: {
    method: "get",
    below: "keys",
    path: "",
    summary: "API keys of an envelope, newest first",
    query: ["envelopeId"],
    list: true,
    status: 200,
    answer: schemas.pageOf("keys", schemas.spender),
    refuses: [403],
  },
  revokeKey: {
    method: "delete",
    below: "keys",
    path: "/{keyId}",
    summary: "Revoke an API key: refused from the very next charge on",
    query: ["envelopeId"],
    key: "needed",
    status: 200,
    answer: schemas.spender,
    refuses: [403],
  },
  use: {
    method: "post",
    below: "usage",
    path: "",
    summary: "Spend, by the identity that was authorised",
    body: schemas.newUsage,
    key: "taken",
    status: 200,
    answer: schemas.usage,
    refuses: [402, 403, 409, 422],
  },
  topUp: {
    method: "post",
    below: "stripeTopup",
    path: "",
    summary: "A PaymentIntent for an envelope: pay it with the client secret",
    body: schemas.newTopUp,
    key: "taken",
    status: 200,
    answer: schemas.askedTopUp,
    refuses: [422],
  },
  showAutoTopUp: {
    method: "get",
    below: "envelopes",
    path: "/{id}/auto-topup",
    summary: "Whose saved card is charged when the balance is low",
    status: 200,
    answer: schemas.autoTopUp,
  },
  setAutoTopUp: {
    method: "put",
    below: "envelopes",
    path: "/{id}/auto-topup",
    summary: "Say whose saved card is charged when the balance is low, or that none is",
    body: schemas.newAutoTopUp,
    key: "taken",
    status: 200,
    answer: schemas.autoTopUp,
    refuses: [409, 422],
  },
} as const satisfies Record<string, Operation>;

export type OperationId = keyof typeof OPERATIONS;
