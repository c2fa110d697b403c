/**
 * Lets a body through as far as it is paid for. An explicit loop from reader to writer, to be run under `waitUntil`: neither `flush`
 * nor `cancel` of a transform stream is called reliably when a client goes away, a write that fails is seen. What was written is
 * delivered; a part whose write failed is not, and costs nothing.
 */
import type { Refusal } from "../contract.js";
import type { Micros } from "../money.js";
import type { Meter, MeterEnd } from "./meter.js";
import type { Part, Parts } from "./parts.js";
import { KILOBYTE_BYTES, kilobytesBegun, type Rate, SECOND_MS, secondsBegun } from "./rates.js";
import type { SocketEnd } from "./socket-rules.js";

/** What was let through. */
export interface Units {
  /** That have begun. */
  readonly seconds: number;
  readonly bytes: number;
  readonly messages: number;
}

/** Why a body ended. */
export type EndCause =
  | "complete"
  /** A limit admits no more: `refusal` says which. */
  | "exhausted"
  | "max"
  | "client_gone"
  | "upstream_failed"
  /** The envelope could not be asked for more. */
  | "unreachable";

export interface Ended extends MeterEnd {
  readonly cause: EndCause;
  readonly units: Units;
  readonly refusal: Refusal | undefined;
  readonly socket?: SocketEnd | undefined;
}

/** Prices parts one after the other. */
export interface Pricer {
  next(part: Part): Priced;
}

export interface Priced {
  /** Below zero where what came before turns out to have cost less. */
  readonly micros: number;
  /** It is the price of what was delivered before: the part is let through all the same. */
  readonly due: boolean;
}

export interface Delivery {
  readonly source: ReadableStream<Uint8Array>;
  readonly sink: WritableStream<Uint8Array>;
  readonly meter: Meter;
  readonly rate: Rate;
  readonly parts: Parts;
  /** A price of each part's own, beside the rate. */
  readonly pricer?: Pricer | undefined;
  /** The client's, where the runtime tells. */
  readonly signal?: AbortSignal | null | undefined;
  /** What is paid for of a body whose source fails: what was delivered, or nothing. */
  readonly onUpstreamError: "delivered" | "nothing";
  /** What the client is told at the end, where the body has room for it. Not when it failed, nor when the client is gone. */
  readonly last?: ((ended: Ended) => readonly Uint8Array[] | Promise<readonly Uint8Array[]>) | undefined;
  /** The client can tell that the body was cut only if it breaks off: its length was announced. */
  readonly breaksOff: boolean;
}

/** A write of no more than this, so that little is lost to a client who leaves in the middle of one. */
const PIECE_BYTES_MAX = 32 * KILOBYTE_BYTES;

const UNPRICED: Priced = { micros: 0, due: false };

/** Never throws. */
export function deliver(delivery: Delivery): Promise<Ended> {
  return new Deliverer(delivery).run();
}

type Read = ReadableStreamReadResult<Uint8Array> | { readonly failed: unknown };

class Deliverer {
  readonly #at: Delivery;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #begun_ms = Date.now();
  #seconds = 0;
  #kilobytes = 0;
  #bytes = 0;
  #messages = 0;
  #cause: EndCause | undefined;
  #refusal: Refusal | undefined;
  #failure: unknown;
  /** Wakes whoever waits for the source or for the client. */
  #wake: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #counting: Promise<boolean> | undefined;

  constructor(delivery: Delivery) {
    this.#at = delivery;
    this.#reader = delivery.source.getReader();
    this.#writer = delivery.sink.getWriter();
  }

  async run(): Promise<Ended> {
    const { signal } = this.#at;
    const leave = (): void => this.#stop("client_gone");
    this.#writer.closed.catch(leave);
    signal?.addEventListener("abort", leave);
    if (signal?.aborted) leave();
    try {
      if (await this.#secondPaid()) await this.#pump();
    } catch (error) {
      this.#failure = error;
      this.#stop("upstream_failed");
    }
    // A second that has begun is paid for.
    await this.#counting;
    this.#cause ??= "complete";
    clearTimeout(this.#timer);
    signal?.removeEventListener("abort", leave);
    return this.#finish(this.#cause);
  }

  #stop(cause: EndCause): void {
    this.#cause ??= cause;
    this.#wake?.();
  }

  /** Fewer units were paid for than there are. */
  #stopShort(): void {
    const { short } = this.#at.meter;
    if (short !== undefined && typeof short === "object") {
      this.#refusal ??= short;
      this.#stop("exhausted");
    } else this.#stop(short ?? "exhausted");
  }

  async #pump(): Promise<void> {
    const { parts } = this.#at;
    while (this.#cause === undefined) {
      const read = await this.#read();
      if (read === undefined) return;
      if ("failed" in read) throw read.failed;
      for (const part of read.done ? parts.end() : parts.push(read.value)) {
        await this.#part(part);
        if (this.#cause !== undefined) return;
      }
      if (read.done) return;
    }
  }

  /** `undefined` when it is over before the source says anything. */
  #read(): Promise<Read | undefined> {
    const read: Promise<Read> = this.#reader.read().catch((failed: unknown) => ({ failed }));
    return this.#unlessStopped(read);
  }

  /** Not `Promise.race` with one promise for all: what has waited for that would pile up on it. */
  async #unlessStopped<T>(work: Promise<T>): Promise<T | undefined> {
    if (this.#cause !== undefined) return undefined;
    const stopped = new Promise<undefined>((resolve) => {
      this.#wake = () => resolve(undefined);
    });
    return Promise.race([work, stopped]).finally(() => {
      this.#wake = undefined;
    });
  }

  async #part(part: Part): Promise<void> {
    if (!(await this.#secondPaid())) return;
    const { meter, rate, pricer } = this.#at;
    let cost = 0;
    if (part.message && rate.per_message_micros > 0) {
      if ((await this.#pay(1, rate.per_message_micros)) === 0) return this.#stopShort();
      cost += rate.per_message_micros;
    }
    const { micros, due } = pricer?.next(part) ?? UNPRICED;
    if (due || micros < 0) meter.adjust(micros);
    else if (micros > 0) {
      if ((await this.#pay(1, micros as Micros)) === 0) return this.#stopShort();
      cost += micros;
    }
    const whole = this.#at.parts.framed;
    if (!(await this.#bytesOf(part.bytes, whole, cost))) return;
    if (part.message) this.#messages += 1;
  }

  /** True when all of it was written. A part of a text body is let through whole or not at all. */
  async #bytesOf(bytes: Uint8Array, whole: boolean, cost: number): Promise<boolean> {
    const price = this.#at.rate.per_kilobyte_micros;
    const size = whole ? Math.max(1, bytes.length) : PIECE_BYTES_MAX;
    let fixed = cost;
    for (let from = 0; from < bytes.length; from += size) {
      const piece = bytes.subarray(from, from + size);
      const begun = kilobytesBegun(this.#bytes + piece.length);
      const paid = price === 0 ? begun : this.#kilobytes + (await this.#pay(begun - this.#kilobytes, price));
      const room = paid * KILOBYTE_BYTES - this.#bytes;
      const fits = paid === begun ? piece : whole ? piece.subarray(0, 0) : piece.subarray(0, room);
      if (fits.length > 0) {
        if (!(await this.#write(fits))) return false;
        this.#bytes += fits.length;
        this.#at.meter.delivered(fixed + (paid - this.#kilobytes) * price);
        this.#kilobytes = paid;
        fixed = 0;
      }
      if (paid < begun) {
        this.#stopShort();
        return false;
      }
    }
    return true;
  }

  async #pay(units: number, unit_micros: Micros): Promise<number> {
    if (units <= 0) return 0;
    const { meter } = this.#at;
    const answer = meter.pay(units, unit_micros);
    return typeof answer === "number" ? answer : await answer;
  }

  /** False when the client is gone, or it is over before they took it. */
  async #write(bytes: Uint8Array): Promise<boolean> {
    const written = this.#writer.write(bytes).then(
      () => true,
      () => {
        this.#stop("client_gone");
        return false;
      },
    );
    return (await this.#unlessStopped(written)) ?? false;
  }

  /** Pays for the second that it is now, and for those before it. One at a time: the clock asks for it, and so does what comes. */
  #secondPaid(): boolean | Promise<boolean> {
    if (this.#at.rate.per_second_micros === 0) return true;
    this.#counting ??= this.#countSeconds().finally(() => {
      this.#counting = undefined;
    });
    return this.#counting;
  }

  async #countSeconds(): Promise<boolean> {
    const { meter, rate } = this.#at;
    clearTimeout(this.#timer);
    for (;;) {
      const elapsed_ms = Date.now() - this.#begun_ms;
      const owed = secondsBegun(elapsed_ms) - this.#seconds;
      if (this.#cause !== undefined) return false;
      if (owed <= 0) break;
      const paid = await this.#pay(owed, rate.per_second_micros);
      this.#seconds += paid;
      // Time that has begun has gone by, whatever came in it.
      meter.delivered(paid * rate.per_second_micros);
      if (paid < owed) {
        this.#stopShort();
        return false;
      }
    }
    const next_ms = this.#begun_ms + this.#seconds * SECOND_MS - Date.now();
    this.#timer = setTimeout(() => void this.#secondPaid(), Math.max(1, next_ms));
    return true;
  }

  async #finish(cause: EndCause): Promise<Ended> {
    const { meter, onUpstreamError } = this.#at;
    if (cause !== "complete" && cause !== "upstream_failed") this.#reader.cancel(cause).catch(() => undefined);
    if (cause === "upstream_failed" && onUpstreamError === "nothing") meter.adjust(0 - meter.delivered_micros);
    const units = { seconds: this.#seconds, bytes: this.#bytes, messages: this.#messages };
    const ended: Ended = { ...(await meter.end()), cause, units, refusal: this.#refusal };
    await this.#close(ended).catch(() => undefined);
    return ended;
  }

  async #close(ended: Ended): Promise<void> {
    const { cause } = ended;
    const broken =
      cause === "client_gone" || cause === "upstream_failed" || (cause !== "complete" && this.#at.breaksOff);
    if (broken) return this.#writer.abort(cause === "upstream_failed" ? this.#failure : new Error(cause));
    for (const bytes of (await this.#at.last?.(ended)) ?? []) await this.#writer.write(bytes);
    await this.#writer.close();
  }
}
