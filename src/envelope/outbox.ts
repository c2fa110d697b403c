/** The mirror's sending side: the ledger is the outbox, a cursor over `seq` says how far the aggregate has it. */
import type { AggregateApi } from "../contract.js";
import type { LedgerBook } from "./ledger-book.js";
import type { Refusals } from "./refusals.js";
import type { Store } from "./store.js";

/** With the longest reasons, escaped, still below the 2 MB that the aggregate's row for it may take. */
const BATCH_MAX = 500;
const BATCHES_PER_RUN_MAX = 20;
/** What an envelope remembers between shipments, in memory. */
export interface Shipping {
  readonly refusals: Refusals;
  /** Entries up to here were sent before: whoever had them lost them. */
  again_to: number;
  /** When the last batch was sent. Rises, also where the clock does not. */
  told_at_ms: number;
  /** Notes in the directory that this envelope has a ledger. */
  readonly enrol: () => Promise<void>;
}

/**
 * Sends what is past the cursor, and moves the cursor to where the aggregate says it is. True when more is left of what there was. An aggregate
 * that asks for earlier entries gets them, once a run; one that takes nothing is an error, so that the next attempt waits.
 */
export async function shipEntries(
  store: Store,
  ledger: LedgerBook,
  aggregate: AggregateApi,
  envelope_id: string,
  shipping: Shipping,
): Promise<boolean> {
  let [rewound, greeted] = [false, false];
  // What comes while it runs waits for company: or a busy envelope would send it a few at a time, without a rest.
  const until = store.head.seq;
  for (let batch = 0; batch < BATCHES_PER_RUN_MAX; batch++) {
    const { seq, mirrored_seq, currency } = store.head;
    const refusals = shipping.refusals.take();
    // One that was made and has no entry yet is told of all the same.
    const greets = seq === 0 && !greeted;
    if (currency === null || (mirrored_seq >= until && refusals === undefined && !greets)) return false;
    // From the beginning: now or never is it known that there is something to lose.
    if (mirrored_seq === 0) await shipping.enrol();
    const entries = ledger.unmirrored(BATCH_MAX);
    const opening = ledger.opening();
    const told = whatIsTold(store);
    shipping.told_at_ms = Math.max(Date.now(), shipping.told_at_ms + 1);
    const { next_seq, overtaken_by_ms } = await aggregate.mirror({
      envelope_id,
      currency,
      entries,
      head_seq: seq,
      ...told,
      ...(store.named.prepaid ? {} : { budget: true }),
      told_at_ms: shipping.told_at_ms,
      again: (entries.at(-1)?.seq ?? 0) <= shipping.again_to,
      ...(opening && { opening }),
      ...(refusals && { refusals }),
    });
    // Told by a clock that was set back, or has not ticked since an eviction: it looked old, and is told again.
    const late = overtaken_by_ms !== undefined;
    if (late) shipping.told_at_ms = Math.max(shipping.told_at_ms, overtaken_by_ms);
    if (refusals !== undefined && !late && Number.isSafeInteger(next_seq)) shipping.refusals.told();
    if (next_seq <= mirrored_seq + 1 && !(entries.length === 0 && next_seq === mirrored_seq + 1)) {
      if (rewound || next_seq > mirrored_seq) throw new Error(`The aggregate does not take entry ${next_seq}`);
      rewound = true;
      shipping.again_to = Math.max(shipping.again_to, mirrored_seq);
    }
    // So is what changed meanwhile: with the newest entry, once more.
    const now = whatIsTold(store);
    const untold = late || now.frozen !== told.frozen || now.name !== told.name;
    greeted = !untold;
    store.setMirrored(Math.max(0, Math.min(next_seq - 1, store.head.seq - (untold ? 1 : 0))));
  }
  return store.head.mirrored_seq < until;
}

/** Besides entries. */
function whatIsTold(store: Store): { readonly frozen: boolean; readonly name: string | null } {
  return { frozen: store.account(Date.now()).frozen, name: store.named.name };
}
