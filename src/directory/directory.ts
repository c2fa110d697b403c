/**
 * `EnvelopeDirectory`: which envelope a payment belongs to, for the news that does not say so itself (refunds and disputes
 * name only the payment), and which envelope a card opens. Sharded by payment id, so a payment's claim, its early news and
 * its unclaimed row are decided by one object, each in one turn; by the card's keyed hash; and by envelope, for the list of all
 * that have a ledger. Never holds money. What it does is in register.ts and owner-door.ts, loaded
 * with the first call: a Worker that starts needs none of it.
 */
import { DurableObject } from "cloudflare:workers";
import type { DirectoryApi, OwnerApi } from "../contract.js";
import { once } from "../once.js";

type Api = DirectoryApi & OwnerApi;
type Input<Name extends keyof Api> = Parameters<Api[Name]>;
type Answer<Name extends keyof Api> = ReturnType<Api[Name]>;

export class EnvelopeDirectory extends DurableObject implements DirectoryApi, OwnerApi {
  readonly #open = once(async () => new (await import("./register.js")).Register(this.ctx.storage));
  /** Asked of the one object only that is no shard. */
  readonly #door = once(async () => new (await import("./owner-door.js")).OwnerDoor(this.ctx.storage));

  async claim(...input: Input<"claim">): Answer<"claim"> {
    return (await this.#open()).claim(...input);
  }

  async route(...input: Input<"route">): Answer<"route"> {
    return (await this.#open()).route(...input);
  }

  async claimant(...input: Input<"claimant">): Answer<"claimant"> {
    return (await this.#open()).claimant(...input);
  }

  async settle(...input: Input<"settle">): Answer<"settle"> {
    return (await this.#open()).settle(...input);
  }

  async recordUnclaimed(...input: Input<"recordUnclaimed">): Answer<"recordUnclaimed"> {
    return (await this.#open()).recordUnclaimed(...input);
  }

  async unclaimed(...input: Input<"unclaimed">): Answer<"unclaimed"> {
    return (await this.#open()).unclaimed(...input);
  }

  async unclaimedCount(...input: Input<"unclaimedCount">): Answer<"unclaimedCount"> {
    return (await this.#open()).unclaimedCount(...input);
  }

  async lookup(...input: Input<"lookup">): Answer<"lookup"> {
    return (await this.#open()).lookup(...input);
  }

  async assign(...input: Input<"assign">): Answer<"assign"> {
    return (await this.#open()).assign(...input);
  }

  async claimCard(...input: Input<"claimCard">): Answer<"claimCard"> {
    return (await this.#open()).claimCard(...input);
  }

  async releaseCard(...input: Input<"releaseCard">): Answer<"releaseCard"> {
    return (await this.#open()).releaseCard(...input);
  }

  async blockCard(...input: Input<"blockCard">): Answer<"blockCard"> {
    return (await this.#open()).blockCard(...input);
  }

  async enrol(...input: Input<"enrol">): Answer<"enrol"> {
    return (await this.#open()).enrol(...input);
  }

  async envelopes(...input: Input<"envelopes">): Answer<"envelopes"> {
    return (await this.#open()).envelopes(...input);
  }

  async identity(...input: Input<"identity">): Answer<"identity"> {
    return (await this.#open()).identity(...input);
  }

  async claimIdentity(...input: Input<"claimIdentity">): Answer<"claimIdentity"> {
    return (await this.#open()).claimIdentity(...input);
  }

  async releaseIdentity(...input: Input<"releaseIdentity">): Answer<"releaseIdentity"> {
    return (await this.#open()).releaseIdentity(...input);
  }

  async tryDoor(...input: Input<"tryDoor">): Answer<"tryDoor"> {
    return (await this.#door()).tryDoor(...input);
  }

  async openSession(...input: Input<"openSession">): Answer<"openSession"> {
    return (await this.#door()).openSession(...input);
  }

  async session(...input: Input<"session">): Answer<"session"> {
    return (await this.#door()).session(...input);
  }

  async note(...input: Input<"note">): Answer<"note"> {
    return (await this.#door()).note(...input);
  }

  async noted(...input: Input<"noted">): Answer<"noted"> {
    return (await this.#door()).noted(...input);
  }

  async closeSession(...input: Input<"closeSession">): Answer<"closeSession"> {
    return (await this.#door()).closeSession(...input);
  }
}
