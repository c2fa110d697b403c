/**
 * Keys, and keys made by keys, against a model that adds up entries anew for every question: what each may still spend, and what it
 * spent, through evictions, aborts, expiry, refunds, and far more entries than are kept uncounted.
 */
import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { EnvelopeApi, Scope, SpenderView } from "../../../src/contract.js";
import { UNCOUNTED_MAX } from "../../../src/envelope/spender-book.js";
import type { Envelope } from "../../../src/index.js";
import { micros } from "../rules/values.js";

/** In the future, so that the mirror's alarms do not ring in the middle of a run. */
const START = Date.UTC(2100, 0, 1);
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterAll(() => {
  vi.useRealTimers();
});

interface Key {
  readonly id: string;
  readonly cap: bigint | null;
  /** In a day of UTC. */
  readonly daily: bigint | null;
  readonly scopes: readonly Scope[];
  readonly maker: Key | undefined;
  readonly expires: number | null;
  revoked: boolean;
}

interface Line {
  readonly seq: number;
  readonly at: number;
  readonly kind: "grant" | "charge" | "refund";
  readonly amount: bigint;
  readonly by: Key | undefined;
  readonly ref?: number;
}

interface Held {
  readonly id: number;
  readonly amount: bigint;
  readonly by: Key | undefined;
  readonly until: number;
  open: boolean;
}

const chainOf = (key: Key | undefined): readonly Key[] => (key === undefined ? [] : [key, ...chainOf(key.maker)]);
const dayOf = (at: number): number => Math.floor(at / 86_400_000);
const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((total, amount) => total + amount, 0n);
const least = (...amounts: readonly bigint[]): bigint =>
  [...amounts].sort((one, other) => Number(one - other))[0] ?? 0n;

class Model {
  clock = START;
  readonly keys: Key[] = [];
  readonly lines: Line[] = [];
  readonly holds: Held[] = [];

  get open(): readonly Held[] {
    return this.holds.filter(({ open, until }) => open && until > this.clock);
  }
  get available(): bigint {
    return sum(this.lines.map(({ amount }) => amount)) - sum(this.open.map(({ amount }) => amount));
  }
  /** Of the ledger, which never goes back. */
  get time(): number {
    return Math.max(this.clock, this.lines.at(-1)?.at ?? 0);
  }
  write(line: Omit<Line, "seq" | "at">): number {
    const seq = this.lines.length + 1;
    this.lines.push({ ...line, seq, at: this.time });
    return seq;
  }
  /** What its own entries, and those of the keys it made, come to; of a day, of charges in it, whenever they were given back. */
  drawn(key: Key, day?: number): bigint {
    const charged = ({ at, ref }: Line) => dayOf(ref === undefined ? at : (this.lines[ref - 1]?.at ?? 0));
    const counts = (line: Line) => chainOf(line.by).includes(key) && (day === undefined || charged(line) === day);
    return -sum(this.lines.filter(counts).map(({ amount }) => amount));
  }
  left(key: Key | undefined): readonly bigint[] {
    return chainOf(key).flatMap((one) => {
      const held = sum(this.open.filter(({ by }) => chainOf(by).includes(one)).map(({ amount }) => amount));
      return [
        ...(one.cap === null ? [] : [one.cap - this.drawn(one) - held]),
        ...(one.daily === null ? [] : [one.daily - this.drawn(one, dayOf(this.time)) - held]),
      ];
    });
  }
  standing(key: Key | undefined): "active" | "revoked" | "expired" {
    if (chainOf(key).some(({ revoked }) => revoked)) return "revoked";
    return chainOf(key).some(({ expires }) => expires !== null && expires <= this.clock) ? "expired" : "active";
  }
  may(key: Key | undefined, scope: Scope): string | undefined {
    const standing = this.standing(key);
    if (standing === "revoked") return "refused credential_revoked";
    if (standing === "expired") return "refused key_expired";
    return key === undefined || key.scopes.includes(scope) ? undefined : "refused key_scope";
  }
  /** A cap that says no is named before the balance. */
  no(key: Key | undefined, price: bigint): string | undefined {
    if (this.left(key).some((left) => price > left)) return "refused key_cap";
    return price > this.available ? "refused insufficient_balance" : undefined;
  }
  view(key: Key) {
    const own = this.lines.filter(({ by }) => by === key);
    const of = (kind: Line["kind"]) => own.filter((line) => line.kind === kind);
    const left = this.left(key);
    return {
      id: key.id,
      made_by: key.maker?.id ?? null,
      status: this.standing(key),
      charges: of("charge").length,
      spent_micros: Number(-sum(of("charge").map(({ amount }) => amount))),
      refunded_micros: Number(sum(of("refund").map(({ amount }) => amount))),
      remaining_micros: left.length === 0 ? null : Number(least(...left) < 0n ? 0n : least(...left)),
    };
  }
}

const which = fc.option(fc.nat(20), { nil: undefined, freq: 5 });
const amount = fc.constantFrom(1, 2, 3, 5, 8, 30);
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("mint" as const),
      by: which,
      cap: fc.option(fc.constantFrom(0, 5, 10, 20, 60), { nil: null }),
      daily: fc.option(fc.constantFrom(5, 10, 20), { nil: null, freq: 1 }),
      scopes: fc.constantFrom<readonly Scope[]>(["spend"], ["spend", "keys"], ["spend", "read", "keys"], ["read"]),
      lasts_ms: fc.option(fc.constantFrom(1_000, 60_000, 100_000_000), { nil: null, freq: 2 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant("charge" as const), by: which, amount, at_most: fc.boolean() }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("hold" as const), by: which, amount }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("settle" as const), back: fc.nat(3), amount }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("release" as const), back: fc.nat(3) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("refund" as const),
      back: fc.nat(8),
      part: fc.option(amount, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("revoke" as const), which: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.constantFrom(500, 5_000, 70_000, 50_000_000, -20_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("many" as const), by: which, charges: fc.constantFrom(60, 200) }),
  },
  { weight: 2, arbitrary: fc.constant({ do: "evict" as const }) },
  { weight: 2, arbitrary: fc.constant({ do: "abort" as const }) },
);
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

class Run {
  readonly model = new Model();
  readonly #name: string;
  #ops = 0;

  constructor(name: string) {
    this.#name = name;
  }
  get stub() {
    return env.ENVELOPE.getByName(this.#name);
  }
  get api(): EnvelopeApi {
    return this.stub as unknown as EnvelopeApi;
  }
  op = () => `op-${++this.#ops}`;
  key = (at: number | undefined): Key | undefined => {
    const { keys } = this.model;
    return at === undefined || keys.length === 0 ? undefined : keys[at % keys.length];
  };
  asked = (key: Key | undefined) => ({ currency: "usd", credential: credentialOf(key) });

  async begin(paid: number): Promise<void> {
    await this.api.grant({ op: this.op(), key: "first", currency: "usd", amount_micros: micros(paid) });
    this.model.write({ kind: "grant", amount: BigInt(paid), by: undefined });
  }

  async mint({ by, cap, daily, scopes, lasts_ms }: Extract<Step, { do: "mint" }>): Promise<void> {
    const { model } = this;
    const maker = this.key(by);
    const id = `key${String(model.keys.length).padStart(5, "0")}`;
    const expires = lasts_ms === null ? null : model.clock + lasts_ms;
    const input = {
      ...{ id, hash: `hash-${id}`, last4: "last", key: this.op(), currency: "usd", by: { actor: "x", reason: null } },
      ...{ name: null, scopes, cap_micros: cap === null ? null : micros(cap), expires_at_ms: expires },
      windows: daily === null ? [] : [{ unit: "DAILY" as const, limit_micros: micros(daily) }],
      credential: credentialOf(maker),
    };
    const answer = await this.api.mintKey(input);
    const beyond =
      chainOf(maker).length >= 4 ||
      scopes.some((scope) => maker !== undefined && !maker.scopes.includes(scope)) ||
      chainOf(maker).some((one) => one.cap !== null && BigInt(cap ?? 0) > one.cap) ||
      chainOf(maker).some((one) => one.expires !== null && (expires ?? 0) > one.expires);
    const no = model.may(maker, "keys");
    expect(answer.outcome).toBe(
      no === "refused credential_revoked" ? "unauthorized" : no !== undefined || beyond ? "forbidden" : "minted",
    );
    if (answer.outcome !== "minted") return;
    const limits = { cap: cap === null ? null : BigInt(cap), daily: daily === null ? null : BigInt(daily) };
    model.keys.push({ id, ...limits, scopes, maker, expires, revoked: false });
  }

  async charge(by: Key | undefined, price: number, at_most: boolean, api = this.api): Promise<void> {
    const { model } = this;
    const no = model.may(by, "spend");
    const all = least(model.available, ...model.left(by));
    const wanted = at_most && all < BigInt(price) ? (all < 0n ? 0n : all) : BigInt(price);
    const refused = no ?? (wanted === 0n ? model.no(by, 1n) : model.no(by, wanted));
    const answer = await api.charge({ op: this.op(), ...this.asked(by), amount_micros: micros(price), at_most });
    const expected = refused ?? `charged ${model.write({ kind: "charge", amount: -wanted, by })} ${wanted}`;
    expect(said(answer)).toBe(expected);
  }

  async hold(by: Key | undefined, price: number): Promise<void> {
    const { model } = this;
    const refused = model.may(by, "spend") ?? model.no(by, BigInt(price));
    const answer = await this.api.hold({
      op: this.op(),
      ...this.asked(by),
      amount_micros: micros(price),
      ttl_ms: 60_000,
    });
    expect(said(answer)).toBe(refused ?? `held ${model.holds.length + 1}`);
    if (refused !== undefined) return;
    const id = model.holds.length + 1;
    model.holds.push({ id, amount: BigInt(price), by, until: model.clock + 60_000, open: true });
  }

  async settle(back: number, price: number): Promise<void> {
    const { model } = this;
    const hold = model.holds.at(-1 - back);
    if (hold === undefined) return;
    const was = hold.open && hold.until > model.clock;
    hold.open = false;
    const answer = await this.api.settle({ op: this.op(), hold_id: hold.id, amount_micros: micros(price) });
    if (!was) return expect(answer.outcome).toBe("ended");
    const above = BigInt(price) > hold.amount;
    const standing = model.standing(hold.by);
    // What was held may be spent whatever became of the key; more than that only by one that still counts.
    const ended =
      above && standing !== "active"
        ? `refused ${standing === "expired" ? "key_expired" : "credential_revoked"}`
        : undefined;
    const refused = ended ?? (above ? model.no(hold.by, BigInt(price)) : undefined);
    expect(said(answer)).toBe(
      refused ?? `charged ${model.write({ kind: "charge", amount: -BigInt(price), by: hold.by })} ${price}`,
    );
  }

  async release(back: number): Promise<void> {
    const hold = this.model.holds.at(-1 - back);
    if (hold === undefined) return;
    const was = hold.open && hold.until > this.model.clock;
    hold.open = false;
    expect((await this.api.release({ hold_id: hold.id })).outcome).toBe(was ? "released" : "ended");
  }

  async refund(back: number, part: number | undefined): Promise<void> {
    const { model } = this;
    const charges = model.lines.filter(({ kind }) => kind === "charge");
    const charge = charges.at(-1 - back);
    if (charge === undefined) return;
    const left = -charge.amount - sum(model.lines.filter(({ ref }) => ref === charge.seq).map((line) => line.amount));
    const wanted = part === undefined ? left : BigInt(part);
    const op = this.op();
    const amount_micros = part === undefined ? undefined : micros(part);
    const answer = await this.api.refund({ op, key: op, charge: { seq: charge.seq }, amount_micros });
    if (wanted <= 0n || wanted > left) return expect(answer.outcome).toBe("refused");
    model.write({ kind: "refund", amount: wanted, by: charge.by, ref: charge.seq });
    expect(answer.outcome).toBe("refunded");
  }

  async revoke(at: number): Promise<void> {
    const key = this.key(at);
    if (key === undefined) return;
    const by = { actor: "x", reason: null };
    expect((await this.api.revokeSpender({ id: key.id, minted: true, by })).outcome).toBe("revoked");
    // One that had expired has ended that way.
    if (key.expires === null || key.expires > this.model.clock) key.revoked = true;
  }

  async many(by: Key | undefined, charges: number): Promise<void> {
    await runInDurableObject(this.stub, async (envelope: Envelope) => {
      for (let i = 0; i < charges; i++) await this.charge(by, 1, false, envelope);
    });
  }

  async take(one: Step): Promise<void> {
    switch (one.do) {
      case "mint":
        return this.mint(one);
      case "charge":
        return this.charge(this.key(one.by), one.amount, one.at_most);
      case "hold":
        return this.hold(this.key(one.by), one.amount);
      case "settle":
        return this.settle(one.back, one.amount);
      case "release":
        return this.release(one.back);
      case "refund":
        return this.refund(one.back, one.part);
      case "revoke":
        return this.revoke(one.which);
      case "many":
        return this.many(this.key(one.by), one.charges);
      case "pass":
        this.model.clock += one.ms;
        vi.setSystemTime(this.model.clock);
        return;
      case "evict":
        await evictDurableObject(this.stub).catch(() => undefined);
        return;
      case "abort":
        return abortAllDurableObjects();
    }
  }

  /** Every key's sums are those of its entries, whether they are told from rows or from memory. */
  async inspect(): Promise<void> {
    const [listed, entries, uncounted] = await runInDurableObject(
      this.stub,
      async (envelope: Envelope, { storage }) => {
        const counted = storage.sql.exec(
          "SELECT seq - counted_seq AS left FROM envelope, (SELECT max(seq) AS seq FROM entry)",
        );
        return [
          await envelope.spenders({ before: null, limit: 1_000 }),
          await envelope.entries({ after: 0, limit: 1_000 }),
          counted.one()["left"],
        ] as const;
      },
    );
    if (listed.outcome !== "ok") throw new Error("The Worker's own word is enough");
    expect(listed.spenders.map(told)).toEqual([...this.model.keys].reverse().map((key) => this.model.view(key)));
    expect(entries.map(({ kind, amount_micros, spender }) => [kind, BigInt(amount_micros), spender])).toEqual(
      this.model.lines.slice(0, 1_000).map(({ kind, amount, by }) => [kind, amount, by?.id ?? null]),
    );
    if (uncounted !== null) expect(Number(uncounted)).toBeLessThan(UNCOUNTED_MAX);
  }
}

function credentialOf(key: Key | undefined) {
  return key && { api_key: key.id, hash: `hash-${key.id}` };
}

function told({ id, made_by, status, charges, spent_micros, refunded_micros, remaining_micros }: SpenderView) {
  return { id, made_by, status, charges, spent_micros, refunded_micros, remaining_micros };
}

function said(answer: Awaited<ReturnType<EnvelopeApi["charge" | "hold" | "settle"]>>): string {
  if (answer.outcome === "charged") return `charged ${answer.seq} ${answer.amount_micros}`;
  if (answer.outcome === "held") return `held ${answer.hold_id}`;
  return answer.outcome === "refused" ? `refused ${answer.refusal.reason}` : answer.outcome;
}

let runs = 0;

describe("T63 what a key may spend and what it spent are what its entries say", () => {
  it("T82 in random orders, through evictions and aborts, keys made by keys, holds, refunds and expiry", {
    timeout: 240_000,
  }, async () => {
    let steps = 0;
    const property = fc.asyncProperty(
      fc.constantFrom(1_000, 1_000, 60),
      fc.array(step, { minLength: 20, maxLength: 60, size: "max" }),
      async (paid, drawn) => {
        runs += 1;
        vi.setSystemTime(START);
        const run = new Run(`spenders-${runs}`);
        await run.begin(paid);
        for (const [at, one] of drawn.entries()) {
          await run.take(one);
          steps += 1;
          if (at % 7 === 0) await run.inspect();
        }
        await abortAllDurableObjects();
        await run.inspect();
      },
    );
    await fc.assert(property, { numRuns: 40 });
    expect(steps).toBeGreaterThan(800);
  });
});
