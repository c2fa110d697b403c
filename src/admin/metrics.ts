/** Figures for Prometheus, in its text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). */
import type { Overview } from "../contract.js";
import { figuresOf } from "./figures.js";
import type { OwnersRequest } from "./owners-request.js";

interface Metric {
  readonly name: string;
  /** What only ever grows is a counter, and is named so. */
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly value: (overview: Overview & { readonly unclaimed: number }) => number;
}

const METRICS: readonly Metric[] = [
  gauge("envelopes", "Envelopes that ever held money.", ({ envelopes }) => envelopes),
  counter("entries_total", "Ledger entries copied to the aggregate.", ({ entries }) => entries),
  counter("credited_micros_total", "Top-ups, in millionths of the main unit.", (all) => all.credited_micros),
  counter("granted_micros_total", "Grants, in millionths of the main unit.", (all) => all.granted_micros),
  counter("spent_micros_total", "Charges, in millionths of the main unit.", (all) => all.spent_micros),
  counter("refunded_micros_total", "Refunds of charges, in millionths of the main unit.", (all) => all.refunded_micros),
  gauge("reversed_micros", "Top-ups taken back by refunds and disputes, net.", (all) => all.reversed_micros),
  gauge("expired_micros", "Grants that expired or were revoked before they were spent.", (all) => all.expired_micros),
  gauge("disputed_micros", "How much of it disputes took.", (all) => all.disputed_micros),
  gauge("outstanding_micros", "Sum of all balances, in millionths of the main unit.", (all) => all.outstanding_micros),
  gauge("owed_micros", "What holders owe after claw-backs.", (all) => all.owed_micros),
  gauge("budgeted_micros", "What budgets used and nobody paid for.", (all) => all.budgeted_micros),
  gauge("active_envelopes_today", "Envelopes charged since midnight, UTC.", (all) => all.active_today),
  gauge("frozen_envelopes", "Envelopes that may not spend.", (all) => all.frozen),
  gauge("behind_envelopes", "Envelopes with entries that have not arrived.", (all) => all.behind),
  gauge("lag_seconds", "How far the copy is behind.", (all) => all.lag_ms / 1000),
  gauge("unclaimed_payments", "Payments that wait for the owner to assign them.", (all) => all.unclaimed),
];

function gauge(name: string, help: string, value: Metric["value"]): Metric {
  return { name: `with_envelope_${name}`, type: "gauge", help, value };
}

function counter(name: string, help: string, value: Metric["value"]): Metric {
  return { name: `with_envelope_${name}`, type: "counter", help, value };
}

export async function showMetrics({ env, currency }: OwnersRequest): Promise<Response> {
  const overview = await figuresOf(env);
  const lines = METRICS.flatMap(({ name, type, help, value }) => {
    const labels = name.includes("_micros") ? `{currency="${currency.code}"}` : "";
    return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name}${labels} ${value(overview)}`];
  });
  return new Response(`${lines.join("\n")}\n`, {
    headers: {
      "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
    },
  });
}
