/** Lets the owner in, or answers everybody else: a page for a browser, a problem for a program. */
import { attempt } from "../attempt.js";
import { isSameOrigin } from "../csrf.js";
import { plainProblem } from "../refusal.js";
import { withHeaders } from "../reply.js";
import { ownerStub } from "../shards.js";
import { crossSite, invalid, json, notFound, readJson, readText, useMethods } from "./answers.js";
import { type Door, type Knock, knock, trySecret } from "./door.js";
import type { Asked, Owner } from "./owners-request.js";
import { assetResponse, panelPage, safeNext, signInPage } from "./pages.js";
import { forgetSession, newSession, presentedSession } from "./session.js";

const FORM_BYTES_MAX = 4_096;

/** What needs no owner yet: the panel's code, and the way in. `undefined` for everything else. */
export async function answerOutside(asked: Asked, door: Door, base: string): Promise<Response | undefined> {
  const { request, url } = asked;
  const below = url.pathname.slice(base.length);
  const reads = request.method === "GET" || request.method === "HEAD";
  if (below.startsWith("/assets/")) {
    if (!reads) return useMethods("GET, HEAD");
    return assetResponse(below.slice("/assets/".length), request, url) ?? notFound();
  }
  if (below === "/" && reads) return seeOther(base + url.search);
  if (below === "/sign-in") return request.method === "POST" ? signIn(asked, door, base) : useMethods("POST");
  if (below === "/sign-out") return request.method === "POST" ? signOut(asked, door, base) : useMethods("POST");
  if (below === "/login" && reads) {
    const next = safeNext(base, url.searchParams.get("next"));
    const known = await knock(asked, door);
    if (known.outcome === "owner") return seeOther(next);
    const alert = known.outcome === "ended" ? "Your session is over. Please sign in again." : undefined;
    return signInPage({ base, next, status: 200, ...(alert && { alert }) });
  }
  return undefined;
}

/** The owner; else what to answer. */
export async function enter(asked: Asked, door: Door, base: string | false): Promise<Owner | Response> {
  const { request, url } = asked;
  const known = await knock(asked, door);
  if (known.outcome !== "owner") return turnAway(asked, known, base);
  const { owner } = known;
  const changes = request.method !== "GET" && request.method !== "HEAD";
  // A browser sends these by itself, so the owner's browser could be made to act for another site.
  if (changes && !isSameOrigin(request, url)) return crossSite();
  if (changes && owner.readOnly && !onlyReads(url, base)) {
    return plainProblem(403, "read-only", "Read only", "The user name admin-readonly may look and not change.");
  }
  return owner;
}

/** Statements are posted, and read all the same; so does a proof. */
function onlyReads(url: URL, base: string | false): boolean {
  if (base === false || !url.pathname.startsWith(`${base}/`)) return false;
  return /^\/(api\/proof|[\w-]+(\/query\/raw)?)$/.test(url.pathname.slice(base.length));
}

/** A page for a browser that is looking for one. */
export function answerPage({ request, url }: Asked, base: string): Response | undefined {
  return isPage(request, url, base) ? panelPage(base) : undefined;
}

/** A page's address holds words, ids and references: nothing that would have to be decoded. The panel's script knows which of them exist. */
function isPage(request: Request, url: URL, base: string): boolean {
  if (request.method !== "GET" && request.method !== "HEAD") return false;
  if (url.pathname === base) return true;
  const html = /\btext\/html\b/i.test(request.headers.get("Accept") ?? "");
  const below = url.pathname.slice(base.length);
  return html && /^(\/[\w-]{1,200}){1,4}$/.test(below) && !/^\/(api|assets|metrics|sign-out)(\/|$)/.test(below);
}

function turnAway(asked: Asked, known: Exclude<Knock, { outcome: "owner" }>, base: string | false): Response {
  const { request, url } = asked;
  if (base !== false && !request.headers.has("Authorization") && isPage(request, url, base)) {
    const next = safeNext(base, url.pathname + url.search);
    if (known.outcome === "unavailable") return unavailable();
    const alert = known.outcome === "ended" ? "Your session is over. Please sign in again." : undefined;
    return signInPage({
      base,
      next,
      status: 401,
      headers: { "WWW-Authenticate": REALM_BEARER },
      ...(alert && { alert }),
    });
  }
  switch (known.outcome) {
    case "locked":
      return tooMany(known.retry_after_ms);
    case "unavailable":
      return unavailable();
    case "ended":
      return unauthorized(request, "session-ended", "This session is over: sign in again.");
    case "nobody":
    case "refused":
      return unauthorized(request, "unauthorized", "The owner's secret is needed here.");
  }
}

const REALM_BEARER = 'Bearer realm="with-envelope"';
const REALM_BASIC = 'Basic realm="with-envelope", charset="UTF-8"';

function unauthorized(request: Request, slug: string, detail: string): Response {
  // A browser's page that asks by script must not have the browser ask for a password in a window of its own.
  const challenge = request.headers.get("Sec-Fetch-Mode") === null ? REALM_BASIC : REALM_BEARER;
  return plainProblem(401, slug, "Unauthorized", detail, { "WWW-Authenticate": challenge });
}

function tooMany(retry_after_ms: number): Response {
  return plainProblem(429, "too-many-tries", "Too many tries", TOO_MANY, retryAfter(retry_after_ms));
}

const TOO_MANY = "Too many wrong tries came from this address. Nothing from it is looked at for a while.";

const retryAfter = (ms: number): { readonly "Retry-After": string } => ({
  "Retry-After": String(Math.ceil(ms / 1000)),
});

function unavailable(): Response {
  const detail = "Cloudflare Access could not be asked for its keys.";
  return plainProblem(503, "unavailable", "Unavailable", detail, { "Retry-After": "5" });
}

function seeOther(path: string, cookie?: string): Response {
  const headers = new Headers({ Location: path, "Cache-Control": "no-store" });
  if (cookie !== undefined) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 303, headers });
}

interface Form {
  readonly secret: string | undefined;
  readonly next: unknown;
  readonly isJson: boolean;
}

async function signIn(asked: Asked, door: Door, base: string): Promise<Response> {
  const { env, request, url, keys } = asked;
  // Another site's page must not be able to sign this browser in, nor to use up its tries.
  if (!isSameOrigin(request, url)) return crossSite();
  if (door.secret === undefined) return notFound();
  const form = await readForm(request);
  if (form === undefined) return invalid('The body must be a form, or JSON such as {"secret":"…"}');
  const next = safeNext(base, form.next);
  const known = await trySecret(asked, door.secret, form.secret);
  if (known.outcome === "owner") {
    const { row, cookie } = newSession(keys.door, door.secret, known.owner.actor, url, Date.now());
    await attempt(() => ownerStub(env).openSession(row));
    if (!form.isJson) return seeOther(next, cookie);
    return withHeaders(json({ actor: known.owner.actor, next }), (headers) => headers.append("Set-Cookie", cookie));
  }
  if (form.isJson) return turnAway(asked, known, false);
  if (known.outcome === "locked") {
    const headers = retryAfter(known.retry_after_ms);
    return signInPage({ base, next, status: 429, alert: TOO_MANY, headers });
  }
  const headers = { "WWW-Authenticate": REALM_BEARER };
  return signInPage({ base, next, status: 401, alert: "That is not the owner’s secret.", headers });
}

async function readForm(request: Request): Promise<Form | undefined> {
  const type = request.headers.get("Content-Type") ?? "";
  if (/^application\/json\b/i.test(type)) {
    const body = await readJson(request, FORM_BYTES_MAX);
    if (body === undefined) return undefined;
    const { secret, next } = body;
    return { secret: typeof secret === "string" ? secret : undefined, next, isJson: true };
  }
  if (!/^application\/x-www-form-urlencoded\b/i.test(type)) return undefined;
  const text = await readText(request, FORM_BYTES_MAX);
  if (text === undefined) return undefined;
  const fields = new URLSearchParams(text);
  return { secret: fields.get("secret")?.trim(), next: fields.get("next"), isJson: false };
}

/** Ends the session at the server too: a copied cookie is worth nothing afterwards. */
async function signOut(asked: Asked, door: Door, base: string): Promise<Response> {
  const { env, request, url, keys } = asked;
  if (!isSameOrigin(request, url)) return crossSite();
  const cookies = request.headers.get("Cookie");
  const session = door.secret === undefined ? "none" : presentedSession(keys.door, door.secret, url, cookies);
  if (typeof session === "object") await attempt(() => ownerStub(env).closeSession(session));
  if (/^application\/json\b/i.test(request.headers.get("Content-Type") ?? "")) {
    return withHeaders(json({ signedOut: true }), (headers) => headers.append("Set-Cookie", forgetSession(url)));
  }
  return seeOther(`${base}/login`, forgetSession(url));
}
