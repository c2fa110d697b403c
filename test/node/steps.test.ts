/** Every step of every flow of money in, killed (SIGKILL) and asked for again; and a control, without which a pass would mean little. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { StepsReport } from "../../scripts/steps.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/steps.ts", import.meta.url));

function steps(...args: readonly string[]): { readonly status: number | null; readonly report: StepsReport } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, "--json", ...args], { encoding: "utf8" });
  if (!stdout.startsWith("{")) throw new Error(`The harness gave no report:\n${stderr}`);
  return { status, report: JSON.parse(stdout) as StepsReport };
}

test("T43 killed between any two steps, every job is finished once by asking again", { timeout: 1_200_000 }, () => {
  const { status, report } = steps();
  expect(report.findings).toEqual([]);
  expect([status, report.verdict]).toEqual([0, "exact"]);
  // Each call is two steps, so a flow without any was not killed at all.
  for (const { flow, steps: killedAt } of report.flows) expect(killedAt.length, flow).toBeGreaterThanOrEqual(2);
  const where = new Set(report.flows.flatMap(({ steps: killedAt }) => killedAt));
  for (const call of ["claim", "route", "settle", "recordUnclaimed", "assign", "claimCard", "blockCard"]) {
    for (const edge of ["begins", "has ended"]) expect(where).toContain(`EnvelopeDirectory.${call} ${edge}`);
  }
  for (const call of ["report", "disown", "beginTopUp", "noteTopUp", "beginStripeRefund", "bear", "admit", "shut"]) {
    for (const edge of ["begins", "has ended"]) expect(where).toContain(`Envelope.${call} ${edge}`);
  }
});

test("negative control: a directory that forgets early news when it hands it out", () => {
  const { status, report } = steps("--control", "--only", "came first");
  expect([status, report.verdict]).toEqual([0, "wrong"]);
  expect(report.findings.length).toBeGreaterThan(0);
});
