/**
 * Who was refused a moment ago, in this isolate. A header's price is known only once the handler has done its work, so a caller
 * without money could have it done for nothing, again and again. Who asks for the same thing within seconds is asked for the
 * money first. A memory of prices, never of balances: those are asked anew each time, so a top-up counts at once.
 */
import type { Refusal, RefusalReason } from "./contract.js";
import type { Micros } from "./money.js";
import type { Visit } from "./visit.js";

/** Short, because a price may change: it is as long as a caller may be held to the old one. */
const REMEMBERED_MS = 10_000;
const REMEMBERED_MAX = 1_000;

interface Remembered {
  readonly price_micros: Micros;
  readonly until_ms: number;
}

/** By what was asked for, then by envelope: a request for anything else need not find out whose it is. */
const refused = new Map<string, Map<string, Remembered>>();
let size = 0;

export function rememberRefusal(asked: string, envelopeId: string, price_micros: Micros, now_ms: number): void {
  if (size >= REMEMBERED_MAX) forgetAll();
  let callers = refused.get(asked);
  if (callers === undefined) {
    callers = new Map();
    refused.set(asked, callers);
  }
  if (!callers.has(envelopeId)) size += 1;
  callers.set(envelopeId, { price_micros, until_ms: now_ms + REMEMBERED_MS });
}

export function askedFor<Env>({ method, address }: Visit<Env>): string {
  return `${method} ${address}`;
}

/** Refusals that are the same for the same price until money comes or time passes: what the handler would do for it would be for nothing. */
const LASTING: ReadonlySet<RefusalReason> = new Set(["insufficient_balance", "window", "key_cap"]);

/** What a caller was told, where it was that they cannot pay. */
export function noteRefusal<Env>(
  visit: Visit<Env>,
  outcome: { readonly outcome: string; readonly refusal?: Refusal },
): void {
  const { refusal } = outcome;
  if (outcome.outcome !== "refused" || refusal === undefined || !LASTING.has(refusal.reason)) return;
  // Of a caller without credentials nothing is known, not even that they were here before.
  const { caller } = visit;
  if (!visit.options.refuseEarly || !("envelopeId" in caller) || caller.kind === "fresh") return;
  rememberRefusal(askedFor(visit), caller.envelopeId, refusal.price_micros, visit.startedAt_ms);
}

/** False for nearly all the time, and then nothing need be found out about a request. */
export function anyRefused(): boolean {
  return size > 0;
}

/** The price that this caller was refused for; `undefined` for nearly all. Asks who the caller is only where somebody was refused the same. */
export function refusedPrice(asked: () => string, envelopeId: () => string, now_ms: number): Micros | undefined {
  const callers = refused.get(asked());
  if (callers === undefined) return undefined;
  const known = callers.get(envelopeId());
  return known === undefined || known.until_ms <= now_ms ? undefined : known.price_micros;
}

function forgetAll(): void {
  refused.clear();
  size = 0;
}
