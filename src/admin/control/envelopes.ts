/** Envelopes as the owner's servers make them, see them and limit them. */
import { attempt } from "../../attempt.js";
import type { ConfigureInput, ConfigureOutcome, EnvelopeState, WindowInput } from "../../contract.js";
import { formatMain } from "../../money.js";
import { writeReference } from "../../reference.js";
import { digest, randomBase62 } from "../../secrets.js";
import { directoryStub } from "../../shards.js";
import { envelopeStub } from "../../stubs.js";
import { readWindow, windowBody } from "../../window-body.js";
import { invalid, json, keyUsed, notFound, readLimit, readReason } from "../answers.js";
import { enrolled, readPlace } from "../enrolled.js";
import { existing, stateOf } from "../envelopes.js";
import { type Called, created, type Handler, keyOf } from "./called.js";
import { authorOf, notPossible } from "./money.js";
import type * as schemas from "./schemas.js";
import type { Of } from "./typed.js";
import { stateWord } from "./views.js";

type WindowBody = Of<typeof schemas.newWindow>;

export const createEnvelope: Handler<"createEnvelope"> = async (called) => {
  const { body, currency, env, options } = called;
  const { name, currency: asked = currency.code, ownerAccountId, prepaid, windows: more = [], ...first } = body;
  if (asked.toLowerCase() !== currency.code)
    return notPossible(`This deployment keeps its envelopes in ${currency.code}.`);
  const windows = windowsOf([...(first.timeWindow === undefined ? [] : [first as WindowBody]), ...more]);
  if (typeof windows === "string") return invalid(windows);
  if (first.timeWindow === undefined && Object.values(first).some((value) => value !== undefined)) {
    return invalid("capacity, every, timeZone, anchor and rolling are of a timeWindow");
  }
  const key = keyOf(called);
  // Asked again with the same key, it is the same envelope.
  const id = called.key === undefined ? randomBase62(22) : digest(`with-envelope/created/v1:${key}`);
  const input: ConfigureInput = {
    currency: currency.code,
    prepaid: prepaid ?? windows.length === 0,
    name,
    owner_account_id: ownerAccountId ?? null,
    ...(first.timeZone !== undefined && { time_zone: first.timeZone }),
    windows,
    key: `create:${key}`,
    by: authorOf(called, "created"),
  };
  // Noted first: an envelope that is made and in no list would be found by nobody.
  await attempt(() => directoryStub(env, id).enrol({ envelope_id: id }));
  const outcome = await attempt(() => envelopeStub(env, id).configure(input));
  const refused = refusedBy(outcome);
  if (refused !== undefined) return refused;
  return created(await viewOf(called, id), `${options.paths.envelopes}/${id}`);
};

export const setWindows: Handler<"setWindows"> = async (called) => {
  const { body, currency, env } = called;
  const reason = readReason(body.reason);
  if (reason instanceof Response) return reason;
  const windows = windowsOf(body.windows);
  if (typeof windows === "string") return invalid(windows);
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const key = `windows:${keyOf(called)}`;
  const input = { currency: currency.code, windows, key, by: authorOf(called, reason) };
  const outcome = await attempt(() => envelopeStub(env, found.id).configure(input));
  return refusedBy(outcome) ?? json(await viewOf(called, found.id));
};

export const showEnvelope: Handler<"showEnvelope"> = async (called) => {
  const found = await existing(called, called.params["id"]);
  return found === undefined ? notFound() : json(envelopeBody(called, found.id, found.state));
};

export const showStatus: Handler<"showStatus"> = async (called) => {
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { id, state } = found;
  const [window] = state.windows.map(windowBody);
  const { balance_micros, available_micros, held_micros, holds } = state;
  return json({
    id,
    name: state.name ?? null,
    currency: state.currency ?? called.currency.code,
    prepaid: state.prepaid ?? true,
    state: stateWord(state),
    capacity: window?.capacity ?? null,
    capacity_micros: window?.capacity_micros ?? null,
    spent: window?.spent ?? null,
    spent_micros: window?.spent_micros ?? null,
    remaining: window?.remaining ?? null,
    remaining_micros: window?.remaining_micros ?? null,
    windowStart: window?.windowStart ?? null,
    windowEnd: window?.windowEnd ?? null,
    resetsAt: window?.resetsAt ?? null,
    balance: formatMain(balance_micros),
    balance_micros,
    available: formatMain(available_micros),
    available_micros,
    held_micros,
    holds: holds.length,
    windows: state.windows.map(windowBody),
  } satisfies Of<typeof schemas.envelopeStatus>);
};

const PAGE_DEFAULT = 25;
/** Each line asks its envelope. */
const PAGE_MAX = 50;

/** In the order of their ids within each shard of the directory, shard after shard: none that is made meanwhile moves another. */
export const listEnvelopes: Handler<"listEnvelopes"> = async (called) => {
  const { url } = called;
  const asked = url.searchParams.has("limit") ? readLimit(url) : PAGE_DEFAULT;
  const place = readPlace(url.searchParams.get("cursor"));
  if (asked === undefined || place === undefined) return invalid("cursor or limit is malformed");
  const limit = Math.min(asked, PAGE_MAX);
  const { ids, next } = await enrolled(called.env, place, limit);
  const states = await Promise.all(ids.map(async (id) => ({ id, state: await stateOf(called, id) })));
  // Noted before it was made, and never made.
  const made = states.filter(({ state }) => state.currency !== null);
  return json({ envelopes: made.map(({ id, state }) => envelopeBody(called, id, state)), next });
};

async function viewOf(called: Called<"createEnvelope"> | Called<"setWindows">, id: string) {
  return envelopeBody(called, id, await stateOf(called, id));
}

function envelopeBody(
  { keys, currency }: Pick<Called<"showEnvelope">, "keys" | "currency">,
  id: string,
  state: EnvelopeState,
): Of<typeof schemas.envelope> {
  const windows = state.windows.map(windowBody);
  const [window] = windows;
  return {
    id,
    name: state.name ?? null,
    currency: state.currency ?? currency.code,
    ownerAccountId: state.owner_account_id ?? null,
    prepaid: state.prepaid ?? true,
    state: stateWord(state),
    timeWindow: window?.timeWindow ?? null,
    capacity: window?.capacity ?? null,
    capacity_micros: window?.capacity_micros ?? null,
    windows,
    clientReferenceId: writeReference(keys.reference, id),
  };
}

/** A text is what is wrong with them. */
function windowsOf(bodies: readonly WindowBody[]): readonly WindowInput[] | string {
  const windows: WindowInput[] = [];
  for (const body of bodies) {
    const window = readWindow(body);
    if (typeof window === "string") return window;
    windows.push(window);
  }
  return windows;
}

function refusedBy(outcome: ConfigureOutcome): Response | undefined {
  switch (outcome.outcome) {
    case "configured":
    case "replayed":
      return undefined;
    case "conflict":
      return outcome.detail === "key"
        ? keyUsed("This Idempotency-Key was used for something else. Nothing was changed.")
        : notPossible("Whether an envelope is prepaid is fixed by its first entry.");
    case "invalid":
      return notPossible(`${outcome.detail}.`);
  }
}
