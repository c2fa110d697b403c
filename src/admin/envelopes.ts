/** One envelope, as its owner sees it: asked of the envelope itself, so exact now. Changes nothing. */
import { attempt } from "../attempt.js";
import { type Micros, ZERO } from "../money.js";
import { writeReference } from "../reference.js";
import { envelopeStub } from "../stubs.js";
import { invalid, json, notFound, pageOf, readLimit, readNumberedPage, readPlace, writePlace } from "./answers.js";
import type { AuditAnswer, EntriesAnswer, EnvelopeAnswer, KeyView, PaymentsAnswer } from "./api.js";
import { envelopeSummary } from "./figures.js";
import type { OwnersRequest } from "./owners-request.js";
import type { Params } from "./routes.js";
import { targetOf } from "./target.js";

/** `undefined` where no envelope was ever made under that name; looking makes none. */
export async function foundEnvelope(
  asked: OwnersRequest,
  name: string | undefined,
): Promise<{ readonly id: string; readonly frozen: boolean; readonly balance_micros: Micros } | undefined> {
  const target = targetOf(asked, name ?? "");
  if (target === undefined) return undefined;
  const state = await stateOf(asked, target.id);
  if (state.currency === null) {
    return target.genuine ? { id: target.id, frozen: false, balance_micros: ZERO } : undefined;
  }
  return { id: target.id, frozen: state.frozen, balance_micros: state.balance_micros };
}

export async function stateOf({ env }: OwnersRequest, id: string) {
  const state = await attempt(() => envelopeStub(env, id).state({}));
  if (state.outcome !== "ok") throw new Error("Cannot happen: no credential was presented");
  return state;
}

/** The same, and only where something was stored already: for what only reads. */
export async function existing(asked: OwnersRequest, name: string | undefined) {
  const target = targetOf(asked, name ?? "");
  const state = target && (await stateOf(asked, target.id));
  return target === undefined || state === undefined || state.currency === null ? undefined : { id: target.id, state };
}

export async function showEnvelope(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const { id, state } = found;
  const [keys, summary] = await Promise.all([keysOf(asked, id), envelopeSummary(asked.env, id)]);
  return json({
    envelope_id: id,
    client_reference_id: writeReference(asked.keys.reference, id),
    currency: state.currency ?? asked.currency.code,
    balance_micros: state.balance_micros,
    available_micros: state.available_micros,
    held_micros: state.held_micros,
    seq: state.seq,
    frozen: state.frozen,
    open_disputes: state.open_disputes,
    holds: state.holds,
    lots: state.lots ?? [],
    windows: state.windows,
    prepaid: state.prepaid ?? true,
    name: state.name ?? null,
    owner_account_id: state.owner_account_id ?? null,
    keys,
    autoTopUp: state.autoTopUp,
    summary,
  } satisfies EnvelopeAnswer);
}

const KEYS_SHOWN = 100;

async function keysOf({ env }: OwnersRequest, id: string): Promise<readonly KeyView[]> {
  const listed = await attempt(() => envelopeStub(env, id).spenders({ before: null, limit: KEYS_SHOWN }));
  if (listed.outcome !== "ok") throw new Error("Cannot happen: no credential was presented");
  return listed.spenders.map(({ number, ...key }) => key);
}

export async function listEntries(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const page = readNumberedPage(asked.url);
  if (page instanceof Response) return page;
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const entries = await attempt(() => envelopeStub(asked.env, found.id).entries({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(entries, limit, ({ seq }) => seq);
  return json({ entries: lines, next } satisfies EntriesAnswer);
}

export async function listAudit(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const page = readNumberedPage(asked.url);
  if (page instanceof Response) return page;
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const audit = await attempt(() => envelopeStub(asked.env, found.id).audit({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(audit, limit, ({ audit_id }) => audit_id);
  return json({ audit: lines, next } satisfies AuditAnswer);
}

export async function listPayments(asked: OwnersRequest, { id: name }: Params): Promise<Response> {
  const limit = readLimit(asked.url);
  const before = readPlace(asked.url);
  if (limit === undefined || before === undefined) return invalid("cursor or limit is malformed");
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const payments = await attempt(() => envelopeStub(asked.env, found.id).payments({ before, limit: limit + 1 }));
  const shown = payments.slice(0, limit);
  const last = shown.at(-1);
  const more = payments.length > limit && last !== undefined;
  return json({ payments: shown, next: more ? writePlace(last) : null } satisfies PaymentsAnswer);
}
