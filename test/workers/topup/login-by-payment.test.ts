/** T48 to T56: a payment says who paid, never who sits at the browser; what it may open, and what closes that again. */
import { env } from "cloudflare:workers";
import type Stripe from "stripe";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { boundNonce, cardHashes, limitedTokenFor } from "../../../src/identity/payer.js";
import { limitedCredentialOf, readLimitedToken, readToken, writeLimitedToken } from "../../../src/identity/token.js";
import { Envelope, EnvelopeDirectory, type EnvelopeOptions, envelopeOf, type Incident } from "../../../src/index.js";
import { readReference } from "../../../src/reference.js";
import { numberFromBase62 } from "../../../src/secrets.js";
import { keysOf } from "../../../src/settings.js";
import { directoryStub } from "../../../src/shards.js";
import { envelopeStub } from "../../../src/stubs.js";
import { StripeAccount } from "../../stripe/account.js";
import type { Charge, Event, Session } from "../../stripe/objects.js";
import { type Me, Site } from "../support.js";

type Card = Partial<Stripe.Charge.PaymentMethodDetails.Card>;

const BASE = "http://stripe.test";
const VARS = { STRIPE_SECRET_KEY: "sk_test_0123456789", STRIPE_API_BASE: BASE };
const incidents: Incident[] = [];
const siteOf = (options: EnvelopeOptions = {}, vars: Record<string, unknown> = {}) =>
  new Site({ loginByPayment: true, onIncident: (one) => incidents.push(one), ...options }, { ...VARS, ...vars });
const site = siteOf();
const keys = keysOf(site.env);

/** No underscore: an id of Stripe's is letters and digits after its prefix. */
const account = new StripeAccount({ name: crypto.randomUUID().replaceAll("-", "") });
const asked: string[] = [];
let stripeIsDown = false;

/** Stripe's API as far as the return page asks it. */
function answerStripe(request: Request): Response {
  const url = new URL(request.url);
  if (url.origin !== BASE) throw new Error(`Nobody should ask ${url.origin}`);
  asked.push(url.pathname);
  if (stripeIsDown) throw new TypeError("the network is gone");
  const id = /^\/v1\/checkout\/sessions\/(\w+)$/.exec(url.pathname)?.[1] ?? "";
  const session = account.objects.get(id);
  if (request.method !== "GET" || session?.object !== "checkout.session") {
    return Response.json({ error: { type: "invalid_request_error", code: "resource_missing" } }, { status: 404 });
  }
  expect(url.searchParams.getAll("expand[0]")).toEqual(["payment_intent.latest_charge"]);
  const intent = session.payment_intent === null ? null : account.get("payment_intent", session.payment_intent);
  const charge = intent?.latest_charge == null ? null : account.get("charge", intent.latest_charge);
  return Response.json({ ...session, payment_intent: intent && { ...intent, latest_charge: charge } });
}

beforeEach(() => {
  incidents.length = 0;
  asked.length = 0;
  stripeIsDown = false;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => answerStripe(new Request(input, init)));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function later(minutes: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + minutes * 60_000 });
}

/** Until the offer of this page can be accepted: its ticket lasts ten minutes, and counts after the first. */
function waitFor(html: string): void {
  const from = numberFromBase62((formOf(html)["ticket"] ?? "").slice(0, 8)) - 9 * 60_000;
  if (Number.isFinite(from) && Date.now() < from) vi.useFakeTimers({ toFake: ["Date"], now: from });
}

const put = <T extends object>(target: T, fields: Partial<T>): void => void Object.assign(target, fields);

let cards = 0;
const newCard = (fields: Card = {}): Card => ({ fingerprint: `Fp${Date.now()}${cards++}`, ...fields });

/** A browser: it keeps cookies, and nothing else. */
class Browser {
  readonly jar = new Map<string, string>();
  readonly site: Site;

  constructor(at: Site = site) {
    this.site = at;
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.jar.size > 0) headers.set("Cookie", [...this.jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const response = await this.site.fetch(path, { redirect: "manual", ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (/Max-Age=0\b/.test(cookie)) this.jar.delete(name);
      else this.jar.set(name, value);
    }
    return response;
  }

  /** Follows /pay, and answers the reference it leads to Stripe with. */
  async reference(): Promise<string> {
    const response = await this.fetch("/pay");
    expect(response.status).toBe(303);
    return new URL(response.headers.get("Location") ?? "").searchParams.get("client_reference_id") ?? "";
  }

  async pays(card: Card, amount = 1000): Promise<Session> {
    return pay(await this.reference(), card, amount, this.site);
  }

  async returns(session: Session | string): Promise<string> {
    const id = typeof session === "string" ? session : session.id;
    const response = await this.fetch(`/paid?session_id=${id}`);
    expect(response.status).toBe(200);
    return response.text();
  }

  async sends(fields: Record<string, string>, headers: HeadersInit = {}): Promise<Response> {
    return this.fetch("/paid", { method: "POST", body: new URLSearchParams(fields), headers });
  }

  /** Waits as long as the page says, and sends its form, filled in by whoever has the card. */
  async accepts(html: string, last4 = "4242"): Promise<Response> {
    waitFor(html);
    return this.sends({ ...formOf(html), last4 });
  }

  async me(): Promise<Me & { readonly limited?: boolean; readonly limited_sessions?: readonly unknown[] }> {
    return (await this.fetch("/me")).json();
  }

  get own(): string {
    return this.jar.get("__Host-we") ?? "";
  }

  get limited(): string | undefined {
    return this.jar.get("__Host-we_limited");
  }

  get envelopeId(): string {
    return readToken(keys.token, this.own)?.envelopeId ?? "";
  }

  get envelope() {
    return envelopeOf(env, { id: this.envelopeId });
  }
}

function formOf(html: string): Record<string, string> {
  return Object.fromEntries(
    [...html.matchAll(/name="(\w+)" value="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]),
  );
}

const kindOf = (html: string): "open" | "remember" | "plain" | "again" | "foreign" => {
  if (html.includes("started in another browser")) return "foreign";
  if (html.includes("Open it")) return "open";
  if (html.includes("Keep this card")) return "remember";
  return html.includes("Try again") ? "again" : "plain";
};

/** A payer finishes Stripe's page. */
async function pay(reference: string, card: Card, amount = 1000, at: Site = site): Promise<Session> {
  const session = account.checkout({ reference, amount, card });
  await deliver(at);
  return session;
}

let delivered = 0;
async function deliver(at: Site = site): Promise<void> {
  for (; delivered < account.events.length; delivered++) {
    expect((await at.webhook(account.events[delivered] as Event)).status).toBe(200);
  }
}

/** What the webhook was sent when `change` happened at Stripe, undelivered. */
function eventsOf(change: () => unknown): readonly Event[] {
  const before = account.events.length;
  change();
  delivered = account.events.length;
  return account.events.slice(before);
}

/** A browser whose card is kept for its envelope. */
async function holder(card: Card, amount = 1000, at: Site = site): Promise<Browser> {
  const browser = new Browser(at);
  const page = await browser.returns(await browser.pays(card, amount));
  expect(kindOf(page)).toBe("remember");
  expect(await (await browser.accepts(page)).text()).toContain("Card kept");
  return browser;
}

async function heldCard(): Promise<Card> {
  const card = newCard();
  await holder(card);
  return card;
}

/** Another browser that paid with the same card, and sees the offer. */
async function offered(card: Card, at: Site = site): Promise<{ browser: Browser; session: Session; page: string }> {
  const browser = new Browser(at);
  const session = await browser.pays(card, 300);
  const page = await browser.returns(session);
  expect(kindOf(page)).toBe("open");
  return { browser, session, page };
}

async function admitted(card: Card, at: Site = site): Promise<{ browser: Browser; session: Session }> {
  const { browser, session, page } = await offered(card, at);
  expect((await browser.accepts(page)).status).toBe(303);
  expect(browser.limited).toMatch(/^we_l1_[0-9A-Za-z]{68}$/);
  return { browser, session };
}

const spend = async (browser: Browser, price = 1): Promise<string> =>
  `${(await browser.fetch(`/x?price=${price}`)).headers.get("X-Balance")}`;

const chargeOf = (session: Session): Charge =>
  account.get("charge", account.get("payment_intent", session.payment_intent ?? "").latest_charge ?? "");

describe("off, as it is by default", () => {
  it("none of it exists: no nonce, no binding, no form, no limited session", async () => {
    const off = new Site({ onIncident: (one) => incidents.push(one) }, VARS);
    const card = newCard();
    const known = await holder(card);
    const inside = await admitted(card);
    const browser = new Browser(off);
    const reference = await browser.reference();
    expect(reference).toMatch(/^e1_[0-9A-Za-z]{22}_[0-9A-Za-z]_[0-9A-Za-z]{22}$/);
    expect([...browser.jar.keys()]).toEqual(["__Host-we"]);
    const session = await pay(reference, card);
    asked.length = 0;
    expect(kindOf(await browser.returns(session))).toBe("plain");
    expect(asked).toEqual([]);
    expect((await browser.sends({ session_id: session.id, ticket: "x" })).status).toBe(405);
    expect(Object.keys(await browser.me())).not.toContain("limited");

    const same = new Browser(off);
    for (const [name, value] of inside.browser.jar) same.jar.set(name, value);
    expect((await same.me()).balance).toBe(300);
    expect((await known.me()).balance).toBe(1000);
  });

  it("without STRIPE_SECRET_KEY the page is the plain one", async () => {
    const keyless = siteOf({}, { STRIPE_SECRET_KEY: "" });
    const browser = new Browser(keyless);
    expect(kindOf(await browser.returns(await browser.pays(newCard())))).toBe("plain");
    expect(asked).toEqual([]);
  });
});

describe("GET /pay", () => {
  it("sets a nonce for an hour at most, and binds the reference to it, one way", async () => {
    const browser = new Browser();
    const response = await browser.fetch("/pay");
    const [cookie = ""] = response.headers.getSetCookie().filter((one) => one.startsWith("__Host-we_pay="));
    expect(cookie).toMatch(/^__Host-we_pay=[0-9A-Za-z]{22}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600$/);
    const text = new URL(response.headers.get("Location") ?? "").searchParams.get("client_reference_id") ?? "";
    expect(text).toMatch(/^e1_[0-9A-Za-z]{22}_[0-9A-Za-z]{12}_[0-9A-Za-z]{22}$/);
    const nonce = browser.jar.get("__Host-we_pay") ?? "";
    expect(text).not.toContain(nonce);
    const reference = readReference(keys.reference, text);
    expect(reference && boundNonce(keys.pay, ["0".repeat(22), nonce], reference)).toBe(nonce);
    expect(reference && boundNonce(keys.pay, ["0".repeat(22)], reference)).toBeUndefined();
  });

  it("the check covers the binding: it cannot be taken off, put on or exchanged", async () => {
    const [one, other] = [await new Browser().reference(), await new Browser().reference()];
    const binding = other.slice(27, 38);
    expect(readReference(keys.reference, one)).toBeDefined();
    expect(readReference(keys.reference, one.slice(0, 27) + one.slice(38))).toBeUndefined();
    expect(readReference(keys.reference, one.slice(0, 27) + binding + one.slice(38))).toBeUndefined();
    const plain = (await site.newcomer()).reference;
    expect(readReference(keys.reference, plain)).toMatchObject({ binding: undefined });
    expect(readReference(keys.reference, plain.slice(0, 27) + binding + plain.slice(27))).toBeUndefined();
  });

  it("keeps the browser's nonce, so that two tabs are both known again, and gives none to whom a cookie means nothing", async () => {
    const browser = new Browser();
    const [first, second] = [await browser.pays(newCard()), await browser.pays(newCard())];
    expect([kindOf(await browser.returns(first)), kindOf(await browser.returns(second))]).toEqual([
      "remember",
      "remember",
    ]);
    const bearer = await site.newcomer();
    expect((await bearer.fetch("/pay", { redirect: "manual" })).headers.getSetCookie()).toEqual([]);
    const own = siteOf({ identify: () => "user-1" });
    expect((await new Browser(own).fetch("/pay")).headers.getSetCookie()).toEqual([]);
  });

  it("has a cookie name of its own on local http", async () => {
    const response = await site.fetch("http://localhost:8787/pay", { redirect: "manual" });
    expect(response.headers.getSetCookie().some((one) => /^we_pay_dev=[^;]+; Path=\/; HttpOnly/.test(one))).toBe(true);
  });
});

describe("a card of one's own", () => {
  it("is kept only by asking, and then opens the envelope from another browser, only by asking", async () => {
    const card = newCard();
    const first = new Browser();
    expect(kindOf(await first.returns(await first.pays(card)))).toBe("remember");
    // Shown and not accepted: nobody has the card.
    const second = new Browser();
    expect(kindOf(await second.returns(await second.pays(card, 300)))).toBe("remember");
    const page = await first.returns(await first.pays(card));
    expect(await (await first.accepts(page)).text()).toContain("Card kept");
    expect(kindOf(await first.returns(await first.pays(card)))).toBe("plain");

    const offer = await second.returns(await second.pays(card, 300));
    // Whoever sees the page has to know the digits, so it does not show them.
    expect(offer).not.toContain("4242");
    expect(offer).not.toContain(first.envelopeId);
    expect(second.limited).toBeUndefined();
    expect(await second.me()).toMatchObject({ balance: 600, limited: false });
    expect((await second.accepts(offer)).headers.get("Location")).toBe("/paid");
    expect(await second.me()).toMatchObject({ balance: 3000, limited: true });
    expect(incidents).toContainEqual(
      expect.objectContaining({ kind: "login_by_payment", envelope_id: first.envelopeId }),
    );
  });

  it("is nothing that the webhook learns: without the return page no card is known", async () => {
    const card = newCard();
    await new Browser().pays(card);
    const other = new Browser();
    expect(kindOf(await other.returns(await other.pays(card)))).toBe("remember");
  });

  it("can be kept only by who holds the envelope: not by a cookie that was replaced, nor by a friend who paid", async () => {
    const card = newCard();
    const browser = new Browser();
    const page = await browser.returns(await browser.pays(card));
    const old = new Map(browser.jar);
    await browser.fetch("/rotate-token", { method: "POST" });
    await browser.me();
    const thief = new Browser();
    for (const [name, value] of old) thief.jar.set(name, value);
    expect(kindOf(await (await thief.accepts(page)).text())).toBe("plain");
    expect(kindOf(await thief.returns(formOf(page)["session_id"] ?? ""))).toBe("plain");
    const credential = { generation: 0, hash: "x" };
    const asked = { payment_id: "pi_x", card: "x", credential };
    expect(await envelopeStub(env, browser.envelopeId).keepCard(asked)).toEqual({ outcome: "refused" });
    // The friend knows the session and not the nonce; opened in the holder's browser, the page still only asks.
    const friend = new Browser();
    const gift = await pay(await browser.reference(), newCard());
    const other = await pay(await browser.reference(), newCard());
    expect(kindOf(await browser.returns(gift))).toBe("remember");
    expect(kindOf(await friend.returns(gift))).toBe("foreign");
    expect(kindOf(await browser.returns(gift))).toBe("plain");
    expect(kindOf(await browser.returns(other))).toBe("remember");
  });

  it("is forgotten, with all it opened, when the holder rotates the token", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser } = await admitted(card);
    expect((await known.fetch("/rotate-token", { method: "POST" })).status).toBe(200);
    expect(await browser.me()).toMatchObject({ balance: 300, limited: false });
    expect(kindOf(await browser.returns(await browser.pays(card)))).toBe("plain");
    const again = await known.returns(await known.pays(card));
    expect(kindOf(again)).toBe("remember");
    await known.accepts(again);
    await admitted(card);
  });

  it("is forgotten also when it was kept with the old token, before the new one was first used", async () => {
    const card = newCard();
    const known = await holder(newCard());
    const thief = new Browser();
    for (const [name, value] of known.jar) thief.jar.set(name, value);
    await known.fetch("/rotate-token", { method: "POST" });
    const page = await thief.returns(await thief.pays(card));
    expect(await (await thief.accepts(page)).text()).toContain("Card kept");
    const { browser } = await admitted(card);
    expect((await browser.me()).limited).toBe(true);
    await known.me();
    expect((await browser.me()).limited).toBe(false);
    expect(kindOf(await browser.returns(await browser.pays(card)))).toBe("plain");
  });

  it("is forgotten even while somebody is on the way in", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser, page } = await offered(card);
    const bear = Envelope.prototype.bear;
    vi.spyOn(Envelope.prototype, "bear").mockImplementationOnce(async function (this: Envelope, input) {
      await known.fetch("/rotate-token", { method: "POST" });
      return bear.call(this, input);
    });
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    expect(browser.limited).toBeUndefined();
  });

  it("has one owner while ENVELOPE_SECRET is being rotated: Workers that know the new one and that do not agree", async () => {
    const card = newCard();
    const next = { ENVELOPE_SECRET: "another-root-secret-9876543210-zyxwvu" };
    const newer = siteOf({}, { ...next, ENVELOPE_SECRET_PREVIOUS: "test-root-secret-0123456789-abcdefghij" });
    const [one, other] = [new Browser(newer), new Browser()];
    const pages = [await one.returns(await one.pays(card)), await other.returns(await other.pays(card))] as const;
    expect(pages.map(kindOf)).toEqual(["remember", "remember"]);
    expect(await (await one.accepts(pages[0])).text()).toContain("Card kept");
    expect(await (await other.accepts(pages[1])).text()).not.toContain("Card kept");
    const { browser } = await admitted(card, newer);
    expect((await browser.me()).balance).toBe(1000);
  });

  it("is found again after ENVELOPE_SECRET was rotated, also when the old one is gone later", async () => {
    const card = newCard();
    const known = await holder(card);
    const old = { ENVELOPE_SECRET_PREVIOUS: "test-root-secret-0123456789-abcdefghij" };
    const next = { ENVELOPE_SECRET: "another-root-secret-9876543210-zyxwvu" };
    await admitted(card, siteOf({}, { ...next, ...old }));
    const { browser } = await offered(card, siteOf({}, next));
    expect(browser.limited).toBeUndefined();
    expect((await known.me()).limited_sessions).toHaveLength(1);
  });
});

describe("T48 payment-link phishing", () => {
  it("stripeflare: takeover by sending one's own payment link", async () => {
    const card = newCard();
    const victim = await holder(card, 7072);
    const attacker = new Browser();
    const link = await attacker.reference();
    const before = { attacker: new Map(attacker.jar), victim: new Map(victim.jar) };

    // The victim pays the attacker's genuine link with the known card, and comes back.
    const session = await pay(link, card, 500);
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    expect(await victim.me()).toMatchObject({ balance: 7072, limited: false });

    // The attacker's browser, which predecessors logged in here, has a gift and nothing else.
    expect(await attacker.me()).toMatchObject({ balance: 500, limited: false, name: null, email: null });
    expect(kindOf(await (await attacker.fetch("/paid")).text())).toBe("plain");
    expect(kindOf(await attacker.returns("cs_test_guessed"))).toBe("plain");
    for (const browser of [attacker, victim]) expect(browser.limited).toBeUndefined();
    expect(attacker.own).toBe(before.attacker.get("__Host-we"));
    expect(victim.own).toBe(before.victim.get("__Host-we"));
    // Nor is the victim's card the attacker's now.
    const { browser } = await admitted(card);
    expect((await browser.me()).balance).toBe(7072);
  });

  it("a victim whose card is not known yet gives the attacker no claim to it", async () => {
    const card = newCard();
    const [attacker, victim] = [new Browser(), new Browser()];
    await victim.me();
    const session = await pay(await attacker.reference(), card);
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    const page = await victim.returns(await victim.pays(card));
    expect(kindOf(page)).toBe("remember");
    await victim.accepts(page);
    expect(kindOf(await victim.returns(await victim.pays(card)))).toBe("plain");
  });

  it("a stolen session id without the nonce opens nothing, also with a nonce of one's own", async () => {
    const card = newCard();
    await holder(card);
    const { page } = await offered(card);
    const thief = new Browser();
    await thief.me();
    asked.length = 0;
    expect(kindOf(await (await thief.accepts(page)).text())).toBe("plain");
    expect(asked).toEqual([]);
    await thief.reference();
    expect(kindOf(await (await thief.accepts(page)).text())).toBe("plain");
    expect(thief.limited).toBeUndefined();
  });

  it("nor is the nonce without the session id", async () => {
    const card = newCard();
    await holder(card);
    const { browser, page } = await offered(card);
    for (const session_id of ["", "cs_test_other", "cs_test_../../v1/charges", "x".repeat(5000)]) {
      expect(kindOf(await (await browser.sends({ ...formOf(page), session_id })).text())).toBe("plain");
    }
    expect(browser.limited).toBeUndefined();
  });

  it("an offer cannot be changed into another, accepted from elsewhere, or kept for later", async () => {
    const card = newCard();
    await holder(card);
    const { browser, page } = await offered(card);
    const { ticket = "", session_id = "" } = formOf(page);
    waitFor(page);
    const forged = await browser.sends({
      session_id,
      ticket: ticket.slice(0, -1) + (ticket.endsWith("0") ? "1" : "0"),
    });
    expect(kindOf(await forged.text())).toBe("open");
    const foreign = await browser.sends({ session_id, ticket }, { "Sec-Fetch-Site": "cross-site" });
    expect(foreign.status).toBe(403);
    expect((await browser.sends({ session_id, ticket }, { Origin: "https://evil.test" })).status).toBe(403);
    const other = await offered(card);
    expect(kindOf(await (await browser.sends({ session_id, ticket: formOf(other.page)["ticket"] ?? "" })).text())).toBe(
      "open",
    );
    later(11);
    expect(kindOf(await (await browser.sends({ session_id, ticket })).text())).toBe("open");
    later(16);
    expect(kindOf(await (await browser.sends({ session_id, ticket })).text())).toBe("plain");
    expect(browser.limited).toBeUndefined();
  });

  it("HEAD does nothing, and the page may not be framed", async () => {
    const browser = new Browser();
    const session = await browser.pays(newCard());
    asked.length = 0;
    const head = await browser.fetch(`/paid?session_id=${session.id}`, { method: "HEAD" });
    expect([head.status, asked]).toEqual([200, []]);
    const shown = await browser.fetch(`/paid?session_id=${session.id}`);
    expect(shown.headers.get("Content-Security-Policy")).toContain("frame-ancestors 'none'");
    expect(shown.headers.get("Cache-Control")).toContain("no-store");
  });
});

describe("a form that is no form of ours", () => {
  it("is read up to a cap, whatever length it claims, and Stripe is not asked", async () => {
    const { browser, page } = await offered(await heldCard());
    asked.length = 0;
    const form = new URLSearchParams({ ...formOf(page), last4: "4242", more: "x".repeat(20_000) }).toString();
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    const stream = new Blob([form]).stream();
    for (const body of [form, stream])
      expect((await browser.fetch("/paid", { method: "POST", headers, body })).status).toBe(413);
    const nonsense = await browser.fetch("/paid", { method: "POST", body: "{}" });
    expect([nonsense.status, asked]).toEqual([200, []]);
    expect((await browser.accepts(page)).status).toBe(303);
  });
});

describe("T48 who opened a link knows the paid session's id, and did not pay", () => {
  /** The attacker sends the address of Stripe's page; the holder pays there, and Stripe sends the holder back. */
  async function attack(card: Card, victimPays = 500) {
    const attacker = new Browser();
    const reference = await attacker.reference();
    const before = account.events.length;
    const session = await pay(reference, card, victimPays);
    const said = account.events.slice(before);
    /** Stripe says once more what it said of the payment. */
    const again = async () => {
      for (const event of said) expect((await site.webhook(event)).status).toBe(200);
    };
    return { attacker, session, again };
  }
  const cardOf = (session: Session) =>
    cardHashes(keys.card, `test:${chargeOf(session).payment_method_details?.card?.fingerprint}`);
  const keeperOf = async (session: Session) => {
    const [card] = cardOf(session);
    return directoryStub(env, card).claimCard({ card, envelope_id: null });
  };

  it("T48 the attack, the attacker first: the offer waits, the payer's own return shuts it", async () => {
    const card = newCard();
    const victim = await holder(card, 7072);
    const { attacker, session } = await attack(card);
    const page = await attacker.returns(session);
    expect(kindOf(page)).toBe("open");
    const early = await attacker.sends({ ...formOf(page), last4: "4242" });
    expect([early.status, Number(early.headers.get("Retry-After"))]).toEqual([409, expect.closeTo(60, -1)]);
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    expect(kindOf(await (await attacker.accepts(page)).text())).toBe("plain");
    expect(kindOf(await attacker.returns(session))).toBe("plain");
    expect([attacker.limited, (await victim.me()).limited_sessions]).toEqual([undefined, []]);
    // The card is not to blame: its holder goes on.
    await admitted(card);
  });

  it("T48 the attack, the payer first: nothing is ever offered, also where the webhook comes last", async () => {
    const card = newCard();
    const victim = await holder(card, 7072);
    const attacker = new Browser();
    const session = account.checkout({ reference: await attacker.reference(), amount: 500, card });
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    expect(kindOf(await attacker.returns(session))).toBe("plain");
    await deliver();
    expect(kindOf(await attacker.returns(session))).toBe("plain");
    expect(await attacker.me()).toMatchObject({ balance: 500, limited: false });
    expect(await victim.me()).toMatchObject({ balance: 7072, limited: false });
  });

  it("T48 a payer who comes back late, to any browser, ends the session that was opened", async () => {
    const card = newCard();
    const victim = await holder(card, 7072);
    const { attacker, session } = await attack(card);
    expect((await attacker.accepts(await attacker.returns(session))).status).toBe(303);
    expect(await attacker.me()).toMatchObject({ balance: 7072, limited: true });
    later(20);
    expect(kindOf(await new Browser().returns(session))).toBe("foreign");
    expect(await attacker.me()).toMatchObject({ balance: 500, limited: false });
    expect((await victim.me()).limited_sessions).toEqual([]);
    // Again and again: nothing more.
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    await admitted(card);
  });

  it("T48 a card that the attacker's envelope kept is free again", async () => {
    const card = newCard();
    const { attacker, session } = await attack(card);
    const page = await attacker.returns(session);
    expect(await (await attacker.accepts(page)).text()).toContain("Card kept");
    expect(await keeperOf(session)).toEqual({ envelope_id: attacker.envelopeId, blocked: false });
    const victim = new Browser();
    expect(kindOf(await victim.returns(session))).toBe("foreign");
    expect(await keeperOf(session)).toEqual({ envelope_id: null, blocked: false });
    const own = await victim.returns(await victim.pays(card));
    expect(await (await victim.accepts(own)).text()).toContain("Card kept");
    expect(await keeperOf(session)).toEqual({ envelope_id: victim.envelopeId, blocked: false });
  });

  it("T48 only for the payment that was shut: a card that another payment keeps stays kept", async () => {
    const card = newCard();
    const known = await holder(card);
    const gift = await pay(await known.reference(), card);
    expect(kindOf(await new Browser().returns(gift))).toBe("foreign");
    expect(await keeperOf(gift)).toEqual({ envelope_id: known.envelopeId, blocked: false });
    await admitted(card);
  });

  it("T48 in any order of parallel requests, nothing is open or kept in the end", async () => {
    for (let round = 0; round < 8; round++) {
      const card = newCard();
      const victim = round % 2 === 0 ? await holder(card, 7072) : new Browser();
      const { attacker, session } = await attack(card);
      const page = await attacker.returns(session);
      waitFor(page);
      const accept = () => attacker.sends({ ...formOf(page), last4: "4242" });
      await Promise.all([accept(), accept(), victim.returns(session), accept()]);
      expect((await attacker.me()).limited).toBe(false);
      const keeper = (await keeperOf(session)).envelope_id;
      expect(keeper).toBe(round % 2 === 0 ? victim.envelopeId : null);
      expect(kindOf(await attacker.returns(session))).toBe("plain");
    }
  });

  it("T48 interrupted anywhere, the return is finished by asking again, or by Stripe's next word", async () => {
    const steps = [
      () => vi.spyOn(Envelope.prototype, "shut").mockRejectedValueOnce(new Error("killed")),
      () => killAfter(Envelope.prototype, "shut"),
      () => vi.spyOn(Envelope.prototype, "endLimited").mockRejectedValueOnce(new Error("killed")),
      () => killAfter(Envelope.prototype, "endLimited"),
    ];
    for (const [at, interrupt] of steps.entries()) {
      for (const by of ["return", "webhook"] as const) {
        // Where nothing was written, nobody but the payer knows.
        if (at === 0 && by === "webhook") continue;
        const card = newCard();
        const victim = await holder(card, 7072);
        const { attacker, session, again } = await attack(card);
        expect((await attacker.accepts(await attacker.returns(session))).status).toBe(303);
        interrupt();
        const response = await victim.fetch(`/paid?session_id=${session.id}`);
        expect([response.status, response.headers.get("Refresh")]).toEqual([200, "15"]);
        if (by === "return") expect(kindOf(await victim.returns(session))).toBe("foreign");
        else await again();
        expect((await attacker.me()).limited).toBe(false);
        expect((await victim.me()).limited_sessions).toEqual([]);
      }
    }
  });

  it("T48 interrupted while it frees a card, too", async () => {
    for (const by of ["return", "webhook"] as const) {
      const card = newCard();
      const { attacker, session, again } = await attack(card);
      await attacker.accepts(await attacker.returns(session));
      vi.spyOn(EnvelopeDirectory.prototype, "releaseCard").mockRejectedValueOnce(new Error("killed"));
      const victim = new Browser();
      await victim.fetch(`/paid?session_id=${session.id}`);
      expect((await keeperOf(session)).envelope_id).toBe(attacker.envelopeId);
      if (by === "return") await victim.returns(session);
      else await again();
      expect((await keeperOf(session)).envelope_id).toBeNull();
    }
  });

  it("T48 a payer who never comes back: the card's digits are asked for, five times and no more", async () => {
    const card = newCard();
    const victim = await holder(card, 7072);
    const { attacker, session } = await attack(card);
    const page = await attacker.returns(session);
    expect(page).not.toContain("4242");
    for (const guess of ["", "0000", "42424242", "0001"])
      expect((await attacker.accepts(page, guess)).status).toBe(422);
    const guesses = ["0002", "0003", "0004", "0005"].map((guess) => attacker.accepts(page, guess));
    await Promise.all(guesses);
    expect(kindOf(await (await attacker.accepts(page)).text())).toBe("plain");
    expect([attacker.limited, (await victim.me()).limited_sessions]).toEqual([undefined, []]);
  });

  it("T48 guesses count also before the webhook came", async () => {
    const card = newCard();
    await holder(card);
    const browser = new Browser();
    const session = account.checkout({ reference: await browser.reference(), amount: 300, card });
    const page = await browser.returns(session);
    for (let guess = 0; guess < 5; guess++) await browser.accepts(page, "0000");
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    await deliver();
    expect(kindOf(await browser.returns(session))).toBe("plain");
    expect((await browser.me()).balance).toBe(300);
  });

  it("T48 a mistyped digit costs the payer nothing, and coming back to one's own page ends nothing", async () => {
    const card = newCard();
    await holder(card);
    const { browser, session, page } = await offered(card);
    const wrong = await browser.accepts(page, "4243");
    expect((await browser.accepts(await wrong.text())).status).toBe(303);
    // The nonce is gone by now: this browser is known by its own envelope.
    expect(browser.jar.has("__Host-we_pay")).toBe(false);
    expect(kindOf(await browser.returns(session))).toBe("plain");
    expect((await browser.me()).limited).toBe(true);
  });

  it("T48 shuts also where the app speaks for the payer, and never a payment that no browser is bound to", async () => {
    const card = newCard();
    await holder(card);
    const { attacker, session } = await attack(card);
    const own = new Browser(siteOf({ identify: () => "user-1" }));
    expect(kindOf(await own.returns(session))).toBe("foreign");
    expect(kindOf(await attacker.returns(session))).toBe("plain");
    const plain = await pay((await site.newcomer()).reference, card);
    expect(kindOf(await new Browser().returns(plain))).toBe("plain");
  });
});

describe("a payment that says nothing about who sits there", () => {
  const cases: [string, (session: Session) => void][] = [
    ["T55 a null fingerprint", (session) => change(session, { fingerprint: null })],
    ["T55 an empty fingerprint", (session) => change(session, { fingerprint: "" })],
    ["T52 a prepaid card", (session) => change(session, { funding: "prepaid" })],
    ["T52 a card that may be prepaid", (session) => change(session, { funding: "unknown" })],
    ["T51 a security code that failed", (session) => change(session, { checks: checks("fail") })],
    ["T51 a security code nobody checked", (session) => change(session, { checks: checks(null) })],
    [
      "T51 3-D Secure that was only attempted",
      (session) => change(session, { checks: checks(null), three_d_secure: secure("attempt_acknowledged") }),
    ],
    [
      "T54 Link, whatever e-mail was typed",
      (session) => put(chargeOf(session), { payment_method_details: { type: "link", link: { country: "US" } } }),
    ],
    ["a charge of 15 minutes ago", (session) => put(chargeOf(session), { created: account.now() - 900 })],
    ["a charge from the future", (session) => put(chargeOf(session), { created: account.now() + 3600 })],
    ["a charge that was refunded in part", (session) => put(chargeOf(session), { amount_refunded: 1 })],
    ["a disputed charge", (session) => put(chargeOf(session), { disputed: true })],
    ["a charge that failed", (session) => put(chargeOf(session), { status: "failed" })],
    ["a session that is not complete", (session) => put(session, { status: "open" })],
    ["a session that is not paid", (session) => put(session, { payment_status: "unpaid" })],
    ["a subscription", (session) => put(session, { mode: "subscription" })],
    ["live money here", (session) => put(session, { livemode: true })],
    ["another currency", (session) => put(session, { currency: "jpy" })],
    [
      "a reference nobody made",
      (session) => put(session, { client_reference_id: `e1_${"a".repeat(22)}_0_${"b".repeat(22)}` }),
    ],
    ["no reference", (session) => put(session, { client_reference_id: null })],
    ["no payment", (session) => put(session, { payment_intent: null })],
  ];
  const checks = (cvc_check: string | null): Stripe.Charge.PaymentMethodDetails.Card.Checks => ({
    address_line1_check: null,
    address_postal_code_check: null,
    cvc_check,
  });
  const secure = (result: string) => ({ result }) as Stripe.Charge.PaymentMethodDetails.Card.ThreeDSecure;
  function change(session: Session, card: Card): void {
    const details = chargeOf(session).payment_method_details;
    Object.assign((details as { card: Card }).card, card);
  }

  it.each(cases)("%s is neither kept nor opens anything", async (_name, spoil) => {
    const card = newCard();
    await holder(card);
    const other = new Browser();
    for (const one of [card, newCard()]) {
      const session = await other.pays(one);
      spoil(session);
      expect(kindOf(await other.returns(session))).toBe("plain");
    }
  });

  it("spoiled between the offer and the answer, it opens nothing either", async () => {
    const card = newCard();
    await holder(card);
    const { browser, session, page } = await offered(card);
    chargeOf(session).disputed = true;
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    expect(browser.limited).toBeUndefined();
  });

  it("a link that is not listed opens nothing", async () => {
    const listed = siteOf({ stripe: { paymentLinks: ["plink_other"] } });
    const browser = new Browser();
    const session = await browser.pays(newCard());
    const same = new Browser(listed);
    for (const [name, value] of browser.jar) same.jar.set(name, value);
    expect(kindOf(await same.returns(session))).toBe("plain");
  });

  it("T51 3-D Secure stands in for a security code", async () => {
    const card = newCard({ checks: checks("unavailable"), three_d_secure: secure("authenticated") });
    await holder(card);
    await admitted(card);
  });
});

describe("shared cards", () => {
  it("T50 asks, never merges: money stays where it was paid, and the holder sees who came in", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser, session } = await admitted(card);
    expect(await known.me()).toMatchObject({
      balance: 1000,
      limited_sessions: [{ payment_id: session.payment_intent }],
    });
    expect(await known.envelope.state()).toMatchObject({ limited_sessions: [{ payment_id: session.payment_intent }] });
    expect((await browser.envelope.state()).balance_micros).toBe(3_000_000);
    expect((await browser.me()).limited_sessions).toEqual([]);
  });

  it("T53 reverse capture: who had the card first gets nothing of those who pay with it later", async () => {
    const card = newCard();
    const attacker = await holder(card, 100);
    const { browser } = await admitted(card);
    // Even after accepting: what this browser pays goes to its own envelope, and it is taken there.
    const { paymentLink, client_reference_id } = await browser.me();
    expect(paymentLink).toBe("https://worker.test/pay");
    expect(client_reference_id.slice(3, 25)).toBe(browser.envelopeId);
    const session = await browser.pays(card, 5000);
    expect(session.client_reference_id?.slice(3, 25)).toBe(browser.envelopeId);
    expect(await browser.me()).toMatchObject({ balance: 5300, limited: false });
    expect((await attacker.me()).balance).toBe(100);
  });

  it("T56 two first payments with one new card: one owner, the other is asked", async () => {
    for (let round = 0; round < 5; round++) {
      const card = newCard();
      const browsers = [new Browser(), new Browser()];
      const sessions = await Promise.all([browsers[0]!.reference(), browsers[1]!.reference()]).then((references) =>
        references.map((reference) => account.checkout({ reference, amount: 500, card })),
      );
      await deliver();
      const pages = await Promise.all(browsers.map((browser, at) => browser.returns(sessions[at]!)));
      expect(pages.map(kindOf)).toEqual(["remember", "remember"]);
      const answers = await Promise.all(
        browsers.map(async (browser, at) => (await browser.accepts(pages[at]!)).text()),
      );
      expect(answers.filter((html) => html.includes("Card kept"))).toHaveLength(1);
      const loser = answers.findIndex((html) => kindOf(html) === "open");
      expect((await browsers[loser]!.accepts(answers[loser]!)).status).toBe(303);
      expect(readLimitedToken(keys.token, browsers[loser]!.limited ?? "")?.envelopeId).toBe(
        browsers[1 - loser]!.envelopeId,
      );
    }
  });
});

describe("a limited session", () => {
  it("spends and reads the balance, and nothing else", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser } = await admitted(card);
    const own = browser.own;
    expect(await spend(browser, 10)).toBe("990");
    expect((await known.me()).balance).toBe(990);
    const rotation = await browser.fetch("/rotate-token", { method: "POST" });
    expect([rotation.status, rotation.headers.getSetCookie()]).toEqual([403, []]);
    const state = await (await browser.fetch("/state")).json<Record<string, unknown>>();
    expect(state).toMatchObject({ balance: "990", holds: [], limited_sessions: [] });
    // As a bearer token it is nothing, and it does not pass for a full one.
    const bearer = { Authorization: `Bearer ${browser.limited}` };
    expect((await site.fetch("/me", { headers: bearer })).status).toBe(401);
    const swapped = (browser.limited ?? "").replace("we_l1_", "we_s1_");
    expect((await site.fetch("/me", { headers: { Authorization: `Bearer ${swapped}` } })).status).toBe(401);
    expect(browser.own).toBe(own);
  });

  it("a MAC alone opens nothing: only what the envelope let in counts", async () => {
    const known = await holder(newCard());
    const forged = { envelopeId: known.envelopeId, keyId: "0".repeat(8), secret: "0".repeat(27) };
    const browser = new Browser();
    await browser.me();
    browser.jar.set("__Host-we_limited", writeLimitedToken(keys.token, forged));
    expect(await browser.me()).toMatchObject({ balance: 0, limited: false });
    expect(browser.limited).toBeUndefined();
  });

  it("knowing its key is not knowing its secret", async () => {
    const card = newCard();
    await holder(card);
    const { browser } = await admitted(card);
    const token = readLimitedToken(keys.token, browser.limited ?? "");
    if (token === undefined) throw new Error("The session's token is not one of ours");
    browser.jar.set("__Host-we_limited", writeLimitedToken(keys.token, { ...token, secret: "0".repeat(27) }));
    expect(await browser.me()).toMatchObject({ balance: 300, limited: false });
  });

  it("cannot keep a card for the envelope it was let into", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser } = await admitted(card);
    const limited = browser.limited ?? "";
    const session = await browser.pays(newCard());
    browser.jar.set("__Host-we_limited", limited);
    const page = await browser.returns(session);
    expect(kindOf(page)).toBe("remember");
    await browser.accepts(page);
    const { envelopeId } = known;
    expect(envelopeId).not.toBe(browser.envelopeId);
    const cardsOf = (fingerprint: string) => cardHashes(keys.card, `test:${fingerprint}`);
    const [hash] = cardsOf(String(chargeOf(session).payment_method_details?.card?.fingerprint));
    expect(await directoryStub(env, hash).claimCard({ card: hash, envelope_id: null })).toEqual({
      envelope_id: browser.envelopeId,
      blocked: false,
    });
  });

  it("ends after 24 hours: the browser is who it was, without being asked", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser } = await admitted(card);
    later(24 * 60 - 1);
    expect(await spend(browser)).toBe("999");
    later(2);
    expect(await spend(browser)).toBe("299");
    expect(browser.limited).toBeUndefined();
    expect((await known.me()).limited_sessions).toEqual([]);
  });

  it("is left on /paid, and a copy of its cookie is worth nothing then", async () => {
    const card = newCard();
    await holder(card);
    const { browser } = await admitted(card);
    const copy = browser.limited ?? "";
    const page = await (await browser.fetch("/paid")).text();
    expect(page).toContain('value="leave"');
    expect((await browser.sends({ action: "leave" }, { "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await browser.sends({ action: "leave" })).status).toBe(303);
    expect(await browser.me()).toMatchObject({ balance: 300, limited: false });
    browser.jar.set("__Host-we_limited", copy);
    expect(await browser.me()).toMatchObject({ balance: 300, limited: false });
  });

  it("that ends while a handler works: the hold is settled where it was taken", async () => {
    const card = newCard();
    const known = await holder(card);
    const quoting = new Site(
      { loginByPayment: true, price: () => "100", onIncident: () => undefined },
      VARS,
      async (_request, _env, ctx) => {
        await browser.envelopeLeft();
        await ctx.envelope.charge("1");
        return new Response("done", { headers: { "X-Price": "40" } });
      },
    );
    const inside = (await admitted(card)).browser;
    const browser = Object.assign(new Browser(quoting), {
      envelopeLeft: () => inside.sends({ action: "leave" }),
    });
    for (const [name, value] of inside.jar) browser.jar.set(name, value);
    expect((await browser.fetch("/x")).status).toBe(200);
    expect((await known.me()).balance).toBe(960);
    expect((await browser.envelope.state()).balance_micros).toBe(2_990_000);
  });
});

describe("one payment, one session", () => {
  it("a session id that was used opens nothing again", async () => {
    const card = newCard();
    await holder(card);
    const { browser, session, page } = await offered(card);
    const nonce = browser.jar.get("__Host-we_pay") ?? "";
    await browser.accepts(page);
    const limited = browser.limited;
    browser.jar.set("__Host-we_pay", nonce);
    browser.jar.delete("__Host-we_limited");
    expect(kindOf(await browser.returns(session))).toBe("plain");
    // The answer may have been lost: the same form leads to the same session, never to a second one.
    await browser.accepts(page);
    expect(browser.limited).toBe(limited);
    await browser.sends({ action: "leave" });
    browser.jar.set("__Host-we_pay", nonce);
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    expect(browser.limited).toBeUndefined();
  });

  it("and no second one elsewhere", async () => {
    const card = newCard();
    await holder(card);
    const { browser, session } = await admitted(card);
    const input = { payment_id: session.payment_intent ?? "", card: "x", session: { envelope_id: "y", key_id: "z" } };
    expect(await envelopeStub(env, browser.envelopeId).bear(input)).toEqual({ outcome: "refused" });
  });

  it("accepted twice at once is accepted once", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser, page } = await offered(card);
    const answers = await Promise.all(Array.from({ length: 8 }, () => browser.accepts(page)));
    const tokens = new Set(
      answers.map((one) => one.headers.getSetCookie().find((cookie) => cookie.startsWith("__Host-we_limited="))),
    );
    expect(tokens.size).toBe(1);
    expect((await known.me()).limited_sessions).toHaveLength(1);
  });

  it("waits for the credit: before the webhook came there is nothing to open or keep with", async () => {
    const card = newCard();
    await holder(card);
    const browser = new Browser();
    await browser.pays(newCard(), 50);
    const session = account.checkout({ reference: await browser.reference(), amount: 300, card });
    const page = await browser.returns(session);
    expect(kindOf(page)).toBe("open");
    const again = await (await browser.accepts(page)).text();
    expect(kindOf(again)).toBe("again");
    await deliver();
    expect((await browser.accepts(again)).status).toBe(303);
    expect(await browser.me()).toMatchObject({ balance: 1000, limited: true });
  });

  it("Stripe cannot be reached: the payer sees the plain page, the owner is told", async () => {
    const card = newCard();
    await holder(card);
    const { browser, page, session } = await offered(card);
    stripeIsDown = true;
    expect(kindOf(await browser.returns(session))).toBe("plain");
    expect(incidents).toContainEqual(expect.objectContaining({ kind: "outage", path: "/paid", served: true }));
    const again = await browser.accepts(page);
    expect([again.status, kindOf(await again.text())]).toEqual([200, "again"]);
    stripeIsDown = false;
    expect((await browser.accepts(page)).status).toBe(303);
  });

  it("interrupted between any two writes, it is finished by sending the form again", async () => {
    const steps = [
      () => vi.spyOn(Envelope.prototype, "bear").mockRejectedValueOnce(new Error("killed")),
      () => killAfter(Envelope.prototype, "bear"),
      () => vi.spyOn(Envelope.prototype, "admit").mockRejectedValueOnce(new Error("killed")),
      () => killAfter(Envelope.prototype, "admit"),
    ];
    const card = newCard();
    const known = await holder(card);
    for (const interrupt of steps) {
      const { browser, page } = await offered(card);
      interrupt();
      expect(kindOf(await (await browser.accepts(page)).text())).toBe("again");
      expect(browser.limited).toBeUndefined();
      expect((await browser.accepts(page)).status).toBe(303);
      expect((await browser.me()).limited).toBe(true);
    }
    expect((await known.me()).limited_sessions).toHaveLength(steps.length);
  });

  it("keeping a card, too", async () => {
    const steps = [
      () => killAfter(Envelope.prototype, "keepCard"),
      () => killAfter(EnvelopeDirectory.prototype, "claimCard", 1),
    ];
    for (const interrupt of steps) {
      const card = newCard();
      const browser = new Browser();
      const page = await browser.returns(await browser.pays(card));
      interrupt();
      expect(kindOf(await (await browser.accepts(page)).text())).toBe("again");
      // Also where it was kept before the answer was lost: nobody is left to wonder.
      expect(await (await browser.accepts(page)).text()).toContain("<h1>Card kept</h1>");
      await admitted(card);
    }
  });
});

/** The write is done, and the answer is lost. `skip`: after so many calls. */
function killAfter<T extends object>(prototype: T, method: keyof T & string, skip = 0): void {
  const real = prototype[method] as (...args: unknown[]) => Promise<unknown>;
  const spy = vi.spyOn(prototype as Record<string, (...args: unknown[]) => Promise<unknown>>, method);
  for (let call = 0; call < skip; call++) {
    spy.mockImplementationOnce(function (this: unknown, ...args) {
      return real.apply(this, args);
    });
  }
  spy.mockImplementationOnce(async function (this: unknown, ...args) {
    await real.apply(this, args);
    throw new Error("killed before the answer");
  });
}

describe("T51 a reversal of the payment ends what it opened", () => {
  const reversals: [string, (payment: string) => readonly Event[], boolean][] = [
    ["a refund", (payment) => eventsOf(() => account.refund(payment, 1)).slice(0, 1), false],
    ["charge.refunded alone", (payment) => eventsOf(() => account.refund(payment, 300)).slice(1), false],
    ["a dispute", (payment) => eventsOf(() => account.dispute(payment, 300)), true],
    [
      "an inquiry",
      (payment) => eventsOf(() => account.dispute(payment, 300, { status: "warning_needs_response" })),
      true,
    ],
    ["an early fraud warning", (payment) => eventsOf(() => account.warn(payment)), true],
  ];
  /** As if Stripe's API did not show it yet: only the webhook tells. */
  function unsay(session: Session): void {
    Object.assign(chargeOf(session), { amount_refunded: 0, refunded: false, disputed: false });
  }
  async function send(events: readonly Event[]): Promise<void> {
    for (const event of events) expect((await site.webhook(event)).status).toBe(200);
  }
  async function opensNothing(card: Card): Promise<void> {
    const another = new Browser();
    expect(kindOf(await another.returns(await another.pays(card)))).toBe("plain");
  }

  it.each(reversals)("%s after it", async (_name, reverse, suspect) => {
    const card = newCard();
    const known = await holder(card);
    const { browser, session } = await admitted(card);
    expect((await browser.me()).limited).toBe(true);
    await send(reverse(session.payment_intent ?? ""));
    expect((await browser.me()).limited).toBe(false);
    expect((await known.me()).limited_sessions).toEqual([]);
    if (suspect) await opensNothing(card);
    else await admitted(card);
  });

  it.each(reversals)("%s before it", async (_name, reverse) => {
    const card = newCard();
    const known = await holder(card);
    const { browser, session, page } = await offered(card);
    await send(reverse(session.payment_intent ?? ""));
    unsay(session);
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    expect(kindOf(await browser.returns(session))).toBe("plain");
    expect([browser.limited, (await known.me()).limited_sessions]).toEqual([undefined, []]);
  });

  it.each(reversals)("%s between its two writes, or beside them", async (_name, reverse) => {
    const card = newCard();
    const known = await holder(card);
    const between = await offered(card);
    vi.spyOn(Envelope.prototype, "admit").mockRejectedValueOnce(new Error("killed"));
    expect(kindOf(await (await between.browser.accepts(between.page)).text())).toBe("again");
    // Let in late, by a request that was on its way all the time.
    const token = lateToken(between);
    await send(reverse(between.session.payment_intent ?? ""));
    unsay(between.session);
    expect(kindOf(await (await between.browser.accepts(between.page)).text())).toBe("plain");
    expect(await admitLate(known.envelopeId, token, between.session, card)).toEqual({ outcome: "ended" });
    expect((await known.me()).limited_sessions).toEqual([]);
  });

  it("in any order of parallel requests, nothing is open in the end", async () => {
    for (let round = 0; round < 6; round++) {
      const card = newCard();
      const known = await holder(card);
      const { browser, session, page } = await offered(card);
      const events = eventsOf(() => account.warn(session.payment_intent ?? ""));
      await Promise.all([browser.accepts(page), send(events), browser.accepts(page)]);
      expect((await browser.me()).limited).toBe(false);
      expect((await known.me()).limited_sessions).toEqual([]);
    }
  });

  it("interrupted anywhere, it is finished by Stripe's retry", async () => {
    const steps = [
      () => killAfter(Envelope.prototype, "report"),
      () => vi.spyOn(Envelope.prototype, "endLimited").mockRejectedValueOnce(new Error("killed")),
      () => killAfter(Envelope.prototype, "endLimited"),
      () => vi.spyOn(EnvelopeDirectory.prototype, "blockCard").mockRejectedValueOnce(new Error("killed")),
    ];
    for (const interrupt of steps) {
      const card = newCard();
      await holder(card);
      const { browser, session } = await admitted(card);
      const [event] = eventsOf(() => account.dispute(session.payment_intent ?? "", 300));
      interrupt();
      expect((await site.webhook(event)).status).toBe(503);
      expect((await site.webhook(event)).status).toBe(200);
      expect((await browser.me()).limited).toBe(false);
      await opensNothing(card);
    }
  });

  it("of a payment whose offer was only shown, or that the holder made, stops the card all the same", async () => {
    const card = newCard();
    await holder(card);
    const { session } = await offered(card);
    await send(eventsOf(() => account.warn(session.payment_intent ?? "")));
    await opensNothing(card);

    const other = newCard();
    const known = new Browser();
    const kept = await known.pays(other);
    await known.accepts(await known.returns(kept));
    await send(eventsOf(() => account.dispute(kept.payment_intent ?? "", 1000)));
    await opensNothing(other);
  });

  it("that came before the payment was known opens nothing either", async () => {
    const card = newCard();
    await holder(card);
    const browser = new Browser();
    const session = account.checkout({ reference: await browser.reference(), amount: 300, card });
    const paidEvents = account.events.slice(delivered);
    const early = eventsOf(() => account.warn(session.payment_intent ?? ""));
    await send(early);
    const page = await browser.returns(session);
    await send(paidEvents);
    expect(kindOf(await (await browser.accepts(page)).text())).toBe("plain");
    expect(browser.limited).toBeUndefined();
  });

  it("a session of another payment goes on", async () => {
    const card = newCard();
    const known = await holder(card);
    const [one, other] = [await admitted(card), await admitted(card)];
    await send(eventsOf(() => account.refund(one.session.payment_intent ?? "", 300)));
    expect([(await one.browser.me()).limited, (await other.browser.me()).limited]).toEqual([false, true]);
    expect((await known.me()).limited_sessions).toHaveLength(1);
  });

  function lateToken({ browser, page }: { browser: Browser; page: string }) {
    const { session_id = "" } = formOf(page);
    const nonce = browser.jar.get("__Host-we_pay") ?? "";
    return (envelope_id: string) => limitedTokenFor(keys.login, { kind: "open", nonce, session_id, envelope_id });
  }

  async function admitLate(
    envelopeId: string,
    token: ReturnType<typeof lateToken>,
    session: Session,
    card: Card,
  ): Promise<unknown> {
    const kept = cardHashes(keys.card, `test:${card.fingerprint}`);
    const credential = limitedCredentialOf(token(envelopeId));
    return envelopeStub(env, envelopeId).admit({
      ...credential,
      payment_id: session.payment_intent ?? "",
      cards: kept,
    });
  }
});

describe("T49 and T62", () => {
  it("cookies that somebody chose are nobody's", async () => {
    const browser = new Browser();
    browser.jar.set("__Host-we_limited", `we_l1_${"a".repeat(68)}`);
    browser.jar.set("__Host-we_pay", "not a nonce");
    expect(await browser.me()).toMatchObject({ balance: 0, limited: false });
    await browser.reference();
    expect(browser.jar.get("__Host-we_pay")).toMatch(/^[0-9A-Za-z]{22}$/);
  });

  it("a full token wins over a limited session of its own envelope", async () => {
    const card = newCard();
    const known = await holder(card);
    const { browser } = await admitted(card);
    known.jar.set("__Host-we_limited", browser.limited ?? "");
    expect(await known.me()).toMatchObject({ balance: 1000, limited: false });
  });
});
