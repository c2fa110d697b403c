/**
 * A meter: says how many units of what is about to be delivered are paid for. Behind it is a hold that rolls along: a slice ahead is
 * always reserved, so that most questions are answered here and at once, and what was delivered is all that is settled in the end.
 * Streams and sockets count their own units; money is counted here.
 */
import type {
  Balances,
  ChargeInput,
  ChargeOutcome,
  HoldEnded,
  MeterHeld,
  MeterSession,
  OpenMeterInput,
  OpenMeterOutcome,
  Refusal,
  SettleInput,
  SettleOutcome,
  Slice,
} from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { newOperation } from "../secrets.js";
import { nextSlice, runsLow, type SliceRules } from "./slices.js";

/** The envelope that pays, as the one who asks may reach it: each call is tried again where that is safe. */
export interface Payer {
  open(input: OpenCall): Promise<OpenMeterOutcome>;
  settle(input: SettleInput): Promise<SettleOutcome>;
  /** What came of settling through the session. */
  settled?(outcome: SettleOutcome): void;
  charge(input: Pick<ChargeInput, "amount_micros" | "at_most" | "op" | "reason" | "metadata">): Promise<ChargeOutcome>;
}

export type OpenCall = Omit<OpenMeterInput, "credential" | "currency" | "auto_topup" | "retry"> & {
  /** An earlier attempt may have been written. */
  readonly again?: boolean;
};

export interface Terms extends SliceRules {
  /** Taken at the beginning. */
  readonly base_micros: Micros;
  /** What must be there, or nothing begins. */
  readonly least_micros: Micros;
  readonly unit_micros: Micros;
  readonly max_micros: Micros;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly replay_ms?: number | undefined;
  readonly reason?: string | undefined;
  readonly metadata?: string | undefined;
  /** No more meters of this envelope than so many. */
  readonly open_max?: number | undefined;
  /** A hold that was taken beforehand, to be gone on with. */
  readonly hold_id?: number | undefined;
}

/** Why fewer units were paid for than asked: a limit, the meter's own maximum, or nobody could be asked. */
export type Short = Refusal | "max" | "unreachable";

export interface MeterEnd {
  /** What was taken. */
  readonly price_micros: Micros;
  /** Delivered, and not paid for: it was used up elsewhere, or a price was known only afterwards. */
  readonly missing_micros: Micros;
  /** Unknown where the envelope could not be reached: it settles by itself, once the lease is over. */
  readonly balances: Balances | undefined;
}

export type Opened =
  | { readonly outcome: "metering"; readonly meter: Meter; readonly balances: Balances }
  | Exclude<OpenMeterOutcome, { readonly outcome: "held" | "replayed" }>;

/** `pay` after `end`: a fault of whoever delivers. */
export class MeterEndedError extends Error {
  override readonly name = "MeterEndedError";
}

/** What is told to the envelope is at most this old, where anything is new. */
const TELL_MS = 1_000;
/** A renewal that failed while there is still something to deliver from is tried again. */
const AGAIN_MS = 5_000;

/** A meter that takes nothing for so long lets its lease run out. It goes on with a new hold when something flows again. */
const IDLE_LEASES = 5;

export async function openMeter(payer: Payer, terms: Terms): Promise<Opened> {
  const op = newOperation();
  const asked_ms = Date.now();
  const outcome = await payer.open({
    op,
    slice: sliceOf(terms.base_micros, terms.least_micros - terms.base_micros, terms.first_micros, terms),
    least_micros: terms.least_micros,
    lease_ms: terms.lease_ms,
    key: terms.key,
    scope: terms.scope,
    replay_ms: terms.replay_ms,
    reason: terms.reason,
    open_max: terms.open_max,
    resume: terms.hold_id === undefined ? undefined : { hold_id: terms.hold_id, used_micros: ZERO },
  });
  const { balance_micros, available_micros } = outcome;
  const balances = { balance_micros, available_micros };
  if (outcome.outcome === "held") {
    return { outcome: "metering", meter: new Meter(payer, terms, { op, outcome, asked_ms }), balances };
  }
  if (outcome.outcome === "replayed") {
    return { outcome: "metering", meter: new Meter(payer, terms, outcome), balances };
  }
  return outcome;
}

type Answer = (Balances & (MeterHeld | HoldEnded)) | OpenMeterOutcome;

const ONE = 1 as Micros;

/** As many units as an amount is worth, rounded up; `needed_micros` of it now. */
function sliceOf(
  taken_micros: Micros,
  needed_micros: number,
  all_micros: number,
  { unit_micros, max_micros }: Pick<Terms, "unit_micros" | "max_micros">,
): Slice {
  const [units, needed] = [all_micros, needed_micros].map((micros) =>
    Math.max(0, Math.ceil(Math.min(micros, max_micros - taken_micros) / unit_micros)),
  ) as [number, number];
  return { taken_micros, units, unit_micros, ahead: Math.max(0, units - needed) };
}

interface Held {
  readonly op: string;
  readonly outcome: Extract<OpenMeterOutcome, { readonly outcome: "held" }>;
  readonly asked_ms: number;
}

type Replayed = Extract<OpenMeterOutcome, { readonly outcome: "replayed" }>;

export class Meter {
  readonly #payer: Payer;
  readonly #terms: Terms;
  /** Of the hold; a new one when the first was settled behind our back. */
  #op: string;
  #hold_id: number | undefined;
  #session: MeterSession | undefined;
  /** What holds of this meter that ended by themselves took. The rest of all amounts is of the hold that is open. */
  #closed_micros = 0;
  #held_micros: number;
  #taken_micros: number;
  #delivered_micros: number;
  /** By our clock; never later than by the envelope's. */
  #until_ms: number;
  #short: Short | undefined;
  /** What the last renewal was not given whole for. */
  #refused: Short | undefined;
  /** The last slice was not given whole: there is no use in asking before the edge is reached. */
  #dry: boolean;
  #slice: { readonly micros: Micros; readonly taken_micros: number; readonly at_ms: number };
  #renewing: Promise<void> | undefined;
  /** As of the last answer. */
  #available_micros: Micros;
  /** When something was last taken. */
  #moved_ms = Date.now();
  #told_micros = 0;
  #telling: ReturnType<typeof setTimeout> | undefined;
  #heart: ReturnType<typeof setTimeout> | undefined;
  #ending: Promise<MeterEnd> | undefined;
  readonly #replayed: Replayed | undefined;

  /** Use `openMeter`. */
  constructor(payer: Payer, terms: Terms, begun: Held | Replayed) {
    this.#payer = payer;
    this.#terms = terms;
    this.#taken_micros = terms.base_micros;
    this.#delivered_micros = terms.base_micros;
    const { outcome = begun as Replayed } = begun as Partial<Held>;
    this.#available_micros = outcome.available_micros;
    this.#slice = { micros: ZERO, taken_micros: terms.base_micros, at_ms: Date.now() };
    if ("op" in begun) {
      this.#op = begun.op;
      this.#hold_id = begun.outcome.hold_id;
      this.#session = begun.outcome.session;
      this.#held_micros = begun.outcome.amount_micros;
      this.#slice = { ...this.#slice, micros: Math.min(terms.first_micros, this.ahead_micros) as Micros };
      this.#until_ms = begun.asked_ms + begun.outcome.expires_in_ms;
      this.#dry = begun.outcome.refusal !== undefined;
      this.#beat();
    } else {
      // The key paid for so much: that is what it opens the door for again, and no more.
      this.#op = "";
      this.#replayed = begun;
      this.#held_micros = begun.amount_micros;
      this.#until_ms = Number.POSITIVE_INFINITY;
      this.#dry = true;
    }
  }

  /** What the key of this meter was charged before; nothing is charged now. */
  get isReplay(): boolean {
    return this.#replayed !== undefined;
  }

  /** What was taken so far: delivered, or about to be. */
  get taken_micros(): Micros {
    return this.#taken_micros as Micros;
  }

  get delivered_micros(): Micros {
    return this.#delivered_micros as Micros;
  }

  /** What is reserved and not taken. */
  get ahead_micros(): Micros {
    return (this.#held_micros - this.#taken_micros) as Micros;
  }

  /** What could still be paid for, as of the last answer of the envelope: for a warning, never for a decision. */
  get left_micros(): Micros {
    return (this.ahead_micros + this.#available_micros) as Micros;
  }

  /** Why the last `pay` answered with fewer than asked. */
  get short(): Short | undefined {
    return this.#short;
  }

  /**
   * Asks for so many units that are about to be delivered. Answers how many of them are paid for: they count as taken, and as
   * delivered once `delivered` says so. At once where the money is reserved already; else the envelope is asked.
   */
  pay(units: number, unit_micros: Micros): number | Promise<number> {
    if (unit_micros === 0) return units;
    if (this.#ending !== undefined) throw new MeterEndedError("The meter has ended");
    const wanted = this.#wanted(units, unit_micros);
    if (wanted > this.#covered(unit_micros)) return this.#payMore(units, unit_micros);
    this.#take(wanted, unit_micros);
    if (wanted < units) this.#short = "max";
    else if (!this.#dry && runsLow(this.ahead_micros, this.#slice.micros)) void this.#renew(0, unit_micros);
    return wanted;
  }

  async #payMore(units: number, unit_micros: Micros): Promise<number> {
    for (let asked = false; ; ) {
      const wanted = this.#wanted(units, unit_micros);
      const covered = this.#covered(unit_micros);
      if (covered >= wanted || (asked && this.#refused !== undefined) || this.isReplay) {
        const paid = Math.min(wanted, covered);
        this.#take(paid, unit_micros);
        this.#short = this.isReplay || paid === wanted ? "max" : this.#refused;
        return paid;
      }
      // What somebody else asks for is an answer to them; it may be enough for us.
      const others = this.#renewing;
      asked ||= others === undefined;
      await (others ?? this.#renew(wanted, unit_micros));
    }
  }

  /** No more than the maximum allows. */
  #wanted(units: number, unit_micros: Micros): number {
    const room = this.#terms.max_micros - this.#taken_micros;
    return Math.min(units, Math.floor(room / unit_micros));
  }

  #covered(unit_micros: Micros): number {
    if (Date.now() >= this.#until_ms) return 0;
    return Math.max(0, Math.floor(this.ahead_micros / unit_micros));
  }

  #take(units: number, unit_micros: Micros): void {
    if (units > 0) this.#moved_ms = Date.now();
    this.#taken_micros += units * unit_micros;
  }

  /** So much of what was paid for has reached whoever pays. */
  delivered(micros: number): void {
    this.#delivered_micros += micros;
    if (this.#telling !== undefined || this.#replayed !== undefined) return;
    this.#telling = setTimeout(() => this.#tell(), TELL_MS);
  }

  /** What was delivered turned out to cost so much more, or less. More is taken in the end as far as it is there. */
  adjust(micros: number): void {
    this.#taken_micros += micros;
    this.#delivered_micros += micros;
  }

  /** A call on the session is no request of its own, so the envelope knows to the second what it is to settle should we be gone. */
  #tell(): void {
    this.#telling = undefined;
    const used_micros = this.#used();
    if (used_micros === this.#told_micros || this.#renewing !== undefined || this.#ending !== undefined) return;
    this.#told_micros = used_micros;
    this.#session?.use({ used_micros }).catch(() => undefined);
  }

  /** Of the hold that is open. */
  #used(): Micros {
    const delivered = Math.min(this.#delivered_micros, this.#terms.max_micros);
    return Math.max(0, delivered - this.#closed_micros) as Micros;
  }

  /** Before half of the lease is over, although nothing may flow. Not for ever: whoever neither reads nor leaves holds no money. */
  #beat(): void {
    clearTimeout(this.#heart);
    const now_ms = Date.now();
    const { lease_ms, unit_micros } = this.#terms;
    if (now_ms - this.#moved_ms > IDLE_LEASES * lease_ms) return;
    const delay_ms = Math.max(Math.min(AGAIN_MS, lease_ms / 4), this.#until_ms - now_ms - lease_ms / 2 + 1);
    this.#heart = setTimeout(() => void this.#renew(0, unit_micros), delay_ms);
  }

  /** One at a time. */
  #renew(units: number, unit_micros: Micros): Promise<void> {
    this.#renewing ??= this.#renewOnce(units, unit_micros).finally(() => {
      this.#renewing = undefined;
      if (this.#ending === undefined) this.#beat();
    });
    return this.#renewing;
  }

  async #renewOnce(units: number, unit_micros: Micros): Promise<void> {
    const { taken_micros, micros, at_ms } = this.#slice;
    const now_ms = Date.now();
    const pace = { last_micros: micros, spent_micros: this.#taken_micros - taken_micros, elapsed_ms: now_ms - at_ms };
    // The beat of an idle meter asks for time, not for more money.
    const low = units > 0 || (!this.#dry && runsLow(this.ahead_micros, micros));
    const ahead = low ? nextSlice(this.#terms, pace) : ZERO;
    this.#refused = undefined;
    try {
      const answer = await this.#ask(low ? this.#sliceAhead(units * unit_micros, ahead, unit_micros) : undefined);
      this.#available_micros = answer.available_micros;
      if (answer.outcome !== "held") {
        this.#dry = true;
        this.#refused = answer.outcome === "refused" ? answer.refusal : "unreachable";
        return;
      }
      this.#held_micros = this.#closed_micros + answer.amount_micros;
      this.#until_ms = now_ms + answer.expires_in_ms;
      this.#dry = answer.refusal !== undefined;
      this.#refused = answer.refusal;
      // Of the slice that was given: where little is left for all, nobody asks for more while there is most of theirs.
      const given = Math.min(ahead, this.ahead_micros) as Micros;
      if (low) this.#slice = { micros: given, taken_micros: this.#taken_micros, at_ms: now_ms };
    } catch {
      this.#refused = "unreachable";
    }
  }

  /** Of the hold that is open: what earlier ones took is not its business. */
  #sliceAhead(needed_micros: number, ahead_micros: number, unit_micros: Micros): Slice {
    const [taken, max] = [this.#taken_micros, this.#terms.max_micros].map(
      (all) => (all - this.#closed_micros) as Micros,
    );
    const all_micros = needed_micros + ahead_micros;
    return sliceOf(taken as Micros, needed_micros, all_micros, { unit_micros, max_micros: max as Micros });
  }

  async #ask(slice: Slice | undefined): Promise<Answer> {
    const used_micros = this.#used();
    this.#told_micros = used_micros;
    const session = this.#session;
    try {
      const answer = await session?.use({ used_micros, slice });
      if (answer?.outcome === "held") return answer;
      if (answer !== undefined) return await this.#openNext(answer.paid_micros);
    } catch {
      // The object was reset, or the way to it broke: the hold is on disk, and its session is begun anew.
    }
    try {
      return await this.#resume(slice);
    } finally {
      // Only now: before, it would be taken for our end.
      session?.[Symbol.dispose]();
    }
  }

  async #resume(slice: Slice = this.#sliceAhead(0, 0, this.#terms.unit_micros)): Promise<Answer> {
    const hold_id = this.#hold_id;
    if (hold_id === undefined) return this.#openNext(ZERO);
    const resume = { hold_id, used_micros: this.#used() };
    const { lease_ms } = this.#terms;
    const outcome = await this.#payer.open({ op: this.#op, slice, least_micros: ONE, lease_ms, resume, again: true });
    if (outcome.outcome === "ended") return this.#openNext(outcome.paid_micros);
    if (outcome.outcome === "held") this.#session = outcome.session;
    return outcome;
  }

  /** The hold was settled behind our back: because the lease was over, or we were thought to be gone. What it took is taken; the rest goes on. */
  async #openNext(paid_micros: Micros = ZERO): Promise<Answer> {
    this.#closed_micros += paid_micros;
    this.#session = undefined;
    this.#hold_id = undefined;
    this.#op = newOperation();
    const { lease_ms, reason, first_micros, unit_micros } = this.#terms;
    const taken = this.#taken_micros - this.#closed_micros;
    const outcome = await this.#payer.open({
      op: this.#op,
      slice: this.#sliceAhead(0, first_micros, unit_micros),
      least_micros: Math.max(1, taken) as Micros,
      lease_ms,
      reason,
    });
    if (outcome.outcome === "held") {
      this.#session = outcome.session;
      this.#hold_id = outcome.hold_id;
    }
    return outcome;
  }

  /** Settles what was delivered. Asked again, it answers the same. */
  end(): Promise<MeterEnd> {
    this.#ending ??= this.#settle();
    return this.#ending;
  }

  async #settle(): Promise<MeterEnd> {
    clearTimeout(this.#telling);
    clearTimeout(this.#heart);
    await this.#renewing;
    if (this.#replayed !== undefined) {
      const { amount_micros, balance_micros, available_micros } = this.#replayed;
      return { price_micros: amount_micros, missing_micros: ZERO, balances: { balance_micros, available_micros } };
    }
    const used = this.#used();
    try {
      return await this.#settleAt(used);
    } catch {
      // It settles by itself, at what was last told.
      return { price_micros: this.#closed_micros as Micros, missing_micros: used, balances: undefined };
    } finally {
      this.#session?.[Symbol.dispose]();
    }
  }

  async #settleAt(used: Micros): Promise<MeterEnd> {
    if (this.#hold_id === undefined) return this.#chargeRest(used);
    const outcome = await this.#endHold(this.#hold_id, used);
    if (outcome.outcome === "ended") {
      const paid = outcome.paid_micros ?? ZERO;
      this.#closed_micros += paid;
      return this.#chargeRest((used - paid) as Micros);
    }
    return this.#endOf(used, outcome);
  }

  async #endHold(hold_id: number, used_micros: Micros): Promise<SettleOutcome> {
    const { metadata } = this.#terms;
    const op = newOperation();
    try {
      const outcome = await this.#session?.end({ used_micros, op, metadata });
      if (outcome !== undefined) {
        this.#payer.settled?.(outcome);
        return outcome;
      }
    } catch {
      // Perhaps it was written: asked again under the same name, it happens once.
    }
    return this.#payer.settle({ hold_id, amount_micros: used_micros, op, metadata, above: "part" });
  }

  /** What was delivered and no hold covers any more. */
  async #chargeRest(amount_micros: Micros): Promise<MeterEnd> {
    const { reason, metadata } = this.#terms;
    const amount = Math.max(0, amount_micros) as Micros;
    const op = newOperation();
    return this.#endOf(
      amount,
      await this.#payer.charge({ amount_micros: amount, at_most: true, op, reason, metadata }),
    );
  }

  #endOf(used: Micros, outcome: SettleOutcome | ChargeOutcome): MeterEnd {
    const { balance_micros, available_micros } = outcome;
    const taken = outcome.outcome === "charged" ? outcome.amount_micros : ZERO;
    return {
      price_micros: (this.#closed_micros + taken) as Micros,
      missing_micros: (used - taken) as Micros,
      balances: { balance_micros, available_micros },
    };
  }
}
