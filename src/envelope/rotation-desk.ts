/** A new token for the same envelope. */
import type { RotateInput, RotateOutcome } from "../contract.js";
import { decideRotation } from "./credentials.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";

export class RotationDesk {
  readonly #store: Store;

  constructor(office: Office) {
    this.#store = office.store;
  }

  rotate(input: RotateInput): RotateOutcome {
    if (!this.#store.exists) return { outcome: "unfunded" };
    const now = Date.now();
    const decision = decideRotation(this.#store.credentials, input, now);
    if ("outcome" in decision) return decision.outcome;
    this.#store.transaction(() => {
      if (decision.first !== undefined) this.#store.fileCredential(decision.first, now, now);
      this.#store.fileCredential(decision.issue, null, now);
      // Who replaces their token wants to be alone.
      this.#store.closeLogins(now);
    });
    return { outcome: "rotated" };
  }
}
