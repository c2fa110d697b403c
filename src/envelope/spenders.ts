/**
 * The rules of who may spend from an envelope beside its holder: API keys, and identities that the owner authorised. Pure, like
 * ledger.ts.
 *
 * A key that another key made lives within that one: it is refused when its maker is, and what it spends counts against its maker's
 * limits too. So no number of keys made by a key can do what that key may not. _Own_ sums are what a spender's own entries come to;
 * _drawn_ is what its limits are held against.
 */
import {
  type EntryKind,
  type IdentityCredential,
  type IdentityType,
  isSpending,
  type KeyCredential,
  type MintKeyOutcome,
  type Scope,
  type SpenderSettings,
  type SpenderView,
  type WindowInput,
  type WindowRule,
  type WindowView,
} from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import type { Headroom } from "./ledger.js";
import { periodOf, resolveWindow } from "./windows.js";

/** Settings with all said that was left open. */
export interface ResolvedSettings extends Omit<SpenderSettings, "windows"> {
  readonly windows: readonly SpenderWindow[];
}

export interface SpenderWindow extends WindowRule {
  readonly window_id: string;
}

export interface Spender extends ResolvedSettings {
  readonly spender_id: number;
  readonly public_id: string;
  readonly kind: IdentityType;
  readonly minted: boolean;
  readonly hash: string;
  readonly last4: string | null;
  /** Of the directory, for an identity. */
  readonly shard: number | null;
  readonly maker_id: number | null;
  readonly at_ms: number;
  /** `null` until the directory has an identity as this envelope's. */
  readonly activated_at_ms: number | null;
  readonly revoked_at_ms: number | null;
}

/** What a spender's entries come to. */
export interface Counters {
  readonly charges: number;
  readonly spent_micros: Micros;
  readonly refunded_micros: Micros;
  /** With what the keys it made spent, net of refunds. */
  readonly drawn_micros: Micros;
  readonly last_used_at_ms: number | null;
  /** Drawn in the period that each of its windows was in when something was last booked, in their order. */
  readonly periods: readonly PeriodCount[];
}

export interface PeriodCount {
  readonly start_ms: number;
  /** `null` where it never ends. */
  readonly end_ms: number | null;
  readonly drawn_micros: Micros;
}

/** A spender and those it was made by, itself first: all of them have to admit what it does. */
export type Chain = readonly [Spender, ...Spender[]];

type SpenderStanding = "active" | "revoked" | "expired";

/** What was revoked, forged or never there is all the same to who presents it. */
export function judgeSpender(
  chain: Chain | undefined,
  presented: KeyCredential | IdentityCredential,
  now_ms: number,
): SpenderStanding {
  if (chain === undefined) return "revoked";
  const [own] = chain;
  const genuine = "api_key" in presented ? own.minted && own.hash === presented.hash : !own.minted;
  return genuine ? standingOf(chain, now_ms) : "revoked";
}

export function standingOf(chain: Chain, now_ms: number): SpenderStanding {
  if (chain.some((one) => one.activated_at_ms === null || wasRevoked(one))) return "revoked";
  return chain.some((one) => hasEnded(one) || isOver(one, now_ms)) ? "expired" : "active";
}

/** What has expired may have been ended for good since: it has expired all the same. */
function wasRevoked({ revoked_at_ms, expires_at_ms }: Spender): boolean {
  return revoked_at_ms !== null && revoked_at_ms < (expires_at_ms ?? Number.POSITIVE_INFINITY);
}

function isOver({ expires_at_ms }: Pick<Spender, "expires_at_ms">, now_ms: number): boolean {
  return expires_at_ms !== null && expires_at_ms <= now_ms;
}

/** It will never count again: what only expired may yet, if the clock is set back. */
export function hasEnded(spender: Spender | undefined): boolean {
  return spender === undefined || spender.revoked_at_ms !== null;
}

/** A spender of a chain, what it drew, and what open holds of it and of the keys it made reserve. */
export interface Drawing {
  readonly spender: Spender;
  readonly counters: Counters;
  readonly held_micros: Micros;
}

/**
 * What the limits still admit to who took a hold and has ended since: what the hold reserved, and no more (holds.ts adds it).
 */
export function endedHeadroom(standing: "revoked" | "expired"): Headroom {
  const reason = standing === "expired" ? "key_expired" : "credential_revoked";
  return { reason, admits_micros: ZERO, resets_at_ms: null };
}

/** What the limits of all of a chain still admit. */
export function headrooms(chain: readonly Drawing[], at_ms: number): readonly Headroom[] {
  return chain.flatMap((one) => {
    const { cap_micros, windows } = one.spender;
    const limits: Headroom[] = windows.map((window, index) => {
      const { end_ms, drawn_micros } = periodAt(one, index, at_ms);
      const admits_micros = (window.limit_micros - drawn_micros - one.held_micros) as Micros;
      return { reason: "key_cap", admits_micros, resets_at_ms: end_ms, window_id: window.window_id };
    });
    if (cap_micros !== null) {
      const admits_micros = (cap_micros - one.counters.drawn_micros - one.held_micros) as Micros;
      limits.push({ reason: "key_cap", admits_micros, resets_at_ms: null });
    }
    return limits;
  });
}

type Counting = Pick<Drawing, "counters"> & { readonly spender: Pick<Spender, "windows"> };

/** The period that a window is in, and what was drawn in it. */
function periodAt({ spender, counters }: Counting, index: number, at_ms: number): PeriodCount {
  const known = counters.periods[index];
  if (known !== undefined && at_ms < (known.end_ms ?? Number.POSITIVE_INFINITY)) return known;
  const rule = spender.windows[index] as SpenderWindow;
  const { start_ms, end_ms } = periodOf(rule, at_ms);
  return { start_ms, end_ms: end_ms === Number.POSITIVE_INFINITY ? null : end_ms, drawn_micros: ZERO };
}

/** An entry as far as it is about a spender. */
export interface Booking {
  readonly kind: EntryKind;
  readonly at_ms: number;
  /** Signed effect: below zero for what was spent. */
  readonly amount_micros: Micros;
  /** Of what gives a charge back: when that was booked. */
  readonly ref_at_ms?: number | null | undefined;
}

/** What an entry adds to the counters of the one who spent (`own`), or of one that it was made by. */
export function book(counting: Counting, entry: Booking, own: boolean): Counters {
  const { counters, spender } = counting;
  const { at_ms, amount_micros } = entry;
  // In time with the ledger, which never goes back.
  const booked = entry.ref_at_ms ?? at_ms;
  const periods = spender.windows.map((_, index) => {
    const period = periodAt(counting, index, at_ms);
    // What is given back makes room in the period that it was taken in, and in no other.
    const counts = booked >= period.start_ms;
    return counts ? { ...period, drawn_micros: (period.drawn_micros - amount_micros) as Micros } : period;
  });
  const drawn = { ...counters, periods, drawn_micros: (counters.drawn_micros - amount_micros) as Micros };
  if (!own) return drawn;
  if (!isSpending(entry.kind)) {
    return { ...drawn, refunded_micros: (counters.refunded_micros + amount_micros) as Micros };
  }
  return {
    ...drawn,
    charges: counters.charges + 1,
    spent_micros: (counters.spent_micros - amount_micros) as Micros,
    last_used_at_ms: at_ms,
  };
}

/** Longest line of keys made by keys: each is looked at with every charge. */
const CHAIN_MAX = 4;
/** Keys that count, in one envelope: a list that is longer serves nobody, and its holder could fill the storage. */
const KEYS_MAX = 1_000;
const WINDOWS_MAX = 4;

export type MintDecision =
  | { readonly outcome: Extract<MintKeyOutcome, { readonly detail: string }> }
  | { readonly file: ResolvedSettings };

/**
 * Whether a key may be made. `maker` is the chain of the key that makes it; absent for the holder and the owner. A key gives no
 * more than it has: a limit that is not named is its maker's, which it shares. `living` keys are there; windows are of the envelope's
 * time zone where they name none.
 */
export function decideMint(
  maker: Chain | undefined,
  { living, time_zone }: { readonly living: number; readonly time_zone: string },
  { name, scopes, cap_micros, windows, expires_at_ms }: SpenderSettings,
  now_ms: number,
): MintDecision {
  const no = (detail: string) => ({ outcome: { outcome: "forbidden", detail } }) as const;
  const invalid = (detail: string) => ({ outcome: { outcome: "invalid", detail } }) as const;
  if (scopes.length === 0) return invalid("A key has at least one scope");
  if (cap_micros !== null && cap_micros < 0) return invalid("A key's capacity is 0 or more");
  if (expires_at_ms !== null && expires_at_ms <= now_ms) return invalid("A key expires in the future");
  const rules = resolveWindows(windows, time_zone);
  if (typeof rules === "string") return invalid(rules);
  if (windows.length > WINDOWS_MAX) return invalid(`A key has at most ${WINDOWS_MAX} windows`);
  if (living >= KEYS_MAX) return invalid(`An envelope has at most ${KEYS_MAX} keys: revoke those that are not used`);
  if (maker !== undefined) {
    const [own] = maker;
    if (maker.length >= CHAIN_MAX) return no(`Keys make keys at most ${CHAIN_MAX - 1} deep`);
    if (scopes.some((scope) => !own.scopes.includes(scope))) return no("A key gives no scope that it has not");
    if (maker.some((one) => (cap_micros ?? 0) > (one.cap_micros ?? Number.POSITIVE_INFINITY))) {
      return no("A key gives no capacity above its own");
    }
    if (maker.some((one) => (expires_at_ms ?? 0) > (one.expires_at_ms ?? Number.POSITIVE_INFINITY))) {
      return no("A key makes none that would outlive it");
    }
  }
  return { file: { name, scopes, cap_micros, windows: rules, expires_at_ms } };
}

/** Numbered from the first, so that the same rules are called the same. A text is what is wrong with them. */
function resolveWindows(windows: readonly WindowInput[], time_zone: string): readonly SpenderWindow[] | string {
  const rules: SpenderWindow[] = [];
  for (const input of windows) {
    const rule = resolveWindow(input, time_zone);
    if ("invalid" in rule) return rule.invalid;
    // It would have to be added up anew with every charge, from entries that may be folded.
    if (rule.alignment === "rolling") return "A key's windows are of the calendar or anchored; an envelope's may roll";
    rules.push({ ...rule, window_id: `${rule.unit.toLowerCase()}-${rules.length + 1}` });
  }
  return rules;
}

/** The settings are the same: authorising it again changes nothing. */
export function sameSettings(one: ResolvedSettings, other: ResolvedSettings): boolean {
  const text = ({ name, scopes, cap_micros, windows, expires_at_ms }: ResolvedSettings) => {
    // Read back, they are in the order that they were written in.
    const rules = windows.map((window) => Object.entries(window).sort());
    return JSON.stringify([name, [...scopes].sort(), cap_micros, rules, expires_at_ms]);
  };
  return text(one) === text(other);
}

export function allows(chain: Chain, scope: Scope): boolean {
  return chain.every(({ scopes }) => scopes.includes(scope));
}

/** As it is shown: never its hash. */
export function viewOf(chain: Chain, drawings: readonly Drawing[], at_ms: number, now_ms: number): SpenderView {
  const [
    { public_id: id, kind, minted, last4, name, scopes, cap_micros, expires_at_ms, revoked_at_ms, ...own },
    maker,
  ] = chain;
  const [drawing] = drawings as readonly [Drawing, ...Drawing[]];
  const { charges, spent_micros, refunded_micros, last_used_at_ms } = drawing.counters;
  const left = headrooms(drawings, at_ms).map(({ admits_micros }) => admits_micros);
  return {
    ...{ id, kind, minted, last4, name, scopes, cap_micros, expires_at_ms, revoked_at_ms },
    ...{ charges, spent_micros, refunded_micros, last_used_at_ms },
    at_ms: own.at_ms,
    made_by: maker?.public_id ?? null,
    status: statusOf(chain, now_ms),
    remaining_micros: left.length === 0 ? null : (Math.max(0, Math.min(...left)) as Micros),
    windows: own.windows.map((window, index) => windowView(drawing, window, index, at_ms)),
  };
}

function windowView(drawing: Drawing, window: SpenderWindow, index: number, at_ms: number): WindowView {
  const { start_ms, end_ms, drawn_micros } = periodAt(drawing, index, at_ms);
  const { held_micros } = drawing;
  const remaining = Math.max(0, window.limit_micros - drawn_micros - held_micros) as Micros;
  return {
    ...window,
    spent_micros: drawn_micros,
    held_micros,
    remaining_micros: remaining,
    start_ms: end_ms === null ? window.anchor_ms : start_ms,
    end_ms,
    resets_at_ms: end_ms,
  };
}

function statusOf(chain: Chain, now_ms: number): SpenderView["status"] {
  const waits = chain[0].activated_at_ms === null && !hasEnded(chain[0]);
  return waits ? "pending" : standingOf(chain, now_ms);
}
