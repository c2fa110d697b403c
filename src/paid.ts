/**
 * Login by payment: what the return page offers to the browser that paid, and what comes of accepting it. Loaded only where
 * `options.loginByPayment` is on.
 *
 * Showing the offer decides nothing. Two things can be accepted, each with a form that only this browser can send: that the card
 * just used is kept for the envelope it paid into, and that the envelope which keeps it already is opened for a day. Whatever
 * does not fit is answered with the same page that every payer sees, and nothing more is said.
 *
 * Who opened a link knows the paid session's id, not only who paid: it is in the address of Stripe's page. So a return to a
 * browser that did not start the payment shuts it for good, and an offer waits a minute for that to happen before it can be
 * accepted. A payer who never comes back shuts nothing: the form asks for the card's last digits, which only they can read off it.
 */
import { attempt, EnvelopeUnreachableError } from "./attempt.js";
import { readForm } from "./body.js";
import { cardOwner, claimCard, releaseCard } from "./cards.js";
import type { Credential } from "./contract.js";
import { creditRules } from "./credit-rules.js";
import { isSameOrigin } from "./csrf.js";
import { isKnown } from "./identity/caller.js";
import { forgetLimited, forgetPayNonce, payNonces, setLimited } from "./identity/cookie-jar.js";
import {
  boundNonce,
  cardHashes,
  limitedTokenFor,
  type Offered,
  readTicket,
  WAIT_SECONDS,
  writeTicket,
} from "./identity/payer.js";
import { credentialOf, limitedCredentialOf, writeLimitedToken } from "./identity/token.js";
import { escapeHtml, page, thankYou } from "./page.js";
import { plainProblem } from "./refusal.js";
import { undoLogin } from "./report.js";
import { equalConstantTime } from "./secrets.js";
import { ConfigurationError } from "./settings.js";
import { fetchReturnedSession } from "./stripe-api.js";
import { hasStripeKey } from "./stripe-settings.js";
import { envelopeStub } from "./stubs.js";
import {
  isSessionId,
  type ReturnedPayment,
  type ReturnedSession,
  readReturn,
  readSessionOf,
} from "./topup/returned.js";
import type { Visit } from "./visit.js";
import { NO_STORE } from "./wire.js";

/** What this payment may do for this browser. */
interface Offer extends Offered {
  readonly payment: ReturnedPayment;
  readonly cards: readonly [string, ...string[]];
}

export async function showPaid(visit: Visit<unknown>): Promise<Response> {
  const session_id = visit.url.searchParams.get("session_id") ?? "";
  const shown = await quietly(visit, async () => {
    const offer = await examine(visit, session_id);
    return typeof offer === "object" ? offerPage(visit, offer) : offer;
  });
  if (shown instanceof Response) return shown;
  const response = await thanks(visit, shown === "foreign" ? FOREIGN : "");
  // It may be the return that shuts a payment: what was interrupted is finished by asking again, as long as the page is open.
  if (shown === "failed" && isSessionId(session_id)) response.headers.set("Refresh", String(RETURN_AGAIN_SECONDS));
  return response;
}

const RETURN_AGAIN_SECONDS = 15;

const FORM_BYTES_MAX = 8_192;

export async function answerPaid(visit: Visit<unknown>): Promise<Response> {
  const { request, url } = visit;
  if (!isSameOrigin(request, url)) {
    return plainProblem(403, "cross-site", "Cross-site request", "This request must come from this site's own pages.");
  }
  const form = await readForm(request, FORM_BYTES_MAX);
  if (form === undefined) {
    return plainProblem(413, "too-large", "Payload too large", "The body is larger than any form of this page.");
  }
  const field = (name: string): string => String(form.get(name) ?? "");
  if (field("action") === "leave") return leave(visit);
  const ticket = field("ticket");
  const answer = await quietly(visit, async () => {
    const offer = await examine(visit, field("session_id"));
    if (typeof offer !== "object") return undefined;
    const taken = readTicket(visit.keys.ticket, offer, ticket, Date.now());
    // Out of date, or for something else: what is on offer now is offered anew.
    if (taken === undefined) return offerPage(visit, offer);
    if (taken.early_ms > 0) return earlyPage(visit, offer.session_id, ticket, Math.ceil(taken.early_ms / 1000));
    const { payment, cards } = offer;
    if (!equalConstantTime(field("last4").trim(), payment.last4)) {
      const wrong = { payment_id: payment.payment_id, card: cards[0], currency: visit.currency.code };
      await attempt(() => envelopeStub(visit.env, payment.reference.envelopeId).mistaken(wrong));
      return wrongPage(visit, offer.session_id, ticket);
    }
    return offer.kind === "open" ? open(visit, offer, ticket) : remember(visit, offer, ticket);
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
 * is in the reference) and knows the session, it is ours, paid, and new, and its card is one person's own. `foreign`: another
 * browser started it, and gets nothing of it from now on.
 */
async function examine(visit: Visit<unknown>, session_id: string): Promise<Offer | "foreign" | undefined> {
  const { env, url, request, keys } = visit;
  const nonces = payNonces(url, request.headers.get("Cookie"));
  const returns = request.method !== "POST";
  if (!isSessionId(session_id) || !hasStripeKey(env) || (nonces.length === 0 && !returns)) return undefined;
  await visit.identify();
  const session = await fetchReturnedSession(env, session_id);
  const whose = readSessionOf(session, session_id, keys.reference);
  // Without a binding the reference came from no browser of ours, and its payment opens nothing anyway.
  if (whose?.reference.binding === undefined) return undefined;
  const nonce = boundNonce(keys.pay, nonces, whose.reference);
  if (nonce === undefined) return returns ? shut(visit, whose) : undefined;
  // Whoever the app or a bearer token speaks for has no use for a cookie of ours.
  if (!isKnown(visit.caller) || (visit.self.kind !== "cookie" && visit.self.kind !== "fresh")) return undefined;
  const payment = readReturn(session, session_id, creditRules(visit), Math.floor(Date.now() / 1000));
  return payment.outcome === "refused" ? undefined : offerFor(visit, payment, nonce, session_id);
}

/**
 * The payer came back, and not to the browser that started the payment: so that one did not pay. Also long afterwards, and
 * whatever it did in the meantime. The payer's envelope first: from then on every report of the payment finishes the rest.
 */
async function shut(visit: Visit<unknown>, whose: ReturnedSession): Promise<"foreign" | undefined> {
  const { env, keys, currency } = visit;
  const { payment_id, reference, card } = whose;
  const { envelopeId } = reference;
  const cards = card === undefined ? [] : cardHashes(keys.card, card);
  // The browser that started it may have lost its nonce, which lasts an hour: it is known by its envelope.
  const credential = credentialOfOwn(visit, envelopeId);
  const input = { payment_id, cards, currency: currency.code, credential };
  const answer = await attempt(() => envelopeStub(env, envelopeId).shut(input));
  if (answer.outcome === "holder") return undefined;
  await undoLogin(env, envelopeId, answer.undo);
  // Under the other secrets too.
  if (answer.undo.forget != null) await releaseCard(env, cards, envelopeId);
  return "foreign";
}

function credentialOfOwn(visit: Visit<unknown>, envelopeId: string): Credential | undefined {
  if (!isKnown(visit.caller)) return undefined;
  const { self } = visit;
  return "token" in self && self.envelopeId === envelopeId ? credentialOf(self.token) : undefined;
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
  const credential = credentialOfOwn(visit, payer);
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
  // Kept already, by this very form, whose answer was lost.
  const wanted = !kept || request.method === "POST";
  if (envelope_id === payer) return holder && wanted ? { ...offer, kind: "remember" } : undefined;
  return kept && envelope_id !== visit.known.envelopeId && envelope_id !== self.envelopeId
    ? { ...offer, kind: "open" }
    : undefined;
}

/**
 * The payer's envelope first: it notes the session in the turn that finds the payment good, so that a reversal which comes at
 * any time after that finds the session to end. Then the other envelope lets it in. Interrupted, it is finished by sending the
 * form again: every step, done again, changes nothing, and the token is the same.
 */
async function open(visit: Visit<unknown>, offer: Offer, ticket: string): Promise<Response | undefined> {
  const { env, url, keys, options } = visit;
  const { envelope_id, cards, payment } = offer;
  const { payment_id, reference } = payment;
  const token = limitedTokenFor(keys.login, offer);
  const session = { envelope_id, key_id: token.keyId };
  const payer = () => envelopeStub(env, reference.envelopeId);
  const { outcome } = await attempt(() => payer().bear({ payment_id, card: cards[0], session }));
  if (outcome === "unpaid") return againPage(visit, offer.session_id, ticket);
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
async function remember(visit: Visit<unknown>, offer: Offer, ticket: string): Promise<Response | undefined> {
  const { env, self } = visit;
  const { envelope_id, cards, payment } = offer;
  if (!("token" in self)) return undefined;
  const input = { payment_id: payment.payment_id, card: cards[0], credential: credentialOf(self.token) };
  const { outcome } = await attempt(() => envelopeStub(env, envelope_id).keepCard(input));
  if (outcome === "unpaid") return againPage(visit, offer.session_id, ticket);
  if (outcome === "refused") return undefined;
  const card = await claimCard(env, cards, envelope_id);
  if (card.blocked) return undefined;
  // Another browser with the same card was faster: it is that one's, and may be opened.
  if (card.envelope_id !== envelope_id) {
    const now = await examine(visit, offer.session_id);
    return typeof now === "object" ? offerPage(visit, now) : undefined;
  }
  // Shut, or rotated, while the claim was on its way: it must not keep the card from whoever it belongs to.
  if (!(await attempt(() => envelopeStub(env, envelope_id).keeps({ cards })))) {
    await releaseCard(env, cards, envelope_id);
    return undefined;
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

/** Nobody should learn only from their bank whom they paid for. */
const FOREIGN = `<p>This payment was started in another browser, and its credit belongs there, not here. If somebody sent you the link, it was theirs that you paid.</p>`;

async function thanks(visit: Visit<unknown>, more = ""): Promise<Response> {
  const limited = await quietly(visit, async () => visit.caller.kind === "limited");
  return limited === true ? limitedPage(visit, more) : thankYou(more);
}

function limitedPage({ url }: Visit<unknown>, also: string): Response {
  const more = `<p>This browser now spends from the envelope of the card, for a day at most. Its own balance is untouched.</p>
<form method="post" action="${escapeHtml(url.pathname)}"><button name="action" value="leave">Back to this browser's own balance</button></form>`;
  return thankYou(also + more);
}

const WORDS = {
  open: {
    text: "The card you paid with already has an envelope here. What you paid now stays where it was paid; you may also spend from that envelope, on this browser, for a day.",
    button: "Open it",
  },
  remember: {
    text: "The card you paid with can be kept, so that paying with it again opens this balance from another browser. Do that only with a card that is yours alone.",
    button: "Keep this card",
  },
} as const;

function offerPage(visit: Visit<unknown>, offer: Offer): Response {
  const { text, button } = WORDS[offer.kind];
  const ticket = writeTicket(visit.keys.ticket, offer, Date.now());
  return thankYou(
    `<p>${text}</p><p>To keep others out, this can be accepted ${WAIT_SECONDS} seconds after this page was opened, and for ten minutes at most.</p>
${form(visit, offer.session_id, ticket, button)}`,
  );
}

/** Not a 425, which browsers answer by themselves. */
function earlyPage(visit: Visit<unknown>, session_id: string, ticket: string, seconds: number): Response {
  const response = page(
    "A moment",
    `<h1>A moment</h1><p role="alert">That was too early. Please send it again in ${seconds} seconds.</p>${form(visit, session_id, ticket, "Send again")}
<p><a href="/">Continue without</a></p>`,
    409,
  );
  response.headers.set("Retry-After", String(seconds));
  return response;
}

function wrongPage(visit: Visit<unknown>, session_id: string, ticket: string): Response {
  return page(
    "Not these digits",
    `<h1>Not these digits</h1><p role="alert">Those are not the last four digits of the card that paid.</p>${form(visit, session_id, ticket, "Send again")}
<p><a href="/">Continue without</a></p>`,
    422,
  );
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
  return `<form method="post" action="${escapeHtml(url.pathname)}">${inputs.join("")}<div class="row"><label>Last four digits of the card<br>
<input name="last4" inputmode="numeric" pattern="[0-9]{4}" maxlength="4" autocomplete="off" required></label><button>${button}</button></div></form>`;
}
