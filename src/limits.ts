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
  identity_unknown: "key",
};

/** Said to who may not spend from the envelope at all: nothing of it is told. */
const QUIET: ReadonlySet<RefusalReason> = new Set([
  "key_expired",
  "key_scope",
  "credential_revoked",
  "identity_unknown",
] as const);

/** Whether the caller may know of the balance. */
export function tellsBalance(reason: RefusalReason): boolean {
  return !QUIET.has(reason);
}

/** The wire's name of what said no. */
export function limitOf(reason: RefusalReason): Limit {
  return LIMITS[reason];
}

/** Whether paying lifts what said no. */
export function canTopUp(reason: RefusalReason): boolean {
  return LIMITS[reason] === "balance";
}
