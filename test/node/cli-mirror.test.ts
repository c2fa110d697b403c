/** `npx with-envelope proof`, `rebuild` and `audit`, as an owner runs them, against a real server. */
import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PACKAGE_FOLDER, temporaryFolder } from "../../scripts/lib/folders.ts";
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

const command = join(PACKAGE_FOLDER, "dist/cli/index.js");

/** Without stopping this process, which the command asks. */
function cliBeside(args: readonly string[]): Promise<Ran> {
  const env = { ...process.env, ENVELOPE_ADMIN_SECRET: server.secret };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [command, ...args], { env }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, said: stdout + stderr }),
    );
  });
}

function cli(args: readonly string[], secret = server.secret): Ran {
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

it("ends with 1 where figures differ, and prints each to the last digit", async () => {
  const sums = { envelope_id: null, what: "total.spent_micros", expected: 2 ** 60, found: 2 ** 60 };
  const differences = [
    { envelope_id: "e1", what: "balance_micros", expected: 5, found: 4 },
    { ...sums, exact: { expected: "1152921504606846977", found: "1152921504606846976" } },
  ];
  const page = { envelopes: 1, entries: 2, behind: 0, differences, cursor: null };
  const liar = createServer((_, response) => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(page));
  });
  await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
  const { status, said } = await cliBeside(["proof", `http://127.0.0.1:${(liar.address() as AddressInfo).port}`]);
  liar.close();
  expect(status).toBe(1);
  expect(said).toContain("e1: balance_micros is 4, and should be 5");
  expect(said).toContain("sums: total.spent_micros is 1152921504606846976, and should be 1152921504606846977");
  expect(said).toContain("2 differences");
});

interface AuditPage {
  readonly audit: readonly unknown[];
  readonly next: string | null;
}

/** Stands between, and tells of an audit what it likes. */
async function liar(tell: (page: AuditPage) => AuditPage): Promise<{ readonly origin: string; close(): void }> {
  const between = createServer(async (request, response) => {
    const answer = await fetch(server.origin + request.url, { headers: { Authorization: `Bearer ${server.secret}` } });
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(tell((await answer.json()) as AuditPage)));
  });
  await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
  const { port } = between.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, close: () => void between.close() };
}

describe("audit", () => {
  const grant = async (holder: { readonly id: string }, key: string) => {
    const answer = await fetch(`${server.origin}/db/api/envelopes/${holder.id}/grants`, {
      method: "POST",
      headers: {
        Authorization: `Bearer ${server.secret}`,
        "Content-Type": "application/json",
        "Idempotency-Key": key,
      },
      body: JSON.stringify({ amount_micros: 10_000, reason: `for “${key}”, 100 %` }),
    });
    expect(answer.status).toBe(201);
  };

  it("follows every line of an envelope, and prints the newest hash", async () => {
    const holder = await server.fund("audited", 100);
    for (const key of ["a", "b", "c"]) await grant(holder, key);
    const { status, said } = cli(["audit", server.origin, holder.id, "--json"]);
    const told = JSON.parse(said) as { ok: boolean; audits: { name: string; lines: number; hash: string }[] };
    expect([status, told.ok, told.audits.length, told.audits[0]?.lines]).toEqual([0, true, 1, 3]);
    expect(told.audits[0]?.hash).toMatch(/^[0-9A-Za-z]{43}$/);
    expect(cli(["audit", server.origin])).toMatchObject({ status: 0, said: expect.stringContaining("0 broken") });
  });

  it("finds what was cut off, or written anew as a whole, where an earlier run was kept", async () => {
    const [holder, folder] = [await server.fund("kept", 100), temporaryFolder("audit")];
    for (const key of ["a", "b"]) await grant(holder, key);
    const kept = join(folder.path, "kept.json");
    writeFileSync(kept, cli(["audit", server.origin, holder.id, "--json"]).said);
    const { hash } = (
      JSON.parse(readFileSync(kept, "utf8")) as { audits: { name: string; hash: string }[] }
    ).audits.find(({ name }) => name === holder.id) as { hash: string };
    const held = (origin: string) => cliBeside(["audit", origin, holder.id, "--against", kept]);
    await grant(holder, "c");
    expect(await held(server.origin)).toMatchObject({ status: 0, said: expect.stringContaining("3 lines") });
    expect(cli(["audit", server.origin, "--against", kept])).toMatchObject({ status: 0 });
    const cut = await liar(({ audit, ...page }) => ({ ...page, audit: audit.slice(2) }));
    expect(await cliBeside(["audit", cut.origin, holder.id])).toMatchObject({ status: 0 });
    expect(await held(cut.origin)).toMatchObject({ status: 1, said: expect.stringContaining("line 2") });
    cut.close();
    const empty = await liar(({ audit, ...page }) => ({ ...page, audit: audit.slice(9) }));
    expect(await held(empty.origin)).toMatchObject({ status: 1, said: expect.stringContaining("line 1") });
    empty.close();
    writeFileSync(kept, readFileSync(kept, "utf8").replace(hash, "0".repeat(43)));
    expect(await held(server.origin)).toMatchObject({ status: 1, said: expect.stringContaining("line 2") });
    writeFileSync(kept, "[]");
    expect(await held(server.origin)).toMatchObject({ status: 2, said: expect.stringContaining("--against") });
    folder.remove();
  });

  it("names lines that changed places", async () => {
    const holder = await server.fund("swapped", 100);
    for (const key of ["a", "b", "c"]) await grant(holder, key);
    const swapped = await liar(({ audit: [newest, second, ...rest], ...page }) => ({
      ...page,
      audit: [second, newest, ...rest].filter((line) => line !== undefined),
    }));
    const { status, said } = await cliBeside(["audit", swapped.origin, holder.id]);
    swapped.close();
    expect([status, said]).toEqual([1, expect.stringContaining("line 2 does not follow")]);
  });

  it("finds an envelope that nothing was ever charged to or put into", async () => {
    const answer = await fetch(`${server.origin}/envelopes`, {
      method: "POST",
      headers: { Authorization: `Bearer ${server.secret}`, "Content-Type": "application/json" },
      body: JSON.stringify({ name: "Team", timeWindow: "DAILY", capacity: 1 }),
    });
    const { id } = (await answer.json()) as { id: string };
    const told = JSON.parse(cli(["audit", server.origin, "--json"]).said) as {
      audits: { name: string; lines: number }[];
    };
    expect(told.audits.find(({ name }) => name === id)).toMatchObject({ lines: 1 });
  });

  it("names the line that somebody changed on the way", async () => {
    const holder = await server.fund("changed", 100);
    for (const key of ["a", "b", "c"]) await grant(holder, key);
    for (const [from, to, line] of [
      ["for “b”", "for “x”", 2],
      ['"audit_id":3', '"audit_id":4', 3],
      ["owner", "nobody", 1],
    ] as const) {
      const changed = await liar((page) => JSON.parse(JSON.stringify(page).replaceAll(from, to)) as AuditPage);
      const { status, said } = await cliBeside(["audit", changed.origin, holder.id]);
      changed.close();
      expect([status, said]).toEqual([1, expect.stringContaining(`line ${line} does not follow`)]);
    }
  });
});
