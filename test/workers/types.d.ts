/// <reference types="@cloudflare/vitest-plugin/types" />

declare namespace Cloudflare {
  interface Env {
    CASES: string;
    ENVELOPE: DurableObjectNamespace<import("../../src/index.js").Envelope>;
    ENVELOPE_DIRECTORY: DurableObjectNamespace<import("../../src/index.js").EnvelopeDirectory>;
    ENVELOPE_AGGREGATE: DurableObjectNamespace<import("../../src/index.js").EnvelopeAggregate>;
  }
}
