/** What windows say in the model: all of it from the lines, by the oracle of the rules. */
import type { WindowRule } from "../../../src/contract.js";
import * as oracle from "../rules/windows-oracle.js";

export type Limit = WindowRule & { readonly window_id: string };

interface Line {
  readonly seq: number;
  readonly at: number;
  readonly kind: string;
  readonly amount: bigint;
  readonly ref?: number | undefined;
}

export const isSpent = ({ kind }: Pick<Line, "kind">) => kind === "charge" || kind === "usage";

function spendings(lines: readonly Line[]): oracle.Spending[] {
  return lines.filter(isSpent).map(({ seq, at, amount }) => {
    const back = lines.filter(({ ref }) => ref === seq).reduce((sum, line) => sum + line.amount, 0n);
    return { at, took: -amount, back };
  });
}

export const spentOf = (limit: Limit, lines: readonly Line[], now: number) =>
  oracle.spent(limit, spendings(lines), now);

const notBelowZero = (amount: bigint) => (amount > 0n ? amount : 0n);

/** When a refused price is admitted, if nothing else happens. */
export function untilOf(limit: Limit, lines: readonly Line[], now: number, held: bigint, price: bigint): number | null {
  return oracle.fallsTo(limit, spendings(lines), now, notBelowZero(BigInt(limit.limit_micros) - held - price));
}

/** When it admits anything more: of a rolling window, when the oldest leaves of what counts. */
export function resetOf(limit: Limit, lines: readonly Line[], now: number): number | null {
  const spent = spentOf(limit, lines, now);
  return oracle.fallsTo(limit, spendings(lines), now, notBelowZero(spent - 1n));
}

/** The moment at which the newest of what it counts is about to leave it, or its period to end. */
export function edgeOf(limit: Limit, now: number): number | undefined {
  const edge = limit.alignment === "rolling" ? now + oracle.lengthOf(limit) : oracle.period(limit, now)[1];
  return Number.isFinite(edge) ? edge : undefined;
}
