/** The command line of `with-envelope stripe`, checked once. */
import { parseArgs } from "node:util";
import { usage } from "./failure.js";
import type { Store } from "./model.js";
import { redact } from "./secrets.js";

export const STRIPE_HELP = `Usage: with-envelope stripe --url https://worker.example.com [options]

Creates, or finds again, what it takes to be paid: a product, a price where the customer chooses the amount, a
payment link that returns to /paid, and a webhook endpoint for the events that move money. Then stores the link and
the webhook's signing secret. Safe to run again at any time: nothing is made twice.

The key comes from the environment variable STRIPE_SECRET_KEY, from .dev.vars, or from --key-stdin.
A restricted key is enough: "write" for Products, Prices, Payment Links and Webhook Endpoints.

  --url <url>            where the Worker is; required
  --name <name>          the app's name at Stripe (default: the name in wrangler's configuration)
  --currency <code>      ISO 4217 (default: usd); the same as the option "currency" of withEnvelope
  --min, --max, --preset <n>
                         least, greatest and suggested amount, in minor units (500 is five dollars)
  --login-by-payment     only payment methods that a payer can be recognised by: card and Link
  --secrets <where>      dev-vars: write .dev.vars (default); wrangler: npx wrangler secret put
  --store-key            store the Stripe key as STRIPE_SECRET_KEY as well
  --roll-webhook         make a new webhook endpoint, and disable the old one once the new secret is stored
  --key-stdin            read the key from standard input
  --live                 allow a live key
  --dry-run              show the calls and make none that changes anything
  --json                 print one JSON object
  --api-base <url>       another address for Stripe's API, for tests (also STRIPE_API_BASE); refused with a live key

An option that is not given leaves what exists as it is; --no-login-by-payment goes back to automatic payment methods.
`;

export interface Options {
  readonly url: string;
  readonly name: string | undefined;
  readonly currency: string | undefined;
  readonly minimum: number | undefined;
  readonly maximum: number | undefined;
  readonly preset: number | undefined;
  readonly loginByPayment: boolean | undefined;
  readonly store: Store;
  readonly storeKey: boolean;
  readonly rollWebhook: boolean;
  readonly keyStdin: boolean;
  readonly live: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly apiBase: URL | undefined;
}

const FLAGS = {
  url: { type: "string" },
  name: { type: "string" },
  currency: { type: "string" },
  min: { type: "string" },
  max: { type: "string" },
  preset: { type: "string" },
  "login-by-payment": { type: "boolean" },
  secrets: { type: "string" },
  "store-key": { type: "boolean" },
  "roll-webhook": { type: "boolean" },
  "key-stdin": { type: "boolean" },
  live: { type: "boolean" },
  "dry-run": { type: "boolean" },
  json: { type: "boolean" },
  "api-base": { type: "string" },
} as const;

/** @throws {Failure} of exit status 2, naming the option. */
export function readOptions(argv: readonly string[], env: NodeJS.ProcessEnv): Options {
  const flags = parse(argv);
  const dryRun = flags["dry-run"] ?? false;
  const minimum = amount("--min", flags.min);
  const maximum = amount("--max", flags.max);
  const preset = amount("--preset", flags.preset);
  ordered("--min", minimum, "--max", maximum);
  ordered("--min", minimum, "--preset", preset);
  ordered("--preset", preset, "--max", maximum);
  return {
    url: workerUrl(flags.url, dryRun),
    name: flags.name === undefined ? undefined : appName(flags.name),
    currency: currencyCode(flags.currency),
    minimum,
    maximum,
    preset,
    loginByPayment: flags["login-by-payment"],
    store: store(flags.secrets),
    storeKey: flags["store-key"] ?? false,
    rollWebhook: flags["roll-webhook"] ?? false,
    keyStdin: flags["key-stdin"] ?? false,
    live: flags.live ?? false,
    dryRun,
    json: flags.json ?? false,
    apiBase: apiBase(flags["api-base"] ?? env["STRIPE_API_BASE"]),
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, strict: true, allowNegative: true }).values;
  } catch (error) {
    // The first sentence names the argument; the rest of node's message is about other cases.
    const [first = ""] = (error as Error).message.split(/\.\s/);
    throw usage(`${redact(first).replace(/\.$/, "")}. See: with-envelope stripe --help`);
  }
}

function workerUrl(text: string | undefined, dryRun: boolean): string {
  if (text === undefined || text === "") throw usage("--url is required: the address of the Worker");
  if (!URL.canParse(text)) throw usage("--url is not a URL: it starts with https://");
  const url = new URL(text);
  if (url.protocol !== "https:" && !(dryRun && url.protocol === "http:")) {
    throw usage("--url must be https: Stripe sends events nowhere else (http is allowed with --dry-run)");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw usage("--url must hold no user, query or fragment");
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

const NAME_CHARS_MAX = 100;

export function appName(text: string): string {
  const name = text.trim();
  if (name === "" || name.length > NAME_CHARS_MAX || /\p{Cc}/u.test(name)) {
    throw usage(`--name takes 1 to ${NAME_CHARS_MAX} printable characters`);
  }
  return name;
}

function currencyCode(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!/^[a-z]{3}$/i.test(text)) throw usage("--currency takes an ISO 4217 code, such as usd");
  return text.toLowerCase();
}

function amount(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw usage(`${flag} takes a whole number of minor units, such as 500`);
  return Number(text);
}

function ordered(lesser: string, low: number | undefined, greater: string, high: number | undefined): void {
  if (low !== undefined && high !== undefined && low > high) throw usage(`${lesser} is above ${greater}`);
}

function store(text = "dev-vars"): Store {
  if (text !== "dev-vars" && text !== "wrangler") throw usage('--secrets takes "dev-vars" or "wrangler"');
  return text;
}

function apiBase(text: string | undefined): URL | undefined {
  if (text === undefined || text === "") return undefined;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) throw usage("--api-base is not an http(s) URL");
  return new URL(text);
}
