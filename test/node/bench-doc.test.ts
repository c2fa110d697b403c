/** The measured part of docs/performance.md is written by a script, and the script writes what the report says. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type BenchReport, block, withBlock } from "../../scripts/bench/doc.ts";

const report: BenchReport = {
  machine: { cpu: "Some CPU", cores: 2, memory_gb: 23, system: "linux 6.1", load: "wrk" },
  versions: { node: "24.21.0", workerd: "1.20261117.1" },
  rounds: 7,
  results: { charge_1: { rps: 1401, p50_ms: 0.65, p99_ms: 1.94 } },
  ratios: { charge_latency_vs_floor: 1.072 },
  spreads: { charge_latency_vs_floor: [1.01, 1.131, 7] },
  counts: {
    rows_written_per_charge: 1,
    rows_written_per_hot_charge: 1.038,
    rows_read_per_hot_charge: 4.013,
    object_requests_per_hot_charge: 1.003,
    list_price_per_million_charges_usd: 1.514,
  },
};

test("the block has machine, versions, rounds, results, ratios with their spread and counts", () => {
  const text = block(report);
  expect(text).toContain(
    "Some CPU, 2 cores, 23 GB, linux 6.1; node 24.21.0, workerd 1.20261117.1; load by wrk; 7 rounds",
  );
  expect(text).toContain("| `charge_1` | 1,401 | 0.65 | 1.9 |");
  expect(text).toContain("| `charge_latency_vs_floor` | 1.07 | 1.01 to 1.13 | 7 | ≤ 1.15 |");
  expect(text).toContain("| `rows_written_per_charge` | 1 | 1.00 |");
});

test("the price is written out line by line, and adds up to what the report says", () => {
  const text = block(report);
  expect(text).toContain("1.038 | $1.0000 | $1.0380 |");
  expect(text).toContain("1.003 | $0.1500 | $0.1504 |");
  expect(text).toContain("**$1.5141**");
  const other = { ...report, counts: { ...report.counts, list_price_per_million_charges_usd: 2.5 } };
  expect(() => block(other)).toThrow("add up to");
});

test("only the block of the document changes, and it can be written again", () => {
  const document = readFileSync("docs/performance.md", "utf8");
  const once = withBlock(document, report);
  expect(once).toContain("charge_latency_vs_floor` | 1.07");
  expect(once.split("<!-- bench:begin -->")[0]).toBe(document.split("<!-- bench:begin -->")[0]);
  expect(once.split("<!-- bench:end -->")[1]).toBe(document.split("<!-- bench:end -->")[1]);
  expect(withBlock(once, report)).toBe(once);
  expect(() => withBlock("no marks", report)).toThrow("bench:begin");
});
