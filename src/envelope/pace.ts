/** How often the mirror runs, and how long it rests after a failure. Pure. */
import type { MirrorPace } from "../settings.js";

const RETRY_FIRST_MS = 1_000;
export const RETRY_MAX_MS = 5 * 60_000;

/** Doubles from one second to five minutes; the jitter (0 to 1) keeps envelopes from coming back all at once. */
export function nextAttemptMs(failures: number, jitter: number): number {
  const delay = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures - 1, 30));
  return Math.round(delay * (0.5 + jitter / 2));
}

/**
 * How long an entry waits for company, so that one alarm and one cursor row serve many: a little after an idle time; while an
 * envelope is busy, for some time since its last shipment. A clock that was set back makes no pause longer.
 */
export function gatheringMs({ wait_ms, apart_ms }: MirrorPace, since_last_ms: number): number {
  return Math.max(wait_ms, apart_ms - Math.max(0, since_last_ms));
}
