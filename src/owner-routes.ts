/** The owner's paths. Loaded only when one is asked for; behind one door, that is not there at all without a secret. */
import { IttyRouter } from "itty-router/IttyRouter";
import { notFound, readJson, useMethods } from "./admin/answers.js";
import { doorOf } from "./admin/door.js";
import { answerOutside, answerPage, enter } from "./admin/gate.js";
import type { NewToken, PresentedKey } from "./admin/owners-request.js";
import { addOwnersRoutes } from "./admin/routes.js";
import { credentialOf, keyCredentialOf, newToken, readKeyToken, writeToken } from "./identity/token.js";
import { createTopUp, setAutoTopUp, showAutoTopUp } from "./topup-routes.js";
import type { Visit } from "./visit.js";

export async function answerOwnersPath(visit: Visit<unknown>): Promise<Response> {
  const door = doorOf(visit.env);
  if (door === undefined) return notFound();
  const { admin } = visit.options.paths;
  const { pathname } = visit.url;
  const base = admin !== false && (pathname === admin || pathname.startsWith(`${admin}/`)) ? admin : false;
  const outside = base === false ? undefined : await answerOutside(visit, door, base);
  if (outside !== undefined) return outside;
  const owner = await enter(visit, door, base);
  if (owner instanceof Response) return owner;
  const page = base === false ? undefined : answerPage(visit, base);
  if (page !== undefined) return page;
  const router = IttyRouter();
  const { request, url, env, options, currency, keys } = visit;
  const asked = {
    request,
    url,
    env,
    options,
    currency,
    keys,
    owner,
    newToken: tokenFor(visit),
    readKey: keyReader(visit),
  };
  if (base !== false) {
    addOwnersRoutes(router, { ...asked, base });
  } else {
    addServersRoutes(router, visit, owner.actor);
    const { addControlRoutes } = await import("./admin/control/routes.js");
    addControlRoutes(router, { ...asked, base: "" });
  }
  return (await router.fetch(visit.request)) ?? notFound();
}

/** What the owner's server asks for. */
function addServersRoutes(router: ReturnType<typeof IttyRouter>, visit: Visit<unknown>, actor: string): void {
  const { stripeTopup, envelopes } = visit.options.paths;
  if (stripeTopup !== false) {
    router.post(stripeTopup, async () => createTopUp(visit, await readJson(visit.request), actor));
    router.all(stripeTopup, () => useMethods("POST"));
  }
  if (envelopes !== false) {
    const path = `${envelopes}/:id/auto-topup`;
    router.get(path, ({ params }) => showAutoTopUp(visit, String(params["id"])));
    router.put(path, async ({ params }) =>
      setAutoTopUp(visit, String(params["id"]), await readJson(visit.request), actor),
    );
    router.all(path, () => useMethods("GET, PUT"));
  }
}

function keyReader({ keys }: Visit<unknown>): (text: string) => PresentedKey | undefined {
  return (text) => {
    const key = readKeyToken(keys.token, text);
    return key && { envelope_id: key.envelopeId, credential: keyCredentialOf(key) };
  };
}

function tokenFor(visit: Visit<unknown>): (envelopeId: string) => NewToken {
  return (envelopeId) => {
    const token = { ...newToken(), envelopeId };
    return {
      hash: credentialOf(token).hash,
      write: (generation) => writeToken(visit.keys.token, { ...token, generation }),
    };
  };
}
