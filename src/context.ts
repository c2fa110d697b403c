/** `ctx.envelope`: a visit as the handler sees it. */
import type { ChargeOutcome, EnvelopeState } from "./contract.js";
import type { HoldOptions, HoldResult } from "./held.js";
import type { MeteredStream, MeterRate } from "./meter/terms.js";
import type { Price } from "./money.js";
import { once } from "./once.js";
import type { RefundOptions, RefundResult } from "./spending.js";
import type { Visit } from "./visit.js";

const asked = once(() => import("./asked.js"));
const spending = once(() => import("./spending.js"));
const metering = once(() => import("./metering.js"));

/** What a charge asks for besides its price. */
export interface ChargeOptions {
  /** Makes the charge happen once per envelope: 1 to 255 visible ASCII characters. */
  readonly key?: string | undefined;
  /** Shown in the ledger. At most 256 characters. */
  readonly reason?: string | undefined;
  /**
   * What the money is spent on, for grants that are for that only. Default: `reason`, which is method and path where none is given. At
   * most 256 characters.
   */
  readonly tag?: string | undefined;
  /** Kept with the entry, as JSON of at most 4,096 characters. */
  readonly metadata?: unknown;
  /** Take what is left when that is less than the price. */
  readonly atMost?: boolean | undefined;
}

/** Outcome of `ctx.envelope.charge`. A "no" is a value; only an envelope that cannot be reached throws. */
export type ChargeResult = ChargeOutcome & {
  /** Balance after, in minor units, exact. */
  readonly balance: string;
  readonly currency: string;
};

export type StateResult = EnvelopeState & { readonly balance: string; readonly available: string };

/** `ctx.envelope`: the caller's envelope. */
export interface EnvelopeContext {
  /**
   * The envelope's id. For a caller without credentials, of the one they will have once they pay. For an identity that `identify`
   * names by type and value, empty until the envelope was asked for something (and where no envelope is open to it).
   */
  readonly id: string;
  /** True when the caller presented a genuine credential, or the app vouched for them. */
  readonly identified: boolean;
  /** True in a limited session of login by payment: the envelope is another holder's, to be spent from and nothing else. */
  readonly limited: boolean;
  /** Where this caller tops up; `null` when no payment link is configured. */
  readonly paymentLink: string | null;
  /** Balance, holds and flags: one round trip. */
  state(): Promise<StateResult>;
  /** Takes a price from the envelope, checked and written in one turn: one round trip. */
  charge(price: Price, options?: ChargeOptions): Promise<ChargeResult>;
  /** Reserves money for work whose price is not known yet, to be settled, released or extended. What a handler that throws left open is released. */
  hold(max: Price, options?: HoldOptions): Promise<HoldResult>;
  /** Gives a charge of this envelope back, by its entry number or the key it was made with: all that is left of it, or so much. */
  refund(charge: number | string, price?: Price, options?: RefundOptions): Promise<RefundResult>;
  /**
   * Charges while the body, or the WebSocket of a 101, flows, and cuts it when the money ends. Answers with the response to return: the metered one, or the
   * refusal in its place. Prices in the response's own headers are replaced by the rate.
   * @throws {TypeError} where the rate is wrong; the message names its path.
   */
  meter(response: Response, rate: MeterRate): Promise<Response>;
  /** The same for a stream; `contentType` says how it is framed. */
  meter(
    stream: ReadableStream<Uint8Array>,
    rate: MeterRate & { readonly contentType?: string | undefined },
  ): Promise<MeteredStream>;
}

const VISIT = Symbol("visit");

/** The visit behind `ctx.envelope`: for what stands above the wrapper. */
export function visitOf(context: EnvelopeContext): Visit<unknown> {
  if (context instanceof VisitContext) return context[VISIT];
  throw new TypeError("ctx.envelope is missing: call it inside a handler that withEnvelope wraps");
}

/** A class, because it is made for every request and asked by few: getters of an object literal are made anew each time. */
export class VisitContext implements EnvelopeContext {
  readonly #visit: Visit<unknown>;
  readonly #ctx: ExecutionContext;

  constructor(visit: Visit<unknown>, ctx: ExecutionContext) {
    this.#visit = visit;
    this.#ctx = ctx;
  }

  get [VISIT](): Visit<unknown> {
    return this.#visit;
  }

  get id(): string {
    const { kind } = this.#visit.caller;
    this.#visit.show();
    return kind === "unresolved" || kind === "unknown" ? "" : this.#visit.known.envelopeId;
  }

  get limited(): boolean {
    this.#visit.personal = true;
    return this.#visit.caller.kind === "limited";
  }

  get identified(): boolean {
    this.#visit.personal = true;
    return this.#visit.caller.kind !== "fresh" && this.#visit.caller.kind !== "rejected";
  }

  get paymentLink(): string | null {
    return this.#visit.paymentLink();
  }

  /** Bound, so that a handler may take it out of its context. */
  get state(): EnvelopeContext["state"] {
    return async () => (await asked()).stateOf(this.#visit);
  }

  get charge(): EnvelopeContext["charge"] {
    return async (price, options) => (await asked()).chargeFor(this.#visit, price, options ?? {});
  }

  get hold(): EnvelopeContext["hold"] {
    return async (max, options) => (await spending()).holdForApp(this.#visit, max, options ?? {});
  }

  get refund(): EnvelopeContext["refund"] {
    return async (charge, price, options) => (await spending()).refundForApp(this.#visit, charge, price, options ?? {});
  }

  get meter(): EnvelopeContext["meter"] {
    const meter = async (target: Response | ReadableStream<Uint8Array>, rate: MeterRate) => {
      if (target instanceof Response && target.webSocket != null) {
        return (await import("./metered-socket.js")).meterSocketForApp(this.#visit, target, rate, this.#ctx);
      }
      const { meterForApp, meterStream } = await metering();
      return target instanceof Response
        ? meterForApp(this.#visit, target, rate, this.#ctx)
        : meterStream(this.#visit, target, rate, this.#ctx);
    };
    return meter as EnvelopeContext["meter"];
  }
}
