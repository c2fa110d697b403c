/**
 * How a body falls into parts: server-sent events, lines, or as it comes. Pure: bytes in, bytes out, none lost, none added. A part
 * of a text body is whole, so whoever cuts between two parts never leaves half of one. Bytes are compared, not characters: CR, LF
 * and the letters of a field's name are no part of any longer UTF-8 sequence.
 */

export interface Part {
  readonly bytes: Uint8Array;
  /** What is counted as a message: an event with data, or a line that is not blank. */
  readonly message: boolean;
}

export interface Parts {
  /** The parts that a chunk completes. */
  push(chunk: Uint8Array): readonly Part[];
  /** What is left when the body is over. */
  end(): readonly Part[];
  /** Parts are whole messages: they are let through whole, or not at all. */
  readonly framed: boolean;
  /** What was handed out ends where a part ends, so something may be written after it. */
  readonly whole: boolean;
}

/** `frames`: a socket's, which come as they are. */
export type Framing = "events" | "lines" | "frames" | "none";

/** What a content type says its messages are. */
export function framingOf(contentType: string | null): Framing {
  const [type = ""] = (contentType ?? "").toLowerCase().split(";");
  if (type.trim() === "text/event-stream") return "events";
  return LINES.has(type.trim()) ? "lines" : "none";
}

const LINES = new Set(["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]);

export function partsOf(framing: Framing): Parts {
  if (framing === "none" || framing === "frames") return AS_IT_COMES;
  return new Splitter(framing === "events" ? new EventScanner() : new LineScanner());
}

const AS_IT_COMES: Parts = {
  push: (bytes) => (bytes.length === 0 ? [] : [{ bytes, message: false }]),
  end: () => [],
  framed: false,
  whole: true,
};

/** A part longer than this is not waited for: it is handed out as it comes, counted once. */
export const PART_BYTES_MAX = 1_048_576;

/** Reads byte by byte where a part ends. */
interface Scanner {
  /** The index after the end of the part that ends first in `bytes`, from `from` on; -1 when none does. */
  next(bytes: Uint8Array, from: number): number;
  /** Whether what was read since the last part counts as a message. */
  readonly message: boolean;
  /** Begins the next part. */
  begin(): void;
}

class Splitter implements Parts {
  readonly framed = true;
  readonly #scanner: Scanner;
  #kept: Uint8Array[] = [];
  #length = 0;
  /** Of a part that is handed out as it comes: it was counted. */
  #counted = false;
  #whole = true;

  constructor(scanner: Scanner) {
    this.#scanner = scanner;
  }

  get whole(): boolean {
    return this.#whole;
  }

  push(chunk: Uint8Array): readonly Part[] {
    const parts: Part[] = [];
    let begin = 0;
    for (let end = this.#scanner.next(chunk, 0); end !== -1; end = this.#scanner.next(chunk, begin)) {
      this.#keep(chunk.subarray(begin, end));
      parts.push(this.#take(true));
      begin = end;
    }
    if (begin < chunk.length) this.#keep(chunk.subarray(begin));
    if (this.#length > PART_BYTES_MAX) parts.push(this.#take(false));
    return parts;
  }

  end(): readonly Part[] {
    return this.#length === 0 ? [] : [this.#take(false)];
  }

  #keep(bytes: Uint8Array): void {
    this.#kept.push(bytes);
    this.#length += bytes.length;
  }

  #take(whole: boolean): Part {
    const message = this.#scanner.message && !this.#counted;
    const part = { bytes: joined(this.#kept, this.#length), message };
    this.#kept = [];
    this.#length = 0;
    this.#counted = !whole && (this.#counted || message);
    this.#whole = whole;
    if (whole) this.#scanner.begin();
    return part;
  }
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) return first;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const COLON = 58;
const DATA = [100, 97, 116, 97] as const;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;

/**
 * An event ends with a blank line; a line ends with CR LF, LF or CR (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
 * Without a `data` field it is not dispatched, so it is no message: a comment that keeps the line open costs nothing.
 */
class EventScanner implements Scanner {
  message = false;
  /** Bytes in this line so far. */
  #column = 0;
  /** They are the beginning of `data`. */
  #isData = true;
  #afterCr = false;
  /** Bytes of a byte order mark at the very beginning; -1 once that is past. */
  #mark = 0;

  begin(): void {
    this.message = false;
  }

  next(bytes: Uint8Array, from: number): number {
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (this.#isMark(byte)) continue;
      const second = this.#afterCr && byte === LF;
      this.#afterCr = byte === CR;
      if (second) continue;
      if (byte !== LF && byte !== CR) {
        this.#character(byte);
        continue;
      }
      if (this.#isData && this.#column === DATA.length) this.message = true;
      const blank = this.#column === 0;
      this.#column = 0;
      this.#isData = true;
      if (blank) return this.#past(bytes, i);
    }
    return -1;
  }

  #character(byte: number): void {
    if (this.#column < DATA.length) this.#isData &&= byte === DATA[this.#column];
    else if (this.#column === DATA.length) {
      if (this.#isData && byte === COLON) this.message = true;
      this.#isData = false;
    }
    this.#column += 1;
  }

  /** The LF of a CR LF goes with it, where it is there already. */
  #past(bytes: Uint8Array, end: number): number {
    if (!this.#afterCr || bytes[end + 1] !== LF) return end + 1;
    this.#afterCr = false;
    return end + 2;
  }

  #isMark(byte: number): boolean {
    if (this.#mark === -1) return false;
    const is = byte === BYTE_ORDER_MARK[this.#mark];
    this.#mark = is && this.#mark + 1 < BYTE_ORDER_MARK.length ? this.#mark + 1 : -1;
    return is;
  }
}

class LineScanner implements Scanner {
  message = false;

  begin(): void {
    this.message = false;
  }

  next(bytes: Uint8Array, from: number): number {
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (byte === LF) return i + 1;
      if (byte > SPACE) this.message = true;
    }
    return -1;
  }
}

const decoder = new TextDecoder();

/** What an event says: its `data` lines, joined as a browser joins them. */
export function dataOf(event: Uint8Array): string {
  const text = decoder.decode(event);
  const data: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line === "data") data.push("");
    else if (line.startsWith("data:")) data.push(line.startsWith("data: ") ? line.slice(6) : line.slice(5));
  }
  return data.join("\n");
}

export function lineOf(bytes: Uint8Array): string {
  return decoder.decode(bytes).replace(/\r?\n$/, "");
}
