/** Money that Stripe signed for and that is in no envelope yet: the owner decides where it belongs, once. */
import type { AssignBody, UnclaimedAnswer } from "../../admin/api.js";
import type { UnclaimedPayment } from "../../contract.js";
import { microsOf, openAction } from "../dialog.js";
import { type Child, el } from "../dom.js";
import { minorMoney, money, timeView } from "../format.js";
import type { Frame, Page } from "../page.js";
import { answered, badge, empty, envelopeLink, exportLinks, foreign, pager, table } from "../parts.js";

const REASONS: Readonly<Record<string, string>> = {
  malformed: "Stripe’s event was not understood",
  reference_missing: "It names no envelope",
  reference_invalid: "Its reference is not one of ours",
  link: "Paid through another link",
  mode: "Not a plain payment",
  livemode: "Test and live do not match",
  currency: "In another currency",
  amount: "The amount cannot be used",
};

const PATH = "/unclaimed";
const PAGE = 50;

export function unclaimedPage({ live, session, query, refresh }: Frame): Page {
  const asked = live.watch<UnclaimedAnswer>(() => {
    const cursor = query().get("cursor");
    return `/api/unclaimed?limit=${PAGE}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
  }, 5000);
  return {
    title: "Unclaimed payments",
    view: () => [
      el(
        "div",
        { class: "head" },
        el("h1", { tabindex: "-1" }, "Unclaimed payments"),
        exportLinks("/export/unclaimed"),
      ),
      el(
        "p",
        { class: "lead" },
        "Money that arrived, signed by Stripe, and could not be put into an envelope by itself. Nothing is lost: say where it belongs.",
      ),
      el(
        "section",
        { class: "card flush" },
        answered(asked, ({ unclaimed }) => list(unclaimed, session.readOnly ? undefined : refresh)),
      ),
      pager(PATH, query(), asked.value?.next ?? null, ["Oldest", "Newer"]),
    ],
  };
}

function list(payments: readonly UnclaimedPayment[], after: (() => void) | undefined): Child {
  if (payments.length === 0) return empty("check", "Every payment is in an envelope", "There is nothing to decide.");
  return table<UnclaimedPayment>({
    label: "Unclaimed payments",
    rows: payments,
    key: ({ payment_id }) => payment_id,
    columns: [
      {
        head: "Payment",
        at: "lead",
        cell: ({ payment_id, livemode }) =>
          el("div", { class: "two-lines" }, foreign(payment_id, "mono"), livemode ? null : badge("test", "warn")),
      },
      {
        head: "Paid",
        kind: "num",
        at: "value",
        cell: ({ amount_total, currency }) => minorMoney(amount_total, currency),
      },
      { head: "Why", kind: "grow", at: "text", cell: whyView },
      { head: "When", kind: "wide", at: "more", cell: ({ at_ms }) => timeView(at_ms) },
      {
        head: el("span", { class: "hidden" }, "Action"),
        kind: "end",
        at: "end",
        cell: (payment) => (after === undefined ? null : assignButton(payment, after)),
      },
    ],
  });
}

function whyView({ reason, client_reference_id, assigned_to }: UnclaimedPayment): Child {
  return el(
    "div",
    { class: "two-lines" },
    REASONS[reason] === undefined ? foreign(reason) : el("span", { title: reason }, REASONS[reason]),
    client_reference_id === null ? null : foreign(client_reference_id, "mono faint"),
    assigned_to === null ? null : el("span", null, badge("Not finished", "warn"), " to ", envelopeLink(assigned_to)),
  );
}

function assignButton(payment: UnclaimedPayment, after: () => void): Child {
  const label = `Assign ${payment.payment_id}`;
  return el(
    "button",
    { type: "button", class: "button small", "aria-label": label, onclick: () => assign(payment, after) },
    "Assign",
  );
}

function assign({ payment_id, facts, amount_total, currency, assigned_to }: UnclaimedPayment, after: () => void): void {
  const known = facts === null ? undefined : money(facts.credit_micros);
  openAction<{ readonly outcome: string }>({
    title: "Assign the payment",
    intro: ["Payment ", el("bdi", { class: "mono" }, payment_id), " of ", minorMoney(amount_total, currency), "."],
    fields: [
      {
        name: "envelope",
        label: "Envelope",
        kind: "text",
        initial: assigned_to ?? "",
        hint: "Its id, or its client_reference_id.",
      },
      {
        name: "amount",
        label: "Worth",
        kind: "money",
        optional: known !== undefined,
        hint:
          known === undefined
            ? "Stripe’s own amount could not be used: say what it is worth."
            : `Empty: ${known}, as Stripe says.`,
      },
      { name: "reason", label: "Reason", kind: "reason", hint: "Kept in the envelope’s audit for good." },
    ],
    restate: (values) => [
      "Envelope ",
      el("bdi", { class: "mono wrap" }, values["envelope"] ?? ""),
      " is credited ",
      el("strong", null, values["amount"] ? money(microsOf(values) ?? 0) : (known ?? "")),
      ". A payment can be assigned once.",
    ],
    verb: () => "Assign",
    path: `/api/unclaimed/${encodeURIComponent(payment_id)}/assign`,
    body: (values): AssignBody => {
      const amount = values["amount"] ? microsOf(values) : undefined;
      return {
        envelopeId: values["envelope"] ?? "",
        ...(amount === undefined ? {} : { amount_micros: amount }),
        reason: values["reason"] ?? "",
      };
    },
    done: () => "The payment was credited.",
    after,
  });
}
