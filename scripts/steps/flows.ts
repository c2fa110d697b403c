/**
 * Every way in which money, or who may spend it, crosses more than one process: what has to be there before, what is done, by whom
 * it is done again, and what must be so afterwards.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Dispute, Event, EventType, Intent, Session, StripeObject } from "../../test/stripe/objects.ts";
import { readJson } from "../lib/http.ts";
import "../lib/test-code.ts";
import { Browser, kindOf } from "./browser.ts";
import { ADMIN_SECRET, type Stage } from "./stage.ts";

const { thinOf } = await import("../../test/stripe/objects.ts");

/** One time that a flow is played. */
export interface Scene {
  /** What is done, and done again by whoever did it, until it resolves. */
  readonly act: () => Promise<unknown>;
  /** What has come of it, and what must have: two texts to be compared. */
  readonly judge: () => Promise<readonly [found: unknown, expected: unknown]>;
}

export interface Flow {
  readonly name: string;
  readonly prepare: (stage: Stage) => Promise<Scene>;
}

const OWNER = { Authorization: `Bearer ${ADMIN_SECRET}` };
const CENT = 10_000;
const AUTO_TOPUP_MS_MAX = 30_000;

/** Newest first: a session's event may come several times. */
function eventOf(stage: Stage, type: EventType): Event {
  const found = stage.standIn.account.events.findLast((event) => event.type === type);
  if (found === undefined) throw new Error(`There is no ${type}`);
  return found;
}

const deliverNews = async (stage: Stage, ...types: readonly EventType[]): Promise<void> => {
  for (const type of types) await stage.deliver(eventOf(stage, type));
};

interface Holder {
  readonly envelope_id: string;
  readonly reference: string;
  readonly browser: Browser;
}

async function newHolder(stage: Stage): Promise<Holder> {
  const browser = new Browser(stage);
  const { client_reference_id: reference } = await browser.me();
  return { browser, reference, envelope_id: reference.slice(3, 25) };
}

function pay({ standIn }: Stage, { reference }: Holder, amount = 1000): Session & { readonly payment_intent: string } {
  return standIn.account.checkout({ reference, amount }) as Session & { readonly payment_intent: string };
}

async function paid(stage: Stage, amount = 1000): Promise<Holder & { readonly payment_id: string }> {
  const holder = await newHolder(stage);
  const { payment_intent } = pay(stage, holder, amount);
  await deliverNews(stage, "checkout.session.completed");
  return { ...holder, payment_id: payment_intent };
}

/** Cents by kind, in order: one line too many, or one too few, is money doubled or lost. */
async function linesOf(stage: Stage, { envelope_id }: Holder): Promise<readonly (readonly [string, number])[]> {
  const { lines } = await ledgerOf(stage, envelope_id);
  return lines.map(({ kind, amount_micros }) => [kind, amount_micros / CENT] as const);
}

interface LedgerAnswer {
  readonly lines: readonly { readonly kind: string; readonly amount_micros: number; readonly key: string | null }[];
  readonly state: {
    readonly promotional_micros: number;
    readonly frozen: boolean;
    readonly limited_sessions: readonly unknown[];
    readonly autoTopUp: unknown;
  };
  readonly topups: readonly { readonly status: string; readonly payment_id: string | null }[];
}

async function ledgerOf(stage: Stage, envelope_id: string): Promise<LedgerAnswer> {
  return readJson(await stage.send(`/ledger?id=${envelope_id}`)) as unknown as LedgerAnswer;
}

async function owner(stage: Stage, method: "POST" | "PUT", path: string, body: unknown, key: string) {
  const headers = { ...OWNER, "Idempotency-Key": key };
  const answer = await stage.send(path, { method, headers, body: JSON.stringify(body) });
  if (answer.status >= 300) throw new Error(`${path} answered ${answer.status}: ${answer.body}`);
  return readJson(answer);
}

async function listed(stage: Stage, payment_id: string): Promise<boolean> {
  const { unclaimed } = readJson(await stage.send("/db/api/unclaimed", { headers: OWNER }));
  return (unclaimed as readonly { readonly payment_id: string }[]).some((one) => one.payment_id === payment_id);
}

/** Minor units, over all payments of the account. */
function booksOf({ standIn }: Stage) {
  const books = [...standIn.account.books.values()];
  const sum = (of: "collected" | "refunded") => books.reduce((total, one) => total + one[of], 0);
  return { collected: sum("collected"), refunded: sum("refunded") };
}

const STRICT = { "X-Worker": "strict" };
const EUROS = { "X-Worker": "euros" };
const GIVING = { "X-Worker": "giving" };

const webhook: readonly Flow[] = [
  {
    name: "a payment whose refund and dispute came first",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      const { account } = stage.standIn;
      const { payment_intent } = pay(stage, holder);
      account.refund(payment_intent, 400);
      account.withdraw(account.dispute(payment_intent, 100));
      await deliverNews(stage, "refund.created", "charge.refunded", "charge.dispute.created");
      await deliverNews(stage, "charge.dispute.funds_withdrawn");
      return {
        act: () => deliverNews(stage, "checkout.session.completed"),
        judge: async () => {
          const found = await ledgerOf(stage, holder.envelope_id);
          const total = found.lines.reduce((sum, { amount_micros }) => sum + amount_micros, 0);
          const credits = found.lines.filter(({ kind }) => kind === "topup").length;
          return [
            [credits, total / CENT, found.state.frozen],
            [1, 500, true],
          ];
        },
      };
    },
  },
  {
    name: "a first payment that brings something besides, and whose refund came first and failed",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      const { account } = stage.standIn;
      account.moveRefund(account.refund(pay(stage, holder).payment_intent, 400), "failed");
      const types = ["refund.created", "checkout.session.completed", "refund.failed"] as const;
      return {
        act: async () => {
          for (const type of types) await stage.deliver(eventOf(stage, type), GIVING);
        },
        judge: async () => {
          const { lines, state } = await ledgerOf(stage, holder.envelope_id);
          const total = lines.reduce((sum, { amount_micros }) => sum + amount_micros, 0);
          return [
            [total / CENT, state.promotional_micros / CENT, lines.filter(({ key }) => key === "sign-up").length],
            [1300, 300, 1],
          ];
        },
      };
    },
  },
  {
    name: "a payment told by a thin event",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      pay(stage, holder);
      const event = thinOf(eventOf(stage, "checkout.session.completed"));
      return {
        act: () => stage.deliver(event),
        judge: async () => [await linesOf(stage, holder), [["topup", 1000]]],
      };
    },
  },
  {
    name: "a payment that is pending first",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      const { account } = stage.standIn;
      const session = account.checkout({ reference: holder.reference, amount: 1000, payment: "unpaid" });
      const pending = eventOf(stage, "checkout.session.completed");
      account.settle(session, "paid");
      return {
        act: async () => {
          await stage.deliver(pending);
          await deliverNews(stage, "checkout.session.async_payment_succeeded");
        },
        judge: async () => [await linesOf(stage, holder), [["topup", 1000]]],
      };
    },
  },
  {
    name: "a refund",
    prepare: async (stage) => {
      const holder = await paid(stage);
      stage.standIn.account.refund(holder.payment_id, 400);
      return {
        act: () => deliverNews(stage, "refund.created"),
        judge: async () => [
          await linesOf(stage, holder),
          [
            ["topup", 1000],
            ["clawback", -400],
          ],
        ],
      };
    },
  },
  {
    name: "a dispute that is lost, appealed and won",
    prepare: async (stage) => {
      const holder = await paid(stage);
      const { account } = stage.standIn;
      const dispute: Dispute = account.dispute(holder.payment_id, 1000);
      account.withdraw(dispute);
      account.moveDispute(dispute, "won");
      account.reinstate(dispute);
      return {
        act: async () => {
          await deliverNews(stage, "charge.dispute.created", "charge.dispute.funds_withdrawn");
          await deliverNews(stage, "charge.dispute.closed", "charge.dispute.funds_reinstated");
        },
        judge: async () => [
          [await linesOf(stage, holder), (await ledgerOf(stage, holder.envelope_id)).state.frozen],
          [
            [
              ["topup", 1000],
              ["clawback", -1000],
              ["reinstatement", 1000],
            ],
            false,
          ],
        ],
      };
    },
  },
];

/** Listed, because the owner has not allowed the link yet; heard of by an envelope that claimed it and was never told to credit it. */
async function unclaimed(stage: Stage): Promise<{ readonly named: Holder; readonly payment_id: string }> {
  const named = await newHolder(stage);
  const { payment_intent: payment_id } = pay(stage, named);
  const event = eventOf(stage, "checkout.session.completed");
  const killed = await stage.killedAt(3, () => stage.deliver(event));
  if (killed !== "Envelope.report begins") throw new Error(`Claiming ends elsewhere: ${killed}`);
  return { named, payment_id };
}

const assignment: readonly Flow[] = [
  {
    name: "a payment that cannot be credited is listed",
    prepare: async (stage) => {
      const { named, payment_id } = await unclaimed(stage);
      return {
        act: () => stage.deliver(eventOf(stage, "checkout.session.completed"), STRICT),
        judge: async () => [
          [await linesOf(stage, named), await listed(stage, payment_id)],
          [[], true],
        ],
      };
    },
  },
  {
    name: "a payment that its envelope cannot take is listed",
    prepare: async (stage) => {
      const holder = await paid(stage);
      const { account } = stage.standIn;
      const { payment_intent } = account.checkout({ reference: holder.reference, amount: 700, currency: "eur" });
      const payment_id = String(payment_intent);
      account.refund(payment_id, 100);
      await stage.deliver(eventOf(stage, "refund.created"), EUROS);
      return {
        act: () => stage.deliver(eventOf(stage, "checkout.session.completed"), EUROS),
        judge: async () => {
          await stage.deliver(eventOf(stage, "refund.created"), EUROS);
          return [
            [await linesOf(stage, holder), await listed(stage, payment_id)],
            [[["topup", 1000]], true],
          ];
        },
      };
    },
  },
  {
    name: "an assignment, with news that the former claimant heard",
    prepare: async (stage) => {
      const { named, payment_id } = await unclaimed(stage);
      await stage.deliver(eventOf(stage, "checkout.session.completed"), STRICT);
      stage.standIn.account.refund(payment_id, 400);
      await deliverNews(stage, "refund.created");
      const given = await newHolder(stage);
      const body = { envelopeId: given.reference, reason: "It was theirs" };
      return {
        act: () => owner(stage, "POST", `/db/api/unclaimed/${payment_id}/assign`, body, randomUUID()),
        judge: async () => {
          // Stripe says all of it again, by the rules that would credit it.
          await deliverNews(stage, "checkout.session.completed", "refund.created", "charge.refunded");
          return [
            [await linesOf(stage, named), await linesOf(stage, given), await listed(stage, payment_id)],
            [
              [],
              [
                ["topup", 1000],
                ["clawback", -400],
              ],
              false,
            ],
          ];
        },
      };
    },
  },
];

/** Stripe's PaymentIntents with a payment in them, or waiting for one. */
function intentsOf({ standIn }: Stage): readonly Intent[] {
  return [...standIn.account.objects.values()].filter((one): one is Intent => one.object === "payment_intent");
}

const topups: readonly Flow[] = [
  {
    name: "POST /stripe/topup, paid and told by the webhook",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      const body = { envelopeId: holder.envelope_id, amount: "10" };
      const key = randomUUID();
      return {
        act: async () => {
          const { paymentIntentId } = await owner(stage, "POST", "/stripe/topup", body, key);
          const intent = stage.standIn.account.get("payment_intent", String(paymentIntentId));
          if (intent.status !== "succeeded") stage.standIn.account.collect(intent);
          await deliverNews(stage, "payment_intent.succeeded");
        },
        judge: async () => {
          const { topups: rows } = await ledgerOf(stage, holder.envelope_id);
          return [
            [await linesOf(stage, holder), intentsOf(stage).length, rows.map(({ status }) => status)],
            [[["topup", 1000]], 1, ["SUCCEEDED"]],
          ];
        },
      };
    },
  },
  {
    name: "POST /stripe/topup again, of one that was paid and refunded in part and of which no webhook told",
    prepare: async (stage) => {
      const holder = await newHolder(stage);
      const body = { envelopeId: holder.envelope_id, amount: "10" };
      const key = randomUUID();
      const { paymentIntentId } = await owner(stage, "POST", "/stripe/topup", body, key);
      const { account } = stage.standIn;
      account.collect(account.get("payment_intent", String(paymentIntentId)));
      account.refund(String(paymentIntentId), 400);
      await deliverNews(stage, "refund.created");
      return {
        act: () => owner(stage, "POST", "/stripe/topup", body, key),
        judge: async () => {
          await deliverNews(stage, "payment_intent.succeeded", "refund.created");
          const { topups: rows } = await ledgerOf(stage, holder.envelope_id);
          return [
            [await linesOf(stage, holder), intentsOf(stage).length, rows.map(({ status }) => status)],
            [
              [
                ["topup", 1000],
                ["clawback", -400],
              ],
              1,
              ["SUCCEEDED"],
            ],
          ];
        },
      };
    },
  },
  {
    name: "a saved card is named",
    prepare: async (stage) => {
      const holder = await paid(stage);
      return {
        act: () => nameCard(stage, holder),
        judge: async () => {
          const { autoTopUp } = (await ledgerOf(stage, holder.envelope_id)).state;
          return [autoTopUp, { enabled: true, status: "ready", stopped: null, lastFailure: null }];
        },
      };
    },
  },
  {
    name: "a charge that has the saved card charged",
    prepare: async (stage) => {
      const holder = await paid(stage);
      await nameCard(stage, holder);
      return {
        act: async () => {
          const headers = { "Idempotency-Key": "once" };
          const { status } = await holder.browser.fetch("/page?price=900", { headers });
          if (status !== 200) throw new Error(`The charge was answered ${status}`);
          // From here on nobody asks again but the envelope's own alarm.
          await until(async () => (await ledgerOf(stage, holder.envelope_id)).topups[0]?.status === "SUCCEEDED");
        },
        judge: async () => {
          await deliverNews(stage, "payment_intent.succeeded");
          return [
            [await linesOf(stage, holder), intentsOf(stage).length, booksOf(stage).collected],
            [
              [
                ["topup", 1000],
                ["charge", -900],
                ["topup", 500],
              ],
              2,
              1500,
            ],
          ];
        },
      };
    },
  },
];

const cards = new WeakMap<object, { readonly customer: string; readonly paymentMethod: string }>();

/** The same one, when it is named again. */
async function nameCard(stage: Stage, holder: Holder): Promise<void> {
  const { account } = stage.standIn;
  let card = cards.get(holder);
  if (card === undefined) {
    const customer = account.id("cus");
    account.keep({ id: customer, object: "customer", email: null, name: null } as unknown as StripeObject);
    card = { customer, paymentMethod: account.paymentMethod(customer).id };
    cards.set(holder, card);
  }
  await owner(stage, "PUT", `/envelopes/${holder.envelope_id}/auto-topup`, { enabled: true, ...card }, randomUUID());
}

async function until(done: () => Promise<boolean>): Promise<void> {
  for (const started = performance.now(); !(await done()); await sleep(50)) {
    if (performance.now() - started > AUTO_TOPUP_MS_MAX) throw new Error("The saved card was not charged");
  }
}

const refunds: readonly Flow[] = [
  {
    name: "an owner's refund through Stripe",
    prepare: async (stage) => {
      const holder = await paid(stage);
      const body = { payment_id: holder.payment_id, amount_micros: 400 * CENT, reason: "Asked for" };
      const key = randomUUID();
      return {
        act: () => owner(stage, "POST", `/db/api/envelopes/${holder.envelope_id}/stripe-refunds`, body, key),
        judge: async () => {
          await deliverNews(stage, "refund.created", "charge.refunded");
          return [
            [await linesOf(stage, holder), booksOf(stage).refunded],
            [
              [
                ["topup", 1000],
                ["clawback", -400],
              ],
              400,
            ],
          ];
        },
      };
    },
  },
];

/** A browser whose holder keeps the card it paid with. */
async function keeper(stage: Stage): Promise<{ readonly browser: Browser; readonly fingerprint: string }> {
  const browser = new Browser(stage);
  const fingerprint = `Fp${stage.standIn.account.id("card").replace(/\W|_/g, "")}`;
  await browser.pays(fingerprint);
  await browser.accepts(await browser.returns());
  return { browser, fingerprint };
}

const logins: readonly Flow[] = [
  {
    name: "a card is kept",
    prepare: async (stage) => {
      const browser = new Browser(stage);
      const fingerprint = `Fp${stage.standIn.account.id("card").replace(/\W|_/g, "")}`;
      await browser.pays(fingerprint);
      const page = await browser.returns();
      return {
        act: () => browser.accepts(page),
        judge: async () => {
          const other = new Browser(stage);
          await other.pays(fingerprint);
          return [kindOf(await other.returns()), "open"];
        },
      };
    },
  },
  {
    name: "a kept card opens its envelope",
    prepare: async (stage) => {
      const { browser, fingerprint } = await keeper(stage);
      const other = new Browser(stage);
      await other.pays(fingerprint, 500);
      const page = await other.returns();
      return {
        act: () => other.accepts(page),
        judge: async () => {
          const [theirs, own] = [await other.me(), await browser.me()];
          return [
            [theirs.limited, theirs.balance, own.limited_sessions?.length, own.balance],
            [true, 1000, 1, 1000],
          ];
        },
      };
    },
  },
  {
    name: "a dispute ends what its payment opened",
    prepare: async (stage) => {
      const { other, fingerprint, payment_id } = await opened(stage);
      stage.standIn.account.dispute(payment_id, 500);
      return {
        act: () => deliverNews(stage, "charge.dispute.created"),
        judge: async () => {
          const third = new Browser(stage);
          await third.pays(fingerprint);
          return [
            [(await other.me()).limited, kindOf(await third.returns())],
            [false, "plain"],
          ];
        },
      };
    },
  },
  {
    name: "a payer who comes back to another browser ends it",
    prepare: async (stage) => {
      const { other, browser } = await opened(stage);
      const session = other.session as Session;
      const payer = new Browser(stage);
      return {
        act: async () => {
          const kind = kindOf(await payer.returns(session));
          if (kind !== "foreign") throw new Error(`The page was ${kind}`);
        },
        judge: async () => [
          [(await other.me()).limited, (await browser.me()).limited_sessions?.length],
          [false, 0],
        ],
      };
    },
  },
];

/** `other` is in the envelope of `browser`, by a payment. */
async function opened(stage: Stage) {
  const { browser, fingerprint } = await keeper(stage);
  const other = new Browser(stage);
  const { payment_intent } = await other.pays(fingerprint, 500);
  await other.accepts(await other.returns());
  if ((await other.me()).limited !== true) throw new Error("The card opened nothing");
  return { browser, other, fingerprint, payment_id: String(payment_intent) };
}

export const FLOWS: readonly Flow[] = [...webhook, ...assignment, ...topups, ...refunds, ...logins];
