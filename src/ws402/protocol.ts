/**
 * What ws402 says on the wire: the schema, each message, the answers of the HTTP mode. Shapes only; nothing here decides anything.
 * Names and order are those of ws402 0.1.5; members that are not of it are additive, and its clients ignore them.
 */

/** What a client is told before it connects. `https://…/ws402/schema/:resourceId` */
export interface WS402Schema {
  readonly protocol: "ws402";
  readonly version: string;
  readonly resourceId: string;
  readonly websocketEndpoint: string;
  readonly pricing: {
    readonly pricePerSecond: number;
    readonly currency: string;
    /** Seconds. */
    readonly estimatedDuration: number;
    readonly totalPrice: number;
  };
  /** What the provider says of how to pay. */
  readonly paymentDetails: unknown;
  /** Seconds. */
  readonly maxSessionDuration: number;
  readonly resourceInfo?: ResourceInfo;
}

export interface ResourceInfo {
  readonly name?: string;
  readonly type?: string;
  /** Seconds. */
  readonly estimatedTime?: number;
}

export const SCHEMA_VERSION = "0.1.2";

/** A receipt is found by it, so it is not to be guessed. */
export type SessionId = string;

export type ServerMessage =
  | { readonly type: "payment_rejected"; readonly reason: string; readonly code: RejectionCode }
  | {
      readonly type: "session_started";
      readonly sessionId: SessionId;
      readonly balance: number;
      readonly pricePerSecond: number;
      readonly currency: string;
      readonly resourceId: string;
      /** ISO 8601. */
      readonly expiresAt: string;
    }
  | {
      readonly type: "http_access_granted";
      readonly sessionId: SessionId;
      readonly httpToken: string;
      readonly resourceUrl: string;
      readonly resourceInfo?: ResourceInfo & { readonly pricePerSecond?: number };
      readonly message?: string;
    }
  | (UsageUpdate & { readonly type: "usage_update" })
  | (UsageUpdate & { readonly type: "low_balance"; readonly paymentLink?: string | undefined })
  | (UsageUpdate & { readonly type: "session_paused"; readonly paymentLink?: string | undefined })
  | (UsageUpdate & { readonly type: "session_resumed" })
  | { readonly type: "balance_exhausted"; readonly message: string }
  | { readonly type: "max_duration_reached"; readonly message: string }
  | ({ readonly type: "session_ended" } & SessionEnded);

export interface UsageUpdate {
  readonly sessionId: SessionId;
  readonly elapsedSeconds: number;
  readonly consumedAmount: number;
  /** Never below zero. */
  readonly remainingBalance: number;
  /** Both ways, as are the messages. */
  readonly bytesTransferred: number;
  readonly messageCount: number;
  /** 1, 2, 3 … of this session. */
  readonly seq: number;
  /** ms since 1970. */
  readonly timestamp: number;
}

export interface SessionEnded {
  readonly sessionId: SessionId;
  readonly reason: string;
  readonly consumedAmount: number;
  readonly refundAmount: number;
  readonly refundStatus: RefundStatus;
  /** Where the receipt is. */
  readonly receiptUrl: string;
}

/** `none`: nothing was left. `released`: it was never taken from the envelope. `pending`: it is owed, and tried again until it is paid. */
export type RefundStatus = "none" | "released" | "pending" | "issued";

export type RejectionCode =
  | "invalid_payment"
  | "already_used"
  | "insufficient_balance"
  | "unauthorized"
  | "timeout"
  | "unavailable"
  | "too_many_sessions";

export type ClientMessage =
  | { readonly type: "payment_proof"; readonly proof: unknown }
  | { readonly type: "top_up"; readonly proof: unknown }
  | { readonly type: "resume" };

/** A frame of the client's that is ws402's, and not the app's; `undefined` for any other. */
export function readClientMessage(text: string): ClientMessage | undefined {
  // Most frames are the app's: they are not parsed.
  if (text.length > PROOF_CHARS_MAX || !/^\s*\{/.test(text) || !CONTROL.test(text)) return undefined;
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { type, proof } = (message ?? {}) as { readonly type?: unknown; readonly proof?: unknown };
  if (type === "payment_proof" || type === "top_up") return { type, proof };
  return type === "resume" ? { type } : undefined;
}

const CONTROL = /"(payment_proof|top_up|resume)"/;

/** Longest proof that is read. */
const PROOF_CHARS_MAX = 16_384;

/** Says that a request is for ws402: the header `x-protocol: ws402`, or `?protocol=ws402`. */
export function isWS402Request(request: Request): boolean {
  if (request.headers.get("x-protocol")?.toLowerCase() === "ws402") return true;
  return new URL(request.url).searchParams.get("protocol") === "ws402";
}

const NO_STORE = { "Cache-Control": "private, no-store" };

export function json(body: unknown, status = 200): Response {
  return Response.json(body, { status, headers: NO_STORE });
}

/** What the HTTP mode answers instead of a resource. */
export const NO_TOKEN = {
  error: "Payment Required",
  message: "Establish WS402 session first",
  instructions: {
    step1: "Fetch the WS402 schema of the resource",
    step2: "Open the WebSocket it names and send a payment_proof",
    step3: "Take the httpToken of http_access_granted",
    step4: "Ask for the resource with ?token=<httpToken> while the session is open",
  },
} as const;
export const BAD_TOKEN = {
  error: "Invalid or expired session",
  message: "Session not found or has ended",
} as const;
export const OTHER_RESOURCE = { error: "Access Denied", message: "Token is for a different resource" } as const;
export const NO_RESOURCE = { error: "Resource not found" } as const;
