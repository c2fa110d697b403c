/** Every expected "no", as an HTTP answer: RFC 9457 problem details, from one table. A new refusal does not compile until it is in it. */
import type { ConflictDetail, Refusal, RefusalReason } from "./contract.js";
import { canTopUp, limitOf, tellsBalance } from "./limits.js";
import { type Currency, formatMinor, type Micros } from "./money.js";
import { EXPOSED_HEADERS, HEADER, NO_STORE } from "./wire.js";

interface Kind {
  readonly status: 401 | 402 | 403;
  readonly title: string;
  readonly detail: string;
}

const REFUSALS: Readonly<Record<RefusalReason, Kind>> = {
  insufficient_balance: {
    status: 402,
    title: "Payment required",
    detail: "The balance does not cover the price. Top up at paymentLink and send the request again.",
  },
  window: {
    status: 402,
    title: "Spending limit reached",
    detail:
      "A spending limit over a period of time does not admit the price. Paying more would not lift that; resetsAt says when it admits more.",
  },
  key_cap: {
    status: 403,
    title: "Key limit reached",
    detail: "The limit of this key does not admit the price. Paying more would not lift that.",
  },
  key_expired: {
    status: 403,
    title: "Key expired",
    detail: "This key is no longer valid. Paying more would not change that.",
  },
  key_scope: {
    status: 403,
    title: "Key not allowed to",
    detail: "This key may not do that. Paying more would not change that.",
  },
  frozen: {
    status: 403,
    title: "Envelope frozen",
    detail: "Spending from this envelope is suspended. Paying more would not lift that.",
  },
  credential_revoked: {
    status: 401,
    title: "Credential revoked",
    detail: "This token was replaced by a newer one, or revoked.",
  },
  identity_unknown: {
    status: 401,
    title: "Identity unknown",
    detail: "No envelope is open to this identity.",
  },
};

export const TYPE = "urn:with-envelope:problem:";

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly [member: string]: unknown;
}

/** An RFC 9457 answer. `Cache-Control: no-store`, because a problem is about this request only. */
export function problem(body: ProblemBody, headers: HeadersInit = {}): Response {
  const all = new Headers(headers);
  all.set("Content-Type", "application/problem+json");
  if (!all.has("Cache-Control")) all.set("Cache-Control", "no-store");
  return new Response(JSON.stringify(body), { status: body.status, headers: all });
}

export function plainProblem(
  status: number,
  slug: string,
  title: string,
  detail: string,
  headers: HeadersInit = {},
): Response {
  return problem({ type: TYPE + slug, title, status, detail }, headers);
}

export interface RefusedAt {
  readonly currency: Currency;
  readonly balance_micros: Micros;
  readonly paymentLink: string | null;
}

export function refusalProblem(refusal: Refusal, at: RefusedAt): Response {
  const kind = REFUSALS[refusal.reason];
  const { currency, paymentLink } = at;
  const headers = new Headers({ "Cache-Control": NO_STORE, "Access-Control-Expose-Headers": EXPOSED_HEADERS });
  if (kind.status === 401) headers.set("WWW-Authenticate", `Bearer error="invalid_token"`);
  if (refusal.reason === "key_scope") headers.set("WWW-Authenticate", `Bearer error="insufficient_scope"`);
  const body = {
    type: TYPE + refusal.reason.replaceAll("_", "-"),
    title: kind.title,
    status: kind.status,
    detail: kind.detail,
    limit: limitOf(refusal.reason),
    price: formatMinor(refusal.price_micros, currency),
    currency: currency.code,
    canTopUp: canTopUp(refusal.reason),
    resetsAt: refusal.resets_at_ms == null ? null : new Date(refusal.resets_at_ms).toISOString(),
    ...(refusal.window_id == null ? {} : { windowId: refusal.window_id }),
  };
  if (!tellsBalance(refusal.reason)) return problem(body, headers);

  headers.set(HEADER.balance, formatMinor(at.balance_micros, currency));
  if (paymentLink !== null) {
    headers.set(HEADER.paymentLink, paymentLink);
    headers.set("Link", `<${paymentLink}>; rel="payment"`);
  }
  return problem(
    {
      ...body,
      balance: formatMinor(at.balance_micros, currency),
      shortfall: formatMinor(refusal.shortfall_micros, currency),
      paymentLink,
    },
    headers,
  );
}

const CONFLICTS: Readonly<Record<ConflictDetail, { readonly status: 409 | 422; readonly detail: string }>> = {
  // Statuses of draft-ietf-httpapi-idempotency-key-header, section 2.7.
  price: { status: 422, detail: "This Idempotency-Key was used for another price. Nothing was charged." },
  scope: { status: 422, detail: "This Idempotency-Key was used for another request. Nothing was charged." },
  expired: { status: 422, detail: "This Idempotency-Key was used too long ago. Nothing was charged." },
  refunded: { status: 422, detail: "What this Idempotency-Key paid for was refunded. Nothing was charged." },
  in_progress: {
    status: 409,
    detail: "A request with this Idempotency-Key is still being worked on. Nothing was charged.",
  },
};

export function conflictProblem(conflict: ConflictDetail): Response {
  const { status, detail } = CONFLICTS[conflict];
  const headers: HeadersInit = conflict === "in_progress" ? { "Retry-After": "1" } : {};
  return plainProblem(status, "idempotency-conflict", "Idempotency conflict", detail, headers);
}

export function unauthorizedProblem(headers: Headers = new Headers()): Response {
  headers.set("WWW-Authenticate", `Bearer error="invalid_token"`);
  return plainProblem(401, "unauthorized", "Unauthorized", "The bearer token is not one of this service's.", headers);
}

export function forbiddenProblem(detail: string, headers: Headers = new Headers()): Response {
  return plainProblem(403, "forbidden", "Forbidden", `${detail}.`, headers);
}

export function crowdedProblem(): Response {
  const detail = "Too many connections of this envelope are open. Close one, and try again.";
  return plainProblem(429, "too-many-open", "Too many open", detail, { "Retry-After": "1" });
}

export function outageProblem(): Response {
  return plainProblem(
    503,
    "unavailable",
    "Balance unavailable",
    "The balance could not be reached. Nothing was delivered.",
    {
      "Retry-After": "1",
    },
  );
}
