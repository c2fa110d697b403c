/** The owner's server at the control plane: the package's own client, whose answers are held against the OpenAPI document. */
import { Validator } from "@cfworker/json-schema";
import { type ControlPlane, controlPlane } from "../../../src/admin/control/client.js";
import { openApi } from "../../../src/admin/control/openapi.js";
import { OPERATIONS, type OperationId } from "../../../src/admin/control/operations.js";
import { DEFAULT_PATHS } from "../../../src/wire.js";
import { ORIGIN, Site } from "../support.js";

export const SECRET = "owners-secret-0123456789-abcdefghijkl";

interface Described {
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

const document = openApi(DEFAULT_PATHS as never, ORIGIN) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Described & { readonly operationId: string }>>>>;
  readonly components: object;
};

const operations = new Map(
  Object.values(document.paths).flatMap((path) => Object.values(path).map((one) => [one.operationId, one] as const)),
);

/** What was asked of each operation in this file, and answered: none may be left out. */
export const answered = new Set<string>();

/** @throws where an answer has a status that the document does not name, or a body that does not fit its schema. */
export function holdAgainstDocument(id: OperationId, status: number, type: string, body: unknown): void {
  const content = operations.get(id)?.responses[String(status)]?.content[type];
  if (content === undefined)
    throw new Error(`${id} answered ${status} as ${type}, which the document does not name: ${JSON.stringify(body)}`);
  const { valid, errors } = new Validator(
    { ...content.schema, components: document.components } as object,
    "2020-12",
    false,
  ).validate(body);
  if (!valid)
    throw new Error(
      `${id} answered ${status} with what does not fit: ${JSON.stringify(errors)} ${JSON.stringify(body)}`,
    );
  answered.add(`${id} ${status}`);
}

/** A site with an owner, and its control plane. Each answer is held against the document. */
export function ownersServer(
  options: ConstructorParameters<typeof Site>[0] = {},
): Site & { readonly control: ControlPlane } {
  const site = new Site(options, { ENVELOPE_ADMIN_SECRET: SECRET });
  const control = controlPlane({
    url: ORIGIN,
    secret: SECRET,
    fetch: async (request) => {
      const response = await site.fetch(request.url, request as RequestInit);
      const id = idOf(request);
      const type = response.headers.get("Content-Type")?.split(";")[0] ?? "";
      holdAgainstDocument(id, response.status, type, await response.clone().json());
      return response;
    },
  });
  return Object.assign(site, { control });
}

function idOf(request: Request): OperationId {
  const { pathname } = new URL(request.url);
  for (const [id, { method, below, path }] of Object.entries(OPERATIONS)) {
    const pattern = `^${DEFAULT_PATHS[below as "envelopes"]}${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`;
    if (method === request.method.toLowerCase() && new RegExp(pattern).test(pathname)) return id as OperationId;
  }
  throw new Error(`No operation is ${request.method} ${pathname}`);
}

/** What was answered, where it was no problem. */
export function ok<Value>(
  answer: { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly problem: object },
): Value {
  if (!answer.ok) throw new Error(`Refused: ${JSON.stringify(answer.problem)}`);
  return answer.value;
}
