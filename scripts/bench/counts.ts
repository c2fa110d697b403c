/** What charges are billed for, counted by SQLite's own counters in a run that is not timed, and what that is at list prices. */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryFolder } from "../lib/folders.ts";
import { readJson, send } from "../lib/http.ts";
import { makeHolder } from "./run.ts";
import { prepare, startStand } from "./stand.ts";

export interface Billed {
  readonly rows_written: number;
  readonly rows_read: number;
  readonly alarms_set: number;
  readonly requests: number;
}

interface Told {
  readonly envelope: Billed;
  readonly aggregate: Billed;
}

/** Cloudflare's list prices, US dollars, November 2026, above what a plan includes: https://developers.cloudflare.com/workers/platform/pricing/ and …/durable-objects/platform/pricing/ */
export const PRICES = {
  worker_request: 0.3e-6,
  worker_cpu_ms: 0.02e-6,
  object_request: 0.15e-6,
  /** 128 MB for a second. */
  object_second: 12.5e-6 * 0.128,
  row_written: 1e-6,
  row_read: 0.001e-6,
} as const;

export async function counts(say: (text: string) => void): Promise<Readonly<Record<string, number>>> {
  const folder = temporaryFolder("bench-counts");
  const stand = await startStand(prepare(folder.path, { BENCH_COUNT: "1" }), join(folder.path, "storage"));
  try {
    const { id, headers } = await makeHolder(stand);
    const take = async (): Promise<Told> =>
      readJson(await send(stand.product, `/stage/counts?id=${id}`)) as unknown as Told;
    const charge = async (extra: Readonly<Record<string, string>> = {}): Promise<void> => {
      const answer = await send(stand.product, "/charge", { headers: { ...headers, ...extra } });
      if (answer.status !== 200) throw new Error(`A charge answered ${answer.status}`);
    };
    await charge();
    await quiet(take);

    say("counting one charge, and one with a key");
    await charge();
    const plain = (await take()).envelope.rows_written;
    await quiet(take);
    await charge({ "Idempotency-Key": "counted" });
    const keyed = (await take()).envelope.rows_written;
    await quiet(take);

    say("counting 10 charges per second, for a minute");
    const slow = await paced({ charge, take, per_second: 10, seconds: 60 });
    await quiet(take);
    say("counting a hot envelope, 500 charges per second");
    const hot = await paced({ charge, take, per_second: 500, seconds: 20 });

    return {
      rows_written_per_charge: plain,
      rows_written_per_keyed_charge: keyed,
      mirror_and_alarm_rows_per_charge_at_10_per_second: rows(slow) - plain,
      rows_read_per_charge_at_10_per_second: rowsRead(slow),
      object_requests_per_charge: requests(slow),
      rows_written_per_hot_charge: rows(hot),
      rows_read_per_hot_charge: rowsRead(hot),
      object_requests_per_hot_charge: requests(hot),
      list_price_per_million_charges_usd: priceOf(hot) * 1e6,
      list_price_per_million_charges_at_10_per_second_usd: priceOf(slow) * 1e6,
    };
  } finally {
    await stand.kill();
    folder.remove();
  }
}

interface PerCharge {
  readonly envelope: Billed;
  readonly aggregate: Billed;
  readonly charges: number;
}

const rows = ({ envelope, aggregate, charges }: PerCharge): number =>
  (envelope.rows_written + envelope.alarms_set + aggregate.rows_written + aggregate.alarms_set) / charges;

const rowsRead = ({ envelope, aggregate, charges }: PerCharge): number =>
  (envelope.rows_read + aggregate.rows_read) / charges;

const requests = ({ envelope, aggregate, charges }: PerCharge): number =>
  (envelope.requests + aggregate.requests) / charges;

/** Milliseconds an object is kept awake by a charge when it is busy all the time, and of CPU in the Worker. Both on the high side of what was seen. */
export const OBJECT_MS = 1;
export const WORKER_CPU_MS = 1;

/** Dollars of one charge with everything it causes: Worker, object, rows in both databases, its share of the mirror. */
function priceOf(counted: PerCharge): number {
  return (
    PRICES.worker_request +
    WORKER_CPU_MS * PRICES.worker_cpu_ms +
    requests(counted) * PRICES.object_request +
    (OBJECT_MS / 1000) * PRICES.object_second +
    rows(counted) * PRICES.row_written +
    rowsRead(counted) * PRICES.row_read
  );
}

async function paced(input: {
  readonly charge: () => Promise<void>;
  readonly take: () => Promise<Told>;
  readonly per_second: number;
  readonly seconds: number;
}): Promise<PerCharge> {
  await input.take();
  const charges = input.per_second * input.seconds;
  const under_way: Promise<void>[] = [];
  const began_ms = performance.now();
  for (let made = 0; made < charges; made++) {
    const due_ms = began_ms + (made / input.per_second) * 1000;
    if (due_ms > performance.now()) await sleep(due_ms - performance.now());
    under_way.push(input.charge());
  }
  await Promise.all(under_way);
  // The mirror of the last charges belongs to them. Asked all the while: an object that sleeps forgets what it counted.
  const total = { envelope: { ...NOTHING }, aggregate: { ...NOTHING } };
  for (let waited_ms = 0; waited_ms <= MIRRORED_MS; waited_ms += POLL_MS) {
    await sleep(POLL_MS);
    const { envelope, aggregate } = await input.take();
    add(total.envelope, envelope);
    add(total.aggregate, aggregate);
  }
  if (total.envelope.rows_written < charges) throw new Error("The counters were lost: an object was put to sleep");
  return { ...total, charges };
}

const NOTHING = { rows_written: 0, rows_read: 0, alarms_set: 0, requests: 0 };

function add(total: { -readonly [name in keyof Billed]: Billed[name] }, more: Billed): void {
  for (const name of Object.keys(total) as (keyof Billed)[]) total[name] += more[name];
}

const MIRRORED_MS = 12_000;
const POLL_MS = 1_000;

/** Until nothing is written any more. */
async function quiet(take: () => Promise<Told>): Promise<void> {
  for (let waited_ms = 0; waited_ms <= MIRRORED_MS; waited_ms += POLL_MS) {
    await sleep(POLL_MS);
    await take();
  }
}
