/** What an envelope holds, as tables. */
import type { PaymentView } from "../../admin/api.js";
import { type AuditLine, type Entry, type HoldView, isSpending, type LotView } from "../../contract.js";
import { type Child, el } from "../dom.js";
import { count, minorMoney, soon, timeView } from "../format.js";
import { amount, badge, empty, foreign, meter, table } from "../parts.js";
import { type Acting, refundCharge, refundPayment, revokeGrant } from "./actions.js";
import { changesView } from "./changes.js";
import { kindBadge } from "./entries.js";

export const ACTION: Child = el("span", { class: "hidden" }, "Action");

export function entriesTable(acting: Acting, entries: readonly Entry[], dim: boolean): Child {
  if (entries.length === 0) return empty("envelopes", "No entries", "There is nothing on this page.");
  return table<Entry>({
    label: "Ledger",
    dim,
    rows: entries,
    key: ({ seq }) => seq,
    columns: [
      { head: "No.", kind: "num faint wide", at: "more", cell: ({ seq }) => count(seq) },
      { head: "What", at: "lead", cell: ({ kind }) => kindBadge(kind) },
      { head: "Amount", kind: "num", at: "value", cell: ({ amount_micros }) => amount(amount_micros, true) },
      { head: "Balance", kind: "num", at: "more", cell: ({ balance_micros }) => amount(balance_micros) },
      { head: "Reason", kind: "grow", at: "text", cell: reasonOf },
      { head: "When", kind: "wide", at: "more", cell: ({ at_ms }) => timeView(at_ms) },
      { head: ACTION, kind: "end", at: "end", cell: (entry) => giveBack(acting, entry) },
    ],
  });
}

/** The keys of an owner's own actions name nothing that anybody else knows. */
function reasonOf({ kind, reason, ref_seq, payment_id, key, spender }: Entry): Child {
  const by = spender === null ? null : `by ${spender}`;
  const more = payment_id ?? (ref_seq === null ? (isSpending(kind) ? (by ?? key) : null) : `of no. ${ref_seq}`);
  if (reason === null && more === null) return null;
  return el(
    "div",
    { class: "two-lines" },
    reason === null ? null : foreign(reason),
    more === null ? null : foreign(more, "mono faint"),
  );
}

function giveBack(acting: Acting, entry: Entry): Child {
  if (acting.session.readOnly || !isSpending(entry.kind) || entry.amount_micros === 0) return null;
  const label = `Refund charge no. ${entry.seq}`;
  return el(
    "button",
    { type: "button", class: "button small", "aria-label": label, onclick: () => refundCharge(acting, entry) },
    "Refund",
  );
}

export function paymentsTable(acting: Acting, payments: readonly PaymentView[], dim: boolean): Child {
  if (payments.length === 0) return empty("envelopes", "No payments", "Nobody paid into this envelope yet.");
  const tones = { paid: "good", pending: "calm", failed: "bad" } as const;
  return table<PaymentView>({
    label: "Payments",
    dim,
    rows: payments,
    key: ({ payment_id }) => payment_id,
    columns: [
      {
        head: "Payment",
        kind: "grow",
        at: "text",
        cell: ({ payment_id, livemode }) =>
          el("span", { class: "row" }, foreign(payment_id, "mono"), livemode ? null : badge("test", "warn")),
      },
      { head: "State", at: "lead", cell: ({ state }) => badge(state, tones[state] ?? "calm") },
      {
        head: "Paid",
        kind: "num",
        at: "value",
        cell: ({ amount_total, currency }) => minorMoney(amount_total, currency),
      },
      { head: "Credit", kind: "num", at: "more", cell: ({ credit_micros }) => amount(credit_micros) },
      {
        head: "Taken back",
        kind: "num wide",
        at: "more",
        cell: ({ reversed_micros }) => (reversed_micros === 0 ? "–" : amount(reversed_micros)),
      },
      { head: "When", kind: "wide", at: "more", cell: ({ at_ms }) => timeView(at_ms) },
      { head: ACTION, kind: "end", at: "end", cell: (payment) => sendBack(acting, payment) },
    ],
  });
}

function sendBack(acting: Acting, payment: PaymentView): Child {
  const { payment_id, state, reversed_micros, credit_micros } = payment;
  if (acting.session.readOnly || !acting.session.stripe || state !== "paid" || reversed_micros >= credit_micros)
    return null;
  const label = `Refund ${payment_id} through Stripe`;
  return el(
    "button",
    { type: "button", class: "button small", "aria-label": label, onclick: () => refundPayment(acting, payment) },
    "Refund",
  );
}

export function holdsTable(holds: readonly HoldView[]): Child {
  if (holds.length === 0)
    return empty(
      "check",
      "Nothing is held",
      "A hold appears here while work is under way whose price is not known yet.",
    );
  return table<HoldView>({
    label: "Holds",
    rows: holds,
    key: ({ hold_id }) => hold_id,
    columns: [
      { head: "Hold", kind: "num faint", at: "more", cell: ({ hold_id }) => count(hold_id) },
      { head: "Amount", kind: "num", at: "value", cell: ({ amount_micros }) => amount(amount_micros) },
      { head: "Reason", kind: "grow", at: "lead", cell: ({ reason }) => (reason === null ? "–" : foreign(reason)) },
      { head: "Since", kind: "wide", at: "more", cell: ({ at_ms }) => timeView(at_ms) },
      { head: "Expires", kind: "num", at: "more", cell: ({ expires_at_ms }) => soon(expires_at_ms) },
    ],
  });
}

export function lotsTable(acting: Acting, lots: readonly LotView[]): Child {
  if (lots.length === 0)
    return empty(
      "envelopes",
      "Nothing is left of grants",
      "What was given is listed here until it is spent or expires.",
    );
  return table<LotView>({
    label: "Grants",
    rows: lots,
    key: ({ seq }) => seq,
    columns: [
      { head: "Grant", kind: "faint", at: "lead", cell: ({ seq }) => `no. ${count(seq)}` },
      { head: "Left", kind: "num", at: "value", cell: ({ remaining_micros }) => amount(remaining_micros) },
      {
        head: "Of",
        kind: "grow",
        at: "text",
        cell: ({ granted_micros, remaining_micros, held_micros }) =>
          el(
            "div",
            { class: "two-lines fill" },
            amount(granted_micros),
            meter(
              [
                ["left", remaining_micros - held_micros],
                ["held", held_micros],
              ],
              granted_micros,
            ),
          ),
      },
      { head: "Only for", at: "more", cell: ({ only }) => (only === null ? "anything" : foreign(only, "mono")) },
      { head: "Priority", kind: "num wide", at: "more", cell: ({ priority }) => count(priority) },
      {
        head: "Expires",
        at: "more",
        cell: ({ expires_at_ms }) => (expires_at_ms === null ? "never" : timeView(expires_at_ms)),
      },
      { head: ACTION, kind: "end", at: "end", cell: (lot) => revoke(acting, lot) },
    ],
  });
}

function revoke(acting: Acting, lot: LotView): Child {
  if (acting.session.readOnly) return null;
  const label = `Revoke grant no. ${lot.seq}`;
  return el(
    "button",
    { type: "button", class: "button small", "aria-label": label, onclick: () => revokeGrant(acting, lot) },
    "Revoke",
  );
}

export function auditTable(lines: readonly AuditLine[], dim: boolean, of = "this envelope"): Child {
  if (lines.length === 0)
    return empty(
      "check",
      "Nothing to account for",
      `What you do to ${of} is written down here, with who did it and why.`,
    );
  return table<AuditLine>({
    label: "Audit",
    dim,
    rows: lines,
    key: ({ audit_id }) => audit_id,
    columns: [
      { head: "No.", kind: "num faint wide", at: "more", cell: ({ audit_id }) => count(audit_id) },
      { head: "What", at: "lead", cell: ({ action }) => badge(action, "calm") },
      { head: "Reason", kind: "grow", at: "text", cell: ({ reason }) => (reason === null ? "–" : foreign(reason)) },
      { head: "Change", kind: "grow", at: "text", cell: ({ before, after }) => changesView(before, after) },
      { head: "Who", at: "more", cell: ({ actor }) => foreign(actor) },
      { head: "When", at: "more", cell: ({ at_ms }) => timeView(at_ms) },
    ],
  });
}
