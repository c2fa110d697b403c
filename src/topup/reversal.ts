/**
 * What a refund, a dispute or a fraud warning means for the payment it is about. Pure. They name the payment and not the
 * envelope; the directory knows whose it is. An unknown status or type is ignored, never thrown on.
 */
import type { Reversal } from "../contract.js";
import { idOf, isObject, type Json, minor, rowOf } from "./json.js";
import { type CreditRules, IGNORE, isOtherMode, type Meaning } from "./payment.js";

/** A failed or cancelled refund gives us the money back, so it undoes what its creation took. */
const REFUND_RANK: Readonly<Record<string, number>> = {
  pending: 1,
  requires_action: 1,
  succeeded: 2,
  failed: 3,
  canceled: 3,
};

/** In the order a dispute goes through them. An inquiry (`warning_…`) moves nothing and freezes nothing. */
const DISPUTE_STATUS: Readonly<Record<string, { readonly rank: number; readonly open: boolean }>> = {
  warning_needs_response: { rank: 1, open: false },
  warning_under_review: { rank: 2, open: false },
  warning_closed: { rank: 3, open: false },
  prevented: { rank: 3, open: false },
  needs_response: { rank: 4, open: true },
  under_review: { rank: 5, open: true },
  won: { rank: 6, open: false },
  lost: { rank: 6, open: false },
  appeal_needs_response: { rank: 7, open: true },
  appeal_under_review: { rank: 8, open: true },
};

/** How many times money has moved, as the event's own name implies; the object's list of balance transactions may say more. */
const DISPUTE_MOVES: Readonly<Record<string, number>> = {
  "charge.dispute.created": 0,
  "charge.dispute.updated": 0,
  "charge.dispute.closed": 0,
  "charge.dispute.funds_withdrawn": 1,
  "charge.dispute.funds_reinstated": 2,
};

type Reader = (
  event: Json,
  object: Json,
  rules: CreditRules,
) =>
  | (Omit<Reversal, "reversal_id" | "told_at" | "currency" | "whole" | "freezes"> & { readonly told_at?: number })
  | undefined;

const refund: Reader = (_event, object) => {
  const rank = rowOf(REFUND_RANK, object["status"]);
  const amount = minor(object["amount"]);
  if (rank === undefined || amount === undefined) return undefined;
  return { kind: "refund", rank, amount, open: false, status_rank: rank };
};

/**
 * One that Stripe has yet to invent. Where its money went is told apart from it, and counts all the same; for the rest it is older
 * than all else that is told, so that it neither freezes nor unfreezes.
 */
const UNKNOWN_STATUS = { rank: 0, open: false, told_at: 0 } as const;

/** How often money moved: away and back in turn. Several of one sign are one move, as where a fee is listed beside it. */
function movesListed(transactions: unknown): number {
  if (!Array.isArray(transactions)) return 0;
  const signs = transactions.map((one) => (isObject(one) ? Math.sign(Number(one["amount"])) : Number.NaN));
  // None that we can read: Stripe lists one for each move.
  if (signs.some(Number.isNaN)) return signs.length;
  return signs.filter((sign) => sign !== 0).filter((sign, at, all) => sign !== all[at - 1]).length;
}

const dispute: Reader = (event, object) => {
  const known = rowOf(DISPUTE_STATUS, object["status"]);
  const amount = minor(object["amount"]);
  const rank = Math.max(DISPUTE_MOVES[String(event["type"])] ?? 0, movesListed(object["balance_transactions"]));
  if (amount === undefined || (known === undefined && rank === 0)) return undefined;
  const { rank: status_rank, open, ...more } = known ?? UNKNOWN_STATUS;
  return { kind: "dispute", rank, amount, open, status_rank, ...more };
};

/** The earliest sign of fraud. Moves nothing; kept, because a card it names must not open doors. */
const warning: Reader = () => ({ kind: "warning", rank: 0, amount: 0, open: false, status_rank: 0 });

/** Cumulative, and fired for each refund: counts where it is above the refunds that we were told of one by one. */
const check: Reader = (_event, object) => {
  const amount = minor(object["amount_refunded"]);
  return amount === undefined ? undefined : { kind: "check", rank: 0, amount, open: false, status_rank: 0 };
};

export const REVERSALS: Readonly<Record<string, Reader>> = {
  "refund.created": refund,
  "refund.updated": refund,
  "refund.failed": refund,
  "charge.refunded": check,
  "charge.dispute.created": dispute,
  "charge.dispute.updated": dispute,
  "charge.dispute.funds_withdrawn": dispute,
  "charge.dispute.funds_reinstated": dispute,
  "charge.dispute.closed": dispute,
  "radar.early_fraud_warning.created": warning,
};

export function readReversal(event: Json, object: Json, rules: CreditRules): Meaning {
  const payment_id = idOf(object["payment_intent"]);
  const told_at = minor(event["created"]);
  const read = REVERSALS[String(event["type"])]?.(event, object, rules);
  // A charge without a PaymentIntent cannot be one of ours.
  if (payment_id === undefined || told_at === undefined || read === undefined) return IGNORE;
  if (isOtherMode(event, rules)) return IGNORE;
  const currency = object["currency"];
  const reversal: Reversal = {
    told_at,
    ...read,
    reversal_id: String(object["id"]),
    // What part of the payment it is, the envelope knows: an owner may have assigned one in another currency.
    currency: typeof currency === "string" ? currency.slice(0, 8) : null,
    whole: typeof currency === "string" && currency !== rules.currency.code,
    freezes: read.kind === "dispute" && rules.onDispute === "freeze",
  };
  return {
    kind: "reversal",
    event_id: String(event["id"]),
    report: { payment_id, currency: rules.currency.code, reversal },
  };
}
