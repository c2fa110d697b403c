/** The rows of holds. Decides nothing; those that are open are in the store's memory, because charges count them. */
import type { HoldEnd, HoldInput } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import type { Hold } from "./holds.js";
import { reserved } from "./ledger.js";
import type { Store } from "./store.js";

export class HoldsBook {
  readonly #store: Store;
  readonly #sql: SqlStorage;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = store.sql;
  }

  amountOf(seq: number): Micros {
    const [row] = this.#sql.exec("SELECT amount_micros FROM entry WHERE seq = ?", seq).toArray();
    return (row?.["amount_micros"] as Micros | undefined) ?? ZERO;
  }

  hold(hold_id: number): Hold | undefined {
    const open = this.#store.holds.get(hold_id);
    if (open !== undefined || !this.#store.exists) return open;
    const [row] = this.#sql.exec("SELECT * FROM hold WHERE hold_id = ?", hold_id).toArray();
    return row as unknown as Hold | undefined;
  }

  holdByOperation(op: string): Hold | undefined {
    return [...this.#store.holds.values()].find((hold) => hold.op === op);
  }

  /** Of meters that are still to be settled, also of those whose lease is over. */
  metered(): readonly Hold[] {
    return [...this.#store.holds.values()].filter((hold) => hold.used_micros !== null);
  }

  /** Also marks the holds whose time is over: they reserve nothing already, this only tidies. `used_micros` is a meter's. */
  openHold(
    input: Pick<HoldInput, "ttl_ms" | "amount_micros" | "op" | "key" | "scope" | "reason" | "tag">,
    now_ms: number,
    { used_micros = null, spender_id = null }: Partial<Pick<Hold, "used_micros" | "spender_id">> = {},
  ): Hold {
    for (const hold of this.#store.holds.values())
      if (reserved(hold, now_ms) === 0) this.endHold(hold, "expired", undefined);
    const [row] = this.#sql
      .exec(
        `INSERT INTO hold (at_ms, expires_at_ms, amount_micros, state, op, key, scope, reason, tag, lots, spender_id, used_micros)
         VALUES (?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
        now_ms,
        now_ms + input.ttl_ms,
        input.amount_micros,
        input.op,
        input.key ?? null,
        input.scope ?? null,
        input.reason ?? null,
        input.tag ?? null,
        this.#store.reserve(input, now_ms),
        spender_id,
        used_micros,
      )
      .toArray();
    const hold = row as unknown as Hold;
    this.#store.holds.set(hold.hold_id, hold);
    return hold;
  }

  /** Of an open hold. It is only ever raised. */
  changeHold(
    hold: Hold,
    { amount_micros, expires_at_ms, used_micros }: Pick<Hold, "amount_micros" | "expires_at_ms" | "used_micros">,
    now_ms: number,
  ): void {
    const [row] = this.#sql
      .exec(
        "UPDATE hold SET amount_micros = ?, expires_at_ms = ?, used_micros = ?, lots = ? WHERE hold_id = ? RETURNING *",
        amount_micros,
        expires_at_ms,
        used_micros,
        this.#store.reserveMore(hold, (amount_micros - hold.amount_micros) as Micros, now_ms),
        hold.hold_id,
      )
      .toArray();
    this.#store.holds.set(hold.hold_id, row as unknown as Hold);
  }

  endHold(
    hold: Hold,
    end: HoldEnd,
    settled: { op: string; seq: number | null; micros: Micros; paid: Micros } | undefined,
  ): void {
    this.#sql.exec(
      "UPDATE hold SET state = ?, settled_micros = ?, paid_micros = ?, settled_seq = ?, end_op = ? WHERE hold_id = ?",
      end,
      settled?.micros ?? null,
      settled?.paid ?? null,
      settled?.seq ?? null,
      settled?.op ?? null,
      hold.hold_id,
    );
    this.#store.holds.delete(hold.hold_id);
  }
}
