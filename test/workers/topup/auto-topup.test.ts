/** Auto top-up: a saved card is charged once per trigger, within its limits, whatever is lost, doubled, evicted or declined. */
import { evictAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AutoTopUpRules, TopUp } from "../../../src/contract.js";
import {
  type Attempt,
  type AutoTopUp,
  type AutoTopUpFacts,
  climbTopUp,
  decideAutoTopUp,
  decideSending,
  isLow,
  standing,
  type TopUpState,
} from "../../../src/envelope/auto-topup.js";
import { PaymentsDesk } from "../../../src/envelope/payments-desk.js";
import {
  type AutoTopUpOptions,
  type Envelope,
  EnvelopeAggregate,
  EnvelopeDirectory,
  envelopeOf,
  withEnvelope,
} from "../../../src/index.js";
import type { Micros } from "../../../src/money.js";
import { directoryStub } from "../../../src/shards.js";
import { type Caller, nextId, type Problem, refund, reversalEvent, Site } from "../support.js";
import { FaultyStripe } from "./faults.js";

const ADMIN = "an-owners-secret-0123456789-abcdefghij";
const OWNER = { Authorization: `Bearer ${ADMIN}`, "Content-Type": "application/json" };
const RULES: AutoTopUpOptions = { threshold: "200", amount: "1000", coolDownSeconds: 0 };
const siteWith = (autoTopUp: AutoTopUpOptions = RULES) => new Site({ autoTopUp }, { ENVELOPE_ADMIN_SECRET: ADMIN });
const site = siteWith();

let stripe: FaultyStripe;
let skipped_ms = 0;
const holders: Caller[] = [];
beforeEach(() => {
  stripe = new FaultyStripe();
  stripe.install();
  skipped_ms = 0;
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(async () => {
  vi.restoreAllMocks();
  // What a test left under way would otherwise be sent to the next test's Stripe.
  for (const caller of holders.splice(0)) {
    await runInDurableObject(stub(caller), (_instance, { storage }) => {
      storage.sql.exec(
        "UPDATE topup SET status = 'FAILED', failure = 'canceled', ended_at_ms = 0 WHERE status = 'PENDING'",
      );
    });
  }
});

/** The clock of everything in this isolate, objects included. */
function skip(ms: number): void {
  if (skipped_ms === 0) {
    const real = Date.now.bind(Date);
    vi.spyOn(Date, "now").mockImplementation(() => real() + skipped_ms);
  }
  skipped_ms += ms;
}

const stub = (caller: Caller) => env.ENVELOPE.getByName(caller.id);
const alarm = (caller: Caller) => runDurableObjectAlarm(stub(caller));
const cents = async ({ envelope }: Caller): Promise<number> => (await envelope.state()).balance_micros / 10_000;
const auto = async ({ envelope }: Caller) => (await envelope.state()).autoTopUp;
const attempts = async ({ envelope }: Caller): Promise<readonly TopUp[]> => envelope.topups();
const spend = async (caller: Caller, price: number): Promise<number> =>
  (await caller.fetch(`/x?price=${price}`)).status;

const put = (caller: Caller, body: unknown, at: Site = caller.site): Promise<Response> =>
  at.fetch(`/envelopes/${caller.id}/auto-topup`, { method: "PUT", headers: OWNER, body: JSON.stringify(body) });

function newCard(): { customer: string; paymentMethod: string } {
  return stripe.savedCard();
}

/** A caller with this many cents, whose card the owner's server has named. */
async function holder(balance = 300, at: Site = site): Promise<Caller> {
  const caller = await at.payer(balance);
  holders.push(caller);
  expect((await put(caller, { enabled: true, ...newCard() }, at)).status).toBe(200);
  return caller;
}

/** Lets the alarm work until nothing is under way. */
async function rest(caller: Caller): Promise<void> {
  await vi.waitFor(
    async () => {
      await alarm(caller);
      expect((await auto(caller))?.status).not.toBe("pending");
    },
    { timeout: 4_000, interval: 20 },
  );
}

/** Lets the alarm ask Stripe at least so many times. */
async function asked(caller: Caller, times: number): Promise<void> {
  await vi.waitFor(
    async () => {
      await alarm(caller);
      expect(stripe.creations.length).toBeGreaterThanOrEqual(times);
    },
    { timeout: 4_000, interval: 20 },
  );
  await stripe.quiet();
}

/** Lets the alarm try once, and come to the end of it. */
async function tried(caller: Caller): Promise<void> {
  await vi.waitFor(
    async () => {
      await alarm(caller);
      const tries = await runInDurableObject(stub(caller), (_instance, { storage }) =>
        storage.sql.exec("SELECT tries FROM topup WHERE tries > 0").toArray(),
      );
      expect(tries.length).toBe(1);
    },
    { timeout: 4_000, interval: 20 },
  );
  await stripe.quiet();
}

async function deliver(): Promise<void> {
  for (const event of stripe.news()) await site.webhook(event);
}

describe("a charge that leaves less than the threshold", () => {
  it("tops up from the saved card, once, from Stripe's answer", async () => {
    const caller = await holder(300);
    expect(await spend(caller, 100)).toBe(200);
    expect(await attempts(caller)).toEqual([]);
    expect(await spend(caller, 1)).toBe(200);
    await rest(caller);
    expect([await cents(caller), stripe.collected]).toEqual([1199, 1000]);
    expect(await auto(caller)).toEqual({ enabled: true, status: "ready", stopped: null, lastFailure: null });
    const [asking] = stripe.creations;
    expect(asking?.params).toMatchObject({ amount: 1000, currency: "usd", confirm: true, off_session: true });
    expect(asking?.key).toMatch(/^[0-9A-Za-z]{22}$/);
    expect((await caller.envelope.entries()).map(({ kind }) => kind)).toEqual(["topup", "charge", "charge", "topup"]);
  });

  it("is credited once by the answer and every webhook, in any order", async () => {
    const caller = await holder(300);
    await spend(caller, 200);
    await rest(caller);
    const news = stripe.news();
    for (const event of [...news, ...news].reverse()) await site.webhook(event);
    expect([await cents(caller), stripe.collected]).toEqual([1100, 1000]);
    expect(await attempts(caller)).toMatchObject([{ origin: "auto", status: "SUCCEEDED" }]);
  });

  it("costs one row as long as it triggers nothing", async () => {
    const caller = await holder(300);
    await alarm(caller);
    const written = await runInDurableObject(stub(caller), async (instance: Envelope, state) => {
      const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
      const prototype = Object.getPrototypeOf(state.storage.sql) as SqlStorage;
      const real = prototype.exec;
      vi.spyOn(prototype, "exec").mockImplementation(function (this: SqlStorage, ...said) {
        const cursor = real.apply(this, said);
        cursors.push(cursor as never);
        return cursor as never;
      });
      const auto_topup = micros({});
      await instance.charge({ amount_micros: 10_000 as Micros, currency: "usd", op: "row", auto_topup });
      return [cursors.length, cursors.reduce((sum, { rowsWritten }) => sum + rowsWritten, 0)];
    });
    expect(written).toEqual([1, 1]);
  });

  it("by hold and settlement, or from a queue, tops up too", async () => {
    const quoted = new Site({ autoTopUp: RULES, price: () => "150" }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const caller = await holder(300, quoted);
    expect((await caller.fetch("/x?price=150")).status).toBe(200);
    await rest(caller);
    expect(await cents(caller)).toBe(1150);
    const other = await holder(300);
    await envelopeOf(env, { id: other.id }, { autoTopUp: RULES }).charge("200", { key: "job" });
    await rest(other);
    expect(await cents(other)).toBe(1100);
  });

  it("tops up nothing where nobody named a card, or the option is gone", async () => {
    const caller = await site.payer(300);
    await spend(caller, 200);
    expect([await attempts(caller), await auto(caller)]).toEqual([[], null]);
    const named = await holder(300);
    const without = new Site();
    await without.fetch("/x?price=200", { headers: { Authorization: `Bearer ${named.token}` } });
    await alarm(named);
    expect([await attempts(named), stripe.creations]).toEqual([[], []]);
  });
});

describe("museum", () => {
  it("museum: Flexprice 2155 duplicate auto top-ups of one crossing: two charges at once are one attempt", async () => {
    const caller = await holder(300);
    await Promise.all(Array.from({ length: 8 }, () => spend(caller, 30)));
    await rest(caller);
    await Promise.all([alarm(caller), spend(caller, 1), deliver()]);
    expect([(await attempts(caller)).length, stripe.intents.length, stripe.collected]).toEqual([1, 1, 1000]);
  });

  it("museum: pollinations 11522 equal millisecond markers doubled a credit: attempts differ at a frozen clock", async () => {
    const caller = await holder(300, siteWith({ ...RULES, maxPerWindow: 20 }));
    vi.spyOn(Date, "now").mockReturnValue(Date.now());
    for (let i = 1; i <= 5; i++) {
      await spend(caller, i === 1 ? 200 : 1000);
      await rest(caller);
      await deliver();
    }
    expect([stripe.keys.size, stripe.intents.length, stripe.collected]).toEqual([5, 5, 5000]);
    expect(await cents(caller)).toBe(300 + 5000 - 200 - 4 * 1000);
  });

  it("museum: Codex 19872 never fires because another limit refuses first: a refusal triggers too", async () => {
    const caller = await holder(300);
    expect(await spend(caller, 400)).toBe(402);
    await rest(caller);
    expect(await spend(caller, 400)).toBe(200);
    expect(await cents(caller)).toBe(900);
  });

  it("museum: Lago 4954 a poll decides minutes later: decided and stored in the charge's own turn", async () => {
    const caller = await holder(300);
    stripe.fault = "lost_request";
    await spend(caller, 200);
    expect(await attempts(caller)).toMatchObject([{ status: "PENDING", amount_micros: 10_000_000 }]);
  });

  it("museum: Polar 9542 no recharge at a low balance: a whole month of it, within its limits", async () => {
    const caller = await holder(300, siteWith({ ...RULES, maxPerWindow: 2, windowSeconds: 86_400 }));
    let served = 0;
    for (let day = 0; day < 3; day++) {
      for (let i = 0; i < 6; i++) {
        if ((await spend(caller, 500)) === 200) served += 1;
        await rest(caller);
      }
      skip(86_400_000);
    }
    expect([stripe.collected, served, await cents(caller)]).toEqual([6000, 12, 300]);
  });
});

describe("a deployment whose currency was changed", () => {
  it("charges no card with what it counts in its own, also where a hold of before is settled", async () => {
    const caller = await holder(300);
    const [auto_topup, cent] = [micros({}), 10_000 as Micros];
    const settled = async (currency: string) => {
      const op = nextId("op");
      const held = await stub(caller).hold({
        op,
        currency: "usd",
        amount_micros: (100 * cent) as Micros,
        ttl_ms: 60_000,
      });
      if (held.outcome !== "held") throw new Error(held.outcome);
      const { hold_id } = held;
      await stub(caller).settle({
        op: `${op}-end`,
        hold_id,
        amount_micros: (100 * cent) as Micros,
        currency,
        auto_topup,
      });
      return (await auto(caller))?.status;
    };
    expect(await settled("usd"), "200 left are not less than 200").toBe("ready");
    expect(await settled("eur")).toBe("ready");
    expect(await settled("usd")).toBe("pending");
  });
});

describe("T93 beside the mirror, which shares the alarm", () => {
  const alarmAt = (caller: Caller) => runInDurableObject(stub(caller), (_instance, { storage }) => storage.getAlarm());

  it("a card is charged at once while an aggregate that is down is left alone", async () => {
    const caller = await holder(300);
    const mirror = vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementation(async () => undefined as never);
    // Envelopes of other tests have alarms too.
    const asked = () => mirror.mock.calls.filter(([{ envelope_id }]) => envelope_id === caller.id).length;
    for (let failure = 0; failure < 8; failure++) await alarm(caller);
    const [pause, before] = [((await alarmAt(caller)) ?? 0) - Date.now(), asked()];
    expect(pause).toBeGreaterThan(30_000);
    await spend(caller, 200);
    await vi.waitFor(async () => expect(await cents(caller)).toBe(1100), { timeout: 4_000, interval: 20 });
    await stripe.quiet();
    expect(asked()).toBe(before);
    expect(((await alarmAt(caller)) ?? 0) - Date.now()).toBeGreaterThan(20_000);
  });

  it("a slow aggregate holds up no card, whether it was low before the alarm rang or is only now", async () => {
    for (const when of ["before", "during"] as const) {
      const caller = await holder(300);
      await runInDurableObject(stub(caller), (_instance, { storage }) => storage.setAlarm(Date.now() + 60_000));
      const { mirror } = EnvelopeAggregate.prototype;
      let open = () => {};
      const gate = new Promise<void>((resolve) => (open = resolve));
      let waiting = 0;
      vi.spyOn(EnvelopeAggregate.prototype, "mirror").mockImplementation(async function (
        this: EnvelopeAggregate,
        batch,
      ) {
        if (batch.envelope_id !== caller.id) return mirror.call(this, batch);
        waiting += 1;
        await gate;
        return mirror.call(this, batch);
      });
      if (when === "before") await spend(caller, 200);
      const ringing = alarm(caller);
      await vi.waitFor(() => expect(waiting).toBeGreaterThan(0), { timeout: 4_000, interval: 5 });
      if (when === "during") await spend(caller, 200);
      await vi.waitFor(async () => expect(await cents(caller)).toBe(1100), { timeout: 4_000, interval: 20 });
      open();
      await ringing;
      await rest(caller);
      expect(await attempts(caller)).toMatchObject([{ status: "SUCCEEDED" }]);
      vi.mocked(EnvelopeAggregate.prototype.mirror).mockRestore();
    }
  });
});

describe("an attempt that is interrupted", () => {
  const steps: [string, () => unknown][] = [
    ["before Stripe heard of it", () => (stripe.fault = "lost_request")],
    ["after Stripe charged", () => (stripe.fault = "lost_answer")],
    ["by an outage of Stripe", () => (stripe.fault = "down")],
    ["by a key that Stripe refuses", () => (stripe.fault = "refused_key")],
    [
      "before the claim",
      () => vi.spyOn(EnvelopeDirectory.prototype, "claim").mockRejectedValueOnce(new Error("killed")),
    ],
    ["before the credit", () => vi.spyOn(PaymentsDesk.prototype, "report").mockRejectedValueOnce(new Error("killed"))],
  ];
  it.each(steps)("%s is finished with the same key, and charged and credited once", async (_step, interrupt) => {
    const caller = await holder(300);
    interrupt();
    await spend(caller, 200);
    await tried(caller);
    await evictAllDurableObjects();
    expect((await auto(caller))?.status).toBe("pending");
    await spend(caller, 1);
    stripe.fault = undefined;
    skip(60_000);
    await rest(caller);
    await deliver();
    expect([await cents(caller), stripe.collected, stripe.keys.size]).toEqual([1099, 1000, 1]);
    expect(await attempts(caller)).toMatchObject([{ status: "SUCCEEDED" }]);
  });

  it("is not taken for refused where Stripe has the key under other words, as after a deploy: it may have charged", async () => {
    const caller = await holder();
    stripe.fault = "lost_answer";
    await spend(caller, 200);
    await tried(caller);
    stripe.fault = undefined;
    await runInDurableObject(stub(caller), (_instance, { storage }) => {
      storage.sql.exec("UPDATE topup SET reference = reference || 'x', next_try_ms = 0");
    });
    await asked(caller, 2);
    expect((await auto(caller))?.status).toBe("pending");
    await deliver();
    expect([await cents(caller), (await attempts(caller))[0]?.status]).toEqual([1100, "SUCCEEDED"]);
  });

  it("is settled by the webhook alone, should no answer ever come", async () => {
    const caller = await holder(300);
    stripe.fault = "lost_answer";
    await spend(caller, 200);
    await asked(caller, 1);
    await deliver();
    expect([await cents(caller), (await auto(caller))?.status]).toEqual([1100, "ready"]);
    stripe.fault = undefined;
    const before = stripe.creations.length;
    skip(3_600_000);
    await alarm(caller);
    expect([stripe.creations.length, stripe.collected]).toEqual([before, 1000]);
  });

  it("while a webhook overtakes the answer is credited once", async () => {
    const caller = await holder(300);
    let overtaken = false;
    const create = stripe.account.collect.bind(stripe.account);
    vi.spyOn(stripe.account, "collect").mockImplementation((...said) => {
      overtaken = true;
      return create(...said);
    });
    const claim = EnvelopeDirectory.prototype.claim;
    vi.spyOn(EnvelopeDirectory.prototype, "claim").mockImplementationOnce(async function (
      this: EnvelopeDirectory,
      input,
    ) {
      await deliver();
      return claim.call(this, input);
    });
    await spend(caller, 200);
    await rest(caller);
    expect([overtaken, await cents(caller)]).toEqual([true, 1100]);
  });

  it("is never asked for again once Stripe may have forgotten its key: it stops, and the webhook still credits", async () => {
    const caller = await holder(300);
    stripe.fault = "lost_answer";
    await spend(caller, 200);
    await asked(caller, 1);
    const before = stripe.creations.length;
    stripe.fault = undefined;
    skip(23 * 3_600_000);
    await rest(caller);
    expect(stripe.creations.length).toBe(before);
    expect(await auto(caller)).toMatchObject({ status: "stopped", stopped: "outcome_unknown" });
    await deliver();
    expect(await cents(caller)).toBe(1100);
    expect(await attempts(caller)).toMatchObject([{ status: "SUCCEEDED", failure: null }]);
  });

  it("while it is under way no other one is made, whatever is charged", async () => {
    const caller = await holder(300);
    stripe.fault = "down";
    for (let i = 0; i < 4; i++) {
      await spend(caller, 50);
      await spend(caller, 500);
    }
    await evictAllDurableObjects();
    await spend(caller, 50);
    expect((await attempts(caller)).length).toBe(1);
  });
});

describe("a card that is slow", () => {
  it("is waited for: the webhook ends it", async () => {
    const caller = await holder(300);
    stripe.usually = "processing";
    await spend(caller, 200);
    await asked(caller, 1);
    expect(await auto(caller)).toMatchObject({ status: "pending" });
    expect(await attempts(caller)).toMatchObject([{ status: "PENDING", payment_id: stripe.intents[0]?.id }]);
    stripe.account.collect(stripe.intents[0] as never);
    await deliver();
    expect([await cents(caller), (await auto(caller))?.status]).toEqual([1100, "ready"]);
  });

  it("is looked at now and then, should the webhook never come", async () => {
    const caller = await holder(300);
    stripe.usually = "processing";
    await spend(caller, 200);
    await asked(caller, 1);
    stripe.account.collect(stripe.intents[0] as never);
    skip(2 * 3_600_000);
    await rest(caller);
    expect([await cents(caller), stripe.creations.length, stripe.collected]).toEqual([1100, 1, 1000]);
  });
});

describe("a card that is declined", () => {
  it("three times in a row is not asked again, until the owner enables it again", async () => {
    const caller = await holder(300, siteWith({ ...RULES, maxPerWindow: 20 }));
    stripe.usually = "card_declined";
    await spend(caller, 200);
    for (let i = 0; i < 6; i++) {
      await rest(caller);
      await deliver();
      await spend(caller, 1);
    }
    expect(stripe.intents.length).toBe(3);
    expect(await auto(caller)).toEqual({
      enabled: true,
      status: "stopped",
      stopped: "declined",
      lastFailure: "card_declined",
    });
    stripe.usually = "succeeded";
    expect((await put(caller, { enabled: true, ...newCard() })).status).toBe(200);
    await spend(caller, 1);
    await rest(caller);
    expect([stripe.collected, (await auto(caller))?.status]).toEqual([1000, "ready"]);
  });

  it("twice, and then is not, begins to count anew", async () => {
    const caller = await holder(300, siteWith({ ...RULES, maxPerWindow: 20 }));
    for (const card of ["card_declined", "card_declined", "succeeded", "card_declined", "card_declined"] as const) {
      stripe.usually = card;
      const { available_micros } = await caller.envelope.state();
      await spend(caller, Math.max(1, available_micros / 10_000 - 150));
      await rest(caller);
    }
    expect(await auto(caller)).toMatchObject({ status: "ready", lastFailure: "card_declined" });
  });

  it.each(["requires_action", "bank_wants_holder"] as const)(
    "for want of its holder (%s) stops it at once",
    async (card) => {
      const caller = await holder(300);
      stripe.usually = card;
      await spend(caller, 200);
      await rest(caller);
      await spend(caller, 1);
      await rest(caller);
      expect(stripe.intents.length).toBe(1);
      expect(await auto(caller)).toMatchObject({ status: "stopped", stopped: "authentication_required" });
    },
  );

  it("told by the webhook before the answer is counted once", async () => {
    const caller = await holder(300);
    stripe.usually = "requires_action";
    stripe.fault = "lost_answer";
    await spend(caller, 200);
    await asked(caller, 1);
    await deliver();
    stripe.fault = undefined;
    expect(await auto(caller)).toMatchObject({ status: "stopped", stopped: "authentication_required" });
    expect(await attempts(caller)).toMatchObject([{ status: "FAILED" }]);
  });

  it("because it is gone stops it at once", async () => {
    const caller = await holder(300);
    for (const id of [...stripe.account.objects.keys()].filter((id) => id.startsWith("pm_")))
      stripe.account.objects.delete(id);
    await spend(caller, 200);
    await rest(caller);
    expect(await auto(caller)).toMatchObject({ stopped: "rejected", lastFailure: "resource_missing" });
  });
});

describe("money that is called back", () => {
  const event = (type: string, object: Record<string, unknown>) => reversalEvent(type, { amount: 1000, ...object });

  async function topped(): Promise<{ caller: Caller; payment_intent: string }> {
    const caller = await holder(300, siteWith({ ...RULES, maxPerWindow: 20 }));
    await spend(caller, 200);
    await rest(caller);
    return { caller, payment_intent: stripe.intents[0]?.id ?? "" };
  }

  it.each([
    ["dispute", "charge.dispute.created", { id: "du_1", status: "warning_needs_response" }],
    ["fraud_warning", "radar.early_fraud_warning.created", { id: "issfr_1" }],
    ["refund", "refund.created", { id: "re_1", status: "succeeded" }],
    ["refund", "charge.refunded", { id: "ch_1", amount_refunded: 1000 }],
  ])("by a %s stops it, for every later charge", async (stopped, type, object) => {
    const { caller, payment_intent } = await topped();
    await site.webhook(event(type, { ...object, payment_intent }));
    await spend(caller, 1000);
    await spend(caller, 1);
    await rest(caller);
    expect(await auto(caller)).toMatchObject({ enabled: true, status: "stopped", stopped });
    expect(stripe.intents.length).toBe(1);
    await put(caller, { enabled: true, ...newCard() });
    await site.webhook(event(type, { ...object, payment_intent }));
    expect((await auto(caller))?.stopped).toBe(null);
  });

  it("by a refund that is heard of before the top-up is, too", async () => {
    const caller = await holder(300);
    stripe.fault = "lost_answer";
    await spend(caller, 200);
    await tried(caller);
    stripe.fault = undefined;
    const payment_intent = stripe.intents[0]?.id ?? "";
    // Claimed, and interrupted there: the refund goes to the envelope at once.
    await directoryStub(env, payment_intent).claim({ payment_id: payment_intent, envelope_id: caller.id });
    await site.webhook(event("refund.created", { id: nextId("re"), status: "succeeded", payment_intent }));
    await deliver();
    expect([await cents(caller), stripe.collected]).toEqual([100, 1000]);
    expect(await auto(caller)).toMatchObject({ status: "stopped", stopped: "refund" });
  });

  it("a refund of what the holder paid themselves does not", async () => {
    const caller = await holder(300);
    const [credit] = await caller.envelope.entries();
    await site.webhook(refund(credit?.payment_id ?? "", 1));
    expect((await auto(caller))?.status).toBe("ready");
  });

  it("an open dispute, or a freeze, keeps the card alone even when it was enabled again", async () => {
    const { caller, payment_intent } = await topped();
    const lenient = new Site({ autoTopUp: RULES, stripe: { onDispute: "ignore" } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    await lenient.webhook(
      event("charge.dispute.created", { id: nextId("du"), status: "needs_response", payment_intent }),
    );
    await put(caller, { enabled: true, ...newCard() });
    expect(await spend(caller, 1000)).toBe(200);
    await alarm(caller);
    const frozen = await holder(300);
    await frozen.envelope.freeze();
    expect(await spend(frozen, 400)).toBe(403);
    await alarm(frozen);
    expect(stripe.intents.length).toBe(1);
  });

  it("or called off before Stripe was asked, charges nothing", async () => {
    for (const callOff of [
      (caller: Caller) => put(caller, { enabled: false }),
      (caller: Caller) => caller.envelope.freeze(),
      async (caller: Caller) => {
        const [credit] = await caller.envelope.entries();
        const warning = { id: nextId("issfr"), payment_intent: credit?.payment_id };
        return site.webhook(event("radar.early_fraud_warning.created", warning));
      },
    ]) {
      const caller = await holder(300);
      await runInDurableObject(stub(caller), async (instance: Envelope, state) => {
        const auto_topup = micros({});
        await instance.charge({ amount_micros: 2_500_000 as Micros, currency: "usd", op: "x", auto_topup });
        await state.storage.deleteAlarm();
        await state.storage.setAlarm(Date.now() + 60_000);
      });
      await callOff(caller);
      await rest(caller);
      expect(await attempts(caller)).toMatchObject([{ status: "FAILED", failure: "canceled" }]);
    }
    expect([stripe.creations, stripe.collected]).toEqual([[], 0]);
  });

  it("and called off while the outcome is unknown, is not asked for again: asking could charge", async () => {
    const caller = await holder(300);
    stripe.fault = "lost_request";
    await spend(caller, 200);
    await tried(caller);
    await put(caller, { enabled: false });
    stripe.fault = undefined;
    skip(60_000);
    await rest(caller);
    expect([stripe.collected, (await attempts(caller))[0]?.failure]).toEqual([0, "outcome_unknown"]);
  });
});

describe("PUT /envelopes/:id/auto-topup", () => {
  it("leaves an audit line with each change, and none where nothing changed", async () => {
    const caller = await site.payer(300);
    const [card, other] = [newCard(), newCard()];
    await put(caller, { enabled: false });
    await put(caller, { enabled: true, ...card });
    await put(caller, { enabled: true, ...card });
    await put(caller, { enabled: true, ...other });
    await put(caller, { enabled: false });
    await put(caller, { enabled: false });
    const lines = (await stub(caller).audit({ before: null, limit: 10 })).toReversed();
    expect(new Set(lines.map(({ actor, action }) => `${actor} ${action}`))).toEqual(new Set(["owner auto-topup"]));
    const [on, off] = [
      { enabled: true, stopped: null },
      { enabled: false, stopped: null },
    ];
    const [first, second] = [card.paymentMethod, other.paymentMethod];
    expect(lines.map(({ before, after }) => [JSON.parse(String(before)), JSON.parse(String(after))])).toEqual([
      [null, { ...on, payment_method: first }],
      [
        { ...on, payment_method: first },
        { ...on, payment_method: second },
      ],
      [
        { ...on, payment_method: second },
        { ...off, payment_method: second },
      ],
    ]);
  });

  it("is the owner's alone: a holder, a payer or a webhook can never lend a card", async () => {
    const caller = await site.payer(300);
    const body = JSON.stringify({ enabled: true, ...newCard() });
    const path = `/envelopes/${caller.id}/auto-topup`;
    const as = (headers: HeadersInit, at = site) => at.fetch(path, { method: "PUT", body, headers });
    expect((await as({ Authorization: `Bearer ${caller.token}`, "Content-Type": "application/json" })).status).toBe(
      401,
    );
    expect((await as({ ...OWNER, "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await as(OWNER, new Site({ autoTopUp: RULES }))).status).toBe(404);
    await site.webhook({
      ...nothing("checkout.session.completed"),
      data: { object: { ...session(caller), customer: "cus_1", setup_future_usage: "off_session" } },
    });
    expect(await auto(caller)).toBe(null);
  });

  it("checks that the card is the customer's, and says so", async () => {
    const caller = await site.payer(300);
    const [one, other] = [newCard(), newCard()];
    const wrong: [unknown, number][] = [
      [{ enabled: true, customer: one.customer, paymentMethod: other.paymentMethod }, 422],
      [{ enabled: true, customer: one.customer, paymentMethod: "pm_never" }, 422],
      [{ enabled: true, customer: "one", paymentMethod: one.paymentMethod }, 400],
      [{ enabled: true }, 400],
      [{}, 400],
      [{ enabled: "true", ...one }, 400],
    ];
    for (const [body, status] of wrong) expect((await put(caller, body)).status).toBe(status);
    stripe.fault = "lost_request";
    expect((await put(caller, { enabled: true, ...one })).status).toBe(503);
    stripe.fault = undefined;
    expect(await auto(caller)).toBe(null);
    const off = new Site({}, { ENVELOPE_ADMIN_SECRET: ADMIN });
    const refused = await put(caller, { enabled: true, ...one }, off);
    expect([refused.status, (await refused.json<Problem>()).type]).toEqual([
      409,
      "urn:with-envelope:problem:auto-topup-off",
    ]);
    expect(await (await put(caller, { enabled: true, ...one })).json()).toEqual({
      autoTopUp: { enabled: true, status: "ready", stopped: null, lastFailure: null },
    });
    expect((await put(caller, { enabled: false }, off)).status).toBe(200);
    const shown = await site.fetch(`/envelopes/${caller.id}/auto-topup`, { headers: OWNER });
    expect(await shown.json()).toMatchObject({ autoTopUp: { enabled: false, status: "off" } });
  });

  it("said again keeps the declines that were counted", async () => {
    const caller = await holder(300);
    const card = newCard();
    await put(caller, { enabled: true, ...card });
    stripe.usually = "card_declined";
    for (let i = 0; i < 5; i++) {
      await put(caller, { enabled: true, ...card }).then(() => spend(caller, i === 0 ? 200 : 1));
      await rest(caller);
      if ((await auto(caller))?.status === "stopped") break;
    }
    expect([stripe.intents.length, (await auto(caller))?.stopped]).toEqual([3, "declined"]);
  });

  it("has the whole prefix, and goes where options.paths says: the app has it then, or where it is false", async () => {
    expect((await site.fetch("/envelopes/x/mine", { headers: OWNER })).status).toBe(404);
    const without = new Site({ paths: { envelopes: false } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    expect(await (await without.fetch("/envelopes/x/mine")).text()).toBe("paid content");
    expect(await (await without.fetch("/envelopes")).text()).toBe("paid content");
    const moved = new Site({ paths: { envelopes: "/wallets" } }, { ENVELOPE_ADMIN_SECRET: ADMIN });
    expect((await moved.fetch(`/wallets/${"A".repeat(22)}/auto-topup`, { headers: OWNER })).status).toBe(200);
    expect((await site.fetch("/envelopes/short/auto-topup", { headers: OWNER })).status).toBe(404);
    expect((await site.fetch("/envelopes/x/auto-topup", { method: "POST", headers: OWNER })).status).toBe(405);
  });

  const nothing = (type: string) => ({ id: nextId("evt"), object: "event", type, livemode: false });
  const session = (caller: Caller) => ({
    id: nextId("cs"),
    object: "checkout.session",
    mode: "payment",
    status: "complete",
    payment_status: "paid",
    payment_intent: nextId("pi"),
    client_reference_id: caller.reference,
    currency: "usd",
    amount_total: 100,
    amount_subtotal: 100,
  });
});

describe("options.autoTopUp", () => {
  const ok = { threshold: "200", amount: "1000" };
  it.each([
    [{ amount: "1000" }, "threshold"],
    [{ threshold: "200" }, "amount"],
    [{ ...ok, amount: "0" }, "amount"],
    [{ ...ok, amount: "10.5" }, "amount"],
    [{ ...ok, threshold: -1 }, "threshold"],
    [{ ...ok, maxPerWindow: 0 }, "maxPerWindow"],
    [{ ...ok, maxPerWindow: 101 }, "maxPerWindow"],
    [{ ...ok, maxPerWindow: 1.5 }, "maxPerWindow"],
    [{ ...ok, windowSeconds: 59 }, "windowSeconds"],
    [{ ...ok, windowSeconds: Number.NaN }, "windowSeconds"],
    [{ ...ok, ceilingPerWindow: "999" }, "ceilingPerWindow"],
    [{ ...ok, coolDownSeconds: -1 }, "coolDownSeconds"],
    [{ ...ok, coolDownSeconds: 86_401 }, "coolDownSeconds"],
    [{ ...ok, limit: 3 }, "limit"],
    [null, "autoTopUp"],
  ])("%j is a TypeError that names it", (autoTopUp, name) => {
    expect(() => withEnvelope(() => new Response(), { autoTopUp } as never)).toThrow(TypeError);
    expect(() => withEnvelope(() => new Response(), { autoTopUp } as never)).toThrow(name);
  });
});

// The rules by themselves.

function micros(changes: Partial<AutoTopUpRules>): AutoTopUpRules {
  return {
    threshold_micros: 2_000_000 as Micros,
    amount_micros: 10_000_000 as Micros,
    max_per_window: 3,
    ceiling_micros: 30_000_000 as Micros,
    window_ms: 86_400_000,
    cool_down_ms: 0,
    ...(changes as Partial<AutoTopUpRules>),
  };
}

const SAVED: AutoTopUp = { enabled: true, customer: "cus", payment_method: "pm", stopped: null, since_topup_id: 0 };
const NOW = 1_000_000_000;
const attemptOf = (changes: Partial<Attempt> = {}): Attempt => ({
  topup_id: 1,
  status: "SUCCEEDED",
  amount_micros: 10_000_000 as Micros,
  failure: null,
  code: null,
  at_ms: NOW - 1000,
  ended_at_ms: NOW - 1000,
  ...changes,
});
const failed = (failure: Attempt["failure"], topup_id = 1) => attemptOf({ status: "FAILED", failure, topup_id });
const factsOf = (changes: Partial<AutoTopUpFacts> = {}, balance = 0): AutoTopUpFacts => ({
  account: {
    balance_micros: balance as Micros,
    held_micros: 0 as Micros,
    frozen: false,
    funded: true,
    currency: "usd",
  },
  open_disputes: 0,
  saved: SAVED,
  attempts: [],
  currency: "usd",
  ...changes,
});

describe("the table of states", () => {
  const account = factsOf().account;
  const cases: [string, Partial<AutoTopUpFacts>, Partial<AutoTopUpRules>, unknown][] = [
    ["ready", {}, {}, { charge_micros: 10_000_000 }],
    ["no card", { saved: undefined }, {}, { no: "none" }],
    ["off", { saved: { ...SAVED, enabled: false } }, {}, { no: "off" }],
    ["stopped by a dispute", { saved: { ...SAVED, stopped: "dispute" } }, {}, { no: "stopped" }],
    ["under way", { attempts: [attemptOf({ status: "PENDING", ended_at_ms: null })] }, {}, { no: "pending" }],
    ["frozen", { account: { ...account, frozen: true } }, {}, { no: "frozen" }],
    ["disputed", { open_disputes: 1 }, {}, { no: "disputed" }],
    ["another currency", { currency: "eur" }, {}, { no: "currency" }],
    ["cooling down", { attempts: [attemptOf()] }, { cool_down_ms: 1001 }, { no: "cool_down" }],
    ["cooled down", { attempts: [attemptOf()] }, { cool_down_ms: 1000 }, { charge_micros: 10_000_000 }],
    ["a clock set back", { attempts: [attemptOf({ at_ms: NOW + 5000 })] }, { cool_down_ms: 1 }, { no: "cool_down" }],
    ["as often as may be", { attempts: [attemptOf()] }, { max_per_window: 1 }, { no: "count" }],
    ["a declined one counts", { attempts: [failed("declined")] }, { max_per_window: 1 }, { no: "count" }],
    [
      "a window ago",
      { attempts: [attemptOf()] },
      { max_per_window: 1, window_ms: 1000 },
      { charge_micros: 10_000_000 },
    ],
    ["as much as may be", { attempts: [attemptOf()] }, { ceiling_micros: 19_999_999 as Micros }, { no: "ceiling" }],
    ["two declines", { attempts: [failed("declined", 2), failed("declined")] }, {}, { charge_micros: 10_000_000 }],
    ["three declines", { attempts: [3, 2, 1].map((id) => failed("declined", id)) }, {}, { no: "stopped" }],
    [
      "three declines before it was enabled",
      { attempts: [3, 2, 1].map((id) => failed("declined", id)), saved: { ...SAVED, since_topup_id: 3 } },
      { max_per_window: 9, ceiling_micros: 90_000_000 as Micros },
      { charge_micros: 10_000_000 },
    ],
    ["authentication", { attempts: [failed("authentication_required")] }, {}, { no: "stopped" }],
    ["unknown outcome", { attempts: [failed("outcome_unknown")] }, {}, { no: "stopped" }],
    ["rejected", { attempts: [failed("rejected")] }, {}, { no: "stopped" }],
    ["canceled", { attempts: [failed("canceled")] }, {}, { charge_micros: 10_000_000 }],
    [
      "no room for more",
      { account: { ...account, balance_micros: (Number.MAX_SAFE_INTEGER - 1) as Micros } },
      {},
      { no: "range" },
    ],
  ];
  it.each(cases)("%s", (_name, facts, rules, expected) => {
    expect(decideAutoTopUp(factsOf(facts), micros(rules), NOW)).toEqual(expected);
  });

  it.each([
    [199, undefined, true],
    [200, undefined, false],
    [200, 150, false],
    [200, 300, true],
    [200, 1200, true],
    [200, 1201, false],
    [-50, undefined, true],
  ])("%i cents left and %s refused: low is %s", (left, refused, low) => {
    const price = refused === undefined ? undefined : ((refused * 10_000) as Micros);
    expect(isLow(micros({}), (left * 10_000) as Micros, price)).toBe(low);
  });

  it("asks again only while that cannot charge twice", () => {
    const sending = { payment_id: null, tries: 1, first_try_ms: NOW, unwanted: false };
    expect(decideSending(sending, NOW + 1)).toBe("ask");
    expect(decideSending(sending, NOW + 23 * 3_600_000)).toEqual({ giveUp: "outcome_unknown" });
    expect(decideSending({ ...sending, unwanted: true }, NOW)).toEqual({ giveUp: "outcome_unknown" });
    expect(decideSending({ ...sending, tries: 0, first_try_ms: null, unwanted: true }, NOW)).toEqual({
      giveUp: "canceled",
    });
    expect(decideSending({ ...sending, payment_id: "pi", unwanted: true }, NOW + 1e12)).toBe("ask");
  });
});

describe("properties of the rules", () => {
  const told: fc.Arbitrary<TopUpState> = fc.oneof(
    fc.constant<TopUpState>({ status: "PENDING", payment_id: "pi", failure: null, code: null }),
    fc.constant<TopUpState>({ status: "SUCCEEDED", payment_id: "pi", failure: null, code: null }),
    fc.constantFrom("canceled", "outcome_unknown", "declined", "rejected", "authentication_required").map(
      (failure): TopUpState => ({
        status: "FAILED",
        payment_id: null,
        failure: failure as TopUpState["failure"],
        code: failure,
      }),
    ),
  );

  it("a top-up's state only climbs, and any order and number of the same news ends the same", () => {
    fc.assert(
      fc.property(fc.array(told, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 12 }), (news, picks) => {
        const start: TopUpState = { status: "PENDING", payment_id: null, failure: null, code: null };
        const fold = (list: readonly TopUpState[]) =>
          list.reduce((known, one) => climbTopUp(known, one) ?? known, start);
        const again = picks.flatMap((pick) => news[pick % Math.max(1, news.length)] ?? []);
        expect(fold([...again, ...[...news].reverse()])).toEqual(fold(news));
      }),
    );
  });

  const act = fc.record({
    advance_ms: fc.nat({ max: 40_000 }),
    end: fc.constantFrom("PENDING", "SUCCEEDED", "FAILED"),
    failure: fc.constantFrom("declined", "canceled"),
    late: fc.boolean(),
  });

  it("never more than N attempts or the ceiling in any window, one under way, a pause between them", () => {
    fc.assert(
      fc.property(
        fc.array(act, { maxLength: 60 }),
        fc.record({
          max: fc.integer({ min: 1, max: 5 }),
          ceiling: fc.integer({ min: 1, max: 6 }),
          cool: fc.nat({ max: 20_000 }),
        }),
        (acts, { max, ceiling, cool }) => {
          const window_ms = 100_000;
          const rules = micros({
            max_per_window: max,
            ceiling_micros: (ceiling * 10_000_000) as Micros,
            window_ms,
            cool_down_ms: cool,
          });
          const made: Attempt[] = [];
          let now = NOW;
          for (const { advance_ms, end, failure, late } of acts) {
            now += advance_ms;
            const [newest] = made;
            if (newest?.status === "PENDING" && end !== "PENDING") {
              made[0] = {
                ...newest,
                status: end as Attempt["status"],
                failure: end === "FAILED" ? (failure as "declined") : null,
                ended_at_ms: now,
              };
            }
            // What had failed turns out to be paid.
            if (late && newest?.status === "FAILED") made[0] = { ...newest, status: "SUCCEEDED", failure: null };
            const decision = decideAutoTopUp(factsOf({ attempts: made }), rules, now);
            if (!("charge_micros" in decision)) continue;
            expect(made.some(({ status }) => status === "PENDING")).toBe(false);
            if (made[0] !== undefined) expect(now - (made[0].ended_at_ms ?? 0)).toBeGreaterThanOrEqual(cool);
            made.unshift(attemptOf({ topup_id: made.length + 1, status: "PENDING", at_ms: now, ended_at_ms: null }));
            const recent = made.filter(({ at_ms }) => at_ms > now - window_ms);
            expect(recent.length).toBeLessThanOrEqual(max);
            expect(recent.length * 10_000_000).toBeLessThanOrEqual(rules.ceiling_micros);
          }
          const stopped = standing(SAVED, made).stopped;
          const lastThree = made.filter(({ failure }) => failure !== "canceled").slice(0, 3);
          const declined = lastThree.length === 3 && lastThree.every(({ failure }) => failure === "declined");
          expect(stopped).toBe(declined ? "declined" : null);
        },
      ),
      { numRuns: 300 },
    );
  });
});
