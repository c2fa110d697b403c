/** Figures over all envelopes, from the aggregate's copies: never asked for a decision about money. */

import { unclaimedCount } from "../assigning.js";
import { attempt } from "../attempt.js";
import type { EnvelopeOrder, EnvelopeSummary, EnvelopesInput, Overview } from "../contract.js";
import { aggregateShardCount, previousShardCount } from "../copy-settings.js";
import {
  cohortsOf,
  dropFormerShards,
  envelopesPage,
  eventsPage,
  healthOf,
  latestEvents,
  movementsOf,
  overviewOf,
  provePage,
  rebuildPage,
  refusalsOf,
  seriesOf,
  spendByKeyOf,
  spendOf,
  summaryOf,
} from "../reports.js";
import { directoryStub, ownerStub } from "../shards.js";
import { invalid, json, pageOf, readJson, readLimit, readNumberedPage, readReason } from "./answers.js";
import type {
  AuditAnswer,
  CohortsAnswer,
  DropAnswer,
  EnvelopesAnswer,
  EventsAnswer,
  HealthAnswer,
  KeySpendAnswer,
  MovementsAnswer,
  OverviewAnswer,
  ProofAnswer,
  RebuildAnswer,
  RefusalsAnswer,
  SeriesAnswer,
  SpendAnswer,
} from "./api.js";
import type { OwnersRequest } from "./owners-request.js";
import { type Stretch, stretchOf } from "./range.js";
import { targetOf } from "./target.js";

const SPEND_ROWS_MAX = 200;
/** Envelopes that one step of a proof or rebuild asks: well within what one request may call. */
const STEP_ENVELOPES = 50;

/** What the aggregate knows of one envelope; `null` where nothing arrived yet. */
export async function envelopeSummary(env: unknown, envelope_id: string): Promise<EnvelopeSummary | null> {
  // What the envelope itself says is shown also while the copies cannot be asked.
  return summaryOf(env, envelope_id).catch(() => null);
}

export async function figuresOf(
  env: unknown,
): Promise<Overview & { readonly unclaimed: number; readonly shards: number }> {
  const [overview, unclaimed] = await Promise.all([overviewOf(env), unclaimedCount(env)]);
  return { ...overview, unclaimed, shards: aggregateShardCount(env) };
}

export async function showOverview({ env, currency }: OwnersRequest): Promise<Response> {
  const figures = await figuresOf(env);
  return json({ ...figures, currency: currency.code, as_of_ms: Date.now() } satisfies OverviewAnswer);
}

export async function showSeries({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, ...period } = stretch;
  return json({ range, step: stretch.step, points: await seriesOf(env, period) } satisfies SeriesAnswer);
}

export async function showSpend({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, from_ms, to_ms } = stretch;
  const asked = { from_ms, to_ms, limit: SPEND_ROWS_MAX };
  const by = url.searchParams.get("by") ?? "reason";
  if (by === "key") return json({ range, rows: await spendByKeyOf(env, asked) } satisfies KeySpendAnswer);
  if (by !== "reason") return invalid("by must be reason or key");
  return json({ range, rows: await spendOf(env, asked) } satisfies SpendAnswer);
}

export async function showMovements({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, from_ms, to_ms } = stretch;
  const rows = await movementsOf(env, { from_ms, to_ms, limit: SPEND_ROWS_MAX });
  return json({ range, rows } satisfies MovementsAnswer);
}

export async function showRefusals({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  const { range, from_ms, to_ms } = stretch;
  return json({ range, rows: await refusalsOf(env, { from_ms, to_ms }) } satisfies RefusalsAnswer);
}

export async function showCohorts({ env }: OwnersRequest): Promise<Response> {
  return json({ rows: await cohortsOf(env) } satisfies CohortsAnswer);
}

export async function showHealth({ env }: OwnersRequest): Promise<Response> {
  return json({ shards: await healthOf(env) } satisfies HealthAnswer);
}

export async function listEvents({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  const limit = readLimit(url);
  const cursor = url.searchParams.get("cursor") ?? undefined;
  if (stretch === undefined || limit === undefined) return noRange();
  if (cursor !== undefined && !isCursorOf(/^([0-9]+\.[0-9]+\.[0-9]+)?$/, cursor, aggregateShardCount(env))) {
    return noCursor();
  }
  const { from_ms, to_ms } = stretch;
  const page = await eventsPage(env, { from_ms, to_ms, cursor, limit });
  return json({ events: page.events, next: page.cursor } satisfies EventsAnswer);
}

/** What happened last, whichever shard has it. */
export async function listLatest({ env, url }: OwnersRequest): Promise<Response> {
  const stretch = readStretch(url);
  const limit = readLimit(url);
  if (stretch === undefined || limit === undefined) return noRange();
  const { from_ms, to_ms } = stretch;
  return json({ events: await latestEvents(env, { from_ms, to_ms, limit }), next: null } satisfies EventsAnswer);
}

const ORDERS: ReadonlySet<string> = new Set<EnvelopeOrder>(["recent", "spent", "balance", "id"]);

export async function listEnvelopes(asked: OwnersRequest): Promise<Response> {
  const { env, url } = asked;
  const order = url.searchParams.get("order") ?? "recent";
  const limit = readLimit(url);
  const after = readEnvelopeCursor(url.searchParams.get("cursor"));
  if (!ORDERS.has(order) || limit === undefined || after === "malformed") {
    return invalid("order must be recent, spent, balance or id; limit 1 to 500; cursor one that a page answered");
  }
  const beginnings = await searched(asked, url.searchParams.get("search")?.trim() ?? "");
  const page = await envelopesPage(env, { order: order as EnvelopeOrder, ...beginnings, after, limit });
  const next = page.after && `${page.after.value}.${page.after.envelope_id}`;
  return json({ envelopes: page.envelopes, next } satisfies EnvelopesAnswer);
}

function readEnvelopeCursor(
  cursor: string | null,
): { readonly value: number; readonly envelope_id: string } | undefined | "malformed" {
  if (cursor === null) return undefined;
  const [, value, envelope_id] = /^(-?[0-9]{1,19})\.([0-9A-Za-z]{22})$/.exec(cursor) ?? [];
  return value === undefined || envelope_id === undefined ? "malformed" : { value: Number(value), envelope_id };
}

/** What is looked for: the beginning of an id or of a name, a whole reference, or the payment of an envelope. */
async function searched(asked: OwnersRequest, search: string): Promise<Pick<EnvelopesInput, "prefix" | "named">> {
  if (search === "") return {};
  const target = targetOf(asked, search);
  if (target !== undefined) return { prefix: target.id, named: search };
  if (/^[0-9A-Za-z]{1,22}$/.test(search)) return { prefix: search, named: search };
  if (!/^(pi|cs)_\w{1,250}$/.test(search)) return { named: search };
  const claim = await attempt(() => directoryStub(asked.env, search).claimant({ payment_id: search }));
  return { prefix: claim.envelope_id ?? undefined, named: search };
}

export async function prove({ env, request }: OwnersRequest): Promise<Response> {
  const cursor = readStep(await readJson(request));
  if (cursor === undefined) return noCursor();
  return stepped(async () => (await provePage(env, { cursor, limit: STEP_ENVELOPES })) satisfies ProofAnswer);
}

/** Changes copies only, and any number of times to the same: it needs no key. */
export async function rebuild(asked: OwnersRequest): Promise<Response> {
  const { env, request } = asked;
  const body = await readJson(request);
  const cursor = readStep(body);
  if (body === undefined || cursor === undefined) return noCursor();
  const reason = readReason(body["reason"]);
  if (reason instanceof Response) return reason;
  if (cursor === null) await note(asked, "rebuild", reason, null);
  return stepped(async () => (await rebuildPage(env, { cursor, limit: STEP_ENVELOPES })) satisfies RebuildAnswer);
}

/** Copies only, and only once those of today have as much: done again, there is nothing to drop. */
export async function dropFormer(asked: OwnersRequest): Promise<Response> {
  const { env, request } = asked;
  const body = await readJson(request);
  if (body === undefined) return invalid("The body must be a JSON object, sent as application/json");
  const reason = readReason(body["reason"]);
  if (reason instanceof Response) return reason;
  const previous = previousShardCount(env) ?? null;
  await note(asked, "drop-former-shards", reason, { shards: aggregateShardCount(env), previous });
  return json((await attempt(() => dropFormerShards(env))) satisfies DropAnswer);
}

/** Before it is done: what was begun and broken off is no less an owner's act. */
function note({ env, owner }: OwnersRequest, action: string, reason: string, after: unknown): Promise<void> {
  return attempt(() => ownerStub(env).note({ by: { actor: owner.actor, reason }, action, after }));
}

/** What was done to the mirror as a whole. */
export async function listMirrorAudit({ env, url }: OwnersRequest): Promise<Response> {
  const page = readNumberedPage(url);
  if (page instanceof Response) return page;
  const { before, limit } = page;
  const audit = await attempt(() => ownerStub(env).noted({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(audit, limit, ({ audit_id }) => audit_id);
  return json({ audit: lines, next } satisfies AuditAnswer);
}

/** One step; a cursor that only the steps themselves can tell to be none is the asker's fault, and nobody's outage. */
async function stepped(step: () => Promise<ProofAnswer | RebuildAnswer>): Promise<Response> {
  try {
    return json(await attempt(step));
  } catch (error) {
    if (error instanceof Error && (error.cause as Error | undefined)?.name === "RangeError") return noCursor();
    throw error;
  }
}

/** The cursor of a proof or rebuild: `null` to begin; `undefined` for what no step answered. */
function readStep(body: Readonly<Record<string, unknown>> | undefined): string | null | undefined {
  const cursor = body?.["cursor"];
  if (cursor === null) return null;
  // A rebuild goes over former shards and the directory as well: how far, it knows itself.
  const fits = typeof cursor === "string" && isCursorOf(/^([0-9A-Za-z]{0,22}|\{.{0,8000}\})$/, cursor, 1_000);
  return fits ? cursor : undefined;
}

/** `<shard>.<the shard's own>`, and its own is of this shape. */
function isCursorOf(own: RegExp, cursor: string, shards: number): boolean {
  const [, shard = "", rest = ""] = /^([0-9]{1,3})\.(.*)$/s.exec(cursor) ?? [];
  if (shard === "" || Number(shard) >= shards || !own.test(rest)) return false;
  if (!rest.startsWith("{")) return true;
  try {
    JSON.parse(rest);
    return true;
  } catch {
    return false;
  }
}

export function readStretch(url: URL): Stretch | undefined {
  return stretchOf(url.searchParams.get("range"), Date.now());
}

export function noRange(): Response {
  return invalid("range must be 24h, 7d, 30d, 90d or 365d; limit 1 to 500");
}

function noCursor(): Response {
  return invalid('cursor must be null to begin, and then what the last answer said: {"cursor":null}');
}
