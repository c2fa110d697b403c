/**
 * A metered socket: what stands between a client and the app's own socket. Every frame, and every second that begins, is paid for
 * before it is let through, out of money that is reserved ahead; so nothing waits for a round trip as long as there is some. Knows
 * neither the platform's sockets (`socket-pair.ts` binds them) nor where the money is (a `SocketMeter`).
 */
import type { Micros } from "../money.js";
import { type Rate, SECOND_MS, secondsBegun } from "./rates.js";
import {
  bytesOf,
  CLOSES,
  type Close,
  costOf,
  isBroken,
  NOTHING_USED,
  passedOn,
  type SocketEnd,
  type SocketUsage,
} from "./socket-rules.js";

/** Where the money for a socket is reserved: a `Meter`, or what was paid beforehand. */
export interface SocketMeter {
  /** What could still be paid for, as of the last answer: for a warning, never for a decision. */
  readonly left_micros: number;
  /** Why the last `pay` was a no. */
  readonly short: "max" | "unreachable" | { readonly reason: string } | undefined;
  /** Answers how many of so many units are paid for: at once where money is reserved. */
  pay(units: number, unit_micros: Micros): number | Promise<number>;
  /** So much of what was paid for was let through. */
  delivered(micros: number): void;
  /** Settles what was let through. Once; asked again, it answers the same. */
  end(): Promise<unknown>;
}

/** One side of the connection. */
export interface Side {
  /** Throws when it is closed. */
  send(data: string | ArrayBuffer): void;
  close(close: Close | undefined): void;
}

export interface SocketLimits {
  readonly message_bytes_max: number;
  /** Without a frame either way. Each of these times may be infinite. */
  readonly idle_ms: number;
  readonly duration_ms: number;
  /** How long it waits for money when there is none, with nothing delivered and no time charged. 0: it is closed at once. */
  readonly pause_ms: number;
  /** How often `usage` is told. */
  readonly update_ms: number;
  /** `low` is told once when less than this is left, and again after more came. */
  readonly low_micros: number;
}

export interface SocketReport {
  readonly usage: SocketUsage;
  readonly used_micros: number;
  /** What could still be used, as far as is known. */
  readonly left_micros: number;
}

/** What happens to a socket, for who wants to tell somebody. None of them may throw. */
export interface SocketHooks {
  readonly usage?: ((report: SocketReport) => void) | undefined;
  readonly low?: ((report: SocketReport) => void) | undefined;
  readonly paused?: ((report: SocketReport) => void) | undefined;
  readonly resumed?: ((report: SocketReport) => void) | undefined;
  /** Before the sides are closed. */
  readonly ended?: ((end: SocketEnd, report: SocketReport) => void) | undefined;
  /** A frame of the client's that is not the app's: it is not delivered, and costs nothing. */
  readonly isControl?: ((data: string) => boolean) | undefined;
}

export interface SocketPorts {
  readonly now: () => number;
  /** Answers how to call it off. */
  readonly after: (delay_ms: number, work: () => void) => () => void;
  /** Keeps what is under way alive when the client is gone. */
  readonly waitUntil: (work: Promise<unknown>) => void;
}

export interface SocketInput {
  readonly client: Side;
  readonly app: Side;
  readonly rate: Rate;
  /** Its base is paid already. */
  readonly meter: SocketMeter;
  readonly limits: SocketLimits;
  readonly hooks: SocketHooks;
  readonly ports: SocketPorts;
  /** In place of the usual ones. */
  readonly closes?: Partial<Readonly<Record<SocketEnd, Close>>> | undefined;
}

type Name = "client" | "app";

interface Frame {
  readonly from: Name;
  readonly data: string | ArrayBuffer;
  readonly bytes: number;
}

type Waiting = Frame | { readonly from: Name; readonly close: { readonly code: number; readonly reason: string } };

/** What may wait for money at once, both ways together. */
const WAITING_BYTES_MAX = 1_048_576;
const WAITING_FRAMES_MAX = 1_000;

/** How often a socket that waits for money asks whether some came. */
const POLL_FIRST_MS = 250;
const POLL_MAX_MS = 5_000;

/** Longer timers are set again: some runtimes have a limit. */
const TICK_MS_MAX = 3_600_000;

export class MeteredSocket {
  readonly #in: SocketInput;
  #usage: SocketUsage = NOTHING_USED;
  #paid_micros: number;
  /** Seconds that are paid for. */
  #seconds = 0;
  /** Time until it was last paused. */
  #ran_ms = 0;
  #runningSince_ms: number | undefined;
  readonly #opened_ms: number;
  #active_ms: number;
  #updated_ms: number;
  #pausedUntil_ms = 0;
  #poll_ms = POLL_FIRST_MS;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #paying = false;
  #isLow = false;
  #ended = false;
  #cancelTick: (() => void) | undefined;

  constructor(input: SocketInput) {
    this.#in = input;
    const now = input.ports.now();
    this.#opened_ms = now;
    this.#active_ms = now;
    this.#updated_ms = now;
    this.#runningSince_ms = now;
    this.#paid_micros = input.rate.base_micros;
  }

  /** From here on time counts. */
  start(): void {
    this.#pump();
    this.#tick();
  }

  fromClient(data: string | ArrayBuffer): void {
    if (!this.#ended && typeof data === "string" && this.#in.hooks.isControl?.(data) === true) return;
    this.#arrived("client", data);
  }

  fromApp(data: string | ArrayBuffer): void {
    this.#arrived("app", data);
  }

  /** One side closed, or broke (code 1006). Frames that came before it go first, unless they wait for money that is not there. */
  closed(from: Name, code: number, reason: string): void {
    if (this.#ended) return;
    if (this.#waiting.length > 0 && this.#isRunning) this.#waiting.push({ from, close: { code, reason } });
    else this.#passClose(from, code, reason);
  }

  /** Ends it from above. `close` in place of the usual one. */
  end(end: SocketEnd, close?: Close): void {
    this.#end(end, close);
  }

  /** Sends the client a frame that is not the app's. It costs nothing. */
  tell(text: string): void {
    attemptSend(this.#in.client, text);
  }

  /** Asks for money at once, where it waits for some. */
  retry(): void {
    if (this.#ended || this.#isRunning) return;
    this.#poll_ms = POLL_FIRST_MS;
    this.#pump();
  }

  report(): SocketReport {
    const left = Math.min(this.#in.meter.left_micros, this.#in.rate.max_micros - this.#paid_micros);
    const usage = { ...this.#usage, open_ms: this.#open_ms() };
    return { usage, used_micros: this.#paid_micros, left_micros: Math.max(0, left) };
  }

  get #isRunning(): boolean {
    return this.#runningSince_ms !== undefined;
  }

  #open_ms(): number {
    const since = this.#runningSince_ms;
    // A clock set back gives nothing back.
    const running_ms = since === undefined ? 0 : Math.max(0, this.#in.ports.now() - since);
    return this.#ran_ms + running_ms;
  }

  #arrived(from: Name, data: string | ArrayBuffer): void {
    if (this.#ended) return;
    const bytes = bytesOf(data);
    this.#active_ms = this.#in.ports.now();
    if (bytes > this.#in.limits.message_bytes_max) {
      this.#end("message_too_large");
      return;
    }
    this.#waiting.push({ from, data, bytes });
    this.#waitingBytes += bytes;
    if (this.#isRunning) this.#pump();
    if (this.#waitingBytes > WAITING_BYTES_MAX || this.#waiting.length > WAITING_FRAMES_MAX) this.#end("overflow");
  }

  /** Lets through all that is paid for, and asks for the money of what comes next. Nothing overtakes anything. */
  #pump(): void {
    while (!this.#ended && !this.#paying) {
      const head = this.#waiting[0];
      if (head !== undefined && "close" in head) {
        this.#passClose(head.from, head.close.code, head.close.reason);
        return;
      }
      const next = this.#with(head);
      const cost = costOf(this.#in.rate, next) - this.#paid_micros;
      if (cost === Number.POSITIVE_INFINITY) {
        this.#end("price_max_reached");
        return;
      }
      const paid = cost > 0 ? this.#in.meter.pay(1, cost as Micros) : 1;
      if (typeof paid !== "number") {
        this.#paying = true;
        paid.then(
          (units) => this.#answered(head, next, units >= 1 ? cost : undefined),
          () => this.#answered(head, next, undefined),
        );
        return;
      }
      if (paid < 1) {
        this.#uncovered();
        return;
      }
      this.#accept(head, next, cost);
      if (head === undefined) return;
    }
  }

  #with(frame: Frame | undefined): SocketUsage {
    const { messages, bytes } = this.#usage;
    const open_ms = this.#open_ms();
    return frame === undefined
      ? { open_ms, messages, bytes }
      : { open_ms, messages: messages + 1, bytes: bytes + frame.bytes };
  }

  #answered(head: Frame | undefined, next: SocketUsage, cost: number | undefined): void {
    this.#paying = false;
    if (this.#ended) return;
    if (cost === undefined) {
      this.#uncovered();
      return;
    }
    this.#accept(head, next, cost);
    this.#pump();
    this.#tick();
  }

  /** What was paid for is let through. */
  #accept(frame: Frame | undefined, next: SocketUsage, cost: number): void {
    this.#usage = next;
    this.#seconds = secondsBegun(next.open_ms);
    if (cost > 0) {
      this.#paid_micros += cost;
      this.#in.meter.delivered(cost);
    }
    if (!this.#isRunning) this.#resume();
    if (frame === undefined) return;
    this.#waiting.shift();
    this.#waitingBytes -= frame.bytes;
    attemptSend(frame.from === "client" ? this.#in.app : this.#in.client, frame.data);
  }

  /** The next frame, or the second that begins, cannot be paid for. */
  #uncovered(): void {
    const end = endOf(this.#in.meter.short);
    const closing = this.#waiting.find((one) => "close" in one);
    if (closing !== undefined && "close" in closing)
      this.#passClose(closing.from, closing.close.code, closing.close.reason);
    else if (end !== "balance_exhausted" || this.#in.limits.pause_ms === 0) this.#end(end);
    else this.#pause();
  }

  #pause(): void {
    const { limits, ports, hooks } = this.#in;
    if (this.#isRunning) {
      // Time that a late timer ran over is not owed when it goes on.
      this.#ran_ms = Math.min(this.#open_ms(), this.#seconds * SECOND_MS);
      this.#runningSince_ms = undefined;
      this.#pausedUntil_ms = ports.now() + limits.pause_ms;
      this.#poll_ms = POLL_FIRST_MS;
      hooks.paused?.(this.report());
    }
    const left_ms = this.#pausedUntil_ms - ports.now();
    if (left_ms <= 0) {
      this.#end("balance_exhausted");
      return;
    }
    this.#wake(Math.min(this.#poll_ms, left_ms), () => this.#pump());
    this.#poll_ms = Math.min(this.#poll_ms * 2, POLL_MAX_MS);
  }

  #resume(): void {
    this.#runningSince_ms = this.#in.ports.now();
    this.#active_ms = this.#runningSince_ms;
    this.#in.hooks.resumed?.(this.report());
    this.#tick();
  }

  /** All that time brings. */
  #tick(): void {
    if (this.#ended || !this.#isRunning) return;
    const { limits, ports, hooks } = this.#in;
    const now = ports.now();
    if (now - this.#opened_ms >= limits.duration_ms) {
      this.#end("max_duration_reached");
      return;
    }
    if (now - this.#active_ms >= limits.idle_ms) {
      this.#end("idle");
      return;
    }
    if (now - this.#updated_ms >= limits.update_ms) {
      this.#updated_ms = now;
      hooks.usage?.(this.report());
    }
    this.#warn();
    this.#schedule(now);
  }

  #warn(): void {
    const report = this.report();
    const isLow = report.left_micros < this.#in.limits.low_micros;
    if (isLow && !this.#isLow) this.#in.hooks.low?.(report);
    this.#isLow = isLow;
  }

  #schedule(now: number): void {
    const { rate, limits } = this.#in;
    const second =
      rate.per_second_micros > 0 && !this.#paying
        ? this.#seconds * SECOND_MS - this.#open_ms()
        : Number.POSITIVE_INFINITY;
    const due = Math.min(
      TICK_MS_MAX,
      second,
      this.#opened_ms + limits.duration_ms - now,
      this.#active_ms + limits.idle_ms - now,
      this.#updated_ms + limits.update_ms - now,
    );
    this.#wake(Math.max(0, Math.ceil(due)), () => this.#woken());
  }

  #woken(): void {
    // The end of its time comes before the second that begins with it.
    if (this.#in.ports.now() - this.#opened_ms < this.#in.limits.duration_ms && this.#isRunning) this.#pump();
    this.#tick();
  }

  /** There is one timer. */
  #wake(delay_ms: number, work: () => void): void {
    this.#cancelTick?.();
    this.#cancelTick = this.#in.ports.after(delay_ms, work);
  }

  #passClose(from: Name, code: number, reason: string): void {
    const end = isBroken(code) ? (`${from}_gone` as const) : (`${from}_closed` as const);
    this.#end(end, passedOn(code, reason));
  }

  /** Once: whatever comes second finds it ended. */
  #end(end: SocketEnd, close?: Close): void {
    if (this.#ended) return;
    const { client, app, meter, hooks, ports } = this.#in;
    const report = this.report();
    this.#ended = true;
    this.#cancelTick?.();
    this.#waiting.length = 0;
    ports.waitUntil(meter.end());
    hooks.ended?.(end, report);
    const usual = end === "client_closed" || end === "app_closed" ? undefined : CLOSES[end];
    const said = close ?? this.#in.closes?.[end] ?? usual;
    attemptClose(client, said);
    attemptClose(app, said);
  }
}

/** What a socket that cannot be paid for ends as. */
function endOf(short: SocketMeter["short"]): SocketEnd {
  if (short === "max") return "price_max_reached";
  if (short === undefined || short === "unreachable") return "unavailable";
  const { reason } = short;
  return reason === "credential_revoked" || reason === "frozen" ? reason : "balance_exhausted";
}

/** A side that is closed already gets nothing more: its close is on its way here. */
function attemptSend(side: Side, data: string | ArrayBuffer): void {
  try {
    side.send(data);
  } catch {}
}

function attemptClose(side: Side, close: Close | undefined): void {
  try {
    side.close(close);
  } catch {}
}
