/**
 * The pictures of the panel in docs/images, from a real Worker in a real browser.
 *
 *   npm run screenshots
 */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { startChromium } from "./lib/chromium.ts";
import { PACKAGE_FOLDER } from "./lib/folders.ts";
import { send } from "./lib/http.ts";
import { type Funded, furnish, type PanelServer, startPanelServer } from "./lib/panel.ts";
import { choicesOf } from "./lib/random.ts";

const WORKER = fileURLToPath(new URL("./workers/panel-past.ts", import.meta.url));
const IMAGES = join(PACKAGE_FOLDER, "docs/images");
const KB_MAX = 150;

const DAY_MS = 86_400_000;
const DAYS = 240;
const ENVELOPES = 90;
const REASONS = [
  ["POST /v1/reports/:id", 250_000],
  ["GET /v1/search", 5_000],
  ["transcribe", 90_000],
  ["GET /v1/fortune", 10_000],
  ["POST /v1/images", 400_000],
] as const;

mkdirSync(IMAGES, { recursive: true });
const [server, browser] = await Promise.all([startPanelServer(WORKER), startChromium()]);
try {
  await tellThePast(server.origin);
  const holder = await today(server);
  const desk = { viewport: { width: 1200, height: 800 } };
  await picture("panel-overview.png", "", ".feed li", desk);
  await picture("panel-overview-dark.png", "", ".feed li", { ...desk, colorScheme: "dark" });
  await picture("panel-envelope.png", `/envelopes/${holder.id}`, "tbody tr", desk);
  await picture("panel-limits.png", `/envelopes/${holder.id}?tab=limits`, "tbody tr", {
    viewport: { width: 1200, height: 950 },
  });
  await picture("panel-phone.png", "", ".feed li", { viewport: { width: 390, height: 844 } });
} finally {
  await browser.close();
  await server.stop();
}

interface Line {
  readonly seq: number;
  readonly at_ms: number;
  readonly kind: string;
  readonly amount_micros: number;
  readonly balance_micros: number;
  readonly reason: string | null;
}

/** Holders who came over the months, topped up, and spent most of it; more of them lately. */
async function tellThePast(origin: string): Promise<void> {
  const now_ms = Date.now();
  for (let number = 0; number < ENVELOPES; number += 1) {
    const choices = choicesOf("panel", number);
    const came = Math.floor(DAYS * choices.fraction() ** 1.6);
    const lines: Line[] = [];
    let balance = 0;
    let at_ms = 0;
    const add = (later_ms: number, kind: string, amount: number, reason: string | null) => {
      at_ms += later_ms;
      balance += amount;
      lines.push({ seq: lines.length + 1, at_ms, kind, amount_micros: amount, balance_micros: balance, reason });
    };
    for (let day = came; day >= 0 && choices.chance(0.994); day -= 1) {
      at_ms = now_ms - day * DAY_MS - choices.between(3_600_000, 8 * 3_600_000);
      if (day === came && choices.chance(0.3)) add(0, "grant", 2_000_000, "welcome");
      if (balance < 3_000_000) add(1000, "topup", choices.between(1, 8) * 5_000_000, null);
      const weekend = [0, 6].includes(new Date(at_ms).getUTCDay());
      for (let charges = choices.between(0, weekend ? 4 : 12); charges > 0; charges -= 1) {
        const [reason, price] = REASONS[choices.between(0, REASONS.length - 1)] ?? REASONS[0];
        if (balance >= price) add(choices.between(1000, 300_000), "charge", -price, reason);
      }
    }
    const batch = {
      envelope_id: `${String(number).padStart(2, "0")}${choices.between(1e9, 9e9)}Kq7vXw2mTzP8`
        .slice(0, 22)
        .padEnd(22, "x"),
      currency: "usd",
      entries: lines,
      head_seq: lines.length,
      // What is sent again is of before: how fast the mirror is, is not told by it.
      again: true,
      refusals: { id: `past-${number}`, by_limit: { balance: choices.between(0, 9), frozen: choices.between(0, 1) } },
    };
    for (let from = 0; from < lines.length; from += 400) await tell(origin, batch, lines.slice(from, from + 400));
  }
}

async function tell(origin: string, batch: object, entries: readonly Line[]): Promise<void> {
  const body = JSON.stringify([{ ...batch, entries }]);
  const answer = await send(origin, "/past", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (answer.status !== 200) throw new Error(`The past was not taken: ${answer.status} ${answer.body}`);
}

/** One envelope that is really there. */
async function today(panel: PanelServer): Promise<Funded> {
  const { fund, charge, act, pay } = panel;
  const holder = await fund("3QxaYb2eZvKYlo2C", 2500);
  await furnish(panel, holder, { name: "Acme Robotics", keys: ["nightly batch", "ci"], tag: "POST /v1/images" });
  for (const [reason, price] of [...REASONS, ...REASONS])
    await charge(holder, { price: String(price / 10_000), reason });
  await act(`/db/api/envelopes/${holder.id}/refunds`, { seq: 5, reason: "the report was empty" });
  await act(`/db/api/envelopes/${holder.id}/grants`, { amount_micros: 5_000_000, reason: "sorry for the outage" });
  for (const [reason, price] of REASONS) await charge(holder, { price: String(price / 10_000), reason });
  await pay({ name: "3QxaYd9pLmNoPqRs", reference: "nobody", amount: 1500 });
  return holder;
}

async function picture(name: string, path: string, ready: string, options: BrowserContextOptions): Promise<void> {
  const page = await owner(browser, options);
  await page.goto(`${server.origin}/db${path}`);
  await page.locator(ready).first().waitFor();
  // The canvas is painted a moment after its figures arrived.
  await page.waitForTimeout(1500);
  const file = join(IMAGES, name);
  await page.screenshot({ path: file, animations: "disabled" });
  await page.context().close();
  const kilobytes = Math.ceil(statSync(file).size / 1000);
  console.log(`${name}: ${kilobytes} kB`);
  if (kilobytes > KB_MAX) throw new Error(`${name} is larger than ${KB_MAX} kB`);
}

async function owner(from: Browser, options: BrowserContextOptions): Promise<Page> {
  const context = await from.newContext({ colorScheme: "light", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  await page.goto(`${server.origin}/db/login`);
  await page.getByLabel("ENVELOPE_ADMIN_SECRET").fill(server.secret);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("main h1").waitFor();
  return page;
}
