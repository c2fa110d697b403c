/** What is told of an envelope, in main units with exact micros beside them, and times as ISO 8601. */
import type { Entry, EnvelopeState, TopUp, UsageRecord } from "../../contract.js";
import { formatMain, type Micros } from "../../money.js";
import type * as schemas from "./schemas.js";
import type { Of } from "./typed.js";

export function isoOf(at_ms: number): string {
  return new Date(at_ms).toISOString();
}

/** JSON that an entry keeps; what is no JSON is told as the text it is. */
function parsed(text: string | null): unknown {
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function entryView(entry: Entry): Of<typeof schemas.entry> {
  const { seq, kind, amount_micros, balance_micros, key, ref_seq, reason } = entry;
  return {
    seq,
    at: isoOf(entry.at_ms),
    kind,
    amount: formatMain(amount_micros),
    amount_micros,
    balance: formatMain(balance_micros),
    balance_micros,
    key,
    refSeq: ref_seq,
    reason,
    metadata: parsed(entry.metadata) as Of<typeof schemas.entry>["metadata"],
  };
}

export function topUpView(topup: TopUp): Of<typeof schemas.topUp> {
  const { topup_id, origin, status, amount_micros, currency, payment_id, failure } = topup;
  return {
    id: topup_id,
    origin,
    status,
    at: isoOf(topup.at_ms),
    amount: formatMain(amount_micros),
    amount_micros,
    currency,
    paymentIntentId: payment_id,
    failure,
  };
}

export function usageView(record: UsageRecord): Of<typeof schemas.usageRecord> {
  const { status, number, at_ms, amount_micros, detail, key, spender_id, metadata } = record;
  return {
    id: status === "SUCCESS" ? `entry-${number}` : `refusal-${number}`,
    status,
    at: isoOf(at_ms),
    amount: formatMain(amount_micros),
    amount_micros,
    detail,
    requestId: key?.startsWith("usage:") ? key.slice("usage:".length) : null,
    identityId: spender_id,
    metadata: parsed(metadata) as Of<typeof schemas.usageRecord>["metadata"],
  };
}

export function stateWord({ frozen }: Pick<EnvelopeState, "frozen">): "active" | "frozen" {
  return frozen ? "frozen" : "active";
}

export function moneyOf(micros: Micros): string {
  return formatMain(micros);
}
