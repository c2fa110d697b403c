/** Exports: page after page of what the lists show, as it is asked for, so that no export is ever held as a whole. */

import { unclaimedPage } from "../assigning.js";
import { attempt } from "../attempt.js";
import type { UnclaimedPlace } from "../contract.js";
import { envelopesPage, eventsPage, movementsOf, seriesOf, spendOf } from "../reports.js";
import { envelopeStub } from "../stubs.js";
import { notFound } from "./answers.js";
import type { ExportName } from "./api.js";
import { type Cell, csvLine } from "./csv.js";
import { existing } from "./envelopes.js";
import { noRange, readStretch } from "./figures.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Stretch } from "./range.js";
import type { Params } from "./routes.js";

const PAGE = 500;
/** As many as a shard answers. */
const SUMS_MAX = 1_000;

type Row = Readonly<Record<string, unknown>>;

const COLUMNS = {
  entries: "envelope_id seq at at_ms kind amount_micros balance_micros payment_id ref_seq hold_id spender reason",
  envelopes:
    "envelope_id name currency balance_micros credited_micros granted_micros spent_micros refunded_micros reversed_micros expired_micros frozen first_at_ms last_at_ms applied_seq head_seq",
  unclaimed: "payment_id at at_ms reason client_reference_id currency amount_total livemode event_id assigned_to",
  series:
    "at at_ms charges refusals active credited_micros granted_micros spent_micros refunded_micros reversed_micros disputed_micros expired_micros",
  spend: "reason charges spent_micros",
  movements: "kind reason entries amount_micros",
  envelope:
    "seq at at_ms kind amount_micros balance_micros key payment_id ref_seq hold_id spender reason metadata lots",
} as const satisfies Record<ExportName | "envelope", string>;

/** `…/export/<name>.csv` or `.jsonl` */
export async function exportList({ env, url }: OwnersRequest, { file = "" }: Params): Promise<Response> {
  const [, name, format] = /^(\w+)\.(csv|jsonl)$/.exec(file) ?? [];
  if (name === undefined || !Object.hasOwn(LISTS, name)) return notFound();
  const stretch = readStretch(url);
  if (stretch === undefined) return noRange();
  return stream(file, format, name as ExportName, LISTS[name as ExportName](env, stretch));
}

type Rows = AsyncGenerator<readonly object[]>;

const one = (rows: () => Promise<readonly object[]>): Rows =>
  pages(async () => ({ rows: await rows(), next: undefined }));

/** Those that have no time of their own take no notice of the range. */
const LISTS: Readonly<Record<ExportName, (env: unknown, stretch: Stretch) => Rows>> = {
  entries: (env, { from_ms, to_ms }) =>
    pages(async (cursor?: string) => {
      const page = await eventsPage(env, { from_ms, to_ms, cursor, limit: PAGE });
      return { rows: page.events, next: page.cursor ?? undefined };
    }),
  envelopes: (env) =>
    pages(async (after?: { readonly value: number; readonly envelope_id: string }) => {
      const page = await envelopesPage(env, { order: "id", after, limit: PAGE });
      return { rows: page.envelopes, next: page.after ?? undefined };
    }),
  unclaimed: (env) =>
    pages(async (after?: UnclaimedPlace) => {
      const page = await unclaimedPage(env, { after: after ?? null, limit: PAGE });
      return { rows: page.payments, next: page.next ?? undefined };
    }),
  series: (env, { range: _, ...period }) => one(() => seriesOf(env, period)),
  spend: (env, { from_ms, to_ms }) => one(() => spendOf(env, { from_ms, to_ms, limit: SUMS_MAX })),
  movements: (env, { from_ms, to_ms }) => one(() => movementsOf(env, { from_ms, to_ms, limit: SUMS_MAX })),
};

/** `…/envelopes/:id/entries.csv` or `.jsonl`: the whole ledger, oldest first, from the envelope itself. */
export async function exportEnvelope(asked: OwnersRequest, { id: name, format }: Params): Promise<Response> {
  if (format !== "csv" && format !== "jsonl") return notFound();
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const file = `entries-${found.id}.${format}`;
  return stream(
    file,
    format,
    "envelope",
    pages<number>(async (after = 0) => {
      const rows = await attempt(() => envelopeStub(asked.env, found.id).entries({ after, limit: PAGE }));
      return { rows, next: rows.length < PAGE ? undefined : rows.at(-1)?.seq };
    }),
  );
}

async function* pages<Cursor>(
  page: (cursor?: Cursor) => Promise<{ readonly rows: readonly object[]; readonly next: Cursor | undefined }>,
): AsyncGenerator<readonly object[]> {
  let next: Cursor | undefined;
  do {
    const answered = await page(next);
    yield answered.rows;
    next = answered.next;
  } while (next !== undefined);
}

/** A page is fetched when the one before it was taken. A failure breaks the transfer off: half an export must not pass for a whole one. */
async function stream(
  file: string,
  format: string | undefined,
  columns: keyof typeof COLUMNS,
  rows: AsyncGenerator<readonly object[]>,
): Promise<Response> {
  const names = COLUMNS[columns].split(" ");
  const write = format === "csv" ? (row: Row) => csvLine(names.map((name) => cellOf(row, name))) : jsonLine;
  const encoder = new TextEncoder();
  // Asked for before anything is answered, so that what cannot be had at all is a problem and not a broken file.
  let page: IteratorResult<readonly object[]> | undefined = await rows.next();
  let head = format === "csv" ? csvLine(names) : "";
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      // A stream that was given nothing is not asked again, so an empty page is not the end of a turn.
      for (let [text, done] = ["", false]; text === "" && !done; page = undefined) {
        page ??= await rows.next();
        done = page.done === true;
        text = head + (page.done ? "" : page.value.map((row) => write(row as Row)).join(""));
        head = "";
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (done) controller.close();
      }
    },
    async cancel() {
      await rows.return(undefined);
    },
  });
  const type = format === "csv" ? "text/csv; charset=utf-8; header=present" : "application/jsonl; charset=utf-8";
  return new Response(body, {
    headers: {
      "Content-Type": type,
      "Content-Disposition": `attachment; filename="${file}"`,
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
    },
  });
}

function jsonLine(row: Row): string {
  return `${JSON.stringify(row)}\n`;
}

/** `at` is for people: the same time as `at_ms`. */
function cellOf(row: Row, name: string): Cell {
  if (name === "at") return typeof row["at_ms"] === "number" ? new Date(row["at_ms"]).toISOString() : null;
  const value = row[name];
  return typeof value === "object" && value !== null ? JSON.stringify(value) : (value as Cell);
}
