/**
 * The stand-in for Stripe in place of `fetch`, as top-ups need it: what goes wrong with a call, and when nobody is being
 * answered any more. The objects run in the tests' own isolate, so their calls arrive here as well.
 */
import { vi } from "vitest";
import type { Event, Intent, StripeObject } from "../../stripe/objects.js";
import { type Asked, StripeStandIn } from "../../stripe/stand-in.js";

const API = "http://stripe.test";
/** Of the tests' environment. */
const KEY = "sk_test_0123456789abcdefghij";

/** `lost_request`: it never arrived. `lost_answer`: it did, and the answer did not. */
type Fault = "lost_request" | "lost_answer" | "down" | "refused_key";

export class FaultyStripe extends StripeStandIn {
  #delivered = 0;
  #busy = 0;

  constructor() {
    super({ key: KEY });
  }

  install(): void {
    const real = globalThis.fetch;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const request = new Request(input as RequestInfo, init as RequestInit);
      if (!request.url.startsWith(`${API}/`)) return real(input as RequestInfo, init as RequestInit);
      this.#busy += 1;
      return this.handle(request).finally(() => (this.#busy -= 1));
    });
  }

  /** From now on, until it is taken back. */
  set fault(fault: Fault | undefined) {
    this.outage = fault === "lost_request" ? "unreachable" : fault === "down" ? "error" : "none";
    this.answersToLose = fault === "lost_answer" ? Number.POSITIVE_INFINITY : 0;
    this.key = fault === "refused_key" ? "sk_test_another" : KEY;
  }

  /** Comes back when nobody is being answered, and whoever was has had time to act on it. */
  async quiet(): Promise<void> {
    do await new Promise((resolve) => setTimeout(resolve, 30));
    while (this.#busy > 0);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }

  /** A customer with a card. */
  savedCard(): { readonly customer: string; readonly paymentMethod: string } {
    const customer = this.account.id("cus");
    this.account.keep({ id: customer, object: "customer", email: null, name: null } as unknown as StripeObject);
    return { customer, paymentMethod: this.account.paymentMethod(customer).id };
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
}
