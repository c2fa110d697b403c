/** An owner at a real browser, and everything that must never happen there. */
import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { expect } from "vitest";
import { chromiumPath } from "../../scripts/lib/chromium.ts";
import type { PanelServer } from "../../scripts/lib/panel.ts";

/** CI has a browser, or fails. Elsewhere these tests wait until there is one. */
export function noBrowser(): boolean {
  const none = chromiumPath() === undefined && process.env["CI"] === undefined;
  if (none) console.warn("Not run: there is no Chromium. Install it, or name it in CHROMIUM.");
  return none;
}

export interface Seat {
  readonly page: Page;
  /** What went wrong so far: scripts that threw, dialogs, violations of the policy, requests to anywhere else. */
  readonly faults: readonly string[];
  go(path: string): Promise<void>;
  leave(): Promise<void>;
}

let addresses = 0;

/** A browser window of somebody who is not signed in, from an address that tried nothing yet. */
export async function sitDown(
  browser: Browser,
  server: PanelServer,
  options: BrowserContextOptions = {},
): Promise<Seat> {
  addresses += 1;
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    extraHTTPHeaders: { "CF-Connecting-IP": `203.0.113.${addresses}` },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(`threw: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    if (/content security policy|trusted ?types?/i.test(message.text())) faults.push(`policy: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:" && protocol !== "blob:" && origin !== server.origin) faults.push(`left: ${request.url()}`);
  });
  return {
    page,
    faults,
    go: async (path) => {
      await page.goto(`${server.origin}/db${path}`);
    },
    leave: () => context.close(),
  };
}

export async function signIn({ page }: Seat, secret: string): Promise<void> {
  await page.getByLabel("ENVELOPE_ADMIN_SECRET").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** A window of the owner's, signed in, on a page of the panel. */
export async function ownersSeat(
  browser: Browser,
  server: PanelServer,
  path = "",
  options: BrowserContextOptions = {},
): Promise<Seat> {
  const seat = await sitDown(browser, server, options);
  await seat.go(path);
  await signIn(seat, server.secret);
  await seat.page.locator("main h1").waitFor();
  return seat;
}

export interface Finding {
  readonly id: string;
  readonly impact: string;
  readonly where: readonly string[];
}

/** What axe-core finds that is serious or critical. It is put in by the debugger: the page's policy lets nobody else in. */
export async function audited(page: Page): Promise<readonly Finding[]> {
  const debug = await page.context().newCDPSession(page);
  await debug.send("Runtime.evaluate", { expression: axe.source });
  const expression = `axe.run({ resultTypes: ["violations"] }).then(({ violations }) => JSON.stringify(violations.map(
    ({ id, impact, nodes }) => ({ id, impact, where: nodes.map(({ target }) => String(target)) }))))`;
  const { result } = await debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  await debug.detach();
  const findings = JSON.parse(String(result.value)) as Finding[];
  return findings.filter(({ impact }) => impact === "serious" || impact === "critical");
}

/** How many pixels the page is wider than its window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}

/** Fills in a dialog's form and confirms what it says. */
export async function confirm(page: Page, fields: Readonly<Record<string, string>>, verb: RegExp): Promise<string> {
  const dialog = page.getByRole("dialog");
  for (const [label, text] of Object.entries(fields)) await dialog.getByLabel(label).fill(text);
  await dialog.getByRole("button", { name: "Continue" }).click();
  const said = (await dialog.locator(".restate").textContent()) ?? "";
  await dialog.getByRole("button", { name: verb }).click();
  return said;
}

export async function expectText(page: Page, selector: string, text: string | RegExp): Promise<void> {
  const shown = expect.poll(() => page.locator(selector).first().textContent(), { timeout: 20_000 });
  await (typeof text === "string" ? shown.toContain(text) : shown.toMatch(text));
}
