/**
 * Cloudflare Access: who its signed token names. A Worker can be reached without Access in front of it (workers.dev, a forgotten
 * route), so the header alone is nothing: signature, algorithm, audience, issuer and expiry are checked, by `jose`.
 */
import type { AccessSettings } from "../owner-settings.js";

const HEADER = "Cf-Access-Jwt-Assertion";
/** Unknown key ids come from anybody, so they make us ask for the keys at most this often. */
const REFETCH_MS_MIN = 60_000;
const KEYS_KEPT_MS = 3_600_000;
const KEYS_TIMEOUT_MS = 5_000;
const TOKEN_CHARS_MAX = 8_192;
const SUBJECT = /^[\x21-\x7e]{1,128}$/;

type Jose = typeof import("jose");
type RemoteKeys = ReturnType<Jose["createRemoteJWKSet"]>;

/** `unavailable`: the keys could not be fetched, so nobody knows. */
export type AccessOutcome = { readonly actor: string } | "none" | "unavailable";

let loaded: { readonly team: string; readonly keys: RemoteKeys } | undefined;

export async function accessActor(request: Request, { team, audience }: AccessSettings): Promise<AccessOutcome> {
  const token = request.headers.get(HEADER);
  if (token === null || token.length > TOKEN_CHARS_MAX) return "none";
  const jose = await import("jose");
  if (loaded?.team !== team) {
    const options = {
      cooldownDuration: REFETCH_MS_MIN,
      cacheMaxAge: KEYS_KEPT_MS,
      timeoutDuration: KEYS_TIMEOUT_MS,
    };
    loaded = { team, keys: jose.createRemoteJWKSet(new URL(`${team}/cdn-cgi/access/certs`), options) };
  }
  try {
    const { payload } = await jose.jwtVerify(token, loaded.keys, {
      algorithms: ["RS256"],
      issuer: team,
      audience,
      requiredClaims: ["exp", "iat"],
    });
    // A service token has no subject: its client id is the common name.
    const subject = payload.sub === undefined || payload.sub === "" ? payload["common_name"] : payload.sub;
    return typeof subject === "string" && SUBJECT.test(subject) ? { actor: `access:${subject}` } : "none";
  } catch (error) {
    return isRefusal(error) ? "none" : "unavailable";
  }
}

const NO_KEYS = new Set(["ERR_JOSE_GENERIC", "ERR_JWKS_INVALID", "ERR_JWKS_TIMEOUT"]);

/** The token's own fault; anything else is a failure to fetch the keys. */
function isRefusal(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code ?? "");
  return code.startsWith("ERR_") && !NO_KEYS.has(code);
}
