/**
 * `/keys`: API keys of an envelope. Its holder manages their own, a key with the scope for it those it made, the owner anybody's.
 * Loaded with the first request to one of these paths.
 */
import { IttyRouter } from "itty-router/IttyRouter";
import { crossSite, invalid, json, notFound, pageOf, readJson, readNumberedPage, useMethods } from "./admin/answers.js";
import { doorOf } from "./admin/door.js";
import { enter } from "./admin/gate.js";
import { targetOf } from "./admin/target.js";
import { attempt } from "./attempt.js";
import type { AnyCredential, Author, ManagingRefusal } from "./contract.js";
import { isSameOrigin } from "./csrf.js";
import { revokeSpender } from "./identities.js";
import type { Known } from "./identity/caller.js";
import { keyCredentialOf, newKeyToken, writeKeyToken } from "./identity/token.js";
import { isKey } from "./keys.js";
import { forbiddenProblem, plainProblem, unauthorizedProblem } from "./refusal.js";
import { spenderBody } from "./spender-body.js";
import { readSettings } from "./spender-settings.js";
import { envelopeStub } from "./stubs.js";
import type { Visit } from "./visit.js";
import { HEADER } from "./wire.js";

export async function answerKeys(visit: Visit<unknown>): Promise<Response> {
  const path = String(visit.options.paths.keys);
  const router = IttyRouter();
  router.post(path, () => mint(visit));
  router.get(path, () => list(visit));
  router.all(path, () => useMethods("GET, POST"));
  router.delete(`${path}/:id`, ({ params }) => revoke(visit, String(params["id"])));
  return (await router.fetch(visit.request)) ?? notFound();
}

/** The secret is told once: only its hash is kept. */
async function mint(visit: Visit<unknown>): Promise<Response> {
  const { env, request, keys, currency } = visit;
  const body = await readJson(request);
  if (body === undefined) return invalid("The body must be a JSON object, sent as application/json");
  const key = request.headers.get(HEADER.idempotencyKey);
  if (!isKey(key)) return keyNeeded();
  const { envelopeId, ...rest } = body;
  const settings = readSettings(rest);
  if (typeof settings === "string") return invalid(settings);
  const manager = await managerOf(visit, envelopeId);
  if (manager instanceof Response) return manager;
  const { by, credential } = manager;
  const token = newKeyToken(manager.envelopeId);
  const text = writeKeyToken(keys.token, token);
  const { api_key: id, hash } = keyCredentialOf(token);
  const input = { ...settings, id, hash, last4: text.slice(-4), currency: currency.code, key, by, credential };
  const outcome = await attempt(() => envelopeStub(env, manager.envelopeId).mintKey(input));
  switch (outcome.outcome) {
    case "minted":
      return json({ key: text, ...spenderBody(outcome.spender) }, 201);
    case "replayed":
      return plainProblem(
        409,
        "shown-once",
        "Shown once",
        "With this Idempotency-Key a key was made and shown. It is not kept: use a new Idempotency-Key for a new key.",
      );
    case "unfunded":
      return plainProblem(409, "unfunded", "Nothing to spend", "Nothing was ever put into this envelope.");
    case "invalid":
      return invalid(outcome.detail);
    default:
      return refused(outcome);
  }
}

async function list(visit: Visit<unknown>): Promise<Response> {
  const { env, url } = visit;
  const page = readNumberedPage(url);
  if (page instanceof Response) return page;
  const manager = await managerOf(visit, url.searchParams.get("envelopeId") ?? undefined);
  if (manager instanceof Response) return manager;
  const { before, limit } = page;
  const { envelopeId, credential } = manager;
  const input = { minted: true, before, limit: limit + 1, credential };
  const outcome = await attempt(() => envelopeStub(env, envelopeId).spenders(input));
  if (outcome.outcome !== "ok") return refused(outcome);
  const { lines, next } = pageOf(outcome.spenders, limit, ({ number }) => number);
  return json({ keys: lines.map(spenderBody), next });
}

async function revoke(visit: Visit<unknown>, id: string): Promise<Response> {
  const { env, request, url } = visit;
  if (!isKey(request.headers.get(HEADER.idempotencyKey))) return keyNeeded();
  const manager = await managerOf(visit, url.searchParams.get("envelopeId") ?? undefined);
  if (manager instanceof Response) return manager;
  const { by, credential } = manager;
  const outcome = await revokeSpender(env, manager.envelopeId, { id, minted: true, by, credential });
  if (outcome.outcome === "unknown") return notFound();
  return outcome.outcome === "revoked" ? json(spenderBody(outcome.spender)) : refused(outcome);
}

function keyNeeded(): Response {
  return invalid("An Idempotency-Key of 1 to 255 visible ASCII characters is needed");
}

function refused(outcome: ManagingRefusal): Response {
  return outcome.outcome === "forbidden" ? forbiddenProblem(outcome.detail) : unauthorizedProblem();
}

/** Whose keys are managed, and by whom. */
interface Manager {
  readonly envelopeId: string;
  /** Of a holder or a key; the Worker vouches for the owner, and for who the app's own login names. */
  readonly credential: AnyCredential | undefined;
  readonly by: Author;
}

const OURS = /^bearer +we_[a-z]\d_/i;

/**
 * The app's word first, then a token of ours: that is the holder, or a key. Anything else that is presented by name has to be the
 * owner's, and so has a request about an envelope that it names.
 */
async function managerOf(visit: Visit<unknown>, envelopeId: unknown): Promise<Manager | Response> {
  if (envelopeId !== undefined && typeof envelopeId !== "string") return invalid("envelopeId must be a text");
  await visit.identify();
  const authorization = visit.request.headers.get("Authorization");
  const byName = authorization === null ? envelopeId !== undefined : !OURS.test(authorization.trim());
  return byName && !visit.vouched ? ownerOf(visit, envelopeId) : holderOf(visit, envelopeId);
}

async function ownerOf(visit: Visit<unknown>, envelopeId: string | undefined): Promise<Manager | Response> {
  const door = doorOf(visit.env);
  if (door === undefined) return unauthorizedProblem();
  const owner = await enter(visit, door, false);
  if (owner instanceof Response) return owner;
  if (envelopeId === undefined) return invalid("envelopeId is needed: an envelope's id, or its client_reference_id");
  const target = targetOf(visit, envelopeId);
  if (target === undefined) return notFound();
  return { envelopeId: target.id, credential: undefined, by: { actor: owner.actor, reason: null } };
}

async function holderOf(visit: Visit<unknown>, envelopeId: string | undefined): Promise<Manager | Response> {
  const { request, url } = visit;
  if (visit.caller.kind === "rejected") return unauthorizedProblem();
  const caller = await visit.resolve();
  if (caller === undefined || caller.kind === "fresh") return unauthorizedProblem();
  // What a browser sends by itself, another site's page can have it send.
  const ambient = caller.kind !== "bearer" && caller.kind !== "key";
  if (ambient && request.method !== "GET" && !isSameOrigin(request, url)) return crossSite();
  if (envelopeId !== undefined && envelopeId !== caller.envelopeId) {
    return forbiddenProblem("This envelope is another holder's");
  }
  const { credential } = visit.asked(caller);
  return { envelopeId: caller.envelopeId, credential, by: { actor: actorOf(caller), reason: null } };
}

function actorOf(caller: Known): string {
  if (caller.kind === "key") return `key:${caller.key.keyId}`;
  return caller.kind === "identity" ? `identity:${caller.identityId}` : "holder";
}
