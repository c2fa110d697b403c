/** The Worker of `scripts/bench/aggregate.ts`: sends a shard what many busy envelopes would, and asks it what the owner would. */
import { exports } from "cloudflare:workers";
import type { EnvelopeAggregate } from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

type Batch = Parameters<EnvelopeAggregate["mirror"]>[0];
type Entry = Batch["entries"][number];

const REASONS = Array.from({ length: 20 }, (_, i) => `GET /v1/resource-${i}`);
const GRANT = 1e12;
/** Between two entries of an envelope. */
const PACE_MS = 100;

/** Where each envelope's ledger ends. */
const ledgers = new Map<number, { seq: number; balance: number }>();

function shard(): EnvelopeAggregate {
  const objects = exports as unknown as Record<string, { getByName(name: string): EnvelopeAggregate }>;
  return objects["EnvelopeAggregate"]?.getByName("aggregate-0") as EnvelopeAggregate;
}

/** `size` entries that follow on what the envelope had, beginning at a time: charges, and one in fifty given back. */
function batchOf(envelope: number, size: number, from_ms: number): Batch {
  const ledger = ledgers.get(envelope) ?? { seq: 0, balance: 0 };
  ledgers.set(envelope, ledger);
  const entries = Array.from({ length: size }, (_, i): Entry => {
    ledger.seq += 1;
    const kind = ledger.seq === 1 ? "grant" : ledger.seq % 50 === 0 ? "refund" : "charge";
    const amount = kind === "grant" ? GRANT : kind === "refund" ? 50 : -(100 + (ledger.seq % 900));
    ledger.balance += amount;
    const reason = REASONS[(envelope + Math.floor(ledger.seq / 200)) % REASONS.length] ?? null;
    return {
      seq: ledger.seq,
      at_ms: from_ms + i * PACE_MS,
      kind,
      amount_micros: amount as Entry["amount_micros"],
      balance_micros: ledger.balance as Entry["balance_micros"],
      reason: kind === "charge" ? reason : null,
      payment_id: null,
      ref_seq: kind === "refund" ? ledger.seq - 1 : null,
      hold_id: null,
      charge_reason: kind === "refund" ? reason : null,
    };
  });
  const id = `bench${String(envelope).padStart(17, "0")}`;
  return { envelope_id: id, currency: "usd", entries, head_seq: ledger.seq, frozen: false };
}

/** Batches `from` up to `to`, spread evenly over the time; the shard is busy all along, as several are on their way. */
async function ingest(asked: URLSearchParams): Promise<{ readonly entries: number }> {
  const number = (name: string) => Number(asked.get(name));
  const [to, size, envelopes] = [number("to"), number("size"), number("envelopes")];
  let next = number("from");
  const begin = number("begin_ms");
  const sender = async () => {
    for (let at = next++; at < to; at = next++) {
      await shard().mirror(batchOf(at % envelopes, size, begin + Math.floor(at * number("step_ms"))));
    }
  };
  await Promise.all(Array.from({ length: 4 }, sender));
  return { entries: (to - number("from")) * size };
}

async function report(name: string, asked: URLSearchParams): Promise<unknown> {
  const period = { from_ms: Number(asked.get("from_ms")), to_ms: Number(asked.get("to_ms")) };
  if (name === "/overview") return shard().overview();
  if (name === "/hours") return shard().series({ ...period, step: "hour" });
  if (name === "/days") return shard().series({ ...period, step: "day" });
  if (name === "/spend") return shard().spend({ ...period, limit: 20 });
  if (name === "/envelopes") return shard().envelopes({ order: "spent", limit: 50 });
  if (name === "/events") return shard().events({ ...period, limit: 50 });
  if (name === "/cohorts") return shard().cohorts();
  return shard().health();
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/ingest") return Response.json(await ingest(searchParams));
    return Response.json(await report(pathname, searchParams));
  },
} satisfies ExportedHandler;
