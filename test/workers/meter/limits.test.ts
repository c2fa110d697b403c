/** Meters beside what else limits spending, and beside grants that end. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { MeterSession, OpenMeterInput, OpenMeterOutcome } from "../../../src/contract.js";
import { envelopeOf } from "../../../src/index.js";
import { START, Subject } from "../grants/support.js";
import { micros } from "../rules/values.js";
import type { Caller } from "../support.js";
import { decoder, inside, MeteredSite, readAll, streamOf } from "./support.js";

const CENT = 10_000;
const headers = { "Content-Type": "text/event-stream", "X-Price-Per-Message": "1" };
const events = Array.from({ length: 12 }, (_, n) => `data: event ${n}\n\n`);

const story = (options: ConstructorParameters<typeof MeteredSite>[1] = {}) =>
  new MeteredSite(() => new Response(streamOf(...events), { headers }), options);

interface Read {
  readonly events: number;
  /** What the last event says, where the body was cut. */
  readonly problem: Record<string, unknown> | undefined;
}

async function read(response: Response): Promise<Read> {
  const text = decoder.decode((await readAll(response)).bytes);
  const said = /\nevent: error\ndata: (.*)\n\n/.exec(text)?.[1];
  return { events: text.match(/^data: event/gm)?.length ?? 0, problem: said && JSON.parse(said) };
}

/** What was charged, and to which key. */
const spent = ({ id }: Caller) =>
  inside(id, async (_, { storage: { sql } }) =>
    sql.exec("SELECT amount_micros, spender_id FROM entry WHERE kind = 'charge'").toArray(),
  );

async function mint(payer: Caller, body: unknown): Promise<string> {
  const init = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() };
  const made = await payer.fetch("/keys", { method: "POST", body: JSON.stringify(body), headers: init });
  if (made.status !== 201) throw new Error(`${made.status} ${await made.text()}`);
  return (await made.json<{ readonly key: string }>()).key;
}

describe("a limit cuts a body where the balance would not", () => {
  it("T103 a window: exactly what it admits, and paying would not help", async () => {
    const site = story();
    const payer = await site.payer(100);
    await payer.envelope.configure({ windows: [{ window_id: "day", unit: "DAILY", limit: "7" }] });
    const { response, over } = await site.fetch(payer);
    const { events, problem } = await read(response);
    await over();
    expect(events).toBe(7);
    expect(problem).toMatchObject({ status: 402, limit: "window", windowId: "day", canTopUp: false });
    expect(await payer.envelope.state()).toMatchObject({ held_micros: 0, balance_micros: 93 * CENT });
    const { response: next } = await site.fetch(payer);
    expect([next.status, await next.json()]).toMatchObject([402, { limit: "window" }]);
  });

  it("T103 a budget: its window, and no money moves", async () => {
    const site = story({ identify: (request) => request.headers.get("X-Team") ?? undefined });
    const team = envelopeOf(site.site.env, { identity: "metered-team" });
    await team.configure({ prepaid: false, windows: [{ unit: "MONTHLY", limit: "5" }] });
    const response = await site.site.fetch("/", { headers: { "X-Team": "metered-team" } });
    expect(await read(response)).toMatchObject({ events: 5, problem: { limit: "window", balance: "0" } });
    await vi.waitFor(async () => {
      const entries = await team.entries();
      expect(entries.map(({ kind, amount_micros }) => [kind, amount_micros])).toEqual([["usage", -5 * CENT]]);
    });
    expect(await team.state()).toMatchObject({ held_micros: 0, available_micros: 0 });
  });

  it("T63 a key's cap: also of two bodies at once, whose entries say which key it was", async () => {
    const site = story();
    const payer = await site.payer(100);
    const key = await mint(payer, { capacity: "0.09" });
    const by = { headers: { Authorization: `Bearer ${key}` } };
    const both = await Promise.all([1, 2].map(async () => read(await site.site.fetch("/", by))));
    expect(both.reduce((sum, one) => sum + one.events, 0)).toBe(9);
    expect(both.find(({ problem }) => problem !== undefined)?.problem).toMatchObject({ limit: "key", canTopUp: false });
    await vi.waitFor(async () => {
      const entries = await spent(payer);
      expect(entries.reduce((sum, { amount_micros }) => sum + Number(amount_micros), 0)).toBe(-9 * CENT);
      expect(new Set(entries.map(({ spender_id }) => spender_id))).toEqual(new Set([1]));
      expect(await payer.envelope.state()).toMatchObject({ held_micros: 0, balance_micros: 91 * CENT });
    });
  });

  it("T83 a key that is revoked while it pays: what is held is used up", async () => {
    const chunks = new TransformStream<Uint8Array, Uint8Array>();
    const site = new MeteredSite(() => new Response(chunks.readable, { headers }));
    const payer = await site.payer(100);
    const key = await mint(payer, {});
    const response = await site.site.fetch("/", { headers: { Authorization: `Bearer ${key}` } });
    const reading = read(response);
    const id = key.slice("we_k1_".length + 22, "we_k1_".length + 30);
    const named = { "Idempotency-Key": crypto.randomUUID() };
    expect((await payer.fetch(`/keys/${id}`, { method: "DELETE", headers: named })).status).toBe(200);
    const writer = chunks.writable.getWriter();
    writer.write(new TextEncoder().encode(events.join("").repeat(5))).catch(() => undefined);
    expect(await reading).toMatchObject({ events: 20, problem: { status: 401 } });
  });
});

describe("beside grants", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  const slice = (taken: number, units: number) => ({ taken_micros: micros(taken), units, unit_micros: micros(10) });

  /** The object's own session, so that none keeps it awake. */
  const begin = (one: Subject, over: Partial<OpenMeterInput> = {}) =>
    one.inside(async (_, envelope) => {
      const asked = { op: "meter", currency: "usd", slice: slice(0, 3), least_micros: micros(10), lease_ms: 10_000 };
      return (await envelope.openMeter({ ...asked, ...over })) as Extract<OpenMeterOutcome, { outcome: "held" }>;
    });
  const use = (one: Subject, session: MeterSession, used: number, units: number) =>
    one.inside(() => session.use({ used_micros: micros(used), slice: slice(used, units) }));

  async function subject(): Promise<Subject> {
    vi.useFakeTimers({ toFake: ["Date"], now: START });
    const one = new Subject();
    await one.topUp(100);
    return one;
  }

  it("takes what is to be burned first, slice by slice, and gives back what it did not use where it was from", async () => {
    const one = await subject();
    await one.grant(45);
    const { session } = await begin(one);
    await use(one, session, 30, 4);
    expect(await one.state()).toMatchObject({ held_micros: 70, available_micros: 75 });
    await one.inside(() => session.end({ op: "end", used_micros: micros(52) }));
    expect(await one.moved()).toBe("2:-45 0:-7");
    expect(await one.state()).toMatchObject({ balance_micros: 93, held_micros: 0, lots: [] });
  });

  it("has no part of what is for something else, and pays with what is for this", async () => {
    const one = await subject();
    await one.charge(90);
    await one.grant(25, { only: "GET /images/*" });
    expect(await begin(one, { slice: slice(0, 9) })).toMatchObject({
      amount_micros: 10,
      refusal: { shortfall_micros: 10 },
    });
    const other = await begin(one, { slice: slice(0, 9), op: "images", reason: "GET /images/7" });
    expect(other).toMatchObject({ amount_micros: 20 });
  });

  it("T88 what it holds of a grant outlives it: what was delivered is paid from there, the rest is over", async () => {
    const one = await subject();
    await one.grant(30, { expires_at_ms: START + 5_000 });
    const { session } = await begin(one);
    await use(one, session, 12, 0);
    vi.setSystemTime(START + 6_000);
    await use(one, session, 14, 0);
    expect(await one.state()).toMatchObject({ balance_micros: 130, held_micros: 30, available_micros: 100 });
    await one.inside(() => session.end({ op: "end", used_micros: micros(20) }));
    expect(await one.moved(3)).toBe("2:-20");
    expect(await one.state()).toMatchObject({ balance_micros: 100, held_micros: 0, lots: [] });
    await one.charge(1);
    expect((await one.lines()).slice(2)).toEqual(["charge -20 110", "expiry -10 100", "charge -1 99"]);
  });

  it("T84 T100 also where both Worker and object are lost: what is on disk as delivered, when its lease is over", async () => {
    const one = await subject();
    await one.grant(30, { expires_at_ms: START + 5_000 });
    const { session } = await begin(one);
    await use(one, session, 12, 4);
    await one.evict();
    vi.setSystemTime(START + 30_000);
    // By the time alone.
    expect(await one.state()).toMatchObject({ held_micros: 0, balance_micros: 100, available_micros: 100 });
    expect(await one.charge(1)).toMatchObject({ outcome: "charged", balance_micros: 99 });
    expect((await one.lines()).slice(2)).toEqual(["expiry -18 112", "charge -12 100", "charge -1 99"]);
  });
});
