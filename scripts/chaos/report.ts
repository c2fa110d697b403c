/** What a run came to, in figures. */
import { type Machine, thisMachine } from "../lib/machine.ts";
import type { Rule } from "./judge.ts";
import type { Round, RunInput } from "./run.ts";

export interface Report {
  /** Of the negative control: `pass` when the harness found the doubled charges that had to be there. */
  readonly verdict: "pass" | "fail" | "unknown";
  readonly why: string;
  readonly control: "no-keys" | null;
  readonly seed: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly clients: number;
  readonly envelopes: number;
  /** SIGKILLs of the whole server. */
  readonly kills: number;
  /** From the kill to the first answer. */
  readonly restart_ms: { readonly median: number; readonly p95: number; readonly worst: number };
  /** Operations whose outcome was told: charged, refused, or failed without a charge. */
  readonly operations: number;
  readonly operations_per_second: number;
  readonly charged: number;
  readonly refused: number;
  readonly failed: number;
  /** Answers that came from an earlier attempt's charge. */
  readonly replayed: number;
  /** Sent again because no answer came. */
  readonly retries: number;
  /** Without a key and without an answer; the ledger has each at most once. */
  readonly indefinite: number;
  readonly probes: { readonly same: number; readonly other_price: number };
  readonly payments: number;
  readonly deliveries: number;
  readonly findings: Readonly<Partial<Record<Rule, number>>>;
  readonly examples: readonly string[];
  readonly storage: readonly string[];
  readonly machine: Machine;
}

const EXAMPLES_MAX = 10;

export function reportOf(input: RunInput, rounds: readonly Round[]): Report {
  const told = rounds.flatMap(({ history }) => history.told);
  const payments = rounds.flatMap(({ history }) => history.payments);
  const findings = rounds.flatMap((round) => round.findings);
  const restarts_ms = rounds.flatMap((round) => round.restarts_ms);
  const seconds = total(rounds.map(({ worked_ms }) => worked_ms)) / 1000;
  const ended = (outcome: string): number => told.filter((one) => one.outcome === outcome).length;
  const operations = told.length - ended("indefinite");
  const counts: Partial<Record<Rule, number>> = {};
  for (const { rule } of findings) counts[rule] = (counts[rule] ?? 0) + 1;
  return {
    ...verdictOf(input, rounds, counts),
    control: input.freshKeys ? "no-keys" : null,
    seed: input.seed,
    seconds: round1(seconds),
    rounds: rounds.length,
    clients: input.clients,
    envelopes: input.envelopes,
    kills: restarts_ms.length,
    restart_ms: {
      median: percentile(restarts_ms, 0.5),
      p95: percentile(restarts_ms, 0.95),
      worst: percentile(restarts_ms, 1),
    },
    operations,
    operations_per_second: Math.round(operations / seconds),
    charged: ended("charged"),
    refused: ended("refused"),
    failed: ended("failed"),
    replayed: told.filter(({ replayed }) => replayed).length,
    retries: total(told.map(({ attempts }) => attempts - 1)),
    indefinite: ended("indefinite"),
    probes: {
      same: total(rounds.map(({ history }) => history.probes.same)),
      other_price: total(rounds.map(({ history }) => history.probes.other_price)),
    },
    payments: payments.length,
    deliveries: total(payments.map(({ deliveries }) => deliveries)),
    findings: counts,
    examples: findings.slice(0, EXAMPLES_MAX).map(({ rule, detail }) => `${rule}: ${detail}`),
    storage: rounds.flatMap(({ storage }) => storage ?? []),
    machine: thisMachine(),
  };
}

/** Retrying under a new key can charge twice, or charge and then be refused. Anything else is a fault in the control, too. */
const CONTROL_FINDS: ReadonlySet<string> = new Set<Rule>(["doubled", "phantom"]);

function verdictOf(
  input: RunInput,
  rounds: readonly Round[],
  counts: Readonly<Partial<Record<Rule, number>>>,
): Pick<Report, "verdict" | "why"> {
  const unknown = rounds.flatMap((round) => round.unknown ?? []);
  const rules = Object.keys(counts);
  if (!input.freshKeys) {
    if (rules.length > 0) return { verdict: "fail", why: `Broken: ${rules.join(", ")}` };
    if (unknown.length > 0 || rounds.length === 0) return { verdict: "unknown", why: unknown[0] ?? "Nothing was run" };
    return {
      verdict: "pass",
      why: "Every acknowledged operation is in its ledger exactly once, and every sum is right",
    };
  }
  const others = rules.filter((rule) => !CONTROL_FINDS.has(rule));
  if (others.length > 0) return { verdict: "fail", why: `Broken even in the control: ${others.join(", ")}` };
  if (unknown.length > 0) return { verdict: "unknown", why: unknown[0] ?? "" };
  return (counts.doubled ?? 0) > 0
    ? { verdict: "pass", why: `Without keys ${counts.doubled} operations were charged twice, and the harness saw it` }
    : { verdict: "fail", why: "Without keys nothing was charged twice: this harness would not notice" };
}

export function printable(report: Report): string {
  const { machine, restart_ms, probes } = report;
  const lines = [
    `seed ${report.seed}, ${report.seconds} s in ${report.rounds} rounds, ${report.clients} clients, ${report.envelopes} envelopes`,
    `machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memory_gb} GB, ${machine.system}, node ${machine.node}, workerd ${machine.workerd}`,
    `kills: ${report.kills}; restart ${restart_ms.median} ms median, ${restart_ms.p95} ms p95, ${restart_ms.worst} ms worst`,
    `operations: ${report.operations} (${report.operations_per_second}/s): ${report.charged} charged, ${report.refused} refused, ${report.failed} failed unpaid`,
    `retries: ${report.retries}, answered by a replay: ${report.replayed}; without key and answer: ${report.indefinite}`,
    `reused keys: ${probes.same} with the same price, ${probes.other_price} with another`,
    `payments: ${report.payments}, delivered ${report.deliveries} times`,
    ...Object.entries(report.findings).map(([rule, count]) => `found: ${rule} × ${count}`),
    ...report.examples.map((example) => `  ${example}`),
    ...report.storage.map((path) => `storage kept in ${path}`),
    `${report.control === null ? "" : `control ${report.control}: `}${report.verdict}. ${report.why}.`,
  ];
  return lines.join("\n");
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return round1(sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0);
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
