/**
 * The rules of meters: holds that grow while something is delivered, and are settled at what was. Pure, like holds.ts. A meter
 * takes whole units; what is reserved for it is only ever raised, and never by more than the limits admit, so that what it
 * delivers is paid for before it is.
 */
import type { MeterUse, OpenMeterInput, OpenMeterOutcome, Refusal, Slice } from "../contract.js";
import { type Micros, toMicros, ZERO } from "../money.js";
import { answerEarlier, type Hold } from "./holds.js";
import { type Account, admitting, balances, headroom, isExpired, type Priors, refuseSpending } from "./ledger.js";

export interface Reservation {
  readonly amount_micros: Micros;
  /** Why it is less than was asked for. */
  readonly refusal?: Refusal | undefined;
}

/** How a meter's hold is to stand from now on. */
export type Renewal = Pick<Hold, "amount_micros" | "expires_at_ms"> & { readonly used_micros: Micros };

/**
 * The money for whole units past what is taken: for as many as are wanted, or as many as there is money for; for those that are not
 * needed yet, half of it. `least` at any rate, where there is as much.
 */
export function reserve(account: Account, held: Micros, slice: Slice, least: Micros = ZERO): Reservation {
  const { taken_micros, units, unit_micros } = slice;
  const wanted = Math.max(least, taken_micros + units * unit_micros);
  if (wanted <= held) return { amount_micros: held };
  const within = held + (account.frozen ? 0 : Math.max(0, headroom(account)));
  const whole = unit_micros === 0 ? 0 : Math.floor((within - taken_micros) / unit_micros);
  // What is due already comes first, and is not reserved in part: it is taken in the end as far as it is there.
  const next_micros = whole < 0 ? 0 : taken_micros + shared(slice, held, whole) * unit_micros;
  const amount = Math.max(held, next_micros, least <= within ? least : 0);
  const amount_micros = amount as Micros;
  if (amount === wanted) return { amount_micros };
  // Why there is no unit more than these.
  const next = (unit_micros + Math.max(0, taken_micros - amount)) as Micros;
  return { amount_micros, refusal: refuseSpending(moreHeld(account, amount - held), next) };
}

/** Of the units that are wanted, out of `whole` past what is taken: all that are needed now, and of the others what leaves half of the rest free. */
function shared({ taken_micros, units, unit_micros, ahead = 0 }: Slice, held: Micros, whole: number): number {
  const reserved = Math.max(0, Math.floor((held - taken_micros) / Math.max(1, unit_micros)));
  const half = reserved + Math.ceil((whole - reserved) / 2);
  return Math.min(units, whole, Math.max(units - ahead, half));
}

function moreHeld(account: Account, more: number): Account {
  return { ...account, held_micros: (account.held_micros + more) as Micros, limits: admitting(account, 0 - more) };
}

export type MeterDecision =
  | { readonly open: Reservation }
  | { readonly resume: Hold }
  | { readonly end: "expired"; readonly outcome: MeterRefused }
  | { readonly outcome: MeterRefused };

type MeterRefused = Exclude<OpenMeterOutcome, { readonly outcome: "held" }>;

/** `priors.hold` is the hold to go on with: of an earlier attempt, or the one that was named. */
export function decideMeter(
  account: Account,
  priors: Priors & { readonly hold?: Hold | undefined; readonly paid?: Micros },
  input: OpenMeterInput,
  now_ms: number,
): MeterDecision {
  const now = balances(account);
  if (!isSound(input)) {
    const detail = "A meter takes whole micros, up to 2^53−1, and its lease is a whole number of ms above 0";
    return { outcome: { outcome: "invalid", detail, ...now } };
  }
  const { hold, paid = ZERO } = priors;
  if (hold !== undefined) {
    if (hold.state !== "open") return { outcome: { outcome: "ended", end: hold.state, paid_micros: paid, ...now } };
    if (!isExpired(hold, now_ms)) return { resume: hold };
    return { end: "expired", outcome: { outcome: "ended", end: "expired", paid_micros: ZERO, ...now } };
  }
  if (input.resume !== undefined) return { outcome: { outcome: "unknown", ...now } };
  const answered = answerEarlier(account, priors, input, now_ms);
  if (answered !== undefined) return { outcome: { ...answered, ...now } };
  const reservation = reserve(account, ZERO, input.slice, input.least_micros);
  if (reservation.amount_micros >= input.least_micros) return { open: reservation };
  const refused = refuseSpending(account, input.least_micros) ?? reservation.refusal;
  return refused === undefined
    ? { outcome: { outcome: "invalid", detail: "A meter reserves more than nothing", ...now } }
    : { outcome: { outcome: "refused", refusal: refused, ...now } };
}

function isSound({ slice, least_micros, lease_ms, resume }: OpenMeterInput): boolean {
  const amounts = [least_micros, ...amountsOf(slice), resume?.used_micros ?? ZERO];
  return amounts.every(isAmount) && least_micros > 0 && Number.isSafeInteger(lease_ms) && lease_ms > 0;
}

function amountsOf({ taken_micros, units, unit_micros, ahead = 0 }: Slice): readonly number[] {
  return [taken_micros, units, unit_micros, taken_micros + units * unit_micros, ahead];
}

const isAmount = (amount: number): boolean => toMicros(amount) !== undefined && amount >= 0;

/** Whether what a meter says makes sense. */
export function isUse({ used_micros, slice }: MeterUse): boolean {
  return isAmount(used_micros) && (slice === undefined || amountsOf(slice).every(isAmount));
}

export interface RenewalDecision extends Reservation {
  /** Absent where nothing needs to be written. */
  readonly write?: Renewal;
}

/** Of a hold that is open and not expired. Writes where more is reserved, or half of the lease is over, and what was delivered with it. */
export function decideRenewal(
  account: Account,
  hold: Hold,
  { used_micros, slice }: MeterUse,
  lease_ms: number,
  now_ms: number,
): RenewalDecision {
  const reservation = slice ? reserve(account, hold.amount_micros, slice) : { amount_micros: hold.amount_micros };
  const { amount_micros } = reservation;
  const fresh = hold.expires_at_ms - now_ms >= lease_ms / 2;
  if (amount_micros === hold.amount_micros && fresh && hold.used_micros !== null) return reservation;
  const used = Math.min(amount_micros, Math.max(used_micros, hold.used_micros ?? 0)) as Micros;
  return { ...reservation, write: { amount_micros, used_micros: used, expires_at_ms: now_ms + lease_ms } };
}
