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

  it("is kept in the deployment's currency, in whichever case that is written", async () => {
    expect(await budget({ currency: "USD" })).toMatchObject({ currency: "usd" });
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

  it("T14 with the key of another request is a conflict, whatever the other one differs in, and nothing is done", async () => {
    const wallet = ok(await control.createEnvelope({ body: { name: "Wallet" } }));
    const { id } = wallet;
    const inAYear = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
    const grant = { amount: 5, reason: "welcome", priority: 10, scope: "GET /x*", expiresAt: inAYear(365) };
    const given = { id, idempotencyKey: "terms" };
    ok(await control.grant({ ...given, body: grant }));
    expect(ok(await control.grant({ ...given, body: grant }))).toMatchObject({ outcome: "replayed" });
    for (const other of [
      { priority: 11 },
      { scope: "GET /y*" },
      { expiresAt: inAYear(366) },
      { reason: "farewell" },
      { amount: 6 },
    ]) {
      const answer = await control.grant({ ...given, body: { ...grant, ...other } });
      expect([other, answer.status]).toEqual([other, 422]);
    }
    const switched = { id, idempotencyKey: "switch" };
    ok(await control.freeze({ ...switched, body: { reason: "looked odd" } }));
    expect(ok(await control.freeze({ ...switched, body: { reason: "looked odd" } }))).toMatchObject({
      state: "frozen",
    });
    ok(await control.unfreeze({ id, body: { reason: "was not" } }));
    expect(await control.freeze({ ...switched, body: { reason: "again" } })).toMatchObject({ status: 422 });
    expect(ok(await control.showEnvelope({ id }))).toMatchObject({ state: "active" });
    const windows = [{ timeWindow: "DAILY", capacity: 2 }] as const;
    const limited = { id, idempotencyKey: "limits" };
    ok(await control.setWindows({ ...limited, body: { windows, reason: "a day" } }));
    ok(await control.setWindows({ ...limited, body: { windows, reason: "a day" } }));
    expect(await control.setWindows({ ...limited, body: { windows, reason: "two" } })).toMatchObject({ status: 422 });

    const user = await authorized(id);
    ok(await control.grant({ id, body: { amount: 2, reason: "to spend" }, idempotencyKey: "spend" }));
    ok(await usage(user, 1, { requestId: "one" }));
    ok(await usage(user, "0.5", { requestId: "two" }));
    const back = { id, idempotencyKey: "back" };
    const refund = { key: "one", amount: "0.5", reason: "failed" };
    ok(await control.refund({ ...back, body: refund }));
    expect(ok(await control.refund({ ...back, body: refund }))).toMatchObject({ outcome: "replayed" });
    for (const other of [{ key: "two" }, { amount: "0.25" }, { amount: undefined }, { reason: "late" }]) {
      expect([other, (await control.refund({ ...back, body: { ...refund, ...other } })).status]).toEqual([other, 422]);
    }
    expect(ok(await control.listEntries({ id })).entries).toHaveLength(5);
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

describe("a card that is charged by itself", () => {
  it("is nobody's until the owner's server says so, and can always be stopped", async () => {
    const { id } = ok(await control.createEnvelope({ body: { name: "Wallet" } }));
    expect(ok(await control.showAutoTopUp({ id }))).toEqual({ autoTopUp: null });
    expect(ok(await control.setAutoTopUp({ id, body: { enabled: false } }))).toEqual({ autoTopUp: null });
    const body = { enabled: true, customer: "cus_1", paymentMethod: "pm_1" };
    expect(await control.setAutoTopUp({ id, body })).toMatchObject({ status: 409 });
    expect(await control.setAutoTopUp({ id, body: { enabled: true } })).toMatchObject({ status: 400 });
  });
});

describe("a key that was made here", () => {
  it("T63 spends where the owner's servers present it, within its own limits, and not once it is revoked", async () => {
    const { id } = await budget();
    const made = ok(await control.createKey({ body: { envelopeId: id, capacity: 3 }, idempotencyKey: nextId("key") }));
    const use = (identity: string, amount: number, requestId: string) =>
      control.use({ body: { amount, identity, identityType: "API_KEY", metadata: { requestId } } });
    expect(ok(await use(made.key, 2, "r-1"))).toMatchObject({ envelopeId: id, remaining: "8" });
    expect(ok(await use(made.key, 2, "r-1"))).toMatchObject({ replayed: true });
    expect(await use(made.key, 2, "r-2")).toMatchObject({ status: 403, problem: { limit: "key", canTopUp: false } });
    const records = ok(await control.listUsage({ id })).usage.map(({ status, identityId }) => [status, identityId]);
    expect(records).toEqual([
      ["BLOCKED", made.id],
      ["SUCCESS", made.id],
    ]);
    expect(JSON.stringify(ok(await control.listUsage({ id })))).not.toContain(made.key.slice(36));
    // It is nobody else's, and what only looks like it is nobody.
    const other = await budget();
    const body = { type: "API_KEY", value: made.key } as const;
    expect(await control.authorize({ id: other.id, body })).toMatchObject({ status: 422 });
    expect(await use(`${made.key.slice(0, -1)}${made.key.endsWith("0") ? "1" : "0"}`, 1, "r-3")).toMatchObject({
      status: 404,
    });
    ok(await control.revokeKey({ keyId: made.id, envelopeId: id, idempotencyKey: nextId("revoke") }));
    expect(await use(made.key, 1, "r-4")).toMatchObject({ status: 404 });
    expect(ok(await control.showStatus({ id }))).toMatchObject({ spent: "2" });
  });
});

describe("an object that cannot be reached", () => {
  it("T21 is a 503 of every operation, as the document has it, with the same key to be sent again", async () => {
    const { id } = await budget();
    const user = await authorized(id);
    const { Envelope, EnvelopeDirectory } = await import("../../../src/index.js");
    const down = () => Promise.reject(new Error("down"));
    for (const method of ["state", "configure", "charge", "spenders", "entries"] as const) {
      vi.spyOn(Envelope.prototype, method).mockImplementation(down);
    }
    vi.spyOn(EnvelopeDirectory.prototype, "envelopes").mockImplementation(down);
    try {
      for (const answer of await Promise.all([
        control.showStatus({ id }),
        control.listEntries({ id }),
        control.listEnvelopes({}),
        control.createEnvelope({ body: { name: "x" }, idempotencyKey: "down" }),
        control.listKeys({ envelopeId: id }),
        usage(user, 1, { requestId: "down" }),
      ])) {
        expect(answer).toMatchObject({ ok: false, status: 503 });
      }
    } finally {
      vi.restoreAllMocks();
    }
    expect(ok(await usage(user, 1, { requestId: "down" }))).toMatchObject({ replayed: false, remaining: "9" });
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

  it("T78 whatever is asked for, and however it is written, is answered by a problem, and never by a failure", async () => {
    const headers = { Authorization: `Bearer ${SECRET}`, "Content-Type": "application/json" };
    const { id } = await budget();
    const asked = [
      ...["/envelopes/%E0%A4%A", "/envelopes/%zz/status", "/envelopes//status", "/envelopes/x"],
      ...[`/envelopes/${id}/nothing`, `/envelopes/${id}/authorize/a/b`, `/envelopes/${id}/entries?cursor=-1`],
      ...[
        `/envelopes/${id}/entries?limit=0`,
        `/envelopes/${id}/usage?cursor=1`,
        "/envelopes?cursor=99.x",
        "/envelopes?limit=1e3",
      ],
      ...[`/envelopes/${"x".repeat(5_000)}/status`, "/envelopes/null/audit", `/envelopes/${id}/topups?cursor=abc`],
    ];
    for (const path of asked) {
      const response = await site.fetch(path, { headers });
      expect([path, response.status, response.headers.get("Content-Type")]).toEqual([
        path,
        expect.toSatisfy((status: number) => status === 400 || status === 404),
        "application/problem+json",
      ]);
    }
    const bodies = [
      "",
      "null",
      "[]",
      '"text"',
      "{",
      '{"a":',
      "\u0000",
      `{"name":"${"x".repeat(70_000)}"}`,
      '{"__proto__":{"name":"x"}}',
    ];
    for (const path of [
      "/envelopes",
      `/envelopes/${id}/authorize`,
      `/envelopes/${id}/windows`,
      "/usage",
      "/stripe/topup",
      "/keys",
    ]) {
      for (const body of bodies) {
        const init = { method: "POST", headers: { ...headers, "Idempotency-Key": nextId("odd") }, body };
        const response = await site.fetch(path, init);
        expect([path, body.slice(0, 20), response.status]).toEqual([path, body.slice(0, 20), 400]);
        expect(response.headers.get("Content-Type")).toBe("application/problem+json");
      }
    }
    for (const key of ["", "with space", "x".repeat(256)]) {
      const init = { method: "POST", headers: { ...headers, "Idempotency-Key": key }, body: '{"name":"x"}' };
      expect([key.slice(0, 12), (await site.fetch("/envelopes", init)).status]).toEqual([key.slice(0, 12), 400]);
    }
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
