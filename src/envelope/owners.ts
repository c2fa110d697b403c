/** What owners did to one envelope: the audit, and refunds that Stripe was asked for. Rows only; the rules are in audit.ts and below. */
import { type AuditedAction, auditLines, writeAudit } from "../audit-rows.js";
import type { AuditLine, Author, PaymentFacts, PaymentLine, Reversal, StripeRefund } from "../contract.js";

import { isWhole, refundedByCheck } from "./payments.js";

export interface StoredRefund {
  readonly attempt: string;
  readonly asked_all: boolean;
  readonly at_ms: number;
  readonly refund: StripeRefund;
}

export class OwnersBook {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** In the transaction of what it tells of. */
  audit(by: Author, action: AuditedAction, now_ms: number): void {
    writeAudit(this.#sql, by, action, now_ms);
  }

  /** What was so after the action that this key was used for. */
  done(key: string | undefined): unknown {
    if (key === undefined) return undefined;
    const [row] = this.#sql.exec("SELECT after FROM audit WHERE key = ?", key).toArray();
    return row === undefined ? undefined : JSON.parse(String(row["after"]));
  }

  /** Whether the reason is the one that this key was used with. */
  isReason(key: string | undefined, by: Author | undefined): boolean {
    const [row] = this.#sql.exec("SELECT reason FROM audit WHERE key = ?", key ?? null).toArray();
    return by === undefined || row?.["reason"] === by.reason;
  }

  lines(before: number | null, limit: number): readonly AuditLine[] {
    return auditLines(this.#sql, before, limit);
  }

  payments(
    before: { readonly at_ms: number; readonly payment_id: string } | null,
    limit: number,
  ): readonly PaymentLine[] {
    return this.#sql
      .exec(
        `SELECT payment_id, state, credit_micros, reversed_micros, currency, amount_total, livemode, at_ms FROM payment
         WHERE (at_ms, payment_id) < (?, ?) ORDER BY at_ms DESC, payment_id DESC LIMIT ?`,
        before?.at_ms ?? Number.MAX_SAFE_INTEGER,
        before?.payment_id ?? "",
        limit,
      )
      .toArray()
      .map((row) => ({ ...row, livemode: row["livemode"] === 1 })) as unknown as PaymentLine[];
  }

  refundByKey(key: string): StoredRefund | undefined {
    const [row] = this.#sql.exec("SELECT * FROM stripe_refund WHERE key = ?", key).toArray();
    return row && toRefund(row);
  }

  /** But those that Stripe never answered and may have forgotten: what became of them its webhook told, and a new one may be made. */
  refundsOf(payment_id: string, now_ms: number): readonly StripeRefund[] {
    return this.#sql
      .exec(
        "SELECT * FROM stripe_refund WHERE payment_id = ? AND (refund_id IS NOT NULL OR status IS NOT NULL OR at_ms >= ?)",
        payment_id,
        now_ms - STRIPE_KEY_MS,
      )
      .toArray()
      .map((row) => toRefund(row).refund);
  }

  beginRefund(
    one: { readonly attempt: string; readonly key: string; readonly asked_all: boolean; readonly refund: StripeRefund },
    now_ms: number,
  ): void {
    const { payment_id, amount, livemode } = one.refund;
    this.#sql.exec(
      "INSERT INTO stripe_refund (attempt, key, payment_id, amount, asked_all, livemode, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      one.attempt,
      one.key,
      payment_id,
      amount,
      one.asked_all ? 1 : 0,
      livemode ? 1 : 0,
      now_ms,
    );
  }

  /** What Stripe answered. An answer that names a refund is never overwritten by one that does not. */
  noteRefund(attempt: string, refund_id: string | null, status: string, code: string | null): void {
    this.#sql.exec(
      "UPDATE stripe_refund SET refund_id = ?2, status = ?3, code = ?4 WHERE attempt = ?1 AND (refund_id IS NULL OR ?2 IS NOT NULL)",
      attempt,
      refund_id,
      status,
      code,
    );
  }
}

function toRefund(row: Record<string, SqlStorageValue>): StoredRefund {
  const { attempt, key, asked_all, at_ms, ...refund } = row;
  return {
    attempt: attempt as string,
    asked_all: asked_all === 1,
    at_ms: at_ms as number,
    refund: { ...refund, livemode: row["livemode"] === 1 } as unknown as StripeRefund,
  };
}

/** What can still be sent back of a payment, in minor units: what Stripe told us of is gone, and what we asked for counts before Stripe tells. Pure. */
export function refundableOf(
  { payment, reversals }: { readonly payment?: PaymentFacts | undefined; readonly reversals: readonly Reversal[] },
  asked: readonly StripeRefund[],
): number {
  const told = reversals.filter(({ kind, rank }) => kind === "refund" && rank !== REFUND_FAILED);
  // A refund in a currency that is not the payment's own: how much is left of it nobody can tell.
  if (payment?.state !== "paid" || told.some((one) => isWhole(one, payment))) return 0;
  const named = told.reduce((sum, { amount }) => sum + amount, 0);
  // A charge's own running total, which may be ahead of the refunds that we heard of one by one.
  const total = refundedByCheck(reversals);
  const known = new Set(reversals.filter(({ kind }) => kind === "refund").map(({ reversal_id }) => reversal_id));
  // Made, told of by the webhook, and its answer to us lost: it is one refund, and not two.
  const ours = new Set(asked.map(({ refund_id }) => refund_id));
  const unnamed = told.filter(({ reversal_id }) => !ours.has(reversal_id)).map(({ amount }) => amount);
  const isTold = ({ refund_id, status, amount }: StripeRefund): boolean => {
    if (refund_id !== null) return known.has(refund_id);
    const at = status === null ? unnamed.indexOf(amount) : -1;
    if (at !== -1) unnamed.splice(at, 1);
    return at !== -1;
  };
  const open = asked
    .filter((one) => !FAILED.has(one.status ?? "") && !isTold(one))
    .reduce((sum, { amount }) => sum + amount, 0);
  return Math.max(0, payment.amount_total - Math.max(named + open, total));
}

const REFUND_FAILED = 3;

/** Nothing left, or came back. */
const FAILED = new Set(["rejected", "failed", "canceled"]);

/** Stripe keeps idempotency keys for a day. */
export const STRIPE_KEY_MS = 23 * 3_600_000;
