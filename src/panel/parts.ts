/** Pieces that several pages are made of. */
import { BASE } from "./api.js";
import { type Child, el, type Props, type VNode } from "./dom.js";
import { moneyView } from "./format.js";
import { type IconName, icon } from "./icons.js";
import type { Watched } from "./live.js";
import { withQuery } from "./page.js";

const TITLE_MAX = 1000;

/** Text from elsewhere: isolated from the direction of what is around it, cut to one line, whole when pointed at. */
export function foreign(text: string, className = ""): VNode {
  const title = text.length > TITLE_MAX ? `${text.slice(0, TITLE_MAX)}…` : text;
  return el("bdi", { class: `clip ${className}`, title }, title);
}

/** A link inside the panel. */
export function link(path: string, props: Props, ...children: Child[]): VNode {
  return el("a", { href: BASE + path, ...props }, children);
}

const SHORT = 12;

export function shortId(id: string): string {
  return id.length <= SHORT + 2 ? id : `${id.slice(0, SHORT)}…`;
}

export function envelopeLink(id: string, props: Props = {}): VNode {
  return link(
    `/envelopes/${encodeURIComponent(id)}`,
    { class: "mono", title: id, ...props },
    el("bdi", null, shortId(id)),
  );
}

/** How much of a limit is used, as a bar. The figures beside it say the same. */
export function meter(parts: readonly (readonly [tone: string, micros: number])[], limit: number): VNode {
  const whole = Math.max(limit, 1);
  return el(
    "div",
    { class: "meter", "aria-hidden": "true" },
    parts.map(([tone, micros], index) =>
      el("i", { key: index, class: tone, css: { "--part": `${Math.max(0, Math.min(100, (100 * micros) / whole))}%` } }),
    ),
  );
}

export type Tone = "good" | "bad" | "warn" | "calm" | "accent";

export function badge(text: string, tone: Tone = "calm", title?: string): VNode {
  return el("span", { class: `badge ${tone}`, title }, text);
}

export interface CardInput {
  readonly title: Child;
  readonly note?: Child;
  readonly actions?: Child;
  readonly wide?: string;
  readonly key?: string;
  readonly heading?: string;
}

export function card(input: CardInput, ...children: Child[]): VNode {
  return el(
    "section",
    { class: `card ${input.wide ?? ""}`, ...(input.key === undefined ? {} : { key: input.key }) },
    el(
      "header",
      { class: "card-head" },
      el("div", null, el("h2", null, input.title), input.note ? el("p", { class: "note" }, input.note) : null),
      input.actions ? el("div", { class: "row" }, input.actions) : null,
    ),
    children,
  );
}

export interface Column<Row> {
  readonly head: Child;
  readonly cell: (row: Row) => Child;
  /** `num` to the right, `wide` only where there is room, `grow` takes what is left. */
  readonly kind?: string;
  /** Where it goes on a phone, in a table that stacks there: `lead value` in the first line, then `text`, then `more` and `end`. */
  readonly at?: "lead" | "value" | "text" | "more" | "end";
}

export interface TableInput<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly key: (row: Row, index: number) => string | number;
  /** Opened when its row is clicked anywhere. */
  readonly open?: (row: Row) => void;
  readonly dim?: boolean;
  /** It may be long: its box scrolls, under its heads. */
  readonly tall?: boolean;
}

/** A table in a box of its own, so that only the box scrolls. */
export function table<Row>({ label, columns, rows, key, open, dim, tall }: TableInput<Row>): VNode {
  const stacks = columns.some(({ at }) => at !== undefined);
  // A table that is no table to the eye stays one to a screen reader.
  const role = (name: string) => (stacks ? { role: name } : {});
  const row = (item: Row, index: number): VNode =>
    el(
      "tr",
      {
        key: key(item, index),
        ...role("row"),
        class: open ? "opens" : "",
        onclick: open && ((event: MouseEvent) => rowClick(event, () => open(item))),
      },
      columns.map(({ head, cell, kind, at }) =>
        el(
          "td",
          {
            ...role("cell"),
            class: `${kind ?? ""} ${at === undefined ? "" : `at-${at}`}`.trim(),
            "data-head": at === "more" && typeof head === "string" && head !== "When" ? head : null,
          },
          cell(item),
        ),
      ),
    );
  return el(
    "div",
    { class: `scroll ${dim ? "dim" : ""} ${tall ? "tall" : ""}`, tabindex: "0", role: "region", "aria-label": label },
    el(
      "table",
      { ...role("table"), class: stacks ? "stacked" : null },
      el(
        "thead",
        role("rowgroup"),
        el(
          "tr",
          role("row"),
          columns.map(({ head, kind }) => el("th", { scope: "col", ...role("columnheader"), class: kind ?? "" }, head)),
        ),
      ),
      el("tbody", role("rowgroup"), rows.map(row)),
    ),
  );
}

/** Not when a link or a button in it was meant, or text was marked. */
function rowClick(event: MouseEvent, open: () => void): void {
  const { target } = event;
  if (target instanceof Element && target.closest("a, button") !== null) return;
  if (getSelection()?.isCollapsed === false) return;
  open();
}

export function empty(name: IconName, title: string, ...more: Child[]): VNode {
  return el("div", { class: "empty" }, icon(name), el("p", { class: "empty-title" }, title), el("p", null, more));
}

export function skeleton(lines = 4): VNode {
  const bars = Array.from({ length: lines }, (_, index) => el("div", { class: "bone", key: index }));
  return el("div", { class: "skeleton", role: "status", "aria-label": "Loading" }, bars);
}

/** What a question came to: its view, a skeleton until there is an answer, or why there is none. */
export function answered<T>(watched: Watched<T>, view: (value: T) => Child, lines = 4): Child {
  if (watched.value !== undefined) return view(watched.value);
  if (watched.problem === undefined) return skeleton(lines);
  return el(
    "div",
    { class: "failed", role: "alert" },
    el("p", null, watched.problem),
    el("button", { type: "button", class: "button", onclick: () => watched.reload() }, "Try again"),
  );
}

export function amount(micros: number, signed = false): VNode {
  const tone = micros < 0 ? "minus" : signed && micros > 0 ? "plus" : "";
  return el("span", { class: `amount ${tone}` }, signed && micros > 0 ? "+" : null, moneyView(micros));
}

export interface Choice {
  readonly text: string;
  readonly path: string;
  readonly current: boolean;
}

/** A row of links of which one is current. */
export function choices(label: string, items: readonly Choice[]): VNode {
  return el(
    "nav",
    { class: "segments", "aria-label": label },
    items.map(({ text, path, current }) =>
      link(path, { key: text, "aria-current": current ? "true" : null, "data-replace": "" }, text),
    ),
  );
}

/** To the first page and to the next; nothing where there is one only. Back is the browser's own. */
export function pager(
  path: string,
  query: URLSearchParams,
  next: string | null,
  words: readonly [string, string],
): Child {
  const later = query.get("cursor") !== null;
  if (next === null && !later) return null;
  const to = (cursor: string | undefined) => withQuery(path, query, { cursor });
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    later ? link(to(undefined), { class: "button", key: "first" }, words[0]) : null,
    next === null ? null : link(to(next), { class: "button", key: "next", rel: "next" }, words[1]),
  );
}

export function copyButton(text: string, what: string): VNode {
  return el(
    "button",
    {
      type: "button",
      class: "icon-button",
      title: `Copy ${what}`,
      "aria-label": `Copy ${what}`,
      onclick: (event: MouseEvent) => void copy(text, event.currentTarget as HTMLElement),
    },
    icon("copy"),
  );
}

export async function copy(text: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
    announce("Copied.");
  } catch {
    announce("Copying is not allowed here. Mark the text and copy it.");
  }
}

/** A short word at the edge, also read out. */
export function announce(text: string): void {
  const toast = document.getElementById("toast");
  if (toast === null) return;
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(Number(toast.dataset["timer"] ?? 0));
  toast.dataset["timer"] = String(setTimeout(() => toast.classList.remove("shown"), 5000));
}

export function exportLinks(path: string, query = ""): VNode {
  const one = (kind: string) =>
    el(
      "a",
      { class: "button small", href: `${BASE}/api${path}.${kind}${query}`, download: "" },
      icon("download"),
      kind.toUpperCase(),
    );
  return el("span", { class: "row exports" }, one("csv"), one("jsonl"));
}
