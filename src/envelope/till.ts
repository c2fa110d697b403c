/**
 * What an envelope does: charges in one synchronous turn each (no await between a check and its write), and the doors to all else, which
 * is at a desk that is loaded when it is asked for (desks.ts). Loaded with the first envelope of an isolate.
 */
import type {
  ArchivePage,
  ChargeInput,
  ChargeOutcome,
  Credential,
  EnvelopeApi,
  ExtendInput,
  ExtendOutcome,
  HoldInput,
  HoldOutcome,
  KeyCredential,
  OpenMeterInput,
  OpenMeterOutcome,
  ReleaseOutcome,
  SettleInput,
  SettleOutcome,
} from "../contract.js";
import type { HoldsDesk } from "./holds-desk.js";
import { askedBy, balances, decideCharge, tagOf, taken } from "./ledger.js";
import { Office } from "./office.js";
import type { Store } from "./store.js";

type Input<Name extends keyof EnvelopeApi> = Parameters<EnvelopeApi[Name]>;
type Answer<Name extends keyof EnvelopeApi> = ReturnType<EnvelopeApi[Name]>;

export class Till implements EnvelopeApi {
  readonly #office: Office;
  readonly #store: Store;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env, archive: (page: ArchivePage) => Promise<void>) {
    this.#office = new Office(ctx, env, archive);
    this.#store = this.#office.store;
  }

  /** A plain envelope does not wait for anything. */
  get isReady(): boolean {
    return !this.#store.isOutdated && this.#store.desks.length === 0;
  }

  /** Before anything is delivered: whatever a charge needs here is read and loaded. */
  wake(): Promise<void> {
    return this.#office.desks.wake();
  }

  async charge(input: ChargeInput): Promise<ChargeOutcome> {
    const { desks } = this.#office;
    if (input.alerts !== undefined && desks.open.alerts === undefined) await desks.ask("alerts");
    if (input.sign_up !== undefined) await this.#office.welcome(input);
    if (input.record_refusal === true) return this.#chargeOnRecord(input);
    return this.#office.group.run(() => this.#charge(input));
  }

  take(...[amount_micros, op, currency, reason, presented, hash = ""]: Input<"take">): Answer<"take"> {
    const credential = presented === undefined ? undefined : credentialOf(presented, hash);
    return this.#office.group.run(() => {
      const outcome = this.#charge({ amount_micros, op, currency, reason, credential });
      return outcome.outcome === "charged" && outcome.alerts === undefined ? outcome.balance_micros : outcome;
    });
  }

  async #chargeOnRecord(input: ChargeInput): Promise<ChargeOutcome> {
    const usage = await this.#office.desks.ask("usage");
    return this.#office.group.run(() => {
      const outcome = this.#charge(input);
      usage.record(input, outcome);
      return outcome;
    });
  }

  #charge(input: ChargeInput): ChargeOutcome {
    const now = Date.now();
    const caller = this.#office.caller(input.credential, "spend", now);
    if (typeof caller === "string") return this.#office.turnAway(caller, input.amount_micros, now);
    const tag = tagOf(input);
    const account = this.#office.account(caller, now, tag);
    const decision = decideCharge(
      account,
      {
        operation: input.retry ? this.#store.priorByOperation(input.op) : undefined,
        key: this.#store.priorByKey(input.key),
        key_is_held: this.#store.keyIsHeld(input.key, now),
      },
      askedBy(caller, input),
      now,
    );
    if ("outcome" in decision) {
      this.#office.lookAfter(input, decision.outcome, now);
      return decision.outcome;
    }
    const write = caller === undefined ? decision.write : { ...decision.write, spender_id: caller[0].spender_id };
    const entry = this.#office.append(write, now);
    this.#office.lookAfter(input, undefined, now);
    const after = balances(this.#store.account(now, tag));
    const charged = { outcome: "charged", seq: entry.seq, amount_micros: taken(entry), ...after } as const;
    return this.#office.alerted(charged, input.alerts, now);
  }

  async hold(input: HoldInput): Promise<HoldOutcome> {
    if (input.sign_up !== undefined) await this.#office.welcome(input);
    const desk = this.#holds ?? (await this.#office.desks.ask("holds"));
    return this.#office.group.run(() => desk.hold(input));
  }

  async settle(input: SettleInput): Promise<SettleOutcome> {
    const { desks } = this.#office;
    if (input.alerts !== undefined && desks.open.alerts === undefined) await desks.ask("alerts");
    const desk = this.#holds ?? (await desks.ask("holds"));
    return this.#office.group.run(() => desk.settle(input));
  }

  async extend(input: ExtendInput): Promise<ExtendOutcome> {
    const desk = this.#holds ?? (await this.#office.desks.ask("holds"));
    return this.#office.group.run(() => desk.extend(input));
  }

  async openMeter(input: OpenMeterInput): Promise<OpenMeterOutcome> {
    const { desks } = this.#office;
    await this.#office.welcome(input);
    if (input.alerts !== undefined && desks.open.alerts === undefined) await desks.ask("alerts");
    const desk = await desks.ask("meters");
    return this.#office.group.run(() => desk.open(input));
  }

  async release(input: { readonly hold_id: number } | { readonly op: string }): Promise<ReleaseOutcome> {
    const desk = this.#holds ?? (await this.#office.desks.ask("holds"));
    return this.#office.group.run(() => desk.release(input));
  }

  /** Where it is open, a hold keeps its place among the charges of its turn. */
  get #holds(): HoldsDesk | undefined {
    return this.#office.desks.open.holds;
  }

  /** The one alarm of all that is to be done later. At-least-once is enough for each: done again, it changes nothing. */
  async alarm(): Promise<void> {
    return (await this.#office.desks.ask("mirror")).ring();
  }

  async afford(...input: Input<"afford">): Answer<"afford"> {
    await this.#office.welcome(input[0]);
    return (await this.#office.desks.ask("holder")).afford(...input);
  }

  async state(...input: Input<"state">): Answer<"state"> {
    await this.#office.welcome(input[0]);
    return (await this.#office.desks.ask("holder")).state(...input);
  }

  async grant(...input: Input<"grant">): Answer<"grant"> {
    return (await this.#office.desks.ask("giving")).grant(...input);
  }

  async revoke(...input: Input<"revoke">): Answer<"revoke"> {
    return (await this.#office.desks.ask("lots")).revoke(...input);
  }

  async refund(...input: Input<"refund">): Answer<"refund"> {
    return (await this.#office.desks.ask("giving")).refund(...input);
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
    return (await this.#office.desks.ask("rotation")).rotate(...input);
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

  async topUp(...input: Input<"topUp">): Answer<"topUp"> {
    return (await this.#office.desks.ask("topups")).topUp(...input);
  }

  async topUps(...input: Input<"topUps">): Answer<"topUps"> {
    return (await this.#office.desks.ask("topups")).topUps(...input);
  }

  async usage(...input: Input<"usage">): Answer<"usage"> {
    return (await this.#office.desks.ask("usage")).usage(...input);
  }

  async setAutoTopUp(...input: Input<"setAutoTopUp">): Answer<"setAutoTopUp"> {
    return (await this.#office.desks.ask("topups")).setAutoTopUp(...input);
  }

  async configure(...input: Input<"configure">): Answer<"configure"> {
    return (await this.#office.desks.ask("windows")).configure(...input);
  }

  async mintKey(...input: Input<"mintKey">): Answer<"mintKey"> {
    return (await this.#office.desks.ask("spenders")).mintKey(...input);
  }

  async spenders(...input: Input<"spenders">): Answer<"spenders"> {
    return (await this.#office.desks.ask("spenders")).spenders(...input);
  }

  async revokeSpender(...input: Input<"revokeSpender">): Answer<"revokeSpender"> {
    return (await this.#office.desks.ask("spenders")).revokeSpender(...input);
  }

  async noteIdentity(...input: Input<"noteIdentity">): Answer<"noteIdentity"> {
    return (await this.#office.desks.ask("spenders")).noteIdentity(...input);
  }

  async activateIdentity(...input: Input<"activateIdentity">): Answer<"activateIdentity"> {
    return (await this.#office.desks.ask("spenders")).activateIdentity(...input);
  }

  async dropIdentity(...input: Input<"dropIdentity">): Answer<"dropIdentity"> {
    return (await this.#office.desks.ask("spenders")).dropIdentity(...input);
  }

  async endIdentity(...input: Input<"endIdentity">): Answer<"endIdentity"> {
    return (await this.#office.desks.ask("spenders")).endIdentity(...input);
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

function credentialOf(presented: number | string, hash: string): Credential | KeyCredential {
  return typeof presented === "number" ? { generation: presented, hash } : { api_key: presented, hash };
}
