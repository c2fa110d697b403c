/**
 * A client as the documentation tells one to be: it sends an operation again, with the same key, until it is told how it
 * ended; and gives one up that has no key. Payments are Stripe's to deliver, again and again until acknowledged.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Holder } from "../lib/holder.ts";
import { type Answer, header, readJson, send } from "../lib/http.ts";
import { centsOf, microsOf } from "../lib/minor.ts";
import { completedEvent, deliver } from "../lib/stripe.ts";
import type { CrashingServer } from "./crashing-server.ts";
import type { History, Told } from "./history.ts";
import type { Operation, Step, TopUp } from "./plan.ts";

export interface World {
  readonly server: CrashingServer;
  readonly holders: readonly Holder[];
  readonly webhookSecret: string;
  readonly history: History;
  /** The negative control: each attempt has a key of its own, so that nothing ties them together. */
  readonly freshKeys: boolean;
  /** True when no step may go on: what is open stays open. */
  readonly givenUp: () => boolean;
}

const PAUSE_MS = 20;
/** A key whose hold was left behind by a kill is busy until the hold expires. */
const BUSY_PAUSE_MS = 250;

export async function take(world: World, step: Step): Promise<void> {
  if (step.kind === "topup") return pay(world, step);
  const told = await perform(world, step);
  if (told === undefined) {
    world.history.unfinished += 1;
    return;
  }
  world.history.told.push(told);
  if (told.outcome === "charged" && step.probe !== "none" && !world.freshKeys) await probe(world, step, step.probe);
}

type Verdict = Told["outcome"] | "busy";

/** `undefined` when the run was given up first. */
async function perform(world: World, operation: Operation): Promise<Told | undefined> {
  let lost = 0;
  for (let attempts = 1; !world.givenUp(); attempts++) {
    const answer = await ask(world, operation, attempts, operation.asked);
    const verdict = answer === undefined ? "indefinite" : read(world, operation, answer);
    const final = verdict !== "busy" && (verdict !== "indefinite" || !operation.keyed);
    if (verdict === "indefinite") lost += 1;
    if (final) return told(operation, { verdict, attempts, lost, answer });
    await sleep(verdict === "busy" ? BUSY_PAUSE_MS : PAUSE_MS);
  }
  return undefined;
}

interface Ending {
  readonly verdict: Told["outcome"];
  readonly attempts: number;
  readonly lost: number;
  readonly answer: Answer | undefined;
}

function told(operation: Operation, { verdict, attempts, lost, answer }: Ending): Told {
  const charged = verdict === "charged" ? answer : undefined;
  return {
    operation,
    outcome: verdict,
    attempts,
    lost,
    replayed: charged !== undefined && header(charged, "X-Charge-Replayed") === "true",
    price_micros: charged && microsOf(header(charged, "X-Price")),
    balance_micros: charged && microsOf(header(charged, "X-Balance")),
  };
}

/** `undefined` when no whole answer came: the request may or may not have been acted upon. */
async function ask(
  world: World,
  operation: Operation,
  attempt: number,
  asked: Readonly<Record<string, string>>,
): Promise<Answer | undefined> {
  const { cookie } = world.holders[operation.envelope] as Holder;
  const key = world.freshKeys ? `${operation.id}.${attempt}` : operation.id;
  const headers = { Cookie: cookie, ...(operation.keyed ? { "Idempotency-Key": key } : {}) };
  const origin = await world.server.origin();
  return send(origin, `${operation.path}?${new URLSearchParams(asked)}`, { method: "POST", headers }).catch(
    () => undefined,
  );
}

function read(world: World, operation: Operation, answer: Answer): Verdict {
  switch (answer.status) {
    case 200:
      return "charged";
    case 402:
      return "refused";
    case 409:
      return operation.keyed ? "busy" : odd(world, operation, answer);
    case 418:
      return operation.fails ? "failed" : odd(world, operation, answer);
    case 503:
      return "indefinite";
    default:
      return odd(world, operation, answer);
  }
}

function odd(world: World, operation: Operation, answer: Answer): "indefinite" {
  world.history.oddities.push(`${operation.path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
  return "indefinite";
}

/** A used key with the same price is a replay; with another price, a conflict. Neither takes anything. */
async function probe(world: World, operation: Operation, kind: "same" | "other_price"): Promise<void> {
  const other = { ...operation.asked, price: centsOf(operation.price_micros + 1) };
  const answer = await ask(world, operation, 1, kind === "same" ? operation.asked : other);
  if (answer === undefined || answer.status === 503) return;
  world.history.probes[kind] += 1;
  const replayed = answer.status === 200 && header(answer, "X-Charge-Replayed") === "true";
  const price_micros = microsOf(header(answer, "X-Price"));
  if (kind === "same" ? !replayed || price_micros !== operation.price_micros : answer.status !== 422) {
    odd(world, operation, answer);
  }
}

async function pay(world: World, topUp: TopUp): Promise<void> {
  const { reference } = world.holders[topUp.envelope] as Holder;
  const event = completedEvent({ name: topUp.name, reference, amount: topUp.cents });
  const counts = { credited: 0, deliveries: 0 };
  const deliverOnce = async (): Promise<boolean> => {
    counts.deliveries += 1;
    const outcome = await outcomeOf(world, event);
    if (outcome === "credited") counts.credited += 1;
    return outcome !== undefined;
  };
  let acknowledged = false;
  while (!acknowledged && !world.givenUp()) {
    const answers = await Promise.all(topUp.twin ? [deliverOnce(), deliverOnce()] : [deliverOnce()]);
    acknowledged = answers.includes(true);
    if (!acknowledged) await sleep(PAUSE_MS);
  }
  if (topUp.again && acknowledged) await deliverOnce();
  if (!acknowledged) world.history.unfinished += 1;
  world.history.payments.push({ topUp, ...counts, acknowledged });
}

/** What the webhook said; `undefined` when Stripe would deliver again. */
async function outcomeOf(world: World, event: string): Promise<string | undefined> {
  const origin = await world.server.origin();
  const answer = await deliver(origin, event, world.webhookSecret).catch(() => undefined);
  if (answer === undefined || answer.status === 503) return undefined;
  const outcome = answer.status === 200 ? readJson(answer)["outcome"] : undefined;
  if (outcome === "credited" || outcome === "duplicate") return outcome;
  world.history.oddities.push(`The webhook answered ${answer.status}: ${answer.body.slice(0, 300)}`);
  return undefined;
}
