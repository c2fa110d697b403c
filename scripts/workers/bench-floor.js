/**
 * What the platform itself can do, for `npm run bench` to divide by: a Worker alone; one with an object that writes one row for
 * each request; and a balance kept the usual way (a row updated, an event inserted under a unique id). No package, no check.
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

  read() {
    return this.#sql.exec("SELECT amount FROM balance").one().amount;
  }

  naive(amount) {
    this.#sql.exec("UPDATE balance SET amount = amount - CAST(? AS INTEGER)", amount);
    this.#sql.exec("INSERT INTO event VALUES (?, ?, ?)", crypto.randomUUID(), Date.now(), amount);
    return this.read();
  }
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/bare") return new Response("done");
    const floor = env.FLOOR.getByName(request.headers.get("X-Name") ?? "hot");
    if (pathname === "/row") return new Response("done", { headers: { "X-Balance": String(await floor.oneRow(1)) } });
    if (pathname === "/naive") {
      if ((await floor.read()) < 1) return new Response("broke", { status: 402 });
      return new Response("done", { headers: { "X-Balance": String(await floor.naive(1)) } });
    }
    return new Response("?", { status: 404 });
  },
};
