/** `options.alerts`: its type, and where it is checked. Apart from options.ts, because `envelopeOf` takes it too. */
import type { AlertRules } from "./contract.js";
import { type Currency, type Price, parsePrice } from "./money.js";

/** When somebody is told how an envelope stands: once for each crossing, and once more when it is over. */
export interface AlertOptions {
  /** Told when the balance is below this, in minor units; over once there is as much again. */
  readonly lowBalance?: Price | undefined;
  /** Parts of a window's limit, above 0 and at most 1, in ascending order; over once the window begins anew or a refund makes room. */
  readonly windowThresholds?: readonly number[] | undefined;
}

const KNOWN = { lowBalance: true, windowThresholds: true } as const satisfies Record<keyof AlertOptions, true>;
const THRESHOLDS_MAX = 8;
/** Parts are kept as whole hundredths of a percent, so that a crossing is decided in integers. */
const BASIS_POINTS = 10_000;

/** @throws {TypeError} that names the option's path */
export function resolveAlerts(options: AlertOptions | undefined, currency: Currency): AlertRules | undefined {
  if (options === undefined) return undefined;
  if (typeof options !== "object" || options === null) throw new TypeError("options.alerts must be an object");
  for (const name of Object.keys(options)) {
    if (!(name in KNOWN)) {
      throw new TypeError(`options.alerts.${name} is not an option; known are ${Object.keys(KNOWN).join(", ")}`);
    }
  }
  const low_micros = options.lowBalance === undefined ? undefined : parsePrice(options.lowBalance, currency);
  if (options.lowBalance !== undefined && (low_micros === undefined || low_micros === 0)) {
    throw new TypeError("options.alerts.lowBalance must be a price above zero");
  }
  const window_bps = (options.windowThresholds ?? []).map((part, index) => {
    const bps = Math.round(part * BASIS_POINTS);
    if (typeof part !== "number" || bps < 1 || bps > BASIS_POINTS || bps / BASIS_POINTS !== part) {
      throw new TypeError(
        `options.alerts.windowThresholds[${index}] must be above 0 and at most 1, with at most four decimals`,
      );
    }
    return bps;
  });
  if (window_bps.length > THRESHOLDS_MAX || window_bps.some((bps, index) => bps <= (window_bps[index - 1] ?? 0))) {
    throw new TypeError(`options.alerts.windowThresholds must ascend, at most ${THRESHOLDS_MAX} of them`);
  }
  if (low_micros === undefined && window_bps.length === 0) {
    throw new TypeError("options.alerts must have lowBalance or windowThresholds");
  }
  return { low_micros: low_micros ?? null, window_bps };
}
