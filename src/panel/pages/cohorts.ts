/** Who came when, and who stayed. */
import type { CohortRow } from "../../contract.js";
import { type Child, el } from "../dom.js";
import { count, money } from "../format.js";
import { withQuery } from "../page.js";
import { choices, empty } from "../parts.js";

const FIGURES = [
  ["active", "Active"],
  ["spent", "Spent"],
  ["credited", "Paid in"],
] as const;
type Figure = (typeof FIGURES)[number][0];

const MONTHS_MAX = 12;
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric", timeZone: "UTC" });

const indexOf = (month: string): number => Number(month.slice(0, 4)) * 12 + Number(month.slice(5, 7)) - 1;
const nameOf = (month: string): string => MONTH.format(new Date(`${month}-01T00:00:00Z`));

function figureOf(row: CohortRow, figure: Figure): number {
  if (figure === "active") return row.active;
  return figure === "spent" ? row.spent_micros : row.credited_micros;
}

/** Each against its own cohort, so that who stayed is seen in small ones, too. */
function mostOf(rows: readonly CohortRow[], figure: Figure): ReadonlyMap<string, number> {
  const most = new Map<string, number>();
  for (const row of rows) most.set(row.cohort, Math.max(most.get(row.cohort) ?? 1, figureOf(row, figure)));
  return most;
}

export function cohortsView(all: readonly CohortRow[], query: URLSearchParams): Child {
  // Who never topped up is in no cohort.
  const rows = all.filter(({ cohort }) => cohort !== "");
  if (rows.length === 0)
    return empty("overview", "No cohorts yet", "Envelopes are grouped by the month of their first top-up.");
  const figure = FIGURES.find(([name]) => name === query.get("cohort"))?.[0] ?? "active";
  const cohorts = [...new Set(rows.map(({ cohort }) => cohort))].sort().slice(-MONTHS_MAX);
  const age = (row: CohortRow) => indexOf(row.month) - indexOf(row.cohort);
  const ages = Math.min(MONTHS_MAX, 1 + Math.max(0, ...rows.map(age)));
  const columns = Array.from({ length: ages }, (_, index) => index);
  const most = mostOf(rows, figure);
  const text = figure === "active" ? count : money;
  const cell = (cohort: string, months: number): Child => {
    const row = rows.find((one) => one.cohort === cohort && age(one) === months);
    const value = row === undefined ? 0 : figureOf(row, figure);
    if (row === undefined || value === 0) return el("td", { key: months, class: "num" }, row === undefined ? "" : "–");
    return el(
      "td",
      {
        key: months,
        class: "num heat",
        css: { "--heat": `${Math.round(6 + (34 * value) / (most.get(cohort) ?? 1))}%` },
      },
      text(value),
    );
  };
  return [
    choices(
      "Figure of the cohorts",
      FIGURES.map(([name, label]) => ({
        text: label,
        path: withQuery("", query, { cohort: name === "active" ? undefined : name }),
        current: name === figure,
      })),
    ),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cohorts" },
      el(
        "table",
        { class: "cohorts" },
        el(
          "thead",
          null,
          el(
            "tr",
            null,
            el("th", { scope: "col" }, "First top-up"),
            columns.map((months) =>
              el("th", { key: months, scope: "col", class: "num" }, months === 0 ? "Month 0" : `+${months}`),
            ),
          ),
        ),
        el(
          "tbody",
          null,
          cohorts.map((cohort) =>
            el(
              "tr",
              { key: cohort },
              el("th", { scope: "row" }, nameOf(cohort)),
              columns.map((months) => cell(cohort, months)),
            ),
          ),
        ),
      ),
    ),
  ];
}
