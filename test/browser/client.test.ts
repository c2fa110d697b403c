/** `with-envelope/client` on a page of a real browser, against the real Worker, under a policy that allows it nothing but itself. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { startChromium } from "../../scripts/lib/chromium.ts";
import { PACKAGE_FOLDER } from "../../scripts/lib/folders.ts";
import { type PanelServer, startPanelServer } from "../../scripts/lib/panel.ts";
import type { EnvelopeClient } from "../../src/client/index.js";
import { audited, noBrowser } from "./support.ts";

const WORKER = fileURLToPath(new URL("../../scripts/workers/client.ts", import.meta.url));
const GZIP_MAX = 3_000;

/** What a site's own script would be: the client, its element, and a name for the tests to find it by. */
const SITE = `import { EnvelopeClient, defineEnvelopeBalance } from "with-envelope/client";
globalThis.client = new EnvelopeClient();
globalThis.told = [];
client.on("change", ({ detail }) => told.push(["change", detail.balance]));
client.on("refused", ({ detail }) => told.push(["refused", detail.limit]));
document.querySelector("envelope-balance").client = client;
defineEnvelopeBalance();`;

async function bundled(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: PACKAGE_FOLDER, loader: "js" },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
  });
  return outputFiles[0]?.text ?? "";
}

test("the client is at most 3 kB over the wire, with everything that it exports", async () => {
  const code = await bundled(`export * from "with-envelope/client";`);
  expect(code.length).toBeGreaterThan(1_000);
  expect(gzipSync(code, { level: 9 }).length).toBeLessThan(GZIP_MAX);
});

test("of the Worker it holds names only", () => {
  const source = readFileSync(join(PACKAGE_FOLDER, "dist/client/index.js"), "utf8");
  expect([...source.matchAll(/from "([^"]+)"/g)].map(([, name]) => name)).toEqual(["../wire.js"]);
});

declare const client: EnvelopeClient;
declare const told: readonly (readonly [string, unknown])[];

describe.skipIf(noBrowser())("on a page", () => {
  let server: PanelServer;
  let browser: Browser;
  beforeAll(async () => {
    server = await startPanelServer(WORKER, { CLIENT_JS: await bundled(SITE) });
    browser = await startChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  async function visit(): Promise<Page> {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${server.origin}/`);
    const ready = () => page.evaluate(() => "client" in globalThis && client.me !== undefined);
    await expect.poll(ready, { timeout: 20_000 }).toBe(true);
    return page;
  }

  async function pay(page: Page, amount: number): Promise<void> {
    const reference = await page.evaluate(() => client.me?.client_reference_id ?? "");
    await server.pay({ name: `client-${reference}`, reference, amount });
    await page.evaluate(() => client.refresh());
  }

  const balance = (page: Page) => page.locator("envelope-balance output").textContent();

  it("shows the balance, and a link to /pay with the site's own words", async () => {
    const page = await visit();
    await expect.poll(() => balance(page)).toBe("$0.00");
    const topup = page.locator("envelope-balance a");
    expect([await topup.getAttribute("href"), await topup.isVisible()]).toEqual([`${server.origin}/pay`, true]);
    expect(await page.locator("envelope-balance").textContent()).toContain("Add money");
    await pay(page, 1234);
    expect(await balance(page)).toBe("$12.34");
    expect(await audited(page)).toEqual([]);
  });

  it("keeps the exact balance that a priced answer tells, without asking again", async () => {
    const page = await visit();
    await pay(page, 500);
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    const { status, me } = await page.evaluate(async () => {
      const response = await client.fetch("/thing?price=0.05");
      return { status: response.status, me: client.me };
    });
    expect([status, me?.balance_micros, me?.balance]).toEqual([200, 4_999_500, 499.95]);
    expect(await balance(page)).toBe("$4.9995");
    expect(asked).toEqual(["/thing"]);
  });

  it("asks for the balance once when answers overlapped: no header says which is the latest", async () => {
    const page = await visit();
    await pay(page, 500);
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await page.evaluate(() => Promise.all(Array.from({ length: 20 }, () => client.fetch("/thing"))));
    await expect.poll(() => page.evaluate(() => client.me?.balance)).toBe(480);
    expect(asked.filter((path) => path === "/me")).toHaveLength(1);
  });

  it("tells of a refusal, and hands its answer on unread", async () => {
    const page = await visit();
    const { status, limit } = await page.evaluate(async () => {
      const response = await client.fetch("/thing?price=7");
      const problem = (await response.json()) as { limit: string };
      return { status: response.status, limit: problem.limit };
    });
    expect([status, limit]).toEqual([402, "balance"]);
    expect(await page.evaluate(() => told)).toContainEqual(["refused", "balance"]);
  });

  it("two first requests of a browser are one visitor", async () => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${server.origin}/`);
    await expect.poll(() => page.evaluate(() => "client" in globalThis), { timeout: 20_000 }).toBe(true);
    await page.evaluate(() => Promise.all([client.fetch("/thing"), client.fetch("/thing"), client.refresh()]));
    const before = await page.evaluate(() => client.me?.client_reference_id.slice(0, 25));
    const after = await page.evaluate(async () => (await client.refresh()).client_reference_id.slice(0, 25));
    expect(after).toBe(before);
  });

  it("rotates the token: the balance stays, a copy of the old cookie does not count for long", async () => {
    const page = await visit();
    await pay(page, 300);
    const cookies = () => page.context().cookies();
    const [before] = await cookies();
    await page.evaluate(() => client.rotate());
    const after = (await cookies()).find(({ name }) => name === before?.name);
    expect(after?.value).not.toBe(before?.value);
    expect(await page.evaluate(async () => (await client.refresh()).balance)).toBe(300);
  });
});
