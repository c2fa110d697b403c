/**
 * The Worker of `npm run chaos:mirror`: real envelopes with the real rule for sending, a real aggregate, and between them a line
 * that loses, doubles, delays and reorders what is sent. With CONTROL set, the aggregate takes whatever comes, whenever it comes.
 */
import { exports } from "cloudflare:workers";
import { EnvelopeAggregate as Aggregate, Envelope as RealEnvelope } from "with-envelope";

export { EnvelopeDirectory } from "with-envelope";

type Batch = Parameters<Aggregate["mirror"]>[0];
type Outcome = Awaited<ReturnType<Aggregate["mirror"]>>;
type Sums = Awaited<ReturnType<RealEnvelope["sums"]>>;

/** What happens to the deliveries that go wrong. `overtaken` is answered as if it had arrived, and arrives after later ones. */
const FAULTS = ["lost", "answer lost", "doubled", "kept for later", "overtaken"] as const;
const FAULT_SHARE = 0.3;
const CHARGES_AT_ONCE = 100;

/** The state of the line. One isolate runs all objects, so all of them see it. */
const line = { down: false, faults: true, random: sequence(0), kept: [] as Batch[] };
const counted = {
  refused: 0,
  deliveries: 0,
  down: 0,
  lost: 0,
  "answer lost": 0,
  doubled: 0,
  "kept for later": 0,
  overtaken: 0,
};

// A failed shipment is told each time; here there are tens of thousands of them.
console.error = () => undefined;

export class EnvelopeAggregate extends Aggregate {
  override async mirror(batch: Batch): Promise<Outcome> {
    counted.deliveries += 1;
    if (!line.faults) return this.#take(batch);
    if (line.down) return this.#nothing("down");
    // What was kept arrives after what was sent later.
    if (line.kept.length > 0 && line.random() < 0.05) {
      const [late] = line.kept.splice(Math.floor(line.random() * line.kept.length), 1);
      if (late !== undefined && late.envelope_id !== batch.envelope_id) await deliver(late);
      else if (late !== undefined) await this.#take(late);
    }
    if (line.random() >= FAULT_SHARE) return this.#take(batch);
    const fault = FAULTS[Math.floor(line.random() * FAULTS.length)] ?? "lost";
    if (fault === "doubled") {
      counted.doubled += 1;
      await this.#take(batch);
      return this.#take(batch);
    }
    if (fault === "answer lost") await this.#take(batch);
    if (fault === "kept for later" || fault === "overtaken") line.kept.push(batch);
    if (fault === "overtaken") {
      counted.overtaken += 1;
      return { next_seq: (batch.entries.at(-1)?.seq ?? 0) + 1 };
    }
    return this.#nothing(fault);
  }

  /** For what was kept: without the line in between. */
  late(batch: Batch): Promise<Outcome> {
    return this.#take(batch);
  }

  /** No sound answer. (An exception would be printed by the runtime; to the envelope it is the same.) */
  #nothing(what: keyof typeof counted): Outcome {
    counted[what] += 1;
    return undefined as unknown as Outcome;
  }

  #take(batch: Batch): Promise<Outcome> {
    const { env } = this as unknown as { readonly env: { readonly CONTROL?: string } };
    return env.CONTROL === undefined ? super.mirror(batch) : this.#takeUnchecked(batch);
  }

  /** The control: every entry is numbered so that it follows, and so is applied, whenever and however often it comes. */
  async #takeUnchecked(batch: Batch): Promise<Outcome> {
    const known = await this.envelope({ envelope_id: batch.envelope_id });
    let [seq, balance]: [number, number] = [known?.applied_seq ?? 0, known?.balance_micros ?? 0];
    const entries = batch.entries.map((entry) => {
      seq += 1;
      balance += entry.amount_micros;
      return { ...entry, seq, balance_micros: balance as typeof entry.balance_micros };
    });
    await super.mirror({ ...batch, entries, head_seq: seq });
    return { next_seq: (batch.entries.at(-1)?.seq ?? 0) + 1 };
  }
}

export class Envelope extends RealEnvelope {
  /** Rung by the harness only, so that a seed makes the same choices. */
  override async alarm(): Promise<void> {
    return undefined;
  }

  async ring(): Promise<void> {
    await super.alarm();
  }

  /** Writes about `entries` entries: charges, some of them given back. */
  async work(input: { readonly entries: number; readonly seed: number }): Promise<number> {
    const random = sequence(input.seed);
    const { head_seq: before } = await this.sums({ up_to: 0 });
    const [currency, name] = ["usd", (seq: number) => `${input.seed}.${seq}`];
    await this.freeze({ frozen: false, currency });
    if (before === 0) await this.grant({ op: "first", key: "first", currency, amount_micros: micros(1e12) });
    for (let done = before === 0 ? 1 : 0; done < input.entries; done += CHARGES_AT_ONCE) {
      const number = Math.min(CHARGES_AT_ONCE, input.entries - done);
      const charges = Array.from({ length: number }, (_, i) => {
        const reason = `GET /route/${Math.floor(random() * 12)}/${Math.floor(random() * 1e6)}`;
        return this.charge({ op: name(done + i), currency, amount_micros: micros(1 + random() * 900), reason });
      });
      const answers = await Promise.all(charges);
      for (const answer of answers) {
        if (answer.outcome !== "charged" || answer.seq === null || random() > 0.02) continue;
        const op = `back ${name(answer.seq)}`;
        await this.refund({ op, key: op, charge: { seq: answer.seq } });
      }
    }
    // Said no, now and then, and left frozen until the next round: neither is in the ledger.
    for (let no = Math.floor(random() * 4); no > 0; no--) {
      const { outcome } = await this.charge({ op: name(-no), currency, amount_micros: micros(1e15) });
      if (outcome === "refused") counted.refused += 1;
    }
    if (random() < 0.2) await this.freeze({ frozen: true, currency });
    return (await this.sums({ up_to: 0 })).head_seq;
  }
}

function micros(amount: number): Sums["spent_micros"] {
  return Math.floor(amount) as Sums["spent_micros"];
}

interface Namespaces {
  readonly Envelope: { getByName(name: string): Pick<Envelope, "ring" | "work" | "sums"> };
  readonly EnvelopeAggregate: { getByName(name: string): EnvelopeAggregate };
}

const objects = () => exports as unknown as Namespaces;
const aggregate = () => objects().EnvelopeAggregate.getByName("aggregate-0");
const envelopeAt = (at: number) => objects().Envelope.getByName(nameOf(at));
const nameOf = (at: number) => `chaos-${at}`;

async function deliver(batch: Batch): Promise<void> {
  await aggregate().late(batch);
}

/** Each envelope writes and then sends, twenty at a time. */
async function round(asked: URLSearchParams): Promise<unknown> {
  const number = (name: string) => Number(asked.get(name));
  line.down = asked.get("down") === "true";
  line.random = sequence(number("seed") * 7919 + number("round"));
  const heads = await each(number("envelopes"), async (envelope) => {
    const seed = (number("seed") * 1_000_003 + number("round")) * 1_009 + envelope;
    const stub = envelopeAt(envelope);
    const entries = Math.floor(sequence(seed)() * 2 * number("entries"));
    const head = await stub.work({ entries, seed });
    await stub.ring();
    return head;
  });
  return { entries: heads.reduce((sum, head) => sum + head, 0), counted };
}

/** The line is sound again; what was kept comes in at last. */
async function catchUp(asked: URLSearchParams): Promise<unknown> {
  line.faults = false;
  for (const late of line.kept.splice(0)) await deliver(late);
  const envelopes = Number(asked.get("envelopes"));
  for (let rung = 0; rung < 50; rung++) {
    await each(envelopes, (envelope) => envelopeAt(envelope).ring());
    const { behind } = await aggregate().overview();
    if (behind === 0 && rung > 0) break;
    // As the aggregate's own alarm does for those that have been behind for two minutes.
    const also = Array.from({ length: envelopes }, (_, at) => nameOf(at));
    await aggregate().rebuild({ cursor: "", limit: 0, also });
  }
  const period = { from_ms: 0, to_ms: 2 * Date.now() };
  const refusals = (await aggregate().refusals(period)).reduce((sum, row) => sum + row.refusals, 0);
  return { overview: await aggregate().overview(), health: await aggregate().health(), refusals, counted };
}

async function ledgers(asked: URLSearchParams): Promise<unknown> {
  const up_to = Number.MAX_SAFE_INTEGER;
  return {
    ledgers: await each(Number(asked.get("envelopes")), (one) => envelopeAt(one).sums({ up_to })),
  };
}

async function each<One>(number: number, work: (at: number) => Promise<One>): Promise<One[]> {
  const answers: One[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < number; at = next++) answers[at] = await work(at);
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  return answers;
}

/** mulberry32: enough for choices that a seed repeats. */
function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/round") return Response.json(await round(searchParams));
    if (pathname === "/catch-up") return Response.json(await catchUp(searchParams));
    if (pathname === "/ledgers") return Response.json(await ledgers(searchParams));
    return Response.json(await aggregate().prove({ cursor: searchParams.get("cursor"), limit: 100 }));
  },
} satisfies ExportedHandler;
