/** What the tests of grants share: an envelope of one's own, a clock, and short words for what is done and seen. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { vi } from "vitest";
import type { Entry, EnvelopeApi, EnvelopeState, GrantInput } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { facts, refund as reversed, told } from "../rules/payment-values.js";
import { micros } from "../rules/values.js";

/** In the future, so that an alarm rings only when a test says so. */
export const START = Date.UTC(2100, 0, 1);

let names = 0;
let ops = 0;
const op = () => `op-${++ops}`;

export class Subject {
  readonly name = `grants-${++names}-${crypto.randomUUID()}`;

  get stub() {
    return env.ENVELOPE.getByName(this.name);
  }
  get api(): EnvelopeApi {
    return this.stub as unknown as EnvelopeApi;
  }

  grant(amount: number, over: Partial<GrantInput> = {}) {
    const named = op();
    return this.api.grant({ op: named, key: named, currency: "usd", amount_micros: micros(amount), ...over });
  }
  topUp(amount: number, payment_id = op(), over: object = {}) {
    return this.api.report({ ...told(facts("paid", amount, amount), payment_id), ...over });
  }
  /** A refund by Stripe of a payment that `topUp` made: so much of its total, which is what it is worth. */
  takeBack(payment_id: string, amount: number) {
    return this.api.report(told(reversed(amount, `re_${payment_id}_${op()}`), payment_id));
  }
  charge(amount: number, over: object = {}) {
    return this.api.charge({ op: op(), currency: "usd", amount_micros: micros(amount), ...over });
  }
  hold(amount: number, ttl_ms = 60_000, over: object = {}) {
    return this.api.hold({ op: op(), currency: "usd", amount_micros: micros(amount), ttl_ms, ...over });
  }
  settle(hold_id: number, amount: number) {
    return this.api.settle({ op: op(), hold_id, amount_micros: micros(amount) });
  }
  refund(seq: number, amount?: number) {
    const named = op();
    const amount_micros = amount === undefined ? undefined : micros(amount);
    return this.api.refund({ op: named, key: named, charge: { seq }, amount_micros });
  }
  revoke(seq: number, over: object = {}) {
    const named = op();
    return this.api.revoke({ op: named, key: named, grant: { seq }, ...over });
  }

  async state(): Promise<EnvelopeState> {
    const state = await this.api.state({});
    if (state.outcome !== "ok") throw new Error("state() without a credential is always told");
    return state;
  }
  entries(): Promise<readonly Entry[]> {
    return this.api.entries({ after: 0, limit: 1_000 });
  }
  /** `charge -5 10`: what each entry was, moved and left. */
  async lines(): Promise<string[]> {
    return (await this.entries()).map(
      ({ kind, amount_micros, balance_micros }) => `${kind} ${amount_micros} ${balance_micros}`,
    );
  }
  /** Where the last entry moved something: `7:-5 0:-3`. */
  async moved(seq?: number): Promise<string> {
    const entries = await this.entries();
    const entry = seq === undefined ? entries.at(-1) : entries.find((one) => one.seq === seq);
    const lots = JSON.parse(entry?.lots ?? "[]") as [number, number, number?][];
    return lots.flatMap(([source, , moved]) => (moved === undefined ? [] : `${source}:${moved}`)).join(" ");
  }
  /** `7:5 9:2`: what is left of each grant. */
  async left(): Promise<string> {
    return (await this.state()).lots.map(({ seq, remaining_micros }) => `${seq}:${remaining_micros}`).join(" ");
  }

  inside<T>(work: (sql: SqlStorage, envelope: Envelope, storage: DurableObjectStorage) => T | Promise<T>): Promise<T> {
    return runInDurableObject(this.stub, async (envelope: Envelope, { storage }) =>
      work(storage.sql, envelope, storage),
    );
  }
  evict(): Promise<void> {
    return evictDurableObject(this.stub).catch(() => undefined);
  }
  ring(): Promise<boolean> {
    return runDurableObjectAlarm(this.stub);
  }
}

export const pass = (ms: number) => void vi.setSystemTime(Date.now() + ms);

/** The rows that some calls read and write in SQL: the sum over all statements' cursors. */
export function counting(sql: SqlStorage): {
  readonly rows: () => { read: number; written: number };
  readonly stop: () => void;
} {
  const exec = sql.exec.bind(sql);
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
  sql.exec = (query, ...bindings) => {
    const cursor = exec(query, ...bindings);
    cursors.push(cursor);
    return cursor as never;
  };
  const sum = (of: "rowsRead" | "rowsWritten") => cursors.reduce((total, cursor) => total + cursor[of], 0);
  return {
    rows: () => ({ read: sum("rowsRead"), written: sum("rowsWritten") }),
    stop: () => {
      sql.exec = exec;
    },
  };
}
