/**
 * A Worker with something to sell. All it knows of money is the `X-Price` header, in cents: withEnvelope charges the
 * caller that much before the body leaves, or answers 402 in its place.
 */
import { withEnvelope } from "with-envelope";
import html from "./page.html";
import { postcard } from "./postcard.js";

// The Durable Objects that hold the money. Wrangler looks for them in the main module.
export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

const FORTUNES = [
  "A small payment today spares a long invoice tomorrow.",
  "Someone, somewhere, is glad you rounded in their favour.",
  "The cent you are looking for is in the ledger.",
  "Good things come to those who await.",
  "You will be charged exactly once.",
] as const;

export default {
  fetch: withEnvelope(
    (request) => {
      switch (new URL(request.url).pathname) {
        case "/":
          return page();
        case "/coin":
          return new Response(roll(2) === 1 ? "Heads." : "Tails.");
        case "/dice":
          return new Response(`You rolled a ${roll(6)}.`, { headers: { "X-Price": "0.05" } });
        case "/fortune":
          return new Response(FORTUNES[roll(FORTUNES.length) - 1], { headers: { "X-Price": "1" } });
        case "/postcard":
          return new Response(postcard(), { headers: { "Content-Type": "image/svg+xml" } });
        case "/feed":
          return feed(request);
        default:
          return new Response("Not found", { status: 404 });
      }
    },
    {
      // Work that costs something is priced beforehand: held before it starts, charged when it is done, let go if it fails.
      price: ({ url }) => (new URL(url).pathname === "/postcard" ? "25" : undefined),
    },
  ),
} satisfies ExportedHandler;

/** A live feed over a WebSocket: a quarter of a cent for each second that it is watched, whatever comes. */
function feed(request: Request): Response {
  if (request.headers.get("Upgrade") !== "websocket") return new Response("A WebSocket, please", { status: 426 });
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  let height = 50;
  const timer = setInterval(() => {
    height = Math.max(0, Math.min(100, height + roll(21) - 11));
    server.send(JSON.stringify({ height }));
  }, 500);
  server.addEventListener("close", () => {
    clearInterval(timer);
    server.close();
  });
  const headers = { "X-Price-Per-Second": "0.25", "X-Price-Updates": "1" };
  return new Response(null, { status: 101, webSocket: client, headers });
}

const roll = (sides: number): number => 1 + Math.floor(Math.random() * sides);

function page(): Response {
  // New for each answer, so that no script or style but the page's own has any effect.
  const nonce = crypto.randomUUID();
  const policy = [
    `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'`,
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  ].join("; ");
  const headers = { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy };
  return new Response(html.replaceAll("{{nonce}}", nonce), { headers: { ...headers, "Cache-Control": "no-store" } });
}
