/**
 * Stripe's API as far as top-ups ask it, in place of `fetch`: form-encoded requests, its JSON, its idempotency (an answer is
 * stored with its key, 500s too; the same key with other parameters is an error). The objects run in the tests' own isolate, so
 * their calls arrive here as well.
 */
import { vi } from "vitest";
import { StripeAccount } from "../../stripe/account.js";
import { decodeForm, isParams, type Params } from "../../stripe/form.js";
import type { Event, Intent } from "../../stripe/objects.js";

export const API = "http://stripe.test";

/** `lost_request`: it never arrived. `lost_answer`: it did, and the answer did not. */
export type Fault = "lost_request" | "lost_answer" | "down" | "refused_key";
export type CardBehaviour = "pays" | "processing" | "card_declined" | "authentication_required" | "bank_wants_holder";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly key: string | null;
  readonly params: Params;
}

export class StripeDouble {
  readonly account = new StripeAccount();
  readonly asked: Asked[] = [];
  fault: Fault | undefined;
  card: CardBehaviour = "pays";
  /** Awaited inside a call. */
  meanwhile: (() => unknown) | undefined;
  readonly #stored = new Map<string, { readonly said: string; readonly status: number; readonly body: string }>();
  #delivered = 0;
  #busy = 0;

  install(): void {
    const real = globalThis.fetch;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const request = new Request(input as RequestInfo, init as RequestInit);
      if (!request.url.startsWith(`${API}/`)) return real(input as RequestInfo, init as RequestInit);
      this.#busy += 1;
      return this.#receive(request).finally(() => (this.#busy -= 1));
    });
  }

  /** Comes back when nobody is being answered, and whoever was has had time to act on it. */
  async quiet(): Promise<void> {
    do await new Promise((resolve) => setTimeout(resolve, 30));
    while (this.#busy > 0);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }

  /** PaymentIntents that were asked for, however often. */
  get creations(): readonly Asked[] {
    return this.asked.filter(({ method, path }) => method === "POST" && path === "/v1/payment_intents");
  }

  get keys(): ReadonlySet<string | null> {
    return new Set(this.creations.map(({ key }) => key));
  }

  get intents(): readonly Intent[] {
    return [...this.account.objects.values()].filter((one): one is Intent => one.object === "payment_intent");
  }

  /** Minor units that payers really paid. */
  get collected(): number {
    return [...this.account.books.values()].reduce((sum, { collected }) => sum + collected, 0);
  }

  /** Events since the last time. */
  news(): readonly Event[] {
    const news = this.account.events.slice(this.#delivered);
    this.#delivered = this.account.events.length;
    return news;
  }

  async #receive(request: Request): Promise<Response> {
    if (this.fault === "lost_request") throw new TypeError("Network connection lost.");
    const { pathname: path } = new URL(request.url);
    const said = new TextDecoder().decode(await request.arrayBuffer());
    const key = request.headers.get("Idempotency-Key");
    const params = decodeForm(said);
    this.asked.push({ method: request.method, path, key, params });
    if (this.fault === "refused_key") {
      return json(401, {
        error: { type: "invalid_request_error", message: "Invalid API Key provided: sk_test_****ghij" },
      });
    }
    const { fault } = this;
    await this.meanwhile?.();
    const [status, body] = this.#answer(request.method, path, key, said, params);
    if (fault === "lost_answer") throw new TypeError("Network connection lost.");
    return new Response(body, { status, headers: { "Content-Type": "application/json", "Request-Id": "req_1" } });
  }

  #answer(method: string, path: string, key: string | null, said: string, params: Params): [number, string] {
    const stored = key === null ? undefined : this.#stored.get(key);
    if (stored !== undefined && stored.said !== said) {
      const message =
        "Keys for idempotent requests can only be used with the same parameters they were first used with.";
      return [400, JSON.stringify({ error: { type: "idempotency_error", message } })];
    }
    if (stored !== undefined) return [stored.status, stored.body];
    if (this.fault === "down") return [503, JSON.stringify({ error: { type: "api_error", message: "Down" } })];
    const [status, object] = method === "POST" ? this.#create(params) : this.#retrieve(path);
    const body = JSON.stringify(object);
    // Nothing is stored for a request that was not valid.
    if (key !== null && status !== 400) this.#stored.set(key, { said, status, body });
    return [status, body];
  }

  #retrieve(path: string): [number, unknown] {
    const object = this.account.objects.get(path.split("/").at(-1) ?? "");
    return object === undefined
      ? [404, { error: { type: "invalid_request_error", code: "resource_missing", message: "No such object" } }]
      : [200, object];
  }

  #create(params: Params): [number, unknown] {
    const { amount, currency, metadata, customer, payment_method } = params;
    if (typeof amount !== "number" || amount < 50) {
      return [400, { error: { type: "invalid_request_error", code: "amount_too_small", message: "Amount too small" } }];
    }
    if (payment_method !== undefined && !this.account.objects.has(String(payment_method))) {
      return [
        400,
        { error: { type: "invalid_request_error", code: "resource_missing", message: "No such PaymentMethod" } },
      ];
    }
    const intent = this.account.intent({
      amount,
      currency: String(currency),
      metadata: isParams(metadata) ? (metadata as Record<string, string>) : {},
      customer: customer === undefined ? null : String(customer),
      payment_method: payment_method === undefined ? null : String(payment_method),
    });
    return params["confirm"] === true ? this.#confirm(intent) : [200, intent];
  }

  #confirm(intent: Intent): [number, unknown] {
    if (this.card === "pays") {
      this.account.collect(intent);
      return [200, intent];
    }
    if (this.card === "processing") {
      intent.status = "processing";
      return [200, intent];
    }
    const code = this.card === "bank_wants_holder" ? "card_declined" : this.card;
    const decline_code = this.card === "card_declined" ? "insufficient_funds" : "authentication_required";
    this.account.fail(intent, code);
    const message = `Your card was declined. (${intent.payment_method})`;
    return [402, { error: { type: "card_error", code, decline_code, message, payment_intent: intent } }];
  }
}

function json(status: number, body: unknown): Response {
  return Response.json(body, { status });
}
