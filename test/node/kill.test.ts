/** The crash harness, short; and its negative control, without which a pass would mean little. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Report } from "../../scripts/chaos/report.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/chaos.ts", import.meta.url));

function chaos(...args: readonly string[]): { readonly status: number | null; readonly report: Report } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, "--json", ...args], { encoding: "utf8" });
  if (!stdout.startsWith("{")) throw new Error(`The harness gave no report:\n${stderr}`);
  return { status, report: JSON.parse(stdout) as Report };
}

test("no charge or payment is lost, doubled or wrong while the server is killed at random", () => {
  const { status, report } = chaos("--seconds", "10");
  expect(report).toMatchObject({ verdict: "pass", findings: {}, examples: [] });
  expect(status).toBe(0);
  expect(report.kills).toBeGreaterThan(5);
  expect(report.retries).toBeGreaterThan(0);
  expect(report.payments).toBeGreaterThan(0);
});

test("nor on one envelope, whose charges go to disk in groups", () => {
  const { status, report } = chaos("--seconds", "10", "--envelopes", "1", "--clients", "64");
  expect(report).toMatchObject({ verdict: "pass", findings: {}, examples: [] });
  expect(status).toBe(0);
  expect(report.kills).toBeGreaterThan(2);
});

test("negative control: clients that retry with a fresh key are charged twice, and the harness sees it", () => {
  const { status, report } = chaos("--seconds", "10", "--control", "no-keys");
  expect(report).toMatchObject({ verdict: "pass", control: "no-keys" });
  expect(status).toBe(0);
  expect(report.findings.doubled).toBeGreaterThan(0);
});
