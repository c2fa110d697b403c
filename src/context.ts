/** `ctx.envelope`: a visit as the handler sees it. */
import type { ChargeOutcome, EnvelopeState } from "./contract.js";
import type { Price } from "./money.js";
import { once } from "./once.js";
import type { Visit } from "./visit.js";

const asked = once(() => import("./asked.js"));

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
}

/** A class, because it is made for every request and asked by few: getters of an object literal are made anew each time. */
export class VisitContext implements EnvelopeContext {
  readonly #visit: Visit<unknown>;

  constructor(visit: Visit<unknown>) {
    this.#visit = visit;
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
}
