/**
 * Login by payment: what the return page offers to the browser that paid, and what comes of accepting it. Loaded only where
 * `options.loginByPayment` is on.
 *
 * Showing the page decides nothing. Two things can be accepted, each with a form that only this browser can send: that the card
 * just used is kept for the envelope it paid into, and that the envelope which keeps it already is opened for a day. Whatever
 * does not fit is answered with the same page that every payer sees, and nothing more is said.
 */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import { cardOwner, claimCard } from "./cards.js";
import { isSameOrigin } from "./csrf.js";
import { forgetLimited, forgetPayNonce, payNonces, setLimited } from "./identity/cookie.js";
import { boundNonce, cardHashes, isTicketFor, limitedTokenFor, type Offered, writeTicket } from "./identity/payer.js";
import { credentialOf, limitedCredentialOf, writeLimitedToken } from "./identity/token.js";
import { escapeHtml, page, thankYou } from "./page.js";
import { plainProblem } from "./refusal.js";
import { ConfigurationError, hasStripeKey } from "./settings.js";
import { fetchReturnedSession } from "./stripe-api.js";
import { envelopeStub } from "./stubs.js";
import { isSessionId, type ReturnedPayment, readReturn } from "./topup/returned.js";
import { creditRules, type Visit } from "./visit.js";
import { NO_STORE } from "./wire.js";

/** What this payment may do for this browser. */
interface Offer extends Offered {
  readonly payment: ReturnedPayment;
  readonly cards: readonly [string, ...string[]];
}

export async function showPaid(visit: Visit<unknown>): Promise<Response> {
  const offer = await quietly(visit, () => examine(visit, visit.url.searchParams.get("session_id") ?? ""));
  return typeof offer === "object" ? offerPage(visit, offer) : thanks(visit);
}

export async function answerPaid(visit: Visit<unknown>): Promise<Response> {
  const { request, url } = visit;
  if (!isSameOrigin(request, url)) {
    return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
  }
  const form = await request.formData().catch(() => undefined);
  const field = (name: string): string => String(form?.get(name) ?? "");
  if (field("action") === "leave") return leave(visit);
  const ticket = field("ticket");
  const answer = await quietly(visit, async () => {
    const offer = await examine(visit, field("session_id"));
    if (offer === undefined) return undefined;
    // Out of date, or for something else: what is on offer now is offered anew.
    if (!isTicketFor(visit.keys.ticket, offer, ticket, Date.now())) return offerPage(visit, offer);
    return offer.kind === "open" ? open(visit, offer) : remember(visit, offer);
  });
  if (answer === "failed") return againPage(visit, field("session_id"), ticket);
  return answer ?? thanks(visit);
}

/** A payer is never shown our troubles; the owner is told of them. */
async function quietly<T>(visit: Visit<unknown>, work: () => Promise<T>): Promise<T | undefined | "failed"> {
  try {
    return await work();
  } catch (error) {
    const { onIncident } = visit.options;
    if (error instanceof ConfigurationError) onIncident({ kind: "configuration", message: error.message });
    else {
      const cause = error instanceof EnvelopeUnreachableError ? error.cause : error;
      onIncident({ kind: "outage", path: visit.url.pathname, served: true, cause });
    }
    return "failed";
  }
}

/**
 * Everything that has to hold before a payment says who sits here, the cheapest first: this browser started it (its nonce
 * is in the reference) and ended it (it knows the session), it is ours, paid, and new, and its card is one person's own.
 */
async function examine(visit: Visit<unknown>, session_id: string): Promise<Offer | undefined> {
  const { env, url, request, keys } = visit;
  const nonces = payNonces(url, request.headers.get("Cookie"));
  if (!isSessionId(session_id) || nonces.length === 0 || !hasStripeKey(env)) return undefined;
  await visit.identify();
  // Whoever the app or a bearer token speaks for has no use for a cookie of ours.
  if (visit.caller.kind === "rejected" || (visit.self.kind !== "cookie" && visit.self.kind !== "fresh"))
    return undefined;

  const session = await fetchReturnedSession(env, session_id);
  const payment = readReturn(session, session_id, creditRules(visit), Math.floor(Date.now() / 1000));
  if (payment.outcome === "refused") return undefined;
  const nonce = boundNonce(keys.pay, nonces, payment.reference);
  if (nonce === undefined) return undefined;
  return offerFor(visit, payment, nonce, session_id);
}

async function offerFor(
  visit: Visit<unknown>,
  payment: ReturnedPayment,
  nonce: string,
  session_id: string,
): Promise<Offer | undefined> {
  const { env, keys, self, request } = visit;
  const { payment_id, reference } = payment;
  const payer = reference.envelopeId;
  const credential = "token" in self && self.envelopeId === payer ? credentialOf(self.token) : undefined;
  const cards = cardHashes(keys.card, payment.card);
  const asked = { payment_id, card: cards[0], credential };
  const { outcome, holder } = await attempt(() => envelopeStub(env, payer).returned(asked));
  // A form sent twice, or again after a lost answer, is answered as the first one was.
  if (outcome === "reversed" || (outcome === "used" && request.method !== "POST")) return undefined;
  const { envelope_id: owner, blocked } = await cardOwner(env, cards);
  if (blocked) return undefined;
  const envelope_id = owner ?? payer;
  const kept = owner !== null && (await attempt(() => envelopeStub(env, envelope_id).keeps({ cards })));
  const offer = { nonce, session_id, envelope_id, payment, cards };
  if (envelope_id === payer) return holder && !kept ? { ...offer, kind: "remember" } : undefined;
  return kept && envelope_id !== visit.known.envelopeId && envelope_id !== self.envelopeId
    ? { ...offer, kind: "open" }
    : undefined;
}

/**
 * The payer's envelope first: it notes the session in the turn that finds the payment good, so that a reversal which comes at
 * any time after that finds the session to end. Then the other envelope lets it in. Interrupted, it is finished by sending the
 * form again: every step, done again, changes nothing, and the token is the same.
 */
async function open(visit: Visit<unknown>, offer: Offer): Promise<Response | undefined> {
  const { env, url, keys, options } = visit;
  const { envelope_id, cards, payment } = offer;
  const { payment_id, reference } = payment;
  const token = limitedTokenFor(keys.login, offer);
  const session = { envelope_id, key_id: token.keyId };
  const payer = () => envelopeStub(env, reference.envelopeId);
  const { outcome } = await attempt(() => payer().bear({ payment_id, card: cards[0], session }));
  if (outcome === "unpaid") return againPage(visit, offer.session_id, writeTicket(keys.ticket, offer, Date.now()));
  if (outcome === "refused") return undefined;
  // Found under an earlier secret: from now on it is found under the current one too.
  if (cards.length > 1) await claimCard(env, cards, envelope_id);
  const input = { ...limitedCredentialOf(token), payment_id, cards };
  const admitted = await attempt(() => envelopeStub(env, envelope_id).admit(input));
  if (admitted.outcome === "ended") return undefined;

  options.onIncident({ kind: "login_by_payment", payment_id, envelope_id });
  const seconds = Math.max(0, Math.floor((admitted.expires_at_ms - Date.now()) / 1000));
  return back(visit, [setLimited(url, writeLimitedToken(keys.token, token), seconds), forgetPayNonce(url)]);
}

/** The holder's envelope first, for the same reason: a dispute that comes at any time after that finds the card to block. */
async function remember(visit: Visit<unknown>, offer: Offer): Promise<Response | undefined> {
  const { env, keys, self } = visit;
  const { envelope_id, cards, payment } = offer;
  if (!("token" in self)) return undefined;
  const input = { payment_id: payment.payment_id, card: cards[0], credential: credentialOf(self.token) };
  const { outcome } = await attempt(() => envelopeStub(env, envelope_id).keepCard(input));
  if (outcome === "unpaid") return againPage(visit, offer.session_id, writeTicket(keys.ticket, offer, Date.now()));
  if (outcome === "refused") return undefined;
  const card = await claimCard(env, cards, envelope_id);
  if (card.blocked) return undefined;
  // Another browser with the same card was faster: it is that one's, and may be opened.
  if (card.envelope_id !== envelope_id) {
    const now = await examine(visit, offer.session_id);
    return now && offerPage(visit, now);
  }
  return page(
    "Card kept",
    `<h1>Card kept</h1><p>If this browser ever loses its balance, pay with this card again and it can be opened from there.</p>
<p><a class="button" href="/">Continue</a></p>`,
  );
}

/** Back to who this browser was. The session ends with it, so that a copy of its cookie is worth nothing either. */
async function leave(visit: Visit<unknown>): Promise<Response> {
  const { caller, env, url } = visit;
  if (caller.kind === "limited") {
    const { envelopeId, limited } = caller;
    await quietly(visit, () => attempt(() => envelopeStub(env, envelopeId).endLimited({ key_id: limited.keyId })));
  }
  return back(visit, [forgetLimited(url)]);
}

function back({ url }: Visit<unknown>, cookies: readonly string[]): Response {
  const headers = new Headers({ Location: url.pathname, "Cache-Control": NO_STORE });
  for (const cookie of cookies) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 303, headers });
}

async function thanks(visit: Visit<unknown>): Promise<Response> {
  const limited = await quietly(visit, async () => visit.caller.kind === "limited");
  return limited === true ? limitedPage(visit) : thankYou();
}

function limitedPage({ url }: Visit<unknown>): Response {
  const more = `<p>This browser now spends from the envelope of the card, for a day at most. Its own balance is untouched.</p>
<form method="post" action="${escapeHtml(url.pathname)}"><button name="action" value="leave">Back to this browser's own balance</button></form>`;
  return thankYou(more);
}

const WORDS = {
  open: {
    text: "already has an envelope here. What you paid now stays where it was paid; you may also spend from that envelope, on this browser, for a day.",
    button: "Open it",
  },
  remember: {
    text: "can be kept, so that paying with it again opens this balance from another browser. Do that only with a card that is yours alone.",
    button: "Keep this card",
  },
} as const;

function offerPage(visit: Visit<unknown>, offer: Offer): Response {
  const { text, button } = WORDS[offer.kind];
  const { last4 } = offer.payment;
  const card = last4 === undefined ? "This card" : `The card ending in ${escapeHtml(last4)}`;
  const ticket = writeTicket(visit.keys.ticket, offer, Date.now());
  return thankYou(`<p>${card} ${text}</p>${form(visit, offer.session_id, ticket, button)}`);
}

/** The payment is not booked yet, or something could not be reached: the same form, to be sent again. */
function againPage(visit: Visit<unknown>, session_id: string, ticket: string): Response {
  return page(
    "Not yet",
    `<h1>Not yet</h1><p>The payment is still being confirmed. Please try again in a moment.</p>${form(visit, session_id, ticket, "Try again")}
<p><a href="/">Continue without</a></p>`,
  );
}

function form({ url }: Visit<unknown>, session_id: string, ticket: string, button: string): string {
  const hidden = { session_id, ticket };
  const inputs = Object.entries(hidden).map(
    ([name, value]) => `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`,
  );
  return `<form method="post" action="${escapeHtml(url.pathname)}">${inputs.join("")}<div class="row"><button>${button}</button></div></form>`;
}
