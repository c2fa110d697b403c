import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import {
  type EntryKind,
  isSpending,
  type WindowInput,
  type WindowRule,
  type WindowUnit,
} from "../../../src/contract.js";
import { type Account, type Headroom, refuseSpending } from "../../../src/envelope/ledger.js";
import {
  advance,
  begin,
  book,
  type Counted,
  headroomOf,
  type Ledger,
  type LedgerRow,
  resolveWindow,
  spentOf,
  type Tally,
  tallyOf,
  viewOf,
  type Window,
} from "../../../src/envelope/windows.js";
import { account } from "./ledger-values.js";
import { micros } from "./values.js";
import * as oracle from "./windows-oracle.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** mulberry32: small, and the same everywhere. */
function randomOf(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number) => Math.floor(next() * end);
  const one = <T>(of: readonly T[]): T => of[below(of.length)] as T;
  return { below, one };
}
type Random = ReturnType<typeof randomOf>;

/** The ledger of an envelope, in memory: with the tallies that travel in it. */
class Entries implements Ledger {
  readonly rows: LedgerRow[] = [];
  readonly ofCharge: (number | undefined)[] = [];

  get head() {
    return this.rows.at(-1) ?? { seq: 0, at_ms: 0 };
  }
  row(seq: number) {
    return this.rows[Math.max(0, seq - 1)];
  }
  took(from: number, to: number) {
    return this.#sum(from, to, (row) => (isSpending(row.kind) ? 0 - row.amount_micros : 0));
  }
  gaveBack(from: number, to: number) {
    let sum = 0;
    for (const [index, of] of this.ofCharge.entries()) {
      if (of !== undefined && of >= from && of <= to) sum += this.rows[index]?.amount_micros ?? 0;
    }
    return sum;
  }
  #sum(from: number, to: number, of: (row: LedgerRow) => number) {
    return this.rows.slice(Math.max(0, from - 1), to).reduce((sum, row) => sum + of(row), 0);
  }
  spendings(): oracle.Spending[] {
    return this.rows.flatMap(({ kind, seq, at_ms, amount_micros }) =>
      isSpending(kind) ? [{ at: at_ms, took: BigInt(0 - amount_micros), back: BigInt(this.gaveBack(seq, seq)) }] : [],
    );
  }
}

/** One window on one ledger, as an envelope has it: what is counted is in memory, and in what travels with the entries. */
class Limited {
  readonly entries = new Entries();
  #window: Window | undefined;
  #counted: Counted | undefined;
  readonly rule: WindowRule;

  constructor(rule: WindowRule) {
    this.rule = rule;
  }

  /** The window is made: what was spent before counts. */
  make(at_ms: number): void {
    const { seq } = this.entries.head;
    const unseen: Window = {
      id: 7,
      window_id: "w",
      rule: this.rule,
      since_ms: 0,
      seen: { seq: -1, tally: [7, 0, 0] },
    };
    const tally = tallyOf(begin(unseen, [], this.entries, at_ms));
    this.#window = { ...unseen, seen: { seq, tally } };
    this.wake(at_ms);
  }

  /** All that was in memory is gone. */
  wake(at_ms: number): void {
    const newest = this.entries.rows.at(-1)?.tallies ?? [];
    this.#counted = this.#window && begin(this.#window, newest, this.entries, at_ms);
  }

  at(at_ms: number): Counted {
    if (this.#counted === undefined) throw new Error("No window was made");
    this.#counted = advance(this.#counted, this.entries, at_ms);
    return this.#counted;
  }

  get made(): boolean {
    return this.#counted !== undefined;
  }

  append(kind: EntryKind, amount: number, at_ms: number, of?: number): void {
    const seq = this.entries.rows.length + 1;
    const entry = { seq, at_ms, kind, amount_micros: micros(amount) };
    if (this.#counted !== undefined) {
      const charge = of === undefined ? undefined : this.entries.row(of);
      this.#counted = book(this.at(at_ms), entry, charge);
    }
    const tallies: Tally[] = this.#counted === undefined ? [] : [tallyOf(this.#counted)];
    // As it is stored.
    this.entries.rows.push({ ...entry, tallies: JSON.parse(JSON.stringify(tallies)) as Tally[] });
    this.entries.ofCharge.push(of);
  }

  limits(at_ms: number, held: number): readonly Headroom[] {
    return [headroomOf(this.at(at_ms), micros(held), this.entries)];
  }
}

const UNITS: readonly WindowUnit[] = ["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL", "ONCE"];
const FROM = Date.UTC(2007, 0, 1);
const TO = Date.UTC(2032, 0, 1);

/** Days at which clocks are set or months end differently are drawn more often than their share. */
function drawTime(random: Random, zone: string): number {
  const turns = oracle.clockOf(zone).map(({ to }) => to);
  const near = random.one(turns.filter((turn) => turn > FROM && turn < TO));
  const edges = [Date.UTC(2024, 1, 29), Date.UTC(2027, 1, 28), Date.UTC(2028, 1, 29), Date.UTC(2026, 0, 31)];
  const at = random.one([
    near ?? FROM,
    random.one(edges),
    FROM + random.below(TO - FROM),
    FROM + random.below(TO - FROM),
  ]);
  return at + random.one([-1, 0, 1, random.below(2 * HOUR) - HOUR, random.below(3 * DAY) - DAY]);
}

function drawRule(random: Random): WindowRule {
  const unit = random.one(UNITS);
  const time_zone = random.one(oracle.ZONES);
  const every = unit === "ONCE" ? 1 : random.one([1, 1, 1, 2, 3, 5, 6, 7, 12, 24]);
  const alignment = random.one(
    unit === "ONCE" ? (["calendar", "anchored"] as const) : (["calendar", "anchored", "rolling"] as const),
  );
  const wanted: WindowInput = {
    unit,
    every,
    alignment,
    time_zone,
    week_start: 1 + random.below(7),
    limit_micros: micros(random.one([0, 10, 50, 200])),
    ...(alignment === "anchored" && { anchor_ms: drawTime(random, time_zone) }),
  };
  const rule = resolveWindow(wanted, "UTC");
  if ("invalid" in rule) throw new Error(rule.invalid);
  return rule;
}

function drawLater(random: Random, rule: WindowRule, at: number): number {
  const end = rule.alignment === "rolling" ? at + oracle.lengthOf(rule) : oracle.period(rule, at)[1];
  const toEnd = Number.isFinite(end) && end < TO ? end : at;
  return Math.max(
    at,
    random.one([
      at,
      at,
      at + random.below(1_000),
      at + random.below(2 * HOUR),
      at + random.below(3 * DAY),
      at + random.below(40 * DAY),
      toEnd - 1,
      toEnd,
      toEnd + random.below(HOUR),
    ]),
  );
}

/** What a history is about, to tell where it went wrong. */
const told = (limited: Limited, at: number) =>
  JSON.stringify({
    at: new Date(at).toISOString(),
    ...limited.rule,
    rows: limited.entries.rows.map((row) => [row.kind, row.at_ms, row.amount_micros]),
  });

function same(what: string, found: unknown, expected: unknown, limited: Limited, at: number): void {
  if (!Object.is(found, expected)) throw new Error(`${what}: ${found} and not ${expected} in ${told(limited, at)}`);
}

const RICH = micros(1_000_000);

/** What the rules say of a moment and a price, against the oracle. Answers whether the price is admitted. */
function compare(limited: Limited, at: number, price: number, held: number): boolean {
  const { rule, entries } = limited;
  const all = entries.spendings();
  const spent = oracle.spent(rule, all, at);
  const view = viewOf(limited.at(at), micros(held), entries, at);
  same("spent", BigInt(view.spent_micros), spent, limited, at);
  same("spent, without a view", spentOf(limited.at(at)), view.spent_micros, limited, at);
  if (rule.alignment === "rolling") {
    same("resets", view.resets_at_ms, spent === 0n ? null : oracle.fallsTo(rule, all, at, spent - 1n), limited, at);
  } else {
    const [from, to] = oracle.period(rule, at);
    const endless = to === Number.POSITIVE_INFINITY;
    same("start", view.start_ms, endless ? rule.anchor_ms : from, limited, at);
    same("end", view.end_ms, endless ? null : to, limited, at);
    same("resets", view.resets_at_ms, endless ? null : to, limited, at);
  }
  const left = BigInt(rule.limit_micros) - spent - BigInt(held);
  same("remaining", BigInt(view.remaining_micros), left > 0n ? left : 0n, limited, at);

  const before: Account = { ...account(RICH), limits: limited.limits(at, held) };
  const refused = refuseSpending(before, micros(price));
  same("refused", refused !== undefined, BigInt(price) > left, limited, at);
  if (refused === undefined) return true;
  const most = left + spent - BigInt(price);
  const until = oracle.fallsTo(rule, all, at, most > 0n ? most : 0n);
  same("resetsAt", refused.resets_at_ms, until, limited, at);
  same("admits", BigInt(refused.admits_micros ?? 0), left, limited, at);
  return false;
}

/** One history: a rule, and some steps of time, charges, refunds and waking. Answers how many moments were compared. */
function history(random: Random): number {
  const limited = new Limited(drawRule(random));
  const { entries, rule } = limited;
  const [steps, madeAt] = [4 + random.below(12), random.below(4)];
  let at = drawTime(random, rule.time_zone);
  for (let step = 0; step < steps; step++) {
    at = drawLater(random, rule, at);
    if (step === madeAt) limited.make(at);
    if (!limited.made) {
      limited.append(random.one(["charge", "charge", "topup"]), random.one([-5, -10]), at);
      continue;
    }
    if (random.below(6) === 0) limited.wake(at);
    const [price, held] = [random.one([1, 5, 10, 40, 60]), random.one([0, 0, 5])];
    const admitted = compare(limited, at, price, held);
    const charges = entries.rows.filter(({ kind }) => isSpending(kind));
    if (random.below(3) === 0 && charges.length > 0) {
      const { seq, amount_micros } = random.one(charges);
      const left = 0 - amount_micros - entries.gaveBack(seq, seq);
      if (left > 0) limited.append("refund", random.one([left, 1 + random.below(left)]), at, seq);
    } else if (random.below(8) === 0) {
      limited.append("topup", 100, at);
    } else if (admitted) {
      limited.append(random.one(["charge", "usage"]), 0 - price, at);
    }
  }
  return Math.max(0, steps - madeAt);
}

/** `CASES=1000000` compares a million. */
const CASES = Number((env as unknown as Record<string, string>)["CASES"] || 20_000);

describe("T87 T88 the rules of windows against an oracle", () => {
  it(`in ${CASES} random cases of zone, anchor, unit, time, spending and refund`, { timeout: 3_600_000 }, () => {
    const seed = Math.trunc(Math.random() * 2 ** 31);
    const random = randomOf(seed);
    const began = performance.now();
    let [compared, histories] = [0, 0];
    try {
      while (compared < CASES) {
        compared += history(random);
        histories += 1;
      }
    } catch (error) {
      throw new Error(`seed ${seed}, after ${compared} cases: ${(error as Error).message}`);
    }
    console.info(
      `${compared} cases in ${histories} histories, ${Math.round(performance.now() - began)} ms, seed ${seed}`,
    );
    expect(compared).toBeGreaterThanOrEqual(CASES);
  });
});
