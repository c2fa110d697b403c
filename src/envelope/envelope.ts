/**
 * `Envelope`: one holder's money, one SQLite Durable Object. Thin: it reads what a rule needs, lets the rule decide and
 * writes what it says, in one synchronous turn per call (no await between a check and its write). The platform holds the
 * answer back until the write is durable. Every public method is remote API.
 */
import { DurableObject } from "cloudflare:workers";
import type { AuditedAction } from "../audit-rows.js";
import type {
  AdmitInput,
  AdmitOutcome,
  AffordInput,
  AffordOutcome,
  ArchivePage,
  Asked,
  Audited,
  AuditLine,
  AutoTopUpState,
  BearInput,
  Before,
  BeginStripeRefundOutcome,
  BeginTopUpInput,
  BeginTopUpOutcome,
  ChargeInput,
  ChargeOutcome,
  Credential,
  DisownOutcome,
  EntriesInput,
  Entry,
  EnvelopeApi,
  FreezeInput,
  FreezeOutcome,
  GrantInput,
  GrantOutcome,
  HoldInput,
  HoldOutcome,
  KeepCardInput,
  LedgerSums,
  LimitedCredential,
  LoginOutcome,
  NoteTopUpInput,
  PaymentLine,
  PaymentOutcome,
  PaymentReport,
  PaymentState,
  PaymentsInput,
  QueryOutcome,
  ReadQuery,
  RefundInput,
  RefundOutcome,
  RefusalReason,
  ReissueInput,
  ReissueOutcome,
  ReleaseOutcome,
  ReturnedInput,
  ReturnedOutcome,
  Reversal,
  RotateInput,
  RotateOutcome,
  SetAutoTopUpInput,
  SettleInput,
  SettleOutcome,
  ShutInput,
  ShutOutcome,
  StateOutcome,
  StripeRefundInput,
  StripeRefundNote,
  TopUp,
  Undo,
} from "../contract.js";
import { ENTRIES_PAGE_MAX } from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { readQuery } from "../read-query.js";
import { randomBase62 } from "../secrets.js";
import { ledgerDays, type MirrorPace, mirrorPace } from "../settings.js";
import { aggregateStub, directoryStub } from "../stubs.js";
import { decideTopUp } from "./auto-topup.js";
import { decideRotation, judge, type Standing } from "./credentials.js";
import { Folder } from "./folder.js";
import { isClosed, retentionMs } from "./folding.js";
import { GroupCommit } from "./group-commit.js";
import { decideHold, decideRelease, decideSettle, type Hold } from "./holds.js";
import {
  balances,
  type Draft,
  decideCharge,
  decideGrant,
  decideRefund,
  refusal,
  refuseSpending,
  taken,
} from "./ledger.js";
import { decideAdmission, decideLogin, judgeLimited, standingOf, undoOf } from "./logins.js";
import { gatheringMs, nextAttemptMs, RETRY_MAX_MS, type Shipping, shipEntries } from "./outbox.js";
import { OwnersBook, refundableOf, STRIPE_KEY_MS } from "./owners.js";
import { decidePayment, type PaymentFile } from "./payments.js";
import { Refusals } from "./refusals.js";
import { Store } from "./store.js";
import { TopUpDesk } from "./topup-desk.js";
import { TopUps } from "./topups.js";

/** How long a token stays valid once its successor was used: enough for requests under way in other tabs. */
const CREDENTIAL_GRACE_MS = 15 * 60_000;

/** Refusals that no entry takes along are told this much later. */
const REFUSALS_DELAY_MS = 60_000;

export class Envelope extends DurableObject implements EnvelopeApi {
  readonly #store: Store;
  readonly #topups: TopUps;
  readonly #desk: TopUpDesk;
  readonly #group: GroupCommit;
  readonly #owners: OwnersBook;
  readonly #folder: Folder;
  /** When the alarm goes off. Unknown on waking, so that the first write arms it again: a lost alarm delays work, never stops it. */
  #alarmAt: number | undefined;
  #failedShipments = 0;
  #shippedAt_ms = 0;
  readonly #pace: MirrorPace;
  /** Before this, no write asks an aggregate that is down. */
  #mirrorNotBefore = 0;
  /** Wakes the alarm that is running. */
  #poke: (() => void) | undefined;
  readonly #shipping: Shipping = {
    refusals: new Refusals(),
    again_to: 0,
    enrol: () => directoryStub(this.env, this.#name()).enrol({ envelope_id: this.#name() }),
  };
  #tellsRefusals = false;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#store = new Store(ctx.storage);
    this.#topups = new TopUps(ctx.storage);
    this.#pace = paceOf(env);
    this.#desk = new TopUpDesk(this.#store, this.#topups, {
      env,
      name: () => this.#name(),
      now: () => this.#now(),
      report: (report) => this.report(report),
      armAlarm: () => this.#armTopUp(),
    });
    this.#group = new GroupCommit(() => ctx.storage.sync());
    this.#owners = new OwnersBook(ctx.storage.sql);
    this.#folder = new Folder(this.#store, {
      name: () => this.#name(),
      now: () => this.#now(),
      retention_ms: () => this.#retention(),
      archive: (page) => this.archive(page),
      armAlarm: (delay_ms) => this.#armAlarm(delay_ms),
    });
  }

  /**
   * Called before old entries are folded (`ENVELOPE_LEDGER_DAYS`), to be overridden where they are to be kept elsewhere. A page is
   * folded once this has resolved; where it throws, nothing is, and the same page comes again. At least once: a page has the same
   * name and content each time. Users are served meanwhile.
   */
  protected async archive(_page: ArchivePage): Promise<void> {}

  async charge(input: ChargeInput): Promise<ChargeOutcome> {
    return this.#group.run(() => this.#charge(input));
  }

  #charge(input: ChargeInput): ChargeOutcome {
    const now = this.#now();
    const account = this.#store.account(now);
    if (!this.#mayAct(input, now)) {
      this.#countRefusal("credential_revoked");
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
    if ("outcome" in decision) {
      if (decision.outcome.outcome === "refused") this.#countRefusal(decision.outcome.refusal.reason);
      this.#desk.topUpIfLow(input, decision.outcome.outcome === "refused" ? input.amount_micros : undefined, now);
      return decision.outcome;
    }
    const entry = this.#append(decision.write, now);
    this.#desk.topUpIfLow(input, undefined, now);
    return { outcome: "charged", seq: entry.seq, amount_micros: taken(entry), ...balances(this.#store.account(now)) };
  }

  async afford(input: AffordInput): Promise<AffordOutcome> {
    const now = this.#now();
    const account = this.#store.account(now);
    const refused = this.#mayAct(input, now)
      ? refuseSpending(account, input.amount_micros)
      : refusal(account, "credential_revoked", input.amount_micros);
    if (refused === undefined) return { outcome: "affordable", ...balances(account) };
    this.#countRefusal(refused.reason);
    if (refused.reason === "credential_revoked") return { outcome: "refused", refusal: refused, ...NOTHING };
    this.#desk.topUpIfLow(input, input.amount_micros, now);
    return { outcome: "refused", refusal: refused, ...balances(account) };
  }

  async hold(input: HoldInput): Promise<HoldOutcome> {
    return this.#group.run(() => this.#hold(input));
  }

  #hold(input: HoldInput): HoldOutcome {
    const now = this.#now();
    const account = this.#store.account(now);
    if (!this.#mayAct(input, now)) {
      this.#countRefusal("credential_revoked");
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
    if ("outcome" in decision) {
      if (decision.outcome.outcome === "refused") this.#countRefusal(decision.outcome.refusal.reason);
      this.#desk.topUpIfLow(input, decision.outcome.outcome === "refused" ? input.amount_micros : undefined, now);
      return decision.outcome;
    }
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#store.openHold(input, now));
    this.#desk.topUpIfLow(input, undefined, now);
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now)) };
  }

  async settle(input: SettleInput): Promise<SettleOutcome> {
    return this.#group.run(() => this.#settle(input));
  }

  #settle(input: SettleInput): SettleOutcome {
    const now = this.#now();
    const hold = this.#store.hold(input.hold_id);
    const paid = hold === undefined ? ZERO : this.#paidFor(hold);
    const decision = decideSettle(this.#store.account(now), hold, input, now, paid);
    if (hold === undefined || !("end" in decision)) return (decision as { outcome: SettleOutcome }).outcome;
    const entry = this.#transaction(() => {
      const written = decision.write && this.#store.append(decision.write, now);
      // Of the hold itself, no more than it held: what was above it came from the balance (docs/decisions/0004).
      const settled = {
        op: input.op,
        seq: written?.seq ?? null,
        micros: written ? (Math.min(taken(written), hold.amount_micros) as Micros) : ZERO,
        paid: written ? taken(written) : ZERO,
      };
      this.#store.endHold(hold, decision.end, decision.end === "settled" ? settled : undefined);
      return written;
    });
    const currency = input.currency ?? this.#store.head.currency;
    if (decision.outcome?.outcome === "refused") this.#countRefusal(decision.outcome.refusal.reason);
    const refused = decision.outcome?.outcome === "refused" ? input.amount_micros : undefined;
    if (currency !== null) this.#desk.topUpIfLow({ currency, auto_topup: input.auto_topup }, refused, now);
    if (decision.outcome !== undefined) return decision.outcome;
    const amount_micros = entry ? taken(entry) : ZERO;
    return { outcome: "charged", seq: entry?.seq ?? null, amount_micros, ...balances(this.#store.account(now)) };
  }

  #paidFor({ paid_micros, settled_seq }: Hold): Micros {
    if (paid_micros !== null || settled_seq === null) return paid_micros ?? ZERO;
    return taken({ amount_micros: this.#store.amountOf(settled_seq) });
  }

  async release(input: { readonly hold_id: number } | { readonly op: string }): Promise<ReleaseOutcome> {
    return this.#group.run(() => this.#release(input));
  }

  #release(input: { readonly hold_id: number } | { readonly op: string }): ReleaseOutcome {
    const now = this.#now();
    const hold = "op" in input ? this.#store.holdByOperation(input.op) : this.#store.hold(input.hold_id);
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
    const charge = this.#store.refundable(input.charge);
    const decision = decideRefund(this.#store.account(now), charge, prior, input, (at_ms) =>
      isClosed(at_ms, now, this.#retention()),
    );
    if ("outcome" in decision) return decision.outcome;
    const { balance_micros } = this.#store.head;
    const entry = this.#transaction(() => {
      const written = this.#store.append(decision.write, now);
      this.#audit(input, { action: "refund", before: { balance_micros }, after: this.#after(written) }, now);
      return written;
    });
    return { outcome: "refunded", ...entry, ...balances(this.#store.account(now)) };
  }

  async grant(input: GrantInput): Promise<GrantOutcome> {
    const now = this.#now();
    const decision = decideGrant(this.#store.account(now), this.#store.priorByKey(input.key), input);
    if ("outcome" in decision) return decision.outcome;
    const { balance_micros } = this.#store.head;
    const entry = this.#transaction(() => {
      this.#store.create(this.#name(), input.currency, now);
      const written = this.#store.append(decision.write, now);
      this.#audit(input, { action: "grant", before: { balance_micros }, after: this.#after(written) }, now);
      return written;
    });
    return { outcome: "granted", ...entry, ...balances(this.#store.account(now)) };
  }

  async report(report: PaymentReport): Promise<PaymentOutcome & { readonly undo?: Undo }> {
    const outcome = this.#report(report);
    const undo = this.#undo(report.payment_id);
    return undo === undefined ? outcome : { ...outcome, undo };
  }

  #undo(payment_id: string): Undo | undefined {
    const login = this.#store.paymentLogin(payment_id);
    if (login === undefined) return undefined;
    return undoOf(this.#store.paymentFile(payment_id), login, this.#store.keepsCard([login.card]));
  }

  /** Files what Stripe says of a payment; its row, its entries and the new balance are one transaction. */
  #report(report: PaymentReport): PaymentOutcome {
    const now = this.#now();
    const { payment_id } = report;
    const known = this.#store.paymentFile(payment_id);
    const decision = decidePayment(this.#store.account(now), known, report);
    if ("outcome" in decision) {
      this.#desk.tell(report, now);
      return decision.outcome;
    }
    const { file, writes, unbooked_micros } = decision;
    const { frozen } = this.#store.account(now);
    const entries = this.#transaction(() => {
      this.#store.create(this.#name(), report.currency, now);
      const written = writes.map((draft) => ({ ...this.#store.append(draft, now), kind: draft.kind }));
      const credit = written.find(({ kind }) => kind === "topup");
      this.#store.filePayment(payment_id, file, credit?.seq ?? null, now);
      this.#desk.tell(report, now);
      // Only news: what the owner knew of when they enabled it again does not stop it again. What came before the payment is
      // news once that is credited, and known to be a top-up.
      const news = credit === undefined ? newReversals(known, report) : known.reversals;
      for (const { kind } of news) this.#desk.stop(payment_id, kind, now);
      if (credit !== undefined) this.#auditAssignment(report, credit, now);
      return written;
    });
    if (this.#store.account(now).frozen !== frozen) this.#tellFrozen();
    const after = balances(this.#store.account(now));
    const credit = entries.find(({ kind }) => kind === "topup");
    if (credit !== undefined)
      return { outcome: "credited", seq: credit.seq, amount_micros: credit.amount_micros, ...after };
    const [reversed] = entries;
    if (reversed !== undefined) return { outcome: "reversed", amount_micros: reversed.amount_micros, ...after };
    if (unbooked_micros !== undefined) return { outcome: "noted", unbooked_micros, ...after };
    if (file.payment !== undefined)
      return { outcome: file.payment.state === "pending" ? "pending" : "failed", ...after };
    return { outcome: "noted", ...after };
  }

  async paymentState(input: { readonly payment_id: string }): Promise<PaymentState | null> {
    return this.#store.paymentFile(input.payment_id).payment?.state ?? null;
  }

  async disown(input: {
    readonly payment_id: string;
    readonly currency: string;
    readonly assignment: number;
  }): Promise<DisownOutcome> {
    const now = this.#now();
    const { payment_id, currency, assignment } = input;
    const { payment, reversals } = this.#store.paymentFile(payment_id);
    if (payment?.state === "paid") return { outcome: "paid" };
    this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.disown(payment_id, assignment, now);
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
      currency: this.#store.head.currency,
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
      autoTopUp: this.#desk.state(),
    };
  }

  async entries(input: EntriesInput): Promise<readonly Entry[]> {
    const limit = pageLimit(input.limit);
    return "before" in input ? this.#store.newest(input.before, limit) : this.#store.entries(input.after, limit);
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

  async freeze(input: FreezeInput): Promise<FreezeOutcome> {
    const now = this.#now();
    const { frozen, currency, by, key } = input;
    const done = this.#done(key) as FreezeOutcome["after"];
    if (done !== undefined) return { frozen, after: done };
    if (this.#store.head.frozen === frozen && by === undefined) return { frozen };
    const stands = () => {
      const { frozen: stopped, balance_micros } = this.#store.account(now);
      return { frozen: stopped, balance_micros };
    };
    const before = stands();
    const after = this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.setFrozen(frozen, now);
      this.#audit(input, { action: frozen ? "freeze" : "unfreeze", before, after: stands(), key }, now);
      return stands();
    });
    this.#tellFrozen();
    return by === undefined ? { frozen } : { frozen, after };
  }

  async reissue(input: ReissueInput): Promise<ReissueOutcome> {
    const now = this.#now();
    const { hash, currency, key } = input;
    if (this.#done(key) !== undefined) {
      // The very same secret: its answer was lost on the way, and whoever asks still has it.
      const same = this.#store.credentials.find((one) => one.hash === hash);
      return same === undefined ? { outcome: "replayed" } : { outcome: "reissued", generation: same.generation };
    }
    const generation = 1 + this.#store.credentials.reduce((most, one) => Math.max(most, one.generation), 0);
    const before = { generations: this.#store.credentials.map((one) => one.generation) };
    this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.replaceCredentials({ generation, hash }, now);
      this.#store.closeLogins(now);
      this.#audit(input, { action: "rotate", before, after: { generation }, key }, now);
    });
    return { outcome: "reissued", generation };
  }

  async beginStripeRefund(input: StripeRefundInput): Promise<BeginStripeRefundOutcome> {
    const now = this.#now();
    const { key, payment_id, by } = input;
    const file = this.#store.paymentFile(payment_id);
    const prior = this.#store.exists ? this.#owners.refundByKey(key) : undefined;
    if (prior !== undefined) {
      const { attempt, asked_all, refund, at_ms } = prior;
      const same = refund.payment_id === payment_id && (asked_all ? undefined : refund.amount) === input.amount;
      if (!same) return { outcome: "conflict" };
      const unanswered = refund.refund_id === null && refund.status === null;
      return unanswered && now - at_ms > STRIPE_KEY_MS ? { outcome: "expired" } : { outcome: "found", refund, attempt };
    }
    if (file.payment === undefined) return { outcome: "unknown" };
    const { currency, paid_currency } = file.payment;
    // Part of it, in another currency than it was paid in, is an amount that nobody named.
    if (input.amount !== undefined && (paid_currency ?? currency) !== currency) return { outcome: "foreign" };
    const refundable = refundableOf(file, this.#owners.refundsOf(payment_id, now));
    const amount = input.amount ?? refundable;
    if (!(amount > 0) || amount > refundable) return { outcome: "refused", refundable };
    const attempt = randomBase62(22);
    const { livemode } = file.payment;
    const refund = { payment_id, amount, livemode, refund_id: null, status: null, code: null };
    this.#store.transaction(() => {
      this.#owners.beginRefund({ attempt, key, asked_all: input.amount === undefined, refund }, now);
      this.#audit({ by }, { action: "stripe-refund", before: { refundable }, after: { payment_id, amount } }, now);
    });
    return { outcome: "begun", refund, attempt };
  }

  async noteStripeRefund({ attempt, refund_id, status, code }: StripeRefundNote): Promise<void> {
    if (this.#store.exists) this.#owners.noteRefund(attempt, refund_id, status, code);
  }

  async payments(input: PaymentsInput): Promise<readonly PaymentLine[]> {
    return this.#store.exists ? this.#owners.payments(input.before, pageLimit(input.limit)) : [];
  }

  async audit(input: Before & { readonly limit: number }): Promise<readonly AuditLine[]> {
    return this.#store.exists ? this.#owners.lines(input.before, pageLimit(input.limit)) : [];
  }

  async query(input: ReadQuery): Promise<QueryOutcome> {
    return readQuery(this.ctx.storage, input);
  }

  /** What an owner did, in the transaction that does it. What the app itself does by code of its own has no author. */
  #audit({ by }: Audited, action: AuditedAction, now: number): void {
    if (by !== undefined) this.#owners.audit(by, action, now);
  }

  #auditAssignment({ by, payment_id }: PaymentReport, credit: { readonly seq: number }, now: number): void {
    const { balance_micros } = this.#store.head;
    this.#audit(
      { by },
      { action: "assign", before: null, after: { payment_id, seq: credit.seq, balance_micros } },
      now,
    );
  }

  #after(entry: { readonly seq: number; readonly amount_micros: Micros }): unknown {
    return { ...entry, balance_micros: this.#store.head.balance_micros };
  }

  #done(key: string | undefined): unknown {
    return this.#store.exists ? this.#owners.done(key) : undefined;
  }

  async beginTopUp(input: BeginTopUpInput): Promise<BeginTopUpOutcome> {
    const now = this.#now();
    const prior = this.#store.exists ? this.#topups.byKey(input.key) : undefined;
    const decision = decideTopUp(this.#store.account(now), prior, input);
    if ("outcome" in decision) return decision;
    if (prior !== undefined) {
      const { attempt, reference, ...topup } = prior;
      return { outcome: "found", topup, attempt, reference };
    }
    const attempt = randomBase62(22);
    const { key, amount_micros, currency, reference } = input;
    const topup = this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      return this.#topups.begin({ attempt, key, amount_micros, currency, reference }, now);
    });
    return { outcome: "begun", topup, attempt, reference };
  }

  async noteTopUp(input: NoteTopUpInput): Promise<TopUp | null> {
    if (!this.#store.exists) return null;
    const { attempt, ...told } = input;
    return this.#desk.climb(attempt, told, this.#now()) ?? null;
  }

  async topUps(input: { readonly limit: number }): Promise<readonly TopUp[]> {
    return this.#store.exists ? this.#topups.list(pageLimit(input.limit)) : [];
  }

  async setAutoTopUp(input: SetAutoTopUpInput): Promise<AutoTopUpState | null> {
    const now = this.#now();
    if (!input.enabled) {
      if (this.#store.exists) this.#topups.disable(now);
      return this.#desk.state();
    }
    const before = this.#store.exists ? this.#topups.saved() : undefined;
    const same = before?.customer === input.customer && before.payment_method === input.payment_method;
    // Said again, it changes nothing: the declines so far go on counting.
    if (same && before.enabled && this.#desk.state()?.stopped === null) return this.#desk.state();
    this.#store.transaction(() => {
      this.#store.create(this.#name(), input.currency, now);
      this.#topups.enable(input, now);
    });
    return this.#desk.state();
  }

  /** The one alarm of all that is to be done later. At-least-once is enough for each: done again, it changes nothing. */
  override async alarm(): Promise<void> {
    // Whatever is written while it runs is looked after at its end.
    this.#alarmAt = 0;
    // Rung for a card, or a page to be folded, while the mirror waits for an aggregate that is down. For nothing else: the mirror's
    // own time may be unknown, or of a clock that was set back, and an alarm that does nothing would be rung for ever.
    const waits_ms = this.#desk.isDue() || this.#folder.isDue() ? this.#mirrorWaits() : 0;
    const mirroring = waits_ms > 0 ? Promise.resolve(waits_ms) : this.#mirror();
    // Side by side: neither a slow aggregate nor a slow Stripe holds up the other.
    const [mirrored, sent] = await Promise.allSettled([mirroring, this.#sendWhile(mirroring)]);
    this.#alarmAt = undefined;
    this.#poke = undefined;
    const delays = [mirrored, sent].map((one) => (one.status === "fulfilled" ? one.value : undefined));
    if (this.#store.head.seq > this.#store.head.mirrored_seq) delays[0] ??= this.#gathering();
    if (this.#shipping.refusals.any) delays[0] ??= REFUSALS_DELAY_MS;
    delays.push(this.#folder.start());
    const [soonest] = delays.filter((delay) => delay !== undefined).sort((one, other) => one - other);
    if (soonest !== undefined) this.#armAlarm(soonest);
    for (const one of [mirrored, sent]) if (one.status === "rejected") throw one.reason;
  }

  /** Sends what is due, and what becomes due as long as the mirror is at it: an alarm cannot be rung while it runs. */
  async #sendWhile(mirroring: Promise<unknown>): Promise<number | undefined> {
    const mirror = { done: false };
    const ended = () => {
      mirror.done = true;
      this.#poke?.();
    };
    void mirroring.then(ended, ended);
    for (;;) {
      // Made before it looks, so that nothing which becomes due meanwhile is missed.
      const poked = new Promise<void>((resolve) => {
        this.#poke = resolve;
      });
      const delay_ms = await this.#desk.send();
      if (mirror.done) return delay_ms;
      const timer = delay_ms === undefined ? undefined : setTimeout(() => this.#poke?.(), Math.max(1_000, delay_ms));
      await poked;
      clearTimeout(timer);
    }
  }

  async ship(input: { readonly after: number }): Promise<{ readonly head_seq: number }> {
    const { seq, mirrored_seq } = this.#store.head;
    const after = Math.max(0, Math.trunc(input.after));
    if (this.#store.exists && after < mirrored_seq) {
      this.#shipping.again_to = Math.max(this.#shipping.again_to, mirrored_seq);
      this.#store.setMirrored(after);
    }
    // Whoever asks is up again.
    this.#mirrorNotBefore = 0;
    if (this.#store.head.mirrored_seq < seq) this.#armAlarm(0);
    return { head_seq: seq };
  }

  async sums(input: { readonly up_to: number }): Promise<LedgerSums> {
    return this.#store.sums(input.up_to);
  }

  /** Counted in memory; where no alarm is to come that takes it along, one is set. Nobody waits for it. */
  #countRefusal(reason: RefusalReason): void {
    if (!this.#store.exists) return;
    this.#shipping.refusals.count(reason);
    const delay_ms = Math.max(REFUSALS_DELAY_MS, this.#mirrorWaits());
    const at_ms = this.#now() + delay_ms;
    if (this.#tellsRefusals || (this.#alarmAt !== undefined && this.#alarmAt <= at_ms)) return;
    this.#tellsRefusals = true;
    // Asked first, because after waking an earlier alarm may be set that is not known here.
    const arm = async () => {
      const set = await this.ctx.storage.getAlarm();
      if (set === null || set > at_ms) this.#armAlarm(delay_ms);
    };
    this.ctx.waitUntil(arm());
  }

  /** Ships entries to the aggregate. Answers in how many milliseconds there is more to do. */
  async #mirror(): Promise<number | undefined> {
    try {
      this.#tellsRefusals = false;
      const more = await shipEntries(this.#store, aggregateStub(this.env, this.#name()), this.#name(), this.#shipping);
      this.#failedShipments = 0;
      this.#mirrorNotBefore = 0;
      this.#shippedAt_ms = this.#now();
      return more ? 0 : undefined;
    } catch (error) {
      // Caught, because the platform gives an alarm up after six failures; users are served all the same.
      this.#failedShipments += 1;
      console.error("with-envelope: mirroring will be retried", error);
      const delay_ms = nextAttemptMs(this.#failedShipments, Math.random());
      this.#mirrorNotBefore = this.#now() + delay_ms;
      return delay_ms;
    }
  }

  /** How long an aggregate that was down is still left alone for; never longer than the longest pause, whatever the clock does. */
  #mirrorWaits(): number {
    return Math.min(RETRY_MAX_MS, Math.max(0, this.#mirrorNotBefore - this.#now()));
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

  async shut(input: ShutInput): Promise<ShutOutcome> {
    const { payment_id, currency, cards, credential } = input;
    const now = this.#now();
    if (credential !== undefined && this.#holds(credential, now)) return { outcome: "holder" };
    // Also before the payment is booked here: whoever waits for that must find it shut.
    this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.shutPaymentLogin(payment_id, cards[0] ?? "", now);
    });
    return { outcome: "shut", undo: this.#undo(payment_id) ?? { sessions: [], card: null } };
  }

  async mistaken(input: {
    readonly payment_id: string;
    readonly card: string;
    readonly currency: string;
  }): Promise<void> {
    const { payment_id, card, currency } = input;
    const now = this.#now();
    this.#store.transaction(() => {
      this.#store.create(this.#name(), currency, now);
      this.#store.countMistake(payment_id, card, now);
    });
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

  /** The aggregate hears of it with an entry: where none is waiting, the newest is sent once more. */
  #tellFrozen(): void {
    const { seq, mirrored_seq } = this.#store.head;
    if (seq === 0) return;
    if (mirrored_seq === seq) this.#store.setMirrored(seq - 1);
    this.#armMirror();
  }

  #append(draft: Draft, now: number): { readonly seq: number; readonly amount_micros: Micros } {
    const entry = this.#store.append(draft, now);
    this.#armMirror();
    return entry;
  }

  /** Several writes as one, and the alarm with them. Armed afterwards, because a roll-back takes an alarm back and not this flag. */
  #transaction<T>(work: () => T): T {
    const { seq } = this.#store.head;
    const result = this.#store.transaction(work);
    if (this.#store.head.seq > seq) this.#armMirror();
    return result;
  }

  #armMirror(): void {
    this.#armAlarm(Math.max(this.#gathering(), this.#mirrorWaits()));
  }

  #gathering(): number {
    return gatheringMs(this.#pace, this.#now() - this.#shippedAt_ms);
  }

  #armTopUp(): void {
    this.#poke?.();
    this.#armAlarm(0);
  }

  /** Un-awaited on purpose: in the turn of the write, the alarm and the entry become durable together or not at all. */
  #armAlarm(delay_ms: number): void {
    const at_ms = Date.now() + delay_ms;
    if (this.#alarmAt !== undefined && this.#alarmAt <= at_ms) return;
    this.#alarmAt = at_ms;
    void this.ctx.storage.setAlarm(at_ms);
  }

  #retention(): number | undefined {
    return retentionMs(ledgerDays(this.env));
  }

  #now(): number {
    return Date.now();
  }

  #name(): string {
    // An object that is woken by its id alone is not told its name; it noted it.
    const name = this.ctx.id.name ?? this.#store.envelopeId();
    if (name === undefined) throw new Error("An Envelope is reached by name only: use getByName");
    return name;
  }
}

function newReversals({ reversals }: PaymentFile, { reversal }: PaymentReport): readonly Reversal[] {
  const isKnown = reversals.some(({ reversal_id }) => reversal_id === reversal?.reversal_id);
  return reversal === undefined || isKnown ? [] : [reversal];
}

/** A fault in how often the mirror runs must not stop a charge. */
function paceOf(env: unknown): MirrorPace {
  try {
    return mirrorPace(env);
  } catch (error) {
    console.error("with-envelope:", (error as Error).message);
    return mirrorPace({});
  }
}

const NOTHING = { balance_micros: ZERO, available_micros: ZERO } as const;

function pageLimit(limit: number): number {
  return Math.max(1, Math.min(limit, ENTRIES_PAGE_MAX));
}
