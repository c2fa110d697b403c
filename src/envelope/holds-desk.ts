/** Holds: what is reserved for work whose price is not known yet. Each method is one synchronous turn, done in the group of the charges. */
import type { HoldInput, HoldOutcome, ReleaseOutcome, SettleInput, SettleOutcome } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { decideHold, decideRelease, decideSettle, type Hold } from "./holds.js";
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
    const account = this.#store.account(now, tag);
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
    const hold = this.#holds.hold(input.hold_id);
    const paid = hold === undefined ? ZERO : this.#paidFor(hold);
    const tag = hold && tagOf(hold);
    const decision = decideSettle(this.#store.account(now, tag), hold, input, now, paid);
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
    if (decision.outcome?.outcome === "refused") this.#office.countRefusal(decision.outcome.refusal.reason);
    const refused = decision.outcome?.outcome === "refused" ? input.amount_micros : undefined;
    if (currency !== null) this.#office.topUpIfLow({ currency, auto_topup: input.auto_topup, tag }, refused, now);
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
