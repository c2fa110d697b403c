/** Our own paths. Loaded only when one of them is asked for. */
import { IttyRouter } from "itty-router/IttyRouter";
import { tellAlerts } from "./alerting.js";
import { attempt } from "./attempt.js";
import { readForm } from "./body.js";
import { cookiesOf } from "./cookies.js";
import { creditRules } from "./credit-rules.js";
import { isSameOrigin } from "./csrf.js";
import { payNonces, setCookie, setPayNonce, setRenewed, wasRenewed } from "./identity/cookie-jar.js";
import { bindingOf, newNonce } from "./identity/payer.js";
import { credentialOf, newToken, successors, type Token, writeToken } from "./identity/token.js";
import { minorNumber, ZERO } from "./money.js";
import { forbiddenProblem, plainProblem, unauthorizedProblem } from "./refusal.js";
import { reportPayment } from "./report.js";
import { ConfigurationError, testCheckout } from "./settings.js";
import { directoryStub } from "./shards.js";
import { giftOf } from "./sign-up-options.js";
import { hasStripeKey, webhookSecrets } from "./stripe-settings.js";
import { envelopeStub } from "./stubs.js";
import type { WebhookPorts } from "./topup/webhook.js";
import type { Visit } from "./visit.js";
import { EXPOSED_HEADERS, NO_STORE } from "./wire.js";

const stripeApi = () => import("./stripe-api.js");

type Route = (visit: Visit<unknown>) => Promise<Response> | Response;

export async function answerOwnPath<Env>(visit: Visit<Env>): Promise<Response> {
  const { paths } = visit.options;
  const router = IttyRouter();
  const add = (path: string | readonly string[] | false, methods: Readonly<Record<string, Route>>): void => {
    for (const one of path === false ? [] : typeof path === "string" ? [path] : path) {
      for (const [method, route] of Object.entries(methods))
        router[method]?.(one, () => route(visit as Visit<unknown>));
      const allow = Object.keys(methods)
        .map((method) => method.toUpperCase())
        .join(", ");
      router.all(one, () =>
        plainProblem(405, "method-not-allowed", "Method not allowed", `Use ${allow}.`, { Allow: allow }),
      );
    }
  };
  add(paths.me, { get: me, head: me, options: preflight });
  add(paths.rotateToken, { post: rotateToken });
  add(paths.stripeWebhook, { post: stripeWebhook });
  add(paths.pay, { get: pay });
  add(
    paths.paid,
    visit.options.loginByPayment ? { get: returned, head: paid, post: answered } : { get: paid, head: paid },
  );
  add(paths.testCheckout, { get: showTestCheckout, post: payTestCheckout });
  add(paths.health, { get: health, head: health });
  for (const path of [
    paths.admin && `${paths.admin}/*`,
    paths.stripeTopup,
    paths.envelopes && `${paths.envelopes}/*`,
    paths.usage,
  ]) {
    if (path !== false) router.all(path, () => answerOwner(visit as Visit<unknown>));
  }
  for (const path of paths.keys === false ? [] : [paths.keys, `${paths.keys}/*`]) {
    router.all(path, async () => (await import("./key-routes.js")).answerKeys(visit as Visit<unknown>));
  }
  const response: Response | undefined = await router.fetch(visit.request);
  // A path with a trailing slash too many, or the like: set up, but no route of it matches.
  return response ?? plainProblem(404, "not-found", "Not found", "There is nothing here.");
}

async function answerOwner(visit: Visit<unknown>): Promise<Response> {
  const { answerOwnersPath } = await import("./owner-routes.js");
  return answerOwnersPath(visit);
}

const health: Route = () => Response.json({ ok: true }, { headers: { "Cache-Control": "no-store" } });

const me: Route = async (visit) => {
  await visit.identify();
  const { currency } = visit;
  const headers = corsHeaders(visit);
  if (visit.caller.kind === "rejected") return unauthorizedProblem(headers);
  const asked = await visit.ask(
    async (caller) => {
      if (caller.kind === "fresh") return undefined;
      return attempt(() => envelopeStub(visit.env, caller.envelopeId).state(visit.asked(caller)));
    },
    () => UNAUTHORIZED,
  );
  if (asked?.outcome === "forbidden") return forbiddenProblem(asked.detail, headers);
  if (asked?.outcome === "unauthorized") {
    if (visit.caller.kind !== "cookie") return unauthorizedProblem(headers);
    visit.becomeFresh();
  }
  const state = asked?.outcome === "ok" ? asked : undefined;
  const balance_micros = state?.balance_micros ?? ZERO;
  headers.set("Cache-Control", NO_STORE);
  headers.append("Vary", "Cookie, Authorization");
  const body = {
    client_reference_id: visit.reference(),
    balance: minorNumber(balance_micros, currency),
    balance_micros,
    available_micros: state?.available_micros ?? ZERO,
    paid_micros: state?.paid_micros ?? balance_micros,
    promotional_micros: state?.promotional_micros ?? ZERO,
    expiring: state?.expiring ?? null,
    lots: state?.lots ?? [],
    currency: currency.code,
    paymentLink: visit.paymentLink(),
    registered: state?.funded ?? false,
    // Who paid is not who holds: anybody may pay into an envelope, so a payer's details are not told to its holder.
    name: null,
    email: null,
    verified_email: null,
    card_fingerprint: null,
    windows: state?.windows ?? [],
    ...(state?.spender && { spender: (await import("./spender-body.js")).spenderBody(state.spender) }),
    ...(visit.options.loginByPayment
      ? { limited: visit.caller.kind === "limited", limited_sessions: state?.limited_sessions ?? [] }
      : {}),
  };
  for (const cookie of cookiesOf(visit)) headers.append("Set-Cookie", cookie);
  // Sent again once a month, so that a browser which keeps coming back never loses its envelope to the cookie's age, and has
  // it signed with the newest secret. Not each time, and never one that was replaced: it would take a newer one's place.
  const renewed = wasRenewed(visit.url, visit.request.headers.get("Cookie"));
  if (visit.caller.kind === "cookie" && !state?.superseded && !renewed) {
    headers.append("Set-Cookie", setRenewed(visit.url));
    headers.append("Set-Cookie", setCookie(visit.url, writeToken(visit.keys.token, visit.caller.token)));
  }
  return Response.json(body, { headers });
};

const UNAUTHORIZED = { outcome: "unauthorized" } as const;

const preflight: Route = (visit) => {
  const headers = corsHeaders(visit);
  if (headers.has("Access-Control-Allow-Origin")) {
    headers.set("Access-Control-Allow-Methods", "GET");
    headers.set("Access-Control-Allow-Headers", "Authorization");
    headers.set("Access-Control-Max-Age", "600");
  }
  return new Response(null, { status: 204, headers });
};

/** No header at all for an origin that is not listed: never a wildcard, never a reflection. */
function corsHeaders(visit: Visit<unknown>): Headers {
  const headers = new Headers();
  if (visit.options.corsOrigins.size === 0) return headers;
  headers.append("Vary", "Origin");
  const origin = visit.request.headers.get("Origin") ?? "";
  if (visit.options.corsOrigins.has(origin)) {
    headers.set("Access-Control-Allow-Origin", origin);
    headers.set("Access-Control-Allow-Credentials", "true");
    headers.set("Access-Control-Expose-Headers", EXPOSED_HEADERS);
  }
  return headers;
}

/**
 * A new credential for the same envelope. Money stays where it is: only which token counts changes. Answers with the
 * same token however often it is asked, so that a double click or a lost answer locks nobody out.
 */
const rotateToken: Route = async (visit) => {
  await visit.identify();
  const { caller, request, url } = visit;
  if (caller.kind === "cookie" && !isSameOrigin(request, url)) {
    return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
  }
  if (caller.kind === "key") return forbiddenProblem("An API key is not rotated: make another, and revoke this one");
  if (caller.kind === "app" || caller.kind === "unresolved" || caller.kind === "identity") {
    const detail = "This caller is known by the app's own login: there is no token to rotate.";
    return plainProblem(409, "no-credential", "No credential", detail);
  }
  if (caller.kind === "limited") {
    const detail = "A session that a payment opened may spend, and nothing else.";
    return plainProblem(403, "limited-session", "Limited session", detail);
  }
  if (caller.kind !== "cookie" && caller.kind !== "bearer") return unauthorizedProblem();

  const next = await successorOf(visit, caller.token);
  if (next === undefined) return unauthorizedProblem();
  const token = writeToken(visit.keys.token, next);
  const headers = new Headers({ "Cache-Control": NO_STORE });
  if (caller.kind === "cookie") headers.append("Set-Cookie", setCookie(url, token));
  return Response.json(
    { success: true, message: "Token rotated successfully", ...(caller.kind === "bearer" ? { token } : {}) },
    { headers },
  );
};

/** `undefined` when the token no longer counts. */
async function successorOf(visit: Visit<unknown>, token: Token): Promise<Token | undefined> {
  const candidates = successors(visit.keys.rotation, token);
  const [likeliest] = candidates;
  const input = { credential: credentialOf(token), next: credentialOf(likeliest) };
  const rotate = (replaces?: string) =>
    attempt(() =>
      envelopeStub(visit.env, token.envelopeId).rotate(replaces === undefined ? input : { ...input, replaces }),
    );
  const outcome = await rotate();
  switch (outcome.outcome) {
    case "rotated":
      return likeliest;
    case "unfunded":
      // Nothing was ever paid: an identity that the old token says nothing about is the better one.
      return newToken();
    case "superseded": {
      // Issued before ENVELOPE_SECRET was rotated: the successor of then is found again with the secret of then.
      const known = candidates.find((candidate) => credentialOf(candidate).hash === outcome.hash);
      if (known !== undefined) return known;
      // And where that secret is listed no longer, nobody could ever rotate this token again.
      return (await rotate(outcome.hash)).outcome === "rotated" ? likeliest : undefined;
    }
    case "unauthorized":
      return undefined;
  }
}

const pay: Route = async (visit) => {
  await visit.identify();
  const { env } = visit;
  if (visit.caller.kind === "rejected" || (await visit.resolve()) === undefined) return unauthorizedProblem();
  visit.leaveLimited();
  const { known: caller } = visit;
  if (caller.kind === "cookie") {
    // A cookie that was replaced would have its holder pay into an envelope they can no longer open.
    const { credential } = visit.asked(caller);
    const state = await attempt(() => envelopeStub(env, caller.envelopeId).state({ credential }));
    if (state.outcome === "unauthorized") visit.becomeFresh();
  }
  const nonce = payerNonce(visit);
  const binding = nonce && bindingOf(visit.keys.pay[0], nonce, visit.self.envelopeId);
  const link = visit.paymentLink(binding);
  if (link === null) {
    return plainProblem(503, "misconfigured", "Not set up", "STRIPE_PAYMENT_LINK is not set.", {
      "Retry-After": "3600",
    });
  }
  const headers = new Headers({ Location: link, "Cache-Control": NO_STORE, "Referrer-Policy": "no-referrer" });
  for (const cookie of cookiesOf(visit)) headers.append("Set-Cookie", cookie);
  if (nonce !== undefined) headers.append("Set-Cookie", setPayNonce(visit.url, nonce));
  return new Response(null, { status: 303, headers });
};

/**
 * What this browser will be known by when it comes back. The one it has, so that payments in two tabs both are. `undefined` where
 * nothing could come of it: a caller whom the app knows, or who has no cookies.
 */
function payerNonce({ options, known, url, request }: Visit<unknown>): string | undefined {
  if (!options.loginByPayment || (known.kind !== "cookie" && known.kind !== "fresh")) return undefined;
  return payNonces(url, request.headers.get("Cookie"))[0] ?? newNonce();
}

const paid: Route = async () => (await import("./page.js")).thankYou();

const returned: Route = async (visit) => (await import("./paid.js")).showPaid(visit);

const answered: Route = async (visit) => (await import("./paid.js")).answerPaid(visit);

const stripeWebhook: Route = async (visit) => {
  const secrets = webhookSecrets(visit.env);
  const { handleWebhook } = await import("./topup/webhook.js");
  return handleWebhook(visit.request, secrets, webhookPorts(visit));
};

/** What the webhook needs of the house: it knows how to read Stripe, not where envelopes are. */
function webhookPorts(visit: Visit<unknown>): WebhookPorts {
  const { env, options } = visit;
  return {
    rules: creditRules(visit),
    ...directoryPorts(visit),
    paymentState: (envelope_id, payment_id) =>
      attempt(() => envelopeStub(env, envelope_id).paymentState({ payment_id })),
    report: async (envelope_id, report, reference) => {
      const told = { ...report, sign_up: giftOf(options.signUpGrant) };
      const outcome = await reportPayment(env, envelope_id, told, reference?.locationHint);
      tellAlerts(options, outcome.alerts, { envelope_id, currency: report.currency });
      if (outcome.outcome === "noted" && outcome.unbooked_micros !== undefined) {
        const { unbooked_micros: amount_micros } = outcome;
        options.onIncident({
          kind: "unbooked_reversal",
          payment_id: report.payment_id,
          envelope_id,
          amount_micros,
        });
      }
      return outcome;
    },
    knowsTopUp: async ({ envelope_id, attempt: name }) =>
      (await attempt(() => envelopeStub(env, envelope_id).topUp({ attempt: name }))) !== null,
    isListed: async (payment_id) =>
      (await attempt(() => directoryStub(env, payment_id).lookup({ payment_id }))) !== null,
    paymentOfInvoice: async (invoice) =>
      hasStripeKey(env) ? (await stripeApi()).fetchPaymentOfInvoice(env, invoice) : undefined,
    fetchObject: async ({ type, object_id }) => (await stripeApi()).fetchEventObject(env, type, object_id),
  };
}

function directoryPorts({
  env,
  options: { onIncident },
}: Visit<unknown>): Pick<WebhookPorts, "claim" | "claimant" | "route" | "settle" | "recordUnclaimed"> {
  return {
    claim: (payment_id, envelope_id) =>
      attempt(() => directoryStub(env, payment_id).claim({ payment_id, envelope_id })),
    claimant: (payment_id) => attempt(() => directoryStub(env, payment_id).claimant({ payment_id })),
    route: (parked) => attempt(() => directoryStub(env, parked.report.payment_id).route(parked)),
    settle: (settled) => attempt(() => directoryStub(env, settled.payment_id).settle(settled)),
    recordUnclaimed: async (payment) => {
      const { payment_id, reason } = payment;
      const { outcome } = await attempt(() => directoryStub(env, payment_id).recordUnclaimed(payment));
      if (outcome === "recorded") onIncident({ kind: "unclaimed_payment", payment_id, reason });
    },
  };
}

/** 404 unless it is on; the fault, by name, where it was asked for and is refused. */
function testCheckoutClosed({ env, url }: Visit<unknown>): Response | undefined {
  const state = testCheckout(env, url);
  if (state instanceof ConfigurationError) throw state;
  return state === "on" ? undefined : plainProblem(404, "not-found", "Not found", "There is nothing here.");
}

const showTestCheckout: Route = async (visit) => {
  const closed = testCheckoutClosed(visit);
  if (closed !== undefined) return closed;
  const { checkoutPage } = await import("./topup/test-checkout.js");
  return checkoutPage(visit.url.searchParams.get("client_reference_id") ?? "", visit.currency);
};

const FORM_BYTES_MAX = 8_192;

const payTestCheckout: Route = async (visit) => {
  const { env, request, url, currency, options } = visit;
  const closed = testCheckoutClosed(visit);
  if (closed !== undefined) return closed;
  if (!isSameOrigin(request, url)) {
    return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
  }
  const secrets = webhookSecrets(env);
  const { checkoutPage, minorFromMain, signedPayment } = await import("./topup/test-checkout.js");
  const form = await readForm(request, FORM_BYTES_MAX);
  if (form === undefined) {
    return plainProblem(413, "too-large", "Payload too large", "The body is larger than any form of this page.");
  }
  const reference = String(form.get("client_reference_id") ?? "");
  const amount = minorFromMain(String(form.get("amount") ?? ""), currency);
  if (amount === undefined) return checkoutPage(reference, currency, "Please give an amount above zero, such as 12.");

  const [payment_link = "plink_test"] = options.paymentLinks ?? [];
  const event = await signedPayment({ reference, amount, currency, payment_link }, url, secrets[0]);
  const { handleWebhook } = await import("./topup/webhook.js");
  const answer = await handleWebhook(event, secrets, webhookPorts(visit));
  if (!answer.ok) return answer;
  const { outcome } = await answer.json<{ outcome: string }>();
  if (outcome !== "credited") {
    const why =
      "It was kept for the owner: the reference is not one that this service made, or the amount is above options.stripe.maxCredit.";
    const { escapeHtml, page } = await import("./page.js");
    return page(
      "Not credited",
      `<h1>Not credited</h1><p>The webhook answered “${escapeHtml(outcome)}”. ${why}</p><p><a href="/">Back</a></p>`,
    );
  }
  return new Response(null, {
    status: 303,
    headers: { Location: options.paths.paid || "/", "Cache-Control": NO_STORE },
  });
};
