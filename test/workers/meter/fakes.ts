/** A metered socket with a clock, a purse and two sides of the test's own. */

import type { Rate } from "../../../src/meter/rates.js";
import { MeteredSocket, type SocketHooks, type SocketLimits, type SocketMeter } from "../../../src/meter/socket.js";
import type { SocketEnd } from "../../../src/meter/socket-rules.js";
import type { Micros } from "../../../src/money.js";

export const NO_LIMITS: SocketLimits = {
  message_bytes_max: 1_000_000,
  idle_ms: Number.POSITIVE_INFINITY,
  duration_ms: Number.POSITIVE_INFINITY,
  pause_ms: 0,
  update_ms: Number.POSITIVE_INFINITY,
  low_micros: 0,
};

export const rate = (fields: Partial<Record<keyof Rate, number>>): Rate => ({
  base_micros: 0 as Micros,
  per_second_micros: 0 as Micros,
  per_message_micros: 0 as Micros,
  per_kilobyte_micros: 0 as Micros,
  max_micros: Number.MAX_SAFE_INTEGER as Micros,
  ...(fields as Partial<Rate>),
});

export class Clock {
  now_ms = 1_000_000;
  #timers: { readonly at_ms: number; readonly work: () => void }[] = [];

  readonly now = (): number => this.now_ms;

  readonly after = (delay_ms: number, work: () => void): (() => void) => {
    const timer = { at_ms: this.now_ms + delay_ms, work };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  };

  /** Lets time pass, timer by timer, and whatever waits for an answer get it. */
  async pass(ms: number): Promise<void> {
    const until_ms = this.now_ms + ms;
    for (;;) {
      await settled();
      const [next] = [...this.#timers].sort((one, other) => one.at_ms - other.at_ms);
      if (next === undefined || next.at_ms > until_ms) break;
      this.now_ms = Math.max(this.now_ms, next.at_ms);
      this.#timers = this.#timers.filter((one) => one !== next);
      next.work();
    }
    this.now_ms = until_ms;
    await settled();
  }
}

export const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
};

/** Money for one socket: reserves what is asked for and some more, as long as there is some. */
export class Purse implements SocketMeter {
  /** Neither reserved nor taken. */
  free_micros: number;
  #ahead_micros = 0;
  #delivered_micros = 0;
  short: SocketMeter["short"];
  ends = 0;
  asked = 0;
  /** Says no to whatever is not reserved yet. */
  says: SocketMeter["short"];

  constructor(free_micros: number, reserved_micros = 0) {
    this.free_micros = free_micros - reserved_micros;
    this.#ahead_micros = reserved_micros;
  }

  get left_micros(): number {
    return this.free_micros + this.#ahead_micros;
  }

  get delivered_micros(): number {
    return this.#delivered_micros;
  }

  pay(units: number, unit_micros: number): number | Promise<number> {
    const wanted = units * unit_micros;
    if (wanted > this.#ahead_micros) return this.#more(units, unit_micros);
    this.#ahead_micros -= wanted;
    return units;
  }

  async #more(units: number, unit_micros: number): Promise<number> {
    this.asked += 1;
    await Promise.resolve();
    this.short = this.says;
    if (this.says !== undefined) return 0;
    const more = Math.min(this.free_micros, 20 * unit_micros);
    this.free_micros -= more;
    this.#ahead_micros += more;
    if (units * unit_micros > this.#ahead_micros) {
      this.short = { reason: "insufficient_balance" };
      return 0;
    }
    this.#ahead_micros -= units * unit_micros;
    return units;
  }

  delivered(micros: number): void {
    this.#delivered_micros += micros;
  }

  async end(): Promise<void> {
    this.ends += 1;
  }
}

export class Line {
  readonly sent: (string | ArrayBuffer)[] = [];
  readonly closes: ({ readonly code: number; readonly reason: string } | undefined)[] = [];

  send(data: string | ArrayBuffer): void {
    if (this.closes.length > 0) throw new Error("closed");
    this.sent.push(data);
  }

  close(close: { readonly code: number; readonly reason: string } | undefined): void {
    this.closes.push(close);
  }
}

export interface Opened {
  readonly socket: MeteredSocket;
  readonly client: Line;
  readonly app: Line;
  readonly clock: Clock;
  readonly purse: Purse;
  readonly told: [string, number, number][];
  readonly ends: SocketEnd[];
}

export function open(
  rates: Parameters<typeof rate>[0],
  purse: Purse,
  limits: Partial<SocketLimits> = {},
  hooks: SocketHooks = {},
): Opened {
  const clock = new Clock();
  const [client, app] = [new Line(), new Line()];
  const told: [string, number, number][] = [];
  const ends: SocketEnd[] = [];
  const tell = (name: string) => (report: { used_micros: number; left_micros: number }) => {
    told.push([name, report.used_micros, report.left_micros]);
  };
  const socket = new MeteredSocket({
    client,
    app,
    rate: rate(rates),
    meter: purse,
    limits: { ...NO_LIMITS, ...limits },
    hooks: {
      usage: tell("usage"),
      low: tell("low"),
      paused: tell("paused"),
      resumed: tell("resumed"),
      ended: (end) => void ends.push(end),
      ...hooks,
    },
    ports: { now: clock.now, after: clock.after, waitUntil: (work) => void work },
  });
  socket.start();
  return { socket, client, app, clock, purse, told, ends };
}
