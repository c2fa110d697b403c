/** What wrangler knows and keeps: the Worker's name, and its secrets once deployed. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./failure.js";
import { redact } from "./secrets.js";

/** The Worker's name, from its configuration in this directory; `undefined` without one. */
export function workerName(directory: string): string | undefined {
  const read = (file: string) => {
    const path = join(directory, file);
    return existsSync(path) ? readFileSync(path, "utf8") : undefined;
  };
  const json = read("wrangler.jsonc") ?? read("wrangler.json");
  return json === undefined ? nameInToml(read("wrangler.toml") ?? "") : nameInJson(json);
}

function nameInToml(text: string): string | undefined {
  // Before the first table: a `name` further down is a binding's.
  const [top = ""] = text.split(/^\s*\[/m);
  const found = /^\s*name\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')/m.exec(top);
  return found?.[1] ?? found?.[2];
}

/** Reads only as much JSON with comments as it takes: `"name"` at the top level. */
function nameInJson(text: string): string | undefined {
  let depth = 0;
  for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"|\/\/.*|\/\*[\s\S]*?\*\/|[{}[\]]/g)) {
    const [what] = token;
    if (what === "{" || what === "[") depth++;
    if (what === "}" || what === "]") depth--;
    const value = depth === 1 && what === '"name"' ? /^\s*:\s*"([^"\\]*)"/.exec(text.slice(token.index + 6)) : null;
    if (value !== null) return value[1];
  }
  return undefined;
}

/** Runs `npx wrangler secret put NAME` with the value on its standard input: an argument would show in the process list. */
export async function putSecret(name: string, value: string, directory: string): Promise<void> {
  const { STRIPE_SECRET_KEY: _, ...env } = process.env;
  const child = spawn("npx", ["wrangler", "secret", "put", name], {
    cwd: directory,
    // npx must not fetch a wrangler from somewhere and hand it a secret: the project's own, or none.
    env: { ...env, npm_config_yes: "false" },
    stdio: ["pipe", "pipe", "pipe"],
    shell: process.platform === "win32",
  });
  const output: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => output.push(chunk));
  // A wrangler that stops before it reads closes the pipe; its exit status says the rest.
  child.stdin.on("error", () => {});
  child.stdin.end(value);
  const status = await new Promise<number | null>((resolve) => {
    child.on("error", () => resolve(null));
    child.on("close", resolve);
  });
  if (status !== 0) throw refused(name, value, Buffer.concat(output).toString());
}

const LINES_SHOWN = 6;

function refused(name: string, value: string, output: string): Failure {
  const lines = redact(output.replaceAll(value, "…"))
    .split("\n")
    .filter((line) => line.trim() !== "");
  const said = lines.length === 0 ? "" : `\n${lines.slice(-LINES_SHOWN).join("\n")}`;
  return new Failure(
    "wrangler",
    `"npx wrangler secret put ${name}" failed. Is wrangler a dependency here, and logged in (npx wrangler login)?${said}`,
  );
}
