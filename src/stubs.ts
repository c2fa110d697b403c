/**
 * Names and stubs of the three objects. A name never depends on a secret, so rotating one loses no envelope. A stub is made
 * for one attempt: after an object resets, its old stubs stay broken.
 */
import * as workers from "cloudflare:workers";
import type { AggregateApi, DirectoryApi, EnvelopeApi, OwnerApi } from "./contract.js";
import { digest, numberFromBase62 } from "./secrets.js";
import { aggregateShardCount, ConfigurationError } from "./settings.js";

const CLASSES = {
  Envelope: "ENVELOPE",
  EnvelopeDirectory: "ENVELOPE_DIRECTORY",
  EnvelopeAggregate: "ENVELOPE_AGGREGATE",
} as const;

type ClassName = keyof typeof CLASSES;

interface Namespace<Api> {
  getByName(name: string, options?: { locationHint?: DurableObjectLocationHint }): Api;
}

/**
 * Finds a class's namespace: `exports` (compatibility date 2025-11-17 or later) first, then a binding. A class that is not
 * configured has an `exports` entry without `getByName`.
 */
function namespaceOf<Api>(env: unknown, className: ClassName): Namespace<Api> {
  const exported = (workers as { exports?: Record<string, unknown> }).exports?.[className];
  const bound = (env as Record<string, unknown> | null | undefined)?.[CLASSES[className]];
  for (const candidate of [exported, bound]) {
    if (typeof (candidate as Partial<Namespace<Api>> | undefined)?.getByName === "function") {
      return candidate as Namespace<Api>;
    }
  }
  throw new ConfigurationError(
    className,
    `is not configured. In the Worker's main module: ` +
      `export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope"; and in wrangler.toml: ` +
      `[exports.${className}] type = "durable-object" storage = "sqlite" ` +
      `(or a binding named ${CLASSES[className]} with a migration that lists ${className} in new_sqlite_classes)`,
  );
}

/**
 * `locationHint` counts only when the object is first created: a payment's webhook passes the payer's region, or the
 * envelope would live next to Stripe.
 */
export function envelopeStub(env: unknown, envelopeId: string, locationHint?: DurableObjectLocationHint): EnvelopeApi {
  return namespaceOf<EnvelopeApi>(env, "Envelope").getByName(
    envelopeId,
    locationHint === undefined ? undefined : { locationHint },
  );
}

/** Fixed for ever: a key's shard is where its claim was written. */
export const DIRECTORY_SHARDS = 16;

export function directoryStub(env: unknown, key: string): DirectoryApi {
  return directoryShard(env, shardOf(key, DIRECTORY_SHARDS));
}

export function directoryShard(env: unknown, shard: number): DirectoryApi {
  return namespaceOf<DirectoryApi>(env, "EnvelopeDirectory").getByName(`directory-${shard}`);
}

/** The object that guards the owner's door is one of the directory's class, so that no deployment has to add a class for it. */
const OWNER_OBJECT = "owner";

export function ownerStub(env: unknown): OwnerApi {
  return namespaceOf<OwnerApi>(env, "EnvelopeDirectory").getByName(OWNER_OBJECT);
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
  return namespaceOf<AggregateApi>(env, "EnvelopeAggregate").getByName(name);
}

export function aggregateShardOf(envelopeId: string, shards: number): number {
  return shards === 1 ? 0 : shardOf(envelopeId, shards);
}

function shardOf(key: string, shards: number): number {
  return numberFromBase62(digest(key, 4)) % shards;
}
