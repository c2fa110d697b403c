/** The pages a payer sees, and the test checkout: it puts money in through the real webhook, and only on this machine. */
import { describe, expect, it } from "vitest";
import type { Incident } from "../../../src/index.js";
import { type Me, Site, WEBHOOK_SECRETS } from "../support.js";

const LOCAL = "http://localhost:8787";
const TESTING = { ENVELOPE_TEST_CHECKOUT: "true", STRIPE_PAYMENT_LINK: "" };
const site = new Site({}, TESTING);

const form = (fields: Record<string, string>): RequestInit => ({ method: "POST", body: new URLSearchParams(fields) });

describe("the test checkout", () => {
  it("takes the payment link's place, credits by a signed event, and returns to /paid", async () => {
    const first = await site.fetch(`${LOCAL}/me`);
    const cookie = first.headers.get("Set-Cookie")?.split(";")[0] ?? "";
    const { paymentLink, client_reference_id } = await first.json<Me>();
    expect(paymentLink).toBe(`${LOCAL}/test-checkout?client_reference_id=${client_reference_id}`);
    const shown = await site.fetch(paymentLink ?? "");
    expect(await shown.text()).toContain(`value="${client_reference_id}"`);
    const paid = await site.fetch(`${LOCAL}/test-checkout`, form({ amount: "5.00", client_reference_id }));
    expect([paid.status, paid.headers.get("Location")]).toEqual([303, "/paid"]);
    const me = await site.fetch(`${LOCAL}/me`, { headers: { Cookie: cookie } });
    expect(await me.json<Me>()).toMatchObject({ balance: 500, registered: true });
    const charged = await site.fetch(`${LOCAL}/x?price=1`, { headers: { Cookie: cookie } });
    expect(charged.headers.get("X-Balance")).toBe("499");
  });

  it("works beside a list of allowed payment links", async () => {
    const listed = new Site({ stripe: { paymentLinks: ["plink_1"] } }, TESTING);
    const { client_reference_id } = await (await listed.fetch(`${LOCAL}/me`)).json<Me>();
    expect((await listed.fetch(`${LOCAL}/test-checkout`, form({ amount: "5", client_reference_id }))).status).toBe(303);
  });

  it("has no other way in: a forged reference is not credited", async () => {
    const quiet = new Site({ onIncident: () => undefined }, TESTING);
    const response = await quiet.fetch(
      `${LOCAL}/test-checkout`,
      form({ amount: "500", client_reference_id: "e1_forged" }),
    );
    expect([response.status, await response.text()]).toEqual([200, expect.stringContaining("unclaimed")]);
  });

  it.each(["", "0", "0.00", "-5", "1e3", "1.555", "99999999999999"])("an amount of %j is a 400", async (amount) => {
    expect((await site.fetch(`${LOCAL}/test-checkout`, form({ amount }))).status).toBe(400);
  });

  it("reads no more than a form of its own could hold", async () => {
    const much = form({ amount: "5", client_reference_id: "x".repeat(10_000) });
    expect((await site.fetch(`${LOCAL}/test-checkout`, much)).status).toBe(413);
  });

  it("T71 shows what the URL says as text", async () => {
    const response = await site.fetch(
      `${LOCAL}/test-checkout?client_reference_id=${encodeURIComponent('"><script>x</script>')}`,
    );
    expect(await response.text()).not.toContain("<script>");
    expect(response.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
  });

  it("T67 is not paid from another site's page", async () => {
    const { body, method } = form({ amount: "500" });
    const response = await site.fetch(`${LOCAL}/test-checkout`, {
      method: method ?? "POST",
      body: body ?? null,
      headers: { "Sec-Fetch-Site": "cross-site" },
    });
    expect(response.status).toBe(403);
  });

  const refused: [string, string, Record<string, string>][] = [
    ["a host that others reach", "https://worker.test", {}],
    ["a host that only looks local", "https://localhost.evil.test", {}],
    ["a live key", LOCAL, { STRIPE_SECRET_KEY: "sk_live_0123456789abcdef" }],
    ["a live restricted key", LOCAL, { STRIPE_SECRET_KEY: "rk_live_0123456789abcdef" }],
    ["a live link", LOCAL, { STRIPE_PAYMENT_LINK: "https://buy.stripe.com/abc" }],
  ];
  it.each(refused)("is refused with %s", async (_what, origin, vars) => {
    const one = new Site({ onIncident: () => undefined }, { ...TESTING, ...vars });
    for (const init of [{}, form({ amount: "500", client_reference_id: "x" })]) {
      const response = await one.fetch(`${origin}/test-checkout`, init);
      expect(response.status).toBe(500);
      expect(await response.text()).toContain("ENVELOPE_TEST_CHECKOUT");
    }
  });

  it("set by mistake on a public host leaves the real link in place, and tells the owner", async () => {
    const incidents: Incident[] = [];
    const vars = { ENVELOPE_TEST_CHECKOUT: "true" };
    const one = new Site({ onIncident: (incident) => incidents.push(incident) }, vars);
    expect((await one.fetch("/x?price=1")).headers.get("X-Payment-Link")).toMatch(
      /^https:\/\/buy\.stripe\.com\/test_link\?/,
    );
    expect(incidents).toMatchObject([
      { kind: "configuration", message: expect.stringContaining("ENVELOPE_TEST_CHECKOUT") },
    ]);
  });

  it("is not there unless asked for", async () => {
    const off = new Site();
    expect((await off.fetch(`${LOCAL}/test-checkout`)).status).toBe(404);
    expect((await off.fetch(`${LOCAL}/test-checkout`, form({ amount: "500" }))).status).toBe(404);
  });
});

describe("the payer's pages", () => {
  it("GET /pay sends the browser to the link, with an identity of its own", async () => {
    const response = await new Site().fetch("/pay");
    expect(response.status).toBe(303);
    expect(response.headers.get("Location")).toMatch(/^https:\/\/buy\.stripe\.com\/test_link\?client_reference_id=e1_/);
    expect(response.headers.get("Set-Cookie")).toContain("__Host-we=");
  });

  it("GET /pay without a link says which variable is missing", async () => {
    const response = await new Site({}, { STRIPE_PAYMENT_LINK: "" }).fetch("/pay");
    expect([response.status, await response.text()]).toEqual([503, expect.stringContaining("STRIPE_PAYMENT_LINK")]);
  });

  it("GET /paid thanks, and GET /health lives, without any secret", async () => {
    const bare = new Site({}, { ENVELOPE_SECRET: "", STRIPE_WEBHOOK_SECRET: "" });
    expect(await (await bare.fetch("/paid?session_id=cs_1")).text()).toContain("Thank you");
    expect(await (await bare.fetch("/health")).json()).toEqual({ ok: true });
  });

  it("T60 none of them shows a secret or a token", async () => {
    const payer = await new Site().payer(5);
    for (const path of ["/me", "/pay", "/paid", "/health", "/test-checkout", "/x?price=9", "/x?price=1"]) {
      const response = await payer.fetch(`${LOCAL}${path}`);
      const text = [await response.text(), ...response.headers].join("\n");
      for (const secret of [payer.token, ...WEBHOOK_SECRETS, "test-root-secret"]) expect(text).not.toContain(secret);
    }
  });
});
