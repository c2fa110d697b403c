/** What the one object does of this class that is no shard: it guards the owner's door. Loaded with its first call. */
import type { AuditLine, Before, DoorOutcome, DoorTry, OwnerApi, OwnerSession } from "../contract.js";
import { migrate } from "../migrate.js";
import { OwnerStore } from "./owner.js";
import { OWNER_MIGRATIONS } from "./owner-schema.js";

const PAGE_MAX = 1_000;

export class OwnerDoor implements OwnerApi {
  readonly #owner: OwnerStore;

  constructor(storage: DurableObjectStorage) {
    this.#owner = new OwnerStore(storage);
    if (this.#owner.exists) migrate(storage, OWNER_MIGRATIONS, Date.now());
  }

  async tryDoor(input: DoorTry): Promise<DoorOutcome> {
    return this.#owner.tryDoor(input, Date.now());
  }

  async openSession(input: OwnerSession): Promise<void> {
    this.#owner.openSession(input, Date.now());
  }

  async session(input: { readonly hash: string }): Promise<{ readonly actor: string } | null> {
    return this.#owner.session(input.hash, Date.now());
  }

  async note({ by, action, after }: Parameters<OwnerApi["note"]>[0]): Promise<void> {
    this.#owner.note(by, action, after, Date.now());
  }

  async noted(input: Before & { readonly limit: number }): Promise<readonly AuditLine[]> {
    return this.#owner.noted(input.before, Math.max(1, Math.min(input.limit, PAGE_MAX)));
  }

  async closeSession(input: { readonly hash: string }): Promise<void> {
    this.#owner.closeSession(input.hash);
  }
}
