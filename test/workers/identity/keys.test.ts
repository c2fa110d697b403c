/** API keys: who makes, lists and ends them, what they may do, and what junk costs. */
import { evictAllDurableObjects, listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { verifyAudit } from "../../../src/audit.js";
import { Envelope } from "../../../src/index.js";
import { ADMIN, basic, bearer, newAddress, siteOf } from "../admin/support.js";
import { type Caller, type Me, type Problem, Site, tokenOf } from "../support.js";

const site = siteOf();

interface Key {
  readonly key: string;
  readonly id: string;
  readonly status: string;
  readonly [member: string]: unknown;
}

interface Keys {
  readonly keys: readonly Key[];
  readonly next: string | null;
}

type Asking = Record<string, string>;
const owner = (): Asking => ({ ...bearer(ADMIN), "CF-Connecting-IP": newAddress() });

const post = (asking: Asking, body: unknown, at: Site = site) =>
  at.fetch("/keys", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID(), ...asking },
  });
const revoke = (asking: Asking, id: string, query = "") =>
  site.fetch(`/keys/${id}${query}`, {
    method: "DELETE",
    headers: { "Idempotency-Key": crypto.randomUUID(), ...asking },
  });
const list = async (asking: Asking, query = "") =>
  (await site.fetch(`/keys${query}`, { headers: asking })).json<Keys>();

async function mint(payer: Caller, body: unknown = {}): Promise<Key> {
  const response = await post(bearer(payer.token), body);
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  return response.json<Key>();
}

const spend = (key: string, price = "1", path = "/x", init: RequestInit = {}) =>
  site.fetch(`${path}?price=${price}`, { ...init, headers: { ...bearer(key), ...(init.headers as Asking) } });

const refusalOf = async (response: Response): Promise<Record<string, unknown>> => {
  const { type, ...body } = await response.json<Problem>();
  return { ...body, problem: type.replace("urn:with-envelope:problem:", "") };
};

describe("an API key", () => {
  it("T22 is held to its cap, and named in the ledger, also where a charge is asked for a second time", async () => {
    const payer = await site.payer(50);
    const { key, id } = await mint(payer, { capacity: "0.03" });
    const lost = Object.assign(new Error("Network connection lost."), { retryable: true });
    const first = vi.spyOn(Envelope.prototype, "take").mockRejectedValue(lost);
    const answers = [await spend(key, "2"), await spend(key, "2")];
    first.mockRestore();
    expect(answers.map(({ status, headers }) => [status, headers.get("X-Balance")])).toEqual([
      [200, "48"],
      [403, "48"],
    ]);
    expect(await payer.envelope.entries()).toMatchObject([
      { kind: "topup" },
      { kind: "charge", reason: "GET /x", spender: id },
    ]);
  });

  it("is made by the holder, shown once, and spends from their envelope without their token", async () => {
    const payer = await site.payer(50);
    const response = await post(bearer(payer.token), {
      name: "agent",
      capacity: "0.10",
      expiresAt: "2099-01-01T00:00:00Z",
    });
    expect([response.status, response.headers.get("Cache-Control")]).toEqual([201, "no-store"]);
    const { key, ...shown } = await response.json<Key>();
    expect(key).toMatch(new RegExp(`^we_k1_${payer.id}${shown.id}[0-9A-Za-z]{38}$`));
    expect(shown).toMatchObject({
      type: "API_KEY",
      name: "agent",
      prefix: "we_k1_",
      last4: key.slice(-4),
      scopes: ["spend", "read"],
      status: "active",
      capacity: "0.1",
      capacity_micros: 100_000,
      remaining: "0.1",
      spent_micros: 0,
      madeBy: null,
      expiresAt: "2099-01-01T00:00:00.000Z",
      lastUsedAt: null,
    });
    const paid = await spend(key, "3");
    expect([paid.status, paid.headers.get("X-Balance")]).toEqual([200, "47"]);
    const listed = await list(bearer(payer.token));
    expect(JSON.stringify(listed)).not.toContain(key.slice(36, 63));
    const { createdAt } = shown;
    const used = { id: shown.id, name: "agent", createdAt, spent_micros: 30_000, remaining: "0.07", charges: 1 };
    expect(listed).toMatchObject({ keys: [used], next: null });
    expect(Date.parse(String(listed.keys[0]?.["lastUsedAt"]))).toBeGreaterThan(0);
  });

  it("T63 may do what its scopes say: spend, look, make keys, and nothing else with any of them", async () => {
    const payer = await site.payer(50);
    const keyOf = async (...scopes: string[]) => (await mint(payer, { scopes })).key;
    const [spends, reads, makes] = [await keyOf("spend"), await keyOf("read"), await keyOf("keys")];
    const may = async (key: string) => [
      (await spend(key)).status,
      (await site.fetch("/me", { headers: bearer(key) })).status,
      (await site.fetch("/keys", { headers: bearer(key) })).status,
      (await site.fetch("/rotate-token", { method: "POST", headers: bearer(key) })).status,
    ];
    expect(await may(spends)).toEqual([200, 403, 403, 403]);
    expect(await may(reads)).toEqual([403, 200, 403, 403]);
    expect(await may(makes)).toEqual([403, 403, 200, 403]);
    expect(await refusalOf(await spend(reads))).toMatchObject({ problem: "key-scope", limit: "key", canTopUp: false });
  });

  it("T63 tells who cannot spend nothing of the balance", async () => {
    const payer = await site.payer(50);
    const { key } = await mint(payer, { scopes: ["keys"] });
    const refused = await spend(key);
    expect(refused.headers.get("X-Balance")).toBeNull();
    expect(await refused.json()).not.toHaveProperty("balance");
  });

  it("T63 is refused at its cap, whatever is paid in, and has room again when a charge is given back", async () => {
    const payer = await site.payer(50);
    const { key, id } = await mint(payer, { capacity: 0.05 });
    expect((await spend(key, "4")).status).toBe(200);
    const refused = await spend(key, "2");
    expect(refused.status).toBe(403);
    expect(await refusalOf(refused)).toMatchObject({
      problem: "key-cap",
      limit: "key",
      resetsAt: null,
      canTopUp: false,
      price: "2",
      balance: "46",
      shortfall: "0",
    });
    expect((await spend(key, "1")).status).toBe(200);
    await payer.envelope.refund({ seq: 2 }, { key: "back" });
    expect((await spend(key, "4")).status).toBe(200);
    expect((await list(bearer(payer.token))).keys).toMatchObject([
      { id, spent_micros: 90_000, refunded_micros: 40_000 },
    ]);
  });

  it("T63 has windows of its own, and says when they reset", async () => {
    const payer = await site.payer(500);
    const { key } = await mint(payer, {
      windows: [{ timeWindow: "DAILY", capacity: "0.02", timeZone: "Europe/Berlin" }],
    });
    await spend(key, "2");
    const refused = await spend(key, "1");
    const { resetsAt, windowId } = await refusalOf(refused);
    expect([refused.status, windowId]).toEqual([403, "daily-1"]);
    const reset = new Date(String(resetsAt));
    expect(reset.getTime()).toBeGreaterThan(Date.now());
    expect(reset.getTime()).toBeLessThanOrEqual(Date.now() + 25 * 3_600_000);
    expect(reset.toLocaleTimeString("de", { timeZone: "Europe/Berlin" })).toBe("00:00:00");
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
  });

  it("T63 is refused once it has expired, with a reason of its own", async () => {
    const payer = await site.payer(50);
    const { key } = await mint(payer, { expiresAt: new Date(Date.now() + 60_000).toISOString() });
    expect((await spend(key)).status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    const refused = await spend(key);
    expect([refused.status, (await refusalOf(refused)).problem]).toEqual([403, "key-expired"]);
    expect((await site.fetch("/me", { headers: bearer(key) })).status).toBe(403);
    vi.useRealTimers();
  });

  it("T58 is refused from the moment it is revoked, with what it held still to be settled", async () => {
    const payer = await site.payer(50);
    const { key, id } = await mint(payer);
    const held = new Site({ price: () => "5" });
    expect((await spend(key)).status).toBe(200);
    expect(await (await revoke(bearer(payer.token), id)).json<Key>()).toMatchObject({ id, status: "revoked" });
    const refused = await spend(key);
    expect([refused.status, (await refusalOf(refused)).problem]).toEqual([401, "credential-revoked"]);
    expect((await site.fetch("/me", { headers: bearer(key) })).status).toBe(401);
    expect((await held.fetch("/x", { headers: bearer(key) })).status).toBe(401);
    // Once more is the same answer, and no second line in the audit.
    expect((await revoke(bearer(payer.token), id)).status).toBe(200);
  });

  it("spends what it holds, and up to that when it was revoked meanwhile", async () => {
    const payer = await site.payer(50);
    const { key, id } = await mint(payer, { capacity: "0.10" });
    const held = new Site({ price: () => "10" }, {}, async (request) => {
      expect((await spend(key, "1")).status).toBe(403);
      await revoke(bearer(payer.token), id);
      const { searchParams } = new URL(request.url);
      return new Response("done", { headers: { "X-Price": searchParams.get("end") ?? "" } });
    });
    const response = await held.fetch("/x?end=10", { headers: bearer(key) });
    expect([response.status, response.headers.get("X-Balance")]).toEqual([200, "40"]);
  });

  it("is stopped when its envelope is frozen, and is told of too little money like its holder", async () => {
    const payer = await site.payer(5);
    const { key } = await mint(payer);
    const short = await spend(key, "9");
    expect([short.status, short.headers.get("X-Payment-Link")]).toEqual([
      402,
      expect.stringContaining(payer.reference),
    ]);
    await payer.envelope.freeze();
    expect((await refusalOf(await spend(key))).problem).toBe("frozen");
  });

  it("T62 outlives its holder's token: a rotation is about that one alone", async () => {
    const payer = await site.payer(50);
    const { key } = await mint(payer);
    const { token } = await (await payer.fetch("/rotate-token", { method: "POST" })).json<{ token: string }>();
    expect((await site.fetch("/x?price=1", { headers: bearer(token) })).status).toBe(200);
    expect((await spend(key)).status).toBe(200);
    // Who is on the way out makes nothing that stays.
    expect((await post(bearer(payer.token), {})).status).toBe(401);
  });

  it("T44 signed with an earlier root secret still counts as long as that is listed", async () => {
    const payer = await site.payer(50);
    const { key } = await mint(payer);
    const NEW = "another-root-secret-0123456789-abcdefghij";
    const previous = "test-root-secret-0123456789-abcdefghij";
    const at = (vars: Record<string, string>) => new Site({}, vars).fetch("/x?price=1", { headers: bearer(key) });
    expect((await at({ ENVELOPE_SECRET: NEW, ENVELOPE_SECRET_PREVIOUS: previous })).status).toBe(200);
    expect((await at({ ENVELOPE_SECRET: NEW })).status).toBe(401);
  });

  it("T13 T14 of one envelope do not answer for each other's Idempotency-Keys", async () => {
    const payer = await site.payer(50);
    const [one, other] = [await mint(payer), await mint(payer)];
    const headers = { "Idempotency-Key": "order-1" };
    expect((await spend(one.key, "3", "/x", { headers })).status).toBe(200);
    const again = await spend(one.key, "3", "/x", { headers });
    expect([again.status, again.headers.get("X-Charge-Replayed")]).toEqual([200, "true"]);
    expect((await spend(other.key, "3", "/x", { headers })).status).toBe(422);
    expect((await payer.me()).balance).toBe(47);
  });

  it("T16 1,000 parallel charges meet its cap exactly, and not one more", async () => {
    const payer = await site.payer(2_000);
    const { key, id } = await mint(payer, { capacity: "3.21" });
    const statuses = await Promise.all(Array.from({ length: 1_000 }, async () => (await spend(key)).status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(321);
    expect(statuses.filter((status) => status === 403)).toHaveLength(679);
    expect((await list(bearer(payer.token))).keys).toMatchObject([
      { id, spent_micros: 3_210_000, remaining_micros: 0 },
    ]);
  });

  const midnight = () => new Date((Math.floor(Date.now() / DAY) + 1) * DAY).toISOString();
  const own = { limit: "key", canTopUp: false };
  const TIGHTEST: readonly (readonly [name: string, limits: Partial<Limits>, status: number, told: () => object])[] = [
    ["its cap", { cap: "0.7" }, 403, () => ({ ...own, resetsAt: null })],
    ["its own day", { own: 0.7 }, 403, () => ({ ...own, windowId: "daily-1", resetsAt: midnight() })],
    ["a day of the envelope's", { day: "70" }, 402, () => ({ limit: "window", windowId: "day", resetsAt: midnight() })],
    [
      "a lifetime of the envelope's",
      { ever: "70" },
      402,
      () => ({ limit: "window", windowId: "ever", resetsAt: null }),
    ],
    ["the balance", { balance: 70 }, 402, () => ({ limit: "balance", canTopUp: true, resetsAt: null })],
  ];
  it.each(TIGHTEST)(
    "T16 1,000 parallel charges with two windows, a key's cap and window, and a balance: %s is met exactly",
    async (_name, limits, status, told) => {
      const { balance, cap, own, day, ever } = { ...AMPLE, ...limits };
      const payer = await site.payer(balance);
      await payer.envelope.configure({
        windows: [
          { window_id: "day", unit: "DAILY", limit: day },
          { window_id: "ever", unit: "ONCE", limit: ever },
        ],
      });
      const { key } = await mint(payer, { capacity: cap, windows: [{ timeWindow: "DAILY", capacity: own }] });
      const expected = told();
      const answers = await Promise.all(Array.from({ length: 1_000 }, () => spend(key)));
      const refused = answers.filter((response) => response.status === status);
      expect(answers.filter((response) => response.status === 200)).toHaveLength(70);
      expect(refused).toHaveLength(930);
      expect(await refused.at(-1)?.json()).toMatchObject(expected);
      const [shown] = (await list(bearer(payer.token))).keys;
      expect(shown).toMatchObject({ spent_micros: 700_000, charges: 70 });
      const state = await payer.envelope.state();
      expect([state.balance_micros, ...state.windows.map(({ spent_micros }) => spent_micros)]).toEqual([
        balance * 10_000 - 700_000,
        700_000,
        700_000,
      ]);
    },
  );

  it("on a budget is limited by both, and a refund of its usage makes room in both", async () => {
    const payer = await site.newcomer();
    await payer.envelope.configure({ prepaid: false, windows: [{ window_id: "ever", unit: "ONCE", limit: "5" }] });
    const { key, id } = await mint(payer, { capacity: "0.04" });
    const statuses = async (...prices: string[]) => {
      const seen: number[] = [];
      for (const price of prices) seen.push((await spend(key, price)).status);
      return seen;
    };
    expect(await statuses("3", "2", "1", "1")).toEqual([200, 403, 200, 403]);
    const entries = await payer.envelope.entries();
    expect(entries.map(({ kind, spender }) => [kind, spender])).toEqual([
      ["usage", id],
      ["usage", id],
    ]);
    await payer.envelope.refund({ seq: 1 }, { key: "back" });
    expect(await statuses("4", "3")).toEqual([403, 200]);
    expect((await list(bearer(payer.token))).keys).toMatchObject([
      { spent_micros: 70_000, refunded_micros: 30_000, charges: 3, remaining_micros: 0 },
    ]);
  });
});

const DAY = 24 * 3_600_000;

interface Limits {
  /** In cents; the key's own in main units. */
  readonly balance: number;
  readonly cap: string;
  readonly own: number;
  readonly day: string;
  readonly ever: string;
}

const AMPLE: Limits = { balance: 900, cap: "9", own: 9, day: "900", ever: "900" };

describe("what @suluk/credits' keySpend says", () => {
  it("5. a charge of 40 with a key is what that key spent, and another spent nothing", async () => {
    const payer = await site.payer(100);
    const [one, other] = [await mint(payer), await mint(payer)];
    expect((await spend(one.key, "40")).status).toBe(200);
    const spent = (await list(bearer(payer.token))).keys.map((key) => [key.id, key["spent_micros"]]);
    expect(spent).toEqual([
      [other.id, 0],
      [one.id, 400_000],
    ]);
  });

  it("9. a charge that is asked for twice under one key counts once", async () => {
    const payer = await site.payer(100);
    const { key, id } = await mint(payer);
    for (let asked = 0; asked < 2; asked++) {
      expect((await spend(key, "25", "/x", { headers: { "Idempotency-Key": "call-1" } })).status).toBe(200);
    }
    expect((await list(bearer(payer.token))).keys).toMatchObject([{ id, spent_micros: 250_000, charges: 1 }]);
  });

  it("its cap is checked where the money is taken: two at once cannot both fit", async () => {
    const payer = await site.payer(100);
    const { key } = await mint(payer, { capacity: "0.40" });
    const both = await Promise.all([spend(key, "30"), spend(key, "30")]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 403]);
  });
});

describe("/me with a key", () => {
  it("tells the balance and what the key itself may spend, and nothing of the holder's other business", async () => {
    const payer = await site.payer(50);
    const { key, id } = await mint(payer, { capacity: "0.20" });
    await mint(payer, { name: "another" });
    const response = await site.fetch("/me", { headers: bearer(key) });
    const me = await response.json<Me & { spender: Key }>();
    expect(me).toMatchObject({ balance: 50, registered: true, spender: { id, remaining: "0.2" } });
    expect(JSON.stringify(me)).not.toContain("another");
    expect(response.headers.getSetCookie()).toEqual([]);
    expect(await payer.me()).not.toHaveProperty("spender");
  });
});

describe("keys that a key makes", () => {
  it("T63 give no scope, capacity or time that it has not itself", async () => {
    const payer = await site.payer(50);
    const limits = { scopes: ["spend", "keys"], capacity: "0.10", expiresAt: "2098-01-01T00:00:00Z" };
    const { key } = await mint(payer, limits);
    const attempt = async (body: unknown) => (await post(bearer(key), body)).status;
    expect(await attempt({ scopes: ["spend", "read"] })).toBe(403);
    expect(await attempt({ scopes: ["spend"], capacity: "0.11" })).toBe(403);
    expect(await attempt({ scopes: ["spend"], expiresAt: "2099-01-01T00:00:00Z" })).toBe(403);
    expect(await attempt({ scopes: ["spend"], capacity: "0.10", expiresAt: "2098-01-01T00:00:00Z" })).toBe(201);
    expect(await attempt({ scopes: ["spend"] })).toBe(201);
  });

  it("T63 spend within its limits, all together, and end with it", async () => {
    const payer = await site.payer(50);
    const maker = await mint(payer, { scopes: ["spend", "keys"], capacity: "0.10" });
    const made = await Promise.all(
      Array.from({ length: 3 }, async () =>
        (await post(bearer(maker.key), { scopes: ["spend"], capacity: "0.08" })).json<Key>(),
      ),
    );
    const [one, other, third] = made as [Key, Key, Key];
    expect((await spend(one.key, "6")).status).toBe(200);
    expect((await spend(other.key, "5")).status).toBe(403);
    expect((await spend(other.key, "4")).status).toBe(200);
    expect((await spend(maker.key, "1")).status).toBe(403);
    const shown = await list(bearer(payer.token));
    const spent = Object.fromEntries(shown.keys.map((key) => [key.id, [key["spent_micros"], key["remaining_micros"]]]));
    expect(spent).toEqual({ [maker.id]: [0, 0], [one.id]: [60_000, 0], [other.id]: [40_000, 0], [third.id]: [0, 0] });
    await revoke(bearer(payer.token), maker.id);
    for (const { key } of made) expect((await spend(key)).status).toBe(401);
    expect((await list(bearer(payer.token))).keys.map(({ status }) => status)).toEqual(Array(4).fill("revoked"));
  });

  it("T63 are all that it lists and ends: the others are not there for it", async () => {
    const payer = await site.payer(50);
    const maker = await mint(payer, { scopes: ["keys"] });
    const other = await mint(payer);
    const made = await (await post(bearer(maker.key), { scopes: ["keys"] })).json<Key>();
    const below = await (await post(bearer(made.key), { scopes: ["keys"] })).json<Key>();
    const ids = async (key: string) => (await list(bearer(key))).keys.map(({ id }) => id);
    expect(await ids(maker.key)).toEqual([below.id, made.id, maker.id]);
    expect(await ids(made.key)).toEqual([below.id, made.id]);
    expect((await revoke(bearer(maker.key), other.id)).status).toBe(404);
    expect((await revoke(bearer(made.key), maker.id)).status).toBe(404);
    expect((await revoke(bearer(maker.key), below.id)).status).toBe(200);
    // A line of keys has an end.
    const deep = await (await post(bearer(made.key), { scopes: ["keys"] })).json<Key>();
    const deepest = await (await post(bearer(deep.key), { scopes: ["keys"] })).json<Key>();
    expect((await post(bearer(deepest.key), { scopes: ["keys"] })).status).toBe(403);
  });
});

describe("how many keys there can be", () => {
  it("T63 a key that made as many as there can be keeps nobody from making one, once it is revoked", async () => {
    const payer = await site.payer(50);
    const maker = await mint(payer, { scopes: ["keys"] });
    const { newKeyToken } = await import("../../../src/identity/token.js");
    const { keyCredentialOf, readKeyToken } = await import("../../../src/identity/token.js");
    const { keysOf } = await import("../../../src/settings.js");
    const credential = readKeyToken(keysOf(env).token, maker.key);
    if (credential === undefined) throw new Error("The key is not genuine");
    const fill = Array.from({ length: 999 }, (_, at) => {
      const { api_key: id, hash } = keyCredentialOf(newKeyToken(payer.id));
      return env.ENVELOPE.getByName(payer.id).mintKey({
        ...{ id, hash, last4: "last", currency: "usd", key: `fill-${at}`, by: { actor: "test", reason: null } },
        ...{ name: null, scopes: ["keys"], cap_micros: null, windows: [], expires_at_ms: null },
        credential: keyCredentialOf(credential),
      });
    });
    expect((await Promise.all(fill)).filter(({ outcome }) => outcome === "minted")).toHaveLength(999);
    expect((await post(bearer(payer.token), {})).status).toBe(400);
    const [newest] = (await list(bearer(payer.token), "?limit=1")).keys;
    await revoke(bearer(payer.token), String(newest?.id));
    expect((await post(bearer(payer.token), {})).status).toBe(201);
    expect((await post(bearer(payer.token), {})).status).toBe(400);
    await revoke(bearer(payer.token), maker.id);
    for (let made = 0; made < 3; made++) expect((await post(bearer(payer.token), {})).status).toBe(201);
  }, 60_000);
});

describe("POST /keys", () => {
  it("makes one key per Idempotency-Key: what was shown is not kept", async () => {
    const payer = await site.payer(50);
    const once = { ...bearer(payer.token), "Idempotency-Key": "make-1" };
    expect((await post(once, {})).status).toBe(201);
    const again = await post(once, {});
    expect([again.status, (await refusalOf(again)).problem]).toEqual([409, "shown-once"]);
    const many = await Promise.all(
      Array.from({ length: 20 }, () => post({ ...once, "Idempotency-Key": "make-2" }, {})),
    );
    expect(many.map(({ status }) => status).sort()).toEqual([201, ...Array(19).fill(409)]);
    expect((await list(bearer(payer.token))).keys).toHaveLength(2);
  });

  const WRONG: readonly (readonly [name: string, body: unknown])[] = [
    ["a list", []],
    ["a member that is not known", { capcity: 5 }],
    ["no scopes", { scopes: [] }],
    ["an unknown scope", { scopes: ["spend", "all"] }],
    ["a scope twice", { scopes: ["spend", "spend"] }],
    ["scopes as a text", { scopes: "spend" }],
    ["a negative capacity", { capacity: -1 }],
    ["a capacity below a micro", { capacity: "0.0000001" }],
    ["a capacity that is no number", { capacity: {} }],
    ["a time without its zone", { expiresAt: "2099-01-01T00:00:00" }],
    ["a time that is past", { expiresAt: "2020-01-01T00:00:00Z" }],
    ["a time that is none", { expiresAt: "2099-13-01T00:00:00Z" }],
    ["a name that is none", { name: "" }],
    ["a name that is long", { name: "x".repeat(101) }],
    ["windows that are no list", { windows: {} }],
    ["a rolling window", { windows: [{ timeWindow: "DAILY", capacity: 1, rolling: true }] }],
    ["a window of no unit", { windows: [{ timeWindow: "YEARLY", capacity: 1 }] }],
    ["a window in no zone", { windows: [{ timeWindow: "DAILY", capacity: 1, timeZone: "Mars/Olympus" }] }],
    ["a window with a member that is not known", { windows: [{ timeWindow: "DAILY", capacity: 1, limit: 2 }] }],
    ["five windows", { windows: Array(5).fill({ timeWindow: "DAILY", capacity: 1 }) }],
    ["an envelope that is no text", { envelopeId: 7 }],
  ];
  it("takes nothing half: what is wrong is named, and no key is made", async () => {
    const payer = await site.payer(50);
    for (const [name, body] of WRONG) {
      const response = await post(bearer(payer.token), body);
      expect([name, response.status, response.headers.get("Content-Type")]).toEqual([
        name,
        400,
        "application/problem+json",
      ]);
    }
    expect((await post({ ...bearer(payer.token), "Idempotency-Key": "" }, {})).status).toBe(400);
    expect((await post({ ...bearer(payer.token), "Content-Type": "text/plain" }, {})).status).toBe(400);
    expect((await list(bearer(payer.token))).keys).toEqual([]);
  });

  it("says that a window may roll for an envelope, and not for a key", async () => {
    const payer = await site.payer(50);
    const body = { windows: [{ timeWindow: "DAILY", capacity: 1, rolling: true }] };
    expect((await refusalOf(await post(bearer(payer.token), body)))["detail"]).toContain("an envelope's may roll");
  });

  it("T57 makes no object for who never paid, and none for who brings nothing", async () => {
    const newcomer = await site.newcomer();
    await evictAllDurableObjects();
    const before = (await listDurableObjectIds(env.ENVELOPE)).length;
    expect((await post({}, {})).status).toBe(401);
    expect((await post(bearer("we_k1_junk"), {})).status).toBe(401);
    expect(await listDurableObjectIds(env.ENVELOPE)).toHaveLength(before);
    const response = await post(bearer(newcomer.token), {});
    expect([response.status, (await refusalOf(response)).problem]).toEqual([409, "unfunded"]);
    const tables = await runInDurableObject(env.ENVELOPE.getByName(newcomer.id), (_: Envelope, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });

  it("T67 with a cookie or the app's own login has to come from this site's own pages; with a token it need not", async () => {
    const payer = await site.payer(50);
    const cookie = { Cookie: `__Host-we=${payer.token}` };
    const evil = { "Sec-Fetch-Site": "cross-site" };
    expect((await post({ ...cookie, ...evil }, {})).status).toBe(403);
    expect((await post({ ...cookie, Origin: "https://evil.test" }, {})).status).toBe(403);
    expect((await post({ ...cookie, "Sec-Fetch-Site": "same-origin" }, {})).status).toBe(201);
    expect((await post({ ...bearer(payer.token), ...evil }, {})).status).toBe(201);
    const id = (await list(cookie)).keys[0]?.id ?? "";
    expect((await revoke({ ...cookie, ...evil }, id)).status).toBe(403);
    expect((await revoke({ ...cookie, "Sec-Fetch-Site": "same-origin" }, id)).status).toBe(200);
    const login = siteOf({}, { identify: (request: Request) => request.headers.get("X-User") });
    const user = { "X-User": "keys-user" };
    expect((await post({ ...user, ...evil }, {}, login)).status).toBe(403);
    expect((await post(user, {}, login)).status).toBe(409);
  });

  it("is nobody's who was let in by a payment, or by a key that may not", async () => {
    const payer = await site.payer(50);
    await expect(
      env.ENVELOPE.getByName(payer.id).spenders({ before: null, limit: 1, credential: { key_id: "x", hash: "y" } }),
    ).resolves.toMatchObject({ outcome: "forbidden" });
    const { key } = await mint(payer);
    expect((await post(bearer(key), {})).status).toBe(403);
  });
});

describe("the owner", () => {
  it("manages the keys of any envelope, by its id or reference", async () => {
    const payer = await site.payer(50);
    const made = await post(owner(), { envelopeId: payer.reference, name: "by the owner" });
    expect(made.status).toBe(201);
    const { key, id } = await made.json<Key>();
    expect((await spend(key)).status).toBe(200);
    expect((await list(owner(), `?envelopeId=${payer.id}`)).keys).toMatchObject([{ id, name: "by the owner" }]);
    expect(
      (await revoke({ ...basic(ADMIN), "CF-Connecting-IP": newAddress() }, id, `?envelopeId=${payer.id}`)).status,
    ).toBe(200);
    expect((await spend(key)).status).toBe(401);
  });

  it("has to say whose, and has to be the owner", async () => {
    const payer = await site.payer(50);
    expect((await post(owner(), {})).status).toBe(400);
    expect((await post(owner(), { envelopeId: "nobody" })).status).toBe(404);
    const stranger = { ...bearer("no-owners-secret-0123456789-abcdefghi"), "CF-Connecting-IP": newAddress() };
    expect((await post(stranger, { envelopeId: payer.id })).status).toBe(401);
    expect((await post({ "CF-Connecting-IP": newAddress() }, { envelopeId: payer.id })).status).toBe(401);
    const look = { ...basic(ADMIN, "admin-readonly"), "CF-Connecting-IP": newAddress() };
    expect((await post(look, { envelopeId: payer.id })).status).toBe(403);
    expect((await site.fetch(`/keys?envelopeId=${payer.id}`, { headers: look })).status).toBe(200);
  });

  it("T79 is not who holds another envelope, and a holder's token is no wrong try at the owner's door", async () => {
    const [payer, other] = [await site.payer(50), await site.payer(50)];
    const address = newAddress();
    for (let tried = 0; tried < 15; tried++) {
      const asking = { ...bearer(payer.token), "CF-Connecting-IP": address };
      expect((await post(asking, { envelopeId: other.id })).status).toBe(403);
    }
    expect((await post({ ...bearer(ADMIN), "CF-Connecting-IP": address }, { envelopeId: other.id })).status).toBe(201);
    expect((await list(bearer(other.token))).keys).toHaveLength(1);
  });

  it("finds each key that was made or ended in the audit, by whom, and no name or secret in it", async () => {
    const payer = await site.payer(50);
    const made = await mint(payer, { name: "Jane Doe", scopes: ["keys", "spend"], capacity: 1 });
    const below = await (await post(bearer(made.key), { scopes: ["spend"] })).json<Key>();
    await (await post(owner(), { envelopeId: payer.id })).json<Key>();
    await revoke(bearer(made.key), below.id);
    await revoke(bearer(payer.token), made.id);
    await revoke(bearer(payer.token), made.id);
    const { audit } = await (await site.fetch(`/db/api/envelopes/${payer.id}/audit`, { headers: owner() })).json<{
      audit: Parameters<typeof verifyAudit>[0];
    }>();
    const lines = [...audit].reverse();
    expect(lines.map(({ actor, action }) => [actor, action])).toEqual([
      ["holder", "mint-key"],
      [`key:${made.id}`, "mint-key"],
      ["owner", "mint-key"],
      [`key:${made.id}`, "revoke-key"],
      ["holder", "revoke-key"],
    ]);
    expect(JSON.parse(lines[0]?.after ?? "")).toMatchObject({
      id: made.id,
      scopes: ["spend", "keys"],
      cap_micros: 1_000_000,
    });
    expect(verifyAudit(lines)).toBeNull();
    for (const secret of ["Jane", made.key.slice(36), below.key.slice(36)]) {
      expect(JSON.stringify(lines)).not.toContain(secret);
    }
  });
});

describe("the paths", () => {
  it("pages through many keys by cursor, newest first, each once", async () => {
    const payer = await site.payer(50);
    const made: string[] = [];
    for (let i = 0; i < 7; i++) made.unshift((await mint(payer)).id);
    const found: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: Keys = await list(bearer(payer.token), `?limit=3${cursor === "" ? "" : `&cursor=${cursor}`}`);
      found.push(...page.keys.map(({ id }) => id));
      cursor = page.next;
    }
    expect(found).toEqual(made);
    expect((await site.fetch("/keys?cursor=x", { headers: bearer(payer.token) })).status).toBe(400);
    expect((await site.fetch("/keys?limit=0", { headers: bearer(payer.token) })).status).toBe(400);
  });

  it("are the app's where they are not ours, and all of them where they are off", async () => {
    const payer = await site.payer(50);
    expect((await site.fetch("/keys", { method: "PUT", headers: bearer(payer.token) })).status).toBe(405);
    for (const path of ["/keys/", "/keys/settings", "/keys/a/b", "/keyss"]) {
      expect([path, await (await site.fetch(path)).text()]).toEqual([path, "paid content"]);
    }
    const off = siteOf({}, { paths: { keys: false } });
    expect(await (await off.fetch("/keys", { headers: bearer(payer.token) })).text()).toBe("paid content");
    const moved = siteOf({}, { paths: { keys: "/billing/keys" } });
    expect((await moved.fetch("/billing/keys", { headers: bearer(payer.token) })).status).toBe(200);
    expect(await (await moved.fetch("/keys")).text()).toBe("paid content");
  });

  it("without an owner's secret are the holder's alone", async () => {
    const payer = await site.payer(50);
    const closed = new Site();
    expect((await post(bearer(payer.token), {}, closed)).status).toBe(201);
    expect((await post(bearer(ADMIN), { envelopeId: payer.id }, closed)).status).toBe(401);
  });
});

describe("what is no key", () => {
  it("T65 T66 a key in a cookie, in the URL, or beside another one opens nothing", async () => {
    const payer = await site.payer(50);
    const { key } = await mint(payer);
    const cookie = await site.fetch("/x?price=1", {
      headers: { Cookie: `__Host-we=${key}; __Host-we_limited=${key}` },
    });
    expect([cookie.status, tokenOf(cookie).startsWith("we_s1_")]).toEqual([402, true]);
    expect((await site.fetch(`/x?price=1&key=${key}&access_token=${key}`)).status).toBe(402);
    expect(
      (await site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${key}, Bearer ${key}` } })).status,
    ).toBe(401);
    expect((await site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${key.toUpperCase()}` } })).status).toBe(
      401,
    );
    expect((await site.fetch("/x?price=1", { headers: { Authorization: `bEaReR   ${key}` } })).status).toBe(200);
    expect((await payer.me()).balance).toBe(49);
  });

  it("T66 a bad key is 401 and does not fall back to the cookie", async () => {
    const payer = await site.payer(50);
    const headers = { Authorization: "Bearer we_k1_junk", Cookie: `__Host-we=${payer.token}` };
    expect((await site.fetch("/x?price=1", { headers })).status).toBe(401);
    expect((await payer.me()).balance).toBe(50);
  });

  it("T49 a genuine check on a key that the envelope never issued opens nothing: a leaked root secret forges none", async () => {
    const payer = await site.payer(50);
    await mint(payer);
    const { newKeyToken, writeKeyToken } = await import("../../../src/identity/token.js");
    const { keysOf } = await import("../../../src/settings.js");
    const forged = writeKeyToken(keysOf(env).token, newKeyToken(payer.id));
    expect((await spend(forged)).status).toBe(401);
    const { id } = await mint(payer);
    const sameId = writeKeyToken(keysOf(env).token, { ...newKeyToken(payer.id), keyId: id });
    expect((await spend(sameId)).status).toBe(401);
  });

  it("T57 random keys create no object", async () => {
    await evictAllDurableObjects();
    const before = (await listDurableObjectIds(env.ENVELOPE)).length;
    const cases = Number((env as unknown as { CASES?: string }).CASES || 2_000);
    const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let refused = 0;
    for (let i = 0; i < cases; i++) {
      const bytes = crypto.getRandomValues(new Uint8Array(68));
      const key = `we_k1_${[...bytes].map((byte) => alphabet[byte % 62]).join("")}`;
      const { status } = i % 4 === 0 ? await site.fetch("/keys", { headers: bearer(key) }) : await spend(key);
      if (status === 401) refused += 1;
    }
    expect(refused).toBe(cases);
    expect(await listDurableObjectIds(env.ENVELOPE)).toHaveLength(before);
  }, 3_600_000);
});
