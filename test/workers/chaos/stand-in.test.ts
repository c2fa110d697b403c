/** The stand-in for Stripe's API is asked by the official client: what it gets wrong here, other tests would get wrong with it. */
import Stripe from "stripe";
import { beforeEach, describe, expect, it } from "vitest";
import { StripeStandIn } from "../../stripe/stand-in.js";

let standIn: StripeStandIn;
let stripe: Stripe;

const client = (key: string, maxNetworkRetries = 0) =>
  new Stripe(key, { httpClient: Stripe.createFetchHttpClient(standIn.fetch), telemetry: false, maxNetworkRetries });

beforeEach(() => {
  standIn = new StripeStandIn();
  stripe = client(standIn.key);
});

/** The error of a call that is to fail. */
const errorOf = (call: Promise<unknown>): Promise<InstanceType<typeof Stripe.errors.StripeError>> =>
  call.then(
    () => Promise.reject(new Error("It did not fail")),
    (error) => error,
  );

/** The client hands out a `Headers` that it declares as a plain object; this reads either. */
const isReplayed = ({ lastResponse }: Stripe.Response<object>): boolean =>
  new Headers(lastResponse.headers).get("Idempotent-Replayed") === "true";

const paid = (amount = 1000) => standIn.account.checkout({ reference: "r", amount });

describe("reading", () => {
  it("every object of a disputed payment, by its id", async () => {
    const session = paid();
    const pi = String(session.payment_intent);
    const refund = standIn.account.refund(pi, 100);
    const dispute = standIn.account.dispute(pi, 900);
    const warning = standIn.account.warn(pi);

    const intent = await stripe.paymentIntents.retrieve(pi, { expand: ["latest_charge"] });
    const charge = intent.latest_charge as Stripe.Charge;
    expect(intent).toMatchObject({ object: "payment_intent", status: "succeeded", amount_received: 1000 });
    expect(charge.payment_method_details?.card).toMatchObject({ fingerprint: "Xt5EWLLDS7FJjR1c", funding: "credit" });
    expect((await stripe.paymentMethods.retrieve(String(charge.payment_method))).card?.last4).toBe("4242");
    expect((await stripe.charges.retrieve(charge.id)).amount_refunded).toBe(100);
    expect(await stripe.checkout.sessions.retrieve(session.id)).toMatchObject({ payment_status: "paid" });
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({ amount: 100, payment_intent: pi });
    expect(await stripe.disputes.retrieve(dispute.id)).toMatchObject({ status: "needs_response" });
    expect(await stripe.radar.earlyFraudWarnings.retrieve(warning.id)).toMatchObject({ payment_intent: pi });
    expect(standIn.account.booksOf(pi)).toEqual({ collected: 1000, refunded: 100, withdrawn: 0, reinstated: 0 });
  });

  it("expands through several objects", async () => {
    const { id } = paid();
    const expand = ["payment_intent.latest_charge"];
    const { payment_intent } = await stripe.checkout.sessions.retrieve(id, { expand });
    expect(((payment_intent as Stripe.PaymentIntent).latest_charge as Stripe.Charge).amount).toBe(1000);
  });

  it("lists by filter, newest first, in pages", async () => {
    const sessions = Array.from({ length: 25 }, () => paid());
    const [one] = sessions;
    const found = await stripe.checkout.sessions.list({ payment_intent: String(one?.payment_intent) });
    expect(found.data.map(({ id }) => id)).toEqual([one?.id]);
    const all = await stripe.checkout.sessions.list({ limit: 10 }).autoPagingToArray({ limit: 100 });
    expect(all.map(({ id }) => id)).toEqual(sessions.map(({ id }) => id).reverse());
  });

  it("lists events by type, and those after one that is known", async () => {
    for (let payment = 0; payment < 3; payment++) paid();
    const types = ["checkout.session.completed"];
    const newest = await stripe.events.list({ types });
    expect(newest.data.map(({ type }) => type)).toEqual(Array(3).fill("checkout.session.completed"));
    const oldest = newest.data.at(-1)?.id ?? "";
    const after = await stripe.events.list({ types, ending_before: oldest });
    expect(after.data).toEqual(newest.data.slice(0, 2));
    expect(await stripe.events.retrieve(oldest)).toMatchObject({ type: "checkout.session.completed" });
  });

  it("no object, no key, no such filter", async () => {
    expect(await errorOf(stripe.refunds.retrieve("re_none"))).toMatchObject({
      type: "StripeInvalidRequestError",
      statusCode: 404,
      code: "resource_missing",
    });
    const { id } = standIn.account.intent({ amount: 1, currency: "usd" });
    expect((await errorOf(stripe.refunds.retrieve(id))).statusCode).toBe(404);
    expect(await errorOf(client("sk_test_wrong").customers.list())).toMatchObject({
      type: "StripeAuthenticationError",
    });
    expect(await errorOf(stripe.charges.list({ transfer_group: "g" }))).toMatchObject({ code: "parameter_unknown" });
  });
});

describe("PaymentIntents off session", () => {
  const topUp = async (payment_method = "pm_card_visa", options: Stripe.RequestOptions = {}, from = stripe) => {
    const { id: customer } = await from.customers.create({ email: "payer@example.com" });
    return from.paymentIntents.create(
      {
        amount: 2500,
        currency: "usd",
        customer,
        payment_method,
        off_session: true,
        confirm: true,
        metadata: { envelope_topup: "1", number: "007" },
        automatic_payment_methods: { enabled: true, allow_redirects: "never" },
      },
      options,
    );
  };

  it("succeeds, is collected, and makes its events", async () => {
    const intent = await topUp();
    expect(intent).toMatchObject({ status: "succeeded", metadata: { envelope_topup: "1", number: "007" } });
    expect(standIn.account.booksOf(intent.id).collected).toBe(2500);
    expect(standIn.account.events.map(({ type }) => type)).toEqual([
      "customer.created",
      "payment_intent.created",
      "charge.succeeded",
      "payment_intent.succeeded",
    ]);
  });

  it("takes the programmed outcomes in turn", async () => {
    standIn.outcomes.push("processing", "card_declined", "requires_action");
    const processing = await topUp();
    expect(processing.status).toBe("processing");
    expect(await errorOf(topUp())).toMatchObject({ type: "StripeCardError", code: "card_declined", statusCode: 402 });
    const needsPayer = await errorOf(topUp());
    expect(needsPayer).toMatchObject({ code: "authentication_required", decline_code: "authentication_required" });
    expect(needsPayer.payment_intent).toMatchObject({ status: "requires_payment_method" });
    expect((await topUp()).status).toBe("succeeded");
    standIn.account.collect(standIn.account.get("payment_intent", processing.id));
    expect((await stripe.paymentIntents.retrieve(processing.id)).status).toBe("succeeded");
  });

  it.each([
    ["pm_card_chargeDeclined", "card_declined"],
    ["pm_card_authenticationRequired", "authentication_required"],
    ["pm_nobody", "resource_missing"],
  ])("%s is %s", async (payment_method, code) => {
    expect((await errorOf(topUp(payment_method))).code).toBe(code);
    expect([...standIn.account.books.values()].every(({ collected }) => collected === 0)).toBe(true);
  });

  it("an answer that was lost is found again with the same key, and nothing is collected twice", async () => {
    const retrying = client(standIn.key, 1);
    const { id: customer } = await stripe.customers.create({});
    const params = { amount: 100, currency: "usd", customer, payment_method: "pm_card_visa", confirm: true };
    standIn.outcomes.push("timeout", "timeout");
    const intent = await retrying.paymentIntents.create(params, { idempotencyKey: "attempt-1" });
    expect(intent.status).toBe("succeeded");
    expect(isReplayed(intent)).toBe(true);
    expect(standIn.account.books.size).toBe(1);

    standIn.answersToLose = 1;
    expect((await errorOf(stripe.paymentIntents.create(params))).type).toBe("StripeConnectionError");
  });

  it("refuses what the API no longer takes", async () => {
    const params = { amount: 100, currency: "usd", payment_method_types: ["card"] } as Stripe.PaymentIntentCreateParams;
    expect(await errorOf(stripe.paymentIntents.create(params))).toMatchObject({
      code: "parameter_unknown",
      param: "payment_method_types",
    });
    const none = { currency: "usd" } as Stripe.PaymentIntentCreateParams;
    expect(await errorOf(stripe.paymentIntents.create(none))).toMatchObject({ code: "parameter_missing" });
  });
});

describe("Idempotency-Key", () => {
  const refund = (idempotencyKey: string, amount = 100) =>
    stripe.refunds.create(
      { payment_intent: [...standIn.account.books.keys()][0] as string, amount },
      { idempotencyKey },
    );

  it("the same key and parameters: the stored answer, marked", async () => {
    const pi = String(paid().payment_intent);
    const [one, two] = [await refund("k"), await refund("k")];
    expect(two.id).toBe(one.id);
    expect([one, two].map(isReplayed)).toEqual([false, true]);
    expect(standIn.account.booksOf(pi).refunded).toBe(100);
  });

  it("other parameters: 400", async () => {
    paid();
    await refund("k");
    expect(await errorOf(refund("k", 200))).toMatchObject({ type: "StripeIdempotencyError", statusCode: 400 });
  });

  it("at the same time: 409, and the first goes on", async () => {
    const pi = String(paid().payment_intent);
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    standIn.pause = () => gate;
    const first = refund("k");
    expect(await errorOf(refund("k"))).toMatchObject({ statusCode: 409, code: "idempotency_key_in_use" });
    go();
    expect((await first).amount).toBe(100);
    expect(standIn.account.booksOf(pi).refunded).toBe(100);
  });

  it("a 500 and a declined card are stored; a request that was refused is not", async () => {
    const params = { amount: 100, currency: "usd", payment_method: "pm_card_visa", confirm: true };
    for (const [outcome, statusCode] of [
      ["server_error", 500],
      ["card_declined", 402],
    ] as const) {
      standIn.outcomes.push(outcome);
      for (let attempt = 0; attempt < 2; attempt++) {
        const error = await errorOf(stripe.paymentIntents.create(params, { idempotencyKey: outcome }));
        expect(error.statusCode).toBe(statusCode);
      }
    }
    const pi = String(paid().payment_intent);
    const ask = (amount: number) => stripe.refunds.create({ payment_intent: pi, amount }, { idempotencyKey: "r" });
    expect((await errorOf(ask(1001))).message).toContain("greater than unrefunded amount");
    expect((await ask(1000)).status).toBe("succeeded");
  });
});

describe("an owner's set-up", () => {
  const metadata = { with_envelope: "topup" };

  it("product, price where the customer chooses, link and endpoint; found again by metadata", async () => {
    const product = await stripe.products.create({ name: "2024", metadata });
    const price = await stripe.prices.create({
      currency: "usd",
      product: product.id,
      custom_unit_amount: { enabled: true, minimum: 500, preset: 2000 },
      metadata,
    });
    expect(price.custom_unit_amount).toEqual({ enabled: true, minimum: 500, preset: 2000 });
    const link = await stripe.paymentLinks.create({
      line_items: [{ price: price.id, quantity: 1 }],
      after_completion: {
        type: "redirect",
        redirect: { url: "https://w.example/paid?session_id={CHECKOUT_SESSION_ID}" },
      },
      payment_method_types: ["card", "link"],
      metadata,
    });
    expect(link.after_completion.redirect?.url).toContain("{CHECKOUT_SESSION_ID}");
    const endpoint = await stripe.webhookEndpoints.create({
      url: "https://w.example/stripe-webhook",
      enabled_events: ["refund.created", "refund.failed"],
      metadata,
    });
    expect(endpoint).toMatchObject({ status: "enabled", enabled_events: ["refund.created", "refund.failed"] });
    expect(endpoint.secret).toMatch(/^whsec_/);

    const again = await stripe.webhookEndpoints.list();
    expect(again.data.map(({ secret, metadata: { with_envelope } }) => [secret, with_envelope])).toEqual([
      [undefined, "topup"],
    ]);
    expect((await stripe.products.list({ active: true })).data).toMatchObject([{ name: "2024", metadata }]);
    expect((await stripe.prices.list({ product: product.id })).data).toHaveLength(1);
    await stripe.paymentLinks.update(link.id, { active: false, metadata: { other: "1" } });
    expect(await stripe.paymentLinks.retrieve(link.id)).toMatchObject({
      active: false,
      metadata: { ...metadata, other: "1" },
    });
    await stripe.webhookEndpoints.del(endpoint.id);
    expect((await stripe.webhookEndpoints.list()).data).toEqual([]);
  });
});

describe("an outage", () => {
  it("is an error, or silence; nothing is done, and no key is used up", async () => {
    const pi = String(paid().payment_intent);
    const ask = () => stripe.refunds.create({ payment_intent: pi }, { idempotencyKey: "r" });
    standIn.outage = "error";
    expect(await errorOf(ask())).toMatchObject({ type: "StripeAPIError", statusCode: 500 });
    standIn.outage = "unreachable";
    expect((await errorOf(ask())).type).toBe("StripeConnectionError");
    expect(standIn.account.booksOf(pi).refunded).toBe(0);
    standIn.outage = "none";
    expect((await ask()).amount).toBe(1000);
  });
});
