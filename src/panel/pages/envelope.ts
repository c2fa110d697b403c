/** One envelope, asked of itself: exact now. */
import type { AuditAnswer, EntriesAnswer, EnvelopeAnswer, PaymentsAnswer } from "../../admin/api.js";
import { type Child, el, type VNode } from "../dom.js";
import { agoView, count, counted, moneyView } from "../format.js";
import type { Watched } from "../live.js";
import { type Frame, type Page, withQuery } from "../page.js";
import { answered, badge, card, copyButton, exportLinks, foreign, link, pager, shortId } from "../parts.js";
import { type Acting, freezeButton, grantButton, rotateButton } from "./actions.js";
import { auditTable, entriesTable, holdsTable, lotsTable, paymentsTable } from "./envelope-tables.js";
import { limitsCards } from "./limits.js";

const TABS = [
  ["", "Ledger"],
  ["payments", "Payments"],
  ["grants", "Grants"],
  ["holds", "Holds"],
  ["limits", "Windows and keys"],
  ["audit", "Audit"],
] as const;
type Tab = (typeof TABS)[number][0];

const PAGE = 50;

interface Asked {
  readonly envelope: Watched<EnvelopeAnswer>;
  readonly entries: Watched<EntriesAnswer>;
  readonly payments: Watched<PaymentsAnswer>;
  readonly audit: Watched<AuditAnswer>;
}

export function envelopePage(frame: Frame, id: string): Page {
  const tab = (): Tab => TABS.find(([name]) => name === frame.query().get("tab"))?.[0] ?? "";
  const api = `/api/envelopes/${encodeURIComponent(id)}`;
  const page = (name: Tab, list: string) => () => {
    if (tab() !== name) return undefined;
    const cursor = frame.query().get("cursor");
    return `${api}/${list}?limit=${PAGE}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
  };
  const { live } = frame;
  const asked: Asked = {
    envelope: live.watch(() => api, 3000),
    entries: live.watch(page("", "entries"), 3000),
    payments: live.watch(page("payments", "payments"), 5000),
    audit: live.watch(page("audit", "audit"), 5000),
  };
  return { title: `Envelope ${shortId(id)}`, view: () => view(frame, id, tab(), asked) };
}

function view(frame: Frame, id: string, tab: Tab, asked: Asked): Child {
  const { envelope } = asked;
  const back = link("/envelopes", { class: "back" }, "Envelopes");
  if (envelope.value === undefined && envelope.status === 404) {
    const text = "No money was ever put into it, or there is no such envelope.";
    return [
      back,
      el("h1", { tabindex: "-1" }, "No such envelope"),
      el("div", { class: "failed", role: "alert" }, el("p", null, foreign(id, "mono")), el("p", null, text)),
    ];
  }
  const acting: Acting = { id, session: frame.session, envelope: envelope.value, after: () => frame.live.reload() };
  return [
    back,
    el(
      "div",
      { class: "head" },
      el("div", { class: "ids" }, title(envelope.value?.name ?? null, id), copyButton(id, "the envelope’s id")),
      frame.session.readOnly
        ? null
        : el("div", { class: "row" }, grantButton(acting), freezeButton(acting), rotateButton(acting)),
    ),
    answered(envelope, (value) => [flags(value), figures(value)], 5),
    tabs(frame, id, tab, envelope.value),
    tab === "limits"
      ? el(
          "div",
          { class: "stack", key: "tab-limits" },
          answered(envelope, (value) => limitsCards(acting, value)),
        )
      : card(
          { title: TABS.find(([name]) => name === tab)?.[1] ?? "", key: `tab-${tab}`, wide: "flush", note: notes(tab) },
          content(tab, acting, asked),
        ),
    pages(frame, id, tab, asked),
    el(
      "div",
      { class: "foot" },
      link(`/${encodeURIComponent(id)}`, {}, "Look into its database"),
      el(
        "span",
        { class: "row" },
        el("span", { class: "note" }, "Ledger"),
        exportLinks(`/envelopes/${encodeURIComponent(id)}/entries`),
      ),
    ),
  ];
}

function notes(tab: Tab): string {
  if (tab === "") return "Newest first";
  if (tab === "audit") return "What the owner did to it; each line seals the one before";
  if (tab === "grants")
    return "What is left of them, in the order in which it is spent; what was paid is spent beside it";
  return tab === "holds" ? "Reserved for work whose price is not known yet" : "";
}

function content(tab: Tab, acting: Acting, { envelope, entries, payments, audit }: Asked): Child {
  switch (tab) {
    case "payments":
      return answered(payments, (value) => paymentsTable(acting, value.payments, payments.outdated));
    case "holds":
      return answered(envelope, ({ holds }) => holdsTable(holds));
    case "grants":
      return answered(envelope, ({ lots }) => lotsTable(acting, lots));
    case "audit":
      return answered(audit, (value) => auditTable(value.audit, audit.outdated));
    default:
      return answered(entries, (value) => entriesTable(acting, value.entries, entries.outdated), 8);
  }
}

/** What the owner called it, else its id. */
function title(called: string | null, id: string): VNode {
  if (called === null) return el("h1", { tabindex: "-1", class: "mono" }, el("bdi", { class: "clip", title: id }, id));
  return el(
    "div",
    { class: "two-lines" },
    el("h1", { tabindex: "-1" }, el("bdi", { class: "clip", title: called }, called)),
    foreign(id, "mono faint"),
  );
}

function flags(envelope: EnvelopeAnswer): VNode {
  const { client_reference_id, frozen, open_disputes, autoTopUp, summary, prepaid, owner_account_id } = envelope;
  const behind = summary !== null && summary.head_seq > summary.applied_seq;
  return el(
    "div",
    { class: "row flags" },
    frozen ? badge(open_disputes > 0 ? "Frozen by a dispute" : "Frozen", "warn") : badge("Open", "good"),
    prepaid ? null : badge("Budget", "accent", "It has no balance: its windows alone limit it"),
    open_disputes > 0 ? badge(counted(open_disputes, "open dispute"), "bad") : null,
    autoTopUp === null
      ? null
      : badge(
          `Auto top-up: ${autoTopUp.status}${autoTopUp.stopped === null ? "" : `, ${autoTopUp.stopped}`}`,
          autoTopUp.status === "stopped" ? "warn" : "calm",
        ),
    behind ? badge("The copy is catching up", "calm") : null,
    owner_account_id === null
      ? null
      : el(
          "span",
          { class: "reference" },
          el("span", { class: "note" }, "Account "),
          foreign(owner_account_id, "mono"),
        ),
    el(
      "span",
      { class: "reference" },
      el("span", { class: "note" }, "Reference "),
      foreign(client_reference_id, "mono"),
      copyButton(client_reference_id, "the reference"),
    ),
  );
}

function figures(envelope: EnvelopeAnswer): VNode {
  const { balance_micros, available_micros, held_micros, holds, seq, summary, prepaid } = envelope;
  const one = (name: string, value: Child, note: Child, tone = "") =>
    el(
      "div",
      { class: `figure ${tone}`, key: name },
      el("h2", null, name),
      el("p", { class: "big" }, value),
      el("p", { class: "note" }, note),
    );
  return el(
    "div",
    { class: "figures" },
    one(
      prepaid ? "Balance" : "Left",
      moneyView(balance_micros),
      prepaid ? `after ${counted(seq, "entry", "entries")}` : "of its tightest window",
      balance_micros < 0 ? "negative" : "",
    ),
    one("Held", moneyView(held_micros), `${counted(holds.length, "hold")}`),
    one("Available", moneyView(available_micros), "to spend now", available_micros < 0 ? "negative" : ""),
    one(
      "Spent",
      summary === null ? "–" : moneyView(summary.spent_micros),
      summary === null ? "nothing was copied yet" : ["last entry ", agoView(summary.last_at_ms)],
    ),
  );
}

function tabs(frame: Frame, id: string, tab: Tab, envelope: EnvelopeAnswer | undefined): VNode {
  const path = `/envelopes/${encodeURIComponent(id)}`;
  return el(
    "nav",
    { class: "tabs", "aria-label": "Of this envelope" },
    TABS.map(([name, text]) =>
      link(
        withQuery(path, frame.query(), { tab: name, cursor: undefined }),
        { key: name, "aria-current": name === tab ? "page" : null, "data-replace": "" },
        text,
        counter(name, envelope),
        // Once more when the counters are known: they make the row longer.
        name === tab ? el("i", { key: `here ${envelope === undefined}`, mount: showTab }) : null,
      ),
    ),
  );
}

/** On a phone the row of tabs is longer than the screen: the one that is open is brought to where it is seen. */
function showTab(mark: HTMLElement): () => void {
  requestAnimationFrame(() => {
    const [row, tab] = [mark.closest("nav"), mark.parentElement];
    if (row === null || tab === null) return;
    const [around, own] = [row.getBoundingClientRect(), tab.getBoundingClientRect()];
    row.scrollLeft += Math.max(0, own.right - around.right) + Math.min(0, own.left - around.left);
  });
  return () => undefined;
}

function counter(tab: Tab, envelope: EnvelopeAnswer | undefined): Child {
  if (envelope === undefined) return null;
  const numbers: Partial<Record<Tab, number>> = {
    grants: envelope.lots.length,
    holds: envelope.holds.length,
    limits: envelope.windows.length + envelope.keys.filter(({ status }) => status === "active").length,
  };
  const number = numbers[tab] ?? 0;
  return number === 0 ? null : el("span", { class: "count" }, count(number));
}

function pages(frame: Frame, id: string, tab: Tab, { entries, payments, audit }: Asked): Child {
  const lists: Partial<Record<Tab, Watched<{ readonly next: string | null }>>> = { "": entries, payments, audit };
  const next = lists[tab]?.value?.next ?? null;
  return pager(`/envelopes/${encodeURIComponent(id)}`, frame.query(), next, ["Newest", "Older"]);
}
