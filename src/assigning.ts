/**
 * Unclaimed payments: signed money that is in no envelope yet, and the owner's one decision about each. An assignment that
 * is interrupted anywhere stays listed, and is finished by making it again.
 */
import { attempt } from "./attempt.js";
import type {
  Author,
  DirectoryApi,
  PaymentFacts,
  PaymentReport,
  Reversal,
  SignUpRules,
  UnclaimedInput,
  UnclaimedPayment,
  UnclaimedPlace,
} from "./contract.js";
import { currencyOf, type Micros, type Price, parsePrice } from "./money.js";
import { reportPayment } from "./report.js";
import { DIRECTORY_SHARDS, directoryShard, directoryStub } from "./shards.js";
import { envelopeStub } from "./stubs.js";

const PAGE = 1_000;

/** Every payment that is in no envelope yet, oldest first. */
export async function unclaimedPayments(env: unknown): Promise<readonly UnclaimedPayment[]> {
  const all: UnclaimedPayment[] = [];
  for (let after: UnclaimedPlace | null | undefined; after !== null; ) {
    const page = await unclaimedPage(env, { after: after ?? null, limit: PAGE });
    all.push(...page.payments);
    after = page.next;
  }
  return all;
}

export interface UnclaimedPage {
  readonly payments: readonly UnclaimedPayment[];
  /** `null` at the end. */
  readonly next: UnclaimedPlace | null;
}

/** The oldest after a place. Asks each shard of the directory. */
export async function unclaimedPage(env: unknown, { after, limit }: UnclaimedInput): Promise<UnclaimedPage> {
  const asked = await ofEachShard(env, (shard) => shard.unclaimed({ after, limit }));
  const found = asked.flat().sort(byPlace);
  const payments = found.slice(0, limit);
  const last = payments.at(-1);
  const more = last !== undefined && (found.length > limit || asked.some((some) => some.length >= limit));
  return { payments, next: more ? { at_ms: last.at_ms, payment_id: last.payment_id } : null };
}

export async function unclaimedCount(env: unknown): Promise<number> {
  const counts = await ofEachShard(env, (shard) => shard.unclaimedCount());
  return counts.reduce((sum, count) => sum + count, 0);
}

function ofEachShard<Answer>(env: unknown, ask: (shard: DirectoryApi) => Promise<Answer>): Promise<Answer[]> {
  const asked = Array.from({ length: DIRECTORY_SHARDS }, (_, shard) => attempt(() => ask(directoryShard(env, shard))));
  return Promise.all(asked);
}

/** As SQLite has it: by bytes, whatever a language's rules say. */
function byPlace(one: UnclaimedPlace, other: UnclaimedPlace): number {
  return one.at_ms - other.at_ms || (one.payment_id < other.payment_id ? -1 : 1);
}

export interface Assignment {
  readonly paymentId: string;
  /** The envelope's id, as `ctx.envelope.id` and the middle of a reference have it. */
  readonly envelopeId: string;
  /** What it is worth, in minor units. Needed only where Stripe's amounts could not be understood, as in a foreign currency. */
  readonly amount?: Price;
  /** Who decided it, for the envelope's audit. */
  readonly by?: Author;
}

export type AssignmentResult =
  /** `unbooked_micros`: of a refund or dispute that came before, and does not fit into the balance yet: on file, booked with the payment's next event that fits. */
  | { readonly outcome: "credited"; readonly unbooked_micros?: Micros }
  /** In an envelope already: this one by an earlier assignment, or another. */
  | { readonly outcome: "taken"; readonly envelopeId: string | null }
  | { readonly outcome: "unknown" }
  /** `amount` is needed, or does not fit. */
  | { readonly outcome: "invalid"; readonly detail: string };

/** Puts an unclaimed payment into an envelope, once. `sign_up`: what it brings besides, where it is the first. */
export async function assignPayment(
  env: unknown,
  assignment: Assignment,
  currency = "usd",
  sign_up?: SignUpRules,
): Promise<AssignmentResult> {
  const { paymentId: payment_id, envelopeId: envelope_id } = assignment;
  if (!/^[0-9A-Za-z]{22}$/.test(envelope_id))
    return { outcome: "invalid", detail: "envelopeId must be 22 letters and digits" };
  const found = await attempt(() => directoryStub(env, payment_id).lookup({ payment_id }));
  if (found === null) return { outcome: "unknown" };
  const facts = factsOf(found, assignment.amount, currency);
  if (facts === undefined)
    return { outcome: "invalid", detail: "amount must be a price above zero: Stripe's own could not be used" };

  const assigned = await attempt(() => directoryStub(env, payment_id).assign({ payment_id, envelope_id }));
  if (assigned.outcome === "unknown") return { outcome: "unknown" };
  if (assigned.outcome === "taken") return { outcome: "taken", envelopeId: assigned.payment.assigned_to };
  const { reversals, paid } = await takeOver(env, payment_id, assigned, currency);
  if (paid !== undefined) return { outcome: "taken", envelopeId: paid };
  const at = { payment_id, envelope_id, currency, assignment: assigned.assignment, by: assignment.by, sign_up };
  return book(env, at, facts, reversals);
}

/** What former claimants heard of the payment; the one that was credited after all, if there is one. */
async function takeOver(
  env: unknown,
  payment_id: string,
  { claimed_by, assignment }: { readonly claimed_by: readonly string[]; readonly assignment: number },
  currency: string,
): Promise<{ readonly reversals: readonly Reversal[]; readonly paid?: string }> {
  const reversals: Reversal[] = [];
  for (const envelope_id of claimed_by) {
    const disowned = await attempt(() => envelopeStub(env, envelope_id).disown({ payment_id, currency, assignment }));
    if (disowned.outcome === "paid") {
      await attempt(() =>
        directoryStub(env, payment_id).settle({ payment_id, envelope_id, event_ids: [], booked: true }),
      );
      return { reversals, paid: envelope_id };
    }
    reversals.push(...disowned.reversals);
  }
  return { reversals };
}

async function book(
  env: unknown,
  at: {
    readonly payment_id: string;
    readonly envelope_id: string;
    readonly currency: string;
    readonly assignment: number;
    readonly by: Author | undefined;
    readonly sign_up: SignUpRules | undefined;
  },
  payment: PaymentFacts,
  early: readonly Reversal[],
): Promise<AssignmentResult> {
  const { payment_id, envelope_id, currency, assignment, by, sign_up } = at;
  const claim = await attempt(() => directoryStub(env, payment_id).claim({ payment_id, envelope_id }));
  // Assigned anew in the meantime: the later assignment asks everybody before it, this one too.
  if (claim.envelope_id !== envelope_id) return { outcome: "taken", envelopeId: claim.envelope_id };
  const outcome = await reportPayment(env, envelope_id, { payment_id, currency, payment, assignment, by, sign_up });
  if (outcome.outcome === "uncreditable" || outcome.outcome === "disowned") {
    return {
      outcome: "invalid",
      detail: `The envelope cannot take it: ${outcome.outcome === "uncreditable" ? outcome.reason : "disowned"}`,
    };
  }
  const before = early.map((reversal): PaymentReport => ({ payment_id, currency, reversal }));
  let unbooked_micros: Micros | undefined;
  for (const report of [...before, ...claim.parked.map((parked) => parked.report)]) {
    const told = await reportPayment(env, envelope_id, report);
    // Each booking is of all that is due by then.
    if (told.outcome === "reversed") unbooked_micros = undefined;
    if (told.outcome === "noted") unbooked_micros = told.unbooked_micros ?? unbooked_micros;
  }
  const event_ids = claim.parked.map(({ event_id }) => event_id);
  await attempt(() => directoryStub(env, payment_id).settle({ payment_id, envelope_id, event_ids, booked: true }));
  return { outcome: "credited", ...(unbooked_micros !== undefined && { unbooked_micros }) };
}

/** Stripe's facts where they were understood; else what the owner says, over the amounts Stripe named. */
function factsOf(payment: UnclaimedPayment, amount: Price | undefined, currency: string): PaymentFacts | undefined {
  const known = currencyOf(currency);
  if (known === undefined) throw new TypeError('currency must be a lower-case ISO 4217 code such as "usd"');
  // Amounts in another currency, of a deployment that kept another, are not ours to count.
  const facts = payment.facts?.currency === currency ? payment.facts : null;
  const credit_micros = amount === undefined ? facts?.credit_micros : parsePrice(amount, known);
  if (credit_micros === undefined || credit_micros <= 0) return undefined;
  const { event_id, livemode, amount_total, currency: paid_currency } = payment;
  return {
    session_id: payment.payment_id,
    event_id,
    livemode,
    amount_total: amount_total ?? 0,
    amount_subtotal: null,
    amount_discount: 0,
    amount_shipping: 0,
    amount_tax: 0,
    ...facts,
    currency,
    // Refunds come in the currency it was paid in, and are a part of what was paid in it.
    paid_currency,
    state: "paid",
    credit_micros,
  };
}
