/**
 * The rule of the owner's door: how many wrong tries an address has, and how long it then waits. Pure: no storage, no clock.
 *
 * There is no limit over all addresses on purpose: it would let any stranger lock the owner out, and a secret of 32 random
 * characters is not found by trying, however many try.
 */

export const WRONG_TRIES_MAX = 10;
const LOCK_FIRST_MS = 60_000;
const LOCK_MAX_MS = 3_600_000;
/** Tries are forgotten a day after the last one. */
export const TRIES_KEPT_MS = 24 * 3_600_000;

export interface Tries {
  readonly wrong: number;
  readonly locked_until_ms: number;
}

export const NO_TRIES: Tries = { wrong: 0, locked_until_ms: 0 };

export type DoorDecision =
  /** What is on file afterwards; `undefined` when there is nothing to keep. */
  | { readonly outcome: "open" | "refused"; readonly file: Tries | undefined }
  | { readonly outcome: "locked"; readonly retry_after_ms: number };

/** A locked address is refused whatever it presents, or the lock would tell a right secret from a wrong one. It is not locked for longer by that. */
export function decideTry(known: Tries, right: boolean, now_ms: number): DoorDecision {
  if (now_ms < known.locked_until_ms) return { outcome: "locked", retry_after_ms: known.locked_until_ms - now_ms };
  if (right) return { outcome: "open", file: undefined };
  const wrong = known.wrong + 1;
  const over = wrong - WRONG_TRIES_MAX;
  const lock_ms = over < 0 ? 0 : Math.min(LOCK_MAX_MS, LOCK_FIRST_MS * 2 ** Math.min(over, 10));
  return { outcome: "refused", file: { wrong, locked_until_ms: lock_ms === 0 ? 0 : now_ms + lock_ms } };
}
