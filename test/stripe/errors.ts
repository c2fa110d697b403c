/** Stripe's "no", shaped as its API says it: https://docs.stripe.com/api/errors */
import type Stripe from "stripe";
import type { Charge, Intent } from "./objects.js";

export interface ErrorBody {
  type: NonNullable<Stripe.StripeRawError["type"]>;
  message: string;
  code?: string;
  param?: string;
  decline_code?: string;
  payment_intent?: Intent;
  charge?: Charge["id"];
}

export class ApiError extends Error {
  readonly status: number;
  readonly body: ErrorBody;

  constructor(status: number, body: ErrorBody) {
    super(body.message);
    this.status = status;
    this.body = body;
  }
}

export function invalid(message: string, fields: { code?: string; param?: string } = {}, status = 400): ApiError {
  return new ApiError(status, { type: "invalid_request_error", message, ...fields });
}

export function missing(kind: string, id: string): ApiError {
  return invalid(`No such ${kind}: '${id}'`, { code: "resource_missing", param: "id" }, 404);
}

export function declined(
  code: "card_declined" | "authentication_required",
  intent: Intent,
  why: string = code === "card_declined" ? "generic_decline" : code,
): ApiError {
  const message =
    code === "card_declined"
      ? "Your card was declined."
      : "Your card was declined. This transaction requires authentication.";
  return new ApiError(402, {
    type: "card_error",
    code,
    decline_code: why,
    message,
    payment_intent: structuredClone(intent),
  });
}

export function internal(): ApiError {
  return new ApiError(500, { type: "api_error", message: "Something went wrong on Stripe's end." });
}
