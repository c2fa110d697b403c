/** The answers of the real object, in the words of the model. */
import type { Balances, Refusal, RotateOutcome } from "../../../src/contract.js";

export type Answer = Balances & {
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

export function readAnswer(answer: Answer): string {
  return `${readOutcome(answer)}; ${answer.balance_micros}/${answer.available_micros}`;
}

function readOutcome({
  outcome,
  seq,
  amount_micros,
  refusal,
  refundable_micros,
  hold_id,
  end,
  detail,
  reason,
}: Answer): string {
  switch (outcome) {
    case "charged":
    case "replayed":
    case "refunded":
    case "granted":
    case "credited":
    case "revoked":
      return `${outcome} ${seq} ${amount_micros}`;
    case "refused":
      return refusal === undefined
        ? `refused ${refundable_micros}`
        : refusal.reason === "window"
          ? `refused window ${refusal.window_id} admits ${refusal.admits_micros} until ${refusal.resets_at_ms}`
          : `refused ${refusal.reason} short ${refusal.shortfall_micros}`;
    case "conflict":
      return `conflict ${detail}`;
    case "reversed":
      return `reversed ${amount_micros}`;
    case "uncreditable":
      return `uncreditable ${reason}`;
    case "held":
      return `held ${hold_id}`;
    case "ended":
      return `ended ${end}`;
    default:
      return outcome;
  }
}

export function readRotation(answer: RotateOutcome): string {
  return answer.outcome === "superseded" ? `superseded ${answer.hash}` : answer.outcome;
}
