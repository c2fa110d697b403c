/**
 * What an envelope should do, as naively as it can be said: a list of lines, a list of holds, sums taken anew for every
 * question, and BigInt for every amount. Answers are short texts, so that a difference reads as one.
 */
import type {
  ChargeInput,
  ConfigureInput,
  Credential,
  EntryKind,
  GrantInput,
  HoldEnd,
  HoldInput,
  PaymentReport,
  RefundInput,
  Reversal,
  RotateInput,
  SettleInput,
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
}

export interface Reserve {
  readonly input: HoldInput;
  readonly id: number;
  readonly until: number;
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
  currency: string | null = null;
  frozenByOwner = false;
  readonly lines: Line[] = [];
  readonly holds: Reserve[] = [];
  readonly payments = new Map<string, Payment>();
  issued: Issued[] = [];
  limits: readonly Limit[] = [];
  prepaid = true;

  constructor(clock: number) {
    this.clock = clock;
  }

  get openDisputes(): readonly Reversal[] {
    return [...this.payments.values()].flatMap((payment) => payment.open);
  }
  get frozen(): boolean {
    return this.frozenByOwner || this.openDisputes.some(({ freezes }) => freezes);
  }
  get balance(): bigint {
    return this.lines.reduce((sum, line) => sum + line.amount, 0n);
  }
  get open(): readonly Reserve[] {
    return this.holds.filter((hold) => hold.end === undefined && hold.until > this.clock);
  }
  get held(): bigint {
    return this.open.reduce((sum, hold) => sum + BigInt(hold.input.amount_micros), 0n);
  }
  /** The ledger's: of a clock that was set back, no later than the newest line. */
  get time(): number {
    return Math.max(this.clock, this.lines.at(-1)?.at ?? 0);
  }
  leftOf(limit: Limit): bigint {
    return BigInt(limit.limit_micros) - spentOf(limit, this.lines, this.time) - this.held;
  }
  get available(): bigint {
    if (this.prepaid) return this.balance - this.held;
    const bound = this.balance < 0n ? MAX + this.balance : MAX;
    return least((this.limits.length === 0 ? 0n : bound) - this.held, ...this.limits.map((one) => this.leftOf(one)));
  }
  /** As it is told: of a budget, what is left of it. */
  get told(): bigint {
    return this.prepaid ? this.balance : this.available + this.held;
  }

  #say = (text: string): string => `${text}; ${this.told}/${this.available}`;

  #write(kind: EntryKind, amount: bigint, more: Omit<Line, "seq" | "at" | "kind" | "amount">): number {
    const seq = this.lines.length + 1;
    this.lines.push({ ...more, seq, at: this.time, kind, amount });
    return seq;
  }

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

  #replay(used: Line, input: ChargeInput | HoldInput, price: bigint): string {
    if (used.scope !== input.scope) return "conflict scope";
    const same = "at_most" in input && input.at_most ? -used.amount <= price : -used.amount === price;
    if (!same) return "conflict price";
    if (this.lines.some((line) => line.ref === used.seq)) return "conflict refunded";
    if (input.replay_ms !== undefined && this.clock >= used.at + input.replay_ms) return "conflict expired";
    return `replayed ${used.seq} ${-used.amount}`;
  }

  /** Why money may not leave; `own` is what the hold that is settled reserves, and `some` what would do of the price. */
  #no(price: bigint, some: bigint, frozen: boolean, own = 0n): string | undefined {
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
    const available = this.available + own;
    return some > available ? `refused insufficient_balance short ${price - available}` : undefined;
  }

  /** All that may be taken. */
  get #most(): bigint {
    return least(this.available, ...this.limits.map((limit) => this.leftOf(limit)));
  }

  charge(input: ChargeInput): string {
    if (this.present(input.credential as Credential | undefined) === "revoked")
      return "refused credential_revoked short 0; 0/0";
    const price = BigInt(input.amount_micros);
    const earlier = input.retry ? this.#earlier(input.op) : undefined;
    if (earlier) return this.#say(`charged ${earlier.seq} ${-earlier.amount}`);
    const used = this.#keyed(input.key);
    if (used) return this.#say(this.#replay(used, input, price));
    if (this.open.some((hold) => input.key !== undefined && hold.input.key === input.key))
      return this.#say("conflict in_progress");
    if (this.#isForeign(input.currency)) return this.#say("invalid");
    if (price === 0n && !(input.record_zero && this.lines.length > 0)) return this.#say("charged null 0");
    const some = least(price, this.#most);
    const amount = input.at_most ? (some > 0n ? some : 0n) : price;
    const nothing = amount === 0n;
    const no = price === 0n ? undefined : this.#no(nothing ? price : amount, nothing ? 1n : amount, this.frozen);
    if (no) return this.#say(no);
    const { key, scope, op } = input;
    return this.#say(`charged ${this.#write(this.#spends, -amount, { key, scope, op })} ${amount}`);
  }

  hold(input: HoldInput): string {
    if (this.present(input.credential as Credential | undefined) === "revoked")
      return "refused credential_revoked short 0; 0/0";
    const earlier = input.retry
      ? this.holds.find((hold) => hold.input.op === input.op && hold.end === undefined)
      : undefined;
    if (earlier) return this.#say(`held ${earlier.id}`);
    const used = this.#keyed(input.key);
    if (used) return this.#say(this.#replay(used, input, -used.amount));
    if (this.open.some((hold) => input.key !== undefined && hold.input.key === input.key))
      return this.#say("conflict in_progress");
    if (this.#isForeign(input.currency)) return this.#say("invalid");
    const price = BigInt(input.amount_micros);
    const no = this.#no(price, price, this.frozen);
    if (no) return this.#say(no);
    for (const hold of this.holds) if (hold.until <= this.clock) hold.end ??= "expired";
    this.holds.push({ input, id: this.holds.length + 1, until: this.clock + input.ttl_ms });
    return this.#say(`held ${this.holds.length}`);
  }

  settle({ hold_id, amount_micros, op }: SettleInput): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown");
    if (hold.endedBy?.op === op) return this.#say(hold.endedBy.answer);
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`);
    const price = BigInt(amount_micros);
    const reserved = BigInt(hold.input.amount_micros);
    const no = price === 0n ? undefined : this.#no(price, price, this.frozen && price > reserved, reserved);
    hold.end = no === undefined ? "settled" : "released";
    if (no) return this.#say(no);
    const { key, scope } = hold.input;
    const seq = price === 0n ? null : this.#write(this.#spends, -price, { key, scope, op, hold: hold_id });
    hold.endedBy = { op, answer: `charged ${seq} ${price}` };
    return this.#say(hold.endedBy.answer);
  }

  release(hold_id: number): string {
    const hold = this.holds.find((one) => one.id === hold_id);
    if (hold === undefined) return this.#say("unknown");
    if (hold.until <= this.clock) hold.end ??= "expired";
    if (hold.end !== undefined) return this.#say(`ended ${hold.end}`);
    hold.end = "released";
    return this.#say("released");
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
    if (amount <= 0n || amount > left || this.balance + amount > MAX) return this.#say(`refused ${left}`);
    const { key, op } = input;
    return this.#say(`refunded ${this.#write("refund", amount, { key, op, ref: named.seq })} ${amount}`);
  }

  grant(input: GrantInput): string {
    const amount = BigInt(input.amount_micros);
    const used = this.#keyed(input.key);
    if (used) return this.#say(used.amount === amount ? `replayed ${used.seq} ${amount}` : "conflict price");
    if (this.#isForeign(input.currency) || !this.prepaid) return this.#say("invalid");
    if (amount <= 0n || this.balance + amount > MAX) return this.#say("invalid");
    this.#keepIn(input.currency);
    const { key, op } = input;
    return this.#say(`granted ${this.#write("grant", amount, { key, op })} ${amount}`);
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
    if (isNews) known.words.push(reversal);
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

function least(...values: readonly bigint[]): bigint {
  let found = values[0] ?? 0n;
  for (const value of values) if (value < found) found = value;
  return found;
}

/** `null` is never, and so the latest of all. */
function laterFirst(one: number | null, other: number | null): number {
  return (other ?? Number.MAX_VALUE) - (one ?? Number.MAX_VALUE);
}
