/** T27 to T47: what Stripe's webhook does with money, with duplicates and with junk. */
import { abortAllDurableObjects } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  Envelope,
  EnvelopeDirectory,
  type EnvelopeOptions,
  type Incident,
  type UnclaimedPayment,
  unclaimedPayments,
} from "../../../src/index.js";
import type { Micros } from "../../../src/money.js";
import { envelopeStub } from "../../../src/stubs.js";
import { completed, nextId, type Problem, refund, Site, sessionEvent, sign, WEBHOOK_SECRETS } from "../support.js";

const site = new Site();
afterEach(() => vi.restoreAllMocks());

const unclaimed = async (payment_id: string): Promise<UnclaimedPayment | undefined> =>
  (await unclaimedPayments(env)).find((one) => one.payment_id === payment_id);

describe("one credit per payment", () => {
  it("T30 T31 the same event 100 times, at once and later", async () => {
    const { reference, envelope } = await site.newcomer();
    const event = completed({ client_reference_id: reference, amount_total: 1234 });
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => site.outcomeOf(event)));
    expect(outcomes.filter((outcome) => outcome === "credited")).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === "duplicate")).toHaveLength(99);
    expect(await site.outcomeOf(event)).toBe("duplicate");
    const entries = await envelope.entries();
    expect(entries).toMatchObject([{ kind: "topup", amount_micros: 12_340_000, balance_micros: 12_340_000 }]);
  });

  it("T32 completed and async_payment_succeeded of one PaymentIntent, in either order", async () => {
    for (const order of [0, 1]) {
      const { reference, envelope } = await site.newcomer();
      const fields = { client_reference_id: reference, payment_intent: nextId("pi") };
      const events = [
        sessionEvent("checkout.session.completed", fields),
        sessionEvent("checkout.session.async_payment_succeeded", fields),
      ];
      const outcomes = await Promise.all(
        (order === 0 ? events : events.reverse()).map((event) => site.outcomeOf(event)),
      );
      expect(outcomes.sort()).toEqual(["credited", "duplicate"]);
      expect((await envelope.state()).balance_micros).toBe(5_000_000);
    }
  });

  it("a session without a PaymentIntent stands for itself", async () => {
    const { reference, envelope } = await site.newcomer();
    const event = completed({ client_reference_id: reference, payment_intent: null });
    expect([await site.outcomeOf(event), await site.outcomeOf(event)]).toEqual(["credited", "duplicate"]);
    expect(await envelope.entries()).toHaveLength(1);
  });

  it("T43 the answer was lost after the credit: Stripe's retry finds it done", async () => {
    const { reference, envelope } = await site.newcomer();
    const event = completed({ client_reference_id: reference });
    const real = Envelope.prototype.report;
    vi.spyOn(Envelope.prototype, "report").mockImplementationOnce(async function (this: Envelope, input) {
      await real.call(this, input);
      throw new Error("killed before the answer");
    });
    expect((await new Site({ onIncident: () => undefined }).webhook(event)).status).toBe(503);
    expect(await site.outcomeOf(event)).toBe("duplicate");
    expect(await envelope.entries()).toHaveLength(1);
  });

  it("T42 an envelope that cannot be reached is a 503, and nothing is half-written", async () => {
    const { reference, envelope } = await site.newcomer();
    const event = completed({ client_reference_id: reference });
    vi.spyOn(Envelope.prototype, "report").mockRejectedValueOnce(new Error("storage is gone"));
    const response = await new Site({ onIncident: () => undefined }).webhook(event);
    expect([response.status, response.headers.get("Retry-After")]).toEqual([503, "1"]);
    expect(await envelope.entries()).toEqual([]);
    await abortAllDurableObjects();
    expect(await site.outcomeOf(event)).toBe("credited");
  });

  it("T35 somebody else's reference is a gift: it credits their envelope and gives the payer nothing", async () => {
    const [owner, stranger] = [await site.newcomer(), await site.newcomer()];
    const event = completed({
      client_reference_id: owner.reference,
      customer_details: { name: "A Stranger", email: "stranger@example.org" },
    });
    expect(await site.outcomeOf(event)).toBe("credited");
    expect(await owner.me()).toMatchObject({ balance: 500, name: null, email: null });
    expect(await stranger.me()).toMatchObject({ balance: 0, registered: false });
  });
});

describe("delayed methods", () => {
  it("completed + unpaid is answered 200 pending, and credited when the money comes", async () => {
    const { reference, envelope } = await site.newcomer();
    const fields = { client_reference_id: reference, payment_intent: nextId("pi") };
    const opened = await site.webhook(completed({ ...fields, payment_status: "unpaid" }));
    expect([opened.status, await opened.json()]).toEqual([200, { received: true, outcome: "pending" }]);
    expect(await envelope.state()).toMatchObject({ balance_micros: 0, funded: false });
    expect(await site.outcomeOf(sessionEvent("checkout.session.async_payment_succeeded", fields))).toBe("credited");
    expect(await site.outcomeOf(completed({ ...fields, payment_status: "unpaid" }))).toBe("duplicate");
    expect((await envelope.state()).balance_micros).toBe(5_000_000);
  });

  it("a failed one takes nothing, and a failure that arrives late takes nothing back", async () => {
    const { reference, envelope } = await site.newcomer();
    const fields = { client_reference_id: reference, payment_intent: nextId("pi") };
    await site.outcomeOf(completed({ ...fields, payment_status: "unpaid" }));
    expect(await site.outcomeOf(sessionEvent("checkout.session.async_payment_failed", fields))).toBe("ignored");
    expect(await envelope.entries()).toEqual([]);
    expect(await site.outcomeOf(sessionEvent("checkout.session.async_payment_succeeded", fields))).toBe("credited");
    expect(await site.outcomeOf(sessionEvent("checkout.session.async_payment_failed", fields))).toBe("duplicate");
    expect((await envelope.state()).balance_micros).toBe(5_000_000);
  });

  it("nothing due credits nothing", async () => {
    const { reference, envelope } = await site.newcomer();
    const free = completed({
      client_reference_id: reference,
      payment_status: "no_payment_required",
      amount_total: 0,
      payment_intent: null,
    });
    expect(await site.outcomeOf(free)).toBe("ignored");
    expect(await envelope.entries()).toEqual([]);
  });
});

describe("what becomes credit", () => {
  const amounts = {
    amount_total: 1190,
    amount_subtotal: 1000,
    total_details: { amount_discount: 100, amount_shipping: 100, amount_tax: 190 },
  };
  const cases: [NonNullable<EnvelopeOptions["stripe"]>, number][] = [
    [{}, 900],
    [{ credit: "net" }, 900],
    [{ credit: "total" }, 1190],
    [{ credit: "subtotal" }, 1000],
  ];
  it.each(cases)("%o of the same payment: %i", async (stripe, credited) => {
    const one = new Site({ stripe });
    const { reference, envelope } = await one.newcomer();
    expect(await one.outcomeOf(completed({ client_reference_id: reference, ...amounts }))).toBe("credited");
    expect((await envelope.state()).balance_micros).toBe(credited * 10_000);
  });

  it("yen are whole, fils are thousandths", async () => {
    for (const [currency, amount, micros] of [
      ["jpy", 5000, 5_000_000_000],
      ["kwd", 5000, 5_000_000],
    ] as const) {
      const one = new Site({ currency });
      const { reference, envelope } = await one.newcomer();
      expect(await one.outcomeOf(completed({ client_reference_id: reference, amount_total: amount, currency }))).toBe(
        "credited",
      );
      expect((await envelope.state()).balance_micros).toBe(micros);
    }
  });
});

describe("T34 T36 T38 what cannot be credited is kept for the owner, once, and never credited", () => {
  const mine = new Site({ stripe: { paymentLinks: ["plink_1"] } }, { STRIPE_SECRET_KEY: "sk_test_0123456789abcdef" });
  const cases: [string, Record<string, unknown>, Record<string, unknown>][] = [
    ["currency", { currency: "jpy", amount_total: 5000 }, {}],
    ["currency", { currency_conversion: { source_currency: "eur" } }, {}],
    ["mode", { mode: "subscription", payment_intent: null }, {}],
    ["mode", { mode: "setup" }, {}],
    ["link", { payment_link: "plink_other" }, {}],
    ["link", { payment_link: null }, {}],
    ["livemode", {}, { livemode: true }],
    ["amount", { amount_total: 0 }, {}],
    ["amount", { amount_total: -5 }, {}],
    ["amount", { amount_total: null }, {}],
    ["amount", { amount_total: 1.5 }, {}],
    ["amount", { amount_total: 2 ** 53 }, {}],
    ["amount", { amount_total: 9_007_199_254_740_991 }, {}],
    ["amount", { amount_total: 100, total_details: { amount_tax: 60, amount_shipping: 50 } }, {}],
    ["malformed", { payment_status: "something_new" }, {}],
  ];
  it.each(cases)("%s: %o %o", async (reason, fields, event) => {
    const { reference, envelope } = await mine.newcomer();
    const payment_intent = "payment_intent" in fields ? fields["payment_intent"] : nextId("pi");
    const sent = completed({ client_reference_id: reference, ...fields, payment_intent }, event);
    const id = String(payment_intent ?? sent.data.object["id"]);
    expect(await mine.outcomeOf(sent)).toBe("unclaimed");
    expect(await mine.outcomeOf(sent)).toBe("unclaimed");
    expect(await unclaimed(id)).toMatchObject({ reason, event_id: sent.id, client_reference_id: reference });
    expect(await envelope.state()).toMatchObject({ balance_micros: 0, currency: null });
  });

  it("T34 money decides an envelope's currency: not a freeze, and not a payment that was given to another", async () => {
    const euros = new Site({ currency: "eur" });
    const caller = await euros.newcomer();
    const stub = env.ENVELOPE.getByName(caller.id);
    await stub.freeze({ frozen: true, currency: "usd" });
    await stub.disown({ payment_id: nextId("pi"), currency: "usd", assignment: 1 });
    const pay = (currency: string) => completed({ client_reference_id: caller.reference, currency });
    expect(await euros.outcomeOf(pay("eur"))).toBe("credited");
    expect(await caller.envelope.state()).toMatchObject({ currency: "eur", balance_micros: 5_000_000, frozen: true });
    await stub.freeze({ frozen: false, currency: "usd" });
    expect((await caller.envelope.state()).currency).toBe("eur");
    expect(await new Site().outcomeOf(pay("usd"))).toBe("unclaimed");
  });

  it.each([
    ["https://buy.stripe.com/abc", true, "credited"],
    ["https://buy.stripe.com/abc", false, "unclaimed"],
    ["https://buy.stripe.com/test_abc", true, "unclaimed"],
    ["https://buy.stripe.com/test_abc", false, "credited"],
    // At an address of the owner's own, nothing tells the mode.
    ["https://pay.example.com/abc", false, "credited"],
  ])("T34 without a key, the link %s says whether livemode %s counts: %s", async (link, livemode, outcome) => {
    const keyless = new Site({}, { STRIPE_SECRET_KEY: "", STRIPE_PAYMENT_LINK: link });
    const { reference } = await keyless.newcomer();
    expect(await keyless.outcomeOf(completed({ client_reference_id: reference }, { livemode }))).toBe(outcome);
  });

  const references = ["e1_forged", `e1_${"x".repeat(198)}`, null, "", "somebody", "e1_é"];
  it.each(references)("T36 a reference that is not ours: %j", async (client_reference_id) => {
    const payment_intent = nextId("pi");
    expect(await mine.outcomeOf(completed({ client_reference_id, payment_intent }))).toBe("unclaimed");
    expect((await unclaimed(payment_intent))?.reason).toBe(
      client_reference_id ? "reference_invalid" : "reference_missing",
    );
  });

  it("T36 a genuine reference with any character changed is a forgery", async () => {
    const { reference } = await mine.newcomer();
    for (const at of [3, 10, 24, 26, 30, 48]) {
      const changed = reference.slice(0, at) + (reference[at] === "a" ? "b" : "a") + reference.slice(at + 1);
      expect(await mine.outcomeOf(completed({ client_reference_id: changed }))).toBe("unclaimed");
    }
  });

  it("a pending one that would not be creditable waits for the money before it is listed", async () => {
    const payment_intent = nextId("pi");
    const fields = { client_reference_id: null, payment_intent };
    expect(await mine.outcomeOf(completed({ ...fields, payment_status: "unpaid" }))).toBe("ignored");
    expect(await unclaimed(payment_intent)).toBeUndefined();
    expect(await mine.outcomeOf(sessionEvent("checkout.session.async_payment_succeeded", fields))).toBe("unclaimed");
  });

  it("an envelope keeps its currency: a later payment in another one is unclaimed", async () => {
    const { reference } = await site.payer(5);
    const euros = new Site({ currency: "eur" });
    expect(await euros.outcomeOf(completed({ client_reference_id: reference, currency: "eur" }))).toBe("unclaimed");
  });

  it("plainly not ours is ignored", async () => {
    const ignored = [
      completed({ client_reference_id: "shop-7", payment_link: "plink_shop" }),
      completed({ client_reference_id: null, payment_link: null }),
      completed({ client_reference_id: null }, { account: "acct_other" }),
      sessionEvent("customer.created", {}),
      { ...completed({}), type: "checkout.session.something_new" },
    ];
    for (const event of ignored) expect(await mine.outcomeOf(event)).toBe("ignored");
  });

  it("T34 two Workers on one account: neither lists what the other one sold, and neither loses its own", async () => {
    const [key, base] = ["sk_test_0123456789abcdef", "http://stripe.test"];
    const worker = (secret: string, link: string) =>
      new Site(
        { stripe: { paymentLinks: [link] } },
        { ENVELOPE_SECRET: secret, STRIPE_SECRET_KEY: key, STRIPE_API_BASE: base },
      );
    const ours = worker("ours-root-secret-0123456789-abcdefghij", "plink_ours");
    const theirs = worker("theirs-root-secret-0123456789-abcdefghij", "plink_theirs");
    const [caller, other] = [await ours.newcomer(), await theirs.newcomer()];
    const session = completed({ client_reference_id: other.reference, payment_link: "plink_theirs" });
    expect([await ours.outcomeOf(session), await theirs.outcomeOf(session)]).toEqual(["ignored", "credited"]);
    // With a reference of ours it is ours, by whatever link; and so is everything by our link.
    const elsewhere = completed({ client_reference_id: caller.reference, payment_link: "plink_theirs" });
    expect(await ours.outcomeOf(elsewhere)).toBe("unclaimed");
    const broken = completed({ client_reference_id: other.reference, payment_link: "plink_ours" });
    expect(await ours.outcomeOf(broken)).toBe("unclaimed");
  });

  it("T34 a PaymentIntent that another Worker asked for is not listed, and one of our own is, whoever made its reference", async () => {
    const { reference, id } = await site.newcomer();
    const forged = `${reference.slice(0, -1)}${reference.endsWith("a") ? "b" : "a"}`;
    const intent = (attempt: string | null, text = forged) => ({
      ...completed({}),
      type: "payment_intent.succeeded",
      data: {
        object: {
          id: nextId("pi"),
          object: "payment_intent",
          amount: 500,
          amount_received: 500,
          currency: "usd",
          metadata: { with_envelope_reference: text, ...(attempt !== null && { with_envelope_topup: attempt }) },
        },
      },
    });
    expect(await site.outcomeOf(intent("an-attempt-of-another-worker"))).toBe("ignored");
    expect(await env.ENVELOPE.getByName(id).state({})).toMatchObject({ currency: null });
    const begun = await env.ENVELOPE.getByName(id).beginTopUp({
      key: nextId("key"),
      amount_micros: 5_000_000 as Micros,
      currency: "usd",
      reference,
    });
    if (begun.outcome !== "begun") throw new Error("The top-up did not begin");
    expect(await site.outcomeOf(intent(begun.attempt))).toBe("unclaimed");
    // Of no shape that would name an envelope, or of no top-up of ours at all: kept, as there is nobody to ask.
    expect(await site.outcomeOf(intent(begun.attempt, "e1_short"))).toBe("unclaimed");
    expect(await site.outcomeOf(intent(null))).toBe("unclaimed");
  });

  it("T42 a directory that cannot be reached is a 503, and the payment is not lost", async () => {
    const event = completed({ client_reference_id: null, payment_intent: nextId("pi") });
    vi.spyOn(EnvelopeDirectory.prototype, "recordUnclaimed").mockRejectedValueOnce(new Error("storage is gone"));
    expect((await new Site({ onIncident: () => undefined }).webhook(event)).status).toBe(503);
    expect(await site.outcomeOf(event)).toBe("unclaimed");
  });
});

describe("T27 T28 T29 what is not signed by Stripe", () => {
  const event = JSON.stringify(completed({}));
  const post = (body: BodyInit, header: string | null) =>
    site.fetch("/stripe-webhook", {
      method: "POST",
      body,
      headers: header === null ? {} : { "Stripe-Signature": header },
    });
  const seconds = () => Math.floor(Date.now() / 1000);

  it("is 400 with one constant text, whatever was wrong", async () => {
    const good = await sign(event, WEBHOOK_SECRETS[0]);
    const headers = [
      null,
      "",
      "garbage",
      "v1",
      await sign(event, "whsec_wrong_0123456789abcdef"),
      await sign(event, WEBHOOK_SECRETS[0], seconds() - 301),
      await sign(event, WEBHOOK_SECRETS[0], seconds() + 302),
      good.replace("v1=", "v0="),
      good.toUpperCase(),
      `${good},t=${seconds()}`,
      good.replace(/t=(\d+)/, "t=$1xyz"),
      `${good}${`,v1=${"0".repeat(64)}`.repeat(8)}`,
      `${good}${",v1=x".repeat(20_000)}`,
    ];
    const texts = new Set<string>();
    for (const header of headers) {
      const response = await post(event, header);
      expect(response.status).toBe(400);
      texts.add(await response.text());
    }
    expect(texts.size).toBe(1);
    expect([...texts][0]).not.toContain("evt_");
  });

  it("T44 either of two secrets is accepted", async () => {
    for (const secret of WEBHOOK_SECRETS) {
      const { reference } = await site.newcomer();
      const response = await site.webhook(completed({ client_reference_id: reference }), secret);
      expect(await response.json()).toEqual({ received: true, outcome: "credited" });
    }
  });

  it("T28 a body above 256 KB, or without an end, is 413", async () => {
    const large = JSON.stringify({ filler: "x".repeat(300_000) });
    expect((await post(large, await sign(large, WEBHOOK_SECRETS[0]))).status).toBe(413);
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536)) });
    expect((await post(endless, `t=${seconds()},v1=${"0".repeat(64)}`)).status).toBe(413);
  });

  it.each(["null", "[]", '"text"', "42", "not json", "{}", '{"object":"event"}'])(
    "T29 signed %s is 200 and ignored",
    async (body) => {
      const response = await post(body, await sign(body, WEBHOOK_SECRETS[0]));
      expect([response.status, await response.json()]).toEqual([200, { received: true, outcome: "ignored" }]);
    },
  );

  it.each([null, [], "text", {}])(
    "T29 a signed event whose data.object is %j is kept for the owner",
    async (object) => {
      const sent = { ...completed({}), data: { object } };
      expect(await site.outcomeOf(sent)).toBe("unclaimed");
      expect((await unclaimed(sent.id))?.reason).toBe("malformed");
    },
  );

  it("bytes that are not UTF-8, and a byte order mark, are refused", async () => {
    const bytes = new Uint8Array([0xff, 0xfe, 0x7b, 0x7d]);
    expect((await post(bytes, await sign(new TextDecoder().decode(bytes), WEBHOOK_SECRETS[0]))).status).toBe(400);
    const marked = new Uint8Array([0xef, 0xbb, 0xbf, ...new TextEncoder().encode(event)]);
    expect((await post(marked, await sign(event, WEBHOOK_SECRETS[0]))).status).toBe(400);
  });

  it("T47 a missing or placeholder secret is a 500 that names the variable, never its value", async () => {
    for (const value of ["", "whsec_", "whsec_...", "whsec_a0123456789, ", "whsec_replace_me"]) {
      const unset = new Site({ onIncident: () => undefined }, { STRIPE_WEBHOOK_SECRET: value });
      const response = await unset.webhook(completed({}));
      expect(response.status).toBe(500);
      expect((await response.json<Problem>())["detail"]).toMatch(
        /^STRIPE_WEBHOOK_SECRET (is not set|holds a blank or placeholder secret)\.$/,
      );
    }
  });

  it("answers only POST, on both of its paths", async () => {
    expect((await site.fetch("/stripe-webhook")).status).toBe(405);
    expect((await site.fetch("/stripe/webhook", { method: "POST", body: "{}" })).status).toBe(400);
  });
});

describe("T89 a refund that fails when its money does not fit any more", () => {
  it("is filed and told to the owner, and booked with Stripe's next word once it fits", async () => {
    const incidents: Incident[] = [];
    const telling = new Site({ onIncident: (one) => incidents.push(one) });
    const caller = await telling.newcomer();
    const payment_intent = nextId("pi");
    await telling.outcomeOf(completed({ client_reference_id: caller.reference, payment_intent, amount_total: 1000 }));
    const made = refund(payment_intent, 400);
    expect(await telling.outcomeOf(made)).toBe("reversed");
    const stub = envelopeStub(env, caller.id);
    const grant = { op: nextId("op"), key: nextId("grant"), currency: "usd" };
    const room_micros = Number.MAX_SAFE_INTEGER - 6_000_000;
    expect(await stub.grant({ ...grant, amount_micros: room_micros as Micros })).toMatchObject({ outcome: "granted" });

    const failed = refund(payment_intent, 400, { id: made.data.object.id, status: "failed" });
    const said = { ...failed, type: "refund.failed" };
    expect(await telling.outcomeOf(said)).toBe("ignored");
    expect(incidents).toContainEqual({
      kind: "unbooked_reversal",
      payment_id: payment_intent,
      envelope_id: caller.id,
      amount_micros: 4_000_000,
    });
    expect(await telling.outcomeOf(said)).toBe("duplicate");
    await stub.charge({ op: nextId("op"), currency: "usd", amount_micros: 5_000_000 as Micros });
    expect(await telling.outcomeOf(said)).toBe("reversed");
    expect((await caller.envelope.state()).balance_micros).toBe(Number.MAX_SAFE_INTEGER - 1_000_000);
    expect(await telling.outcomeOf(said)).toBe("duplicate");
  });
});
