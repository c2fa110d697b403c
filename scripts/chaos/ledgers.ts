/** The final read: every ledger, every state and the aggregate's totals, through routes of the harness's own Worker. */
import { setTimeout as sleep } from "node:timers/promises";
import { readJson, send } from "../lib/http.ts";

export interface LedgerEntry {
  readonly seq: number;
  readonly kind: string;
  readonly amount_micros: number;
  readonly balance_micros: number;
  readonly key: string | null;
  readonly payment_id: string | null;
  readonly reason: string | null;
}

export interface Ledger {
  readonly entries: readonly LedgerEntry[];
  readonly balance_micros: number;
  readonly available_micros: number;
  readonly held_micros: number;
  readonly holds: number;
}

export interface Totals {
  readonly envelopes: number;
  readonly credited_micros: number;
  readonly spent_micros: number;
  readonly outstanding_micros: number;
}

const PAGE = 1000;
/** Entries are mirrored a second after they are written, in batches. */
const MIRROR_WAIT_MS = 30_000;

export async function readLedger(origin: string, id: string): Promise<Ledger> {
  const entries: LedgerEntry[] = [];
  for (;;) {
    const page = (await get(origin, `/ledger?id=${id}&after=${entries.length}`))["entries"] as readonly LedgerEntry[];
    entries.push(...page);
    if (page.length < PAGE) break;
  }
  const { balance_micros, available_micros, held_micros, holds } = await get(origin, `/state?id=${id}`);
  return {
    entries,
    balance_micros: Number(balance_micros),
    available_micros: Number(available_micros),
    held_micros: Number(held_micros),
    holds: (holds as readonly unknown[]).length,
  };
}

/** The aggregate's totals, as soon as they are these; or what they still are when waiting is over. */
export async function readTotals(origin: string, expected: Totals): Promise<Totals> {
  for (let waited_ms = 0; ; waited_ms += 250) {
    const { envelopes, credited_micros, spent_micros, outstanding_micros } = await get(origin, "/overview");
    const totals = { envelopes, credited_micros, spent_micros, outstanding_micros } as Totals;
    if (JSON.stringify(totals) === JSON.stringify(expected) || waited_ms >= MIRROR_WAIT_MS) return totals;
    await sleep(250);
  }
}

export function totalsOf(ledgers: readonly Ledger[]): Totals {
  const sum = (kind: string): number =>
    ledgers
      .flatMap(({ entries }) => entries.filter((entry) => entry.kind === kind))
      .reduce((total, { amount_micros }) => total + amount_micros, 0);
  return {
    envelopes: ledgers.length,
    credited_micros: sum("topup"),
    spent_micros: 0 - sum("charge"),
    outstanding_micros: ledgers.reduce((total, { balance_micros }) => total + balance_micros, 0),
  };
}

async function get(origin: string, path: string): Promise<Readonly<Record<string, unknown>>> {
  const answer = await send(origin, path);
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
  return readJson(answer);
}
