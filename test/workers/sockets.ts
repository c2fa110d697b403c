/** A client of a WebSocket, as the tests are one. */
import { expect } from "vitest";

export class Client {
  readonly socket: WebSocket;
  readonly received: (string | ArrayBuffer)[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined;
  #changed: (() => void)[] = [];

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.accept();
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      this.received.push(data);
      this.#tell();
    });
    socket.addEventListener("close", ({ code, reason }) => {
      this.closed ??= { code, reason };
      this.#tell();
    });
  }

  send(data: string | ArrayBuffer | object): void {
    this.socket.send(typeof data === "string" || data instanceof ArrayBuffer ? data : JSON.stringify(data));
  }

  /** Messages that are JSON, of these types where any are named. */
  said(...types: readonly string[]): Readonly<Record<string, unknown>>[] {
    const all = this.received.flatMap((data) => {
      try {
        return [JSON.parse(String(data)) as Readonly<Record<string, unknown>>];
      } catch {
        return [];
      }
    });
    return types.length === 0 ? all : all.filter(({ type }) => types.includes(String(type)));
  }

  async hear(type: string, count = 1): Promise<Readonly<Record<string, unknown>>> {
    await this.until(() => this.said(type).length >= count, type);
    return this.said(type)[count - 1] as Readonly<Record<string, unknown>>;
  }

  async end(): Promise<{ readonly code: number; readonly reason: string }> {
    await this.until(() => this.closed !== undefined, "a close");
    return this.closed as { readonly code: number; readonly reason: string };
  }

  async until(done: () => boolean, what = "it"): Promise<void> {
    const late_ms = Date.now() + WAIT_MS_MAX;
    while (!done()) {
      if (Date.now() > late_ms) expect.fail(`waited for ${what}; received ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => {
        this.#changed.push(resolve);
        setTimeout(resolve, 50);
      });
    }
  }

  #tell(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

const WAIT_MS_MAX = 20_000;

/** The client of a 101. */
export function clientOf(response: Response): Client {
  if (response.webSocket === null) expect.fail(`answered ${response.status}`);
  return new Client(response.webSocket);
}

export const UPGRADE = { headers: { Upgrade: "websocket" } } as const;
