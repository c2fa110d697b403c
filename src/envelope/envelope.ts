/**
 * `Envelope`: one holder's money, one SQLite Durable Object. Thin: it reads what a rule needs, lets the rule decide and
 * writes what it says, in one synchronous turn per call (no await between a check and its write). The platform holds the
 * answer back until the write is durable. Every public method is remote API. What a charge does not need is at a desk, which is
 * loaded when it is asked for (desks.ts).
 */
import { DurableObject } from "cloudflare:workers";
import type {
  AffordInput,
  AffordOutcome,
  ArchivePage,
  Asked,
  ChargeInput,
  ChargeOutcome,
  EnvelopeApi,
  HoldInput,
  HoldOutcome,
  RefusalReason,
  ReleaseOutcome,
  SettleInput,
  SettleOutcome,
  StateOutcome,
} from "../contract.js";
import { type Micros, ZERO } from "../money.js";
import { GroupCommit } from "./group-commit.js";
import { decideHold, decideRelease, decideSettle, type Hold } from "./holds.js";
import { balances, decideCharge, refusal, refuseSpending, taken } from "./ledger.js";
import { Office } from "./office.js";
import { type Store, UNNAMED } from "./store.js";
import type { TopUpDesk } from "./topup-desk.js";

type Input<Name extends keyof EnvelopeApi> = Parameters<EnvelopeApi[Name]>;
type Answer<Name extends keyof EnvelopeApi> = ReturnType<EnvelopeApi[Name]>;

export class Envelope extends DurableObject implements EnvelopeApi {
  readonly #office: Office;
  readonly #store: Store;
  readonly #group: GroupCommit;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#office = new Office(ctx, env, (page) => this.archive(page));
    this.#store = this.#office.store;
    this.#group = new GroupCommit(() => ctx.storage.sync());
    // A plain envelope does not wait for anything.
    if (this.#store.isOutdated || this.#store.desks.length > 0) {
      void ctx.blockConcurrencyWhile(() => this.#office.desks.wake());
    }
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
    const now = Date.now();
    const account = this.#store.account(now);
    if (!this.#office.mayAct(input, now)) {
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
      this.#topUpIfLow(input, decision.outcome.outcome === "refused" ? input.amount_micros : undefined, now);
      return decision.outcome;
    }
    const entry = this.#office.append(decision.write, now);
    this.#topUpIfLow(input, undefined, now);
    return { outcome: "charged", seq: entry.seq, amount_micros: taken(entry), ...balances(this.#store.account(now)) };
  }

  async afford(input: AffordInput): Promise<AffordOutcome> {
    const now = Date.now();
    const account = this.#store.account(now);
    const refused = this.#office.mayAct(input, now)
      ? refuseSpending(account, input.amount_micros)
      : refusal(account, "credential_revoked", input.amount_micros);
    if (refused === undefined) return { outcome: "affordable", ...balances(account) };
    this.#countRefusal(refused.reason);
    if (refused.reason === "credential_revoked") return { outcome: "refused", refusal: refused, ...NOTHING };
    this.#topUpIfLow(input, input.amount_micros, now);
    return { outcome: "refused", refusal: refused, ...balances(account) };
  }

  async hold(input: HoldInput): Promise<HoldOutcome> {
    return this.#group.run(() => this.#hold(input));
  }

  #hold(input: HoldInput): HoldOutcome {
    const now = Date.now();
    const account = this.#store.account(now);
    if (!this.#office.mayAct(input, now)) {
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
      this.#topUpIfLow(input, decision.outcome.outcome === "refused" ? input.amount_micros : undefined, now);
      return decision.outcome;
    }
    const { hold_id, expires_at_ms } = this.#store.transaction(() => this.#store.openHold(input, now));
    this.#topUpIfLow(input, undefined, now);
    return { outcome: "held", hold_id, expires_at_ms, ...balances(this.#store.account(now)) };
  }

  async settle(input: SettleInput): Promise<SettleOutcome> {
    return this.#group.run(() => this.#settle(input));
  }

  #settle(input: SettleInput): SettleOutcome {
    const now = Date.now();
    const hold = this.#store.hold(input.hold_id);
    const paid = hold === undefined ? ZERO : this.#paidFor(hold);
    const decision = decideSettle(this.#store.account(now), hold, input, now, paid);
    if (hold === undefined || !("end" in decision)) return (decision as { outcome: SettleOutcome }).outcome;
    const entry = this.#office.transaction(() => {
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
    if (currency !== null) this.#topUpIfLow({ currency, auto_topup: input.auto_topup }, refused, now);
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
    const now = Date.now();
    const hold = "op" in input ? this.#store.holdByOperation(input.op) : this.#store.hold(input.hold_id);
    const decision = decideRelease(this.#store.account(now), hold, now);
    if (hold === undefined || "outcome" in decision) return (decision as { outcome: ReleaseOutcome }).outcome;
    this.#store.endHold(hold, decision.end, undefined);
    const after = balances(this.#store.account(now));
    return decision.end === "released"
      ? { outcome: "released", ...after }
      : { outcome: "ended", end: decision.end, ...after };
  }

  async state(input: { readonly credential?: Asked["credential"] }): Promise<StateOutcome> {
    const now = Date.now();
    const { desks } = this.#office;
    const standing = this.#office.present(input.credential, now);
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
      ...(limited ? UNNAMED : this.#store.named),
      prepaid: this.#store.named.prepaid,
      windows: limited ? [] : (this.#store.windows?.views(account.held_micros, this.#store.timeOf(now)) ?? []),
      limited_sessions: limited ? [] : (desks.open.logins?.sessions(now) ?? []),
      autoTopUp: desks.open.topups?.state() ?? null,
    };
  }

  /** Where no card was ever saved, its desk is not open. */
  #topUpIfLow(asked: Parameters<TopUpDesk["topUpIfLow"]>[0], refused: Micros | undefined, now: number): void {
    this.#office.desks.open.topups?.topUpIfLow(asked, refused, now);
  }

  #countRefusal(reason: RefusalReason): void {
    if (this.#store.exists) this.#office.bell.countRefusal(reason);
  }

  /** The one alarm of all that is to be done later. At-least-once is enough for each: done again, it changes nothing. */
  override async alarm(): Promise<void> {
    return (await this.#office.desks.ask("mirror")).ring();
  }

  async grant(...input: Input<"grant">): Answer<"grant"> {
    return (await this.#office.desks.ask("payments")).grant(...input);
  }

  async refund(...input: Input<"refund">): Answer<"refund"> {
    return (await this.#office.desks.ask("payments")).refund(...input);
  }

  async report(...input: Input<"report">): Answer<"report"> {
    return (await this.#office.desks.ask("payments")).report(...input);
  }

  async paymentState(...input: Input<"paymentState">): Answer<"paymentState"> {
    return (await this.#office.desks.ask("payments")).paymentState(...input);
  }

  async disown(...input: Input<"disown">): Answer<"disown"> {
    return (await this.#office.desks.ask("payments")).disown(...input);
  }

  async entries(...input: Input<"entries">): Answer<"entries"> {
    return (await this.#office.desks.ask("mirror")).entries(...input);
  }

  async ship(...input: Input<"ship">): Answer<"ship"> {
    return (await this.#office.desks.ask("mirror")).ship(...input);
  }

  async sums(...input: Input<"sums">): Answer<"sums"> {
    return (await this.#office.desks.ask("mirror")).sums(...input);
  }

  async rotate(...input: Input<"rotate">): Answer<"rotate"> {
    return (await this.#office.desks.ask("logins")).rotate(...input);
  }

  async returned(...input: Input<"returned">): Answer<"returned"> {
    return (await this.#office.desks.ask("logins")).returned(...input);
  }

  async keepCard(...input: Input<"keepCard">): Answer<"keepCard"> {
    return (await this.#office.desks.ask("logins")).keepCard(...input);
  }

  async keeps(...input: Input<"keeps">): Answer<"keeps"> {
    return (await this.#office.desks.ask("logins")).keeps(...input);
  }

  async bear(...input: Input<"bear">): Answer<"bear"> {
    return (await this.#office.desks.ask("logins")).bear(...input);
  }

  async shut(...input: Input<"shut">): Answer<"shut"> {
    return (await this.#office.desks.ask("logins")).shut(...input);
  }

  async mistaken(...input: Input<"mistaken">): Answer<"mistaken"> {
    return (await this.#office.desks.ask("logins")).mistaken(...input);
  }

  async admit(...input: Input<"admit">): Answer<"admit"> {
    return (await this.#office.desks.ask("logins")).admit(...input);
  }

  async endLimited(...input: Input<"endLimited">): Answer<"endLimited"> {
    return (await this.#office.desks.ask("logins")).endLimited(...input);
  }

  async beginTopUp(...input: Input<"beginTopUp">): Answer<"beginTopUp"> {
    return (await this.#office.desks.ask("topups")).beginTopUp(...input);
  }

  async noteTopUp(...input: Input<"noteTopUp">): Answer<"noteTopUp"> {
    return (await this.#office.desks.ask("topups")).noteTopUp(...input);
  }

  async topUps(...input: Input<"topUps">): Answer<"topUps"> {
    return (await this.#office.desks.ask("topups")).topUps(...input);
  }

  async setAutoTopUp(...input: Input<"setAutoTopUp">): Answer<"setAutoTopUp"> {
    return (await this.#office.desks.ask("topups")).setAutoTopUp(...input);
  }

  async configure(...input: Input<"configure">): Answer<"configure"> {
    return (await this.#office.desks.ask("windows")).configure(...input);
  }

  async freeze(...input: Input<"freeze">): Answer<"freeze"> {
    return (await this.#office.desks.ask("owners")).freeze(...input);
  }

  async reissue(...input: Input<"reissue">): Answer<"reissue"> {
    return (await this.#office.desks.ask("owners")).reissue(...input);
  }

  async beginStripeRefund(...input: Input<"beginStripeRefund">): Answer<"beginStripeRefund"> {
    return (await this.#office.desks.ask("owners")).beginStripeRefund(...input);
  }

  async noteStripeRefund(...input: Input<"noteStripeRefund">): Answer<"noteStripeRefund"> {
    return (await this.#office.desks.ask("owners")).noteStripeRefund(...input);
  }

  async payments(...input: Input<"payments">): Answer<"payments"> {
    return (await this.#office.desks.ask("owners")).payments(...input);
  }

  async audit(...input: Input<"audit">): Answer<"audit"> {
    return (await this.#office.desks.ask("owners")).audit(...input);
  }

  async query(...input: Input<"query">): Answer<"query"> {
    return (await this.#office.desks.ask("owners")).query(...input);
  }
}

const NOTHING = { balance_micros: ZERO, available_micros: ZERO } as const;
