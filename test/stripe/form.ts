/** Bodies and queries as Stripe's API takes them: form-encoded, with nested keys such as `line_items[0][price]`. */

export interface Params {
  [name: string]: Param;
}
export type Param = string | number | boolean | Params | Param[];

const NUMBERS = new Set([
  "amount",
  "quantity",
  "unit_amount",
  "minimum",
  "maximum",
  "preset",
  "limit",
  "gt",
  "gte",
  "lt",
  "lte",
]);

export function decodeForm(text: string): Params {
  const root: Params = {};
  for (const [name, value] of new URLSearchParams(text)) {
    const path = name.replaceAll("]", "").split("[");
    let at = root;
    for (const step of path.slice(0, -1)) {
      const known = at[step];
      const inner = isParams(known) ? known : {};
      at[step] = inner;
      at = inner;
    }
    // `types[]=…` is said once per value, without a number.
    const last = path.at(-1) || String(Object.keys(at).length);
    at[last] = typed(path, value);
  }
  return lists(root) as Params;
}

/** The form has no types; Stripe knows them by the field. Metadata is text whatever it looks like. */
function typed(path: readonly string[], value: string): Param {
  if (path[0] === "metadata" || path.includes("metadata")) return value;
  if (value === "true" || value === "false") return value === "true";
  return NUMBERS.has(path.at(-1) ?? "") && /^-?[0-9]+$/.test(value) ? Number(value) : value;
}

function lists(value: Param): Param {
  if (!isParams(value)) return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, lists(inner)] as const);
  const isList = entries.length > 0 && entries.every(([name]) => /^[0-9]+$/.test(name));
  return isList ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
}

export function isParams(value: unknown): value is Params {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
