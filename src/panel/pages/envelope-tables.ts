/** What an envelope holds, as tables. */
import type { EnvelopeAnswer, KeyView, PaymentView } from "../../admin/api.js";
import { type AuditLine, type Entry, type HoldView, isSpending, type WindowView } from "../../contract.js";
import { type Child, el } from "../dom.js";
import { ago, count, minorMoney, timeView } from "../format.js";
import { amount, badge, empty, foreign, table } from "../parts.js";
import { type Acting, refundCharge, refundPayment } from "./actions.js";
import { kindBadge } from "./entries.js";

export function entriesTable(acting: Acting, entries: readonly Entry[], dim: boolean): Child {
  if (entries.length === 0) return empty("envelopes", "No entries", "There is nothing on this page.");
  return table<Entry>({
    label: "Ledger",
    dim,
    rows: entries,
    key: ({ seq }) => seq,
    columns: [
      { head: "No.", kind: "num faint wide", cell: ({ seq }) => count(seq) },
      { head: "What", cell: ({ kind }) => kindBadge(kind) },
      { head: "Amount", kind: "num", cell: ({ amount_micros }) => amount(amount_micros, true) },
      { head: "Balance", kind: "num", cell: ({ balance_micros }) => amount(balance_micros) },
      { head: "Reason", kind: "grow", cell: reasonOf },
      { head: "When", kind: "wide", cell: ({ at_ms }) => timeView(at_ms) },
      { head: el("span", { class: "hidden" }, "Action"), kind: "end", cell: (entry) => giveBack(acting, entry) },
    ],
  });
}

/** The keys of an owner's own actions name nothing that anybody else knows. */
function reasonOf({ kind, reason, ref_seq, payment_id, key, spender }: Entry): Child {
  const by = spender === null ? null : `by ${spender}`;
  const more = payment_id ?? (ref_seq === null ? (isSpending(kind) ? (by ?? key) : null) : `of no. ${ref_seq}`);
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
        cell: ({ payment_id, livemode }) =>
          el("span", { class: "row" }, foreign(payment_id, "mono"), livemode ? null : badge("test", "warn")),
      },
      { head: "State", cell: ({ state }) => badge(state, tones[state] ?? "calm") },
      { head: "Paid", kind: "num", cell: ({ amount_total, currency }) => minorMoney(amount_total, currency) },
      { head: "Credit", kind: "num", cell: ({ credit_micros }) => amount(credit_micros) },
      {
        head: "Taken back",
        kind: "num wide",
        cell: ({ reversed_micros }) => (reversed_micros === 0 ? "–" : amount(reversed_micros)),
      },
      { head: "When", kind: "wide", cell: ({ at_ms }) => timeView(at_ms) },
      { head: el("span", { class: "hidden" }, "Action"), kind: "end", cell: (payment) => sendBack(acting, payment) },
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
  const left = (at_ms: number) =>
    at_ms <= Date.now()
      ? "now"
      : `in ${ago(0, at_ms - Date.now())
          .replace(" ago", "")
          .replace("just now", "seconds")}`;
  return table<HoldView>({
    label: "Holds",
    rows: holds,
    key: ({ hold_id }) => hold_id,
    columns: [
      { head: "Hold", kind: "num faint", cell: ({ hold_id }) => count(hold_id) },
      { head: "Amount", kind: "num", cell: ({ amount_micros }) => amount(amount_micros) },
      { head: "Reason", kind: "grow", cell: ({ reason }) => (reason === null ? "–" : foreign(reason)) },
      { head: "Since", kind: "wide", cell: ({ at_ms }) => timeView(at_ms) },
      { head: "Expires", kind: "num", cell: ({ expires_at_ms }) => left(expires_at_ms) },
    ],
  });
}

function windowsTable(windows: readonly WindowView[]): Child {
  return table<WindowView>({
    label: "Windows",
    rows: windows,
    key: ({ window_id }) => window_id,
    columns: [
      { head: "Window", kind: "grow", cell: periodText },
      { head: "Limit", kind: "num", cell: ({ limit_micros }) => amount(limit_micros) },
      { head: "Spent", kind: "num", cell: ({ spent_micros }) => amount(spent_micros) },
      { head: "Held", kind: "num wide", cell: ({ held_micros }) => amount(held_micros) },
      { head: "Left", kind: "num", cell: ({ remaining_micros }) => amount(remaining_micros) },
      {
        head: "Resets",
        kind: "wide",
        cell: ({ resets_at_ms }) => (resets_at_ms === null ? "–" : timeView(resets_at_ms)),
      },
    ],
  });
}

function periodText({ unit, every, alignment, time_zone }: WindowView): Child {
  const period = every === 1 ? unit.toLowerCase() : `${every} × ${unit.toLowerCase()}`;
  return el("span", { title: time_zone }, `${period}, ${alignment}`);
}

export function limitsView({ windows, keys }: EnvelopeAnswer): Child {
  const noWindows = empty("overview", "No windows", "No spending limits over time are set on this envelope.");
  if (keys.length > 0) return el("div", null, windows.length > 0 ? windowsTable(windows) : null, keysTable(keys));
  return el(
    "div",
    { class: "halves" },
    windows.length > 0 ? windowsTable(windows) : noWindows,
    empty(
      "keyboard",
      "No keys",
      "No API keys were made for this envelope, and no identity is authorised to spend from it.",
    ),
  );
}

function keysTable(keys: readonly KeyView[]): Child {
  const tones = { active: "good", pending: "calm", expired: "warn", revoked: "bad" } as const;
  return table<KeyView>({
    label: "Keys",
    rows: keys,
    key: ({ id }) => id,
    columns: [
      { head: "Key", kind: "grow", cell: nameOf },
      { head: "State", cell: ({ status }) => badge(status, tones[status] ?? "calm") },
      { head: "May", kind: "wide", cell: ({ scopes }) => scopes.join(", ") },
      {
        head: "Spent",
        kind: "num",
        cell: ({ spent_micros, refunded_micros }) => amount((spent_micros - refunded_micros) as typeof spent_micros),
      },
      {
        head: "Left",
        kind: "num",
        cell: ({ remaining_micros }) => (remaining_micros === null ? "–" : amount(remaining_micros)),
      },
      {
        head: "Last used",
        kind: "wide",
        cell: ({ last_used_at_ms }) => (last_used_at_ms === null ? "never" : timeView(last_used_at_ms)),
      },
    ],
  });
}

/** Of an identity nothing is known but its id: what it is was never kept. */
function nameOf({ id, kind, minted, last4, name }: KeyView): Child {
  const what = minted ? `we_k1_${ELLIPSIS}${last4}` : kind.toLowerCase().replace("_", " ");
  return el(
    "div",
    { class: "two-lines" },
    name === null ? foreign(what, "mono") : foreign(name),
    foreign(name === null ? id : `${what} ${id}`, "mono faint"),
  );
}

const ELLIPSIS = "\u2026";

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
      { head: "No.", kind: "num faint wide", cell: ({ audit_id }) => count(audit_id) },
      { head: "What", cell: ({ action }) => badge(action, "calm") },
      { head: "Reason", kind: "grow", cell: ({ reason }) => (reason === null ? "–" : foreign(reason)) },
      {
        head: "Before → after",
        kind: "wide",
        cell: ({ before, after }) => foreign(`${before ?? "–"} → ${after ?? "–"}`, "mono faint"),
      },
      { head: "Who", cell: ({ actor }) => foreign(actor) },
      { head: "When", kind: "wide", cell: ({ at_ms }) => timeView(at_ms) },
    ],
  });
}
