/**
 * `with-envelope/control-plane`: a client of the control plane for the owner's servers, in anything that has `fetch`. Its methods and
 * types are those of operations.ts, so it can ask for nothing that the routes do not have. An expected "no" is a value.
 */
import { DEFAULT_PATHS } from "../../wire.js";
import { OPERATIONS, type Operation, type OperationId } from "./operations.js";
import type { problem } from "./schemas.js";
import type { Of } from "./typed.js";

export interface ControlPlaneOptions {
  /** Where the Worker is: `https://api.example.com`. */
  readonly url: string | URL;
  /** `ENVELOPE_ADMIN_SECRET`. */
  readonly secret: string;
  /** As in `options.paths` of `withEnvelope`, where they were renamed. */
  readonly paths?: Partial<Readonly<Record<Operation["below"], string>>> | undefined;
  /** Default: the global one. */
  readonly fetch?: ((request: Request) => Promise<Response>) | undefined;
}

export type Problem = Of<typeof problem>;

/** `problem`: what the control plane answered with another status than the operation's own. */
export type Answer<Id extends OperationId> =
  | { readonly ok: true; readonly status: number; readonly value: Of<(typeof OPERATIONS)[Id]["answer"]> }
  | { readonly ok: false; readonly status: number; readonly problem: Problem };

type ParamsIn<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? Name | ParamsIn<Rest>
  : never;

/** What an operation takes: the names in its path, its body, and `cursor` and `limit` of a list. */
export type Input<Id extends OperationId> = {
  readonly [Name in ParamsIn<(typeof OPERATIONS)[Id]["path"]>]: string;
} & ((typeof OPERATIONS)[Id] extends { readonly body: infer Body } ? { readonly body: Of<Body> } : unknown) &
  ((typeof OPERATIONS)[Id] extends { readonly key: "needed" }
    ? { readonly idempotencyKey: string }
    : { readonly idempotencyKey?: string | undefined }) &
  ((typeof OPERATIONS)[Id] extends { readonly query: readonly (infer Name extends string)[] }
    ? { readonly [One in Name]: string }
    : unknown) &
  ((typeof OPERATIONS)[Id] extends { readonly list: true }
    ? { readonly cursor?: string | null | undefined; readonly limit?: number | undefined }
    : unknown);

export type ControlPlane = {
  readonly [Id in OperationId]: (input: Input<Id>) => Promise<Answer<Id>>;
};

interface AnyInput {
  readonly body?: unknown;
  readonly idempotencyKey?: string | undefined;
  readonly cursor?: string | null | undefined;
  readonly limit?: number | undefined;
  readonly [param: string]: unknown;
}

/** @throws {TypeError} for a URL or secret that cannot be one; its methods reject only where nothing answered. */
export function controlPlane(options: ControlPlaneOptions): ControlPlane {
  if (!URL.canParse(options.url)) throw new TypeError("options.url must be a URL such as https://api.example.com");
  if (typeof options.secret !== "string" || options.secret === "") {
    throw new TypeError("options.secret must be the Worker's ENVELOPE_ADMIN_SECRET");
  }
  const ask = options.fetch ?? ((request: Request) => fetch(request));
  const methods = (Object.entries(OPERATIONS) as [OperationId, Operation][]).map(([id, operation]) => [
    id,
    async (input: AnyInput = {}) => {
      const response = await ask(requestOf(operation, options, input));
      const { status } = response;
      const value: unknown = await response.json().catch(() => undefined);
      if (status === operation.status) return { ok: true, status, value };
      return {
        ok: false,
        status,
        problem: value ?? { type: "about:blank", title: response.statusText, status, detail: "" },
      };
    },
  ]);
  return Object.fromEntries(methods) as ControlPlane;
}

function requestOf(operation: Operation, { url, secret, paths }: ControlPlaneOptions, input: AnyInput): Request {
  const base = paths?.[operation.below] ?? DEFAULT_PATHS[operation.below];
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(input[name])));
  const target = new URL(`${base}${path}`, url);
  for (const name of operation.query ?? []) target.searchParams.set(name, String(input[name]));
  if (input.cursor !== undefined && input.cursor !== null) target.searchParams.set("cursor", input.cursor);
  if (input.limit !== undefined) target.searchParams.set("limit", String(input.limit));
  const headers = new Headers({ Authorization: `Bearer ${secret}`, Accept: "application/json" });
  if (input.idempotencyKey !== undefined) headers.set("Idempotency-Key", input.idempotencyKey);
  const init: RequestInit = { method: operation.method.toUpperCase(), headers };
  if (operation.body === undefined) return new Request(target, init);
  headers.set("Content-Type", "application/json");
  return new Request(target, { ...init, body: JSON.stringify(input.body) });
}
