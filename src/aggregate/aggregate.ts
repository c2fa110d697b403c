/** `EnvelopeAggregate`: everyone's copy, for the owner's reports. */
import { DurableObject } from "cloudflare:workers";
import type { AggregateApi, MirrorBatch, MirrorOutcome, Overview } from "../contract.js";
import { hasSchema, migrate } from "../migrate.js";
import { applyEntries, NO_SUMMARY, type Summary } from "./mirror.js";
import { AGGREGATE_MIGRATIONS } from "./schema.js";

export class EnvelopeAggregate extends DurableObject implements AggregateApi {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    if (hasSchema(ctx.storage)) migrate(ctx.storage, AGGREGATE_MIGRATIONS, Date.now());
  }

  async mirror(batch: MirrorBatch): Promise<MirrorOutcome> {
    if (!hasSchema(this.ctx.storage)) migrate(this.ctx.storage, AGGREGATE_MIGRATIONS, Date.now());
    const before = this.#summary(batch.envelope_id);
    const after = applyEntries(before, batch.entries);
    if (after.applied_seq !== before.applied_seq) this.#file(batch, after);
    return { next_seq: after.applied_seq + 1 };
  }

  async overview(): Promise<Overview> {
    const [row] = hasSchema(this.ctx.storage)
      ? this.#sql
          .exec(
            `SELECT count(*) AS envelopes, coalesce(sum(credited_micros), 0) AS credited_micros,
               coalesce(sum(granted_micros), 0) AS granted_micros, coalesce(sum(spent_micros), 0) AS spent_micros,
               coalesce(sum(refunded_micros), 0) AS refunded_micros, coalesce(sum(reversed_micros), 0) AS reversed_micros,
               coalesce(sum(balance_micros), 0) AS outstanding_micros
             FROM envelope_summary`,
          )
          .toArray()
      : [];
    return (row as unknown as Overview | undefined) ?? NO_OVERVIEW;
  }

  #summary(envelope_id: string): Summary {
    const [row] = this.#sql.exec("SELECT * FROM envelope_summary WHERE envelope_id = ?", envelope_id).toArray();
    return (row as unknown as Summary | undefined) ?? NO_SUMMARY;
  }

  #file({ envelope_id, currency }: MirrorBatch, summary: Summary): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO envelope_summary (envelope_id, currency, applied_seq, balance_micros, credited_micros,
         granted_micros, spent_micros, refunded_micros, reversed_micros, last_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      envelope_id,
      currency,
      summary.applied_seq,
      summary.balance_micros,
      summary.credited_micros,
      summary.granted_micros,
      summary.spent_micros,
      summary.refunded_micros,
      summary.reversed_micros,
      summary.last_at_ms,
    );
  }
}

const NO_OVERVIEW = {
  envelopes: 0,
  credited_micros: NO_SUMMARY.credited_micros,
  granted_micros: NO_SUMMARY.granted_micros,
  spent_micros: NO_SUMMARY.spent_micros,
  refunded_micros: NO_SUMMARY.refunded_micros,
  reversed_micros: NO_SUMMARY.reversed_micros,
  outstanding_micros: NO_SUMMARY.balance_micros,
} as const satisfies Overview;
