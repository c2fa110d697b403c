/** What each client does next. Decided by the seed alone: neither answers nor timing change the choices. */
import { centsOf } from "../lib/minor.ts";
import { type Choices, choicesOf } from "../lib/random.ts";

/** A request that is to be paid for. */
export interface Operation {
  readonly kind: "operation";
  /** Unique in a run, and part of the path, so that the ledger names it. */
  readonly id: string;
  /** Index of the envelope that pays. */
  readonly envelope: number;
  /** Priced beforehand: a hold is taken, and settled when the work is done. */
  readonly held: boolean;
  /** Sent with an Idempotency-Key, and so safe to send again. */
  readonly keyed: boolean;
  readonly path: string;
  readonly asked: Readonly<Record<string, string>>;
  /** What a success costs. */
  readonly price_micros: number;
  /** The work fails: nothing may be charged. */
  readonly fails: boolean;
  /** After a success, the same key once more: with the same price, or with another. */
  readonly probe: "none" | "same" | "other_price";
}

/** A payment whose event Stripe delivers until it is acknowledged. */
export interface TopUp {
  readonly kind: "topup";
  readonly name: string;
  readonly envelope: number;
  readonly cents: number;
  /** Delivered twice at once. */
  readonly twin: boolean;
  /** Delivered again after it was acknowledged. */
  readonly again: boolean;
}

export type Step = Operation | TopUp;

/** Prices from a ten-thousandth of a cent to five cents. Top-ups bring a little less, so that some charges are refused. */
const PRICE_MICROS_MAX = 50_000;
const GROUPS = 3;
/** A few seconds, at the rate of one client. */
const STEPS_PER_GROUP = 30;
const TOPUP_SHARE = 0.03;
const TOPUP_CENTS = [20, 110] as const;

/** The endless list of one client's steps. */
export function* stepsOf(seed: number, round: number, client: number, envelopes: number): Generator<Step, never> {
  const choices = choicesOf("client", seed, round, client);
  for (let number = 0; ; number++) {
    const id = `${client}-${number}`;
    const envelope = hotEnvelope(choices, number, envelopes);
    yield choices.chance(TOPUP_SHARE) ? topUp(choices, id, envelope) : operation(choices, id, envelope);
  }
}

/** A third of the envelopes is in use at a time, so that the others come to rest and send their entries to the mirror. */
function hotEnvelope(choices: Choices, number: number, envelopes: number): number {
  const hot = Math.ceil(envelopes / GROUPS);
  const first = (Math.floor(number / STEPS_PER_GROUP) % GROUPS) * hot;
  return (first + choices.between(0, hot - 1)) % envelopes;
}

function topUp(choices: Choices, id: string, envelope: number): TopUp {
  const cents = choices.between(...TOPUP_CENTS);
  return { kind: "topup", name: `c${id}`, envelope, cents, twin: choices.chance(0.2), again: choices.chance(0.3) };
}

function operation(choices: Choices, id: string, envelope: number): Operation {
  const held = choices.chance(0.2);
  const price_micros = choices.between(1, PRICE_MICROS_MAX);
  const keyed = choices.chance(0.6);
  const fails = choices.chance(0.05);
  const probe = choices.fraction();
  return {
    kind: "operation",
    id,
    envelope,
    held,
    keyed,
    path: `/${held ? "held" : "charge"}/${id}`,
    asked: {
      ...(held ? quoted(choices, price_micros) : { price: centsOf(price_micros) }),
      ...(fails ? { fail: "" } : {}),
    },
    price_micros,
    fails,
    probe: !keyed || fails || probe > 0.08 ? "none" : probe > 0.04 ? "same" : "other_price",
  };
}

/** A quote that the final price equals, falls short of or exceeds; or that is the price, as the response names none. */
function quoted(choices: Choices, price_micros: number): Readonly<Record<string, string>> {
  const work_ms = String(choices.between(0, 10));
  const other = choices.between(1, PRICE_MICROS_MAX);
  if (choices.chance(0.25)) return { quote: centsOf(price_micros), work_ms };
  return { quote: centsOf(choices.chance(0.2) ? price_micros : other), price: centsOf(price_micros), work_ms };
}
