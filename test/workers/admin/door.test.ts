/** The owner's door: who is let in, who is not, and what they are told. */
import { evictAllDurableObjects } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { networkOf } from "../../../src/admin/address.js";
import { safeNext } from "../../../src/admin/pages.js";
import { EnvelopeDirectory } from "../../../src/index.js";
import type { Problem } from "../support.js";
import { Site } from "../support.js";
import { ADMIN, Browser, basic, bearer, newAddress, signedIn, siteOf } from "./support.js";

const site = siteOf();
const HOUR_MS = 3_600_000;
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const from = (address: string, headers: Record<string, string>, path = "/db/api/session") =>
  site.fetch(path, { headers: { "CF-Connecting-IP": address, ...headers } });
const statuses = (responses: readonly Response[]) => {
  const counts: Record<number, number> = {};
  for (const { status } of responses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};

describe("the panel's sign-in", () => {
  it("lets the owner in with a form, and out again, at the server too", async () => {
    const browser = new Browser(site);
    const closed = await browser.page("/db");
    expect([closed.status, closed.headers.get("WWW-Authenticate")]).toEqual([401, 'Bearer realm="with-envelope"']);
    expect(await closed.text()).toContain('action="/db/sign-in"');
    const entered = await browser.signIn(ADMIN, "/db/envelopes?order=spent");
    expect([entered.status, entered.headers.get("Location")]).toEqual([303, "/db/envelopes?order=spent"]);
    const [cookie = ""] = entered.headers.getSetCookie();
    for (const attribute of ["__Host-we_admin=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=28800"]) {
      expect(cookie).toContain(attribute);
    }
    expect(cookie).not.toContain("Domain");
    expect(await browser.json("/db/api/session")).toEqual({
      actor: "owner",
      currency: "usd",
      exponent: 2,
      stripe: true,
      livemode: false,
      readOnly: false,
    });
    const copied = browser.cookie;
    await evictAllDurableObjects();
    expect((await browser.fetch("/db/api/session")).status).toBe(200);
    const left = await browser.fetch("/db/sign-out", { method: "POST" });
    expect([left.status, left.headers.getSetCookie()[0]]).toEqual([303, expect.stringContaining("Max-Age=0")]);
    browser.cookie = copied;
    const after = await browser.fetch("/db/api/session");
    expect([after.status, (await after.json<Problem>()).type]).toEqual([
      401,
      "urn:with-envelope:problem:session-ended",
    ]);
    // Else the browser would open a password window of its own over the panel.
    expect(after.headers.get("WWW-Authenticate")).toMatch(/^Bearer/);
    expect(await (await browser.page("/db/envelopes")).text()).toContain("Your session is over");
  });

  it("takes JSON as well, and answers problems to it", async () => {
    const browser = new Browser(site);
    const wrong = await browser.post("/db/sign-in", { secret: "x" });
    expect([wrong.status, wrong.headers.get("Content-Type")]).toEqual([401, "application/problem+json"]);
    const right = await browser.post("/db/sign-in", { secret: ADMIN, next: "//evil.test" });
    expect(await right.json()).toEqual({ actor: "owner", next: "/db" });
    expect((await browser.fetch("/db/api/session")).status).toBe(200);
    const out = await browser.post("/db/sign-out", {});
    expect([out.status, await out.json()]).toEqual([200, { signedOut: true }]);
  });

  it("ends every session after eight hours, and when the owner's secret is replaced", async () => {
    const browser = await signedIn(site);
    const replaced = siteOf({ ENVELOPE_ADMIN_SECRET: `${ADMIN}-new` });
    const request = { headers: { Cookie: browser.cookie } };
    expect((await replaced.fetch("/db/api/session", request)).status).toBe(401);
    expect((await site.fetch("/db/api/session", request)).status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 8 * HOUR_MS + 1);
    expect((await site.fetch("/db/api/session", request)).status).toBe(401);
  });

  it("T60 keeps no token and no secret: hashes only, and no object is asked about a made-up cookie", async () => {
    const browser = await signedIn(site);
    const token = browser.cookie.split("=")[1] ?? "";
    const { runInDurableObject } = await import("cloudflare:test");
    const dump = await runInDurableObject(env.ENVELOPE_DIRECTORY.getByName("owner"), (_, { storage }) =>
      JSON.stringify([
        ...storage.sql.exec("SELECT * FROM owner_session"),
        ...storage.sql.exec("SELECT * FROM door_try"),
      ]),
    );
    for (const secret of [token, token.slice(0, 43), ADMIN, browser.address]) expect(dump).not.toContain(secret);
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "session");
    for (const value of ["", "x", "a".repeat(65), `${token.slice(0, -1)}${token.endsWith("0") ? "1" : "0"}`]) {
      const response = await site.fetch("/db/api/session", { headers: { Cookie: `__Host-we_admin=${value}` } });
      expect(response.status).toBe(401);
    }
    expect(asked).not.toHaveBeenCalled();
    // Planted beside the genuine one, a made-up cookie changes nothing.
    const both = await site.fetch("/db/api/session", {
      headers: { Cookie: `__Host-we_admin=junk; ${browser.cookie}` },
    });
    expect(both.status).toBe(200);
  });

  it("finds the panel behind a slash at the end, too", async () => {
    const browser = await signedIn(site);
    const slash = await browser.page("/db/");
    expect([slash.status, slash.headers.get("Location")]).toEqual([303, "/db"]);
    expect((await new Site().fetch("/db/")).status).toBe(404);
  });

  it("T73 goes on to pages of the panel only", () => {
    const paths = ["/db", "/db/envelopes?x=1", "/db/x/y"];
    const elsewhere = [
      "//evil.test",
      "/\\evil.test",
      "https://evil.test/db",
      "/me",
      "/dbx",
      "/db/../me",
      "/db/%2e%2e/me",
    ];
    for (const next of paths) expect(safeNext("/db", next)).toBe(next);
    for (const next of [...elsewhere, "/db//evil", "javascript:alert(1)", "/db/login", "/db/api/session", 7, null]) {
      const to = safeNext("/db", next);
      expect(new URL(to, "https://worker.test").origin).toBe("https://worker.test");
      expect(to === "/db" || to.startsWith("/db/")).toBe(true);
    }
  });

  it("T67 cannot be used from another site's page, nor sign its visitor in or out", async () => {
    const browser = await signedIn(site);
    const cross: Record<string, string>[] = [{ "Sec-Fetch-Site": "cross-site" }, { "Sec-Fetch-Site": "same-site" }];
    for (const headers of cross) {
      for (const path of ["/db/sign-in", "/db/sign-out", "/db/api/unclaimed/pi_1/assign", "/db/admin-readonly"]) {
        expect((await browser.post(path, { secret: ADMIN }, headers)).status).toBe(403);
      }
    }
    const { "Sec-Fetch-Site": _, ...old } = { "Sec-Fetch-Site": "", Origin: "null", Cookie: browser.cookie };
    const response = await site.fetch("/db/sign-out", { method: "POST", headers: old });
    expect(response.status).toBe(403);
  });
});

describe("headers of the owner's pages", () => {
  it("T71 T74 no frame, no foreign code, nothing cached, no script but the panel's", async () => {
    const browser = await signedIn(site);
    const page = await browser.page("/db");
    const policy = page.headers.get("Content-Security-Policy") ?? "";
    const nonce = /'nonce-([0-9A-Za-z]{22})'/.exec(policy)?.[1];
    expect(policy).toBe(
      `default-src 'none'; script-src 'nonce-${nonce}' 'strict-dynamic'; style-src 'nonce-${nonce}'; connect-src 'self'; ` +
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    );
    expect(Object.fromEntries(page.headers)).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "private, no-store",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "permissions-policy": expect.stringContaining("camera=()"),
    });
    const html = await page.text();
    expect(html.match(/nonce="/g)).toHaveLength(2);
    expect((await (await browser.page("/db")).text()).includes(String(nonce))).toBe(false);
    const form = await new Browser(site).page("/db/login?next=%22%3E%3Cscript%3E");
    expect(form.headers.get("Content-Security-Policy")).toContain("frame-ancestors 'none'");
    expect(form.headers.get("Content-Security-Policy")).not.toContain("script-src");
    expect(await form.text()).not.toContain("<script");
  });

  it("serves its code under the name of its content, to be kept for ever", async () => {
    const html = await (await (await signedIn(site)).page("/db/envelopes")).text();
    for (const [, path = ""] of html.matchAll(/(?:src|href)="(\/db\/assets\/[^"]+)"/g)) {
      const response = await site.fetch(path);
      expect([response.status, response.headers.get("Cache-Control")]).toEqual([
        200,
        "public, max-age=31536000, immutable",
      ]);
      const etag = response.headers.get("ETag") ?? "";
      const again = await site.fetch(path, { headers: { "If-None-Match": `W/${etag}` } });
      expect([again.status, await again.text()]).toEqual([304, ""]);
      expect((await site.fetch(path.split("?")[0] ?? "")).headers.get("Cache-Control")).toBe("public, no-cache");
    }
    expect((await site.fetch("/db/assets/toString")).status).toBe(404);
    expect((await new Site().fetch("/db/assets/panel.js")).status).toBe(404);
  });
});

describe("T76 guessing", () => {
  it("ten wrong tries from an address, exactly, also a hundred at once; then not even the right one is looked at", async () => {
    const address = newAddress();
    const guesses = Array.from({ length: 100 }, (_, index) => {
      const guess = `guess-${index}`;
      return from(address, index % 3 === 0 ? bearer(guess) : basic(guess, index % 3 === 1 ? "admin" : "root"));
    });
    expect(statuses(await Promise.all(guesses))).toEqual({ 401: 10, 429: 90 });
    for (const headers of [bearer(ADMIN), basic(ADMIN), basic(ADMIN, "admin-readonly")]) {
      const locked = await from(address, headers);
      expect(locked.status).toBe(429);
      expect(Number(locked.headers.get("Retry-After"))).toBeGreaterThan(50);
      expect((await locked.json<Problem>()).type).toBe("urn:with-envelope:problem:too-many-tries");
    }
    const browser = new Browser(site);
    const form = await browser.fetch("/db/sign-in", {
      method: "POST",
      body: `secret=${ADMIN}`,
      headers: { "Content-Type": "application/x-www-form-urlencoded", "CF-Connecting-IP": address },
    });
    expect([form.status, form.headers.getSetCookie()]).toEqual([429, []]);
    await evictAllDurableObjects();
    expect((await from(address, bearer(ADMIN))).status).toBe(429);
    // Nobody else is locked out by it.
    expect((await from(newAddress(), bearer(ADMIN))).status).toBe(200);
  });

  it("who goes on guessing while it waits asks no object", async () => {
    const address = newAddress();
    for (let tries = 0; tries < 11; tries++) await from(address, bearer("wrong"));
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "tryDoor");
    const again = await Promise.all(
      Array.from({ length: 50 }, (_, i) => from(address, bearer(i === 25 ? ADMIN : "wrong"))),
    );
    expect(statuses(again)).toEqual({ 429: 50 });
    expect(asked).not.toHaveBeenCalled();
  });

  it("forms and Bearer count alike; waiting doubles up to an hour; the right secret clears the count", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const address = newAddress();
    const wrong = () => from(address, bearer("wrong"));
    const wait = (ms: number) => vi.setSystemTime(Date.now() + ms);
    for (let tries = 0; tries < 9; tries++) expect((await wrong()).status).toBe(401);
    expect((await from(address, bearer(ADMIN))).status).toBe(200);
    for (let tries = 0; tries < 10; tries++) expect((await wrong()).status).toBe(401);
    for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
      const locked = await wrong();
      expect([locked.status, locked.headers.get("Retry-After")]).toEqual([429, String(minutes * 60)]);
      wait(minutes * 60_000 - 1);
      expect((await from(address, bearer(ADMIN))).status).toBe(429);
      wait(1);
      expect((await wrong()).status).toBe(401);
    }
    wait(HOUR_MS);
    expect((await from(address, bearer(ADMIN))).status).toBe(200);
    expect((await wrong()).status).toBe(401);
  });

  it("counts a whole /64 as one caller, and what is no address as one too", () => {
    expect(networkOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(networkOf("2001:0db8:0001:0002::9")).toBe("2001:db8:1:2::/64");
    expect(networkOf("2001:db8::1")).toBe("2001:db8:0:0::/64");
    expect(networkOf("::1")).toBe("0:0:0:0::/64");
    expect(networkOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
    expect(networkOf("192.0.2.1")).toBe("192.0.2.1");
    expect(networkOf(null)).toBe("unknown");
  });

  it("a server that was let in before costs no object call, until something wrong comes from its address", async () => {
    const address = newAddress();
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "tryDoor");
    for (let times = 0; times < 5; times++) expect((await from(address, bearer(ADMIN))).status).toBe(200);
    expect(asked).toHaveBeenCalledTimes(1);
    expect((await from(address, bearer(`${ADMIN}x`))).status).toBe(401);
    expect((await from(address, bearer(ADMIN))).status).toBe(200);
    expect(asked).toHaveBeenCalledTimes(3);
  });

  it("stores nothing for those who never guessed wrong", async () => {
    const { runInDurableObject } = await import("cloudflare:test");
    const owner = env.ENVELOPE_DIRECTORY.getByName("owner");
    await runInDurableObject(owner, async (_, { storage }) => storage.deleteAll());
    await evictAllDurableObjects();
    expect((await from(newAddress(), bearer(ADMIN))).status).toBe(200);
    expect((await from(newAddress(), {})).status).toBe(401);
    const tables = await runInDurableObject(owner, (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });
});

describe("admin-readonly", () => {
  it("looks and does not change", async () => {
    const readonly = { ...basic(ADMIN, "admin-readonly"), "CF-Connecting-IP": newAddress() };
    expect(await (await site.fetch("/db/api/session", { headers: readonly })).json()).toMatchObject({ readOnly: true });
    const json = { ...readonly, "Content-Type": "application/json", "Idempotency-Key": "k" };
    for (const path of ["/db/api/unclaimed/pi_1/assign", "/stripe/topup", "/db/api/rebuild"]) {
      expect((await site.fetch(path, { method: "POST", body: "{}", headers: json })).status).toBe(403);
    }
  });
});

describe("T78 no door", () => {
  it("without a secret every owner's path is as if it were not there", async () => {
    const none = new Site();
    const bodies = new Set<string>();
    for (const path of [
      "/db",
      "/db/login",
      "/db/sign-in",
      "/db/api/session",
      "/db/assets/panel.js",
      "/db/metrics",
      "/db/zzz",
    ]) {
      for (const method of ["GET", "POST"]) {
        const response = await none.fetch(path, { method, headers: { Accept: "text/html", ...basic(ADMIN) } });
        const { "content-length": _, ...headers } = Object.fromEntries(response.headers);
        bodies.add(JSON.stringify([response.status, headers, await response.text()]));
      }
    }
    expect(bodies.size).toBe(1);
    expect([...bodies][0]).toContain("404");
  });

  it("a signed-in owner finds garbage to be the same garbage everywhere", async () => {
    const browser = await signedIn(site);
    const odd = ["/db/a%2Fb", "/db//", "/db/api/nothing", "/db/api/envelopes/short", `/db/${"x".repeat(300)}`];
    for (const path of odd) expect([path, (await browser.page(path)).status]).toEqual([path, 404]);
    expect((await browser.fetch("/db/zzz")).status).toBe(404);
  });
});
