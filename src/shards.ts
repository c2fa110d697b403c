/** Names and stubs of the directory's and the aggregate's objects. Which shard is decided here and nowhere else. */
import type { AggregateApi, DirectoryApi, OwnerApi } from "./contract.js";
import { aggregateShardCount } from "./copy-settings.js";
import { digest, numberFromBase62 } from "./secrets.js";
import { ownNamespace } from "./stubs.js";

/** Fixed for ever: a key's shard is where its claim was written. */
export const DIRECTORY_SHARDS = 16;

export function directoryStub(env: unknown, key: string): DirectoryApi {
  return directoryShard(env, directoryShardOf(key));
}

export function directoryShardOf(key: string): number {
  return shardOf(key, DIRECTORY_SHARDS);
}

export function directoryShard(env: unknown, shard: number): DirectoryApi {
  return ownNamespace<DirectoryApi>(env, "EnvelopeDirectory").getByName(`directory-${shard}`);
}

/** The object that guards the owner's door is one of the directory's class, so that no deployment has to add a class for it. */
const OWNER_OBJECT = "owner";

export function ownerStub(env: unknown): OwnerApi {
  return ownNamespace<OwnerApi>(env, "EnvelopeDirectory").getByName(OWNER_OBJECT);
}

/**
 * The shard that an envelope is mirrored to: decided here and nowhere else. Another number of shards has other names, so it
 * begins with empty ones: they ask each envelope for everything, and nothing is moved.
 */
export function aggregateStub(env: unknown, envelopeId: string): AggregateApi {
  const shards = aggregateShardCount(env);
  return aggregateShard(env, aggregateShardOf(envelopeId, shards), shards);
}

/** All shards, in order; by default as many as are configured. */
export function aggregateShards(env: unknown, shards = aggregateShardCount(env)): AggregateApi[] {
  return Array.from({ length: shards }, (_, shard) => aggregateShard(env, shard, shards));
}

export function aggregateShard(env: unknown, shard: number, shards: number): AggregateApi {
  const name = shards === 1 ? "aggregate-0" : `aggregate-${shard}-of-${shards}`;
  return ownNamespace<AggregateApi>(env, "EnvelopeAggregate").getByName(name);
}

export function aggregateShardOf(envelopeId: string, shards: number): number {
  return shards === 1 ? 0 : shardOf(envelopeId, shards);
}

function shardOf(key: string, shards: number): number {
  return numberFromBase62(digest(key, 4)) % shards;
}
