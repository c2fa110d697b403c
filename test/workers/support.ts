/** What the black-box tests share: a caller with a cookie or token, signed events, and a wrapped app of one's own. */
import {
  createExecutionContext,
  listDurableObjectIds,
  runDurableObjectAlarm,
  waitOnExecutionContext,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import Stripe from "stripe";
import { expect } from "vitest";
import type { Difference, EnvelopeApi, ExactSums, LedgerSums } from "../../src/contract.js";
import { type EnvelopeFetchHandler, type EnvelopeOptions, envelopeOf, withEnvelope } from "../../src/index.js";
import { overviewOf, provePage } from "../../src/reports.js";
import { app } from "../app.js";

export const ORIGIN = "https://worker.test";
export const WEBHOOK_SECRETS = ["whsec_first_0123456789abcdef", "whsec_second_0123456789abcdef"] as const;

export interface Problem {
  readonly [member: string]: unknown;
  readonly type: string;
  readonly status: number;
}

export interface Me {
  readonly client_reference_id: string;
  readonly balance: number;
  readonly balance_micros: number;
  readonly available_micros: number;
  readonly currency: string;
  readonly paymentLink: string | null;
  readonly registered: boolean;
}

/** A wrapped app and its environment, called as the runtime would call it. */
export class Site {
  readonly #fetch: (request: Request, env: unknown, ctx: ExecutionContext) => Promise<Response>;
  readonly env: unknown;

  constructor(
    options: EnvelopeOptions = {},
    vars: Record<string, unknown> = {},
    handler: EnvelopeFetchHandler<unknown> = app,
  ) {
    // Quiet unless a test listens: most of them cause incidents on purpose.
    this.#fetch = withEnvelope(handler, { onIncident: () => undefined, ...options });
    this.env = { ...env, ...vars };
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const ctx = createExecutionContext();
    const response = await this.#fetch(new Request(new URL(path, ORIGIN), init), this.env, ctx);
    // A streamed body is written under waitUntil: read it first.
    if (response.webSocket === null && response.body === null) await waitOnExecutionContext(ctx);
    return response;
  }

  /** Answers a new caller: their token, and what `/me` said. */
  async newcomer(): Promise<Caller> {
    const response = await this.fetch("/me");
    const token = tokenOf(response);
    const me = await response.json<Me>();
    return new Caller(this, token, me.client_reference_id);
  }

  /** A caller whose envelope already holds this many minor units. */
  async payer(balance: number): Promise<Caller> {
    const caller = await this.newcomer();
    const outcome = await this.webhook(completed({ client_reference_id: caller.reference, amount_total: balance }));
    if ((await outcome.json<{ outcome: string }>()).outcome !== "credited")
      throw new Error("The top-up was not credited");
    return caller;
  }

  async webhook(event: unknown, secret: string = WEBHOOK_SECRETS[0]): Promise<Response> {
    const payload = JSON.stringify(event);
    return this.fetch("/stripe-webhook", {
      method: "POST",
      body: payload,
      headers: { "Stripe-Signature": await sign(payload, secret) },
    });
  }

  async outcomeOf(event: unknown): Promise<string> {
    const response = await this.webhook(event);
    return (await response.json<{ outcome: string }>()).outcome;
  }
}

export class Caller {
  readonly site: Site;
  readonly token: string;
  readonly reference: string;

  constructor(site: Site, token: string, reference: string) {
    this.site = site;
    this.token = token;
    this.reference = reference;
  }

  get id(): string {
    return this.reference.slice(3, 25);
  }

  get envelope() {
    return envelopeOf(this.site.env, { id: this.id });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("Authorization", `Bearer ${this.token}`);
    return this.site.fetch(path, { ...init, headers });
  }

  async me(): Promise<Me> {
    return (await this.fetch("/me")).json<Me>();
  }
}

export function tokenOf(response: Response): string {
  const [cookie = ""] = response.headers.getSetCookie().filter((one) => one.startsWith("__Host-we="));
  return cookie.slice("__Host-we=".length).split(";")[0] ?? "";
}

export async function sign(
  payload: string,
  secret: string,
  timestamp = Math.floor(Date.now() / 1000),
): Promise<string> {
  const cryptoProvider = Stripe.createSubtleCryptoProvider();
  return Stripe.webhooks.generateTestHeaderStringAsync({ payload, secret, timestamp, cryptoProvider });
}

let events = 0;
export const nextId = (prefix: string): string => `${prefix}_${Date.now().toString(36)}${(events++).toString(36)}`;

interface SessionFields {
  readonly [field: string]: unknown;
  readonly client_reference_id?: string | null;
  readonly amount_total?: unknown;
}

/** A Checkout Session's event as Stripe sends it, with the fields a test cares about. */
export function sessionEvent(type: string, fields: SessionFields, event: Record<string, unknown> = {}) {
  return {
    id: nextId("evt"),
    object: "event",
    type,
    livemode: false,
    ...event,
    data: {
      object: {
        id: nextId("cs_test"),
        object: "checkout.session",
        mode: "payment",
        status: "complete",
        payment_status: "paid",
        payment_intent: nextId("pi"),
        payment_link: "plink_1",
        currency: "usd",
        amount_total: 500,
        amount_subtotal: 500,
        total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
        ...fields,
      },
    },
  };
}

export const completed = (fields: SessionFields, event: Record<string, unknown> = {}) =>
  sessionEvent("checkout.session.completed", fields, event);

/** News of a refund, dispute or warning as Stripe sends it, with the fields a test cares about. */
export const reversalEvent = <Fields extends Record<string, unknown>>(type: string, fields: Fields) => ({
  id: nextId("evt"),
  object: "event",
  type,
  livemode: false,
  created: Math.floor(Date.now() / 1000),
  data: { object: { currency: "usd", ...fields } },
});

/** A refund that is made and done, unless the fields say otherwise. */
export const refund = (payment_intent: string, amount: number, fields: Record<string, unknown> = {}) =>
  reversalEvent("refund.created", {
    id: nextId("re"),
    object: "refund",
    payment_intent,
    amount,
    status: "succeeded",
    ...fields,
  });
/**
 * The owner's totals are the envelopes': every envelope of this file ships what it has, then the proof finds nothing, and the
 * overview is the sum of what each ledger says of itself. See setup.ts.
 */
export async function expectMirrored(): Promise<void> {
  const ids = await listDurableObjectIds(env.ENVELOPE);
  if (ids.length + (await listDurableObjectIds(env.ENVELOPE_AGGREGATE)).length === 0) return;
  await shipAll();
  expect(await proofOf(env)).toEqual({ behind: 0, differences: [] });
  const ledgers = await Promise.all(
    ids.map(async (id) => {
      const envelope = env.ENVELOPE.get(id) as unknown as EnvelopeApi;
      const [sums, state] = await Promise.all([envelope.sums({ up_to: Number.MAX_SAFE_INTEGER }), envelope.state({})]);
      return { ...sums, isBudget: state.outcome === "ok" && state.prepaid === false };
    }),
  );
  const below = (ledger: LedgerSums) => Math.max(0, 0 - ledger.balance_micros);
  const sum = (of: (ledger: (typeof ledgers)[number]) => number | string) =>
    Number(ledgers.reduce((total, ledger) => total + BigInt(of(ledger)), 0n));
  const ever = (name: keyof ExactSums) => sum(({ exact }) => exact?.[name] ?? "");
  expect(await overviewOf(env)).toMatchObject({
    envelopes: ledgers.filter(({ head_seq }) => head_seq > 0).length,
    entries: sum(({ head_seq }) => head_seq),
    credited_micros: ever("credited_micros"),
    granted_micros: ever("granted_micros"),
    spent_micros: ever("spent_micros"),
    refunded_micros: ever("refunded_micros"),
    reversed_micros: ever("reversed_micros"),
    expired_micros: ever("expired_micros"),
    // What a budget used and nobody paid for is no debt.
    outstanding_micros: sum((ledger) => ledger.balance_micros + (ledger.isBudget ? below(ledger) : 0)),
    owed_micros: sum((ledger) => (ledger.isBudget ? 0 : below(ledger))),
    budgeted_micros: sum((ledger) => (ledger.isBudget ? below(ledger) : 0)),
    frozen: ledgers.filter(({ frozen }) => frozen).length,
    behind: 0,
  });
}

let broken: string | undefined;

/** For a file that breaks the mirror itself, or fills it by hand: says why nothing is held against the ledgers after its tests. */
export function breaksTheMirror(why: string): void {
  broken = why;
}

export const isMirrorBroken = (): boolean => broken !== undefined;

/** Lets the alarm of every envelope ring, until all that is written is sent. */
export async function shipAll(): Promise<void> {
  for (const id of await listDurableObjectIds(env.ENVELOPE)) {
    for (let rung = 0; rung < 50 && (await runDurableObjectAlarm(env.ENVELOPE.get(id))); rung++);
  }
}

/** A whole proof, page by page. */
export async function proofOf(
  of: unknown,
  limit = 100,
): Promise<{ readonly behind: number; readonly differences: readonly Difference[] }> {
  const differences: Difference[] = [];
  let behind = 0;
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await provePage(of, { cursor: cursor ?? null, limit });
    differences.push(...page.differences);
    behind += page.behind;
    cursor = page.cursor;
  }
  return { behind, differences };
}
