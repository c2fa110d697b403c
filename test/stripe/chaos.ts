/**
 * The chaos run: many payments through the stand-in, with refunds and disputes, delivered as badly as the deliverer can,
 * beside events that must change nothing. The same code in workerd, short, and against a server process, long.
 */
import { ChaosDeliverer, type Deliveries } from "./deliverer.js";
import type { Owner } from "./judge.js";
import { type Dispute, type Event, type Intent, type Session, type ThinEvent, thinOf } from "./objects.js";
import { type Random, randomOf } from "./random.js";
import type { StripeStandIn } from "./stand-in.js";

/** Somebody with an envelope. */
export interface Holder {
  readonly envelope_id: string;
  readonly reference: string;
}

export interface ChaosInput {
  readonly seed: string | number;
  /** Payments that are collected in the end; some more are begun and come to nothing. */
  readonly payments: number;
  /** At least so many requests reach the webhook. */
  readonly deliveries: number;
  readonly holders: readonly Holder[];
  readonly standIn: StripeStandIn;
  readonly webhook: (request: Request) => Promise<Response>;
  readonly secrets: readonly [string, ...string[]];
  readonly concurrency?: number;
}

export interface ChaosRun {
  readonly deliveries: Deliveries;
  readonly owners: ReadonlyMap<string, Owner>;
}

/** Where our own PaymentIntents carry their reference. */
const REFERENCE_METADATA = "with_envelope_reference";

/** Measured: events that matter, per payment of the plan below. Copies of them make up the rest. */
const EVENTS_PER_PAYMENT = 5.7;
/** Payments begun per tick. */
const PACE = 3;

export async function runChaos(input: ChaosInput): Promise<ChaosRun> {
  const { standIn, webhook, secrets, payments, concurrency = 16 } = input;
  const { account } = standIn;
  const deliverer = new ChaosDeliverer({
    account,
    webhook,
    secrets,
    concurrency,
    random: randomOf(input.seed, "deliveries"),
    // A tenth is left for those whose answer is lost, and for old ones at the end.
    copies: Math.max(1, (0.9 * input.deliveries) / (payments * EVENTS_PER_PAYMENT)),
  });
  const started = Math.floor(Date.now() / 1000) - 7 * 86_400;
  account.now = () => started + deliverer.tick;

  const plan = new Plan(input, deliverer);
  for (let payment = 0; payment < payments; payment++) plan.payment(Math.floor(payment / PACE));
  await deliverer.run();
  const deliveries = await deliverer.resend(Math.max(0, input.deliveries - deliverer.delivered));
  return { deliveries, owners: plan.owners };
}

class Plan {
  readonly owners = new Map<string, Owner>();
  readonly #input: ChaosInput;
  readonly #deliverer: ChaosDeliverer;
  readonly #random: Random;
  /** When the next move of the payment being planned happens. */
  #tick = 0;

  constructor(input: ChaosInput, deliverer: ChaosDeliverer) {
    this.#input = input;
    this.#deliverer = deliverer;
    this.#random = randomOf(input.seed, "payments");
  }

  get #account() {
    return this.#input.standIn.account;
  }

  payment(tick: number): void {
    this.#tick = tick;
    const random = this.#random;
    const holder = random.pick(this.#input.holders);
    const amount = random.chance(0.1) ? random.between(1, 3) : random.between(100, 50_000);
    if (random.chance(0.1)) this.#comesToNothing(holder, amount);
    const paid = random.chance(0.2) ? this.#ownIntent(holder, amount) : this.#session(holder, amount);
    if (random.chance(0.35)) this.#refunds(paid, amount);
    if (random.chance(0.25)) this.#dispute(paid, amount);
    if (random.chance(0.1)) this.#later(() => this.#account.warn(paid()));
    if (random.chance(0.25)) this.#noise(paid, holder, amount);
  }

  /** After what was planned before. Sometimes within the same second. */
  #later(move: () => void, least = 0): void {
    this.#tick += this.#random.between(least, 12);
    this.#deliverer.at(this.#tick, move);
  }

  #owned<One extends Session | Intent>(made: One, { envelope_id }: Holder): One {
    const id = made.object === "payment_intent" ? made.id : made.payment_intent;
    if (id !== null) this.owners.set(id, { envelope_id });
    return made;
  }

  #comesToNothing(holder: Holder, amount: number): void {
    const { reference } = holder;
    const payment = this.#random.pick(["open", "unpaid"] as const);
    let session: Session | undefined;
    this.#later(() => {
      session = this.#owned(this.#account.checkout({ reference, amount, payment }), holder);
    });
    this.#later(() => {
      if (session === undefined) return;
      if (payment === "open") this.#account.expire(session);
      else this.#account.settle(session, "failed");
    });
  }

  #session(holder: Holder, amount: number): () => string {
    const { reference } = holder;
    const payment = this.#random.chance(0.25) ? "unpaid" : "paid";
    let session: Session | undefined;
    this.#later(() => {
      session = this.#owned(this.#account.checkout({ reference, amount, payment }), holder);
    });
    if (payment === "unpaid") this.#later(() => this.#account.settle(session as Session, "paid"));
    return () => String(session?.payment_intent);
  }

  /** A top-up through the API, sometimes after a declined card. */
  #ownIntent(holder: Holder, amount: number): () => string {
    const metadata = { [REFERENCE_METADATA]: holder.reference };
    let intent: Intent | undefined;
    this.#later(() => {
      intent = this.#owned(this.#account.intent({ amount, currency: "usd", metadata }), holder);
    });
    if (this.#random.chance(0.3)) this.#later(() => this.#account.fail(intent as Intent, "card_declined"));
    this.#later(() => this.#account.collect(intent as Intent));
    return () => String(intent?.id);
  }

  #refunds(paid: () => string, amount: number): void {
    const random = this.#random;
    let left = amount;
    for (let parts = random.between(1, 4); parts > 0 && left > 0; parts--) {
      const part = parts === 1 && random.chance(0.5) ? left : random.between(1, left);
      left -= part;
      const pending = random.chance(0.5);
      const end = random.chance(0.15) ? "failed" : random.chance(0.1) ? "canceled" : "succeeded";
      this.#later(() => {
        const refund = this.#account.refund(paid(), part, pending ? "pending" : "succeeded");
        // A refund that had succeeded may still fail; it does not succeed twice.
        if (pending || end === "failed")
          this.#deliverer.at(this.#deliverer.tick + 9, () => this.#account.moveRefund(refund, end));
      });
    }
  }

  #dispute(paid: () => string, amount: number): void {
    const random = this.#random;
    const steps = random.pick(DISPUTES);
    const disputed = random.chance(0.5) ? amount : random.between(1, amount);
    let dispute: Dispute | undefined;
    this.#later(() => {
      const status = steps[0] === "inquiry" ? "warning_needs_response" : "needs_response";
      dispute = this.#account.dispute(paid(), disputed, { status });
    });
    for (const step of steps) {
      if (step === "inquiry") continue;
      const moves = step === "withdraw" || step === "reinstate";
      // Money moves in the second of a decision; two decisions never come in one.
      this.#later(
        () => {
          if (dispute === undefined) return;
          if (step === "withdraw") this.#account.withdraw(dispute);
          else if (step === "reinstate") this.#account.reinstate(dispute);
          else this.#account.moveDispute(dispute, step);
        },
        moves ? 0 : 1,
      );
    }
  }

  /** Signed, and of no concern: another mode, another account, payments that are not ours. */
  #noise(paid: () => string, { reference }: Holder, amount: number): void {
    const kind = this.#random.pick(["livemode", "account", "context", "foreign"] as const);
    this.#later(() => {
      const [of, refund] = this.#elsewhere(paid(), reference, amount);
      const one = this.#random.pick([of, refund]);
      this.#deliverer.noise(NOISE[kind](kind === "foreign" ? refund : one));
    });
  }

  /** A payment into the same envelope and a refund of the same payment, which never happened in this account. */
  #elsewhere(payment_id: string, reference: string, amount: number): readonly [Event, Event] {
    const { account } = this.#input.standIn;
    const created = account.now();
    const event = (type: Event["type"], object: Event["data"]["object"]): Event => {
      return { id: account.id("evt"), object: "event", type, created, livemode: false, data: { object } };
    };
    const session: Session = {
      id: account.id("cs_test"),
      object: "checkout.session",
      amount_subtotal: amount,
      amount_total: amount,
      client_reference_id: reference,
      currency: "usd",
      livemode: false,
      mode: "payment",
      payment_intent: account.id("pi"),
      payment_link: "plink_1",
      payment_status: "paid",
      status: "complete",
    };
    const refund = {
      id: account.id("re"),
      object: "refund",
      amount,
      charge: account.id("ch"),
      currency: "usd",
      payment_intent: payment_id,
      status: "succeeded",
    } as const;
    return [event("checkout.session.completed", session), event("refund.created", refund)];
  }
}

const NOISE: Readonly<Record<"livemode" | "account" | "context" | "foreign", (event: Event) => Event | ThinEvent>> = {
  livemode: (event) => ({ ...event, livemode: true }),
  account: (event) => ({ ...event, account: "acct_somebody_else" }),
  context: (event) => thinOf(event, { context: "acct_somebody_else" }),
  foreign: (event) => {
    const { object } = event.data;
    return {
      ...event,
      data: { object: { ...object, payment_intent: `${object.id}_of_another_shop` } as typeof object },
    };
  },
};

type Step = "inquiry" | "withdraw" | "reinstate" | Dispute["status"];

const DISPUTES: readonly (readonly Step[])[] = [
  ["inquiry", "warning_under_review", "warning_closed"],
  ["inquiry", "needs_response", "withdraw", "under_review", "lost"],
  ["withdraw", "lost"],
  ["withdraw", "under_review", "won", "reinstate"],
  ["withdraw", "lost", "appeal_needs_response", "appeal_under_review", "won", "reinstate"],
  ["withdraw", "won", "reinstate", "needs_response", "withdraw", "lost"],
  // Not decided yet when the run ends.
  ["withdraw", "under_review"],
];
