/** What a request says of a key or an identity that is to spend: read strictly, because what is overlooked would be no limit. */
import type { Scope, SpenderSettings, WindowInput } from "./contract.js";
import { parseMain } from "./money.js";
import { readTime, readWindow } from "./window-body.js";

const NAME_CHARS_MAX = 100;
const SCOPES: readonly Scope[] = ["spend", "read", "keys"];
const SCOPES_DEFAULT: readonly Scope[] = ["spend", "read"];
const KNOWN = new Set(["name", "scopes", "capacity", "windows", "expiresAt"]);

/** A text is what is wrong with it. */
export function readSettings(body: Readonly<Record<string, unknown>>): SpenderSettings | string {
  const unknown = Object.keys(body).find((name) => !KNOWN.has(name));
  if (unknown !== undefined) return `${unknown} is not known here; known are ${[...KNOWN].join(", ")}`;
  const { name = null, scopes = SCOPES_DEFAULT, capacity = null, windows = [], expiresAt = null } = body;
  if (!isName(name)) return `name must be a text of 1 to ${NAME_CHARS_MAX} characters`;
  if (!isScopes(scopes)) return `scopes must be a list of ${SCOPES.join(", ")}, at least one, each once`;
  const cap_micros = capacity === null ? null : parseMain(capacity);
  if (cap_micros === undefined) return "capacity must be a decimal in main units, such as 10 or 0.5";
  const rules = Array.isArray(windows) ? windows.map(readWindow) : ["windows must be a list"];
  const wrong = rules.find((rule) => typeof rule === "string");
  if (wrong !== undefined) return wrong;
  const expires_at_ms = expiresAt === null ? null : readTime(expiresAt);
  if (expires_at_ms === undefined) return "expiresAt must be a time such as 2027-01-31T12:00:00Z";
  return {
    name,
    scopes: SCOPES.filter((scope) => scopes.includes(scope)),
    cap_micros,
    windows: rules as readonly WindowInput[],
    expires_at_ms,
  };
}

function isName(name: unknown): name is string | null {
  if (name === null) return true;
  return typeof name === "string" && name.trim() !== "" && name.length <= NAME_CHARS_MAX && !/\p{Cc}/u.test(name);
}

function isScopes(scopes: unknown): scopes is readonly Scope[] {
  return (
    Array.isArray(scopes) &&
    scopes.length > 0 &&
    new Set(scopes).size === scopes.length &&
    scopes.every((scope) => SCOPES.includes(scope))
  );
}
