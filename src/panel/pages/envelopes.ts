/** All envelopes: found, ordered, paged. */
import type { EnvelopesAnswer } from "../../admin/api.js";
import type { EnvelopeSummary } from "../../contract.js";
import { type Child, el, type VNode } from "../dom.js";
import { agoView } from "../format.js";
import type { Watched } from "../live.js";
import { type Frame, type Page, withQuery } from "../page.js";
import {
  amount,
  answered,
  badge,
  type Column,
  choices,
  empty,
  exportLinks,
  foreign,
  link,
  pager,
  table,
} from "../parts.js";

const ORDERS = [
  ["recent", "Recent"],
  ["spent", "Most spent"],
  ["balance", "Balance"],
] as const;

const PAGE = 50;
const PATH = "/envelopes";

export function envelopesPage(frame: Frame): Page {
  const order = () => ORDERS.find(([name]) => name === frame.query().get("order"))?.[0] ?? "recent";
  const asked = frame.live.watch<EnvelopesAnswer>(() => {
    const query = frame.query();
    const question = new URLSearchParams({ order: order(), limit: String(PAGE) });
    for (const name of ["search", "cursor"]) {
      const value = query.get(name);
      if (value !== null) question.set(name, value);
    }
    return `/api/envelopes?${question}`;
  }, 5000);
  return { title: "Envelopes", view: () => view(frame, asked, order()) };
}

function view(frame: Frame, asked: Watched<EnvelopesAnswer>, order: string): Child {
  const query = frame.query();
  const search = query.get("search");
  const orders = ORDERS.map(([name, text]) => ({
    text,
    path: withQuery(PATH, query, { order: name === "recent" ? undefined : name, cursor: undefined }),
    current: name === order,
  }));
  return [
    el(
      "div",
      { class: "head" },
      el("h1", { tabindex: "-1" }, "Envelopes"),
      search === null ? choices("Order", orders) : null,
    ),
    search === null
      ? null
      : el(
          "p",
          { class: "filter" },
          "Found for ",
          el("bdi", { class: "clip mono", title: search }, search),
          link(PATH, { class: "button small" }, "Show all"),
        ),
    el(
      "section",
      { class: "card flush" },
      answered(asked, ({ envelopes }) => list(frame, envelopes, asked.outdated, search), 8),
    ),
    asked.value === undefined ? null : pager(PATH, query, asked.value.next, ["First page", "Next page"]),
    el("div", { class: "foot" }, el("span", { class: "note" }, "All envelopes"), exportLinks("/export/envelopes")),
  ];
}

const COLUMNS: readonly Column<EnvelopeSummary>[] = [
  {
    head: "Envelope",
    kind: "grow",
    at: "lead",
    cell: ({ envelope_id, name, frozen, budget, applied_seq, head_seq }) =>
      el(
        "span",
        { class: "row" },
        nameLink(envelope_id, name),
        frozen ? badge("Frozen", "warn") : null,
        budget ? badge("Budget", "accent") : null,
        head_seq > applied_seq
          ? badge("Catching up", "calm", `${head_seq - applied_seq} entries have not arrived yet`)
          : null,
      ),
  },
  { head: "Balance", kind: "num", at: "value", cell: ({ balance_micros }) => amount(balance_micros) },
  { head: "Spent", kind: "num", at: "more", cell: ({ spent_micros }) => amount(spent_micros) },
  { head: "Paid in", kind: "num wide", at: "more", cell: ({ credited_micros }) => amount(credited_micros) },
  { head: "Granted", kind: "num wide", at: "more", cell: ({ granted_micros }) => amount(granted_micros) },
  {
    head: "Last entry",
    kind: "num wide",
    at: "more",
    cell: ({ last_at_ms }) => (last_at_ms === 0 ? "none yet" : agoView(last_at_ms)),
  },
];

/** The whole id where there is room for it. */
function nameLink(id: string, name: string | null): Child {
  const path = `${PATH}/${encodeURIComponent(id)}`;
  if (name === null) return link(path, { class: "mono clip", title: id }, el("bdi", null, id));
  return el(
    "span",
    { class: "two-lines" },
    link(path, { class: "clip", title: name }, el("bdi", null, name)),
    foreign(id, "mono faint"),
  );
}

function list(frame: Frame, envelopes: readonly EnvelopeSummary[], outdated: boolean, search: string | null): Child {
  if (envelopes.length === 0) return nothing(search);
  return table({
    label: "Envelopes",
    columns: COLUMNS,
    rows: envelopes,
    key: ({ envelope_id }) => envelope_id,
    open: ({ envelope_id }) => frame.go(`${PATH}/${encodeURIComponent(envelope_id)}`),
    dim: outdated,
  });
}

function nothing(search: string | null): VNode {
  if (search === null)
    return empty("envelopes", "No envelopes yet", "An envelope appears here as soon as money is put into one.");
  return empty(
    "search",
    "Nothing found",
    "Search for the beginning of a name or an id, a whole client_reference_id, or a payment’s id (pi_…).",
  );
}
