/** docs/tests.md says which test answers which threat: this keeps it true. `UPDATE=1` writes it anew. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("../../", import.meta.url);
const page = new URL("docs/tests.md", root);

const WHAT: Readonly<Record<number, string>> = {
  1: "a price in the request",
  2: "a price set by an upstream",
  3: "a price outside the grammar",
  4: "two price headers",
  5: "a negative price",
  6: "sub-cent prices",
  7: "a price above the bound",
  8: "a price above what is available",
  9: "a price on a 4xx or 5xx",
  10: "a price on 304, HEAD, OPTIONS, 101",
  11: "the handler throws after a charge",
  12: "the handler throws during a hold",
  13: "a request retried with its key",
  14: "a key used again for something else",
  15: "a malformed key",
  16: "a storm of parallel charges",
  18: "the client leaves before the answer",
  19: "the client leaves in the middle of a body",
  20: "an upstream that fails half-way",
  21: "the charge fails after the work",
  22: "the answer of a charge is lost",
  23: "a hold ended twice",
  24: "an ended hold used again",
  25: "responses re-wrapped",
  26: "the app's own cookies",
  27: "an unsigned or stale webhook",
  28: "a huge or endless body",
  29: "a signed body that is no event",
  30: "a replayed event",
  31: "one event, concurrently",
  32: "several events for one payment",
  33: "events in any order",
  34: "another account, link, currency or mode",
  35: "somebody else's reference",
  36: "a forged reference",
  37: "a payment that belongs elsewhere now",
  38: "an amount that cannot be",
  39: "refunds: too much, foreign, early, failed",
  40: "a refund races a spend",
  41: "disputes",
  42: "Stripe or an object is down",
  43: "killed before the answer",
  44: "rotation of signing secrets",
  45: "thin and snapshot events for one change",
  46: "a flood of webhooks",
  47: "missing or placeholder secrets",
  48: "takeover by one's own payment link",
  49: "a chosen credential",
  50: "a shared card",
  51: "a stolen card",
  52: "a prepaid card",
  53: "reverse capture of a card",
  54: "a typed e-mail address",
  55: "null fingerprints",
  56: "two first payments with one card",
  57: "random bearers",
  58: "a revoked token",
  59: "a token in the URL",
  60: "secrets in storage, names, logs, pages",
  61: "timing",
  62: "rotation: crash, race, double click",
  63: "a key beyond its scopes, limit or time",
  64: "cookies shared with siblings",
  65: "several or odd cookies",
  66: "odd Authorization headers",
  67: "requests from another site",
  68: "a page of another origin opens a socket",
  69: "CORS",
  70: "caches",
  71: "markup in what is shown",
  72: "formulas in exports",
  73: "where a sign-in leads",
  74: "the owner's pages in a frame",
  76: "guessing the owner's secret",
  77: "statements that write",
  78: "the owner's paths, probed",
  79: "a holder on the owner's paths",
  80: "a forged header of Cloudflare Access",
  81: "money given by the owner",
  82: "eviction",
  83: "a deploy in the middle",
  84: "a lost alarm",
  85: "too late, too early, twice",
  87: "clock jumps",
  88: "the edge of a time",
  89: "integers at their limits",
  90: "storage that fills up",
  91: "an interrupted migration",
  92: "two versions of the code",
  93: "an aggregate that is down",
  94: "a mirror that loses, doubles, reorders",
  95: "an overloaded object",
  97: "a broken stub",
  98: "silence, half-open sockets",
  99: "many holds",
  100: "killed at any moment",
  101: "an end during an end",
  102: "long, many or odd frames",
  103: "money that ends in the middle",
  104: "a client's clock",
};

/** Which test files carry which row in a test's name or heading. */
function rowsInTests(): ReadonlyMap<number, readonly string[]> {
  const rows = new Map<number, string[]>();
  const folder = new URL("test/", root);
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".test.ts"));
  for (const file of files.sort()) {
    if (file.endsWith("threats.test.ts") && file.startsWith("node")) continue;
    const numbers = readFileSync(new URL(file, folder), "utf8").matchAll(/\bT([1-9][0-9]{0,2})\b/g);
    for (const number of new Set([...numbers].map(([, digits]) => Number(digits)))) {
      rows.set(number, [...(rows.get(number) ?? []), file.replace(/^workers\//, "").replace(/\.test\.ts$/, "")]);
    }
  }
  return rows;
}

function table(): string {
  const rows = [...rowsInTests()].sort(([one], [other]) => one - other);
  const lines = rows.map(
    ([row, files]) => `| T${row} | ${WHAT[row] ?? ""} | ${files.map((file) => `\`${file}\``).join(", ")} |`,
  );
  return ["| row | threat | tests |", "| --- | --- | --- |", ...lines].join("\n");
}

/** Without the formatter's padding of columns. */
const plain = (text: string): string => text.replace(/ +/g, " ").replace(/-{3,}/g, "---");

const MARKED = /(<!-- threats -->\n)[\s\S]*?(<!-- \/threats -->)/;

test("docs/tests.md says which test answers which threat", () => {
  const written = readFileSync(page, "utf8");
  const expected = written.replace(MARKED, `$1\n${table()}\n\n$2`);
  if (process.env["UPDATE"] === "1") writeFileSync(page, expected);
  else expect(plain(written)).toBe(plain(expected));
});

test("every row that a test names is one of the table's", () => {
  expect([...rowsInTests().keys()].filter((row) => WHAT[row] === undefined)).toEqual([]);
});
