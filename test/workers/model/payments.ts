/** The model's payments: every word that was ever taken in is kept, and what is due is computed anew from all of them. */
import type { PaymentFacts, Reversal } from "../../../src/contract.js";

const RANK = ["pending", "failed", "paid"];

/** Of one object: the furthest its money has moved, and what the latest word said of the rest. */
export function joined(words: readonly Reversal[]): Reversal | undefined {
  const [latest] = words.toSorted(
    (one, other) => other.told_at - one.told_at || other.status_rank - one.status_rank || other.amount - one.amount,
  );
  if (latest === undefined) return undefined;
  const has = (field: "whole" | "freezes") => words.some((word) => word[field]);
  return { ...latest, rank: Math.max(...words.map(({ rank }) => rank)), whole: has("whole"), freezes: has("freezes") };
}

export class Payment {
  readonly facts: PaymentFacts[] = [];
  readonly words: Reversal[] = [];
  disowned = false;
  /** Disputes that freeze no longer, because the owner opened the envelope meanwhile. */
  readonly lifted = new Set<string>();

  get known(): PaymentFacts | undefined {
    return this.facts.at(-1);
  }
  get paid(): boolean {
    return this.known?.state === "paid";
  }

  climbs({ state }: PaymentFacts): boolean {
    return RANK.indexOf(state) > RANK.indexOf(this.known?.state ?? "");
  }

  isNews(word: Reversal): boolean {
    const before = this.words.filter(({ reversal_id }) => reversal_id === word.reversal_id);
    return JSON.stringify(sorted(joined(before))) !== JSON.stringify(sorted(joined([...before, word])));
  }

  get reversals(): readonly Reversal[] {
    const ids = new Set(this.words.map(({ reversal_id }) => reversal_id));
    return [...ids].flatMap((id) => joined(this.words.filter(({ reversal_id }) => reversal_id === id)) ?? []);
  }

  get open(): readonly Reversal[] {
    return this.paid ? this.reversals.filter(({ open }) => open) : [];
  }

  get freezes(): boolean {
    return this.open.some(({ freezes, reversal_id }) => freezes && !this.lifted.has(reversal_id));
  }

  hear(word: Reversal): void {
    this.words.push(word);
    const { reversal_id } = word;
    if (!this.reversals.find((one) => one.reversal_id === reversal_id)?.open) this.lifted.delete(reversal_id);
  }

  lift(): void {
    for (const { freezes, reversal_id } of this.open) if (freezes) this.lifted.add(reversal_id);
  }

  /** What of the credit is away now. */
  get due(): bigint {
    if (this.known === undefined || !this.paid) return 0n;
    const [credit, total] = [BigInt(this.known.credit_micros), BigInt(this.known.amount_total)];
    const away = this.reversals.filter(({ kind, rank }) =>
      kind === "refund" ? rank !== 3 : kind === "dispute" && rank % 2 === 1,
    );
    const sumOf = (of: string) =>
      away.reduce((all, { kind, amount, whole }) => all + (kind === of ? (whole ? total : BigInt(amount)) : 0n), 0n);
    const unheard = this.#checked - sumOf("refund");
    const sum = sumOf("refund") + (unheard > 0n ? unheard : 0n) + sumOf("dispute");
    return sum > total ? credit : (credit * sum) / total;
  }

  /** The charge's own total of what was refunded, less what came back at its time or since. */
  get #checked(): bigint {
    const total = this.reversals.find(({ kind }) => kind === "check");
    if (total === undefined) return 0n;
    const failed = this.reversals.filter(
      ({ kind, rank, told_at }) => kind === "refund" && rank === 3 && told_at >= total.told_at,
    );
    return failed.reduce((left, { amount }) => left - BigInt(amount), BigInt(total.amount));
  }
}

const sorted = (reversal: Reversal | undefined) => reversal && Object.entries(reversal).toSorted();
