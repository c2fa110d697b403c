/**
 * The owner's reports over all shards of the aggregate: sums are added up, pages merged in their order, long work goes from
 * shard to shard by a cursor. A shard that cannot be reached fails the whole report: a sum without it would be wrong.
 */
import { attempt } from "./attempt.js";
import type {
  AggregateApi,
  AggregateEvent,
  CohortRow,
  DropOutcome,
  EnvelopeOrder,
  EnvelopeSummary,
  EnvelopesInput,
  EventsInput,
  EventsPage,
  MovementRow,
  Overview,
  Period,
  ProofPage,
  RebuildPage,
  RefusalRow,
  SeriesPoint,
  ShardHealth,
  SpenderSpendRow,
  SpendRow,
} from "./contract.js";
import { aggregateShardCount, previousShardCount } from "./copy-settings.js";
import { inParallel } from "./parallel.js";
import {
  aggregateShard,
  aggregateShardOf,
  aggregateShards,
  aggregateStub,
  DIRECTORY_SHARDS,
  directoryShard,
} from "./shards.js";
import { envelopeStub } from "./stubs.js";

const SHARDS_AT_ONCE = 16;
/** A shard answers so many reasons at most; all of them are needed to know the first few over all shards. */
const REASONS_MAX = 1_000;

function ofShards<Answer>(env: unknown, ask: (shard: AggregateApi) => Promise<Answer>): Promise<Answer[]> {
  const shards = aggregateShardCount(env);
  const all = Array.from({ length: shards }, (_, shard) => shard);
  return inParallel(all, SHARDS_AT_ONCE, (shard) => attempt(() => ask(aggregateShard(env, shard, shards))));
}

export async function overviewOf(env: unknown): Promise<Overview> {
  return addUp(await ofShards(env, (shard) => shard.overview()));
}

function addUp(answers: readonly Overview[]): Overview {
  const sum = mergeNumbers(answers, () => "");
  return { ...(sum[0] as Overview), lag_ms: Math.max(...answers.map(({ lag_ms }) => lag_ms)) };
}

export async function seriesOf(
  env: unknown,
  input: Period & { readonly step: "hour" | "day" },
): Promise<readonly SeriesPoint[]> {
  return mergeNumbers((await ofShards(env, (shard) => shard.series(input))).flat(), ({ at_ms }) => at_ms, ["at_ms"]);
}

export async function spendOf(
  env: unknown,
  { limit, ...period }: Period & { readonly limit: number },
): Promise<readonly SpendRow[]> {
  const rows = await ofShards(env, (shard) => shard.spend({ ...period, limit: REASONS_MAX }));
  return mergeNumbers(rows.flat(), ({ reason }) => reason)
    .sort((one, other) => other.spent_micros - one.spent_micros || compareText(one.reason, other.reason))
    .slice(0, limit);
}

/** Each envelope is of one shard, so nothing is added up. */
export async function spendByKeyOf(
  env: unknown,
  { limit, ...period }: Period & { readonly limit: number },
): Promise<readonly SpenderSpendRow[]> {
  const rows = await ofShards(env, (shard) => shard.spendByKey({ ...period, limit }));
  const name = ({ envelope_id, spender }: SpenderSpendRow) => `${envelope_id} ${spender}`;
  return rows
    .flat()
    .sort((one, other) => other.spent_micros - one.spent_micros || compareText(name(one), name(other)))
    .slice(0, limit);
}

export async function movementsOf(
  env: unknown,
  { limit, ...period }: Period & { readonly limit: number },
): Promise<readonly MovementRow[]> {
  const rows = await ofShards(env, (shard) => shard.movements({ ...period, limit: REASONS_MAX }));
  const key = ({ kind, reason }: MovementRow) => `${kind} ${reason}`;
  return mergeNumbers(rows.flat(), key)
    .sort(
      (one, other) => Math.abs(other.amount_micros) - Math.abs(one.amount_micros) || compareText(key(one), key(other)),
    )
    .slice(0, limit);
}

export async function refusalsOf(env: unknown, period: Period): Promise<readonly RefusalRow[]> {
  const rows = await ofShards(env, (shard) => shard.refusals(period));
  return mergeNumbers(rows.flat(), ({ limit }) => limit).sort((one, other) => other.refusals - one.refusals);
}

export async function cohortsOf(env: unknown): Promise<readonly CohortRow[]> {
  const rows = await ofShards(env, (shard) => shard.cohorts());
  const key = ({ cohort, month }: CohortRow) => `${cohort} ${month}`;
  return mergeNumbers(rows.flat(), key).sort((one, other) => compareText(key(one), key(other)));
}

const ORDERED_BY = {
  recent: "last_at_ms",
  spent: "spent_micros",
  balance: "balance_micros",
  id: undefined,
} as const satisfies Record<EnvelopeOrder, keyof EnvelopeSummary | undefined>;

/** `after` of the next page; `null` at the end. */
export interface EnvelopesPage {
  readonly envelopes: readonly EnvelopeSummary[];
  readonly after: NonNullable<EnvelopesInput["after"]> | null;
}

/** Each shard has the whole page at most, so the first of all are among their first. */
export async function envelopesPage(env: unknown, input: EnvelopesInput): Promise<EnvelopesPage> {
  const by = ORDERED_BY[input.order];
  const rankOf = (one: EnvelopeSummary) => (by === undefined ? 0 : one[by]);
  const pages = await ofShards(env, (shard) => shard.envelopes(input));
  const envelopes = pages
    .flat()
    .sort((one, other) => rankOf(other) - rankOf(one) || compareText(other.envelope_id, one.envelope_id))
    .slice(0, input.limit);
  const last = envelopes.at(-1);
  const more = last !== undefined && envelopes.length === input.limit;
  return { envelopes, after: more ? { value: rankOf(last), envelope_id: last.envelope_id } : null };
}

export function summaryOf(env: unknown, envelope_id: string): Promise<EnvelopeSummary | null> {
  return attempt(() => aggregateStub(env, envelope_id).envelope({ envelope_id }));
}

/** Newest first within each shard, one shard after the other. */
export async function eventsPage(env: unknown, input: EventsInput): Promise<EventsPage> {
  const shards = aggregateShardCount(env);
  const at = cursorOf(input.cursor ?? null, shards);
  const asked = { ...input, cursor: at.cursor ?? undefined };
  const page = await attempt(() => aggregateShard(env, at.shard, shards).events(asked));
  return { events: page.events, cursor: nextCursor(at.shard, page.cursor, shards) };
}

/** The newest of all shards. */
export async function latestEvents(
  env: unknown,
  input: Period & { readonly limit: number },
): Promise<readonly AggregateEvent[]> {
  const pages = await ofShards(env, (shard) => shard.events(input));
  return pages
    .flatMap(({ events }) => events)
    .sort(
      (one, other) => other.at_ms - one.at_ms || compareText(one.envelope_id, other.envelope_id) || other.seq - one.seq,
    )
    .slice(0, input.limit);
}

export function healthOf(env: unknown): Promise<readonly ShardHealth[]> {
  return ofShards(env, (shard) => shard.health());
}

/**
 * One step of a proof: `cursor: null` begins it, and ends it when it is answered. First each shard proves its copies and sums, then
 * the directory is asked for envelopes that no shard has a copy of: those are behind.
 */
export async function provePage(
  env: unknown,
  input: { readonly cursor: string | null; readonly limit: number },
): Promise<ProofPage> {
  const shards = aggregateShardCount(env);
  const all = shards + DIRECTORY_SHARDS;
  const { shard: step, cursor } = cursorOf(input.cursor, all);
  if (step < shards) {
    const page = await aggregateShard(env, step, shards).prove({ cursor, limit: input.limit });
    return { ...page, cursor: nextCursor(step, page.cursor, all) };
  }
  const listed = await directoryShard(env, step - shards).envelopes({ cursor, limit: input.limit });
  const missing = await inParallel(listed.envelopes, SHARDS_AT_ONCE, (id) => isMissing(env, id));
  const behind = missing.filter((one) => one).length;
  return { envelopes: 0, entries: 0, behind, differences: [], cursor: nextCursor(step, listed.cursor, all) };
}

async function isMissing(env: unknown, envelope_id: string): Promise<boolean> {
  if ((await summaryOf(env, envelope_id)) !== null) return false;
  return (await attempt(() => envelopeStub(env, envelope_id).sums({ up_to: 0 }))).head_seq > 0;
}

/**
 * One step of a rebuild: first each shard forgets its copies and asks those whose they were, then those are asked that the shards
 * of an earlier number had, then those that the directory knows. What they send comes in afterwards: `behind` says how many are waited for.
 */
export async function rebuildPage(
  env: unknown,
  input: { readonly cursor: string | null; readonly limit: number },
): Promise<RebuildPage> {
  const shards = aggregateShardCount(env);
  const previous = previousShardCount(env) ?? shards;
  const former = previous === shards ? 0 : previous;
  const all = shards + former + DIRECTORY_SHARDS;
  const { shard: step, cursor } = cursorOf(input.cursor, all);
  if (step < shards) {
    const page = await aggregateShard(env, step, shards).rebuild({ cursor, limit: input.limit });
    return { ...page, cursor: nextCursor(step, page.cursor, all) };
  }
  const found =
    step < shards + former
      ? await formerEnvelopes(aggregateShard(env, step - shards, previous), cursor, input.limit)
      : await directoryShard(env, step - shards - former).envelopes({ cursor, limit: input.limit });
  return { ...(await askThem(env, found.envelopes)), cursor: nextCursor(step, found.cursor, all) };
}

async function formerEnvelopes(
  shard: AggregateApi,
  cursor: string | null,
  limit: number,
): Promise<{ readonly envelopes: readonly string[]; readonly cursor: string | null }> {
  const after = cursor === null ? undefined : (JSON.parse(cursor) as NonNullable<EnvelopesInput["after"]>);
  const page = await shard.envelopes({ order: "id", after, limit });
  const last = page.length === limit ? page.at(-1) : undefined;
  const next = last === undefined ? null : JSON.stringify({ value: 0, envelope_id: last.envelope_id });
  return { envelopes: page.map(({ envelope_id }) => envelope_id), cursor: next };
}

/** Through their own shards, which know what they have of them. */
async function askThem(env: unknown, envelopes: readonly string[]): Promise<Omit<RebuildPage, "cursor">> {
  const shards = aggregateShardCount(env);
  const groups: (string[] | undefined)[] = [];
  for (const id of envelopes) {
    const shard = aggregateShardOf(id, shards);
    groups[shard] = [...(groups[shard] ?? []), id];
  }
  const pages = await inParallel([...groups.entries()], SHARDS_AT_ONCE, async ([shard, also]) =>
    also === undefined ? NOBODY : aggregateShard(env, shard, shards).rebuild({ cursor: "", limit: 0, also }),
  );
  return {
    asked: pages.reduce((sum, { asked }) => sum + asked, 0),
    unreachable: pages.flatMap(({ unreachable }) => unreachable),
  };
}

const NOBODY: Omit<RebuildPage, "cursor"> = { asked: 0, unreachable: [] };

/** Deletes the shards of the earlier number, once all that they had is in those of today. */
export async function dropFormerShards(env: unknown): Promise<DropOutcome> {
  const previous = previousShardCount(env);
  if (previous === undefined || previous === aggregateShardCount(env)) return { outcome: "none" };
  const now = await overviewOf(env);
  const then = addUp(await Promise.all(aggregateShards(env, previous).map((shard) => shard.overview())));
  if (now.entries < then.entries || now.envelopes < then.envelopes || now.behind > 0) return { outcome: "short" };
  await Promise.all(aggregateShards(env, previous).map((shard) => shard.drop()));
  return { outcome: "dropped", shards: previous };
}

/** `<shard>.<the shard's own cursor>` */
function cursorOf(cursor: string | null, shards: number): { readonly shard: number; readonly cursor: string | null } {
  if (cursor === null) return { shard: 0, cursor: null };
  const [, shard = "", rest = ""] = /^([0-9]{1,3})\.(.*)$/s.exec(cursor) ?? [];
  if (shard === "" || Number(shard) >= shards) throw new RangeError("This cursor is of no page");
  return { shard: Number(shard), cursor: rest === "" ? null : rest };
}

function nextCursor(shard: number, cursor: string | null, shards: number): string | null {
  if (cursor !== null) return `${shard}.${cursor}`;
  return shard + 1 < shards ? `${shard + 1}.` : null;
}

/** Adds up rows that have the same key: each number, but those that are the key. What is `null` stays so. */
function mergeNumbers<Row extends object>(
  rows: readonly Row[],
  keyOf: (row: Row) => string | number,
  keys: readonly string[] = [],
): Row[] {
  const merged = new Map<string | number, Record<string, unknown>>();
  for (const row of rows) {
    const sum = merged.get(keyOf(row));
    if (sum === undefined) {
      merged.set(keyOf(row), { ...(row as Record<string, unknown>) });
      continue;
    }
    for (const [name, value] of Object.entries(row)) {
      if (typeof value === "number" && !keys.includes(name)) sum[name] = (sum[name] as number) + value;
    }
  }
  return [...merged.values()] as Row[];
}

/** As SQLite compares ids, which are ASCII. */
function compareText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
