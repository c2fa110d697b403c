/**
 * The judge: what the clients were told, against what the ledgers say. Pure, and ignorant of how the package works: it
 * knows the promises only. Each finding names the rule that was broken.
 */
import { paymentIntent } from "../lib/stripe.ts";
import type { History, Told, ToldPayment } from "./history.ts";
import { type Ledger, type LedgerEntry, type Totals, totalsOf } from "./ledgers.ts";

export type Rule =
  /** Acknowledged, and not in the ledger. */
  | "lost"
  /** In the ledger more than once. */
  | "doubled"
  /** In the ledger although it was refused or failed, or in an envelope or from an operation nobody asked for. */
  | "phantom"
  | "wrong_amount"
  | "wrong_balance_told"
  | "wrong_key"
  /** Numbers not gapless from 1, or a running balance that is not the sum so far. */
  | "broken_ledger"
  | "wrong_balance"
  | "overdrawn"
  /** Money still reserved after every hold's time is over. */
  | "still_held"
  | "payment_lost"
  | "payment_doubled"
  | "mirror_differs"
  | "odd_answer";

export interface Finding {
  readonly rule: Rule;
  readonly detail: string;
}

export interface Evidence {
  readonly history: History;
  /** By the envelope's index. */
  readonly ledgers: readonly Ledger[];
  /** What each envelope was given before the clients began. */
  readonly opening: readonly ToldPayment[];
  readonly mirrored: Totals;
}

export function judge({ history, ledgers, opening, mirrored }: Evidence): readonly Finding[] {
  return [
    ...history.oddities.map((detail): Finding => ({ rule: "odd_answer", detail })),
    ...ledgers.flatMap((ledger, envelope) => judgeLedger(ledger, envelope)),
    ...judgeOperations(history.told, ledgers),
    ...judgePayments([...opening, ...history.payments], ledgers),
    ...judgeMirror(totalsOf(ledgers), mirrored),
  ];
}

function judgeLedger(ledger: Ledger, envelope: number): readonly Finding[] {
  const findings: Finding[] = [];
  const find = (rule: Rule, detail: string) => findings.push({ rule, detail: `envelope ${envelope}: ${detail}` });
  let sum = 0;
  ledger.entries.forEach((entry, index) => {
    sum += entry.amount_micros;
    if (entry.seq !== index + 1) find("broken_ledger", `entry ${entry.seq} where ${index + 1} is due`);
    if (entry.balance_micros !== sum)
      find("broken_ledger", `balance ${entry.balance_micros} at ${entry.seq}, sum ${sum}`);
    if (entry.balance_micros < 0) find("overdrawn", `balance ${entry.balance_micros} at ${entry.seq}`);
  });
  if (ledger.balance_micros !== sum) find("wrong_balance", `balance ${ledger.balance_micros}, sum ${sum}`);
  if (ledger.held_micros !== 0 || ledger.holds !== 0 || ledger.available_micros !== ledger.balance_micros) {
    find("still_held", `${ledger.holds} holds of ${ledger.held_micros} in all, ${ledger.available_micros} available`);
  }
  return findings;
}

function judgeOperations(told: readonly Told[], ledgers: readonly Ledger[]): readonly Finding[] {
  const charges = ledgers.map(({ entries }) => byName(entries.filter(isCharge), ({ reason }) => reason ?? ""));
  const findings = told.flatMap((one) => {
    const reason = `POST ${one.operation.path}`;
    const mine = charges[one.operation.envelope];
    const found = mine?.get(reason) ?? [];
    mine?.delete(reason);
    return judgeOperation(one, found);
  });
  const strangers = charges.flatMap((left) => [...left.keys()]);
  return [
    ...findings,
    ...strangers.map((detail): Finding => ({ rule: "phantom", detail: `nobody asked for ${detail}` })),
  ];
}

function judgeOperation(told: Told, found: readonly LedgerEntry[]): readonly Finding[] {
  const { operation, outcome } = told;
  const findings: Finding[] = [];
  const find = (rule: Rule, detail: string) => findings.push({ rule, detail: `${operation.path}: ${detail}` });
  const unpaid = outcome === "refused" || outcome === "failed" || operation.fails;
  if (found.length > 1) find("doubled", `${found.length} entries after ${told.attempts} attempts`);
  if (unpaid && found.length > 0) find("phantom", `${outcome}, and charged as entry ${found[0]?.seq}`);
  for (const { amount_micros, key, seq } of found) {
    if (amount_micros !== -operation.price_micros) {
      find("wrong_amount", `entry ${seq} took ${-amount_micros} for ${operation.price_micros}`);
    }
    if ((key !== null) !== operation.keyed) find("wrong_key", `entry ${seq} has the key ${key}`);
  }
  if (outcome !== "charged") return findings;
  if (told.price_micros !== operation.price_micros) find("wrong_amount", `told ${told.price_micros}`);
  if (found.length === 0) {
    find("lost", "acknowledged, and not in the ledger");
    return findings;
  }
  // A replay tells the balance of now; a charge, the one that its own entry left.
  if (!told.replayed && !found.some(({ balance_micros }) => balance_micros === told.balance_micros)) {
    find("wrong_balance_told", `told ${told.balance_micros}, entry has ${found[0]?.balance_micros}`);
  }
  return findings;
}

function judgePayments(payments: readonly ToldPayment[], ledgers: readonly Ledger[]): readonly Finding[] {
  const credits = ledgers.map(({ entries }) => byName(entries.filter(isTopUp), (entry) => entry.payment_id ?? ""));
  const findings = payments.flatMap(({ topUp, credited, acknowledged }) => {
    const name = paymentIntent(topUp);
    const found = credits[topUp.envelope]?.get(name) ?? [];
    credits[topUp.envelope]?.delete(name);
    const seen: Finding[] = [];
    if (acknowledged && found.length === 0) seen.push({ rule: "payment_lost", detail: name });
    if (found.length > 1) seen.push({ rule: "payment_doubled", detail: `${name}: ${found.length} entries` });
    if (credited > 1) seen.push({ rule: "payment_doubled", detail: `${name}: called credited ${credited} times` });
    if (found.some(({ amount_micros }) => amount_micros !== topUp.cents * 10_000)) {
      seen.push({ rule: "wrong_amount", detail: `${name}: ${found[0]?.amount_micros} for ${topUp.cents} cents` });
    }
    return seen;
  });
  const strangers = credits.flatMap((left) => [...left.keys()]);
  return [...findings, ...strangers.map((detail): Finding => ({ rule: "phantom", detail: `nobody paid ${detail}` }))];
}

function judgeMirror(expected: Totals, mirrored: Totals): readonly Finding[] {
  const [wanted, seen] = [JSON.stringify(expected), JSON.stringify(mirrored)];
  return wanted === seen ? [] : [{ rule: "mirror_differs", detail: `ledgers ${wanted}, aggregate ${seen}` }];
}

const isCharge = ({ kind }: LedgerEntry): boolean => kind === "charge";
const isTopUp = ({ kind }: LedgerEntry): boolean => kind === "topup";

function byName(entries: readonly LedgerEntry[], nameOf: (entry: LedgerEntry) => string): Map<string, LedgerEntry[]> {
  const map = new Map<string, LedgerEntry[]>();
  for (const entry of entries) {
    const name = nameOf(entry);
    const same = map.get(name);
    if (same === undefined) map.set(name, [entry]);
    else same.push(entry);
  }
  return map;
}
