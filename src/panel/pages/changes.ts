/** What an audit line says was so before and is so since: the fields that differ, one a line. */
import { type Child, el } from "../dom.js";
import { clock, money } from "../format.js";
import { foreign } from "../parts.js";

type Fields = Readonly<Record<string, unknown>>;

const SHOWN_MAX = 6;

export function changesView(before: string | null, after: string | null): Child {
  const [was, is] = [fieldsOf(before), fieldsOf(after)];
  if (was === undefined || is === undefined) return foreign(`${before ?? "–"} → ${after ?? "–"}`, "mono faint");
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])].filter(
    (name) => textOf(name, was[name]) !== textOf(name, is[name]),
  );
  if (names.length === 0) return "–";
  const lines = names
    .slice(0, SHOWN_MAX)
    .map((name) =>
      el(
        "div",
        { key: name },
        el("dt", null, foreign(labelOf(name))),
        el(
          "dd",
          null,
          name in was ? [foreign(textOf(name, was[name])), el("span", { class: "faint" }, " → ")] : null,
          foreign(textOf(name, is[name])),
        ),
      ),
    );
  const more = names.length - SHOWN_MAX;
  return el(
    "dl",
    { class: "changes" },
    lines,
    more > 0 ? el("div", { key: "more", class: "faint" }, `and ${more} more`) : null,
  );
}

/** No fields where there is nothing; `undefined` for what is no object. */
function fieldsOf(text: string | null): Fields | undefined {
  if (text === null) return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

function labelOf(name: string): string {
  return name.replace(/_(micros|at_ms|ms)$/, "").replaceAll("_", " ");
}

function textOf(name: string, value: unknown): string {
  if (value === undefined || value === null) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    if (name.endsWith("_micros")) return money(value);
    if (name.endsWith("_at_ms")) return clock(value);
  }
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
