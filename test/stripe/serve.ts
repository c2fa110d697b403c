/** The stand-in on a port of this machine, for tests against a real server process. Node only. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { StripeStandIn } from "./stand-in.js";

export interface Served {
  /** For `STRIPE_API_BASE`. */
  readonly origin: string;
  close(): Promise<void>;
}

export async function serve(standIn: Pick<StripeStandIn, "handle">): Promise<Served> {
  const server = createServer((incoming, outgoing) => {
    answer(standIn, incoming).then(
      async (response) => {
        outgoing.writeHead(response.status, Object.fromEntries(response.headers));
        outgoing.end(await response.text());
      },
      // An answer that is lost is a connection that breaks.
      () => incoming.socket.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(standIn: Pick<StripeStandIn, "handle">, incoming: IncomingMessage): Promise<Response> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Uint8Array);
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const { method = "GET", url = "/" } = incoming;
  const body = method === "POST" ? Buffer.concat(chunks) : null;
  return standIn.handle(new Request(new URL(url, "http://stripe.test"), { method, headers, body }));
}
