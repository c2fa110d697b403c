/**
 * The rules of folding: old charges become a checkpoint, page by page. Pure, like ledger.ts.
 *
 * A page is a fixed stretch of numbers, so that whoever is interrupted begins the same page again, under the same name. What
 * folding may never do is change an answer: so a charge is closed by its age, folded or not, and only then is it folded.
 */

/** One page is one transaction of the alarm: some milliseconds of the object's time. */
export const PAGE_ENTRIES = 1_000;

const DAY_MS = 24 * 3_600_000;

/** Folded this much later than closed: a clock that is set back by less opens no charge again whose row is gone. */
const CLOCK_SLACK_MS = DAY_MS;

export function retentionMs(days: number | undefined): number | undefined {
  return days === undefined ? undefined : days * DAY_MS;
}

/** A closed charge cannot be given back any more. */
export function isClosed(charge_at_ms: number, now_ms: number, retention_ms: number | undefined): boolean {
  return retention_ms !== undefined && now_ms - charge_at_ms >= retention_ms;
}

export interface Stretch {
  readonly first_seq: number;
  readonly last_seq: number;
}

/** The next page, where the aggregate has all of it and no retry looks for anything in it. Age is another matter. */
export function nextPage(
  {
    seq,
    mirrored_seq,
    folded_seq,
  }: { readonly seq: number; readonly mirrored_seq: number; readonly folded_seq: number },
  entries_kept: number,
): Stretch | undefined {
  const last_seq = folded_seq + PAGE_ENTRIES;
  return last_seq <= Math.min(mirrored_seq, seq - entries_kept) ? { first_seq: folded_seq + 1, last_seq } : undefined;
}

/** When a page may be folded, by the time of its last entry: none of it is younger. */
export function foldableAtMs(last_at_ms: number, retention_ms: number): number {
  return last_at_ms + retention_ms + CLOCK_SLACK_MS;
}

/** 16 digits hold every safe integer, so that names sort like numbers. */
export function pageName(envelope_id: string, { first_seq, last_seq }: Stretch): string {
  const padded = (seq: number) => String(seq).padStart(16, "0");
  return `${envelope_id}/${padded(first_seq)}-${padded(last_seq)}`;
}
