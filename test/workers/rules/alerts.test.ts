/** The rules of alerts: told once for each crossing, and once when it is over. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { AlertRules } from "../../../src/contract.js";
import { decideAlerts, type Raised, type Watched } from "../../../src/envelope/alerts.js";
import type { Micros } from "../../../src/money.js";

const micros = (value: number): Micros => value as Micros;
const RULES: AlertRules = { low_micros: micros(500), window_bps: [5_000, 10_000] };

function standing(available: number, spent = 0, start_ms: number | null = 0): Watched {
  const window = { window_id: "w", limit_micros: micros(1_000), spent_micros: micros(spent), start_ms, end_ms: null };
  return { balance_micros: micros(available), prepaid: true, funded: true, windows: [window] };
}

/** Goes through what happens, one after the other, and answers what was told. */
function tell(steps: readonly (readonly [Watched, AlertRules | undefined])[]): string[][] {
  let raised: readonly Raised[] = [];
  return steps.map(([now, rules]) => {
    const decision = decideAlerts(raised, now, rules);
    const cleared = new Set([...decision.clear, ...decision.raise.map(({ watch }) => watch)]);
    raised = [...raised.filter(({ watch }) => !cleared.has(watch)), ...decision.raise];
    // Asked again, it has nothing more to say.
    expect(decideAlerts(raised, now, rules)).toEqual({ raise: [], clear: [], tell: [] });
    return decision.tell.map((alert) => ("threshold" in alert ? `${alert.kind} ${alert.threshold}` : alert.kind));
  });
}

describe("the balance", () => {
  it("is told of once when it falls below, and once when it is back", () => {
    const at = (available: number) => [standing(available), RULES] as const;
    expect(tell([at(600), at(499), at(10), at(0), at(500), at(600), at(499)])).toEqual([
      [],
      ["low_balance"],
      [],
      [],
      ["low_balance_recovered"],
      [],
      ["low_balance"],
    ]);
  });

  it("recovers by money that came in without a request, by the threshold it was raised with", () => {
    expect(
      tell([
        [standing(1), RULES],
        [standing(499), undefined],
        [standing(500), undefined],
      ]),
    ).toEqual([["low_balance"], [], ["low_balance_recovered"]]);
  });

  it("is not low where nothing was ever paid, nor in a budget", () => {
    expect(tell([[{ ...standing(0), funded: false }, RULES]])).toEqual([[]]);
    expect(tell([[{ ...standing(0), prepaid: false }, RULES]])).toEqual([[]]);
  });
});

describe("a window", () => {
  const at = (spent: number, start = 0) => [standing(9_999, spent, start), RULES] as const;

  it("is told of at each threshold once, and once more when a refund makes room", () => {
    expect(tell([at(499), at(500), at(700), at(1_000), at(999), at(1_000), at(0)])).toEqual([
      [],
      ["window_threshold 0.5"],
      [],
      ["window_threshold 1"],
      ["window_recovered 1"],
      ["window_threshold 1"],
      ["window_recovered 0.5", "window_recovered 1"],
    ]);
  });

  it("begins anew with its period: over, and raised again only when it is reached again", () => {
    expect(tell([at(1_000), at(10, 1), at(600, 1), at(600, 2)])).toEqual([
      ["window_threshold 0.5", "window_threshold 1"],
      ["window_recovered 0.5", "window_recovered 1"],
      ["window_threshold 0.5"],
      ["window_recovered 0.5", "window_threshold 0.5"],
    ]);
  });

  it("that is no more is forgotten", () => {
    expect(tell([at(1_000), [{ ...standing(9_999), windows: [] }, RULES], at(1_000)])).toEqual([
      ["window_threshold 0.5", "window_threshold 1"],
      [],
      ["window_threshold 0.5", "window_threshold 1"],
    ]);
  });

  it("decides in integers: the threshold is reached at exactly its part, also near 2^53", () => {
    const limit = Number.MAX_SAFE_INTEGER;
    const bps = 3_333;
    const part = Number((BigInt(limit) * BigInt(bps) + 9_999n) / 10_000n);
    const window = { window_id: "w", limit_micros: micros(limit), start_ms: 0, end_ms: null };
    const reached = (spent: number) =>
      decideAlerts(
        [],
        { ...standing(1), windows: [{ ...window, spent_micros: micros(spent) }] },
        {
          low_micros: null,
          window_bps: [bps],
        },
      ).tell.length;
    expect([reached(part - 1), reached(part)]).toEqual([0, 1]);
  });
});

it("tells alternately of a crossing and its end, whatever happens", () => {
  const step = fc.record({ available: fc.nat(1_000), spent: fc.nat(1_200), start: fc.nat(2), ruled: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const told = tell(
        steps.map((one) => [standing(one.available, one.spent, one.start), one.ruled ? RULES : undefined]),
      );
      const last = new Map<string, boolean>();
      for (const one of told.flat()) {
        const [kind = "", threshold = ""] = one.split(" ");
        const raise = !kind.endsWith("recovered");
        const watch = kind.startsWith("low") ? "balance" : threshold;
        expect(last.get(watch) ?? false).toBe(!raise);
        last.set(watch, raise);
      }
    }),
    { numRuns: 500 },
  );
});
