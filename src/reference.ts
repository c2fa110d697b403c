/**
 * `client_reference_id`: how a payment finds its envelope. `e1_<envelope id, 22>_<region, 1>[<binding, 11>]_<check, 22>`, letters and
 * digits only, 49 or 60 characters (Stripe takes 200 of `[A-Za-z0-9_-]` and silently drops anything else:
 * https://docs.stripe.com/payment-links/url-parameters). One-way: it shows no credential. Knowing it lets anybody give the
 * envelope money, and nothing else. The binding, where there is one, tells which browser it was made for, to whoever has that
 * browser's nonce and our key (identity/payer.ts).
 */
import { equalConstantTime, keyedCheck } from "./secrets.js";
import type { Keyring } from "./settings.js";

const SHAPE = /^e1_([0-9A-Za-z]{22})_([0-9A-Za-z])([0-9A-Za-z]{11})?_([0-9A-Za-z]{22})$/;
const CHECK_BYTES = 16;

const REGIONS: Readonly<Record<string, DurableObjectLocationHint>> = {
  w: "wnam",
  n: "enam",
  s: "sam",
  u: "weur",
  v: "eeur",
  a: "apac",
  o: "oc",
  f: "afr",
  m: "me",
};
const NO_REGION = "0";

export interface Reference {
  readonly envelopeId: string;
  /** Where the payer was when the reference was made: the webhook passes it on when it creates the envelope. */
  readonly locationHint: DurableObjectLocationHint | undefined;
  /** Keyed, one-way trace of the nonce of the browser it was made for. */
  readonly binding: string | undefined;
}

/** True for anything that claims to be one of our references, genuine or not. */
export function looksLikeReference(text: string): boolean {
  return text.startsWith("e1_");
}

/** Whose it says it is, whoever made it; `undefined` for what has not the shape. */
export function namedEnvelope(text: string): string | undefined {
  return SHAPE.exec(text)?.[1];
}

/** Without a request, for an envelope that exists: where it would be created no longer matters. */
export function writeReference(keys: Keyring, envelopeId: string, request?: Request, binding = ""): string {
  const body = `e1_${envelopeId}_${request === undefined ? NO_REGION : regionOf(request)}${binding}`;
  return `${body}_${keyedCheck(keys[0], body, CHECK_BYTES)}`;
}

/** `undefined` for anything that none of the keys made. */
export function readReference(keys: Keyring, text: string): Reference | undefined {
  const parts = SHAPE.exec(text);
  if (parts === null) return undefined;
  const [, envelopeId = "", region = "", binding, check = ""] = parts;
  const body = `e1_${envelopeId}_${region}${binding ?? ""}`;
  const genuine = keys.some((key) => equalConstantTime(keyedCheck(key, body, CHECK_BYTES), check));
  return genuine ? { envelopeId, locationHint: REGIONS[region], binding } : undefined;
}

/** Rough, and only a hint: https://developers.cloudflare.com/durable-objects/reference/data-location/ */
function regionOf(request: Request): string {
  const { continent, longitude } = (request.cf ?? {}) as { continent?: string; longitude?: string };
  const east = Number(longitude ?? 0);
  switch (continent) {
    case "NA":
      return east < -95 ? "w" : "n";
    case "SA":
      return "s";
    case "EU":
      return east > 20 ? "v" : "u";
    case "AS":
      return east < 60 ? "m" : "a";
    case "OC":
      return "o";
    case "AF":
      return "f";
    default:
      return NO_REGION;
  }
}
