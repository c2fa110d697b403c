/** T58 T60 T61 T62: a credential can be replaced, a secret can be rotated, and money never moves. */
import { abortAllDurableObjects } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { readToken, type Token, writeToken } from "../../../src/identity/token.js";
import { envelopeOf } from "../../../src/index.js";
import { keysOf } from "../../../src/settings.js";
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

  it("keeps the envelope and its money; the old token lasts 15 minutes from the new one's first use, and is 401 then", async () => {
    const payer = await site.payer(9);
    const next = await rotated(payer.token);
    const me = await (await site.fetch("/me", { headers: { Authorization: `Bearer ${next}` } })).json<Me>();
    expect(me).toMatchObject({ balance: 9, client_reference_id: payer.reference });
    expect([await spend(payer.token), await spend(next)]).toEqual([200, 200]);
    later(16);
    expect([await spend(payer.token), await spend(next)]).toEqual([401, 200]);
    expect((await site.fetch("/me", { headers: { Authorization: `Bearer ${payer.token}` } })).status).toBe(401);
    expect((await rotate(payer.token)).status).toBe(401);
  });

  it("a thief of the old token is not given the new one, once its holder uses that", async () => {
    const payer = await site.payer(5);
    const next = await rotated(payer.token);
    await spend(next);
    expect((await rotate(payer.token)).status).toBe(401);
  });

  it("T62 an answer that was lost locks nobody out, however late it is asked for again", async () => {
    const payer = await site.payer(5);
    const lost = await rotated(payer.token);
    later(60 * 24 * 30);
    expect(await spend(payer.token)).toBe(200);
    expect(await rotated(payer.token)).toBe(lost);
    expect(await spend(lost)).toBe(200);
  });

  it("never lets /me put a replaced cookie back", async () => {
    const payer = await site.payer(5);
    const next = tokenOf(await byCookie(payer.token));
    await spend(next);
    const stale = await site.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } });
    expect([stale.status, stale.headers.getSetCookie()]).toEqual([200, []]);
    const newest = await site.fetch("/me", { headers: { Cookie: `__Host-we=${next}` } });
    expect(tokenOf(newest)).toBe(next);
  });

  it("a chain of rotations leaves only its newest token, and nothing that lasts for ever", async () => {
    const payer = await site.payer(9);
    const one = await rotated(payer.token);
    await spend(one);
    const two = await rotated(one);
    await spend(two);
    expect((await rotate(payer.token)).status).toBe(401);
    later(16);
    expect([await spend(payer.token), await spend(one), await spend(two)]).toEqual([401, 401, 200]);
  });

  it("a MAC alone opens nothing: a generation that was never issued is refused", async () => {
    const payer = await site.payer(5);
    await spend(payer.token);
    const keys = keysOf(site.env).token;
    const token = readToken(keys, payer.token) as Token;
    const forged = writeToken(keys, { ...token, generation: 99 });
    expect(await spend(forged)).toBe(401);
    expect(await spend(writeToken(keys, { ...token, secret: "0".repeat(27) }))).toBe(401);
    expect(await spend(payer.token)).toBe(200);
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

  it("before any payment stores nothing, and gives an identity that the old token says nothing about", async () => {
    const newcomer = await site.newcomer();
    const next = await rotated(newcomer.token);
    expect(next.slice(6, 28)).not.toBe(newcomer.id);
    expect(await newcomer.envelope.state()).toMatchObject({ funded: false, currency: null });
    await envelopeOf(site.env, { id: next.slice(6, 28) }).grant("5", { key: "k" });
    expect([await spend(newcomer.token), await spend(next)]).toEqual([402, 200]);
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
    const renewed = tokenOf(await after.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } }));
    expect(renewed.slice(0, -11)).toBe(payer.token.slice(0, -11));
    const later = await long.fetch("/x?price=1", { headers: { Authorization: `Bearer ${renewed}` } });
    expect(later.headers.get("X-Balance")).toBe("3");
  });

  it("a deployment with a wrong secret erases no cookie: the genuine one is kept aside, and found again", async () => {
    const payer = await site.payer(5);
    const broken = await long.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } });
    const jar = broken.headers
      .getSetCookie()
      .map((one) => one.split(";")[0])
      .join("; ");
    expect(jar).toContain(`__Host-we_aside=${payer.token}`);
    const repaired = await site.fetch("/me", { headers: { Cookie: jar } });
    expect(await repaired.json<Me>()).toMatchObject({ balance: 5 });
    expect(tokenOf(repaired)).toBe(payer.token);
  });

  it("two wrong secrets in a row erase none either", async () => {
    const payer = await site.payer(5);
    let jar = `__Host-we=${payer.token}`;
    for (const secret of ["wrong-root-secret-one-0123456789-abcdef", "wrong-root-secret-two-0123456789-abcdef"]) {
      const wrong = new Site({}, { ENVELOPE_SECRET: secret });
      const set = (await wrong.fetch("/me", { headers: { Cookie: jar } })).headers.getSetCookie();
      const cookies = new Map(
        [...jar.split("; "), ...set.map((one) => one.split(";")[0] ?? "")].map((one) => [one.split("=")[0], one]),
      );
      jar = [...cookies.values()].join("; ");
    }
    expect(await (await site.fetch("/me", { headers: { Cookie: jar } })).json<Me>()).toMatchObject({ balance: 5 });
  });

  it("a cookie is renewed once a month, not on each visit, so that a late answer seldom meets a rotation", async () => {
    const payer = await site.payer(5);
    const first = await site.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } });
    expect(tokenOf(first)).toBe(payer.token);
    const marker = first.headers
      .getSetCookie()
      .map((one) => one.split(";")[0])
      .find((one) => one?.includes("_renewed"));
    const next = await site.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}; ${marker}` } });
    expect(next.headers.getSetCookie()).toEqual([]);
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

  it("T62 a successor that was never used, and that nobody can derive any more, makes way for another", async () => {
    for (const clicks of [1, 2]) {
      const payer = await site.payer(5);
      const lost = await rotated(payer.token);
      const bearing = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });
      // Signed anew while both secrets were listed; then the old one left the list.
      const renewed = tokenOf(await after.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } }));
      const answers = await Promise.all(
        Array.from({ length: clicks }, () => long.fetch("/rotate-token", { method: "POST", ...bearing(renewed) })),
      );
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      const tokens = await Promise.all(answers.map(async (one) => (await one.json<{ token: string }>()).token));
      expect(new Set(tokens).size).toBe(1);
      const next = await long.fetch("/x?price=1", bearing(tokens[0] ?? ""));
      expect(next.headers.get("X-Balance")).toBe("4");
      expect((await after.fetch("/x?price=1", bearing(lost))).status).toBe(401);
    }
  });

  it("T58 one that was used does not", async () => {
    const payer = await site.payer(5);
    const next = await rotated(payer.token);
    const renewed = tokenOf(await after.fetch("/me", { headers: { Cookie: `__Host-we=${payer.token}` } }));
    await spend(next);
    const answer = await long.fetch("/rotate-token", {
      method: "POST",
      headers: { Authorization: `Bearer ${renewed}` },
    });
    expect(answer.status).toBe(401);
    expect(await spend(next)).toBe(200);
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
