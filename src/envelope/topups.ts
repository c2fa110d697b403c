/** The rows of top-ups and of the saved card. Decides nothing, keeps nothing in memory: only read when money is low or comes in. */
import type { AutoTopUpStop, TopUp } from "../contract.js";
import type { Micros } from "../money.js";
import type { IntentRequest } from "../stripe-intent.js";
import type { Attempt, AutoTopUp, Sending, TopUpState } from "./auto-topup.js";

/** More than a window may hold, and enough to see three declines in a row. */
const ATTEMPTS_READ = 128;

const VIEW = "topup_id, origin, status, amount_micros, currency, payment_id, failure, code, at_ms, ended_at_ms";

/** What a top-up starts with. `card` makes it one of auto top-up's. */
export interface NewTopUp {
  readonly attempt: string;
  readonly amount_micros: Micros;
  readonly currency: string;
  readonly key?: string;
  readonly reference?: string;
  readonly card?: Pick<AutoTopUp, "customer" | "payment_method">;
}

/** An attempt that waits to be sent to Stripe, or to be looked at there. */
export type DueTopUp = TopUp &
  Omit<Sending, "unwanted"> &
  Pick<AutoTopUp, "customer" | "payment_method"> & { readonly attempt: string; readonly reference: string | null };

export class TopUps {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  begin(topup: NewTopUp, now_ms: number): TopUp {
    const { card } = topup;
    const [row] = this.#sql
      .exec(
        `INSERT INTO topup (origin, status, attempt, key, amount_micros, currency, reference, customer, payment_method, at_ms, next_try_ms)
         VALUES (?, 'PENDING', ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING ${VIEW}`,
        card === undefined ? "api" : "auto",
        topup.attempt,
        topup.key ?? null,
        topup.amount_micros,
        topup.currency,
        topup.reference ?? null,
        card?.customer ?? null,
        card?.payment_method ?? null,
        now_ms,
        card === undefined ? null : now_ms,
      )
      .toArray();
    return row as unknown as TopUp;
  }

  byKey(key: string): (TopUp & { readonly attempt: string; readonly reference: string }) | undefined {
    const [row] = this.#sql.exec(`SELECT ${VIEW}, attempt, reference FROM topup WHERE key = ?`, key).toArray();
    return row as unknown as (TopUp & { readonly attempt: string; readonly reference: string }) | undefined;
  }

  /** By the attempt that the intent names; by the intent, where it does not. Never one that another intent answered. */
  find(payment_id: string | null, attempt: string | undefined): TopUp | undefined {
    const [row] =
      attempt === undefined
        ? this.#sql.exec(`SELECT ${VIEW} FROM topup WHERE payment_id = ?`, payment_id).toArray()
        : this.#sql
            .exec(
              `SELECT ${VIEW} FROM topup WHERE attempt = ?1 AND (payment_id IS NULL OR payment_id = coalesce(?2, payment_id))`,
              attempt,
              payment_id,
            )
            .toArray();
    return row as unknown as TopUp | undefined;
  }

  file(topup_id: number, state: TopUpState, now_ms: number): void {
    this.#sql.exec(
      `UPDATE topup SET status = ?2, payment_id = ?3, failure = ?4, code = ?5,
         ended_at_ms = CASE WHEN ?2 = 'PENDING' THEN NULL ELSE coalesce(ended_at_ms, ?6) END,
         next_try_ms = CASE WHEN ?2 = 'PENDING' THEN next_try_ms END
       WHERE topup_id = ?1`,
      topup_id,
      state.status,
      state.payment_id,
      state.failure,
      state.code,
      now_ms,
    );
  }

  list(limit: number, before: number | null = null): readonly TopUp[] {
    return this.#sql
      .exec(
        `SELECT ${VIEW} FROM topup WHERE topup_id < ? ORDER BY topup_id DESC LIMIT ?`,
        before ?? Number.MAX_SAFE_INTEGER,
        limit,
      )
      .toArray() as unknown as TopUp[];
  }

  /** Of auto top-up, newest first. */
  attempts(): readonly Attempt[] {
    return this.#sql
      .exec(`SELECT ${VIEW} FROM topup WHERE origin = 'auto' ORDER BY topup_id DESC LIMIT ${ATTEMPTS_READ}`)
      .toArray() as unknown as Attempt[];
  }

  /** The one attempt under way, if there is one. */
  inFlight(): (DueTopUp & { readonly next_try_ms: number }) | undefined {
    const [row] = this.#sql.exec("SELECT * FROM topup WHERE origin = 'auto' AND status = 'PENDING'").toArray();
    return row as unknown as (DueTopUp & { readonly next_try_ms: number }) | undefined;
  }

  /** Written before Stripe is asked: what it is asked for, and when to ask again should no answer come. */
  noteTry(topup: DueTopUp, request: IntentRequest, next_try_ms: number, now_ms: number): void {
    this.#sql.exec(
      `UPDATE topup SET tries = tries + 1, first_try_ms = coalesce(first_try_ms, ?2), next_try_ms = ?3,
         reference = coalesce(reference, ?4) WHERE topup_id = ?1`,
      topup.topup_id,
      now_ms,
      next_try_ms,
      request.reference,
    );
  }

  saved(): AutoTopUp | undefined {
    const [row] = this.#sql
      .exec("SELECT enabled, customer, payment_method, stopped, since_topup_id FROM auto_topup WHERE id = 1")
      .toArray();
    return row && ({ ...row, enabled: row["enabled"] === 1 } as unknown as AutoTopUp);
  }

  enable(card: Pick<AutoTopUp, "customer" | "payment_method">, now_ms: number): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO auto_topup (id, enabled, customer, payment_method, stopped, since_topup_id, at_ms)
       VALUES (1, 1, ?, ?, NULL, (SELECT coalesce(max(topup_id), 0) FROM topup), ?)`,
      card.customer,
      card.payment_method,
      now_ms,
    );
  }

  disable(now_ms: number): void {
    this.#sql.exec("UPDATE auto_topup SET enabled = 0, at_ms = ? WHERE id = 1", now_ms);
  }

  /** The first reason stays: it is what the owner has to look at. */
  stop(why: AutoTopUpStop, now_ms: number): void {
    this.#sql.exec("UPDATE auto_topup SET stopped = ?, at_ms = ? WHERE id = 1 AND stopped IS NULL", why, now_ms);
  }
}
