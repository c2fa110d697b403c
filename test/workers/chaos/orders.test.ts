/** T33, I5: whatever order Stripe's events come in, the balance and the books are the same. */

import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { PaymentReport } from "../../../src/contract.js";
import type { Account, Draft } from "../../../src/envelope/ledger.js";
import { decidePayment, NO_FILE, type PaymentFile } from "../../../src/envelope/payments.js";
import { currencyOf, type Micros, ZERO } from "../../../src/money.js";
import { writeReference } from "../../../src/reference.js";
import { keysOf } from "../../../src/settings.js";
import { EVENT_TYPES, readEvent } from "../../../src/topup/events.js";
import { leftMicros } from "../../stripe/judge.js";
import { MONEY_EVENTS } from "../../stripe/objects.js";
import { STORIES, type Story, tellStory } from "../../stripe/orders.js";
import { type Random, randomOf } from "../../stripe/random.js";
import { ORIGIN, WEBHOOK_SECRETS } from "../support.js";
import { judgeSite, newcomers, siteWithStripe } from "./support.js";

afterEach(() => vi.restoreAllMocks());

const ORDERS_OF_NINE = 362_880;
const SEED = "T33";

/** An envelope as small as the rules allow: an account and one payment's file. */
interface Tiny {
  readonly account: Account;
  readonly file: PaymentFile;
  readonly topups: number;
}

const EMPTY: Tiny = {
  account: { balance_micros: ZERO, held_micros: ZERO, frozen: false, funded: false, currency: null },
  file: NO_FILE,
  topups: 0,
};

type Reducer = (state: Tiny, report: PaymentReport) => Tiny;

const reduce: Reducer = (state, report) => {
  const decision = decidePayment(state.account, state.file, report);
  if ("outcome" in decision) return state;
  const { payment, reversal, reversed_micros } = decision.file;
  const { reversals } = state.file;
  const others = reversals.filter(({ reversal_id }) => reversal_id !== reversal?.reversal_id);
  return {
    account: after(state.account, decision.writes),
    file: {
      ...state.file,
      payment: payment ?? state.file.payment,
      reversals: reversal === undefined ? reversals : [...others, reversal],
      reversed_micros,
    },
    topups: state.topups + decision.writes.filter(({ kind }) => kind === "topup").length,
  };
};

function after(account: Account, writes: readonly Draft[]): Account {
  const moved = writes.reduce((sum, { amount_micros }) => sum + amount_micros, 0);
  return { ...account, balance_micros: (account.balance_micros + moved) as Micros, funded: true, currency: "usd" };
}

/** What the webhook makes of a story's events, before any envelope is asked. */
function reportsOf(story: Story): { readonly reports: readonly PaymentReport[]; readonly due_micros: number } {
  const keys = keysOf(env).reference;
  const reference = writeReference(keys, "a".repeat(22), new Request(ORIGIN));
  const { account, events, payment_id } = tellStory(story, reference);
  const currency = currencyOf("usd");
  if (currency === undefined) throw new Error("usd is a currency");
  const rules = {
    currency,
    credit: "net",
    paymentLinks: undefined,
    mode: undefined,
    referenceKeys: keys,
    maxCredit: 10_000_000_000_000 as Micros,
    onDispute: "freeze",
  } as const;
  const reports = events.flatMap((event) => {
    const meaning = readEvent(event, rules);
    return "report" in meaning ? [meaning.report] : [];
  });
  return { reports, due_micros: leftMicros(account.booksOf(payment_id), story.amount - story.tax) };
}

/**
 * Folds every order there is, sharing what orders begin with in common: 986,410 steps in place of 3,265,920. At each step an
 * event that already came is told again, which must change nothing.
 */
function everyOrder(reports: readonly PaymentReport[], reducer: Reducer, atEnd: (end: Tiny) => void): number {
  let orders = 0;
  const path: number[] = [];
  const used = reports.map(() => false);
  const go = (state: Tiny): void => {
    if (path.length === reports.length) {
      orders += 1;
      atEnd(state);
      return;
    }
    reports.forEach((report, index) => {
      if (used[index]) return;
      used[index] = true;
      path.push(index);
      go(reducer(reducer(state, report), reports[path[0] as number] as PaymentReport));
      path.pop();
      used[index] = false;
    });
  };
  go(EMPTY);
  return orders;
}

/** How an order ended, in one text: balance and books. The entries differ by order; what they come to must not. */
function endOf({ account, file, topups }: Tiny): string {
  const words = file.reversals.map((one) => Object.values(one).join());
  return [account.balance_micros, file.reversed_micros, topups, file.payment?.state, ...words.sort()].join();
}

describe("T33 all 362,880 orders of nine events through the rules", () => {
  it("the stand-in makes every event that the webhook acts on, and knows of no other", () => {
    expect([...EVENT_TYPES].sort()).toEqual([...MONEY_EVENTS].sort());
  });

  it.each(STORIES)("I5 $name", { timeout: 60_000 }, (story) => {
    const { reports, due_micros } = reportsOf(story);
    const ends = new Map<string, Tiny>();
    const orders = everyOrder(reports, reduce, (end) => ends.set(endOf(end), end));
    expect([reports.length, orders]).toEqual([9, ORDERS_OF_NINE]);
    expect([...ends.keys()]).toHaveLength(1);
    const [end] = ends.values();
    expect(end).toMatchObject({ account: { balance_micros: due_micros }, topups: 1 });
  });
});

describe("T39 charge.refunded alone", () => {
  it.each(STORIES)("says what refunds took, also where their own events are lost: $name", (story) => {
    const { reports, due_micros } = reportsOf(story);
    // Of a refund that failed, it is the failure that has to be heard of: Stripe lowers the total without a word.
    const lost = reports.filter(({ reversal }) => reversal?.kind === "refund" && reversal.rank < 3);
    expect(lost).not.toHaveLength(0);
    const ends = new Map<string, Tiny>();
    everyOrder(
      reports.filter((report) => !lost.includes(report)),
      reduce,
      (end) => ends.set(endOf(end), end),
    );
    expect([...ends.values()]).toMatchObject([{ account: { balance_micros: due_micros } }]);
  });
});

describe("negative controls: the same orders tell a wrong reducer", () => {
  /** Books each event as it comes, as if none said what another had said. */
  const adding: Reducer = ({ account, ...rest }, { payment, reversal }) => {
    const paid = payment?.state === "paid" ? payment.credit_micros : 0;
    const away = reversal !== undefined && reversal.rank % 2 === 1 ? reversal.amount * 10_000 : 0;
    return { ...rest, account: { ...account, balance_micros: (account.balance_micros + paid - away) as Micros } };
  };

  /** Keeps one state per object, but believes whoever spoke last. */
  const lastWord: Reducer = (state, report) => {
    const { file } = state;
    const { reversals } = file;
    const forgetful = reversals.filter(({ reversal_id }) => reversal_id !== report.reversal?.reversal_id);
    return reduce({ ...state, file: { ...file, reversals: forgetful } }, report);
  };

  it.each([
    ["adding", adding, STORIES[0]],
    ["the last word", lastWord, STORIES[2]],
  ] as const)("%s", { timeout: 60_000 }, (_name, reducer, story) => {
    const { reports, due_micros } = reportsOf(story as Story);
    const balances = new Set<number>();
    expect(everyOrder(reports, reducer, ({ account }) => balances.add(account.balance_micros))).toBe(ORDERS_OF_NINE);
    expect([...balances]).not.toEqual([due_micros]);
  });
});

describe("T33 random orders through the real webhook", () => {
  const ORDERS = 150;

  it(`${ORDERS} of them, some events told twice`, { timeout: 120_000 }, async () => {
    const { site } = siteWithStripe();
    const callers = await newcomers(site, ORDERS);
    const random = randomOf(SEED, "orders");
    const verdicts = await Promise.all(
      callers.map(async (caller, index) => {
        const story = STORIES[index % STORIES.length] as Story;
        const { account, events, payment_id } = tellStory(story, caller.reference);
        const secrets = inAnyOrder(events, random).map((event) => [event, random.pick(WEBHOOK_SECRETS)] as const);
        for (const [event, secret] of secrets) expect((await site.webhook(event, secret)).status).toBe(200);
        const owners = new Map([[payment_id, { envelope_id: caller.id, goods: story.amount - story.tax }]]);
        return judgeSite(site, account, owners, [caller]);
      }),
    );
    expect(verdicts.flatMap(({ findings }) => findings)).toEqual([]);
    expect(verdicts.reduce((sum, { credits }) => sum + credits, 0)).toBe(ORDERS);
  });
});

describe("what a payer is given besides", () => {
  const ORDERS = 60;

  it(`T33 stands exactly while nothing of the payment is away, in ${ORDERS} random orders`, {
    timeout: 120_000,
  }, async () => {
    const { site } = siteWithStripe({}, { signUpGrant: { amount: "300", to: "payers" } });
    const callers = await newcomers(site, ORDERS);
    const random = randomOf(SEED, "gifts");
    const ends = await Promise.all(
      callers.map(async (caller, index) => {
        const story = STORIES[index % STORIES.length] as Story;
        const { account, events, payment_id } = tellStory(story, caller.reference);
        for (const event of inAnyOrder(events, random)) expect((await site.webhook(event)).status).toBe(200);
        const goods = story.amount - story.tax;
        const left = leftMicros(account.booksOf(payment_id), goods);
        const { paid_micros, promotional_micros } = await caller.envelope.state();
        expect([paid_micros, promotional_micros]).toEqual([left, left === goods * 10_000 ? 3_000_000 : 0]);
        return promotional_micros;
      }),
    );
    expect(new Set(ends)).toEqual(new Set([0, 3_000_000]));
  });
});

function inAnyOrder<One>(events: readonly One[], random: Random): One[] {
  return random.shuffled([...events, ...events.filter(() => random.chance(0.2))]);
}
