/** What the directory keeps, and decides in one turn each. Loaded with the first call of its object. */
import type {
  AssignOutcome,
  CardOutcome,
  ClaimIdentityInput,
  ClaimOutcome,
  DirectoryApi,
  DirectoryPage,
  IdentityPlace,
  NewUnclaimedPayment,
  ParkedReport,
  PaymentReport,
  SettledPayment,
  UnclaimedInput,
  UnclaimedPayment,
} from "../contract.js";
import { hasSchema, migrate } from "../migrate.js";
import { claimIdentity, identityPlace, nameIdentity, releaseIdentity } from "./identities.js";
import { DIRECTORY_MIGRATIONS } from "./schema.js";

/** News of a payment that nobody claimed in this time is of a payment that is not ours: the account sells other things too. */
const PARKED_FOR_MS = 90 * 24 * 3_600_000;

const PAGE_MAX = 1_000;

const FIRST_PAGE: UnclaimedInput = { after: null, limit: PAGE_MAX };

export class Register implements DirectoryApi {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    if (hasSchema(storage)) migrate(storage, DIRECTORY_MIGRATIONS, Date.now());
  }

  async claim(input: { readonly payment_id: string; readonly envelope_id: string }): Promise<ClaimOutcome> {
    this.#create();
    const { payment_id, envelope_id } = input;
    this.#sql.exec(
      "INSERT INTO claim (payment_id, envelope_id, at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      payment_id,
      envelope_id,
      Date.now(),
    );
    const listed = this.#listed(payment_id);
    return {
      envelope_id: this.#claimant(payment_id) ?? envelope_id,
      parked: this.#parked(payment_id),
      listed: listed !== undefined,
      assigning: listed !== undefined && listed["assigned_to"] !== null,
    };
  }

  async route(parked: ParkedReport): Promise<{ readonly envelope_id: string | null }> {
    this.#create();
    const { event_id, report } = parked;
    // Also where the claimant could not be credited: it notes the news, and hands it over when it disowns the payment.
    const envelope_id = this.#claimant(report.payment_id);
    if (envelope_id !== undefined) return { envelope_id };
    const now = Date.now();
    this.#sql.exec(
      "INSERT INTO parked (event_id, payment_id, report, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
      event_id,
      report.payment_id,
      JSON.stringify(report),
      now,
    );
    this.#sql.exec(
      `DELETE FROM parked WHERE at_ms < ?
         AND payment_id NOT IN (SELECT payment_id FROM unclaimed WHERE booked_at_ms IS NULL)`,
      now - PARKED_FOR_MS,
    );
    return { envelope_id: null };
  }

  async claimant(input: { readonly payment_id: string }): Promise<{ readonly envelope_id: string | null }> {
    return { envelope_id: hasSchema(this.#storage) ? (this.#claimant(input.payment_id) ?? null) : null };
  }

  async settle(input: SettledPayment): Promise<void> {
    if (!hasSchema(this.#storage)) return;
    this.#storage.transactionSync(() => {
      this.#sql.exec(
        "DELETE FROM parked WHERE event_id IN (SELECT value FROM json_each(?))",
        JSON.stringify(input.event_ids),
      );
      if (!input.booked) return;
      this.#sql.exec(
        "UPDATE unclaimed SET assigned_to = ?, booked_at_ms = ? WHERE payment_id = ? AND booked_at_ms IS NULL",
        input.envelope_id,
        Date.now(),
        input.payment_id,
      );
      this.#sql.exec("UPDATE claim SET envelope_id = ? WHERE payment_id = ?", input.envelope_id, input.payment_id);
    });
  }

  async recordUnclaimed(payment: NewUnclaimedPayment): Promise<{ readonly outcome: "recorded" | "duplicate" }> {
    this.#create();
    const { rowsWritten } = this.#sql.exec(
      `INSERT INTO unclaimed (payment_id, event_id, reason, client_reference_id, currency, amount_total, livemode, facts, at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      payment.payment_id,
      payment.event_id,
      payment.reason,
      payment.client_reference_id,
      payment.currency,
      payment.amount_total,
      payment.livemode ? 1 : 0,
      payment.facts && JSON.stringify(payment.facts),
      Date.now(),
    );
    return { outcome: rowsWritten > 0 ? "recorded" : "duplicate" };
  }

  async unclaimed({ after, limit }: UnclaimedInput = FIRST_PAGE): Promise<readonly UnclaimedPayment[]> {
    if (!hasSchema(this.#storage)) return [];
    return this.#sql
      .exec(
        `SELECT * FROM unclaimed WHERE booked_at_ms IS NULL AND (at_ms, payment_id) > (?, ?)
         ORDER BY at_ms, payment_id LIMIT ?`,
        after?.at_ms ?? 0,
        after?.payment_id ?? "",
        Math.max(1, Math.min(limit, PAGE_MAX)),
      )
      .toArray()
      .map(toUnclaimed);
  }

  async unclaimedCount(): Promise<number> {
    if (!hasSchema(this.#storage)) return 0;
    return this.#sql
      .exec<{ listed: number }>("SELECT count(*) AS listed FROM unclaimed WHERE booked_at_ms IS NULL")
      .one().listed;
  }

  async lookup(input: { readonly payment_id: string }): Promise<UnclaimedPayment | null> {
    const row = hasSchema(this.#storage) ? this.#row(input.payment_id) : undefined;
    return row === undefined ? null : toUnclaimed(row);
  }

  async assign(input: { readonly payment_id: string; readonly envelope_id: string }): Promise<AssignOutcome> {
    const { payment_id, envelope_id } = input;
    const row = hasSchema(this.#storage) ? this.#row(payment_id) : undefined;
    if (row === undefined) return { outcome: "unknown" };
    const payment = toUnclaimed(row);
    if (row["booked_at_ms"] !== null) return { outcome: "taken", payment };
    // Remembered with the row, so that an assignment which was interrupted, or made anew, asks all of them again.
    const former = new Set(JSON.parse(row["claimed_by"] as string) as string[]);
    const claimant = this.#claimant(payment_id);
    if (claimant !== undefined) former.add(claimant);
    former.delete(envelope_id);
    const claimed_by = [...former];
    const assignment = (row["assignment"] as number) + 1;
    this.#storage.transactionSync(() => {
      this.#sql.exec(
        "UPDATE unclaimed SET assigned_to = ?, claimed_by = ?, assignment = ? WHERE payment_id = ?",
        envelope_id,
        JSON.stringify(claimed_by),
        assignment,
        payment_id,
      );
      this.#sql.exec(
        "INSERT OR REPLACE INTO claim (payment_id, envelope_id, at_ms) VALUES (?, ?, ?)",
        payment_id,
        envelope_id,
        Date.now(),
      );
    });
    return { outcome: "assigned", payment: { ...payment, assigned_to: envelope_id }, claimed_by, assignment };
  }

  async claimCard(input: { readonly card: string; readonly envelope_id: string | null }): Promise<CardOutcome> {
    const { card, envelope_id } = input;
    if (envelope_id !== null) {
      this.#create();
      this.#sql.exec(
        `INSERT INTO card (card, envelope_id, at_ms) VALUES (?, ?, ?)
         ON CONFLICT (card) DO UPDATE SET envelope_id = excluded.envelope_id WHERE envelope_id IS NULL`,
        card,
        envelope_id,
        Date.now(),
      );
    }
    if (!hasSchema(this.#storage)) return { envelope_id: null, blocked: false };
    const [row] = this.#sql.exec("SELECT envelope_id, blocked_at_ms FROM card WHERE card = ?", card).toArray();
    return {
      envelope_id: (row?.["envelope_id"] as string | null | undefined) ?? null,
      blocked: typeof row?.["blocked_at_ms"] === "number",
    };
  }

  async releaseCard(input: { readonly card: string; readonly envelope_id: string }): Promise<void> {
    if (!hasSchema(this.#storage)) return;
    this.#sql.exec(
      "UPDATE card SET envelope_id = NULL WHERE card = ? AND envelope_id = ?",
      input.card,
      input.envelope_id,
    );
  }

  async blockCard(input: { readonly card: string }): Promise<void> {
    this.#create();
    const now = Date.now();
    // A row of its own where nobody has the card yet, so that a claim which comes later finds it.
    this.#sql.exec(
      `INSERT INTO card (card, at_ms, blocked_at_ms) VALUES (?1, ?2, ?2)
       ON CONFLICT (card) DO UPDATE SET blocked_at_ms = excluded.blocked_at_ms WHERE blocked_at_ms IS NULL`,
      input.card,
      now,
    );
  }

  async enrol(input: { readonly envelope_id: string }): Promise<void> {
    this.#create();
    this.#sql.exec("INSERT INTO envelope (envelope_id) VALUES (?) ON CONFLICT DO NOTHING", input.envelope_id);
  }

  async envelopes(input: { readonly cursor: string | null; readonly limit: number }): Promise<DirectoryPage> {
    if (!hasSchema(this.#storage)) return { envelopes: [], cursor: null };
    const limit = Math.max(1, Math.min(input.limit, PAGE_MAX));
    const envelopes = this.#sql
      .exec(
        "SELECT envelope_id FROM envelope WHERE envelope_id > ? ORDER BY envelope_id LIMIT ?",
        input.cursor ?? "",
        limit,
      )
      .toArray()
      .map((row) => row["envelope_id"] as string);
    return { envelopes, cursor: envelopes.length === limit ? (envelopes.at(-1) ?? null) : null };
  }

  async identity({ hashes }: { readonly hashes: readonly string[] }): Promise<IdentityPlace | null> {
    if (!hasSchema(this.#storage)) return null;
    const place = identityPlace(this.#sql, hashes);
    if (place !== undefined && identityPlace(this.#sql, hashes.slice(0, 1)) === undefined) {
      nameIdentity(this.#sql, hashes, place, Date.now());
    }
    return place ?? null;
  }

  async claimIdentity(input: ClaimIdentityInput): Promise<IdentityPlace> {
    this.#create();
    return claimIdentity(this.#sql, input, Date.now());
  }

  async releaseIdentity({ identity_id }: { readonly identity_id: string }): Promise<void> {
    if (hasSchema(this.#storage)) releaseIdentity(this.#sql, identity_id);
  }

  #row(payment_id: string): Record<string, SqlStorageValue> | undefined {
    return this.#sql.exec("SELECT * FROM unclaimed WHERE payment_id = ?", payment_id).toArray()[0];
  }

  /** The unclaimed row, as long as the payment is in no envelope. */
  #listed(payment_id: string): Record<string, SqlStorageValue> | undefined {
    const row = this.#row(payment_id);
    return row?.["booked_at_ms"] === null ? row : undefined;
  }

  #claimant(payment_id: string): string | undefined {
    const [row] = this.#sql.exec("SELECT envelope_id FROM claim WHERE payment_id = ?", payment_id).toArray();
    return row?.["envelope_id"] as string | undefined;
  }

  #parked(payment_id: string): readonly ParkedReport[] {
    return this.#sql
      .exec("SELECT event_id, report FROM parked WHERE payment_id = ? ORDER BY at_ms, event_id", payment_id)
      .toArray()
      .map((row) => ({
        event_id: row["event_id"] as string,
        report: JSON.parse(row["report"] as string) as PaymentReport,
      }));
  }

  #create(): void {
    if (!hasSchema(this.#storage)) migrate(this.#storage, DIRECTORY_MIGRATIONS, Date.now());
  }
}

function toUnclaimed(row: Record<string, SqlStorageValue>): UnclaimedPayment {
  const { claimed_by, booked_at_ms, assignment, ...rest } = row;
  const facts = row["facts"] === null ? null : JSON.parse(row["facts"] as string);
  return { ...rest, livemode: row["livemode"] === 1, facts } as unknown as UnclaimedPayment;
}
