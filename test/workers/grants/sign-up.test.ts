import { describe, expect, it } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import { completed, type Me, nextId, refund, reversalEvent, Site } from "../support.js";

const identify = (request: Request) => request.headers.get("X-User") ?? undefined;
const as = (user: string) => ({ headers: { "X-User": user } });
const GRANT = { amount: "300", to: "identified", expiresInSeconds: 3_600, priority: 10 } as const;

const siteOf = (signUpGrant: object, vouches = true) =>
  new Site(
    { signUpGrant: signUpGrant as never, ...(vouches && { identify }) },
    {},
    () => new Response("ok", { headers: { "X-Price": "100" } }),
  );

describe("a sign-up grant for who the app vouches for", () => {
  it("is given with the first look or the first priced request, once, however many come at once", async () => {
    const site = siteOf(GRANT);
    const user = crypto.randomUUID();
    const answers = await Promise.all(Array.from({ length: 8 }, () => site.fetch("/work", as(user))));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 402)).toHaveLength(5);
    const looked = await (await site.fetch("/me", as(crypto.randomUUID()))).json<Me>();
    expect(looked).toMatchObject({
      balance: 300,
      promotional_micros: 3_000_000,
      paid_micros: 0,
      registered: true,
      lots: [{ seq: 1, priority: 10, only: null }],
    });
    const { expiring } = looked as unknown as { expiring: { at_ms: number } };
    expect(expiring.at_ms - Date.now()).toBeGreaterThan(3_500_000);
    const entries = await envelopeOf(site.env, { identity: user }).entries();
    expect(entries.filter(({ kind }) => kind === "grant")).toMatchObject([{ key: "sign-up", reason: "sign-up" }]);
  });

  it("T57 is not for an identity of ours, which costs nothing: a new cookie or token is given nothing, and no object is asked", async () => {
    const site = siteOf(GRANT);
    const newcomer = await site.newcomer();
    expect(await newcomer.me()).toMatchObject({ balance: 0, registered: false });
    expect((await newcomer.fetch("/work")).status).toBe(402);
    expect((await site.fetch("/work")).status).toBe(402);
    expect(await newcomer.me()).toMatchObject({ balance: 0, registered: false });
  });

  it("an envelope itself gives nothing to a call that comes with a credential, whatever the Worker says", async () => {
    const site = siteOf(GRANT);
    const payer = await site.payer(5);
    const { ENVELOPE } = site.env as Cloudflare.Env;
    const sign_up = { amount_micros: 5, lasts_ms: null, priority: 50, only: null } as never;
    const credential = { generation: 1, hash: "h" };
    await ENVELOPE.getByName(payer.id).charge({
      op: "x",
      currency: "usd",
      amount_micros: 1 as never,
      credential,
      sign_up,
    });
    expect((await payer.envelope.entries()).filter(({ kind }) => kind === "grant")).toEqual([]);
  });

  it("free pages give nothing and ask nobody", async () => {
    const site = new Site({ identify, signUpGrant: GRANT }, { ENVELOPE: undefined }, () => new Response("free"));
    expect((await site.fetch("/free", as("somebody"))).status).toBe(200);
  });
});

describe("a sign-up grant for who pays", () => {
  const site = siteOf({ amount: "300", to: "payers" }, false);
  const pay = (reference: string, amount_total: number, payment_intent = nextId("pi")) =>
    site.webhook(completed({ client_reference_id: reference, amount_total, payment_intent }));

  it("comes with the first top-up, never more than that, and with no other", async () => {
    const caller = await site.newcomer();
    await pay(caller.reference, 200);
    expect(await caller.envelope.state()).toMatchObject({ paid_micros: 2_000_000, promotional_micros: 2_000_000 });
    await pay(caller.reference, 500);
    expect(await caller.envelope.state()).toMatchObject({ paid_micros: 7_000_000, promotional_micros: 2_000_000 });
    const rich = await site.newcomer();
    await pay(rich.reference, 1_000);
    expect(await rich.envelope.state()).toMatchObject({ paid_micros: 10_000_000, promotional_micros: 3_000_000 });
  });

  it("T30 T32 is given once for all deliveries of that payment", async () => {
    const caller = await site.newcomer();
    const event = completed({ client_reference_id: caller.reference, amount_total: 200 });
    await Promise.all(Array.from({ length: 5 }, () => site.webhook(event)));
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: 4_000_000 });
  });

  it("T39 what is left of it goes when that payment is taken back, also if the refund came first, and does not come again", async () => {
    const caller = await site.newcomer();
    await pay(caller.reference, 200, "pi_taken_back");
    await caller.fetch("/work");
    expect(await caller.envelope.state()).toMatchObject({ paid_micros: 2_000_000, promotional_micros: 1_000_000 });
    await site.webhook(refund("pi_taken_back", 200));
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: 0, promotional_micros: 0, lots: [] });
    // What was spent of it and is given back is gone, too.
    expect(await caller.envelope.refund({ seq: 3 }, { key: "back" })).toMatchObject({ expired_micros: 1_000_000 });
    await pay(caller.reference, 200);
    expect(await caller.envelope.state()).toMatchObject({ balance_micros: 2_000_000, promotional_micros: 0 });

    const early = await site.newcomer();
    await site.webhook(refund("pi_refunded_early", 200));
    await pay(early.reference, 200, "pi_refunded_early");
    expect(await early.envelope.state()).toMatchObject({ balance_micros: 0, promotional_micros: 0 });
  });
});

describe("T33 T39 T41 a gift whose payment is taken back and comes again", () => {
  const site = siteOf({ amount: "300", to: "payers" }, false);
  type Story = readonly (readonly [
    event: "paid" | "refunded" | "failed" | "withdrawn" | "reinstated",
    minute: number,
  ])[];

  const eventOf = (reference: string, payment_intent: string, [what, minute]: Story[number]) => {
    const created = { created: 1_700_000_000 + 60 * minute };
    const dispute = { id: `du_${payment_intent}`, object: "dispute", payment_intent, amount: 500 };
    switch (what) {
      case "paid":
        return completed({ client_reference_id: reference, amount_total: 500, payment_intent });
      case "refunded":
        return { ...refund(payment_intent, 500, { id: `re_${payment_intent}` }), ...created };
      case "failed":
        return {
          ...refund(payment_intent, 500, { id: `re_${payment_intent}`, status: "failed" }),
          type: "refund.failed",
          ...created,
        };
      case "withdrawn":
        return {
          ...reversalEvent("charge.dispute.funds_withdrawn", { ...dispute, status: "under_review" }),
          ...created,
        };
      default:
        return { ...reversalEvent("charge.dispute.funds_reinstated", { ...dispute, status: "won" }), ...created };
    }
  };

  const orders = <One>(all: readonly One[]): One[][] =>
    all.length === 0
      ? [[]]
      : all.flatMap((one, index) => orders(all.filter((_, other) => other !== index)).map((rest) => [one, ...rest]));

  const STORIES: readonly (readonly [story: Story, promotional_micros: number])[] = [
    [
      [
        ["paid", 0],
        ["refunded", 1],
      ],
      0,
    ],
    [
      [
        ["paid", 0],
        ["refunded", 1],
        ["failed", 2],
      ],
      3_000_000,
    ],
    [
      [
        ["paid", 0],
        ["withdrawn", 1],
      ],
      0,
    ],
    [
      [
        ["paid", 0],
        ["withdrawn", 1],
        ["reinstated", 2],
      ],
      3_000_000,
    ],
    [
      [
        ["paid", 0],
        ["refunded", 1],
        ["failed", 2],
        ["withdrawn", 3],
      ],
      0,
    ],
  ];

  for (const [story, promotional_micros] of STORIES) {
    it(`is ${promotional_micros} after ${story.map(([what]) => what).join(", ")}, in every order`, async () => {
      for (const order of orders(story)) {
        const caller = await site.newcomer();
        const payment_intent = nextId("pi");
        for (const one of order) {
          expect((await site.webhook(eventOf(caller.reference, payment_intent, one))).status).toBe(200);
        }
        expect(await caller.envelope.state(), JSON.stringify(order)).toMatchObject({ promotional_micros });
        await pay(caller.reference, 500);
        expect(await caller.envelope.state(), "with another").toMatchObject({ promotional_micros });
      }
    });
  }

  it("comes again as much as went, and no more: what was spent of it stays spent", async () => {
    const caller = await site.newcomer();
    const payment_intent = nextId("pi");
    const tell = (what: Story[number][0], minute: number) =>
      site.webhook(eventOf(caller.reference, payment_intent, [what, minute]));
    await tell("paid", 0);
    await caller.fetch("/work");
    const news = [
      ["withdrawn", 0],
      ["reinstated", 2_000_000],
      ["refunded", 0],
      ["failed", 2_000_000],
    ] as const;
    for (const [index, [what, promotional_micros]] of news.entries()) {
      await tell(what, index + 1);
      expect(await caller.envelope.state()).toMatchObject({ promotional_micros });
    }
    const grants = (await caller.envelope.entries()).filter(({ kind }) => kind === "grant");
    expect(grants.map(({ amount_micros }) => amount_micros)).toEqual([3_000_000, 2_000_000, 2_000_000]);
  });

  const pay = (reference: string, amount_total: number) =>
    site.webhook(completed({ client_reference_id: reference, amount_total, payment_intent: nextId("pi") }));
});

describe("what is said of a wrong option", () => {
  const CASES: readonly (readonly [name: string, options: object, vouches: boolean])[] = [
    ["options.signUpGrant.amount", { ...GRANT, amount: "0" }, true],
    ["options.signUpGrant.amount", { ...GRANT, amount: "-1" }, true],
    ["options.signUpGrant.to", { amount: "1" }, true],
    ["options.signUpGrant.to", { ...GRANT, to: "everybody" }, true],
    ["options.identify", GRANT, false],
    ["options.signUpGrant.priority", { ...GRANT, priority: 101 }, true],
    ["options.signUpGrant.expiresInSeconds", { ...GRANT, expiresInSeconds: 0 }, true],
    ["options.signUpGrant.only", { ...GRANT, only: "" }, true],
    ["options.signUpGrant.gift", { ...GRANT, gift: true }, true],
  ];
  for (const [message, options, vouches] of CASES) {
    it(`${message}: ${JSON.stringify(options)}`, () => {
      expect(() => siteOf(options, vouches)).toThrow(message);
    });
  }
});
