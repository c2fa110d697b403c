/** `npx with-envelope proof` and `rebuild`, as an owner runs them, against a real server. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PACKAGE_FOLDER } from "../../scripts/lib/folders.ts";
import { type PanelServer, startPanelServer } from "../../scripts/lib/panel.ts";

let server: PanelServer;

beforeAll(async () => {
  server = await startPanelServer();
  for (const name of ["one", "two", "three"]) {
    const holder = await server.fund(name, 500);
    await server.charge(holder, { price: "1", reason: name });
  }
});
afterAll(() => server.stop());

interface Ran {
  readonly status: number | null;
  readonly said: string;
}

function cli(args: readonly string[], secret = server.secret): Ran {
  const command = join(PACKAGE_FOLDER, "dist/cli/index.js");
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
    encoding: "utf8",
    env: { ...process.env, ENVELOPE_ADMIN_SECRET: secret },
  });
  return { status, said: stdout + stderr };
}

it("proves the mirror, rebuilds it for a reason, and proves it again", async () => {
  const caughtUp = async () => {
    for (let tries = 0; tries < 60; tries++) {
      const { status, said } = cli(["proof", server.origin, "--json"]);
      const told = JSON.parse(said) as { envelopes: number; entries: number; behind: number; differences: unknown[] };
      expect([status, told.differences]).toEqual([0, []]);
      if (told.behind === 0 && told.entries === 6) return told;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    throw new Error("The mirror never caught up");
  };
  expect(await caughtUp()).toMatchObject({ envelopes: 3, entries: 6 });
  expect(cli(["rebuild", server.origin])).toMatchObject({ status: 2 });
  expect(cli(["rebuild", server.origin, "--reason", "a test"])).toMatchObject({
    status: 0,
    said: expect.stringMatching(/asked [36] times/),
  });
  expect(await caughtUp()).toMatchObject({ envelopes: 3, entries: 6 });
});

it("says what is wrong, and no secret", () => {
  const wrong = cli(["proof", server.origin], "not-the-secret-0123456789-abcdefghij");
  expect(wrong).toMatchObject({ status: 1, said: expect.stringContaining("answered 401") });
  expect(wrong.said).not.toContain("not-the-secret");
  expect(cli(["proof"])).toMatchObject({ status: 2 });
  expect(cli(["proof", "http://example.com"])).toMatchObject({ status: 2, said: expect.stringContaining("https") });
  expect(cli(["proof", server.origin], "")).toMatchObject({ status: 2 });
  expect(cli(["proof", server.origin, "--nonsense"])).toMatchObject({ status: 2 });
});
