/**
 * How often this envelope said no, by limit, for the owner's reports. In memory only, so that a refusal writes nothing: what was
 * not told before the object is evicted is lost. What was sent is sent again unchanged until it is answered, so none counts twice.
 */
import type { RefusalCounts, RefusalReason } from "../contract.js";
import { limitOf } from "../limits.js";
import { randomBase62 } from "../secrets.js";

export class Refusals {
  #counted: Record<string, number> = {};
  #sent: RefusalCounts | undefined;

  count(reason: RefusalReason): void {
    const limit = limitOf(reason);
    this.#counted[limit] = (this.#counted[limit] ?? 0) + 1;
  }

  get any(): boolean {
    return this.#sent !== undefined || Object.keys(this.#counted).length > 0;
  }

  /** What to send: the same until it was told. */
  take(): RefusalCounts | undefined {
    if (this.#sent === undefined && this.any) {
      this.#sent = { id: randomBase62(8), by_limit: this.#counted };
      this.#counted = {};
    }
    return this.#sent;
  }

  told(): void {
    this.#sent = undefined;
  }
}
