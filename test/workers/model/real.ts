/** What the commands are made of: the real object, and how one command is done to it and to the model. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { expect } from "vitest";
import type { EnvelopeApi, MeterSession } from "../../../src/contract.js";
import type { Envelope } from "../../../src/index.js";
import { type Answer, readAnswer } from "./answers.js";
import { inspect } from "./invariants.js";
import type { Model } from "./model.js";

/** The real object. A stub is taken anew for every call, because it stays broken after its object resets. */
export class Real {
  readonly name: string;
  /** Amounts that were acknowledged, by key. */
  readonly acknowledged = new Map<string, bigint>();
  last: ((retry: true) => Promise<void>) | undefined;
  /** Of meters that run, by their hold: the object's own, so that none keeps it from being evicted. Gone with the object. */
  readonly sessions = new Map<number, MeterSession>();
  #ops = 0;

  constructor(name: string) {
    this.name = name;
  }
  get stub() {
    return env.ENVELOPE.getByName(this.name);
  }
  get api(): EnvelopeApi {
    return this.stub as unknown as EnvelopeApi;
  }
  /** Asked inside the object, where a session is itself and no stub of it. */
  inside<T>(work: (api: EnvelopeApi) => Promise<T>): Promise<T> {
    return runInDurableObject(this.stub, (envelope: Envelope) => work(envelope));
  }
  /** Names an attempt. The same in every replay of a run, so that a failing one can be shrunk. */
  op(): string {
    this.#ops += 1;
    return `op-${this.#ops}`;
  }
}

export const counted = { commands: 0 };

type Doing = (model: Model, real: Real) => Promise<void>;

class Command implements fc.AsyncCommand<Model, Real> {
  readonly #name: string;
  readonly #doing: Doing;
  readonly check: (model: Readonly<Model>) => boolean;
  constructor(name: string, doing: Doing, when: (model: Readonly<Model>) => boolean) {
    this.#name = name;
    this.#doing = doing;
    this.check = when;
  }
  async run(model: Model, real: Real): Promise<void> {
    counted.commands += 1;
    await this.#doing(model, real);
    await inspect(model, real);
  }
  toString(): string {
    return this.#name;
  }
}

const always = () => true;

/** A command from what is drawn for it; shown with it when a run fails. Left out of a run where `when` says so. */
export const command = <Drawn>(
  name: string,
  drawn: fc.Arbitrary<Drawn>,
  doing: (drawn: Drawn, ...at: Parameters<Doing>) => Promise<void>,
  when: (model: Readonly<Model>) => boolean = always,
) => drawn.map((one) => new Command(`${name}(${fc.stringify(one)})`, (model, real) => doing(one, model, real), when));

/** An operation that may be sent again under the same name: does it, and remembers it for `retry`. */
export async function send<Input extends { readonly op: string }>(
  real: Real,
  input: Input,
  expected: (input: Input) => string,
  call: (api: EnvelopeApi, input: Input) => Promise<Answer>,
  key?: string,
): Promise<void> {
  const once = async (retry?: true) => {
    const sent = retry === undefined ? input : { ...input, retry };
    const answer = await call(real.api, sent);
    expect(readAnswer(answer)).toBe(expected(sent));
    const { outcome, amount_micros, seq } = answer;
    const acknowledged = ["charged", "granted", "refunded", "replayed"].includes(outcome);
    if (key !== undefined && acknowledged && amount_micros !== undefined && seq !== null)
      real.acknowledged.set(key, BigInt(amount_micros));
  };
  real.last = once;
  await once();
}
