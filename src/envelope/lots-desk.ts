/**
 * Where something is left of grants: what the balance consists of, in memory and in the rows, and what every entry moves in it. The
 * rules are in lots.ts and giving.ts. Loaded where there ever was a lot, and with the first grant.
 */
import { writeAudit } from "../audit-rows.js";
import type { EnvelopeState, LotTerms, LotView, RevokeInput, RevokeOutcome } from "../contract.js";
import { addMicros, type Micros, ZERO } from "../money.js";
import { decideRevoke, type Revocable } from "./giving.js";
import type { Hold } from "./holds.js";
import { type Account, balances, type Draft, reserved, tagOf, taken } from "./ledger.js";
import {
  apart,
  isOver,
  joinable,
  joined,
  type Lot,
  lapsed,
  leftIn,
  type Moment,
  move,
  movedBy,
  negated,
  OPEN_LOTS_MAX,
  type Part,
  POOL,
  type Purse,
  type Reserved,
  reservedBy,
  take,
  unwind,
  upTo,
  writePurse,
} from "./lots.js";
import type { Office } from "./office.js";
import { SIGN_UP_KEY } from "./sign-up.js";
import type { LotKeeper, Reserving, Store, Written } from "./store.js";

interface LotRow extends Lot {
  readonly granted_micros: Micros;
}

/** What came with a top-up: a grant with a lot of its own. */
interface Gift {
  readonly seq: number;
  /** Of it, what went without being spent and did not come again. */
  readonly gone_micros: Micros;
  readonly expires_at_ms: number | null;
  readonly revoked: number;
}

const NOTHING_LEFT = { text: null, lots: [] } as const;

export class LotsDesk implements LotKeeper {
  readonly #office: Office;
  readonly #store: Store;
  readonly #sql: SqlStorage;
  /** The lots of the newest entry, by what it says of them: after a roll-back it says something else. */
  #known: { readonly text: string | null; readonly lots: readonly Lot[] } = NOTHING_LEFT;
  #loads = 0;
  readonly #parts = new WeakMap<object, readonly Part[]>();

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#sql = office.store.sql;
    this.#store.keeper = this;
  }

  account(plain: Account, now: number, tag: string | undefined): Account {
    const purse = this.#purse;
    const reserved = this.#reserved(now);
    const moment = this.#moment(now, tag);
    const gone = sumOf(lapsed(purse, reserved, moment.time_ms));
    return {
      ...plain,
      balance_micros: (plain.balance_micros - gone) as Micros,
      apart_micros: apart(purse, reserved, moment),
      given_micros: (sumOf(purse.lots.map(({ lot_id, left_micros }) => [lot_id, left_micros])) - gone) as Micros,
    };
  }

  append(draft: Draft, now: number): Written {
    const mayHaveLots = this.#store.head.lots !== null || draft.kind !== "charge";
    if (!mayHaveLots) return this.#store.write(draft, now, null);
    const returns = draft.kind === "refund";
    if (!returns && this.#lapsed(now).length === 0) return this.#write(draft, now);
    return this.#store.transaction(() => {
      this.#sweep(now);
      const written = this.#write(draft, now);
      if (returns) this.#sweep(now);
      return written;
    });
  }

  reserve({ amount_micros, tag, reason }: Reserving, now: number): string | null {
    if (this.#store.head.lots === null) return null;
    return writeParts(take(this.#purse, this.#reserved(now), amount_micros, this.#moment(now, tagOf({ tag, reason }))));
  }

  reserveMore(hold: Hold, more: Micros, now: number): string | null {
    const parts = take(this.#purse, this.#reserved(now), more, this.#moment(now, tagOf(hold)));
    return writeParts(joined(this.#partsOf(hold), parts));
  }

  /** Books what has expired, and answers whether anything had. Nobody could spend it since its instant: this only tidies. */
  sweep(now: number): boolean {
    const isDue = this.#lapsed(now).length > 0;
    if (isDue) this.#office.transaction(() => this.#sweep(now));
    return isDue;
  }

  /** In how many milliseconds there is more to book: when the next lot expires, or a hold that keeps one alive. */
  waits(now: number): number | undefined {
    if (this.#store.head.lots === null) return undefined;
    const { time_ms } = this.#moment(now);
    const reserved = this.#reserved(now);
    const kept = this.#purse.lots.some((lot) => isOver(lot, time_ms) && reserved.has(lot.lot_id));
    const ends = kept ? this.#store.openHolds(now).map(({ expires_at_ms }) => expires_at_ms) : [];
    const next = Math.min(...ends, this.#expiring(now)?.at_ms ?? Number.POSITIVE_INFINITY);
    return next === Number.POSITIVE_INFINITY ? undefined : Math.max(0, next - now);
  }

  /** What an envelope's state tells of its grants. */
  view(now: number): Pick<EnvelopeState, "lots" | "promotional_micros" | "paid_micros" | "expiring"> {
    const reserved = this.#reserved(now);
    const gone = new Map(this.#lapsed(now));
    const rows = new Map(this.#rows(this.#purse.lots.map(({ lot_id }) => lot_id)).map((row) => [row.lot_id, row]));
    const lots = this.#purse.lots.map(({ lot_id, left_micros, priority, expires_at_ms, only }): LotView => {
      const remaining_micros = (left_micros - (gone.get(lot_id) ?? 0)) as Micros;
      const held_micros = (reserved.get(lot_id) ?? 0) as Micros;
      const granted_micros = rows.get(lot_id)?.granted_micros ?? ZERO;
      return { seq: lot_id, granted_micros, remaining_micros, held_micros, priority, expires_at_ms, only };
    });
    const left = lots.filter(({ remaining_micros }) => remaining_micros > 0);
    const promotional_micros = left.reduce((sum, lot) => sum + lot.remaining_micros, 0) as Micros;
    return {
      lots: left,
      promotional_micros,
      paid_micros: this.#purse.pool_micros,
      expiring: this.#expiring(now),
    };
  }

  /** What is left of grants once that is booked which has expired. */
  open(now: number): readonly Lot[] {
    const gone = new Map(this.#lapsed(now));
    return this.#purse.lots.filter(({ lot_id, left_micros }) => left_micros > (gone.get(lot_id) ?? 0));
  }

  async revoke(input: RevokeInput): Promise<RevokeOutcome> {
    const now = Date.now();
    const account = this.#store.account(now);
    const found = this.#revocable(input.grant, now);
    const decision = decideRevoke(account, found?.grant, this.#store.priorByKey(input.key), input);
    if (found === undefined || "outcome" in decision) return (decision as { outcome: RevokeOutcome }).outcome;
    const { lot_id, isAlone } = found;
    const entry = this.#office.transaction(() => {
      const written = this.#store.append({ ...decision.write, lot_id }, now);
      // What several grants share goes on for the others.
      if (isAlone) this.#end(lot_id, now);
      const { balance_micros } = this.#store.head;
      const after = { ...written, balance_micros };
      if (input.by !== undefined) {
        const before = { balance_micros: account.balance_micros, grant: found.grant.seq };
        writeAudit(this.#sql, input.by, { action: "revoke", before, after }, now);
      }
      return written;
    });
    return { outcome: "revoked", seq: entry.seq, amount_micros: taken(entry), ...balances(this.#store.account(now)) };
  }

  /** What a top-up brought besides; `undefined` where that was nothing, or the owner has ended it. */
  giftWith(topup_seq: number): Gift | undefined {
    // An owner's revocation is an operation, a withdrawal is none.
    return this.#sql
      .exec<{ seq: number; gone_micros: Micros; expires_at_ms: number | null; revoked: number }>(
        `SELECT lot_id AS seq, expires_at_ms, revoked_at_ms IS NOT NULL AS revoked,
           (SELECT 0 - coalesce(sum(amount_micros), 0) FROM entry AS back WHERE back.ref_seq = entry.seq) AS gone_micros
         FROM entry JOIN lot ON lot_id = seq WHERE ref_seq = ? AND kind = 'grant' AND NOT EXISTS
           (SELECT 1 FROM entry AS back WHERE back.ref_seq = entry.seq AND back.kind = 'revocation' AND back.op IS NOT NULL)`,
        topup_seq,
      )
      .toArray()[0];
  }

  /** In a transaction: what is left of a gift goes. What a hold reserves of it goes as the hold ends, and so does what is given back of it. */
  withdraw({ seq, revoked }: Gift, now: number): void {
    if (revoked === 1) return;
    const left = this.#revocable({ seq }, now)?.grant.free_micros ?? ZERO;
    const amount_micros = (0 - left) as Micros;
    if (left > 0)
      this.#store.append({ kind: "revocation", amount_micros, ref_seq: seq, reason: "sign-up", lot_id: seq }, now);
    this.#end(seq, now);
  }

  /** In a transaction: the gift stands again, with all that went of it without being spent. */
  restore({ seq, gone_micros: amount_micros, expires_at_ms, revoked }: Gift, now: number): void {
    if (revoked === 0 || isOver({ revoked: false, expires_at_ms }, this.#moment(now).time_ms)) return;
    const { balance_micros, given_micros } = this.#store.account(now);
    const fits = [balance_micros, given_micros ?? ZERO].every((one) => addMicros(one, amount_micros) !== undefined);
    if (!fits) return;
    this.#sql.exec("UPDATE lot SET revoked_at_ms = NULL WHERE lot_id = ?", seq);
    this.#known = NOTHING_LEFT;
    if (amount_micros > 0)
      this.#store.append({ kind: "grant", amount_micros, ref_seq: seq, reason: "sign-up", lot_id: seq }, now);
  }

  #end(lot_id: number, now: number): void {
    this.#sql.exec("UPDATE lot SET revoked_at_ms = ? WHERE lot_id = ? AND revoked_at_ms IS NULL", now, lot_id);
    this.#known = NOTHING_LEFT;
  }

  #revocable(
    by: RevokeInput["grant"],
    now: number,
  ): { readonly grant: Revocable; readonly lot_id: number; readonly isAlone: boolean } | undefined {
    if (!this.#store.exists) return undefined;
    const [column, value] = "seq" in by ? ["seq", by.seq] : ["key", by.key];
    const [row] = this.#sql
      .exec<{ seq: number; amount_micros: Micros; lots: string | null; revoked_micros: Micros }>(
        `SELECT seq, amount_micros, lots,
           (SELECT 0 - coalesce(sum(amount_micros), 0) FROM entry AS back WHERE back.ref_seq = entry.seq AND back.kind IN ('revocation', 'grant')) AS revoked_micros
         FROM entry WHERE ${column} = ? AND kind = 'grant'`,
        value,
      )
      .toArray();
    const [moved] = row === undefined || row.lots === null ? [] : movedBy(row);
    if (row === undefined || moved === undefined) return undefined;
    const [lot_id] = moved;
    const left = this.#purse.lots.find((lot) => lot.lot_id === lot_id)?.left_micros ?? 0;
    const free = left - (this.#reserved(now).get(lot_id) ?? 0) - (new Map(this.#lapsed(now)).get(lot_id) ?? 0);
    const [own] = this.#rows([lot_id]);
    const isAlone = lot_id === row.seq && own?.granted_micros === row.amount_micros;
    return { grant: { ...row, free_micros: free as Micros }, lot_id, isAlone };
  }

  get #purse(): Purse {
    const { lots: text, balance_micros } = this.#store.head;
    // After a roll-back, the same text may be of lots that stand otherwise.
    if (this.#known.text !== text || this.#loads !== this.#store.loads) {
      this.#loads = this.#store.loads;
      const left = new Map(leftIn(text));
      const lots = this.#rows([...left.keys()]).map(({ granted_micros: _, ...lot }) => ({
        ...lot,
        left_micros: left.get(lot.lot_id) ?? ZERO,
      }));
      this.#known = { text, lots: move({ pool_micros: ZERO, lots }, []).lots };
    }
    const { lots } = this.#known;
    const pool_micros = lots.reduce((pool, lot) => pool - lot.left_micros, balance_micros as number) as Micros;
    return { pool_micros, lots };
  }

  /** With nothing left: what is left is the newest entry's to say. */
  #rows(lot_ids: readonly number[]): readonly LotRow[] {
    if (lot_ids.length === 0) return [];
    return this.#sql
      .exec(
        `SELECT lot_id, granted_micros, priority, expires_at_ms, only_tag AS "only", revoked_at_ms IS NOT NULL AS revoked,
           lot_id IS (SELECT seq FROM entry WHERE key = ?) AS alone
         FROM lot WHERE lot_id IN (SELECT value FROM json_each(?))`,
        SIGN_UP_KEY,
        JSON.stringify(lot_ids),
      )
      .toArray()
      .map((row) => {
        const [revoked, alone] = [row["revoked"] === 1, row["alone"] === 1];
        return { ...row, left_micros: ZERO, revoked, alone } as unknown as LotRow;
      });
  }

  /** Never earlier than the newest entry, so that a clock set back opens nothing again. */
  #moment(now: number, tag?: string): Moment {
    return { time_ms: Math.max(now, this.#store.head.at_ms), tag };
  }

  #reserved(now: number, but?: number): Reserved {
    const holds = [...this.#store.holds.values()].filter(({ hold_id }) => hold_id !== but);
    // Of a meter whose lease is over, what it delivered.
    return reservedBy(holds.map((hold) => upTo(this.#partsOf(hold), reserved(hold, now))));
  }

  #partsOf(hold: { readonly amount_micros: Micros; readonly lots: string | null }): readonly Part[] {
    let parts = this.#parts.get(hold);
    if (parts === undefined) {
      parts = hold.lots === null ? [[POOL, hold.amount_micros]] : (JSON.parse(hold.lots) as readonly Part[]);
      this.#parts.set(hold, parts);
    }
    return parts;
  }

  #lapsed(now: number): readonly Part[] {
    return lapsed(this.#purse, this.#reserved(now), this.#moment(now).time_ms);
  }

  #expiring(now: number): EnvelopeState["expiring"] {
    const { time_ms } = this.#moment(now);
    const open = this.#purse.lots.filter((lot) => !lot.revoked && (lot.expires_at_ms ?? 0) > time_ms);
    const at_ms = Math.min(...open.map((lot) => lot.expires_at_ms ?? Number.POSITIVE_INFINITY));
    const amount = open.reduce((sum, lot) => sum + (lot.expires_at_ms === at_ms ? lot.left_micros : 0), 0);
    return open.length === 0 ? null : { at_ms, amount_micros: amount as Micros };
  }

  #sweep(now: number): void {
    for (const [lot_id, micros] of this.#lapsed(now))
      this.#write({ kind: "expiry", amount_micros: (0 - micros) as Micros, ref_seq: lot_id, lot_id }, now);
  }

  #write(draft: Draft, now: number): Written {
    const purse = this.#purse;
    const { moved, back } = this.#moves(draft, purse, now);
    const after = move(purse, moved, back);
    const text = writePurse(after, moved);
    const written = this.#store.write(draft, now, text);
    if (draft.terms !== undefined) this.#file(moved, draft.terms, written);
    this.#known = { text, lots: after.lots };
    return written;
  }

  /** What an entry moves, and the lots it brings to the purse. */
  #moves(draft: Draft, purse: Purse, now: number): { readonly moved: readonly Part[]; readonly back?: readonly Lot[] } {
    const { kind, amount_micros, lot_id, terms } = draft;
    if (kind === "charge") {
      const hold = draft.hold_id === undefined ? undefined : this.#store.holds.get(draft.hold_id);
      const own = hold === undefined ? [] : this.#partsOf(hold);
      const moment = this.#moment(now, tagOf(draft));
      return { moved: negated(take(purse, this.#reserved(now, hold?.hold_id), taken(draft), moment, own)) };
    }
    if (kind === "refund") {
      const moved = this.#unwound(draft.ref_seq, amount_micros);
      return { moved, back: this.#rows(moved.map(([id]) => id)) };
    }
    if (terms !== undefined) {
      const alone = draft.key === SIGN_UP_KEY;
      const joined = alone || purse.lots.length < OPEN_LOTS_MAX ? undefined : joinable(purse.lots, terms, now);
      const own = this.#store.head.seq + 1;
      const lot: Lot = { ...terms, lot_id: own, left_micros: ZERO, revoked: false, alone };
      return { moved: [[joined?.lot_id ?? own, amount_micros]], back: [lot] };
    }
    return { moved: [[lot_id ?? POOL, amount_micros]], back: lot_id === undefined ? [] : this.#rows([lot_id]) };
  }

  #unwound(charge_seq: number | undefined, amount: Micros): readonly Part[] {
    const rows = this.#sql
      .exec<{ seq: number; amount_micros: Micros; lots: string | null }>(
        "SELECT seq, amount_micros, lots FROM entry WHERE seq = ?1 OR ref_seq = ?1 ORDER BY seq",
        charge_seq ?? null,
      )
      .toArray();
    const [charge, ...refunds] = rows;
    if (charge === undefined) throw new Error("A refund is of a charge");
    return unwind(negated(movedBy(charge)), refunds.flatMap(movedBy), amount);
  }

  #file(moved: readonly Part[], { priority, expires_at_ms, only }: LotTerms, { seq, amount_micros }: Written): void {
    const [lot_id] = moved[0] ?? [seq];
    this.#sql.exec(
      `INSERT INTO lot (lot_id, granted_micros, priority, expires_at_ms, only_tag) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (lot_id) DO UPDATE SET granted_micros = granted_micros + excluded.granted_micros`,
      lot_id,
      amount_micros,
      priority,
      expires_at_ms,
      only,
    );
  }
}

function writeParts(parts: readonly Part[]): string | null {
  return parts.every(([lot_id]) => lot_id === POOL) ? null : JSON.stringify(parts);
}

function sumOf(parts: readonly Part[]): number {
  return parts.reduce((sum, [, micros]) => sum + micros, 0);
}
