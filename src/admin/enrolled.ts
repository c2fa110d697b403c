/** Envelopes that the directory knows: also those that nothing was ever charged to or put into, which no report has. */
import { attempt } from "../attempt.js";
import { DIRECTORY_SHARDS, directoryShard } from "../shards.js";
import { invalid, json, readLimit } from "./answers.js";
import type { EnrolledAnswer } from "./api.js";
import type { OwnersRequest } from "./owners-request.js";

export async function listEnrolled({ env, url }: OwnersRequest): Promise<Response> {
  const limit = readLimit(url);
  const place = readPlace(url.searchParams.get("cursor"));
  if (limit === undefined || place === undefined) return invalid("cursor or limit is malformed");
  const { ids, next } = await enrolled(env, place, limit);
  return json({ envelope_ids: ids, next } satisfies EnrolledAnswer);
}

export interface Place {
  readonly shard: number;
  readonly after: string | null;
}

export function readPlace(cursor: string | null): Place | undefined {
  if (cursor === null) return { shard: 0, after: null };
  const [, shard, after] = /^([0-9]{1,2})\.([0-9A-Za-z]{22})?$/.exec(cursor) ?? [];
  if (shard === undefined || Number(shard) >= DIRECTORY_SHARDS) return undefined;
  return { shard: Number(shard), after: after ?? null };
}

/** In the order of their ids within each shard of the directory, shard after shard: none that is made meanwhile moves another. */
export async function enrolled(
  env: unknown,
  from: Place,
  limit: number,
): Promise<{ readonly ids: readonly string[]; readonly next: string | null }> {
  const ids: string[] = [];
  for (let { shard, after } = from; shard < DIRECTORY_SHARDS; shard += 1, after = null) {
    const left = limit - ids.length;
    const page = await attempt(() => directoryShard(env, shard).envelopes({ cursor: after, limit: left }));
    ids.push(...page.envelopes);
    if (ids.length === limit) return { ids, next: `${shard}.${page.envelopes.at(-1) ?? ""}` };
  }
  return { ids, next: null };
}
