/** A client that is not on this machine: a proxy that keeps all that passes it for half of a round trip, each way, in its order. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface Distance {
  readonly origin: string;
  close(): void;
}

export async function distanceTo(origin: string, round_trip_ms: number): Promise<Distance> {
  const { hostname, port } = new URL(origin);
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.setNoDelay(true);
      const later = (work: () => void) => setTimeout(work, round_trip_ms / 2);
      from.on("data", (chunk) => later(() => to.write(chunk)));
      from.on("close", () => {
        open.delete(from);
        later(() => to.destroy());
      });
      from.on("error", () => undefined);
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
