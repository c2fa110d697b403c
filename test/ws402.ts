/**
 * ws402 with a provider that a test holds by the strings. Its state is global: the objects and the tests need not share a module.
 */
import {
  type PaymentProvider,
  type PaymentVerification,
  type RefundRequest,
  WS402,
  type WS402Session,
} from "../src/ws402/index.js";

export interface Issued extends RefundRequest {
  readonly amount: number;
  readonly proof: unknown;
}

interface Strings {
  /** Every call that sent money, in order. */
  readonly issued: Issued[];
  /** So many calls are refused first. */
  failures: number;
  /** Calls that send the money, and lose their answer. */
  lost: number;
  verifying: (proof: unknown) => Promise<PaymentVerification> | PaymentVerification;
  verifications: number;
  /** What the app was told, in order: by callbacks under their names, by events under theirs. */
  readonly told: { readonly name: string; readonly session: WS402Session; readonly more?: unknown }[];
}

const believe = (proof: unknown): PaymentVerification => {
  const { amount } = proof as { amount: number };
  return amount > 0 ? { valid: true, amount } : { valid: false, amount: 0, reason: "No such payment" };
};

const shared = globalThis as unknown as { ws402Strings?: Strings };
shared.ws402Strings ??= { issued: [], failures: 0, lost: 0, verifying: believe, verifications: 0, told: [] };
export const strings: Strings = shared.ws402Strings;

/** Refunds of a payment, by the name it goes by. */
export const refundsOf = (txId: string): readonly Issued[] =>
  strings.issued.filter(({ proof }) => (proof as { txId?: string }).txId === txId);

export function resetStrings(): void {
  strings.issued.length = 0;
  strings.told.length = 0;
  Object.assign(strings, { failures: 0, lost: 0, verifying: believe, verifications: 0 });
}

const provider: PaymentProvider = {
  generatePaymentDetails: async (amount) => ({ provider: "strings", amount }),
  verifyPayment: (proof) => {
    strings.verifications += 1;
    return strings.verifying(proof);
  },
  issueRefund: async (proof, amount, request) => {
    if (strings.failures > 0) {
      strings.failures -= 1;
      throw new Error("The bank is closed");
    }
    const sent = strings.issued.some((one) => one.idempotencyKey === request.idempotencyKey);
    if (!sent) strings.issued.push({ ...request, amount, proof });
    if (strings.lost > 0) {
      strings.lost -= 1;
      throw new Error("The answer was lost");
    }
    return { id: `refund-${request.idempotencyKey}` };
  },
};

/** As it is now: an app may change what it is told. */
function tell(name: string, session: WS402Session, more?: unknown): void {
  strings.told.push({ name, session: { ...session }, ...(more !== undefined && { more }) });
}

/** Whoever pays here pays a provider. */
export const paid = new WS402(
  {
    pricePerSecond: 1,
    currency: "credits",
    updateInterval: 200,
    resources: {
      feed: { name: "Feed", type: "stream", estimatedTime: 60 },
      film: { name: 'Film "1"', type: "video", pricePerSecond: 2, http: true },
      other: { http: true },
    },
    onPaymentVerified: (session) => tell("onPaymentVerified", session),
    onRefundIssued: (session, refund) => tell("onRefundIssued", session, refund),
    onSessionEnd: (session) => tell("onSessionEnd", session),
  },
  provider,
)
  .on("payment_verified", (session) => tell("payment_verified", session))
  .on("session_end", (session) => tell("session_end", session))
  .on("refund", ({ session, refund }) => tell("refund", session, refund))
  .on("refund_error", ({ session, error }) => tell("refund_error", session, error));
