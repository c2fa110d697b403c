/** The owner's panel in a real browser, against the real Worker: what an owner does with it. */
import { readFileSync } from "node:fs";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startChromium } from "../../scripts/lib/chromium.ts";
import { newHolder } from "../../scripts/lib/holder.ts";
import { send } from "../../scripts/lib/http.ts";
import { type Funded, type PanelServer, startPanelServer } from "../../scripts/lib/panel.ts";
import { confirm, expectText, noBrowser, ownersSeat, type Seat, signIn, sitDown } from "./support.ts";

let server: PanelServer;
let browser: Browser;
let holder: Funded;
let seat: Seat | undefined;

// Without a browser each test is skipped, and says so.
const idle = noBrowser();

beforeEach(({ skip }) => skip(idle, "no Chromium"));

beforeAll(async () => {
  if (idle) return;
  [server, browser] = await Promise.all([startPanelServer(), startChromium()]);
  holder = await server.fund("first", 500);
  for (const price of ["1", "0.05", "25"]) await server.charge(holder, { price, reason: "report" });
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

afterEach(async () => {
  const faults = seat?.faults ?? [];
  await seat?.leave();
  seat = undefined;
  expect(faults).toEqual([]);
});

async function open(path = ""): Promise<Seat["page"]> {
  seat = await ownersSeat(browser, server, path);
  return seat.page;
}

const at = (page: Seat["page"]): string => new URL(page.url()).pathname + new URL(page.url()).search;

describe("the way in", () => {
  test("T76 a wrong secret is refused, then the address waits, and says so", async () => {
    seat = await sitDown(browser, server);
    await seat.go("/health");
    await signIn(seat, "not the owner's secret, though it is long enough");
    await expectText(seat.page, "[role=alert]", "That is not the owner’s secret.");
    for (let tries = 1; tries < 10; tries += 1) await signIn(seat, `wrong ${tries}`);
    await signIn(seat, server.secret);
    await expectText(seat.page, "[role=alert]", "Too many wrong tries");
  });

  test("the right one leads to the page that was asked for", async () => {
    const page = await open("/health");
    await expectText(page, "main h1", "Mirror");
    expect(at(page)).toBe("/db/health");
  });

  test("a session that is over leads back to the sign-in and, after it, to the same page", async () => {
    const page = await open(`/envelopes/${holder.id}?tab=audit`);
    await expectText(page, ".tabs [aria-current]", "Audit");
    const [cookie] = (await page.context().cookies()).filter(({ name }) => name.includes("admin"));
    const headers = { Cookie: `${cookie?.name}=${cookie?.value}`, Origin: server.origin };
    expect((await send(server.origin, "/db/sign-out", { method: "POST", headers })).status).toBe(303);
    await page.waitForURL(/\/db\/login\?next=/);
    await expectText(page, "[role=alert]", "Your session is over");
    await signIn(seat as Seat, server.secret);
    await expectText(page, ".tabs [aria-current]", "Audit");
    expect(at(page)).toBe(`/db/envelopes/${holder.id}?tab=audit`);
  });

  test("signing out ends it", async () => {
    const page = await open();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("ENVELOPE_ADMIN_SECRET").waitFor();
    await page.goto(`${server.origin}/db/envelopes`);
    await page.getByLabel("ENVELOPE_ADMIN_SECRET").waitFor();
  });
});

describe("an envelope", () => {
  test("is found by its id, its reference and its payment", async () => {
    const page = await open();
    for (const text of [holder.id.slice(0, 9), holder.reference, "pi_first"]) {
      await page.keyboard.press("/");
      await page.keyboard.type(text);
      await page.keyboard.press("Enter");
      await expectText(page, ".filter bdi", text);
      await page.locator(`.scroll:not(.dim) td a[title="${holder.id}"]`).waitFor();
      expect(await page.locator("tbody tr").count()).toBe(1);
    }
    await page.locator(`td a[title="${holder.id}"]`).click();
    await expectText(page, "main h1", holder.id);
    await expectText(page, ".figure .big", "$4.7395");
  });

  test("is given money: said beforehand, once, and written down", async () => {
    const page = await open(`/envelopes/${holder.id}`);
    const keys: string[] = [];
    page.on("request", (request) => {
      if (request.url().endsWith("/grants")) keys.push(request.headers()["idempotency-key"] ?? "");
    });
    await page.getByRole("button", { name: "Grant" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    await expectText(page, "#field-amount-hint", "Say how much.");
    const said = await confirm(page, { Amount: "1.5", Reason: "Sorry for the outage" }, /^Grant \$1\.50$/);
    expect(said).toMatch(/is given \$1\.50\. Its balance goes from \$4\.7395 to \$6\.2395\.$/);
    await expectText(page, "#toast", "Granted $1.50. The balance is $6.2395.");
    await expectText(page, ".figure .big", "$6.2395");
    await expectText(page, "tbody tr td:nth-child(3)", "+$1.50");
    expect(keys).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/)]);
    await page.getByRole("link", { name: "Audit" }).click();
    await expectText(page, "tbody tr", "Sorry for the outage");
  });

  test("gets a charge back, in part and then the rest; more than that is a problem", async () => {
    const page = await open(`/envelopes/${holder.id}`);
    const charge = page.getByRole("button", { name: "Refund charge no. 4" });
    await charge.click();
    await confirm(page, { Amount: "0.1", Reason: "half a report" }, /^Refund \$0\.10$/);
    await expectText(page, "#toast", "Refunded. The balance is $6.3395.");
    await charge.click();
    await confirm(page, { Amount: "9", Reason: "too much" }, /^Refund \$9\.00$/);
    await page.locator("dialog .problem").waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await charge.click();
    await confirm(page, { Reason: "the other half" }, /^Refund what is left$/);
    await expectText(page, "#toast", "Refunded. The balance is $6.4895.");
    await expectText(page, ".figure .big", "$6.4895");
  });

  test("is frozen, refuses, and is opened again", async () => {
    const page = await open(`/envelopes/${holder.id}`);
    await page.getByRole("button", { name: "Freeze", exact: true }).click();
    await confirm(page, { Reason: "looks odd" }, /^Freeze$/);
    await expectText(page, ".flags .badge", "Frozen");
    await server.charge(holder, { price: "1", reason: "while frozen" });
    await page.getByRole("button", { name: "Unfreeze", exact: true }).click();
    await confirm(page, { Reason: "it was not" }, /^Unfreeze$/);
    await expectText(page, ".flags .badge", "Open");
    await expectText(page, ".figure .big", "$6.4895");
  });

  test("gets a new token, shown once", async () => {
    const other = await server.fund("lost", 100);
    const page = await open(`/envelopes/${other.id}`);
    await page.getByRole("button", { name: "New token" }).click();
    await confirm(page, { Reason: "lost their phone" }, /^Make a new token$/);
    const token = await page.getByLabel("Token", { exact: true }).inputValue();
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await expectText(page, "#toast", "Copied.");
    await page.getByRole("button", { name: "Done" }).click();
    expect(await page.content()).not.toContain(token);
    const me = await send(server.origin, "/me", { headers: { Authorization: `Bearer ${token}` } });
    expect(JSON.parse(me.body)).toMatchObject({ client_reference_id: expect.stringContaining(other.id), balance: 100 });
  });

  test("has a payment sent back through Stripe: asked for once, under a key", async () => {
    seat = await ownersSeat(browser, server);
    const { page } = seat;
    // Stripe itself is not asked here: what the panel sends, and what it makes of the answer.
    await page.route("**/api/session", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), stripe: true } });
    });
    const asked: unknown[] = [];
    await page.route("**/stripe-refunds", async (route) => {
      asked.push([route.request().headers()["idempotency-key"]?.length, route.request().postDataJSON()]);
      await route.fulfill({ status: 202, json: { refund_id: "re_1", status: "pending" } });
    });
    await seat.go(`/envelopes/${holder.id}?tab=payments`);
    await page.getByRole("button", { name: "Refund pi_first through Stripe" }).click();
    const said = await confirm(page, { Amount: "2", Reason: "they asked" }, /^Refund \$2\.00$/);
    expect(said).toContain("This cannot be undone.");
    await expectText(page, "#toast", "Stripe took the refund: pending.");
    expect(asked).toEqual([[36, { payment_id: "pi_first", amount_micros: 2_000_000, reason: "they asked" }]]);
  });

  test("is exported", async () => {
    const page = await open(`/envelopes/${holder.id}`);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.locator('a[href$="/entries.csv"]').click(),
    ]);
    const csv = readFileSync(await download.path(), "utf8");
    expect(csv.split("\n")[0]).toContain("seq");
    expect(csv).toContain("report");
  });
});

test("money that arrives is seen without a reload, and takes neither focus nor what is being typed", async () => {
  const watched = await server.fund("watched", 500);
  const page = await open(`/envelopes/${watched.id}`);
  await page.evaluate(() => Object.assign(window, { sameDocument: true }));
  await page.getByRole("button", { name: "Grant" }).click();
  await page.getByLabel("Amount").fill("12");
  await page.getByLabel("Reason").fill("half a rea");
  await server.pay({ name: "live", reference: watched.reference, amount: 1000 });
  await expectText(page, ".figure .big", "$15.00");
  expect(await page.getByLabel("Amount").inputValue()).toBe("12");
  await page.keyboard.type("son");
  expect(await page.getByLabel("Reason").inputValue()).toBe("half a reason");
  expect(await page.evaluate(() => "sameDocument" in window)).toBe(true);
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Overview" }).click();
  await expectText(page, ".feed", /just now|s ago/);
});

test("what is shown is marked as stale while nothing answers, and live again afterwards", async () => {
  const page = await open(`/envelopes/${holder.id}`);
  await page.locator("tbody tr").first().waitFor();
  await page.route("**/api/**", (route) => route.abort());
  await expectText(page, ".live", "Stale since");
  await page.unroute("**/api/**");
  await page.getByRole("button", { name: "Retry" }).click();
  await expectText(page, ".live", /^Live/);
});

test("an unclaimed payment is put where it belongs", async () => {
  const stranger = await newHolder(server.origin);
  await server.pay({ name: "stray", reference: `${stranger.reference.slice(0, -4)}AAAA`, amount: 700 });
  const page = await open("/unclaimed");
  await expectText(page, "tbody tr", "not one of ours");
  await page.getByRole("button", { name: "Assign pi_stray" }).click();
  await confirm(page, { Envelope: holder.id, Reason: "they wrote to us" }, /^Assign$/);
  await expectText(page, "#toast", "The payment was credited.");
  await expectText(page, "main", "Every payment is in an envelope");
});

describe("the mirror", () => {
  test("is proved page by page", async () => {
    const page = await open("/health");
    await page.getByRole("button", { name: "Run the proof" }).click();
    await expectText(page, ".verdict", "Everything agrees");
  });

  test("is rebuilt after a word of warning", async () => {
    const page = await open("/health");
    await page.getByRole("button", { name: "Rebuild the mirror…" }).click();
    await page.getByLabel("Reason").fill("to see it");
    await page.getByRole("button", { name: "Rebuild", exact: true }).click();
    await expectText(page, ".verdict", /envelopes? asked to send everything again/);
  });
});

describe("the databases", () => {
  test("are browsed, and answer one statement", async () => {
    const page = await open("/admin-readonly");
    await page.locator(".tables button").first().click();
    await page.getByRole("region", { name: "Result" }).waitFor();
    await page.getByLabel("SQL statement").fill("SELECT 6 * 7 AS answer");
    await page.keyboard.press("Control+Enter");
    await expectText(page, "tbody", "42");
    await page.getByLabel("Open the database of an envelope").fill(holder.reference);
    await page.getByRole("button", { name: "Open" }).click();
    await page.getByRole("button", { name: "entry", exact: true }).click();
    await expectText(page, "tbody", "report");
  });

  test("T77 refuse whatever writes", async () => {
    const page = await open(`/${holder.id}`);
    for (const statement of ["DELETE FROM entry", "SELECT 1; DELETE FROM entry", "PRAGMA user_version = 3"]) {
      await page.getByLabel("SQL statement").fill(statement);
      await page.getByRole("button", { name: "Run" }).click();
      await page.locator(".stack .problem").waitFor();
      await page.getByLabel("SQL statement").fill("SELECT count(*) AS entries FROM entry");
      await page.getByRole("button", { name: "Run" }).click();
      await expectText(page, "tbody", /^[1-9]/);
    }
  });
});

test("everything can be done with the keyboard", async () => {
  const page = await open();
  await page.keyboard.press("Tab");
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the page");
  await page.keyboard.press("Enter");
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("main");
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.locator("tbody tr a").first().waitFor();
  await expect.poll(() => page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  // Until its figures are there, nothing can be done to it, and Tab passes by.
  await page.locator(".figure .big").first().waitFor();
  for (let presses = 0; presses < 4; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.textContent === "Grant")) break;
  }
  await page.keyboard.press("Enter");
  await page.keyboard.type("0.01");
  await page.keyboard.press("Tab");
  await page.keyboard.type("by keyboard");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await expectText(page, "#toast", "Granted $0.01.");
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Grant");
});
