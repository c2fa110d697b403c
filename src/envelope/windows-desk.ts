/**
 * Windows and budgets: what limits spending besides the balance, in the turn of a charge; and what an owner settles about them. Opened on
 * waking where there is a window or no balance, so that nothing is charged without it (desks.ts).
 */
import { writeAudit } from "../audit-rows.js";
import type { ConfigureInput, ConfigureOutcome, EnvelopeSettings, WindowView } from "../contract.js";
import { ledgerDays } from "../copy-settings.js";
import type { Micros } from "../money.js";
import { randomBase62 } from "../secrets.js";
import type { WatchedWindow } from "./alerts.js";
import { decideConfiguration, wasSettled } from "./configuration.js";
import { retentionMs } from "./folding.js";
import { found } from "./founding.js";
import type { Account, Draft, Headroom } from "./ledger.js";
import type { Office } from "./office.js";
import { OwnersBook } from "./owners.js";
import type { Store, WindowKeeper } from "./store.js";
import {
  advance,
  begin,
  book,
  type Counted,
  countsTheSame,
  headroomOf,
  periodOf,
  spanMs,
  tallyOf,
  viewOf,
  type Window,
  watchedOf,
} from "./windows.js";
import { WindowsBook } from "./windows-book.js";

export class WindowsDesk implements WindowKeeper {
  readonly #office: Office;
  readonly #store: Store;
  readonly #book: WindowsBook;
  #windows: readonly Window[] | undefined;
  /** As of `#at_ms`; unknown on waking. */
  #counted: readonly Counted[] | undefined;
  #at_ms = 0;
  /** What is counted once the entry is written that was asked about. */
  #next: readonly Counted[] = [];

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#book = new WindowsBook(office.store);
    this.#store.windows = this;
  }

  get #all(): readonly Window[] {
    this.#windows ??= this.#book.windows();
    return this.#windows;
  }

  get span_ms(): number {
    return Math.max(0, ...this.#all.map(({ rule }) => spanMs(rule) ?? 0));
  }

  reload(): void {
    this.#windows = undefined;
    this.#counted = undefined;
  }

  #at(at_ms: number): readonly Counted[] {
    // Where a clock was set back, and nothing was booked since: as on waking.
    if (this.#counted === undefined || at_ms < this.#at_ms) {
      const newest = this.#all.length === 0 ? undefined : this.#book.newest();
      this.#counted = this.#all.map((window) => begin(window, newest?.tallies ?? [], this.#book, at_ms));
    } else if (this.#counted.some(({ count }) => at_ms >= ("leaves_ms" in count ? count.leaves_ms : count.end_ms))) {
      this.#counted = this.#counted.map((one) => advance(one, this.#book, at_ms));
    }
    this.#at_ms = at_ms;
    return this.#counted;
  }

  account(plain: Account, at_ms: number): Account {
    const windows = this.#at(at_ms).map((one) => headroomOf(one, plain.held_micros, this.#book));
    if (this.#store.named.prepaid) return windows.length === 0 ? plain : { ...plain, limits: windows };
    const { currency } = this.#store.head;
    return { ...plain, budget: true, currency, limits: [this.#bound(plain, windows.length > 0), ...windows] };
  }

  /** A budget without a window admits nothing; one with windows, no more than its ledger can hold. */
  #bound({ balance_micros, held_micros }: Account, limited: boolean): Headroom {
    const left = limited ? Number.MAX_SAFE_INTEGER + Math.min(0, balance_micros) : 0;
    return { reason: "window", admits_micros: (left - held_micros) as Micros, resets_at_ms: null, window_id: null };
  }

  count({ kind, amount_micros, ref_seq }: Draft, seq: number, at_ms: number): string | null {
    const counted = this.#at(at_ms);
    if (counted.length === 0) return null;
    const charge = kind === "refund" && ref_seq !== undefined ? this.#book.row(ref_seq) : undefined;
    this.#next = counted.map((one) => book(one, { seq, at_ms, kind, amount_micros }, charge));
    return JSON.stringify(this.#next.map(tallyOf));
  }

  counted(): void {
    if (this.#all.length > 0) this.#counted = this.#next;
  }

  views(held_micros: Micros, at_ms: number): readonly WindowView[] {
    return this.#at(at_ms).map((one) => viewOf(one, held_micros, this.#book, at_ms));
  }

  watched(at_ms: number): readonly WatchedWindow[] {
    return this.#at(at_ms).map(watchedOf);
  }

  async configure(input: ConfigureInput): Promise<ConfigureOutcome> {
    const now = Date.now();
    const owners = new OwnersBook(this.#store.sql);
    const done = this.#store.exists ? (owners.done(input.key) as EnvelopeSettings | undefined) : undefined;
    if (done !== undefined) {
      const same = Array.isArray(done.windows) && wasSettled(input, done) && owners.isReason(input.key, input.by);
      return same ? { outcome: "replayed", settings: done } : { outcome: "conflict", detail: "key" };
    }
    const before = this.settings();
    const { seq, currency } = this.#store.head;
    const begun = seq > 0 || this.#store.openHolds(now).length > 0;
    const known = { settings: before, currency: begun ? currency : null, begun };
    const decision = decideConfiguration(known, input, () => randomBase62(12), now);
    if ("outcome" in decision) return decision.outcome;
    const settings = this.#store.transaction(() => {
      found(this.#store, this.#office.name, input.currency, now);
      this.#settle(decision.settle, now);
      const after = this.settings();
      if (input.by !== undefined) {
        const { key } = input;
        writeAudit(this.#store.sql, input.by, { action: "configure", before, after, key }, now);
      }
      return after;
    });
    if (before.name !== settings.name || seq === 0) this.#office.tellMirror();
    return { outcome: "configured", settings };
  }

  settings(): EnvelopeSettings {
    return { ...this.#store.named, windows: this.#all.map(({ window_id, rule }) => ({ window_id, ...rule })) };
  }

  #settle({ windows, ...named }: EnvelopeSettings, now: number): void {
    const { prepaid, name, owner_account_id, time_zone } = named;
    this.#store.sql.exec(
      "UPDATE envelope SET prepaid = ?, name = ?, owner_account_id = ?, time_zone = ? WHERE id = 1",
      prepaid ? 1 : 0,
      name,
      owner_account_id,
      time_zone,
    );
    this.#store.named = named;
    const there = this.#all;
    const wanted = windows.map(({ window_id, ...rule }) => {
      const same = there.find((one) => one.window_id === window_id && countsTheSame(one.rule, rule));
      return { same, window_id, rule };
    });
    for (const one of there) if (!wanted.some(({ same }) => same === one)) this.#book.end(one.id, now);
    for (const { same, window_id, rule } of wanted) {
      if (same === undefined) this.#book.file(this.#make(window_id, rule, now), now);
      else if (same.rule.limit_micros !== rule.limit_micros) this.#book.setLimit(same.id, rule.limit_micros);
    }
    this.reload();
  }

  /** A new window, with what was spent in its period before there was one. */
  #make(window_id: string, rule: Window["rule"], now: number): Omit<Window, "id"> {
    const at_ms = this.#store.timeOf(now);
    const { seq } = this.#book.head;
    const window: Window = { id: 0, window_id, rule, since_ms: this.#sinceMs(rule, now), seen: UNSEEN };
    return { ...window, seen: { seq, tally: tallyOf(begin(window, [], this.#book, at_ms)) } };
  }

  /** What is final by now may be folded already, and counts for nothing: but where the period has all of the ledger in it, the sum is known. */
  #sinceMs(rule: Window["rule"], now: number): number {
    const retention_ms = retentionMs(ledgerDays(this.#office.env));
    const first_at_ms = this.#book.row(1)?.at_ms ?? now;
    const whole = spanMs(rule) === undefined && periodOf(rule, this.#store.timeOf(now)).start_ms <= first_at_ms;
    return retention_ms === undefined || whole ? 0 : Math.max(0, now - retention_ms + 1);
  }
}

/** No entry has this number, so nothing is taken to be known. */
const UNSEEN = { seq: -1, tally: [0, 0, 0] } as const;
