/** What the environment says of what is kept, where and for how long: by the aggregate, and in an envelope's ledger. */
import { variable, wholeNumber } from "./settings.js";

/** Most shards of the aggregate. Reports ask all of them at once, and one alone takes more than one account's traffic. */
const SHARDS_MAX = 64;

/** Over how many objects the aggregate is spread. */
export function aggregateShardCount(env: unknown): number {
  return wholeNumber(env, "ENVELOPE_AGGREGATE_SHARDS", 1, SHARDS_MAX);
}

/** Over how many it was spread before: a rebuild asks those whose copies they had. `undefined` where it never changed. */
export function previousShardCount(env: unknown): number | undefined {
  const name = "ENVELOPE_AGGREGATE_SHARDS_PREVIOUS";
  return variable(env, name) === "" ? undefined : wholeNumber(env, name, 1, SHARDS_MAX);
}

/** How long the aggregate keeps single entries. Sums, series and cohorts are kept for ever. */
export function rawEventDays(env: unknown): number {
  return wholeNumber(env, "ENVELOPE_RAW_EVENT_DAYS", 90, 3650);
}

const LEDGER_DAYS_MAX = 36_500;

/** After how many days a charge is final, and may be folded. `undefined`: never. */
export function ledgerDays(env: unknown): number | undefined {
  const days = wholeNumber(env, "ENVELOPE_LEDGER_DAYS", 0, LEDGER_DAYS_MAX);
  return days === 0 ? undefined : days;
}
