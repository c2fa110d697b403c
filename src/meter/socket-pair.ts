/** Binds a metered socket to the platform's: the app's end of a 101, and the end of a new pair that takes its place. */
import { MeteredSocket, type Side, type SocketInput } from "./socket.js";

export interface MeteredPair {
  /** What the client is answered with. */
  readonly client: WebSocket;
  readonly socket: MeteredSocket;
}

/** `open` is what a metered socket needs besides its two sides. From here on frames go through it. */
export function meterPair(app: WebSocket, open: Omit<SocketInput, "client" | "app">): MeteredPair {
  const { 0: client, 1: server } = new WebSocketPair();
  take(server);
  take(app);
  const socket = new MeteredSocket({ ...open, client: sideOf(server), app: sideOf(app) });
  listen(server, "client", socket);
  listen(app, "app", socket);
  return { client, socket };
}

/** Frames as they came: a blob could only be measured by waiting for it, and the frames behind it would overtake it. */
export function take(socket: WebSocket): void {
  socket.accept();
  socket.binaryType = "arraybuffer";
}

export function sideOf(socket: WebSocket): Side {
  return {
    send: (data) => socket.send(data),
    close: (close) => {
      if (close === undefined) socket.close();
      else socket.close(close.code, close.reason);
    },
  };
}

/** An `error` is always followed by a `close` with code 1006. */
export function listen(socket: WebSocket, name: "client" | "app", metered: MeteredSocket): void {
  socket.addEventListener("message", ({ data }) => {
    if (name === "client") metered.fromClient(data);
    else metered.fromApp(data);
  });
  socket.addEventListener("close", ({ code, reason }) => metered.closed(name, code, reason));
}
