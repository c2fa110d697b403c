/** Stories of one payment that each make nine events that matter, for tests of every order they may arrive in. */
import { StripeAccount } from "./account.js";
import { type Event, MONEY_EVENTS } from "./objects.js";

export interface Story {
  readonly name: string;
  /** Minor units: what was paid, and how much of it is tax. */
  readonly amount: number;
  readonly tax: number;
  /** Answers the PaymentIntent's id. */
  readonly tell: (account: StripeAccount, reference: string) => string;
}

export interface Told {
  readonly account: StripeAccount;
  readonly payment_id: string;
  /** As they came about. */
  readonly events: readonly Event[];
}

const AMOUNT = 1000;
const TAXED = { amount: 1190, tax: 190 } as const;

export const STORIES: readonly Story[] = [
  {
    name: "a delayed payment, partly refunded, partly lost in a dispute",
    amount: AMOUNT,
    tax: 0,
    tell: (account, reference) => {
      const session = account.checkout({ reference, amount: AMOUNT, payment: "unpaid" });
      const id = String(session.payment_intent);
      account.settle(session, "paid");
      const refund = account.refund(id, 333, "pending");
      account.moveRefund(refund, "succeeded");
      const dispute = account.dispute(id, 500);
      account.withdraw(dispute);
      account.moveDispute(dispute, "under_review");
      account.moveDispute(dispute, "lost");
      return id;
    },
  },
  {
    name: "a refund that fails, a dispute that is won",
    amount: AMOUNT,
    tax: 0,
    tell: (account, reference) => {
      const session = account.checkout({ reference, amount: AMOUNT, payment: "unpaid" });
      const id = String(session.payment_intent);
      account.settle(session, "paid");
      account.moveRefund(account.refund(id, 250), "failed");
      const dispute = account.dispute(id, AMOUNT);
      account.withdraw(dispute);
      account.moveDispute(dispute, "won");
      account.reinstate(dispute);
      return id;
    },
  },
  {
    name: "a taxed payment, partly refunded, an inquiry that is withdrawn, reinstated and withdrawn again",
    ...TAXED,
    tell: (account, reference) => {
      const id = String(account.checkout({ reference, ...TAXED }).payment_intent);
      account.refund(id, 100);
      const dispute = account.dispute(id, 500, { status: "warning_needs_response" });
      account.moveDispute(dispute, "needs_response");
      account.withdraw(dispute);
      account.reinstate(dispute);
      account.withdraw(dispute);
      account.moveDispute(dispute, "lost");
      return id;
    },
  },
  {
    name: "a taxed payment refunded in three parts to the last cent, with a fraud warning",
    ...TAXED,
    tell: (account, reference) => {
      const id = String(account.checkout({ reference, ...TAXED }).payment_intent);
      for (const part of [397, 397]) account.refund(id, part);
      account.moveRefund(account.refund(id, 396, "pending"), "succeeded");
      account.warn(id);
      return id;
    },
  },
];

/** The PaymentIntents of sessions have events too, which say nothing that their session does not. */
const MATTERS: ReadonlySet<string> = new Set(MONEY_EVENTS.filter((type) => !type.startsWith("payment_intent.")));
const STARTED = Math.floor(Date.now() / 1000) - 86_400;

/** In an account of its own. Neighbouring events share a second, as they do at Stripe. */
export function tellStory(story: Story, reference: string, name?: string): Told {
  let events = 0;
  const account = new StripeAccount({ ...(name === undefined ? {} : { name }), now: () => STARTED + (events++ >> 1) });
  const payment_id = story.tell(account, reference);
  const told = account.events.filter(({ type }) => MATTERS.has(type));
  if (told.length !== 9) throw new Error(`"${story.name}" makes ${told.length} events that matter, not nine`);
  return { account, payment_id, events: told };
}
