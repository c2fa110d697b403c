/** What the owner reads of one shard, and how it is proved. Loaded when it is asked for: to take entries in, none of it is needed. */
import type {
  CohortRow,
  EnvelopeSummary,
  EnvelopesInput,
  EventsInput,
  EventsPage,
  MovementRow,
  Overview,
  Period,
  ProofPage,
  QueryOutcome,
  ReadQuery,
  RefusalRow,
  SeriesPoint,
  ShardHealth,
  SpenderSpendRow,
  SpendRow,
} from "../contract.js";
import { ZERO } from "../money.js";
import { inParallel } from "../parallel.js";
import { readQuery } from "../read-query.js";
import { envelopeStub } from "../stubs.js";
import type { Copies } from "./copies.js";
import { addRaw, compareCopy, compareFrozen, compareSums, type ProofCursor, readCursor, writeCursor } from "./proof.js";
import { NO_RAW } from "./raw.js";
import * as reports from "./reports.js";
import { COPY, toCopy } from "./store.js";

const CALLS_AT_ONCE = 8;
const PAGE_MAX = 500;

export class Readings {
  readonly #env: Cloudflare.Env;
  readonly #id: DurableObjectId;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly #copies: Copies;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env, copies: Copies) {
    this.#env = env;
    this.#id = ctx.id;
    this.#storage = ctx.storage;
    this.#sql = ctx.storage.sql;
    this.#copies = copies;
  }

  async overview(): Promise<Overview> {
    return this.#copies.exists ? reports.overview(this.#sql, Date.now()) : NO_OVERVIEW;
  }

  async series(input: Period & { readonly step: "hour" | "day" }): Promise<readonly SeriesPoint[]> {
    return reports.series(this.#copies.exists ? this.#sql : undefined, input);
  }

  async spend(input: Period & { readonly limit: number }): Promise<readonly SpendRow[]> {
    return this.#copies.exists ? reports.spend(this.#sql, input) : [];
  }

  async spendByKey(input: Period & { readonly limit: number }): Promise<readonly SpenderSpendRow[]> {
    return this.#copies.exists ? reports.spendByKey(this.#sql, input) : [];
  }

  async movements(input: Period & { readonly limit: number }): Promise<readonly MovementRow[]> {
    return this.#copies.exists ? reports.movements(this.#sql, input) : [];
  }

  async refusals(input: Period): Promise<readonly RefusalRow[]> {
    return this.#copies.exists ? reports.refusals(this.#sql, input) : [];
  }

  async cohorts(): Promise<readonly CohortRow[]> {
    return this.#copies.exists ? reports.cohorts(this.#sql) : [];
  }

  async envelopes(input: EnvelopesInput): Promise<readonly EnvelopeSummary[]> {
    return this.#copies.exists ? reports.envelopes(this.#sql, input) : [];
  }

  async envelope(input: { readonly envelope_id: string }): Promise<EnvelopeSummary | null> {
    return this.#copies.exists ? reports.envelope(this.#sql, input.envelope_id) : null;
  }

  async events(input: EventsInput): Promise<EventsPage> {
    return this.#copies.exists ? reports.events(this.#sql, input) : { events: [], cursor: null };
  }

  async health(): Promise<ShardHealth> {
    const shard = this.#id.name ?? "";
    return this.#copies.exists ? { shard, ...reports.health(this.#sql, Date.now()) } : { shard, ...NO_HEALTH };
  }

  async query(input: ReadQuery): Promise<QueryOutcome> {
    return readQuery(this.#storage, input);
  }

  async prove(input: { readonly cursor: string | null; readonly limit: number }): Promise<ProofPage> {
    if (!this.#copies.exists) return { envelopes: 0, entries: 0, behind: 0, differences: [], cursor: null };
    const cursor = readCursor(input.cursor);
    return cursor.at === "envelopes" ? this.#proveCopies(cursor.after, input.limit) : this.#proveSums(cursor);
  }

  async #proveCopies(after: string, limit: number): Promise<ProofPage> {
    const most = Math.max(1, Math.min(limit, PAGE_MAX));
    const copies = this.#sql
      .exec(
        `SELECT ${COPY} FROM envelope_summary WHERE envelope_id > ? AND applied_seq > 0 ORDER BY envelope_id LIMIT ?`,
        after,
        most,
      )
      .toArray()
      .map(toCopy);
    const answers = await inParallel(copies, CALLS_AT_ONCE, async (copy) => {
      const ledger = await envelopeStub(this.#env, copy.envelope_id)
        .sums({ up_to: copy.applied_seq })
        .catch(() => undefined);
      const behind = ledger !== undefined && ledger.head_seq > copy.applied_seq;
      const frozen = compareFrozen(copy, this.#copies.copy(copy.envelope_id), ledger);
      return { behind, differences: [...compareCopy(copy, ledger), ...frozen] };
    });
    const last = copies.at(-1)?.envelope_id;
    const next: ProofCursor =
      copies.length === most && last !== undefined
        ? { at: "envelopes", after: last }
        : { at: "raw", after: 0, pruned: this.#pruned(), sums: NO_RAW };
    return {
      envelopes: copies.length,
      entries: copies.reduce((sum, { applied_seq }) => sum + applied_seq, 0),
      behind: answers.filter(({ behind }) => behind).length,
      differences: answers.flatMap(({ differences }) => differences),
      cursor: writeCursor(next),
    };
  }

  /** The last step compares in the turn that read the last events, so that no batch comes between. */
  #proveSums(cursor: ProofCursor & { readonly at: "raw" }): ProofPage {
    const { after, done, sums } = addRaw(this.#sql, cursor.after, cursor.sums);
    const page = { envelopes: 0, entries: 0, behind: 0 };
    if (!done) return { ...page, differences: [], cursor: writeCursor({ ...cursor, after, sums }) };
    const differences = compareSums(this.#sql, this.#pruned() === cursor.pruned ? sums : undefined);
    return { ...page, differences, cursor: null };
  }

  #pruned(): number {
    return this.#sql.exec<{ entries: number }>("SELECT entries FROM pruned").one().entries;
  }
}

const NO_OVERVIEW: Overview = {
  envelopes: 0,
  entries: 0,
  credited_micros: ZERO,
  granted_micros: ZERO,
  spent_micros: ZERO,
  refunded_micros: ZERO,
  reversed_micros: ZERO,
  expired_micros: ZERO,
  disputed_micros: ZERO,
  outstanding_micros: ZERO,
  owed_micros: ZERO,
  budgeted_micros: ZERO,
  active_today: 0,
  active_this_week: 0,
  active_this_month: 0,
  frozen: 0,
  lag_ms: 0,
  behind: 0,
};

const NO_HEALTH: Omit<ShardHealth, "shard"> = {
  envelopes: 0,
  entries: 0,
  behind: 0,
  lag_ms: 0,
  last_batch_at_ms: null,
  gaps: 0,
  duplicates: 0,
  raw_events: 0,
  raw_since_ms: null,
  database_bytes: 0,
};
