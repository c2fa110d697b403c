/**
 * `EnvelopeAggregate`: everyone's copy, for the owner's reports; one object, or several that share the envelopes. What it does is in
 * copies.ts, and what is read of it in readings.ts, loaded with the first call: a Worker that starts needs none of it.
 */
import { DurableObject } from "cloudflare:workers";
import type { AggregateApi } from "../contract.js";
import { once } from "../once.js";

type Input<Name extends keyof AggregateApi> = Parameters<AggregateApi[Name]>;
type Answer<Name extends keyof AggregateApi> = ReturnType<AggregateApi[Name]>;

export class EnvelopeAggregate extends DurableObject implements AggregateApi {
  readonly #open = once(async () => new (await import("./copies.js")).Copies(this.ctx, this.env));
  readonly #read = once(async () => {
    const [{ Readings }, copies] = await Promise.all([import("./readings.js"), this.#open()]);
    return new Readings(this.ctx, this.env, copies);
  });

  async mirror(...input: Input<"mirror">): Answer<"mirror"> {
    return (await this.#open()).mirror(...input);
  }

  async overview(...input: Input<"overview">): Answer<"overview"> {
    return (await this.#read()).overview(...input);
  }

  async series(...input: Input<"series">): Answer<"series"> {
    return (await this.#read()).series(...input);
  }

  async spend(...input: Input<"spend">): Answer<"spend"> {
    return (await this.#read()).spend(...input);
  }

  async spendByKey(...input: Input<"spendByKey">): Answer<"spendByKey"> {
    return (await this.#read()).spendByKey(...input);
  }

  async movements(...input: Input<"movements">): Answer<"movements"> {
    return (await this.#read()).movements(...input);
  }

  async refusals(...input: Input<"refusals">): Answer<"refusals"> {
    return (await this.#read()).refusals(...input);
  }

  async cohorts(...input: Input<"cohorts">): Answer<"cohorts"> {
    return (await this.#read()).cohorts(...input);
  }

  async envelopes(...input: Input<"envelopes">): Answer<"envelopes"> {
    return (await this.#read()).envelopes(...input);
  }

  async envelope(...input: Input<"envelope">): Answer<"envelope"> {
    return (await this.#read()).envelope(...input);
  }

  async events(...input: Input<"events">): Answer<"events"> {
    return (await this.#read()).events(...input);
  }

  async health(...input: Input<"health">): Answer<"health"> {
    return (await this.#read()).health(...input);
  }

  async query(...input: Input<"query">): Answer<"query"> {
    return (await this.#read()).query(...input);
  }

  async prove(...input: Input<"prove">): Answer<"prove"> {
    return (await this.#read()).prove(...input);
  }

  async rebuild(...input: Input<"rebuild">): Answer<"rebuild"> {
    return (await this.#open()).rebuild(...input);
  }

  async drop(...input: Input<"drop">): Answer<"drop"> {
    return (await this.#open()).drop(...input);
  }

  override async alarm(): Promise<void> {
    return (await this.#open()).alarm();
  }
}
