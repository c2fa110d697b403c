/** The panel's pages as a browser shows them: every page in both modes and on a phone, and texts that mean harm. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startChromium } from "../../scripts/lib/chromium.ts";
import { type Funded, furnish, type PanelServer, startPanelServer } from "../../scripts/lib/panel.ts";
import { audited, expectText, noBrowser, overflow, ownersSeat, type Seat, sitDown } from "./support.ts";

const HOSTILE = [
  "<img src=x onerror=alert(1)>",
  "</script><script>alert(1)</script>",
  '"><svg onload=alert(1)>',
  "javascript:alert(1)",
  "\u202Egnp.exe\u202C \u2067right to left\u2069",
  '=HYPERLINK("http://evil.example","click")',
  "long ".repeat(51),
] as const;

let server: PanelServer;
let browser: Browser;
let holder: Funded;
/** With all that an envelope can have, called by names that mean harm. */
let rich: Funded;

// Without a browser each test is skipped, and says so.
const idle = noBrowser();

beforeEach(({ skip }) => skip(idle, "no Chromium"));

beforeAll(async () => {
  if (idle) return;
  [server, browser] = await Promise.all([startPanelServer(), startChromium()]);
  holder = await server.fund("looks", 5000);
  for (const reason of HOSTILE)
    await server.charge(holder, { price: "1", reason, metadata: `{"note":"${"<b>x</b>".repeat(400)}"}` });
  await server.charge(holder, { price: "99999999" });
  rich = await server.fund("rich", 90_000);
  await furnish(server, rich, {
    name: `${HOSTILE[0]}${HOSTILE[4]}${"name ".repeat(10)}`,
    keys: [`${HOSTILE[1]}${HOSTILE[4]}`, HOSTILE[5]],
    tag: `${HOSTILE[2]}*`,
  });
  await server.pay({ name: "looks_stray", reference: "<b>not-a-reference</b>", amount: 700 });
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

const pages = (): readonly (readonly [string, string, string])[] => [
  ["the overview", "", ".feed"],
  ["a year", "?range=365d&figure=charges&cohort=spent", ".feed"],
  ["the envelopes", "/envelopes", "tbody"],
  ["nothing found", "/envelopes?search=zzzzzzzzz", ".empty"],
  ["an envelope", `/envelopes/${holder.id}`, "tbody"],
  ["its payments", `/envelopes/${holder.id}?tab=payments`, "tbody"],
  ["its holds", `/envelopes/${holder.id}?tab=holds`, ".empty"],
  ["its limits", `/envelopes/${holder.id}?tab=limits`, ".empty"],
  ["its audit", `/envelopes/${holder.id}?tab=audit`, ".empty"],
  ["a rich one", `/envelopes/${rich.id}`, "tbody"],
  ["its grants", `/envelopes/${rich.id}?tab=grants`, "tbody"],
  ["its windows and keys", `/envelopes/${rich.id}?tab=limits`, "tbody"],
  ["what was done to it", `/envelopes/${rich.id}?tab=audit`, "tbody"],
  ["what keys spent", "?by=key", ".bars"],
  ["no envelope", "/envelopes/0000000000000000000000", ".failed"],
  ["unclaimed payments", "/unclaimed", "tbody"],
  ["the mirror", "/health", "tbody"],
  ["a database", "/admin-readonly", ".tables"],
  ["no page", "/envelopes/a/b", ".empty"],
];

const LOOKS = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["at 360 px", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
] as const;

describe.each(LOOKS)("every page, %s", (_look, options) => {
  test("fits, is accessible, and stays on this origin", async () => {
    const outside = await sitDown(browser, server, options);
    await outside.go("/health");
    expect(await audited(outside.page), "the sign-in").toEqual([]);
    expect(await overflow(outside.page), "the sign-in").toBeLessThanOrEqual(0);
    await outside.leave();
    const seat = await ownersSeat(browser, server, "", options);
    const { page } = seat;
    for (const [name, path, ready] of pages()) {
      await seat.go(path);
      await page.locator(ready).first().waitFor();
      await expect.poll(() => page.locator(".skeleton").count()).toBe(0);
      expect(await audited(page), name).toEqual([]);
      expect(await overflow(page), name).toBeLessThanOrEqual(0);
    }
    await seat.go(`/envelopes/${holder.id}`);
    await page.getByRole("button", { name: "Grant" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    expect(await audited(page), "a dialog").toEqual([]);
    expect(await overflow(page), "a dialog").toBeLessThanOrEqual(0);
    expect(seat.faults).toEqual([]);
    await seat.leave();
  });
});

test("dark and light are two looks of one page", async () => {
  const shade = async (colorScheme: "light" | "dark") => {
    const seat = await ownersSeat(browser, server, "", { colorScheme });
    const color = await seat.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    await seat.leave();
    return Math.max(...(color.match(/\d+/g) ?? []).map(Number));
  };
  expect(await shade("light")).toBeGreaterThan(200);
  expect(await shade("dark")).toBeLessThan(60);
});

test("T71 hostile texts are text wherever they are shown, and run nothing", async () => {
  const seat = await ownersSeat(browser, server);
  const { page } = seat;
  await page.locator(".feed li").first().waitFor();
  await seat.go(`/envelopes/${holder.id}`);
  for (const text of HOSTILE) await expectText(page, "table", text.trim());
  await seat.go(`/${holder.id}`);
  await page.getByLabel("SQL statement").fill("SELECT *, replace(hex(zeroblob(5120)), '00', '<b>') AS huge FROM entry");
  await page.getByRole("button", { name: "Run" }).click();
  for (const text of HOSTILE) await expectText(page, "table", text.trim());
  await expectText(page, "table", "<b>".repeat(100));
  await seat.go("/unclaimed");
  await expectText(page, "table", "pi_looks_stray");
  await seat.go("/envelopes?search=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E");
  await expectText(page, ".filter", HOSTILE[0]);
  expect(await page.locator("main img, main script, main b:not(.legend b)").count()).toBe(0);
  expect(await isolated(seat, holder.id)).toBe(true);
  expect(seat.faults).toEqual([]);
  await seat.leave();
});

/** Text from elsewhere turns nothing around it. */
async function isolated({ page, go }: Seat, id: string): Promise<boolean> {
  await go(`/envelopes/${id}`);
  await page.locator("td .clip").first().waitFor();
  return page.evaluate(() => [...document.querySelectorAll("td .clip")].every((element) => element.tagName === "BDI"));
}

// Planted beside the panel, which draws over what it does not know.
describe("the instruments themselves", () => {
  test("axe finds a fault that is planted", async () => {
    const seat = await ownersSeat(browser, server);
    await seat.page.evaluate(() => document.body.append(document.createElement("button")));
    expect((await audited(seat.page)).map(({ id }) => id)).toContain("button-name");
    await seat.leave();
  });

  test("T74 the policy stops what is planted in the page: a script, a style, markup, an address", async () => {
    const seat = await ownersSeat(browser, server);
    const { page } = seat;
    await page.route("**/db/health", async (route) => {
      const response = await route.fetch();
      const planted = '<script>window.planted = 1</script><p style="color: red" onclick="alert(1)">planted</p></body>';
      await route.fulfill({ response, body: (await response.text()).replace("</body>", planted) });
    });
    await seat.go("/health");
    await page.locator("tbody").waitFor();
    await page.evaluate(() => {
      const attempts = [
        () => document.body.insertAdjacentHTML("beforeend", "<b>markup</b>"),
        () => document.createElement("script").setAttribute("src", "data:text/javascript,window.planted=1"),
        () => void fetch("https://elsewhere.invalid/").catch(() => undefined),
      ];
      for (const attempt of attempts) {
        try {
          attempt();
        } catch (error) {
          console.error(`Trusted Types: ${error}`);
        }
      }
    });
    const seen = () => seat.faults.join("\n");
    for (const rule of ["script-src", "style-src", "TrustedHTML", "TrustedScriptURL", "connect-src"]) {
      await expect.poll(seen).toContain(rule);
    }
    expect(await page.evaluate(() => "planted" in window)).toBe(false);
    expect(await page.locator("body > b").count()).toBe(0);
    await seat.leave();
  });

  test("an overflow that is planted is seen", async () => {
    const seat = await ownersSeat(browser, server, "", { viewport: { width: 360, height: 740 } });
    await seat.page.evaluate(() => {
      const wide = document.createElement("div");
      wide.style.width = "900px";
      wide.textContent = "wide";
      document.body.append(wide);
    });
    expect(await overflow(seat.page)).toBeGreaterThan(0);
    await seat.leave();
  });
});
