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
        case "/story":
          return story();
        case "/almanac":
          return almanac();
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

const STORY =
  `Once there was an envelope that paid for every word it was told, and for none that it was not. When it was empty the
story stopped, in the middle of a sentence, and waited. Somebody put a coin in.`.split(/\s+/);

/** As a language model answers: word by word, as server-sent events. A tenth of a cent for each that arrives. */
function story(): Response {
  const encoder = new TextEncoder();
  let next = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const word = STORY[next++];
      if (word === undefined) return controller.close();
      await scheduler.wait(80);
      controller.enqueue(encoder.encode(`data: ${JSON.stringify({ word })}\n\n`));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream", "X-Price-Per-Message": "0.1" } });
}

const ALMANAC_KILOBYTES = 100;

/** A download that is paid for as it flows: a hundredth of a cent for each thousand bytes. */
function almanac(): Response {
  let left = ALMANAC_KILOBYTES;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left === 0) return controller.close();
      left -= 1;
      controller.enqueue(new Uint8Array(1_000).fill(0x2e));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/plain", "X-Price-Per-Kilobyte": "0.01" } });
}

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
