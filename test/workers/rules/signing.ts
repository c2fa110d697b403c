/** Signs as Stripe does, with the platform's own HMAC, and asks Stripe's package for its verdict. */
import Stripe from "stripe";

export const SECRETS = ["whsec_current_0123456789abcdef", "whsec_rolled_0123456789abcdef"] as const;

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(new TextEncoder().encode(text));

const keys = new Map<string, Promise<CryptoKey>>();

/** `v1` of Stripe's scheme: HMAC-SHA-256 of `<t>.<body>`, in lower-case hex. https://docs.stripe.com/webhooks#verify-manually */
export async function signature(secret: string, t: string, body: Uint8Array): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = keys.get(secret) ?? crypto.subtle.importKey("raw", bytesOf(secret), algorithm, false, ["sign"]);
  keys.set(secret, key);
  const signed = new Uint8Array([...bytesOf(`${t}.`), ...body]);
  const mac = await crypto.subtle.sign("HMAC", await key, signed);
  return Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function signedRequest(header: string | undefined, body: BodyInit | null, more: HeadersInit = {}): Request {
  const headers = new Headers(more);
  if (header !== undefined) headers.set("Stripe-Signature", header);
  return new Request("https://worker.test/stripe-webhook", { method: "POST", headers, body });
}

/** The event when the package accepts it under one of the secrets; `undefined` when it throws, for whatever reason. */
export async function askStripe(body: Uint8Array, header: string, secrets: readonly string[]): Promise<unknown> {
  const cryptoProvider = Stripe.createSubtleCryptoProvider();
  for (const secret of secrets) {
    try {
      // Typed for Node's Buffer; the package itself takes any Uint8Array.
      return await Stripe.webhooks.constructEventAsync(body as Buffer, header, secret, undefined, cryptoProvider);
    } catch {
      // Not with this secret. (A `v1` without a value makes it throw a TypeError instead of its own error.)
    }
  }
  return undefined;
}
