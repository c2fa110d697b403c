/** The control plane on the real objects: every operation, every status it names, and what must never happen at its edges. */
import { afterAll, describe, expect, expectTypeOf, it, vi } from "vitest";
import { controlPlane, type Input } from "../../../src/admin/control/client.js";
import { OPERATIONS } from "../../../src/admin/control/operations.js";
import { verifyAudit } from "../../../src/index.js";
import { nextId } from "../support.js";
import { answered, ok, ownersServer, SECRET } from "./support.js";

const site = ownersServer({ maxPrice: "100000000" });
const { control } = site;

const budget = async (over: Partial<Input<"createEnvelope">["body"]> = {}) =>
  ok(await control.createEnvelope({ body: { name: "Team", timeWindow: "MONTHLY", capacity: 10, ...over } }));

async function authorized(id: string, over: object = {}): Promise<string> {
  const value = nextId("user");
  ok(await control.authorize({ id, body: { type: "USERNAME", value, ...over } }));
  return value;
}

const usage = (identity: string, amount: string | number, metadata?: Record<string, unknown>) =>
  control.use({ body: { amount, identity, identityType: "USERNAME", ...(metadata && { metadata }) } });

describe("an envelope", () => {
  it("is a budget where it has a window, and prepaid where it has none", async () => {
    const team = await budget({ ownerAccountId: "acct-1", timeZone: "Europe/Berlin" });
    expect(team).toMatchObject({
      name: "Team",
      prepaid: false,
      state: "active",
      capacity: "10",
      capacity_micros: 10_000_000,
    });
    expect(team.windows).toMatchObject([
      { timeWindow: "MONTHLY", timeZone: "Europe/Berlin", spent: "0", remaining: "10" },
    ]);
    const wallet = ok(await control.createEnvelope({ body: { name: "Wallet" } }));
    expect(wallet).toMatchObject({ prepaid: true, windows: [], capacity: null });
    const both = ok(
      await control.createEnvelope({ body: { name: "Both", prepaid: true, timeWindow: "DAILY", capacity: "0.5" } }),
    );
    expect(both).toMatchObject({ prepaid: true, capacity: "0.5" });
    expect(ok(await control.showEnvelope({ id: team.id }))).toEqual(team);
  });

  it("is made once per key; the key for another is a 422", async () => {
    const idempotencyKey = nextId("create");
    const body = { name: "Once", timeWindow: "DAILY", capacity: 1 } as const;
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => control.createEnvelope({ body, idempotencyKey })),
    );
    expect(new Set(answers.map((answer) => ok(answer).id)).size).toBe(1);
    expect(await control.createEnvelope({ body: { ...body, capacity: 2 }, idempotencyKey })).toMatchObject({
      ok: false,
      status: 422,
    });
    const [first] = answers;
    expect(first && ok(first)).toMatchObject({ capacity: "1" });
  });

  it("has windows of every kind, and other ones later, with an audit line for each change", async () => {
    const windows = (["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL", "ONCE"] as const).map((timeWindow) => ({
      timeWindow,
      capacity: 5,
    }));
    const { id } = ok(await control.createEnvelope({ body: { name: "All", windows } }));
    expect(ok(await control.showStatus({ id })).windows).toHaveLength(6);
    const rolling = [{ timeWindow: "HOURLY", capacity: 1, every: 2, rolling: true }] as const;
    const changed = ok(await control.setWindows({ id, body: { windows: rolling, reason: "less" } }));
    expect(changed.windows).toMatchObject([{ timeWindow: "HOURLY", every: 2, alignment: "rolling" }]);
    const { audit } = ok(await control.listAudit({ id }));
    expect(audit.map(({ reason }) => reason)).toEqual(["less", "created"]);
    const lines = audit.map(({ id: audit_id, at, ...line }) => ({ audit_id, ...line })).reverse();
    expect(verifyAudit(lines)).toBeNull();
    expect(verifyAudit(lines.map((line) => ({ ...line, actor: "nobody" })))).toBe(1);
  });

  it("is listed, page by page, although nothing was ever charged", async () => {
    const made = [await budget(), await budget(), await budget()].map(({ id }) => id);
    const listed: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = ok(await control.listEnvelopes({ cursor, limit: 2 }));
      expect(page.envelopes.length).toBeLessThanOrEqual(2);
      listed.push(...page.envelopes.map(({ id }) => id));
      cursor = page.next;
    }
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed).toEqual(expect.arrayContaining(made));
  });

  it("takes nothing that is malformed, and says where", async () => {
    const bad: readonly (readonly [object, string])[] = [
      [{}, "schema"],
      [{ name: "x", timeWindow: "FORTNIGHTLY", capacity: 1 }, "timeWindow"],
      [{ name: "x", timeWindow: "DAILY" }, "capacity"],
      [{ name: "x", timeWindow: "DAILY", capacity: -1 }, "capacity"],
      [{ name: "x", timeWindow: "DAILY", capacity: "1e3" }, "capacity"],
      [{ name: "x", timeWindow: "DAILY", capacity: 1.0000001 }, "capacity"],
      [{ name: "x", capacity: 1 }, "timeWindow"],
      [{ name: "x".repeat(129) }, "name"],
      [{ name: "x", colour: "red" }, "schema"],
      [{ name: "x", windows: Array.from({ length: 9 }, () => ({ timeWindow: "DAILY", capacity: 1 })) }, "windows"],
    ];
    for (const [body, where] of bad) {
      const answer = await control.createEnvelope({ body: body as never });
      expect([body, answer]).toMatchObject([body, { ok: false, status: 400 }]);
      if (!answer.ok) expect(answer.problem.detail).toContain(where);
    }
    for (const body of [
      { name: "x", currency: "eur" },
      { name: "x", timeWindow: "DAILY", capacity: 1, timeZone: "Mars/Olympus" },
    ] as const) {
      expect(await control.createEnvelope({ body })).toMatchObject({ ok: false, status: 422 });
    }
  });
});

describe("usage", () => {
  it("drains the budget, once per requestId, and is blocked when it is empty; all of it is on record", async () => {
    const { id } = await budget();
    const user = await authorized(id);
    expect(ok(await usage(user, 4, { requestId: "r-1", endpoint: "/v1/chat" }))).toMatchObject({
      status: "SUCCESS",
      replayed: false,
      envelopeId: id,
      amount: "4",
      remaining: "6",
    });
    expect(ok(await usage(user, 4, { requestId: "r-1", endpoint: "/v1/chat" }))).toMatchObject({
      replayed: true,
      remaining: "6",
    });
    expect(await usage(user, 5, { requestId: "r-1" })).toMatchObject({
      ok: false,
      status: 422,
      problem: { usage: { status: "ERROR" } },
    });
    expect(await usage(user, 7, { requestId: "r-2" })).toMatchObject({
      ok: false,
      status: 402,
      problem: {
        limit: "window",
        canTopUp: false,
        resetsAt: expect.any(String),
        usage: { status: "BLOCKED", remaining: "6", amount: "7" },
      },
    });
    // A refusal does not use the key up.
    expect(ok(await usage(user, 6, { requestId: "r-2" }))).toMatchObject({ remaining: "0" });

    const records: { readonly status: string; readonly requestId: string | null; readonly detail: string | null }[] =
      [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = ok(await control.listUsage({ id, cursor, limit: 1 }));
      records.push(...page.usage);
      cursor = page.next;
    }
    expect(records.map(({ status, requestId, detail }) => [status, requestId, detail]).sort()).toEqual([
      ["BLOCKED", "r-2", "window"],
      ["ERROR", "r-1", "conflict: price"],
      ["SUCCESS", "r-1", null],
      ["SUCCESS", "r-2", null],
    ]);
    expect(ok(await control.showStatus({ id }))).toMatchObject({ spent: "10", remaining: "0", prepaid: false });
    const { entries } = ok(await control.listEntries({ id }));
    expect(entries.map(({ kind, amount, reason }) => [kind, amount, reason])).toEqual([
      ["usage", "-6", "usage"],
      ["usage", "-4", "/v1/chat"],
    ]);
  });

  it("of a thousand at once, exactly as many succeed as the tightest limit admits, and the refusal names it", async () => {
    const { id } = await budget({ capacity: "0.7", windows: [{ timeWindow: "HOURLY", capacity: "0.6" }] });
    const capped = await authorized(id, { capacity: "0.5" });
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => usage(capped, "0.001")));
    expect(answers.filter(({ ok: fine }) => fine)).toHaveLength(500);
    const refused = answers.filter((answer) => !answer.ok);
    expect(
      new Set(refused.map((answer) => (answer.ok ? "" : `${answer.problem.limit} ${answer.problem.canTopUp}`))),
    ).toEqual(new Set(["key false"]));
    const free = await authorized(id);
    const more = await Promise.all(Array.from({ length: 200 }, () => usage(free, "0.001")));
    expect(more.filter(({ ok: fine }) => fine)).toHaveLength(100);
    const [one] = more.filter((answer) => !answer.ok);
    expect(one).toMatchObject({ status: 402, problem: { limit: "window", canTopUp: false } });
    const status = ok(await control.showStatus({ id }));
    if (one !== undefined && !one.ok) expect(one.problem.resetsAt).toBe(status.windows[1]?.resetsAt);
  }, 120_000);

  it("of an identity that nobody authorised, or that was revoked, is refused, and nothing is charged", async () => {
    const { id } = await budget();
    expect(await usage(nextId("nobody"), 1)).toMatchObject({ ok: false, status: 404 });
    const user = await authorized(id);
    ok(await usage(user, 1));
    const { identities } = ok(await control.listIdentities({ id }));
    expect(identities).toMatchObject([{ type: "USERNAME", status: "active", spent: "1" }]);
    expect(JSON.stringify(identities)).not.toContain(user);
    const identityId = identities[0]?.id ?? "";
    expect(ok(await control.revokeIdentity({ id, identityId }))).toMatchObject({ status: "revoked" });
    expect(ok(await control.revokeIdentity({ id, identityId }))).toMatchObject({ status: "revoked" });
    expect(await usage(user, 1)).toMatchObject({ ok: false, status: 404 });
    expect(ok(await control.showStatus({ id }))).toMatchObject({ spent: "1" });
    // And may then be another envelope's.
    const other = await budget();
    ok(await control.authorize({ id: other.id, body: { type: "USERNAME", value: user } }));
    expect(ok(await usage(user, 2))).toMatchObject({ envelopeId: other.id, remaining: "8" });
  });

  it("of an identity that expired goes where it was authorised since, although its old place is remembered", async () => {
    const [one, other, value] = [await budget(), await budget(), nextId("user")];
    const now = Date.now();
    const expiresAt = new Date(now + 30_000).toISOString();
    ok(await control.authorize({ id: one.id, body: { type: "USERNAME", value, expiresAt } }));
    ok(await usage(value, 1));
    vi.useFakeTimers({ toFake: ["Date"], now: now + 30_000 });
    try {
      expect(await usage(value, 1)).toMatchObject({ status: 403, problem: { limit: "key", canTopUp: false } });
      // Remembered once more, and then another's: as an isolate has it that was not told.
      expect(await usage(value, 1)).toMatchObject({ status: 403 });
      ok(await control.authorize({ id: other.id, body: { type: "USERNAME", value } }));
      expect(ok(await usage(value, 2))).toMatchObject({ envelopeId: other.id, remaining: "8" });
    } finally {
      vi.useRealTimers();
    }
  });

  it("of one identity is one envelope's, under any race", async () => {
    const envelopes = await Promise.all(Array.from({ length: 10 }, () => budget()));
    const value = nextId("contested");
    const answers = await Promise.all(
      envelopes.map(({ id }) => control.authorize({ id, body: { type: "USERNAME", value } })),
    );
    expect(answers.filter(({ ok: won }) => won)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(9);
  });

  it("takes nothing that is malformed", async () => {
    const { id } = await budget();
    const user = await authorized(id);
    for (const amount of [-1, "1e3", "abc", "", "0x10", 1e-7, "1.0000001"]) {
      expect([amount, (await usage(user, amount)).status]).toEqual([amount, 400]);
    }
    expect(await usage(user, 1, { requestId: "with space" })).toMatchObject({ status: 400 });
    expect(await usage(user, 1, { blob: "x".repeat(5_000) })).toMatchObject({ status: 400 });
    expect(await usage(user, "99999999")).toMatchObject({ status: 422 });
    const body = { amount: 1, identity: user, identityType: "USERNAME", metadata: { requestId: "a" } } as const;
    expect(await control.use({ body, idempotencyKey: "b" })).toMatchObject({ status: 400 });
    expect(ok(await usage(user, 0))).toMatchObject({ status: "SUCCESS", amount: "0", id: null });
    expect(ok(await control.showStatus({ id }))).toMatchObject({ spent: "0" });
  });
});

describe("money", () => {
  it("is given and given back once per key, with a reason, into the window it was spent in", async () => {
    const { id } = await budget();
    const user = await authorized(id);
    ok(await usage(user, 4, { requestId: "paid" }));
    const refund = { id, body: { key: "paid", amount: 1, reason: "half of it failed" }, idempotencyKey: "back" };
    expect(ok(await control.refund(refund))).toMatchObject({ outcome: "refunded" });
    expect(ok(await control.refund(refund))).toMatchObject({ outcome: "replayed" });
    expect(ok(await control.showStatus({ id }))).toMatchObject({ spent: "3", remaining: "7" });
    expect(
      await control.refund({ ...refund, idempotencyKey: "more", body: { ...refund.body, amount: 4 } }),
    ).toMatchObject({ status: 422 });
    expect(await control.refund({ ...refund, idempotencyKey: "none", body: { reason: "x" } })).toMatchObject({
      status: 400,
    });
    const wallet = ok(await control.createEnvelope({ body: { name: "Wallet" } }));
    const grant = { id: wallet.id, body: { amount: "12.5", reason: "welcome" }, idempotencyKey: "g" };
    expect(ok(await control.grant(grant))).toMatchObject({ outcome: "granted", balance: "12.5" });
    expect(ok(await control.grant(grant))).toMatchObject({ outcome: "replayed", balance: "12.5" });
    expect(await control.grant({ ...grant, body: { ...grant.body, amount: 1 } })).toMatchObject({ status: 422 });
    expect(await control.grant({ ...grant, body: { ...grant.body, reason: "sk_live_0123456789" } })).toMatchObject({
      status: 400,
    });
  });

  it("needs an Idempotency-Key, and a reason", async () => {
    const { id } = await budget();
    const headers = { Authorization: `Bearer ${SECRET}`, "Content-Type": "application/json" };
    const post = (path: string, body: object) =>
      site.fetch(`/envelopes/${id}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    expect((await post("/grants", { amount: 1, reason: "x" })).status).toBe(400);
    expect((await post("/refunds", { seq: 1, reason: "x" })).status).toBe(400);
    expect((await post("/freeze", {})).status).toBe(400);
  });

  it("stops while an envelope is frozen, and says that paying would not help", async () => {
    const { id } = await budget();
    const user = await authorized(id);
    expect(ok(await control.freeze({ id, body: { reason: "looked odd" } }))).toMatchObject({ state: "frozen" });
    expect(await usage(user, 1)).toMatchObject({ status: 403, problem: { limit: "frozen", canTopUp: false } });
    expect(ok(await control.showEnvelope({ id }))).toMatchObject({ state: "frozen" });
    expect(ok(await control.unfreeze({ id, body: { reason: "was not" } }))).toMatchObject({ state: "active" });
    ok(await usage(user, 1));
  });
});

describe("keys", () => {
  it("are made, listed and revoked by the owner's servers", async () => {
    const { id } = await budget();
    const body = { envelopeId: id, name: "ci", capacity: 3 } as const;
    const minted = ok(await control.createKey({ body, idempotencyKey: nextId("key") }));
    expect(minted.key).toMatch(/^we_k1_/);
    expect(ok(await control.listKeys({ envelopeId: id }))).toMatchObject({
      keys: [{ id: minted.id, name: "ci", status: "active" }],
    });
    ok(await control.revokeKey({ keyId: minted.id, envelopeId: id, idempotencyKey: nextId("revoke") }));
    expect(ok(await control.listKeys({ envelopeId: id }))).toMatchObject({ keys: [{ status: "revoked" }] });
  });
});

describe("the door", () => {
  const paths = ["/envelopes", "/envelopes/openapi.json", "/envelopes/x/status"];

  it("T78 is not there without a secret, and shut without the right one", async () => {
    const closed = new (site.constructor as typeof import("../support.js").Site)();
    for (const path of paths) {
      expect((await closed.fetch(path)).status).toBe(404);
      expect((await site.fetch(path)).status).toBe(401);
      const headers = {
        Authorization: `Basic ${btoa("admin:wrong-secret-0123456789-abcdefghijkl")}`,
        "CF-Connecting-IP": "203.0.113.77",
      };
      expect((await site.fetch(path, { headers })).status).toBe(401);
    }
    expect((await closed.fetch("/usage", { method: "POST" })).status).toBe(404);
  });

  it("T79 a holder's token opens nothing of it", async () => {
    const payer = await site.payer(100);
    expect((await payer.fetch("/envelopes")).status).toBe(401);
    expect((await payer.fetch(`/envelopes/${payer.id}/status`)).status).toBe(401);
  });

  it("T67 takes no change from another site's page, nor from a form", async () => {
    const headers = {
      Authorization: `Bearer ${SECRET}`,
      "Sec-Fetch-Site": "cross-site",
      "Content-Type": "application/json",
    };
    const body = JSON.stringify({ name: "x" });
    expect((await site.fetch("/envelopes", { method: "POST", headers, body })).status).toBe(403);
    const form = { Authorization: `Bearer ${SECRET}`, "Content-Type": "text/plain" };
    expect((await site.fetch("/envelopes", { method: "POST", headers: form, body })).status).toBe(400);
  });

  it("answers a method that a path has not with a 405, and looks only for who may only look", async () => {
    const reader = { Authorization: `Basic ${btoa(`admin-readonly:${SECRET}`)}`, "Content-Type": "application/json" };
    expect((await site.fetch("/envelopes", { headers: reader })).status).toBe(200);
    expect((await site.fetch("/envelopes", { method: "POST", headers: reader, body: '{"name":"x"}' })).status).toBe(
      403,
    );
    const headers = { Authorization: `Bearer ${SECRET}` };
    const { status, headers: told } = await site.fetch("/envelopes", { method: "PUT", headers });
    expect([status, told.get("Allow")]).toEqual([405, "POST, GET"]);
  });

  it("is the app's own where it is switched off", async () => {
    const off = ownersServer({ paths: { envelopes: false, usage: false } });
    expect(await (await off.fetch("/envelopes/x/status")).text()).toBe("paid content");
    expect(await (await off.fetch("/usage")).text()).toBe("paid content");
  });
});

it("the client has a method for each operation, typed by its schemas", () => {
  expect(Object.keys(controlPlane({ url: "https://api.example.com", secret: "s" })).sort()).toEqual(
    Object.keys(OPERATIONS).sort(),
  );
  expectTypeOf<Input<"grant">["idempotencyKey"]>().toEqualTypeOf<string>();
  expectTypeOf<Input<"grant">["id"]>().toEqualTypeOf<string>();
  expectTypeOf<Input<"use">["body"]["amount"]>().toEqualTypeOf<string | number>();
  // @ts-expect-error an operation that is not there
  void control.deleteEverything;
  expect(() => controlPlane({ url: "nowhere", secret: "s" })).toThrow(TypeError);
  expect(() => controlPlane({ url: "https://api.example.com", secret: "" })).toThrow(TypeError);
});

afterAll(() => {
  const without = Object.entries(OPERATIONS).filter(([id, { status }]) => !answered.has(`${id} ${status}`));
  // A top-up asks Stripe, and list of them follows: test/node/control-plane.test.ts.
  expect(without.map(([id]) => id).sort()).toEqual(["listTopUps", "topUp"]);
});
