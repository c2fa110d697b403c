/** Single keys, where nothing is being typed. They can be turned off, for those who speak to their computer. */
import { openDialog } from "./dialog.js";
import { el } from "./dom.js";
import type { Frame } from "./page.js";

const STORED = "envelopes-shortcuts";

const PLACES: Readonly<Record<string, string>> = {
  o: "",
  e: "/envelopes",
  u: "/unclaimed",
  m: "/health",
  d: "/admin-readonly",
};

const LIST: readonly (readonly [string, string])[] = [
  ["/", "Find an envelope"],
  ["g o", "Overview"],
  ["g e", "Envelopes"],
  ["g u", "Unclaimed payments"],
  ["g m", "Mirror"],
  ["g d", "Database"],
  ["j  k", "Next and previous row"],
  ["Enter", "Open the row"],
  ["?", "This list"],
];

const FOLLOW_MS = 1200;

function enabled(): boolean {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
}

export function listenForShortcuts(frame: Frame): void {
  let gone_ms = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !enabled()) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
    const place = PLACES[event.key];
    if (place !== undefined && Date.now() - gone_ms < FOLLOW_MS) {
      gone_ms = 0;
      event.preventDefault();
      return frame.go(place);
    }
    gone_ms = event.key === "g" ? Date.now() : 0;
    if (event.key === "/") focusSearch(event);
    if (event.key === "?") openShortcuts();
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function focusSearch(event: KeyboardEvent): void {
  event.preventDefault();
  const input = document.getElementById("search");
  if (input instanceof HTMLInputElement) {
    input.focus();
    input.select();
  }
}

/** The first link of each row. */
function step(by: number): void {
  const rows = [...document.querySelectorAll("main tbody tr")].flatMap((row) => {
    const target = row.querySelector<HTMLElement>("a, button");
    return target === null ? [] : [target];
  });
  const at = rows.findIndex((target) => target.closest("tr")?.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

export function openShortcuts(): void {
  openDialog("Keyboard shortcuts", (dialog) => {
    const toggle = () => {
      localStorage.setItem(STORED, enabled() ? "off" : "on");
      dialog.draw();
    };
    return el(
      "div",
      { class: "form" },
      el(
        "dl",
        { class: "keys" },
        LIST.map(([key, text]) => el("div", { key }, el("dt", null, el("kbd", null, key)), el("dd", null, text))),
      ),
      el(
        "div",
        { class: "buttons" },
        el(
          "button",
          { type: "button", class: "button", "aria-pressed": String(!enabled()), onclick: toggle },
          enabled() ? "Turn off" : "Turn on",
        ),
        el("button", { type: "button", class: "button primary", onclick: () => dialog.close() }, "Done"),
      ),
    );
  });
}
