/**
 * The product's side of `npm run bench`: a free page, a priced one, and what the bench needs to set the stage. The classes are
 * the package's own; with `BENCH_COUNT` set they also count what is billed (never in the run that is timed).
 */
import { DurableObject } from "cloudflare:workers";
import { EnvelopeAggregate as RealAggregate, Envelope as RealEnvelope, withEnvelope } from "with-envelope";

export { EnvelopeDirectory } from "with-envelope";

interface Counts {
  rows_written: number;
  rows_read: number;
  alarms_set: number;
  requests: number;
}

interface Counting {
  readonly cursors: { readonly rowsWritten: number; readonly rowsRead: number }[];
  counts: Counts;
}

const NONE: Counts = { rows_written: 0, rows_read: 0, alarms_set: 0, requests: 0 };

/** Counts by SQLite's own counters, read when a cursor is done: `setAlarm` is one row more, each (Durable Objects pricing). */
function count(ctx: DurableObjectState, env: unknown): Counting | undefined {
  if ((env as { BENCH_COUNT?: string }).BENCH_COUNT === undefined) return undefined;
  const counting: Counting = { cursors: [], counts: { ...NONE } };
  const { storage } = ctx;
  const exec = storage.sql.exec.bind(storage.sql);
  storage.sql.exec = ((query: string, ...bindings: unknown[]) => {
    const cursor = exec(query, ...bindings);
    counting.cursors.push(cursor);
    return cursor;
  }) as typeof storage.sql.exec;
  const setAlarm = storage.setAlarm.bind(storage);
  storage.setAlarm = (time, options) => {
    counting.counts.alarms_set += 1;
    return setAlarm(time, options);
  };
  return counting;
}

function take(counting: Counting | undefined): Counts {
  if (counting === undefined) return NONE;
  for (const { rowsWritten, rowsRead } of counting.cursors.splice(0)) {
    counting.counts.rows_written += rowsWritten;
    counting.counts.rows_read += rowsRead;
  }
  const { counts } = counting;
  counting.counts = { ...NONE };
  return counts;
}

export class Envelope extends RealEnvelope {
  readonly #counting: Counting | undefined;
  readonly #state: DurableObjectState;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    const counting = count(ctx, env);
    super(ctx, env);
    this.#counting = counting;
    this.#state = ctx;
  }

  override charge(...input: Parameters<RealEnvelope["charge"]>): ReturnType<RealEnvelope["charge"]> {
    if (this.#counting !== undefined) this.#counting.counts.requests += 1;
    return super.charge(...input);
  }

  override take(...input: Parameters<RealEnvelope["take"]>): ReturnType<RealEnvelope["take"]> {
    if (this.#counting !== undefined) this.#counting.counts.requests += 1;
    return super.take(...input);
  }

  override alarm(): Promise<void> {
    // An alarm's invocation is billed as a request.
    if (this.#counting !== undefined) this.#counting.counts.requests += 1;
    return super.alarm();
  }

  takeCounts(): Counts {
    return take(this.#counting);
  }

  /** Appends `entries` charges of one micro, as they would be after a long life. Goes to sleep, to wake up knowing of them. */
  async fill(entries: number): Promise<void> {
    const { storage } = this.#state;
    const [last] = storage.sql.exec("SELECT seq, balance_micros FROM entry ORDER BY seq DESC LIMIT 1").toArray();
    const [seq, balance] = [Number(last?.["seq"]), Number(last?.["balance_micros"])];
    storage.sql.exec(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, op, reason)
       SELECT CAST(? AS INTEGER) + i, ?, 'charge', -1, CAST(? AS INTEGER) - i, hex(randomblob(8)), 'GET /charge' FROM n`,
      entries,
      seq,
      Date.now(),
      balance,
    );
    await this.sleep();
  }

  /** How many entries the aggregate still has to get. */
  behind(): number {
    const { sql } = this.#state.storage;
    return Number(
      sql.exec("SELECT (SELECT max(seq) FROM entry) - mirrored_seq AS behind FROM envelope").one()["behind"],
    );
  }

  /** The object is gone from memory when this answers; the next request wakes it. */
  async sleep(): Promise<void> {
    await this.#state.storage.sync();
    this.#state.abort("asleep");
  }
}

export class EnvelopeAggregate extends RealAggregate {
  readonly #counting: Counting | undefined;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    const counting = count(ctx, env);
    super(ctx, env);
    this.#counting = counting;
  }

  override mirror(...batch: Parameters<RealAggregate["mirror"]>): ReturnType<RealAggregate["mirror"]> {
    if (this.#counting !== undefined) this.#counting.counts.requests += 1;
    return super.mirror(...batch);
  }

  takeCounts(): Counts {
    return take(this.#counting);
  }
}

/** As the floor's: the same app behind both. */
export class Room extends DurableObject {
  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, text TEXT) STRICT");
  }

  override async fetch(): Promise<Response> {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  override webSocketMessage(socket: WebSocket, text: string): void {
    this.ctx.storage.sql.exec("INSERT INTO message (text) VALUES (?)", text);
    socket.send(text);
  }

  override webSocketClose(socket: WebSocket): void {
    socket.close();
  }
}

function echo(): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  server.addEventListener("close", () => server.close());
  return new Response(null, { status: 101, webSocket: client });
}

/** The room's own answer, with a price on it. */
async function room(request: Request, ctx: ExecutionContext): Promise<Response> {
  const { exports } = ctx as unknown as {
    exports: Record<"Room", { getByName(name: string): { fetch(request: Request): Promise<Response> } }>;
  };
  return exports.Room.getByName("room").fetch(request);
}

function perMessage(response: Response): Response {
  const priced = new Response(null, response);
  priced.headers.set("X-Price-Per-Message", "0.0001");
  return priced;
}

interface Stage {
  takeCounts(): Promise<Counts>;
  fill(entries: number): Promise<void>;
  sleep(): Promise<void>;
  behind(): Promise<number>;
}

function stage(ctx: ExecutionContext, name: "Envelope" | "EnvelopeAggregate", of: string): Stage {
  const { exports } = ctx as unknown as { exports: Record<string, { getByName(name: string): Stage }> };
  const namespace = exports[name];
  if (namespace === undefined) throw new Error(`${name} is not configured`);
  return namespace.getByName(of);
}

async function setStage(url: URL, ctx: ExecutionContext): Promise<Response> {
  const id = url.searchParams.get("id") ?? "";
  switch (url.pathname) {
    case "/stage/fill":
      await stage(ctx, "Envelope", id)
        .fill(Number(url.searchParams.get("entries")))
        .catch(() => undefined);
      return new Response();
    case "/stage/behind":
      return Response.json({ behind: await stage(ctx, "Envelope", id).behind() });
    case "/stage/sleep":
      await stage(ctx, "Envelope", id)
        .sleep()
        .catch(() => undefined);
      return new Response();
    case "/stage/counts":
      return Response.json({
        envelope: await stage(ctx, "Envelope", id).takeCounts(),
        aggregate: await stage(ctx, "EnvelopeAggregate", "aggregate-0").takeCounts(),
      });
    default:
      return new Response("?", { status: 404 });
  }
}

export default {
  fetch: withEnvelope(async (request, _env, ctx) => {
    const url = new URL(request.url);
    if (url.pathname === "/charge") return new Response("done", { headers: { "X-Price": "0.0001" } });
    if (url.pathname === "/socket-echo") return perMessage(echo());
    if (url.pathname === "/socket-row") return perMessage(await room(request, ctx));
    if (url.pathname === "/id") return Response.json({ id: ctx.envelope.id });
    if (url.pathname.startsWith("/stage/")) return setStage(url, ctx);
    return new Response("done");
  }),
} satisfies ExportedHandler;
