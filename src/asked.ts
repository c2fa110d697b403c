/** What a handler asks of its caller's envelope (`ctx.envelope`). Loaded when it does. */
import { attempt } from "./attempt.js";
import type { ChargeOptions, ChargeResult, StateResult } from "./context.js";
import { type ChargeOutcome, METADATA_MAX, REASON_MAX, type Refusal, TAG_MAX } from "./contract.js";
import { isKey, isReason, isTag } from "./keys.js";
import { formatMinor, type Micros, type Price, parsePrice, ZERO } from "./money.js";
import { envelopeStub } from "./stubs.js";
import { ForbiddenError, NO_BALANCES, UnauthorizedError, type Visit } from "./visit.js";

export async function stateOf<Env>(visit: Visit<Env>): Promise<StateResult> {
  visit.personal = true;
  const state = await visit.ask(
    async (caller) => {
      if (caller.kind === "fresh") return EMPTY_STATE;
      return attempt(() => envelopeStub(visit.env, caller.envelopeId).state(visit.asked(caller)));
    },
    () => UNAUTHORIZED,
  );
  if (state.outcome === "unauthorized") throw new UnauthorizedError("This token was replaced by a newer one");
  if (state.outcome === "forbidden") throw new ForbiddenError(state.detail);
  const { outcome, superseded, ...rest } = state;
  return {
    ...rest,
    balance: formatMinor(rest.balance_micros, visit.currency),
    available: formatMinor(rest.available_micros, visit.currency),
  };
}

export async function chargeFor<Env>(visit: Visit<Env>, price: Price, options: ChargeOptions): Promise<ChargeResult> {
  visit.personal = true;
  const invalid = invalidCharge(visit, price, options);
  if (invalid === undefined && visit.caller.kind === "rejected") {
    const price_micros = parsePrice(price, visit.currency) as Micros;
    const refusal: Refusal = { reason: "credential_revoked", price_micros, shortfall_micros: ZERO };
    return { outcome: "refused", refusal, ...NO_BALANCES, balance: "0", currency: visit.currency.code };
  }
  const outcome: ChargeOutcome =
    invalid !== undefined
      ? { outcome: "invalid", detail: invalid, ...NO_BALANCES }
      : await visit.charge({
          amount_micros: parsePrice(price, visit.currency) as Micros,
          reason: options.reason ?? visit.reason(),
          ...(options.key !== undefined && { key: `app:${options.key}` }),
          ...(options.atMost && { at_most: true }),
          ...(visit.options.recordZero && { record_zero: true }),
          ...(options.tag !== undefined && { tag: options.tag }),
          ...(options.metadata !== undefined && { metadata: JSON.stringify(options.metadata) }),
        });
  return { ...outcome, balance: formatMinor(outcome.balance_micros, visit.currency), currency: visit.currency.code };
}

function invalidCharge<Env>(
  visit: Visit<Env>,
  price: Price,
  { key, reason, tag, metadata }: ChargeOptions,
): string | undefined {
  const micros = parsePrice(price, visit.currency);
  if (micros === undefined) return "The price is outside the grammar of X-Price";
  if (micros > visit.options.maxPrice) return "The price is above options.maxPrice";
  if (key !== undefined && !isKey(key)) return "The key must be 1 to 255 visible ASCII characters";
  if (!isReason(reason)) return `The reason must be a text of at most ${REASON_MAX} characters`;
  if (!isTag(tag)) return `The tag must be a text of 1 to ${TAG_MAX} characters`;
  if (metadata !== undefined && (JSON.stringify(metadata) ?? "").length > METADATA_MAX) {
    return `The metadata must be at most ${METADATA_MAX} characters of JSON`;
  }
  return undefined;
}

const UNAUTHORIZED = { outcome: "unauthorized" } as const;

const EMPTY_STATE = {
  outcome: "ok",
  superseded: false,
  ...NO_BALANCES,
  held_micros: ZERO,
  seq: 0,
  funded: false,
  frozen: false,
  open_disputes: 0,
  currency: null,
  holds: [],
  lots: [],
  promotional_micros: ZERO,
  paid_micros: ZERO,
  expiring: null,
  prepaid: true,
  windows: [],
  limited_sessions: [],
  autoTopUp: null,
} as const;
