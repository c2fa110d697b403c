/** A site with ws402 on it: `paid` has a provider, `own` takes the caller's envelope. */
import { env } from "cloudflare:workers";
import type { EnvelopeExecutionContext, EnvelopeOptions } from "../../../src/index.js";
import { WS402, type WS402Config, type WS402Session } from "../../../src/ws402/index.js";
import { paid } from "../../ws402.js";
import { type Client, clientOf, UPGRADE } from "../sockets.js";
import { type Caller, Site } from "../support.js";

/** What the app behind ws402 saw. */
export const behind = {
  sessions: [] as WS402Session[],
  received: [] as unknown[],
  closes: [] as { code: number; reason: string }[],
  fails: false,
};

export const app = {
  socket: (session: WS402Session): Response => {
    if (behind.fails) throw new Error("the app failed");
    behind.sessions.push(session);
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.addEventListener("message", ({ data }) => {
      behind.received.push(data);
      if (data === "bye") server.close(4001, "the app says bye");
      else server.send(`echo ${data}`);
    });
    server.addEventListener("close", ({ code, reason }) => {
      behind.closes.push({ code, reason });
      server.close();
    });
    return new Response(null, { status: 101, webSocket: client });
  },
  resource: ({ resourceId }: { resourceId: string }): Response =>
    new Response(`the whole of ${resourceId}`, { headers: { "Content-Type": "text/plain" } }),
};

export const siteOf = (ws402: WS402, options: EnvelopeOptions = {}): Site =>
  new Site(
    options,
    {},
    async (request: Request, _env: unknown, ctx: EnvelopeExecutionContext) =>
      (await ws402.handle(request, env, ctx, app)) ?? new Response("not ws402's", { status: 404 }),
  );

export const paidSite = siteOf(paid);

export const ownSite = (config: WS402Config = {}): Site =>
  siteOf(new WS402({ pricePerSecond: "1", updateInterval: 200, ...config }));

export const connect = async (site: Site, path = "/ws402/feed"): Promise<Client> =>
  clientOf(await site.fetch(path, UPGRADE));

export const connectAs = async (caller: Caller, path = "/ws402/feed"): Promise<Client> =>
  clientOf(await caller.fetch(path, UPGRADE));

let proofs = 0;
/** A payment that nobody made before. */
export const payment = (amount: number) => ({ amount, txId: `tx-${Date.now().toString(36)}-${proofs++}` });

export const prove = (client: Client, proof: unknown): void => client.send({ type: "payment_proof", proof });

export async function receiptOf(site: Site, sessionId: unknown): Promise<Record<string, unknown>> {
  const response = await site.fetch(`/ws402/session/${sessionId}`);
  return { status: response.status, ...((await response.json()) as object) };
}

export async function until(done: () => boolean | Promise<boolean>, what = "it"): Promise<void> {
  for (let tries = 0; !(await done()); tries++) {
    if (tries === 400) throw new Error(`waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export const sessionsShard = (sessionId: string) =>
  env.WS402_SESSIONS.getByName(`ws402-${Number.parseInt(sessionId.charAt(6), 16)}`);
