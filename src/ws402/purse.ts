/** Where the money of a session is: in the caller's envelope, or paid to a provider beforehand. */
import type { SocketMeter } from "../meter/socket.js";

/** Money that was paid beforehand, of one session alone: nobody else spends from it, so nobody has to be asked. */
export class PrepaidMeter implements SocketMeter {
  #paid_micros: number;
  #taken_micros = 0;
  short: SocketMeter["short"];

  constructor(paid_micros: number) {
    this.#paid_micros = paid_micros;
  }

  get left_micros(): number {
    return this.#paid_micros - this.#taken_micros;
  }

  pay(units: number, unit_micros: number): number {
    const paid = Math.min(units, Math.floor(this.left_micros / unit_micros));
    this.#taken_micros += paid * unit_micros;
    this.short = paid < units ? { reason: "insufficient_balance" } : undefined;
    return paid;
  }

  /** More was paid. Never less. */
  raiseTo(paid_micros: number): void {
    this.#paid_micros = Math.max(this.#paid_micros, paid_micros);
  }

  delivered(): void {}

  async end(): Promise<undefined> {
    return undefined;
  }
}
