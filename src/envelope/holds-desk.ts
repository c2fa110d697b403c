/** Holds: what is reserved for work whose price is not known yet. Each method is one synchronous turn, done in the group of the charges. */
import type { HoldInput, HoldOutcome, ReleaseOutcome, SettleInput, SettleOutcome } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { decideHold, decideRelease, decideSettle, type Hold } from "./holds.js";
import { HoldsBook } from "./holds-book.js";
import { askedBy, balances, tagOf, taken } from "./ledger.js";
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
    const spender_id = caller?.[0].spender_id;
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#holds.openHold(asked, now, spender_id));
    this.#office.lookAfter(input, undefined, now);
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now, tag)) };
  }

  settle(input: SettleInput): SettleOutcome {
    const now = Date.now();
    const hold = this.#holds.hold(input.hold_id);
    const paid = hold === undefined ? ZERO : this.#paidFor(hold);
    const tag = hold && tagOf(hold);
    const chain = hold?.spender_id == null ? undefined : this.#office.desks.open.spenders?.chainOf(hold.spender_id);
    const decision = decideSettle(this.#office.account(chain, now, tag), hold, input, now, paid);
    if (hold === undefined || !("end" in decision)) return (decision as { outcome: SettleOutcome }).outcome;
    const entry = this.#office.transaction(() => {
      const written = decision.write && this.#store.append(decision.write, now);
      // Of the hold itself, no more than it held: what was above it came from the balance (docs/decisions/0004).
      const settled = {
        op: input.op,
        seq: written?.seq ?? null,
        micros: written ? (Math.min(taken(written), hold.amount_micros) as Micros) : ZERO,
        paid: written ? taken(written) : ZERO,
      };
      this.#holds.endHold(hold, decision.end, decision.end === "settled" ? settled : undefined);
      return written;
    });
    const currency = input.currency ?? this.#store.head.currency;
    if (currency !== null) this.#office.lookAfter({ ...input, currency, tag }, decision.outcome, now);
    const after = balances(this.#store.account(now, tag));
    // What the hold kept of a grant that is over ended with it.
    if (decision.outcome !== undefined) return { ...decision.outcome, ...after };
    const amount_micros = entry ? taken(entry) : ZERO;
    const charged = { outcome: "charged", seq: entry?.seq ?? null, amount_micros, ...after } as const;
    return this.#office.alerted(charged, input.alerts, now);
  }

  #paidFor({ paid_micros, settled_seq }: Hold): Micros {
    if (paid_micros !== null || settled_seq === null) return paid_micros ?? ZERO;
    return taken({ amount_micros: this.#holds.amountOf(settled_seq) });
  }

  release(input: { readonly hold_id: number } | { readonly op: string }): ReleaseOutcome {
    const now = Date.now();
    const hold = "op" in input ? this.#holds.holdByOperation(input.op) : this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const decision = decideRelease(this.#store.account(now, tag), hold, now);
    if (hold === undefined || "outcome" in decision) return (decision as { outcome: ReleaseOutcome }).outcome;
    this.#holds.endHold(hold, decision.end, undefined);
    const after = balances(this.#store.account(now, tag));
    return decision.end === "released"
      ? { outcome: "released", ...after }
      : { outcome: "ended", end: decision.end, ...after };
  }
}
