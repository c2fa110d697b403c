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
:root { color-scheme: light dark; --line: light-dark(#767676, #8c8c8c); --accent: light-dark(#1f5fd0, #8fb6ff); }
html { background: Canvas; color: CanvasText; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: clamp(1.5rem, 10vh, 6rem) auto; padding: 0 1.25rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
a { color: var(--accent); }
.row { display: flex; gap: .5rem; flex-wrap: wrap; align-items: end; margin: 1.25rem 0; }
button, input, .button { font: inherit; padding: .6rem 1rem; border: 1px solid var(--line); border-radius: .6rem; background: none; color: inherit; }
button, .button { cursor: pointer; border-color: var(--accent); color: var(--accent); text-decoration: none; font-weight: 600; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input { width: 9rem; } small { opacity: .8; } [role=alert] { font-weight: 600; }`;

/** `body` is HTML and must be escaped by the caller. */
export function page(title: string, body: string, status = 200): Response {
  const nonce = randomBase62(22);
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${escapeHtml(title)}</title>
<style nonce="${nonce}">${STYLE}</style></head><body><main>${body}</main></body></html>`;
  return new Response(html, {
    status,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Cache-Control": NO_STORE,
      "Content-Security-Policy": `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
      // Not "no-referrer": with it a browser that sends no Sec-Fetch-Site posts our own form with "Origin: null".
      "Referrer-Policy": "same-origin",
      "X-Content-Type-Options": "nosniff",
    },
  });
}

/** Says the same to every payer; `more` is HTML. */
export function thankYou(more = ""): Response {
  return page(
    "Thank you",
    `<h1>Thank you</h1><p>Your payment was received. Credit is booked when the payment provider confirms it, usually within seconds.</p>
${more}<p><a class="button" href="/">Continue</a></p>`,
  );
}
