/** T80: Cloudflare Access lets in whom its signature names, and nobody else. Real keys, served as Access serves them. */
import { exportJWK, generateKeyPair, type JWK, SignJWT, UnsecuredJWT } from "jose";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { AuditLine } from "../../../src/contract.js";
import type { Problem } from "../support.js";
import { Site } from "../support.js";
import { ADMIN, bearer, newAddress } from "./support.js";

const AUD = "a".repeat(64);
let teams = 0;
let team: string;
let site: Site;
let keys: JWK[];
let fetches: string[];
let down = false;
type Pair = Awaited<ReturnType<typeof generateKeyPair>>;
let first: Pair;
let second: Pair;
let foreign: Pair;

const jwk = async ({ publicKey }: Pair, kid: string): Promise<JWK> => ({
  ...(await exportJWK(publicKey)),
  kid,
  alg: "RS256",
  use: "sig",
});

beforeAll(async () => {
  [first, second, foreign] = (await Promise.all(
    [1, 2, 3].map(() => generateKeyPair("RS256", { extractable: true })),
  )) as [Pair, Pair, Pair];
});
beforeEach(async () => {
  team = `https://team-${teams++}.cloudflareaccess.com`;
  site = new Site({}, { ENVELOPE_ACCESS_TEAM: team, ENVELOPE_ACCESS_AUD: AUD });
  keys = [await jwk(first, "one")];
  fetches = [];
  down = false;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
    fetches.push(String(input instanceof Request ? input.url : input));
    return down ? new Response("down", { status: 502 }) : Response.json({ keys });
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

interface Claims {
  readonly pair?: Pair;
  readonly kid?: string;
  readonly iss?: string;
  readonly aud?: string | string[];
  readonly sub?: string | null;
  readonly exp?: number | null;
  readonly more?: Record<string, unknown>;
}

const now = () => Math.floor(Date.now() / 1000);

function token(claims: Claims = {}): Promise<string> {
  const { pair = first, kid = "one", iss = team, aud = [AUD], sub = "7335d417-61da-459d-899c-0a01c76a2f94" } = claims;
  const { exp = now() + 600, more = { email: "owner@example.com", type: "app" } } = claims;
  const jwt = new SignJWT({ ...more, ...(sub === null ? {} : { sub }) })
    .setProtectedHeader({ alg: "RS256", kid, typ: "JWT" })
    .setIssuer(iss)
    .setAudience(aud)
    .setIssuedAt(now() - 10);
  return (exp === null ? jwt : jwt.setExpirationTime(exp)).sign(pair.privateKey);
}

const session = (jwt: string, headers: Record<string, string> = {}, at = site) =>
  at.fetch("/db/api/session", { headers: { "Cf-Access-Jwt-Assertion": jwt, ...headers } });

describe("Cloudflare Access", () => {
  it("lets in whom its token names; the audit says who, and no address of theirs", async () => {
    const jwt = await token();
    const answer = await (await session(jwt)).json();
    expect(answer).toMatchObject({ actor: "access:7335d417-61da-459d-899c-0a01c76a2f94", readOnly: false });
    expect(fetches).toEqual([`${team}/cdn-cgi/access/certs`]);
    const page = await site.fetch("/db", { headers: { "Cf-Access-Jwt-Assertion": jwt, Accept: "text/html" } });
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('<div id="app">')]);
    const payer = await site.payer(5);
    const headers = {
      "Cf-Access-Jwt-Assertion": jwt,
      "Content-Type": "application/json",
      "Idempotency-Key": "k",
    };
    const body = JSON.stringify({ amount_micros: 5, reason: "hello" });
    const path = `/db/api/envelopes/${payer.id}/grants`;
    expect((await site.fetch(path, { method: "POST", body, headers })).status).toBe(201);
    // The browser sends the token by itself, so another site's page must not be able to use it.
    for (const site_ of ["cross-site", "same-site"]) {
      const cross = await site.fetch(path, { method: "POST", body, headers: { ...headers, "Sec-Fetch-Site": site_ } });
      expect(cross.status).toBe(403);
    }
    const audit = await site.fetch(`/db/api/envelopes/${payer.id}/audit`, { headers });
    const text = await audit.text();
    expect((JSON.parse(text) as { audit: AuditLine[] }).audit.map(({ actor }) => actor)).toEqual([
      "access:7335d417-61da-459d-899c-0a01c76a2f94",
    ]);
    expect(text).not.toContain("example.com");
  });

  it("a service token is named by its client id", async () => {
    const answer = await session(await token({ sub: "", more: { common_name: "ci.access", type: "app" } }));
    expect(await answer.json()).toMatchObject({ actor: "access:ci.access" });
  });

  it("refuses what is forged, foreign, for somebody else, too old, or names nobody", async () => {
    const [head = "", claims = "", seal = ""] = (await token()).split(".");
    const strong = btoa(JSON.stringify({ sub: "x", iss: team, aud: AUD, exp: now() + 600 })).replaceAll("=", "");
    const hmac = await new SignJWT({ sub: "x" })
      .setProtectedHeader({ alg: "HS256", kid: "one" })
      .setIssuer(team)
      .setAudience(AUD)
      .setIssuedAt()
      .setExpirationTime("1h")
      .sign(new TextEncoder().encode(JSON.stringify(keys[0])));
    const forged: Record<string, string> = {
      "no token": "owner@example.com",
      "another's key under our key's name": await token({ pair: foreign }),
      "an unknown key": await token({ pair: foreign, kid: "three" }),
      "another audience": await token({ aud: "b".repeat(64) }),
      "another team": await token({ iss: "https://evil.cloudflareaccess.com" }),
      expired: await token({ exp: now() - 1 }),
      "without an end": await token({ exp: null }),
      "without a subject": await token({ sub: null, more: {} }),
      "a subject with a line break": await token({ sub: "a\nb" }),
      "other claims": [head, strong, seal].join("."),
      "no seal": [head, claims, ""].join("."),
      "alg none": new UnsecuredJWT({ sub: "x" }).setIssuer(team).setAudience(AUD).setExpirationTime("1h").encode(),
      "alg HS256 with the public key": hmac,
      huge: `${"a".repeat(9_000)}.b.c`,
    };
    for (const [what, jwt] of Object.entries(forged)) {
      expect([what, (await session(jwt)).status]).toEqual([what, 401]);
    }
    const cookie = { headers: { Cookie: `CF_Authorization=${await token()}` } };
    expect((await site.fetch("/db/api/session", cookie)).status).toBe(401);
    const named = { headers: { "Cf-Access-Authenticated-User-Email": "owner@example.com" } };
    expect((await site.fetch("/db/api/session", named)).status).toBe(401);
  });

  it("fetches the keys once, and again for a new one, at most once a minute", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    for (let times = 0; times < 5; times++) expect((await session(await token())).status).toBe(200);
    expect(fetches).toHaveLength(1);
    keys = [await jwk(first, "one"), await jwk(second, "two")];
    const rotated = () => token({ pair: second, kid: "two" });
    for (let times = 0; times < 5; times++) expect((await session(await rotated())).status).toBe(401);
    expect(fetches).toHaveLength(1);
    vi.setSystemTime(Date.now() + 60_001);
    expect((await session(await rotated())).status).toBe(200);
    expect(fetches).toHaveLength(2);
    for (let times = 0; times < 5; times++) {
      expect((await session(await token({ pair: foreign, kid: "junk" }))).status).toBe(401);
    }
    expect(fetches).toHaveLength(2);
  });

  it("answers 503 where the keys cannot be had, and lets nobody in", async () => {
    down = true;
    const response = await session(await token());
    expect([response.status, response.headers.get("Retry-After")]).toEqual([503, "5"]);
    down = false;
    expect((await session(await token())).status).toBe(200);
  });

  it("beside the owner's secret, either lets in; without one there is nothing to sign in with", async () => {
    const both = new Site({}, { ENVELOPE_ACCESS_TEAM: team, ENVELOPE_ACCESS_AUD: AUD, ENVELOPE_ADMIN_SECRET: ADMIN });
    const address = { "CF-Connecting-IP": newAddress() };
    expect((await both.fetch("/db/api/session", { headers: { ...bearer(ADMIN), ...address } })).status).toBe(200);
    expect((await session(await token(), {}, both)).status).toBe(200);
    // What is presented by name decides.
    expect((await session(await token(), { ...bearer("wrong"), ...address }, both)).status).toBe(401);
    expect((await site.fetch("/db/api/session", { headers: { ...bearer(""), ...address } })).status).toBe(401);
    const form = { method: "POST", body: "secret=", headers: { "Content-Type": "application/x-www-form-urlencoded" } };
    expect((await site.fetch("/db/sign-in", form)).status).toBe(404);
  });

  it.each([
    ["ENVELOPE_ACCESS_TEAM", { ENVELOPE_ACCESS_AUD: AUD }],
    ["ENVELOPE_ACCESS_AUD", { ENVELOPE_ACCESS_TEAM: "https://team.cloudflareaccess.com" }],
    ["ENVELOPE_ACCESS_TEAM", { ENVELOPE_ACCESS_TEAM: "https://evil.test", ENVELOPE_ACCESS_AUD: AUD }],
    ["ENVELOPE_ACCESS_TEAM", { ENVELOPE_ACCESS_TEAM: "http://team.cloudflareaccess.com", ENVELOPE_ACCESS_AUD: AUD }],
  ])("half a set-up opens nothing and names the variable: %s", async (variable, vars) => {
    const response = await session(await token(), {}, new Site({}, vars));
    expect([response.status, (await response.json<Problem>())["detail"]]).toEqual([
      500,
      expect.stringContaining(variable),
    ]);
  });
});
