/**
 * Webhooks that we send: signed as Standard Webhooks says (https://www.standardwebhooks.com), so that a receiver checks them with a
 * library of its own language. The signature covers id, time and body.
 */
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

/** Where to, and what with. */
export interface WebhookTarget {
  readonly url: URL;
  /** The newest first: a receiver may know one of them only, while they are changed. */
  readonly secrets: readonly [Uint8Array, ...Uint8Array[]];
}

export interface OutboundMessage {
  /** The same for each try: a receiver that knows it already has it. */
  readonly id: string;
  /** JSON. */
  readonly body: string;
}

const ANSWER_MS_MAX = 10_000;

const encoder = new TextEncoder();

/** `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`: `v1,<base64>` for each secret, with a space between. */
export function signedHeaders(
  { secrets }: Pick<WebhookTarget, "secrets">,
  { id, body }: OutboundMessage,
  now_ms: number,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(now_ms / 1000));
  const signed = encoder.encode(`${id}.${timestamp}.${body}`);
  const signatures = secrets.map((secret) => `v1,${base64(hmac(sha256, secret, signed))}`);
  return {
    "Content-Type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures.join(" "),
  };
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** `gone`: the receiver says that it is there no longer (410), and is not asked again. */
export async function deliver(
  target: WebhookTarget,
  message: OutboundMessage,
  now_ms: number,
): Promise<"delivered" | "failed" | "gone"> {
  try {
    const response = await fetch(target.url, {
      method: "POST",
      headers: signedHeaders(target, message, now_ms),
      body: message.body,
      // What was signed is for this address only.
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    await response.body?.cancel();
    if (response.status === 410) return "gone";
    return response.ok ? "delivered" : "failed";
  } catch {
    return "failed";
  }
}

/** Pauses before the next try, as Standard Webhooks recommends them: nine tries after the first, over some three days. */
const PAUSES_MS = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map((seconds) => seconds * 1000);

/** `undefined` once it was tried often enough. The jitter (0 to 1) spreads what failed together. */
export function nextTryMs(tries: number, jitter: number): number | undefined {
  const pause = PAUSES_MS[tries - 1];
  return pause === undefined ? undefined : Math.round(pause * (0.9 + jitter / 5));
}
