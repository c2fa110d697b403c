/** Sessions as they are told: of what is stored, in the session's currency. Pure. */
import type { Unit } from "./amounts.js";
import type { RefundDetails, WS402Paths, WS402Session } from "./config.js";
import type { SessionEnded } from "./protocol.js";
import type { StoredSession } from "./session-rules.js";
import type { Receipt } from "./sessions.js";

/** With its proof for the app's own callbacks, and for nobody else. */
export function sessionOf(session: StoredSession, unit: Unit, paymentProof?: unknown): WS402Session {
  return {
    sessionId: session.session_id,
    userId: session.user_id,
    startTime: session.started_at_ms,
    paidAmount: unit.toNumber(session.paid_micros),
    consumedAmount: unit.toNumber(session.consumed_micros),
    elapsedSeconds: Math.floor(session.open_ms / 1000),
    bytesTransferred: session.bytes,
    messageCount: session.messages,
    status: session.state === "open" ? "active" : "ended",
    ...(paymentProof !== undefined && { paymentProof }),
    pricePerSecond: unit.toNumber(session.price_micros),
    currency: session.currency,
    resourceId: session.resource_id,
    _resourceId: session.resource_id,
  };
}

export function refundOf({ sessionId }: WS402Session, amount: number, id?: string): RefundDetails {
  return { sessionId, amount, reason: "unused_balance", timestamp: Date.now(), ...(id !== undefined && { id }) };
}

export function endedOf(receipt: Receipt, unit: Unit, paths: WS402Paths): SessionEnded {
  const { session, refund_micros, refund_status } = receipt;
  return {
    sessionId: session.session_id,
    reason: session.end_reason ?? "active",
    consumedAmount: unit.toNumber(session.consumed_micros),
    refundAmount: unit.toNumber(refund_micros),
    refundStatus: refund_status,
    receiptUrl: `${paths.session}/${session.session_id}`,
  };
}
