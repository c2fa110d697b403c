/**
 * A server that is killed (SIGKILL) at the step it is told to, and started again on the same storage. The steps are the calls
 * of its objects and its requests to Stripe's API, each before it is done and after it is done and before it is answered.
 */
import { randomBytes } from "node:crypto";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Event, ThinEvent } from "../../test/stripe/objects.ts";
import { CrashingServer } from "../chaos/crashing-server.ts";
import { PACKAGE_FOLDER, temporaryFolder } from "../lib/folders.ts";
import { type Answer, type Question, send } from "../lib/http.ts";
import { randomVars, writeProject } from "../lib/project.ts";
import { deliver } from "../lib/stripe.ts";
import "../lib/test-code.ts";
import { allowThisMachine, configureWorkerd } from "../lib/workerd.ts";
import { bundle } from "../lib/wrangler.ts";

const { serve } = await import("../../test/stripe/serve.ts");
const { StripeStandIn } = await import("../../test/stripe/stand-in.ts");

export const ADMIN_SECRET = randomBytes(32).toString("base64url");

type Served = Awaited<ReturnType<typeof serve>>;
type StandIn = InstanceType<typeof StripeStandIn>;

export class Stage {
  /** Of the scene that is played: another one has another account under the same key. */
  standIn: StandIn;
  readonly #key = `sk_test_${randomBytes(16).toString("hex")}`;
  readonly #vars = randomVars();
  readonly #folder = temporaryFolder("steps");
  readonly #gates: HttpServer;
  readonly #stripe: Served;
  readonly #server: CrashingServer;
  #gate: Gate | undefined;

  static async open(control: boolean): Promise<Stage> {
    const doors: { stage?: Stage } = {};
    const gates = createServer(async (incoming, outgoing) => {
      let step = "";
      for await (const chunk of incoming) step += chunk;
      await doors.stage?.pass(step).catch(() => {});
      outgoing.writeHead(204).end();
    });
    await new Promise<void>((resolve) => gates.listen(0, "127.0.0.1", resolve));
    const stripe = await serve({ handle: (request) => (doors.stage as Stage).answerAsStripe(request) });
    doors.stage = new Stage(gates, stripe, control);
    return doors.stage;
  }

  private constructor(gates: HttpServer, stripe: Served, control: boolean) {
    this.#gates = gates;
    this.#stripe = stripe;
    this.standIn = this.#newStandIn();
    const { port } = gates.address() as AddressInfo;
    const vars = {
      ...this.#vars,
      ENVELOPE_ADMIN_SECRET: ADMIN_SECRET,
      // No alarm rings but for what is being told.
      ENVELOPE_MIRROR_SECONDS: "3600",
      STRIPE_SECRET_KEY: this.#key,
      STRIPE_API_BASE: stripe.origin,
      GATE: `http://127.0.0.1:${port}/`,
      ...(control && { CONTROL: "1" }),
    };
    const { path } = this.#folder;
    writeProject({ folder: path, main: join(PACKAGE_FOLDER, "scripts/workers/steps.ts"), vars });
    const bundled = bundle(path);
    configureWorkerd(bundled, vars);
    allowThisMachine(bundled);
    this.#server = new CrashingServer(bundled, join(path, "storage"));
  }

  async close(): Promise<void> {
    await this.#server.stop();
    this.#gates.closeAllConnections();
    this.#gates.close();
    await this.#stripe.close();
    this.#folder.remove();
  }

  /** Another account, in which nothing has happened. */
  newAccount(): void {
    this.standIn = this.#newStandIn();
  }

  #newStandIn(): StandIn {
    return new StripeStandIn({ key: this.#key, name: randomBytes(6).toString("hex") });
  }

  /** Kills at the nth step from now on; answers which one that was, `undefined` when `work` was done before it came to so many. */
  async killedAt(nth: number, work: () => Promise<unknown>): Promise<string | undefined> {
    const gate: Gate = { left: nth };
    this.#gate = gate;
    // Whatever became of it: nobody was there to answer.
    await work().catch((error: unknown) => {
      if (gate.killed === undefined) throw error;
    });
    this.#gate = undefined;
    await gate.restarted;
    return gate.killed;
  }

  /** @throws once the process is killed: nobody is there to be let through, and nothing is to be done for them. */
  async pass(step: string): Promise<void> {
    const gate = this.#gate;
    if (gate === undefined || gate.restarted !== undefined) return gate?.restarted;
    gate.left -= 1;
    if (gate.left > 0) return;
    gate.killed = step;
    gate.restarted = this.#server.crash();
    await gate.restarted;
    throw new Error(`Killed at: ${step}`);
  }

  async answerAsStripe(request: Request): Promise<Response> {
    const { standIn } = this;
    const call = `Stripe's ${request.method} ${new URL(request.url).pathname.split("/").slice(0, 3).join("/")}`;
    await this.pass(`${call} begins`);
    const answer = await standIn.handle(request);
    await this.pass(`${call} has ended`);
    return answer;
  }

  async send(path: string, { headers, ...question }: Question = {}): Promise<Answer> {
    return send(await this.#server.origin(), path, {
      ...question,
      headers: { ...headers, ...(question.body?.startsWith("{") && { "Content-Type": "application/json" }) },
    });
  }

  /** As Stripe sends it. @throws when it is not taken, so that it is sent again. */
  async deliver(event: Event | ThinEvent, headers: Readonly<Record<string, string>> = {}): Promise<void> {
    const answer = await deliver(
      await this.#server.origin(),
      JSON.stringify(event),
      this.#vars.STRIPE_WEBHOOK_SECRET,
      headers,
    );
    if (answer.status !== 200) throw new Error(`The webhook answered ${answer.status}: ${answer.body}`);
  }
}

interface Gate {
  left: number;
  killed?: string;
  restarted?: Promise<void>;
}
