/** Lists of one envelope, asked of itself, newest first. */
import { attempt } from "../../attempt.js";
import { envelopeStub } from "../../stubs.js";
import { invalid, json, notFound, pageOf, readLimit, readNumberedPage } from "../answers.js";
import { existing } from "../envelopes.js";
import type { Handler } from "./called.js";
import { entryView, isoOf, topUpView, usageView } from "./views.js";

export const listEntries: Handler<"listEntries"> = async (called) => {
  const page = readNumberedPage(called.url);
  if (page instanceof Response) return page;
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const entries = await attempt(() => envelopeStub(called.env, found.id).entries({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(entries, limit, ({ seq }) => seq);
  return json({ entries: lines.map(entryView), next });
};

export const listAudit: Handler<"listAudit"> = async (called) => {
  const page = readNumberedPage(called.url);
  if (page instanceof Response) return page;
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const audit = await attempt(() => envelopeStub(called.env, found.id).audit({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(audit, limit, ({ audit_id }) => audit_id);
  const shown = lines.map(({ audit_id, ...line }) => ({ id: audit_id, at: isoOf(line.at_ms), ...line }));
  return json({ audit: shown, next });
};

export const listTopUps: Handler<"listTopUps"> = async (called) => {
  const page = readNumberedPage(called.url);
  if (page instanceof Response) return page;
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const topups = await attempt(() => envelopeStub(called.env, found.id).topUps({ before, limit: limit + 1 }));
  const { lines, next } = pageOf(topups, limit, ({ topup_id }) => topup_id);
  return json({ topups: lines.map(topUpView), next });
};

/** Two numbered lists in one order of time: charges of the ledger, and refusals that were recorded. A cursor holds a place in both. */
export const listUsage: Handler<"listUsage"> = async (called) => {
  const limit = readLimit(called.url);
  const cursor = called.url.searchParams.get("cursor");
  const places = /^([0-9]{1,16})\.([0-9]{1,16})$/.exec(cursor ?? "");
  if (limit === undefined || (cursor !== null && places === null)) return invalid("cursor or limit is malformed");
  const before = places === null ? null : { seq: Number(places[1]), record_id: Number(places[2]) };
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { records, next } = await attempt(() => envelopeStub(called.env, found.id).usage({ before, limit }));
  return json({ usage: records.map(usageView), next: next && `${next.seq}.${next.record_id}` });
};
