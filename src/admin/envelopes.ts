/** One envelope, as its owner sees it: asked of the envelope itself, so exact now. Changes nothing. */
import { attempt } from "../attempt.js";
import { type Micros, ZERO } from "../money.js";
import { writeReference } from "../reference.js";
import { envelopeStub } from "../stubs.js";
import { json, notFound, pageOf, readNumberedPage, readTimedPage, timedCursor } from "./answers.js";
import type { AuditAnswer, EntriesAnswer, EnvelopeAnswer, PaymentsAnswer } from "./api.js";
import type { OwnersRequest } from "./asked.js";
import { envelopeSummary } from "./figures.js";
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
  if (state.outcome === "unauthorized") throw new Error("Cannot happen: no credential was presented");
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
    windows: state.windows,
    keys: [],
    autoTopUp: state.autoTopUp,
    summary: await envelopeSummary(asked.env, id),
  } satisfies EnvelopeAnswer);
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
  const page = readTimedPage(asked.url);
  if (page instanceof Response) return page;
  const { limit } = page;
  const before = page.before === null ? null : { at_ms: page.before.at_ms, payment_id: page.before.id };
  const found = await existing(asked, name);
  if (found === undefined) return notFound();
  const payments = await attempt(() => envelopeStub(asked.env, found.id).payments({ before, limit: limit + 1 }));
  const shown = payments.slice(0, limit);
  const last = shown.at(-1);
  const more = payments.length > limit && last !== undefined;
  return json({
    payments: shown,
    next: more ? timedCursor(last.at_ms, last.payment_id) : null,
  } satisfies PaymentsAnswer);
}
