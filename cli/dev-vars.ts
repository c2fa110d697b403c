/** `.dev.vars`: the secrets of local development. Only our own lines change; the file is replaced whole or not at all. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { Failure } from "./failure.js";

export const DEV_VARS = ".dev.vars";
const OWNER_ONLY = 0o600;

export class DevVars {
  readonly #path: string;

  constructor(directory: string) {
    const path = join(directory, DEV_VARS);
    // Through a symbolic link, so that the rename replaces the file and not the link.
    this.#path = existsSync(path) ? realpathSync(path) : path;
  }

  get(name: string): string {
    return parseEnv(this.#text())[name]?.trim() ?? "";
  }

  /** @throws {Failure} when git tracks the file: a secret written there would be committed. */
  refuseIfTracked(): void {
    if (this.#git("ls-files", "--error-unmatch")) {
      throw new Failure(
        "tracked",
        `${DEV_VARS} is tracked by git, so secrets in it would be committed. Run: git rm --cached ${DEV_VARS}, and add it to .gitignore.`,
      );
    }
  }

  /** In a repository, and not ignored there: one `git add .` away from being committed. */
  isExposed(): boolean {
    return this.#git("rev-parse") && !this.#git("check-ignore", "--quiet");
  }

  /** Answers whether anything had to be written. */
  set(values: Readonly<Record<string, string>>): boolean {
    const before = this.#text();
    const after = Object.entries(values).reduce((text, [name, value]) => withVariable(text, name, value), before);
    if (after === before) {
      chmodSync(this.#path, OWNER_ONLY);
      return false;
    }
    replaceFile(this.#path, after);
    return true;
  }

  #text(): string {
    return existsSync(this.#path) ? readFileSync(this.#path, "utf8") : "";
  }

  /** Whether git says yes about this file. No git, or no repository, is a no. */
  #git(...command: string[]): boolean {
    const file = command[0] === "rev-parse" ? [] : ["--", basename(this.#path)];
    try {
      execFileSync("git", [...command, ...file], { cwd: dirname(this.#path), stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  }
}

/** Sets one variable: in the line that has it (the last one, which is the one that counts), or in a new line at the end. */
export function withVariable(text: string, name: string, value: string): string {
  const quoted = /^[\w:/.?=&%+,-]*$/.test(value) ? value : `'${value}'`;
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  const existing =
    `^([ \\t]*(?:export[ \\t]+)?${name}[ \\t]*=[ \\t]*)` +
    `("(?:[^"\\\\]|\\\\.)*"|'[^']*'|\`[^\`]*\`|[^#\\r\\n]*?)([ \\t]*(?:#.*)?\\r?)$`;
  const last = [...text.matchAll(new RegExp(existing, "gm"))].at(-1);
  if (last === undefined) {
    const gap = text === "" || text.endsWith("\n") ? "" : newline;
    return `${text}${gap}${name}=${quoted}${newline}`;
  }
  const [line, start = "", , end = ""] = last;
  return text.slice(0, last.index) + start + quoted + end + text.slice(last.index + line.length);
}

/** Written beside it and renamed over it: whoever reads, or dies, sees the old file or the new one. */
function replaceFile(path: string, text: string): void {
  const next = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(next, "wx", OWNER_ONLY);
    writeFileSync(file, text);
    fsyncSync(file);
    closeSync(file);
    renameSync(next, path);
  } finally {
    rmSync(next, { force: true });
  }
}
