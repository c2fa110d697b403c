/** Bars over time. Drawn on a canvas by uPlot; the same figures are a table for whoever cannot see it. */
import uPlot from "uplot";
import { type Child, el, patch, type VNode } from "./dom.js";
import { type Step, stepName, stepTick } from "./format.js";

export interface Series {
  readonly label: string;
  /** The custom property with its colour. */
  readonly color: `--${string}`;
  /** Left or right half of a step; both where it stands alone. */
  readonly side: -1 | 0 | 1;
  readonly values: readonly number[];
  /** Stands on top of this one, so it is drawn before it and from its end. */
  readonly above?: number;
}

export interface ChartData {
  readonly label: string;
  readonly step: Step;
  readonly times_ms: readonly number[];
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
  readonly tick: (value: number) => string;
  readonly increments?: readonly number[];
}

const HEIGHT = 260;
const dark = matchMedia("(prefers-color-scheme: dark)");

export function chart(data: ChartData): VNode {
  return el(
    "figure",
    { class: "chart" },
    el("div", {
      class: "canvas",
      role: "img",
      "aria-label": `${data.label}. The same as a table follows.`,
      mount: mountChart,
      value: data,
    }),
    el("details", null, el("summary", null, "As a table"), dataTable(data)),
  );
}

function dataTable({ label, step, times_ms, series, format }: ChartData): Child {
  const rows = times_ms
    .map((time_ms, index) => ({ time_ms, values: series.map(({ values }) => values[index] ?? 0) }))
    .filter(({ values }) => values.some((value) => value !== 0))
    .reverse();
  if (rows.length === 0) return el("p", { class: "note" }, "Nothing in this time.");
  return el(
    "div",
    { class: "scroll low", tabindex: "0", role: "region", "aria-label": label },
    el(
      "table",
      null,
      el(
        "thead",
        null,
        el(
          "tr",
          null,
          el("th", { scope: "col" }, "From"),
          series.map(({ label: head }) => el("th", { scope: "col", class: "num" }, head)),
        ),
      ),
      el(
        "tbody",
        null,
        rows.map(({ time_ms, values }) =>
          el(
            "tr",
            { key: time_ms },
            el("td", null, stepName(time_ms, step)),
            values.map((value) => el("td", { class: "num" }, format(value))),
          ),
        ),
      ),
    ),
  );
}

function mountChart(element: HTMLElement): (data: ChartData) => void {
  let plot: uPlot | undefined;
  let shape = "";
  let data: ChartData | undefined;
  let seen: readonly Series[] = [];
  const tip = document.createElement("div");
  tip.className = "tip";
  const build = (): void => {
    if (data === undefined || element.clientWidth === 0) return;
    plot?.destroy();
    plot = new uPlot(
      optionsOf(data, element, () => data as ChartData, tip),
      alignedOf(data),
      element,
    );
    plot.over.append(tip);
  };
  new ResizeObserver(() => {
    if (plot === undefined) build();
    else if (plot.width !== element.clientWidth) plot.setSize({ width: element.clientWidth, height: HEIGHT });
  }).observe(element);
  dark.addEventListener("change", () => element.isConnected && build());
  return (next) => {
    data = next;
    const nextShape = `${next.label} ${next.step} ${next.series.map(({ label }) => label)}`;
    const same =
      seen.length === next.series.length &&
      seen.every((one, index) => sameValues(one.values, next.series[index]?.values));
    seen = next.series;
    if (plot === undefined || nextShape !== shape) build();
    else if (!same || plot.data[0].length !== next.times_ms.length) plot.setData(alignedOf(next));
    shape = nextShape;
  };
}

function sameValues(one: readonly number[], other: readonly number[] | undefined): boolean {
  return other !== undefined && one.length === other.length && one.every((value, index) => value === other[index]);
}

/** Pixels are no money: here, and only here, amounts may lose their last digits. */
function alignedOf({ times_ms, series }: ChartData): uPlot.AlignedData {
  const tops = series.map(({ values, above }) =>
    above === undefined ? [...values] : values.map((value, index) => value + (series[above]?.values[index] ?? 0)),
  );
  // What stands on top is drawn first, and then what it stands on.
  return [times_ms.map((time_ms) => time_ms / 1000), ...tops.reverse()];
}

function colorOf(element: HTMLElement, name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function optionsOf(data: ChartData, element: HTMLElement, current: () => ChartData, tip: HTMLElement): uPlot.Options {
  const faint = colorOf(element, "--muted");
  const line = colorOf(element, "--line");
  const font = "12px system-ui, sans-serif";
  const axis = { stroke: faint, font, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [12, 24, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: (_plot, least, most) => widened(current(), least, most) },
      y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.06 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 28,
        grid: { show: false },
        splits: () => ticksOf(current(), element.clientWidth),
        values: (_plot, splits) => splits.map((at) => stepTick(at * 1000, current().step)),
      },
      {
        ...axis,
        size: (_plot, values) => 16 + 7.2 * Math.max(2, ...(values ?? []).map((text) => text.length)),
        grid: { stroke: line, width: 1 },
        values: (_plot, splits) => splits.map((value) => current().tick(value)),
        ...(data.increments === undefined ? {} : { incrs: [...data.increments] }),
      },
    ],
    series: [{}, ...data.series.map((one, index) => seriesOf(one, index, data, element)).reverse()],
    hooks: { setCursor: [(plot) => showTip(plot, current(), tip)] },
  };
}

const STEP_S: Readonly<Record<Step, number>> = { hour: 3600, quarter: 21_600, day: 86_400, week: 604_800 };

/** Half a step more on both sides, for the bars of the first and the last. */
function widened({ step }: ChartData, least: number, most: number): [number, number] {
  return [least - STEP_S[step] / 2, most + STEP_S[step] / 2];
}

function ticksOf({ times_ms }: ChartData, width: number): number[] {
  const every = Math.max(1, Math.ceil(times_ms.length / Math.max(2, Math.floor(width / 90))));
  return times_ms
    .filter((_time, index) => (times_ms.length - 1 - index) % every === 0)
    .map((time_ms) => time_ms / 1000);
}

function seriesOf(
  { label, color, side, above }: Series,
  index: number,
  data: ChartData,
  element: HTMLElement,
): uPlot.Series {
  const fill = colorOf(element, color);
  const alone = data.series.every((one) => one.side === 0);
  const share = alone ? 0.66 : 0.38;
  const bars = uPlot.paths.bars;
  return {
    label: `${label} ${index}`,
    fill: above === undefined ? fill : fill.replace(/^rgb\((.*)\)$/, "rgba($1, 0.38)"),
    width: 0,
    points: { show: false },
    ...(bars === undefined ? {} : { paths: bars({ size: [share, 34, 1], align: side, radius: 0.16, gap: 1 }) }),
  };
}

function showTip(plot: uPlot, data: ChartData, tip: HTMLElement): void {
  const index = plot.cursor.idx;
  const time_ms = index === null || index === undefined ? undefined : data.times_ms[index];
  const { left = -1 } = plot.cursor;
  tip.classList.toggle("shown", time_ms !== undefined && left >= 0);
  if (time_ms === undefined || left < 0) return;
  const lines = data.series.map(({ label, color, values, above }) => {
    const swatch = el("i", { class: `swatch ${above === undefined ? "" : "light"}`, css: { "--c": `var(${color})` } });
    return el(
      "div",
      { key: label },
      swatch,
      el("span", null, label),
      el("b", null, data.format(values[index as number] ?? 0)),
    );
  });
  patch(tip, el("p", null, stepName(time_ms, data.step)), lines);
  const { clientWidth } = plot.over;
  const room = tip.offsetWidth + 16;
  tip.style.transform = `translateX(${Math.max(0, left + room > clientWidth ? left - room : left + 16)}px)`;
}

/** A line without axes. */
export function spark(values: readonly number[], color: `--${string}`): Child {
  if (values.every((value) => value === 0)) return null;
  const most = Math.max(...values, 1);
  const width = 120;
  const at = (value: number, index: number) =>
    `${((index / Math.max(1, values.length - 1)) * width).toFixed(1)},${(30 - (value / most) * 26).toFixed(1)}`;
  const points = values.map(at).join(" ");
  return el(
    "svg",
    {
      class: "spark",
      viewBox: `0 0 ${width} 32`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      css: { "--c": `var(${color})` },
    },
    el("polygon", { points: `0,32 ${points} ${width},32` }),
    el("polyline", { points, fill: "none", "vector-effect": "non-scaling-stroke" }),
  );
}
