/**
 * Stripe's deliveries on a bad day: every event several times, out of order, late, as a snapshot or thin, signed with one
 * secret or the other; some never arrive, some answers are lost; each is sent again until it is answered 2xx.
 *
 * Everything happens on a line of ticks. What becomes of a delivery is drawn when it is planned, not when it is sent, so a
 * seed repeats a run however fast the receiver answers.
 */
import Stripe from "stripe";
import type { StripeAccount } from "./account.js";
import { type Event, MONEY_EVENTS, type ThinEvent, thinOf } from "./objects.js";
import type { Random } from "./random.js";

export interface DelivererOptions {
  readonly account: StripeAccount;
  readonly webhook: (request: Request) => Promise<Response>;
  readonly secrets: readonly [string, ...string[]];
  readonly random: Random;
  /** Deliveries under way at once. */
  readonly concurrency?: number;
  /** Mean number of copies of each event. */
  readonly copies?: number;
  /** Longest delay, in ticks. */
  readonly delay?: number;
  readonly rates?: Partial<Rates>;
}

/** Shares of all deliveries. */
export interface Rates {
  readonly thin: number;
  readonly late: number;
  readonly lostRequest: number;
  readonly lostAnswer: number;
  readonly oldVersion: number;
  /** Of the events that the endpoint did not ask for. */
  readonly unasked: number;
}

/** What the endpoint asked for. Of the rest a few come all the same. */
const SUBSCRIBED: ReadonlySet<string> = new Set(MONEY_EVENTS);

const RATES: Rates = { thin: 0.3, late: 0.3, lostRequest: 0.05, lostAnswer: 0.05, oldVersion: 0.15, unasked: 0.05 };

/** Versions that an endpoint may be pinned to, and still credit: fields before 2025-03-31 said something else. */
const OLD_VERSIONS = ["2025-03-31.basil", "2025-09-30.clover", "2026-03-25.dahlia"] as const;

/** Stripe gives up after three days; nobody answers wrongly for that long in a test. */
const ATTEMPTS_MAX = 50;

type Fate = "arrives" | "lost_request" | "lost_answer";

interface Delivery {
  readonly payload: Event | ThinEvent;
  /** The event this is a copy of; `undefined` for noise. */
  readonly of: string | undefined;
  readonly signing: number;
  /** What becomes of each attempt; then they arrive. */
  readonly fates: Fate[];
  attempts: number;
}

export interface Deliveries {
  /** Real events, each of which has to be answered. */
  events: number;
  /** Requests that reached the receiver. */
  deliveries: number;
  lost_requests: number;
  lost_answers: number;
  thin: number;
  noise: number;
  /** Answers by status. */
  readonly statuses: Record<string, number>;
  /** What the receiver said it did, in its 2xx answers. */
  readonly outcomes: Record<string, number>;
  /** Real events that were never answered 2xx. Empty when the receiver did its part. */
  unanswered: readonly string[];
}

export class ChaosDeliverer {
  readonly #options: Required<Omit<DelivererOptions, "rates">>;
  readonly #rates: Rates;
  readonly #ticks = new Map<number, (Delivery | (() => void))[]>();
  readonly #answered = new Set<string>();
  readonly #done: Deliveries = {
    events: 0,
    deliveries: 0,
    lost_requests: 0,
    lost_answers: 0,
    thin: 0,
    noise: 0,
    statuses: {},
    outcomes: {},
    unanswered: [],
  };
  #tick = 0;
  #last = 0;
  #seen = 0;

  constructor({ rates = {}, ...options }: DelivererOptions) {
    this.#options = { concurrency: 16, copies: 2, delay: 60, ...options };
    this.#rates = { ...RATES, ...rates };
  }

  get tick(): number {
    return this.#tick;
  }

  get delivered(): number {
    return this.#done.deliveries;
  }

  /** Something happens in the account; the events it makes are delivered from then on. */
  at(tick: number, move: () => void): void {
    this.#plan(tick, move);
  }

  /** A signed event that must change nothing. It is answered like any other, and not counted among the real ones. */
  noise(payload: Event | ThinEvent): void {
    this.#plan(this.#tick + 1 + this.#delay(), this.#delivery(payload, undefined));
  }

  /** Goes on until nothing is left to do. May be called again after more was planned. */
  async run(): Promise<Deliveries> {
    const underWay = new Set<Promise<void>>();
    for (; this.#tick <= this.#last || underWay.size > 0; this.#tick += 1) {
      for (const planned of this.#ticks.get(this.#tick) ?? []) {
        if (typeof planned === "function") {
          planned();
          this.#planNew();
          continue;
        }
        while (underWay.size >= this.#options.concurrency) await Promise.race(underWay);
        const sending = this.#send(planned).finally(() => underWay.delete(sending));
        underWay.add(sending);
      }
      this.#ticks.delete(this.#tick);
      // What failed at the end of the line comes back behind it.
      if (this.#tick >= this.#last) await Promise.all(underWay);
    }
    this.#done.events = this.#subscribed().length;
    this.#done.unanswered = this.#subscribed().filter((id) => !this.#answered.has(id));
    return this.#done;
  }

  /** Old events again, as somebody in the Dashboard might: each a duplicate by now. */
  async resend(deliveries: number): Promise<Deliveries> {
    const { account, random } = this.#options;
    const events = account.events.filter(({ type }) => SUBSCRIBED.has(type));
    for (let sent = 0; sent < deliveries; sent++) this.#plan(this.#tick + 1, this.#copy(random.pick(events)));
    return this.run();
  }

  /** These and no others, one after the other, each until it is taken. Answers how many requests that took. */
  async inOrder(events: readonly Event[]): Promise<number> {
    const before = this.#done.deliveries;
    for (const event of events) {
      let accepted = false;
      for (let attempt = 0; !accepted; attempt++) {
        if (attempt === ATTEMPTS_MAX) throw new Error(`${event.id} is not taken`);
        accepted = await this.#deliver(this.#delivery(event, event.id));
      }
    }
    return this.#done.deliveries - before;
  }

  #subscribed(): string[] {
    return this.#options.account.events.filter(({ type }) => SUBSCRIBED.has(type)).map(({ id }) => id);
  }

  #plan(tick: number, planned: Delivery | (() => void)): void {
    const at = Math.max(tick, this.#tick + 1);
    const others = this.#ticks.get(at);
    if (others === undefined) this.#ticks.set(at, [planned]);
    else others.push(planned);
    this.#last = Math.max(this.#last, at);
  }

  #planNew(): void {
    const { account, copies, random } = this.#options;
    for (; this.#seen < account.events.length; this.#seen += 1) {
      const event = account.events[this.#seen] as Event;
      if (!SUBSCRIBED.has(event.type)) {
        if (random.chance(this.#rates.unasked)) this.noise(event);
        continue;
      }
      const extra = Math.floor(random.fraction() * 2 * (copies - 1) + random.fraction());
      for (let copy = 0; copy <= extra; copy++) this.#plan(this.#tick + 1 + this.#delay(), this.#copy(event));
    }
  }

  /** Mostly soon, sometimes so late that everything after it came first. */
  #delay(): number {
    const { delay, random } = this.#options;
    return random.chance(this.#rates.late) ? random.between(0, delay) : random.between(0, 2);
  }

  #copy(event: Event): Delivery {
    const { random } = this.#options;
    if (random.chance(this.#rates.thin)) return this.#delivery(thinOf(event), event.id);
    const old = random.chance(this.#rates.oldVersion);
    return this.#delivery(old ? { ...event, api_version: random.pick(OLD_VERSIONS) } : event, event.id);
  }

  #delivery(payload: Event | ThinEvent, of: string | undefined): Delivery {
    const { random, secrets } = this.#options;
    const fates: Fate[] = [];
    while (fates.length < 5) {
      const fate = random.fraction();
      if (fate < this.#rates.lostRequest) fates.push("lost_request");
      else if (fate < this.#rates.lostRequest + this.#rates.lostAnswer) fates.push("lost_answer");
      else break;
    }
    // One more than there are secrets: while one is rolled, Stripe signs with both.
    return { payload, of, signing: random.between(0, secrets.length), fates, attempts: 0 };
  }

  async #send(delivery: Delivery): Promise<void> {
    const fate = delivery.fates.shift() ?? "arrives";
    delivery.attempts += 1;
    const accepted = fate === "lost_request" ? this.#lose() : await this.#deliver(delivery);
    if (fate === "lost_answer") this.#done.lost_answers += 1;
    if (accepted && fate === "arrives") {
      if (delivery.of !== undefined) this.#answered.add(delivery.of);
    } else if (delivery.attempts < ATTEMPTS_MAX) {
      this.#plan(this.#tick + 2 ** Math.min(delivery.attempts, 6), delivery);
    }
  }

  #lose(): false {
    this.#done.lost_requests += 1;
    return false;
  }

  async #deliver({ payload, of, signing }: Delivery): Promise<boolean> {
    const body = JSON.stringify(payload);
    const headers = { "Content-Type": "application/json", "Stripe-Signature": await this.#sign(body, signing) };
    const { webhook } = this.#options;
    const response = await webhook(
      new Request("https://worker.test/stripe-webhook", { method: "POST", headers, body }),
    );
    const text = await response.text();
    this.#done.deliveries += 1;
    if (payload.object === "v2.core.event") this.#done.thin += 1;
    if (of === undefined) this.#done.noise += 1;
    count(this.#done.statuses, String(response.status));
    if (response.ok) count(this.#done.outcomes, outcomeOf(text));
    return response.ok;
  }

  /** Each attempt is signed anew, as Stripe does. */
  async #sign(payload: string, signing: number): Promise<string> {
    const { secrets } = this.#options;
    const timestamp = Math.floor(Date.now() / 1000);
    const signWith = (secret: string) => {
      const cryptoProvider = Stripe.createSubtleCryptoProvider();
      return Stripe.webhooks.generateTestHeaderStringAsync({ payload, secret, timestamp, cryptoProvider });
    };
    const one = secrets[signing];
    if (one !== undefined) return signWith(one);
    const all = await Promise.all(secrets.map(signWith));
    return [`t=${timestamp}`, ...all.map((header) => header.replace(/^t=[0-9]+,/, ""))].join(",");
  }
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

function outcomeOf(text: string): string {
  try {
    return String((JSON.parse(text) as { outcome?: unknown }).outcome);
  } catch {
    return "not JSON";
  }
}
