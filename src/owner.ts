/** The owner: whoever knows ENVELOPE_ADMIN_SECRET. A secret of its own, that opens nothing of a holder's and derives no key. */
import { digest, equalConstantTime } from "./secrets.js";
import { adminSecret } from "./settings.js";

/** `absent`: there is no owner's door at all where no secret is set. */
export type OwnerCheck = "owner" | "refused" | "absent";

/** Bearer, or Basic with the user name `admin` (RFC 7617; the password may hold colons). */
export function checkOwner(request: Request, env: unknown): OwnerCheck {
  const secret = adminSecret(env);
  if (secret === undefined) return "absent";
  const presented = presentedSecret(request.headers.get("Authorization") ?? "");
  // Digests, so that the comparison takes as long whatever was presented, however long it is.
  const equal = presented !== undefined && equalConstantTime(digest(presented, 32), digest(secret, 32));
  return equal ? "owner" : "refused";
}

function presentedSecret(authorization: string): string | undefined {
  const [, scheme = "", credentials = ""] = /^(\S+) +(\S+)$/.exec(authorization.trim()) ?? [];
  if (scheme.toLowerCase() === "bearer") return credentials;
  if (scheme.toLowerCase() !== "basic") return undefined;
  try {
    const decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      Uint8Array.from(atob(credentials), (char) => char.charCodeAt(0)),
    );
    return decoded.startsWith("admin:") ? decoded.slice("admin:".length) : undefined;
  } catch {
    return undefined;
  }
}
