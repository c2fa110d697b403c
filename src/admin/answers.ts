/** What the owner's paths answer and read: JSON, problems, cursors, limits. Nothing here asks an object. */
import { REASON_MAX } from "../contract.js";
import { isKey } from "../keys.js";
import { plainProblem } from "../refusal.js";
import { HEADER } from "../wire.js";

export type Body = Readonly<Record<string, unknown>>;

const BODY_BYTES_MAX = 65_536;
const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 500;

export function json(body: unknown, status = 200): Response {
  return Response.json(body, { status, headers: { "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" } });
}

export function notFound(): Response {
  return plainProblem(404, "not-found", "Not found", "There is nothing here.");
}

export function invalid(detail: string): Response {
  return plainProblem(400, "invalid-request", "Invalid request", detail);
}

export function keyUsed(detail: string): Response {
  return plainProblem(422, "idempotency-conflict", "Idempotency conflict", detail);
}

export function crossSite(): Response {
  return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
}

export function useMethods(allow: string): Response {
  return plainProblem(405, "method-not-allowed", "Method not allowed", `Use ${allow}.`, { Allow: allow });
}

/** A JSON object. Nothing else: a form of another site's page can be posted as text, and not as JSON. */
export async function readJson(request: Request, bytes_max = BODY_BYTES_MAX): Promise<Body | undefined> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers.get("Content-Type") ?? "")) return undefined;
  const text = await readText(request, bytes_max);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Body) : undefined;
  } catch {
    return undefined;
  }
}

/** The body, `undefined` when it is longer than that or no UTF-8: then the rest is not read. */
export async function readText(request: Request, bytes_max: number): Promise<string | undefined> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let [text, length] = ["", 0];
  try {
    for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
      length += chunk.byteLength;
      if (length > bytes_max) return undefined;
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch {
    return undefined;
  }
}

/** What each change brings besides its own fields. */
export interface Change {
  readonly key: string;
  readonly reason: string;
  readonly body: Body;
}

/** Tokens of ours and secrets of Stripe's: an audit line is never changed, so what is pasted there by mistake would stay. */
const SECRET = /\bwe_[a-z]\d_[0-9A-Za-z]{20}|\b(sk|rk)_(live|test)_|\bwhsec_/;

export async function readChange(request: Request): Promise<Change | Response> {
  const body = await readJson(request);
  if (body === undefined) return invalid("The body must be a JSON object, sent as application/json");
  const key = request.headers.get(HEADER.idempotencyKey);
  if (!isKey(key)) return invalid("An Idempotency-Key of 1 to 255 visible ASCII characters is needed");
  const reason = readReason(body["reason"]);
  return reason instanceof Response ? reason : { key, reason, body };
}

export function readReason(value: unknown): string | Response {
  const reason = typeof value === "string" ? value.trim() : "";
  if (reason === "" || reason.length > REASON_MAX) {
    return invalid(`reason must be a text of 1 to ${REASON_MAX} characters`);
  }
  return SECRET.test(reason) ? invalid("reason holds a token or secret: it would be kept for ever") : reason;
}

/** `limit` of the query, 1 to 500; `undefined` for anything else. */
export function readLimit(url: URL): number | undefined {
  const text = url.searchParams.get("limit");
  if (text === null) return LIMIT_DEFAULT;
  const limit = /^[1-9][0-9]{0,2}$/.test(text) ? Number(text) : 0;
  return limit >= 1 && limit <= LIMIT_MAX ? limit : undefined;
}

/** A place in a list of payments. */
export interface Place {
  readonly at_ms: number;
  readonly payment_id: string;
}

/** `cursor` of the query: `null` for the beginning, `undefined` for what no page answered. */
export function readPlace(url: URL): Place | null | undefined {
  const cursor = url.searchParams.get("cursor");
  if (cursor === null) return null;
  const [, at = "", payment_id = ""] = /^([0-9]{1,15})\.([\w-]{1,255})$/.exec(cursor) ?? [];
  return payment_id === "" ? undefined : { at_ms: Number(at), payment_id };
}

export function writePlace({ at_ms, payment_id }: Place): string {
  return `${at_ms}.${payment_id}`;
}

export interface NumberedPage {
  /** `null` for the newest. */
  readonly before: number | null;
  readonly limit: number;
}

/** A page of numbered lines, newest first. */
export function readNumberedPage(url: URL): NumberedPage | Response {
  const limit = readLimit(url);
  const cursor = url.searchParams.get("cursor");
  if (limit === undefined) return invalid(`limit must be a number from 1 to ${LIMIT_MAX}`);
  if (cursor !== null && !/^[1-9][0-9]{0,14}$/.test(cursor)) return invalid("cursor must be one that a page answered");
  return { before: cursor === null ? null : Number(cursor), limit };
}

/** Of a page that asked for one line more than it shows: the lines, and where the next page begins. */
export function pageOf<Line>(
  lines: readonly Line[],
  limit: number,
  numberOf: (line: Line) => number,
): { readonly lines: readonly Line[]; readonly next: string | null } {
  const shown = lines.slice(0, limit);
  const last = shown.at(-1);
  return { lines: shown, next: lines.length > limit && last !== undefined ? String(numberOf(last)) : null };
}
