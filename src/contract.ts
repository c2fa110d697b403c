/**
 * Types that cross a boundary between folders, and above all between the Worker and its Durable Objects. An expected
 * "no" is a value here, never an exception: exceptions lose their class on the way through RPC, and workerd logs each as
 * uncaught. Signatures only grow: a new Worker may talk to an old object for minutes during a deploy.
 */
import type { Micros } from "./money.js";

/** What a caller proved to hold: which generation of the envelope's token, and the hash of its secret part. */
export interface Credential {
  readonly generation: number;
  /** Base62 SHA-256 of the token's secret part. The secret itself never reaches an object. */
  readonly hash: string;
}

/** What a limited session proved to hold. */
export interface LimitedCredential {
  readonly key_id: string;
  /** Base62 SHA-256 of the token's secret part. */
  readonly hash: string;
}

/** What an API key proved to be. */
export interface KeyCredential {
  /** The key's public id. */
  readonly api_key: string;
  /** Base62 SHA-256 of the token's secret part. */
  readonly hash: string;
}

/** An identity that the app vouches for, as the directory knows it. Whether it still counts is the envelope's word. */
export interface IdentityCredential {
  readonly identity_id: string;
}

export type AnyCredential = Credential | LimitedCredential | KeyCredential | IdentityCredential;

/** Sent with every call. `credential` is absent when the Worker itself vouches for the caller. */
export interface Asked {
  readonly credential?: AnyCredential | undefined;
  /** ISO 4217, lower case. An envelope keeps the currency of its first entry and refuses any other. */
  readonly currency: string;
  /** When a saved card may be charged. Travels with each call, so that a deployment without it charges no card. */
  readonly auto_topup?: AutoTopUpRules | undefined;
  /** What somebody is to be told of. */
  readonly alerts?: AlertRules | undefined;
  /** What a caller that the Worker vouches for is given, once. */
  readonly sign_up?: SignUpRules | undefined;
}

/** Money to begin with, and its terms. */
export interface SignUpRules extends Omit<LotTerms, "expires_at_ms"> {
  readonly amount_micros: Micros;
  /** `null`: it does not expire. */
  readonly lasts_ms: number | null;
}

/** Names one attempt to write, so that a retry after a lost answer finds what the first attempt did. */
export interface Operation {
  readonly op: string;
  /** True when an earlier attempt may have been written: only then is the tail of the ledger searched. */
  readonly retry?: boolean;
}

/** Why an expected "no" was said. The wire names and statuses are in refusal.ts. */
export type RefusalReason =
  | "insufficient_balance"
  | "window"
  | "key_cap"
  | "key_expired"
  | "key_scope"
  | "frozen"
  | "credential_revoked"
  /** The app vouches for an identity that no envelope is open to. Said by the Worker. */
  | "identity_unknown";

/** What somebody wants to be told of. Travels with each call, as `auto_topup` does. */
export interface AlertRules {
  /** Told when the balance is less than this. Not what is available: a hold that comes and goes is no news. */
  readonly low_micros: Micros | null;
  /** Parts of a window's limit in hundredths of a percent, ascending. */
  readonly window_bps: readonly number[];
}

/** How an envelope stands, at the moment that changed. */
export type Alert =
  | {
      readonly kind: "low_balance" | "low_balance_recovered";
      readonly balance_micros: Micros;
      readonly threshold_micros: Micros;
    }
  | {
      readonly kind: "window_threshold" | "window_recovered";
      readonly window_id: string;
      /** Part of the limit, above 0 and at most 1. */
      readonly threshold: number;
      readonly limit_micros: Micros;
      readonly spent_micros: Micros;
      readonly resets_at_ms: number | null;
    };

export interface Refusal {
  readonly reason: RefusalReason;
  readonly price_micros: Micros;
  /** What has to be paid for the price to be covered; 0 where paying is not what it takes. */
  readonly shortfall_micros: Micros;
  /** What the limit that refused still admits. Of a limit only. */
  readonly admits_micros?: Micros;
  /** When that limit admits more by itself; `null` for never, and absent where no limit refused. */
  readonly resets_at_ms?: number | null;
  /** Which window refused. */
  readonly window_id?: string | null;
}

/** What the call changed of how the envelope stands, where somebody is to be told of it. Told once. */
export interface Alerted {
  readonly alerts?: readonly Alert[];
}

export interface Balances {
  /** Never includes what has expired. On a budget, which has no balance: what its tightest window still admits, with nothing held. */
  readonly balance_micros: Micros;
  /** `balance_micros` less what open holds reserve, and less what was given for something else than the tag that was asked with. */
  readonly available_micros: Micros;
}

/** What money is spent on. Only matters where money was given for some of it (`LotTerms.only`). */
export interface Tagged {
  /** Default: `reason`, which is method and path where a response carried the price. At most `TAG_MAX` characters. */
  readonly tag?: string | undefined;
}

/** `expired`: the key's charge is too old to be delivered again. `refunded`: it was given back. */
export type ConflictDetail = "price" | "scope" | "in_progress" | "expired" | "refunded";

export type ChargeOutcome = Balances &
  Alerted &
  /** `seq` is `null` for a charge of zero that was not recorded. */
  (
    | { readonly outcome: "charged"; readonly seq: number | null; readonly amount_micros: Micros }
    | { readonly outcome: "replayed"; readonly seq: number; readonly amount_micros: Micros }
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | { readonly outcome: "conflict"; readonly detail: ConflictDetail }
    | { readonly outcome: "invalid"; readonly detail: string }
  );

export interface ChargeInput extends Asked, Operation, Tagged {
  readonly amount_micros: Micros;
  /** Unique per envelope for ever: the second charge with a key is a replay or a conflict. */
  readonly key?: string | undefined;
  /** What the key was used for; the same key for something else is a conflict. */
  readonly scope?: string | undefined;
  /** How old a charge may be to be replayed. Default: any age. */
  readonly replay_ms?: number | undefined;
  /** Take what is available when that is less than the amount. */
  readonly at_most?: boolean | undefined;
  /** Write an entry even for a charge of zero. */
  readonly record_zero?: boolean | undefined;
  readonly reason?: string | undefined;
  /** JSON text, at most `METADATA_MAX` characters. */
  readonly metadata?: string | undefined;
  /** Keep a record of a "no", too: for the owner's servers. */
  readonly record_refusal?: boolean | undefined;
}

/** Asks whether a price could be paid now, without taking it. A "no" is what a charge would have been told, and does what it would have done. */
export interface AffordInput extends Asked, Tagged {
  readonly amount_micros: Micros;
}

export type AffordOutcome = Balances &
  ({ readonly outcome: "affordable" } | { readonly outcome: "refused"; readonly refusal: Refusal });

export interface HoldInput extends Asked, Operation, Tagged {
  readonly amount_micros: Micros;
  readonly ttl_ms: number;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly replay_ms?: number | undefined;
  readonly reason?: string | undefined;
}

export type HoldOutcome = Balances &
  (
    | { readonly outcome: "held"; readonly hold_id: number; readonly expires_at_ms: number }
    /** The key was already charged: nothing is held, and the caller need not pay again. */
    | { readonly outcome: "replayed"; readonly seq: number; readonly amount_micros: Micros }
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | { readonly outcome: "conflict"; readonly detail: ConflictDetail }
    | { readonly outcome: "invalid"; readonly detail: string }
  );

export type HoldEnd = "settled" | "released" | "expired";

export interface SettleInput extends Operation {
  readonly hold_id: number;
  readonly amount_micros: Micros;
  /**
   * What becomes of a price above the hold. `"all"` (default): it is taken whole, or nothing is and the hold is released.
   * `"apart"`: the hold is taken, and the rest as a charge of its own, whole or not at all. `"part"`: as much of the rest as is there.
   */
  readonly above?: "all" | "apart" | "part" | undefined;
  readonly metadata?: string | undefined;
  readonly auto_topup?: AutoTopUpRules | undefined;
  readonly alerts?: AlertRules | undefined;
  /** The deployment's: what `auto_topup` counts in. Absent from Workers of an earlier version. */
  readonly currency?: string | undefined;
}

export type SettleOutcome = Balances &
  Alerted &
  (
    | {
        readonly outcome: "charged";
        readonly seq: number | null;
        /** All that was taken: `settled_micros` and `extra_micros`, one entry. */
        readonly amount_micros: Micros;
        /** Of the hold. Absent from objects of an earlier version. */
        readonly settled_micros?: Micros;
        /** Above the hold, from the balance. */
        readonly extra_micros?: Micros;
        /** Why the rest of the price was not taken; absent where all of it was. */
        readonly refusal?: Refusal;
      }
    /** The price was above the hold and what is left does not cover the rest: nothing was taken, the hold is released. */
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | HoldEnded
    | { readonly outcome: "invalid"; readonly detail: string }
    | { readonly outcome: "unknown" }
  );

export type ReleaseOutcome = Balances &
  ({ readonly outcome: "released" } | HoldEnded | { readonly outcome: "unknown" });

/** The hold had already ended, this way. Nothing was changed. */
export interface HoldEnded {
  readonly outcome: "ended";
  readonly end: HoldEnd;
  /** What was taken when it ended. Absent from objects of an earlier version. */
  readonly paid_micros?: Micros;
}

export interface ExtendInput extends Asked {
  readonly hold_id: number;
  /** What the hold is to reserve in all; one that reserves as much already is left as it is. So asking again changes nothing. */
  readonly amount_micros?: Micros | undefined;
  /** How long it is to last from now; one that lasts longer already is left as it is. */
  readonly ttl_ms?: number | undefined;
}

export type ExtendOutcome = Balances &
  (
    | { readonly outcome: "extended"; readonly amount_micros: Micros; readonly expires_at_ms: number }
    /** The hold stays as it was. */
    | { readonly outcome: "refused"; readonly refusal: Refusal }
    | HoldEnded
    | { readonly outcome: "invalid"; readonly detail: string }
    | { readonly outcome: "unknown" }
  );

/** What a meter asks to be reserved: whole units beyond what it took already. */
export interface Slice {
  /** All that the meter took so far, delivered or about to be. */
  readonly taken_micros: Micros;
  /** How many more units, where there is money for them. */
  readonly units: number;
  readonly unit_micros: Micros;
  /** How many of them are not needed yet. Of what nobody reserved, no more than half is reserved for these: somebody else may need it sooner. */
  readonly ahead?: number | undefined;
}

/** A hold that grows while something is delivered, and is settled at what was. */
export interface OpenMeterInput extends Asked, Operation {
  readonly slice: Slice;
  /** What must be reserved, or nothing is. */
  readonly least_micros: Micros;
  /** How long what is reserved stays so when nothing is heard any more. */
  readonly lease_ms: number;
  readonly key?: string | undefined;
  readonly scope?: string | undefined;
  readonly replay_ms?: number | undefined;
  readonly reason?: string | undefined;
  /** What it is spent on; the reason where it is absent. */
  readonly tag?: string | undefined;
  /** Where so many meters of this envelope are open, no other is opened. */
  readonly open_max?: number | undefined;
  /** A hold to go on with: one that was taken beforehand, or whose session broke off. `used_micros` of it was delivered. */
  readonly resume?: { readonly hold_id: number; readonly used_micros: Micros } | undefined;
}

export type OpenMeterOutcome = Balances &
  (
    | (MeterHeld & { readonly hold_id: number; readonly session: MeterSession })
    | Exclude<HoldOutcome, { readonly outcome: "held" }>
    | HoldEnded
    /** `open_max` meters are open. */
    | { readonly outcome: "crowded" }
    | { readonly outcome: "unknown" }
  );

export interface MeterHeld {
  readonly outcome: "held";
  /** All that is reserved, with what was delivered of it. */
  readonly amount_micros: Micros;
  /** How long it stays so when nothing is heard any more. */
  readonly expires_in_ms: number;
  /** Why it is less than was asked for. */
  readonly refusal?: Refusal;
}

/**
 * A meter's hold from the side of whoever delivers. Calls on it are no requests of their own
 * (https://developers.cloudflare.com/durable-objects/platform/pricing/). When the caller is gone, the hold is settled at what it last
 * said; when object and caller are gone, at what was said with the last renewal, once the lease is over.
 */
export interface MeterSession extends Disposable {
  /** Says what was delivered, and reserves what is to come. Writes only where more is asked for, or the lease is half over. */
  use(input: MeterUse): Promise<Balances & (MeterHeld | HoldEnded)>;
  /** Settles the hold at what was delivered. */
  end(input: MeterEndInput): Promise<SettleOutcome>;
}

export interface MeterUse {
  readonly used_micros: Micros;
  readonly slice?: Slice | undefined;
}

export interface MeterEndInput {
  readonly used_micros: Micros;
  readonly op: string;
  readonly metadata?: string | undefined;
}

export interface RefundInput extends Operation, Audited {
  /** The charge, by its number or by the key it was made with. */
  readonly charge: { readonly seq: number } | { readonly key: string };
  /** Makes the refund happen once. */
  readonly key: string;
  /** As of a grant. */
  readonly scope?: string | undefined;
  /** Everything that is left of the charge when absent. */
  readonly amount_micros?: Micros | undefined;
  readonly reason?: string | undefined;
}

export type RefundOutcome = Balances &
  Alerted &
  (
    | {
        readonly outcome: "refunded" | "replayed";
        readonly seq: number;
        readonly amount_micros: Micros;
        /** Of it, what came from a grant that is over by now, and so was gone again at once. Absent where that is nothing, and from a replay. */
        readonly expired_micros?: Micros;
      }
    | { readonly outcome: "refused"; readonly refundable_micros: Micros }
    /** The charge is older than `ENVELOPE_LEDGER_DAYS`: it is final. */
    | { readonly outcome: "expired" }
    | { readonly outcome: "conflict" }
    | { readonly outcome: "unknown" }
  );

/** On what terms money was given: fixed by the grant. */
export interface LotTerms {
  /** 0 to 100; lower burns first. What was paid burns at 50, after grants of the same priority. */
  readonly priority: number;
  /** From this instant on it cannot be spent. `null` for never. */
  readonly expires_at_ms: number | null;
  /** The one tag that it may be spent on; one that ends in `*` stands for all that begin so. `null` for any. */
  readonly only: string | null;
}

/** Money that was given, not paid. Terms that are absent: priority 50, no expiry, to be spent on anything. */
export interface GrantInput extends Operation, Audited {
  readonly amount_micros: Micros;
  readonly currency: string;
  /** Makes the grant happen once. */
  readonly key: string;
  /** Hash of all that was asked under the key: another one is a conflict. Without it, only the amount has to be the same. */
  readonly scope?: string | undefined;
  /** A key that the same grant may have been made under before: where it was, nothing is given now. */
  readonly legacy_key?: string | undefined;
  readonly reason?: string | undefined;
  /** JSON text, at most `METADATA_MAX` characters. */
  readonly metadata?: string | undefined;
  readonly priority?: number | undefined;
  readonly expires_at_ms?: number | null | undefined;
  readonly only?: string | null | undefined;
}

export type GrantOutcome = Balances &
  Alerted &
  (
    | { readonly outcome: "granted" | "replayed"; readonly seq: number; readonly amount_micros: Micros }
    | { readonly outcome: "conflict"; readonly detail: ConflictDetail }
    | { readonly outcome: "invalid"; readonly detail: string }
  );

/** Takes back what is left of a grant. What returns to it later, by a refund, is over at once. */
export interface RevokeInput extends Operation, Audited {
  /** The grant, by its number or by the key it was made with. */
  readonly grant: { readonly seq: number } | { readonly key: string };
  /** Makes it happen once. */
  readonly key: string;
  readonly reason?: string | undefined;
}

export type RevokeOutcome = Balances &
  /** `amount_micros`: what was taken, at least zero. What an open hold reserves of it is left to the hold. */
  (
    | { readonly outcome: "revoked" | "replayed"; readonly seq: number; readonly amount_micros: Micros }
    /** The key was used for something else. */
    | { readonly outcome: "conflict" }
    /** There is no such grant, or it was made before grants were kept apart. */
    | { readonly outcome: "unknown" }
  );

/** What Stripe says about one payment. Amounts in the currency's minor unit, untouched. */
export interface PaymentFacts {
  readonly state: PaymentState;
  /** The Checkout Session's id, or the PaymentIntent's where there was no session. */
  readonly session_id: string;
  readonly event_id: string;
  readonly currency: string;
  readonly livemode: boolean;
  readonly amount_total: number;
  readonly amount_subtotal: number | null;
  readonly amount_discount: number;
  readonly amount_shipping: number;
  readonly amount_tax: number;
  /** The currency of Stripe's amounts, where an owner assigned a payment in another one than `currency`. */
  readonly paid_currency?: string | null;
  /** What the payment is worth in the envelope. */
  readonly credit_micros: Micros;
}

/** In the order a payment can only climb: a later word from Stripe never takes it back down. */
export type PaymentState = "pending" | "failed" | "paid";

/** What Stripe says about a refund, a dispute or a warning on a payment: one state per object, joined with what is on file. */
export interface Reversal {
  /** `re_…`, `du_…`, `issfr_…`; of a check, the charge's id. */
  readonly reversal_id: string;
  readonly kind: "refund" | "dispute" | "warning" | "check";
  /**
   * How far the object's money has moved, only ever upwards. Refund: 1 pending, 2 succeeded, 3 failed. Dispute: how often
   * money was withdrawn or reinstated, so that an odd rank means that it is withdrawn now.
   */
  readonly rank: number;
  /** Minor units of `currency`. */
  readonly amount: number;
  /** Where it is not the payment's own, the whole payment counts as taken back. Absent in what was filed before it was kept. */
  readonly currency?: string | null;
  /** The amount is not in the deployment's currency: what counts where `currency` is absent. */
  readonly whole: boolean;
  /** A dispute that is neither won nor lost yet. */
  readonly open: boolean;
  /** Whether an open dispute freezes the envelope. */
  readonly freezes: boolean;
  /** When Stripe made the event, seconds; with `status_rank`, says which of two words about a status is the later one. */
  readonly told_at: number;
  readonly status_rank: number;
}

/** One word from Stripe about one payment. Any order, number and repetition of the same words ends the same. */
export interface PaymentReport extends Audited {
  /** The PaymentIntent's id, or the Checkout Session's where there is none. */
  readonly payment_id: string;
  /** The deployment's currency. */
  readonly currency: string;
  readonly payment?: PaymentFacts;
  readonly reversal?: Reversal;
  /** Of an owner's assignment: its number. A payment that was disowned is taken again by a later one only. */
  readonly assignment?: number;
  /** Of a PaymentIntent of ours: which top-up it belongs to, and Stripe's code where it failed. */
  readonly topup?: { readonly attempt: string; readonly code: string | null };
  /** What whoever pays for the first time is given besides, at most as much as they paid. */
  readonly sign_up?: SignUpRules | undefined;
}

export type PaymentOutcome = Balances &
  Alerted &
  (
    | { readonly outcome: "credited"; readonly seq: number; readonly amount_micros: Micros }
    /** A refund or dispute took money back, or gave it back: the signed effect on the balance. */
    | { readonly outcome: "reversed"; readonly amount_micros: Micros }
    /** `disowned`: the payment was given to another envelope. */
    | { readonly outcome: "duplicate" | "pending" | "failed" | "disowned" }
    /** `unbooked_micros`: it is on file, and its effect does not fit into the balance: to be booked with the next word that does. */
    | { readonly outcome: "noted"; readonly unbooked_micros?: Micros }
    | { readonly outcome: "uncreditable"; readonly reason: "currency" | "amount" }
  );

export interface HoldView {
  readonly hold_id: number;
  readonly amount_micros: Micros;
  readonly at_ms: number;
  readonly expires_at_ms: number;
  readonly reason: string | null;
  /** Of a meter's hold: what was delivered, as far as is on disk. `null` for any other. */
  readonly used_micros?: Micros | null;
}

export type WindowUnit = "HOURLY" | "DAILY" | "WEEKLY" | "MONTHLY" | "ANNUAL" | "ONCE";

/**
 * How periods follow each other. `calendar`: with the zone's hours, days, weeks, months, years. `anchored`: from a moment on, and on from there.
 * `rolling`: at every moment, the time up to then.
 */
export type WindowAlignment = "calendar" | "anchored" | "rolling";

/** A limit on what is spent in a period of time. */
export interface WindowRule {
  readonly unit: WindowUnit;
  /** So many units are one period. */
  readonly every: number;
  readonly alignment: WindowAlignment;
  /** IANA. */
  readonly time_zone: string;
  /** The day that weeks of the calendar begin with: 1 is Monday, 7 Sunday. */
  readonly week_start: number;
  /** When an anchored window's first period begins, or an anchored `ONCE` begins to count; `null` for the others. */
  readonly anchor_ms: number | null;
  readonly limit_micros: Micros;
}

/** A window as an owner asks for it. */
export interface WindowInput {
  /** 1 to 64 of `[A-Za-z0-9_-]`, unique in the envelope. Made where it is absent. */
  readonly window_id?: string | undefined;
  readonly unit: WindowUnit;
  readonly limit_micros: Micros;
  /** Default 1. */
  readonly every?: number | undefined;
  /** Default: `anchored` where there is an anchor, else `calendar`. */
  readonly alignment?: WindowAlignment | undefined;
  /** Default: the envelope's. */
  readonly time_zone?: string | undefined;
  /** Default 1, Monday. */
  readonly week_start?: number | undefined;
  readonly anchor_ms?: number | undefined;
}

/** What an owner settles about an envelope. */
export interface EnvelopeSettings {
  readonly prepaid: boolean;
  readonly name: string | null;
  readonly owner_account_id: string | null;
  readonly time_zone: string;
  readonly windows: readonly (WindowRule & { readonly window_id: string })[];
}

/** Whatever is absent stays as it is. */
export interface ConfigureInput extends Audited {
  readonly currency: string;
  /** Makes it happen once; only with `by`. Without one, it may be said again all the same: it says how things are to be. */
  readonly key?: string | undefined;
  /** `false` makes it a budget: charges are limited by its windows alone, and without one refused. Fixed by the first entry or hold. Default true. */
  readonly prepaid?: boolean | undefined;
  /** At most `NAME_MAX` characters. */
  readonly name?: string | null | undefined;
  readonly owner_account_id?: string | null | undefined;
  /** IANA. Of windows that name none from now on; at first `UTC`. */
  readonly time_zone?: string | undefined;
  /**
   * All windows that the envelope is to have, at most 8: those that are left out end. One that is there under its id and differs in nothing but the limit
   * goes on counting; any other is new, and has counted what was spent in its period before it was made, but with `ENVELOPE_LEDGER_DAYS` nothing that is older than that.
   */
  readonly windows?: readonly WindowInput[] | undefined;
}

export type ConfigureOutcome =
  | { readonly outcome: "configured"; readonly settings: EnvelopeSettings }
  /** The key was used before, for the same: the settings as they were then. */
  | { readonly outcome: "replayed"; readonly settings: EnvelopeSettings }
  /** `key`: it was used for something else. `prepaid`: that is fixed by now. */
  | { readonly outcome: "conflict"; readonly detail: "key" | "prepaid" }
  | { readonly outcome: "invalid"; readonly detail: string };

/** A window as it stands. */
export interface WindowView extends WindowRule {
  readonly window_id: string;
  /** Charges booked in the period, less what was given back of them. */
  readonly spent_micros: Micros;
  /** Of all open holds: they count in every window while they are open. */
  readonly held_micros: Micros;
  /** What may still be spent, and not below zero. */
  readonly remaining_micros: Micros;
  /** Half-open: `start_ms` ≤ time < `end_ms`. Of a rolling window, up to and with now. `null` where a period has no such edge. */
  readonly start_ms: number | null;
  readonly end_ms: number | null;
  /** When it admits more by itself: the end of the period, or of a rolling window when the oldest that it counts leaves it. `null` for never, and of a rolling one that nothing is spent in. */
  readonly resets_at_ms: number | null;
}

export interface EnvelopeState extends Balances {
  readonly held_micros: Micros;
  /** Number of the newest entry; 0 when there is none. */
  readonly seq: number;
  /** True once money was ever put in. */
  readonly funded: boolean;
  /** By the owner, or by an open dispute. */
  readonly frozen: boolean;
  /** Disputes that are neither won nor lost yet. */
  readonly open_disputes: number;
  /** `null` where nothing was ever stored. Fixed by the first entry: before it, as the last write had it. */
  readonly currency: string | null;
  readonly holds: readonly HoldView[];
  /** What is left of grants, in the order in which it is spent. Not told to a limited session. */
  readonly lots: readonly LotView[];
  /** Of the balance, what was given; the rest was paid. */
  readonly promotional_micros: Micros;
  /** Below zero where it was paid back after it was spent. */
  readonly paid_micros: Micros;
  /** What expires next, if it is not spent before. */
  readonly expiring: { readonly at_ms: number; readonly amount_micros: Micros } | null;
  /** Has a balance that limits it; else it is a budget, limited by its windows alone. Absent where an earlier version of this code still runs. */
  readonly prepaid?: boolean;
  /** As the owner called it, and whose it is in the owner's own books. Not told to a limited session. */
  readonly name?: string | null;
  readonly owner_account_id?: string | null;
  /** Of windows that name none. */
  readonly time_zone?: string;
  /** Spending limits over a period of time. Not told to a limited session. */
  readonly windows: readonly WindowView[];
  /** `null` where no card was ever saved. */
  readonly autoTopUp: AutoTopUpState | null;
  /** Sessions that a payment opened on this envelope and that still count. Told to its holder only. */
  readonly limited_sessions: readonly LimitedSessionView[];
  /** Who is asking, where it is a key or an identity that may spend beside the holder. */
  readonly spender?: SpenderView | undefined;
}

export interface LotView extends LotTerms {
  /** Number of the grant's entry. */
  readonly seq: number;
  readonly granted_micros: Micros;
  readonly remaining_micros: Micros;
  /** Of it, what open holds reserve. */
  readonly held_micros: Micros;
}

export interface LimitedSessionView {
  readonly payment_id: string;
  readonly at_ms: number;
  readonly expires_at_ms: number;
}

/** `unauthorized`: the credential was revoked. Nothing about the envelope is told. */
export type StateOutcome =
  /** `superseded`: the credential was replaced and is in its grace; it must not be handed out again. */
  | ({ readonly outcome: "ok"; readonly superseded: boolean } & EnvelopeState)
  | { readonly outcome: "unauthorized" }
  /** A key or identity that has not the scope `read`, or has expired. */
  | { readonly outcome: "forbidden"; readonly detail: string };

/**
 * `usage`: a charge on a budget. `clawback`: a Stripe refund or dispute took a top-up back; `reinstatement`: it came back. `expiry`: what
 * was left of a grant when it expired; `revocation`: the owner took it back.
 */
export type EntryKind =
  | "charge"
  | "usage"
  | "refund"
  | "topup"
  | "grant"
  | "clawback"
  | "reinstatement"
  | "expiry"
  | "revocation";

/** One immutable line of an envelope's ledger. */
export interface Entry {
  readonly seq: number;
  readonly at_ms: number;
  readonly kind: EntryKind;
  /** Signed effect on the balance. */
  readonly amount_micros: Micros;
  /** Balance after this entry. */
  readonly balance_micros: Micros;
  readonly key: string | null;
  /** The charge that a refund gives back; the grant that expired or was revoked. */
  readonly ref_seq: number | null;
  readonly hold_id: number | null;
  readonly payment_id: string | null;
  readonly reason: string | null;
  readonly metadata: string | null;
  /**
   * JSON: where the amount came from or went to, in that order, and what is left of each grant: `[seq of the grant, left, moved]`,
   * without `moved` where nothing was. 0 stands for what was paid. `null`: no grant was open, and all of it was.
   */
  readonly lots: string | null;
  /** The id of the key or identity that spent it; of a refund, that spent what it gives back. `null` for the holder. */
  readonly spender: string | null;
}

/** Entries that are about to be folded: a whole stretch of the ledger, with those that stay. */
export interface ArchivePage {
  /** The same for the same entries, and in the order of the ledger: `<envelope id>/<first>-<last>`, each number with 16 digits. */
  readonly name: string;
  readonly envelope_id: string;
  readonly currency: string;
  readonly first_seq: number;
  readonly last_seq: number;
  /** Every entry from `first_seq` to `last_seq`, oldest first. The next page begins where this one ends. */
  readonly entries: readonly Entry[];
}

export type EntriesInput = {
  /** 1 to `ENTRIES_PAGE_MAX`. */
  readonly limit: number;
} & (
  | {
      /** Entries with a greater number than this, oldest first; 0 for the beginning. */
      readonly after: number;
    }
  | Before
);

/** A page of numbered lines, newest first: those with a smaller number than this; all when `null`. */
export interface Before {
  readonly before: number | null;
}

export interface RotateInput {
  readonly credential: Credential;
  readonly next: Credential;
  /** Hash of a successor that nobody can derive any more: `next` takes its place, if it was never used. */
  readonly replaces?: string;
}

/**
 * `unfunded`: nothing was ever paid, so there is nothing to keep: a new identity does as well. `superseded`: another successor
 * was already issued for this generation; its hash is told so that it can be issued again.
 */
export type RotateOutcome =
  | { readonly outcome: "rotated" }
  | { readonly outcome: "unfunded" }
  | { readonly outcome: "superseded"; readonly hash: string }
  | { readonly outcome: "unauthorized" };

/** When a saved card is charged, and how much of it at most. */
export interface AutoTopUpRules {
  /** Charged when less than this is available. */
  readonly threshold_micros: Micros;
  readonly amount_micros: Micros;
  readonly max_per_window: number;
  readonly ceiling_micros: Micros;
  readonly window_ms: number;
  readonly cool_down_ms: number;
}

/** Why auto top-up does not charge any more until the owner enables it again. */
export type AutoTopUpStop =
  /** Three declines in a row. */
  | "declined"
  | "authentication_required"
  /** Stripe does not take the request: the card or customer is gone. */
  | "rejected"
  /** Stripe never said whether the last attempt was paid. */
  | "outcome_unknown"
  | "dispute"
  | "fraud_warning"
  /** A top-up that it made was refunded. */
  | "refund";

export interface AutoTopUpState {
  readonly enabled: boolean;
  /** `pending`: an attempt is under way. */
  readonly status: "off" | "ready" | "pending" | "stopped";
  readonly stopped: AutoTopUpStop | null;
  /** Of the newest attempt, where it failed: Stripe's code, or ours. */
  readonly lastFailure: string | null;
}

export type TopUpStatus = "PENDING" | "FAILED" | "SUCCEEDED";

/** `canceled`: it was given up before Stripe was asked. */
export type TopUpFailure = "canceled" | "outcome_unknown" | "declined" | "rejected" | "authentication_required";

/** One top-up that we asked Stripe for, by the owner's server or by itself. */
export interface TopUp {
  readonly topup_id: number;
  readonly origin: "api" | "auto";
  readonly status: TopUpStatus;
  readonly amount_micros: Micros;
  readonly currency: string;
  readonly payment_id: string | null;
  readonly failure: TopUpFailure | null;
  /** Stripe's code. */
  readonly code: string | null;
  readonly at_ms: number;
  readonly ended_at_ms: number | null;
}

/** A place in both lists of usage. */
export interface UsagePlace {
  readonly seq: number;
  readonly record_id: number;
}

export interface UsageInput {
  /** `null` for the newest. */
  readonly before: UsagePlace | null;
  readonly limit: number;
}

export interface UsageRecord {
  /** `BLOCKED`: a limit said no. `ERROR`: the request itself was at fault. */
  readonly status: "SUCCESS" | "BLOCKED" | "ERROR";
  /** Of the entry, or of the record of a refusal. */
  readonly number: number;
  readonly at_ms: number;
  readonly amount_micros: Micros;
  /** Why it was refused. */
  readonly detail: string | null;
  readonly key: string | null;
  readonly spender_id: string | null;
  readonly reason: string | null;
  readonly metadata: string | null;
}

export interface UsagePage {
  readonly records: readonly UsageRecord[];
  readonly next: UsagePlace | null;
}

export interface BeginTopUpInput extends Audited {
  /** Makes the top-up happen once. */
  readonly key: string;
  readonly amount_micros: Micros;
  readonly currency: string;
  /** What the PaymentIntent will carry: stored, so that a retry asks Stripe for exactly the same. */
  readonly reference: string;
}

export type BeginTopUpOutcome =
  | {
      readonly outcome: "begun" | "found";
      readonly topup: TopUp;
      /** Stripe's idempotency key. */
      readonly attempt: string;
      readonly reference: string;
    }
  | { readonly outcome: "conflict" }
  | { readonly outcome: "invalid"; readonly detail: string };

export interface NoteTopUpInput {
  readonly attempt: string;
  readonly payment_id: string | null;
  readonly status: TopUpStatus;
  readonly failure: TopUpFailure | null;
  readonly code: string | null;
}

/** The card that may be charged: the owner's server says so, for one envelope. */
export type SetAutoTopUpInput = Audited &
  (
    | { readonly enabled: false }
    | {
        readonly enabled: true;
        readonly currency: string;
        readonly customer: string;
        readonly payment_method: string;
      }
  );

/** The remote face of an `Envelope` object. Each call is one billed request and at most one transaction. */
export interface EnvelopeApi {
  charge(input: ChargeInput): Promise<ChargeOutcome>;
  /**
   * A charge as nearly all are: the first attempt, of a price and a reason, by a holder, an API key or one the app vouches for.
   * `presented` is the generation of a token, or the id of an API key; `hash` of its secret. Answers with the balance after it; with the
   * outcome where that is anything but charged. Nothing but primitives crosses: a name costs time on its way, and an object that comes
   * back brings a disposer of its own.
   */
  take(
    amount_micros: Micros,
    op: string,
    currency: string,
    reason: string,
    presented: number | string | undefined,
    hash: string | undefined,
  ): Promise<Micros | ChargeOutcome>;
  afford(input: AffordInput): Promise<AffordOutcome>;
  hold(input: HoldInput): Promise<HoldOutcome>;
  settle(input: SettleInput): Promise<SettleOutcome>;
  extend(input: ExtendInput): Promise<ExtendOutcome>;
  openMeter(input: OpenMeterInput): Promise<OpenMeterOutcome>;
  /** By its number, or by the operation that took it. */
  release(input: { readonly hold_id: number } | { readonly op: string }): Promise<ReleaseOutcome>;
  refund(input: RefundInput): Promise<RefundOutcome>;
  grant(input: GrantInput): Promise<GrantOutcome>;
  revoke(input: RevokeInput): Promise<RevokeOutcome>;
  report(report: PaymentReport): Promise<PaymentOutcome & { readonly undo?: Undo }>;
  /** What is on file of a payment here; `null` when nothing is. */
  paymentState(input: { readonly payment_id: string }): Promise<PaymentState | null>;
  /** Gives up a payment that was claimed here and could not be credited, so that it can be credited elsewhere. */
  disown(input: {
    readonly payment_id: string;
    readonly currency: string;
    readonly assignment: number;
  }): Promise<DisownOutcome>;
  state(input: Partial<Asked>): Promise<StateOutcome>;
  /** What the owner settles: whether there is a balance, which windows limit it, what it is called. */
  configure(input: ConfigureInput): Promise<ConfigureOutcome>;
  entries(input: EntriesInput): Promise<readonly Entry[]>;
  rotate(input: RotateInput): Promise<RotateOutcome>;
  /** A frozen envelope takes money in and lets none out. */
  freeze(input: FreezeInput): Promise<FreezeOutcome>;
  /** A new credential in the place of all others, which are refused from this moment on. */
  reissue(input: ReissueInput): Promise<ReissueOutcome>;
  /** Stores the owner's wish to send a payment back before Stripe is asked. */
  beginStripeRefund(input: StripeRefundInput): Promise<BeginStripeRefundOutcome>;
  /** What Stripe answered. */
  noteStripeRefund(input: StripeRefundNote): Promise<void>;
  /** Payments on file, newest first. */
  payments(input: PaymentsInput): Promise<readonly PaymentLine[]>;
  /** What owners did here, newest first. */
  audit(input: Before & { readonly limit: number }): Promise<readonly AuditLine[]>;
  /** One statement that reads. Whatever it does is rolled back. */
  query(input: ReadQuery): Promise<QueryOutcome>;
  /** How a payment that was made into this envelope stands for login by payment, and whether the caller holds the envelope. Notes the card; decides nothing. */
  returned(input: ReturnedInput): Promise<ReturnedOutcome>;
  /** The holder keeps the card of a payment made into this envelope, so that it can open it again. */
  keepCard(input: KeepCardInput): Promise<LoginOutcome>;
  /** Whether the envelope still keeps this card: rotating its token forgets all. */
  keeps(input: { readonly cards: readonly string[] }): Promise<boolean>;
  /** Notes the session that a payment made into this envelope opens elsewhere. One per payment, and none once it was reversed. */
  bear(input: BearInput): Promise<LoginOutcome>;
  /**
   * Somebody else's browser came back from this payment: it opens nothing any more, and what it did is named, to be undone. Asked
   * again, it names the same. Not when whoever came back holds this envelope.
   */
  shut(input: ShutInput): Promise<ShutOutcome>;
  /** Counts a wrong answer to the question about the payment's card. After a few, the payment opens nothing. */
  mistaken(input: { readonly payment_id: string; readonly card: string; readonly currency: string }): Promise<void>;
  /** Lets a limited session in. Asking again is answered the same. */
  admit(input: AdmitInput): Promise<AdmitOutcome>;
  /** Ends a limited session, or one that was not let in yet. */
  endLimited(input: { readonly key_id: string }): Promise<void>;
  /** Stores a top-up before Stripe is asked for it. */
  beginTopUp(input: BeginTopUpInput): Promise<BeginTopUpOutcome>;
  /** What Stripe answered. */
  noteTopUp(input: NoteTopUpInput): Promise<TopUp | null>;
  /** By Stripe's idempotency key, which the PaymentIntent carries; `null` where this envelope never asked for it. */
  topUp(input: { readonly attempt: string }): Promise<TopUp | null>;
  /** Newest first: those with a smaller number than `before`. */
  topUps(input: { readonly limit: number; readonly before?: number | null }): Promise<readonly TopUp[]>;
  /** What was charged, and what was refused to the owner's servers, newest first. */
  usage(input: UsageInput): Promise<UsagePage>;
  /** The aggregate has entries up to `after` only: sends what follows, soon. */
  ship(input: { readonly after: number }): Promise<{ readonly head_seq: number }>;
  /** What the ledger says up to an entry, read from the checkpoint and every row. Below what is folded, it answers for `folded_seq`. */
  sums(input: { readonly up_to: number }): Promise<LedgerSums>;
  setAutoTopUp(input: SetAutoTopUpInput): Promise<AutoTopUpState | null>;
  /** Files an API key that the Worker made: of its token, a hash only. */
  mintKey(input: MintKeyInput): Promise<MintKeyOutcome>;
  /** Keys and identities, newest first. */
  spenders(input: SpendersInput): Promise<SpendersOutcome>;
  /** From this moment on it is refused. */
  revokeSpender(input: RevokeSpenderInput): Promise<RevokeSpenderOutcome>;
  /** Notes an identity that is to be claimed in the directory. It counts for nothing until it is activated. */
  noteIdentity(input: NoteIdentityInput): Promise<NoteIdentityOutcome>;
  /** The directory has it as this envelope's. With the settings that are given here: others may have noted it with theirs meanwhile. */
  activateIdentity(
    input: { readonly identity_id: string; readonly by: Author; readonly key: string } & Partial<SpenderSettings>,
  ): Promise<ActivateIdentityOutcome>;
  /** Forgets an identity that was noted and is another envelope's. One that was activated stays. */
  dropIdentity(input: { readonly identity_id: string }): Promise<void>;
  /** Whether an identity has ended here: revoked, expired or never heard of. What is told to have ended never begins again, whatever the clock does. */
  endIdentity(input: { readonly identity_id: string }): Promise<{ readonly ended: boolean }>;
}

/** What an identity is. `API_KEY`: one of ours, or one of the app's own. */
export type IdentityType = "USERNAME" | "EMAIL" | "PHONE" | "API_KEY" | "WALLET" | "CUSTOM";

/** `spend`: charges and holds. `read`: balance, windows, and what it may spend itself. `keys`: makes, lists and ends keys. */
export type Scope = "spend" | "read" | "keys";

/** What one who may spend beside the holder may do. */
export interface SpenderSettings {
  /** For people; told to whoever may list it. */
  readonly name: string | null;
  readonly scopes: readonly Scope[];
  /** Over its whole life, net of refunds; `null` for no limit of its own. */
  readonly cap_micros: Micros | null;
  /** Limits over periods of time, beside the envelope's own: of the calendar or anchored. */
  readonly windows: readonly WindowInput[];
  readonly expires_at_ms: number | null;
}

/** An API key, or an identity that the owner authorised. */
export interface SpenderView extends Omit<SpenderSettings, "windows"> {
  readonly id: string;
  readonly kind: IdentityType;
  /** Made here, and its secret shown once; else something that the app knows its caller by. */
  readonly minted: boolean;
  /** The last characters of a key, to tell it by. */
  readonly last4: string | null;
  /** The key that made it, and whose limits and end it shares. */
  readonly made_by: string | null;
  /** `pending`: the directory has not been asked yet, so it opens nothing. */
  readonly status: "pending" | "active" | "expired" | "revoked";
  readonly charges: number;
  /** What its own charges took. */
  readonly spent_micros: Micros;
  /** How much of that was given back. */
  readonly refunded_micros: Micros;
  /** What its cap, its windows and those of the keys it was made by still admit, with open holds taken off; `null` without any. */
  readonly remaining_micros: Micros | null;
  readonly windows: readonly WindowView[];
  readonly at_ms: number;
  readonly revoked_at_ms: number | null;
  /** When it last spent. */
  readonly last_used_at_ms: number | null;
}

/** Who manages the keys of an envelope: its holder, a key with the scope for it, or, without a credential, whom the Worker vouches for. */
interface Managing {
  readonly credential?: AnyCredential | undefined;
}

export interface MintKeyInput extends SpenderSettings, Managing {
  /** The key's public id, a part of its token. */
  readonly id: string;
  /** Base62 SHA-256 of the token's secret part. */
  readonly hash: string;
  readonly last4: string;
  readonly currency: string;
  /** Makes it happen once. The secret is not kept, so asking again cannot be answered the same. */
  readonly key: string;
  readonly by: Author;
}

/** `unauthorized`: the credential does not count. `forbidden`: it may not do that. */
export type ManagingRefusal =
  | { readonly outcome: "unauthorized" }
  | { readonly outcome: "forbidden"; readonly detail: string };

export type MintKeyOutcome =
  | { readonly outcome: "minted"; readonly spender: SpenderView }
  /** This key was used before: nothing was made now. */
  | { readonly outcome: "replayed" }
  /** Nothing was ever put into the envelope, so there is nothing to spend. */
  | { readonly outcome: "unfunded" }
  | { readonly outcome: "invalid"; readonly detail: string }
  | ManagingRefusal;

export interface SpendersInput extends Managing {
  /** Keys of ours only, or identities only; both when absent. */
  readonly minted?: boolean | undefined;
  /** The number of the last one of the page before; `null` for the newest. */
  readonly before: number | null;
  readonly limit: number;
}

export type SpendersOutcome =
  /** `number`: for the next page's `before`. */
  | { readonly outcome: "ok"; readonly spenders: readonly (SpenderView & { readonly number: number })[] }
  | ManagingRefusal;

export interface RevokeSpenderInput extends Managing {
  readonly id: string;
  /** A key of ours, or an identity: one is not taken for the other. */
  readonly minted: boolean;
  readonly by: Author;
}

export type RevokeSpenderOutcome =
  /** `shard`: of the directory, where an identity is to be released. Answered the same when it was revoked before. */
  | { readonly outcome: "revoked"; readonly spender: SpenderView; readonly shard: number | null }
  | { readonly outcome: "unknown" }
  | ManagingRefusal;

export interface NoteIdentityInput extends SpenderSettings {
  readonly kind: IdentityType;
  /** Keyed hashes, the newest secret's first. */
  readonly hashes: readonly string[];
  /** Of the directory. */
  readonly shard: number;
  /** What it is called, where the envelope does not know it yet. */
  readonly identity_id: string;
  /** What the directory says this envelope calls it. */
  readonly known_as?: string | undefined;
  readonly by: Author;
  /** Makes it happen once. */
  readonly key: string;
}

/** `found`: it is authorised already, just so. `differs`: with other settings. `key_used`: for another identity. */
export type NotedIdentity =
  | { readonly outcome: "found" | "differs"; readonly spender: SpenderView }
  | { readonly outcome: "key_used" }
  /** There is no such envelope. */
  | { readonly outcome: "unknown" }
  | { readonly outcome: "invalid"; readonly detail: string };

export type NoteIdentityOutcome = { readonly outcome: "noted"; readonly identity_id: string } | NotedIdentity;

export type ActivateIdentityOutcome =
  | { readonly outcome: "authorized"; readonly spender: SpenderView }
  /** It was authorised meanwhile, with other settings. */
  | { readonly outcome: "differs"; readonly spender: SpenderView }
  /** Meanwhile, for another identity: this one is forgotten. */
  | { readonly outcome: "key_used" }
  /** It was revoked meanwhile. */
  | { readonly outcome: "ended" };

export type AuthorizeOutcome =
  | NotedIdentity
  | ActivateIdentityOutcome
  | { readonly outcome: "taken"; readonly envelope_id: string };

/** Whose an identity is, and what that envelope calls it. */
export interface IdentityPlace {
  readonly envelope_id: string;
  readonly identity_id: string;
}

export interface ClaimIdentityInput extends IdentityPlace {
  /** Keyed hashes, the newest secret's first. */
  readonly hashes: readonly string[];
}

/** A session that a payment opened on another envelope. */
export interface BornSession {
  readonly envelope_id: string;
  readonly key_id: string;
}

/**
 * What a refund, dispute or warning undoes besides money, or a payer who came back to a browser that did not start the payment.
 * Told with every later report, so that an interrupted undoing is finished by the next.
 */
export interface Undo {
  readonly sessions: readonly BornSession[];
  /** The card must open nothing any more. */
  readonly card: string | null;
  /** The card was kept by this payment and no longer is: others may keep it. */
  readonly forget?: string | null;
}

export interface ShutInput {
  readonly payment_id: string;
  readonly currency: string;
  /** Keyed hashes, the newest first; none where the payment's card tells nothing. */
  readonly cards: readonly string[];
  /** Of the envelope itself; absent when the caller has none. */
  readonly credential: Credential | undefined;
}

export type ShutOutcome = { readonly outcome: "shut"; readonly undo: Undo } | { readonly outcome: "holder" };

export interface ReturnedInput {
  readonly payment_id: string;
  /** Keyed hash. */
  readonly card: string;
  /** Of the envelope itself; absent when the caller has none. */
  readonly credential: Credential | undefined;
}

/** `used`: it opened a session already. `reversed`: it opens nothing, because of a refund, dispute or warning, or because it was shut. */
export interface ReturnedOutcome {
  readonly outcome: "open" | "used" | "reversed";
  /** The caller proved to hold this envelope, with a credential that is not about to end. */
  readonly holder: boolean;
}

export interface KeepCardInput {
  readonly payment_id: string;
  /** Keyed hash. */
  readonly card: string;
  readonly credential: Credential;
}

export interface BearInput {
  readonly payment_id: string;
  readonly card: string;
  readonly session: BornSession;
}

/** `unpaid`: the payment is not credited here yet; ask again later. */
export interface LoginOutcome {
  readonly outcome: "done" | "refused" | "unpaid";
}

export interface AdmitInput extends LimitedCredential {
  /** The payment it is born from. */
  readonly payment_id: string;
  /** The card it was paid with: keyed hashes, under the current secret and earlier ones. */
  readonly cards: readonly string[];
}

export type AdmitOutcome =
  | { readonly outcome: "admitted"; readonly expires_at_ms: number }
  /** It ended, or the envelope does not keep the card any more. */
  | { readonly outcome: "ended" };

/** Money that Stripe signed for and that could not be put into an envelope. Kept until the owner assigns it, once. */
export interface UnclaimedPayment {
  readonly payment_id: string;
  readonly event_id: string;
  readonly reason: string;
  readonly client_reference_id: string | null;
  readonly currency: string | null;
  readonly amount_total: number | null;
  readonly livemode: boolean;
  /** What Stripe said, for the envelope it is assigned to; `null` when that was not understood. */
  readonly facts: PaymentFacts | null;
  readonly at_ms: number;
  /** The envelope an owner gave it to. Still listed while that is not finished: assign it again to finish it. */
  readonly assigned_to: string | null;
}

export interface UnclaimedInput {
  /** The last payment of the page before; `null` for the oldest. */
  readonly after: Pick<UnclaimedPayment, "at_ms" | "payment_id"> | null;
  readonly limit: number;
}

export type NewUnclaimedPayment = Omit<UnclaimedPayment, "at_ms" | "assigned_to">;

export interface ClaimOutcome {
  /** Whose the payment is: the claimant's, or whoever claimed it before, or was assigned it. */
  readonly envelope_id: string;
  /** What arrived for the payment before anybody claimed it. Handed out until it is settled. */
  readonly parked: readonly ParkedReport[];
  /** The payment is still listed as unclaimed: to be settled once it is credited. */
  readonly listed: boolean;
  /** An owner is giving it to an envelope: nobody else may credit it now. */
  readonly assigning: boolean;
}

export interface ParkedReport {
  readonly event_id: string;
  readonly report: PaymentReport;
}

export type AssignOutcome =
  | {
      readonly outcome: "assigned";
      readonly payment: UnclaimedPayment;
      /** Who had it before and could not be credited: to be asked first, and to hand over what they heard. */
      readonly claimed_by: readonly string[];
      /** Number of this assignment: a later one overrules it, also in the envelopes. */
      readonly assignment: number;
    }
  /** It is in an envelope already. */
  | { readonly outcome: "taken"; readonly payment: UnclaimedPayment }
  | { readonly outcome: "unknown" };

/** The remote face of an `EnvelopeDirectory` shard: which envelope a payment belongs to. */
export interface DirectoryApi {
  /** First claimant wins; asking again is answered the same. */
  claim(input: { readonly payment_id: string; readonly envelope_id: string }): Promise<ClaimOutcome>;
  /** Answers whose the payment is; while it is nobody's, keeps the report for whoever gets it. In one turn. */
  route(parked: ParkedReport): Promise<{ readonly envelope_id: string | null }>;
  /** Who claimed the payment, without claiming it. */
  claimant(input: { readonly payment_id: string }): Promise<{ readonly envelope_id: string | null }>;
  /** The payment is booked in this envelope and the reports are applied. */
  settle(input: SettledPayment): Promise<void>;
  recordUnclaimed(payment: NewUnclaimedPayment): Promise<{ readonly outcome: "recorded" | "duplicate" }>;
  /** Payments that are in no envelope yet, oldest first. */
  unclaimed(input?: UnclaimedInput): Promise<readonly UnclaimedPayment[]>;
  unclaimedCount(): Promise<number>;
  /** Looks one up, booked or not. */
  lookup(input: { readonly payment_id: string }): Promise<UnclaimedPayment | null>;
  /** Gives an unclaimed payment to an envelope, once. Repeating it with the same envelope repairs an interrupted one. */
  assign(input: { readonly payment_id: string; readonly envelope_id: string }): Promise<AssignOutcome>;
  /** Whose a card is. With an envelope: its, unless it is another's already. */
  claimCard(input: { readonly card: string; readonly envelope_id: string | null }): Promise<CardOutcome>;
  /** The envelope keeps the card no longer; nothing happens where another has it. */
  releaseCard(input: { readonly card: string; readonly envelope_id: string }): Promise<void>;
  /** The card opens nothing any more, whoever has it or will claim it. */
  blockCard(input: { readonly card: string }): Promise<void>;
  /** Notes an envelope that has a ledger, before it is mirrored for the first time: so a mirror that was lost knows whom to ask. */
  enrol(input: { readonly envelope_id: string }): Promise<void>;
  /** Every envelope that was enrolled, in the order of their ids. */
  envelopes(input: { readonly cursor: string | null; readonly limit: number }): Promise<DirectoryPage>;
  /** Whose an identity is. */
  identity(input: { readonly hashes: readonly string[] }): Promise<IdentityPlace | null>;
  /** First one wins; asking again is answered the same. Answers who has it now. */
  claimIdentity(input: ClaimIdentityInput): Promise<IdentityPlace>;
  /** It has ended in its envelope: others may claim it. */
  releaseIdentity(input: { readonly identity_id: string }): Promise<void>;
}

/** A place in the list of unclaimed payments: by time, then by id. */
export type UnclaimedPlace = Pick<UnclaimedPayment, "at_ms" | "payment_id">;

export interface UnclaimedInput {
  /** `null` for the oldest. */
  readonly after: UnclaimedPlace | null;
  /** At most 1,000. */
  readonly limit: number;
}

export interface DirectoryPage {
  readonly envelopes: readonly string[];
  readonly cursor: string | null;
}

export interface CardOutcome {
  readonly envelope_id: string | null;
  readonly blocked: boolean;
}

export interface SettledPayment {
  readonly payment_id: string;
  readonly envelope_id: string;
  readonly event_ids: readonly string[];
  /** The payment is credited in this envelope, so it is no longer unclaimed. */
  readonly booked: boolean;
}

/** `paid`: it is credited here. Else nothing of this payment will ever be, and what was heard of it is handed over. */
export type DisownOutcome =
  | { readonly outcome: "paid" }
  | { readonly outcome: "disowned"; readonly reversals: readonly Reversal[] };

export interface MirrorBatch {
  readonly envelope_id: string;
  readonly currency: string;
  /** Consecutive entries, oldest first. */
  readonly entries: readonly MirrorEntry[];
  /** Takes the place of entries that are folded: what they and those between them came to. The entries follow on it. */
  readonly opening?: MirrorOpening;
  /** Number of the envelope's newest entry when the batch was sent: says how far behind the copy is. */
  readonly head_seq?: number;
  readonly frozen?: boolean;
  /** As the owner called it. Absent where an earlier version of this code still runs. */
  readonly name?: string | null;
  /** It has no balance that limits it: what it used is nobody's debt. */
  readonly budget?: boolean;
  /** When it was sent, by the envelope's clock, and later than any before it: what a batch that was overtaken tells besides its entries counts no more. */
  readonly told_at_ms?: number;
  /** Was sent before, to whoever lost it: says nothing about how fast the mirror is. */
  readonly again?: boolean;
  /** Refusals since the last batch that was answered, by limit. Counted in memory: a figure for reports, not for money. */
  readonly refusals?: RefusalCounts;
}

/** What all entries up to `seq` came to. */
export interface MirrorOpening extends Sums {
  /** What the copy has. One that has anything else does not take the opening, and says what it has. */
  readonly after_seq: number;
  readonly seq: number;
  readonly balance_micros: Micros;
  /** Of the entries between `after_seq` and `seq`. */
  readonly charges: number;
  /** Of the first entry of all, and of entry `seq`. */
  readonly first_at_ms: number;
  readonly at_ms: number;
  /** Absent where an earlier version of this code still runs. */
  readonly exact?: ExactSums;
}

/** Sent again under the same id until an answer comes, so that none is counted twice. Those of an object that is evicted first are lost. */
export interface RefusalCounts {
  readonly id: string;
  readonly by_limit: Readonly<Record<string, number>>;
}

export type MirrorEntry = Pick<Entry, "seq" | "at_ms" | "kind" | "amount_micros" | "balance_micros"> &
  /** Absent from envelopes that an earlier version of this code still runs. */
  Partial<Pick<Entry, "reason" | "payment_id" | "ref_seq" | "hold_id" | "spender">> & {
    /** Of a refund: the reason of the charge that it gives back. */
    readonly charge_reason?: string | null;
  };

/** `next_seq` is what the aggregate wants next: past the batch when it was applied, lower when it has a gap. */
export interface MirrorOutcome {
  readonly next_seq: number;
  /** What this batch told besides its entries does not count: this is `told_at_ms` of the one that does. */
  readonly overtaken_by_ms?: number;
}

/**
 * Sums over entries. All in micros and at least zero, but `reversed_micros`, which is below zero where more came back than was taken.
 * What was ever paid or spent may be more than 2^53 micros, though no balance is: above that, a sum here is the nearest number to what is stored.
 */
export interface Sums {
  readonly credited_micros: Micros;
  readonly granted_micros: Micros;
  readonly spent_micros: Micros;
  readonly refunded_micros: Micros;
  /** Top-ups that Stripe refunds and disputes took back, less what came back. */
  readonly reversed_micros: Micros;
  /** What was given and never spent: it expired, or the owner took it back. */
  readonly expired_micros: Micros;
}

/** `Sums` to the last digit, as decimal text. */
export type ExactSums = Readonly<Record<keyof Sums, string>>;

/** What one shard of the aggregate knows; the owner's figure is the sum over shards, and the maximum of `lag_ms`. */
export interface Overview extends Sums {
  readonly envelopes: number;
  readonly entries: number;
  /** How much of `reversed_micros` disputes took; the rest were refunds through Stripe. */
  readonly disputed_micros: Micros;
  /** The sum of all balances, of budgets without what is `budgeted`: credited + granted + refunded + budgeted − spent − reversed − expired. */
  readonly outstanding_micros: Micros;
  /** What holders owe after claw-backs: the balances below zero but those of budgets, as a number at least zero. The liability is `outstanding + owed`. */
  readonly owed_micros: Micros;
  /** What budgets used and nobody paid for. */
  readonly budgeted_micros: Micros;
  /** Envelopes that were charged (more than nothing) today, this week (from Monday), this month: UTC. */
  readonly active_today: number;
  readonly active_this_week: number;
  readonly active_this_month: number;
  readonly frozen: number;
  /** How far the copy is behind: the age of the oldest entry known to be missing, else how long the newest batch took to arrive. */
  readonly lag_ms: number;
  /** Envelopes known to have entries that have not arrived. */
  readonly behind: number;
}

/** Half-open: `from_ms` ≤ time < `to_ms`. */
export interface Period {
  readonly from_ms: number;
  readonly to_ms: number;
}

export interface SeriesPoint extends Sums {
  /** Beginning of the hour or day, UTC. */
  readonly at_ms: number;
  readonly charges: number;
  readonly refusals: number;
  /** How much of `reversed_micros` disputes took. */
  readonly disputed_micros: Micros;
  /** Envelopes charged in it; `null` for hours. */
  readonly active: number | null;
}

export interface SpendRow {
  /** As `ctx.envelope.charge` was told, or method and path with ids replaced by `:id`; beyond a number of them, `(other)`. */
  readonly reason: string;
  readonly charges: number;
  /** Net of refunds of such charges. */
  readonly spent_micros: Micros;
}

/** What a key or an identity spent. */
export interface SpenderSpendRow {
  readonly envelope_id: string;
  /** Its id. */
  readonly spender: string;
  readonly charges: number;
  /** Net of refunds, which count in the day that they were made on. */
  readonly spent_micros: Micros;
}

/** Top-ups, grants, what Stripe took back and what came back: whatever moved a balance and was no charge. */
export interface MovementRow {
  readonly kind: EntryKind;
  /** A grant's, with ids replaced by `:id`; of what was taken back or came back, `refund` or `dispute`; else `(none)`. */
  readonly reason: string;
  readonly entries: number;
  /** Signed, as in the ledger. */
  readonly amount_micros: Micros;
}

export interface RefusalRow {
  readonly limit: string;
  readonly refusals: number;
}

/** Envelopes by the month of their first top-up, and what they spent in each month since. UTC. */
export interface CohortRow {
  /** `2026-11`; empty for what was spent before a first top-up. */
  readonly cohort: string;
  readonly month: string;
  readonly active: number;
  readonly credited_micros: Micros;
  readonly spent_micros: Micros;
}

export interface EnvelopeSummary extends Sums {
  readonly envelope_id: string;
  /** As the owner called it. */
  readonly name: string | null;
  readonly currency: string;
  readonly balance_micros: Micros;
  readonly applied_seq: number;
  /** At least `applied_seq`; more where entries are still to come. */
  readonly head_seq: number;
  readonly frozen: boolean;
  /** Its balance limits nothing: below zero, it is what was used and not paid for. */
  readonly budget: boolean;
  readonly first_at_ms: number;
  readonly last_at_ms: number;
}

/** `id` never changes: whoever goes through all of them page by page misses none that is charged meanwhile. */
export type EnvelopeOrder = "recent" | "spent" | "balance" | "id";

export interface EnvelopesInput {
  readonly order: EnvelopeOrder;
  /** Beginning of an envelope's id. */
  readonly prefix?: string | undefined;
  /** Or of its name, in upper or lower case. */
  readonly named?: string | undefined;
  /** The last envelope of the page before, as it was then. By `id`, the value is nothing. */
  readonly after?: { readonly value: number; readonly envelope_id: string } | undefined;
  readonly limit: number;
}

export interface AggregateEvent extends MirrorEntry {
  readonly envelope_id: string;
}

export interface EventsInput extends Period {
  /** Opaque; from the page before. Newest first. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

export interface EventsPage {
  readonly events: readonly AggregateEvent[];
  readonly cursor: string | null;
}

/** One difference that a proof found. `what` names the figure; both sides as numbers. */
export interface Difference {
  readonly envelope_id: string | null;
  readonly what: string;
  readonly expected: number;
  readonly found: number;
  /** Where a number does not hold one of them: both, to the last digit. */
  readonly exact?: { readonly expected: string; readonly found: string };
}

/** One page of a proof: the shard's copies against the envelopes themselves, each at the entry the copy stands at. */
export interface ProofPage {
  readonly envelopes: number;
  readonly entries: number;
  readonly behind: number;
  readonly differences: readonly Difference[];
  /** `null` at the end; the last page also compares the sums over envelopes, roll-ups and raw events with each other. */
  readonly cursor: string | null;
}

/** One page of a rebuild: envelopes that were asked to send everything again. */
export interface RebuildPage {
  readonly asked: number;
  readonly unreachable: readonly string[];
  readonly cursor: string | null;
}

/** `short`: the shards in use have less than the earlier ones had, so nothing was dropped. `none`: there are no earlier ones. */
export type DropOutcome =
  | { readonly outcome: "dropped"; readonly shards: number }
  | { readonly outcome: "none" | "short" };

export interface ShardHealth {
  readonly shard: string;
  readonly envelopes: number;
  readonly entries: number;
  readonly behind: number;
  readonly lag_ms: number;
  readonly last_batch_at_ms: number | null;
  /** Batches that did not follow on what was known, and so were asked for again. */
  readonly gaps: number;
  /** Entries that came again, and were left out. */
  readonly duplicates: number;
  readonly raw_events: number;
  readonly raw_since_ms: number | null;
  readonly database_bytes: number;
}

/** What an envelope's own ledger says, up to an entry. */
export interface LedgerSums extends Sums {
  /** What the sums are of: `up_to`, the newest entry or `folded_seq`. */
  readonly seq: number;
  /** Entries up to here are folded: only what they came to together is known. Absent where an earlier version of this code still runs. */
  readonly folded_seq?: number;
  readonly balance_micros: Micros;
  /** Number of the newest entry. */
  readonly head_seq: number;
  /** Absent as long as the aggregate is still to be told. */
  readonly frozen?: boolean;
  /** Its balance limits nothing. Absent where an earlier version of this code still runs. */
  readonly budget?: boolean;
  /** Absent where an earlier version of this code still runs. */
  readonly exact?: ExactSums;
}

/** The remote face of an `EnvelopeAggregate` shard. */
export interface AggregateApi {
  mirror(batch: MirrorBatch): Promise<MirrorOutcome>;
  overview(): Promise<Overview>;
  series(input: Period & { readonly step: "hour" | "day" }): Promise<readonly SeriesPoint[]>;
  spend(input: Period & { readonly limit: number }): Promise<readonly SpendRow[]>;
  /** By key, highest first, of the days that the period touches. */
  spendByKey(input: Period & { readonly limit: number }): Promise<readonly SpenderSpendRow[]>;
  /** Highest amounts first, whatever their sign. */
  movements(input: Period & { readonly limit: number }): Promise<readonly MovementRow[]>;
  refusals(input: Period): Promise<readonly RefusalRow[]>;
  cohorts(): Promise<readonly CohortRow[]>;
  envelopes(input: EnvelopesInput): Promise<readonly EnvelopeSummary[]>;
  envelope(input: { readonly envelope_id: string }): Promise<EnvelopeSummary | null>;
  /** Raw events, as long as they are kept. */
  events(input: EventsInput): Promise<EventsPage>;
  health(): Promise<ShardHealth>;
  prove(input: { readonly cursor: string | null; readonly limit: number }): Promise<ProofPage>;
  /** With `cursor: null`, forgets all it copied (not whose copies it had) and begins anew. */
  rebuild(input: {
    readonly cursor: string | null;
    readonly limit: number;
    /** Envelopes it may not know of. */
    readonly also?: readonly string[];
  }): Promise<RebuildPage>;
  /** One statement that reads. Whatever it does is rolled back. */
  query(input: ReadQuery): Promise<QueryOutcome>;
  /** Deletes the shard and all it has: for one that no envelope belongs to any more. */
  drop(): Promise<void>;
}

/** One statement and its bindings, to be read with. */
export interface ReadQuery {
  readonly statement: string;
  readonly bindings?: readonly (string | number | null)[];
  /** Read in the same turn, so that all of them see one state. */
  readonly also?: readonly Omit<ReadQuery, "also">[];
}

export type QueryRows = Extract<QueryOutcome, { readonly outcome: "rows" }>;

export type QueryOutcome =
  | {
      readonly outcome: "rows";
      readonly columns: readonly string[];
      readonly rows: readonly (readonly (string | number | null)[])[];
      /** More rows than are answered. */
      readonly truncated: boolean;
      readonly rows_read: number;
      readonly duration_ms: number;
      /** Of the statements that were sent along, all of them. Where one is invalid, so is the whole. */
      readonly also?: readonly QueryRows[];
    }
  /** Not one statement that only reads, or SQLite's own words. */
  | { readonly outcome: "invalid"; readonly detail: string };

/** Who did something to an envelope that is not its holder's daily business. Append-only, and each line seals the one before it. */
export interface AuditLine {
  readonly audit_id: number;
  readonly at_ms: number;
  /** `owner` for the secret, `access:<subject>` for Cloudflare Access; `system`. */
  readonly actor: string;
  readonly action: string;
  readonly reason: string | null;
  /** JSON: what was so before, and after. */
  readonly before: string | null;
  readonly after: string | null;
  /** Base62 SHA-256 over the line before's `hash` and this line. */
  readonly hash: string;
}

/** Sent with what an owner does to an envelope: written down in the same transaction. */
export interface Audited {
  readonly by?: Author | undefined;
}

export interface Author {
  readonly actor: string;
  readonly reason: string | null;
}

export interface FreezeInput extends Audited {
  readonly frozen: boolean;
  readonly currency: string;
  /** Makes it happen once: asked again, it answers as it did then and changes nothing. */
  readonly key?: string | undefined;
}

/** How the owner's switch stands. */
export interface FreezeOutcome {
  readonly frozen: boolean;
  /** Where the caller said who they are: the envelope right afterwards. An open dispute freezes it whatever the switch says. */
  readonly after?: { readonly frozen: boolean; readonly balance_micros: Micros };
  /** The key was used with another reason: nothing was changed. */
  readonly key_used?: true;
}

export interface ReissueInput {
  /** Base62 SHA-256 of the new token's secret part. */
  readonly hash: string;
  readonly currency: string;
  /** Makes it happen once. The secret is not kept, so asking again cannot be answered the same. */
  readonly key: string;
  readonly by: Author;
}

export type ReissueOutcome =
  | { readonly outcome: "reissued"; readonly generation: number }
  /** This key was used before: nothing was changed now. */
  | { readonly outcome: "replayed" };

export interface StripeRefundInput {
  /** Makes it happen once. */
  readonly key: string;
  readonly payment_id: string;
  /** Minor units; all that is left of the payment when absent. */
  readonly amount: number | undefined;
  readonly by: Author;
}

/** A refund that we asked Stripe for. */
export interface StripeRefund {
  readonly payment_id: string;
  /** Minor units. */
  readonly amount: number;
  /** `null` until Stripe has answered. */
  readonly refund_id: string | null;
  /** Stripe's word; `rejected` when it would not take the request. */
  readonly status: string | null;
  readonly code: string | null;
  readonly livemode: boolean;
}

export type BeginStripeRefundOutcome =
  | {
      readonly outcome: "begun" | "found";
      readonly refund: StripeRefund;
      /** Stripe's idempotency key. */
      readonly attempt: string;
    }
  /** The key was used for another refund. */
  | { readonly outcome: "conflict" }
  /** Stripe never answered, and may have forgotten the key by now: asking again could send the money twice. */
  | { readonly outcome: "expired" }
  | { readonly outcome: "unknown" }
  /** It was paid in another currency than the envelope's: only all of it can be sent back. */
  | { readonly outcome: "foreign" }
  /** More than is left, in minor units. */
  | { readonly outcome: "refused"; readonly refundable: number };

export interface StripeRefundNote {
  readonly attempt: string;
  readonly refund_id: string | null;
  readonly status: string;
  readonly code: string | null;
}

export interface PaymentsInput {
  /** The last payment of the page before; `null` for the newest. */
  readonly before: { readonly at_ms: number; readonly payment_id: string } | null;
  readonly limit: number;
}

/** A payment as it is on file. */
export interface PaymentLine {
  readonly payment_id: string;
  readonly state: PaymentState;
  readonly credit_micros: Micros;
  readonly reversed_micros: Micros;
  readonly currency: string;
  readonly amount_total: number;
  readonly livemode: boolean;
  readonly at_ms: number;
}

/** The remote face of the object that guards the owner's door: tries to open it, and who is in. */
export interface OwnerApi {
  /** Counts a wrong try, and answers whether this one may go on. A locked address is told nothing about its secret. */
  tryDoor(input: DoorTry): Promise<DoorOutcome>;
  openSession(input: OwnerSession): Promise<void>;
  /** Whose the session is; `null` when it ended. */
  session(input: { readonly hash: string }): Promise<{ readonly actor: string } | null>;
  closeSession(input: { readonly hash: string }): Promise<void>;
  /** Writes down what an owner does to the mirror: what is done to an envelope is in that envelope's own audit. */
  note(input: { readonly by: Author; readonly action: string; readonly after: unknown }): Promise<void>;
  /** Newest first. */
  noted(input: Before & { readonly limit: number }): Promise<readonly AuditLine[]>;
}

export interface DoorTry {
  /** Keyed hash of an address, or of the network that one caller has all of. */
  readonly address: string;
  /** What was presented is right. */
  readonly right: boolean;
}

export type DoorOutcome =
  | { readonly outcome: "open" | "refused" }
  | { readonly outcome: "locked"; readonly retry_after_ms: number };

export interface OwnerSession {
  /** Keyed hash of its token. */
  readonly hash: string;
  readonly actor: string;
  readonly expires_at_ms: number;
}

/** Longest metadata accepted, in characters: an entry must stay far below the 2 MB a row may take. */
export const METADATA_MAX = 4096;
export const REASON_MAX = 256;
export const TAG_MAX = 256;
/** Lower burns first. What was paid burns at the default, so a grant above it is kept for last. */
export const PRIORITY_DEFAULT = 50;
export const PRIORITY_MAX = 100;
/** Longest name of an envelope, and of its owner's account, in characters. */
export const NAME_MAX = 256;
export const WINDOWS_MAX = 8;
export const ENTRIES_PAGE_MAX = 1000;

/** Kinds of entries that are charges: of a balance, or on a budget that has none. */
export function isSpending(kind: EntryKind): boolean {
  return kind === "charge" || kind === "usage";
}
