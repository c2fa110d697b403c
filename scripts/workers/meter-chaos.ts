/**
 * The Worker of `npm run chaos:meter`: sockets that cost so much a frame, whose apps echo, push, close or fail as they are told, and
 * bodies that cost so much an event, a line or a kilobyte. Each session has a path of its own, which the ledger keeps as the entry's
 * reason.
 */
import { type EnvelopeContext, envelopeOf, Envelope as RealEnvelope, withEnvelope } from "with-envelope";

export { EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

interface Env {
  readonly LEASE_SECONDS: string;
  /** The negative controls. `keep`: envelopes that hold on to what their meters left. `flush`: bodies that are paid for when they have flowed. */
  readonly CONTROL: "" | "keep" | "flush";
}

/** Of a hold, as it is on disk. */
interface HoldRow {
  readonly hold_id: number;
  readonly state: string;
  readonly amount_micros: number;
  readonly paid_micros: number | null;
  readonly reason: string | null;
  readonly charged_micros: number;
  readonly entries: number;
}

export class Envelope extends RealEnvelope {
  readonly #state: DurableObjectState;
  readonly #keeps: boolean;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#state = ctx;
    this.#keeps = (env as unknown as Env).CONTROL === "keep";
  }

  override openMeter(input: Parameters<RealEnvelope["openMeter"]>[0]): ReturnType<RealEnvelope["openMeter"]> {
    return super.openMeter(this.#keeps ? { ...input, lease_ms: 3_600_000 } : input);
  }

  reset(): void {
    this.#state.abort("reset");
  }

  /** Every hold, and what the ledger has of it. Reads the tables, and owes nothing to what is in memory. */
  holds(after: number): readonly HoldRow[] {
    return this.#state.storage.sql
      .exec(
        `SELECT hold_id, state, amount_micros, paid_micros, reason,
           (SELECT coalesce(sum(0 - amount_micros), 0) FROM entry WHERE entry.hold_id = hold.hold_id) AS charged_micros,
           (SELECT count(*) FROM entry WHERE entry.hold_id = hold.hold_id) AS entries
         FROM hold WHERE hold_id > ? ORDER BY hold_id LIMIT 1000`,
        after,
      )
      .toArray() as unknown as HoldRow[];
  }
}

type Stub = Pick<Envelope, "reset" | "holds">;

function stub(
  ctx: ExecutionContext,
  id: string,
): { [Name in keyof Stub]: (...input: Parameters<Stub[Name]>) => Promise<unknown> } {
  const { exports } = ctx as unknown as { exports: Record<"Envelope", { getByName(name: string): never }> };
  return exports.Envelope.getByName(id);
}

function socket(): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.addEventListener("message", ({ data }) => {
    if (data === "push") for (let n = 0; n < 5; n++) server.send("pushed");
    else if (data === "close") server.close(4001, "the app closes");
    else if (data === "fail") server.close(1011, "the app failed");
    else server.send(data);
  });
  server.addEventListener("close", () => server.close());
  return new Response(null, { status: 101, webSocket: client });
}

const FORMS = {
  events: { type: "text/event-stream", unit: "data: unit\n\n" },
  lines: { type: "application/x-ndjson", unit: "unit\n" },
  bytes: { type: "application/octet-stream", unit: ".".repeat(1_000) },
} as const;

/** So many units, a little apart and in odd pieces; then the end, or a failure. */
function body(asked: URLSearchParams, unit: string): ReadableStream<Uint8Array> {
  const [units, wait_ms] = [Number(asked.get("units")), Number(asked.get("wait"))];
  const bytes = new TextEncoder().encode(unit.repeat(units));
  const size = Math.ceil(unit.length * 0.7);
  let from = 0;
  return new ReadableStream({
    async pull(controller) {
      if (from >= bytes.length) {
        return asked.get("fails") === "true" ? controller.error(new Error("the source failed")) : controller.close();
      }
      if (wait_ms > 0) await scheduler.wait(wait_ms);
      controller.enqueue(bytes.subarray(from, from + size));
      from += size;
    },
  });
}

async function stream(envelope: EnvelopeContext, asked: URLSearchParams, leaseSeconds: number): Promise<Response> {
  const form = asked.get("form") as keyof typeof FORMS;
  const { type, unit } = FORMS[form];
  const price = asked.get("price") ?? "1";
  return envelope.meter(new Response(body(asked, unit), { headers: { "Content-Type": type } }), {
    ...(form === "bytes" ? { perKilobyte: price } : { perMessage: price }),
    max: asked.get("max") ?? undefined,
    slice: { first: asked.get("first") ?? undefined, leaseSeconds },
  });
}

/** What is wrong with it: nobody comes to flush what a client left. */
async function flushed(ctx: ExecutionContext, envelope: EnvelopeContext, asked: URLSearchParams, ttlSeconds: number) {
  const form = asked.get("form") as keyof typeof FORMS;
  const { type, unit } = FORMS[form];
  const held = await envelope.hold(asked.get("max") ?? "1", { ttlSeconds });
  if (held.outcome !== "held") return Response.json(held, { status: 402 });
  let length = 0;
  const paid = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.length;
      controller.enqueue(chunk);
    },
    flush() {
      const units = Math.floor(length / unit.length);
      ctx.waitUntil(held.settle({ micros: Math.round(units * Number(asked.get("price")) * 10_000) }, { atMost: true }));
    },
  });
  return new Response(body(asked, unit).pipeThrough(paid), { headers: { "Content-Type": type } });
}

export default {
  fetch: withEnvelope<Env>(
    async (request, env, ctx) => {
      const { pathname, searchParams } = new URL(request.url);
      const id = searchParams.get("id") ?? "";
      switch (pathname.split("/")[1]) {
        case "socket": {
          const leaseSeconds = Number(env.LEASE_SECONDS);
          return ctx.envelope.meter(socket(), {
            perMessage: searchParams.get("price") ?? "1",
            max: searchParams.get("max") ?? undefined,
            slice: { first: searchParams.get("first") ?? undefined, leaseSeconds },
          });
        }
        case "stream": {
          const leaseSeconds = Number(env.LEASE_SECONDS);
          if (env.CONTROL === "flush") return flushed(ctx, ctx.envelope, searchParams, leaseSeconds);
          return stream(ctx.envelope, searchParams, leaseSeconds);
        }
        case "who":
          return Response.json({ id: ctx.envelope.id });
        case "grant":
          return Response.json(
            await envelopeOf(env, { id }).grant(
              { micros: Number(searchParams.get("micros")) },
              { key: searchParams.get("key") ?? "" },
            ),
          );
        case "state":
          return Response.json(await envelopeOf(env, { id }).state());
        case "ledger":
          return Response.json({
            entries: await envelopeOf(env, { id }).entries(Number(searchParams.get("after")), 1000),
          });
        case "holds":
          return Response.json({ holds: await stub(ctx, id).holds(Number(searchParams.get("after"))) });
        case "reset":
          await stub(ctx, id)
            .reset()
            .catch(() => undefined);
          return new Response();
        default:
          return new Response("free");
      }
    },
    { sockets: { maxPerEnvelope: 1000 } },
  ),
} satisfies ExportedHandler<Env>;
