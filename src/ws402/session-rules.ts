/** The rules of ws402 sessions and what is owed after them. Pure: no this, no I/O, no clock. */
import type { RefundStatus } from "./protocol.js";

/** Where a session stands in storage. It only ever moves down this list. */
export type SessionState = "open" | "ended";

/** `verifying`: the provider is being asked. `paid`: it counts; what of it is owed back is in `refund_micros`. */
export type PaymentStatus = "verifying" | "paid";

export interface StoredSession {
  readonly session_id: string;
  readonly user_id: string;
  readonly resource_id: string;
  readonly currency: string;
  /** The envelope the money comes from; `null` where a provider took it. */
  readonly envelope_id: string | null;
  readonly price_micros: number;
  readonly paid_micros: number;
  readonly consumed_micros: number;
  readonly open_ms: number;
  readonly bytes: number;
  readonly messages: number;
  readonly started_at_ms: number;
  readonly ended_at_ms: number | null;
  readonly end_reason: string | null;
  readonly state: SessionState;
  /** Heard of again before this, or it has ended. */
  readonly lease_until_ms: number;
}

export interface StoredPayment {
  readonly payment_ref: string;
  readonly session_id: string;
  readonly proof: string;
  readonly status: PaymentStatus;
  readonly amount_micros: number;
  readonly refund_micros: number;
  readonly refunded_at_ms: number | null;
  readonly refund_id: string | null;
  readonly attempts: number;
  readonly next_at_ms: number | null;
  readonly error: string | null;
}

export interface Progress {
  readonly consumed_micros: number;
  readonly open_ms: number;
  readonly bytes: number;
  readonly messages: number;
}

/** What is known only ever grows: a word that was late takes nothing back. Of an envelope, more may have come while it was open. */
export function progressed(session: StoredSession, told: Progress): Progress & { readonly paid_micros: number } {
  const { envelope_id, paid_micros } = session;
  const told_micros = envelope_id === null ? Math.min(told.consumed_micros, paid_micros) : told.consumed_micros;
  return {
    paid_micros: Math.max(paid_micros, told_micros),
    consumed_micros: Math.max(session.consumed_micros, told_micros),
    open_ms: Math.max(session.open_ms, told.open_ms),
    bytes: Math.max(session.bytes, told.bytes),
    messages: Math.max(session.messages, told.messages),
  };
}

/** A session that was not heard of in time has ended, whether or not an alarm came to say so. */
export function isOver(session: StoredSession, now_ms: number): boolean {
  return session.state === "ended" || session.lease_until_ms <= now_ms;
}

/** What of each payment is owed back, the newest first; together exactly what was not consumed. */
export function refundsOf(
  payments: readonly Pick<StoredPayment, "payment_ref" | "amount_micros">[],
  consumed_micros: number,
): ReadonlyMap<string, number> {
  let left = payments.reduce((sum, { amount_micros }) => sum + amount_micros, 0) - consumed_micros;
  const refunds = new Map<string, number>();
  for (const { payment_ref, amount_micros } of [...payments].reverse()) {
    const back = Math.max(0, Math.min(left, amount_micros));
    if (back > 0) refunds.set(payment_ref, back);
    left -= back;
  }
  return refunds;
}

export function refundStatusOf(session: StoredSession, payments: readonly StoredPayment[]): RefundStatus {
  const unused = session.paid_micros - session.consumed_micros;
  if (unused === 0) return "none";
  if (session.envelope_id !== null) return "released";
  const owed = payments.filter(({ refund_micros }) => refund_micros > 0);
  return owed.every(({ refunded_at_ms }) => refunded_at_ms !== null) ? "issued" : "pending";
}

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 3_600_000;

/** A refund that failed is tried again, for ever: the money is not ours. */
export function retryAt_ms(attempts: number, now_ms: number): number {
  return now_ms + Math.min(RETRY_FIRST_MS * 2 ** Math.min(attempts, 30), RETRY_MAX_MS);
}

export type Access = "granted" | "ended" | "other_resource" | "unknown";

/** Whether a token of the HTTP mode opens a resource now. */
export function decideAccess(session: StoredSession | undefined, resource_id: string, now_ms: number): Access {
  if (session === undefined) return "unknown";
  if (isOver(session, now_ms)) return "ended";
  return session.resource_id === resource_id ? "granted" : "other_resource";
}
