/** The webhook endpoint and its signing secret, which Stripe shows once. Pure. */
import type Stripe from "stripe";
import {
  ATTEMPTS_MAX,
  type Call,
  type Endpoint,
  META,
  owned,
  requestOf,
  type State,
  sameSet,
  type Wish,
} from "./model.js";

/** Stripe keeps an idempotency key for at least 24 hours, and with it the answer that holds the signing secret. */
const ANSWER_KEPT_SECONDS = 23 * 3600;
/** Older endpoints report converted payments in another currency than ours: the Worker would not credit them. */
const API_VERSION_MIN = "2025-03-31";

/** The endpoint in use: the newest that no other has taken over from. */
export function endpointOf(state: State): Endpoint | undefined {
  const replaced = new Set(state.endpoints.map((endpoint) => endpoint.replaces));
  return state.endpoints.find((endpoint) => !replaced.has(endpoint.id));
}

/** `told`: by Stripe, in this run. `held`: in .dev.vars, and still to go to wrangler. `stored`: where it belongs. */
type SecretStatus = "told" | "held" | "stored" | "repeatable" | "unknown";

export function secretStatus(wish: Wish, state: State, endpoint: Endpoint): SecretStatus {
  if (state.told?.endpoint_id === endpoint.id) return state.told.digest === undefined ? "unknown" : "told";
  if (wish.store === "wrangler" && endpoint.in_wrangler) return "stored";
  if (endpoint.secret_digest !== undefined && state.local_digests.includes(endpoint.secret_digest)) {
    return wish.store === "wrangler" ? "held" : "stored";
  }
  return repeatEndpoint(wish, endpoint) ? "repeatable" : "unknown";
}

export function isTooOld(endpoint: Endpoint): boolean {
  return endpoint.api_version === null || endpoint.api_version < API_VERSION_MIN;
}

function webhookUrl(wish: Wish): string {
  return `${wish.url}/stripe-webhook`;
}

export function webhookStep(wish: Wish, state: State): Call | undefined {
  const endpoint = endpointOf(state);
  if (endpoint === undefined) return createEndpoint(wish, undefined);
  const status = secretStatus(wish, state, endpoint);
  // A roll that died half-way is finished, and not started once more on top.
  const unfinished = state.endpoints.some(({ id, enabled }) => enabled && id === endpoint.replaces);
  if (wish.roll_webhook && !state.rolled && !(unfinished && status !== "unknown")) {
    return createEndpoint(wish, endpoint.id);
  }
  return updateEndpoint(wish, endpoint) ?? (status === "repeatable" ? repeatEndpoint(wish, endpoint) : undefined);
}

function createEndpoint(wish: Wish, replaces: string | undefined): Call {
  const url = webhookUrl(wish);
  const params = {
    url,
    enabled_events: [...wish.events].sort(),
    api_version: wish.api_version,
    description: `with-envelope: ${wish.app}`,
    metadata: owned(wish, replaces === undefined ? {} : { [META.replaces]: replaces }),
  } satisfies Stripe.WebhookEndpointCreateParams;
  return {
    kind: "create",
    name: "webhook",
    path: "/v1/webhook_endpoints",
    params,
    why: replaces === undefined ? "tells the Worker of payments" : `takes over from ${replaces}`,
    apply: (state, { id, secret_digest: digest }) => {
      const endpoint: Endpoint = {
        id,
        url,
        events: params.enabled_events,
        enabled: true,
        api_version: wish.api_version,
        created: wish.now,
        revision: 0,
        replaces,
        request: undefined,
        secret_digest: undefined,
        in_wrangler: false,
      };
      return { ...state, endpoints: [endpoint, ...state.endpoints], told: { endpoint_id: id, digest }, rolled: true };
    },
  };
}

/**
 * A signing secret is shown in the answer to the endpoint's creation and never again. While Stripe keeps that answer, the
 * very same request is answered with it once more: so a run that died before it stored the secret can still be finished.
 */
function repeatEndpoint(wish: Wish, endpoint: Endpoint): Call | undefined {
  const call = createEndpoint(wish, endpoint.replaces);
  const attempt = wish.now - endpoint.created > ANSWER_KEPT_SECONDS ? undefined : attemptOf(wish.app, call, endpoint);
  if (attempt === undefined) return undefined;
  return {
    ...call,
    kind: "repeat",
    why: `asks once more for the answer that made ${endpoint.id}`,
    repeats: { attempt, id: endpoint.id },
    apply: (state, { secret_digest: digest }) => ({ ...state, told: { endpoint_id: endpoint.id, digest } }),
  };
}

/** Which attempt made this endpoint; `undefined` unless it was made by this very request. */
function attemptOf(app: string, call: Call, { request }: Endpoint): number | undefined {
  const attempts = Array.from({ length: ATTEMPTS_MAX }, (_, index) => index + 1);
  return attempts.find((attempt) => requestOf(app, call, attempt).key === request);
}

function updateEndpoint(wish: Wish, endpoint: Endpoint): Call | undefined {
  const url = webhookUrl(wish);
  const moved = endpoint.url !== url;
  const resubscribed = !sameSet(endpoint.events, wish.events);
  if (!moved && !resubscribed && endpoint.enabled) return undefined;
  const events = [...wish.events].sort();
  const params = {
    ...(moved && { url }),
    ...(resubscribed && { enabled_events: events }),
    ...(!endpoint.enabled && { disabled: false }),
  } satisfies Stripe.WebhookEndpointUpdateParams;
  const why = moved ? `moves from ${endpoint.url}` : resubscribed ? "its events differ" : "it was disabled";
  return changeEndpoint(endpoint, params, why, { url, events, enabled: true });
}

/** After the secret is stored, so that the mark never says more than is true. */
export function markEndpoint(wish: Wish, state: State): Call | undefined {
  const endpoint = endpointOf(state);
  if (endpoint === undefined || !state.stored.includes("STRIPE_WEBHOOK_SECRET")) return undefined;
  const secret_digest = state.told?.digest ?? endpoint.secret_digest;
  const in_wrangler = endpoint.in_wrangler || wish.store === "wrangler";
  if (secret_digest === undefined) return undefined;
  if (secret_digest === endpoint.secret_digest && in_wrangler === endpoint.in_wrangler) return undefined;
  const metadata = { [META.secret]: secret_digest, ...(in_wrangler && { [META.secretIn]: "wrangler" }) };
  return changeEndpoint(endpoint, { metadata }, "its secret is stored", { secret_digest, in_wrangler });
}

/** Last of all: until the new secret is stored, the old endpoint may be the only one the Worker believes. */
export function retireEndpoint(wish: Wish, state: State): Call | undefined {
  const endpoint = endpointOf(state);
  if (endpoint === undefined || !isSettled(secretStatus(wish, state, endpoint))) return undefined;
  const replaced = new Set(state.endpoints.map(({ replaces }) => replaces));
  const old = state.endpoints.find(({ id, enabled }) => enabled && replaced.has(id));
  if (old === undefined) return undefined;
  const call = changeEndpoint(old, { disabled: true }, `${endpoint.id} took over`, { enabled: false });
  return { ...call, apply: (now, answer) => ({ ...call.apply(now, answer), rolled: true }) };
}

function isSettled(status: SecretStatus): boolean {
  return status !== "unknown" && status !== "repeatable";
}

/** Each change carries a number of its own, so that changing there, back and there again is not taken for a retry of the first. */
function changeEndpoint(
  endpoint: Endpoint,
  params: Stripe.WebhookEndpointUpdateParams,
  why: string,
  change: Partial<Endpoint>,
): Call {
  const revision = endpoint.revision + 1;
  const after: Endpoint = { ...endpoint, ...change, revision };
  return {
    kind: "update",
    name: "webhook",
    path: `/v1/webhook_endpoints/${endpoint.id}`,
    params: { ...params, metadata: { ...(params.metadata || {}), [META.revision]: String(revision) } },
    why,
    apply: (state) => ({
      ...state,
      endpoints: state.endpoints.map((other) => (other.id === endpoint.id ? after : other)),
    }),
  };
}
