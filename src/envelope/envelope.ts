/**
 * `Envelope`: one holder's money, one SQLite Durable Object. Thin: it reads what a rule needs, lets the rule decide and
 * writes what it says, in one synchronous turn per call (no await between a check and its write). The platform holds the
 * answer back until the write is durable. Every public method is remote API.
 */
import { DurableObject } from "cloudflare:workers";
import type {
  AdmitInput,
  AdmitOutcome,
  Asked,
  BearInput,
  ChargeInput,
  ChargeOutcome,
  Credential,
  DisownOutcome,
  EntriesInput,
  Entry,
  EnvelopeApi,
  GrantInput,
  GrantOutcome,
  HoldInput,
  HoldOutcome,
  KeepCardInput,
  LimitedCredential,
  LoginOutcome,
  PaymentOutcome,
  PaymentReport,
  PaymentState,
  RefundInput,
  RefundOutcome,
  ReleaseOutcome,
  ReturnedInput,
  ReturnedOutcome,
  RotateInput,
  RotateOutcome,
  SettleInput,
  SettleOutcome,
  StateOutcome,
  Undo,
} from "../contract.js";
import { ENTRIES_PAGE_MAX } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { aggregateStub } from "../stubs.js";
import { decideRotation, judge, type Standing } from "./credentials.js";
import { decideHold, decideRelease, decideSettle } from "./holds.js";
import { balances, type Draft, decideCharge, decideGrant, decideRefund, refusal, taken } from "./ledger.js";
import { decideAdmission, decideLogin, judgeLimited, standingOf, undoOf } from "./logins.js";
import { nextAttemptMs, shipEntries } from "./outbox.js";
import { decidePayment } from "./payments.js";
import { Store } from "./store.js";

/** How long a token stays valid once its successor was used: enough for requests under way in other tabs. */
const CREDENTIAL_GRACE_MS = 15 * 60_000;

/** Entries wait this long for company before they are mirrored: one alarm and one cursor row serve the whole batch. */
const MIRROR_DELAY_MS = 1_000;

export class Envelope extends DurableObject implements EnvelopeApi {
  readonly #store: Store;
  /** False on waking, so that the first write arms the alarm again: a lost alarm can delay the mirror, never stop it. */
  #alarmArmed = false;
  #failedShipments = 0;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#store = new Store(ctx.storage);
  }

  async charge(input: ChargeInput): Promise<ChargeOutcome> {
    const now = this.#now();
    const account = this.#store.account(now);
    if (!this.#mayAct(input, now)) {
      return { outcome: "refused", refusal: refusal(account, "credential_revoked", input.amount_micros), ...NOTHING };
    }
    const decision = decideCharge(
      account,
      {
        operation: input.retry ? this.#store.priorByOperation(input.op) : undefined,
        key: this.#store.priorByKey(input.key),
        key_is_held: this.#store.keyIsHeld(input.key, now),
      },
      input,
      now,
    );
    if ("outcome" in decision) return decision.outcome;
    const entry = this.#append(decision.write, now);
    return { outcome: "charged", seq: entry.seq, amount_micros: taken(entry), ...balances(this.#store.account(now)) };
  }

  async hold(input: HoldInput): Promise<HoldOutcome> {
    const now = this.#now();
    const account = this.#store.account(now);
    if (!this.#mayAct(input, now)) {
      return { outcome: "refused", refusal: refusal(account, "credential_revoked", input.amount_micros), ...NOTHING };
    }
    const decision = decideHold(
      account,
      {
        hold: input.retry ? this.#store.holdByOperation(input.op) : undefined,
        key: this.#store.priorByKey(input.key),
        key_is_held: this.#store.keyIsHeld(input.key, now),
      },
      input,
      now,
    );
    if ("outcome" in decision) return decision.outcome;
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#store.openHold(input, now));
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now)) };
  }

  async settle(input: SettleInput): Promise<SettleOutcome> {
    const now = this.#now();
    const hold = this.#store.hold(input.hold_id);
    const paid = hold?.settled_seq == null ? ZERO : taken({ amount_micros: this.#store.amountOf(hold.settled_seq) });
    const decision = decideSettle(this.#store.account(now), hold, input, now, paid);
    if (hold === undefined || !("end" in decision)) return (decision as { outcome: SettleOutcome }).outcome;
    const entry = this.#transaction(() => {
      const written = decision.write && this.#store.append(decision.write, now);
      // Of the hold itself, no more than it held: what was above it came from the balance (docs/decisions/0004).
      const settled = {
        op: input.op,
        seq: written?.seq ?? null,
        micros: written ? (Math.min(taken(written), hold.amount_micros) as Micros) : ZERO,
      };
      this.#store.endHold(hold, decision.end, decision.end === "settled" ? settled : undefined);
      return written;
    });
    if (decision.outcome !== undefined) return decision.outcome;
    const amount_micros = entry ? taken(entry) : ZERO;
    return { outcome: "charged", seq: entry?.seq ?? null, amount_micros, ...balances(this.#store.account(now)) };
  }

  async release(input: { readonly hold_id: number }): Promise<ReleaseOutcome> {
    const now = this.#now();
    const hold = this.#store.hold(input.hold_id);
    const decision = decideRelease(this.#store.account(now), hold, now);
    if (hold === undefined || "outcome" in decision) return (decision as { outcome: ReleaseOutcome }).outcome;
    this.#store.endHold(hold, decision.end, undefined);
    const after = balances(this.#store.account(now));
    return decision.end === "released"
      ? { outcome: "released", ...after }
      : { outcome: "ended", end: decision.end, ...after };
  }

  async refund(input: RefundInput): Promise<RefundOutcome> {
    const now = this.#now();
    const prior = this.#store.priorByKey(input.key);
    const decision = decideRefund(this.#store.account(now), this.#store.refundable(input.charge), prior, input);
    if ("outcome" in decision) return decision.outcome;
    const entry = this.#append(decision.write, now);
    return { outcome: "refunded", ...entry, ...balances(this.#store.account(now)) };
  }

  async grant(input: GrantInput): Promise<GrantOutcome> {
    const now = this.#now();
    const decision = decideGrant(this.#store.account(now), this.#store.priorByKey(input.key), input);
    if ("outcome" in decision) return decision.outcome;
    const entry = this.#transaction(() => {
      this.#store.create(this.#name(), input.currency, now);
      return this.#store.append(decision.write, now);
    });
    return { outcome: "granted", ...entry, ...balances(this.#store.account(now)) };
  }

  async report(report: PaymentReport): Promise<PaymentOutcome & { readonly undo?: Undo }> {
    const outcome = this.#report(report);
    if (report.reversal === undefined) return outcome;
    const undo = undoOf(this.#store.paymentFile(report.payment_id), this.#store.paymentLogin(report.payment_id));
    return undo === undefined ? outcome : { ...outcome, undo };
  }

  /** Files what Stripe says of a payment; its row, its entries and the new balance are one transaction. */
  #report(report: PaymentReport): PaymentOutcome {
    const now = this.#now();
    const { payment_id } = report;
    const decision = decidePayment(this.#store.account(now), this.#store.paymentFile(payment_id), report);
    if ("outcome" in decision) return decision.outcome;
    const { file, writes } = decision;
    const entries = this.#transaction(() => {
      this.#store.create(this.#name(), report.currency, now);
      const written = writes.map((draft) => ({ ...this.#store.append(draft, now), kind: draft.kind }));
      const credit = written.find(({ kind }) => kind === "topup");
      this.#store.filePayment(payment_id, file, credit?.seq ?? null, now);
      return written;
    });
    const after = balances(this.#store.account(now));
    const credit = entries.find(({ kind }) => kind === "topup");
    if (credit !== undefined)
      return { outcome: "credited", seq: credit.seq, amount_micros: credit.amount_micros, ...after };
    const [reversed] = entries;
    if (reversed !== undefined) return { outcome: "reversed", amount_micros: reversed.amount_micros, ...after };
    if (file.payment !== undefined)
      return { outcome: file.payment.state === "pending" ? "pending" : "failed", ...after };
    return { outcome: "noted", ...after };
  }

  async paymentState(input: { readonly payment_id: string }): Promise<PaymentState | null> {
    return this.#store.paymentFile(input.payment_id).payment?.state ?? null;
  }

  async disown(input: { readonly payment_id: string; readonly currency: string }): Promise<DisownOutcome> {
    const now = this.#now();
    const { payment_id, currency } = input;
    const { payment, reversals } = this.#store.paymentFile(payment_id);
    if (payment?.state === "paid") return { outcome: "paid" };
    this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.disown(payment_id, now);
    });
    return { outcome: "disowned", reversals };
  }

  async state(input: { readonly credential?: Asked["credential"] }): Promise<StateOutcome> {
    const now = this.#now();
    const standing = this.#present(input.credential, now);
    if (standing === "revoked") return { outcome: "unauthorized" };
    const account = this.#store.account(now);
    // A limited session reads the balance, and nothing about the holder's other business.
    const limited = standing === "limited";
    return {
      outcome: "ok",
      superseded: standing === "superseded",
      ...balances(account),
      held_micros: account.held_micros,
      seq: this.#store.head.seq,
      funded: account.funded,
      frozen: account.frozen,
      open_disputes: this.#store.head.open_disputes,
      currency: account.currency,
      holds: (limited ? [] : this.#store.openHolds(now)).map(
        ({ hold_id, amount_micros, at_ms, expires_at_ms, reason }) => ({
          hold_id,
          amount_micros,
          at_ms,
          expires_at_ms,
          reason,
        }),
      ),
      windows: [],
      limited_sessions: limited ? [] : this.#store.limitedSessions(now),
    };
  }

  async entries(input: EntriesInput): Promise<readonly Entry[]> {
    return this.#store.entries(input.after, Math.max(1, Math.min(input.limit, ENTRIES_PAGE_MAX)));
  }

  async rotate(input: RotateInput): Promise<RotateOutcome> {
    if (!this.#store.exists) return { outcome: "unfunded" };
    const now = this.#now();
    const decision = decideRotation(this.#store.credentials, input, now);
    if ("outcome" in decision) return decision.outcome;
    this.#store.transaction(() => {
      if (decision.first !== undefined) this.#store.fileCredential(decision.first, now, now);
      this.#store.fileCredential(decision.issue, null, now);
      // Who replaces their token wants to be alone.
      this.#store.closeLogins(now);
    });
    return { outcome: "rotated" };
  }

  async freeze(input: { readonly frozen: boolean; readonly currency: string }): Promise<{ readonly frozen: boolean }> {
    if (this.#store.head.frozen === input.frozen) return { frozen: input.frozen };
    const now = this.#now();
    this.#store.transaction(() => {
      this.#store.create(this.#name(), input.currency, now);
      this.#store.setFrozen(input.frozen, now);
    });
    return { frozen: input.frozen };
  }

  /** Ships entries to the aggregate. At-least-once is enough: the aggregate applies each number once. */
  override async alarm(): Promise<void> {
    this.#alarmArmed = true;
    try {
      const more = await shipEntries(this.#store, aggregateStub(this.env, this.#name()), this.#name());
      this.#failedShipments = 0;
      this.#alarmArmed = false;
      if (more) this.#armAlarm(0);
    } catch (error) {
      // Caught, because the platform gives an alarm up after six failures; users are served all the same.
      this.#failedShipments += 1;
      console.error("with-envelope: mirroring will be retried", error);
      this.#alarmArmed = false;
      this.#armAlarm(nextAttemptMs(this.#failedShipments, Math.random()));
    }
  }

  async returned(input: ReturnedInput): Promise<ReturnedOutcome> {
    const { payment_id, card, credential } = input;
    const now = this.#now();
    const known = this.#store.paymentLogin(payment_id);
    const outcome = standingOf(this.#store.paymentFile(payment_id), known);
    // The card is noted even if nothing is made of it, so that a dispute of this payment stops it everywhere.
    if (known === undefined && outcome === "open" && this.#store.exists) {
      this.#store.filePaymentLogin(payment_id, card, undefined, now);
    }
    return { outcome, holder: credential !== undefined && this.#holds(credential, now) };
  }

  async keepCard(input: KeepCardInput): Promise<LoginOutcome> {
    if (!this.#holds(input.credential, this.#now())) return { outcome: "refused" };
    return this.#login(input.payment_id, input.card, "kept");
  }

  async keeps({ cards }: { readonly cards: readonly string[] }): Promise<boolean> {
    return this.#store.keepsCard(cards);
  }

  async bear(input: BearInput): Promise<LoginOutcome> {
    return this.#login(input.payment_id, input.card, input.session);
  }

  async admit(input: AdmitInput): Promise<AdmitOutcome> {
    const now = this.#now();
    const decision = decideAdmission(
      this.#store.limitedSession(input.key_id),
      this.#store.keepsCard(input.cards),
      input,
      now,
    );
    if ("outcome" in decision) return decision;
    this.#store.transaction(() => {
      this.#store.rehashCard(input.cards);
      this.#store.fileLimited(input, decision.expires_at_ms, now);
    });
    return { outcome: "admitted", expires_at_ms: decision.expires_at_ms };
  }

  async endLimited(input: { readonly key_id: string }): Promise<void> {
    if (this.#store.exists) this.#store.endLimited(input.key_id, this.#now());
  }

  #login(payment_id: string, card: string, use: BearInput["session"] | "kept"): LoginOutcome {
    const known = this.#store.paymentLogin(payment_id);
    const outcome = decideLogin(this.#store.paymentFile(payment_id), known, use);
    if (outcome === "done") this.#store.filePaymentLogin(payment_id, card, use, this.#now());
    return { outcome };
  }

  /** A full credential that is not about to end: who is on the way out decides nothing any more. */
  #holds(credential: Credential, now: number): boolean {
    const standing = this.#present(credential, now);
    return standing === "first" || standing === "successor" || standing === "current";
  }

  #mayAct({ credential }: Asked, now: number): boolean {
    return this.#present(credential, now) !== "revoked";
  }

  /** Judges a credential, and notes its first use. A caller that the Worker vouches for has none. Nothing is noted where nothing was paid. */
  #present(credential: Credential | LimitedCredential | undefined, now: number): Standing | "limited" {
    if (credential === undefined) return "current";
    if ("key_id" in credential) return judgeLimited(this.#store.limitedSession(credential.key_id), credential, now);
    const standing = judge(this.#store.credentials, credential, now);
    if (!this.#store.exists) return standing;
    if (standing === "first") this.#store.transaction(() => this.#store.fileCredential(credential, now, now));
    if (standing === "successor") {
      this.#store.transaction(() => {
        this.#store.useSuccessor(credential.generation, CREDENTIAL_GRACE_MS, now);
        // Once more: until now the old token could let others in.
        this.#store.closeLogins(now);
      });
    }
    return standing;
  }

  #append(draft: Draft, now: number): { readonly seq: number; readonly amount_micros: Micros } {
    const entry = this.#store.append(draft, now);
    this.#armAlarm(MIRROR_DELAY_MS);
    return entry;
  }

  /** Several writes as one, and the alarm with them. Armed afterwards, because a roll-back takes an alarm back and not this flag. */
  #transaction<T>(work: () => T): T {
    const { seq } = this.#store.head;
    const result = this.#store.transaction(work);
    if (this.#store.head.seq > seq) this.#armAlarm(MIRROR_DELAY_MS);
    return result;
  }

  /** Un-awaited on purpose: in the turn of the write, the alarm and the entry become durable together or not at all. */
  #armAlarm(delay_ms: number): void {
    if (this.#alarmArmed) return;
    this.#alarmArmed = true;
    void this.ctx.storage.setAlarm(Date.now() + delay_ms);
  }

  #now(): number {
    return Date.now();
  }

  #name(): string {
    const { name } = this.ctx.id;
    if (name === undefined) throw new Error("An Envelope is reached by name only: use getByName");
    return name;
  }
}

const NOTHING = { balance_micros: ZERO, available_micros: ZERO } as const;
