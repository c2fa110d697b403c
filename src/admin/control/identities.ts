/** Who may spend from an envelope beside its holder: identities that the owner's servers authorise and revoke. */
import { attempt } from "../../attempt.js";
import { authorizeIdentity, normalIdentity, revokeSpender } from "../../identities.js";
import { plainProblem } from "../../refusal.js";
import { spenderBody } from "../../spender-body.js";
import { readSettings } from "../../spender-settings.js";
import { envelopeStub } from "../../stubs.js";
import { invalid, json, keyUsed, notFound, pageOf, readNumberedPage } from "../answers.js";
import { existing } from "../envelopes.js";
import { created, type Handler, keyOf } from "./called.js";
import { authorOf, notPossible } from "./money.js";

export const authorize: Handler<"authorize"> = async (called) => {
  const { env, keys, options, body } = called;
  const { type, value, ...rest } = body;
  const identity = normalIdentity(type, value);
  if (identity === undefined) return invalid(`value is no ${type}`);
  const settings = readSettings(rest);
  if (typeof settings === "string") return invalid(settings);
  if (type === "API_KEY" && called.readKey(identity.value) !== undefined) {
    return notPossible("This is a key that was made here: it spends from its own envelope, and from no other.");
  }
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const by = authorOf(called, "authorized");
  const asked = { ...settings, envelope_id: found.id, identity, by, key: keyOf(called) };
  const outcome = await authorizeIdentity(env, keys, asked);
  switch (outcome.outcome) {
    case "authorized":
    case "found":
      return created(
        spenderBody(outcome.spender),
        `${options.paths.envelopes}/${found.id}/authorize/${outcome.spender.id}`,
      );
    case "differs":
      return conflict("It is authorised here already, with other settings: revoke it first.");
    case "taken":
      return conflict("Another envelope has this identity.");
    case "ended":
      return conflict("It was revoked meanwhile.");
    case "key_used":
      return keyUsed("This Idempotency-Key was used for another identity. Nothing was changed.");
    case "unknown":
      return notFound();
    case "invalid":
      return notPossible(`${outcome.detail}.`);
  }
};

export const listIdentities: Handler<"listIdentities"> = async (called) => {
  const page = readNumberedPage(called.url);
  if (page instanceof Response) return page;
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const { before, limit } = page;
  const input = { minted: false, before, limit: limit + 1 };
  const outcome = await attempt(() => envelopeStub(called.env, found.id).spenders(input));
  if (outcome.outcome !== "ok") return notFound();
  const { lines, next } = pageOf(outcome.spenders, limit, ({ number }) => number);
  return json({ identities: lines.map(spenderBody), next });
};

export const revokeIdentity: Handler<"revokeIdentity"> = async (called) => {
  const found = await existing(called, called.params["id"]);
  if (found === undefined) return notFound();
  const id = called.params["identityId"] ?? "";
  const by = authorOf(called, "revoked");
  const outcome = await revokeSpender(called.env, found.id, { id, minted: false, by });
  return outcome.outcome === "revoked" ? json(spenderBody(outcome.spender)) : notFound();
};

function conflict(detail: string): Response {
  return plainProblem(409, "conflict", "Conflict", detail);
}
