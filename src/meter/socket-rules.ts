/**
 * The rules of a metered socket: what so much of it costs, what a close means on the other side, and which of the caps is met.
 * Pure: no this, no I/O, no clock.
 */
import { kilobytesBegun, type Rate, secondsBegun } from "./rates.js";

/** What went through a socket. Time that was spent waiting for money is not in it. */
export interface SocketUsage {
  readonly open_ms: number;
  readonly messages: number;
  readonly bytes: number;
}

export const NOTHING_USED: SocketUsage = { open_ms: 0, messages: 0, bytes: 0 };

/** The base, and each unit that has begun. Infinite where no safe integer says it. */
export function costOf(rate: Rate, { open_ms, messages, bytes }: SocketUsage): number {
  const cost =
    rate.base_micros +
    rate.per_second_micros * secondsBegun(open_ms) +
    rate.per_kilobyte_micros * kilobytesBegun(bytes) +
    rate.per_message_micros * messages;
  return Number.isSafeInteger(cost) ? cost : Number.POSITIVE_INFINITY;
}

/** Length of a frame's payload on the wire. */
export function bytesOf(data: string | ArrayBuffer): number {
  if (typeof data !== "string") return data.byteLength;
  let bytes = data.length;
  for (let at = 0; at < data.length; at++) {
    const unit = data.charCodeAt(at);
    if (unit < 0x80) continue;
    // Two units of a surrogate pair are four bytes, and each of them is counted once already.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2;
  }
  return bytes;
}

/** Why a metered socket ended. */
export type SocketEnd =
  /** The client closed it. */
  | "client_closed"
  /** The client is gone: its connection broke without a close. */
  | "client_gone"
  | "app_closed"
  | "app_gone"
  | "balance_exhausted"
  /** It took as much as it may. */
  | "price_max_reached"
  | "max_duration_reached"
  | "idle"
  | "message_too_large"
  /** More came than may wait for money. */
  | "overflow"
  | "credential_revoked"
  | "frozen"
  /** The envelope could not be reached. */
  | "unavailable"
  /** By the app, or by what stands above the socket. */
  | "ended";

export interface Close {
  readonly code: number;
  readonly reason: string;
}

/** What both sides are told when it is not one of them that closes. 4402 and the like are this product's (RFC 6455 §7.4.2). */
export const CLOSES: Readonly<Record<Exclude<SocketEnd, "client_closed" | "app_closed">, Close>> = {
  client_gone: { code: 1001, reason: "The client is gone" },
  // The app's object was reset, by a deploy for instance: a client may open another socket.
  app_gone: { code: 1012, reason: "The application's socket was lost" },
  balance_exhausted: { code: 4402, reason: "Balance exhausted" },
  price_max_reached: { code: 4402, reason: "Price maximum reached" },
  max_duration_reached: { code: 1000, reason: "Max duration reached" },
  idle: { code: 1008, reason: "Idle" },
  message_too_large: { code: 1009, reason: "Message too large" },
  overflow: { code: 1008, reason: "Too much waits for payment" },
  credential_revoked: { code: 4401, reason: "Credential revoked" },
  frozen: { code: 4403, reason: "Envelope frozen" },
  unavailable: { code: 1013, reason: "Balance unavailable" },
  ended: { code: 1000, reason: "" },
};

/** A close event that came without a code, and one that came without a close frame (RFC 6455 §7.4.1). */
const NO_CODE = 1005;
const NO_FRAME = 1006;

/** Whether a close event says that the connection broke. */
export function isBroken(code: number): boolean {
  return code === NO_FRAME;
}

/** What to close the other side with: the same, where it may be sent; nothing where nothing was said, or nothing could be. */
export function passedOn(code: number, reason: string): Close | undefined {
  if (code === NO_CODE || isBroken(code)) return undefined;
  const sendable = code >= 1000 && code < 5000 && ![1004, 1015].includes(code);
  return sendable ? { code, reason } : { code: 1011, reason };
}
