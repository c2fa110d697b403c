/** The envelope's alarm: it sends entries to the aggregate, asks Stripe for a top-up that is due, and folds what is old. And the ledger as others read it. */

import { hasWebhook } from "../alert-settings.js";
import type { EntriesInput, Entry, LedgerSums } from "../contract.js";
import { ledgerDays } from "../copy-settings.js";
import { aggregateStub, directoryStub } from "../shards.js";
import { type Bell, REFUSALS_DELAY_MS } from "./bell.js";
import { Folder } from "./folder.js";
import { retentionMs } from "./folding.js";
import { LedgerBook, pageLimit } from "./ledger-book.js";
import type { Office } from "./office.js";
import { type Shipping, shipEntries } from "./outbox.js";
import { nextAttemptMs } from "./pace.js";
import type { Store } from "./store.js";
import type { TopUpDesk } from "./topup-desk.js";

export class MirrorDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #bell: Bell;
  readonly #ledger: LedgerBook;
  readonly #folder: Folder;
  readonly #shipping: Shipping;
  #failedShipments = 0;

  constructor(office: Office) {
    const { store, bell, env } = office;
    this.#office = office;
    this.#store = store;
    this.#bell = bell;
    this.#ledger = new LedgerBook(store);
    this.#folder = new Folder(store, this.#ledger, {
      name: () => office.name,
      now: () => Date.now(),
      retention_ms: () => retentionMs(ledgerDays(env)),
      archive: office.archive,
      armAlarm: (delay_ms) => bell.arm(delay_ms),
    });
    this.#shipping = {
      refusals: bell.refusals,
      again_to: 0,
      told_at_ms: 0,
      enrol: () => directoryStub(env, office.name).enrol({ envelope_id: office.name }),
    };
  }

  /** The one alarm of all that is to be done later. At-least-once is enough for each: done again, it changes nothing. */
  async ring(): Promise<void> {
    // Whatever is written while it runs is looked after at its end.
    this.#bell.rings();
    const { lots, meters } = this.#office.desks.open;
    meters?.bookLapsed(Date.now());
    const lapsed = lots?.sweep(Date.now()) ?? false;
    // Rung for a card, a page to be folded, a grant that expired, or a meter's lease, while the mirror waits for an aggregate that is down. For nothing else: the mirror's
    // own time may be unknown, or of a clock that was set back, and an alarm that does nothing would be rung for ever.
    const other = lapsed || meters?.any || this.#topups?.isDue() || this.#folder.isDue();
    const waits_ms = other ? this.#bell.mirrorWaits() : 0;
    const mirroring = waits_ms > 0 ? Promise.resolve(waits_ms) : this.#mirror();
    // Side by side: neither a slow aggregate nor a slow Stripe holds up the other.
    const [mirrored, sent, announced] = await Promise.allSettled([
      mirroring,
      this.#sendWhile(mirroring),
      this.#announce(),
    ]);
    this.#bell.rang();
    const delays = [mirrored, sent, announced].map((one) => (one.status === "fulfilled" ? one.value : undefined));
    if (this.#store.head.seq > this.#store.head.mirrored_seq) delays[0] ??= this.#bell.gathering();
    if (this.#shipping.refusals.any) delays[0] ??= REFUSALS_DELAY_MS;
    delays.push(this.#folder.start(), lots?.waits(Date.now()), meters?.leaseEnds_ms(Date.now()));
    const [soonest] = delays.filter((delay) => delay !== undefined).sort((one, other) => one - other);
    if (soonest !== undefined) this.#bell.arm(soonest);
    for (const one of [mirrored, sent, announced]) if (one.status === "rejected") throw one.reason;
  }

  /** Alerts go to the owner's webhook, where there is one. */
  async #announce(): Promise<number | undefined> {
    if (!hasWebhook(this.#office.env) || !this.#store.exists) return undefined;
    return (await this.#office.desks.ask("alerts")).send();
  }

  /** Sends what is due, and what becomes due as long as the mirror is at it: an alarm cannot be rung while it runs. */
  async #sendWhile(mirroring: Promise<unknown>): Promise<number | undefined> {
    const mirror = { done: false };
    const ended = () => {
      mirror.done = true;
      this.#bell.poke?.();
    };
    void mirroring.then(ended, ended);
    for (;;) {
      // Made before it looks, so that nothing which becomes due meanwhile is missed.
      const poked = new Promise<void>((resolve) => {
        this.#bell.poke = resolve;
      });
      const delay_ms = await this.#topups?.send();
      if (mirror.done) return delay_ms;
      const timer =
        delay_ms === undefined ? undefined : setTimeout(() => this.#bell.poke?.(), Math.max(1_000, delay_ms));
      await poked;
      clearTimeout(timer);
    }
  }

  /** Where it was never opened, no card is charged. */
  get #topups(): TopUpDesk | undefined {
    return this.#office.desks.open.topups;
  }

  async ship(input: { readonly after: number }): Promise<{ readonly head_seq: number }> {
    const { seq, mirrored_seq } = this.#store.head;
    const after = Math.max(0, Math.trunc(input.after));
    if (this.#store.exists && after < mirrored_seq) {
      this.#shipping.again_to = Math.max(this.#shipping.again_to, mirrored_seq);
      this.#store.setMirrored(after);
    }
    // Whoever asks is up again.
    this.#bell.mirrorNotBefore = 0;
    if (this.#store.exists && (this.#store.head.mirrored_seq < seq || seq === 0)) this.#bell.arm(0);
    return { head_seq: seq };
  }

  async sums(input: { readonly up_to: number }): Promise<LedgerSums> {
    const { seq, mirrored_seq } = this.#store.head;
    const sums = { ...this.#ledger.sums(input.up_to), budget: !this.#store.named.prepaid };
    return mirrored_seq < seq ? sums : { ...sums, frozen: this.#store.account(Date.now()).frozen };
  }

  async entries(input: EntriesInput): Promise<readonly Entry[]> {
    const limit = pageLimit(input.limit);
    return "before" in input ? this.#ledger.newest(input.before, limit) : this.#ledger.entries(input.after, limit);
  }

  /** Ships entries to the aggregate. Answers in how many milliseconds there is more to do. */
  async #mirror(): Promise<number | undefined> {
    try {
      this.#bell.tellsRefusals = false;
      const { env, name } = this.#office;
      const more = await shipEntries(this.#store, this.#ledger, aggregateStub(env, name), name, this.#shipping);
      this.#failedShipments = 0;
      this.#bell.mirrorNotBefore = 0;
      this.#bell.shippedAt_ms = Date.now();
      return more ? 0 : undefined;
    } catch (error) {
      // Caught, because the platform gives an alarm up after six failures; users are served all the same.
      this.#failedShipments += 1;
      console.error("with-envelope: mirroring will be retried", error);
      const delay_ms = nextAttemptMs(this.#failedShipments, Math.random());
      this.#bell.mirrorNotBefore = Date.now() + delay_ms;
      return delay_ms;
    }
  }
}
