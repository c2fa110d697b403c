/**
 * Folding, one page at a time: the archive first, then the fold, in one turn. It runs beside the alarm that starts it, because an
 * alarm cannot ring while it runs, and an archive may be slow: neither the mirror nor a top-up waits for it.
 */
import type { ArchivePage } from "../contract.js";
import { ENTRIES_KEPT } from "./constants.js";
import { foldableAtMs, nextPage, pageName, type Stretch } from "./folding.js";
import type { LedgerBook } from "./ledger-book.js";
import { nextAttemptMs, RETRY_MAX_MS } from "./pace.js";
import type { Store } from "./store.js";

/** Between two pages, so that catching up on years leaves the object to its users. */
const PAUSE_MS = 250;
/** While a page is under way the alarm looks after it this often: nothing else would, if the object died. */
const WATCH_MS = 60_000;
/** What is due later than this is looked at again then: the setting may be shorter by that time. */
const LOOK_AGAIN_MS = 30 * 24 * 3_600_000;

interface FolderPorts {
  readonly name: () => string;
  readonly now: () => number;
  /** `undefined`: nothing is folded. Throws where the setting is wrong. */
  readonly retention_ms: () => number | undefined;
  readonly archive: (page: ArchivePage) => Promise<void>;
  readonly armAlarm: (delay_ms: number) => void;
}

export class Folder {
  readonly #store: Store;
  readonly #ledger: LedgerBook;
  readonly #ports: FolderPorts;
  #busy = false;
  #failures = 0;
  #toldSetting = false;
  /** After a failure, or a page: no page begins before this. */
  #notBefore = 0;

  constructor(store: Store, ledger: LedgerBook, ports: FolderPorts) {
    this.#store = store;
    this.#ledger = ledger;
    this.#ports = ports;
  }

  isDue(): boolean {
    return !this.#busy && this.#waits() === 0;
  }

  /** Begins a page, if one is due, and answers in how many milliseconds to come back. */
  start(): number | undefined {
    if (this.isDue()) void this.#fold();
    return this.#busy ? WATCH_MS : this.#waits();
  }

  /** How long until a page is due; `undefined` while there is none. */
  #waits(): number | undefined {
    const due = this.#due();
    if (due === undefined) return undefined;
    // Never longer than the longest pause, whatever the clock does.
    const pause_ms = Math.min(RETRY_MAX_MS, Math.max(0, this.#notBefore - this.#ports.now()));
    return Math.min(LOOK_AGAIN_MS, Math.max(pause_ms, due.at_ms - this.#ports.now()));
  }

  #due(): { readonly page: Stretch; readonly at_ms: number } | undefined {
    const page = this.#store.exists ? nextPage(this.#store.head, ENTRIES_KEPT) : undefined;
    if (page === undefined) return undefined;
    let retention_ms: number | undefined;
    try {
      retention_ms = this.#ports.retention_ms();
    } catch (error) {
      // Once in an object's life: a setting changes with a deployment, and that makes a new one.
      if (!this.#toldSetting) console.error("with-envelope: nothing is folded", error);
      this.#toldSetting = true;
      return undefined;
    }
    if (retention_ms === undefined) return undefined;
    // What a rolling window still counts one by one stays, however long that is.
    const kept_ms = Math.max(retention_ms, this.#store.windows?.span_ms ?? 0);
    return { page, at_ms: foldableAtMs(this.#ledger.atOf(page.last_seq), kept_ms) };
  }

  async #fold(): Promise<void> {
    const page = this.#due()?.page;
    if (page === undefined) return;
    this.#busy = true;
    try {
      const archived = this.#ledger.page(page);
      const { currency } = this.#store.head;
      const envelope_id = this.#ports.name();
      const name = pageName(envelope_id, page);
      await this.#ports.archive({ name, envelope_id, currency: currency ?? "", ...page, entries: archived.entries });
      // Meanwhile the mirror may have been asked to begin anew: then this page comes again later.
      if (this.#due()?.page.last_seq === page.last_seq) this.#ledger.fold(page, archived.sums);
      this.#failures = 0;
      this.#notBefore = this.#ports.now() + PAUSE_MS;
    } catch (error) {
      this.#failures += 1;
      console.error("with-envelope: folding will be retried", error);
      this.#notBefore = this.#ports.now() + nextAttemptMs(this.#failures, Math.random());
    } finally {
      this.#busy = false;
    }
    const delay_ms = this.#waits();
    if (delay_ms !== undefined) this.#ports.armAlarm(delay_ms);
  }
}
