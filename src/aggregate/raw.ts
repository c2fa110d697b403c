/** What the raw events of a shard come to: kept when they are dropped, and held against all else in a proof. Only reads. */
import { SUM_NAMES, SUMS, type SumName } from "./mirror.js";

/** Over all envelopes, they may pass what a number holds. */
export type RawSums = Record<SumName | "entries" | "keyed_micros", bigint>;

/** `keyed_micros`: what keys and identities spent, net of what was given back of it. */
export const RAW_NAMES = ["entries", "keyed_micros", ...SUM_NAMES] as const;
export const NO_RAW = Object.fromEntries(RAW_NAMES.map((name) => [name, 0n])) as RawSums;

export function rawSums(sql: SqlStorage, where: string, ...bindings: number[]): RawSums {
  const sums = { ...NO_RAW };
  const rows = sql.exec(
    // As text, which is exact however large.
    `SELECT kind, count(*) AS entries, CAST(sum(amount_micros) AS TEXT) AS amount,
       CAST(coalesce(sum(iif(spender IS NULL, 0, amount_micros)), 0) AS TEXT) AS keyed FROM event WHERE ${where} GROUP BY kind`,
    ...bindings,
  );
  for (const { kind, entries, amount, keyed } of rows as Iterable<{
    kind: keyof typeof SUMS;
    entries: number;
    amount: string;
    keyed: string;
  }>) {
    sums.entries += BigInt(entries);
    sums.keyed_micros -= BigInt(keyed);
    // A kind that is none was written by nobody but who tampered: it is missing in the sums, and so found.
    const [sum, sign] = SUMS[kind] ?? [];
    if (sum !== undefined) sums[sum] += BigInt(sign) * BigInt(amount);
  }
  return sums;
}
