/**
 * What the platform itself can do, for `npm run bench` to divide by: a Worker alone; one with an object that writes one row for
 * each request, or none; and a balance kept the usual way (a row updated, an event inserted under a unique id). No package, no check.
 */
import { DurableObject } from "cloudflare:workers";

export class Floor extends DurableObject {
  #sql;

  constructor(ctx, env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS row (seq INTEGER PRIMARY KEY, at_ms INTEGER, amount INTEGER) STRICT");
    this.#sql.exec("CREATE TABLE IF NOT EXISTS balance (id INTEGER PRIMARY KEY, amount INTEGER) STRICT");
    this.#sql.exec("CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, at_ms INTEGER, amount INTEGER)");
    this.#sql.exec("INSERT OR IGNORE INTO balance VALUES (1, 1000000000000)");
  }

  oneRow(amount) {
    this.#sql.exec("INSERT INTO row (at_ms, amount) VALUES (?, ?)", Date.now(), amount);
    return amount;
  }

  echo(amount) {
    return amount;
  }

  read() {
    return this.#sql.exec("SELECT amount FROM balance").one().amount;
  }

  naive(amount) {
    this.#sql.exec("UPDATE balance SET amount = amount - CAST(? AS INTEGER)", amount);
    this.#sql.exec("INSERT INTO event VALUES (?, ?, ?)", crypto.randomUUID(), Date.now(), amount);
    return this.read();
  }
}

/** An app's object that keeps what is said, and says it back. */
export class Room extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, text TEXT) STRICT");
  }

  async fetch() {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, text) {
    this.ctx.storage.sql.exec("INSERT INTO message (text) VALUES (?)", text);
    socket.send(text);
  }

  webSocketClose(socket) {
    socket.close();
  }
}

function echo() {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  server.addEventListener("close", () => server.close());
  return new Response(null, { status: 101, webSocket: client });
}

/** The least that can stand between a client and an app's socket: hands each frame over, and looks at none. */
function pumped(app) {
  const { 0: client, 1: server } = new WebSocketPair();
  for (const socket of [app, server]) {
    socket.accept();
    socket.binaryType = "arraybuffer";
  }
  app.addEventListener("message", ({ data }) => server.send(data));
  server.addEventListener("message", ({ data }) => app.send(data));
  app.addEventListener("close", () => server.close());
  server.addEventListener("close", () => app.close());
  return new Response(null, { status: 101, webSocket: client });
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/bare") return new Response("done");
    if (pathname === "/socket-echo") return echo();
    if (pathname === "/socket-pumped") return pumped(echo().webSocket);
    if (pathname === "/socket-row") return env.ROOM.getByName("room").fetch(request);
    // Both sides are sent the same requests: to the floor a cookie is a name, and no more.
    const floor = env.FLOOR.getByName(request.headers.get("Cookie"));
    if (pathname === "/call") return new Response("done", { headers: { "X-Balance": String(await floor.echo(1)) } });
    if (pathname === "/row") return new Response("done", { headers: { "X-Balance": String(await floor.oneRow(1)) } });
    if (pathname === "/naive") {
      if ((await floor.read()) < 1) return new Response("broke", { status: 402 });
      return new Response("done", { headers: { "X-Balance": String(await floor.naive(1)) } });
    }
    return new Response("?", { status: 404 });
  },
};
