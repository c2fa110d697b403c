/** Both sides in one workerd process, each behind a socket of its own: the same runtime, disk and moment for both. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startGroup } from "../lib/process-group.ts";
import { CLASSES, COMPATIBILITY_DATE, randomVars, writeProject } from "../lib/project.ts";
import { listeningPorts, WORKERD } from "../lib/workerd.ts";
import { bundle } from "../lib/wrangler.ts";

const PRODUCT = fileURLToPath(new URL("../workers/bench.ts", import.meta.url));
const FLOOR = fileURLToPath(new URL("../workers/bench-floor.js", import.meta.url));

export interface Stand {
  readonly product: string;
  readonly floor: string;
  readonly secret: string;
  /** From the start of the process to both sockets. */
  readonly start_ms: number;
  kill(): Promise<void>;
}

export interface Prepared {
  readonly folder: string;
  /** Signs webhooks. */
  readonly secret: string;
}

/** Bundles the product as a deploy would. */
export function prepare(folder: string, extra: Readonly<Record<string, string>> = {}): Prepared {
  const vars = { ...randomVars(), ...extra };
  writeProject({ folder, main: PRODUCT, vars });
  const bundled = bundle(folder);
  copyFileSync(FLOOR, join(bundled, "floor.mjs"));
  const module = readdirSync(bundled).find((name) => name.endsWith(".js"));
  if (module === undefined) throw new Error("The bundle holds no module");
  writeFileSync(join(bundled, "bench.capnp"), capnp(module, vars), { mode: 0o600 });
  return { folder: bundled, secret: vars.STRIPE_WEBHOOK_SECRET };
}

export async function startStand({ folder, secret }: Prepared, storage: string): Promise<Stand> {
  mkdirSync(storage, { recursive: true });
  const began_ms = performance.now();
  const group = startGroup({
    command: WORKERD,
    args: ["serve", "bench.capnp", `--directory-path=storage=${storage}`, "--control-fd=3"],
    folder,
    control: true,
  });
  try {
    const ports = await listeningPorts(group, ["product", "floor"]);
    const start_ms = performance.now() - began_ms;
    const [product, floor] = ports.map((port) => `http://127.0.0.1:${port}`);
    if (product === undefined || floor === undefined) throw new Error("A socket is missing");
    return { product, floor, secret, start_ms, kill: () => group.kill() };
  } catch (error) {
    await group.kill();
    throw error;
  }
}

function capnp(module: string, vars: Readonly<Record<string, string>>): string {
  // `Room` is the app's own: what many apps have behind a WebSocket.
  const namespaces = [...CLASSES, "Room"].map(
    (name) => `(className = "${name}", uniqueKey = "bench-${name}", enableSql = true)`,
  );
  const bindings = Object.entries(vars).map(([name, value]) => `(name = "${name}", text = ${JSON.stringify(value)})`);
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "product", worker = .product),
    (name = "floor", worker = .floor),
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [
    (name = "product", address = "127.0.0.1:0", http = (), service = "product"),
    (name = "floor", address = "127.0.0.1:0", http = (), service = "floor"),
  ],
);

const product :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "${module}")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [${bindings.join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}],
  durableObjectStorage = (localDisk = "storage"),
);

const floor :Workerd.Worker = (
  modules = [(name = "floor", esModule = embed "floor.mjs")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [
    (name = "FLOOR", durableObjectNamespace = "Floor"),
    (name = "ROOM", durableObjectNamespace = "Room"),
  ],
  durableObjectNamespaces = [
    (className = "Floor", uniqueKey = "bench-floor", enableSql = true),
    (className = "Room", uniqueKey = "bench-floor-room", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
);
`;
}
