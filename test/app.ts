/** A handler whose behaviour the request chooses, so that one app serves every test. */
import type { EnvelopeExecutionContext } from "../src/index.js";

export async function app(request: Request, _env: unknown, ctx: EnvelopeExecutionContext): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const headers = new Headers();
  for (const price of searchParams.getAll("price")) headers.append("X-Price", price);
  const status = Number(searchParams.get("status") ?? 200);
  switch (pathname) {
    case "/free":
      return new Response("free", { headers: { "X-App": "1" } });
    case "/request-price":
      return Response.json([...request.headers.keys()].filter((name) => name.startsWith("x-price")));
    case "/cookies":
      headers.append("Set-Cookie", "a=1; Path=/");
      headers.append("Set-Cookie", "b=2; Path=/");
      return new Response("cookies", { headers });
    case "/socket": {
      const [client, server] = Object.values(new WebSocketPair()) as [WebSocket, WebSocket];
      server.accept();
      server.addEventListener("message", ({ data }) => server.send(`echo ${data}`));
      return new Response(null, { status: 101, webSocket: client, headers });
    }
    case "/stream": {
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
      const writer = writable.getWriter();
      const write = async () => {
        for (const word of ["one ", "two ", "three"]) await writer.write(new TextEncoder().encode(word));
        await writer.close();
      };
      ctx.waitUntil(write());
      return new Response(readable, { headers });
    }
    case "/throw":
      throw new Error("the app failed");
    case "/who": {
      const { id, identified, paymentLink } = ctx.envelope;
      return Response.json({ id, identified, paymentLink });
    }
    case "/state":
      return Response.json(await ctx.envelope.state());
    case "/charge": {
      const { price, ...options } = (await request.json()) as { price: string };
      return Response.json(await ctx.envelope.charge(price, options));
    }
    default: {
      const empty = status === 204 || status === 304 || request.method === "HEAD";
      return new Response(empty ? null : "paid content", { status, headers });
    }
  }
}
