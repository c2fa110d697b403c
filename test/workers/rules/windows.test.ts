import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { addMonths, firstAt, wallOf } from "../../../src/calendar.js";
import {
  type EntryKind,
  isSpending,
  type WindowInput,
  type WindowRule,
  type WindowUnit,
} from "../../../src/contract.js";
import { type Account, type Headroom, refuseSpending } from "../../../src/envelope/ledger.js";
import type { Counted, Ledger, LedgerRow, Tally, Window } from "../../../src/envelope/windows.js";
import * as rules from "../../../src/envelope/windows.js";
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

/** The rules, or some that are wrong on purpose. */
type Rules = Pick<typeof rules, "advance" | "begin" | "book">;

/** One window on one ledger, as an envelope has it: what is counted is in memory, and in what travels with the entries. */
class Limited {
  readonly entries = new Entries();
  readonly rule: WindowRule;
  readonly #rules: Rules;
  #window: Window | undefined;
  #counted: Counted | undefined;

  constructor(rule: WindowRule, rules: Rules) {
    this.rule = rule;
    this.#rules = rules;
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
    const tally = rules.tallyOf(this.#rules.begin(unseen, [], this.entries, at_ms));
    this.#window = { ...unseen, seen: { seq, tally } };
    this.wake(at_ms);
  }

  /** All that was in memory is gone. */
  wake(at_ms: number): void {
    const newest = this.entries.rows.at(-1)?.tallies ?? [];
    this.#counted = this.#window && this.#rules.begin(this.#window, newest, this.entries, at_ms);
  }

  at(at_ms: number): Counted {
    if (this.#counted === undefined) throw new Error("No window was made");
    this.#counted = this.#rules.advance(this.#counted, this.entries, at_ms);
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
      this.#counted = this.#rules.book(this.at(at_ms), entry, charge);
    }
    const tallies: Tally[] = this.#counted === undefined ? [] : [rules.tallyOf(this.#counted)];
    // As it is stored.
    this.entries.rows.push({ ...entry, tallies: JSON.parse(JSON.stringify(tallies)) as Tally[] });
    this.entries.ofCharge.push(of);
  }

  limits(at_ms: number, held: number): readonly Headroom[] {
    return [rules.headroomOf(this.at(at_ms), micros(held), this.entries)];
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
  const rule = rules.resolveWindow(wanted, "UTC");
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
  const view = rules.viewOf(limited.at(at), micros(held), entries, at);
  same("spent", BigInt(view.spent_micros), spent, limited, at);
  same("spent, without a view", rules.spentOf(limited.at(at)), view.spent_micros, limited, at);
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
function history(random: Random, ruled: Rules): number {
  const limited = new Limited(drawRule(random), ruled);
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

/** Compares so many moments, and answers in how many histories; throws where the rules and the oracle differ. */
function compareAll(
  cases: number,
  seed: number,
  ruled: Rules,
): { readonly compared: number; readonly histories: number } {
  const random = randomOf(seed);
  let [compared, histories] = [0, 0];
  try {
    while (compared < cases) {
      compared += history(random, ruled);
      histories += 1;
    }
  } catch (error) {
    throw new Error(`seed ${seed}, after ${compared} cases: ${(error as Error).message}`);
  }
  return { compared, histories };
}

const newSeed = () => Math.trunc(Math.random() * 2 ** 31);

describe("T87 T88 the rules of windows against an oracle", () => {
  it(`in ${CASES} random cases of zone, anchor, unit, time, spending and refund`, { timeout: 3_600_000 }, () => {
    const [seed, began] = [newSeed(), performance.now()];
    const { compared, histories } = compareAll(CASES, seed, rules);
    const took_ms = Math.round(performance.now() - began);
    console.info(`windows: ${compared} cases in ${histories} histories, ${took_ms} ms, seed ${seed}`);
    expect(compared).toBeGreaterThanOrEqual(CASES);
  });

  /** The period after the one that is known, as if a month were counted on from the one before it. */
  const chained: Rules["advance"] = (counted, ledger, at_ms) => {
    const { rule } = counted.window;
    const { count } = rules.advance(counted, ledger, at_ms);
    if (!("end_ms" in count) || !("end_ms" in counted.count) || count === counted.count) return { ...counted, count };
    if (rule.unit !== "MONTHLY" || rule.anchor_ms === null) return { ...counted, count };
    let { start_ms, end_ms } = counted.count;
    while (end_ms <= at_ms) {
      const next = addMonths(wallOf(end_ms, rule.time_zone), rule.every);
      [start_ms, end_ms] = [end_ms, firstAt(next, rule.time_zone)];
    }
    return { ...counted, count: { ...count, start_ms, end_ms } };
  };
  const FAULTS: readonly (readonly [name: string, fault: Partial<Rules>])[] = [
    ["has its end in a period", { advance: (counted, ledger, at_ms) => rules.advance(counted, ledger, at_ms - 1) }],
    ["hands on the end of a short month", { advance: chained }],
    [
      "makes room today for a refund of yesterday's charge",
      { book: (counted, entry, of) => rules.book(counted, entry, of && { seq: entry.seq, at_ms: entry.at_ms }) },
    ],
    ["makes no room for a refund", { book: (counted, entry) => rules.book(counted, entry, undefined) }],
    [
      "takes what was spent last for what is spent now",
      {
        advance: (counted, ledger, at_ms) => {
          const next = rules.advance(counted, ledger, at_ms);
          const { count } = counted;
          return "spent_micros" in next.count && "spent_micros" in count
            ? { ...next, count: { ...next.count, spent_micros: count.spent_micros } }
            : next;
        },
      },
    ],
    [
      "forgets on waking what it had counted",
      { begin: (window, newest, ledger, at_ms) => emptied(rules.begin(window, newest, ledger, at_ms)) },
    ],
    ["lets nothing leave", { advance: (counted) => counted }],
  ];

  const emptied = ({ window, count }: Counted): Counted => ({
    window,
    count: "spent_micros" in count ? { ...count, spent_micros: micros(0) } : { ...count, before: count.total },
  });

  it.each(FAULTS)("the comparison finds a window that %s", (_name, fault) => {
    expect(() => compareAll(50_000, newSeed(), { ...rules, ...fault })).toThrow(/^seed \d+, after \d+ cases: /);
  });
});

it("T82 on waking, a rolling window reads of the refunds those of what it still counts, and few of the others' rows", () => {
  const rule = rules.resolveWindow({ unit: "HOURLY", alignment: "rolling", limit_micros: micros(50) }, "UTC");
  if ("invalid" in rule) throw new Error(rule.invalid);
  const limited = new Limited(rule, rules);
  limited.make(FROM);
  for (let charge = 1; charge <= 2_000; charge++) {
    limited.append("charge", -1, FROM + charge * MINUTE);
    limited.append("refund", 1, FROM + charge * MINUTE, 2 * charge - 1);
  }
  const { entries } = limited;
  const rows = vi.spyOn(entries, "row");
  const refunds = vi.spyOn(entries, "gaveBack");
  limited.wake(FROM + 2_000 * MINUTE);
  expect(rules.spentOf(limited.at(FROM + 2_000 * MINUTE))).toBe(0);
  expect(Math.min(...refunds.mock.calls.map(([from]) => from))).toBe(2 * 1_941 - 1);
  expect(rows.mock.calls.length).toBeLessThan(40);
});

describe("T87 clocks, minute by minute", () => {
  /** What the zone's clock reads, in words of `Intl`'s own. */
  function clock(zone: string): (at_ms: number) => string {
    const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
    return (at_ms) => format.format(at_ms);
  }
  /** The first so many letters of a reading are the same within one period. */
  const LETTERS = { ANNUAL: 4, MONTHLY: 7, DAILY: 10, HOURLY: 13 } as const;

  it.each(oracle.ZONES)("periods in %s begin at the first minute at which the clock reads it or later", (zone) => {
    const readAt = clock(zone);
    const turns = oracle.clockOf(zone).flatMap(({ to }) => (to > Date.UTC(2003, 0, 1) && to < TO ? [to] : []));
    for (const turn of [Date.UTC(2024, 1, 29), Date.UTC(2027, 0, 1), ...turns.slice(0, 3), ...turns.slice(-2)]) {
      for (const unit of ["ANNUAL", "MONTHLY", "DAILY", "HOURLY"] as const) {
        const rule = rules.resolveWindow({ unit, limit_micros: micros(1), time_zone: zone }, "UTC");
        if ("invalid" in rule) throw new Error(rule.invalid);
        let highest = "";
        let period: ReturnType<typeof rules.periodOf> | undefined;
        for (let at_ms = turn - 27 * HOUR; at_ms < turn + 27 * HOUR; at_ms += MINUTE) {
          const reading = readAt(at_ms);
          const begins = reading.slice(0, LETTERS[unit]) > highest.slice(0, LETTERS[unit]);
          if (reading > highest) highest = reading;
          const isIn = period !== undefined && at_ms >= period.start_ms && at_ms < period.end_ms;
          // The very first minute is in a period that began before.
          if (begins && period !== undefined) expect([reading, period.end_ms]).toEqual([reading, at_ms]);
          else if (period !== undefined && !isIn) throw new Error(`${unit} ${zone} ${reading}: in no period`);
          if (!isIn) period = rules.periodOf(rule, at_ms);
        }
      }
    }
  });
});
