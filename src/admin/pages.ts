/** The owner's pages: the sign-in form, which needs no script, and the shell that the panel's own script fills. */
import { escapeHtml, page } from "../page.js";
import { withHeaders } from "../reply.js";
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
  const body = `<h1>Owner’s sign-in</h1>
${alert === undefined ? "" : `<p role="alert">${escapeHtml(alert)}</p>`}
<form method="post" action="${escapeHtml(base)}/sign-in">
<input type="hidden" name="next" value="${escapeHtml(next)}">
<p><label for="secret">ENVELOPE_ADMIN_SECRET</label></p>
<div class="row"><input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></div></form>`;
  return withHeaders(page("Sign in", body, status), (own) => {
    for (const [name, value] of Object.entries({ ...PRIVATE_HEADERS, ...headers })) own.set(name, value);
  });
}

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
<title>with-envelope</title><link rel="icon" href="data:,">
<link rel="stylesheet" nonce="${nonce}" href="${escapeHtml(base)}/assets/panel.css?v=${ASSETS["panel.css"].version}">
<script type="module" nonce="${nonce}" src="${escapeHtml(base)}/assets/panel.js?v=${ASSETS["panel.js"].version}"></script>
</head><body><div id="app"></div><noscript>This page needs JavaScript. The same figures: <a href="${escapeHtml(base)}/api/overview">JSON</a>,
<a href="${escapeHtml(base)}/metrics">metrics</a>.</noscript></body></html>`;
  return new Response(html, {
    headers: {
      ...PRIVATE_HEADERS,
      "Content-Type": "text/html; charset=utf-8",
      "Cache-Control": NO_STORE,
      "Content-Security-Policy": [
        "default-src 'none'",
        `script-src 'nonce-${nonce}' 'strict-dynamic'`,
        `style-src 'nonce-${nonce}'`,
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
      ].join("; "),
      "Referrer-Policy": "no-referrer",
    },
  });
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
