/** What a refusal is about, for whoever decides one, counts it or answers it. A new reason does not compile until it is in here. */
import type { RefusalReason } from "./contract.js";

/** Which limit said no: what a client should look at before it tries again. */
export type Limit = "balance" | "window" | "key" | "frozen";

const LIMITS: Readonly<Record<RefusalReason, Limit>> = {
  insufficient_balance: "balance",
  window: "window",
  key_cap: "key",
  key_expired: "key",
  key_scope: "key",
  frozen: "frozen",
  credential_revoked: "key",
};

/** The wire's name of what said no. */
export function limitOf(reason: RefusalReason): Limit {
  return LIMITS[reason];
}

/** Whether paying lifts what said no. */
export function canTopUp(reason: RefusalReason): boolean {
  return LIMITS[reason] === "balance";
}
