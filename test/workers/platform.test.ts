/** What the platform may do to us: lose an alarm, stop a migration half-way, leave before the charge; and what may be found afterwards. */
import {
  createExecutionContext,
  evictDurableObject,
  runInDurableObject,
  waitOnExecutionContext,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { withEnvelope } from "../../src/index.js";
import { hasSchema, migrate } from "../../src/migrate.js";
import { app } from "../app.js";
import { Site, WEBHOOK_SECRETS } from "./support.js";

const site = new Site();
const objectOf = (id: string) => env.ENVELOPE.getByName(id);

afterEach(() => vi.restoreAllMocks());

describe("T18 a client that leaves before the answer", () => {
  it("has its work charged all the same: the charge is under waitUntil", async () => {
    const payer = await site.payer(5);
    const ctx = createExecutionContext();
    const headers = { Authorization: `Bearer ${payer.token}` };
    void withEnvelope(app)(new Request("https://worker.test/x?price=2", { headers }), site.env, ctx);
    await vi.waitFor(async () => {
      await waitOnExecutionContext(ctx);
      expect((await payer.envelope.state()).balance_micros).toBe(30_000);
    });
  });
});

describe("T84 an alarm that was lost", () => {
  it("is armed again by the next write, also after an eviction", async () => {
    const payer = await site.payer(5);
    const stub = objectOf(payer.id);
    await runInDurableObject(stub, (_, state) => state.storage.deleteAlarm());
    await evictDurableObject(stub);
    await payer.fetch("/x?price=1");
    expect(await runInDurableObject(stub, (_, state) => state.storage.getAlarm())).not.toBeNull();
  });

  it("is armed once per batch and not per charge", async () => {
    const payer = await site.payer(5);
    const alarm = () => runInDurableObject(objectOf(payer.id), (_, state) => state.storage.getAlarm());
    const armed = await alarm();
    await payer.fetch("/x?price=1");
    await payer.fetch("/x?price=1");
    expect(await alarm()).toBe(armed);
  });

  it("that was rolled back with its transaction is armed by the next one", async () => {
    const caller = await site.newcomer();
    const stub = objectOf(caller.id);
    const report = (credit_micros: number) => ({
      payment_id: `pi_${caller.id}`,
      currency: "usd",
      payment: {
        state: "paid",
        session_id: "cs_1",
        event_id: "evt_1",
        currency: "usd",
        livemode: false,
        // STRICT refuses the fraction when the payment is filed: after its entry was appended.
        amount_total: credit_micros === 1 ? 1.5 : 1,
        amount_subtotal: null,
        amount_discount: 0,
        amount_shipping: 0,
        amount_tax: 0,
        credit_micros,
      },
    });
    // Not given to expect() as it is: looking at an RPC promise calls it again.
    const refused = await stub.report(report(1) as never).then(
      () => false,
      () => true,
    );
    expect(refused).toBe(true);
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: 0, funded: false });
    expect(await stub.report(report(2) as never)).toMatchObject({ outcome: "credited", balance_micros: 2 });
    expect(await runInDurableObject(stub, (_, state) => state.storage.getAlarm())).not.toBeNull();
  });
});

describe("T91 a migration that is interrupted", () => {
  it("leaves nothing behind, and is done whole the next time", async () => {
    const stub = objectOf((await site.newcomer()).id);
    await runInDurableObject(stub, (_, { storage }) => {
      const first = "CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT";
      const broken = "CREATE TABLE two (id INTEGER PRIMARY KEY) STRICT; CREATE TABLE two (id INTEGER)";
      const tables = () =>
        storage.sql.exec("SELECT name FROM sqlite_master WHERE name IN ('one', 'two')").toArray().length;
      expect(() => migrate(storage, [first, broken], 1)).toThrow();
      expect([tables(), hasSchema(storage)]).toEqual([0, false]);
      migrate(storage, [first], 1);
      expect(() => migrate(storage, [first, broken], 2)).toThrow();
      expect(tables()).toBe(1);
      migrate(storage, [first, "CREATE TABLE two (id INTEGER PRIMARY KEY) STRICT"], 3);
      migrate(storage, [first, "CREATE TABLE two (id INTEGER PRIMARY KEY) STRICT"], 4);
      expect(storage.sql.exec("SELECT version, at_ms FROM migration").toArray()).toEqual([
        { version: 1, at_ms: 1 },
        { version: 2, at_ms: 3 },
      ]);
    });
  });
});

describe("T60 what may be found afterwards", () => {
  it("no token, secret or key is in storage, in an object's name or in a log", async () => {
    const logged: string[] = [];
    for (const method of ["log", "info", "warn", "error", "debug"] as const) {
      vi.spyOn(console, method).mockImplementation((...values) => void logged.push(JSON.stringify(values)));
    }
    const loud = new Site({ onIncident: (incident) => console.error(incident) });
    const payer = await loud.payer(50);
    await payer.fetch("/x?price=1", { headers: { "Idempotency-Key": "order-1" } });
    await payer.fetch("/x?price=1e2");
    await payer.fetch("/x?price=99");
    const rotated = await payer.fetch("/rotate-token", { method: "POST" });
    const { token } = await rotated.json<{ token: string }>();
    await loud.fetch("/x?price=1", { headers: { Authorization: `Bearer ${token}` } });
    const made = await loud.fetch("/keys", {
      method: "POST",
      body: JSON.stringify({ name: "agent", capacity: "0.05" }),
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", "Idempotency-Key": "key-1" },
    });
    const { key, id } = await made.json<{ key: string; id: string }>();
    const answers = [];
    for (const price of ["1", "99", "1e2"]) {
      answers.push(
        await (await loud.fetch(`/x?price=${price}`, { headers: { Authorization: `Bearer ${key}` } })).text(),
      );
    }
    answers.push(await (await loud.fetch("/keys", { headers: { Authorization: `Bearer ${token}` } })).text());
    await loud.fetch("/x?price=1", { headers: { Authorization: `Bearer ${key}x` } });
    const dump = await runInDurableObject(objectOf(payer.id), (_, { storage }) =>
      storage.sql
        .exec<{ name: string }>(
          "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'",
        )
        .toArray()
        .map(({ name }) => JSON.stringify(storage.sql.exec(`SELECT * FROM "${name}"`).toArray()))
        .join("\n"),
    );
    expect(dump).toContain("topup");
    expect(dump).toContain(id);
    const found = [dump, payer.id, ...logged, ...answers].join("\n");
    const secrets = [
      payer.token,
      token,
      payer.token.slice(36, 63),
      token.slice(36, 63),
      key,
      key.slice(36, 63),
      ...WEBHOOK_SECRETS,
      "test-root-secret",
    ];
    for (const secret of secrets) expect(found).not.toContain(secret);
  });
});
