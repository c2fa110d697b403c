/** The owner's figures, as the API answers them: from the aggregate's copies, over all shards. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type {
  AuditAnswer,
  EntriesAnswer,
  EnvelopeAnswer,
  EnvelopesAnswer,
  EventsAnswer,
  HealthAnswer,
  KeySpendAnswer,
  MovementsAnswer,
  OverviewAnswer,
  Range,
  SeriesAnswer,
  SpendAnswer,
} from "../../../src/admin/api.js";
import { verifyAudit } from "../../../src/audit.js";
import type { Caller } from "../support.js";
import { completed, nextId } from "../support.js";
import { ADMIN, type Browser, bearer, newAddress, signedIn, siteOf } from "./support.js";

const site = siteOf();
let owner: Browser;
let payers: Caller[];
const payment = nextId("pi");

beforeAll(async () => {
  owner = await signedIn(site);
  payers = await Promise.all([100, 200, 300].map((cents) => site.payer(cents)));
  for (const [index, payer] of payers.entries()) await payer.fetch(`/x?price=${(index + 1) * 10}`);
  await payers[0]?.fetch("/x?price=1000");
  await payers[0]?.envelope.grant("5", { key: "g", reason: "=1+1" });
  await payers[1]?.envelope.refund({ seq: 2 }, { key: "r" });
  await site.outcomeOf(
    completed({ client_reference_id: payers[2]?.reference ?? null, payment_intent: payment, amount_total: 50 }),
  );
  await site.outcomeOf(completed({ client_reference_id: null, payment_intent: nextId("pi") }));
  for (const payer of payers) await runDurableObjectAlarm(env.ENVELOPE.getByName(payer.id));
});

const FIGURES = {
  credited_micros: 6_500_000,
  granted_micros: 50_000,
  spent_micros: 600_000,
  refunded_micros: 200_000,
  reversed_micros: 0,
  expired_micros: 0,
};

describe("figures", () => {
  it("the overview adds up, and says how old it is and what waits", async () => {
    const overview = await owner.json<OverviewAnswer>("/db/api/overview");
    expect(overview).toMatchObject({
      ...FIGURES,
      envelopes: 3,
      outstanding_micros: 6_150_000,
      owed_micros: 0,
      active_today: 3,
      frozen: 0,
      behind: 0,
      currency: "usd",
      unclaimed: 1,
      shards: 1,
      entries: 9,
    });
    expect(Math.abs(overview.as_of_ms - Date.now())).toBeLessThan(60_000);
    expect(overview.lag_ms).toBeGreaterThanOrEqual(0);
  });

  it.each([
    ["24h", "hour", 24],
    ["7d", "hour", 168],
    ["30d", "day", 30],
    ["90d", "day", 90],
    ["365d", "day", 365],
  ] as const)("the series of %s has every %s of it, also where nothing happened", async (range, step, count) => {
    const series = await owner.json<SeriesAnswer>(`/db/api/series?range=${range}`);
    expect([series.range, series.step, series.points.length]).toEqual([range satisfies Range, step, count]);
    const size = step === "hour" ? 3_600_000 : 86_400_000;
    series.points.forEach(({ at_ms }, index) => {
      expect(at_ms).toBe((series.points[0]?.at_ms ?? 0) + index * size);
    });
    const last = series.points.at(-1)?.at_ms ?? 0;
    expect(last <= Date.now() && Date.now() < last + size).toBe(true);
    const total = (name: keyof typeof FIGURES) => series.points.reduce((sum, point) => sum + point[name], 0);
    for (const [name, sum] of Object.entries(FIGURES)) expect(total(name as keyof typeof FIGURES)).toBe(sum);
    expect(series.points.reduce((sum, { charges }) => sum + charges, 0)).toBe(3);
  });

  it("movements by kind and reason, and the latest entries", async () => {
    const { rows } = await owner.json<MovementsAnswer>("/db/api/movements?range=7d");
    expect(rows).toEqual([
      { kind: "topup", reason: "(none)", entries: 4, amount_micros: 6_500_000 },
      { kind: "grant", reason: "=1+1", entries: 1, amount_micros: 50_000 },
    ]);
    const { events, next } = await owner.json<EventsAnswer>("/db/api/latest?range=24h&limit=4");
    expect([events.length, next]).toEqual([4, null]);
    const times = events.map(({ at_ms }) => at_ms);
    expect(times).toEqual([...times].sort((one, other) => other - one));
  });

  it("spend, refusals, cohorts, health", async () => {
    const { rows } = await owner.json<SpendAnswer>("/db/api/spend?range=7d");
    expect(rows).toEqual([{ reason: "GET /x", charges: 3, spent_micros: 400_000 }]);
    expect(await owner.json("/db/api/refusals?range=24h")).toEqual({
      range: "24h",
      rows: [{ limit: "balance", refusals: 1 }],
    });
    const month = new Date().toISOString().slice(0, 7);
    expect(await owner.json("/db/api/cohorts")).toMatchObject({ rows: [{ cohort: month, month, active: 3 }] });
    const { shards } = await owner.json<HealthAnswer>("/db/api/health");
    expect(shards).toMatchObject([{ envelopes: 3, entries: 9, behind: 0 }]);
  });

  it("refuses ranges, limits, orders and cursors that are none", async () => {
    const bad = [
      "series?range=1y",
      "series?range=constructor",
      "spend?range=",
      "spend?range=7d&by=holder",
      "movements?range=1y",
      "latest?limit=0",
      "events?limit=0",
      "events?cursor=x",
      "events?cursor=9.1.1.1",
      "events?cursor=0.%7B%7D",
      "envelopes?order=x",
      "envelopes?order=toString",
      "envelopes?limit=501",
      "envelopes?cursor=1",
    ];
    for (const path of bad) expect([path, (await owner.fetch(`/db/api/${path}`)).status]).toEqual([path, 400]);
    for (const cursor of ["x", 1, {}, undefined, "0.{", "0.'", `0.${"x".repeat(99)}`]) {
      expect([cursor, (await owner.post("/db/api/proof", { cursor })).status]).toEqual([cursor, 400]);
    }
  });
});

describe("envelopes", () => {
  const ids = async (query: string) =>
    (await owner.json<EnvelopesAnswer>(`/db/api/envelopes?${query}`)).envelopes.map(({ envelope_id }) => envelope_id);

  it("are found by id, its beginning, a reference, or a payment", async () => {
    const [one, two, three] = payers as [Caller, Caller, Caller];
    expect(await ids(`search=${one.id}`)).toEqual([one.id]);
    expect(await ids(`search=${two.id.slice(0, 12)}`)).toEqual([two.id]);
    expect(await ids(`search=${three.reference}`)).toEqual([three.id]);
    expect(await ids(`search=${payment}`)).toEqual([three.id]);
    for (const nothing of ["pi_never", "e1_forged", "%25", "'--", "<script>", "0".repeat(23)]) {
      expect(await ids(`search=${encodeURIComponent(nothing)}`)).toEqual([]);
    }
  });

  it("T71 are found by the beginning of their names, whatever is in them", async () => {
    const [one, two] = payers as [Caller, Caller];
    const names = ["<img src=x> 100% _Acme_", "=cmd|' /C calc'!A0\u202e"] as const;
    for (const [index, payer] of [one, two].entries()) {
      await payer.envelope.configure({ name: names[index] ?? null });
      await runDurableObjectAlarm(env.ENVELOPE.getByName(payer.id));
    }
    expect(await ids(`search=${encodeURIComponent("<IMG src")}`)).toEqual([one.id]);
    expect(await ids(`search=${encodeURIComponent("=cmd|")}`)).toEqual([two.id]);
    for (const nothing of ["%", "_", "img", "' OR 1=1 --"]) {
      expect(await ids(`search=${encodeURIComponent(nothing)}`)).toEqual([]);
    }
    const csv = await (await owner.fetch("/db/api/export/envelopes.csv")).text();
    expect(csv).toContain(`,'${names[1]},`);
    expect(csv).toContain(`,${names[0]},`);
    for (const payer of [one, two]) await payer.envelope.configure({ name: null });
  });

  it.each(["recent", "spent", "balance"])("come in pages, by %s", async (order) => {
    const whole = await ids(`order=${order}`);
    expect(new Set(whole)).toEqual(new Set(payers.map(({ id }) => id)));
    const paged: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page: EnvelopesAnswer = await owner.json<EnvelopesAnswer>(
        `/db/api/envelopes?order=${order}&limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`,
      );
      paged.push(...page.envelopes.map(({ envelope_id }) => envelope_id));
      cursor = page.next;
    }
    expect(paged).toEqual(whole);
  });

  it("and their entries, newest first, page by page", async () => {
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page: EventsAnswer = await owner.json<EventsAnswer>(
        `/db/api/events?range=24h&limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`,
      );
      seen.push(...page.events.map(({ envelope_id, seq }) => `${envelope_id} ${seq}`));
      cursor = page.next;
    }
    expect([seen.length, new Set(seen).size]).toEqual([9, 9]);
  });
});

describe("a proof and a rebuild", () => {
  it("go on until there is no cursor", async () => {
    for (const path of ["proof", "rebuild"]) {
      let cursor: string | null = null;
      let steps = 0;
      do {
        const response = await owner.post(`/db/api/${path}`, { cursor, reason: "to see" });
        expect(response.status).toBe(200);
        const page: { cursor: string | null; differences?: unknown[] } = await response.json();
        expect(page.differences ?? []).toEqual([]);
        cursor = page.cursor;
      } while (cursor !== null && ++steps < 100);
      expect(cursor).toBeNull();
    }
    for (const cursor of [
      "500.",
      "0.zzz",
      "0.{}",
      '0.{"at":"raw","after":"x"}',
      '0.{"at":"raw","after":0,"pruned":0,"sums":{}}',
    ]) {
      expect((await owner.post("/db/api/proof", { cursor })).status).toBe(400);
    }
    expect((await owner.post("/db/api/rebuild", { cursor: "500.", reason: "to see" })).status).toBe(400);
    expect((await owner.post("/db/api/rebuild", { cursor: null })).status).toBe(400);
    const done = await owner.json<AuditAnswer>("/db/api/audit");
    expect(done.audit[0]).toMatchObject({ actor: "owner", action: "rebuild", reason: "to see" });
    expect(verifyAudit(done.audit.toReversed())).toBeNull();
    const dropped = await owner.post("/db/api/former-shards/drop", { reason: "to see" });
    expect(await dropped.json()).toEqual({ outcome: "none" });
    const [last] = (await owner.json<AuditAnswer>("/db/api/audit?limit=1")).audit;
    expect(last).toMatchObject({ action: "drop-former-shards", after: '{"shards":1,"previous":null}' });
    for (const payer of payers) await runDurableObjectAlarm(env.ENVELOPE.getByName(payer.id));
  });
});

describe("GET /db/metrics", () => {
  it("is Prometheus' text format, for the owner's server", async () => {
    const headers = { ...bearer(ADMIN), "CF-Connecting-IP": newAddress() };
    const response = await site.fetch("/db/metrics", { headers });
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const text = await response.text();
    expect(text).toMatch(
      /^(# HELP with_envelope_[a-z_]+ [^\n]+\n# TYPE with_envelope_[a-z_]+ (counter|gauge)\nwith_envelope_[a-z_]+(\{currency="usd"\})? -?[0-9.]+\n)+$/,
    );
    for (const [, name = "", type] of text.matchAll(/# TYPE (\S+) (\S+)/g)) {
      expect([name, name.endsWith("_total")]).toEqual([name, type === "counter"]);
    }
    expect(text).toContain('\nwith_envelope_credited_micros_total{currency="usd"} 6500000\n');
    expect(text).toContain("\nwith_envelope_unclaimed_payments 1\n");
    expect((await site.fetch("/db/metrics")).status).toBe(401);
  });
});

describe("exports over all envelopes", () => {
  it("T72 list entries, envelopes and unclaimed payments", async () => {
    const text = async (file: string) => {
      const response = await owner.fetch(`/db/api/export/${file}`);
      expect(response.headers.get("Content-Disposition")).toBe(`attachment; filename="${file.split("?")[0]}"`);
      return response.text();
    };
    const entries = await text("entries.csv?range=24h");
    expect(entries.split("\r\n")).toHaveLength(9 + 2);
    expect(entries).toContain(",'=1+1\r\n");
    const lines = (await text("entries.jsonl?range=24h")).trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { reason: string }).reason)).toContain("=1+1");
    expect((await text("envelopes.csv")).split("\r\n")).toHaveLength(3 + 2);
    expect((await text("envelopes.jsonl")).trimEnd().split("\n")).toHaveLength(3);
    expect(await text("unclaimed.csv")).toMatch(
      /^payment_id,at,at_ms,reason,.*\r\npi_.*,reference_missing,,usd,500,false,/,
    );
    for (const file of ["entries.xml", "secrets.csv", "toString.csv"]) {
      expect((await owner.fetch(`/db/api/export/${file}`)).status).toBe(404);
    }
    expect((await owner.fetch("/db/api/export/entries.csv?range=1y")).status).toBe(400);
  });
});

describe("T77 the aggregate's database", () => {
  const ask = async (statement: string, shard = "") =>
    (await owner.post(`/db/admin-readonly${shard}`, { type: "query", statement })).json<{ error?: string }>();

  it("is read, and never written", async () => {
    expect(await ask("SELECT count(*) AS n FROM envelope_summary")).toMatchObject({ result: { rows: [{ n: 3 }] } });
    const before = JSON.stringify(await ask("SELECT * FROM envelope_summary ORDER BY envelope_id"));
    for (const statement of [
      "DELETE FROM envelope_summary",
      "SELECT 1; DELETE FROM envelope_summary",
      "WITH x AS (SELECT 1) DELETE FROM envelope_summary",
      "PRAGMA ignore_check_constraints = on",
    ]) {
      expect(await ask(statement)).toEqual({ error: expect.any(String) });
    }
    expect(JSON.stringify(await ask("SELECT * FROM envelope_summary ORDER BY envelope_id")).slice(0, 200)).toBe(
      before.slice(0, 200),
    );
    expect((await owner.post("/db/admin-readonly?shard=1", { type: "query", statement: "SELECT 1" })).status).toBe(404);
  });
});

// Last: the figures above are of three envelopes.
describe("figures by key", () => {
  it("spend by key, and the keys of an envelope", async () => {
    const payer = await site.payer(100);
    const headers = { ...bearer(payer.token), "Content-Type": "application/json", "Idempotency-Key": "figures" };
    const made = await site.fetch("/keys", { method: "POST", body: JSON.stringify({ name: "agent" }), headers });
    const { key, id } = await made.json<{ key: string; id: string }>();
    for (let spent = 0; spent < 3; spent++) await site.fetch("/x?price=7", { headers: bearer(key) });
    await payer.envelope.refund({ seq: 3 }, { key: "r" });
    await runDurableObjectAlarm(env.ENVELOPE.getByName(payer.id));
    const row = { envelope_id: payer.id, spender: id, charges: 3, spent_micros: 140_000 };
    expect(await owner.json<KeySpendAnswer>("/db/api/spend?range=24h&by=key")).toEqual({ range: "24h", rows: [row] });
    const shown = await owner.json<EnvelopeAnswer>(`/db/api/envelopes/${payer.id}`);
    expect(shown.keys).toMatchObject([{ id, name: "agent", spent_micros: 210_000, refunded_micros: 70_000 }]);
    expect(JSON.stringify(shown)).not.toContain("hash");
    const { entries } = await owner.json<EntriesAnswer>(`/db/api/envelopes/${payer.id}/entries`);
    expect(entries.map(({ kind, spender }) => [kind, spender])).toEqual([
      ["refund", id],
      ["charge", id],
      ["charge", id],
      ["charge", id],
      ["topup", null],
    ]);
    const { events } = await owner.json<EventsAnswer>("/db/api/events?range=24h&limit=1");
    expect(events).toMatchObject([{ kind: "refund", spender: id }]);
  });
});
