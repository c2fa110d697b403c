/** Who takes the money of a ws402 session, and gives back what was not used. */

export interface PaymentVerification {
  readonly valid: boolean;
  /** What was paid, in the session's currency. */
  readonly amount: number | string;
  readonly reason?: string | undefined;
  /** In place of the resource's. */
  readonly pricePerSecond?: number | string | undefined;
  /**
   * What names this payment in the world (a transaction's hash). A payment opens one session, once. Where it is absent, each of the
   * proof's `txHash`, `signature`, `txId`, `paymentId` and `reference` is taken for such a name, or else all of the proof.
   */
  readonly paymentId?: string | undefined;
}

export interface RefundRequest {
  readonly sessionId: string;
  /** The same each time this refund is tried: what was sent under it must not be sent again. */
  readonly idempotencyKey: string;
  readonly reason: "unused_balance";
}

/**
 * Names are ws402's. `generatePaymentDetails` and `verifyPayment` are safe to call again; `issueRefund` is tried again, with the same
 * `idempotencyKey`, until it resolves: it must reject whenever the money was not sent, and pay at most once for a key.
 */
export interface PaymentProvider {
  generatePaymentDetails(amount: number): unknown | Promise<unknown>;
  verifyPayment(proof: unknown): PaymentVerification | Promise<PaymentVerification>;
  issueRefund(
    proof: unknown,
    amount: number,
    request: RefundRequest,
  ): undefined | { readonly id?: string } | Promise<undefined | { readonly id?: string }>;
}

/** What may name a payment, of a proof whose provider does not say. */
const NAMES = ["txHash", "signature", "txId", "paymentId", "reference"] as const;

/** Names of a payment, each of which may open one session. Not sensitive to what an attacker could write differently. */
export function namesOf(proof: unknown): readonly string[] {
  const fields = (typeof proof === "object" && proof !== null ? proof : {}) as Readonly<Record<string, unknown>>;
  const names = NAMES.flatMap((name) => {
    const value = fields[name];
    return typeof value === "string" && value.trim() !== "" ? [nameOf(value)] : [];
  });
  return names.length > 0 ? [...new Set(names)] : [canonical(proof)];
}

export function nameOf(value: string): string {
  return value.trim().toLowerCase().replace(/^0x/, "");
}

/** The same text for the same value, in whatever order its members are. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${canonical(one)}`).join()}}`;
}

/**
 * A provider for development: believes any amount. Refuses to work unless it is told that it may, so that it cannot be what a
 * deployment takes money with by accident.
 */
export class MockPaymentProvider implements PaymentProvider {
  readonly refunds: { readonly amount: number; readonly idempotencyKey: string }[] = [];
  readonly #allowed: boolean;

  /** `allowInProduction`: where it may be used beyond a machine of one's own. */
  constructor({ allowInProduction = false }: { readonly allowInProduction?: boolean } = {}) {
    this.#allowed = allowInProduction;
  }

  /** Whether it may answer a request for this host. */
  allows(isLocal: boolean): boolean {
    return isLocal || this.#allowed;
  }

  generatePaymentDetails(amount: number): unknown {
    return {
      provider: "mock",
      invoiceId: `mock_${crypto.randomUUID()}`,
      amount,
      currency: "MOCK",
      paymentAddress: "mock",
      instructions: "Send any proof with an amount and a txId: nothing is paid.",
    };
  }

  verifyPayment(proof: unknown): PaymentVerification {
    const { amount, txId } = (proof ?? {}) as { readonly amount?: unknown; readonly txId?: unknown };
    if (typeof amount !== "number" || !(amount > 0)) return { valid: false, amount: 0, reason: "Invalid amount" };
    return { valid: true, amount, ...(typeof txId === "string" ? { paymentId: txId } : {}) };
  }

  issueRefund(_proof: unknown, amount: number, { idempotencyKey }: RefundRequest): undefined {
    if (!this.refunds.some((one) => one.idempotencyKey === idempotencyKey)) {
      this.refunds.push({ amount, idempotencyKey });
    }
    return undefined;
  }
}
