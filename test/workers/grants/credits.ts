/**
 * The functions of @suluk/credits, said in terms of `envelopeOf`: a user is an identity, a credit is a micro. What it kept beside
 * the ledger (a debit's key, an amount in cents) is in the entry itself, so no crash can part them.
 */
import { env } from "cloudflare:workers";
import type { Entry, LedgerSums } from "../../../src/contract.js";
import { envelopeOf } from "../../../src/index.js";
import { randomBase62 } from "../../../src/secrets.js";

export class InsufficientCreditsError extends Error {}

const handle = (user: string) => envelopeOf(env, { identity: user });
const credits = (amount: number) => ({ micros: amount });
/** Its own functions say no to what the native charge takes: nothing. */
const isAmount = (amount: number) => Number.isSafeInteger(amount) && amount > 0;
const cents = (amountCents: number | undefined) => (amountCents ? { amountCents } : undefined);

export async function getBalance(user: string): Promise<number> {
  return (await handle(user).state()).balance_micros;
}

export async function addCredits(user: string, amount: number, reason: string): Promise<number> {
  if (!isAmount(amount)) throw new TypeError("An amount is a whole number above zero");
  return (await handle(user).grant(credits(amount), { key: randomBase62(16), reason })).balance_micros;
}

export async function debitIfCovers(user: string, amount: number, reason: string, keyId?: string): Promise<boolean> {
  if (!isAmount(amount)) return false;
  const options = { key: randomBase62(16), reason, metadata: keyId === undefined ? undefined : { keyId } };
  return (await handle(user).charge(credits(amount), options)).outcome === "charged";
}

/** No two pairs have the same: what parts them is in neither. */
export function nonceFor(reason: string, idemKey: string): string {
  return `${encodeURIComponent(reason)}:${encodeURIComponent(idemKey)}`;
}

export async function debitOnceIfCovers(user: string, amount: number, reason: string, idemKey: string, keyId?: string) {
  const nonce = nonceFor(reason, idemKey);
  const options = { key: nonce, reason, metadata: keyId === undefined ? undefined : { keyId } };
  const { outcome } = await handle(user).charge(credits(amount), options);
  const said = {
    charged: "debited",
    replayed: "replayed",
    refused: "insufficient",
    conflict: "conflict",
    invalid: "invalid",
  };
  return { outcome: said[outcome], nonce };
}

export async function debitCredits(user: string, amount: number, reason: string): Promise<number> {
  const outcome = await handle(user).charge(credits(amount), { key: randomBase62(16), reason });
  if (outcome.outcome !== "charged") throw new InsufficientCreditsError();
  return outcome.balance_micros;
}

/** `true` for what was given now; why not, otherwise, is `grant`'s own word. */
export async function grantOnce(
  user: string,
  amount: number,
  idemKey: string,
  reason = "grant",
  amountCents?: number,
  legacyKey?: string,
): Promise<boolean> {
  if (!isAmount(amount)) return false;
  return (await grantSaying(user, amount, idemKey, reason, amountCents, legacyKey)) === "granted";
}

export async function grantSaying(
  user: string,
  amount: number,
  idemKey: string,
  reason = "grant",
  amountCents?: number,
  legacyKey?: string,
): Promise<string> {
  const options = { key: idemKey, reason, legacyKey, metadata: cents(amountCents) };
  return (await handle(user).grant(credits(amount), options)).outcome;
}

const noted = ({ metadata }: Entry) =>
  JSON.parse(metadata ?? "{}") as { readonly amountCents?: number; readonly keyId?: string };

export async function keySpend(user: string, keyId: string): Promise<number> {
  const entries = (await handle(user).entries(0, 1_000)).filter((entry) => noted(entry).keyId === keyId);
  return entries.reduce((sum, { amount_micros }) => sum - amount_micros, 0);
}

export async function listTransactions(user: string, limit = 250) {
  const entries = await handle(user).entries(0, 1_000);
  const lines = entries.map((entry) => {
    const { seq, key, amount_micros, at_ms } = entry;
    return {
      seq,
      id: key,
      delta: amount_micros as number,
      createdAt: at_ms,
      amountCents: noted(entry).amountCents ?? null,
    };
  });
  return lines.reverse().slice(0, limit);
}

export async function ledgerStats(user: string) {
  const { id } = handle(user);
  const sums = (await env.ENVELOPE.getByName(id).sums({ up_to: Number.MAX_SAFE_INTEGER })) as unknown as LedgerSums;
  const { granted_micros, spent_micros, balance_micros } = sums;
  return { creditsIssued: granted_micros, creditsSpent: spent_micros, balanceOutstanding: balance_micros };
}
