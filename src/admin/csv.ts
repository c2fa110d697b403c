/** Comma-separated values (RFC 4180) that a spreadsheet shows and does not run. Pure. */

export type Cell = string | number | boolean | null | undefined;

/**
 * Begins a formula in some spreadsheet, also behind blanks, quotes and characters that are not seen, and in its full-width form
 * (https://owasp.org/www-community/attacks/CSV_Injection).
 */
const FORMULA = /^[\s\p{Cf}"']*[=+\-@\uff1d\uff0b\uff0d\uff20]/u;

/**
 * The same behind what begins a cell where commas do not: many a spreadsheet splits at semicolons or
 * tabs instead. It then takes quotes that stand after a comma for text, and a line break within them for the end of the row.
 */
const FORMULA_INSIDE = /([;\t\r\n][\s\p{Cf}"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])/gu;

/** Numbers of ours stay numbers. A text that could be taken for a formula begins with an apostrophe, wherever a cell could begin. */
export function csvCell(value: Cell): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const begin = FORMULA.exec(value)?.[0] ?? "";
  const text = begin + value.slice(begin.length).replace(FORMULA_INSIDE, "$1'");
  const safe = begin !== "" || /^[\t\r\n]/.test(value) ? `'${text}` : text;
  return /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(csvCell).join(",")}\r\n`;
}
