/** What a charge was for, as reports group it: few names, however many users, orders and files are in the paths. */
const REASON_CHARS_MAX = 120;
export const NO_REASON = "(none)";
export const OTHER_REASON = "(other)";
/** What came as one sum, because its entries are folded. */
export const FOLDED_REASON = "(folded)";

const IDS = [
  /^\d+$/,
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  // Hexadecimal with a digit in it: without one it may be a word.
  /^(?=.*\d)[0-9a-f]{8,}$/i,
  // Base62, also behind a prefix as in `cus_NffrFeUfNV2Hib`: long, and with digits or mixed case inside.
  /^(?:[a-z]{1,8}_)?(?=.*(?:\d|[a-z][A-Z]))[0-9A-Za-z]{12,}$/,
  /@|%40/,
];

/** Replaces the segments of a path that look like ids by `:id`. Text without a `/` is as the app chose it. */
export function normalReason(reason: string | null | undefined): string {
  if (reason === null || reason === undefined || reason === "") return NO_REASON;
  if (!reason.includes("/")) return reason.slice(0, REASON_CHARS_MAX);
  return reason
    .split("/")
    .map((segment) => (IDS.some((id) => id.test(segment)) ? ":id" : segment))
    .join("/")
    .slice(0, REASON_CHARS_MAX);
}
