/** What is around every page: where one can go, what mode this is, and whether it is live. */
import { BASE } from "./api.js";
import { type Child, el, type VNode } from "./dom.js";
import { count, timeOfDay } from "./format.js";
import { type IconName, icon } from "./icons.js";
import type { Frame } from "./page.js";
import { badge, link } from "./parts.js";
import { openShortcuts } from "./shortcuts.js";

export type Place = "overview" | "envelopes" | "unclaimed" | "health" | "database";

const PLACES: readonly (readonly [Place, string, string, IconName])[] = [
  ["overview", "", "Overview", "overview"],
  ["envelopes", "/envelopes", "Envelopes", "envelopes"],
  ["unclaimed", "/unclaimed", "Unclaimed", "unclaimed"],
  ["health", "/health", "Mirror", "health"],
  ["database", "/admin-readonly", "Database", "database"],
];

export function frameView(frame: Frame, place: Place | null, page: VNode): Child {
  return [
    el("a", { class: "skip", href: "#main", onclick: toMain }, "Skip to the page"),
    el("header", { class: "side" }, brand(frame), navigation(frame, place), signOut(frame)),
    el("section", { class: "top", "aria-label": "Search and state" }, search(frame), liveness(frame)),
    el("main", { id: "main", tabindex: "-1" }, page),
    el("div", { id: "toast", class: "toast", role: "status", "aria-live": "polite", mount: leaveAlone }),
  ];
}

/** What is said there comes and goes by itself. */
function leaveAlone(): () => void {
  return () => undefined;
}

function toMain(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function brand({ session }: Frame): VNode {
  const mode = session.livemode === false ? badge("Test", "warn", "Payments here are test payments") : null;
  return el("div", { class: "brand" }, link("", { class: "brand-name" }, icon("envelopes"), "Envelopes"), mode);
}

function navigation({ unclaimed }: Frame, place: Place | null): VNode {
  const items = PLACES.map(([name, path, text, shape]) =>
    el(
      "li",
      { key: name },
      link(
        path,
        { "aria-current": place === name ? "page" : null },
        icon(shape),
        el("span", null, text),
        waiting(name, unclaimed),
      ),
    ),
  );
  return el("nav", { class: "places", "aria-label": "Panel" }, el("ul", null, items));
}

function waiting(place: Place, unclaimed: number): Child {
  if (place !== "unclaimed" || unclaimed === 0) return null;
  return el("span", { class: "count warn" }, count(unclaimed), el("span", { class: "hidden" }, " to decide"));
}

function signOut({ session }: Frame): VNode {
  return el(
    "div",
    { class: "leave" },
    el(
      "p",
      { class: "note" },
      "Signed in as ",
      el("bdi", { class: "clip", title: session.actor }, session.actor),
      session.readOnly ? ", to look" : null,
    ),
    el(
      "form",
      { method: "post", action: `${BASE}/sign-out` },
      el(
        "button",
        { class: "quiet", type: "submit", "aria-label": "Sign out" },
        icon("leave"),
        el("span", null, "Sign out"),
      ),
    ),
    el(
      "button",
      { class: "quiet keys", type: "button", onclick: openShortcuts },
      icon("keyboard"),
      el("span", null, "Shortcuts"),
    ),
  );
}

function search(frame: Frame): VNode {
  return el(
    "form",
    { class: "search", role: "search", onsubmit: (event: SubmitEvent) => runSearch(event, frame) },
    icon("search"),
    el("input", {
      id: "search",
      name: "search",
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      maxlength: "255",
      placeholder: "Find a name, id, reference or payment",
      "aria-label": "Find an envelope by its name, id, reference or payment",
      value: frame.query().get("search") ?? "",
    }),
    el("kbd", { "aria-hidden": "true" }, "/"),
  );
}

function runSearch(event: SubmitEvent, frame: Frame): void {
  event.preventDefault();
  const input = (event.currentTarget as HTMLFormElement).elements.namedItem("search");
  const text = input instanceof HTMLInputElement ? input.value.trim() : "";
  frame.go(text === "" ? "/envelopes" : `/envelopes?search=${encodeURIComponent(text)}`);
  // On to what was found: j, k and / are keys again.
  document.querySelector<HTMLElement>("main h1")?.focus();
}

function liveness({ live }: Frame): VNode {
  const since = live.staleSince_ms;
  if (since === undefined)
    return el("p", { class: "live", key: "live", role: "status" }, el("i", { class: "dot" }), "Live");
  return el(
    "p",
    { class: "live stale", key: "stale", role: "status" },
    el("i", { class: "dot" }),
    `Stale since ${timeOfDay(since)}`,
    el("button", { type: "button", class: "link", onclick: () => live.reload() }, "Retry"),
  );
}
