/**
 * What one shard of the aggregate does. The rule says which entries of a batch to take, the store adds them to all sums in one
 * transaction, reports read the sums. Loaded with the first call of its object.
 */
import type { MirrorBatch, MirrorOutcome, RebuildPage } from "../contract.js";
import { rawEventDays } from "../copy-settings.js";
import { hasSchema, migrate } from "../migrate.js";
import { inParallel } from "../parallel.js";
import { envelopeStub } from "../stubs.js";
import { DAY_MS, HOUR_MS } from "./calendar.js";
import { type Applied, applyBatch, NO_SUMMARY } from "./mirror.js";
import { AGGREGATE_MIGRATIONS } from "./schema.js";
import { AggregateStore, type Copy, type Told } from "./store.js";
import { forgetCopies, type Missing, nextPullMs, prune, sumUpKeys, takeMissing } from "./upkeep.js";

/** An envelope that is known to be behind for this long is asked; and again after as long. */
const PULL_AFTER_MS = 2 * 60_000;
const PULLS_PER_RUN = 50;
const CALLS_AT_ONCE = 8;
const PAGE_MAX = 500;
const PRUNE_EVERY_MS = 6 * HOUR_MS;
const PRUNE_STEP_MS = 1_000;

export class Copies {
  readonly #env: Cloudflare.Env;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly #store: AggregateStore;
  /** When the alarm goes off; unknown on waking. */
  #alarmAt: number | undefined;
  #ready = false;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    this.#env = env;
    this.#storage = ctx.storage;
    this.#sql = ctx.storage.sql;
    this.#store = new AggregateStore(this.#sql);
    if (this.exists) this.#create();
  }

  async mirror(batch: MirrorBatch): Promise<MirrorOutcome> {
    this.#create();
    const now = Date.now();
    const before = this.#store.copy(batch.envelope_id);
    const applied = applyBatch(before ?? NO_SUMMARY, batch.opening, batch.entries);
    const told = whatIsTold(batch, before, applied, now);
    try {
      this.#storage.transactionSync(() => this.#file(batch, before, applied, told, now));
    } catch (error) {
      this.#store.forget();
      throw error;
    }
    this.#armAlarm(Math.min(told.pull_at_ms ?? Number.POSITIVE_INFINITY, now + PRUNE_EVERY_MS));
    const next_seq = applied.summary.applied_seq + 1;
    return isOvertaken(batch, before) ? { next_seq, overtaken_by_ms: told.told_at_ms } : { next_seq };
  }

  #file(batch: MirrorBatch, before: Copy | undefined, applied: Applied, told: Told, now: number): void {
    if (batch.refusals !== undefined && told.refusals_id !== (before?.refusals_id ?? null)) {
      this.#store.refuse(batch.refusals.by_limit, now);
    }
    if (applied.entries.length > 0 || applied.opened !== undefined || isNews(told, before))
      this.#store.file(batch, before, applied, told, now);
    else this.#store.count(applied, now);
  }

  copy(envelope_id: string): Copy | undefined {
    return this.#store.copy(envelope_id);
  }

  get exists(): boolean {
    return hasSchema(this.#storage);
  }

  async rebuild(input: {
    readonly cursor: string | null;
    readonly limit: number;
    readonly also?: readonly string[];
  }): Promise<RebuildPage> {
    this.#create();
    const now = Date.now();
    if (input.cursor === null) {
      this.#storage.transactionSync(() => forgetCopies(this.#sql, now, now + PULL_AFTER_MS));
      this.#store.forget();
      this.#armAlarm(now + PULL_AFTER_MS);
    }
    const limit = Math.max(0, Math.min(input.limit, PAGE_MAX));
    const known = this.#sql
      .exec(
        "SELECT envelope_id, applied_seq FROM envelope_summary WHERE envelope_id > ? ORDER BY envelope_id LIMIT ?",
        input.cursor ?? "",
        limit,
      )
      .toArray() as unknown as Missing[];
    const others = (input.also ?? []).map((envelope_id) => {
      return { envelope_id, applied_seq: this.#store.copy(envelope_id)?.applied_seq ?? 0 };
    });
    const unreachable = await this.#ask([...known, ...others]);
    const cursor = limit > 0 && known.length === limit ? (known.at(-1)?.envelope_id ?? null) : null;
    return { asked: known.length + others.length, unreachable, cursor };
  }

  async drop(): Promise<void> {
    this.#ready = false;
    this.#alarmAt = undefined;
    this.#store.forget();
    await this.#storage.deleteAlarm();
    await this.#storage.deleteAll();
  }

  /** Asks envelopes to send what follows on what is here. Answers who could not be asked. */
  async #ask(envelopes: readonly Missing[]): Promise<string[]> {
    const answers = await inParallel(envelopes, CALLS_AT_ONCE, async ({ envelope_id, applied_seq }) => {
      try {
        await envelopeStub(this.#env, envelope_id).ship({ after: applied_seq });
        return [];
      } catch {
        return [envelope_id];
      }
    });
    return answers.flat();
  }

  async alarm(): Promise<void> {
    // Whatever comes in while it runs is looked after at its end.
    this.#alarmAt = 0;
    let next = Date.now() + PRUNE_EVERY_MS;
    try {
      if (!this.exists) return;
      const now = Date.now();
      await this.#ask(takeMissing(this.#sql, now, now + PULL_AFTER_MS, PULLS_PER_RUN));
      const more = [prune(this.#storage, now - rawEventDays(this.#env) * DAY_MS), sumUpKeys(this.#storage, now)];
      if (more.includes(true)) next = Date.now() + PRUNE_STEP_MS;
    } catch (error) {
      // Caught, because the platform gives an alarm up after six failures.
      console.error("with-envelope: the aggregate's upkeep will be retried", error);
    } finally {
      this.#alarmAt = undefined;
    }
    this.#armAlarm(next);
  }

  /** Un-awaited on purpose: in the turn of the write, both become durable together. */
  #armAlarm(at_ms: number): void {
    if (this.#alarmAt !== undefined && this.#alarmAt <= at_ms) return;
    // Dropped meanwhile.
    if (this.#alarmAt === undefined && !this.exists) return;
    // Not known any more, after waking: what is waiting may be due before this.
    const due = this.#alarmAt === undefined ? (nextPullMs(this.#sql) ?? at_ms) : at_ms;
    this.#alarmAt = Math.max(Math.min(due, at_ms), Date.now());
    void this.#storage.setAlarm(this.#alarmAt);
  }

  #create(): void {
    if (this.#ready) return;
    migrate(this.#storage, AGGREGATE_MIGRATIONS, Date.now());
    this.#ready = true;
  }
}

/** What a batch tells besides its entries. */
function whatIsTold(
  batch: MirrorBatch,
  before: Copy | undefined,
  { summary, entries }: Pick<Applied, "summary" | "entries">,
  now: number,
): Told {
  const sent = batch.entries.at(-1)?.seq ?? 0;
  const head_seq = Math.max(before?.head_seq ?? 0, batch.head_seq ?? 0, sent, summary.applied_seq);
  const behind = head_seq > summary.applied_seq;
  // What follows comes at once as a rule: only one who brings nothing keeps the turn it had.
  const pull_at_ms = entries.length > 0 ? now + PULL_AFTER_MS : (before?.pull_at_ms ?? now + PULL_AFTER_MS);
  const known = {
    frozen: before?.frozen ?? 0,
    name: before?.name ?? null,
    refusals_id: before?.refusals_id ?? null,
    told_at_ms: before?.told_at_ms ?? 0,
  };
  const news = {
    frozen: batch.frozen === undefined ? known.frozen : batch.frozen ? 1 : 0,
    name: batch.name === undefined ? known.name : batch.name,
    refusals_id: batch.refusals?.id ?? known.refusals_id,
    told_at_ms: batch.told_at_ms ?? known.told_at_ms,
  };
  return {
    head_seq,
    ...(isOvertaken(batch, before) ? known : news),
    behind_since_ms: behind ? behindSince(batch, before, { summary, entries }, now) : null,
    pull_at_ms: behind ? pull_at_ms : null,
  };
}

/** Came after one that was sent later, or once more. A clock that was set back makes nobody late who has new entries. */
function isOvertaken({ told_at_ms, head_seq = 0 }: MirrorBatch, before: Copy | undefined): boolean {
  return (
    before !== undefined && told_at_ms !== undefined && told_at_ms <= before.told_at_ms && head_seq <= before.head_seq
  );
}

/** The oldest entry that is missing is no older than the one it follows, nor younger than one behind it that had to wait. */
function behindSince(
  batch: MirrorBatch,
  before: Copy | undefined,
  { summary, entries }: Pick<Applied, "summary" | "entries">,
  now: number,
): number {
  const known = before?.behind_since_ms ?? undefined;
  if (entries.length > 0) return Math.min(now, Math.max(known ?? 0, summary.last_at_ms));
  const waiting = batch.entries.find(({ seq }) => seq > summary.applied_seq)?.at_ms ?? now;
  return known ?? Math.min(now, waiting);
}

function isNews(told: Told, before: Copy | undefined): boolean {
  if (before === undefined) return told.head_seq > 0 || told.told_at_ms > 0;
  return (Object.keys(told) as (keyof Told)[]).some((name) => told[name] !== before[name]);
}
