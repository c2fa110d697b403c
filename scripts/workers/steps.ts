/**
 * The Worker of `steps.ts`: the package as an owner would deploy it, in which every call of an object that keeps money waits at a
 * gate outside before it begins and after it has ended. What it wrote is durable when it comes to the second: the platform holds
 * back what an object sends until then. With CONTROL set, the directory forgets early news when it hands it out.
 */
import {
  EnvelopeDirectory as Directory,
  type EnvelopeFetchHandler,
  type EnvelopeOptions,
  envelopeOf,
  Envelope as RealEnvelope,
  withEnvelope,
} from "with-envelope";

export { EnvelopeAggregate } from "with-envelope";

interface Vars {
  readonly GATE: string;
  readonly CONTROL?: string;
}

export class Envelope extends RealEnvelope {}

export class EnvelopeDirectory extends Directory {
  override async claim(...given: Parameters<Directory["claim"]>): ReturnType<Directory["claim"]> {
    const claimed = await super.claim(...given);
    const { CONTROL } = (this as unknown as { readonly env: Vars }).env;
    const event_ids = claimed.parked.map(({ event_id }) => event_id);
    if (CONTROL !== undefined) await super.settle({ ...given[0], event_ids, booked: false });
    return claimed;
  }
}

/** They only read: whoever is killed at one of them is killed at the step beside it. */
const READING = [
  "constructor",
  "state",
  "entries",
  "lookup",
  "claimant",
  "paymentState",
  "keeps",
  "unclaimed",
  "topUps",
];

type Method = (this: { readonly env: Vars }, ...given: unknown[]) => Promise<unknown>;

function gate(prototype: object, of: string): void {
  const real = Object.getPrototypeOf(prototype) as Record<string, Method>;
  for (const name of Object.getOwnPropertyNames(real)) {
    if (READING.includes(name)) continue;
    const method = Object.hasOwn(prototype, name) ? (prototype as Record<string, Method>)[name] : real[name];
    const gated: Method = async function (...given) {
      await passGate(this.env, `${of}.${name} begins`);
      const answer = await (method as Method).apply(this, given);
      await passGate(this.env, `${of}.${name} has ended`);
      return answer;
    };
    Object.defineProperty(prototype, name, { value: gated, configurable: true, writable: true });
  }
}

async function passGate({ GATE }: Vars, step: string): Promise<void> {
  await (await fetch(GATE, { method: "POST", body: step })).body?.cancel();
}

gate(Envelope.prototype, "Envelope");
gate(EnvelopeDirectory.prototype, "EnvelopeDirectory");

/** A payer has to wait a minute before a card opens anything: here the harness says when it is over. */
const clock = { ahead_ms: 0 };
const now = Date.now.bind(Date);
Date.now = () => now() + clock.ahead_ms;

const app: EnvelopeFetchHandler<unknown> = async (request, env) => {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/page") return new Response("paid", { headers: { "X-Price": searchParams.get("price") ?? "" } });
  if (pathname !== "/ledger") return new Response("free");
  const envelope = envelopeOf(env, { id: searchParams.get("id") ?? "" });
  const [lines, state, topups] = [await envelope.entries(), await envelope.state(), await envelope.topups()];
  return Response.json({ lines, state, topups });
};

const OPTIONS: EnvelopeOptions = {
  loginByPayment: true,
  autoTopUp: { threshold: 200, amount: 500, coolDownSeconds: 0 },
  onIncident: () => {},
};
const WORKERS = {
  usual: withEnvelope(app, OPTIONS),
  /** Before the owner allowed the link. */
  strict: withEnvelope(app, { ...OPTIONS, stripe: { paymentLinks: ["plink_other"] } }),
  giving: withEnvelope(app, { ...OPTIONS, signUpGrant: { amount: 300, to: "payers" } }),
  /** After the owner changed the currency. */
  euros: withEnvelope(app, { ...OPTIONS, currency: "eur" }),
};

export default {
  fetch: (request: Request, env: unknown, ctx: ExecutionContext): Promise<Response> => {
    clock.ahead_ms = Number(request.headers.get("X-Ahead-Seconds") ?? 0) * 1000;
    const worker = WORKERS[(request.headers.get("X-Worker") ?? "usual") as keyof typeof WORKERS];
    return worker(request, env, ctx);
  },
};
