/** What a stream of events is told at its end, as events of its own. Named, so that a page that listens for messages does not see them. */
import type { ProblemBody } from "../refusal.js";

const encoder = new TextEncoder();

/** The last event: what was paid, and what is left. Decimals in minor units. */
export function balanceEvent(told: {
  readonly price: string;
  readonly balance: string;
  readonly currency: string;
}): Uint8Array {
  return event("balance", told);
}

/**
 * Why the stream ends here: the problem that a request would have been answered with. Named `error`, with an `error` member: clients
 * of language models know both.
 */
export function problemEvent({ status, title, detail, type, ...more }: ProblemBody): Uint8Array {
  const code = type.slice(type.lastIndexOf(":") + 1);
  const error = { type: code.replaceAll("-", "_"), code: status, message: detail };
  return event("error", { type, title, status, detail, ...more, error });
}

/** Ends an event that the body left open. */
export const BLANK_LINES = encoder.encode("\n\n");

function event(name: string, data: unknown): Uint8Array {
  return encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}
