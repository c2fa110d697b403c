/** A server that is killed and comes back on the same storage, with a new origin each time. */
import { setTimeout as sleep } from "node:timers/promises";
import { send } from "../lib/http.ts";
import { startWorkerd } from "../lib/workerd.ts";
import type { Server } from "../lib/wrangler.ts";

export class CrashingServer {
  /** From the kill to the first answer, of each restart. */
  readonly restarts_ms: number[] = [];
  readonly #bundle: string;
  readonly #storage: string;
  #server: Promise<Server>;

  constructor(bundle: string, storage: string) {
    this.#bundle = bundle;
    this.#storage = storage;
    this.#server = this.#start();
  }

  /** Where the server is; while it is down, waits until it is back. */
  async origin(): Promise<string> {
    return (await this.#server).origin;
  }

  async crash(): Promise<void> {
    const running = await this.#server;
    const began_ms = performance.now();
    this.#server = running.kill().then(() => this.#start());
    await this.#server;
    this.restarts_ms.push(performance.now() - began_ms);
  }

  async stop(): Promise<void> {
    await (await this.#server).kill();
  }

  async #start(): Promise<Server> {
    const server = await startWorkerd(this.#bundle, this.#storage);
    await answering(server.origin);
    return server;
  }
}

async function answering(origin: string): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      await send(origin, "/health", { timeout_ms: 5_000 });
      return;
    } catch (error) {
      if (tried === 500) throw error;
      await sleep(10);
    }
  }
}
