/**
 * `with-envelope stripe`: read the command line, look at what is there, take one step after another until none is left, and
 * say what happened. Which step comes next is decided in plan.ts; here it is only carried out.
 */
import Stripe from "stripe";
import { Account } from "./account.js";
import { notesOf, problemsOf } from "./advice.js";
import { linkOf } from "./catalog.js";
import { DEV_VARS, DevVars } from "./dev-vars.js";
import { endpointOf } from "./endpoint.js";
import { eventTypes } from "./events.js";
import { Failure, usage } from "./failure.js";
import type { Answer, Call, SecretName, State, Storing, Wish } from "./model.js";
import { appName, type Options, readOptions } from "./options.js";
import { afterStoring, nextStep } from "./plan.js";
import { type Done, doneLine, dryLine, foundLines, json, type Outcome, print, printError, summary } from "./report.js";
import { type Mode, mask, modeOf, secretDigest } from "./secrets.js";
import { putSecret, workerName } from "./wrangler.js";

export async function stripe(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv, process.env);
  const setup = await Setup.prepare(options, process.cwd());
  const outcome = await setup.run();
  print(options.json ? json(outcome) : summary(outcome));
  if (!options.json) for (const { message } of outcome.problems) printError(`\nNot finished: ${message}`);
  return outcome.problems.length === 0 ? 0 : 1;
}

/** More steps than any setup has: a plan that never ends is a bug, and must not become a thousand calls. */
const STEPS_MAX = 40;

class Setup {
  readonly #options: Options;
  readonly #wish: Wish;
  readonly #directory: string;
  readonly #devVars: DevVars;
  readonly #key: string | undefined;
  readonly #account: Account | undefined;
  /** Told by Stripe in this run. Leaves only for where it is stored. */
  #signingSecret: string | undefined;

  static async prepare(options: Options, directory: string): Promise<Setup> {
    const devVars = new DevVars(directory);
    const key = await readKey(options, devVars);
    // Before anything is made at Stripe: a signing secret that can be stored nowhere is lost.
    if (options.store === "dev-vars") devVars.refuseIfTracked();
    const app = options.name ?? appName(workerName(directory) ?? nameless());
    return new Setup(options, directory, devVars, key, wishOf(options, app, await eventTypes()));
  }

  private constructor(options: Options, directory: string, devVars: DevVars, key: string | undefined, wish: Wish) {
    this.#options = options;
    this.#directory = directory;
    this.#devVars = devVars;
    this.#key = key;
    this.#wish = wish;
    this.#account = key === undefined ? undefined : new Account(key, wish.app, options.apiBase);
  }

  async run(): Promise<Outcome> {
    const { dryRun } = this.#options;
    const before = await this.#look();
    const mode = this.#key === undefined ? undefined : modeOf(this.#key);
    this.#say(`Stripe${mode === undefined ? "" : `, ${mode} mode`}: ${this.#wish.app}`);
    for (const line of foundLines(this.#wish, before)) this.#say(line);

    const done: Done[] = [];
    let state = before;
    for (let step = nextStep(this.#wish, state); step !== undefined; step = nextStep(this.#wish, state)) {
      if (done.length >= STEPS_MAX) throw new Error("the setup does not come to an end");
      const [after, item] = step.kind === "store" ? await this.#store(state, step) : await this.#call(state, step);
      state = after;
      done.push(item);
      this.#say(dryRun ? dryLine(item, this.#wish) : doneLine(item, this.#wish));
    }
    const written = this.#wish.store === "dev-vars" && !dryRun ? this.#devVars : undefined;
    const advice = { notes: notesOf(this.#wish, state, done, written), problems: problemsOf(this.#wish, state) };
    return { wish: this.#wish, mode, dryRun, before, after: state, done, ...advice };
  }

  async #look(): Promise<State> {
    const found = await this.#account?.find();
    return {
      ...(found ?? { product_id: undefined, prices: [], links: [], endpoints: [] }),
      local_digests: this.#localSecrets().map(secretDigest),
      told: undefined,
      stored: [],
      rolled: false,
    };
  }

  async #call(state: State, step: Call): Promise<readonly [State, Done]> {
    if (this.#options.dryRun || this.#account === undefined) {
      const answer = pretend(step);
      return [step.apply(state, answer), { step, id: answer.id }];
    }
    const { id, url, secret } = await this.#account.perform(step);
    this.#signingSecret = secret ?? this.#signingSecret;
    const secret_digest = secret === undefined ? undefined : secretDigest(secret);
    return [step.apply(state, { id, url, secret_digest }), { step, id }];
  }

  async #store(state: State, step: Storing): Promise<readonly [State, Done]> {
    const after = afterStoring(state, step);
    if (this.#options.dryRun) return [after, { step, shown: step.names, changed: true }];
    const values = step.names.map((name) => [name, this.#valueOf(name, state)] as const);
    const shown = values.map(([name, value]) => `${name}=${name === "STRIPE_PAYMENT_LINK" ? value : mask(value)}`);
    if (this.#wish.store === "dev-vars") {
      return [after, { step, shown, changed: this.#devVars.set(Object.fromEntries(values)) }];
    }
    for (const [name, value] of values) await putSecret(name, value, this.#directory);
    return [after, { step, shown, changed: true }];
  }

  #valueOf(name: SecretName, state: State): string {
    const value = {
      STRIPE_PAYMENT_LINK: () => linkOf(this.#wish, state)?.url,
      STRIPE_SECRET_KEY: () => this.#key,
      STRIPE_WEBHOOK_SECRET: () => this.#signingSecret ?? this.#localSecretOf(state),
    }[name]();
    if (value === undefined || value === "") throw new Failure("stripe", `Stripe's answer holds no ${name}`);
    return value;
  }

  #localSecretOf(state: State): string | undefined {
    const digest = endpointOf(state)?.secret_digest;
    return this.#localSecrets().find((secret) => secretDigest(secret) === digest);
  }

  #localSecrets(): string[] {
    const list = this.#devVars.get("STRIPE_WEBHOOK_SECRET").split(",");
    return list.map((secret) => secret.trim()).filter((secret) => secret !== "");
  }

  #say(line: string): void {
    if (!this.#options.json) print(line);
  }
}

function nameless(): never {
  throw usage("--name is needed: there is no wrangler configuration with a name in this directory");
}

function wishOf(options: Options, app: string, events: Wish["events"]): Wish {
  const { url, currency, minimum, maximum, preset } = options;
  return {
    app,
    url,
    events,
    api_version: Stripe.API_VERSION,
    currency,
    minimum,
    maximum,
    preset,
    login_by_payment: options.loginByPayment,
    roll_webhook: options.rollWebhook,
    store: options.store,
    store_key: options.storeKey,
    now: Math.floor(Date.now() / 1000),
  };
}

/** What a dry run takes for Stripe's answer. */
function pretend(call: Call): Answer {
  const id = call.kind === "update" ? call.path.slice(call.path.lastIndexOf("/") + 1) : `<new ${call.name}>`;
  return { id: call.repeats?.id ?? id, url: `<url of the ${call.name}>`, secret_digest: "<digest of the secret>" };
}

async function readKey(options: Options, devVars: DevVars): Promise<string | undefined> {
  const { live, dryRun, keyStdin, apiBase } = options;
  const [key, source] = keyStdin ? [await readStdin(), "Standard input"] : storedKey(devVars);
  if (key === "") {
    if (dryRun && !keyStdin) return undefined;
    throw new Failure(
      "no_key",
      keyStdin
        ? "Standard input held no key"
        : `There is no Stripe key: set STRIPE_SECRET_KEY in the environment or in ${DEV_VARS}, or pipe it to --key-stdin.`,
    );
  }
  const mode: Mode | undefined = modeOf(key);
  if (mode === undefined) throw new Failure("key", `${source} holds no secret or restricted Stripe key (sk_… or rk_…)`);
  if (mode === "live" && !live) {
    throw new Failure("live_key", "This is a live key, for real money. Add --live to go on, or use a test key.");
  }
  if (mode === "live" && apiBase !== undefined) {
    throw new Failure(
      "live_key",
      "Another address for Stripe's API (--api-base, STRIPE_API_BASE) is refused with a live key",
    );
  }
  if (mode === "test" && live) throw new Failure("test_key", "--live was given, but this is a test key");
  return key;
}

function storedKey(devVars: DevVars): readonly [key: string, source: string] {
  const inEnvironment = process.env["STRIPE_SECRET_KEY"]?.trim() ?? "";
  if (inEnvironment !== "") return [inEnvironment, "STRIPE_SECRET_KEY in the environment"];
  return [devVars.get("STRIPE_SECRET_KEY"), `STRIPE_SECRET_KEY in ${DEV_VARS}`];
}

async function readStdin(): Promise<string> {
  if (process.stdin.isTTY) {
    throw usage("--key-stdin reads a pipe, not the keyboard: a key typed here would stay on the screen");
  }
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) text += chunk;
  return text.trim();
}
