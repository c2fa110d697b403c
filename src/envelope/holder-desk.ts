/** What a holder is told: how the envelope stands, and whether a price could be paid. */
import type { AffordInput, AffordOutcome, Asked, StateOutcome } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { balances, NOTHING, refusal, refuseSpending } from "./ledger.js";
import type { LotsDesk } from "./lots-desk.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";

export class HolderDesk {
  readonly #office: Office;
  readonly #store: Store;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
  }

  state(input: Partial<Asked>): StateOutcome {
    const now = Date.now();
    const { desks } = this.#office;
    const standing = this.#office.present(input.credential, now);
    if (standing === "revoked") return { outcome: "unauthorized" };
    const account = this.#office.account(now);
    // A limited session reads the balance, and nothing about the holder's other business.
    const limited = standing === "limited";
    return {
      outcome: "ok",
      superseded: standing === "superseded",
      ...balances(account),
      held_micros: account.held_micros,
      seq: this.#store.head.seq,
      funded: account.funded,
      frozen: account.frozen,
      open_disputes: this.#store.head.open_disputes,
      currency: this.#store.head.currency,
      holds: (limited ? [] : this.#store.openHolds(now)).map(
        ({ hold_id, amount_micros, at_ms, expires_at_ms, reason, used_micros }) => ({
          hold_id,
          amount_micros,
          at_ms,
          expires_at_ms,
          reason,
          used_micros,
        }),
      ),
      ...this.#lots(account.balance_micros, limited, now),
      windows: [],
      limited_sessions: limited ? [] : (desks.open.logins?.sessions(now) ?? []),
      autoTopUp: desks.open.topups?.state() ?? null,
    };
  }

  #lots(balance_micros: Micros, limited: boolean, now: number): ReturnType<LotsDesk["view"]> {
    const view = this.#store.head.lots === null ? undefined : this.#office.desks.open.lots?.view(now);
    if (view === undefined) return { lots: [], promotional_micros: ZERO, paid_micros: balance_micros, expiring: null };
    return limited ? { ...view, lots: [], expiring: null } : view;
  }

  afford(input: AffordInput): AffordOutcome {
    const now = Date.now();
    const account = this.#office.account(now, input.tag);
    const refused = this.#office.mayAct(input, now)
      ? refuseSpending(account, input.amount_micros)
      : refusal(account, "credential_revoked", input.amount_micros);
    if (refused === undefined) return { outcome: "affordable", ...balances(account) };
    this.#office.countRefusal(refused.reason);
    if (refused.reason === "credential_revoked") return { outcome: "refused", refusal: refused, ...NOTHING };
    this.#office.topUpIfLow(input, input.amount_micros, now);
    return { outcome: "refused", refusal: refused, ...balances(account) };
  }
}
