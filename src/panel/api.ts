/** Talks to the owner's JSON API: same origin, one problem type, and back to the sign-in page when the session is over. */

export const BASE = document.documentElement.dataset["base"] ?? "/db";

/** A "no" of the server, or no answer at all: `status` 0. */
export class Problem extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

const TIMEOUT_MS = 30_000;

export function get<T>(path: string): Promise<T> {
  return ask<T>(path, {});
}

export function post<T>(path: string, body: unknown, key?: string): Promise<T> {
  const headers = { "Content-Type": "application/json", ...(key === undefined ? {} : { "Idempotency-Key": key }) };
  return ask<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask<T>(path: string, init: RequestInit): Promise<T> {
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(BASE + path, {
      ...init,
      cache: "no-store",
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = await response.json().catch(() => undefined);
  } catch {
    throw new Problem(0, "No answer. Check the connection.");
  }
  if (response.status === 401) toSignIn();
  if (!response.ok) throw new Problem(response.status, detailOf(body) ?? `The server answered ${response.status}.`);
  if (body === undefined) throw new Problem(0, "The answer was cut off.");
  return body as T;
}

function detailOf(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { detail, title } = body as { detail?: unknown; title?: unknown };
  if (typeof detail === "string") return detail;
  return typeof title === "string" ? title : undefined;
}

let leaving = false;

/** Keeps where one was. */
export function toSignIn(): void {
  if (leaving) return;
  leaving = true;
  const next = location.pathname + location.search;
  location.assign(`${BASE}/login?next=${encodeURIComponent(next)}`);
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : "Something went wrong.");
