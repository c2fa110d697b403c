/** Metered sessions that end at random, short; and the negative control, without which a pass would mean little. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("../../scripts/meter-chaos.ts", import.meta.url));

function chaos(...args: readonly string[]): {
  readonly status: number | null;
  readonly report: Record<string, unknown>;
} {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: "utf8" });
  if (!stdout.startsWith("{")) throw new Error(`The harness gave no report:\n${stderr}`);
  return { status, report: JSON.parse(stdout) as Record<string, unknown> };
}

test("T19 T20 T98 T100 T101 all that was held for a metered socket or body is settled or released, however it ends", () => {
  const { status, report } = chaos("--sessions", "800");
  expect(report).toMatchObject({ verdict: "pass", findings: {}, examples: [] });
  expect(status).toBe(0);
  expect(Number(report["settled_micros"]) + Number(report["released_micros"])).toBe(report["held_micros"]);
  expect(report["kills"]).toBeGreaterThan(0);
  expect(report["lapsed"]).toBeGreaterThan(0);
});

test.each([
  ["envelopes that keep what a meter left", "keep"],
  ["bodies that are paid for in the flush of a transform stream", "flush"],
])("negative control: %s, and the harness sees it", (_, control) => {
  const { status, report } = chaos("--sessions", "300", "--control", control);
  expect(report).toMatchObject({ verdict: "pass", control });
  expect(status).toBe(0);
  expect((report["findings"] as Record<string, number>)["kept"]).toBeGreaterThan(0);
});
