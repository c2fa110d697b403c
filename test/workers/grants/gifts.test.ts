/** What a first payment brings besides, where it meets what else there is: holds, refunds, other grants, other payments, an assignment, a clock. */
import { evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Entry, LotView } from "../../../src/contract.js";
import { assignPayment } from "../../../src/index.js";
import { type Random, randomOf } from "../../stripe/random.js";
import { type Caller, completed, nextId, refund, reversalEvent, Site } from "../support.js";

afterEach(() => {
  vi.useRealTimers();
});

const CENT = 10_000;
const PAID = 500;
const GIFT = 300;
const signUpGrant = { amount: GIFT, to: "payers" } as const;
const ADMIN = "an-owners-secret-0123456789-abcdefghij";
const site = new Site({ signUpGrant }, { ENVELOPE_ADMIN_SECRET: ADMIN });

type News = "paid" | "refunded" | "failed" | "withdrawn" | "reinstated";
const MINUTE: Readonly<Record<News, number>> = { paid: 0, refunded: 1, failed: 2, withdrawn: 3, reinstated: 4 };

function eventOf(news: News, caller: Caller, payment_intent: string) {
  const at = <Event extends object>(event: Event) => ({ ...event, created: 1_700_000_000 + 60 * MINUTE[news] });
  const dispute = { id: `du_${payment_intent}`, object: "dispute", payment_intent, amount: 100 };
  const id = `re_${payment_intent}`;
  switch (news) {
    case "paid":
      return completed({ client_reference_id: caller.reference, amount_total: PAID, payment_intent });
    case "refunded":
      return at(refund(payment_intent, 200, { id }));
    case "failed":
      return at({ ...refund(payment_intent, 200, { id, status: "failed" }), type: "refund.failed" });
    case "withdrawn":
      return at(reversalEvent("charge.dispute.funds_withdrawn", { ...dispute, status: "under_review" }));
    case "reinstated":
      return at(reversalEvent("charge.dispute.funds_reinstated", { ...dispute, status: "won" }));
  }
}

async function tell(caller: Caller, payment: string, ...all: readonly News[]): Promise<void> {
  for (const news of all) expect((await site.webhook(eventOf(news, caller, payment))).status, news).toBe(200);
}

/** What is left of the gift, and of all grants. */
async function given({ envelope }: Caller): Promise<{ readonly gift: number; readonly all: number }> {
  const { lots, promotional_micros } = await envelope.state();
  const grants = (await envelope.entries(0, 1_000)).filter(({ key }) => key === "sign-up");
  const [gift] = lots.filter((lot: LotView) => grants.some(({ seq }) => seq === lot.seq));
  return { gift: (gift?.remaining_micros ?? 0) / CENT, all: promotional_micros / CENT };
}

async function held(caller: Caller, max: number) {
  const hold = await caller.envelope.hold(max, { key: nextId("hold") });
  if (hold.outcome !== "held") throw new Error(`The hold is ${hold.outcome}`);
  return hold;
}

async function charged(caller: Caller, price: number): Promise<number> {
  const charge = await caller.envelope.charge(price, { key: nextId("charge") });
  if (charge.outcome !== "charged" || charge.seq === null) throw new Error(`The charge is ${charge.outcome}`);
  return charge.seq;
}

describe("T33 T39 T41 a gift whose payment is taken back and comes again", () => {
  it("keeps what a hold had reserved of it meanwhile, once the hold lets it go", async () => {
    const caller = await site.newcomer();
    await tell(caller, nextId("pi"), "paid");
    const hold = await held(caller, 200);
    const before = await caller.envelope.entries();
    const payment = String(before[0]?.payment_id);
    await tell(caller, payment, "withdrawn");
    expect(await given(caller)).toMatchObject({ gift: 200 });
    await tell(caller, payment, "reinstated");
    await hold.release();
    expect(await given(caller)).toEqual({ gift: GIFT, all: GIFT });
  });

  it("keeps what a hold let go of while it was taken back", async () => {
    const caller = await site.newcomer();
    const payment = nextId("pi");
    await tell(caller, payment, "paid");
    const hold = await held(caller, 200);
    await tell(caller, payment, "withdrawn");
    await hold.release();
    expect(await given(caller)).toEqual({ gift: 0, all: 0 });
    await tell(caller, payment, "reinstated");
    expect(await given(caller)).toEqual({ gift: GIFT, all: GIFT });
  });

  it("takes back what was spent of it and is given back, whenever that is", async () => {
    for (const when of ["before", "between", "after"] as const) {
      const caller = await site.newcomer();
      const payment = nextId("pi");
      await tell(caller, payment, "paid");
      const seq = await charged(caller, 250);
      const back = () => caller.envelope.refund({ seq }, { key: nextId("back") });
      if (when === "before") await back();
      await tell(caller, payment, "withdrawn");
      if (when === "between") await back();
      await tell(caller, payment, "reinstated");
      if (when === "after") await back();
      expect(await given(caller), when).toEqual({ gift: GIFT, all: GIFT });
    }
  });

  it("does not come again where the owner took it back, before or meanwhile", async () => {
    for (const when of ["before", "meanwhile"] as const) {
      const caller = await site.newcomer();
      const payment = nextId("pi");
      await tell(caller, payment, "paid");
      const [, grant] = await caller.envelope.entries();
      const revoke = () => caller.envelope.revoke({ seq: (grant as Entry).seq }, { key: nextId("revoke") });
      if (when === "before") await revoke();
      await tell(caller, payment, "refunded");
      if (when === "meanwhile") await revoke();
      await tell(caller, payment, "failed", "withdrawn", "reinstated", "paid");
      expect(await given(caller), when).toEqual({ gift: 0, all: 0 });
    }
  });

  it("is taken back by its owner as what it is, also where it came again", async () => {
    const caller = await site.newcomer();
    const payment = nextId("pi");
    await tell(caller, payment, "paid", "refunded", "failed");
    const [, grant] = await caller.envelope.entries();
    const revoked = await caller.envelope.revoke({ seq: (grant as Entry).seq }, { key: "revoke" });
    expect(revoked).toMatchObject({ outcome: "revoked", amount_micros: GIFT * CENT });
  });

  it("T87 is over when it is over, whatever becomes of its payment", async () => {
    const short = new Site({ signUpGrant: { ...signUpGrant, expiresInSeconds: 60 } });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    const caller = await short.newcomer();
    const payment = nextId("pi");
    await tellAt(short, caller, payment, "paid");
    const hold = await held(caller, 100);
    vi.setSystemTime(Date.now() + 61_000);
    expect(await given(caller)).toMatchObject({ gift: 100 });
    await tellAt(short, caller, payment, "withdrawn", "reinstated");
    await hold.release();
    expect(await given(caller)).toEqual({ gift: 0, all: 0 });
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: PAID * CENT });
    // Nor does the ledger say that it came again, only to be gone at once.
    expect((await caller.envelope.entries()).filter(({ kind }) => kind === "grant")).toHaveLength(1);
  });

  it("shares no lot: with a grant on the same terms neither takes from the other", async () => {
    const caller = await site.newcomer();
    const payment = nextId("pi");
    // As many lots as there may be: one more grant on these terms joins another, and the gift does not.
    for (let one = 0; one < 64; one++) await caller.envelope.grant(1, { key: `promotion-${one}` });
    await tell(caller, payment, "paid");
    await caller.envelope.grant(7, { key: "joins" });
    expect(await given(caller)).toEqual({ gift: GIFT, all: 64 + GIFT + 7 });
    await tell(caller, payment, "withdrawn");
    expect(await given(caller)).toEqual({ gift: 0, all: 64 + 7 });
    await tell(caller, payment, "reinstated");
    expect(await given(caller)).toEqual({ gift: GIFT, all: 64 + GIFT + 7 });
  });

  it("is given beside as many lots as there may be, and nothing joins it where there is no other of its terms", async () => {
    const caller = await site.newcomer();
    for (let one = 0; one < 64; one++) await caller.envelope.grant(1, { key: `promotion-${one}`, priority: 60 });
    await tell(caller, nextId("pi"), "paid");
    expect(await given(caller)).toEqual({ gift: GIFT, all: 64 + GIFT });
    expect(await caller.envelope.grant(7, { key: "joins-none" })).toMatchObject({ outcome: "invalid" });
  });

  it("goes and comes also once the owner gives no more of them", async () => {
    const caller = await site.newcomer();
    const payment = nextId("pi");
    await tell(caller, payment, "paid");
    const stub = (env as Cloudflare.Env).ENVELOPE.getByName(caller.id);
    for (const [news, gift] of [
      ["withdrawn", 0],
      ["reinstated", GIFT],
    ] as const) {
      await evictDurableObject(stub);
      await tellAt(new Site(), caller, payment, news);
      expect(await given(caller)).toEqual({ gift, all: gift });
    }
  });

  const tellAt = async (at: Site, caller: Caller, payment: string, ...all: readonly News[]) => {
    for (const news of all) expect((await at.webhook(eventOf(news, caller, payment))).status).toBe(200);
  };
});

describe("who books a first payment does not matter", () => {
  const gift = { amount_micros: GIFT * CENT, lasts_ms: null, priority: 50, only: null };

  it("T32 the gift comes with the webhook's word, where somebody else booked it before", async () => {
    const caller = await site.newcomer();
    const payment_intent = nextId("pi");
    const plain = new Site();
    await plain.webhook(completed({ client_reference_id: caller.reference, amount_total: PAID, payment_intent }));
    expect(await given(caller)).toEqual({ gift: 0, all: 0 });
    await tell(caller, payment_intent, "paid", "paid");
    expect(await given(caller)).toEqual({ gift: GIFT, all: GIFT });
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: (PAID + GIFT) * CENT });
  });

  it("news of what was taken back gives nothing to who paid before there were gifts", async () => {
    const caller = await site.newcomer();
    const payment = nextId("pi");
    await new Site().webhook(
      completed({ client_reference_id: caller.reference, amount_total: PAID, payment_intent: payment }),
    );
    await tell(caller, payment, "refunded", "failed", "withdrawn", "reinstated");
    // Nor does the second payment, which is no first one.
    await tell(caller, nextId("pi"), "paid");
    expect(await given(caller)).toEqual({ gift: 0, all: 0 });
  });

  it.each([
    [
      "by code",
      async ({ id: envelopeId }: Caller, paymentId: string) =>
        assignPayment(site.env, { paymentId, envelopeId }, "usd", signUpGrant),
    ],
    [
      "in the panel",
      async ({ reference: envelopeId }: Caller, paymentId: string) => {
        const headers = {
          Authorization: `Bearer ${ADMIN}`,
          "Content-Type": "application/json",
          "Idempotency-Key": nextId("key"),
        };
        const body = JSON.stringify({ envelopeId, reason: "Theirs" });
        const path = `/db/api/unclaimed/${paymentId}/assign`;
        return (await site.fetch(path, { method: "POST", headers, body })).json();
      },
    ],
  ])("also the owner, who assigns it %s", async (_how, assign) => {
    const caller = await site.newcomer();
    const payment_intent = nextId("pi");
    await site.webhook(completed({ client_reference_id: null, amount_total: PAID, payment_intent }));
    await tell(caller, payment_intent, "refunded");
    expect(await assign(caller, payment_intent)).toEqual({ outcome: "credited" });
    expect(await given(caller)).toEqual({ gift: 0, all: 0 });
    await tell(caller, payment_intent, "failed");
    expect(await given(caller)).toEqual({ gift: GIFT, all: GIFT });
    // A second one brings nothing.
    await tell(caller, nextId("pi"), "paid");
    expect(await given(caller)).toEqual({ gift: GIFT, all: GIFT });
  });

  it("T31 all at once, with reports that carry no gift between them", async () => {
    const caller = await site.newcomer();
    const payment_id = nextId("pi");
    const stub = (env as Cloudflare.Env).ENVELOPE.getByName(caller.id);
    const payment = {
      ...{ state: "paid", session_id: "cs_1", event_id: "evt_1", currency: "usd", livemode: false },
      ...{ amount_total: PAID, amount_subtotal: PAID, amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
      credit_micros: PAID * CENT,
    } as never;
    const report = { payment_id, currency: "usd", payment };
    const told = Array.from({ length: 12 }, (_, at) => (at % 3 === 0 ? { ...report, sign_up: gift as never } : report));
    await Promise.all(told.map((one) => stub.report(one)));
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: (PAID + GIFT) * CENT });
  });
});

describe("T33 I1 random news of two payments, among all that a holder and an owner do", () => {
  const RUNS = 60;
  const NEWS: readonly (readonly News[])[] = [
    ["paid"],
    ["paid", "refunded"],
    ["paid", "refunded", "failed"],
    ["paid", "withdrawn"],
    ["paid", "withdrawn", "reinstated"],
    ["paid", "refunded", "failed", "withdrawn", "reinstated"],
    ["paid", "refunded", "withdrawn", "reinstated"],
  ];
  const stands = (news: readonly News[]) =>
    (!news.includes("refunded") || news.includes("failed")) &&
    (!news.includes("withdrawn") || news.includes("reinstated"));
  const away = (news: readonly News[]) =>
    (news.includes("refunded") && !news.includes("failed") ? 200 : 0) +
    (news.includes("withdrawn") && !news.includes("reinstated") ? 100 : 0);

  it(`in ${RUNS} orders: given back all that was spent, the gift is whole or gone`, { timeout: 120_000 }, async () => {
    const ends = new Set<string>();
    for (let run = 0; run < RUNS; run++) {
      const random = randomOf("gifts", run);
      const caller = await site.newcomer();
      const payments = [nextId("pi"), nextId("pi")].map((id) => ({ id, news: random.pick(NEWS) }));
      const told = payments.flatMap(({ id, news }) =>
        [...news, "paid" as const].map((one) => () => tell(caller, id, one)),
      );
      let granted = 0;
      const life = lifeOf(caller, random, (amount) => {
        granted += amount;
      });
      for (const act of random.shuffled([...told, ...life.acts])) await act();
      await life.end();
      const entries = await caller.envelope.entries(0, 1_000);
      const first = payments.find(({ id }) => id === entries.find(({ kind }) => kind === "topup")?.payment_id);
      const gift = first !== undefined && stands(first.news) ? GIFT : 0;
      const paid = payments.reduce((sum, { news }) => sum + PAID - away(news), 0);
      expect(await given(caller), `run ${run}`).toEqual({ gift, all: gift + granted });
      expect(await caller.envelope.state(), `run ${run}`).toMatchObject({
        balance_micros: (paid + gift + granted) * CENT,
        held_micros: 0,
      });
      ends.add(`${gift} ${payments.filter(({ news }) => stands(news)).length}`);
    }
    expect(ends.size).toBeGreaterThan(3);
  });

  /** What may come at any time. Whatever is refused was not there to be spent. */
  function lifeOf(caller: Caller, random: Random, granted: (amount: number) => void) {
    const { envelope } = caller;
    const spent: number[] = [];
    const holds: Extract<Awaited<ReturnType<typeof envelope.hold>>, { readonly outcome: "held" }>[] = [];
    const giveBack = async (): Promise<void> => {
      const seq = spent.pop();
      if (seq === undefined) return;
      expect(await envelope.refund({ seq }, { key: nextId("back") })).toMatchObject({ outcome: "refunded" });
    };
    const spend = async () => {
      const charge = await envelope.charge(random.between(1, 250), { key: nextId("charge") });
      if (charge.outcome === "charged" && charge.seq !== null) spent.push(charge.seq);
    };
    const hold = async () => {
      const taken = await envelope.hold(random.between(1, 250), { key: nextId("hold") });
      if (taken.outcome === "held") holds.push(taken);
    };
    const endHold = async () => {
      const open = holds.pop();
      if (open === undefined) return;
      const settled = random.chance(0.5) ? await open.settle(random.between(1, 250)) : await open.release();
      if (settled.outcome === "settled" && settled.seq !== null) spent.push(settled.seq);
    };
    const grant = async () => {
      const amount = random.between(1, 50);
      expect(await envelope.grant(amount, { key: nextId("grant") })).toMatchObject({ outcome: "granted" });
      granted(amount);
    };
    // One that does not run yet has nothing to be evicted.
    const evict = () =>
      evictDurableObject((env as Cloudflare.Env).ENVELOPE.getByName(caller.id)).catch(() => undefined);
    const kinds = [spend, spend, hold, hold, endHold, giveBack, grant, evict];
    return {
      acts: Array.from({ length: 10 }, () => random.pick(kinds)),
      end: async () => {
        while (holds.length > 0) await endHold();
        while (spent.length > 0) await giveBack();
      },
    };
  }
});
