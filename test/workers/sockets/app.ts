/** An app with sockets: an echo in the Worker, or one that ends in an object of the app's own. Query parameters are price headers. */
import { env } from "cloudflare:workers";
import type { EnvelopeExecutionContext, MeterRate } from "../../../src/index.js";

const PRICES = {
  price: "X-Price",
  second: "X-Price-Per-Second",
  message: "X-Price-Per-Message",
  kilobyte: "X-Price-Per-Kilobyte",
  max: "X-Price-Max",
  updates: "X-Price-Updates",
} as const;

/** What the app's side of the last socket saw. */
export const seen: { closes: { code: number; reason: string }[]; received: (string | ArrayBuffer)[] } = {
  closes: [],
  received: [],
};

export let rate: MeterRate | undefined;
export const useRate = (next: MeterRate | undefined): void => {
  rate = next;
};

export async function socketApp(request: Request, _env: unknown, ctx: EnvelopeExecutionContext): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const headers = new Headers();
  for (const [name, header] of Object.entries(PRICES)) {
    const value = searchParams.get(name);
    if (value !== null) headers.set(header, value);
  }
  const protocol = request.headers.get("Sec-WebSocket-Protocol");
  if (protocol !== null) headers.set("Sec-WebSocket-Protocol", protocol.split(", ").at(-1) ?? "");
  if (pathname === "/who") return Response.json({ id: ctx.envelope.id, identified: ctx.envelope.identified });
  if (pathname === "/spend") {
    await ctx.envelope.charge("1");
    return echo(headers);
  }
  if (pathname.startsWith("/room/")) {
    const room = await env.ROOM.getByName(pathname.slice(6)).fetch(request);
    const answer = new Response(null, room);
    for (const [name, value] of headers) answer.headers.set(name, value);
    return answer;
  }
  const response = echo(headers);
  return pathname === "/metered" ? ctx.envelope.meter(response, rate ?? {}) : response;
}

function echo(headers: Headers): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.binaryType = "arraybuffer";
  server.addEventListener("message", ({ data }) => {
    seen.received.push(data);
    if (data === "bye") server.close(4001, "the app says bye");
    else if (data === "many") for (let n = 1; n <= 50; n++) server.send(`${n}`);
    else if (data === "throw") throw new Error("the app failed");
    else if (data !== "silent") server.send(data);
  });
  server.addEventListener("close", ({ code, reason }) => {
    seen.closes.push({ code, reason });
    try {
      server.close(code, reason);
    } catch {
      server.close();
    }
  });
  headers.append("Set-Cookie", "app=1; Path=/");
  headers.append("Set-Cookie", "app=2; Path=/");
  return new Response(null, { status: 101, webSocket: client, headers });
}
