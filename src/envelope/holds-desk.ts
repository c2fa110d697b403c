/** Holds: what is reserved for work whose price is not known yet. Each method is one synchronous turn, done in the group of the charges. */
import type {
  ExtendInput,
  ExtendOutcome,
  HoldInput,
  HoldOutcome,
  ReleaseOutcome,
  SettleInput,
  SettleOutcome,
} from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { decideExtend, takeSome } from "./beyond.js";
import { decideHold, decideRelease, decideSettle, endedAs, type Hold, partsOf } from "./holds.js";
import { HoldsBook } from "./holds-book.js";
import { type Account, askedBy, balances, tagOf, taken } from "./ledger.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";

export class HoldsDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #holds: HoldsBook;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#holds = new HoldsBook(office.store);
  }

  hold(input: HoldInput): HoldOutcome {
    const now = Date.now();
    const caller = this.#office.caller(input.credential, "spend", now);
    if (typeof caller === "string") return this.#office.turnAway(caller, input.amount_micros, now);
    const tag = tagOf(input);
    const asked = askedBy(caller, input);
    const decision = decideHold(
      this.#office.account(caller, now, tag),
      {
        hold: input.retry ? this.#holds.holdByOperation(input.op) : undefined,
        key: this.#store.priorByKey(input.key),
        key_is_held: this.#store.keyIsHeld(input.key, now),
      },
      asked,
      now,
    );
    if ("outcome" in decision) {
      this.#office.lookAfter(input, decision.outcome, now);
      return decision.outcome;
    }
    const spender_id = caller?.[0].spender_id ?? null;
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#holds.openHold(asked, now, { spender_id }));
    this.#office.lookAfter(input, undefined, now);
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now, tag)) };
  }

  settle(input: SettleInput): SettleOutcome {
    const now = Date.now();
    // Before the hold is looked at: it may be one of them.
    this.#office.account(undefined, now);
    const hold = this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const account = this.#account(hold, tag, now);
    const take = (input.above ?? "all") === "all" ? undefined : takeSome;
    const decision = decideSettle(account, hold, input, now, this.paidFor(hold), take);
    if (hold === undefined || !("end" in decision)) return (decision as { outcome: SettleOutcome }).outcome;
    const { write, end } = decision;
    const entry = this.#office.transaction(() => {
      const written = write && this.#store.append(write, now);
      const paid = written ? taken(written) : ZERO;
      // Of the hold itself, no more than it held: what was above it came from the balance (docs/decisions/0004).
      const settled = { op: input.op, seq: written?.seq ?? null, micros: partsOf(hold, paid).settled_micros, paid };
      this.#holds.endHold(hold, end, end === "settled" ? settled : undefined);
      return written;
    });
    const currency = input.currency ?? this.#store.head.currency;
    const refusal = decision.outcome?.outcome === "refused" ? decision.outcome.refusal : decision.refusal;
    const answer = refusal && ({ outcome: "refused", refusal } as const);
    if (currency !== null) this.#office.lookAfter({ ...input, currency, tag }, answer, now);
    const after = balances(this.#store.account(now, tag));
    // What the hold kept of a grant that is over ended with it.
    if (decision.outcome !== undefined) return { ...decision.outcome, ...after };
    const amount_micros = entry ? taken(entry) : ZERO;
    const parts = { amount_micros, ...partsOf(hold, amount_micros), ...(refusal && { refusal }) };
    const charged = { outcome: "charged", seq: entry?.seq ?? null, ...parts, ...after } as const;
    return this.#office.alerted(charged, input.alerts, now);
  }

  /** The account as it is to who took the hold. */
  #account(hold: Hold | undefined, tag: string | undefined, now: number): Account {
    const chain = hold?.spender_id == null ? undefined : this.#office.desks.open.spenders?.chainOf(hold.spender_id);
    return this.#office.account(chain, now, tag);
  }

  /** What a hold's entry took, where it has one. */
  paidFor(hold: Hold | undefined): Micros {
    if (hold === undefined || hold.paid_micros !== null || hold.settled_seq === null) return hold?.paid_micros ?? ZERO;
    return taken({ amount_micros: this.#holds.amountOf(hold.settled_seq) });
  }

  extend(input: ExtendInput): ExtendOutcome {
    const now = Date.now();
    this.#office.account(undefined, now);
    const hold = this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const price = input.amount_micros ?? ZERO;
    const caller = this.#office.caller(input.credential, "spend", now);
    if (typeof caller === "string") return this.#office.turnAway(caller, price, now);
    const account = this.#account(hold, tag, now);
    const decision = decideExtend(account, hold, input, now, this.paidFor(hold));
    if (hold !== undefined && "write" in decision) {
      this.#store.transaction(() =>
        this.#holds.changeHold(hold, { ...decision.write, used_micros: hold.used_micros }, now),
      );
      this.#office.lookAfter({ ...input, amount_micros: price, tag }, undefined, now);
      return { outcome: "extended", ...decision.write, ...balances(this.#store.account(now, tag)) };
    }
    if (hold !== undefined && "end" in decision) this.#holds.endHold(hold, decision.end, undefined);
    const { outcome } = decision as { readonly outcome: ExtendOutcome };
    if (outcome.outcome === "refused") {
      this.#office.lookAfter({ ...input, amount_micros: outcome.refusal.price_micros, tag }, outcome, now);
    }
    return outcome;
  }

  release(input: { readonly hold_id: number } | { readonly op: string }): ReleaseOutcome {
    const now = Date.now();
    this.#office.account(undefined, now);
    const hold = "op" in input ? this.#holds.holdByOperation(input.op) : this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const decision = decideRelease(this.#store.account(now, tag), hold, now, this.paidFor(hold));
    if (hold === undefined || "outcome" in decision) return (decision as { outcome: ReleaseOutcome }).outcome;
    this.#holds.endHold(hold, decision.end, undefined);
    const after = balances(this.#store.account(now, tag));
    return decision.end === "released"
      ? { outcome: "released", ...after }
      : { ...endedAs(decision.end, ZERO), ...after };
  }
}
