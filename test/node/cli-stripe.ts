/**
 * As much of Stripe's API as `with-envelope stripe` talks to, on the real HTTP: objects, lists in pages, idempotency keys with
 * their old answers, signing secrets shown once, and a network that dies at a chosen moment.
 */
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type Stripe from "stripe";

export interface Thing {
  id: string;
  created: number;
  metadata: Record<string, string>;
  [field: string]: unknown;
}

type Params = Record<string, unknown>;
interface Kept {
  readonly params: string;
  readonly status: number;
  readonly body: string;
}

const PREFIX: Readonly<Record<string, string>> = {
  products: "prod",
  prices: "price",
  payment_links: "plink",
  webhook_endpoints: "we",
};

export class StripeStandIn {
  readonly key = `rk_test_${randomBytes(12).toString("hex")}`;
  readonly secrets = new Map<string, string>();
  readonly posts: { readonly path: string; readonly params: Params; readonly key: string }[] = [];
  gets = 0;
  /** Seconds; moved by tests that need another day. */
  now = Math.floor(Date.now() / 1000);
  /** `GET` or `POST` and the collection, refused as to a restricted key, with this message. */
  readonly forbidden = new Map<string, string>();
  /** Called after the n-th POST was carried out, or before; answering `true` closes the connection without an answer. */
  onPost: (count: number, moment: "before" | "after") => boolean = () => false;
  /** The answer to the next POST, kept under its idempotency key as Stripe keeps its own mistakes. */
  mistake: number | undefined;

  readonly #things = new Map<string, Thing[]>(Object.keys(PREFIX).map((name) => [name, []]));
  readonly #kept = new Map<string, Kept>();
  #server: Server | undefined;
  #made = 0;

  async listen(): Promise<string> {
    const server = createServer((request, response) => void this.#serve(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server?.closeAllConnections();
    this.#server?.close();
  }

  all(collection: string): Thing[] {
    return this.#things.get(collection) ?? [];
  }

  /** The keys that Stripe drops after a day, with their answers. */
  forgetAnswers(): void {
    this.#kept.clear();
  }

  /** Somebody else's objects, or the owner's own, made elsewhere. */
  add(collection: string, params: Params): Thing {
    const made = make(collection, params, `${PREFIX[collection]}_${String(++this.#made).padStart(6, "0")}`, this.now);
    this.all(collection).push(made);
    return made;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const url = new URL(request.url ?? "/", "http://stripe");
    const [, , collection = "", id] = url.pathname.split("/");
    const reply = (status: number, value: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { "Content-Type": "application/json", "Request-Id": "req_stand_in", ...headers });
      response.end(typeof value === "string" ? value : JSON.stringify(value));
    };
    if (request.headers.authorization !== `Bearer ${this.key}`) {
      return reply(401, failed("invalid_request_error", `Invalid API Key provided: ${request.headers.authorization}`));
    }
    const forbidden = this.forbidden.get(`${request.method} ${collection}`);
    if (forbidden !== undefined) return reply(403, failed("invalid_request_error", forbidden));
    if (request.method === "GET") {
      this.gets++;
      return id === undefined ? reply(200, this.#list(collection, url)) : this.#one(collection, id, reply);
    }
    if (request.method === "DELETE") {
      const index = this.all(collection).findIndex((thing) => thing.id === id);
      this.all(collection).splice(index, 1);
      return reply(200, { id, deleted: true });
    }
    return this.#post(request, response, { path: url.pathname, collection, id, body }, reply);
  }

  #one(collection: string, id: string, reply: (status: number, value: unknown) => void): void {
    const thing = this.all(collection).find((other) => other.id === id);
    if (thing === undefined) reply(404, failed("invalid_request_error", `No such object: '${id}'`));
    else reply(200, shown(thing));
  }

  #list(collection: string, url: URL): unknown {
    const wanted = (thing: Thing) =>
      ["active", "product"].every((field) => {
        const value = url.searchParams.get(field);
        return value === null || String(thing[field]) === value;
      });
    const newestFirst = this.all(collection).filter(wanted).toReversed();
    const after = url.searchParams.get("starting_after");
    const start = after === null ? 0 : newestFirst.findIndex(({ id }) => id === after) + 1;
    const end = start + Number(url.searchParams.get("limit") ?? 10);
    const data = newestFirst.slice(start, end).map(shown);
    return { object: "list", url: url.pathname, has_more: end < newestFirst.length, data };
  }

  #post(
    request: IncomingMessage,
    response: ServerResponse,
    { path, collection, id, body }: { path: string; collection: string; id: string | undefined; body: string },
    reply: (status: number, value: unknown, headers?: Record<string, string>) => void,
  ): void {
    const key = String(request.headers["idempotency-key"]);
    const params = parseForm(body);
    this.posts.push({ path, params, key });
    const count = this.posts.length;
    if (this.onPost(count, "before")) return void response.destroy();
    let kept = this.#kept.get(key);
    const replayed = kept !== undefined;
    if (kept !== undefined && kept.params !== path + body) {
      const reason = "Keys for idempotent requests can only be used with the same parameters";
      reply(400, failed("idempotency_error", reason));
      return;
    }
    if (kept === undefined) {
      kept = { params: path + body, ...this.#carryOut(collection, id, params) };
      this.#kept.set(key, kept);
    }
    if (this.onPost(count, "after")) return void response.destroy();
    const again: Record<string, string> = replayed ? { "Idempotent-Replayed": "true" } : {};
    reply(kept.status, kept.body, { ...again, "Stripe-Should-Retry": "false" });
  }

  #carryOut(collection: string, id: string | undefined, params: Params): { status: number; body: string } {
    const status = this.mistake;
    this.mistake = undefined;
    if (status !== undefined) return { status, body: JSON.stringify(failed("api_error", "Something went wrong")) };
    if (id === undefined) {
      const thing = this.add(collection, params);
      if (collection !== "webhook_endpoints") return { status: 200, body: JSON.stringify(shown(thing)) };
      const secret = `whsec_${randomBytes(16).toString("hex")}`;
      this.secrets.set(thing.id, secret);
      return { status: 200, body: JSON.stringify({ ...shown(thing), secret }) };
    }
    const thing = this.all(collection).find((other) => other.id === id);
    if (thing === undefined)
      return { status: 404, body: JSON.stringify(failed("invalid_request_error", "No such object")) };
    change(thing, params);
    return { status: 200, body: JSON.stringify(shown(thing)) };
  }
}

function failed(type: string, message: string): unknown {
  return { error: { type, message } };
}

/** `Partial`, because only what the command reads is there; typed, so that a renamed field does not compile. */
function make(collection: string, params: Params, id: string, created: number): Thing {
  const metadata = (params["metadata"] ?? {}) as Record<string, string>;
  const base = { ...params, id, created, metadata };
  switch (collection) {
    case "products":
      return { ...base, ...({ active: true } satisfies Partial<Stripe.Product>) };
    case "prices": {
      const amount = params["custom_unit_amount"] as Params;
      const number = (name: string) => (amount[name] === undefined ? null : Number(amount[name]));
      const custom_unit_amount = { minimum: number("minimum"), maximum: number("maximum"), preset: number("preset") };
      return { ...base, ...({ active: true, custom_unit_amount } satisfies Partial<Stripe.Price>) };
    }
    case "payment_links": {
      const types = params["payment_method_types"];
      const more = {
        active: true,
        url: `https://buy.stripe.com/test_${id}`,
        payment_method_types: types === undefined ? null : (Object.values(types as object) as string[]),
      } satisfies Partial<Stripe.PaymentLink>;
      return { ...base, ...more };
    }
    default: {
      const more = {
        status: "enabled",
        api_version: (params["api_version"] as string | undefined) ?? null,
        enabled_events: Object.values((params["enabled_events"] ?? {}) as object) as string[],
      } satisfies Partial<Stripe.WebhookEndpoint>;
      return { ...base, ...more };
    }
  }
}

function change(thing: Thing, { metadata, disabled, ...params }: Params): void {
  for (const [field, value] of Object.entries(params)) {
    const isList = field === "enabled_events" || field === "payment_method_types";
    thing[field] = isList ? (value === "" ? null : Object.values(value as object)) : value;
  }
  if (disabled !== undefined) thing["status"] = disabled === "true" ? "disabled" : "enabled";
  Object.assign(thing.metadata, metadata);
}

/** A copy, as it would be read back: without what the answer to its creation alone says. */
function shown(thing: Thing): Thing {
  return structuredClone(thing);
}

/** `a[b][0]=c` as `{ a: { b: { 0: "c" } } }`. */
function parseForm(body: string): Params {
  const root: Params = {};
  for (const [name, value] of new URLSearchParams(body)) {
    const path = name.replaceAll("]", "").split("[");
    const last = path.pop() ?? "";
    let at = root;
    for (const part of path) {
      at[part] ??= {};
      at = at[part] as Params;
    }
    at[last] = value;
  }
  return root;
}
