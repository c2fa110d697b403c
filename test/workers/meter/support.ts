/** What the tests of meters share: bodies that flow as a test says, and what a client saw of them. */
import { createExecutionContext, runInDurableObject, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import type { EnvelopeState } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { type EnvelopeFetchHandler, type EnvelopeOptions, type Incident, withEnvelope } from "../../../src/index.js";
import { type Caller, ORIGIN, Site } from "../support.js";

export const encoder = new TextEncoder();
export const decoder = new TextDecoder();

/** A source that is fed by hand. */
export class Tap {
  readonly stream: ReadableStream<Uint8Array>;
  /** Why it was cancelled; `undefined` while it was not. */
  cancelled: { readonly reason: unknown } | undefined;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor() {
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: (reason) => {
        this.cancelled = { reason };
      },
    });
  }

  write(chunk: string | Uint8Array): this {
    this.#controller?.enqueue(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
    return this;
  }

  close(): this {
    this.#controller?.close();
    return this;
  }

  fail(error: unknown): this {
    this.#controller?.error(error);
    return this;
  }
}

/** A stream of chunks that ends. */
export function streamOf(...chunks: readonly (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  const tap = new Tap();
  for (const chunk of chunks) tap.write(chunk);
  return tap.close().stream;
}

/** A site whose handler a test brings, and a call of it whose end can be waited for. */
export class MeteredSite {
  readonly incidents: Incident[] = [];
  readonly site: Site;
  readonly #fetch: (request: Request, env: unknown, ctx: ExecutionContext) => Promise<Response>;

  constructor(handler: EnvelopeFetchHandler<unknown>, options: EnvelopeOptions = {}) {
    const all = { onIncident: (incident: Incident) => void this.incidents.push(incident), ...options };
    this.#fetch = withEnvelope(handler, all);
    this.site = new Site(all, {}, handler);
  }

  payer(balance: number): Promise<Caller> {
    return this.site.payer(balance);
  }

  /** Not waited for: the body is still to be read, and `over` resolves when all that runs beside it is done. */
  async fetch(
    caller: Caller,
    path = "/",
    init: RequestInit = {},
  ): Promise<{ readonly response: Response; readonly over: () => Promise<void> }> {
    const ctx = createExecutionContext();
    const headers = new Headers(init.headers);
    headers.set("Authorization", `Bearer ${caller.token}`);
    const response = await this.#fetch(new Request(new URL(path, ORIGIN), { ...init, headers }), env, ctx);
    return { response, over: () => waitOnExecutionContext(ctx) };
  }

  /** Reads a response to its end. */
  async read(caller: Caller, path = "/", init: RequestInit = {}): Promise<Seen> {
    const { response, over } = await this.fetch(caller, path, init);
    const { bytes, broken } = await readAll(response);
    await over();
    return { status: response.status, headers: response.headers, bytes, text: decoder.decode(bytes), broken };
  }
}

export interface Seen {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
  readonly text: string;
  /** The body broke off. */
  readonly broken: boolean;
}

export async function readAll(response: Response): Promise<{ readonly bytes: Uint8Array; readonly broken: boolean }> {
  const chunks: Uint8Array[] = [];
  let broken = false;
  try {
    for await (const chunk of response.body ?? []) chunks.push(chunk);
  } catch {
    broken = true;
  }
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes, broken };
}

export function inside<T>(id: string, work: (envelope: Envelope, state: DurableObjectState) => Promise<T>): Promise<T> {
  return runInDurableObject(env.ENVELOPE.getByName(id), work);
}

/** How each hold of an envelope ended, from its rows. */
export async function holdsOf(id: string): Promise<readonly Readonly<Record<string, SqlStorageValue>>[]> {
  return inside(id, async (_, { storage: { sql } }) =>
    sql.exec("SELECT hold_id, state, amount_micros, settled_micros, paid_micros, used_micros FROM hold").toArray(),
  );
}

/** Nothing is held, and what was taken is the sum of all charges. */
export async function expectPaid(caller: Caller, expected: { readonly paid_micros: number }): Promise<EnvelopeState> {
  const state = await caller.envelope.state();
  expect(state).toMatchObject({ held_micros: 0, holds: [], available_micros: state.balance_micros });
  const entries = await caller.envelope.entries();
  const paid = entries.filter(({ kind }) => kind === "charge").reduce((sum, entry) => sum - entry.amount_micros, 0);
  expect(paid).toBe(expected.paid_micros);
  return state;
}
