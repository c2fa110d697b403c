/**
 * The Worker of `npm run chaos:meter`: sockets that cost so much a frame, whose apps echo, push, close or fail as they are told. Each
 * session has a path of its own, which the ledger keeps as the entry's reason.
 */
import { envelopeOf, Envelope as RealEnvelope, withEnvelope } from "with-envelope";

export { EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

interface Env {
  readonly LEASE_SECONDS: string;
  /** `keep`: the negative control, envelopes that hold on to what their meters left. */
  readonly CONTROL: string;
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
