/** Options are checked once, at creation, and a wrong one names its path. */
import { describe, expect, it } from "vitest";
import { type EnvelopeOptions, envelopeOf, withEnvelope } from "../../src/index.js";
import { Site } from "./support.js";

describe("a wrong option", () => {
  const cases: [unknown, string][] = [
    [{ currency: "USD" }, "options.currency"],
    [{ currency: "dollars" }, "options.currency"],
    [{ maxPrice: "1e9" }, "options.maxPrice"],
    [{ identify: "user" }, "options.identify"],
    [{ price: 5 }, "options.price"],
    [{ holdSeconds: 0 }, "options.holdSeconds"],
    [{ holdSeconds: 1.5 }, "options.holdSeconds"],
    [{ holdSeconds: 90_000 }, "options.holdSeconds"],
    [{ replaySeconds: -1 }, "options.replaySeconds"],
    [{ replaySeconds: 0.5 }, "options.replaySeconds"],
    [{ chargeWhen: true }, "options.chargeWhen"],
    [{ onOutage: "open" }, "options.onOutage"],
    [{ onInvalidPrice: "ignore" }, "options.onInvalidPrice"],
    [{ trustUpstreamPrice: "no" }, "options.trustUpstreamPrice"],
    [{ recordZero: 1 }, "options.recordZero"],
    [{ loginByPayment: "yes" }, "options.loginByPayment"],
    [{ loginByPayment: true, paths: { pay: false } }, "options.loginByPayment"],
    [{ loginByPayment: true, paths: { paid: false } }, "options.loginByPayment"],
    [{ paths: { me: "me" } }, "options.paths.me"],
    [{ paths: { me: "/a?b" } }, "options.paths.me"],
    [{ paths: { me: "/x(y" } }, "options.paths.me"],
    [{ paths: { me: "/zürück" } }, "options.paths.me"],
    [{ paths: { me: "/a/" } }, "options.paths.me"],
    [{ paths: { pay: "/me" } }, "options.paths.pay"],
    [{ paths: { wallet: "/w" } }, "options.paths.wallet"],
    [{ cors: { origins: ["*"] } }, "options.cors.origins[0]"],
    [{ cors: { origins: ["https://a.test", "null"] } }, "options.cors.origins[1]"],
    [{ cors: { origins: ["https://a.test/"] } }, "options.cors.origins[0]"],
    [{ cors: { origins: "https://a.test" } }, "options.cors.origins"],
    [{ stripe: { paymentLinks: [] } }, "options.stripe.paymentLinks"],
    [{ stripe: { paymentLinks: ["https://buy.stripe.com/x"] } }, "options.stripe.paymentLinks"],
    [{ stripe: { credit: "gross" } }, "options.stripe.credit"],
    [{ stripe: { maxCredit: "-1" } }, "options.stripe.maxCredit"],
    [{ stripe: { maxCredit: "999" }, autoTopUp: { threshold: 1, amount: 1000 } }, "options.autoTopUp.amount"],
    [{ stripe: { secret: "x" } }, "options.stripe.secret"],
    [{ stripe: { onDispute: "panic" } }, "options.stripe.onDispute"],
    [{ onIncident: {} }, "options.onIncident"],
    [{ Currency: "usd" }, "options.Currency"],
    [null, "options"],
  ];
  it.each(cases)("%j is a TypeError that names %s", (options, path) => {
    expect(() => withEnvelope(() => new Response(), options as EnvelopeOptions)).toThrow(TypeError);
    expect(() => withEnvelope(() => new Response(), options as EnvelopeOptions)).toThrow(path);
  });

  it("a handler that is none is one too", () => {
    expect(() => withEnvelope({} as never)).toThrow(TypeError);
    expect(() => withEnvelope(undefined as never)).toThrow(TypeError);
  });

  it("is never written into the caller's object", () => {
    const options = Object.freeze({ currency: "eur", paths: Object.freeze({ me: "/wallet" }) });
    withEnvelope(() => new Response(), options);
    expect(options).toEqual({ currency: "eur", paths: { me: "/wallet" } });
  });
});

describe("options.paths", () => {
  it("renames a path, and leaves the old one to the app", async () => {
    const site = new Site({ paths: { me: "/wallet/me" } });
    expect((await site.fetch("/wallet/me")).headers.get("Content-Type")).toBe("application/json");
    expect(await (await site.fetch("/me")).text()).toBe("paid content");
  });

  it("turns a path off", async () => {
    const site = new Site({ paths: { health: false, stripeWebhook: false } });
    expect(await (await site.fetch("/health")).text()).toBe("paid content");
    expect(await (await site.fetch("/stripe-webhook")).text()).toBe("paid content");
  });
});

describe("options.maxPrice", () => {
  it("T7 bounds every price, in the header and in ctx.envelope.charge", async () => {
    const site = new Site({ maxPrice: "10", onIncident: () => undefined });
    const payer = await site.payer(100);
    expect((await payer.fetch("/x?price=10")).status).toBe(200);
    expect((await payer.fetch("/x?price=10.0001")).status).toBe(500);
    const charged = await payer.fetch("/charge", { method: "POST", body: JSON.stringify({ price: "11" }) });
    expect(await charged.json()).toMatchObject({ outcome: "invalid" });
  });
});

describe("envelopeOf", () => {
  it("refuses what is not an address, a price, a key or a currency", async () => {
    expect(() => envelopeOf({}, { id: "short" })).toThrow(TypeError);
    expect(() => envelopeOf({}, { identity: "u" }, { currency: "$" })).toThrow(TypeError);
    const envelope = envelopeOf({}, { identity: "u" });
    await expect(envelope.charge("1e5", { key: "k" })).rejects.toThrow(TypeError);
    await expect(envelope.charge("1", {} as never)).rejects.toThrow("options.key");
    await expect(envelope.grant("1", { key: "k", reason: "x".repeat(300) })).rejects.toThrow("options.reason");
  });
});
