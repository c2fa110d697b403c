/** What @suluk/credits became slower with: a ledger of a million entries. */
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import type { Envelope } from "../../../src/index.js";
import { envelopeOf } from "../../../src/index.js";
import { micros } from "../rules/values.js";
import { breaksTheMirror } from "../support.js";
import { addCredits, getBalance } from "./credits.js";
import { counting } from "./support.js";

breaksTheMirror(
  "its million entries are written by hand, and sending them would take longer than all other tests of this folder",
);

const user = crypto.randomUUID();

it("a debit reads as many rows in a ledger of 1,000,000 as in a new one", { timeout: 300_000 }, async () => {
  await addCredits(user, 2_000_000, "welcome");
  const { id } = envelopeOf(env, { identity: user });
  const stub = () => env.ENVELOPE.getByName(id);
  const readsOfOne = () =>
    runInDurableObject(stub(), async (envelope: Envelope, { storage: { sql } }) => {
      // What was read on waking is no debit's.
      await envelope.charge({ op: crypto.randomUUID(), currency: "usd", amount_micros: micros(1) });
      const counted = counting(sql);
      await envelope.charge({
        op: crypto.randomUUID(),
        currency: "usd",
        amount_micros: micros(1),
        key: crypto.randomUUID(),
      });
      counted.stop();
      return counted.rows();
    });
  const early = await readsOfOne();
  await runInDurableObject(stub(), (_, { storage: { sql } }) => {
    sql.exec(
      `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, lots)
       WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
       SELECT 3 + i, 0, 'charge', -1, 1999998 - i, json_array(json_array(1, 1999998 - i, -1)) FROM n`,
    );
  });
  await evictDurableObject(stub());
  expect(await readsOfOne()).toEqual(early);
  expect(await getBalance(user)).toBe(999_996);
});
