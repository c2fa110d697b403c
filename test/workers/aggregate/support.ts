/** What the tests of the aggregate share: ledgers as an envelope would send them, and a way to count rows. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import type { AggregateApi, EntryKind, MirrorBatch, MirrorEntry } from "../../../src/contract.js";
import type { EnvelopeAggregate } from "../../../src/index.js";
import { micros } from "../rules/values.js";

export const stubOf = (name: string) => env.ENVELOPE_AGGREGATE.getByName(name);
export const shardOf = (name: string) => stubOf(name) as unknown as AggregateApi;

export const inside = <T>(
  name: string,
  work: (shard: AggregateApi, state: DurableObjectState) => Promise<T>,
): Promise<T> => runInDurableObject(stubOf(name), (shard: EnvelopeAggregate, state) => work(shard, state));

export interface Line extends Partial<Omit<MirrorEntry, "seq" | "balance_micros" | "amount_micros">> {
  readonly kind: EntryKind;
  /** Positive. */
  readonly size: number;
}

export const TAKES: readonly EntryKind[] = ["charge", "clawback", "expiry", "revocation"];

/** Consecutive numbers, a running balance; a millisecond apart where a line does not say when. */
export function ledger(lines: readonly Line[], from_ms = 0): MirrorEntry[] {
  let balance = 0;
  return lines.map(({ size, ...line }, index) => {
    const amount = TAKES.includes(line.kind) ? 0 - size : size;
    balance += amount;
    return {
      seq: index + 1,
      at_ms: from_ms + index,
      amount_micros: micros(amount),
      balance_micros: micros(balance),
      ...line,
    };
  });
}

export function batchOf(
  envelope_id: string,
  entries: readonly MirrorEntry[],
  more: Partial<MirrorBatch> = {},
): MirrorBatch {
  return { envelope_id, currency: "usd", entries, ...more };
}

/** The billed rows that some calls write in SQL: the sum over all statements' cursors. */
export async function rowsWritten(state: DurableObjectState, calls: () => Promise<unknown>): Promise<number> {
  const { sql } = state.storage;
  const exec = sql.exec.bind(sql);
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
  sql.exec = (query, ...bindings) => {
    const cursor = exec(query, ...bindings);
    cursors.push(cursor);
    return cursor as never;
  };
  try {
    await calls();
  } finally {
    sql.exec = exec;
  }
  return cursors.reduce((sum, cursor) => sum + cursor.rowsWritten, 0);
}
