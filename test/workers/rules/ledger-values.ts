/** What the tests of the ledger's and the holds' rules share: short ways to write an account, and to read a decision. */
import { expect } from "vitest";
import type { Balances, Refusal } from "../../../src/contract.js";
import type { Account, Draft, Prior } from "../../../src/envelope/ledger.js";
import { micros } from "./values.js";

export function account(balance: number, held = 0, over: Partial<Account> = {}): Account {
  return {
    balance_micros: micros(balance),
    held_micros: micros(held),
    frozen: false,
    funded: over.currency !== null,
    currency: "usd",
    ...over,
  };
}

export const charged = (seq: number, amount: number, scope: string | null = null, at_ms = 0): Prior => ({
  seq,
  kind: "charge",
  amount_micros: micros(0 - amount),
  scope,
  at_ms,
});

export const granted = (seq: number, amount: number): Prior => ({
  seq,
  kind: "grant",
  amount_micros: micros(amount),
  scope: null,
  at_ms: 0,
});

/** Any outcome of any rule, as far as a table looks at it. */
type Outcome = Balances & {
  readonly outcome: string;
  readonly seq?: number | null;
  readonly amount_micros?: number;
  readonly refusal?: Refusal;
  readonly refundable_micros?: number;
  readonly hold_id?: number;
  readonly end?: string;
  readonly detail?: string;
  readonly reason?: string;
};

export function readOutcome(outcome: Outcome): string {
  const { refusal, detail = "", reason = "", end = "" } = outcome;
  switch (outcome.outcome) {
    case "refused":
      return refusal === undefined
        ? `refused ${outcome.refundable_micros}`
        : `refused ${refusal.reason} short ${refusal.shortfall_micros}`;
    case "conflict":
      return `conflict ${detail}`;
    case "uncreditable":
      return `uncreditable ${reason}`;
    case "ended":
      return `ended ${end}`;
    case "held":
      return `held ${outcome.hold_id}`;
    case "charged":
    case "replayed":
    case "refunded":
      return `${outcome.outcome} ${outcome.seq} ${show(outcome.amount_micros)}`;
    default:
      return outcome.outcome;
  }
}

export const readDraft = (draft: Draft): string => `write ${draft.kind} ${show(draft.amount_micros)}`;

/** A decision in a few words. An answer that writes nothing must tell the balances as they are. */
export function read(decision: { readonly write: Draft } | { readonly outcome: Outcome }, before: Account): string {
  if ("write" in decision) return readDraft(decision.write);
  const { balance_micros, available_micros } = decision.outcome;
  expect({ balance_micros, available_micros }).toEqual({
    balance_micros: before.balance_micros,
    available_micros: before.balance_micros - before.held_micros,
  });
  return readOutcome(decision.outcome);
}

/** −0 is told from 0, because an amount must never be −0. */
const show = (amount: number | undefined): string => (Object.is(amount, -0) ? "-0" : String(amount));
