/**
 * The rows of who may spend beside the holder, and what each drew. Decides nothing.
 *
 * What a spender drew is told by its entries. Its row has the sum up to a checkpoint, which is written every so many entries of the
 * ledger and not with each charge; what came after it is read from the entries once after waking, and kept in memory from then on.
 * So a charge by a key writes its entry and nothing else, and no crash can part the two.
 */
import type { IdentityType, Scope } from "../contract.js";
import type { Micros } from "../money.js";
import type { Hold } from "./holds.js";
import { reserved } from "./ledger.js";
import {
  type Booking,
  book,
  type Chain,
  type Counters,
  type Drawing,
  type ResolvedSettings,
  type Spender,
} from "./spenders.js";
import type { Appended, Store } from "./store.js";

/** Most entries that are read after waking. As many charges share the rows of one checkpoint. */
export const UNCOUNTED_MAX = 256;
/** Rows that are remembered: as many keys as one envelope is likely to see in a minute. */
const REMEMBERED_MAX = 1_000;

const COLUMNS = `spender_id, public_id, kind, minted, hash, last4, shard, name, scopes, cap_micros, windows, maker_id, at_ms,
  activated_at_ms, expires_at_ms, revoked_at_ms`;

export type NewSpender = Omit<Spender, "spender_id" | "revoked_at_ms">;

export class SpenderBook {
  readonly #store: Store;
  readonly #sql: SqlStorage;
  readonly #spenders = new Map<number, Spender>();
  readonly #numbers = new Map<string, number>();
  /** Counters of those who spent since the checkpoint; unknown until somebody asks. */
  #since: Map<number, Counters> | undefined;
  /** The store's copy that all of this belongs to. */
  #loads = 0;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = store.sql;
    store.onAppend = (entry) => this.#note(entry);
  }

  byId(public_id: string): Spender | undefined {
    this.#follow();
    const known = this.#numbers.get(public_id);
    if (known !== undefined) return this.byNumber(known);
    return this.#read("public_id = ?", public_id)[0];
  }

  byNumber(spender_id: number): Spender | undefined {
    this.#follow();
    return this.#spenders.get(spender_id) ?? this.#read("spender_id = ?", spender_id)[0];
  }

  /** An identity that is noted here and has not been revoked. */
  byHash(hashes: readonly string[]): Spender | undefined {
    const where = "minted = 0 AND revoked_at_ms IS NULL AND hash IN (SELECT value FROM json_each(?))";
    return this.#read(`${where} ORDER BY spender_id DESC LIMIT 1`, JSON.stringify(hashes))[0];
  }

  /** A spender and those it was made by. */
  chain(spender: Spender): Chain {
    const chain: [Spender, ...Spender[]] = [spender];
    for (let next = spender.maker_id; next !== null; ) {
      const maker = this.byNumber(next);
      if (maker === undefined) throw new Error(`Spender ${next} has no row`);
      chain.push(maker);
      next = maker.maker_id;
    }
    return chain;
  }

  drawings(chain: Chain, now_ms: number): readonly Drawing[] {
    const holds = [...this.#store.holds.values()].filter(({ spender_id }) => spender_id !== null);
    return chain.map((spender) => ({
      spender,
      counters: this.#counters(spender.spender_id),
      held_micros: this.#held(spender, holds, now_ms),
    }));
  }

  /** By it, and by the keys it made. */
  #held({ spender_id }: Spender, holds: readonly Hold[], now_ms: number): Micros {
    let held = 0;
    for (const hold of holds) {
      const by = hold.spender_id === null ? undefined : this.byNumber(hold.spender_id);
      if (by !== undefined && this.chain(by).some((one) => one.spender_id === spender_id))
        held += reserved(hold, now_ms);
    }
    return held as Micros;
  }

  /** Newest first: all, or those that one of them made, itself included. */
  list(
    {
      minted,
      before,
      limit,
    }: { readonly minted?: boolean | undefined; readonly before: number | null; readonly limit: number },
    below: Spender | undefined,
  ): readonly Spender[] {
    const conditions = ["spender_id < ?"];
    if (minted !== undefined) conditions.push(`minted = ${minted ? 1 : 0}`);
    if (below !== undefined) conditions.push(`spender_id IN (${BELOW})`);
    const bindings = below === undefined ? [] : [below.spender_id];
    return this.#read(
      `${conditions.join(" AND ")} ORDER BY spender_id DESC LIMIT ?`,
      before ?? Number.MAX_SAFE_INTEGER,
      ...bindings,
      limit,
    );
  }

  /** A key ends with the one that made it. */
  livingKeys(now_ms: number): number {
    const lives = "spender.revoked_at_ms IS NULL AND coalesce(spender.expires_at_ms > ?1, true)";
    return this.#sql
      .exec<{ keys: number }>(
        `WITH RECURSIVE living (id, minted) AS (
           SELECT spender_id, minted FROM spender WHERE maker_id IS NULL AND ${lives}
           UNION ALL SELECT spender.spender_id, spender.minted FROM living JOIN spender ON maker_id = living.id WHERE ${lives})
         SELECT count(*) AS keys FROM living WHERE minted = 1`,
        now_ms,
      )
      .one().keys;
  }

  /** In a transaction. The first one of all begins the count: what the ledger has already was nobody's but the holder's. */
  file(spender: NewSpender): Spender {
    if (this.#store.head.counted_seq === null) this.#setCounted(this.#store.head.seq);
    const { spender_id } = this.#sql
      .exec<{ spender_id: number }>(
        `INSERT INTO spender (public_id, kind, minted, hash, last4, shard, name, scopes, cap_micros, windows, maker_id, at_ms, activated_at_ms, expires_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING spender_id`,
        spender.public_id,
        spender.kind,
        spender.minted ? 1 : 0,
        spender.hash,
        spender.last4,
        spender.shard,
        spender.name,
        spender.scopes.join(" "),
        spender.cap_micros,
        JSON.stringify(spender.windows),
        spender.maker_id,
        spender.at_ms,
        spender.activated_at_ms,
        spender.expires_at_ms,
      )
      .one();
    return this.#remember({ ...spender, spender_id, revoked_at_ms: null });
  }

  /** Of one that counts for nothing yet. */
  resettle(spender: Spender, settings: ResolvedSettings): Spender {
    this.#sql.exec(
      "UPDATE spender SET name = ?, scopes = ?, cap_micros = ?, windows = ?, expires_at_ms = ? WHERE spender_id = ?",
      settings.name,
      settings.scopes.join(" "),
      settings.cap_micros,
      JSON.stringify(settings.windows),
      settings.expires_at_ms,
      spender.spender_id,
    );
    return this.#remember({ ...spender, ...settings });
  }

  /** Under the newest secret. */
  rehash(spender: Spender, hash: string): void {
    this.#sql.exec("UPDATE spender SET hash = ? WHERE spender_id = ?", hash, spender.spender_id);
    this.#remember({ ...spender, hash });
  }

  activate(spender: Spender, now_ms: number): Spender {
    this.#sql.exec("UPDATE spender SET activated_at_ms = ? WHERE spender_id = ?", now_ms, spender.spender_id);
    return this.#remember({ ...spender, activated_at_ms: now_ms });
  }

  revoke(spender: Spender, now_ms: number): Spender {
    this.#sql.exec("UPDATE spender SET revoked_at_ms = ? WHERE spender_id = ?", now_ms, spender.spender_id);
    return this.#remember({ ...spender, revoked_at_ms: now_ms });
  }

  drop({ spender_id, public_id }: Spender): void {
    this.#sql.exec("DELETE FROM spender WHERE spender_id = ?", spender_id);
    this.#spenders.delete(spender_id);
    this.#numbers.delete(public_id);
  }

  #counters(spender_id: number): Counters {
    return this.#uncounted().get(spender_id) ?? this.#stored(spender_id);
  }

  #stored(spender_id: number): Counters {
    const row = this.#sql
      .exec(
        "SELECT charges, spent_micros, refunded_micros, drawn_micros, last_used_at_ms, periods FROM spender WHERE spender_id = ?",
        spender_id,
      )
      .one();
    return { ...row, periods: JSON.parse(String(row["periods"])) } as unknown as Counters;
  }

  /** After an entry was written. */
  #note(entry: Appended): void {
    this.#follow();
    const { counted_seq } = this.#store.head;
    if (counted_seq === null) return;
    // Read anew, it is among what is read.
    if (this.#since !== undefined && entry.spender_id !== undefined) this.#book(this.#since, entry.spender_id, entry);
    if (entry.seq - counted_seq >= UNCOUNTED_MAX) this.#checkpoint(entry.seq);
  }

  #book(since: Map<number, Counters>, spender_id: number, entry: Booking): void {
    const own = this.byNumber(spender_id);
    if (own === undefined) throw new Error(`Spender ${spender_id} has no row`);
    for (const one of this.chain(own)) {
      const before = since.get(one.spender_id) ?? this.#stored(one.spender_id);
      since.set(one.spender_id, book({ spender: one, counters: before }, entry, one === own));
    }
  }

  #uncounted(): Map<number, Counters> {
    this.#follow();
    if (this.#since !== undefined) return this.#since;
    const since = new Map<number, Counters>();
    const rows = this.#sql.exec(
      `SELECT kind, at_ms, amount_micros, spender_id,
         (SELECT at_ms FROM entry AS charge WHERE charge.seq = entry.ref_seq) AS ref_at_ms
       FROM entry WHERE seq > ? AND spender_id IS NOT NULL ORDER BY seq`,
      this.#store.head.counted_seq ?? Number.MAX_SAFE_INTEGER,
    );
    for (const row of rows.toArray() as unknown as (Booking & { readonly spender_id: number })[]) {
      this.#book(since, row.spender_id, row);
    }
    this.#since = since;
    return since;
  }

  #checkpoint(seq: number): void {
    const since = this.#uncounted();
    this.#store.transaction(() => {
      for (const [spender_id, counters] of since) {
        this.#sql.exec(
          `UPDATE spender SET charges = ?, spent_micros = ?, refunded_micros = ?, drawn_micros = ?, last_used_at_ms = ?, periods = ?
           WHERE spender_id = ?`,
          counters.charges,
          counters.spent_micros,
          counters.refunded_micros,
          counters.drawn_micros,
          counters.last_used_at_ms,
          JSON.stringify(counters.periods),
          spender_id,
        );
      }
      this.#setCounted(seq);
    });
    this.#since = new Map();
  }

  #setCounted(seq: number): void {
    this.#sql.exec("UPDATE envelope SET counted_seq = ? WHERE id = 1", seq);
    this.#store.know({ counted_seq: seq });
  }

  #read(where: string, ...bindings: (string | number | null)[]): Spender[] {
    return this.#sql
      .exec(`SELECT ${COLUMNS} FROM spender WHERE ${where}`, ...bindings)
      .toArray()
      .map((row) => this.#remember(toSpender(row)));
  }

  #remember(spender: Spender): Spender {
    if (this.#spenders.size >= REMEMBERED_MAX) {
      this.#spenders.clear();
      this.#numbers.clear();
    }
    this.#spenders.set(spender.spender_id, spender);
    this.#numbers.set(spender.public_id, spender.spender_id);
    return spender;
  }

  /** What was remembered may have been rolled back. */
  #follow(): void {
    if (this.#loads === this.#store.loads) return;
    this.#loads = this.#store.loads;
    this.#spenders.clear();
    this.#numbers.clear();
    this.#since = undefined;
  }
}

/** Bound to the number of the one they are below. */
const BELOW = `WITH RECURSIVE below (id) AS (SELECT ? UNION ALL SELECT spender.spender_id FROM spender JOIN below ON maker_id = below.id)
  SELECT id FROM below`;

function toSpender(row: Record<string, SqlStorageValue>): Spender {
  const { kind, minted, scopes, windows, ...rest } = row;
  return {
    ...rest,
    kind: kind as IdentityType,
    minted: minted === 1,
    scopes: String(scopes).split(" ") as Scope[],
    windows: JSON.parse(String(windows)),
  } as unknown as Spender;
}
