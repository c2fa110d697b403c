/**
 * Whose envelope a card opens. The directory knows a card by a keyed hash, under each secret that was current when it was
 * looked up: `cards` holds one per secret, the newest first (identity/payer.ts).
 */
import { attempt } from "./attempt.js";
import type { CardOutcome } from "./contract.js";
import { directoryStub } from "./shards.js";

/** Looks it up; writes nothing. */
export async function cardOwner(env: unknown, cards: readonly string[]): Promise<CardOutcome> {
  let envelope_id: string | null = null;
  for (const card of cards) {
    const known = await attempt(() => directoryStub(env, card).claimCard({ card, envelope_id: null }));
    if (known.blocked) return known;
    envelope_id ??= known.envelope_id;
  }
  return { envelope_id, blocked: false };
}

/**
 * Takes it for an envelope, unless it is another's. From the oldest secret to the newest, each offered to whoever the one before
 * answered: two Workers of which only one knows the newest secret meet at the older one, and agree.
 */
export async function claimCard(env: unknown, cards: readonly string[], envelope_id: string): Promise<CardOutcome> {
  let owner = envelope_id;
  for (const card of [...cards].reverse()) {
    const known = await attempt(() => directoryStub(env, card).claimCard({ card, envelope_id: owner }));
    if (known.blocked) return known;
    owner = known.envelope_id ?? owner;
  }
  return { envelope_id: owner, blocked: false };
}

/** Under each of the secrets. Only from this envelope: another's claim stays. */
export async function releaseCard(env: unknown, cards: readonly string[], envelope_id: string): Promise<void> {
  for (const card of cards) await attempt(() => directoryStub(env, card).releaseCard({ card, envelope_id }));
}

export async function blockCard(env: unknown, card: string): Promise<void> {
  await attempt(() => directoryStub(env, card).blockCard({ card }));
}
