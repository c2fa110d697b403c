/**
 * Usage, as the owner's servers ask for it: what was charged is in the ledger already; what was refused them is kept here, because a
 * refusal writes no entry. Rows only.
 */
import type { ChargeInput, ChargeOutcome, UsageInput, UsagePage, UsageRecord } from "../contract.js";
import { isSpender } from "./credentials.js";
import { pageLimit } from "./ledger-book.js";
import type { Office } from "./office.js";
import type { Store } from "./store.js";

/** Refusals are kept for looking into, not for ever: a server that runs against a limit must not fill the envelope. */
export const REFUSALS_KEPT = 10_000;

export class UsageDesk {
  readonly #store: Store;
  readonly #sql: SqlStorage;

  constructor({ store }: Office) {
    this.#store = store;
    this.#sql = store.sql;
  }

  /** In the turn of the refusal. A replay and a charge are in the ledger. */
  record(input: ChargeInput, outcome: ChargeOutcome): void {
    const why = whyNot(outcome);
    if (why === undefined || !this.#store.exists) return;
    const { record_id } = this.#sql
      .exec<{ record_id: number }>(
        `INSERT INTO refused_usage (at_ms, status, amount_micros, detail, key, spender_id, reason, metadata)
         VALUES (max(?, coalesce((SELECT at_ms FROM refused_usage ORDER BY record_id DESC LIMIT 1), 0)), ?, ?, ?, ?, ?, ?, ?)
         RETURNING record_id`,
        Date.now(),
        why.status,
        input.amount_micros,
        why.detail,
        input.key ?? null,
        spenderOf(input),
        input.reason ?? null,
        input.metadata ?? null,
      )
      .one();
    this.#sql.exec("DELETE FROM refused_usage WHERE record_id <= ?", record_id - REFUSALS_KEPT);
  }

  async usage(input: UsageInput): Promise<UsagePage> {
    return this.#store.exists ? this.#page({ ...input, limit: pageLimit(input.limit) }) : { records: [], next: null };
  }

  /** Newest first: both lists are numbered in the order of their times, so a page is the newest of what both have left. */
  #page({ before, limit }: UsageInput): UsagePage {
    const seq = before?.seq ?? Number.MAX_SAFE_INTEGER;
    const record_id = before?.record_id ?? Number.MAX_SAFE_INTEGER;
    const charged = this.#charged(seq, limit + 1);
    const refused = this.#refused(record_id, limit + 1);
    const all = [...charged, ...refused].sort((one, other) => other.at_ms - one.at_ms);
    const records = all.slice(0, limit);
    const next = { seq, record_id };
    for (const record of records) {
      if (record.status === "SUCCESS") next.seq = Math.min(next.seq, record.number);
      else next.record_id = Math.min(next.record_id, record.number);
    }
    return { records, next: all.length > limit ? next : null };
  }

  #charged(before: number, limit: number): UsageRecord[] {
    return this.#sql
      .exec(
        `SELECT 'SUCCESS' AS status, seq AS number, at_ms, 0 - amount_micros AS amount_micros, NULL AS detail, key,
           (SELECT public_id FROM spender WHERE spender.spender_id = entry.spender_id) AS spender_id, reason, metadata
         FROM entry WHERE seq < ? AND kind IN ('charge', 'usage') ORDER BY seq DESC LIMIT ?`,
        before,
        limit,
      )
      .toArray() as unknown as UsageRecord[];
  }

  #refused(before: number, limit: number): UsageRecord[] {
    return this.#sql
      .exec(
        `SELECT status, record_id AS number, at_ms, amount_micros, detail, key, spender_id, reason, metadata
         FROM refused_usage WHERE record_id < ? ORDER BY record_id DESC LIMIT ?`,
        before,
        limit,
      )
      .toArray() as unknown as UsageRecord[];
  }
}

/** Who asked, where that was not the holder: also one that does not count. */
function spenderOf({ credential }: ChargeInput): string | null {
  if (!isSpender(credential)) return null;
  return "api_key" in credential ? credential.api_key : credential.identity_id;
}

function whyNot(outcome: ChargeOutcome): { readonly status: "BLOCKED" | "ERROR"; readonly detail: string } | undefined {
  switch (outcome.outcome) {
    case "refused":
      return { status: "BLOCKED", detail: outcome.refusal.reason };
    case "conflict":
      return { status: "ERROR", detail: `conflict: ${outcome.detail}` };
    case "invalid":
      return { status: "ERROR", detail: outcome.detail };
    case "charged":
    case "replayed":
      return undefined;
  }
}
