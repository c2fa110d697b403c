/** The owner's paths. Loaded only when one is asked for; behind one door, that is not there at all without a secret. */
import { IttyRouter } from "itty-router/IttyRouter";
import { isSameOrigin } from "./csrf.js";
import type { Price } from "./money.js";
import { checkOwner } from "./owner.js";
import { plainProblem } from "./refusal.js";
import { createTopUp, setAutoTopUp, showAutoTopUp } from "./topup-routes.js";
import { assignPayment, unclaimedPayments } from "./unclaimed.js";
import type { Visit } from "./visit.js";

const BODY_CHARS_MAX = 16_384;

export async function answerOwnersPath(visit: Visit<unknown>): Promise<Response> {
  const owner = checkOwner(visit.request, visit.env);
  if (owner === "absent") return notFound();
  if (owner === "refused") {
    return plainProblem(401, "unauthorized", "Unauthorized", "The owner's secret is needed here.", {
      "WWW-Authenticate": 'Basic realm="with-envelope", charset="UTF-8"',
    });
  }
  // Browsers send Basic credentials by themselves, so the owner's browser could be made to act for another site.
  const changes = visit.request.method !== "GET" && visit.request.method !== "HEAD";
  if (changes && !isSameOrigin(visit.request, visit.url)) {
    return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
  }
  const { admin, stripeTopup, envelopes } = visit.options.paths;
  const router = IttyRouter();
  if (admin !== false) {
    router.get(`${admin}/api/unclaimed`, () => listUnclaimed(visit));
    router.post(`${admin}/api/unclaimed/:payment/assign`, ({ params }) => assign(visit, String(params["payment"])));
  }
  if (stripeTopup !== false) {
    router.post(stripeTopup, async () => createTopUp(visit, await readJson(visit.request)));
    router.all(stripeTopup, () => useMethods("POST"));
  }
  if (envelopes !== false) {
    const path = `${envelopes}/:id/auto-topup`;
    router.get(path, ({ params }) => showAutoTopUp(visit, String(params["id"])));
    router.put(path, async ({ params }) => setAutoTopUp(visit, String(params["id"]), await readJson(visit.request)));
    router.all(path, () => useMethods("GET, PUT"));
  }
  return (await router.fetch(visit.request)) ?? notFound();
}

function useMethods(allow: string): Response {
  return plainProblem(405, "method-not-allowed", "Method not allowed", `Use ${allow}.`, { Allow: allow });
}

async function listUnclaimed({ env }: Visit<unknown>): Promise<Response> {
  return Response.json({ unclaimed: await unclaimedPayments(env) }, { headers: { "Cache-Control": "no-store" } });
}

async function assign({ env, request, currency }: Visit<unknown>, payment: string): Promise<Response> {
  const body = await readJson(request);
  const { envelopeId, amount } = body ?? {};
  if (typeof envelopeId !== "string") return invalid('The body must be JSON such as {"envelopeId":"…"}');
  const assignment = {
    paymentId: decodeURIComponent(payment),
    envelopeId,
    ...(amount === undefined ? {} : { amount: amount as Price }),
  };
  const result = await assignPayment(env, assignment, currency.code);
  switch (result.outcome) {
    case "credited":
      return Response.json(result, { headers: { "Cache-Control": "no-store" } });
    case "taken":
      return plainProblem(409, "taken", "Already assigned", "This payment is in an envelope already.");
    case "unknown":
      return notFound();
    case "invalid":
      return invalid(result.detail);
  }
}

async function readJson(request: Request): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (!/^application\/json\b/i.test(request.headers.get("Content-Type") ?? "")) return undefined;
  const text = await request.text();
  if (text.length > BODY_CHARS_MAX) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function invalid(detail: string): Response {
  return plainProblem(400, "invalid-request", "Invalid request", detail);
}

function notFound(): Response {
  return plainProblem(404, "not-found", "Not found", "There is nothing here.");
}
