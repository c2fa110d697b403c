/**
 * `Envelope`: one holder's money, one SQLite Durable Object. Every public method is remote API. What it does is in till.ts, loaded with
 * the first envelope of an isolate: a Worker that starts needs none of it.
 */
import { DurableObject } from "cloudflare:workers";
import type { ArchivePage, EnvelopeApi } from "../contract.js";
import { once } from "../once.js";
import type { Till } from "./till.js";

type Input<Name extends keyof EnvelopeApi> = Parameters<EnvelopeApi[Name]>;
type Answer<Name extends keyof EnvelopeApi> = ReturnType<EnvelopeApi[Name]>;

const load = once(async () => {
  loaded = await import("./till.js");
  return loaded;
});
let loaded: typeof import("./till.js") | undefined;

export class Envelope extends DurableObject implements EnvelopeApi {
  #till: Till | undefined;
  readonly #opened: Promise<Till> | undefined;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    const till = loaded && this.#make(loaded);
    // Nothing is delivered before it is open, so from then on a call is answered in the turn that brings it.
    if (till?.isReady) this.#till = till;
    else this.#opened = ctx.blockConcurrencyWhile(() => this.#open(till));
  }

  #make({ Till }: typeof import("./till.js")): Till {
    return new Till(this.ctx, this.env, (page) => this.archive(page));
  }

  async #open(till: Till | undefined): Promise<Till> {
    const opened = till ?? this.#make(await load());
    await opened.wake();
    this.#till = opened;
    return opened;
  }

  #at<T>(act: (till: Till) => Promise<T>): Promise<T> {
    if (this.#till !== undefined) return act(this.#till);
    if (this.#opened === undefined) throw new Error("Cannot happen: an envelope is open or being opened");
    return this.#opened.then(act);
  }

  /**
   * Called before old entries are folded (`ENVELOPE_LEDGER_DAYS`), to be overridden where they are to be kept elsewhere. A page is
   * folded once this has resolved; where it throws, nothing is, and the same page comes again. At least once: a page has the same
   * name and content each time. Users are served meanwhile.
   */
  protected async archive(_page: ArchivePage): Promise<void> {}

  charge(input: Input<"charge">[0]): Answer<"charge"> {
    return this.#at((till) => till.charge(input));
  }

  take(...input: Input<"take">): Answer<"take"> {
    return this.#at((till) => till.take(...input));
  }

  hold(...input: Input<"hold">): Answer<"hold"> {
    return this.#at((till) => till.hold(...input));
  }

  settle(...input: Input<"settle">): Answer<"settle"> {
    return this.#at((till) => till.settle(...input));
  }

  extend(...input: Input<"extend">): Answer<"extend"> {
    return this.#at((till) => till.extend(...input));
  }

  openMeter(...input: Input<"openMeter">): Answer<"openMeter"> {
    return this.#at((till) => till.openMeter(...input));
  }

  release(...input: Input<"release">): Answer<"release"> {
    return this.#at((till) => till.release(...input));
  }

  /** The one alarm of all that is to be done later. At-least-once is enough for each: done again, it changes nothing. */
  override alarm(): Promise<void> {
    return this.#at((till) => till.alarm());
  }

  afford(...input: Input<"afford">): Answer<"afford"> {
    return this.#at((till) => till.afford(...input));
  }

  state(...input: Input<"state">): Answer<"state"> {
    return this.#at((till) => till.state(...input));
  }

  grant(...input: Input<"grant">): Answer<"grant"> {
    return this.#at((till) => till.grant(...input));
  }

  revoke(...input: Input<"revoke">): Answer<"revoke"> {
    return this.#at((till) => till.revoke(...input));
  }

  refund(...input: Input<"refund">): Answer<"refund"> {
    return this.#at((till) => till.refund(...input));
  }

  report(...input: Input<"report">): Answer<"report"> {
    return this.#at((till) => till.report(...input));
  }

  paymentState(...input: Input<"paymentState">): Answer<"paymentState"> {
    return this.#at((till) => till.paymentState(...input));
  }

  disown(...input: Input<"disown">): Answer<"disown"> {
    return this.#at((till) => till.disown(...input));
  }

  entries(...input: Input<"entries">): Answer<"entries"> {
    return this.#at((till) => till.entries(...input));
  }

  ship(...input: Input<"ship">): Answer<"ship"> {
    return this.#at((till) => till.ship(...input));
  }

  sums(...input: Input<"sums">): Answer<"sums"> {
    return this.#at((till) => till.sums(...input));
  }

  rotate(...input: Input<"rotate">): Answer<"rotate"> {
    return this.#at((till) => till.rotate(...input));
  }

  returned(...input: Input<"returned">): Answer<"returned"> {
    return this.#at((till) => till.returned(...input));
  }

  keepCard(...input: Input<"keepCard">): Answer<"keepCard"> {
    return this.#at((till) => till.keepCard(...input));
  }

  keeps(...input: Input<"keeps">): Answer<"keeps"> {
    return this.#at((till) => till.keeps(...input));
  }

  bear(...input: Input<"bear">): Answer<"bear"> {
    return this.#at((till) => till.bear(...input));
  }

  shut(...input: Input<"shut">): Answer<"shut"> {
    return this.#at((till) => till.shut(...input));
  }

  mistaken(...input: Input<"mistaken">): Answer<"mistaken"> {
    return this.#at((till) => till.mistaken(...input));
  }

  admit(...input: Input<"admit">): Answer<"admit"> {
    return this.#at((till) => till.admit(...input));
  }

  endLimited(...input: Input<"endLimited">): Answer<"endLimited"> {
    return this.#at((till) => till.endLimited(...input));
  }

  beginTopUp(...input: Input<"beginTopUp">): Answer<"beginTopUp"> {
    return this.#at((till) => till.beginTopUp(...input));
  }

  noteTopUp(...input: Input<"noteTopUp">): Answer<"noteTopUp"> {
    return this.#at((till) => till.noteTopUp(...input));
  }

  topUp(...input: Input<"topUp">): Answer<"topUp"> {
    return this.#at((till) => till.topUp(...input));
  }

  topUps(...input: Input<"topUps">): Answer<"topUps"> {
    return this.#at((till) => till.topUps(...input));
  }

  usage(...input: Input<"usage">): Answer<"usage"> {
    return this.#at((till) => till.usage(...input));
  }

  setAutoTopUp(...input: Input<"setAutoTopUp">): Answer<"setAutoTopUp"> {
    return this.#at((till) => till.setAutoTopUp(...input));
  }

  configure(...input: Input<"configure">): Answer<"configure"> {
    return this.#at((till) => till.configure(...input));
  }

  mintKey(...input: Input<"mintKey">): Answer<"mintKey"> {
    return this.#at((till) => till.mintKey(...input));
  }

  spenders(...input: Input<"spenders">): Answer<"spenders"> {
    return this.#at((till) => till.spenders(...input));
  }

  revokeSpender(...input: Input<"revokeSpender">): Answer<"revokeSpender"> {
    return this.#at((till) => till.revokeSpender(...input));
  }

  noteIdentity(...input: Input<"noteIdentity">): Answer<"noteIdentity"> {
    return this.#at((till) => till.noteIdentity(...input));
  }

  activateIdentity(...input: Input<"activateIdentity">): Answer<"activateIdentity"> {
    return this.#at((till) => till.activateIdentity(...input));
  }

  dropIdentity(...input: Input<"dropIdentity">): Answer<"dropIdentity"> {
    return this.#at((till) => till.dropIdentity(...input));
  }

  endIdentity(...input: Input<"endIdentity">): Answer<"endIdentity"> {
    return this.#at((till) => till.endIdentity(...input));
  }

  freeze(...input: Input<"freeze">): Answer<"freeze"> {
    return this.#at((till) => till.freeze(...input));
  }

  reissue(...input: Input<"reissue">): Answer<"reissue"> {
    return this.#at((till) => till.reissue(...input));
  }

  beginStripeRefund(...input: Input<"beginStripeRefund">): Answer<"beginStripeRefund"> {
    return this.#at((till) => till.beginStripeRefund(...input));
  }

  noteStripeRefund(...input: Input<"noteStripeRefund">): Answer<"noteStripeRefund"> {
    return this.#at((till) => till.noteStripeRefund(...input));
  }

  payments(...input: Input<"payments">): Answer<"payments"> {
    return this.#at((till) => till.payments(...input));
  }

  audit(...input: Input<"audit">): Answer<"audit"> {
    return this.#at((till) => till.audit(...input));
  }

  query(...input: Input<"query">): Answer<"query"> {
    return this.#at((till) => till.query(...input));
  }
}
