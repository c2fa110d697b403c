/**
 * The runtime itself, without wrangler around it: one process, Durable Objects in SQLite files on disk, restarted in tens
 * of milliseconds. What it runs is what wrangler bundled.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type ProcessGroup, startGroup } from "./process-group.ts";
import { CLASSES, COMPATIBILITY_DATE } from "./project.ts";
import type { Server } from "./wrangler.ts";

/** Wrangler's own workerd: another may be installed beside it, older than the compatibility date. */
const fromWrangler = createRequire(createRequire(import.meta.url).resolve("wrangler/package.json"));
const { default: path, version } = fromWrangler("workerd") as { default: string; version: string };

export const WORKERD = path;
export const WORKERD_VERSION = version;

const READY_MS = 20_000;
const CONFIG = "workerd.capnp";

/** Writes the runtime's configuration beside the bundle. `main` where it is of several modules. */
export function configureWorkerd(bundle: string, vars: Readonly<Record<string, string>>, main?: string): void {
  const modules = readdirSync(bundle).filter((name) => /\.m?js$/.test(name));
  const [first = main] = modules;
  if (first === undefined) throw new Error("The bundle holds no module");
  const ordered = main === undefined ? [first] : [main, ...modules.filter((name) => name !== main)];
  writeFileSync(join(bundle, CONFIG), capnp(ordered, vars), { mode: 0o600 });
}

/** What workerd calls the internet ends at this machine's door, behind which a harness listens. */
export function allowThisMachine(bundle: string): void {
  const file = join(bundle, CONFIG);
  const config = readFileSync(file, "utf8");
  const network = `(name = "internet", network = (allow = ["public", "private"])),`;
  const wider = config.replace("services = [", `services = [\n    ${network}`);
  if (wider === config) throw new Error("The configuration of workerd has no list of services");
  writeFileSync(file, wider, { mode: 0o600 });
}

export async function startWorkerd(bundle: string, storage: string): Promise<Server> {
  mkdirSync(storage, { recursive: true });
  const group = startGroup({
    command: WORKERD,
    args: ["serve", CONFIG, `--directory-path=storage=${storage}`, "--control-fd=3"],
    folder: bundle,
    control: true,
  });
  try {
    const [port] = await listeningPorts(group, ["http"]);
    return { origin: `http://127.0.0.1:${port}`, kill: () => group.kill() };
  } catch (error) {
    await group.kill();
    throw error;
  }
}

/** workerd picks free ports and tells them on the control pipe, so no two runs can meet on one. In the order of `sockets`. */
export function listeningPorts(group: ProcessGroup, sockets: readonly string[]): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`workerd ${why}:\n${group.output()}`));
    const timer = setTimeout(() => fail(`did not listen within ${READY_MS} ms`), READY_MS);
    let told = "";
    group.control?.setEncoding("utf8").on("data", (text: string) => {
      told += text;
      const ports = sockets.map((socket) => portOf(told, socket));
      if (ports.some((port) => port === undefined)) return;
      clearTimeout(timer);
      resolve(ports as number[]);
    });
    void group.ended.then(() => {
      clearTimeout(timer);
      fail("ended before it listened");
    });
  });
}

function portOf(told: string, socket: string): number | undefined {
  for (const line of told.split("\n")) {
    if (/"event":\s*"listen"/.test(line) && line.includes(`"${socket}"`)) {
      const port = /"port":\s*(\d+)/.exec(line)?.[1];
      if (port !== undefined) return Number(port);
    }
  }
  return undefined;
}

function capnp(modules: readonly string[], vars: Readonly<Record<string, string>>): string {
  const namespaces = CLASSES.map((name) => `(className = "${name}", uniqueKey = "harness-${name}", enableSql = true)`);
  const bindings = Object.entries(vars).map(([name, value]) => `(name = "${name}", text = ${JSON.stringify(value)})`);
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [${modules.map((name) => `(name = "${name}", esModule = embed "${name}")`).join(", ")}],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [${bindings.join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}],
  durableObjectStorage = (localDisk = "storage"),
);
`;
}
