/** T77 T78: the database view reads, and whatever it is sent, nothing is changed by it. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Envelope } from "../../../src/index.js";
import { admitStatement, readBindings, readQuery } from "../../../src/read-query.js";
import type { Caller } from "../support.js";
import { ADMIN, type Browser, basic, newAddress, signedIn, siteOf } from "./support.js";

const site = siteOf();
let owner: Browser;
let payer: Caller;
beforeEach(async () => {
  owner = await signedIn(site);
  payer = await site.payer(500);
  await payer.fetch("/x?price=3");
});

/** A statement whose rows are all numbers of so many digits, in order. */
function numbers(digits: number): string {
  const places = Array.from({ length: digits }, (_, place) => `d${place}`);
  const from = places.map((place) => `json_each('[0,1,2,3,4,5,6,7,8,9]') AS ${place}`).join(" CROSS JOIN ");
  return `SELECT ${places.map((place, i) => `${place}.value * ${10 ** (digits - 1 - i)}`).join(" + ")} AS i FROM ${from}`;
}

const READS = [
  "SELECT 1",
  "select seq, kind from entry",
  "  SELECT 1 ; -- the end",
  "/* first */ SELECT 1 /* ; DELETE FROM entry */",
  "-- first\nSELECT ';', 'it''s; DELETE FROM entry', \"seq\", `kind`, [at_ms] FROM entry",
  "WITH x AS (SELECT seq FROM entry) SELECT * FROM x",
  "WITH RECURSIVE n(i) AS (VALUES (1)) SELECT i, 'RECURSIVE STEP' FROM n",
  "EXPLAIN WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
  "VALUES (1, 'a'), (2, NULL)",
  "EXPLAIN QUERY PLAN SELECT * FROM entry WHERE seq > ?1",
  "EXPLAIN SELECT 1",
  "SELECT replace(kind, 'o', '0'), x'00ff', 0x1F, 1e3, .5, json('{\"a\":1}') ->> '$.a' FROM entry",
  "SELECT 'update' AS \"delete\" FROM entry WHERE kind <> 'drop;' AND 1 == 1 AND NOT 0 || 1 & 1 | 2 << 1",
  "SELECT count(*) FILTER (WHERE kind = 'charge') OVER () FROM entry",
  "SELECT name FROM sqlite_master;;",
  "SELECT 1 /*/ ; DELETE FROM hold",
  "SELECT 1 /*/; DELETE FROM hold /*/",
];

const WRITES = [
  "DELETE FROM hold",
  "UPDATE envelope SET frozen_at_ms = 1",
  "INSERT INTO hold (at_ms, expires_at_ms, amount_micros, state, op) VALUES (1, 1, 1, 'open', 'x')",
  "INSERT INTO disowned VALUES ('x', 1, 1) RETURNING *",
  "REPLACE INTO disowned VALUES ('x', 1, 1)",
  "WITH x AS (SELECT 1) DELETE FROM payment",
  "WITH x AS (SELECT 1) INSERT INTO disowned SELECT 'x', 1, 1 FROM x",
  "WITH x AS (SELECT 1) REPLACE INTO disowned VALUES ('x', 1, 1)",
  "WITH x AS (SELECT 1) UPDATE envelope SET currency = 'eur' RETURNING *",
  "CREATE TABLE x (y)",
  "CREATE TEMP TABLE x (y)",
  "DROP TABLE payment",
  "ALTER TABLE payment RENAME TO x",
  "CREATE TRIGGER x AFTER INSERT ON entry BEGIN DELETE FROM hold; END",
  "PRAGMA ignore_check_constraints = on",
  "EXPLAIN PRAGMA ignore_check_constraints = on",
  "pragma table_info(entry)",
  "SELECT * FROM pragma_table_info('entry')",
  "SELECT * FROM \"pragma_table_info\"('entry')",
  "SELECT * FROM [PRAGMA_ignore_check_constraints]",
  "SELECT * FROM 'pragma_table_info'('entry')",
  "SELECT * FROM `pragma_function_list`",
  "ATTACH ':memory:' AS x",
  "DETACH x",
  "VACUUM",
  "VACUUM INTO '/tmp/x'",
  "REINDEX",
  "ANALYZE",
  "BEGIN; DELETE FROM payment; COMMIT",
  "COMMIT",
  "ROLLBACK",
  "SAVEPOINT x",
  "RELEASE x",
  "EXPLAIN DELETE FROM payment",
];

/** Ways of hiding a write behind a read. */
const HIDDEN: ((write: string) => string)[] = [
  (write) => write,
  (write) => ` \n\t${write}`,
  (write) => `/**/${write}`,
  (write) => `--\n${write}`,
  (write) => `-- SELECT\r\n${write}`,
  (write) => `/* SELECT */ ${write} -- SELECT`,
  (write) => `SELECT 1; ${write}`,
  (write) => `SELECT 1;${write};`,
  (write) => `SELECT 1 /* ; */ ; ${write}`,
  (write) => `SELECT 1 -- \n; ${write}`,
  (write) => `SELECT ';' ; ${write}`,
  (write) => `SELECT 'a'';' ; ${write}`,
  (write) => `SELECT "a"";" ; ${write}`,
  (write) => `SELECT [a'] ; ${write} --']`,
  (write) => `SELECT $a(;${write})`,
  (write) => `SELECT $a::b(';' ; ${write}`,
  (write) => `SELECT :a ; ${write}`,
  (write) => `SELECT 1\0; ${write}`,
  (write) => `SELECT '\0'; ${write}`,
  (write) => `\ufeff${write}`,
  (write) => `;${write}`,
  (write) => `;;SELECT 1;${write}`,
  (write) => `EXPLAIN SELECT 1; ${write}`,
  (write) => `VALUES (1); ${write}`,
  (write) => `WITH x AS (SELECT 1) SELECT * FROM x; ${write}`,
  (write) => `SELECT (${write})`,
  (write) => `SELECT * FROM (${write} RETURNING *)`,
  (write) => `WITH x AS (${write}) SELECT * FROM x`,
  (write) => `SELECT 1 UNION ${write}`,
  (write) => `SELECT '${write}`,
  (write) => `SELECT "${write}`,
  (write) => `SELECT 1 \u00a0; ${write}`,
  (write) => `SELECT 1 \v; ${write}`,
  (write) => write.replaceAll(" ", "/**/"),
  (write) => write.toLowerCase(),
  (write) => write.replace(/[aeiou]/gi, (char) => char.toUpperCase()),
];

/** All there is in an object, settings that outlive a roll-back too. */
function dump(storage: DurableObjectStorage): string {
  const tables = storage.sql
    .exec("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\' ORDER BY name")
    .toArray();
  const rows = tables
    .filter(({ sql }) => String(sql).startsWith("CREATE TABLE"))
    .map(({ name }) => storage.sql.exec(`SELECT * FROM "${name}"`).toArray());
  let checked = false;
  try {
    storage.transactionSync(() => {
      storage.sql.exec(
        "INSERT INTO hold (at_ms, expires_at_ms, amount_micros, state, op) VALUES (1, 1, -1, 'open', 'x')",
      );
      throw new Error("CHECK is switched off");
    });
  } catch (error) {
    checked = String(error).includes("SQLITE_CONSTRAINT");
  }
  return JSON.stringify([tables, rows, checked]);
}

const ask = (name: string, body: unknown, headers: Record<string, string> = {}) =>
  owner.post(`/db/${name}`, body, headers);
const select = async (statement: string, bindings: unknown[] = []) =>
  (await ask(payer.id, { type: "query", id: "1", statement, bindings })).json<Record<string, never>>();

describe("T77 a statement", () => {
  it.each(READS)("that reads is admitted: %s", async (statement) => {
    expect(admitStatement(statement)).toHaveProperty("statement");
    const bindings = statement.includes("?1") ? [1] : [];
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      expect(readQuery(storage, { statement, bindings })).toMatchObject({ outcome: "rows" });
    });
  });

  it("that writes is not, however it is dressed, and nothing changes", async () => {
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      const before = dump(storage);
      expect(before).toContain("true]");
      for (const write of WRITES) {
        for (const hide of HIDDEN) {
          const statement = hide(write);
          const outcome = readQuery(storage, { statement });
          expect([statement, outcome.outcome]).toEqual([statement, "invalid"]);
        }
      }
      expect(dump(storage)).toBe(before);
    });
  });

  it("changes nothing, whatever pieces it is made of", async () => {
    const words = [
      ...READS,
      ...WRITES,
      ..."; ' \" ` [ ] ( ) /* */ -- \n \0 $a( :b @c ?1 , . * UNION FROM entry x'".split(" "),
    ];
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      const before = dump(storage);
      const pieces = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 6 })), { maxLength: 6 });
      fc.assert(
        fc.property(pieces, fc.constantFrom(" ", "", "\n", ";"), (parts, glue) => {
          readQuery(storage, { statement: parts.join(glue) });
          return true;
        }),
        { numRuns: 3_000 },
      );
      expect(dump(storage)).toBe(before);
    });
  });

  it("that was admitted by mistake would be undone", async () => {
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      const before = dump(storage);
      const real = storage.sql.exec.bind(storage.sql);
      for (const write of ["DELETE FROM credential", "DROP TABLE topup", "UPDATE envelope SET frozen_at_ms = 1"]) {
        const sql = { exec: (_text: string, ..._: unknown[]) => real(write) };
        const opened = {
          sql,
          transactionSync: storage.transactionSync.bind(storage),
        } as unknown as DurableObjectStorage;
        readQuery(opened, { statement: "SELECT 1" });
      }
      expect(dump(storage)).toBe(before);
    });
  });

  it.each([
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "WITH n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0",
    "SELECT (WITH n(i) AS (SELECT 1 UNION ALL SELECT i + ?1 FROM n) SELECT max(i) FROM n)",
    "/* EXPLAIN */ SELECT 'EXPLAIN' FROM (WITH n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT i FROM n) ORDER BY i",
  ])("that might compute for ever is not begun: %s", async (statement) => {
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      const bindings = statement.includes("?1") ? [1] : [];
      const refused = { outcome: "invalid", detail: "Recursion is not admitted" };
      expect(readQuery(storage, { statement, bindings })).toEqual(refused);
    });
  });

  it("ends when it has read a million rows, also where the clock stands still", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    // One of two million, five times over.
    const statement = `SELECT i FROM (${numbers(7)}) WHERE i % 2000000 = 0`;
    const outcome = await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) =>
      readQuery(storage, { statement, bindings: [] }),
    );
    vi.useRealTimers();
    expect(outcome).toMatchObject({ outcome: "rows", rows: [[0]], truncated: true });
  });

  it("answers at most 1,000 rows, says so, and is told no others than strings, numbers and nulls", async () => {
    const { result } = await select(numbers(4));
    expect(result).toMatchObject({ truncated: true, stat: { rowsWritten: 0, rowsAffected: 0 } });
    expect((result as unknown as { rows: unknown[] }).rows).toHaveLength(1000);
    expect(await select("SELECT ? AS a, ? AS a, ? AS b", ["x", 1.5, null])).toEqual({
      result: {
        headers: ["a", "a:2", "b"].map((name) => ({ name, displayName: name, originalType: null })),
        rows: [{ a: "x", "a:2": 1.5, b: null }],
        stat: { queryDurationMs: expect.any(Number), rowsAffected: 0, rowsRead: 0, rowsWritten: 0 },
      },
    });
    for (const bindings of [[true], [{}], [[1]], [Number.NaN], "x", {}, Array(101).fill(1)]) {
      expect(readBindings(bindings)).toBeUndefined();
    }
    expect(await select("SELECT ?", [true])).toEqual({ error: "Invalid request" });
    expect(await select(`SELECT printf('%1000000d', i) FROM (${numbers(2)})`)).toMatchObject({
      result: { truncated: true },
    });
  });
});

describe("the protocol", () => {
  it("a query, a transaction, and the older shape", async () => {
    const transaction = {
      type: "transaction",
      id: "2",
      statements: ["SELECT 1 AS one", { statement: "SELECT ? AS two", bindings: [2] }],
    };
    expect(await (await ask(payer.id, transaction)).json()).toMatchObject({
      result: [{ rows: [{ one: 1 }] }, { rows: [{ two: 2 }] }],
    });
    // In one call, so that all see one state, also while the envelope is charged.
    const asked = vi.spyOn(Envelope.prototype, "query");
    const counts = Array.from({ length: 5 }, () => "SELECT count(*) AS n FROM entry");
    const many = await (await ask(payer.id, { ...transaction, statements: counts })).json<{
      readonly result: readonly { readonly rows: readonly { readonly n: number }[] }[];
    }>();
    expect(many.result.map(({ rows }) => rows[0]?.n)).toEqual([2, 2, 2, 2, 2]);
    expect(asked).toHaveBeenCalledTimes(1);
    asked.mockRestore();
    const long = Array.from({ length: 3 }, () => `SELECT printf('%100000d', i) FROM (${numbers(2)})`);
    expect(await (await ask(payer.id, { ...transaction, statements: long })).json()).toEqual({
      error: "The answers are too long together",
    });
    const broken = { ...transaction, statements: ["SELECT 1", "DELETE FROM hold"] };
    expect(await (await ask(payer.id, broken)).json()).toEqual({
      error: "A statement must begin with SELECT, WITH, VALUES or EXPLAIN",
    });
    const raw = await ask(`${payer.reference}/query/raw`, {
      sql: "SELECT ? AS a, kind FROM entry LIMIT 1",
      params: [7],
    });
    expect(await raw.json()).toEqual({
      result: [
        { columns: ["a", "kind"], rows: [[7, "topup"]], meta: { rows_read: expect.any(Number), rows_written: 0 } },
      ],
    });
    const several = await ask(`${payer.id}/query/raw`, { transaction: [{ sql: "SELECT 1" }, { sql: "SELECT 2" }] });
    expect(await several.json()).toMatchObject({ result: [{ rows: [[1]] }, { rows: [[2]] }] });
  });

  it.each([{ type: "other" }, {}, { type: "query" }, { type: "transaction", statements: [] }, { type: "transaction" }])(
    "anything else is an invalid request: %j",
    async (body) => {
      const response = await ask(payer.id, body);
      expect([response.status, await response.json()]).toEqual([200, { error: "Invalid request" }]);
    },
  );

  it("SQLite's own complaint is an error, not an exception", async () => {
    expect(await select("SELECT a FROM nowhere")).toEqual({ error: expect.stringContaining("nowhere") });
    expect(await select("SELECT ?1")).toEqual({ error: expect.any(String) });
  });

  it("T67 is JSON from this site's own pages; admin-readonly may use it", async () => {
    const body = { type: "query", statement: "SELECT 1" };
    expect((await ask(payer.id, body, { "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await ask(payer.id, body, { "Content-Type": "text/plain" })).status).toBe(400);
    const headers = {
      ...basic(ADMIN, "admin-readonly"),
      "CF-Connecting-IP": newAddress(),
      "Content-Type": "application/json",
    };
    const response = await site.fetch(`/db/${payer.id}`, { method: "POST", body: JSON.stringify(body), headers });
    expect(response.status).toBe(200);
  });
});

describe("T78 a name", () => {
  it("that is no envelope's is the same as garbage, and nothing is made", async () => {
    const unknown = await site.newcomer();
    const answers = new Set<string>();
    const names = [unknown.id, unknown.reference, "x", "api", `${payer.id}0`, "e1_x", "a%2Fb", "0".repeat(22)];
    for (const name of names) {
      for (const path of [name, `${name}/query/raw`]) {
        const response = await ask(path, { type: "query", statement: "SELECT 1", sql: "SELECT 1" });
        answers.add(`${response.status} ${await response.text()}`);
      }
    }
    expect([...answers]).toEqual([expect.stringMatching(/^404 .*not-found/)]);
    const tables = await runInDurableObject(env.ENVELOPE.getByName(unknown.id), (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });

  it("is the panel's page in a browser", async () => {
    for (const path of ["/db/admin-readonly", `/db/${payer.id}`, `/db/${payer.reference}`]) {
      const page = await owner.page(path);
      expect([page.status, page.headers.get("Content-Type")]).toEqual([200, "text/html; charset=utf-8"]);
    }
  });
});
