/** What ws402 tells whoever listens, in their own isolate. A listener that throws stops nothing; nobody has to listen to `error`. */
import type { RefundDetails, WS402Session } from "./config.js";

export interface WS402Events {
  readonly payment_verified: WS402Session;
  readonly session_end: WS402Session;
  readonly refund: { readonly session: WS402Session; readonly refund: RefundDetails };
  readonly refund_error: { readonly session: WS402Session; readonly error: unknown };
  readonly error: unknown;
}

type Listener = (event: never) => void;

export class Emitter {
  readonly #listeners = new Map<keyof WS402Events, Set<Listener>>();

  on<Name extends keyof WS402Events>(name: Name, listener: (event: WS402Events[Name]) => void): this {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return this;
  }

  off<Name extends keyof WS402Events>(name: Name, listener: (event: WS402Events[Name]) => void): this {
    this.#listeners.get(name)?.delete(listener);
    return this;
  }

  /** Of this package. */
  emit<Name extends keyof WS402Events>(name: Name, event: WS402Events[Name]): void {
    const listeners = [...(this.#listeners.get(name) ?? [])] as unknown as ((event: WS402Events[Name]) => void)[];
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        console.error("with-envelope/ws402: a listener failed:", error);
      }
    }
    if (name === "error" && listeners.length === 0) console.error("with-envelope/ws402:", event);
  }

  /** Calls what an app gave; what it throws is an `error`. */
  async call(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.emit("error", error);
    }
  }
}
