/**
 * One envelope's rows, and the copy of its newest state in memory. Decides nothing. The copy is safe because every write
 * and every decision happens in one synchronous turn: if a commit fails, the platform resets the object and the copy goes
 * with it.
 */
import type {
  AdmitInput,
  BornSession,
  Credential,
  Entry,
  EntryKind,
  HoldEnd,
  HoldInput,
  LedgerSums,
  LimitedSessionView,
  MirrorEntry,
  MirrorOpening,
  PaymentFacts,
  PaymentReport,
  Reversal,
} from "../contract.js";
import { hasSchema, migrate } from "../migrate.js";
import { type Micros, ZERO } from "../money.js";
import type { StoredCredential } from "./credentials.js";
import type { Stretch } from "./folding.js";
import { type Hold, isExpired } from "./holds.js";
import type { Account, Draft, FoldedCharge, Prior, Refundable } from "./ledger.js";
import type { PaymentLogin, StoredLimited } from "./logins.js";
import { NO_FILE, type PaymentFile } from "./payments.js";
import { ENTRIES_KEPT, ENVELOPE_MIGRATIONS } from "./schema.js";

/** The sum that a kind of entry counts towards, and its sign there: said apart from the aggregate's own list, so that the proof compares two. */
const SUM_OF = {
  topup: ["credited_micros", 1],
  grant: ["granted_micros", 1],
  charge: ["spent_micros", -1],
  refund: ["refunded_micros", 1],
  clawback: ["reversed_micros", -1],
  reinstatement: ["reversed_micros", -1],
} as const satisfies Record<EntryKind, readonly [keyof LedgerSums, 1 | -1]>;

interface Head {
  seq: number;
  at_ms: number;
  balance_micros: Micros;
  currency: string | null;
  /** By the owner. */
  frozen: boolean;
  open_disputes: number;
  /** One of the open disputes freezes the envelope. */
  disputed: boolean;
  mirrored_seq: number;
  /** Up to here, charges are in the checkpoint. */
  folded_seq: number;
}

const EMPTY: Head = {
  seq: 0,
  at_ms: 0,
  balance_micros: ZERO,
  currency: null,
  frozen: false,
  open_disputes: 0,
  disputed: false,
  mirrored_seq: 0,
  folded_seq: 0,
};

/** What a page's charges come to. */
export interface FoldedSums {
  readonly charges: number;
  readonly amount_micros: number;
}

export class Store {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  #head: Head = EMPTY;
  #holds = new Map<number, Hold>();
  #credentials: StoredCredential[] = [];
  /** Unknown until a retry asks. */
  #operations: Map<string, Prior> | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    if (hasSchema(storage)) migrate(storage, ENVELOPE_MIGRATIONS, Date.now());
    this.#load();
  }

  /** Several writes as one: all of them, or none and the exception. */
  transaction<T>(work: () => T): T {
    try {
      return this.#storage.transactionSync(work);
    } catch (error) {
      this.#load();
      throw error;
    }
  }

  /** Creates the tables, on the first write an envelope ever sees. Until there is an entry, the currency is whatever the last write was in. */
  create(envelopeId: string, currency: string, now_ms: number): void {
    if (this.exists && (this.#head.seq > 0 || this.#head.currency === currency)) return;
    migrate(this.#storage, ENVELOPE_MIGRATIONS, now_ms);
    this.#sql.exec(
      `INSERT INTO envelope (id, envelope_id, currency, created_at_ms) VALUES (1, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET currency = excluded.currency`,
      envelopeId,
      currency,
      now_ms,
    );
    this.#head = { ...this.#head, currency };
  }

  /** As it was when the first thing was filed. */
  envelopeId(): string | undefined {
    if (!this.exists) return undefined;
    const [row] = this.#sql.exec("SELECT envelope_id FROM envelope WHERE id = 1").toArray();
    return row?.["envelope_id"] as string | undefined;
  }

  get exists(): boolean {
    return this.#head.currency !== null;
  }

  get head(): Readonly<Head> {
    return this.#head;
  }

  get credentials(): readonly StoredCredential[] {
    return this.#credentials;
  }

  account(now_ms: number): Account {
    const { balance_micros, frozen, disputed, currency, seq } = this.#head;
    const held_micros = this.#held(now_ms);
    const funded = seq > 0;
    return { balance_micros, held_micros, frozen: frozen || disputed, funded, currency: funded ? currency : null };
  }

  openHolds(now_ms: number): readonly Hold[] {
    return [...this.#holds.values()].filter((hold) => !isExpired(hold, now_ms));
  }

  append(draft: Draft, now_ms: number): { readonly seq: number; readonly amount_micros: Micros } {
    const seq = this.#head.seq + 1;
    // Never earlier than the entry before, so that a clock set back reorders nothing.
    const at_ms = Math.max(now_ms, this.#head.at_ms);
    const balance_micros = (this.#head.balance_micros + draft.amount_micros) as Micros;
    this.#sql.exec(
      `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, key, scope, op, ref_seq, hold_id, payment_id, reason, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      seq,
      at_ms,
      draft.kind,
      draft.amount_micros,
      balance_micros,
      draft.key ?? null,
      draft.scope ?? null,
      draft.op ?? null,
      draft.ref_seq ?? null,
      draft.hold_id ?? null,
      draft.payment_id ?? null,
      draft.reason ?? null,
      draft.metadata ?? null,
    );
    this.#head = { ...this.#head, seq, at_ms, balance_micros };
    if (draft.op !== undefined)
      this.#remember(draft.op, {
        seq,
        at_ms,
        kind: draft.kind,
        amount_micros: draft.amount_micros,
        scope: draft.scope ?? null,
      });
    return { seq, amount_micros: draft.amount_micros };
  }

  priorByKey(key: string | undefined): Prior | undefined {
    if (key === undefined || !this.exists) return undefined;
    const [row] = this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, scope, ref_seq,
           EXISTS (SELECT 1 FROM entry AS back WHERE back.ref_seq = entry.seq) AS refunded
         FROM entry WHERE key = ?`,
        key,
      )
      .toArray();
    return row && ({ ...row, refunded: row["refunded"] === 1 } as unknown as Prior);
  }

  /**
   * What an earlier attempt of this operation wrote. Without an index: the newest operations are read into memory on the
   * first retry, and kept up to date from then on. Retries follow within seconds.
   */
  priorByOperation(op: string): Prior | undefined {
    if (!this.exists) return undefined;
    this.#operations ??= new Map(
      (
        this.#sql
          .exec(
            "SELECT op, seq, at_ms, kind, amount_micros, scope FROM entry WHERE seq > ? AND op IS NOT NULL",
            this.#head.seq - ENTRIES_KEPT,
          )
          .toArray() as unknown as (Prior & { readonly op: string })[]
      ).map((row) => [row.op, row]),
    );
    return this.#operations.get(op);
  }

  keyIsHeld(key: string | undefined, now_ms: number): boolean {
    return key !== undefined && this.openHolds(now_ms).some((hold) => hold.key === key);
  }

  refundable(charge: { readonly seq: number } | { readonly key: string }): Refundable | FoldedCharge | undefined {
    if (!this.exists) return undefined;
    const [column, value] = "seq" in charge ? ["seq", charge.seq] : ["key", charge.key];
    const [row] = this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros,
           (SELECT coalesce(sum(amount_micros), 0) FROM entry AS back WHERE back.ref_seq = entry.seq) AS refunded_micros
         FROM entry WHERE ${column} = ?`,
        value,
      )
      .toArray();
    if (row === undefined && "seq" in charge && this.#isFolded(charge.seq)) return { folded: charge.seq };
    return row as unknown as Refundable | undefined;
  }

  /** Of a number that has no row. */
  #isFolded(seq: number): boolean {
    return Number.isSafeInteger(seq) && seq >= 1 && seq <= this.#head.folded_seq;
  }

  amountOf(seq: number): Micros {
    const [row] = this.#sql.exec("SELECT amount_micros FROM entry WHERE seq = ?", seq).toArray();
    return (row?.["amount_micros"] as Micros | undefined) ?? ZERO;
  }

  entries(after: number, limit: number): readonly Entry[] {
    if (!this.exists) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, key, ref_seq, hold_id, payment_id, reason, metadata
         FROM entry WHERE seq > ? ORDER BY seq LIMIT ?`,
        after,
        limit,
      )
      .toArray() as unknown as Entry[];
  }

  atOf(seq: number): number {
    const [row] = this.#sql.exec("SELECT at_ms FROM entry WHERE seq = ?", seq).toArray();
    return (row?.["at_ms"] as number | undefined) ?? 0;
  }

  page({ first_seq, last_seq }: Stretch): { readonly entries: readonly Entry[]; readonly sums: FoldedSums } {
    const sums = this.#sql
      .exec(
        "SELECT count(*) AS charges, coalesce(sum(amount_micros), 0) AS amount_micros FROM foldable WHERE seq BETWEEN ? AND ?",
        first_seq,
        last_seq,
      )
      .one() as unknown as FoldedSums;
    return { entries: this.entries(first_seq - 1, last_seq - first_seq + 1), sums };
  }

  /** What was archived becomes part of the checkpoint, and its rows go. The schema refuses it where the sums are others by now. */
  fold({ first_seq, last_seq }: Stretch, { charges, amount_micros }: FoldedSums): void {
    this.transaction(() => {
      // Holds that were settled before what they paid was noted with them.
      this.#sql.exec(
        `UPDATE hold SET paid_micros = (SELECT 0 - amount_micros FROM entry WHERE seq = settled_seq)
         WHERE paid_micros IS NULL AND hold_id IN (SELECT hold_id FROM foldable WHERE seq BETWEEN ? AND ?)`,
        first_seq,
        last_seq,
      );
      this.#sql.exec(
        `UPDATE envelope SET folded_seq = ?1, folded_at_ms = (SELECT at_ms FROM entry WHERE seq = ?1),
           folded_charges = folded_charges + ?2, folded_micros = folded_micros + ?3 WHERE id = 1`,
        last_seq,
        charges,
        amount_micros,
      );
      this.#sql.exec(
        "DELETE FROM entry WHERE seq IN (SELECT seq FROM foldable WHERE seq BETWEEN ? AND ?)",
        first_seq,
        last_seq,
      );
    });
    this.#head = { ...this.#head, folded_seq: last_seq };
  }

  /** What the mirror has to send first, where the next entries are folded. */
  opening(): MirrorOpening | undefined {
    const { mirrored_seq, folded_seq } = this.#head;
    if (mirrored_seq >= folded_seq) return undefined;
    const { head_seq: _, folded_seq: __, ...sums } = this.sums(folded_seq);
    // Only charges are ever folded, so all others can still be counted.
    const { others, first_at_ms, at_ms } = this.#sql
      .exec<{ others: number; first_at_ms: number; at_ms: number }>(
        `SELECT (SELECT count(*) FROM entry WHERE kind <> 'charge' AND seq > ? AND seq <= ?) AS others,
           (SELECT at_ms FROM entry ORDER BY seq LIMIT 1) AS first_at_ms, folded_at_ms AS at_ms FROM envelope`,
        mirrored_seq,
        folded_seq,
      )
      .one();
    return { ...sums, after_seq: mirrored_seq, charges: folded_seq - mirrored_seq - others, first_at_ms, at_ms };
  }

  /** The next entries that the mirror has to send. A refund carries the reason of its charge, which the aggregate would have to search for. */
  unmirrored(limit: number): readonly MirrorEntry[] {
    if (this.#head.mirrored_seq >= this.#head.seq) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, reason, payment_id, ref_seq, hold_id,
           (SELECT reason FROM entry AS charge WHERE charge.seq = entry.ref_seq) AS charge_reason
         FROM entry WHERE seq > ? ORDER BY seq LIMIT ?`,
        Math.max(this.#head.mirrored_seq, this.#head.folded_seq),
        limit,
      )
      .toArray() as unknown as MirrorEntry[];
  }

  /**
   * Read from the checkpoint and every row up to an entry, so that it owes nothing to what is in memory. What was before the end of
   * the checkpoint cannot be told any more: then it is of the checkpoint's end.
   */
  sums(up_to: number): LedgerSums {
    const sums = { credited_micros: 0, granted_micros: 0, spent_micros: 0, refunded_micros: 0, reversed_micros: 0 };
    let seq = 0;
    let balance_micros = 0;
    const [checkpoint] = this.exists ? this.#sql.exec("SELECT folded_seq FROM envelope").toArray() : [];
    const folded_seq = (checkpoint?.["folded_seq"] as number | undefined) ?? 0;
    const rows = this.exists
      ? this.#sql.exec(
          `SELECT kind, sum(amount_micros) AS amount, count(*) AS entries FROM entry WHERE seq <= ? GROUP BY kind
           UNION ALL SELECT 'charge', folded_micros, folded_charges FROM envelope`,
          Math.max(up_to, folded_seq),
        )
      : [];
    for (const row of rows) {
      const amount = row["amount"] as number;
      const [sum, sign] = SUM_OF[row["kind"] as EntryKind];
      sums[sum] += sign * amount;
      balance_micros += amount;
      seq += row["entries"] as number;
    }
    return { ...sums, seq, balance_micros, head_seq: this.#head.seq, folded_seq } as LedgerSums;
  }

  newest(before: number | null, limit: number): readonly Entry[] {
    if (!this.exists) return [];
    return this.#sql
      .exec(
        `SELECT seq, at_ms, kind, amount_micros, balance_micros, key, ref_seq, hold_id, payment_id, reason, metadata
         FROM entry WHERE seq < ? ORDER BY seq DESC LIMIT ?`,
        before ?? Number.MAX_SAFE_INTEGER,
        limit,
      )
      .toArray() as unknown as Entry[];
  }

  hold(hold_id: number): Hold | undefined {
    const open = this.#holds.get(hold_id);
    if (open !== undefined || !this.exists) return open;
    const [row] = this.#sql.exec("SELECT * FROM hold WHERE hold_id = ?", hold_id).toArray();
    return row as unknown as Hold | undefined;
  }

  holdByOperation(op: string): Hold | undefined {
    return [...this.#holds.values()].find((hold) => hold.op === op);
  }

  /** Also marks the holds whose time is over: they reserve nothing already, this only tidies. */
  openHold(input: HoldInput, now_ms: number): Hold {
    for (const hold of this.#holds.values()) if (isExpired(hold, now_ms)) this.endHold(hold, "expired", undefined);
    const [row] = this.#sql
      .exec(
        `INSERT INTO hold (at_ms, expires_at_ms, amount_micros, state, op, key, scope, reason)
         VALUES (?, ?, ?, 'open', ?, ?, ?, ?) RETURNING *`,
        now_ms,
        now_ms + input.ttl_ms,
        input.amount_micros,
        input.op,
        input.key ?? null,
        input.scope ?? null,
        input.reason ?? null,
      )
      .toArray();
    const hold = row as unknown as Hold;
    this.#holds.set(hold.hold_id, hold);
    return hold;
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
    this.#holds.delete(hold.hold_id);
  }

  paymentFile(payment_id: string): PaymentFile {
    if (!this.exists) return NO_FILE;
    const [row] = this.#sql.exec("SELECT * FROM payment WHERE payment_id = ?", payment_id).toArray();
    const [disowned] = this.#sql.exec("SELECT assignment FROM disowned WHERE payment_id = ?", payment_id).toArray();
    const reversals = this.#sql
      .exec(
        `SELECT reversal_id, kind, rank, amount, currency, whole, open, freezes, told_at, status_rank
         FROM reversal WHERE payment_id = ? ORDER BY reversal_id`,
        payment_id,
      )
      .toArray()
      .map((one) => ({ ...one, whole: one["whole"] === 1, open: one["open"] === 1, freezes: one["freezes"] === 1 }));
    return {
      payment: row && ({ ...row, livemode: row["livemode"] === 1 } as unknown as PaymentFacts),
      reversals: reversals as unknown as Reversal[],
      reversed_micros: (row?.["reversed_micros"] as Micros | undefined) ?? ZERO,
      disowned: (disowned?.["assignment"] as number | undefined) ?? null,
    };
  }

  disown(payment_id: string, assignment: number, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO disowned (payment_id, assignment, at_ms) VALUES (?, ?, ?)
       ON CONFLICT (payment_id) DO UPDATE SET assignment = max(assignment, excluded.assignment)`,
      payment_id,
      assignment,
      now_ms,
    );
  }

  /** Files what a report changed. `credited_seq` is the entry of the payment's credit, when this report brought it. */
  filePayment(
    payment_id: string,
    file: Pick<PaymentReport, "payment" | "reversal"> & { readonly reversed_micros: Micros },
    credited_seq: number | null,
    now_ms: number,
  ): void {
    if (file.payment !== undefined) this.#sql.exec("DELETE FROM disowned WHERE payment_id = ?", payment_id);
    if (file.payment !== undefined) this.#filePaymentFacts(payment_id, file.payment, credited_seq, now_ms);
    this.#sql.exec(
      "UPDATE payment SET reversed_micros = ?2 WHERE payment_id = ?1 AND reversed_micros <> ?2",
      payment_id,
      file.reversed_micros,
    );
    if (file.reversal !== undefined) this.#fileReversal(payment_id, file.reversal);
    this.#loadDisputes();
  }

  #filePaymentFacts(payment_id: string, facts: PaymentFacts, credited_seq: number | null, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO payment (payment_id, state, credit_micros, credited_seq, session_id, event_id, livemode, currency,
         amount_total, amount_subtotal, amount_discount, amount_shipping, amount_tax, paid_currency, at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (payment_id) DO UPDATE SET state = excluded.state, credit_micros = excluded.credit_micros,
         credited_seq = excluded.credited_seq, session_id = excluded.session_id, event_id = excluded.event_id,
         at_ms = excluded.at_ms, amount_total = excluded.amount_total, amount_subtotal = excluded.amount_subtotal,
         amount_discount = excluded.amount_discount, amount_shipping = excluded.amount_shipping,
         amount_tax = excluded.amount_tax, paid_currency = excluded.paid_currency`,
      payment_id,
      facts.state,
      facts.credit_micros,
      credited_seq,
      facts.session_id,
      facts.event_id,
      facts.livemode ? 1 : 0,
      facts.currency,
      facts.amount_total,
      facts.amount_subtotal,
      facts.amount_discount,
      facts.amount_shipping,
      facts.amount_tax,
      facts.paid_currency ?? null,
      now_ms,
    );
  }

  #fileReversal(payment_id: string, reversal: Reversal): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO reversal (reversal_id, payment_id, kind, rank, amount, currency, whole, open, freezes, told_at, status_rank)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      reversal.reversal_id,
      payment_id,
      reversal.kind,
      reversal.rank,
      reversal.amount,
      reversal.currency ?? null,
      reversal.whole ? 1 : 0,
      reversal.open ? 1 : 0,
      reversal.freezes ? 1 : 0,
      reversal.told_at,
      reversal.status_rank,
    );
  }

  /** Files a credential: in use from the beginning, or issued and still to be used. Takes the place of one that never was. */
  fileCredential(credential: Credential, used_at_ms: number | null, now_ms: number): void {
    this.#sql.exec(
      `INSERT INTO credential (generation, hash, at_ms, used_at_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT (generation) DO UPDATE SET hash = excluded.hash, at_ms = excluded.at_ms WHERE used_at_ms IS NULL`,
      credential.generation,
      credential.hash,
      now_ms,
      used_at_ms,
    );
    this.#loadCredentials();
  }

  /** From now on this credential counts, and no other. */
  replaceCredentials(credential: Credential, now_ms: number): void {
    this.#sql.exec("DELETE FROM credential");
    this.fileCredential(credential, now_ms, now_ms);
  }

  /** A successor is used for the first time: those before it expire after `grace_ms`. */
  useSuccessor(generation: number, grace_ms: number, now_ms: number): void {
    this.#sql.exec("UPDATE credential SET used_at_ms = ? WHERE generation = ?", now_ms, generation);
    this.#sql.exec(
      "UPDATE credential SET expires_at_ms = ? WHERE generation < ? AND expires_at_ms IS NULL",
      now_ms + grace_ms,
      generation,
    );
    this.#sql.exec("DELETE FROM credential WHERE expires_at_ms <= ?", now_ms);
    this.#loadCredentials();
  }

  setFrozen(frozen: boolean, now_ms: number): void {
    this.#sql.exec("UPDATE envelope SET frozen_at_ms = ? WHERE id = 1", frozen ? now_ms : null);
    this.#head = { ...this.#head, frozen };
  }

  setMirrored(seq: number): void {
    this.#sql.exec("UPDATE envelope SET mirrored_seq = ? WHERE id = 1", seq);
    this.#head = { ...this.#head, mirrored_seq: seq };
  }

  paymentLogin(payment_id: string): PaymentLogin | undefined {
    if (!this.exists) return undefined;
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
    if (!this.exists) return false;
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
    if (!this.exists) return undefined;
    const [row] = this.#sql
      .exec("SELECT hash, expires_at_ms, ended_at_ms FROM limited_session WHERE key_id = ?", key_id)
      .toArray();
    return row as unknown as StoredLimited | undefined;
  }

  limitedSessions(now_ms: number): readonly LimitedSessionView[] {
    if (!this.exists) return [];
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

  /** Closes what payments opened, and forgets the cards that could open it again. */
  closeLogins(now_ms: number): void {
    this.#sql.exec("UPDATE limited_session SET ended_at_ms = ? WHERE ended_at_ms IS NULL", now_ms);
    this.#sql.exec("UPDATE payment_login SET kept = 0 WHERE kept = 1");
  }

  #held(now_ms: number): Micros {
    let held = 0;
    for (const hold of this.#holds.values()) if (!isExpired(hold, now_ms)) held += hold.amount_micros;
    return held as Micros;
  }

  #remember(op: string, prior: Prior): void {
    if (this.#operations === undefined) return;
    this.#operations.set(op, prior);
    const [oldest] = this.#operations.keys();
    if (this.#operations.size > ENTRIES_KEPT && oldest !== undefined) this.#operations.delete(oldest);
  }

  #load(): void {
    this.#head = EMPTY;
    this.#holds = new Map();
    this.#credentials = [];
    this.#operations = undefined;
    if (!hasSchema(this.#storage)) return;
    const [meta] = this.#sql
      .exec("SELECT currency, frozen_at_ms, mirrored_seq, folded_seq FROM envelope WHERE id = 1")
      .toArray();
    if (meta === undefined) return;
    const [last] = this.#sql.exec("SELECT seq, at_ms, balance_micros FROM entry ORDER BY seq DESC LIMIT 1").toArray();
    this.#head = {
      seq: (last?.["seq"] as number | undefined) ?? 0,
      at_ms: (last?.["at_ms"] as number | undefined) ?? 0,
      balance_micros: (last?.["balance_micros"] as Micros | undefined) ?? ZERO,
      currency: meta["currency"] as string,
      frozen: meta["frozen_at_ms"] !== null,
      open_disputes: 0,
      disputed: false,
      mirrored_seq: meta["mirrored_seq"] as number,
      folded_seq: meta["folded_seq"] as number,
    };
    const open = this.#sql.exec("SELECT * FROM hold WHERE state = 'open'").toArray() as unknown as Hold[];
    this.#holds = new Map(open.map((hold) => [hold.hold_id, hold]));
    this.#loadCredentials();
    this.#loadDisputes();
  }

  /** Only of payments that are credited here: a dispute of one that is not may be noted, to be handed over with it. */
  #loadDisputes(): void {
    const [row] = this.#sql
      .exec(
        `SELECT count(*) AS open_disputes, coalesce(max(freezes), 0) AS disputed FROM reversal
         WHERE open = 1 AND payment_id IN (SELECT payment_id FROM payment WHERE state = 'paid')`,
      )
      .toArray();
    const open_disputes = (row?.["open_disputes"] as number | undefined) ?? 0;
    this.#head = { ...this.#head, open_disputes, disputed: row?.["disputed"] === 1 };
  }

  #loadCredentials(): void {
    this.#credentials = this.#sql
      .exec("SELECT generation, hash, used_at_ms, expires_at_ms FROM credential ORDER BY generation")
      .toArray() as unknown as StoredCredential[];
  }
}
