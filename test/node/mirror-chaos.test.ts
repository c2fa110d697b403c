/** The mirror's harness, short; and its negative control, without which a pass would mean little. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { MirrorReport } from "../../scripts/mirror-chaos.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/mirror-chaos.ts", import.meta.url));

function chaos(...args: readonly string[]): { readonly status: number | null; readonly report: MirrorReport } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, "--json", ...args], { encoding: "utf8" });
  if (!stdout.startsWith("{")) throw new Error(`The harness gave no report:\n${stderr}`);
  return { status, report: JSON.parse(stdout) as MirrorReport };
}

test("T93 T94 whatever is lost, doubled or overtaken on the way, the aggregate ends as the ledgers say", () => {
  const { status, report } = chaos("--entries", "20000", "--envelopes", "20", "--seed", "2026");
  expect(report).toMatchObject({ verdict: "pass", differences: 0, examples: [], health: { behind: 0 } });
  expect(status).toBe(0);
  for (const fault of ["down", "lost", "answer lost", "doubled", "kept for later", "overtaken"]) {
    expect(report.deliveries[fault], fault).toBeGreaterThan(0);
  }
  expect(report.health["duplicates"]).toBeGreaterThan(0);
  expect(report.health["gaps"]).toBeGreaterThan(0);
});

test("T94 negative control: an aggregate that takes whatever comes is wrong, and the proof finds it", () => {
  const { status, report } = chaos(
    "--entries",
    "5000",
    "--envelopes",
    "10",
    "--seed",
    "2026",
    "--control",
    "no-seq-check",
  );
  expect(report).toMatchObject({ verdict: "pass", control: "no-seq-check" });
  expect(status).toBe(0);
  expect(report.differences).toBeGreaterThan(0);
});
