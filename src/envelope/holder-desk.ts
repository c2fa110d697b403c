/** What a holder is told: how the envelope stands, and whether a price could be paid. */
import type { AffordInput, AffordOutcome, Asked, StateOutcome } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { isSpender } from "./credentials.js";
import { balances, refuseSpending } from "./ledger.js";
import type { LotsDesk } from "./lots-desk.js";
import type { Office } from "./office.js";
import { type Store, UNNAMED } from "./store.js";

export class HolderDesk {
  readonly #office: Office;
  readonly #store: Store;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
  }

  state({ credential }: Partial<Asked>): StateOutcome {
    const now = Date.now();
    const { desks } = this.#office;
    const standing = isSpender(credential) ? "spender" : this.#office.present(credential, now);
    if (standing === "revoked") return { outcome: "unauthorized" };
    const caller = standing === "spender" ? this.#office.caller(credential, "read", now) : undefined;
    if (caller === "credential_revoked") return { outcome: "unauthorized" };
    if (typeof caller === "string") {
      return { outcome: "forbidden", detail: "This key has expired, or not the scope read" };
    }
    const account = this.#office.account(undefined, now);
    // Who is not the holder reads the balance, a key or an identity also what else limits it, and nothing about the holder's other business.
    const holder = standing !== "limited" && standing !== "spender";
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
      holds: (holder ? this.#store.openHolds(now) : []).map(
        ({ hold_id, amount_micros, at_ms, expires_at_ms, reason, used_micros }) => ({
          hold_id,
          amount_micros,
          at_ms,
          expires_at_ms,
          reason,
          used_micros,
        }),
      ),
      ...this.#lots(account.balance_micros, holder, now),
      ...(holder ? this.#store.named : UNNAMED),
      prepaid: this.#store.named.prepaid,
      windows:
        standing === "limited" ? [] : (this.#store.windows?.views(account.held_micros, this.#store.timeOf(now)) ?? []),
      limited_sessions: holder ? (desks.open.logins?.sessions(now) ?? []) : [],
      autoTopUp: holder ? (desks.open.topups?.state() ?? null) : null,
      ...(caller && { spender: desks.open.spenders?.view(caller, now) }),
    };
  }

  #lots(balance_micros: Micros, holder: boolean, now: number): ReturnType<LotsDesk["view"]> {
    const view = this.#store.head.lots === null ? undefined : this.#office.desks.open.lots?.view(now);
    if (view === undefined) return { lots: [], promotional_micros: ZERO, paid_micros: balance_micros, expiring: null };
    return holder ? view : { ...view, lots: [], expiring: null };
  }

  afford(input: AffordInput): AffordOutcome {
    const now = Date.now();
    const { amount_micros, credential } = input;
    const caller = this.#office.caller(credential, "spend", now);
    if (typeof caller === "string") return this.#office.turnAway(caller, amount_micros, now);
    const account = this.#office.account(caller, now, input.tag);
    const refused = refuseSpending(account, amount_micros);
    if (refused === undefined) return { outcome: "affordable", ...balances(account) };
    const outcome = { outcome: "refused", refusal: refused, ...balances(account) } as const;
    this.#office.lookAfter(input, outcome, now);
    return outcome;
  }
}
