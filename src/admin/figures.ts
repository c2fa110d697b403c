/** Figures over all envelopes, from the aggregate's copies: never asked for a decision about money. */
import { attempt } from "../attempt.js";
import type { AggregateApi, EnvelopeOrder, EnvelopeSummary, Overview } from "../contract.js";
import { aggregateShards, aggregateStub, directoryStub } from "../stubs.js";
import { unclaimedPayments } from "../unclaimed.js";
import { invalid, json, readJson, readLimit, readReason } from "./answers.js";
import type {
  CohortsAnswer,
  EnvelopesAnswer,
  EventsAnswer,
  HealthAnswer,
  OverviewAnswer,
  ProofAnswer,
  RebuildAnswer,
  RefusalsAnswer,
  SeriesAnswer,
  SpendAnswer,
} from "./api.js";
import type { OwnersRequest } from "./asked.js";
import { everyPoint, type Stretch, stretchOf } from "./range.js";
import { targetOf } from "./target.js";

const SPEND_ROWS_MAX = 200;
const PROOF_ENVELOPES = 50;

/** What the aggregate knows of one envelope; `null` where nothing arrived yet. */
export async function envelopeSummary(env: unknown, envelope_id: string): Promise<EnvelopeSummary | null> {
  // What the envelope itself says is shown also while the copies cannot be asked.
  return attempt(() => aggregateStub(env, envelope_id).envelope({ envelope_id })).catch(() => null);
}

/** There is one shard for now. */
export function ask<Answer>(env: unknown, call: (shard: AggregateApi) => Promise<Answer>): Promise<Answer> {
  return attempt(() => {
    const [shard] = aggregateShards(env);
    if (shard === undefined) throw new Error("Cannot happen: there is always a shard");
    return call(shard);
  });
}

export async function overviewOf(
  env: unknown,
): Promise<Overview & { readonly unclaimed: number; readonly shards: number }> {
  const [overview, unclaimed] = await Promise.all([ask(env, (shard) => shard.overview()), unclaimedPayments(env)]);
  return { ...overview, unclaimed: unclaimed.length, shards: aggregateShards(env).length };
}

export async function showOverview({ env, currency }: OwnersRequest): Promise<Response> {
  const overview = await overviewOf(env);
  return json({ ...overview, currency: currency.code, as_of_ms: Date.now() } satisfies OverviewAnswer);
}

export async function showSeries({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, step, from_ms, to_ms } = stretch;
  const points = await ask(env, (shard) => shard.series({ step, from_ms, to_ms }));
  return json({ range, step, points: everyPoint(points, stretch) } satisfies SeriesAnswer);
}

export async function showSpend({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, from_ms, to_ms } = stretch;
  const rows = await ask(env, (shard) => shard.spend({ from_ms, to_ms, limit: SPEND_ROWS_MAX }));
  return json({ range, rows } satisfies SpendAnswer);
}

export async function showRefusals({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, from_ms, to_ms } = stretch;
  const rows = await ask(env, (shard) => shard.refusals({ from_ms, to_ms }));
  return json({ range, rows } satisfies RefusalsAnswer);
}

export async function showCohorts({ env }: OwnersRequest): Promise<Response> {
  return json({ rows: await ask(env, (shard) => shard.cohorts()) } satisfies CohortsAnswer);
}

export async function showHealth({ env }: OwnersRequest): Promise<Response> {
  return json({ shards: [await ask(env, (shard) => shard.health())] } satisfies HealthAnswer);
}

export async function listEvents({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  const limit = readLimit(url);
  if (stretch === undefined || limit === undefined) return noRange();
  const { from_ms, to_ms } = stretch;
  const cursor = url.searchParams.get("cursor") ?? undefined;
  const page = await ask(env, (shard) => shard.events({ from_ms, to_ms, cursor, limit }));
  return json({ events: page.events, next: page.cursor } satisfies EventsAnswer);
}

const ORDERS: Readonly<Record<EnvelopeOrder, (one: EnvelopeSummary) => number>> = {
  recent: ({ last_at_ms }) => last_at_ms,
  spent: ({ spent_micros }) => spent_micros,
  balance: ({ balance_micros }) => balance_micros,
};

export async function listEnvelopes(asked: OwnersRequest): Promise<Response> {
  const { env, url } = asked;
  const order = url.searchParams.get("order") ?? "recent";
  const limit = readLimit(url);
  const cursor = readEnvelopeCursor(url.searchParams.get("cursor"));
  if (!Object.hasOwn(ORDERS, order) || limit === undefined || cursor === "malformed") {
    return invalid("order must be recent, spent or balance; limit 1 to 500; cursor one that a page answered");
  }
  const prefix = await searched(asked, url.searchParams.get("search")?.trim() ?? "");
  if (prefix === undefined) return json({ envelopes: [], next: null } satisfies EnvelopesAnswer);
  return json(await envelopesPage(env, { order: order as EnvelopeOrder, prefix, after: cursor, limit }));
}

export async function envelopesPage(
  env: unknown,
  input: {
    readonly order: EnvelopeOrder;
    readonly prefix: string;
    readonly after: { readonly value: number; readonly envelope_id: string } | undefined;
    readonly limit: number;
  },
): Promise<EnvelopesAnswer> {
  const { order, after, limit } = input;
  const prefix = input.prefix === "" ? undefined : input.prefix;
  const found = await ask(env, (shard) => shard.envelopes({ order, prefix, after, limit: limit + 1 }));
  const envelopes = found.slice(0, limit);
  const last = envelopes.at(-1);
  const more = found.length > limit && last !== undefined;
  return { envelopes, next: more ? `${ORDERS[order](last)}.${last.envelope_id}` : null };
}

function readEnvelopeCursor(
  cursor: string | null,
): { readonly value: number; readonly envelope_id: string } | undefined | "malformed" {
  if (cursor === null) return undefined;
  const [, value, envelope_id] = /^(-?[0-9]{1,16})\.([0-9A-Za-z]{22})$/.exec(cursor) ?? [];
  return value === undefined || envelope_id === undefined ? "malformed" : { value: Number(value), envelope_id };
}

/** The beginning of an envelope's id that is looked for: of its id, of its reference's, or of the one that claimed a payment. `undefined`: nothing fits. */
async function searched(asked: OwnersRequest, search: string): Promise<string | undefined> {
  if (/^[0-9A-Za-z]{0,22}$/.test(search)) return search;
  const target = targetOf(asked, search);
  if (target !== undefined) return target.id;
  if (!/^(pi|cs)_\w{1,250}$/.test(search)) return undefined;
  const claim = await attempt(() => directoryStub(asked.env, search).claimant({ payment_id: search }));
  return claim.envelope_id ?? undefined;
}

export async function prove({ env, request }: OwnersRequest): Promise<Response> {
  const cursor = readPage(await readJson(request));
  if (cursor === undefined) return invalid('The body must be JSON such as {"cursor":null}');
  const page = await ask(env, (shard) => shard.prove({ cursor, limit: PROOF_ENVELOPES }));
  return json(page satisfies ProofAnswer);
}

/** Changes copies only, and any number of times to the same: it needs no key. */
export async function rebuild({ env, request }: OwnersRequest): Promise<Response> {
  const body = await readJson(request);
  const cursor = readPage(body);
  if (body === undefined || cursor === undefined) return invalid('The body must be JSON such as {"cursor":null}');
  const reason = readReason(body["reason"]);
  if (reason instanceof Response) return reason;
  const page = await ask(env, (shard) => shard.rebuild({ cursor, limit: PROOF_ENVELOPES }));
  return json(page satisfies RebuildAnswer);
}

function readPage(body: Readonly<Record<string, unknown>> | undefined): string | null | undefined {
  const cursor = body?.["cursor"];
  return cursor === null || (typeof cursor === "string" && cursor.length <= 256) ? cursor : undefined;
}

export function readStretch(url: URL): Stretch | undefined {
  return stretchOf(url.searchParams.get("range"), Date.now());
}

export function noRange(): Response {
  return invalid("range must be 24h, 7d, 30d, 90d or 365d; limit 1 to 500");
}
