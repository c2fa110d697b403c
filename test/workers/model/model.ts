/**
 * What an envelope should do, as naively as it can be said: a list of lines, a list of holds, sums taken anew for every
 * question, and BigInt for every amount. Answers are short texts, so that a difference reads as one.
 */
import type {
  ChargeInput,
  ConfigureInput,
  Credential,
  EntryKind,
  ExtendInput,
  GrantInput,
  HoldEnd,
  HoldInput,
  MeterUse,
  OpenMeterInput,
  PaymentReport,
  RefundInput,
  Reversal,
  RevokeInput,
  RotateInput,
  SettleInput,
  Slice,
} from "../../../src/contract.js";
import { isSpent, type Limit, spentOf, untilOf } from "./limits.js";
import { Payment } from "./payments.js";

export interface Line {
  readonly seq: number;
  readonly at: number;
  readonly kind: EntryKind;
  readonly amount: bigint;
  readonly op?: string | undefined;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly ref?: number | undefined;
  readonly hold?: number | undefined;
  readonly payment?: string | undefined;
  /** What it moved, source by source: the number of a grant's line, or 0 for what was paid. */
  readonly links: readonly Link[];
}

export type Link = readonly [source: number, amount: bigint];

/** A grant and its terms; what is left of it is what all lines moved of it. */
export interface Given {
  readonly seq: number;
  readonly priority: number;
  readonly until: number | null;
  readonly only: string | null;
  revoked: boolean;
}

/** What a hold and a meter's hold were both asked with. */
export type Reserved = Pick<HoldInput, "op" | "key" | "scope" | "reason" | "tag">;

export interface Reserve {
  readonly input: Reserved;
  readonly id: number;
  amount: bigint;
  until: number;
  parts: readonly Link[];
  /** Of a meter: what is known of what it delivered, on disk and in memory, and how long its lease is. */
  meter?: { used: bigint; told: bigint | undefined; readonly lease: number };
  end?: HoldEnd;
  endedBy?: { readonly op: string; readonly answer: string };
}

interface Issued extends Credential {
  used: boolean;
  until?: number;
}

const MAX = 2n ** 53n - 1n;
const GRACE_MS = 15 * 60_000;

export class Model {
  clock: number;
  /** The latest that it ever showed. */
  latest: number;
  currency: string | null = null;
  frozenByOwner = false;
  readonly lines: Line[] = [];
  readonly holds: Reserve[] = [];
  readonly grants: Given[] = [];
  readonly payments = new Map<string, Payment>();
  issued: Issued[] = [];
  limits: readonly Limit[] = [];
  prepaid = true;

  constructor(clock: number) {
    this.clock = clock;
    this.latest = clock;
  }

  get openDisputes(): readonly Reversal[] {
    return [...this.payments.values()].flatMap((payment) => payment.open);
  }
  get frozen(): boolean {
    return this.frozenByOwner || [...this.payments.values()].some((payment) => payment.freezes);
  }
  get recorded(): bigint {
    return this.lines.reduce((sum, line) => sum + line.amount, 0n);
  }
  /** What has expired is not shown, booked or not. */
  get balance(): bigint {
    return this.grants.reduce((sum, given) => sum - this.lapsed(given), this.recorded);
  }
  get given(): bigint {
    return this.grants.reduce((sum, given) => sum + this.left(given.seq) - this.lapsed(given), 0n);
  }
  get open(): readonly Reserve[] {
    return this.holds.filter((hold) => hold.end === undefined && hold.until > this.clock);
  }
  get held(): bigint {
    return this.holds.reduce((sum, hold) => sum + this.reservedBy(hold), 0n);
  }
  /** Of a meter whose lease is over, what it delivered. */
  reservedBy({ end, until, amount, meter }: Reserve): bigint {
    if (end !== undefined) return 0n;
    return until > this.clock ? amount : (meter?.used ?? 0n);
  }
  /** What may be spent on a tag. */
  available(tag?: string): bigint {
    if (!this.prepaid) return this.#budget;
    const apart = this.grants.filter((given) => !this.isOver(given) && !pays(given, tag));
    return apart.reduce((sum, { seq }) => sum - this.#free(seq), this.balance - this.held);
  }

  left(source: number): bigint {
    const links = this.lines.flatMap((line) => line.links.filter(([from]) => from === source));
    return links.reduce((sum, [, amount]) => sum + amount, 0n);
  }
  reserved(source: number, but?: Reserve): bigint {
    const others = this.holds.filter((hold) => hold !== but);
    const parts = others.flatMap((hold) => upTo(hold.parts, this.reservedBy(hold)));
    return parts.filter(([from]) => from === source).reduce((sum, [, amount]) => sum + amount, 0n);
  }
  /** No clock opens again what was over when a line was written. */
  isOver({ revoked, until }: Given): boolean {
    return revoked || (until !== null && until <= Math.max(this.clock, this.lines.at(-1)?.at ?? 0));
  }
  /** Over, and not booked yet: all but what a hold reserves. */
  lapsed(given: Given): bigint {
    return this.isOver(given) ? this.#free(given.seq) : 0n;
  }
  /** A clock that is set back may open a hold again whose money is gone. */
  #free(source: number): bigint {
    const free = this.left(source) - this.reserved(source);
    return free > 0n ? free : 0n;
  }
  /** The ledger's: of a clock that was set back, no later than the newest line. */
  get time(): number {
    return Math.max(this.clock, this.lines.at(-1)?.at ?? 0);
  }
  leftOf(limit: Limit): bigint {
    return BigInt(limit.limit_micros) - spentOf(limit, this.lines, this.time) - this.held;
  }
  get #budget(): bigint {
    const bound = this.balance < 0n ? MAX + this.balance : MAX;
    return least((this.limits.length === 0 ? 0n : bound) - this.held, ...this.limits.map((one) => this.leftOf(one)));
  }
  /** As it is told: of a budget, what is left of it. */
  get told(): bigint {
    return this.prepaid ? this.balance : this.available() + this.held;
  }

  /** From where an amount is taken: what a hold reserved, then what is free. */
  #take(amount: bigint, tag: string | undefined, own?: Reserve): Link[] {
    const links = new Map<number, bigint>();
    let rest = amount;
    const draw = (source: number, most?: bigint) => {
      const free = this.left(source) - this.reserved(source, own) - (links.get(source) ?? 0n);
      const part = least(rest, free, most ?? rest);
      if (part <= 0n) return;
      links.set(source, (links.get(source) ?? 0n) + part);
      rest -= part;
    };
    for (const [source, part] of own?.parts ?? []) draw(source, part);
    const paid = { seq: 0, priority: 50, until: null, only: null, revoked: false };
    const sources = [...this.grants.filter((given) => !this.isOver(given) && pays(given, tag)), paid];
    const rank = ({ priority, until, seq }: Given) => [
      priority,
      until ?? Number.POSITIVE_INFINITY,
      seq === 0 ? 1 : 0,
      seq,
    ];
    for (const { seq } of sources.sort((one, other) => compare(rank(one), rank(other)))) draw(seq);
    if (rest > 0n) throw new Error("The model would take more than there is");
    return [...links];
  }

  /** What a charge takes it from. A budget has no money to tell apart. */
  #from(amount: bigint, tag: string | undefined, own?: Reserve): readonly Link[] {
    if (this.prepaid) return negated(this.#take(amount, tag, own));
    return amount === 0n ? [] : [[0, -amount]];
  }

  #line(kind: EntryKind, amount: bigint, more: Omit<Line, "seq" | "at" | "kind" | "amount">): number {
    const seq = this.lines.length + 1;
    this.lines.push({ ...more, seq, at: this.time, kind, amount });
    return seq;
  }

  #book(): void {
    for (const given of [...this.grants].sort((one, other) => compare(order(one), order(other)))) {
      const part = this.lapsed(given);
      if (part > 0n) this.#line("expiry", -part, { ref: given.seq, links: [[given.seq, -part]] });
    }
  }

  /** With what has expired before it; and after it, where money may come back to what is over. */
  #write(
    kind: EntryKind,
    amount: bigint,
    more: Omit<Line, "seq" | "at" | "kind" | "amount" | "links">,
    links: (seq: number) => readonly Link[] = () => [[0, amount]],
  ): number {
    this.#book();
    const seq = this.#line(kind, amount, { ...more, links: links(this.lines.length + 1) });
    if (kind === "refund") this.#book();
    return seq;
  }

  #say = (text: string, tag?: string): string => `${text}; ${this.told}/${this.available(tag)}`;

  standing({ generation, hash }: Credential): "first" | "successor" | "current" | "superseded" | "revoked" {
    if (this.issued.length === 0) return "first";
    const own = this.issued.find((one) => one.generation === generation && one.hash === hash);
    if (own === undefined || this.clock >= (own.until ?? Number.POSITIVE_INFINITY)) return "revoked";
    if (own.until !== undefined) return "superseded";
    return own.used ? "current" : "successor";
  }

  /** Presents a credential; its first use is what ends those before it. */
  present(credential: Credential | undefined): string {
    if (credential === undefined) return "current";
    const standing = this.standing(credential);
    if (this.currency === null) return standing;
    if (standing === "first") this.issued = [{ ...credential, used: true }];
    if (standing === "successor") {
      for (const one of this.issued) {
        if (one.generation === credential.generation) one.used = true;
        if (one.generation < credential.generation) one.until ??= this.clock + GRACE_MS;
      }
      this.issued = this.issued.filter((one) => one.until === undefined || one.until > this.clock);
    }
    return standing;
  }

  #isForeign(currency: string): boolean {
    return (this.lines.length > 0 || !this.prepaid) && this.currency !== currency;
  }

  /** Only money decides for good. */
  #keepIn(currency: string): void {
    if (this.lines.length === 0) this.currency = currency;
  }

  #earlier(op: string): Line | undefined {
    return this.lines.find((line) => line.op === op);
  }

  #keyed(key: string | undefined): Line | undefined {
    return this.lines.find((line) => key !== undefined && line.key === key);
  }

  #replay(used: Line, input: ChargeInput | HoldInput | OpenMeterInput, price: bigint): string {
    if (used.scope !== input.scope) return "conflict scope";
    const same = "at_most" in input && input.at_most ? -used.amount <= price : -used.amount === price;
    if (!same) return "conflict price";
    if (this.lines.some((line) => line.ref === used.seq)) return "conflict refunded";
    if (input.replay_ms !== undefined && this.clock >= used.at + input.replay_ms) return "conflict expired";
    return `replayed ${used.seq} ${-used.amount}`;
  }

  /** Why money may not leave; `own` is what the hold that is settled reserves, and `some` what would do of the price. */
  #no(price: bigint, some: bigint, frozen: boolean, tag: string | undefined, own = 0n): string | undefined {
    if (frozen) return "refused frozen short 0";
    // What was held is not limited again.
    const limits = own > 0n && price <= own ? [] : this.limits;
    const [named] = limits
      .map((limit) => ({ limit, left: this.leftOf(limit) + own }))
      .filter(({ left }) => some > left)
      .map((one) => ({ ...one, until: untilOf(one.limit, this.lines, this.time, this.held - own, some) }))
      .sort((one, other) =>
        one.left === other.left ? laterFirst(one.until, other.until) : one.left < other.left ? -1 : 1,
      );
    if (named !== undefined) {
      return `refused window ${named.limit.window_id} admits ${named.left} until ${named.until}`;
    }
    if (!this.prepaid)
      return this.limits.length > 0 || price <= own
        ? undefined
        : `refused window null admits ${own - this.held} until null`;
    const available = this.available(tag) + own;
    return some > available ? `refused insufficient_balance short ${price - available}` : undefined;
  }

  /** All that may be taken. */
  #most(tag: string | undefined): bigint {
    return least(this.available(tag), ...this.limits.map((limit) => this.leftOf(limit)));
  }

  charge(input: ChargeInput): string {
    if (this.present(input.credential as Credential | undefined) === "revoked")
      return "refused credential_revoked short 0; 0/0";
    const tag = input.tag ?? input.reason;
    const price = BigInt(input.amount_micros);
    const earlier = input.retry ? this.#earlier(input.op) : undefined;
    if (earlier) return this.#say(`charged ${earlier.seq} ${-earlier.amount}`, tag);
    const used = this.#keyed(input.key);
    if (used) return this.#say(this.#replay(used, input, price), tag);
    if (this.open.some((hold) => input.key !== undefined && hold.input.key === input.key))
      return this.#say("conflict in_progress", tag);
    if (this.#isForeign(input.currency)) return this.#say("invalid", tag);
    if (price === 0n && !(input.record_zero && this.lines.length > 0)) return this.#say("charged null 0", tag);
    const some = least(price, this.#most(tag));
    const amount = input.at_most ? (some > 0n ? some : 0n) : price;
    const nothing = amount === 0n;
    const no = price === 0n ? undefined : this.#no(nothing ? price : amount, nothing ? 1n : amount, this.frozen, tag);
    if (no) return this.#say(no, tag);
    const { key, scope, op } = input;
    const seq = this.#write(this.#spends, -amount, { key, scope, op }, () => this.#from(amount, tag));
    return this.#say(`charged ${seq} ${amount}`, tag);
  }

  hold(input: HoldInput): string {
    if (this.present(input.credential as Credential | undefined) === "revoked")
      return "refused credential_revoked short 0; 0/0";
    const tag = input.tag ?? input.reason;
    const earlier = input.retry
      ? this.holds.find((hold) => hold.input.op === input.op && hold.end === undefined)
      : undefined;
    if (earlier) return this.#say(`held ${earlier.id}`, tag);
    const used = this.#keyed(input.key);
    if (used) return this.#say(this.#replay(used, input, -used.amount), tag);
    if (this.open.some((hold) => input.key !== undefined && hold.input.key === input.key))
      return this.#say("conflict in_progress", tag);
    if (this.#isForeign(input.currency)) return this.#say("invalid", tag);
    const amount = BigInt(input.amount_micros);
    const no = this.#no(amount, amount, this.frozen, tag);
    if (no) return this.#say(no, tag);
    for (const hold of this.holds) if (hold.until <= this.clock) hold.end ??= "expired";
    const parts = this.prepaid ? this.#take(amount, tag) : [];
    this.holds.push({ input, amount, parts, id: this.holds.length + 1, until: this.clock + input.ttl_ms });
    return this.#say(`held ${this.holds.length}`, tag);
  }

  /** What meters owe whose lease is over, oldest first. */
  bookLapsed(): void {
    for (const hold of this.holds) {
      const { meter, until, end, input } = hold;
      if (meter === undefined || end !== undefined || until > this.clock) continue;
      const tag = input.tag ?? input.reason;
      const known = least(hold.amount, meter.told !== undefined && meter.told > meter.used ? meter.told : meter.used);
      const there = this.prepaid ? this.available(tag) + meter.used : known;
      const amount = least(known, there);
      if (amount > 0n) {
        const { key, scope } = input;
        this.#write(this.#spends, -amount, { key, scope, hold: hold.id }, () => this.#from(amount, tag, hold));
      }
      hold.end = "expired";
    }
  }

  /** The object is gone, and what was only in its memory. */
  forget(): void {
    for (const { meter } of this.holds) if (meter !== undefined) meter.told = undefined;
  }

  /** Whole units past what is taken, as many as there is money for, one after the other; those not needed yet while no fewer are left. */
  #units(held: bigint, { taken_micros, units, unit_micros, ahead = 0 }: Slice, tag: string | undefined): bigint {
    const most = this.#most(tag);
    const within = held + (this.frozen || most < 0n ? 0n : most);
    const unit = BigInt(unit_micros);
    let amount = BigInt(taken_micros);
    if (amount > within) return held;
    let added = 0n;
    for (let n = 0; n < units && amount + unit <= within; n++) {
      const isNew = amount + unit > held;
      if (isNew && n >= units - ahead && added >= (within - amount) / unit) break;
      amount += unit;
      if (isNew) added += 1n;
    }
    return amount > held ? amount : held;
  }

  meter(input: OpenMeterInput): string {
    const tag = input.tag ?? input.reason;
    const { op, key, scope, reason } = input;
    const earlier = input.retry ? this.holds.find((hold) => hold.input.op === op && hold.end === undefined) : undefined;
    if (earlier) return this.#goOn(earlier, input, 0n);
    const used = this.#keyed(key);
    if (used) return this.#say(this.#replay(used, input, -used.amount), tag);
    if (this.open.some((hold) => key !== undefined && hold.input.key === key))
      return this.#say("conflict in_progress", tag);
    if (this.#isForeign(input.currency)) return this.#say("invalid", tag);
    const least_ = BigInt(input.least_micros);
    const no = this.#no(least_, least_, this.frozen, tag);
    if (no) return this.#say(no, tag);
    const some = this.#units(0n, input.slice, tag);
    const amount = some > least_ ? some : least_;
    for (const hold of this.holds) if (hold.until <= this.clock) hold.end ??= "expired";
    const parts = this.prepaid ? this.#take(amount, tag) : [];
    const id = this.holds.length + 1;
    const meter = { used: 0n, told: 0n, lease: input.lease_ms };
    const kept = { op, key, scope, reason, tag: input.tag };
    this.holds.push({ input: kept, amount, parts, id, until: this.clock + input.lease_ms, meter });
    return this.#say(`held ${id}`, tag);
  }

  /** A session that is begun on a hold. */
  resume(hold_id: number, input: OpenMeterInput): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown", input.tag ?? input.reason);
    return this.#goOn(hold, input, BigInt(input.resume?.used_micros ?? 0));
  }

  #goOn(hold: Reserve, input: OpenMeterInput, used: bigint): string {
    const asked = input.tag ?? input.reason;
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`, asked);
    const tag = hold.input.tag ?? hold.input.reason;
    this.#renew(hold, used, input.slice, input.lease_ms);
    if (hold.amount < BigInt(input.least_micros)) {
      const more = this.#nextUnit(hold, input.slice);
      return this.#say(this.#no(more, more, this.frozen, tag) ?? "held", tag);
    }
    hold.meter = { used: hold.meter?.used ?? 0n, told: used, lease: input.lease_ms };
    return this.#say(`held ${hold.id}`, tag);
  }

  #nextUnit({ amount }: Reserve, { taken_micros, unit_micros }: Slice): bigint {
    const due = BigInt(taken_micros) - amount;
    return BigInt(unit_micros) + (due > 0n ? due : 0n);
  }

  #renew(hold: Reserve, used: bigint, slice: Slice | undefined, lease: number): void {
    const tag = hold.input.tag ?? hold.input.reason;
    const before = hold.amount;
    if (slice !== undefined) {
      const amount = this.#units(before, slice, tag);
      if (amount > before && this.prepaid) hold.parts = merged(hold.parts, this.#take(amount - before, tag));
      hold.amount = amount;
    }
    const fresh = hold.until - this.clock >= lease / 2;
    if (hold.amount === before && fresh && hold.meter !== undefined) return;
    const earlier = hold.meter?.used ?? 0n;
    const known = least(hold.amount, used > earlier ? used : earlier);
    hold.meter = { used: known, told: hold.meter?.told, lease };
    hold.until = this.clock + lease;
  }

  /** Through the session of a meter that is there. */
  use(hold_id: number, { used_micros, slice }: MeterUse): string {
    const hold = this.holds[hold_id - 1] as Reserve;
    const tag = hold.input.tag ?? hold.input.reason;
    if (hold.end !== undefined || hold.meter === undefined) return this.#say(`ended ${hold.end}`, tag);
    this.#renew(hold, BigInt(used_micros), slice, hold.meter.lease);
    hold.meter.told = BigInt(used_micros);
    return this.#say("held undefined", tag);
  }

  extend({ hold_id, amount_micros, ttl_ms }: ExtendInput): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown");
    const tag = hold.input.tag ?? hold.input.reason;
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`, tag);
    const more = BigInt(amount_micros ?? 0) - hold.amount;
    const no = more > 0n ? this.#no(more, more, this.frozen, tag) : undefined;
    if (no) return this.#say(no, tag);
    if (more > 0n && this.prepaid) hold.parts = merged(hold.parts, this.#take(more, tag));
    if (more > 0n) hold.amount += more;
    if (ttl_ms !== undefined) hold.until = Math.max(hold.until, this.clock + ttl_ms);
    return this.#say("extended", tag);
  }

  settle({ hold_id, amount_micros, op, above }: SettleInput): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown");
    const tag = hold.input.tag ?? hold.input.reason;
    if (hold.endedBy?.op === op) return this.#say(hold.endedBy.answer, tag);
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`, tag);
    const price = BigInt(amount_micros);
    const reserved = hold.amount;
    if (above === "apart" || above === "part") return this.#settleSome(hold, price, op, above);
    const no = price === 0n ? undefined : this.#no(price, price, this.frozen && price > reserved, tag, reserved);
    const { key, scope } = hold.input;
    const links = () => this.#from(price, tag, hold);
    const seq = no || price === 0n ? null : this.#write(this.#spends, -price, { key, scope, op, hold: hold_id }, links);
    hold.end = no === undefined ? "settled" : "released";
    if (no) return this.#say(no, tag);
    hold.endedBy = { op, answer: `charged ${seq} ${price}` };
    return this.#say(hold.endedBy.answer, tag);
  }

  /** What the hold reserved as far as it is there, and of the rest all or nothing, or what there is. */
  #settleSome(hold: Reserve, price: bigint, op: string, above: "apart" | "part"): string {
    const tag = hold.input.tag ?? hold.input.reason;
    const { key, scope } = hold.input;
    const there = this.prepaid ? this.available(tag) + hold.amount : MAX;
    const settled = least(price, hold.amount, there > 0n ? there : 0n);
    const rest = price - settled;
    const most = least(this.available(tag), ...this.limits.map((limit) => this.leftOf(limit))) + hold.amount - settled;
    const room = this.frozen || most < 0n ? 0n : most;
    const extra = above === "part" ? least(rest, room) : rest <= room ? rest : 0n;
    const amount = settled + extra;
    if (price > 0n && amount === 0n) {
      hold.end = "released";
      const no = this.frozen ? "refused frozen short 0" : this.#no(price, price, false, tag);
      return this.#say(no ?? "refused", tag);
    }
    const links = () => this.#from(amount, tag, hold);
    const seq = price === 0n ? null : this.#write(this.#spends, -amount, { key, scope, op, hold: hold.id }, links);
    hold.end = "settled";
    hold.endedBy = { op, answer: `charged ${seq} ${amount}` };
    return this.#say(hold.endedBy.answer, tag);
  }

  release(hold_id: number): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown");
    const tag = hold.input.tag ?? hold.input.reason;
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`, tag);
    hold.end = "released";
    return this.#say("released", tag);
  }

  refund(input: RefundInput): string {
    const named = "seq" in input.charge ? this.lines[input.charge.seq - 1] : this.#keyed(input.charge.key);
    if (named === undefined || !isSpent(named)) return this.#say("unknown");
    const used = this.#keyed(input.key);
    const asked = input.amount_micros === undefined ? undefined : BigInt(input.amount_micros);
    if (used) {
      const same = used.ref === named.seq && used.amount === (asked ?? used.amount);
      return this.#say(same ? `replayed ${used.seq} ${used.amount}` : "conflict undefined");
    }
    const back = this.lines.filter((line) => line.ref === named.seq);
    const left = back.reduce((sum, line) => sum - line.amount, -named.amount);
    const amount = asked ?? left;
    if (amount <= 0n || amount > left || this.balance + amount > MAX || this.given + amount > MAX)
      return this.#say(`refused ${left}`);
    const { key, op } = input;
    // Micro by micro, as it were: the last that was taken, and not given back yet, comes first.
    const links = () => {
      let rest = amount;
      return [...named.links].reverse().flatMap(([source, part]): Link[] => {
        const given = back.flatMap((line) => line.links).filter(([to]) => to === source);
        const open = given.reduce((sum, [, one]) => sum - one, -part);
        const some = least(open, rest);
        rest -= some;
        return some > 0n ? [[source, some]] : [];
      });
    };
    return this.#say(`refunded ${this.#write("refund", amount, { key, op, ref: named.seq }, links)} ${amount}`);
  }

  grant(input: GrantInput): string {
    const amount = BigInt(input.amount_micros);
    const used = this.#keyed(input.key) ?? this.#keyed(input.legacy_key);
    if (used) {
      const same = used.kind === "grant" && used.amount === amount;
      return this.#say(same ? `replayed ${used.seq} ${amount}` : "conflict price");
    }
    if (this.#isForeign(input.currency) || !this.prepaid) return this.#say("invalid");
    if (amount <= 0n || this.balance + amount > MAX || this.given + amount > MAX) return this.#say("invalid");
    const until = input.expires_at_ms ?? null;
    if (until !== null && until <= this.clock) return this.#say("invalid");
    this.#keepIn(input.currency);
    const { key, op } = input;
    const seq = this.#write("grant", amount, { key, op }, (own) => [[own, amount]]);
    this.grants.push({ seq, priority: input.priority ?? 50, until, only: input.only ?? null, revoked: false });
    return this.#say(`granted ${seq} ${amount}`);
  }

  revoke(input: RevokeInput): string {
    const named = "seq" in input.grant ? this.lines[input.grant.seq - 1] : this.#keyed(input.grant.key);
    const given = this.grants.find(({ seq }) => seq === named?.seq);
    if (given === undefined) return this.#say("unknown");
    const used = this.#keyed(input.key);
    if (used) {
      const same = used.kind === "revocation" && used.ref === given.seq;
      return this.#say(same ? `replayed ${used.seq} ${-used.amount}` : "conflict undefined");
    }
    const part = this.isOver(given) ? 0n : this.#free(given.seq);
    const { key, op } = input;
    const seq = this.#write("revocation", -part, { key, op, ref: given.seq }, () => [[given.seq, -part]]);
    given.revoked = true;
    return this.#say(`revoked ${seq} ${part}`);
  }

  /** What a payment has moved so far. */
  #moved(payment: string, of: readonly EntryKind[]): bigint {
    return this.lines
      .filter((line) => line.payment === payment && of.includes(line.kind))
      .reduce((sum, line) => sum + line.amount, 0n);
  }

  report({ payment_id, currency, payment, reversal }: PaymentReport): string {
    const known = this.payments.get(payment_id) ?? new Payment();
    if (known.disowned) return this.#say("disowned");
    const climbs = payment !== undefined && known.climbs(payment);
    const isNews = reversal !== undefined && known.isNews(reversal);
    if (!climbs && !isNews) return this.#say(payment === undefined || known.paid ? "duplicate" : payment.state);
    if (climbs && payment.state === "failed" && known.known === undefined) return this.#say("failed");
    if (climbs && this.#isForeign(currency)) return this.#say("uncreditable currency");
    const credit = climbs && payment.state === "paid" ? BigInt(payment.credit_micros) : undefined;
    if (credit !== undefined && (credit <= 0n || this.balance + credit > MAX)) return this.#say("uncreditable amount");

    this.#keepIn(currency);
    this.payments.set(payment_id, known);
    if (climbs) known.facts.push(payment);
    if (isNews) known.hear(reversal);
    const seq = credit && this.#write("topup", credit, { payment: payment_id });
    const change = -known.due - this.#moved(payment_id, ["clawback", "reinstatement"]);
    if (change !== 0n) this.#write(change < 0n ? "clawback" : "reinstatement", change, { payment: payment_id });
    if (seq !== undefined) return this.#say(`credited ${seq} ${credit}`);
    if (change !== 0n) return this.#say(`reversed ${change}`);
    return this.#say(climbs ? payment.state : "noted");
  }

  disown(payment_id: string, currency: string): string {
    const known = this.payments.get(payment_id) ?? new Payment();
    if (known.paid) return "paid";
    this.#keepIn(currency);
    this.payments.set(payment_id, known);
    known.disowned = true;
    return `disowned ${known.reversals.length}`;
  }

  get #spends(): EntryKind {
    return this.prepaid ? "charge" : "usage";
  }

  configure({ currency, prepaid = this.prepaid }: ConfigureInput, limits: readonly Limit[] = this.limits): string {
    const begun = this.lines.length > 0 || this.open.length > 0;
    if (begun && this.currency !== currency) return "invalid";
    if (begun && prepaid !== this.prepaid) return "conflict prepaid";
    this.#keepIn(currency);
    this.prepaid = prepaid;
    this.limits = limits;
    return "configured";
  }

  freeze(frozen: boolean, currency: string): boolean {
    if (frozen !== this.frozenByOwner) this.#keepIn(currency);
    this.frozenByOwner = frozen;
    if (!frozen) for (const payment of this.payments.values()) payment.lift();
    return frozen;
  }

  rotate({ credential, next }: RotateInput): string {
    if (this.currency === null) return "unfunded";
    const standing = this.standing(credential);
    if (standing === "revoked" || standing === "superseded") return "unauthorized";
    const taken = this.issued.find((one) => one.generation === next.generation);
    if (taken) return taken.hash === next.hash ? "rotated" : `superseded ${taken.hash}`;
    if (standing === "first") this.issued = [{ ...credential, used: true }];
    this.issued.push({ ...next, used: false });
    return "rotated";
  }
}

const order = ({ priority, until, seq }: Given) => [priority, until ?? Number.POSITIVE_INFINITY, seq];
const compare = (one: readonly number[], other: readonly number[]): number =>
  one.map((rank, index) => Math.sign(rank - (other[index] ?? 0)) || 0).find((sign) => sign !== 0) ?? 0;
const negated = (links: readonly Link[]): Link[] => links.map(([source, part]) => [source, -part]);

/** The first so much of it. */
function upTo(links: readonly Link[], amount: bigint): readonly Link[] {
  let rest = amount;
  return links.map(([source, part]) => {
    const some = least(part, rest);
    rest -= some;
    return [source, some];
  });
}

/** One part for each source, in the order they first came in. */
function merged(links: readonly Link[], more: readonly Link[]): readonly Link[] {
  const sums = new Map<number, bigint>();
  for (const [source, part] of [...links, ...more]) sums.set(source, (sums.get(source) ?? 0n) + part);
  return [...sums];
}

function least(...values: readonly bigint[]): bigint {
  let found = values[0] ?? 0n;
  for (const value of values) if (value < found) found = value;
  return found;
}

/** `null` is never, and so the latest of all. */
function laterFirst(one: number | null, other: number | null): number {
  return (other ?? Number.MAX_VALUE) - (one ?? Number.MAX_VALUE);
}

function pays({ only }: Given, tag: string | undefined): boolean {
  if (only === null) return true;
  return tag !== undefined && (tag === only || (only.endsWith("*") && tag.startsWith(only.slice(0, -1))));
}
