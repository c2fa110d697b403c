/**
 * A stand-in for Stripe's API, for tests: the real HTTP, over an account kept in memory. Web standards only, so that it
 * answers inside workerd (as `fetch`) and, behind serve.ts, on a port. What it does not know it refuses, as Stripe does.
 */
import { type AccountOptions, API_VERSION, StripeAccount } from "./account.js";
import { ApiError, declined, internal, invalid, missing } from "./errors.js";
import { decodeForm, isParams, type Param, type Params } from "./form.js";
import { COLLECTIONS, type Event, type Intent, type StripeObject } from "./objects.js";
import { check, FILTERS, type Kind, MADE, unknownParameter } from "./params.js";

/** What confirming a PaymentIntent comes to. `timeout`: the money moves, and the answer is lost. */
export type Outcome =
  | "succeeded"
  | "processing"
  | "requires_action"
  | "card_declined"
  /** A plain decline whose bank asks for its customer. */
  | "bank_wants_holder"
  | "timeout"
  | "server_error";

export interface Asked {
  readonly method: string;
  readonly path: string;
  /** The idempotency key. */
  readonly key: string | null;
  readonly params: Params;
}

export interface StandInOptions extends AccountOptions {
  readonly key?: string;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

interface Remembered {
  readonly request: string;
  answer?: Answer;
}

type Listed = StripeObject | Event;

const KINDS = new Map<string, Kind>(Object.entries(COLLECTIONS).map(([kind, path]) => [path, kind as Kind]));
const KEY_CHARS_MAX = 255;
/** Half a dollar; other currencies have other bounds. */
const AMOUNT_MIN = 50;

export class StripeStandIn {
  readonly account: StripeAccount;
  /** The owner may exchange it. */
  key: string;
  /** What was asked, in order, whether it arrived or not. */
  readonly asked: Asked[] = [];
  /** `error`: every answer is a 500. `unreachable`: there is none. Nothing is done either way. */
  outage: "none" | "error" | "unreachable" = "none";
  /** For the next confirmations, first come first; then each succeeds, or does what its test payment method says. */
  readonly outcomes: Outcome[] = [];
  /** For every other confirmation. */
  usually: Outcome | undefined;
  /** How many of the next answers are lost after the work was done. */
  answersToLose = 0;
  /** Holds a request between its start and its end. */
  pause: (() => Promise<void>) | undefined;
  readonly #remembered = new Map<string, Remembered>();

  constructor(options: StandInOptions = {}) {
    this.account = new StripeAccount(options);
    this.key = options.key ?? `sk_test_${crypto.randomUUID().replaceAll("-", "")}`;
  }

  /** For `Stripe.createFetchHttpClient`, or in place of the global one. */
  readonly fetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    this.handle(new Request(input, init));

  /** Throws where a caller would see the connection break. */
  async handle(request: Request): Promise<Response> {
    const url = new URL(request.url);
    // Not text(): workerd warns of a form that is read as text.
    const text = new TextDecoder().decode(await request.arrayBuffer());
    this.asked.push({
      method: request.method,
      path: url.pathname,
      key: request.headers.get("Idempotency-Key"),
      params: decodeForm(request.method === "POST" ? text : url.search.slice(1)),
    });
    if (this.outage === "unreachable") throw new TypeError("Network connection lost");
    const { answer, replayed } = await this.#once(request, url, text);
    if (this.answersToLose > 0) {
      this.answersToLose -= 1;
      throw new TypeError("Network connection lost");
    }
    const headers = new Headers({ "Content-Type": "application/json", "Stripe-Version": API_VERSION });
    headers.set("Request-Id", this.account.id("req"));
    const key = request.headers.get("Idempotency-Key");
    if (key !== null) headers.set("Idempotency-Key", key);
    if (replayed) headers.set("Idempotent-Replayed", "true");
    return new Response(JSON.stringify(answer.body, null, 2), { status: answer.status, headers });
  }

  /** https://docs.stripe.com/api/idempotent_requests */
  async #once(request: Request, url: URL, text: string): Promise<{ answer: Answer; replayed?: boolean }> {
    if (this.outage === "error") return { answer: errorAnswer(internal()) };
    const key = request.method === "POST" ? request.headers.get("Idempotency-Key") : null;
    if (key === null) return { answer: await this.#execute(request, url, text) };
    const asked = `${url.pathname}?${text}`;
    const known = this.#remembered.get(key);
    if (known !== undefined && known.request !== asked) {
      return {
        answer: idempotencyError(400, key, "can only be used with the same parameters they were first used with"),
      };
    }
    if (known?.answer !== undefined) return { answer: known.answer, replayed: true };
    if (known !== undefined) return { answer: idempotencyError(409, key, "are in use by another request just now") };
    if (key.length > KEY_CHARS_MAX)
      return { answer: errorAnswer(invalid("Idempotency keys have at most 255 characters")) };

    const remembered: Remembered = { request: asked };
    this.#remembered.set(key, remembered);
    const answer = await this.#execute(request, url, text);
    // A request that was refused before it did anything leaves its key free; a declined card or a fault does not.
    if (answer.status < 400 || answer.status === 402 || answer.status >= 500) remembered.answer = answer;
    else this.#remembered.delete(key);
    return { answer };
  }

  async #execute(request: Request, url: URL, text: string): Promise<Answer> {
    await this.pause?.();
    try {
      const given = request.headers.get("Authorization")?.replace(/^Bearer /, "");
      if (given !== this.key) throw invalid(`Invalid API Key provided: ${given?.slice(0, 8)}…`, {}, 401);
      const params = decodeForm(request.method === "POST" ? text : url.search.slice(1));
      // A snapshot: the object moves on while the answer is on its way.
      return { status: 200, body: structuredClone(this.#route(request.method, url.pathname, params)) };
    } catch (error) {
      if (error instanceof ApiError) return errorAnswer(error);
      throw error;
    }
  }

  #route(method: string, path: string, params: Params): unknown {
    const [collection = "", id, action] = splitPath(path);
    const kind = KINDS.get(collection);
    if (kind === undefined) throw invalid(`Unrecognized request URL (${method}: ${path}).`, {}, 404);
    const { expand, ...rest } = params;
    const paths = Array.isArray(expand) ? expand.map(String) : [];
    if (method === "DELETE" && id !== undefined) return this.#remove(kind, id);
    if (method === "GET" && id === undefined) return this.#list(kind, path, rest, paths);
    if (method === "GET") return this.#expanded(this.#find(kind, id as string), paths);
    if (method !== "POST") throw invalid(`Unrecognized request URL (${method}: ${path}).`, {}, 404);
    if (id === undefined) return this.#expanded(this.#create(kind, rest), paths);
    if (action !== undefined) return this.#expanded(this.#act(kind, id, action, rest), paths);
    return this.#expanded(this.#update(this.#find(kind, id) as StripeObject, rest), paths);
  }

  #find(kind: Kind, id: string): Listed {
    const found =
      kind === "event" ? this.account.events.find((event) => event.id === id) : this.account.objects.get(id);
    if (found?.object !== kind) throw missing(kind, id);
    return found;
  }

  #remove(kind: Kind, id: string): unknown {
    this.#find(kind, id);
    this.account.objects.delete(id);
    return { id, object: kind, deleted: true };
  }

  /** Newest first. https://docs.stripe.com/api/pagination */
  #list(kind: Kind, url: string, params: Params, paths: readonly string[]): unknown {
    const { limit = 10, starting_after, ending_before, types, created, ...filters } = params;
    const all: Listed[] =
      kind === "event"
        ? this.account.events
        : [...this.account.objects.values()].filter(({ object }) => object === kind);
    for (const name of Object.keys(filters)) {
      if (!FILTERS[kind]?.includes(name)) throw unknownParameter(name);
    }
    const matching = all.toReversed().filter((one) => {
      if (Array.isArray(types) && !types.includes(String((one as Event).type))) return false;
      if (isParams(created) && !inRange(Number((one as { created?: number }).created), created)) return false;
      return Object.entries(filters).every(([name, value]) => (one as unknown as Params)[name] === value);
    });
    const position = (id: Param) => matching.findIndex((one) => one.id === id);
    const from = starting_after === undefined ? 0 : position(starting_after) + 1;
    const to = ending_before === undefined ? matching.length : position(ending_before);
    const start = ending_before === undefined ? from : Math.max(0, to - Number(limit));
    const page = matching.slice(start, Math.min(to, start + Number(limit)));
    const has_more = ending_before === undefined ? start + page.length < matching.length : start > 0;
    const inner = paths.map((path) => path.replace(/^data\./, ""));
    return { object: "list", url, has_more, data: page.map((one) => this.#expanded(one, inner)) };
  }

  /** https://docs.stripe.com/api/expanding_objects */
  #expanded(object: Listed, paths: readonly string[]): unknown {
    const copy = { ...object } as unknown as Record<string, unknown>;
    for (const path of paths) {
      const [field = "", ...rest] = path.split(".");
      const id = copy[field];
      const inner = typeof id === "string" ? this.account.objects.get(id) : undefined;
      if (inner !== undefined) copy[field] = this.#expanded(inner, rest.length === 0 ? [] : [rest.join(".")]);
    }
    return copy;
  }

  #create(kind: Kind, params: Params): StripeObject {
    check(kind, params);
    switch (kind) {
      case "payment_intent":
        return this.#createIntent(params);
      case "refund":
        return this.#createRefund(params);
      default: {
        const made = MADE[kind];
        if (made === undefined) throw invalid(`Unrecognized request URL (POST: /v1/${COLLECTIONS[kind]}).`, {}, 404);
        const id = this.account.id(made.prefix);
        const { livemode } = this.account;
        const created = this.account.now();
        const object = { id, object: kind, created, livemode, metadata: {}, ...made.fields(id), ...params };
        this.account.keep(object as unknown as StripeObject);
        if (kind === "customer") this.account.emit("customer.created", object as unknown as StripeObject);
        // Told once, when it is made.
        return (kind === "webhook_endpoint" ? { ...object, secret: `whsec_${id}` } : object) as unknown as StripeObject;
      }
    }
  }

  #update(object: StripeObject, { metadata, ...params }: Params): StripeObject {
    check(object.object, { ...params }, "update");
    const merged = isParams(metadata)
      ? { metadata: { ...(object as { metadata?: object }).metadata, ...metadata } }
      : {};
    return Object.assign(object, params, merged);
  }

  #act(kind: Kind, id: string, action: string, params: Params): StripeObject {
    const object = this.#find(kind, id);
    if (object.object === "payment_intent" && action === "confirm") return this.#confirm(object, params);
    if (object.object === "payment_intent" && action === "cancel") return Object.assign(object, { status: "canceled" });
    throw invalid(`Unrecognized request URL (POST: /v1/${COLLECTIONS[kind]}/${id}/${action}).`, {}, 404);
  }

  #createIntent(params: Params): Intent {
    const { amount, currency, customer, payment_method, metadata, confirm } = params;
    if (typeof amount !== "number" || amount < 1) throw invalid("Invalid positive integer", { param: "amount" });
    if (amount < AMOUNT_MIN) throw invalid("Amount is too small", { code: "amount_too_small", param: "amount" });
    if (typeof customer === "string") this.#find("customer", customer);
    const intent = this.account.intent({
      amount,
      currency: String(currency).toLowerCase(),
      customer: typeof customer === "string" ? customer : null,
      payment_method: typeof payment_method === "string" ? payment_method : null,
      metadata: (metadata ?? {}) as Record<string, string>,
      ...(typeof payment_method === "string" && { status: "requires_confirmation" as const }),
    });
    return confirm === true ? this.#confirm(intent, params) : intent;
  }

  #confirm(intent: Intent, { off_session, payment_method }: Params): Intent {
    if (typeof payment_method === "string") intent.payment_method = payment_method;
    const method = intent.payment_method;
    if (method === null) throw invalid("You cannot confirm this PaymentIntent because it's missing a payment method.");
    if (!this.account.objects.has(method) && !method.startsWith("pm_card_")) throw missing("PaymentMethod", method);
    const outcome = this.outcomes.shift() ?? this.usually ?? TEST_CARDS[method] ?? "succeeded";
    switch (outcome) {
      case "succeeded":
      case "timeout":
        this.account.collect(intent);
        if (outcome === "timeout") this.answersToLose += 1;
        return intent;
      case "processing":
        intent.status = "processing";
        this.account.emit("payment_intent.processing", intent);
        return intent;
      case "requires_action":
        if (off_session !== true) return Object.assign(intent, { status: "requires_action" });
        this.account.fail(intent, "authentication_required");
        throw declined("authentication_required", intent);
      case "card_declined":
        this.account.fail(intent, "card_declined");
        throw declined("card_declined", intent);
      case "bank_wants_holder":
        this.account.fail(intent, "card_declined");
        throw declined("card_declined", intent, "authentication_required");
      case "server_error":
        throw internal();
    }
  }

  #createRefund({ payment_intent, charge, amount }: Params): StripeObject {
    const id = payment_intent ?? this.account.get("charge", String(charge)).payment_intent;
    const intent = this.#find("payment_intent", String(id)) as Intent;
    if (intent.latest_charge === null) throw invalid("This PaymentIntent does not have a successful charge to refund.");
    const paid = this.account.get("charge", intent.latest_charge);
    const left = paid.amount - paid.amount_refunded;
    const asked = amount === undefined ? left : Number(amount);
    if (left === 0) throw invalid(`Charge ${paid.id} has already been refunded.`, { code: "charge_already_refunded" });
    if (asked > left) throw invalid(`Refund amount (${asked}) is greater than unrefunded amount on charge (${left})`);
    return this.account.refund(intent.id, asked);
  }
}

/** As Stripe's own test payment methods do. https://docs.stripe.com/testing */
const TEST_CARDS: Readonly<Record<string, Outcome>> = {
  pm_card_visa: "succeeded",
  pm_card_chargeDeclined: "card_declined",
  pm_card_authenticationRequired: "requires_action",
};

/** `/v1/checkout/sessions/cs_1/…` → collection, id, action. */
function splitPath(path: string): (string | undefined)[] {
  const steps = path.replace(/^\/v1\//, "").split("/");
  const two = steps.slice(0, 2).join("/");
  return KINDS.has(two) ? [two, ...steps.slice(2)] : steps;
}

function inRange(value: number, { gt, gte, lt, lte }: Params): boolean {
  return (
    (gt === undefined || value > Number(gt)) &&
    (gte === undefined || value >= Number(gte)) &&
    (lt === undefined || value < Number(lt)) &&
    (lte === undefined || value <= Number(lte))
  );
}

function errorAnswer({ status, body }: ApiError): Answer {
  return { status, body: { error: body } };
}

function idempotencyError(status: 400 | 409, key: string, why: string): Answer {
  const code = status === 409 ? { code: "idempotency_key_in_use" } : {};
  return errorAnswer(
    new ApiError(status, { type: "idempotency_error", ...code, message: `Keys such as '${key}' ${why}.` }),
  );
}
