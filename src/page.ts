/** Small pages of our own: no script, no third-party origin, nothing from the request that is not escaped. */
import { randomBase62 } from "./secrets.js";
import { NO_STORE } from "./wire.js";

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ESCAPES[char] ?? char);
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 12vh auto; padding: 0 1.25rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
.row { display: flex; gap: .5rem; flex-wrap: wrap; margin: 1.25rem 0; }
button, input { font: inherit; padding: .6rem 1rem; border: 1px solid var(--line); border-radius: .6rem; background: none; color: inherit; }
button { cursor: pointer; } button:hover, button:focus-visible { border-color: currentColor; }
input { width: 8rem; } small { opacity: .75; }`;

/** `body` is HTML and must be escaped by the caller. */
export function page(title: string, body: string): Response {
  const nonce = randomBase62(22);
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${escapeHtml(title)}</title>
<style nonce="${nonce}">${STYLE}</style></head><body>${body}</body></html>`;
  return new Response(html, {
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Cache-Control": NO_STORE,
      "Content-Security-Policy": `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
      "Referrer-Policy": "no-referrer",
      "X-Content-Type-Options": "nosniff",
    },
  });
}
