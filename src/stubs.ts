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

/**
 * Finds a class's namespace: `exports` (compatibility date 2025-11-17 or later) first, then a binding. A class that is not
 * configured has an `exports` entry without `getByName`.
 */
export function namespaceOf<Api>(env: unknown, className: ClassName): Namespace<Api> {
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
