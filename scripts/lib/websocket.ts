/**
 * A WebSocket client with its hands on the wire (RFC 6455): it can leave without a close frame, which no client of a library can.
 * Text frames only, no extensions.
 */
import { randomBytes } from "node:crypto";
import { type OutgoingHttpHeaders, request } from "node:http";
import type { Socket } from "node:net";

const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const FINAL = 0x80;
const MASKED = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

export interface WebSocketClient {
  readonly received: readonly string[];
  /** Of the close frame; `undefined` until one comes. */
  readonly code: number | undefined;
  send(text: string): void;
  /** Sends a close frame. */
  close(code: number): void;
  /** Leaves as a machine does that loses its power: no close frame. */
  vanish(): void;
  /** Called with each frame; at most one at a time. */
  onMessage: ((text: string) => void) | undefined;
  /** Resolves when the connection is over, however. */
  readonly over: Promise<void>;
}

/** Rejects with the status where the server answers no 101. */
export function openWebSocket(
  origin: string,
  path: string,
  headers: OutgoingHttpHeaders = {},
): Promise<WebSocketClient> {
  return new Promise((resolve, reject) => {
    const asking = request(new URL(path, origin), {
      agent: false,
      headers: {
        ...headers,
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      },
    });
    asking.on("upgrade", (_answer, socket, head) => resolve(new Client(socket as Socket, head)));
    asking.on("response", (answer) => {
      answer.resume();
      reject(new UpgradeRefused(answer.statusCode ?? 0));
    });
    asking.on("error", reject);
    asking.end();
  });
}

export class UpgradeRefused extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`The server answered ${status}`);
    this.status = status;
  }
}

class Client implements WebSocketClient {
  readonly received: string[] = [];
  code: number | undefined;
  onMessage: ((text: string) => void) | undefined;
  readonly over: Promise<void>;
  readonly #socket: Socket;
  #buffer: Buffer;

  constructor(socket: Socket, head: Buffer) {
    this.#socket = socket;
    this.#buffer = head;
    socket.setNoDelay(true);
    this.over = new Promise((resolve) => {
      socket.on("close", () => resolve());
      socket.on("end", () => socket.destroy());
      socket.on("error", () => socket.destroy());
    });
    socket.on("data", (bytes: Buffer) => {
      this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
      this.#read();
    });
    if (head.length > 0) queueMicrotask(() => this.#read());
  }

  send(text: string): void {
    this.#write(TEXT, Buffer.from(text));
  }

  close(code: number): void {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#write(CLOSE, payload);
  }

  vanish(): void {
    this.#socket.resetAndDestroy();
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#socket.destroyed) return;
    const { length } = payload;
    const mask = randomBytes(4);
    const head = Buffer.alloc(length < LENGTH_16 ? 2 : 4);
    head[0] = FINAL | opcode;
    head[1] = MASKED | Math.min(length, LENGTH_16);
    if (length >= LENGTH_16) head.writeUInt16BE(length, 2);
    const masked = Buffer.from(payload);
    for (let at = 0; at < length; at++) masked[at] = (masked[at] ?? 0) ^ (mask[at % 4] ?? 0);
    this.#socket.write(Buffer.concat([head, mask, masked]));
  }

  #read(): void {
    for (;;) {
      const frame = frameOf(this.#buffer);
      if (frame === undefined) return;
      this.#buffer = this.#buffer.subarray(frame.end);
      if (frame.opcode === TEXT) {
        const text = frame.payload.toString();
        this.received.push(text);
        this.onMessage?.(text);
      } else if (frame.opcode === PING) this.#write(PONG, frame.payload);
      else if (frame.opcode === CLOSE) {
        this.code = frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : 1005;
        this.#write(CLOSE, frame.payload.subarray(0, 2));
        this.#socket.end();
      }
    }
  }
}

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly end: number;
}

/** The first whole frame; a server's are not masked. */
function frameOf(buffer: Buffer): Frame | undefined {
  if (buffer.length < 2) return undefined;
  const opcode = (buffer[0] ?? 0) & 0xf;
  const short = (buffer[1] ?? 0) & 0x7f;
  const begin = short === LENGTH_16 ? 4 : short === LENGTH_64 ? 10 : 2;
  if (buffer.length < begin) return undefined;
  const length =
    short === LENGTH_16 ? buffer.readUInt16BE(2) : short === LENGTH_64 ? Number(buffer.readBigUInt64BE(2)) : short;
  const end = begin + length;
  return buffer.length < end ? undefined : { opcode, payload: buffer.subarray(begin, end), end };
}
