/** What a Worker has to load: the package bundled as a user would, in pieces, so that what is only loaded when asked for counts apart. */
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE_FOLDER } from "../lib/folders.ts";

const WORKER = `
import { withEnvelope } from "with-envelope";
export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope";
export default { fetch: withEnvelope(() => new Response("hello", { headers: { "X-Price": "1" } })) };
`;

export async function sizes(): Promise<Readonly<Record<string, number>>> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: WORKER, resolveDir: PACKAGE_FOLDER, loader: "js" },
    bundle: true,
    splitting: true,
    format: "esm",
    minify: true,
    write: false,
    metafile: true,
    outdir: "out",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
  });
  const bytes = new Map(outputFiles.map(({ path, contents }) => [path.slice(path.lastIndexOf("/") + 1), contents]));
  const outputs = Object.entries(metafile.outputs).map(([path, output]) => ({
    name: path.slice(path.lastIndexOf("/") + 1),
    inputs: Object.keys(output.inputs),
    imports: output.imports,
    entry: output.entryPoint?.includes("stdin") === true,
  }));
  const entry = outputs.find(({ entry }) => entry);
  if (entry === undefined) throw new Error("The bundle has no entry");
  // What is evaluated at the start: the entry, and what it imports outright.
  const started = new Set<string>();
  const visit = (name: string): void => {
    if (started.has(name)) return;
    started.add(name);
    const output = outputs.find((one) => one.name === name);
    for (const { path, kind } of output?.imports ?? []) {
      if (kind === "import-statement") visit(path.slice(path.lastIndexOf("/") + 1));
    }
  };
  visit(entry.name);
  const gzip = (names: Iterable<string>): number => {
    const all = [...names].map((name) => Buffer.from(bytes.get(name) ?? new Uint8Array()));
    return gzipSync(Buffer.concat(all), { level: 9 }).length / 1000;
  };
  const isOptional = ({ inputs }: { readonly inputs: readonly string[] }): boolean =>
    inputs.some((path) => /node_modules\/(stripe|jose)\/|dist\/admin\//.test(path));
  const core = outputs.filter((one) => !isOptional(one)).map(({ name }) => name);
  return {
    start_gzip_kb: gzip(started),
    core_gzip_kb: gzip(core),
    everything_gzip_kb: gzip(bytes.keys()),
  };
}
