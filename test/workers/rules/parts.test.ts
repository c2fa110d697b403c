import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dataOf,
  type Framing,
  framingOf,
  lineOf,
  PART_BYTES_MAX,
  type Part,
  partsOf,
} from "../../../src/meter/parts.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Splits a body that arrives in these chunks. */
function split(framing: Framing, chunks: readonly Uint8Array[]): readonly Part[] {
  const parts = partsOf(framing);
  return [...chunks.flatMap((chunk) => parts.push(chunk)), ...parts.end()];
}

const texts = (parts: readonly Part[]): readonly string[] => parts.map(({ bytes }) => decoder.decode(bytes));
const messages = (parts: readonly Part[]): readonly string[] =>
  parts.filter(({ message }) => message).map(({ bytes }) => dataOf(bytes));

/** Cuts bytes at these places. */
function cutAt(bytes: Uint8Array, places: readonly number[]): readonly Uint8Array[] {
  const at = [
    0,
    ...[...places].map((place) => place % (bytes.length + 1)).sort((one, other) => one - other),
    bytes.length,
  ];
  return at.slice(1).map((to, index) => bytes.subarray(at[index], to));
}

const places = fc.array(fc.nat(5_000), { maxLength: 12 });

describe("events", () => {
  const CASES: readonly (readonly [name: string, body: string, messages: readonly string[]])[] = [
    ["one", "data: a\n\n", ["a"]],
    ["two", "data: a\n\ndata: b\n\n", ["a", "b"]],
    ["CR LF", "data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
    ["CR", "data: a\r\rdata: b\r\r", ["a", "b"]],
    ["mixed line ends", "data: a\r\n\ndata: b\n\r\n", ["a", "b"]],
    ["several lines of data", "data: a\ndata: b\n\n", ["a\nb"]],
    ["data without a blank, with one, with two", "data:a\ndata: b\ndata:  c\n\n", ["a\nb\n c"]],
    ["data without a colon", "data\n\n", [""]],
    ["data that is empty", "data:\n\n", [""]],
    ["a comment", ": keep alive\n\ndata: a\n\n", ["a"]],
    ["a comment in an event", "data: a\n: no\ndata: b\n\n", ["a\nb"]],
    ["only an id, only a retry", "id: 1\n\nretry: 5\n\n", []],
    ["a name and no data", "event: ping\n\n", []],
    ["a name and data", "event: ping\ndata: {}\n\n", ["{}"]],
    ["fields that only begin like data", "dat: a\n\ndatas: b\n\n data: c\n\n", []],
    ["blank lines before and between", "\n\n\ndata: a\n\n\n\ndata: b\n\n", ["a", "b"]],
    ["a byte order mark", "\uFEFFdata: a\n\n", ["a"]],
    ["letters of every length", "data: aäあ🎈\n\n", ["aäあ🎈"]],
    ["the last one unfinished", "data: a\n\ndata: b", ["a", "b"]],
    ["the last line unfinished", "data: a\n\ndata: b\n", ["a", "b"]],
    ["nothing", "", []],
  ];
  for (const [name, body, expected] of CASES) {
    it(name, () => {
      const parts = split("events", [encoder.encode(body)]);
      expect(messages(parts)).toEqual(expected);
      expect(texts(parts).join("")).toBe(body.replace("\uFEFF", ""));
    });
  }

  it("T102 are the same wherever the body is cut, and no byte is lost or added", () => {
    const line = fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, "")}`),
      fc.constantFrom(": comment", "id: 7", "event: ping", "data", "retry: 1", "dat", "あdata: no"),
    );
    const ending = fc.constantFrom("\n", "\r\n", "\r");
    const body = fc
      .array(fc.tuple(fc.array(fc.tuple(line, ending), { maxLength: 4 }), ending), { maxLength: 8 })
      .map((events) => events.map(([lines, end]) => lines.map((one) => one.join("")).join("") + end).join(""));
    fc.assert(
      fc.property(body, places, (text, cuts) => {
        const bytes = encoder.encode(text);
        const whole = split("events", [bytes]);
        const cut = split("events", cutAt(bytes, cuts));
        expect(messages(cut)).toEqual(messages(whole));
        expect(texts(cut).join("")).toBe(text);
        for (const part of cut) expect(part.bytes.length).toBeGreaterThan(0);
      }),
      { numRuns: 1_000 },
    );
  });

  it("says whether something may be written after what was handed out", () => {
    const parts = partsOf("events");
    expect(parts.whole).toBe(true);
    parts.push(encoder.encode("data: a\n\ndata: b"));
    expect(parts.whole).toBe(true);
    parts.end();
    expect(parts.whole).toBe(false);
  });

  it("T102 an event without an end is handed out as it comes, and counted once", () => {
    const parts = partsOf("events");
    const chunk = encoder.encode(`data: ${"x".repeat(PART_BYTES_MAX / 2)}`);
    const more = encoder.encode("y".repeat(PART_BYTES_MAX / 2 + 1));
    const got = [chunk, more, more, more, encoder.encode("\n\ndata: next\n\n")].flatMap((one) => parts.push(one));
    expect(got.map(({ message }) => message)).toEqual([true, false, false, true]);
    expect(got.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(chunk.length + 3 * more.length + 2 + 12);
    expect(parts.whole).toBe(true);
  });
});

describe("lines", () => {
  it("are the same wherever the body is cut; blank ones are no messages", () => {
    const body = fc.array(fc.constantFrom('{"a":1}', "{}", "", " ", "\r", "あ", "[1,2]"), { maxLength: 20 });
    fc.assert(
      fc.property(body, fc.boolean(), places, (lines, ended, cuts) => {
        const text = lines.join("\n") + (ended ? "\n" : "");
        const bytes = encoder.encode(text);
        const cut = split("lines", cutAt(bytes, cuts));
        expect(texts(cut).join("")).toBe(text);
        expect(cut.filter(({ message }) => message).map(({ bytes: one }) => lineOf(one))).toEqual(
          lines.filter((one) => one.trim() !== "").map((one) => one),
        );
      }),
      { numRuns: 500 },
    );
  });
});

describe("other bodies", () => {
  it("are passed on as they come", () => {
    const chunks = [new Uint8Array([1, 2]), new Uint8Array(0), new Uint8Array([10, 10])];
    expect(split("none", chunks).map(({ bytes, message }) => [[...bytes], message])).toEqual([
      [[1, 2], false],
      [[10, 10], false],
    ]);
  });
});

describe("what a content type says", () => {
  it.each([
    ["text/event-stream", "events"],
    ["Text/Event-Stream; charset=utf-8", "events"],
    ["application/x-ndjson", "lines"],
    ["application/jsonl", "lines"],
    ["application/json", "none"],
    ["text/plain", "none"],
    ["", "none"],
    [null, "none"],
  ])("%s: %s", (type, framing) => {
    expect(framingOf(type)).toBe(framing);
  });
});
