/** What limits an envelope beside its balance: windows of time, and who may spend from it. */
import type { EnvelopeAnswer, KeyView } from "../../admin/api.js";
import type { WindowView } from "../../contract.js";
import { type Child, el, type VNode } from "../dom.js";
import { count, counted, moneyView, soonView, timeView } from "../format.js";
import { amount, badge, card, empty, foreign, meter, table } from "../parts.js";
import { type Acting, revokeKey } from "./actions.js";
import { ACTION } from "./envelope-tables.js";

export function limitsCards(acting: Acting, { windows, keys }: EnvelopeAnswer): Child {
  return [
    card(
      { title: "Windows", note: "What may be spent in a time", key: "windows" },
      windows.length === 0
        ? empty("overview", "No windows", "No spending limits over time are set on this envelope.")
        : el("ul", { class: "limits" }, windows.map(windowView)),
    ),
    card(
      { title: "Keys and identities", note: "Who may spend beside its holder", wide: "flush", key: "keys" },
      keys.length === 0
        ? empty(
            "keyboard",
            "No keys",
            "No API keys were made for this envelope, and no identity is authorised to spend from it.",
          )
        : keysTable(acting, keys),
    ),
  ];
}

function windowView(window: WindowView): VNode {
  const { window_id, limit_micros, spent_micros, held_micros, remaining_micros, resets_at_ms, end_ms } = window;
  const ends = resets_at_ms ?? end_ms;
  return el(
    "li",
    { key: window_id },
    el(
      "div",
      { class: "limit-head" },
      el("span", { class: "row" }, el("b", null, periodOf(window)), foreign(window_id, "mono faint")),
      el("span", null, moneyView(spent_micros), el("span", { class: "faint" }, " of ", moneyView(limit_micros))),
    ),
    meter(
      [
        [remaining_micros === 0 ? "full" : "used", spent_micros],
        ["held", held_micros],
      ],
      limit_micros,
    ),
    el(
      "div",
      { class: "limit-foot note" },
      el(
        "span",
        null,
        remaining_micros === 0 ? badge("Full", "bad") : [moneyView(remaining_micros), " left"],
        held_micros > 0 ? [", ", moneyView(held_micros), " held"] : null,
      ),
      el(
        "span",
        null,
        whenOf(window),
        ends === null ? null : [window.alignment === "rolling" ? ", admits more " : ", resets ", soonView(ends)],
      ),
    ),
  );
}

const UNITS: Readonly<Record<WindowView["unit"], readonly [every: string, many: string]>> = {
  HOURLY: ["Each hour", "hours"],
  DAILY: ["Each day", "days"],
  WEEKLY: ["Each week", "weeks"],
  MONTHLY: ["Each month", "months"],
  ANNUAL: ["Each year", "years"],
  ONCE: ["In all", "times"],
};

function periodOf({ unit, every }: Pick<WindowView, "unit" | "every">): string {
  const [one, many] = UNITS[unit] ?? [unit, unit];
  return every === 1 || unit === "ONCE" ? one : `Every ${count(every)} ${many}`;
}

function whenOf({ unit, alignment, time_zone }: WindowView): string {
  if (unit === "ONCE") return "never again";
  return alignment === "rolling" ? "rolling" : `${alignment}, ${time_zone}`;
}

function keysTable(acting: Acting, keys: readonly KeyView[]): Child {
  const tones = { active: "good", pending: "calm", expired: "warn", revoked: "bad" } as const;
  return table<KeyView>({
    label: "Keys",
    rows: keys,
    key: ({ id }) => id,
    columns: [
      { head: "Key", kind: "grow", at: "text", cell: nameOf },
      { head: "State", at: "lead", cell: ({ status }) => badge(status, tones[status] ?? "calm") },
      { head: "May", kind: "wide", at: "more", cell: ({ scopes }) => scopes.join(", ") },
      {
        head: "Spent",
        kind: "num",
        at: "value",
        cell: ({ spent_micros, refunded_micros, charges }) =>
          el("span", { title: counted(charges, "charge") }, amount(spent_micros - refunded_micros)),
      },
      {
        head: "Left",
        kind: "num",
        at: "more",
        cell: ({ remaining_micros, cap_micros, windows }) =>
          remaining_micros === null
            ? "no limit"
            : el("span", { title: limitsOf(cap_micros, windows) }, amount(remaining_micros)),
      },
      {
        head: "Expires",
        kind: "wide",
        at: "more",
        cell: ({ expires_at_ms }) => (expires_at_ms === null ? "never" : timeView(expires_at_ms)),
      },
      {
        head: "Last used",
        kind: "wide",
        at: "more",
        cell: ({ last_used_at_ms }) => (last_used_at_ms === null ? "never" : timeView(last_used_at_ms)),
      },
      { head: ACTION, kind: "end", at: "end", cell: (key) => end(acting, key) },
    ],
  });
}

function limitsOf(cap_micros: number | null, windows: readonly WindowView[]): string {
  const cap = cap_micros === null ? [] : ["a cap"];
  return [...cap, ...windows.map(periodOf)].join(", ").toLowerCase();
}

/** Of an identity nothing is known but its id: what it is was never kept. */
function nameOf({ id, kind, minted, last4, name }: KeyView): Child {
  const what = minted ? `we_k1_\u2026${last4}` : kind.toLowerCase().replace("_", " ");
  return el(
    "div",
    { class: "two-lines" },
    name === null ? foreign(what, "mono") : foreign(name),
    foreign(name === null ? id : `${what} ${id}`, "mono faint"),
  );
}

function end(acting: Acting, key: KeyView): Child {
  if (acting.session.readOnly || key.status === "revoked") return null;
  const label = `Revoke ${key.name ?? key.id}`;
  return el(
    "button",
    { type: "button", class: "button small", "aria-label": label, onclick: () => revokeKey(acting, key) },
    "Revoke",
  );
}
