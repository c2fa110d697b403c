/** How the business stands: what is held for callers, what came in and went out, and what needs the owner. */
import type {
  CohortsAnswer,
  EventsAnswer,
  KeySpendAnswer,
  MovementsAnswer,
  OverviewAnswer,
  Range,
  RefusalsAnswer,
  SeriesAnswer,
  SpendAnswer,
} from "../../admin/api.js";
import type { SeriesPoint } from "../../contract.js";
import { type ChartData, chart, spark } from "../chart.js";
import { type Child, el, type VNode } from "../dom.js";
import { agoView, axisMoney, count, counted, duration, money, moneyView, type Step } from "../format.js";
import { icon } from "../icons.js";
import type { Watched } from "../live.js";
import { type Frame, type Page, withQuery } from "../page.js";
import { amount, answered, card, choices, empty, envelopeLink, exportLinks, foreign, link } from "../parts.js";
import { cohortsView } from "./cohorts.js";
import { kindBadge } from "./entries.js";

const RANGES: readonly (readonly [Range, string, string])[] = [
  ["24h", "24h", "last 24 hours"],
  ["7d", "7d", "last 7 days"],
  ["30d", "30d", "last 30 days"],
  ["90d", "90d", "last 90 days"],
  ["365d", "1y", "last 365 days"],
];
const METRICS = ["money", "charges", "active"] as const;
type Metric = (typeof METRICS)[number];

const METRIC_NAMES: Readonly<Record<Metric, string>> = { money: "Money", charges: "Charges", active: "Active" };
const LAG_WARN_MS = 60_000;

interface Asked {
  readonly overview: Watched<OverviewAnswer>;
  readonly series: Watched<SeriesAnswer>;
  readonly spend: Watched<SpendAnswer>;
  readonly keys: Watched<KeySpendAnswer>;
  readonly movements: Watched<MovementsAnswer>;
  readonly refusals: Watched<RefusalsAnswer>;
  readonly events: Watched<EventsAnswer>;
  readonly cohorts: Watched<CohortsAnswer>;
}

export function overviewPage(frame: Frame): Page {
  const range = (): Range => RANGES.find(([name]) => name === frame.query().get("range"))?.[0] ?? "30d";
  const { live } = frame;
  const asked: Asked = {
    overview: live.watch(() => "/api/overview", 4000),
    series: live.watch(() => `/api/series?range=${range()}`, 8000),
    spend: live.watch(() => (isByKey(frame.query()) ? undefined : `/api/spend?range=${range()}`), 10_000),
    keys: live.watch(() => (isByKey(frame.query()) ? `/api/spend?range=${range()}&by=key` : undefined), 10_000),
    movements: live.watch(() => `/api/movements?range=${range()}`, 10_000),
    refusals: live.watch(() => `/api/refusals?range=${range()}`, 10_000),
    events: live.watch(() => "/api/latest?range=7d&limit=8", 5000),
    cohorts: live.watch(() => "/api/cohorts", 60_000),
  };
  return { title: "Overview", view: () => view(frame, asked, range()) };
}

function view(frame: Frame, asked: Asked, range: Range): Child {
  const words = RANGES.find(([name]) => name === range)?.[2] ?? "";
  const query = frame.query();
  const ranges = RANGES.map(([name, text]) => ({
    text,
    path: withQuery("", query, { range: name }),
    current: name === range,
  }));
  return [
    el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Overview"), choices("Time", ranges)),
    answered(asked.overview, (overview) => [attention(overview), figures(overview, asked.series.value, words)], 6),
    el(
      "div",
      { class: "grid" },
      card(
        {
          title: "Money in and out",
          note: el("span", { class: "cap" }, words),
          wide: "two",
          key: "flow",
          actions: choices("Figure", metrics(query)),
        },
        answered(asked.series, (series) => flow(series, metricOf(query), asked.series.outdated), 8),
      ),
      card({ title: "All time", note: "How the balance came to be", key: "sheet" }, answered(asked.overview, sheet, 7)),
      card(
        { title: "Spent on", note: words, key: "spend", actions: choices("Spent by", spendChoices(query)) },
        isByKey(query)
          ? answered(asked.keys, (keys) => keyBars(keys, asked.keys.outdated, query))
          : answered(asked.spend, (spend) => spendBars(spend, asked.spend.outdated, query)),
      ),
      card(
        { title: "Refused for", note: words, key: "refusals" },
        answered(asked.refusals, (rows) => refusalBars(rows, asked.refusals.outdated)),
      ),
      card({ title: "Latest", note: "Across all envelopes", key: "latest" }, answered(asked.events, latest)),
      card(
        { title: "Cohorts", note: "Envelopes by the month of their first top-up", wide: "two", key: "cohorts" },
        answered(asked.cohorts, ({ rows }) => cohortsView(rows, query)),
      ),
      card(
        { title: "Other movements", note: words, key: "movements" },
        answered(asked.movements, (movements) => movementList(movements, asked.movements.outdated, query)),
      ),
    ),
    el(
      "div",
      { class: "foot exports-list" },
      [
        ["entries", "All entries"],
        ["series", "The figures over time"],
        ["spend", "Spending by reason"],
        ["movements", "Other movements"],
      ].map(([name, text]) =>
        el(
          "span",
          { class: "row", key: name as string },
          el("span", { class: "note" }, text),
          exportLinks(`/export/${name}`, `?range=${range}`),
        ),
      ),
    ),
  ];
}

const metricOf = (query: URLSearchParams): Metric => METRICS.find((name) => name === query.get("figure")) ?? "money";

function metrics(query: URLSearchParams) {
  return METRICS.map((name) => ({
    text: METRIC_NAMES[name],
    path: withQuery("", query, { figure: name === "money" ? undefined : name }),
    current: metricOf(query) === name,
  }));
}

/** What the owner should look at; nothing where all is well. */
function attention({ unclaimed, lag_ms, behind, owed_micros }: OverviewAnswer): Child {
  const late = lag_ms > LAG_WARN_MS || behind > 0;
  return [
    unclaimed > 0 &&
      el(
        "p",
        { class: "banner warn", key: "unclaimed" },
        icon("alert"),
        el(
          "span",
          null,
          `${counted(unclaimed, "payment")} could not be put into an envelope. `,
          link("/unclaimed", {}, "Decide where it belongs"),
        ),
      ),
    late &&
      el(
        "p",
        { class: "banner calm", key: "lag" },
        icon("health"),
        el(
          "span",
          null,
          `These figures are ${duration(Math.max(lag_ms, 1))} behind${behind > 0 ? ` for ${counted(behind, "envelope")}` : ""}. Balances themselves are exact. `,
          link("/health", {}, "Mirror"),
        ),
      ),
    owed_micros > 0 &&
      el(
        "p",
        { class: "banner calm", key: "owed" },
        icon("alert"),
        el(
          "span",
          null,
          `Refunds and disputes took back more than was left: ${money(owed_micros)} is owed to you. `,
          link("/envelopes?order=balance", {}, "Envelopes"),
        ),
      ),
  ];
}

/** Less what was given back. */
const netSpent = ({ spent_micros, refunded_micros }: SeriesPoint): number => spent_micros - refunded_micros;

const total = (points: readonly SeriesPoint[], of: (point: SeriesPoint) => number): bigint =>
  points.reduce((sum, point) => sum + BigInt(of(point)), 0n);

function figures(overview: OverviewAnswer, series: SeriesAnswer | undefined, words: string): VNode {
  const points = series?.points ?? [];
  const line = (of: (point: SeriesPoint) => number): number[] =>
    series === undefined ? [] : grouped(series).map((group) => Number(total(group, of)));
  const sum = (of: (point: SeriesPoint) => number): Child =>
    series === undefined ? "…" : moneyView(total(points, of));
  return el(
    "div",
    { class: "figures" },
    figure(
      "Balance outstanding",
      moneyView(overview.outstanding_micros),
      `in ${counted(overview.envelopes, "envelope")}${overview.frozen > 0 ? `, ${count(overview.frozen)} frozen` : ""}`,
    ),
    figure(
      "Paid in",
      sum((point) => point.credited_micros),
      words,
      spark(
        line((point) => point.credited_micros),
        "--in",
      ),
    ),
    figure(
      "Spent",
      sum(netSpent),
      words,
      spark(
        line((point) => Math.max(0, netSpent(point))),
        "--out",
      ),
    ),
    figure(
      "Active today",
      count(overview.active_today),
      `${count(overview.active_this_week)} this week, ${count(overview.active_this_month)} this month`,
    ),
  );
}

function figure(name: string, value: Child, note: string, line?: Child): VNode {
  return el(
    "div",
    { class: "figure", key: name },
    el("h2", null, name),
    el("p", { class: "big" }, value),
    el("p", { class: "note" }, note),
    line,
  );
}

/** Hours of a week and days of months are too fine for bars: quarters of days, and weeks, from the newest back. */
const COARSER: Partial<Record<Range, readonly [Step, number]>> = {
  "7d": ["quarter", 6],
  "90d": ["week", 7],
  "365d": ["week", 7],
};

function grouped({ points, range }: SeriesAnswer): readonly (readonly SeriesPoint[])[] {
  const size = COARSER[range]?.[1] ?? 1;
  const groups: SeriesPoint[][] = [];
  for (let end = points.length; end > 0; end -= size) groups.unshift(points.slice(Math.max(0, end - size), end));
  return groups;
}

function flow(series: SeriesAnswer, metric: Metric, outdated: boolean): VNode {
  const { points, range, step: given } = series;
  // How many were active on days cannot be added up to weeks.
  const single = metric === "active" && points.every(({ active }) => active !== null);
  const groups = single ? points.map((point) => [point]) : grouped(series);
  const step: Step = (single ? undefined : COARSER[range]?.[0]) ?? given;
  const times_ms = groups.map(([first]) => first?.at_ms ?? 0);
  const of = (pick: (point: SeriesPoint) => number) => groups.map((group) => Number(total(group, pick)));
  const data = metric === "money" ? moneyData(of) : countData(metric, of, points);
  const drawn: ChartData = { ...data, step, times_ms };
  return el("div", { class: outdated ? "dim" : "" }, legend(drawn), chart(drawn));
}

type Values = (pick: (point: SeriesPoint) => number) => number[];

function moneyData(of: Values): Omit<ChartData, "step" | "times_ms"> {
  const all = [
    { label: "Paid in", color: "--in", side: -1, values: of((point) => point.credited_micros) },
    { label: "Granted", color: "--in", side: -1, values: of((point) => point.granted_micros), above: 0 },
    {
      label: "Spent",
      color: "--out",
      side: 1,
      values: of((point) => Math.max(0, netSpent(point))),
    },
    {
      label: "Taken back",
      color: "--out",
      side: 1,
      values: of((point) => Math.max(0, point.reversed_micros)),
      above: 2,
    },
  ] as const;
  return { label: "Money in and out", series: all, format: money, tick: axisMoney, increments: INCREMENTS };
}

/** Steps of an axis that are round in main units, from a hundredth. */
const INCREMENTS = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** (power + 2))).flat();

function countData(metric: Metric, of: Values, points: readonly SeriesPoint[]): Omit<ChartData, "step" | "times_ms"> {
  const whole = {
    format: count,
    tick: count,
    increments: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
  };
  if (metric === "active" && points.every(({ active }) => active !== null)) {
    return {
      label: "Envelopes charged",
      series: [{ label: "Active envelopes", color: "--out", side: 0, values: of(({ active }) => active ?? 0) }],
      ...whole,
    };
  }
  return {
    label: "Charges and refusals",
    series: [
      { label: "Charges", color: "--out", side: -1, values: of(({ charges }) => charges) },
      { label: "Refusals", color: "--bad", side: 1, values: of(({ refusals }) => refusals) },
    ],
    ...whole,
  };
}

function legend({ series, format }: ChartData): VNode {
  return el(
    "ul",
    { class: "legend" },
    series
      .filter(({ values, above }) => above === undefined || values.some((value) => value > 0))
      .map(({ label, color, values, above }) =>
        el(
          "li",
          { key: label },
          el("i", { class: `swatch ${above === undefined ? "" : "light"}`, css: { "--c": `var(${color})` } }),
          el("span", null, label),
          color === "--out" && label === "Active envelopes"
            ? null
            : el("b", null, format(values.reduce((sum, value) => sum + value, 0))),
        ),
      ),
  );
}

/** The equation that every proof checks. */
function sheet(overview: OverviewAnswer): VNode {
  const line = (name: string, micros: number, sign: "+" | "−") =>
    el(
      "div",
      { key: name },
      el("dt", null, name),
      el(
        "dd",
        null,
        micros === 0 ? null : el("span", { class: "sign" }, micros < 0 ? (sign === "+" ? "−" : "+") : sign),
        el("span", { class: "amount" }, moneyView(Math.abs(micros))),
      ),
    );
  return el(
    "div",
    null,
    el(
      "dl",
      { class: "sheet" },
      line("Paid in", overview.credited_micros, "+"),
      line("Granted", overview.granted_micros, "+"),
      line("Spent", overview.spent_micros, "−"),
      line("Charges refunded", overview.refunded_micros, "+"),
      line("Payments refunded", overview.reversed_micros - overview.disputed_micros, "−"),
      line("Disputed", overview.disputed_micros, "−"),
      overview.expired_micros === 0 ? null : line("Grants that expired", overview.expired_micros, "−"),
      overview.budgeted_micros > 0 ? line("Used on budgets, unpaid", overview.budgeted_micros, "+") : null,
      el(
        "div",
        { class: "sum", key: "sum" },
        el("dt", null, "Outstanding"),
        el("dd", null, el("span", { class: "amount" }, moneyView(overview.outstanding_micros))),
      ),
      el(
        "div",
        { class: "of", key: "owed" },
        el("dt", null, "Owed by callers"),
        el("dd", null, el("span", { class: "amount" }, moneyView(overview.owed_micros))),
      ),
    ),
    el(
      "p",
      { class: "note" },
      `${counted(overview.entries, "entry", "entries")}, copied within ${duration(overview.lag_ms)}. `,
      link("/health", { class: "keep" }, "Prove it"),
    ),
  );
}

interface Bar {
  readonly name: Child;
  readonly key: string;
  readonly size: number;
  readonly value: Child;
  readonly note: string;
}

function bars(items: readonly Bar[], tone: string, outdated: boolean): VNode {
  const most = Math.max(...items.map(({ size }) => size), 1);
  return el(
    "ol",
    { class: `bars ${outdated ? "dim" : ""}` },
    items.map(({ name, key, size, value, note }) =>
      el(
        "li",
        { key, css: { "--part": `${Math.max(0, (100 * size) / most)}%`, "--c": `var(${tone})` } },
        el("span", { class: "bar-name" }, name),
        el("span", { class: "bar-value" }, value),
        el("i", { class: `bar ${note === "" ? "all" : ""}` }),
        note === "" ? null : el("span", { class: "note" }, note),
      ),
    ),
  );
}

const BARS_MAX = 8;

const isByKey = (query: URLSearchParams): boolean => query.get("by") === "key";

function spendChoices(query: URLSearchParams) {
  const one = (text: string, by: string | undefined) => ({
    text,
    path: withQuery("", query, { by, all: undefined }),
    current: isByKey(query) === (by !== undefined),
  });
  return [one("Reason", undefined), one("Key", "key")];
}

/** The first few, and a way to the others. */
function firstOf<Row>(
  rows: readonly Row[],
  query: URLSearchParams,
  what: string,
  view: (rows: readonly Row[]) => Child,
): Child {
  const all = query.get("all") === what;
  if (rows.length <= BARS_MAX) return view(rows);
  return [
    view(all ? rows : rows.slice(0, BARS_MAX)),
    link(
      withQuery("", query, { all: all ? undefined : what }),
      { class: "more", key: `all-${what}`, "data-replace": "" },
      all ? "Show fewer" : `Show all ${count(rows.length)}`,
    ),
  ];
}

function keyBars({ rows }: KeySpendAnswer, outdated: boolean, query: URLSearchParams): Child {
  if (rows.length === 0)
    return empty("keyboard", "No key spent anything", "What keys and authorised identities spend is told apart here.");
  return firstOf(rows, query, "keys", (shown) =>
    bars(
      shown.map(({ envelope_id, spender, spent_micros, charges }) => ({
        name: el("span", { class: "two-lines" }, foreign(spender, "mono"), envelopeLink(envelope_id)),
        key: `${envelope_id} ${spender}`,
        size: spent_micros,
        value: amount(spent_micros),
        note: counted(charges, "charge"),
      })),
      "--out",
      outdated,
    ),
  );
}

function movementList({ rows }: MovementsAnswer, outdated: boolean, query: URLSearchParams): Child {
  if (rows.length === 0)
    return empty(
      "envelopes",
      "Nothing but charges",
      "Top-ups, grants, refunds through Stripe and disputes are told apart here.",
    );
  return firstOf(rows, query, "movements", (shown) =>
    el(
      "ol",
      { class: `feed ${outdated ? "dim" : ""}` },
      shown.map(({ kind, reason, entries, amount_micros }) =>
        el(
          "li",
          { key: `${kind} ${reason}` },
          kindBadge(kind),
          el("span", { class: "feed-what" }, reason === "(none)" ? null : foreign(reason)),
          el(
            "span",
            { class: "feed-value" },
            amount(amount_micros, true),
            el("span", { class: "note" }, counted(entries, "entry", "entries")),
          ),
        ),
      ),
    ),
  );
}

function spendBars({ rows }: SpendAnswer, outdated: boolean, query: URLSearchParams): Child {
  if (rows.length === 0)
    return empty("overview", "Nothing was spent", "Charges appear here by their reason, or by method and path.");
  return firstOf(rows, query, "spend", (shown) => reasonBars(shown, outdated));
}

function reasonBars(rows: SpendAnswer["rows"], outdated: boolean): Child {
  return bars(
    rows.map(({ reason, spent_micros, charges }) => ({
      name: foreign(reason),
      key: reason,
      size: spent_micros,
      value: amount(spent_micros),
      note: counted(charges, "charge"),
    })),
    "--out",
    outdated,
  );
}

const LIMITS: Readonly<Record<string, string>> = {
  balance: "Too little balance",
  frozen: "Frozen",
  window: "A window was full",
  key: "A key’s limit",
};

function refusalBars({ rows }: RefusalsAnswer, outdated: boolean): Child {
  if (rows.length === 0)
    return empty("check", "Nobody was refused", "Callers who could not pay would be counted here.");
  return bars(
    rows.slice(0, BARS_MAX).map(({ limit, refusals }) => ({
      name: LIMITS[limit] ?? foreign(limit),
      key: limit,
      size: refusals,
      value: count(refusals),
      note: "",
    })),
    "--bad",
    outdated,
  );
}

function latest({ events }: EventsAnswer): Child {
  if (events.length === 0)
    return empty("envelopes", "Nothing happened yet", "The first top-up or charge will appear here by itself.");
  return el(
    "ol",
    { class: "feed" },
    events.map((event) =>
      el(
        "li",
        { key: `${event.envelope_id} ${event.seq}` },
        kindBadge(event.kind),
        el(
          "span",
          { class: "feed-what" },
          event.reason ? foreign(event.reason) : null,
          envelopeLink(event.envelope_id),
        ),
        el("span", { class: "feed-value" }, amount(event.amount_micros, true), agoView(event.at_ms)),
      ),
    ),
  );
}
