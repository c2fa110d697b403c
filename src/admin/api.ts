/**
 * The owner's JSON API, as the panel and other tools see it: what each path takes and answers. Amounts are micros, so that no
 * tool has to round; times are milliseconds since 1970, UTC. Paths are below `options.paths.admin` (default `/db`).
 *
 * Every change takes `Idempotency-Key`, `Content-Type: application/json` and a `reason`, and leaves an audit line. A "no" is a
 * problem (RFC 9457). Lists answer `next`: a cursor for the query parameter `cursor`, `null` at the end; `limit` is 1 to 500.
 */
import type {
  AggregateEvent,
  AuditLine,
  AutoTopUpState,
  CohortRow,
  DropOutcome,
  Entry,
  EnvelopeSummary,
  HoldView,
  LotView,
  MovementRow,
  Overview,
  ProofPage,
  RebuildPage,
  RefusalRow,
  SeriesPoint,
  ShardHealth,
  SpenderSpendRow,
  SpenderView,
  SpendRow,
  UnclaimedPayment,
  WindowView,
} from "../contract.js";
import type { Micros } from "../money.js";

/** `GET /api/session` */
export interface SessionAnswer {
  readonly actor: string;
  readonly currency: string;
  /** Digits after the point of a main unit: 2 for usd. */
  readonly exponent: number;
  /** A key for Stripe's API is configured, so money can be refunded through Stripe. */
  readonly stripe: boolean;
  readonly livemode: boolean | null;
  /** Signed in as `admin-readonly`: changes are refused. */
  readonly readOnly: boolean;
}

/** `GET /api/overview` */
export interface OverviewAnswer extends Overview {
  readonly currency: string;
  readonly unclaimed: number;
  readonly shards: number;
  readonly as_of_ms: number;
}

/** `GET /api/series?range=` one of these: hours for the first two, days for the others. Also of spend, refusals. */
export type Range = "24h" | "7d" | "30d" | "90d" | "365d";

export interface SeriesAnswer {
  readonly range: Range;
  readonly step: "hour" | "day";
  /** One for each hour or day of the range, oldest first, also where nothing happened. */
  readonly points: readonly SeriesPoint[];
}

/** `GET /api/spend?range=` highest first. */
export interface SpendAnswer {
  readonly range: Range;
  readonly rows: readonly SpendRow[];
}

/** `GET /api/spend?range=&by=key` highest first, of whole days: what keys and authorised identities spent. */
export interface KeySpendAnswer {
  readonly range: Range;
  readonly rows: readonly SpenderSpendRow[];
}

/** An API key, or an identity that was authorised. */
export type KeyView = SpenderView;

/** `GET /api/movements?range=` what was no charge, by kind and reason; the largest first. */
export interface MovementsAnswer {
  readonly range: Range;
  readonly rows: readonly MovementRow[];
}

/** `GET /api/refusals?range=` */
export interface RefusalsAnswer {
  readonly range: Range;
  readonly rows: readonly RefusalRow[];
}

/** `GET /api/cohorts` */
export interface CohortsAnswer {
  readonly rows: readonly CohortRow[];
}

/** `GET /api/envelopes?order=recent|spent|balance|id&search=&cursor=&limit=`. `search`: the beginning of an id or of a name, a whole reference, or a payment's id. */
export interface EnvelopesAnswer {
  readonly envelopes: readonly EnvelopeSummary[];
  readonly next: string | null;
}

/** `GET /api/enrolled?cursor=&limit=`. All that the directory knows, also those without an entry. */
export interface EnrolledAnswer {
  readonly envelope_ids: readonly string[];
  readonly next: string | null;
}

/** `GET /api/envelopes/:id`. Asked of the envelope itself: exact now. 404 for one that was never funded. */
export interface EnvelopeAnswer {
  readonly envelope_id: string;
  readonly client_reference_id: string;
  readonly currency: string;
  readonly balance_micros: Micros;
  readonly available_micros: Micros;
  readonly held_micros: Micros;
  readonly seq: number;
  /** `frozen`: by the owner or by an open dispute. */
  readonly frozen: boolean;
  readonly open_disputes: number;
  readonly holds: readonly HoldView[];
  /** What is left of grants, in the order in which it is spent. */
  readonly lots: readonly LotView[];
  readonly windows: readonly WindowView[];
  /** Else it is a budget: the balance is what is left of its tightest window. */
  readonly prepaid: boolean;
  readonly name: string | null;
  readonly owner_account_id: string | null;
  /** Keys and identities that may spend beside the holder: the newest hundred. */
  readonly keys: readonly KeyView[];
  readonly autoTopUp: AutoTopUpState | null;
  /** What the aggregate knows of it; `null` where nothing arrived yet. */
  readonly summary: EnvelopeSummary | null;
}

/** `GET /api/envelopes/:id/entries?cursor=&limit=` newest first. */
export interface EntriesAnswer {
  readonly entries: readonly Entry[];
  readonly next: string | null;
}

export interface PaymentView {
  readonly payment_id: string;
  readonly state: "pending" | "failed" | "paid";
  readonly credit_micros: Micros;
  /** How much of the credit was taken back. */
  readonly reversed_micros: Micros;
  readonly currency: string;
  /** Minor units, as Stripe says it. */
  readonly amount_total: number;
  readonly livemode: boolean;
  readonly at_ms: number;
}

/** `GET /api/envelopes/:id/payments?cursor=&limit=` newest first. */
export interface PaymentsAnswer {
  readonly payments: readonly PaymentView[];
  readonly next: string | null;
}

/** `GET /api/envelopes/:id/audit?cursor=&limit=` newest first. */
export interface AuditAnswer {
  readonly audit: readonly AuditLine[];
  readonly next: string | null;
}

/** `POST /api/envelopes/:id/grants` → 201 `ActionAnswer` */
export interface GrantBody {
  readonly amount_micros: number;
  /** From then on, what is left of it cannot be spent. */
  readonly expires_at_ms?: number;
  readonly reason: string;
}

/** `POST /api/envelopes/:id/revocations` takes back what is left of a grant, but what holds reserve of it. → 201 `ActionAnswer` */
export interface RevocationBody {
  /** Number of the grant's entry. */
  readonly seq: number;
  readonly reason: string;
}

/** `POST /api/envelopes/:id/keys/:key/revoke` ends a key, or with `minted: false` an identity. → 200 `RevokeKeyAnswer` */
export interface RevokeKeyBody {
  readonly minted?: boolean;
  readonly reason: string;
}

export interface RevokeKeyAnswer {
  readonly id: string;
  readonly status: KeyView["status"];
}

/** `POST /api/envelopes/:id/refunds` gives a charge back into the envelope, all that is left of it or `amount_micros`. → 201 `ActionAnswer` */
export interface RefundBody {
  readonly seq: number;
  readonly amount_micros?: number;
  readonly reason: string;
}

/** `POST /api/envelopes/:id/stripe-refunds` sends a payment back through Stripe; the webhook takes it out of the envelope. → 202 `StripeRefundAnswer` */
export interface StripeRefundBody {
  readonly payment_id: string;
  readonly amount_micros?: number;
  readonly reason: string;
}

export interface StripeRefundAnswer {
  readonly refund_id: string;
  readonly status: string;
}

/** `POST /api/envelopes/:id/freeze`, `…/unfreeze` → 200 `ActionAnswer`; `…/rotate` → 200 `RotateAnswer` */
export interface ReasonBody {
  readonly reason: string;
}

export interface ActionAnswer {
  readonly outcome: string;
  readonly seq: number | null;
  readonly balance_micros: Micros;
  readonly frozen: boolean;
}

/** The old tokens are refused from now on. Shown once. */
export interface RotateAnswer {
  readonly token: string;
}

/** `GET /api/unclaimed?limit=&cursor=` oldest first, at most 500; `POST /api/unclaimed/:payment/assign` → 200 `{ "outcome": "credited" }`, or `"replayed"` where it was there already */
export interface UnclaimedAnswer {
  readonly unclaimed: readonly UnclaimedPayment[];
  readonly next: string | null;
}

export interface AssignBody {
  /** An envelope's id, or its `client_reference_id`. */
  readonly envelopeId: string;
  /** What it is worth, where Stripe's own amount could not be used. */
  readonly amount_micros?: number;
  readonly reason: string;
}

/** `GET /api/events?range=&cursor=&limit=` newest first within each shard. `GET /api/latest?range=&limit=` the newest of all, one page. */
export interface EventsAnswer {
  readonly events: readonly AggregateEvent[];
  readonly next: string | null;
}

/** `GET /api/health` */
export interface HealthAnswer {
  readonly shards: readonly ShardHealth[];
}

/** `POST /api/proof` `{ "cursor": null }` and again with `cursor` until it is `null`. The same for `POST /api/rebuild` with a reason. */
export interface PageBody {
  readonly cursor: string | null;
  readonly reason?: string;
}

/** `GET /api/audit?cursor=&limit=` → `AuditAnswer`: rebuilds and dropped shards. What is done to an envelope is in its own audit. */

/** `POST /api/former-shards/drop` with a reason: copies of an earlier number of shards, once those of today have as much. */
export type DropAnswer = DropOutcome;

export type ProofAnswer = ProofPage;
export type RebuildAnswer = RebuildPage;

/**
 * `GET /api/export/entries.csv?range=`, `.jsonl`; the same for `series`, `spend`, `movements`, `envelopes`, `unclaimed`, and `…/envelopes/:id/entries.csv`.
 * Streams; a CSV cell that a spreadsheet would take for a formula begins with an apostrophe.
 */
export type ExportName = "entries" | "envelopes" | "unclaimed" | "series" | "spend" | "movements";

/**
 * `POST /db/admin-readonly` (the aggregate) and `POST /db/{client_reference_id or envelope id}` (one envelope): one statement that
 * reads, in the shape that database tools built for Durable Objects send. Answers 200 with `result` or `error`, as they expect.
 */
export type QueryBody =
  | { readonly type: "query"; readonly id?: string; readonly statement: string; readonly bindings?: readonly unknown[] }
  | {
      readonly type: "transaction";
      readonly id?: string;
      readonly statements: readonly (string | { readonly statement: string; readonly bindings?: readonly unknown[] })[];
    };

export interface QueryResult {
  readonly headers: readonly { readonly name: string; readonly displayName: string; readonly originalType: null }[];
  readonly rows: readonly Readonly<Record<string, string | number | null>>[];
  readonly stat: {
    readonly queryDurationMs: number;
    readonly rowsAffected: number;
    readonly rowsRead: number;
    readonly rowsWritten: number;
  };
  readonly truncated?: boolean;
}
