/**
 * What a Worker has to load: the package bundled as a user would, in pieces, so that what is only loaded when asked for counts
 * apart. What a Worker evaluates that charges and takes webhooks is not guessed: such a one is run, and asked.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE_FOLDER, temporaryFolder } from "../lib/folders.ts";
import { newHolder } from "../lib/holder.ts";
import { type Question, send } from "../lib/http.ts";
import { randomVars } from "../lib/project.ts";
import { completedEvent, deliver } from "../lib/stripe.ts";
import { configureWorkerd, startWorkerd } from "../lib/workerd.ts";

const WORKER = `
import { withEnvelope } from "with-envelope";
export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope";
export default { fetch: withEnvelope((request) =>
  request.url.endsWith("/loaded") ? Response.json(globalThis.LOADED) : new Response("hello", { headers: { "X-Price": "1" } })) };
`;

export interface Piece {
  readonly name: string;
  readonly text: string;
}

/** Loaded by none but those who verify a webhook or call Stripe, and not ours. */
const STRIPE = /^stripe\./;

export interface Loaded {
  readonly pieces: readonly Piece[];
  /** Names of the pieces that are evaluated before the first request. */
  readonly start: readonly string[];
  /** … by a charge, once the envelope is awake and has been mirrored: nothing more than at the start, and that once. */
  readonly charge: readonly string[];
  /** … all in all, by a Worker that only charges and takes webhooks; but Stripe's own package. */
  readonly core: readonly string[];
}

export async function sizes(): Promise<Readonly<Record<string, number>>> {
  const { pieces, start, core } = await loaded();
  const all = pieces.map(({ name }) => name);
  return {
    start_gzip_kb: gzipBytes(pieces, start) / 1000,
    core_gzip_kb: gzipBytes(pieces, core) / 1000,
    everything_gzip_kb: gzipBytes(pieces, all) / 1000,
    client_gzip_kb: (await clientBytes()) / 1000,
  };
}

export function gzipBytes(pieces: readonly Piece[], names: readonly string[]): number {
  const chosen = pieces.filter(({ name }) => names.includes(name)).map(({ text }) => text);
  return gzipSync(chosen.join("\n"), { level: 9 }).length;
}

/** What a page loads of `with-envelope/client`, compressed. */
export async function clientBytes(): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "with-envelope/client"', resolveDir: PACKAGE_FOLDER },
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
  });
  return gzipSync(outputFiles.map(({ text }) => text).join("\n"), { level: 9 }).length;
}

export async function loaded(): Promise<Loaded> {
  const pieces = await bundled();
  const [entry] = pieces;
  if (entry === undefined) throw new Error("The bundle has no entry");
  const folder = temporaryFolder("sizes");
  for (const { name, text } of pieces) {
    writeFileSync(join(folder.path, name), `(globalThis.LOADED ??= []).push(${JSON.stringify(name)});\n${text}`);
  }
  const vars = randomVars();
  configureWorkerd(folder.path, vars, entry.name);
  const server = await startWorkerd(folder.path, join(folder.path, "storage"));
  try {
    return { pieces, ...(await use(server.origin, vars.STRIPE_WEBHOOK_SECRET)) };
  } finally {
    await server.kill();
    folder.remove();
  }
}

/** A Worker in pieces, the entry first. */
export async function bundled(contents = WORKER): Promise<readonly Piece[]> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: PACKAGE_FOLDER, loader: "js", sourcefile: "entry.js" },
    bundle: true,
    splitting: true,
    format: "esm",
    minify: true,
    write: false,
    outdir: "out",
    entryNames: "entry",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
  });
  const pieces = outputFiles.map(({ path, text }) => ({ name: path.slice(path.lastIndexOf("/") + 1), text }));
  return pieces.sort((one, other) => Number(other.name === "entry.js") - Number(one.name === "entry.js"));
}

const MIRRORED_MS_MAX = 10_000;

async function use(origin: string, secret: string): Promise<Omit<Loaded, "pieces">> {
  const names = async (): Promise<readonly string[]> => JSON.parse((await send(origin, "/loaded")).body);
  const must = async (status: number, path: string, question?: Question): Promise<void> => {
    const answer = await send(origin, path, question);
    if (answer.status !== status)
      throw new Error(`${path} answered ${answer.status} and not ${status}: ${answer.body}`);
  };
  const start = await names();
  const { cookie, reference } = await newHolder(origin);
  const headers = { Cookie: cookie };
  await must(402, "/refused", { headers });
  const paid = await deliver(origin, completedEvent({ name: "sizes", reference, amount: 1_000 }), secret);
  if (paid.status !== 200) throw new Error(`The webhook answered ${paid.status}: ${paid.body}`);
  // Its first entry is on its way to the aggregate within seconds, and then all that follows on a payment is loaded.
  const fetched = await names();
  for (let waited_ms = 0; (await names()).length === fetched.length; waited_ms += 100) {
    if (waited_ms > MIRRORED_MS_MAX) throw new Error("Nothing was mirrored");
    await sleep(100);
  }
  await sleep(500);
  const before = await names();
  await must(200, "/charge", { headers });
  const after = await names();
  await must(200, "/charge", { method: "POST", headers: { ...headers, "Idempotency-Key": "once" }, body: "work" });
  await must(303, "/pay", { headers });
  await must(200, "/rotate-token", { method: "POST", headers });
  return {
    start,
    charge: after.filter((name) => !before.includes(name)),
    core: (await names()).filter((name) => !STRIPE.test(name)),
  };
}
