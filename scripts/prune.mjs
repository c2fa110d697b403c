/** Removes from dist what no source file makes any more. After the build, so that dist is never missing while a Worker uses it. */
import { existsSync, readdirSync, rmSync } from "node:fs";

const dist = new URL("../dist/", import.meta.url);
for (const file of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
  const source = file.replace(/(\.d\.ts|\.js)$/, ".ts");
  const folder = file.startsWith("cli/") ? "../" : "../src/";
  if (source !== file && !existsSync(new URL(folder + source, import.meta.url))) rmSync(new URL(file, dist));
}
