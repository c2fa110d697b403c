/** Who a caller is: cookies, bearer tokens, the app's own login, and what junk costs. */
import { evictAllDurableObjects, listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import { completed, type Me, type Problem, Site, tokenOf } from "../support.js";

const site = new Site();

describe("a caller without credentials", () => {
  it("gets an identity by /me: a host-only, http-only cookie, and no object", async () => {
    const before = (await listDurableObjectIds(env.ENVELOPE)).length;
    const response = await site.fetch("/me");
    expect(response.headers.get("Set-Cookie")).toMatch(
      /^__Host-we=we_s1_[0-9A-Za-z]{68}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=34560000$/,
    );
    expect(response.headers.get("Cache-Control")).toBe("private, no-store");
    expect(await response.json<Me>()).toMatchObject({ balance: 0, registered: false, currency: "usd" });
    expect(await listDurableObjectIds(env.ENVELOPE)).toHaveLength(before);
  });

  it("gets an identity with the 402 of a priced route, and pays into that very envelope", async () => {
    const response = await site.fetch("/x?price=1");
    expect(response.status).toBe(402);
    const token = tokenOf(response);
    const me = await site.fetch("/me", { headers: { Cookie: `__Host-we=${token}` } });
    const { client_reference_id } = await me.json<Me>();
    expect(response.headers.get("X-Payment-Link")).toContain(client_reference_id);
  });

  it("gets none by a free page, and one by a page that shows the payment link", async () => {
    expect((await site.fetch("/free")).headers.getSetCookie()).toEqual([]);
    const who = await site.fetch("/who");
    expect(await who.json()).toMatchObject({ identified: false });
    expect(tokenOf(who)).not.toBe("");
    expect(who.headers.get("Cache-Control")).toBe("private, no-store");
  });
});

describe("a cookie", () => {
  it("pays, and is not set again by the pages it visits", async () => {
    const payer = await site.payer(5);
    const response = await site.fetch("/x?price=1", { headers: { Cookie: `a=b; __Host-we=${payer.token}; c=d` } });
    expect([response.status, response.headers.getSetCookie()]).toEqual([200, []]);
  });

  it("T65 of the same name twice: the first genuine one counts", async () => {
    const payer = await site.payer(5);
    const cookie = `__Host-we=planted; __Host-we="${payer.token}"; __Host-we=${(await site.newcomer()).token}`;
    expect((await site.fetch("/x?price=1", { headers: { Cookie: cookie } })).headers.get("X-Balance")).toBe("4");
  });

  const junk = [
    "__Host-we=",
    "__Host-we",
    `__Host-we=${"x".repeat(8192)}`,
    "__Host-we=a=b=c",
    '__Host-we="',
    "=;;=",
    `__Host-we=${"é".repeat(9)}`,
  ];
  it.each(junk)("T49 T65 that is junk (%#) is ignored, and a fresh identity issued", async (cookie) => {
    const response = await site.fetch("/x?price=1", { headers: { Cookie: cookie } });
    expect(response.status).toBe(402);
    expect(tokenOf(response)).toMatch(/^we_s1_/);
  });

  it("T65 is found however long the header is: who overlooks it would overwrite it", async () => {
    const payer = await site.payer(5);
    const cookie = `planted=${"x".repeat(20_000)}; __Host-we=${payer.token}`;
    expect((await site.fetch("/x?price=1", { headers: { Cookie: cookie } })).status).toBe(200);
  });

  it("T67 is not overwritten by another site's form: a post that came without it gets no new one", async () => {
    for (const headers of [{ "Sec-Fetch-Site": "cross-site" }, { Origin: "https://evil.test" }, { Origin: "null" }]) {
      const refused = await site.fetch("/x?price=1", { method: "POST", headers: headers as Record<string, string> });
      expect([refused.status, refused.headers.getSetCookie()]).toEqual([402, []]);
    }
    const own = await site.fetch("/x?price=1", { method: "POST", headers: { "Sec-Fetch-Site": "same-origin" } });
    expect(tokenOf(own)).not.toBe("");
  });

  it("T64 over local http has a name of its own, without Secure", async () => {
    const response = await site.fetch("http://localhost:8787/me");
    expect(response.headers.get("Set-Cookie")).toMatch(
      /^we_dev=we_s1_\w+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+$/,
    );
  });
});

describe("a bearer token", () => {
  it("T66 is read with its scheme in any case, and never answered with a cookie", async () => {
    const payer = await site.payer(5);
    const response = await site.fetch("/x?price=1", { headers: { Authorization: `bEaReR   ${payer.token}` } });
    expect([response.status, response.headers.getSetCookie()]).toEqual([200, []]);
    expect((await payer.fetch("/me")).headers.getSetCookie()).toEqual([]);
  });

  const bad = [
    "Bearer",
    "Bearer ",
    "Bearer x",
    "Bearer we_s1_x",
    `Bearer ${crypto.randomUUID()}`,
    "bearer a, Bearer b",
  ];
  it.each(bad)(
    "T66 %j that is not ours is 401, never somebody new, and does not fall back to the cookie",
    async (authorization) => {
      const payer = await site.payer(5);
      for (const path of ["/x?price=1", "/me"]) {
        const response = await site.fetch(path, {
          headers: { Authorization: authorization, Cookie: `__Host-we=${payer.token}` },
        });
        expect(response.status).toBe(401);
        expect(response.headers.get("WWW-Authenticate")).toContain("Bearer");
        expect(response.headers.getSetCookie()).toEqual([]);
        expect((await response.json<Problem>()).type).toContain("unauthorized");
      }
      expect((await payer.me()).balance).toBe(5);
    },
  );

  it("T66 of another scheme is the app's own business: the cookie counts", async () => {
    const payer = await site.payer(5);
    const headers = { Authorization: "Basic YTpi", Cookie: `__Host-we=${payer.token}` };
    expect((await site.fetch("/x?price=1", { headers })).status).toBe(200);
  });

  it("that is not ours is a refusal to ctx.envelope.charge, as a value", async () => {
    const headers = { Authorization: "Bearer of-the-app" };
    const response = await site.fetch("/charge", { method: "POST", body: JSON.stringify({ price: "1" }), headers });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      outcome: "refused",
      refusal: { reason: "credential_revoked" },
      balance: "0",
    });
  });

  it("of a free route passes, whatever it is", async () => {
    const response = await site.fetch("/free", { headers: { Authorization: "Bearer of-the-app" } });
    expect(response.status).toBe(200);
  });

  it("T57 1,000 random ones create no object", async () => {
    await evictAllDurableObjects();
    const before = (await listDurableObjectIds(env.ENVELOPE)).length;
    const random = (length: number) =>
      [...crypto.getRandomValues(new Uint8Array(length))].map((byte) => (byte % 36).toString(36)).join("");
    for (let i = 0; i < 1000; i++) {
      const token = i % 2 === 0 ? `we_s1_${random(68)}` : crypto.randomUUID();
      const path = i % 4 < 2 ? "/x?price=1" : "/me";
      expect((await site.fetch(path, { headers: { Authorization: `Bearer ${token}` } })).status).toBe(401);
    }
    expect(await listDurableObjectIds(env.ENVELOPE)).toHaveLength(before);
  });

  it("T59 in the query is not accepted", async () => {
    const payer = await site.payer(5);
    expect((await site.fetch(`/x?price=1&token=${payer.token}&access_token=${payer.token}`)).status).toBe(402);
  });
});

describe("options.identify", () => {
  const login = new Site({ identify: (request) => request.headers.get("X-User") });
  const as = (user: string, path: string) => login.fetch(path, { headers: { "X-User": user } });

  it("names the envelope by the app's own user, the same on every visit, with no cookie", async () => {
    await envelopeOf(env, { identity: "user-1" }).grant("5", { key: "welcome" });
    const response = await as("user-1", "/x?price=1");
    expect([response.headers.get("X-Balance"), response.headers.getSetCookie()]).toEqual(["4", []]);
    expect((await as("user-2", "/x?price=1")).status).toBe(402);
    expect(await (await as("user-1", "/who")).json()).toMatchObject({
      identified: true,
      id: envelopeOf(env, { identity: "user-1" }).id,
    });
  });

  it("keeps the user's id out of the object's name and the reference", async () => {
    const me = await (await as("jane@example.org", "/me")).text();
    expect(me).not.toContain("jane");
    expect(envelopeOf(env, { identity: "jane@example.org" }).id).toMatch(/^[0-9A-Za-z]{22}$/);
  });

  it("leaves a caller the app does not know to our own credentials", async () => {
    const payer = await site.payer(5);
    const response = await login.fetch("/x?price=1", { headers: { Authorization: `Bearer ${payer.token}` } });
    expect(response.headers.get("X-Balance")).toBe("4");
  });

  it("is not asked on paths that have no caller, and its failure does not take them down", async () => {
    const failing = new Site({
      identify: () => {
        throw new Error("the login service is down");
      },
    });
    expect((await failing.fetch("/health")).status).toBe(200);
    const { reference } = await site.newcomer();
    expect(await failing.outcomeOf(completed({ client_reference_id: reference }))).toBe("credited");
  });

  it("has no token to rotate", async () => {
    const response = await login.fetch("/rotate-token", { method: "POST", headers: { "X-User": "user-1" } });
    expect(response.status).toBe(409);
  });

  it("that returns something else than a text is the owner's error", async () => {
    const wrong = new Site({ identify: () => 42 as unknown as string });
    await expect(wrong.fetch("/free")).rejects.toThrow(TypeError);
  });
});

describe("GET /pay", () => {
  it("with a cookie that was replaced does not have its holder pay into what they cannot open", async () => {
    const payer = await site.payer(5);
    await site.fetch("/rotate-token", { method: "POST", headers: { Cookie: `__Host-we=${payer.token}` } });
    const revoked = payer.token.replace(/^(.{28}).{8}/, "$100000001");
    const response = await site.fetch("/pay", { headers: { Cookie: `__Host-we=${revoked}` } });
    expect(response.headers.get("Location")).not.toContain(payer.id);
    expect(tokenOf(response)).not.toBe("");
  });
});

describe("GET /me", () => {
  it("tells everything about the holder's envelope and nothing about a payer", async () => {
    const payer = await site.payer(250);
    await payer.fetch("/x?price=0.05");
    const response = await payer.fetch("/me");
    expect(response.headers.get("Content-Type")).toBe("application/json");
    const { client_reference_id, ...rest } = await response.json<Me>();
    expect(client_reference_id).toMatch(/^[A-Za-z0-9_-]{1,200}$/);
    expect(rest).toEqual({
      balance: 249.95,
      balance_micros: 2_499_500,
      available_micros: 2_499_500,
      paid_micros: 2_499_500,
      promotional_micros: 0,
      expiring: null,
      lots: [],
      currency: "usd",
      paymentLink: `https://buy.stripe.com/test_link?client_reference_id=${client_reference_id}`,
      registered: true,
      name: null,
      email: null,
      verified_email: null,
      card_fingerprint: null,
      windows: [],
    });
  });

  it("answers only GET, HEAD and OPTIONS", async () => {
    const response = await site.fetch("/me", { method: "POST" });
    expect([response.status, response.headers.get("Allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
  });

  it("T69 allows listed origins only, with credentials, and never a wildcard or a reflection", async () => {
    const cors = new Site({ cors: { origins: ["https://app.test"] } });
    const listed = await cors.fetch("/me", { headers: { Origin: "https://app.test" } });
    expect(listed.headers.get("Access-Control-Allow-Origin")).toBe("https://app.test");
    expect(listed.headers.get("Access-Control-Allow-Credentials")).toBe("true");
    const preflight = await cors.fetch("/me", { method: "OPTIONS", headers: { Origin: "https://app.test" } });
    expect([preflight.status, preflight.headers.get("Access-Control-Allow-Methods")]).toEqual([204, "GET"]);
    for (const [one, origin] of [
      [cors, "https://evil.test"],
      [cors, "null"],
      [cors, "https://app.test.evil.test"],
      [site, "https://app.test"],
    ] as const) {
      const response = await one.fetch("/me", { headers: { Origin: origin } });
      expect(response.headers.get("Access-Control-Allow-Origin")).toBeNull();
    }
  });

  it("keeps a link's own query, and says null where there is no link", async () => {
    const promo = new Site({}, { STRIPE_PAYMENT_LINK: "https://buy.stripe.com/test_link?prefilled_promo_code=X" });
    const { paymentLink } = await (await promo.fetch("/me")).json<Me>();
    expect(paymentLink).toMatch(
      /^https:\/\/buy\.stripe\.com\/test_link\?prefilled_promo_code=X&client_reference_id=e1_\w+$/,
    );
    const none = new Site({}, { STRIPE_PAYMENT_LINK: "" });
    expect((await (await none.fetch("/me")).json<Me>()).paymentLink).toBeNull();
    expect((await none.fetch("/x?price=1")).headers.get("X-Payment-Link")).toBeNull();
  });
});
