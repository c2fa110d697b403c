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
import { balances, NOTHING, refusal, tagOf, taken } from "./ledger.js";
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
    const tag = tagOf(input);
    const account = this.#office.account(now, tag);
    if (!this.#office.mayAct(input, now)) {
      this.#office.countRefusal("credential_revoked");
      return { outcome: "refused", refusal: refusal(account, "credential_revoked", input.amount_micros), ...NOTHING };
    }
    const decision = decideHold(
      account,
      {
        hold: input.retry ? this.#holds.holdByOperation(input.op) : undefined,
        key: this.#store.priorByKey(input.key),
        key_is_held: this.#store.keyIsHeld(input.key, now),
      },
      input,
      now,
    );
    if ("outcome" in decision) {
      if (decision.outcome.outcome === "refused") this.#office.countRefusal(decision.outcome.refusal.reason);
      this.#office.topUpIfLow(input, decision.outcome.outcome === "refused" ? input.amount_micros : undefined, now);
      return decision.outcome;
    }
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#holds.openHold(input, now));
    this.#office.topUpIfLow(input, undefined, now);
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now, tag)) };
  }

  settle(input: SettleInput): SettleOutcome {
    const now = Date.now();
    // Before the hold is looked at: it may be one of them.
    this.#office.account(now);
    const hold = this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const account = this.#store.account(now, tag);
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
    if (refusal !== undefined) this.#office.countRefusal(refusal.reason);
    const refused = refusal === undefined ? undefined : input.amount_micros;
    if (currency !== null) this.#office.topUpIfLow({ currency, auto_topup: input.auto_topup, tag }, refused, now);
    const after = balances(this.#store.account(now, tag));
    // What the hold kept of a grant that is over ended with it.
    if (decision.outcome !== undefined) return { ...decision.outcome, ...after };
    const amount_micros = entry ? taken(entry) : ZERO;
    const parts = { amount_micros, ...partsOf(hold, amount_micros), ...(refusal && { refusal }) };
    const charged = { outcome: "charged", seq: entry?.seq ?? null, ...parts, ...after } as const;
    return this.#office.alerted(charged, input.alerts, now);
  }

  /** What a hold's entry took, where it has one. */
  paidFor(hold: Hold | undefined): Micros {
    if (hold === undefined || hold.paid_micros !== null || hold.settled_seq === null) return hold?.paid_micros ?? ZERO;
    return taken({ amount_micros: this.#holds.amountOf(hold.settled_seq) });
  }

  extend(input: ExtendInput): ExtendOutcome {
    const now = Date.now();
    this.#office.account(now);
    const hold = this.#holds.hold(input.hold_id);
    const tag = hold && tagOf(hold);
    const account = this.#store.account(now, tag);
    if (!this.#office.mayAct(input, now)) {
      this.#office.countRefusal("credential_revoked");
      const price = input.amount_micros ?? ZERO;
      return { outcome: "refused", refusal: refusal(account, "credential_revoked", price), ...NOTHING };
    }
    const decision = decideExtend(account, hold, input, now, this.paidFor(hold));
    if (hold !== undefined && "write" in decision) {
      this.#store.transaction(() =>
        this.#holds.changeHold(hold, { ...decision.write, used_micros: hold.used_micros }, now),
      );
      this.#office.topUpIfLow({ ...input, tag }, undefined, now);
      return { outcome: "extended", ...decision.write, ...balances(this.#store.account(now, tag)) };
    }
    if (hold !== undefined && "end" in decision) this.#holds.endHold(hold, decision.end, undefined);
    const { outcome } = decision as { readonly outcome: ExtendOutcome };
    if (outcome.outcome === "refused") {
      this.#office.countRefusal(outcome.refusal.reason);
      this.#office.topUpIfLow({ ...input, tag }, outcome.refusal.price_micros, now);
    }
    return outcome;
  }

  release(input: { readonly hold_id: number } | { readonly op: string }): ReleaseOutcome {
    const now = Date.now();
    this.#office.account(now);
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
