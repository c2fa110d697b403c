import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { EnvelopeApi } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { facts, refund as reversed, told } from "../rules/payment-values.js";
import { micros, show } from "../rules/values.js";
import { breaksTheMirror } from "../support.js";

breaksTheMirror("writes rows that no object knows of");

let names = 0;
let name = "";
// In the future, so that the mirror's alarm does not ring in the middle of a test.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2100, 0, 1) });
});
afterAll(() => {
  vi.useRealTimers();
});
beforeEach(() => {
  names += 1;
  name = `storage-${names}`;
});

const stub = () => env.ENVELOPE.getByName(name);
const remote = () => stub() as unknown as EnvelopeApi;
const inside = <T>(work: (envelope: EnvelopeApi, state: DurableObjectState) => Promise<T>): Promise<T> =>
  runInDurableObject(stub(), (instance: Envelope, state) => work(instance, state));

const usd = { currency: "usd" } as const;
let ops = 0;
const op = () => {
  ops += 1;
  return `op-${ops}`;
};

type Call = (envelope: EnvelopeApi, amount: number) => Promise<{ readonly outcome: string }>;

const charge: Call = (envelope, amount) => envelope.charge({ op: op(), ...usd, amount_micros: micros(amount) });
const chargeOf =
  (key: string): Call =>
  (envelope, amount) =>
    envelope.charge({ op: op(), ...usd, key, amount_micros: micros(amount) });
const chargeAtMost: Call = (envelope, amount) =>
  envelope.charge({ op: op(), ...usd, at_most: true, record_zero: true, amount_micros: micros(amount) });
const hold: Call = (envelope, amount) =>
  envelope.hold({ op: op(), ...usd, ttl_ms: 60_000, amount_micros: micros(amount) });
const settle: Call = (envelope, amount) => envelope.settle({ op: op(), hold_id: 1, amount_micros: micros(amount) });
const refund: Call = (envelope, amount) =>
  envelope.refund({ op: op(), key: op(), charge: { key: "paid" }, amount_micros: micros(amount) });
const grant: Call = (envelope, amount) =>
  envelope.grant({ op: op(), ...usd, key: op(), amount_micros: micros(amount) });
const paid: Call = (envelope, amount) => envelope.report(told(facts("paid", amount)));
const pending: Call = (envelope, amount) => envelope.report(told(facts("pending", amount)));

const takenBack: Call = (envelope, amount) => envelope.report(told(reversed(amount)));

/** A grant of 1,000, a charge of 100 under the key `paid`, and hold 1 of 50. */
async function fund(): Promise<void> {
  await grant(remote(), 1_000);
  await chargeOf("paid")(remote(), 100);
  await hold(remote(), 50);
}

const tables = (sql: SqlStorage): readonly string[] =>
  sql
    .exec<{ name: string }>(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
    )
    .toArray()
    .map((table) => table.name);

/** Every row of every table. */
const dump = () =>
  inside(async (_, { storage: { sql } }) =>
    tables(sql).map((table) => [table, sql.exec(`SELECT * FROM ${table}`).toArray()] as const),
  );

describe("I10 T89 amounts that are not amounts", () => {
  const CALLS: readonly (readonly [name: string, call: Call, no: string])[] = [
    ["charge", charge, "invalid"],
    ["charge with a key", chargeOf("k"), "invalid"],
    ["charge at most", chargeAtMost, "invalid"],
    ["hold", hold, "invalid"],
    ["settle", settle, "invalid"],
    ["refund", refund, "refused"],
    ["grant", grant, "invalid"],
    ["a payment", paid, "uncreditable"],
  ];
  const HOSTILE: readonly unknown[] = [
    Number.NaN,
    1.5,
    2 ** 53,
    -1,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    "5",
  ];

  for (const [name, call, no] of CALLS) {
    it(`${name} of ${HOSTILE.map(show).join(", ")} → ${no}, and nothing stored`, async () => {
      await fund();
      const before = await dump();
      for (const amount of HOSTILE) {
        const answer = await inside(async (envelope) =>
          call(envelope, amount as number).catch((error: unknown) => ({ outcome: `throws ${error}` })),
        );
        expect(answer.outcome, show(amount)).toBe(no);
      }
      expect(await dump()).toEqual(before);
    });
  }

  it("a payment still pending, a refund of Stripe's: answered or thrown at, and nothing stored", async () => {
    await fund();
    await paid(remote(), 70);
    const before = await dump();
    for (const amount of [Number.NaN, 1.5, Number.POSITIVE_INFINITY]) {
      for (const word of [told(facts("pending", amount), "pi_2"), told(reversed(amount))]) {
        await inside((envelope) => envelope.report(word).catch(() => undefined));
      }
    }
    expect(await dump()).toEqual(before);
  });

  it("the same over RPC, and on an envelope that nobody paid for, where no table appears", async () => {
    for (const amount of HOSTILE) {
      expect((await charge(remote(), amount as number)).outcome, show(amount)).toBe("invalid");
      expect((await grant(remote(), amount as number)).outcome, show(amount)).toBe("invalid");
    }
    expect(await dump()).toEqual([]);
  });

  it("after sound calls, every number stored is an integer, and every balance a safe one", async () => {
    await fund();
    for (const call of [charge, chargeOf("k"), chargeAtMost, hold, refund, grant, pending, paid, takenBack])
      await call(remote(), 7);
    await settle(remote(), 20);
    for (const [table, rows] of await dump()) {
      for (const row of rows) {
        for (const [column, value] of Object.entries(row)) {
          if (typeof value === "number") expect(Number.isSafeInteger(value), `${table}.${column}`).toBe(true);
        }
      }
    }
    const types = await inside(async (_, { storage: { sql } }) =>
      sql
        .exec("SELECT DISTINCT typeof(amount_micros) AS amount, typeof(balance_micros) AS balance FROM entry")
        .toArray(),
    );
    expect(types).toEqual([{ amount: "integer", balance: "integer" }]);
  });
});

describe("the ledger cannot be rewritten, not even by its own code", () => {
  const insert = (seq: number, kind: string, amount: number | string, balance: number | string) =>
    `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros) VALUES (${seq}, 0, '${kind}', ${amount}, ${balance})`;

  it.each([
    ["an entry changed", "UPDATE entry SET amount_micros = 0 WHERE seq = 1", "entries are never changed"],
    ["a note changed", "UPDATE entry SET reason = 'x' WHERE seq = 1", "entries are never changed"],
    ["an entry deleted", "DELETE FROM entry WHERE seq = 2", "entries are never deleted"],
    ["all deleted", "DELETE FROM entry", "entries are never deleted"],
    ["an entry replaced", `REPLACE ${insert(2, "charge", -100, 900).slice("INSERT ".length)}`, "does not follow"],
    ["a number skipped", insert(4, "grant", 1, 901), "does not follow"],
    ["a number used twice", insert(2, "grant", 1, 1_001), "does not follow"],
    ["a wrong balance", insert(3, "grant", 1, 902), "does not follow"],
    ["a fraction", insert(3, "grant", 0.5, 900.5), "cannot store REAL"],
    ["NaN", insert(3, "grant", "NULL", 900), "constraint failed"],
    ["an amount of 2^53", insert(3, "grant", "9007199254740992", "9007199254741892"), "CHECK constraint failed"],
    ["a charge that gives", insert(3, "charge", 1, 901), "CHECK constraint failed"],
    ["I2 a charge below zero", insert(3, "charge", -901, -1), "CHECK constraint failed"],
    [
      "I3 a key used twice",
      insert(3, "grant", 1, 901).replace("balance_micros)", "balance_micros, key)").replace(/\)$/, ", 'paid')"),
      "UNIQUE constraint failed",
    ],
    [
      "a hold of nothing",
      "INSERT INTO hold (at_ms, expires_at_ms, amount_micros, state, op) VALUES (0, 1, 0, 'open', 'o')",
      "CHECK constraint failed",
    ],
    [
      "I5 a payment taken back for more than its credit",
      "INSERT INTO payment VALUES ('pi', 'paid', 1, 1, 'cs', 'evt', 0, 'usd', 1, 1, 0, 0, 0, 0, 2, NULL)",
      "CHECK constraint failed",
    ],
    [
      "I5 a payment paid and not credited",
      "INSERT INTO payment VALUES ('pi', 'paid', 1, NULL, 'cs', 'evt', 0, 'usd', 1, 1, 0, 0, 0, 0, 0, NULL)",
      "CHECK constraint failed",
    ],
  ])("I1 $0 → $2", async (_name, statement, message) => {
    await fund();
    const before = await dump();
    await inside(async (_, { storage: { sql } }) => {
      expect(() => sql.exec(statement)).toThrow(message);
    });
    expect(await dump()).toEqual(before);
  });

  it("the statement the table's cases are made of is sound, where it follows", async () => {
    await fund();
    await inside(async (_, { storage: { sql } }) => {
      expect(sql.exec(insert(3, "grant", 1, 901)).rowsWritten).toBe(1);
    });
  });

  it("a write that fails half-way leaves nothing, neither in storage nor in memory", async () => {
    const half = told({ ...facts("paid", 7), amount_total: 0.5 });
    await inside(async (envelope) => {
      await expect(envelope.report(half)).rejects.toThrow("cannot store REAL");
      expect(await envelope.state({})).toMatchObject({ balance_micros: 0, seq: 0, currency: null });
    });
    expect(await dump()).toEqual([]);
    await fund();
    const before = await dump();
    await inside(async (envelope) => {
      await expect(envelope.report(half)).rejects.toThrow("cannot store REAL");
      expect(await envelope.state({})).toMatchObject({ balance_micros: 900, held_micros: 50, seq: 2 });
    });
    expect(await dump()).toEqual(before);
  });
});
