/**
 * The control plane: what the owner's servers ask for, over REST. Which operations there are, and what their bodies look like, is in
 * operations.ts; here each gets its handler, and a body that does not fit its schema is answered before the handler sees it. Loaded
 * with the first request to one of its paths.
 */
import { Validator } from "@cfworker/json-schema";
import type { IttyRouterType } from "itty-router";
import { isKey } from "../../keys.js";
import { HEADER, type Paths } from "../../wire.js";
import { invalid, json, readJson, useMethods } from "../answers.js";
import type { OwnersRequest } from "../owners-request.js";
import type { Called, Handler } from "./called.js";
import { createEnvelope, listEnvelopes, setWindows, showEnvelope, showStatus } from "./envelopes.js";
import { authorize, listIdentities, revokeIdentity } from "./identities.js";
import { listAudit, listEntries, listTopUps, listUsage } from "./lists.js";
import { freeze, grant, refund, unfreeze } from "./money.js";
import { OPENAPI_PATH, openApi } from "./openapi.js";
import { OPERATIONS, type Operation, type OperationId } from "./operations.js";
import { use } from "./usage.js";

/** The others are answered by topup-routes.ts and key-routes.ts, which need more of the house than an owner's request has. */
type Elsewhere = "topUp" | "showAutoTopUp" | "setAutoTopUp" | "createKey" | "listKeys" | "revokeKey";

const HANDLERS: { readonly [Id in Exclude<OperationId, Elsewhere>]: Handler<Id> } = {
  createEnvelope,
  listEnvelopes,
  showEnvelope,
  showStatus,
  setWindows,
  authorize,
  listIdentities,
  revokeIdentity,
  listEntries,
  listUsage,
  listTopUps,
  listAudit,
  grant,
  refund,
  freeze,
  unfreeze,
  use,
};

export function addControlRoutes(router: IttyRouterType, asked: OwnersRequest): void {
  const { paths } = asked.options;
  if (paths.envelopes !== false) {
    router.get(paths.envelopes + OPENAPI_PATH, () => json(openApi(paths, asked.url.origin)));
  }
  const methods = new Map<string, string[]>();
  for (const id of Object.keys(HANDLERS) as (keyof typeof HANDLERS)[]) {
    const operation: Operation = OPERATIONS[id];
    const path = routeOf(operation, paths);
    if (path === undefined) continue;
    router[operation.method](path, ({ params }) => answer(id, operation, asked, params as Record<string, string>));
    methods.set(path, [...(methods.get(path) ?? []), operation.method.toUpperCase()]);
  }
  for (const [path, allowed] of methods) router.all(path, () => useMethods(allowed.join(", ")));
}

/** `/{id}/status` of OpenAPI is `/:id/status` to the router. */
function routeOf({ below, path }: Operation, paths: Paths): string | undefined {
  const base = paths[below];
  return base === false ? undefined : base + path.replaceAll(/\{(\w+)\}/g, ":$1");
}

async function answer<Id extends keyof typeof HANDLERS>(
  id: Id,
  operation: Operation,
  asked: OwnersRequest,
  params: Readonly<Record<string, string>>,
): Promise<Response> {
  const given = asked.request.headers.get(HEADER.idempotencyKey);
  if (given !== null && !isKey(given)) return invalid("Idempotency-Key must be 1 to 255 visible ASCII characters");
  if (given === null && operation.key === "needed") {
    return invalid("An Idempotency-Key of 1 to 255 visible ASCII characters is needed: money moves here");
  }
  let body: unknown;
  if (operation.body !== undefined) {
    body = await readJson(asked.request);
    if (body === undefined) return invalid("The body must be a JSON object, sent as application/json");
    const fault = faultOf(id, operation.body, body);
    if (fault !== undefined) return invalid(fault);
  }
  const called = { ...asked, params, body, key: given ?? undefined } as Called<Id>;
  return (HANDLERS[id] as Handler<Id>)(called);
}

const validators = new Map<string, Validator>();

/** The place and the rule, never the value: it may be somebody's address. */
function faultOf(id: string, schema: object, body: unknown): string | undefined {
  let validator = validators.get(id);
  if (validator === undefined) {
    validator = new Validator(schema, "2020-12");
    validators.set(id, validator);
  }
  const { valid, errors } = validator.validate(body);
  if (valid) return undefined;
  const fault = errors.at(-1);
  const place = fault?.instanceLocation.replace(/^#\/?/, "") || "The body";
  return `${place} does not fit the schema (${fault?.keyword}): see the OpenAPI document`;
}
