/** `npm run demo`, as a user runs it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url));

test("the demo goes from a refusal to a charge that survives a crash, and exits 0", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT], { encoding: "utf8" });
  expect(stdout + stderr).not.toContain("FAIL");
  expect(stdout).toContain("All of it held.");
  expect(status).toBe(0);
});
