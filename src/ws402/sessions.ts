/**
 * `WS402Sessions`: what must outlive a connection. One shard of the sessions of ws402: who is let in, which payments were used, and
 * what is owed back, until it is paid. The money of an envelope is not here but in the envelope; of such a session this keeps the
 * receipt. Every public method is remote API.
 */
import { DurableObject } from "cloudflare:workers";
import { hasSchema, migrate } from "../migrate.js";
import { toMicros } from "../money.js";
import { digest } from "../secrets.js";
import { ConfigurationError } from "../settings.js";
import { providerUnit } from "./amounts.js";
import type { RefundStatus } from "./protocol.js";
import { nameOf, namesOf, type PaymentProvider, type PaymentVerification } from "./provider.js";
import { SESSIONS_MIGRATIONS } from "./schema.js";
import {
  type Access,
  decideAccess,
  isOver,
  type Progress,
  progressed,
  refundStatusOf,
  refundsOf,
  retryAt_ms,
  type StoredPayment,
  type StoredSession,
} from "./session-rules.js";
import { sessionsStub } from "./stub.js";

export interface BeginInput {
  readonly session_id: string;
  readonly user_id: string;
  readonly resource_id: string;
  readonly currency: string;
  readonly price_micros: number;
  readonly token_hash: string | null;
  readonly lease_ms: number;
  /** Where the money is: an envelope that covers this much now, or a provider, who is shown the proof. */
  readonly from: { readonly envelope_id: string; readonly budget_micros: number } | { readonly proof: unknown };
}

export type BeginOutcome =
  | { readonly outcome: "begun"; readonly session: StoredSession }
  | { readonly outcome: "rejected"; readonly code: "invalid_payment" | "already_used"; readonly reason: string }
  /** The provider did not answer. What it took is given back, should it turn out that it did. */
  | { readonly outcome: "unavailable" };

export type TopUpOutcome =
  | { readonly outcome: "paid"; readonly paid_micros: number }
  | { readonly outcome: "ended" }
  | Exclude<BeginOutcome, { readonly outcome: "begun" }>;

export interface Receipt {
  readonly session: StoredSession;
  readonly refund_micros: number;
  readonly refund_status: RefundStatus;
}

/** What a shard tells whoever listens in its own isolate. */
export interface SessionsEvents {
  readonly refunded: (
    of: Receipt & { readonly proof: unknown },
    refund: { readonly amount_micros: number; readonly id: string | null },
  ) => void;
  readonly refundFailed: (of: Receipt & { readonly proof: unknown }, error: unknown) => void;
}

/** The remote face of a shard. */
export interface SessionsApi {
  begin(input: BeginInput): Promise<BeginOutcome>;
  topUp(input: { readonly session_id: string; readonly proof: unknown }): Promise<TopUpOutcome>;
  /** Says that the session goes on, and how far it is. `false`: it has ended here, and must there. */
  beat(input: BeatInput): Promise<boolean>;
  /** Once: asked again, it answers as it ended. */
  end(input: Omit<BeatInput, "lease_ms"> & { readonly reason: string }): Promise<Receipt | null>;
  access(input: {
    readonly token_hash: string;
    readonly resource_id: string;
  }): Promise<{ readonly access: Access; readonly session_id: string | null }>;
  receipt(input: { readonly session_id: string }): Promise<Receipt | null>;
  /** Refunds that are owed, oldest first. */
  owed(): Promise<readonly Owed[]>;
  active(): Promise<readonly StoredSession[]>;
  claimName(input: { readonly name: string; readonly payment_ref: string }): Promise<boolean>;
  freeName(input: { readonly name: string; readonly payment_ref: string }): Promise<void>;
}

export interface BeatInput {
  readonly session_id: string;
  readonly progress: Progress;
  readonly lease_ms: number;
  readonly price_micros?: number | undefined;
}

export interface Owed {
  readonly session_id: string;
  readonly payment_ref: string;
  readonly refund_micros: number;
  readonly currency: string;
  readonly attempts: number;
  readonly error: string | null;
}

/** How long a provider is waited for. */
const PROVIDER_MS_MAX = 30_000;
/** A payment that is still being verified by then was forgotten by whoever did: it is looked after by the alarm. */
const VERIFY_STALE_MS = 60_000;

const ERROR_CHARS_MAX = 200;

export class WS402Sessions extends DurableObject implements SessionsApi {
  readonly #sql: SqlStorage;
  #alarmAt_ms: number | undefined;
  readonly #refunding = new Set<string>();

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    if (hasSchema(ctx.storage)) migrate(ctx.storage, SESSIONS_MIGRATIONS, Date.now());
  }

  /** Overridden by the class that `WS402` makes. */
  protected provider(): PaymentProvider {
    throw new ConfigurationError(
      "WS402Sessions",
      "has no provider: export the class that your WS402 makes (`export const WS402Sessions = ws402.Sessions`)",
    );
  }

  protected events(): Partial<SessionsEvents> {
    return {};
  }

  async begin(input: BeginInput): Promise<BeginOutcome> {
    this.#create();
    const { from, session_id } = input;
    if ("envelope_id" in from) {
      this.#open(input, from.budget_micros, from.envelope_id);
      return this.#begun(session_id);
    }
    const paid = await this.#take(session_id, from.proof, input.currency, (amount_micros, price) => {
      this.#open({ ...input, price_micros: price ?? input.price_micros }, amount_micros, null);
      return true;
    });
    return paid.outcome === "paid" ? this.#begun(session_id) : paid;
  }

  async topUp({ session_id, proof }: { readonly session_id: string; readonly proof: unknown }): Promise<TopUpOutcome> {
    const session = this.#session(session_id);
    if (session === undefined || isOver(session, Date.now())) return { outcome: "ended" };
    const paid = await this.#take(session_id, proof, session.currency, (amount_micros) => {
      const now = this.#session(session_id);
      if (now === undefined || isOver(now, Date.now())) return false;
      this.#sql.exec(
        "UPDATE session SET paid_micros = paid_micros + ? WHERE session_id = ?",
        amount_micros,
        session_id,
      );
      return true;
    });
    if (paid.outcome !== "paid") return paid;
    return { outcome: "paid", paid_micros: this.#session(session_id)?.paid_micros ?? 0 };
  }

  async beat(input: BeatInput): Promise<boolean> {
    const { session_id, progress, lease_ms } = input;
    const now = Date.now();
    const session = this.#session(session_id);
    if (session === undefined || isOver(session, now)) return false;
    const { price_micros = session.price_micros } = input;
    this.#note({ ...session, price_micros, lease_until_ms: now + lease_ms }, progress);
    return true;
  }

  async end(input: Omit<BeatInput, "lease_ms"> & { readonly reason: string }): Promise<Receipt | null> {
    const { session_id, progress, reason } = input;
    const session = this.#session(session_id);
    if (session === undefined) return null;
    if (session.state === "open") this.#end(session, progress, reason);
    return this.#receipt(session_id);
  }

  async access({ token_hash, resource_id }: { readonly token_hash: string; readonly resource_id: string }) {
    const session = this.#exists ? this.#find("token_hash", token_hash) : undefined;
    return {
      access: decideAccess(session, resource_id, Date.now()),
      session_id: session?.session_id ?? null,
    };
  }

  async receipt({ session_id }: { readonly session_id: string }): Promise<Receipt | null> {
    const session = this.#session(session_id);
    if (session === undefined) return null;
    // The alarm would come to it; who asks need not wait for that.
    if (session.state === "open" && isOver(session, Date.now())) this.#end(session, session, "lost");
    return this.#receipt(session_id);
  }

  async owed(): Promise<readonly Owed[]> {
    if (!this.#exists) return [];
    return this.#sql
      .exec(
        `SELECT session_id, payment_ref, refund_micros, currency, attempts, error FROM payment JOIN session USING (session_id)
         WHERE refund_micros > 0 AND refunded_at_ms IS NULL ORDER BY payment.at_ms LIMIT 1000`,
      )
      .toArray() as unknown as Owed[];
  }

  async active(): Promise<readonly StoredSession[]> {
    return this.#openSessions().filter((session) => !isOver(session, Date.now()));
  }

  /** One payment has a name for ever: `false` for any other. */
  async claimName({ name, payment_ref }: { readonly name: string; readonly payment_ref: string }): Promise<boolean> {
    this.#create();
    this.#sql.exec(
      "INSERT INTO used_name (name, payment_ref, at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      name,
      payment_ref,
      Date.now(),
    );
    const [row] = this.#sql.exec("SELECT payment_ref FROM used_name WHERE name = ?", name).toArray();
    return row?.["payment_ref"] === payment_ref;
  }

  /** A payment that the provider says is none may be shown again, by whoever made it. */
  async freeName({ name, payment_ref }: { readonly name: string; readonly payment_ref: string }): Promise<void> {
    if (this.#exists) this.#sql.exec("DELETE FROM used_name WHERE name = ? AND payment_ref = ?", name, payment_ref);
  }

  override async alarm(): Promise<void> {
    this.#alarmAt_ms = undefined;
    if (!this.#exists) return;
    const now = Date.now();
    for (const session of this.#openSessions()) {
      if (isOver(session, now)) this.#end(session, session, "lost");
    }
    const due = this.#sql
      .exec("SELECT * FROM payment WHERE next_at_ms <= ? LIMIT 100", now)
      .toArray() as unknown as StoredPayment[];
    await Promise.all(
      due.map((payment) => (payment.status === "verifying" ? this.#forgotten(payment) : this.#refund(payment))),
    );
    this.#arm();
  }

  /** Written before the provider is asked, so that what it took is owed back whatever happens from here on. */
  async #take(
    session_id: string,
    proof: unknown,
    currency: string,
    use: (amount_micros: number, price_micros: number | undefined) => boolean,
  ): Promise<{ readonly outcome: "paid" } | Exclude<BeginOutcome, { readonly outcome: "begun" }>> {
    const names = namesOf(proof).map((name) => digest(name));
    const payment_ref = `${session_id}.${names.join(".").slice(0, 64)}`;
    const text = JSON.stringify(proof ?? null);
    this.#sql.exec(
      `INSERT INTO payment (payment_ref, session_id, names, proof, status, next_at_ms, at_ms) VALUES (?, ?, ?, ?, 'verifying', ?, ?)
       ON CONFLICT DO NOTHING`,
      payment_ref,
      session_id,
      JSON.stringify(names),
      text,
      Date.now() + VERIFY_STALE_MS,
      Date.now(),
    );
    this.#arm();
    if (!(await this.#claim(names, payment_ref))) {
      await this.#free(names, payment_ref);
      return this.#reject(payment_ref, "already_used", "Payment was used already");
    }
    let verified: PaymentVerification;
    try {
      verified = await within(PROVIDER_MS_MAX, Promise.resolve(this.provider().verifyPayment(proof)));
    } catch (error) {
      if (error instanceof ConfigurationError) throw error;
      return { outcome: "unavailable" };
    }
    return this.#verified(payment_ref, names, currency, verified, use);
  }

  async #verified(
    payment_ref: string,
    names: readonly string[],
    currency: string,
    verified: PaymentVerification,
    use: (amount_micros: number, price_micros: number | undefined) => boolean,
  ): Promise<{ readonly outcome: "paid" } | Exclude<BeginOutcome, { readonly outcome: "begun" }>> {
    const unit = providerUnit(currency);
    const amount_micros = unit.parse(verified.amount);
    if (verified.valid !== true || amount_micros === undefined || amount_micros === 0) {
      await this.#free(names, payment_ref);
      const reason =
        typeof verified.reason === "string" ? verified.reason.slice(0, ERROR_CHARS_MAX) : "Invalid payment";
      return this.#reject(payment_ref, "invalid_payment", reason);
    }
    const own = verified.paymentId === undefined ? [] : [digest(nameOf(verified.paymentId))];
    if (!(await this.#claim(own, payment_ref))) {
      await this.#free(names, payment_ref);
      return this.#reject(payment_ref, "already_used", "Payment was used already");
    }
    const price = verified.pricePerSecond === undefined ? undefined : unit.parse(verified.pricePerSecond);
    return this.ctx.storage.transactionSync(() => {
      const [row] = this.#sql.exec("SELECT status FROM payment WHERE payment_ref = ?", payment_ref).toArray();
      // The alarm took it for forgotten, and gives it back.
      if (row?.["status"] !== "verifying") return { outcome: "unavailable" };
      this.#sql.exec(
        "UPDATE payment SET status = 'paid', amount_micros = ?, next_at_ms = NULL WHERE payment_ref = ?",
        amount_micros,
        payment_ref,
      );
      if (use(amount_micros, price)) return { outcome: "paid" };
      this.#owe(payment_ref, amount_micros);
      return { outcome: "unavailable" };
    });
  }

  async #claim(names: readonly string[], payment_ref: string): Promise<boolean> {
    for (const name of names) {
      if (!(await this.#shard(name).claimName({ name, payment_ref }))) return false;
    }
    return true;
  }

  /** Those that are its own; whoever else has one keeps it. */
  async #free(names: readonly string[], payment_ref: string): Promise<void> {
    await Promise.all(names.map((name) => this.#shard(name).freeName({ name, payment_ref })));
  }

  #shard(name: string): SessionsApi {
    return sessionsStub(this.env, name);
  }

  #reject(payment_ref: string, code: "invalid_payment" | "already_used", reason: string) {
    // Nothing is kept of what is none, or anybody could fill the storage.
    this.#sql.exec("DELETE FROM payment WHERE payment_ref = ? AND status = 'verifying'", payment_ref);
    return { outcome: "rejected", code, reason } as const;
  }

  /** Nobody waits for it any more. What turns out to have been paid is owed back whole. */
  async #forgotten({ payment_ref, session_id, proof }: StoredPayment): Promise<void> {
    try {
      const names = namesOf(JSON.parse(proof)).map((name) => digest(name));
      const mine = await this.#claim(names, payment_ref);
      if (!mine) {
        this.#reject(payment_ref, "already_used", "");
        return;
      }
      const verified = await within(PROVIDER_MS_MAX, Promise.resolve(this.provider().verifyPayment(JSON.parse(proof))));
      const currency = this.#session(session_id)?.currency ?? "";
      await this.#verified(payment_ref, names, currency, verified, () => false);
    } catch (error) {
      this.#postpone(payment_ref, error);
    }
  }

  #open(input: BeginInput, paid_micros: number, envelope_id: string | null): void {
    const now = Date.now();
    this.#sql.exec(
      `INSERT INTO session (session_id, user_id, resource_id, currency, envelope_id, price_micros, paid_micros, started_at_ms,
         state, lease_until_ms, token_hash)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING`,
      input.session_id,
      input.user_id,
      input.resource_id,
      input.currency,
      envelope_id,
      input.price_micros,
      paid_micros,
      now,
      now + input.lease_ms,
      input.token_hash,
    );
    this.#arm();
  }

  #begun(session_id: string): BeginOutcome {
    const session = this.#session(session_id);
    return session === undefined ? { outcome: "unavailable" } : { outcome: "begun", session };
  }

  #note(session: StoredSession, told: Progress): void {
    const { paid_micros, consumed_micros, open_ms, bytes, messages } = progressed(session, told);
    this.#sql.exec(
      `UPDATE session SET paid_micros = ?, consumed_micros = ?, open_ms = ?, bytes = ?, messages = ?, price_micros = ?, lease_until_ms = ?
       WHERE session_id = ?`,
      paid_micros,
      consumed_micros,
      open_ms,
      bytes,
      messages,
      session.price_micros,
      session.lease_until_ms,
      session.session_id,
    );
  }

  /** The end, and what it owes, in one turn. */
  #end(session: StoredSession, told: Progress, reason: string): void {
    const { session_id } = session;
    this.ctx.storage.transactionSync(() => {
      this.#note(session, told);
      this.#sql.exec(
        "UPDATE session SET state = 'ended', ended_at_ms = ?, end_reason = ? WHERE session_id = ?",
        Date.now(),
        reason,
        session_id,
      );
      const consumed = this.#session(session_id)?.consumed_micros ?? 0;
      const payments = this.#payments(session_id).filter(({ status }) => status === "paid");
      const refunds = refundsOf(payments, consumed);
      for (const { payment_ref } of payments) this.#owe(payment_ref, refunds.get(payment_ref) ?? 0);
    });
    for (const payment of this.#payments(session_id)) {
      if (payment.refund_micros > 0) this.ctx.waitUntil(this.#refund(payment));
    }
  }

  #owe(payment_ref: string, refund_micros: number): void {
    if (refund_micros === 0) {
      // What is not owed back is not needed any more, and may say who paid.
      this.#sql.exec("UPDATE payment SET proof = '' WHERE payment_ref = ?", payment_ref);
      return;
    }
    this.#sql.exec(
      "UPDATE payment SET refund_micros = ?, next_at_ms = ? WHERE payment_ref = ? AND refunded_at_ms IS NULL",
      refund_micros,
      Date.now(),
      payment_ref,
    );
    this.#arm();
  }

  async #refund({ payment_ref }: Pick<StoredPayment, "payment_ref">): Promise<void> {
    const payment = this.#payment(payment_ref);
    if (payment === undefined || payment.refund_micros === 0 || payment.refunded_at_ms !== null) return;
    if (this.#refunding.has(payment_ref)) return;
    this.#refunding.add(payment_ref);
    const proof: unknown = payment.proof === "" ? null : JSON.parse(payment.proof);
    try {
      const session = this.#session(payment.session_id);
      const amount = providerUnit(session?.currency ?? "").toNumber(payment.refund_micros);
      const request = { sessionId: payment.session_id, idempotencyKey: payment_ref, reason: "unused_balance" } as const;
      const issue = async () => this.provider().issueRefund(proof, amount, request);
      const { id = null } = (await within(PROVIDER_MS_MAX, issue())) ?? {};
      this.#sql.exec(
        "UPDATE payment SET refunded_at_ms = ?, refund_id = ?, next_at_ms = NULL, error = NULL, proof = '' WHERE payment_ref = ?",
        Date.now(),
        id,
        payment_ref,
      );
      const receipt = this.#receipt(payment.session_id);
      if (receipt !== null)
        this.events().refunded?.({ ...receipt, proof }, { amount_micros: payment.refund_micros, id });
    } catch (error) {
      this.#postpone(payment_ref, error);
      const receipt = this.#receipt(payment.session_id);
      if (receipt !== null) this.events().refundFailed?.({ ...receipt, proof }, error);
    } finally {
      this.#refunding.delete(payment_ref);
    }
  }

  #postpone(payment_ref: string, error: unknown): void {
    const text = (error instanceof Error ? error.message : String(error)).slice(0, ERROR_CHARS_MAX);
    const attempts = this.#payment(payment_ref)?.attempts ?? 0;
    this.#sql.exec(
      "UPDATE payment SET attempts = attempts + 1, next_at_ms = ?, error = ? WHERE payment_ref = ?",
      retryAt_ms(attempts, Date.now()),
      text,
      payment_ref,
    );
    this.#arm();
  }

  #receipt(session_id: string): Receipt | null {
    const session = this.#session(session_id);
    if (session === undefined) return null;
    const payments = this.#payments(session_id);
    return {
      session,
      refund_micros: session.state === "ended" ? session.paid_micros - session.consumed_micros : 0,
      refund_status: refundStatusOf(session, payments),
    };
  }

  get #exists(): boolean {
    return hasSchema(this.ctx.storage);
  }

  #create(): void {
    if (!this.#exists) migrate(this.ctx.storage, SESSIONS_MIGRATIONS, Date.now());
  }

  #session(session_id: string): StoredSession | undefined {
    return this.#exists ? this.#find("session_id", session_id) : undefined;
  }

  #find(column: "session_id" | "token_hash", value: string): StoredSession | undefined {
    const [row] = this.#sql.exec(`SELECT * FROM session WHERE ${column} = ?`, value).toArray();
    if (row === undefined) return undefined;
    const { token_hash: _, ...session } = row;
    return session as unknown as StoredSession;
  }

  #openSessions(): readonly StoredSession[] {
    if (!this.#exists) return [];
    return this.#sql.exec("SELECT * FROM session WHERE state = 'open'").toArray() as unknown as StoredSession[];
  }

  #payment(payment_ref: string): StoredPayment | undefined {
    const [row] = this.#sql.exec("SELECT * FROM payment WHERE payment_ref = ?", payment_ref).toArray();
    return row as unknown as StoredPayment | undefined;
  }

  #payments(session_id: string): readonly StoredPayment[] {
    return this.#sql
      .exec("SELECT * FROM payment WHERE session_id = ? ORDER BY at_ms, payment_ref", session_id)
      .toArray() as unknown as StoredPayment[];
  }

  /** To whatever is due first. */
  #arm(): void {
    const [payment] = this.#sql
      .exec("SELECT min(next_at_ms) AS at_ms FROM payment WHERE next_at_ms IS NOT NULL")
      .toArray();
    const [lease] = this.#sql.exec("SELECT min(lease_until_ms) AS at_ms FROM session WHERE state = 'open'").toArray();
    const times = [payment?.["at_ms"], lease?.["at_ms"]].flatMap((at) => toMicros(at) ?? []);
    if (times.length === 0) return;
    const at_ms = Math.max(Math.min(...times), Date.now());
    if (this.#alarmAt_ms !== undefined && this.#alarmAt_ms <= at_ms) return;
    this.#alarmAt_ms = at_ms;
    void this.ctx.storage.setAlarm(at_ms);
  }
}

async function within<T>(limit_ms: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The provider did not answer within ${limit_ms} ms`)), limit_ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
