/** What the owner's server does about money that is to come in: asks for a PaymentIntent, and says whose card may be charged. */
import { attempt } from "./attempt.js";
import { bookPayment } from "./booking.js";
import type { Author, AutoTopUpState, NoteTopUpInput, TopUp } from "./contract.js";
import { isKey } from "./keys.js";
import { formatMain, minorFromMicros, parseMain, paymentDecimals } from "./money.js";
import { writeReference } from "./reference.js";
import { plainProblem } from "./refusal.js";
import { digest, randomBase62 } from "./secrets.js";
import { testCheckout } from "./settings.js";
import { directoryStub } from "./shards.js";
import { giftOf } from "./sign-up-options.js";
import { askForIntent, type IntentAnswer, isCardOf, testIntent } from "./stripe-intent.js";
import { hasStripeKey, stripeKey } from "./stripe-settings.js";
import { envelopeStub } from "./stubs.js";
import type { Visit } from "./visit.js";
import { HEADER } from "./wire.js";

type Body = Readonly<Record<string, unknown>> | undefined;

const ENVELOPE_ID = /^[0-9A-Za-z]{22}$/;

/**
 * A PaymentIntent for an envelope, once per `Idempotency-Key`. It is stored before Stripe is asked, so a retry asks for the
 * same one, and its webhook credits it whatever becomes of the answer. Without a key, each request makes one: nobody is charged
 * until it is confirmed.
 */
export async function createTopUp(visit: Visit<unknown>, body: Body, actor: string): Promise<Response> {
  const { env, currency, request } = visit;
  const key = request.headers.get(HEADER.idempotencyKey) ?? randomBase62(22);
  if (!isKey(key)) return invalid("Idempotency-Key must be 1 to 255 visible ASCII characters");
  const { envelopeId, amount } = body ?? {};
  if (typeof envelopeId !== "string" || !ENVELOPE_ID.test(envelopeId)) {
    return invalid('The body must be JSON such as {"envelopeId":"…","amount":"10"}');
  }
  const amount_micros = parseMain(amount);
  if (amount_micros === undefined || amount_micros === 0 || minorFromMicros(amount_micros, currency) === undefined) {
    return invalid(
      `amount must be a decimal above zero in ${currency.code}, with at most ${paymentDecimals(currency)} decimals`,
    );
  }
  // Paid, it would wait for the owner to assign it: better not asked for.
  if (amount_micros > visit.options.maxCredit) return invalid("amount must not be above options.stripe.maxCredit");
  // Before anything is stored: without it nothing could be finished.
  if (!isTest(visit)) stripeKey(env);
  // An envelope knows only its own keys: whose this one is, the directory knows.
  const payment_id = `topup-key:${digest(key)}`;
  const claim = await attempt(() => directoryStub(env, payment_id).claim({ payment_id, envelope_id: envelopeId }));
  if (claim.envelope_id !== envelopeId) return keyUsed();
  const reference = writeReference(visit.keys.reference, envelopeId);
  const begun = await attempt(() =>
    envelopeStub(env, envelopeId).beginTopUp({
      key,
      amount_micros,
      currency: currency.code,
      reference,
      by: byServer(actor),
    }),
  );
  if (begun.outcome === "conflict") return keyUsed();
  if (begun.outcome === "invalid") return invalid(begun.detail);
  return finishTopUp(visit, envelopeId, begun);
}

/** With the test checkout, and without an account, nobody is asked: only a webhook that is signed for it says that it was paid. */
function isTest({ env, url }: Visit<unknown>): boolean {
  return !hasStripeKey(env) && testCheckout(env, url) === "on";
}

interface Begun {
  readonly topup: TopUp;
  readonly attempt: string;
  readonly reference: string;
}

async function finishTopUp(visit: Visit<unknown>, envelopeId: string, begun: Begun): Promise<Response> {
  const { env, options } = visit;
  const { topup, attempt: stripeAttempt, reference } = begun;
  // Refused for good, before there was an intent: asking again would be refused again.
  if (topup.status === "FAILED" && topup.payment_id === null) return rejected(topup.code);
  const { amount_micros, currency, payment_id } = topup;
  const asked = { attempt: stripeAttempt, amount_micros, currency, reference, payment_id, card: undefined };
  const answer = isTest(visit) ? testIntent(asked) : await askForIntent(env, asked);
  if (answer.outcome === "unknown") {
    const cause = new Error(`Stripe: ${answer.code}`);
    options.onIncident({ kind: "outage", path: visit.url.pathname, served: false, cause });
    return stripeDown();
  }
  if (answer.outcome === "paid") await book(visit, envelopeId, begun, answer);
  const told: NoteTopUpInput = { attempt: stripeAttempt, ...stateOf(answer) };
  const noted = await attempt(() => envelopeStub(env, envelopeId).noteTopUp(told));
  if (answer.outcome === "rejected") return rejected(answer.code);
  const client_secret = "client_secret" in answer ? answer.client_secret : null;
  return show(noted ?? topup, client_secret);
}

function stateOf(answer: Exclude<IntentAnswer, { outcome: "unknown" }>): Omit<NoteTopUpInput, "attempt"> {
  switch (answer.outcome) {
    case "paid":
      return { status: "SUCCEEDED", payment_id: answer.payment_id, failure: null, code: null };
    case "pending":
      return { status: "PENDING", payment_id: answer.payment_id, failure: null, code: null };
    case "declined":
      return { status: "FAILED", payment_id: answer.payment_id, failure: "declined", code: answer.code };
    case "rejected":
      return { status: "FAILED", payment_id: null, failure: "rejected", code: answer.code };
  }
}

/** Stripe's own answer says it was paid: no need to wait for its webhook. */
async function book(
  { env, options }: Visit<unknown>,
  envelopeId: string,
  begun: Begun,
  { payment_id, facts }: Extract<IntentAnswer, { outcome: "paid" | "pending" }>,
): Promise<void> {
  const report = {
    payment_id,
    currency: facts.currency,
    payment: facts,
    topup: { attempt: begun.attempt, code: null },
    sign_up: giftOf(options.signUpGrant),
  };
  await bookPayment(
    {
      reference: { envelopeId, locationHint: undefined, binding: undefined },
      client_reference_id: begun.reference,
      report,
    },
    {
      claim: (id, envelope_id) => attempt(() => directoryStub(env, id).claim({ payment_id: id, envelope_id })),
      report: (id, told) => attempt(() => envelopeStub(env, id).report(told)),
      settle: (settled) => attempt(() => directoryStub(env, settled.payment_id).settle(settled)),
      recordUnclaimed: (one) => attempt(() => directoryStub(env, one.payment_id).recordUnclaimed(one)),
    },
  );
}

function show(topup: TopUp, clientSecret: string | null): Response {
  const { payment_id, status, amount_micros, currency } = topup;
  return json({
    paymentIntentId: payment_id,
    clientSecret,
    status,
    amount: formatMain(amount_micros),
    amount_micros,
    currency,
  });
}

export async function showAutoTopUp({ env }: Visit<unknown>, id: string): Promise<Response> {
  if (!ENVELOPE_ID.test(id)) return notFound();
  const state = await attempt(() => envelopeStub(env, id).state({}));
  return json({ autoTopUp: state.outcome === "ok" ? state.autoTopUp : null });
}

/**
 * Only the owner's server can say that a customer's card belongs to an envelope's holder: anybody may pay into any envelope,
 * so a payment proves nothing of the kind (docs/decisions/0008).
 */
export async function setAutoTopUp(visit: Visit<unknown>, id: string, body: Body, actor: string): Promise<Response> {
  const { env, options } = visit;
  if (!ENVELOPE_ID.test(id)) return notFound();
  const { enabled, customer, paymentMethod } = body ?? {};
  const by = byServer(actor);
  // Possible whatever the options say: nothing must keep an owner from stopping it.
  if (enabled === false) {
    return answerAutoTopUp(await attempt(() => envelopeStub(env, id).setAutoTopUp({ enabled, by })));
  }
  if (enabled !== true || !isId(customer, /^cus_\w{1,64}$/) || !isId(paymentMethod, /^(pm|card|src)_\w{1,64}$/)) {
    return invalid('The body must be JSON such as {"enabled":true,"customer":"cus_…","paymentMethod":"pm_…"}');
  }
  if (options.autoTopUp === undefined) {
    return plainProblem(409, "auto-topup-off", "Auto top-up is off", "options.autoTopUp is not set.");
  }
  const known = await isCardOf(env, { customer, payment_method: paymentMethod });
  if (known === undefined) return stripeDown();
  if (!known) {
    return plainProblem(422, "invalid-card", "Invalid card", "Stripe knows no such payment method of this customer.");
  }
  const input = { enabled, currency: visit.currency.code, customer, payment_method: paymentMethod, by };
  return answerAutoTopUp(await attempt(() => envelopeStub(env, id).setAutoTopUp(input)));
}

/** A server does what its own code says: it gives no reason. */
function byServer(actor: string): Author {
  return { actor, reason: null };
}

function answerAutoTopUp(state: AutoTopUpState | null): Response {
  return json({ autoTopUp: state });
}

function isId(value: unknown, shape: RegExp): value is string {
  return typeof value === "string" && shape.test(value);
}

function json(body: unknown): Response {
  return Response.json(body, { headers: { "Cache-Control": "no-store" } });
}

function invalid(detail: string): Response {
  return plainProblem(400, "invalid-request", "Invalid request", detail);
}

function notFound(): Response {
  return plainProblem(404, "not-found", "Not found", "There is nothing here.");
}

function keyUsed(): Response {
  const detail = "This Idempotency-Key was used for another top-up. Nothing was made.";
  return plainProblem(422, "idempotency-conflict", "Idempotency conflict", detail);
}

/** Only Stripe's code: its texts quote what was sent. */
function rejected(code: string | null): Response {
  return plainProblem(422, "payment-rejected", "Payment rejected", `Stripe does not take this payment: ${code}.`);
}

function stripeDown(): Response {
  const detail = "Stripe could not be asked. Send the same request again, with the same Idempotency-Key.";
  return plainProblem(503, "unavailable", "Stripe unavailable", detail, { "Retry-After": "2" });
}
