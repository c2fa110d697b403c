/**
 * Namespaces of the three objects, and the stub of an envelope; the others' are in shards.ts. A name never depends on a secret, so
 * rotating one loses no envelope. A stub is made for one attempt: after an object resets, its old stubs stay broken.
 */
import * as workers from "cloudflare:workers";
import type { EnvelopeApi } from "./contract.js";
import { ConfigurationError } from "./settings.js";

const CLASSES = {
  Envelope: "ENVELOPE",
  EnvelopeDirectory: "ENVELOPE_DIRECTORY",
  EnvelopeAggregate: "ENVELOPE_AGGREGATE",
} as const;

type ClassName = keyof typeof CLASSES;

interface Namespace<Api> {
  getByName(name: string, options?: { locationHint?: DurableObjectLocationHint }): Api;
}

function isNamespace<Api>(candidate: unknown): candidate is Namespace<Api> {
  return typeof (candidate as Partial<Namespace<Api>> | undefined)?.getByName === "function";
}

/**
 * Finds a class's namespace: `exports` (compatibility date 2025-11-17 or later) first, then a binding. A class that is not
 * configured has an `exports` entry without `getByName`. `lines`: what a deployment without it has to add.
 */
export function namespaceOf<Api>(
  env: unknown,
  { name, binding, lines }: { readonly name: string; readonly binding: string; readonly lines: string },
): Namespace<Api> {
  // Looked up each time, for half a microsecond: `withExports` may have others in place.
  const own = (workers as { exports?: Record<string, unknown> }).exports?.[name];
  if (isNamespace<Api>(own)) return own;
  const bound = (env as Record<string, unknown> | null | undefined)?.[binding];
  if (isNamespace<Api>(bound)) return bound;
  throw new ConfigurationError(
    name,
    `is not configured. In the Worker's main module: ${lines}; and in wrangler.toml: ` +
      `[exports.${name}] type = "durable-object" storage = "sqlite" ` +
      `(or a binding named ${binding} with a migration that lists ${name} in new_sqlite_classes)`,
  );
}

export function ownNamespace<Api>(env: unknown, name: ClassName): Namespace<Api> {
  const lines = 'export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope"';
  return namespaceOf(env, { name, binding: CLASSES[name], lines });
}

/**
 * `locationHint` counts only when the object is first created: a payment's webhook passes the payer's region, or the
 * envelope would live next to Stripe.
 */
export function envelopeStub(env: unknown, envelopeId: string, locationHint?: DurableObjectLocationHint): EnvelopeApi {
  return ownNamespace<EnvelopeApi>(env, "Envelope").getByName(
    envelopeId,
    locationHint === undefined ? undefined : { locationHint },
  );
}
