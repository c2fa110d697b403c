/** Drawn by hand on a grid of 24. */
import { el, type VNode } from "./dom.js";

const SHAPES = {
  overview: "M4 20V11M10 20V4M16 20v-7M22 20H2",
  envelopes: "M3 6h18v12H3zM3.5 6.5 12 13l8.5-6.5",
  unclaimed: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1 1-1.1 1.8M12 16.8v.1",
  health: "M2.5 12h4l3-7 5 14 3-7h4",
  database:
    "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3zM4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 21 21",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11M7 10.5l5 5 5-5M4 20h16",
  leave: "M14 4H5v16h9M10 12h11M17 8l4 4-4 4",
  plus: "M12 5v14M5 12h14",
  back: "M11 5l-7 7 7 7M4 12h16",
  check: "M4.5 12.5l5 5 10-11",
  alert: "M12 3.5 22 20.5H2zM12 10v4.5M12 17.4v.1",
  keyboard: "M2.5 6h19v12h-19zM6 10h.1M10 10h.1M14 10h.1M18 10h.1M7.5 14h9",
} as const;

export type IconName = keyof typeof SHAPES;

export function icon(name: IconName): VNode {
  return el(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    el("path", { d: SHAPES[name] }),
  );
}
