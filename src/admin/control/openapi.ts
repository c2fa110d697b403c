/** The control plane as an OpenAPI 3.1 document, made from operations.ts: nothing is said here that the routes do not read from there. */
import type { Paths } from "../../wire.js";
import { OPERATIONS, type Operation, type OperationId } from "./operations.js";
import { problem } from "./schemas.js";

export const OPENAPI_PATH = "/openapi.json";

const TITLES: Readonly<Record<number, string>> = {
  200: "Done",
  201: "Created",
  400: "The request is malformed",
  401: "The owner's secret is needed",
  402: "A limit said no; nothing was taken",
  403: "Not allowed, and paying would not help",
  404: "There is nothing here",
  409: "Somebody else has it, or it is under way",
  422: "Understood, and not possible",
  429: "Too many wrong tries came from this address",
  500: "The Worker is not set up for it",
  503: "Send the same request again",
};

const ANY_REFUSES = [400, 401, 404, 429, 500, 503];

/** Only of what this deployment has not switched off. */
export function openApi(paths: Pick<Paths, Operation["below"]>, server: string): object {
  const items: Record<string, Record<string, object>> = {};
  for (const [operationId, operation] of Object.entries(OPERATIONS) as [OperationId, Operation][]) {
    const base = paths[operation.below];
    if (base === false) continue;
    const path = base + operation.path;
    items[path] = { ...items[path], [operation.method]: describe(operationId, operation) };
  }
  return {
    openapi: "3.1.0",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: {
      title: "with-envelope control plane",
      version: "1",
      description:
        "Budgets, identities, usage and money, for the owner's servers. Amounts are in main units; `_micros` beside them are exact.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: server }],
    security: [{ bearer: [] }, { basic: [] }],
    paths: items,
    components: {
      schemas: { Problem: problem },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "ENVELOPE_ADMIN_SECRET" },
        basic: { type: "http", scheme: "basic", description: "admin:<ENVELOPE_ADMIN_SECRET>" },
      },
    },
  };
}

function describe(operationId: string, operation: Operation): object {
  const refusals = new Set([
    ...ANY_REFUSES,
    ...(operation.method === "get" ? [] : [403]),
    ...(operation.refuses ?? []),
  ]);
  const content = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
  return {
    operationId,
    summary: operation.summary,
    parameters: parametersOf(operation),
    ...(operation.body && {
      requestBody: { required: true, content: { "application/json": { schema: operation.body } } },
    }),
    responses: {
      [operation.status]: {
        description: TITLES[operation.status],
        content: { "application/json": { schema: operation.answer } },
      },
      ...Object.fromEntries([...refusals].map((status) => [status, { description: TITLES[status], content }])),
    },
  };
}

function parametersOf({ path, query, list, key }: Operation): readonly object[] {
  const string = { type: "string" };
  return [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: "path", required: true, schema: string })),
    ...(query ?? []).map((name) => ({ name, in: "query", required: true, schema: string })),
    ...(list
      ? [
          { name: "cursor", in: "query", schema: string, description: "`next` of the page before" },
          { name: "limit", in: "query", schema: { type: "integer", minimum: 1, maximum: 500 } },
        ]
      : []),
    ...(key
      ? [
          {
            name: "Idempotency-Key",
            in: "header",
            required: key === "needed",
            schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
            description: "Makes it happen once",
          },
        ]
      : []),
  ];
}
