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
