/** Looks into one database, the aggregate's or an envelope's: its tables, and one statement that reads. */
import type { QueryBody, QueryResult } from "../../admin/api.js";
import { messageOf, post } from "../api.js";
import { type Child, el, type VNode } from "../dom.js";
import { count, counted } from "../format.js";
import type { Frame, Page } from "../page.js";
import { card, empty, foreign, link, shortId, skeleton, table } from "../parts.js";

type Row = QueryResult["rows"][number];

interface State {
  tables: readonly string[] | undefined;
  tablesProblem: string | undefined;
  table: string | undefined;
  offset: number;
  result: QueryResult | undefined;
  problem: string | undefined;
  busy: boolean;
}

const AGGREGATE = "admin-readonly";
const PAGE = 100;
const TABLES =
  "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' ORDER BY name";

interface Answer {
  readonly result?: unknown;
  readonly error?: unknown;
}

async function query(id: string, statement: string): Promise<QueryResult> {
  const body: QueryBody = { type: "query", statement };
  const answer = await post<Answer>(`/${encodeURIComponent(id)}`, body);
  if (answer.error !== undefined && answer.error !== null) throw new Error(textOf(answer.error));
  return answer.result as QueryResult;
}

function textOf(error: unknown): string {
  if (typeof error === "string") return error;
  const { message } = error as { readonly message?: unknown };
  return typeof message === "string" ? message : JSON.stringify(error);
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export function databasePage(frame: Frame, id: string): Page {
  const state: State = {
    tables: undefined,
    tablesProblem: undefined,
    table: undefined,
    offset: 0,
    result: undefined,
    problem: undefined,
    busy: false,
  };
  const run = async (statement: string) => {
    state.busy = true;
    state.problem = undefined;
    frame.draw();
    try {
      state.result = await query(id, statement);
    } catch (error) {
      state.result = undefined;
      state.problem = messageOf(error);
    }
    state.busy = false;
    frame.draw();
  };
  const browse = (name: string, offset: number) => {
    state.table = name;
    state.offset = offset;
    const statement = `SELECT * FROM ${quoted(name)} LIMIT ${PAGE} OFFSET ${offset}`;
    const input = document.getElementById("statement");
    if (input instanceof HTMLTextAreaElement) input.value = statement;
    void run(statement);
  };
  const listTables = async () => {
    try {
      state.tables = (await query(id, TABLES)).rows.map(({ name }) => String(name));
    } catch (error) {
      state.tablesProblem = messageOf(error);
    }
    frame.draw();
  };
  void listTables();
  return { title: "Database", view: () => view(frame, id, state, { run, browse }) };
}

interface Doing {
  readonly run: (statement: string) => void;
  readonly browse: (name: string, offset: number) => void;
}

function view(frame: Frame, id: string, state: State, doing: Doing): Child {
  const whole = id === AGGREGATE;
  const envelope = /^e1_([0-9A-Za-z]{22})_/.exec(id)?.[1] ?? id;
  return [
    el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Database"), otherForm(frame)),
    el(
      "p",
      { class: "lead" },
      whole
        ? "The mirror: a copy of every entry, for reports. Reading only; whatever a statement does is rolled back."
        : [
            "Envelope ",
            link(
              `/envelopes/${encodeURIComponent(envelope)}`,
              { class: "mono", title: envelope },
              el("bdi", null, shortId(envelope)),
            ),
            ". Reading only. ",
            link(`/${AGGREGATE}`, {}, "To the mirror"),
          ],
    ),
    el(
      "div",
      { class: "grid database" },
      card({ title: "Tables", key: "tables" }, tablesView(state, doing)),
      el("div", { class: "stack", key: "work" }, statementCard(doing, state), resultCard(state, doing)),
    ),
  ];
}

function otherForm(frame: Frame): VNode {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const id = String(new FormData(event.currentTarget as HTMLFormElement).get("id") ?? "").trim();
    if (id !== "") frame.go(`/${encodeURIComponent(id)}`);
  };
  return el(
    "form",
    { class: "row other", onsubmit: submit },
    el("input", {
      name: "id",
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      pattern: "[A-Za-z0-9_\\-]{1,200}",
      placeholder: "Envelope or reference",
      "aria-label": "Open the database of an envelope, by its id or reference",
    }),
    el("button", { type: "submit", class: "button" }, "Open"),
  );
}

function tablesView({ tables, tablesProblem, table: current }: State, { browse }: Doing): Child {
  if (tablesProblem !== undefined) return el("p", { class: "problem", role: "alert" }, el("bdi", null, tablesProblem));
  if (tables === undefined) return skeleton(5);
  if (tables.length === 0) return empty("database", "No tables", "Nothing was stored here.");
  return el(
    "ul",
    { class: "tables" },
    tables.map((name) =>
      el(
        "li",
        { key: name },
        el(
          "button",
          { type: "button", "aria-pressed": String(name === current), onclick: () => browse(name, 0) },
          el("bdi", { class: "clip mono", title: name }, name),
        ),
      ),
    ),
  );
}

function statementCard({ run }: Doing, { busy }: State): VNode {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const statement = String(new FormData(event.currentTarget as HTMLFormElement).get("statement") ?? "").trim();
    if (statement !== "") run(statement);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
      (event.currentTarget as HTMLTextAreaElement).form?.requestSubmit();
  };
  return card(
    {
      title: "Statement",
      note: "One that reads. Amounts are micros, times are milliseconds since 1970.",
      key: "statement",
    },
    el(
      "form",
      { class: "form", onsubmit: submit },
      el("textarea", {
        id: "statement",
        name: "statement",
        class: "mono",
        rows: "3",
        spellcheck: "false",
        autocapitalize: "off",
        "aria-label": "SQL statement",
        placeholder: "SELECT …",
        onkeydown: keys,
      }),
      el(
        "div",
        { class: "buttons start" },
        el("button", { type: "submit", class: "button primary", disabled: busy }, busy ? "Running…" : "Run"),
        el("span", { class: "note" }, "Ctrl + Enter"),
      ),
    ),
  );
}

function resultCard(state: State, doing: Doing): Child {
  const { result, problem, busy } = state;
  if (problem !== undefined)
    return el(
      "section",
      { class: "card", key: "problem" },
      el("p", { class: "problem", role: "alert" }, el("bdi", { class: "wrap" }, problem)),
    );
  if (result === undefined) return busy ? el("section", { class: "card", key: "busy" }, skeleton()) : null;
  const { headers, rows, stat, truncated } = result;
  const note = `${counted(rows.length, "row")}, ${count(stat.rowsRead)} read, ${count(Math.round(stat.queryDurationMs))} ms`;
  return card(
    { title: "Result", note, wide: "flush", key: "result" },
    truncated
      ? el("p", { class: "banner calm" }, `There is more: only the first ${counted(rows.length, "row")} are shown.`)
      : null,
    rows.length === 0
      ? empty("database", "No rows", "The statement was right, and found nothing.")
      : table<Row>({
          label: "Result",
          dim: busy,
          tall: true,
          rows,
          key: (_row, index) => index,
          columns: headers.map(({ name, displayName }) => ({
            head: el("bdi", null, displayName),
            kind: rows.every((row) => typeof row[name] === "number") ? "num" : "",
            cell: (row: Row) => cellView(row[name]),
          })),
        }),
    pager(state, doing),
  );
}

function cellView(value: string | number | null | undefined): Child {
  if (value === null || value === undefined) return el("span", { class: "faint" }, "null");
  return typeof value === "number" ? el("span", { class: "mono" }, String(value)) : foreign(value, "mono cell");
}

function pager({ table: name, offset, result }: State, { browse }: Doing): Child {
  if (name === undefined || result === undefined) return null;
  const more = result.rows.length === PAGE;
  if (offset === 0 && !more) return null;
  return el(
    "div",
    { class: "pager in" },
    offset > 0
      ? el(
          "button",
          { type: "button", class: "button", key: "before", onclick: () => browse(name, Math.max(0, offset - PAGE)) },
          "Before",
        )
      : null,
    more
      ? el(
          "button",
          { type: "button", class: "button", key: "more", onclick: () => browse(name, offset + PAGE) },
          "More",
        )
      : null,
  );
}
