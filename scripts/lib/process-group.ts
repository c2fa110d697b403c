/**
 * Child processes, each the leader of a process group of its own, so that killing one takes its children with it and
 * nobody else's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

export interface ProcessGroup {
  /** Everything it printed so far, for an error message. */
  output(): string;
  /** The text of a `control` pipe (file descriptor 3), as it grows. */
  readonly control: Readable | undefined;
  /** Calls back with each piece of text it prints. */
  onOutput(listener: (text: string) => void): void;
  /** Resolves when the leader has ended. */
  readonly ended: Promise<void>;
  /** SIGKILL to the whole group: nothing gets to tidy up. Resolves when the leader is gone. */
  kill(): Promise<void>;
}

export interface StartInput {
  readonly command: string;
  readonly args: readonly string[];
  readonly folder: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Opens file descriptor 3 as a pipe that the child writes to. */
  readonly control?: boolean;
}

const OUTPUT_CHARS_MAX = 20_000;
const GROUP_GONE_MS = 500;

const living = new Set<ChildProcess>();
let watching = false;

export function startGroup(input: StartInput): ProcessGroup {
  watchExit();
  const child = spawn(input.command, input.args, {
    cwd: input.folder,
    env: { ...process.env, ...input.env },
    stdio: ["ignore", "pipe", "pipe", ...(input.control ? (["pipe"] as const) : [])],
    detached: true,
  });
  living.add(child);
  let printed = "";
  const listeners: ((text: string) => void)[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      printed = (printed + text).slice(-OUTPUT_CHARS_MAX);
      for (const listener of listeners) listener(text);
    });
  }
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      printed += String(error);
      living.delete(child);
      resolve();
    });
    child.once("exit", () => {
      living.delete(child);
      resolve();
    });
  });
  return {
    output: () => printed,
    control: input.control ? (child.stdio[3] as Readable) : undefined,
    onOutput: (listener) => void listeners.push(listener),
    ended,
    kill: async () => {
      killGroup(child);
      await ended;
      await groupGone(child);
    },
  };
}

/** The leader may be gone while its children live on, so its exit does not make this a no-op. */
function killGroup(child: ChildProcess): void {
  signalGroup(child, "SIGKILL");
}

/** The children may outlive their leader by a moment, and hold the storage's files. Bounded: a zombie counts as a member. */
async function groupGone(child: ChildProcess): Promise<void> {
  for (let waited_ms = 0; waited_ms < GROUP_GONE_MS && signalGroup(child, 0); waited_ms += 5) await sleep(5);
}

/** False when nobody is left in the group. */
function signalGroup(child: ChildProcess, signal: "SIGKILL" | 0): boolean {
  if (child.pid === undefined) return false;
  try {
    return process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** A harness that ends early, by an exception or Ctrl-C, leaves no server behind. */
function watchExit(): void {
  if (watching) return;
  watching = true;
  process.once("exit", () => {
    for (const child of living) killGroup(child);
  });
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.once(signal, () => process.exit(code));
  }
}
