/** An app's own object that holds sockets and hibernates: what many apps have behind a WebSocket. */
import { DurableObject } from "cloudflare:workers";

export class Room extends DurableObject {
  readonly #woke_ms = Date.now();

  override async fetch(): Promise<Response> {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment({ joined_ms: Date.now() });
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (message === "woke") socket.send(`${this.#woke_ms} ${socket.deserializeAttachment().joined_ms}`);
    else if (message === "reset") this.ctx.abort("reset");
    else if (message === "bye") socket.close(4001, "the room says bye");
    else socket.send(message);
  }

  override async webSocketClose(socket: WebSocket, code: number, reason: string): Promise<void> {
    this.ctx.storage.kv.put("closed", { code, reason });
    try {
      socket.close(code, reason);
    } catch {
      socket.close();
    }
  }

  closed(): { readonly code: number; readonly reason: string } | undefined {
    return this.ctx.storage.kv.get("closed");
  }
}
