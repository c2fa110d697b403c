/** `EnvelopeDirectory`: a sharded register of keys that are unique in the world, and of payments nobody owns yet. Never holds money. */
import { DurableObject } from "cloudflare:workers";
import type { DirectoryApi, UnclaimedPayment } from "../contract.js";
import { hasSchema, migrate } from "../migrate.js";
import { DIRECTORY_MIGRATIONS } from "./schema.js";

export class EnvelopeDirectory extends DurableObject implements DirectoryApi {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    if (hasSchema(ctx.storage)) migrate(ctx.storage, DIRECTORY_MIGRATIONS, Date.now());
  }

  async recordUnclaimed(
    payment: Omit<UnclaimedPayment, "at_ms">,
  ): Promise<{ readonly outcome: "recorded" | "duplicate" }> {
    migrate(this.ctx.storage, DIRECTORY_MIGRATIONS, Date.now());
    const { rowsWritten } = this.#sql.exec(
      `INSERT INTO unclaimed (payment_id, event_id, reason, client_reference_id, currency, amount_total, livemode, at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      payment.payment_id,
      payment.event_id,
      payment.reason,
      payment.client_reference_id,
      payment.currency,
      payment.amount_total,
      payment.livemode ? 1 : 0,
      Date.now(),
    );
    return { outcome: rowsWritten > 0 ? "recorded" : "duplicate" };
  }

  async unclaimed(): Promise<readonly UnclaimedPayment[]> {
    if (!hasSchema(this.ctx.storage)) return [];
    return this.#sql
      .exec("SELECT * FROM unclaimed ORDER BY at_ms, payment_id")
      .toArray()
      .map((row) => ({ ...row, livemode: row["livemode"] === 1 }) as unknown as UnclaimedPayment);
  }
}
