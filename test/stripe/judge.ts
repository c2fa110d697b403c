/**
 * Holds every envelope's ledger against the books of the stand-in. Shares no code with the package: a judge must not share
 * the faults of what it judges.
 */
import type { Books, StripeAccount } from "./account.js";

/** A line of an envelope's ledger, as the package reads it out. */
export interface Line {
  readonly seq: number;
  readonly kind: string;
  readonly amount_micros: number;
  readonly balance_micros: number;
  readonly payment_id: string | null;
}

export interface Ledger {
  readonly envelope_id: string;
  readonly lines: readonly Line[];
  readonly balance_micros: number;
  readonly open_disputes: number;
  readonly frozen: boolean;
}

/** Whose a payment is, and what part of it was paid for goods (minor units) where that is not all of it. */
export interface Owner {
  readonly envelope_id: string;
  readonly goods?: number;
}

export interface Verdict {
  readonly exact: boolean;
  readonly payments: number;
  readonly credits: number;
  readonly envelopes: number;
  readonly lines: number;
  /** Minor units, over all payments. */
  readonly books: Books;
  readonly books_micros: number;
  readonly envelopes_micros: number;
  /** What is wrong, one sentence each; empty when it is exact. */
  readonly findings: readonly string[];
}

const MICROS_PER_CENT = 10_000;

/** A dispute that somebody still has to decide. */
const OPEN = new Set(["needs_response", "under_review", "appeal_needs_response", "appeal_under_review"]);

/**
 * What is left of a payment: its goods, less the same part of them as went away of the money. Never below nothing: a bank
 * may withdraw more than was left to take.
 */
export function leftMicros(books: Books, goods = books.collected): number {
  const away = Math.min(books.collected, books.refunded + books.withdrawn - books.reinstated);
  if (books.collected === 0) return 0;
  const credit = BigInt(goods) * BigInt(MICROS_PER_CENT);
  return Number(credit - (credit * BigInt(away)) / BigInt(books.collected));
}

export function judge(account: StripeAccount, owners: ReadonlyMap<string, Owner>, ledgers: readonly Ledger[]): Verdict {
  const ofLedgers: string[] = [];
  const findings: string[] = [];
  const credits = new Map<string, number>();
  const worth = new Map<string, number>();
  const open = openDisputes(account, owners);
  for (const ledger of ledgers) {
    ofLedgers.push(...gaps(ledger), ...disputes(ledger, open.get(ledger.envelope_id) ?? 0));
    for (const { kind, payment_id, amount_micros, seq } of ledger.lines) {
      const where = `${ledger.envelope_id} #${seq} (${kind})`;
      if (payment_id === null) ofLedgers.push(`${where} names no payment`);
      else if (owners.get(payment_id)?.envelope_id !== ledger.envelope_id)
        ofLedgers.push(`${where} is of ${payment_id}, which is not this envelope's`);
      if (kind === "topup") add(credits, String(payment_id), 1);
      add(worth, String(payment_id), amount_micros);
    }
  }
  const totals: Books = { collected: 0, refunded: 0, withdrawn: 0, reinstated: 0 };
  let books_micros = 0;
  let payments = 0;
  for (const [payment_id, books] of account.books) {
    const due = leftMicros(books, owners.get(payment_id)?.goods);
    const times = books.collected > 0 ? 1 : 0;
    const credited = credits.get(payment_id) ?? 0;
    if (credited !== times) findings.push(`${payment_id} was credited ${credited} times, not ${times}`);
    const booked = worth.get(payment_id) ?? 0;
    if (booked !== due) findings.push(`${payment_id} is worth ${booked} micros, not ${due}`);
    for (const name of Object.keys(totals) as (keyof Books)[]) totals[name] += books[name];
    books_micros += due;
    payments += times;
  }
  const envelopes_micros = ledgers.reduce((sum, { balance_micros }) => sum + balance_micros, 0);
  if (envelopes_micros !== books_micros)
    findings.unshift(`All envelopes hold ${envelopes_micros} micros, the books say ${books_micros}`);
  findings.push(...ofLedgers);
  return {
    exact: findings.length === 0,
    payments,
    credits: [...credits.values()].reduce((sum, one) => sum + one, 0),
    envelopes: ledgers.length,
    lines: ledgers.reduce((sum, { lines }) => sum + lines.length, 0),
    books: totals,
    books_micros,
    envelopes_micros,
    findings,
  };
}

/** I1: numbers without a gap, and a running balance that adds up. */
function gaps({ envelope_id, lines, balance_micros }: Ledger): string[] {
  const wrong: string[] = [];
  let balance = 0;
  lines.forEach((line, index) => {
    balance += line.amount_micros;
    if (line.seq !== index + 1) wrong.push(`${envelope_id} has #${line.seq} in place ${index + 1}`);
    if (line.balance_micros !== balance)
      wrong.push(`${envelope_id} #${line.seq} leaves ${line.balance_micros} micros, not ${balance}`);
  });
  if (balance_micros !== balance) wrong.push(`${envelope_id} holds ${balance_micros} micros, its lines say ${balance}`);
  return wrong;
}

function disputes({ envelope_id, open_disputes, frozen }: Ledger, open: number): string[] {
  const wrong: string[] = [];
  if (open_disputes !== open) wrong.push(`${envelope_id} knows of ${open_disputes} open disputes, the bank of ${open}`);
  if (frozen !== open > 0) wrong.push(`${envelope_id} is ${frozen ? "" : "not "}frozen with ${open} open disputes`);
  return wrong;
}

function openDisputes(account: StripeAccount, owners: ReadonlyMap<string, Owner>): ReadonlyMap<string, number> {
  const open = new Map<string, number>();
  for (const object of account.objects.values()) {
    if (object.object !== "dispute" || !OPEN.has(object.status)) continue;
    add(open, owners.get(object.payment_intent)?.envelope_id ?? "nobody", 1);
  }
  return open;
}

function add(sums: Map<string, number>, name: string, amount: number): void {
  sums.set(name, (sums.get(name) ?? 0) + amount);
}
