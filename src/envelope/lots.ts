/**
 * The rules of lots: money that was given keeps its own terms until it is spent. Pure, like ledger.ts.
 *
 * A purse is what a balance consists of: the pool, which is money that was paid (it never expires), and one lot for each grant
 * that something is left of. Every entry says what it moved and where, so what a charge took can be given back exactly where
 * it came from, whatever is burned first by then. Time is passed in: a lot is over from its instant on, booked or not.
 */
import { type LotTerms, PRIORITY_DEFAULT } from "../contract.js";
import { type Micros, ZERO } from "../money.js";

/** Money that belongs to no grant: what was paid. It burns at the default priority, after grants of the same. */
export const POOL = 0;
/** Each entry carries what is left of every open lot, so there must not be many. */
export const OPEN_LOTS_MAX = 64;

export interface Lot extends LotTerms {
  /** Number of the grant's entry. */
  readonly lot_id: number;
  readonly left_micros: Micros;
  /** What was left was taken back. What returns to it is over at once. */
  readonly revoked: boolean;
  /** What a holder begins with: it may be taken back and come again, and nothing else with it. */
  readonly alone?: boolean;
}

/** A signed part of an entry, or a part of what a hold reserves: of a lot, or of the pool. */
export type Part = readonly [lot_id: number, micros: Micros];

export interface Purse {
  /** Below zero where paid money was taken back after it was spent. */
  readonly pool_micros: Micros;
  /** In the order in which they burn. */
  readonly lots: readonly Lot[];
}

/** What open holds reserve, by lot. */
export type Reserved = ReadonlyMap<number, number>;

export interface Moment {
  readonly time_ms: number;
  /** What the money is to be spent on. */
  readonly tag: string | undefined;
}

/** Priority, then the earliest expiry (none comes last), then the oldest. */
export function burnsBefore(one: LotTerms & { lot_id: number }, other: LotTerms & { lot_id: number }): number {
  const [first, second] = [
    one.expires_at_ms ?? Number.POSITIVE_INFINITY,
    other.expires_at_ms ?? Number.POSITIVE_INFINITY,
  ];
  if (one.priority !== other.priority) return one.priority - other.priority;
  return first === second ? one.lot_id - other.lot_id : first - second;
}

export function isOver(lot: Pick<Lot, "expires_at_ms" | "revoked">, time_ms: number): boolean {
  return lot.revoked || (lot.expires_at_ms !== null && lot.expires_at_ms <= time_ms);
}

/** The very tag, or what begins with it where it ends in `*`. */
export function pays(only: string | null, tag: string | undefined): boolean {
  if (only === null) return true;
  if (tag === undefined) return false;
  return only.endsWith("*") ? tag.startsWith(only.slice(0, -1)) : tag === only;
}

export function reservedBy(holds: Iterable<readonly Part[]>): Reserved {
  const reserved = new Map<number, number>();
  for (const parts of holds)
    for (const [lot_id, micros] of parts) reserved.set(lot_id, (reserved.get(lot_id) ?? 0) + micros);
  return reserved;
}

/** Below zero where a clock that was set back opened a hold again whose money is spent. */
function free({ lot_id, left_micros }: Lot, reserved: Reserved): Micros {
  return (left_micros - (reserved.get(lot_id) ?? 0)) as Micros;
}

/** What is over and not booked yet. What a hold reserves is promised to it, and is not over before the hold is. */
export function lapsed(purse: Purse, reserved: Reserved, time_ms: number): readonly Part[] {
  return purse.lots
    .filter((lot) => isOver(lot, time_ms))
    .map((lot): Part => [lot.lot_id, free(lot, reserved)])
    .filter(([, micros]) => micros > 0);
}

/** Of what is neither over nor held: what may not be spent on this. */
export function apart(purse: Purse, reserved: Reserved, { time_ms, tag }: Moment): Micros {
  let micros = 0;
  for (const lot of purse.lots)
    if (!isOver(lot, time_ms) && !pays(lot.only, tag)) micros += Math.max(0, free(lot, reserved));
  return micros as Micros;
}

/**
 * Where an amount is taken from: first what a hold reserved for it, in the order it was reserved in, then what is free, in the
 * order in which it burns. `reserved` is what other holds reserve. One part for each source.
 */
export function take(
  purse: Purse,
  reserved: Reserved,
  amount: Micros,
  moment: Moment,
  own: readonly Part[] = [],
): readonly Part[] {
  const taken = new Map<number, number>();
  let rest: number = amount;
  const takeFrom = (lot_id: number, most: number): void => {
    const micros = Math.min(rest, most);
    if (micros <= 0) return;
    taken.set(lot_id, (taken.get(lot_id) ?? 0) + micros);
    rest -= micros;
  };
  const open = (lot_id: number, left: number) => left - (reserved.get(lot_id) ?? 0) - (taken.get(lot_id) ?? 0);
  const left = (lot_id: number) => purse.lots.find((lot) => lot.lot_id === lot_id)?.left_micros ?? 0;
  for (const [lot_id, micros] of own)
    takeFrom(lot_id, Math.min(micros, open(lot_id, lot_id === POOL ? purse.pool_micros : left(lot_id))));
  let poolsTurn = true;
  for (const lot of purse.lots) {
    if (poolsTurn && lot.priority > PRIORITY_DEFAULT) {
      takeFrom(POOL, open(POOL, purse.pool_micros));
      poolsTurn = false;
    }
    if (!isOver(lot, moment.time_ms) && pays(lot.only, moment.tag))
      takeFrom(lot.lot_id, open(lot.lot_id, lot.left_micros));
  }
  if (poolsTurn) takeFrom(POOL, open(POOL, purse.pool_micros));
  // What is available was checked before: less is a bug, and must not become a balance.
  if (rest > 0) throw new Error(`${rest} micros more were to be taken than there are`);
  return [...taken] as unknown as readonly Part[];
}

/** The first so much of what a hold reserves. */
export function upTo(parts: readonly Part[], amount: number): readonly Part[] {
  const first: Part[] = [];
  let rest = amount;
  for (const [lot_id, micros] of parts) {
    const part = Math.min(rest, micros);
    if (part > 0) first.push([lot_id, part as Micros]);
    rest -= part;
  }
  return first;
}

/** What a hold reserves when it reserves more: one part for each source, in the order they were first reserved in. */
export function joined(parts: readonly Part[], more: readonly Part[]): readonly Part[] {
  return [...reservedBy([parts, more])] as unknown as readonly Part[];
}

/** Gives back what a charge took, in reverse of the order it was taken in. `back` is what was given back of it before. */
export function unwind(took: readonly Part[], back: readonly Part[], amount: Micros): readonly Part[] {
  const given = reservedBy([back]);
  const parts: Part[] = [];
  let rest: number = amount;
  for (const [lot_id, micros] of [...took].reverse()) {
    const part = Math.min(rest, micros - (given.get(lot_id) ?? 0));
    if (part > 0) parts.push([lot_id, part as Micros]);
    rest -= Math.max(0, part);
  }
  if (rest > 0) throw new Error(`${rest} micros more were to be given back than were taken`);
  return parts;
}

/** `known` are the lots that come back to the purse: of grants that nothing was left of. */
export function move(purse: Purse, moved: readonly Part[], known: readonly Lot[] = []): Purse {
  const lots = [...purse.lots];
  let pool_micros: number = purse.pool_micros;
  for (const [lot_id, micros] of moved) {
    if (lot_id === POOL) {
      pool_micros += micros;
      continue;
    }
    const at = lots.findIndex((lot) => lot.lot_id === lot_id);
    const lot = lots[at] ?? known.find((one) => one.lot_id === lot_id);
    if (lot === undefined) throw new Error(`Lot ${lot_id} is not known`);
    const left_micros = (lot.left_micros + micros) as Micros;
    if (left_micros < 0) throw new Error(`Lot ${lot_id} would be below zero`);
    lots.splice(at === -1 ? lots.length : at, 1, { ...lot, left_micros });
  }
  // A new one goes to its place; the others stand as they burn already.
  lots.sort(burnsBefore);
  return { pool_micros: pool_micros as Micros, lots: lots.filter(({ left_micros }) => left_micros > 0) };
}

/** The newest lot on the same terms, for a grant that there is no room for a lot of its own for. */
export function joinable(lots: readonly Lot[], terms: LotTerms, time_ms: number): Lot | undefined {
  const same = lots.filter(
    (lot) =>
      !lot.alone &&
      !isOver(lot, time_ms) &&
      lot.priority === terms.priority &&
      lot.expires_at_ms === terms.expires_at_ms &&
      lot.only === terms.only,
  );
  return same.at(-1);
}

/** The purse that an entry left, and what it moved, as the ledger keeps it: what moved first and in that order, then the rest. */
export function writePurse({ pool_micros, lots }: Purse, moved: readonly Part[]): string | null {
  if (lots.length === 0 && moved.every(([lot_id]) => lot_id === POOL)) return null;
  const left = new Map(lots.map((lot) => [lot.lot_id, lot.left_micros]));
  const lines = moved.map(([id, micros]) => [id, id === POOL ? pool_micros : (left.get(id) ?? ZERO), micros]);
  const still = lots.filter(({ lot_id, left_micros }) => left_micros > 0 && !moved.some(([id]) => id === lot_id));
  return JSON.stringify([...lines, ...still.map(({ lot_id, left_micros }) => [lot_id, left_micros])]);
}

type Written = readonly (readonly [lot_id: number, left_micros: Micros, moved_micros?: Micros])[];

/** What an entry left in lots, by its text. */
export function leftIn(text: string | null): readonly Part[] {
  if (text === null) return [];
  const written = JSON.parse(text) as Written;
  return written.filter(([id, left]) => id !== POOL && left > 0).map(([id, left]): Part => [id, left]);
}

/** What an entry moved, and where. Without a text, all of it was the pool's. */
export function movedBy(entry: { readonly lots: string | null; readonly amount_micros: Micros }): readonly Part[] {
  if (entry.lots === null) return entry.amount_micros === 0 ? [] : [[POOL, entry.amount_micros]];
  const written = JSON.parse(entry.lots) as Written;
  return written.flatMap(([id, , moved]): Part[] => (moved === undefined ? [] : [[id, moved]]));
}

export const negated = (parts: readonly Part[]): readonly Part[] =>
  parts.map(([lot_id, micros]) => [lot_id, (0 - micros) as Micros]);
