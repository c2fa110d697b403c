/**
 * The database view: statements that read, of one envelope or of the aggregate, in the two shapes that tools for Durable Objects
 * send. What a statement may be is decided where it runs (read-query.ts). Answers are 200 with `result` or `error`, as those tools
 * expect; who may not ask is answered before, by status.
 */
import { attempt } from "../attempt.js";
import type { QueryOutcome, QueryRows, ReadQuery } from "../contract.js";
import { aggregateShardCount } from "../copy-settings.js";
import { readBindings } from "../read-query.js";
import { aggregateShard } from "../shards.js";
import { envelopeStub } from "../stubs.js";
import { type Body, invalid, json, notFound, readJson } from "./answers.js";
import type { QueryResult } from "./api.js";
import { existing } from "./envelopes.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Params } from "./routes.js";

const STATEMENTS_MAX = 20;
const AGGREGATE = "admin-readonly";

type Runner = (query: ReadQuery) => Promise<QueryOutcome>;

export const query = (asked: OwnersRequest, { name }: Params): Promise<Response> =>
  answer(asked, name, readTyped, show);

/** The older shape. */
export const queryRaw = (asked: OwnersRequest, { name }: Params): Promise<Response> =>
  answer(asked, name, readRaw, showRaw);

interface Wanted {
  readonly statements: readonly ReadQuery[];
  /** Several were sent as one: several are answered. */
  readonly many: boolean;
}

async function answer(
  asked: OwnersRequest,
  name: string | undefined,
  read: (body: Body) => Wanted | undefined,
  show: (rows: QueryRows) => unknown,
): Promise<Response> {
  const runner = await runnerOf(asked, name);
  if (runner === undefined) return notFound();
  const body = await readJson(asked.request);
  if (body === undefined) return invalid("The body must be a JSON object, sent as application/json");
  const wanted = read(body);
  if (wanted === undefined || wanted.statements.length === 0 || wanted.statements.length > STATEMENTS_MAX) {
    return json({ error: "Invalid request" });
  }
  const [first, ...also] = wanted.statements as readonly [ReadQuery, ...ReadQuery[]];
  const outcome = await runner(also.length === 0 ? first : { ...first, also });
  if (outcome.outcome === "invalid") return json({ error: outcome.detail });
  const results = [outcome, ...(outcome.also ?? [])];
  // An object that runs an earlier version knows no others.
  if (results.length !== wanted.statements.length) return json({ error: "Try again in a moment" });
  return json({ result: wanted.many ? results.map(show) : show(outcome) });
}

/** `undefined` for what is no envelope: asking makes none. */
async function runnerOf(asked: OwnersRequest, name: string | undefined): Promise<Runner | undefined> {
  if (name === AGGREGATE) return aggregateRunner(asked);
  const found = await existing(asked, name);
  return found && ((statement) => attempt(() => envelopeStub(asked.env, found.id).query(statement)));
}

/** `?shard=` where there are several: each is a database of its own. */
function aggregateRunner({ env, url }: OwnersRequest): Runner | undefined {
  const shards = aggregateShardCount(env);
  const shard = url.searchParams.get("shard") ?? "0";
  if (!/^[0-9]{1,3}$/.test(shard) || Number(shard) >= shards) return undefined;
  return (statement) => attempt(() => aggregateShard(env, Number(shard), shards).query(statement));
}

function readTyped(body: Body): Wanted | undefined {
  if (body["type"] === "query") return wanted([body], false, "statement", "bindings");
  if (body["type"] !== "transaction" || !Array.isArray(body["statements"])) return undefined;
  return wanted(body["statements"], true, "statement", "bindings");
}

function readRaw(body: Body): Wanted | undefined {
  const many = body["transaction"];
  return wanted(Array.isArray(many) ? many : [body], true, "sql", "params");
}

function wanted(given: readonly unknown[], many: boolean, text: string, values: string): Wanted | undefined {
  const statements: ReadQuery[] = [];
  for (const one of given) {
    const fields: Body = typeof one === "string" ? { [text]: one } : ((one ?? {}) as Body);
    const statement = fields[text];
    const bindings = readBindings(fields[values]);
    if (typeof statement !== "string" || bindings === undefined) return undefined;
    statements.push({ statement, bindings });
  }
  return { statements, many };
}

function show({ columns, rows, truncated, rows_read, duration_ms }: QueryRows): QueryResult {
  const names = distinct(columns);
  return {
    headers: names.map((name) => ({ name, displayName: name, originalType: null })),
    rows: rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index] ?? null]))),
    stat: { queryDurationMs: duration_ms, rowsAffected: 0, rowsRead: rows_read, rowsWritten: 0 },
    ...(truncated ? { truncated } : {}),
  };
}

function showRaw({ columns, rows, rows_read }: QueryRows): unknown {
  return { columns, rows, meta: { rows_read, rows_written: 0 } };
}

/** Two columns of one name are two columns. */
function distinct(columns: readonly string[]): readonly string[] {
  const seen = new Map<string, number>();
  return columns.map((name) => {
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return times === 1 ? name : `${name}:${times}`;
  });
}
