/// <reference types="@cloudflare/vitest-plugin/types" />

declare namespace Cloudflare {
  interface Env {
    CASES: string;
    ENVELOPE: DurableObjectNamespace<import("../../src/index.js").Envelope>;
    ENVELOPE_DIRECTORY: DurableObjectNamespace<import("../../src/index.js").EnvelopeDirectory>;
    WS402_SESSIONS: DurableObjectNamespace<import("../../src/ws402/index.js").WS402Sessions>;
    ROOM: DurableObjectNamespace<import("../room.js").Room>;
    ENVELOPE_AGGREGATE: DurableObjectNamespace<import("../../src/index.js").EnvelopeAggregate>;
  }
}
