/**
 * The browser that pays: how it is known again when it comes back, and what it may be offered then. Pure but for the nonce.
 *
 * A card's fingerprint proves who paid, never who sits at the browser that made the link. So a reference is bound to the
 * nonce of the browser that started the payment, an offer to that nonce, the paid session and what is offered, and the
 * session that accepting leads to is derived from all three: accepting twice, or again after a lost answer, is accepting once.
 */
import type { Reference } from "../reference.js";
import { base62Number, equalConstantTime, keyedCheck, numberFromBase62, randomBase62 } from "../secrets.js";
import type { Keyring } from "../settings.js";
import type { LimitedToken } from "./token.js";

const NONCE_CHARS = 22;
const BINDING_BYTES = 8;
const CARD_BYTES = 16;
const KEY_ID_CHARS = 8;
const SECRET_BYTES = 20;

const TICKET = /^([0-9A-Za-z]{8})([0-9A-Za-z]{22})$/;
const TICKET_BYTES = 16;
const TICKET_MS = 10 * 60_000;

/**
 * How long after an offer was shown it can be accepted. Stripe sends the payer's own browser back within seconds of the payment;
 * where that is not the browser that was made the offer, it is there long before this is over, and shuts it (paid.ts).
 */
export const WAIT_SECONDS = 60;

export function newNonce(): string {
  return randomBase62(NONCE_CHARS);
}

/** What a reference tells of the nonce. The envelope is part of it, so that two references of one browser have nothing in common. */
export function bindingOf(key: Uint8Array, nonce: string, envelopeId: string): string {
  return keyedCheck(key, `${envelopeId}:${nonce}`, BINDING_BYTES);
}

/** The nonce among these that the reference was made for; `undefined` when it was made for another browser, or for none. */
export function boundNonce(
  keys: Keyring,
  nonces: readonly string[],
  { binding, envelopeId }: Reference,
): string | undefined {
  if (binding === undefined) return undefined;
  return nonces.find((nonce) => keys.some((key) => equalConstantTime(bindingOf(key, nonce, envelopeId), binding)));
}

/** A card under each of the keys, the newest first: what was kept under an earlier secret is still found. */
export function cardHashes(keys: Keyring, card: string): readonly [string, ...string[]] {
  const [first, ...rest] = keys.map((key) => keyedCheck(key, card, CARD_BYTES));
  return [first as string, ...rest];
}

/** What an offer is about: `open` the envelope that a card has already, or `remember` the card for the payer's own. */
export interface Offered {
  readonly kind: "open" | "remember";
  readonly nonce: string;
  readonly session_id: string;
  readonly envelope_id: string;
}

export function writeTicket(keys: Keyring, offered: Offered, now_ms: number): string {
  const expires = base62Number(now_ms + TICKET_MS, 8);
  return expires + ticketCheck(keys[0], offered, expires);
}

/** `early_ms`: how long it is still too early for. `undefined` for what is no ticket for this, or none any more. */
export function readTicket(
  keys: Keyring,
  offered: Offered,
  text: string,
  now_ms: number,
): { readonly early_ms: number } | undefined {
  const [, expires = "", check = ""] = TICKET.exec(text) ?? [];
  const genuine = keys.some((key) => equalConstantTime(ticketCheck(key, offered, expires), check));
  if (!genuine) return undefined;
  const left_ms = numberFromBase62(expires) - now_ms;
  return left_ms > 0 ? { early_ms: Math.max(0, left_ms - TICKET_MS + WAIT_SECONDS * 1000) } : undefined;
}

function ticketCheck(key: Uint8Array, { kind, nonce, session_id, envelope_id }: Offered, expires: string): string {
  return keyedCheck(key, [kind, nonce, session_id, envelope_id, expires].join(":"), TICKET_BYTES);
}

/** The session that accepting leads to, always the same one. It takes the key, the nonce and the paid session to derive it. */
export function limitedTokenFor(keys: Keyring, { nonce, session_id, envelope_id }: Offered): LimitedToken {
  const seed = [nonce, session_id, envelope_id].join(":");
  return {
    envelopeId: envelope_id,
    keyId: keyedCheck(keys[0], `key:${seed}`, BINDING_BYTES).slice(-KEY_ID_CHARS),
    secret: keyedCheck(keys[0], `secret:${seed}`, SECRET_BYTES),
  };
}
