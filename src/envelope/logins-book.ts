/** The rows of login by payment: what a payment was used for, and the limited sessions it opened. Decides nothing, keeps nothing in memory. */
import type { AdmitInput, BornSession, LimitedSessionView } from "../contract.js";
import type { PaymentLogin, StoredLimited } from "./logins.js";
import type { Store } from "./store.js";

export class LoginsBook {
  readonly #store: Store;
  readonly #sql: SqlStorage;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = store.sql;
  }

  paymentLogin(payment_id: string): PaymentLogin | undefined {
    if (!this.#store.exists) return undefined;
    const [row] = this.#sql
      .exec(
        "SELECT card, session_envelope_id, session_key_id, shut_at_ms, mistakes FROM payment_login WHERE payment_id = ?",
        payment_id,
      )
      .toArray() as {
      card: string;
      session_envelope_id: string | null;
      session_key_id: string | null;
      shut_at_ms: number | null;
      mistakes: number;
    }[];
    if (row === undefined) return undefined;
    const { card, session_envelope_id: envelope_id, session_key_id: key_id, shut_at_ms, mistakes } = row;
    const session = envelope_id === null || key_id === null ? undefined : { envelope_id, key_id };
    return { card, session, shut: shut_at_ms !== null, mistakes };
  }

  /** For ever. What it kept is forgotten in the same turn; the session it bore stays named, to be ended. */
  shutPaymentLogin(payment_id: string, card: string, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO payment_login (payment_id, card, at_ms, shut_at_ms) VALUES (?1, ?2, ?3, ?3)
       ON CONFLICT (payment_id) DO UPDATE SET shut_at_ms = coalesce(shut_at_ms, excluded.shut_at_ms), kept = 0`,
      payment_id,
      card,
      now_ms,
    );
  }

  countMistake(payment_id: string, card: string, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO payment_login (payment_id, card, at_ms, mistakes) VALUES (?, ?, ?, 1)
       ON CONFLICT (payment_id) DO UPDATE SET mistakes = mistakes + 1`,
      payment_id,
      card,
      now_ms,
    );
  }

  /** `used` is what the payment's card is to be, besides known: kept, or the opener of a session. */
  filePaymentLogin(payment_id: string, card: string, used: BornSession | "kept" | undefined, now_ms: number): void {
    const session = typeof used === "object" ? used : undefined;
    this.#sql.exec(
      `INSERT INTO payment_login (payment_id, card, session_envelope_id, session_key_id, kept, at_ms) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (payment_id) DO UPDATE SET kept = max(kept, excluded.kept),
         session_envelope_id = coalesce(session_envelope_id, excluded.session_envelope_id),
         session_key_id = coalesce(session_key_id, excluded.session_key_id)`,
      payment_id,
      card,
      session?.envelope_id ?? null,
      session?.key_id ?? null,
      used === "kept" ? 1 : 0,
      now_ms,
    );
  }

  keepsCard(cards: readonly string[]): boolean {
    if (!this.#store.exists) return false;
    const rows = this.#sql.exec(
      "SELECT 1 FROM payment_login WHERE kept = 1 AND card IN (SELECT value FROM json_each(?)) LIMIT 1",
      JSON.stringify(cards),
    );
    return rows.toArray().length > 0;
  }

  /** Knows a card under the current secret that it knew under an earlier one. The newest hash comes first. */
  rehashCard(cards: readonly string[]): void {
    const [newest, ...earlier] = cards;
    if (newest === undefined || earlier.length === 0) return;
    this.#sql.exec(
      "UPDATE payment_login SET card = ? WHERE card IN (SELECT value FROM json_each(?))",
      newest,
      JSON.stringify(earlier),
    );
  }

  limitedSession(key_id: string): StoredLimited | undefined {
    if (!this.#store.exists) return undefined;
    const [row] = this.#sql
      .exec("SELECT hash, expires_at_ms, ended_at_ms FROM limited_session WHERE key_id = ?", key_id)
      .toArray();
    return row as unknown as StoredLimited | undefined;
  }

  limitedSessions(now_ms: number): readonly LimitedSessionView[] {
    if (!this.#store.exists) return [];
    return this.#sql
      .exec(
        `SELECT payment_id, at_ms, expires_at_ms FROM limited_session
         WHERE ended_at_ms IS NULL AND expires_at_ms > ? ORDER BY at_ms, key_id`,
        now_ms,
      )
      .toArray() as unknown as LimitedSessionView[];
  }

  fileLimited(input: AdmitInput, expires_at_ms: number, now_ms: number): void {
    this.#sql.exec(
      "INSERT INTO limited_session (key_id, hash, payment_id, at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?)",
      input.key_id,
      input.hash,
      input.payment_id,
      now_ms,
      expires_at_ms,
    );
  }

  /** A row of its own where there is none yet: it keeps out a session that is still to be let in. */
  endLimited(key_id: string, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO limited_session (key_id, at_ms, ended_at_ms) VALUES (?1, ?2, ?2)
       ON CONFLICT (key_id) DO UPDATE SET ended_at_ms = excluded.ended_at_ms WHERE ended_at_ms IS NULL`,
      key_id,
      now_ms,
    );
  }
}
