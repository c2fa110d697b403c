/** The owner's pages: the sign-in form, which needs no script, and the shell that the panel's own script fills. */
import { escapeHtml } from "../page.js";
import { digest, randomBase62 } from "../secrets.js";
import { NO_STORE } from "../wire.js";
import { PANEL_CSS, PANEL_JS } from "./assets.js";

const PRIVATE_HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy":
    "accelerometer=(), camera=(), clipboard-read=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
} as const;

export interface SignIn {
  readonly base: string;
  /** Where to go afterwards: a path of the panel's. */
  readonly next: string;
  readonly alert?: string;
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export function signInPage({ base, next, alert, status, headers = {} }: SignIn): Response {
  const nonce = randomBase62(22);
  const body = `<main class="door"><div class="door-card">
<p class="door-brand">${ENVELOPE} Envelopes</p>
<h1>Owner’s sign-in</h1>
${alert === undefined ? "" : `<p class="problem" role="alert">${escapeHtml(alert)}</p>`}
<form method="post" action="${escapeHtml(base)}/sign-in">
<input type="hidden" name="next" value="${escapeHtml(next)}">
<label for="secret">ENVELOPE_ADMIN_SECRET</label>
<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>
<button class="button primary">Sign in</button></form>
<p class="note">The secret of this deployment. The session ends after eight hours.</p></div></main>`;
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Sign in</title><link rel="icon" href="${ICON}"><link rel="stylesheet" nonce="${nonce}" href="${stylesheet(base)}"></head><body>${body}</body></html>`;
  const policy = policyOf([`style-src 'nonce-${nonce}'`, "img-src data:"]);
  return new Response(html, { status, headers: { ...PRIVATE_HEADERS, ...htmlHeaders(policy), ...headers } });
}

/** Drawn by hand, as the panel's icons are. */
const ENVELOPE = `<svg viewBox="0 0 24 24" aria-hidden="true" class="icon"><path d="M3 6h18v12H3zM3.5 6.5 12 13l8.5-6.5"/></svg>`;

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%234f46e5'/%3E%3Cpath d='M8 10.5h16v11H8zM8.4 11 16 16.6 23.6 11' fill='none' stroke='%23fff' stroke-width='2' stroke-linejoin='round'/%3E%3C/svg%3E";

/** Nothing but this, and no frame around it. */
function policyOf(rules: readonly string[]): string {
  return ["default-src 'none'", ...rules, "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"].join("; ");
}

function htmlHeaders(policy: string): Readonly<Record<string, string>> {
  return {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": NO_STORE,
    "Content-Security-Policy": policy,
    "Referrer-Policy": "no-referrer",
  };
}

const stylesheet = (base: string): string => `${escapeHtml(base)}/assets/panel.css?v=${ASSETS["panel.css"].version}`;

/** Only a path of the panel's own, or a link could send an owner who has just signed in anywhere. */
export function safeNext(base: string, next: unknown): string {
  const fits = typeof next === "string" && next.length <= 512 && /^[\w/?&=.%~:+-]+$/.test(next);
  if (!fits || !(next === base || next.startsWith(`${base}/`) || next.startsWith(`${base}?`))) return base;
  const url = new URL(next, "https://worker.invalid");
  const stays = url.host === "worker.invalid" && (url.pathname === base || url.pathname.startsWith(`${base}/`));
  return stays && !/^\/(api|login|sign-in)\b/.test(url.pathname.slice(base.length)) ? url.pathname + url.search : base;
}

/** The panel as HTML: nothing in it but where its code is. */
export function panelPage(base: string): Response {
  const nonce = randomBase62(22);
  const html = `<!doctype html><html lang="en" data-base="${escapeHtml(base)}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>with-envelope</title><link rel="icon" href="${ICON}">
<link rel="stylesheet" nonce="${nonce}" href="${stylesheet(base)}">
<script type="module" nonce="${nonce}" src="${escapeHtml(base)}/assets/panel.js?v=${ASSETS["panel.js"].version}"></script>
</head><body><div id="app"></div><noscript>This page needs JavaScript. The same figures: <a href="${escapeHtml(base)}/api/overview">JSON</a>,
<a href="${escapeHtml(base)}/metrics">metrics</a>.</noscript></body></html>`;
  const policy = policyOf([
    `script-src 'nonce-${nonce}' 'strict-dynamic'`,
    `style-src 'nonce-${nonce}'`,
    "connect-src 'self'",
    "img-src 'self' data:",
  ]);
  const headers = htmlHeaders(`${policy}; require-trusted-types-for 'script'`);
  return new Response(html, { headers: { ...PRIVATE_HEADERS, ...headers } });
}

interface Asset {
  readonly content: string;
  readonly type: string;
  readonly version: string;
}

const asset = (content: string, type: string): Asset => ({ content, type, version: digest(content, 12) });

const ASSETS = {
  "panel.js": asset(PANEL_JS, "text/javascript; charset=utf-8"),
  "panel.css": asset(PANEL_CSS, "text/css; charset=utf-8"),
} as const satisfies Record<string, Asset>;

/** Code and looks hold no secret, and are the same for everybody; kept for ever under the name of what is in them. */
export function assetResponse(name: string, request: Request, url: URL): Response | undefined {
  const found: Asset | undefined = Object.hasOwn(ASSETS, name) ? ASSETS[name as keyof typeof ASSETS] : undefined;
  if (found === undefined) return undefined;
  const etag = `"${found.version}"`;
  const headers = {
    "Content-Type": found.type,
    ETag: etag,
    "Cache-Control":
      url.searchParams.get("v") === found.version ? "public, max-age=31536000, immutable" : "public, no-cache",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
  };
  const known = (request.headers.get("If-None-Match") ?? "").split(",").some((one) => {
    const tag = one.trim().replace(/^W\//, "");
    return tag === etag || tag === "*";
  });
  if (known) return new Response(null, { status: 304, headers });
  return new Response(request.method === "HEAD" ? null : found.content, { headers });
}
