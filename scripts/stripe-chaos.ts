/**
 * Stripe on a very bad day, against a real server process. Two parts, both judged by the stand-in's own books:
 *
 * - payments with refunds and disputes, delivered many times over, late, out of order, thin and as snapshots;
 * - random orders of stories of nine events, each order in an envelope of its own.
 *
 *   node scripts/stripe-chaos.ts --payments 10000 --deliveries 100000 --orders 10000 --seed 1 --json
 *   node scripts/stripe-chaos.ts --control     money keyed by the event: asserts that the judge finds it
 *
 * Exits 0 only if everything is exact; with --control, only if the judge found that it is not.
 */
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Holder } from "../test/stripe/chaos.ts";
import type { Deliveries } from "../test/stripe/deliverer.ts";
import type { Ledger, Verdict } from "../test/stripe/judge.ts";
import { PACKAGE_FOLDER, temporaryFolder } from "./lib/folders.ts";
import { newHolder } from "./lib/holder.ts";
import { readJson, send } from "./lib/http.ts";
import { type Machine, thisMachine } from "./lib/machine.ts";
import { randomVars, writeProject } from "./lib/project.ts";
import "./lib/test-code.ts";
import { allowThisMachine, configureWorkerd, startWorkerd } from "./lib/workerd.ts";
import { bundle } from "./lib/wrangler.ts";

const { runChaos } = await import("../test/stripe/chaos.ts");
const { judge } = await import("../test/stripe/judge.ts");
const { STORIES, tellStory } = await import("../test/stripe/orders.ts");
const { randomOf } = await import("../test/stripe/random.ts");
const { serve } = await import("../test/stripe/serve.ts");
const { StripeStandIn } = await import("../test/stripe/stand-in.ts");
const { ChaosDeliverer } = await import("../test/stripe/deliverer.ts");

interface Input {
  readonly payments: number;
  readonly deliveries: number;
  readonly orders: number;
  readonly seed: number;
  readonly concurrency: number;
  readonly control: boolean;
}

interface Report extends Input {
  readonly machine: Machine;
  readonly seconds: number;
  readonly chaos: { readonly seconds: number; readonly deliveries: Deliveries; readonly verdict: Verdict };
  readonly random_orders: { readonly seconds: number; readonly deliveries: number; readonly exact: number };
  readonly findings: readonly string[];
  readonly verdict: "exact" | "wrong";
}

const FINDINGS_SHOWN = 20;
const PAYMENTS_PER_HOLDER = 5;

/** A server with the package in it, and what reaches it. */
interface Target {
  readonly origin: string;
  readonly secrets: readonly [string, string];
  readonly webhook: (request: Request) => Promise<Response>;
}

async function main(input: Input): Promise<Report> {
  const started = Date.now();
  const standIn = new StripeStandIn();
  const stripe = await serve(standIn);
  const folder = temporaryFolder("stripe-chaos");
  const secrets = [webhookSecret(), webhookSecret()] as const;
  const vars = {
    ...randomVars(),
    STRIPE_WEBHOOK_SECRET: secrets.join(","),
    STRIPE_SECRET_KEY: standIn.key,
    STRIPE_API_BASE: stripe.origin,
    ...(input.control && { CONTROL: "1" }),
  };
  writeProject({ folder: folder.path, main: join(PACKAGE_FOLDER, "scripts/workers/stripe-chaos.ts"), vars });
  const bundled = bundle(folder.path);
  configureWorkerd(bundled, vars);
  allowThisMachine(bundled);
  const server = await startWorkerd(bundled, join(folder.path, "storage"));
  const target: Target = { origin: server.origin, secrets, webhook: webhookAt(server.origin) };
  try {
    const chaos = await chaosPart(input, target, standIn);
    const { findings: wrong, ...random_orders } = await ordersPart(input, target);
    const unanswered = chaos.deliveries.unanswered.map((id) => `${id} was never answered 2xx`);
    const findings = [...unanswered, ...chaos.verdict.findings, ...wrong];
    const verdict = findings.length === 0 ? "exact" : "wrong";
    const seconds = secondsSince(started);
    return { ...input, machine: thisMachine(), seconds, chaos, random_orders, findings, verdict };
  } finally {
    await server.kill();
    await stripe.close();
    folder.remove();
  }
}

async function chaosPart(
  { payments, deliveries, seed, concurrency }: Input,
  target: Target,
  standIn: InstanceType<typeof StripeStandIn>,
): Promise<Report["chaos"]> {
  const started = Date.now();
  const holders = await each(Math.ceil(payments / PAYMENTS_PER_HOLDER), concurrency, () => holderAt(target.origin));
  const { secrets, webhook } = target;
  const run = await runChaos({
    seed,
    payments,
    deliveries,
    holders,
    standIn,
    webhook: told(webhook),
    secrets,
    concurrency,
  });
  const ledgers = await each(holders.length, concurrency, (at) => ledgerAt(target.origin, holders[at] as Holder));
  const verdict = judge(standIn.account, run.owners, ledgers);
  return { seconds: secondsSince(started), deliveries: run.deliveries, verdict };
}

/** Each order in an envelope of its own, one event after the other; some events twice. */
async function ordersPart(
  { orders, seed, concurrency }: Input,
  target: Target,
): Promise<Report["random_orders"] & { readonly findings: readonly string[] }> {
  const started = Date.now();
  let deliveries = 0;
  const webhook = told(target.webhook);
  const verdicts = await each(orders, concurrency, async (at) => {
    const random = randomOf(seed, "order", at);
    const story = STORIES[at % STORIES.length] as (typeof STORIES)[number];
    const holder = await holderAt(target.origin);
    const { account, payment_id, events } = tellStory(story, holder.reference);
    const again = events.filter(() => random.chance(0.2));
    const deliverer = new ChaosDeliverer({ account, webhook, secrets: target.secrets, random, concurrency: 1 });
    const delivered = await deliverer.inOrder(random.shuffled([...events, ...again]));
    deliveries += delivered;
    const owners = new Map([[payment_id, { envelope_id: holder.envelope_id, goods: story.amount - story.tax }]]);
    return judge(account, owners, [await ledgerAt(target.origin, holder)]);
  });
  const exact = verdicts.filter((verdict) => verdict.exact).length;
  return { seconds: secondsSince(started), deliveries, exact, findings: verdicts.flatMap(({ findings }) => findings) };
}

async function holderAt(origin: string): Promise<Holder> {
  const { reference } = await newHolder(origin);
  // `e1_<envelope id, 22 characters>_…`
  return { reference, envelope_id: reference.slice(3, 25) };
}

async function ledgerAt(origin: string, { envelope_id }: Holder): Promise<Ledger> {
  return readJson(await send(origin, `/ledger?id=${envelope_id}`)) as unknown as Ledger;
}

/** A request that breaks off is answered like one that failed: it comes again. */
function webhookAt(origin: string): Target["webhook"] {
  return async (request) => {
    const question = {
      method: "POST",
      headers: Object.fromEntries(request.headers),
      body: await request.text(),
    } as const;
    const answer = await send(origin, "/stripe-webhook", question).catch(() => undefined);
    return answer === undefined
      ? new Response(null, { status: 504 })
      : new Response(answer.body, { status: answer.status });
  };
}

/** Says every few thousand deliveries how far it is. */
function told(webhook: Target["webhook"]): Target["webhook"] {
  let delivered = 0;
  return async (request) => {
    delivered += 1;
    if (delivered % 5000 === 0) console.error(`${delivered} deliveries`);
    return webhook(request);
  };
}

/** `work` for 0 up to `number`, so many at a time, the answers in order. */
async function each<One>(number: number, concurrency: number, work: (at: number) => Promise<One>): Promise<One[]> {
  const answers: One[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < number; at = next++) answers[at] = await work(at);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return answers;
}

function webhookSecret(): string {
  return `whsec_${randomBytes(24).toString("hex")}`;
}

function secondsSince(started: number): number {
  return Math.round((Date.now() - started) / 100) / 10;
}

function printable({ seed, machine, seconds: total, chaos, random_orders, orders, findings, verdict }: Report): string {
  const { deliveries, verdict: judged, seconds } = chaos;
  const { books } = judged;
  return [
    `seed ${seed} · ${machine.cpu}, ${machine.cores} cores · node ${machine.node} · workerd ${machine.workerd}`,
    `${judged.payments} payments, ${deliveries.events} events, ${deliveries.deliveries} deliveries in ${seconds} s: ${judged.credits} credits`,
    `  ${deliveries.thin} thin, ${deliveries.noise} noise, ${deliveries.lost_requests} requests and ${deliveries.lost_answers} answers lost`,
    `  books in cents: ${books.collected} collected − ${books.refunded} refunded − ${books.withdrawn} withdrawn + ${books.reinstated} reinstated`,
    `  left by the books ${judged.books_micros} micros, in ${judged.envelopes} envelopes ${judged.envelopes_micros} micros`,
    `${orders} random orders of nine events, ${random_orders.deliveries} deliveries in ${random_orders.seconds} s: ${random_orders.exact} exact`,
    ...findings.slice(0, FINDINGS_SHOWN).map((finding) => `  ! ${finding}`),
    ...(findings.length > FINDINGS_SHOWN ? [`  … and ${findings.length - FINDINGS_SHOWN} more`] : []),
    `${verdict}, after ${total} s`,
  ].join("\n");
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}

const { values } = parseArgs({
  // A `--` that npm did not take away.
  args: process.argv.slice(2).filter((argument) => argument !== "--"),
  options: {
    payments: { type: "string", default: "10000" },
    deliveries: { type: "string", default: "100000" },
    orders: { type: "string", default: "10000" },
    seed: { type: "string", default: String(randomInt(1, 1_000_000_000)) },
    concurrency: { type: "string", default: "32" },
    control: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const input: Input = {
  payments: wholeNumber("payments", values.payments),
  deliveries: wholeNumber("deliveries", values.deliveries),
  orders: wholeNumber("orders", values.orders),
  seed: wholeNumber("seed", values.seed),
  concurrency: wholeNumber("concurrency", values.concurrency),
  control: values.control,
};
console.error(`seed ${input.seed}`);
const report = await main(input);
console.log(
  values.json
    ? JSON.stringify({ ...report, findings: report.findings.slice(0, FINDINGS_SHOWN) }, null, 2)
    : printable(report),
);
process.exitCode = (report.verdict === "wrong") === input.control ? 0 : 1;
