/**
 * Is this really from Stripe? The official package checks the signature; this gate refuses, before and after, what the
 * package accepts and money must not: timestamps from the future, thousands of signatures, bytes that are not UTF-8.
 * https://docs.stripe.com/webhooks#verify-manually
 */
import { readCapped } from "../body.js";

/** Stripe's own default, both ways: older is a replay, newer is a clock nobody should trust. */
const TOLERANCE_SECONDS = 300;
const HEADER_CHARS_MAX = 4_096;
const SIGNATURES_MAX = 8;
const BODY_BYTES_MAX = 256 * 1024;

export type Verified =
  | { readonly outcome: "verified"; readonly event: unknown }
  | { readonly outcome: "refused" }
  | { readonly outcome: "too_large" };

/** Reads the body with a cap, and answers what Stripe signed. At most one HMAC per secret; nothing is said about why not. */
export async function verify(request: Request, secrets: readonly string[], now_ms: number): Promise<Verified> {
  const header = request.headers.get("Stripe-Signature") ?? "";
  // First, because it is cheap and most of what is not Stripe's ends here.
  if (!isSoundHeader(header, now_ms)) return { outcome: "refused" };
  const bytes = await readCapped(request, BODY_BYTES_MAX);
  if (bytes === undefined) return { outcome: "too_large" };
  const text = decodeStrictly(bytes);
  if (text === undefined) return { outcome: "refused" };

  const { default: Stripe } = await import("stripe");
  const cryptoProvider = Stripe.createSubtleCryptoProvider();
  for (const secret of secrets) {
    const checking = Stripe.webhooks.signature?.verifyHeaderAsync(
      text,
      header,
      secret,
      TOLERANCE_SECONDS,
      cryptoProvider,
    );
    const genuine = await checking?.catch(() => false);
    if (genuine) return { outcome: "verified", event: parseJson(text) };
  }
  return { outcome: "refused" };
}

/** Exactly one `t=` of digits, within the tolerance either way, and one to eight `v1=` of 64 lower-case hex digits. */
export function isSoundHeader(header: string, now_ms: number): boolean {
  if (header.length > HEADER_CHARS_MAX) return false;
  const parts = header.split(",");
  const times = parts.filter((part) => part.startsWith("t="));
  const signatures = parts.filter((part) => part.startsWith("v1="));
  const [time] = times;
  if (time === undefined || times.length !== 1 || !/^t=[0-9]{1,12}$/.test(time)) return false;
  if (signatures.length < 1 || signatures.length > SIGNATURES_MAX) return false;
  if (signatures.some((signature) => !/^v1=[0-9a-f]{64}$/.test(signature))) return false;
  return Math.abs(now_ms / 1000 - Number(time.slice(2))) <= TOLERANCE_SECONDS;
}

/** A byte order mark is kept, and so fails the signature; invalid UTF-8 is refused and not replaced. */
function decodeStrictly(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** `undefined` for a signed body that is not JSON: Stripe's, but nothing we know. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
