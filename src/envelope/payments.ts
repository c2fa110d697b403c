/**
 * The rules of payments: what Stripe's words do to an account. Pure, like ledger.ts.
 *
 * Stripe sends the same news several times, in any order, under different events. So each Stripe object has one state that
 * only climbs, states are joined, and what reaches the ledger is only the difference between what is due now and what was
 * booked before. A payment that is paid is worth its credit, once; refunds and withdrawn disputes take it back in
 * proportion, never more than it gave, below zero if need be.
 */
import type { PaymentFacts, PaymentOutcome, PaymentReport, PaymentState, Reversal } from "../contract.js";
import { addMicros, currencyOf, type Micros, ZERO } from "../money.js";
import { type Account, balances, type Draft } from "./ledger.js";

/** All that is known of one payment. */
export interface PaymentFile {
  readonly payment: PaymentFacts | undefined;
  readonly reversals: readonly Reversal[];
  /** What was taken back so far. */
  readonly reversed_micros: Micros;
  /** Given up in this assignment, so that it could be credited elsewhere: nothing of it is booked here, but by a later one. */
  readonly disowned: number | null;
}

export const NO_FILE: PaymentFile = { payment: undefined, reversals: [], reversed_micros: ZERO, disowned: null };

const PAYMENT_RANK: Readonly<Record<PaymentState, number>> = { pending: 1, failed: 2, paid: 3 };

/** The higher state of a payment. The facts of `paid` stay those of the first report: later ones say the same, or are wrong. */
export function climb(known: PaymentFacts | undefined, told: PaymentFacts): PaymentFacts {
  return known !== undefined && PAYMENT_RANK[known.state] >= PAYMENT_RANK[told.state] ? known : told;
}

/** Joins two states of one object: commutative, associative and idempotent, so that order and number do not matter. */
export function joinReversal(known: Reversal | undefined, told: Reversal): Reversal {
  if (known === undefined) return told;
  const later = isLater(told, known) ? told : known;
  const [currency] = [known.currency, told.currency].filter((one) => one != null).sort();
  return {
    ...later,
    ...(currency !== undefined && { currency }),
    rank: Math.max(known.rank, told.rank),
    whole: known.whole || told.whole,
    freezes: known.freezes || told.freezes,
  };
}

/** By time, then by how far the status had come; the amount only breaks ties, so that the order of arrival never does. */
function isLater(one: Reversal, other: Reversal): boolean {
  if (one.told_at !== other.told_at) return one.told_at > other.told_at;
  if (one.status_rank !== other.status_rank) return one.status_rank > other.status_rank;
  return one.amount > other.amount;
}

const REFUND_FAILED = 3;

/** Whether the object's money is away now: a refund that has not failed, a dispute whose last move was a withdrawal. */
function isTaken({ kind, rank }: Reversal): boolean {
  if (kind === "refund") return rank < REFUND_FAILED;
  return kind === "dispute" && rank % 2 === 1;
}

/** A part of the payment is known only where both amounts are in one currency: a bank may dispute in the card's own. */
export function isWhole({ currency, whole }: Reversal, payment: PaymentFacts): boolean {
  return currency == null ? whole : currency !== (payment.paid_currency ?? payment.currency);
}

/**
 * What a charge's own running total says was refunded, as of its latest word. A refund that failed since then is taken off again:
 * Stripe lowers the total without a word. Where both are of one second it is taken off, too, so that a doubt is the holder's.
 */
export function refundedByCheck(reversals: readonly Reversal[]): number {
  const failed = reversals.filter(({ kind, rank }) => kind === "refund" && rank >= REFUND_FAILED);
  const claims = reversals
    .filter(({ kind }) => kind === "check")
    .map((check) =>
      failed
        .filter(({ told_at }) => told_at >= check.told_at)
        .reduce((left, { amount }) => left - amount, check.amount),
    );
  return Math.max(0, ...claims);
}

/** In a currency that says what part of the payment it is; `all` where it does not. */
function awayMinor(payment: PaymentFacts, reversals: readonly Reversal[]): bigint | "all" {
  const away = reversals.filter(isTaken);
  const checked = refundedByCheck(reversals);
  const checks = checked > 0 ? reversals.filter(({ kind }) => kind === "check") : [];
  if ([...away, ...checks].some((one) => isWhole(one, payment))) return "all";
  const sum = (of: Reversal["kind"]): bigint =>
    away.filter(({ kind }) => kind === of).reduce((minor, { amount }) => minor + BigInt(amount), 0n);
  const refunded = sum("refund");
  // The same money, told twice: whichever heard of more, and never both.
  return (refunded > BigInt(checked) ? refunded : BigInt(checked)) + sum("dispute");
}

/**
 * What of a payment's credit is to be taken back: the part of the payment that is away, of the credit, rounded down except
 * at the end, where it is exactly the rest. Computed from the sum and not per refund, so any number of partial refunds adds up.
 */
export function reversedDue(payment: PaymentFacts, reversals: readonly Reversal[]): Micros {
  const { credit_micros, amount_total } = payment;
  const minor = awayMinor(payment, reversals);
  if (minor === 0n) return ZERO;
  if (minor === "all") return credit_micros;
  const credit = BigInt(credit_micros);
  // Assigned by an owner, of a payment whose total Stripe never told: of what it is a part is unknown, what it is worth is not.
  const due = amount_total === 0 ? worthOf(minor, payment) : (credit * minor) / BigInt(amount_total);
  return Number(due < credit ? due : credit) as Micros;
}

/** An amount of Stripe's at its face value, in micros; all there is where the currency is none that we know. */
function worthOf(minor: bigint, { currency, credit_micros }: PaymentFacts): bigint {
  const known = currencyOf(currency);
  return known === undefined ? BigInt(credit_micros) : minor * BigInt(known.microsPerMinorUnit);
}

export type PaymentDecision =
  | { readonly outcome: PaymentOutcome }
  /** File what changed, append the entries, all in one transaction. */
  | {
      /** Due, and past what a balance can be: filed, and not booked yet. */
      readonly unbooked_micros?: Micros;
      readonly file: Pick<PaymentFile, "reversed_micros"> & Pick<PaymentReport, "payment" | "reversal">;
      readonly writes: readonly Draft[];
    };

export function decidePayment(account: Account, known: PaymentFile, report: PaymentReport): PaymentDecision {
  const now = balances(account);
  if (known.disowned !== null && !((report.assignment ?? 0) > known.disowned))
    return { outcome: { outcome: "disowned", ...now } };
  const payment = report.payment === undefined ? known.payment : climb(known.payment, report.payment);
  const before = known.reversals.find(({ reversal_id }) => reversal_id === report.reversal?.reversal_id);
  const reversal = report.reversal && joinReversal(before, report.reversal);
  const newPayment = payment !== known.payment ? payment : undefined;
  const newReversal = reversal !== undefined && !isSame(reversal, before) ? reversal : undefined;
  const reversals =
    newReversal === undefined ? known.reversals : [...known.reversals.filter((one) => one !== before), newReversal];
  const due = payment?.state === "paid" ? reversedDue(payment, reversals) : ZERO;
  const moves_micros = (known.reversed_micros - due) as Micros;
  const credit_micros = newPayment?.state === "paid" ? newPayment.credit_micros : ZERO;
  const fits = isBookable(account, credit_micros, moves_micros);
  // What was filed and did not fit is booked with whatever is heard of the payment once it does.
  if (newPayment === undefined && newReversal === undefined && (moves_micros === 0 || !fits))
    return { outcome: { ...unchanged(known, report), ...now } };

  // A payment that failed before anything else was heard of it leaves nothing behind.
  if (newPayment?.state === "failed" && known.payment === undefined) return { outcome: { outcome: "failed", ...now } };
  // News of a refund or dispute is filed whatever the currency: it moves nothing unless its payment is credited here.
  if (newPayment !== undefined && account.currency !== null && account.currency !== report.currency) {
    return { outcome: { outcome: "uncreditable", reason: "currency", ...now } };
  }
  const becamePaid = newPayment?.state === "paid";
  if (becamePaid && !isCreditable(account, newPayment)) {
    return { outcome: { outcome: "uncreditable", reason: "amount", ...now } };
  }
  const writes: Draft[] = [];
  if (becamePaid)
    writes.push({ kind: "topup", amount_micros: newPayment.credit_micros, payment_id: report.payment_id });
  if (moves_micros !== 0 && fits) {
    writes.push({
      kind: moves_micros < 0 ? "clawback" : "reinstatement",
      amount_micros: moves_micros,
      payment_id: report.payment_id,
      reason: causeOf(reversals, newReversal),
    });
  }
  return {
    // The news is filed in any case: Stripe says it once, and an amount that does not fit may fit later.
    ...(!fits && { unbooked_micros: moves_micros }),
    file: {
      reversed_micros: fits ? due : known.reversed_micros,
      ...(newPayment === undefined ? {} : { payment: newPayment }),
      ...(newReversal === undefined ? {} : { reversal: newReversal }),
    },
    writes,
  };
}

/** Refunds and disputes touch what was paid, never what was given: that must be a safe amount, too. */
function isBookable({ balance_micros, given_micros = ZERO }: Account, credit: Micros, moves: Micros): boolean {
  const paid = (balance_micros - given_micros + credit) as Micros;
  return addMicros((balance_micros + credit) as Micros, moves) !== undefined && addMicros(paid, moves) !== undefined;
}

/** For the owner's figures: what was told now, else the worst of what waited. */
function causeOf(reversals: readonly Reversal[], told: Reversal | undefined): "dispute" | "refund" {
  const causes = told === undefined || told.kind === "warning" ? reversals : [told];
  return causes.some(({ kind, rank }) => kind === "dispute" && rank > 0) ? "dispute" : "refund";
}

function isCreditable(account: Account, payment: PaymentFacts): boolean {
  return payment.credit_micros > 0 && addMicros(account.balance_micros, payment.credit_micros) !== undefined;
}

function unchanged(
  known: PaymentFile,
  report: PaymentReport,
): { readonly outcome: "duplicate" | "pending" | "failed" } {
  const { payment } = report;
  if (payment === undefined || known.payment?.state === "paid") return { outcome: "duplicate" };
  return { outcome: payment.state === "pending" ? "pending" : "failed" };
}

function isSame(one: Reversal, other: Reversal | undefined): boolean {
  return (
    other !== undefined &&
    (Object.keys(one) as (keyof Reversal)[]).every((field) => (one[field] ?? null) === (other[field] ?? null))
  );
}
