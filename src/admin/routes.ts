/** The owner's JSON API: which path is answered by what. Loaded with the first request of an owner's. */
import type { IttyRouterType } from "itty-router";
import { hasStripeKey, stripeMode } from "../stripe-settings.js";
import { freeze, grant, refund, revokeGrant, revokeKey, rotate, unfreeze } from "./actions.js";
import { json, useMethods } from "./answers.js";
import type { SessionAnswer } from "./api.js";
import { listEnrolled } from "./enrolled.js";
import { listAudit, listEntries, listPayments, showEnvelope } from "./envelopes.js";
import { exportEnvelope, exportList } from "./export.js";
import {
  dropFormer,
  listEnvelopes,
  listEvents,
  listLatest,
  listMirrorAudit,
  prove,
  rebuild,
  showCohorts,
  showHealth,
  showMovements,
  showOverview,
  showRefusals,
  showSeries,
  showSpend,
} from "./figures.js";
import { showMetrics } from "./metrics.js";
import type { OwnersRequest } from "./owners-request.js";
import { query, queryRaw } from "./query.js";
import { refundThroughStripe } from "./stripe-refunds.js";
import { assign, listUnclaimed } from "./unclaimed.js";

export type Params = Readonly<Record<string, string>>;
type Route = (request: OwnersRequest, params: Params) => Response | Promise<Response>;

const ROUTES: readonly (readonly [method: "get" | "post", path: string, route: Route])[] = [
  ["get", "/api/session", showSession],
  ["get", "/api/unclaimed", listUnclaimed],
  ["post", "/api/unclaimed/:payment/assign", assign],
  ["get", "/api/overview", showOverview],
  ["get", "/api/series", showSeries],
  ["get", "/api/spend", showSpend],
  ["get", "/api/movements", showMovements],
  ["get", "/api/refusals", showRefusals],
  ["get", "/api/cohorts", showCohorts],
  ["get", "/api/events", listEvents],
  ["get", "/api/latest", listLatest],
  ["get", "/api/health", showHealth],
  ["post", "/api/proof", prove],
  ["post", "/api/rebuild", rebuild],
  ["post", "/api/former-shards/drop", dropFormer],
  ["get", "/api/audit", listMirrorAudit],
  ["get", "/api/envelopes", listEnvelopes],
  ["get", "/api/enrolled", listEnrolled],
  ["get", "/api/envelopes/:id", showEnvelope],
  ["get", "/api/envelopes/:id/entries", listEntries],
  ["get", "/api/envelopes/:id/payments", listPayments],
  ["get", "/api/envelopes/:id/audit", listAudit],
  ["post", "/api/envelopes/:id/grants", grant],
  ["post", "/api/envelopes/:id/revocations", revokeGrant],
  ["post", "/api/envelopes/:id/keys/:key/revoke", revokeKey],
  ["post", "/api/envelopes/:id/refunds", refund],
  ["post", "/api/envelopes/:id/freeze", freeze],
  ["post", "/api/envelopes/:id/unfreeze", unfreeze],
  ["post", "/api/envelopes/:id/rotate", rotate],
  ["post", "/api/envelopes/:id/stripe-refunds", refundThroughStripe],
  ["get", "/api/envelopes/:id/entries.:format", exportEnvelope],
  ["get", "/api/export/:file", exportList],
  ["get", "/metrics", showMetrics],
  // Last: a name is whatever no path before it is.
  ["post", "/:name", query],
  ["post", "/:name/query/raw", queryRaw],
];

export function addOwnersRoutes(router: IttyRouterType, request: OwnersRequest): void {
  const methods = new Map<string, string[]>();
  for (const [method, path, route] of ROUTES) {
    router[method](request.base + path, ({ params }) => route(request, params));
    methods.set(path, [...(methods.get(path) ?? []), method.toUpperCase()]);
  }
  // Only where there is something: a name that is none is told apart from nothing by nothing.
  methods.delete("/:name");
  methods.delete("/:name/query/raw");
  for (const [path, allowed] of methods) router.all(request.base + path, () => useMethods(allowed.join(", ")));
}

function showSession({ owner, currency, env }: OwnersRequest): Response {
  const mode = stripeMode(env);
  return json({
    actor: owner.actor,
    currency: currency.code,
    exponent: currency.exponent,
    stripe: hasStripeKey(env),
    livemode: mode === undefined ? null : mode === "live",
    readOnly: owner.readOnly,
  } satisfies SessionAnswer);
}
