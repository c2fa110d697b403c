/** Comma-separated values (RFC 4180) that a spreadsheet shows and does not run. Pure. */

export type Cell = string | number | boolean | null | undefined;

/**
 * Begins a formula in some spreadsheet, also behind blanks, quotes and characters that are not seen, and in its full-width form
 * (https://owasp.org/www-community/attacks/CSV_Injection).
 */
const FORMULA = /^[\s\p{Cf}"']*[=+\-@\uff1d\uff0b\uff0d\uff20]/u;

/** Numbers of ours stay numbers. A text that could be taken for a formula begins with an apostrophe. */
export function csvCell(value: Cell): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = FORMULA.test(value) || /^[\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(csvCell).join(",")}\r\n`;
}
