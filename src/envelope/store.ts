/**
 * One envelope's rows, and the copy of its newest state in memory. Decides nothing. The copy is safe because every write
 * and every decision happens in one synchronous turn: if a commit fails, the platform resets the object and the copy goes
 * with it.
 */
import type { Credential, EnvelopeSettings, HoldInput, WindowView } from "../contract.js";
import { hasSchema } from "../migrate.js";
import { type Micros, ZERO } from "../money.js";
import type { WatchedWindow } from "./alerts.js";
import { ENTRIES_KEPT, ENVELOPE_VERSION } from "./constants.js";
import type { StoredCredential } from "./credentials.js";
import type { Hold } from "./holds.js";
import { type Account, type Draft, isExpired, type Prior, reserved } from "./ledger.js";

/**
 * What a plain envelope has not: a desk, and the table that has a row where that desk's rules are needed in the turn of a charge, or of
 * a payment. Such a desk is opened on waking, before anything else; the first row is written by the desk itself.
 */
const OPENED_BY = {
  logins: "limited_session UNION ALL SELECT 1 FROM payment_login",
  lots: "lot",
  topups: "auto_topup UNION ALL SELECT 1 FROM topup",
  alerts: "alert",
  spenders: "spender",
  windows: "spending_window WHERE ended_at_ms IS NULL UNION ALL SELECT 1 FROM envelope WHERE prepaid = 0",
  meters: "hold WHERE state = 'open' AND used_micros IS NOT NULL",
} as const;

export interface Head {
  seq: number;
  at_ms: number;
  balance_micros: Micros;
  currency: string | null;
  /** By the owner. */
  frozen: boolean;
  open_disputes: number;
  /** One of the open disputes freezes the envelope, and the owner has not lifted that. */
  disputed: boolean;
  mirrored_seq: number;
  /** Up to here, charges are in the checkpoint. */
  folded_seq: number;
  /** What the newest entry says of lots; `null` where nothing is left of any grant. */
  lots: string | null;
  /** Up to here, entries are in the sums of their spenders; `null` where only the holder ever could spend. */
  counted_seq: number | null;
}

/** What was written of an entry. */
export interface Written {
  readonly seq: number;
  readonly amount_micros: Micros;
}

/** Who keeps grants apart (lots-desk.ts): asked where something is left of one. */
export interface LotKeeper {
  account(plain: Account, now_ms: number, tag: string | undefined): Account;
  append(draft: Draft, now_ms: number): Written;
  /** Which lots a hold reserves how much of, as JSON. */
  reserve(input: Reserving, now_ms: number): string | null;
  /** The same, of a hold that is to reserve so much more. */
  reserveMore(hold: Hold, more: Micros, now_ms: number): string | null;
}

/** What an owner settled, but the windows. */
export type Named = Omit<EnvelopeSettings, "windows">;

export const UNNAMED: Named = { prepaid: true, name: null, owner_account_id: null, time_zone: "UTC" };

/** Who keeps the windows (windows-desk.ts): asked in the turn of a charge, where there are any or the envelope is a budget. */
export interface WindowKeeper {
  account(plain: Account, at_ms: number): Account;
  /** What is to travel with an entry that is about to be written. */
  count(draft: Draft, seq: number, at_ms: number): string | null;
  /** It was written. */
  counted(): void;
  views(held_micros: Micros, at_ms: number): readonly WindowView[];
  /** The same, as far as somebody is told when much of one is spent. */
  watched(at_ms: number): readonly WatchedWindow[];
  /** The rows are others than they were. */
  reload(): void;
  /** Entries younger than this are still counted one by one. */
  readonly span_ms: number;
}
/** What a hold wants reserved, and for what. */
export type Reserving = Pick<HoldInput, "amount_micros" | "tag" | "reason">;

const EMPTY: Readonly<Head> = {
  seq: 0,
  at_ms: 0,
  balance_micros: ZERO,
  currency: null,
  frozen: false,
  open_disputes: 0,
  disputed: false,
  mirrored_seq: 0,
  folded_seq: 0,
  lots: null,
  counted_seq: null,
};

/** An entry that was just written, as far as others keep sums of it. */
export interface Appended extends Pick<Draft, "kind" | "amount_micros" | "spender_id" | "ref_at_ms"> {
  readonly seq: number;
  readonly at_ms: number;
}

const PLAIN_ENTRY =
  "INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, op, reason) VALUES (?, ?, ?, ?, ?, ?, ?)";
const ENTRY = `INSERT INTO entry (seq, at_ms, kind, amount_micros, balance_micros, op, reason,
    key, scope, ref_seq, hold_id, payment_id, spender_id, metadata, lots, windows)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

export class Store {
  readonly storage: DurableObjectStorage;
  readonly sql: SqlStorage;
  /** Absent until the first grant, or until a lot is found on waking. */
  keeper: LotKeeper | undefined;
  /** Absent where nothing but the balance limits spending. */
  windows: WindowKeeper | undefined;
  named: Named = UNNAMED;
  /** Changed in place: whoever needs what it was, takes it out first. */
  #head: Head = { ...EMPTY };
  /** Those that are open, by their number. */
  holds: Map<number, Hold> = new Map();
  #credentials: StoredCredential[] = [];
  /** Unknown until a retry asks. */
  #operations: Map<string, Prior> | undefined;
  /** Told of each entry, in its turn. */
  onAppend: ((entry: Appended) => void) | undefined;
  /** How often all was read anew: what else is kept in memory may be of what was rolled back. */
  loads = 0;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
    if (!this.isOutdated) this.load();
  }

  /** An earlier version of the package wrote it: nothing of it is read until it is brought up to date. */
  get isOutdated(): boolean {
    if (!hasSchema(this.storage)) return false;
    return (
      this.sql.exec<{ version: number }>("SELECT max(version) AS version FROM migration").one().version <
      ENVELOPE_VERSION
    );
  }

  /** The desks whose rules a charge needs here. */
  get desks(): readonly (keyof typeof OPENED_BY)[] {
    if (!this.exists) return [];
    const names = Object.keys(OPENED_BY) as (keyof typeof OPENED_BY)[];
    const columns = names.map((name) => `EXISTS (SELECT 1 FROM ${OPENED_BY[name]}) AS ${name}`);
    const row = this.sql.exec(`SELECT ${columns.join()}`).one();
    return names.filter((name) => row[name] === 1);
  }

  /** Several writes as one: all of them, or none and the exception. */
  transaction<T>(work: () => T): T {
    try {
      return this.storage.transactionSync(work);
    } catch (error) {
      this.load();
      throw error;
    }
  }

  /** As it was when the first thing was filed. */
  envelopeId(): string | undefined {
    if (!this.exists) return undefined;
    const [row] = this.sql.exec("SELECT envelope_id FROM envelope WHERE id = 1").toArray();
    return row?.["envelope_id"] as string | undefined;
  }

  get exists(): boolean {
    return this.#head.currency !== null;
  }

  get head(): Readonly<Head> {
    return this.#head;
  }

  /** Notes what was just written, where that was not done here. */
  know(news: Partial<Head>): void {
    Object.assign(this.#head, news);
  }

  get credentials(): readonly StoredCredential[] {
    return this.#credentials;
  }

  /** The account as it stands for what is to be spent on `tag`. */
  account(now_ms: number, tag?: string): Account {
    const { balance_micros, frozen, disputed, currency, seq } = this.#head;
    const held_micros = this.#held(now_ms);
    const funded = seq > 0;
    const plain = {
      balance_micros,
      held_micros,
      frozen: frozen || disputed,
      funded,
      currency: funded ? currency : null,
    };
    const limited = this.windows === undefined ? plain : this.windows.account(plain, this.timeOf(now_ms));
    return this.#head.lots === null ? limited : this.#lots.account(limited, now_ms, tag);
  }

  get #lots(): LotKeeper {
    if (this.keeper === undefined) throw new Error("Something is left of grants, and nobody keeps them apart");
    return this.keeper;
  }

  /** Never earlier than the newest entry, so that a clock set back reorders nothing. */
  timeOf(now_ms: number): number {
    return Math.max(now_ms, this.#head.at_ms);
  }

  openHolds(now_ms: number): readonly Hold[] {
    return [...this.holds.values()].filter((hold) => !isExpired(hold, now_ms));
  }

  append(draft: Draft, now_ms: number): Written {
    const plain = this.keeper === undefined && this.#head.lots === null;
    return plain ? this.write(draft, now_ms, null) : this.#lots.append(draft, now_ms);
  }

  /** Which lots a hold is to reserve. */
  reserve(input: Reserving, now_ms: number): string | null {
    return this.#head.lots === null ? null : this.#lots.reserve(input, now_ms);
  }

  reserveMore(hold: Hold, more: Micros, now_ms: number): string | null {
    return this.#head.lots === null || more === 0 ? hold.lots : this.#lots.reserveMore(hold, more, now_ms);
  }

  /** `lots`: what the entry moves in them, and leaves. */
  write(draft: Draft, now_ms: number, lots: string | null): Written {
    const seq = this.#head.seq + 1;
    const at_ms = this.timeOf(now_ms);
    const balance_micros = (this.#head.balance_micros + draft.amount_micros) as Micros;
    const windows = this.windows === undefined ? null : this.windows.count(draft, seq, at_ms);
    this.#insert(seq, at_ms, draft, balance_micros, lots, windows);
    this.windows?.counted();
    this.know({ seq, at_ms, balance_micros, lots });
    if (draft.op !== undefined)
      this.#remember(draft.op, {
        seq,
        at_ms,
        kind: draft.kind,
        amount_micros: draft.amount_micros,
        scope: draft.scope ?? null,
      });
    if (this.onAppend !== undefined) this.onAppend({ ...draft, seq, at_ms });
    return { seq, amount_micros: draft.amount_micros };
  }

  #insert(
    seq: number,
    at_ms: number,
    draft: Draft,
    balance_micros: Micros,
    lots: string | null,
    windows: string | null,
  ): void {
    const { kind, amount_micros, key, scope, op, ref_seq, hold_id, payment_id, spender_id, reason, metadata } = draft;
    const rest = [
      key,
      scope,
      ref_seq,
      hold_id,
      payment_id,
      spender_id,
      metadata,
      lots ?? undefined,
      windows ?? undefined,
    ];
    const named = [seq, at_ms, kind, amount_micros, balance_micros, op ?? null, reason ?? null];
    // Nearly all there are: the fewer columns are named, the less there is to do.
    if (rest.every((value) => value === undefined)) this.sql.exec(PLAIN_ENTRY, ...named);
    else this.sql.exec(ENTRY, ...named, ...rest.map((value) => value ?? null));
  }

  priorByKey(key: string | undefined): Prior | undefined {
    if (key === undefined || !this.exists) return undefined;
    const [row] = this.sql
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
        this.sql
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

  /** Files a credential: in use from the beginning, or issued and still to be used. Takes the place of one that never was. */
  fileCredential(credential: Credential, used_at_ms: number | null, now_ms: number): void {
    this.sql.exec(
      `INSERT INTO credential (generation, hash, at_ms, used_at_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT (generation) DO UPDATE SET hash = excluded.hash, at_ms = excluded.at_ms WHERE used_at_ms IS NULL`,
      credential.generation,
      credential.hash,
      now_ms,
      used_at_ms,
    );
    this.loadCredentials();
  }

  /** A successor is used for the first time: those before it expire after `grace_ms`. */
  useSuccessor(generation: number, grace_ms: number, now_ms: number): void {
    this.sql.exec("UPDATE credential SET used_at_ms = ? WHERE generation = ?", now_ms, generation);
    this.sql.exec(
      "UPDATE credential SET expires_at_ms = ? WHERE generation < ? AND expires_at_ms IS NULL",
      now_ms + grace_ms,
      generation,
    );
    this.sql.exec("DELETE FROM credential WHERE expires_at_ms <= ?", now_ms);
    this.loadCredentials();
  }

  setMirrored(seq: number): void {
    this.sql.exec("UPDATE envelope SET mirrored_seq = ? WHERE id = 1", seq);
    this.#head.mirrored_seq = seq;
  }

  /** Closes what payments opened, and forgets the cards that could open it again. */
  closeLogins(now_ms: number): void {
    this.sql.exec("UPDATE limited_session SET ended_at_ms = ? WHERE ended_at_ms IS NULL", now_ms);
    this.sql.exec("UPDATE payment_login SET kept = 0 WHERE kept = 1");
  }

  #held(now_ms: number): Micros {
    let held = 0;
    for (const hold of this.holds.values()) held += reserved(hold, now_ms);
    return held as Micros;
  }

  #remember(op: string, prior: Prior): void {
    if (this.#operations === undefined) return;
    this.#operations.set(op, prior);
    const [oldest] = this.#operations.keys();
    if (this.#operations.size > ENTRIES_KEPT && oldest !== undefined) this.#operations.delete(oldest);
  }

  load(): void {
    this.loads += 1;
    this.#head = { ...EMPTY };
    this.named = UNNAMED;
    this.holds = new Map();
    this.#credentials = [];
    this.#operations = undefined;
    this.windows?.reload();
    if (!hasSchema(this.storage)) return;
    const [meta] = this.sql
      .exec(
        "SELECT currency, frozen_at_ms, mirrored_seq, folded_seq, counted_seq, prepaid, name, owner_account_id, time_zone FROM envelope WHERE id = 1",
      )
      .toArray();
    if (meta === undefined) return;
    const [last] = this.sql
      .exec("SELECT seq, at_ms, balance_micros, lots FROM entry ORDER BY seq DESC LIMIT 1")
      .toArray();
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
      lots: (last?.["lots"] as string | null | undefined) ?? null,
      counted_seq: meta["counted_seq"] as number | null,
    };
    this.named = {
      prepaid: meta["prepaid"] === 1,
      name: meta["name"] as string | null,
      owner_account_id: meta["owner_account_id"] as string | null,
      time_zone: meta["time_zone"] as string,
    };
    const open = this.sql.exec("SELECT * FROM hold WHERE state = 'open'").toArray() as unknown as Hold[];
    this.holds = new Map(open.map((hold) => [hold.hold_id, hold]));
    this.loadCredentials();
    this.loadDisputes();
  }

  /** Only of payments that are credited here: a dispute of one that is not may be noted, to be handed over with it. */
  loadDisputes(): void {
    const [row] = this.sql
      .exec(
        `SELECT count(*) AS open_disputes, coalesce(max(freezes AND NOT lifted), 0) AS disputed FROM reversal
         WHERE open = 1 AND payment_id IN (SELECT payment_id FROM payment WHERE state = 'paid')`,
      )
      .toArray();
    const open_disputes = (row?.["open_disputes"] as number | undefined) ?? 0;
    this.know({ open_disputes, disputed: row?.["disputed"] === 1 });
  }

  loadCredentials(): void {
    this.#credentials = this.sql
      .exec("SELECT generation, hash, used_at_ms, expires_at_ms FROM credential ORDER BY generation")
      .toArray() as unknown as StoredCredential[];
  }
}
