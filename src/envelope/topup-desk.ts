/**
 * Top-ups that we ask Stripe for. From a saved card: the decision in the turn of a charge, the asking in the alarm, and what the
 * answers mean. The rules are in auto-topup.ts, the rows in topups.ts; here is only their order.
 */
import { type AuditedAction, writeAudit } from "../audit-rows.js";
import { bookPayment } from "../booking.js";
import type {
  Audited,
  AutoTopUpState,
  BeginTopUpInput,
  BeginTopUpOutcome,
  ChargeInput,
  NoteTopUpInput,
  PaymentFacts,
  PaymentOutcome,
  PaymentReport,
  Reversal,
  SetAutoTopUpInput,
  Tagged,
  TopUp,
} from "../contract.js";
import type { Micros } from "../money.js";
import { writeReference } from "../reference.js";
import { randomBase62 } from "../secrets.js";
import { ConfigurationError, keysOf } from "../settings.js";
import { directoryStub } from "../shards.js";
import { askForIntent, type IntentRequest } from "../stripe-intent.js";
import { envelopeStub } from "../stubs.js";
import {
  type AutoTopUp,
  climbTopUp,
  decideAutoTopUp,
  decideSending,
  decideTopUp,
  failureOf,
  isLow,
  nextTryMs,
  standing,
  type TopUpState,
} from "./auto-topup.js";
import { found } from "./founding.js";
import { available, tagOf } from "./ledger.js";
import { pageLimit } from "./ledger-book.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";
import { type DueTopUp, TopUps } from "./topups.js";

/** An alarm that fails at once must not be rung again at once. */
const FAILED_PAUSE_MS = 5_000;

export class TopUpDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #topups: TopUps;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#topups = new TopUps(office.store.storage);
  }

  async beginTopUp(input: BeginTopUpInput): Promise<BeginTopUpOutcome> {
    const now = Date.now();
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
      found(this.#store, this.#office.name, currency, now);
      const begun = this.#topups.begin({ attempt, key, amount_micros, currency, reference }, now);
      const after = { topup_id: begun.topup_id, amount_micros, currency };
      this.#audit(input, { action: "topup", before: null, after }, now);
      return begun;
    });
    return { outcome: "begun", topup, attempt, reference };
  }

  async noteTopUp(input: NoteTopUpInput): Promise<TopUp | null> {
    if (!this.#store.exists) return null;
    const { attempt, ...told } = input;
    return this.climb(attempt, told, Date.now()) ?? null;
  }

  async topUp(input: { readonly attempt: string }): Promise<TopUp | null> {
    return (this.#store.exists && this.#topups.find(null, input.attempt)) || null;
  }

  async topUps(input: { readonly limit: number; readonly before?: number | null }): Promise<readonly TopUp[]> {
    return this.#store.exists ? this.#topups.list(pageLimit(input.limit), input.before) : [];
  }

  async setAutoTopUp(input: SetAutoTopUpInput): Promise<AutoTopUpState | null> {
    const now = Date.now();
    const before = this.#store.exists ? this.#topups.saved() : undefined;
    if (!input.enabled) {
      if (before?.enabled) this.#changeAutoTopUp(input, before, () => this.#topups.disable(now), now);
      return this.state();
    }
    const same = before?.customer === input.customer && before.payment_method === input.payment_method;
    // Said again, it changes nothing: the declines so far go on counting.
    if (same && before.enabled && this.state()?.stopped === null) return this.state();
    const enable = () => {
      found(this.#store, this.#office.name, input.currency, now);
      this.#topups.enable(input, now);
    };
    this.#changeAutoTopUp(input, before, enable, now);
    return this.state();
  }

  #changeAutoTopUp(input: Audited, before: AutoTopUp | undefined, change: () => void, now: number): void {
    const shown = (saved: AutoTopUp | undefined) =>
      saved === undefined
        ? null
        : { enabled: saved.enabled, payment_method: saved.payment_method, stopped: saved.stopped };
    this.#store.transaction(() => {
      change();
      this.#audit(input, { action: "auto-topup", before: shown(before), after: shown(this.#topups.saved()) }, now);
    });
  }

  /** What the owner's server did, in the transaction that does it. */
  #audit({ by }: Audited, action: AuditedAction, now: number): void {
    if (by !== undefined) writeAudit(this.#store.sql, by, action, now);
  }

  isDue(): boolean {
    const due = this.#store.exists ? this.#topups.inFlight() : undefined;
    return due !== undefined && due.next_try_ms <= Date.now();
  }

  /** Asks Stripe for the attempt under way, when it is due. Answers in how many milliseconds to come back. */
  async send(): Promise<number | undefined> {
    const now = Date.now();
    const due = this.#store.exists ? this.#topups.inFlight() : undefined;
    if (due === undefined) return undefined;
    if (due.next_try_ms > now) return due.next_try_ms - now;
    let least_ms = 0;
    try {
      await this.#ask(due, now);
    } catch (error) {
      // Only what it is called: an error may quote the request.
      const what = error instanceof ConfigurationError ? error.message : String((error as Error | undefined)?.name);
      console.error("with-envelope: a top-up will be retried:", what);
      // It may have failed before the next try was noted.
      least_ms = FAILED_PAUSE_MS;
    }
    const left = this.#topups.inFlight();
    return left && Math.max(least_ms, left.next_try_ms - Date.now());
  }

  async #ask(due: DueTopUp, now: number): Promise<void> {
    // Also when another card was named since: the one this attempt would charge is no longer the one to be charged.
    const unwanted = this.#isUnwanted(now) || due.topup_id <= (this.#topups.saved()?.since_topup_id ?? 0);
    const decision = decideSending({ ...due, unwanted }, now);
    if (decision !== "ask") {
      this.climb(due.attempt, { ...NO_ANSWER, status: "FAILED", failure: decision.giveUp }, now);
      return;
    }
    const next = nextTryMs({ payment_id: due.payment_id, tries: due.tries + 1 }, Math.random());
    const request = this.#requestOf(due);
    // Stored first: the platform holds the call back until this is durable.
    this.#topups.noteTry(due, request, now + next, now);
    const answer = await askForIntent(this.#office.env, request);
    switch (answer.outcome) {
      case "paid":
        await this.#bookTopUp(due.attempt, request.reference, answer.payment_id, answer.facts);
        return;
      case "pending":
        this.climb(due.attempt, { ...NO_ANSWER, payment_id: answer.payment_id }, Date.now());
        return;
      case "declined": {
        const { payment_id, code } = answer;
        const told: TopUpState = { status: "FAILED", payment_id, failure: failureOf(code), code };
        this.climb(due.attempt, told, Date.now());
        return;
      }
      case "rejected":
        this.climb(
          due.attempt,
          { status: "FAILED", payment_id: null, failure: "rejected", code: answer.code },
          Date.now(),
        );
        return;
      case "unknown":
        console.error("with-envelope: a top-up will be asked for again with the same key:", answer.code);
    }
  }

  #requestOf(due: DueTopUp): IntentRequest {
    const { attempt, amount_micros, currency, customer, payment_method, payment_id } = due;
    const reference = due.reference ?? writeReference(keysOf(this.#office.env).reference, this.#office.name);
    return { attempt, amount_micros, currency, reference, payment_id, card: { customer, payment_method } };
  }

  /** Whether charging the card was called off since the attempt was decided on. */
  #isUnwanted(now: number): boolean {
    const saved = this.#topups.saved();
    const { frozen } = this.#store.account(now);
    return !saved?.enabled || saved.stopped !== null || frozen || this.#store.head.open_disputes > 0;
  }

  /** As the webhook books it: whichever comes first credits, the other finds it done. */
  async #bookTopUp(attempt: string, reference: string, payment_id: string, payment: PaymentFacts): Promise<void> {
    const { env } = this.#office;
    const own = this.#office.name;
    const report = { payment_id, currency: payment.currency, payment, topup: { attempt, code: null } };
    await bookPayment(
      {
        reference: { envelopeId: own, locationHint: undefined, binding: undefined },
        client_reference_id: reference,
        report,
      },
      {
        claim: (id, envelope_id) => directoryStub(env, id).claim({ payment_id: id, envelope_id }),
        settle: (settled) => directoryStub(env, settled.payment_id).settle(settled),
        recordUnclaimed: (unclaimed) => directoryStub(env, unclaimed.payment_id).recordUnclaimed(unclaimed),
        report: (id, told) => (id === own ? this.#report(told) : envelopeStub(env, id).report(told)),
      },
    );
    // Should the owner have given it to another envelope, this attempt has ended all the same.
    this.climb(attempt, { ...NO_ANSWER, status: "SUCCEEDED", payment_id }, Date.now());
  }

  async #report(told: PaymentReport): Promise<PaymentOutcome> {
    return (await this.#office.desks.ask("payments")).report(told);
  }

  /** Decides on a top-up in the turn of the charge that made it due, and stores it in the same turn. */
  topUpIfLow(
    asked: Tagged & Pick<ChargeInput, "auto_topup" | "currency" | "reason">,
    refused: Micros | undefined,
    now: number,
  ): void {
    const { auto_topup: rules, currency } = asked;
    if (rules === undefined || !this.#store.exists) return;
    const account = this.#store.account(now, tagOf(asked));
    if (!isLow(rules, available(account), refused)) return;
    const saved = this.#topups.saved();
    if (saved === undefined) return;
    const { open_disputes } = this.#store.head;
    const decision = decideAutoTopUp(
      { account, open_disputes, saved, attempts: this.#topups.attempts(), currency },
      rules,
      now,
    );
    if ("no" in decision) return;
    const { charge_micros: amount_micros } = decision;
    this.#topups.begin({ attempt: randomBase62(22), amount_micros, currency, card: saved }, now);
    this.#office.bell.armNow();
  }

  state(): AutoTopUpState | null {
    const saved = this.#store.exists ? this.#topups.saved() : undefined;
    return saved === undefined ? null : standing(saved, this.#topups.attempts());
  }

  /** What a payment's news means for the top-up it belongs to. */
  tell({ payment_id, payment, topup }: PaymentReport, now: number): void {
    if (payment === undefined || payment.state === "pending" || !this.#store.exists) return;
    const code = topup?.code ?? null;
    const told: TopUpState =
      payment.state === "paid"
        ? { status: "SUCCEEDED", payment_id, failure: null, code: null }
        : { status: "FAILED", payment_id, failure: failureOf(code), code };
    this.climb(topup?.attempt, told, now);
  }

  climb(attempt: string | undefined, told: TopUpState, now: number): TopUp | undefined {
    const known = this.#topups.find(told.payment_id, attempt);
    const changed = known && climbTopUp(known, told);
    if (known === undefined || changed === undefined) return known;
    this.#topups.file(known.topup_id, changed, now);
    return { ...known, ...changed };
  }

  /** Money that was charged without its holder was called back: no more of it until somebody has looked. */
  stop(payment_id: string, kind: Reversal["kind"], now: number): void {
    if (kind === "dispute") this.#topups.stop("dispute", now);
    if (kind === "warning") this.#topups.stop("fraud_warning", now);
    // A charge's running total is news of a refund as well, whose own may never come.
    if ((kind === "refund" || kind === "check") && this.#topups.find(payment_id, undefined)?.origin === "auto") {
      this.#topups.stop("refund", now);
    }
  }
}

const NO_ANSWER = { status: "PENDING", payment_id: null, failure: null, code: null } as const satisfies TopUpState;
