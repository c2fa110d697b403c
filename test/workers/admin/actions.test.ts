/** T81: what an owner does to an envelope: signed in, with a reason, once per key, and written down in the same transaction. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { verifyAudit } from "../../../src/audit.js";
import type { AuditLine } from "../../../src/contract.js";
import { Envelope } from "../../../src/index.js";
import { type Caller, nextId, type Problem } from "../support.js";
import { FaultyStripe } from "../topup/faults.js";
import { type Browser, signedIn, siteOf } from "./support.js";

const site = siteOf();
let owner: Browser;
let stripe: FaultyStripe;
beforeEach(async () => {
  owner = await signedIn(site);
  stripe = new FaultyStripe();
  stripe.install();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const reason = "asked for by mail";
const at = (id: string, action: string) => `/db/api/envelopes/${id}/${action}`;
const act = (id: string, action: string, body: object = {}, key = nextId("k")) =>
  owner.post(at(id, action), { reason, ...body }, { "Idempotency-Key": key });
const answer = async <T>(response: Promise<Response>): Promise<[number, T]> => {
  const { status, ...rest } = await response.then(async (one) => ({ status: one.status, body: await one.json<T>() }));
  return [status, rest.body];
};
const auditOf = async (id: string) => (await owner.json<{ audit: AuditLine[] }>(`${at(id, "audit")}?limit=500`)).audit;
const micros = async ({ envelope }: Caller) => (await envelope.state()).balance_micros;

describe("grants", () => {
  it("gives once per key, and says who, why, from what and to what", async () => {
    const payer = await site.payer(5);
    const body = { amount_micros: 70_000 };
    expect(await answer(act(payer.id, "grants", body, "welcome"))).toEqual([
      201,
      { outcome: "granted", seq: 2, balance_micros: 120_000, frozen: false },
    ]);
    expect(await answer(act(payer.id, "grants", body, "welcome"))).toEqual([
      201,
      { outcome: "replayed", seq: 2, balance_micros: 120_000, frozen: false },
    ]);
    expect((await act(payer.id, "grants", { amount_micros: 1 }, "welcome")).status).toBe(422);
    // The same key of a server's is the same grant.
    expect(await payer.envelope.grant("7", { key: "welcome" })).toMatchObject({ outcome: "replayed", seq: 2 });
    const [line, ...older] = await auditOf(payer.id);
    expect(older).toEqual([]);
    expect(line).toMatchObject({ audit_id: 1, actor: "owner", action: "grant", reason });
    expect([JSON.parse(line?.before ?? ""), JSON.parse(line?.after ?? "")]).toEqual([
      { balance_micros: 50_000 },
      { seq: 2, amount_micros: 70_000, balance_micros: 120_000 },
    ]);
    expect(await micros(payer)).toBe(120_000);
  });

  it("opens an envelope for who is named by a genuine reference, and none for a misspelt id", async () => {
    const caller = await site.newcomer();
    expect((await act(caller.id, "grants", { amount_micros: 5 })).status).toBe(404);
    const forged = `${caller.reference.slice(0, -1)}${caller.reference.endsWith("0") ? "1" : "0"}`;
    expect((await act(forged, "grants", { amount_micros: 5 })).status).toBe(404);
    expect((await act(caller.reference, "grants", { amount_micros: 5 })).status).toBe(201);
    expect(await micros(caller)).toBe(5);
  });

  it.each([0, -1, 0.5, "5", null, 2 ** 53, 1e300, [5], undefined])("refuses %j micros", async (amount_micros) => {
    const payer = await site.payer(5);
    expect((await act(payer.id, "grants", { amount_micros })).status).toBe(400);
    expect(await auditOf(payer.id)).toEqual([]);
  });

  it("an entry and its audit line are one: neither is there when the other cannot be", async () => {
    const payer = await site.payer(5);
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) =>
      storage.sql.exec("CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'broken'); END"),
    );
    for (const [action, body] of [
      ["grants", { amount_micros: 5 }],
      ["freeze", {}],
      ["rotate", {}],
    ] as const) {
      expect((await act(payer.id, action, body)).status).toBe(503);
    }
    expect(await micros(payer)).toBe(50_000);
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
  });
});

describe("a reason", () => {
  const strange = [
    "<script>alert(1)</script>",
    "</td><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe",
    "ünïcödé 🙂",
    "a".repeat(256),
  ];
  it.each(strange)("T71 may be any text, and comes back as it was: %s", async (text) => {
    const payer = await site.payer(5);
    expect((await act(payer.id, "grants", { amount_micros: 1, reason: text })).status).toBe(201);
    const raw = await owner.fetch(at(payer.id, "entries"));
    expect([raw.headers.get("Content-Type"), raw.headers.get("X-Content-Type-Options")]).toEqual([
      "application/json",
      "nosniff",
    ]);
    expect((await raw.json<{ entries: { reason: string }[] }>()).entries[0]?.reason).toBe(text);
    expect((await auditOf(payer.id))[0]?.reason).toBe(text);
  });

  it("T60 is needed, is short, and holds no token: the audit would keep it for ever", async () => {
    const payer = await site.payer(5);
    const secrets = [payer.token, "sk_live_0123456789", "whsec_0123456789"];
    for (const text of ["", "  ", null, 7, "x".repeat(257), "x".repeat(10_240), ...secrets]) {
      expect((await act(payer.id, "grants", { amount_micros: 1, reason: text })).status).toBe(400);
    }
    expect(await auditOf(payer.id)).toEqual([]);
  });

  it("comes with a key, as JSON, and nothing else", async () => {
    const payer = await site.payer(5);
    const body = JSON.stringify({ amount_micros: 1, reason });
    for (const headers of [
      { "Content-Type": "application/json" },
      { "Content-Type": "text/plain", "Idempotency-Key": "k" },
      { "Content-Type": "application/json", "Idempotency-Key": "two words" },
    ]) {
      expect((await owner.fetch(at(payer.id, "grants"), { method: "POST", body, headers })).status).toBe(400);
    }
    expect((await owner.fetch(at(payer.id, "grants"))).status).toBe(405);
    expect(await micros(payer)).toBe(50_000);
  });
});

describe("refunds of charges", () => {
  it("give back what a charge took, once and no more than that", async () => {
    const payer = await site.payer(5);
    await payer.fetch("/x?price=3");
    expect((await act(payer.id, "refunds", { seq: 1 })).status).toBe(422);
    expect((await act(payer.id, "refunds", { seq: 2, amount_micros: 30_001 })).status).toBe(422);
    const [status, first] = await answer<{ seq: number }>(
      act(payer.id, "refunds", { seq: 2, amount_micros: 10_000 }, "r"),
    );
    expect([status, first]).toEqual([201, { outcome: "refunded", seq: 3, balance_micros: 30_000, frozen: false }]);
    expect((await act(payer.id, "refunds", { seq: 2, amount_micros: 10_000 }, "r")).status).toBe(201);
    expect((await act(payer.id, "refunds", { seq: 2, amount_micros: 20_000 }, "r")).status).toBe(422);
    expect((await act(payer.id, "refunds", { seq: 2 })).status).toBe(201);
    expect(await micros(payer)).toBe(50_000);
    expect((await auditOf(payer.id)).map(({ action }) => action)).toEqual(["refund", "refund"]);
  });

  it("T39 of one older than ENVELOPE_LEDGER_DAYS are refused, and say why", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const vars = env as unknown as Record<string, unknown>;
    const payer = await site.payer(5);
    await payer.fetch("/x?price=3");
    vi.setSystemTime(Date.now() + 2 * 24 * 3_600_000);
    owner = await signedIn(site);
    vars["ENVELOPE_LEDGER_DAYS"] = "2";
    const [status, problem] = await answer<Problem>(act(payer.id, "refunds", { seq: 2 }));
    delete vars["ENVELOPE_LEDGER_DAYS"];
    expect([status, problem["detail"]]).toEqual([422, expect.stringContaining("ENVELOPE_LEDGER_DAYS")]);
    expect(await micros(payer)).toBe(20_000);
    expect((await act(payer.id, "refunds", { seq: 2 })).status).toBe(201);
  });
});

describe("freezing", () => {
  it("stops spending until it is lifted; the same key answers the same and changes nothing", async () => {
    const payer = await site.payer(5);
    const frozen = { outcome: "frozen", seq: null, balance_micros: 50_000, frozen: true };
    expect(await answer(act(payer.id, "freeze", {}, "f"))).toEqual([200, frozen]);
    expect((await payer.fetch("/x?price=1")).status).toBe(403);
    expect(await answer(act(payer.id, "unfreeze", {}, "f"))).toEqual([
      200,
      { outcome: "unfrozen", seq: null, balance_micros: 50_000, frozen: false },
    ]);
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
    expect(await answer(act(payer.id, "freeze", {}, "f"))).toEqual([200, frozen]);
    expect((await payer.fetch("/x?price=1")).status).toBe(200);
    expect((await auditOf(payer.id)).map(({ action }) => action)).toEqual(["unfreeze", "freeze"]);
  });
});

describe("rotation", () => {
  it("refuses every old token at once, and shows the new one once", async () => {
    const payer = await site.payer(5);
    const rotated = await payer.fetch("/rotate-token", { method: "POST" });
    const { token: successor } = await rotated.json<{ token: string }>();
    const [status, { token }] = await answer<{ token: string }>(act(payer.id, "rotate", {}, "stolen"));
    expect([status, token]).toEqual([200, expect.stringMatching(/^we_s1_/)]);
    const tryWith = (one: string) => site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${one}` } });
    expect((await tryWith(payer.token)).status).toBe(401);
    expect((await tryWith(successor)).status).toBe(401);
    expect((await tryWith(token)).status).toBe(200);
    // The old one leads nowhere either.
    expect((await payer.fetch("/rotate-token", { method: "POST" })).status).toBe(401);
    const [again, problem] = await answer<Problem>(act(payer.id, "rotate", {}, "stolen"));
    expect([again, problem.type]).toEqual([409, "urn:with-envelope:problem:shown-once"]);
    expect((await tryWith(token)).status).toBe(200);
    const next = await site.fetch("/rotate-token", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    expect((await tryWith((await next.json<{ token: string }>()).token)).status).toBe(200);
    const dump = JSON.stringify(await auditOf(payer.id));
    for (const secret of [payer.token, successor, token]) expect(dump).not.toContain(secret.slice(-38));
  });

  it("before a first use of the token too", async () => {
    const caller = await site.newcomer();
    await act(caller.reference, "grants", { amount_micros: 50_000 });
    const [, { token }] = await answer<{ token: string }>(act(caller.id, "rotate"));
    expect((await caller.fetch("/x?price=1")).status).toBe(401);
    expect((await site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${token}` } })).status).toBe(200);
  });
});

describe("the audit", () => {
  it("is never changed, and each line seals the one before it", async () => {
    const payer = await site.payer(5);
    for (let times = 0; times < 5; times++) await act(payer.id, "grants", { amount_micros: 1 });
    const lines = (await auditOf(payer.id)).reverse();
    expect(verifyAudit(lines)).toBeNull();
    const [first, second] = lines;
    expect(verifyAudit(lines.slice(1), first)).toBeNull();
    expect(verifyAudit(lines.slice(1))).toBe(1);
    for (const changed of [{ reason: "other" }, { actor: "nobody" }, { at_ms: 1 }, { after: null }, { hash: "x" }]) {
      expect(verifyAudit([first, { ...second, ...changed }, ...lines.slice(2)] as AuditLine[])).toBe(2);
    }
    expect(verifyAudit([...lines.slice(0, 2), ...lines.slice(3)])).toBe(3);
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      for (const statement of [
        "UPDATE audit SET reason = 'x'",
        "DELETE FROM audit",
        "INSERT INTO audit (audit_id, at_ms, actor, action, hash) VALUES (9, 1, 'x', 'x', 'x')",
        "INSERT OR REPLACE INTO audit (audit_id, at_ms, actor, action, hash) VALUES (1, 1, 'x', 'x', 'x')",
      ]) {
        expect(() => storage.sql.exec(statement)).toThrow(/audit line/);
      }
    });
  });

  it.each(["cut \ud83d", "\udc00 off", "nul \0 byte", "\ufeffmark"])(
    "says so of a line whose reason is %j, too",
    async (text) => {
      const payer = await site.payer(5);
      expect((await act(payer.id, "grants", { amount_micros: 1, reason: text })).status).toBe(201);
      expect((await act(payer.id, "freeze")).status).toBe(200);
      expect(verifyAudit((await auditOf(payer.id)).toReversed())).toBeNull();
    },
  );

  it("comes in pages, newest first, and so do entries and payments", async () => {
    const payer = await site.payer(5);
    for (let times = 0; times < 4; times++) await act(payer.id, "grants", { amount_micros: 1 });
    await site.outcomeOf((await import("../support.js")).completed({ client_reference_id: payer.reference }));
    const lists = { audit: "audit_id", entries: "seq", payments: "payment_id" } as const;
    for (const [list, id] of Object.entries(lists)) {
      type Page = { next: string | null; [list: string]: unknown };
      const whole = (await owner.json<Page>(at(payer.id, list)))[list] as Record<string, unknown>[];
      const paged: unknown[] = [];
      let cursor: string | null = "";
      while (cursor !== null) {
        const query = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
        const page: Page = await owner.json<Page>(`${at(payer.id, list)}?limit=1${query}`);
        paged.push(...(page[list] as unknown[]));
        cursor = page.next;
      }
      expect(paged).toEqual(whole);
      expect(whole.length).toBeGreaterThan(1);
      expect(new Set(whole.map((one) => one[id])).size).toBe(whole.length);
    }
    for (const query of ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=-1", "cursor=1e3"]) {
      expect((await owner.fetch(`${at(payer.id, "entries")}?${query}`)).status).toBe(400);
    }
  });

  it("names who assigned a payment", async () => {
    const caller = await site.newcomer();
    const payment_intent = nextId("pi");
    await site.outcomeOf((await import("../support.js")).completed({ client_reference_id: null, payment_intent }));
    const path = `/db/api/unclaimed/${payment_intent}/assign`;
    expect((await owner.post(path, { envelopeId: caller.reference })).status).toBe(400);
    expect(await (await owner.post(path, { envelopeId: caller.reference, reason })).json()).toEqual({
      outcome: "credited",
    });
    const [line] = await auditOf(caller.id);
    expect(line).toMatchObject({ actor: "owner", action: "assign", reason });
    expect(JSON.parse(line?.after ?? "")).toEqual({ payment_id: payment_intent, seq: 1, balance_micros: 5_000_000 });
  });
});

describe("an envelope", () => {
  it("is shown as it is now, by id or reference; a name that is none is not found, and nothing is made", async () => {
    const payer = await site.payer(5);
    for (const name of [payer.id, payer.reference]) {
      expect(await owner.json(`/db/api/envelopes/${name}`)).toMatchObject({
        envelope_id: payer.id,
        currency: "usd",
        balance_micros: 50_000,
        seq: 1,
        frozen: false,
        holds: [],
        autoTopUp: null,
      });
    }
    const unknown = await site.newcomer();
    for (const name of [unknown.id, unknown.reference, "short", `${payer.id}x`]) {
      for (const path of [`/db/api/envelopes/${name}`, at(name, "entries"), at(name, "audit"), at(name, "payments")]) {
        expect((await owner.fetch(path)).status).toBe(404);
      }
    }
    const tables = await runInDurableObject(env.ENVELOPE.getByName(unknown.id), (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });
});

describe("refunds through Stripe", () => {
  async function paid(amount: number): Promise<{ payer: Caller; payment_id: string }> {
    const payer = await site.newcomer();
    const session = stripe.account.checkout({ reference: payer.reference, amount });
    await deliver();
    return { payer, payment_id: String(session.payment_intent) };
  }
  const deliver = async () => {
    for (const event of stripe.news()) await site.outcomeOf(event);
  };
  const refunds = () => stripe.asked.filter(({ path }) => path === "/v1/refunds");

  it("asks Stripe once per key; its webhook takes the money out, and nothing before", async () => {
    const { payer, payment_id } = await paid(500);
    const [status, made] = await answer<{ refund_id: string }>(
      act(payer.id, "stripe-refunds", { payment_id, amount_micros: 2_000_000 }, "back"),
    );
    expect([status, made]).toEqual([202, { refund_id: expect.stringMatching(/^re_/), status: "succeeded" }]);
    expect(await micros(payer)).toBe(5_000_000);
    const again = await answer(act(payer.id, "stripe-refunds", { payment_id, amount_micros: 2_000_000 }, "back"));
    expect(again).toEqual([202, made]);
    expect(refunds()).toMatchObject([{ params: { payment_intent: payment_id, amount: 200 } }]);
    await deliver();
    expect(await micros(payer)).toBe(3_000_000);
    expect((await act(payer.id, "stripe-refunds", { payment_id, amount_micros: 3_010_000 })).status).toBe(422);
    expect((await act(payer.id, "stripe-refunds", { payment_id })).status).toBe(202);
    await deliver();
    expect(await micros(payer)).toBe(0);
    expect((await act(payer.id, "stripe-refunds", { payment_id })).status).toBe(422);
    expect(refunds()).toHaveLength(2);
    expect((await auditOf(payer.id)).map(({ action }) => action)).toEqual(["stripe-refund", "stripe-refund"]);
    expect(await owner.json(at(payer.id, "payments"))).toMatchObject({
      payments: [{ payment_id, state: "paid", credit_micros: 5_000_000, reversed_micros: 5_000_000 }],
    });
  });

  it("sends no more than is left, also where several are under way", async () => {
    const { payer, payment_id } = await paid(500);
    const many = Array.from({ length: 10 }, () =>
      act(payer.id, "stripe-refunds", { payment_id, amount_micros: 1_000_000 }),
    );
    const codes = (await Promise.all(many)).map(({ status }) => status).sort();
    expect(codes).toEqual([...Array(5).fill(202), ...Array(5).fill(422)]);
    expect(stripe.account.booksOf(payment_id).refunded).toBe(500);
  });

  it("a lost answer is asked for again with the same key, and never after Stripe may have forgotten it", async () => {
    const { payer, payment_id } = await paid(500);
    stripe.fault = "lost_answer";
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "back")).status).toBe(503);
    stripe.fault = undefined;
    vi.useFakeTimers({ toFake: ["Date"] });
    const then = Date.now();
    vi.setSystemTime(then + 24 * 3_600_000);
    owner = await signedIn(site);
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "back")).status).toBe(409);
    vi.setSystemTime(then + 60_000);
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "back")).status).toBe(202);
    expect(new Set(refunds().map(({ key }) => key)).size).toBe(1);
    expect(stripe.account.booksOf(payment_id).refunded).toBe(500);
  });

  it("is not taken for refused where Stripe has the key under other words, as after a deploy: it may have been made", async () => {
    const { payer, payment_id } = await paid(500);
    stripe.fault = "lost_answer";
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "back")).status).toBe(503);
    stripe.fault = undefined;
    await runInDurableObject(env.ENVELOPE.getByName(payer.id), (_, { storage }) => {
      storage.sql.exec("UPDATE stripe_refund SET amount = 499");
    });
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "back")).status).toBe(503);
    expect((await act(payer.id, "stripe-refunds", { payment_id, amount_micros: 4_990_000 })).status).toBe(422);
    expect(stripe.account.booksOf(payment_id).refunded).toBe(500);
  });

  it("one that Stripe made without an answer to us counts once, when its webhook tells of it", async () => {
    const { payer, payment_id } = await paid(500);
    stripe.fault = "lost_answer";
    const body = { payment_id, amount_micros: 2_000_000 };
    expect((await act(payer.id, "stripe-refunds", body, "lost")).status).toBe(503);
    stripe.fault = undefined;
    expect((await act(payer.id, "stripe-refunds", { payment_id, amount_micros: 3_010_000 })).status).toBe(422);
    await deliver();
    expect(await micros(payer)).toBe(3_000_000);
    expect((await act(payer.id, "stripe-refunds", { payment_id, amount_micros: 3_010_000 })).status).toBe(422);
    expect((await act(payer.id, "stripe-refunds", { payment_id, amount_micros: 3_000_000 })).status).toBe(202);
    expect((await act(payer.id, "stripe-refunds", body, "lost")).status).toBe(202);
    expect(stripe.account.booksOf(payment_id).refunded).toBe(500);
  });

  it("one that never reached Stripe sets nothing aside once it cannot be sent again", async () => {
    const { payer, payment_id } = await paid(500);
    stripe.fault = "down";
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "never")).status).toBe(503);
    stripe.fault = undefined;
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "new")).status).toBe(422);
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 24 * 3_600_000);
    owner = await signedIn(site);
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "never")).status).toBe(409);
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "new")).status).toBe(202);
    expect(stripe.account.booksOf(payment_id).refunded).toBe(500);
  });

  it("a refusal of Stripe's is told by its code, and frees what it had set aside", async () => {
    const { payer, payment_id } = await paid(500);
    const elsewhere = stripe.account.refund(payment_id, 500);
    const [status, problem] = await answer<Problem>(act(payer.id, "stripe-refunds", { payment_id }, "k"));
    expect([status, problem["detail"]]).toEqual([422, "Stripe does not take this refund: charge_already_refunded."]);
    expect((await act(payer.id, "stripe-refunds", { payment_id }, "k")).status).toBe(422);
    stripe.account.moveRefund(elsewhere, "failed");
    expect((await act(payer.id, "stripe-refunds", { payment_id })).status).toBe(202);
    expect(refunds()).toHaveLength(2);
    await deliver();
    expect(await micros(payer)).toBe(0);
  });

  it("refuses what is not this envelope's, what no coin can be sent for, and what has no key", async () => {
    const { payer, payment_id } = await paid(500);
    const other = await paid(500);
    const bad = { payment_id, amount_micros: 5 };
    expect((await act(payer.id, "stripe-refunds", bad)).status).toBe(400);
    expect((await act(payer.id, "stripe-refunds", { payment_id: "cs_1" })).status).toBe(400);
    expect((await act(payer.id, "stripe-refunds", { payment_id: other.payment_id })).status).toBe(422);
    const none = siteOf({ STRIPE_SECRET_KEY: "" });
    const without = await signedIn(none);
    expect((await without.post(at(payer.id, "stripe-refunds"), { payment_id, reason })).status).toBe(500);
    expect(refunds()).toEqual([]);
  });
});

describe("an answer that is lost", () => {
  it("does not do it twice", async () => {
    const payer = await site.payer(5);
    const real = Envelope.prototype.grant;
    vi.spyOn(Envelope.prototype, "grant").mockImplementationOnce(async function (this: Envelope, input) {
      await real.call(this, input);
      throw Object.assign(new Error("lost"), { retryable: true });
    });
    expect(await answer(act(payer.id, "grants", { amount_micros: 7 }))).toMatchObject([
      201,
      { balance_micros: 50_007 },
    ]);
    expect(await micros(payer)).toBe(50_007);
    const reissue = Envelope.prototype.reissue;
    vi.spyOn(Envelope.prototype, "reissue").mockImplementationOnce(async function (this: Envelope, input) {
      await reissue.call(this, input);
      throw Object.assign(new Error("lost"), { retryable: true });
    });
    const [, { token }] = await answer<{ token: string }>(act(payer.id, "rotate"));
    expect((await site.fetch("/x?price=1", { headers: { Authorization: `Bearer ${token}` } })).status).toBe(200);
    expect(await auditOf(payer.id)).toHaveLength(2);
  });
});
