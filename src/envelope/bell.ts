/**
 * When the one alarm of an envelope goes off: for the mirror, for a card that is to be charged, for a page to be folded. And what
 * the mirror has to tell besides entries: how often this envelope said no.
 */
import type { RefusalReason } from "../contract.js";
import { type MirrorPace, mirrorPace } from "../settings.js";
import { gatheringMs, RETRY_MAX_MS } from "./pace.js";
import { Refusals } from "./refusals.js";

/** Refusals that no entry takes along are told this much later. */
export const REFUSALS_DELAY_MS = 60_000;

export class Bell {
  readonly refusals = new Refusals();
  /** When the mirror last sent something. */
  shippedAt_ms = 0;
  /** Before this, no write asks an aggregate that is down. */
  mirrorNotBefore = 0;
  /** Wakes the alarm that is running. */
  poke: (() => void) | undefined;
  /** An alarm is on its way that tells the refusals. */
  tellsRefusals = false;
  readonly #storage: DurableObjectStorage;
  readonly #waitUntil: (work: Promise<unknown>) => void;
  readonly #pace: MirrorPace;
  /** When it goes off. Unknown on waking, so that the first write arms it again: a lost alarm delays work, never stops it. */
  #at_ms: number | undefined;

  constructor(ctx: DurableObjectState, env: unknown) {
    this.#storage = ctx.storage;
    this.#waitUntil = (work) => ctx.waitUntil(work);
    this.#pace = paceOf(env);
  }

  /** Un-awaited on purpose: in the turn of the write, the alarm and the entry become durable together or not at all. */
  arm(delay_ms: number): void {
    const at_ms = Date.now() + delay_ms;
    if (this.#at_ms !== undefined && this.#at_ms <= at_ms) return;
    this.#at_ms = at_ms;
    void this.#storage.setAlarm(at_ms);
  }

  armMirror(): void {
    this.arm(Math.max(this.gathering(), this.mirrorWaits()));
  }

  armNow(): void {
    this.poke?.();
    this.arm(0);
  }

  /** It rings: whatever is written from now on is looked after at the end. */
  rings(): void {
    this.#at_ms = 0;
  }

  /** It is silent again, and may be armed. */
  rang(): void {
    this.#at_ms = undefined;
    this.poke = undefined;
  }

  gathering(): number {
    return gatheringMs(this.#pace, Date.now() - this.shippedAt_ms);
  }

  /** How long an aggregate that was down is still left alone for; never longer than the longest pause, whatever the clock does. */
  mirrorWaits(): number {
    return Math.min(RETRY_MAX_MS, Math.max(0, this.mirrorNotBefore - Date.now()));
  }

  /** Counted in memory; where no alarm is to come that takes it along, one is set. Nobody waits for it. */
  countRefusal(reason: RefusalReason): void {
    this.refusals.count(reason);
    const delay_ms = Math.max(REFUSALS_DELAY_MS, this.mirrorWaits());
    const at_ms = Date.now() + delay_ms;
    if (this.tellsRefusals || (this.#at_ms !== undefined && this.#at_ms <= at_ms)) return;
    this.tellsRefusals = true;
    this.#armUnlessSet(delay_ms, at_ms);
  }

  /** For what only tidies: an alarm that was set before, and rings earlier, is left as it is. */
  armLater(delay_ms: number): void {
    if (this.#at_ms === undefined) this.#armUnlessSet(delay_ms, Date.now() + delay_ms);
    else this.arm(delay_ms);
  }

  /** Asked first, because after waking an earlier alarm may be set that is not known here. */
  #armUnlessSet(delay_ms: number, at_ms: number): void {
    const arm = async () => {
      const set = await this.#storage.getAlarm();
      if (set === null || set > at_ms) this.arm(delay_ms);
    };
    this.#waitUntil(arm());
  }
}

/** A fault in how often the mirror runs must not stop a charge. */
function paceOf(env: unknown): MirrorPace {
  try {
    return mirrorPace(env);
  } catch (error) {
    console.error("with-envelope:", (error as Error).message);
    return mirrorPace({});
  }
}
