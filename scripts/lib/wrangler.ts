/** Wrangler, as a user runs it: `wrangler dev` in its own process group, and its bundler. */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type ProcessGroup, startGroup } from "./process-group.ts";

const WRANGLER = join(createRequire(import.meta.url).resolve("wrangler/package.json"), "../bin/wrangler.js");

/** Nothing about a run leaves the machine, and no question waits for a human. */
const QUIET = { WRANGLER_SEND_METRICS: "false", CI: "true", NO_COLOR: "1", FORCE_COLOR: "0" };

const READY_MS = 60_000;

export interface Server {
  readonly origin: string;
  /** SIGKILL to all of its processes. */
  kill(): Promise<void>;
}

/** Runs any wrangler command to its end. Throws with what it printed when it fails. */
export function wrangler(folder: string, args: readonly string[]): string {
  try {
    return execFileSync(process.execPath, [WRANGLER, ...args], {
      cwd: folder,
      env: { ...process.env, ...QUIET },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`wrangler ${args.join(" ")} failed:\n${stdout}\n${stderr}`);
  }
}

/** The project's Worker as one ES module, bundled exactly as a deploy would. Answers the folder it is in. */
export function bundle(project: string): string {
  const folder = join(project, "bundle");
  wrangler(project, ["deploy", "--dry-run", "--outdir", folder]);
  return folder;
}

/** Starts `wrangler dev` on a free port and waits until it takes requests. */
export async function startWranglerDev(project: string, storage: string): Promise<Server> {
  const group = startGroup({
    command: process.execPath,
    args: [WRANGLER, "dev", "--ip", "127.0.0.1", "--port", "0", "--persist-to", storage],
    folder: project,
    env: QUIET,
  });
  try {
    return { origin: await readyOrigin(group), kill: () => group.kill() };
  } catch (error) {
    await group.kill();
    throw error;
  }
}

function readyOrigin(group: ProcessGroup): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`wrangler dev ${why}:\n${group.output()}`));
    const timer = setTimeout(() => fail(`was not ready within ${READY_MS} ms`), READY_MS);
    group.onOutput(() => {
      const ready = /Ready on (http:\/\/[^\s]+)/.exec(group.output());
      if (ready?.[1] === undefined) return;
      clearTimeout(timer);
      resolve(ready[1]);
    });
    void group.ended.then(() => {
      clearTimeout(timer);
      fail("ended before it was ready");
    });
  });
}
