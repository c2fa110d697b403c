/** What a handler of the control plane gets, and what several of them answer. */
import { withHeaders } from "../../reply.js";
import { randomBase62 } from "../../secrets.js";
import { json } from "../answers.js";
import type { OwnersRequest } from "../owners-request.js";
import type { OPERATIONS, OperationId } from "./operations.js";
import type { Of } from "./typed.js";

/** One call of an operation, its body checked. */
export interface Called<Id extends OperationId> extends OwnersRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly body: (typeof OPERATIONS)[Id] extends { readonly body: infer Body } ? Of<Body> : undefined;
  /** The caller's `Idempotency-Key`. */
  readonly key: string | undefined;
}

export type Handler<Id extends OperationId> = (called: Called<Id>) => Promise<Response>;

/** A key for what was asked without one: it then happens once for this request, and again for the next. */
export function keyOf({ key }: { readonly key: string | undefined }): string {
  return key ?? randomBase62(22);
}

export function created(body: unknown, location: string): Response {
  return withHeaders(json(body, 201), (headers) => headers.set("Location", location));
}
