/**
 * Puts a report into docs/performance.md, between its two marks:
 *
 *   npm run bench --silent -- --json > bench.json && node scripts/bench/write-doc.ts bench.json
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type BenchReport, withBlock } from "./doc.ts";

const DOCUMENT = fileURLToPath(new URL("../../docs/performance.md", import.meta.url));

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error("Which report? node scripts/bench/write-doc.ts bench.json");
  process.exit(2);
}
const report = JSON.parse(readFileSync(file, "utf8")) as BenchReport;
writeFileSync(DOCUMENT, withBlock(readFileSync(DOCUMENT, "utf8"), report));
