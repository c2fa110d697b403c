/** The rules of what an owner settles about an envelope: whether it has a balance, its windows, its name. Pure, like ledger.ts. */
import { isTimeZone } from "../calendar.js";
import {
  type ConfigureInput,
  type ConfigureOutcome,
  type EnvelopeSettings,
  NAME_MAX,
  WINDOWS_MAX,
  type WindowInput,
  type WindowRule,
} from "../contract.js";
import { countsTheSame, resolveWindow } from "./windows.js";

/** What the rules know of an envelope. */
export interface Configured {
  readonly settings: EnvelopeSettings;
  /** Of its ledger; `null` until there is one. */
  readonly currency: string | null;
  /** Something was charged, put in or held: from then on it is of one sort. */
  readonly begun: boolean;
}

type Settled = EnvelopeSettings["windows"][number];

export type ConfigureDecision = { readonly settle: EnvelopeSettings } | { readonly outcome: ConfigureOutcome };

/** `newId` names a window that has no name; each call another one. */
export function decideConfiguration(
  { settings, currency, begun }: Configured,
  input: ConfigureInput,
  newId: () => string,
  now_ms: number,
): ConfigureDecision {
  const invalid = (detail: string) => ({ outcome: { outcome: "invalid", detail } }) as const;
  const { prepaid = settings.prepaid, name = settings.name, owner_account_id = settings.owner_account_id } = input;
  const { time_zone = settings.time_zone } = input;
  if (typeof prepaid !== "boolean") return invalid("prepaid must be true or false");
  if (!isName(name)) return invalid(`name must be a text of 1 to ${NAME_MAX} characters, or null`);
  if (!isName(owner_account_id))
    return invalid(`owner_account_id must be a text of 1 to ${NAME_MAX} characters, or null`);
  if (typeof time_zone !== "string" || !isTimeZone(time_zone)) return invalid("time_zone must be an IANA time zone");
  if (currency !== null && currency !== input.currency) return invalid(`This envelope is kept in ${currency}`);
  const windows =
    input.windows === undefined
      ? settings.windows
      : resolveAll(input.windows, time_zone, { there: settings.windows, newId }, now_ms);
  if ("invalid" in windows) return invalid(windows.invalid);
  if (begun && prepaid !== settings.prepaid) return { outcome: { outcome: "conflict", detail: "prepaid" } };
  return { settle: { prepaid, name, owner_account_id, time_zone, windows } };
}

function isName(name: unknown): boolean {
  return name === null || (typeof name === "string" && name.length >= 1 && name.length <= NAME_MAX);
}

interface Names {
  /** The windows that there are. */
  readonly there: readonly Settled[];
  readonly newId: () => string;
}

/** One that is not named is the one that counts the same, where there is such a one that nobody else is: it goes on. */
function resolveAll(
  inputs: readonly WindowInput[],
  time_zone: string,
  { there, newId }: Names,
  now_ms: number,
): readonly Settled[] | { readonly invalid: string } {
  if (!Array.isArray(inputs)) return { invalid: "windows must be a list" };
  if (inputs.length > WINDOWS_MAX) return { invalid: `windows must be ${WINDOWS_MAX} at most` };
  const windows: Settled[] = [];
  const named = new Set(inputs.map((input) => input?.window_id));
  const nameOf = (rule: WindowRule): string => {
    const alike = there.filter((one) => countsTheSame(one, rule) && !named.has(one.window_id));
    const { window_id } = alike.find(({ limit_micros }) => limit_micros === rule.limit_micros) ??
      alike[0] ?? { window_id: newId() };
    named.add(window_id);
    return window_id;
  };
  for (const [index, input] of inputs.entries()) {
    const rule = resolveOne(input, time_zone, nameOf, now_ms);
    if ("invalid" in rule) return { invalid: `windows[${index}].${rule.invalid}` };
    if (windows.some(({ window_id }) => window_id === rule.window_id)) {
      return { invalid: `windows[${index}].window_id must be another one than those before it` };
    }
    windows.push(rule);
  }
  return windows;
}

function resolveOne(
  input: WindowInput,
  time_zone: string,
  nameOf: (rule: WindowRule) => string,
  now_ms: number,
): Settled | { readonly invalid: string } {
  const { window_id } = input;
  if (window_id !== undefined && !(typeof window_id === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(window_id))) {
    return { invalid: "window_id must be 1 to 64 of A–Z, a–z, 0–9, _ and -" };
  }
  const rule = resolveWindow(input, time_zone);
  if ("invalid" in rule) return rule;
  // What is to come limits nothing now: a limit that begins later is set later.
  if (rule.unit === "ONCE" && rule.anchor_ms !== null && rule.anchor_ms > now_ms) {
    return { invalid: "anchor_ms of ONCE must not be in the future" };
  }
  return { window_id: window_id ?? nameOf(rule), ...rule };
}

/** Whether a key that was used, and led to these settings, was used for the same. */
export function wasSettled(input: ConfigureInput, then: EnvelopeSettings): boolean {
  const given = (["prepaid", "name", "owner_account_id", "time_zone"] as const).filter(
    (one) => input[one] !== undefined,
  );
  if (given.some((one) => input[one] !== then[one])) return false;
  if (input.windows === undefined) return true;
  if (!Array.isArray(input.windows) || input.windows.length !== then.windows.length) return false;
  // In the order in which they were made, which may be another: those that are named first.
  const left = new Set(then.windows);
  const byName = [...input.windows].sort(
    (one, other) => Number(one.window_id === undefined) - Number(other.window_id === undefined),
  );
  return byName.every((window) => {
    const same = [...left].find((one) => isSame(window, one, then.time_zone));
    return same !== undefined && left.delete(same);
  });
}

function isSame(input: WindowInput, then: Settled, time_zone: string): boolean {
  if (input.window_id !== undefined && input.window_id !== then.window_id) return false;
  const rule = resolveWindow(input, time_zone);
  return !("invalid" in rule) && (Object.keys(rule) as (keyof WindowRule)[]).every((one) => rule[one] === then[one]);
}
