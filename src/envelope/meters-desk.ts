/**
 * Meters: holds that roll along with what is delivered. A meter's hold is on disk with what was delivered as of its last
 * renewal; what was said since is in its session, in memory. The lease is a comparison with the time: when it is over, no more is
 * reserved than what was delivered, and that is booked by the next turn that decides on money. An alarm only sees to it that there is one.
 */
import { RpcTarget } from "cloudflare:workers";
import type {
  Asked,
  Balances,
  HoldEnded,
  MeterEndInput,
  MeterHeld,
  MeterSession,
  MeterUse,
  OpenMeterInput,
  OpenMeterOutcome,
  Refusal,
  SettleOutcome,
} from "../contract.js";
import { canTopUp } from "../limits.js";
import { type Micros, ZERO } from "../money.js";
import { decideLapse } from "./beyond.js";
import { endedAs, type Hold } from "./holds.js";
import { HoldsBook } from "./holds-book.js";
import type { HoldsDesk } from "./holds-desk.js";
import { askedBy, balances, isExpired, refusal, tagOf, taken } from "./ledger.js";
import { decideMeter, decideRenewal, isUse } from "./meters.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";

/** How long after a lease the alarm comes to book what it left. */
const TIDY_MS = 1_000;

type Spending = Asked & { readonly tag: string | undefined };
type UseOutcome = Balances & (MeterHeld | HoldEnded);

/** What a session goes on with: who pays, and for how long what is held stays so. */
interface Standing {
  readonly hold_id: number;
  readonly asked: Asked;
  readonly lease_ms: number;
  /** What it is spent on. */
  readonly tag: string | undefined;
}

export class MetersDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #desk: HoldsDesk;
  readonly #holds: HoldsBook;
  /** By hold: the session that was begun last. Whoever had an earlier one is not heard any more. */
  readonly #sessions = new Map<number, Session>();

  constructor(office: Office, holds: HoldsDesk) {
    this.#office = office;
    this.#store = office.store;
    this.#desk = holds;
    this.#holds = new HoldsBook(office.store);
  }

  /** In the turn of the group, as all that a session is asked. */
  open(input: OpenMeterInput): OpenMeterOutcome {
    const now = Date.now();
    const tag = tagOf(input);
    const { resume, key, lease_ms } = input;
    const caller = this.#office.caller(input.credential, "spend", now);
    // What is reserved may be used up, whatever became of the token.
    if (resume === undefined && typeof caller === "string")
      return this.#office.turnAway(caller, input.least_micros, now);
    const chain = typeof caller === "string" ? undefined : caller;
    const account = this.#office.account(chain, now, tag);
    const earlier = input.retry ? this.#holds.holdByOperation(input.op) : undefined;
    const hold = resume === undefined ? earlier : this.#holds.hold(resume.hold_id);
    if (hold === undefined && this.#holds.metered().length >= (input.open_max ?? Number.POSITIVE_INFINITY)) {
      return { outcome: "crowded", ...balances(account) };
    }
    const priors = {
      hold,
      paid: this.#desk.paidFor(hold),
      key: resume === undefined ? this.#store.priorByKey(key) : undefined,
      key_is_held: resume === undefined && this.#store.keyIsHeld(key, now),
    };
    const asked = askedBy(chain, input);
    const decision = decideMeter(account, priors, asked, now);
    if ("outcome" in decision) {
      if ("end" in decision && hold !== undefined) this.#holds.endHold(hold, decision.end, undefined);
      const { outcome } = decision;
      if (outcome.outcome === "refused") this.#refuse({ ...input, tag }, outcome.refusal, now);
      return outcome;
    }
    if ("resume" in decision) return this.#resume(input, decision.resume, now);
    const { amount_micros, refusal: short } = decision.open;
    const { hold_id } = this.#store.transaction(() =>
      this.#holds.openHold({ ...asked, amount_micros, ttl_ms: lease_ms }, now, {
        used_micros: ZERO,
        spender_id: chain?.[0].spender_id ?? null,
      }),
    );
    this.#office.bell.armLater(lease_ms + TIDY_MS);
    this.#topUpIfLow({ ...input, tag }, undefined, now);
    const session = this.#begin({ hold_id, asked: input, lease_ms, tag }, ZERO);
    const held = { outcome: "held", hold_id, session, amount_micros, expires_in_ms: lease_ms } as const;
    return { ...held, ...(short && { refusal: short }), ...balances(this.#store.account(now, tag)) };
  }

  /** Goes on with a hold that is open. */
  #resume(input: OpenMeterInput, hold: Hold, now: number): OpenMeterOutcome {
    const { lease_ms, least_micros, slice } = input;
    const { hold_id } = hold;
    const used_micros = input.resume?.used_micros ?? ZERO;
    const standing = { hold_id, asked: input, lease_ms, tag: tagOf(hold) };
    const answer = this.#renew(standing, { used_micros, slice }, now);
    if (answer.outcome !== "held") return answer;
    const short = answer.refusal;
    // The hold stays: who took it lets it go, or goes on with what it has.
    if (answer.amount_micros < least_micros && short !== undefined) {
      const { balance_micros, available_micros } = answer;
      return { outcome: "refused", refusal: short, balance_micros, available_micros };
    }
    this.#office.bell.armLater(lease_ms + TIDY_MS);
    return { ...answer, hold_id, session: this.#begin(standing, used_micros) };
  }

  #begin(standing: Standing, used_micros: Micros): Session {
    const session = new Session(this, standing, used_micros);
    this.#sessions.set(standing.hold_id, session);
    return session;
  }

  /** Asked through a session. */
  async use(standing: Standing, input: MeterUse): Promise<UseOutcome> {
    if (!isUse(input)) throw new TypeError("A meter counts in whole micros, from 0 to 2^53−1");
    const hold = this.#store.holds.get(standing.hold_id);
    const now = Date.now();
    // Nothing to write: what was said is remembered, and nobody waits for a commit that is under way.
    if (input.slice === undefined && hold !== undefined && hold.expires_at_ms - now >= standing.lease_ms / 2) {
      return this.#heldAs(hold, standing, now);
    }
    return this.#office.group.run(() => this.#renew(standing, input, Date.now()));
  }

  #renew(standing: Standing, input: MeterUse, now: number): UseOutcome {
    const { hold_id, lease_ms, tag } = standing;
    const asked = { ...standing.asked, tag };
    const caller = this.#office.caller(asked.credential, "spend", now);
    const account = this.#office.account(typeof caller === "string" ? undefined : caller, now, tag);
    const hold = this.#holds.hold(hold_id);
    if (hold === undefined) throw new Error("Cannot happen: a session's hold has a row");
    if (hold.state !== "open") return { ...endedAs(hold.state, this.#desk.paidFor(hold)), ...balances(account) };
    const stopped = typeof caller === "string" ? caller : undefined;
    const decision = decideRenewal(stopped ? { ...account, frozen: true } : account, hold, input, lease_ms, now);
    const { write, amount_micros } = decision;
    if (write !== undefined) this.#store.transaction(() => this.#holds.changeHold(hold, write, now));
    const short =
      stopped === undefined || decision.refusal === undefined
        ? decision.refusal
        : refusal(account, stopped, decision.refusal.price_micros);
    if (short !== undefined && amount_micros === hold.amount_micros) this.#refuse(asked, short, now);
    else this.#topUpIfLow(asked, short, now);
    const held = this.#heldAs(this.#store.holds.get(hold_id) ?? hold, standing, now);
    return { ...held, ...(short && { refusal: short }) };
  }

  #heldAs({ amount_micros, expires_at_ms }: Hold, { tag }: Standing, now: number): Balances & MeterHeld {
    const expires_in_ms = expires_at_ms - now;
    return { outcome: "held", amount_micros, expires_in_ms, ...balances(this.#store.account(now, tag)) };
  }

  /** The end of a session. */
  async end({ hold_id, asked }: Standing, { used_micros, op, metadata }: MeterEndInput): Promise<SettleOutcome> {
    this.#sessions.delete(hold_id);
    const { currency, auto_topup, alerts } = asked;
    const input = { hold_id, amount_micros: used_micros, op, metadata, currency, auto_topup, alerts };
    return this.#office.group.run(() => this.#desk.settle({ ...input, above: "part" }));
  }

  /** Its caller is gone without an end: what was said last is what was delivered. Should this be lost, too, the lease settles it. */
  gone(session: Session, standing: Standing, used_micros: Micros): void {
    const { hold_id } = standing;
    if (this.#sessions.get(hold_id) !== session || !this.#store.holds.has(hold_id)) return;
    this.end(standing, { used_micros, op: `gone-${hold_id}` }).catch(() => undefined);
  }

  /** Any meter that is not settled. */
  get any(): boolean {
    return this.#holds.metered().length > 0;
  }

  /** Settles the meters whose lease is over, at what they are known to have delivered. */
  bookLapsed(now: number): void {
    for (const hold of this.#holds.metered()) {
      if (!isExpired(hold, now)) continue;
      const { hold_id } = hold;
      // More than what is on disk, where its session is still there to have said it.
      const told = this.#sessions.get(hold_id)?.used_micros ?? ZERO;
      this.#sessions.delete(hold_id);
      this.#office.transaction(() => {
        const write = decideLapse(this.#store.account(now, tagOf(hold)), hold, told);
        const entry = write && this.#store.append(write, now);
        const paid = entry ? taken(entry) : ZERO;
        const settled = { op: `lapsed-${hold_id}`, seq: entry?.seq ?? null, micros: paid, paid };
        this.#holds.endHold(hold, "expired", settled);
      });
    }
  }

  /** In how many milliseconds the alarm is to come back; `undefined` while no meter runs. */
  leaseEnds_ms(now: number): number | undefined {
    const ends = this.#holds.metered().map((hold) => hold.expires_at_ms - now);
    return ends.length === 0 ? undefined : Math.max(0, Math.min(...ends)) + TIDY_MS;
  }

  #refuse(asked: Spending, refusal: Refusal, now: number): void {
    this.#office.lookAfter({ ...asked, amount_micros: refusal.price_micros }, { outcome: "refused", refusal }, now);
  }

  /** Also where some of what was asked for is there. */
  #topUpIfLow(asked: Spending, short: Refusal | undefined, now: number): void {
    const lacking = short !== undefined && canTopUp(short.reason) ? short.price_micros : undefined;
    this.#office.desks.open.topups?.topUpIfLow(asked, lacking, now);
  }
}

/** Held by whoever delivers. Each method is remote API. */
class Session extends RpcTarget implements MeterSession {
  readonly #desk: MetersDesk;
  readonly #standing: Standing;
  #used_micros: Micros;

  constructor(desk: MetersDesk, standing: Standing, used_micros: Micros) {
    super();
    this.#desk = desk;
    this.#standing = standing;
    this.#used_micros = used_micros;
  }

  /** No method: what is no function of the prototype cannot be asked for from afar. */
  get used_micros(): Micros {
    return this.#used_micros;
  }

  async use(input: MeterUse): Promise<UseOutcome> {
    const answer = this.#desk.use(this.#standing, input);
    this.#used_micros = input.used_micros;
    return answer;
  }

  async end(input: MeterEndInput): Promise<SettleOutcome> {
    return this.#desk.end(this.#standing, input);
  }

  [Symbol.dispose](): void {
    this.#desk.gone(this, this.#standing, this.#used_micros);
  }
}
