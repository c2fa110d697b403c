/** Names on the wire: headers, cookies and paths. Nothing here decides anything. */

export const HEADER = {
  price: "X-Price",
  /** What a body costs while it flows. */
  perSecond: "X-Price-Per-Second",
  perKilobyte: "X-Price-Per-Kilobyte",
  perMessage: "X-Price-Per-Message",
  maxPrice: "X-Price-Max",
  /** How often a metered socket tells its client what it cost. */
  updates: "X-Price-Updates",
  balance: "X-Balance",
  paymentLink: "X-Payment-Link",
  replayed: "X-Charge-Replayed",
  idempotencyKey: "Idempotency-Key",
} as const;

/** Response headers a cross-origin page must be allowed to read (Fetch standard, CORS-exposed header-name list). */
export const EXPOSED_HEADERS = [
  HEADER.price,
  HEADER.perSecond,
  HEADER.perKilobyte,
  HEADER.perMessage,
  HEADER.maxPrice,
  HEADER.balance,
  HEADER.replayed,
  HEADER.paymentLink,
  "Link",
  "Retry-After",
].join(", ");

/** A response that was charged, or that names an identity, is nobody else's: a cache must not answer with it. */
export const NO_STORE = "private, no-store";

export const COOKIE = {
  /** `__Host-` binds the cookie to this host, https and path `/` (RFC 6265bis §4.1.3.2). */
  secure: "__Host-we",
  /** Browsers refuse `__Host-` over plain http, so local development has a name of its own. */
  local: "we_dev",
} as const;

/** Which browser started a payment: the nonce that `/pay` binds its reference to. */
export const PAY_COOKIE = { secure: "__Host-we_pay", local: "we_pay_dev" } as const;

/** A limited session beside the browser's own token, which stays where it is. */
export const LIMITED_COOKIE = { secure: "__Host-we_limited", local: "we_limited_dev" } as const;

/** The owner's session in the panel. */
export const ADMIN_COOKIE = { secure: "__Host-we_admin", local: "we_admin_dev" } as const;

export interface Paths {
  readonly me: string | false;
  readonly rotateToken: string | false;
  readonly stripeWebhook: readonly string[] | false;
  readonly pay: string | false;
  readonly paid: string | false;
  readonly testCheckout: string | false;
  readonly health: string | false;
  /** Prefix of the owner's paths. */
  readonly admin: string | false;
  /** The owner's server asks for a PaymentIntent here. */
  readonly stripeTopup: string | false;
  /** API keys of an envelope: its holder's, and the owner's. `DELETE` of one is below it. */
  readonly keys: string | false;
  /** Prefix of the control plane: envelopes, and what the owner's servers do with one. */
  readonly envelopes: string | false;
  /** Where the owner's servers spend by an identity. */
  readonly usage: string | false;
}

export const DEFAULT_PATHS: Paths = {
  me: "/me",
  rotateToken: "/rotate-token",
  stripeWebhook: ["/stripe-webhook", "/stripe/webhook"],
  pay: "/pay",
  paid: "/paid",
  testCheckout: "/test-checkout",
  health: "/health",
  admin: "/db",
  stripeTopup: "/stripe/topup",
  keys: "/keys",
  envelopes: "/envelopes",
  usage: "/usage",
};

/** Metadata of the PaymentIntents we make. */
export const METADATA = {
  /** A payment link cannot set metadata per payer, its sessions carry their reference apart. */
  reference: "with_envelope_reference",
  /** Which of the envelope's top-ups it is, so that the webhook finds it although Stripe's answer was lost. */
  topup: "with_envelope_topup",
} as const;

/** True for the hosts that only this machine can reach (RFC 6761 §6.3; loopback addresses). */
export function isLocalHost(hostname: string): boolean {
  return /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}

/** Whether a request came to this machine over plain http: then the cookies have names that browsers take there. */
export function isLocalUrl(url: string): boolean {
  if (url.startsWith("https:")) return false;
  // Nearly all that are local. What else it may be is for the parser to say: user information, another spelling of the host.
  if (/^http:\/\/(localhost|127\.0\.0\.1)(:\d+)?\//.test(url)) return true;
  const { protocol, hostname } = new URL(url);
  return protocol === "http:" && isLocalHost(hostname);
}

/**
 * The path of a request's URL, as `URL.pathname` has it, without parsing the rest. Before compatibility date 2022-10-31 a
 * request's URL may not be in its normal form: such a one is parsed.
 */
export function pathnameOf(url: string): string {
  const begin = url.indexOf("/", url.indexOf("://") + 3);
  const fragment = url.indexOf("#");
  const rest = fragment === -1 ? url : url.slice(0, fragment);
  const query = rest.indexOf("?");
  const path = query === -1 ? rest.slice(begin) : rest.slice(begin, query);
  const isUnusual = begin === -1 || url.lastIndexOf("\\", begin) !== -1 || UNUSUAL.test(path);
  return isUnusual ? new URL(url).pathname : path;
}

/** Dot segments, encoded or not, and characters that a URL in its normal form has encoded. No path is empty. */
const UNUSUAL = /\/(?:\.|%2e)|[^!-~]|["<>\\^`{|}]|^(?!\/)/i;
