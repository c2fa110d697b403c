/**
 * The rules of alerts: whether somebody is to be told how an envelope stands. Pure, like ledger.ts. What is watched (the balance, each
 * threshold of each window) is either quiet or raised; it is told of each change from one to the other and of nothing else, so that a
 * thousand charges below the line are one alert.
 */
import type { Alert, AlertRules } from "../contract.js";
import type { Micros } from "../money.js";

/** One thing that was told of and is not over. */
export interface Raised {
  /** `balance`, or `window:<id>:<basis points>`. */
  readonly watch: string;
  /** Of the balance, the threshold it was below; of a window, its limit then. */
  readonly threshold_micros: Micros;
  /** Beginning of the window it was raised in; `null` for the balance, and for windows without one. */
  readonly start_ms: number | null;
}

export interface WatchedWindow {
  readonly window_id: string;
  readonly limit_micros: Micros;
  readonly spent_micros: Micros;
  readonly start_ms: number | null;
  readonly end_ms: number | null;
}

/** How the envelope stands after what was just written. */
export interface Watched {
  readonly balance_micros: Micros;
  /** A budget has no balance to be low. */
  readonly prepaid: boolean;
  /** Something was put in at some time: who never paid is not low, but new. */
  readonly funded: boolean;
  readonly windows: readonly WatchedWindow[];
}

export interface AlertDecision {
  readonly raise: readonly Raised[];
  /** Watches that are quiet again. */
  readonly clear: readonly string[];
  readonly tell: readonly Alert[];
}

export const NO_ALERTS: AlertDecision = { raise: [], clear: [], tell: [] };

/**
 * `rules` are absent where money came in without a request: then only what is raised can be over, by the threshold it was raised with.
 * Afterwards nothing that is raised is over, and nothing that the rules ask for is missing, so asking again changes nothing.
 */
export function decideAlerts(raised: readonly Raised[], now: Watched, rules: AlertRules | undefined): AlertDecision {
  const decisions = [balanceAlerts(raised, now, rules), ...windowAlerts(raised, now, rules), gone(raised, now)];
  return {
    raise: decisions.flatMap(({ raise }) => raise),
    clear: decisions.flatMap(({ clear }) => clear),
    tell: decisions.flatMap(({ tell }) => tell),
  };
}

function balanceAlerts(raised: readonly Raised[], now: Watched, rules: AlertRules | undefined): AlertDecision {
  const known = raised.find(({ watch }) => watch === "balance");
  const { balance_micros } = now;
  const threshold_micros = rules?.low_micros ?? known?.threshold_micros;
  if (!now.prepaid || !now.funded || threshold_micros === undefined) return NO_ALERTS;
  const low = balance_micros < threshold_micros;
  if (low === (known !== undefined)) return NO_ALERTS;
  const told = { balance_micros, threshold_micros };
  return low
    ? {
        raise: [{ watch: "balance", threshold_micros, start_ms: null }],
        clear: [],
        tell: [{ kind: "low_balance", ...told }],
      }
    : { raise: [], clear: ["balance"], tell: [{ kind: "low_balance_recovered", ...told }] };
}

function windowAlerts(raised: readonly Raised[], now: Watched, rules: AlertRules | undefined): AlertDecision[] {
  return now.windows.flatMap((window) => {
    const prefix = `window:${window.window_id}:`;
    const known = raised.filter(({ watch }) => watch.startsWith(prefix));
    const bps = new Set([
      ...(rules?.window_bps ?? []),
      ...known.map(({ watch }) => Number(watch.slice(prefix.length))),
    ]);
    return [...bps].map((each) => windowAlert(window, each, known, rules));
  });
}

function windowAlert(
  window: WatchedWindow,
  bps: number,
  raised: readonly Raised[],
  rules: AlertRules | undefined,
): AlertDecision {
  const watch = `window:${window.window_id}:${bps}`;
  const known = raised.find((one) => one.watch === watch);
  // In integers: spent ≥ limit × bps / 10,000, without a product that is no safe integer.
  const reached = window.limit_micros > 0 && window.spent_micros >= partOf(window.limit_micros, bps);
  const same = known !== undefined && known.start_ms === window.start_ms;
  const { window_id, limit_micros, spent_micros, end_ms } = window;
  const told = { window_id, threshold: bps / 10_000, limit_micros, spent_micros, resets_at_ms: end_ms };
  const raise = { watch, threshold_micros: limit_micros, start_ms: window.start_ms };
  const over: Alert = { kind: "window_recovered", ...told };
  const asked = rules === undefined ? known !== undefined : rules.window_bps.includes(bps);
  if (reached && same) return NO_ALERTS;
  if (reached && asked) {
    // Of an earlier period it is over, and of this one it begins.
    const before = known === undefined ? [] : [over];
    return { raise: [raise], clear: [], tell: [...before, { kind: "window_threshold", ...told }] };
  }
  return known === undefined ? NO_ALERTS : { raise: [], clear: [watch], tell: [over] };
}

/** What is raised of a window that is no more. */
function gone(raised: readonly Raised[], { windows }: Watched): AlertDecision {
  const clear = raised.flatMap(({ watch }) => {
    const [, id] = /^window:(.*):\d+$/.exec(watch) ?? [];
    return id !== undefined && !windows.some(({ window_id }) => window_id === id) ? [watch] : [];
  });
  return { raise: [], clear, tell: [] };
}

/** The least amount that is at least so many hundredths of a percent, exactly. */
function partOf(limit_micros: Micros, bps: number): number {
  const whole = Math.floor(limit_micros / 10_000);
  return whole * bps + Math.ceil(((limit_micros % 10_000) * bps) / 10_000);
}
