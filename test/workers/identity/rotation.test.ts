/** T58 T60 T61 T62: a credential can be replaced, a secret can be rotated, and money never moves. */
import { abortAllDurableObjects, evictAllDurableObjects } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type Me, Site, tokenOf } from "../support.js";

const site = new Site();
const SECRET = "test-root-secret-0123456789-abcdefghij";
const NEXT = "another-root-secret-9876543210-zyxwvu";

const rotate = (token: string, headers: HeadersInit = {}) =>
  site.fetch("/rotate-token", { method: "POST", headers: { Authorization: `Bearer ${token}`, ...headers } });
const byCookie = (token: string, headers: Record<string, string> = {}) =>
  site.fetch("/rotate-token", { method: "POST", headers: { Cookie: `__Host-we=${token}`, ...headers } });
const rotated = async (token: string): Promise<string> => (await (await rotate(token)).json<{ token: string }>()).token;
const spend = async (token: string): Promise<number> =>
  (await site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${token}` } })).status;

afterEach(() => vi.useRealTimers());

function later(minutes: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + minutes * 60_000 });
}

describe("POST /rotate-token", () => {
  it("gives a bearer caller the new token once in the body, and a cookie caller by cookie only", async () => {
    const payer = await site.payer(5);
    const bearer = await rotate(payer.token);
    expect(await bearer.json()).toEqual({
      success: true,
      message: "Token rotated successfully",
      token: expect.stringMatching(/^we_s1_/),
    });
    expect(bearer.headers.getSetCookie()).toEqual([]);
    const cookie = await byCookie(payer.token);
    expect(await cookie.json()).toEqual({ success: true, message: "Token rotated successfully" });
    expect(tokenOf(cookie)).toMatch(/^we_s1_/);
  });

  it("keeps the envelope and its money; the old token is valid for a grace period, and then 401", async () => {
    const payer = await site.payer(5);
    const next = await rotated(payer.token);
    const me = await (await site.fetch("/me", { headers: { Authorization: `Bearer ${next}` } })).json<Me>();
    expect(me).toMatchObject({ balance: 5, client_reference_id: payer.reference });
    expect([await spend(payer.token), await spend(next)]).toEqual([200, 200]);
    later(16);
    expect([await spend(payer.token), await spend(next)]).toEqual([401, 200]);
    expect((await site.fetch("/me", { headers: { Authorization: `Bearer ${payer.token}` } })).status).toBe(401);
    expect((await rotate(payer.token)).status).toBe(401);
  });

  it("T58 a revoked cookie is a stranger's: 402 and a fresh identity, nothing told of the old envelope", async () => {
    const payer = await site.payer(5);
    await spend(await rotated(payer.token));
    later(16);
    const headers = { Cookie: `__Host-we=${payer.token}` };
    const refused = await site.fetch("/x?price=1", { headers });
    expect([refused.status, refused.headers.get("X-Balance")]).toEqual([402, "0"]);
    expect(tokenOf(refused).slice(0, 28)).not.toBe(payer.token.slice(0, 28));
    expect(await (await site.fetch("/me", { headers })).json<Me>()).toMatchObject({ balance: 0, registered: false });
  });

  it("T62 a double click leads to one and the same token: nobody is locked out", async () => {
    const payer = await site.payer(5);
    const tokens = await Promise.all(Array.from({ length: 6 }, () => rotated(payer.token)));
    expect(new Set(tokens).size).toBe(1);
    later(16);
    expect(await spend(tokens[0] ?? "")).toBe(200);
  });

  it("T62 a lost answer can be asked for again", async () => {
    const payer = await site.payer(5);
    const lost = await rotated(payer.token);
    await abortAllDurableObjects();
    expect(await rotated(payer.token)).toBe(lost);
  });

  it("T62 races with charges: each is paid once, none is lost", async () => {
    const payer = await site.payer(100);
    const work = Array.from({ length: 40 }, (_, i) =>
      i % 4 === 0 ? rotate(payer.token).then(() => 0) : spend(payer.token),
    );
    const statuses = await Promise.all(work);
    expect(statuses.filter((status) => status === 200)).toHaveLength(30);
    expect((await payer.envelope.state()).balance_micros).toBe(700_000);
  });

  it("before any payment stores nothing, and the newest token opens what is then paid to the old reference", async () => {
    const newcomer = await site.newcomer();
    const next = await rotated(newcomer.token);
    expect(await newcomer.envelope.state()).toMatchObject({ funded: false, currency: null });
    await newcomer.envelope.grant("5", { key: "k" });
    expect(await spend(next)).toBe(200);
    later(16);
    await evictAllDurableObjects();
    expect([await spend(newcomer.token), await spend(next)]).toEqual([401, 200]);
  });

  it("T67 from another site's page is refused", async () => {
    const payer = await site.payer(5);
    for (const headers of [
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site" },
      { Origin: "https://evil.test" },
      { Origin: "null" },
    ]) {
      expect((await byCookie(payer.token, headers as unknown as Record<string, string>)).status).toBe(403);
    }
    expect((await byCookie(payer.token, { "Sec-Fetch-Site": "same-origin" })).status).toBe(200);
    expect((await byCookie(payer.token, { Origin: "https://worker.test" })).status).toBe(200);
  });

  it("answers only POST, and 401 to a caller without credentials", async () => {
    expect((await site.fetch("/rotate-token")).status).toBe(405);
    expect((await site.fetch("/rotate-token", { method: "POST" })).status).toBe(401);
  });
});

describe("rotating ENVELOPE_SECRET", () => {
  const after = new Site({}, { ENVELOPE_SECRET: NEXT, ENVELOPE_SECRET_PREVIOUS: SECRET });
  const long = new Site({}, { ENVELOPE_SECRET: NEXT });

  it("loses nobody: old tokens, cookies and references stay good, and a cookie is signed anew", async () => {
    const payer = await site.payer(5);
    const bearer = await after.fetch("/x?price=1", { headers: { Authorization: `Bearer ${payer.token}` } });
    expect(bearer.headers.get("X-Balance")).toBe("4");
    const cookie = await after.fetch("/x?price=1", { headers: { Cookie: `__Host-we=${payer.token}` } });
    const renewed = tokenOf(cookie);
    expect(renewed.slice(0, -11)).toBe(payer.token.slice(0, -11));
    expect(
      (await long.fetch("/x?price=1", { headers: { Authorization: `Bearer ${renewed}` } })).headers.get("X-Balance"),
    ).toBe("2");
  });

  it("a payment made to an old reference is credited", async () => {
    const newcomer = await site.newcomer();
    const { completed } = await import("../support.js");
    expect(await after.outcomeOf(completed({ client_reference_id: newcomer.reference }))).toBe("credited");
    expect(await long.outcomeOf(completed({ client_reference_id: newcomer.reference }))).toBe("unclaimed");
  });

  it("several previous secrets may be listed", async () => {
    const payer = await site.payer(5);
    const listed = new Site(
      {},
      { ENVELOPE_SECRET: NEXT, ENVELOPE_SECRET_PREVIOUS: `${"z".repeat(10)}0123456789-abcdefghijklmno, ${SECRET}` },
    );
    expect((await listed.fetch("/x?price=1", { headers: { Authorization: `Bearer ${payer.token}` } })).status).toBe(
      200,
    );
  });

  it("a rotation of the token that overlaps it still agrees on one successor", async () => {
    const payer = await site.payer(5);
    const before = await rotated(payer.token);
    const again = await after.fetch("/rotate-token", {
      method: "POST",
      headers: { Authorization: `Bearer ${payer.token}` },
    });
    const { token } = await again.json<{ token: string }>();
    expect(token.slice(0, -11)).toBe(before.slice(0, -11));
  });

  it.each(["", "short", "replace-me-with-at-least-32-random-characters", "a".repeat(40)])(
    "a weak secret (%j) is refused by name, never shown",
    async (secret) => {
      const weak = new Site({ onIncident: () => undefined }, { ENVELOPE_SECRET: secret });
      const response = await weak.fetch("/me");
      const text = await response.text();
      expect(response.status).toBe(500);
      expect(text).toContain("ENVELOPE_SECRET");
      if (secret !== "") expect(text).not.toContain(secret);
    },
  );
});
