/** `with-envelope stripe`, as a process, against a Stripe on this machine. */
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import Stripe from "stripe";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { withVariable } from "../../cli/dev-vars.js";
import { mask, redact } from "../../cli/secrets.js";
import { StripeStandIn } from "./cli-stripe.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
// A build of its own: another test may build dist at the same time.
const DIST = join(ROOT, ".results/cli/dist");
const CLI = join(DIST, "cli/index.js");
const URL_OPTION = ["--url", "https://worker.example.com"];
const DAY_SECONDS = 86_400;

let stripe: StripeStandIn;
let base: string;
let directory: string;
/** What the Worker acts on. */
let EVENT_TYPES: readonly string[];

beforeAll(async () => {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const build = (project: string, outDir: string, ...more: string[]) =>
    execFileSync(process.execPath, [tsc, "-p", project, "--outDir", outDir, ...more], { cwd: ROOT, stdio: "pipe" });
  rmSync(DIST, { recursive: true, force: true });
  build("tsconfig.build.json", DIST, "--declaration", "false");
  build("cli", join(DIST, "cli"));
  ({ EVENT_TYPES } = await import(pathToFileURL(join(DIST, "topup/events.js")).href));
});

beforeEach(async () => {
  stripe = new StripeStandIn();
  base = await stripe.listen();
  directory = mkdtempSync(join(tmpdir(), "with-envelope-cli-"));
  writeFileSync(join(directory, "wrangler.toml"), 'main = "x.ts"\nname = "postcards"\n\n[[kv]]\nname = "other"\n');
});

afterEach(() => {
  stripe.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Run {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

interface How {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly onStart?: (kill: () => void) => void;
}

/** Runs the command, and checks what holds for every run: no secret is printed. */
async function run(argv: readonly string[], how: How = {}): Promise<Run> {
  const env = { PATH: process.env["PATH"] ?? "", STRIPE_API_BASE: base, STRIPE_SECRET_KEY: stripe.key, ...how.env };
  const child = spawn(process.execPath, [CLI, ...argv], { cwd: directory, env });
  how.onStart?.(() => child.kill("SIGKILL"));
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += String(chunk)));
  child.stderr.on("data", (chunk) => (err += String(chunk)));
  child.stdin.on("error", () => {});
  child.stdin.end(how.stdin ?? "");
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  for (const secret of [stripe.key, ...stripe.secrets.values(), ...(how.stdin?.trim() ? [how.stdin.trim()] : [])]) {
    expect(out + err).not.toContain(secret);
  }
  return { status, out, err };
}

const setup = (argv: readonly string[] = [], how?: How) => run(["stripe", ...URL_OPTION, ...argv], how);

async function setupJson(argv: readonly string[] = [], how?: How) {
  const { status, out } = await setup([...argv, "--json"], how);
  return { status, answer: JSON.parse(out) };
}

const devVars = () => readFileSync(join(directory, ".dev.vars"), "utf8");
const writeDevVars = (text: string) => writeFileSync(join(directory, ".dev.vars"), text);
const counts = () =>
  ["products", "prices", "payment_links", "webhook_endpoints"].map((collection) => stripe.all(collection).length);
const enabled = () => stripe.all("webhook_endpoints").filter(({ status }) => status === "enabled");
const variable = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(devVars())?.[1];

describe("a first run", () => {
  it("makes product, price, link and webhook, and stores the link and the signing secret", async () => {
    const { status, out, err } = await setup();
    expect({ status, err }).toEqual({ status: 0, err: "" });
    expect(counts()).toEqual([1, 1, 1, 1]);

    const [product] = stripe.all("products");
    const [price] = stripe.all("prices");
    const [link] = stripe.all("payment_links");
    const [endpoint] = stripe.all("webhook_endpoints");
    expect(product?.metadata).toMatchObject({ with_envelope: "1", with_envelope_app: "postcards" });
    expect(price).toMatchObject({ product: product?.id, currency: "usd" });
    expect(stripe.posts[1]?.params["custom_unit_amount"]).toEqual({ enabled: "true" });
    expect(stripe.posts[2]?.params).toEqual({
      line_items: { 0: { price: price?.id, quantity: "1" } },
      after_completion: {
        type: "redirect",
        redirect: { url: "https://worker.example.com/paid?session_id={CHECKOUT_SESSION_ID}" },
      },
      metadata: { with_envelope: "1", with_envelope_app: "postcards", with_envelope_price: price?.id },
    });
    expect(endpoint).toMatchObject({
      url: "https://worker.example.com/stripe-webhook",
      api_version: Stripe.API_VERSION,
      status: "enabled",
    });
    expect(new Set(endpoint?.["enabled_events"] as string[])).toEqual(new Set(EVENT_TYPES));
    expect(endpoint?.["enabled_events"]).toHaveLength(EVENT_TYPES.length);

    const secret = stripe.secrets.get(endpoint?.id ?? "") ?? "";
    expect(devVars()).toBe(`STRIPE_PAYMENT_LINK=${link?.["url"]}\nSTRIPE_WEBHOOK_SECRET=${secret}\n`);
    expect(statSync(join(directory, ".dev.vars")).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory).sort()).toEqual([".dev.vars", "wrangler.toml"]);
    expect(out).toContain(`stripe: { paymentLinks: ["${link?.id}"] }`);
    expect(out).toContain(`STRIPE_WEBHOOK_SECRET=whsec_…${secret.slice(-4)}`);
  });

  it("gives every POST a key of its own, and the same one to the same request", async () => {
    await setup();
    const first = stripe.posts.map(({ key }) => key);
    expect(new Set(first).size).toBe(first.length);
    for (const key of first) expect(key).toMatch(/^with-envelope-[0-9a-f]{40}$/);

    const other = new StripeStandIn();
    const otherBase = await other.listen();
    rmSync(join(directory, ".dev.vars"));
    await setup([], { env: { STRIPE_API_BASE: otherBase, STRIPE_SECRET_KEY: other.key } });
    // The same ids, so the same parameters; but for the last one, which names the secret.
    expect(other.posts.slice(0, 4).map(({ key }) => key)).toEqual(first.slice(0, 4));
    other.close();
  });

  it("takes the amounts, the currency and the name it is given", async () => {
    const argv = ["--name", "Éclair", "--currency", "JPY", "--min", "500", "--max", "90000", "--preset", "1000"];
    const { answer } = await setupJson([...argv, "--login-by-payment", "--store-key"]);
    expect(stripe.all("prices")[0]).toMatchObject({
      currency: "jpy",
      custom_unit_amount: { minimum: 500, maximum: 90_000, preset: 1_000 },
      metadata: { with_envelope_app: "Éclair" },
    });
    expect(stripe.all("payment_links")[0]).toMatchObject({ payment_method_types: ["card", "link"] });
    expect(variable("STRIPE_SECRET_KEY")).toBe(stripe.key);
    expect(answer.options).toEqual({ currency: "jpy", stripe: { paymentLinks: [answer.payment_link.id] } });
    expect(answer.notes.join()).toContain("loginByPayment");
  });

  it.each([
    [
      "wrangler.jsonc",
      '{ // name: "no"\n "vars": { "name": "no" }, /* "name": "no" */ "url": "http://x", "name": "from-jsonc" }',
    ],
    ["wrangler.json", '{"name":"from-jsonc"}'],
  ])("reads the app's name from %s", async (file, text) => {
    rmSync(join(directory, "wrangler.toml"));
    writeFileSync(join(directory, file), text);
    expect((await setupJson(["--dry-run"])).answer.app).toBe("from-jsonc");
  });
});

describe("another run", () => {
  it("finds everything and changes nothing", async () => {
    await setup();
    const posts = stripe.posts.length;
    const before = devVars();
    const { status, out } = await setup();
    expect(status).toBe(0);
    expect(stripe.posts).toHaveLength(posts);
    expect(devVars()).toBe(before);
    expect(out).toMatch(/found +webhook/);
  });

  it("finds its own among many of others, over several pages, and leaves those alone", async () => {
    await setup();
    const posts = stripe.posts.length;
    for (let i = 0; i < 250; i++) {
      const metadata = i % 2 === 0 ? {} : { with_envelope: "1", with_envelope_app: "other" };
      stripe.add("products", { metadata });
      stripe.add("payment_links", { metadata });
      stripe.add("webhook_endpoints", { metadata, url: "https://worker.example.com/stripe-webhook" });
    }
    expect((await setup()).status).toBe(0);
    expect(stripe.posts).toHaveLength(posts);
  });

  it("moves the webhook and the return address with the Worker, there and back and there again", async () => {
    await setup();
    for (const host of ["b", "a", "b", "a"]) {
      const { status, out } = await setup(["--url", `https://${host}.example.com/`]);
      expect(status).toBe(0);
      expect(out).toContain("moves from");
      expect(stripe.all("webhook_endpoints")[0]?.["url"]).toBe(`https://${host}.example.com/stripe-webhook`);
      expect(JSON.stringify(stripe.all("payment_links")[0])).toContain(`https://${host}.example.com/paid?`);
    }
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("mends the webhook's events, and enables it again", async () => {
    await setup();
    const [endpoint] = stripe.all("webhook_endpoints");
    Object.assign(endpoint ?? {}, { enabled_events: ["*"], status: "disabled" });
    expect((await setup()).status).toBe(0);
    expect(new Set(endpoint?.["enabled_events"] as string[])).toEqual(new Set(EVENT_TYPES));
    expect(endpoint?.["status"]).toBe("enabled");
  });

  it("changes payment methods only when told to", async () => {
    await setup(["--login-by-payment"]);
    const [link] = stripe.all("payment_links");
    await setup();
    expect(link?.["payment_method_types"]).toEqual(["card", "link"]);
    await setup(["--no-login-by-payment"]);
    expect(link?.["payment_method_types"]).toBeNull();
    await setup(["--login-by-payment"]);
    expect(link?.["payment_method_types"]).toEqual(["card", "link"]);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("makes another price and link for other amounts, keeps the old link's money, and stays with the new", async () => {
    await setup(["--min", "500", "--preset", "1000"]);
    const { answer } = await setupJson(["--min", "700"]);
    expect(counts()).toEqual([1, 2, 2, 1]);
    expect(stripe.all("prices")[1]).toMatchObject({
      custom_unit_amount: { minimum: 700, maximum: null, preset: 1_000 },
    });
    const [old, young] = stripe.all("payment_links").map(({ id }) => id);
    expect(answer.options.stripe.paymentLinks).toEqual([young, old]);
    expect(answer.notes.join()).toContain(old);
    expect(variable("STRIPE_PAYMENT_LINK")).toContain(young);
    await setup();
    await setup(["--min", "500"]);
    expect(counts()).toEqual([1, 2, 2, 1]);
    expect(variable("STRIPE_PAYMENT_LINK")).toContain(old);
  });

  it("makes anew what the owner archived an hour ago, though Stripe repeats its old answer", async () => {
    await setup();
    for (const collection of ["products", "prices", "payment_links"]) {
      for (const thing of stripe.all(collection)) thing["active"] = false;
    }
    stripe.all("webhook_endpoints").length = 0;
    expect((await setup()).status).toBe(0);
    expect(counts()).toEqual([2, 2, 2, 1]);
    expect(variable("STRIPE_PAYMENT_LINK")).toBe(stripe.all("payment_links")[1]?.["url"]);
    expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(stripe.secrets.get(enabled()[0]?.id ?? ""));
  });

  it("gets past a mistake of Stripe's that is repeated for a day", async () => {
    stripe.mistake = 500;
    const first = await setup();
    expect(first).toMatchObject({ status: 1, err: expect.stringContaining("Run the command again") });
    expect((await setup()).status).toBe(0);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });
});

describe("a run that dies", () => {
  const POSTS = 5;

  it("at any step, is finished by the next one, and nothing is made twice", async () => {
    for (const moment of ["before", "after"] as const) {
      for (let at = 1; at <= POSTS; at++) {
        stripe.close();
        stripe = new StripeStandIn();
        base = await stripe.listen();
        rmSync(join(directory, ".dev.vars"), { force: true });
        const dead = await setup([], {
          onStart: (kill) => {
            stripe.onPost = (count, when) => {
              if (count !== at || when !== moment) return false;
              kill();
              return true;
            };
          },
        });
        expect({ moment, at, status: dead.status }).toEqual({ moment, at, status: null });
        stripe.onPost = () => false;
        const { status } = await setup();
        expect({ moment, at, status, counts: counts() }).toEqual({ moment, at, status: 0, counts: [1, 1, 1, 1] });
        expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(stripe.secrets.get(enabled()[0]?.id ?? ""));
        const posts = stripe.posts.length;
        await setup();
        expect(stripe.posts).toHaveLength(posts);
      }
    }
  });

  it("with the network says so, and is finished by the next one", async () => {
    stripe.onPost = (count, moment) => count >= 2 && moment === "after";
    const dead = await setup();
    expect(dead).toMatchObject({ status: 1, err: expect.stringContaining("Stripe could not be reached") });
    stripe.onPost = () => false;
    expect((await setup()).status).toBe(0);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("is not needed to make one of two at the same time: both end with the same objects", async () => {
    const runs = await Promise.all([setup(), setup()]);
    expect(runs.map(({ status }) => status)).toEqual([0, 0]);
    expect(counts()).toEqual([1, 1, 1, 1]);
    expect(devVars().match(/^STRIPE_WEBHOOK_SECRET=/gm)).toHaveLength(1);
  });
});

describe("a signing secret that is not here", () => {
  const local = `whsec_${randomBytes(24).toString("hex")}`;
  /** The endpoint of another machine, long ago; here, the random secret of local development under the same name. */
  async function elsewhere(): Promise<void> {
    stripe.now -= 2 * DAY_SECONDS;
    await setup();
    stripe.forgetAnswers();
    stripe.now += 2 * DAY_SECONDS;
    writeDevVars(`STRIPE_WEBHOOK_SECRET=${local}\n`);
  }

  it("is asked for once more within a day", async () => {
    await setup();
    writeDevVars(`STRIPE_WEBHOOK_SECRET=${local}\n`);
    expect((await setup()).status).toBe(0);
    expect(counts()).toEqual([1, 1, 1, 1]);
    expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(stripe.secrets.get(enabled()[0]?.id ?? ""));
  });

  it("is said to be missing afterwards, whatever else stands under its name", async () => {
    await elsewhere();
    const { status, err } = await setup();
    expect({ status, err }).toMatchObject({ status: 1, err: expect.stringContaining("--roll-webhook") });
    expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(local);
    expect(variable("STRIPE_PAYMENT_LINK")).toBe(stripe.all("payment_links")[0]?.["url"]);
    expect((await setupJson()).answer).toMatchObject({ ok: false, error: { code: "webhook_secret_unknown" } });
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("does not leave a second endpoint behind when Stripe no longer had the answer", async () => {
    await setup();
    stripe.forgetAnswers();
    rmSync(join(directory, ".dev.vars"));
    expect((await setup()).status).toBe(1);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("is replaced by --roll-webhook: the old endpoint is disabled once the new secret is stored", async () => {
    await elsewhere();
    const { status, out } = await setup(["--roll-webhook"]);
    expect(status).toBe(0);
    const [old, young] = stripe.all("webhook_endpoints");
    expect([old?.["status"], young?.["status"]]).toEqual(["disabled", "enabled"]);
    expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(stripe.secrets.get(young?.id ?? ""));
    expect(stripe.posts.at(-1)).toMatchObject({
      path: `/v1/webhook_endpoints/${old?.id}`,
      params: { disabled: "true" },
    });
    expect(out).toContain("resend them in the Dashboard");
    const posts = stripe.posts.length;
    expect((await setup()).status).toBe(0);
    expect(stripe.posts).toHaveLength(posts);
  });

  it("is rolled once, wherever the roll dies", async () => {
    for (const moment of ["before", "after"] as const) {
      for (let at = 1; at <= 3; at++) {
        stripe.close();
        stripe = new StripeStandIn();
        base = await stripe.listen();
        await elsewhere();
        const posts = stripe.posts.length;
        await setup(["--roll-webhook"], {
          onStart: (kill) => {
            stripe.onPost = (count, when) => {
              if (count !== posts + at || when !== moment) return false;
              kill();
              return true;
            };
          },
        });
        stripe.onPost = () => false;
        // The mark, and so the roll, may have been the last thing to happen: then another roll would be a new one.
        const finished = enabled().length === 1 && stripe.all("webhook_endpoints").length === 2;
        const { status } = await setup(finished ? [] : ["--roll-webhook"]);
        expect({ moment, at, status, all: stripe.all("webhook_endpoints").length, enabled: enabled().length }).toEqual({
          moment,
          at,
          status: 0,
          all: 2,
          enabled: 1,
        });
        expect(variable("STRIPE_WEBHOOK_SECRET")).toBe(stripe.secrets.get(enabled()[0]?.id ?? ""));
      }
    }
  });

  it("belongs to an endpoint whose API version is too old: that is said, and a roll mends it", async () => {
    await setup();
    Object.assign(stripe.all("webhook_endpoints")[0] ?? {}, { api_version: "2024-06-20" });
    expect((await setupJson()).answer.error.code).toBe("webhook_version");
    expect((await setup(["--roll-webhook"])).status).toBe(0);
    expect(enabled()).toMatchObject([{ api_version: Stripe.API_VERSION }]);
  });
});

describe("keys", () => {
  const live = `sk_live_${randomBytes(12).toString("hex")}`;

  it.each([
    ["a live key without --live", live, [], "--live"],
    ["a live key with another address for the API", live, ["--live"], "is refused with a live key"],
    ["a test key with --live", "rk_test_0123456789abcdef", ["--live"], "this is a test key"],
    ["a publishable key", "pk_test_0123456789abcdef", [], "no secret or restricted Stripe key"],
    ["an organisation's key", "sk_org_live_0123456789abcdef", [], "no secret or restricted Stripe key"],
    ["a placeholder", "rk_…", [], "no secret or restricted Stripe key"],
    ["a key that Stripe does not know", "rk_test_0123456789abcdef", [], "Stripe does not accept this key"],
  ])("refuses %s", async (_name, key, argv, message) => {
    for (const more of [[], ["--dry-run"]]) {
      const { status, out, err } = await setup([...argv, ...more], { env: { STRIPE_SECRET_KEY: key } });
      expect(status).toBe(1);
      expect(err).toContain(message);
      if (key.length > 10) expect(out + err).not.toContain(key);
    }
    expect(stripe.posts).toEqual([]);
    expect(existsSync(join(directory, ".dev.vars"))).toBe(false);
  });

  it("are read from standard input, then the environment, then .dev.vars", async () => {
    const none = { STRIPE_SECRET_KEY: "" };
    expect(await setup([], { env: none })).toMatchObject({ status: 1, err: expect.stringContaining("no Stripe key") });
    expect(await setup(["--key-stdin"], { stdin: "\n" })).toMatchObject({ status: 1 });
    const wrong = { STRIPE_SECRET_KEY: "rk_test_0123456789abcdef" };
    expect((await setup(["--key-stdin"], { env: wrong, stdin: `${stripe.key}\n` })).status).toBe(0);
    writeDevVars(`${devVars()}STRIPE_SECRET_KEY="${stripe.key}" # test\n`);
    expect((await setup([], { env: none })).status).toBe(0);
    expect((await setup([], { env: wrong })).status).toBe(1);
    expect(devVars()).toContain(`STRIPE_SECRET_KEY="${stripe.key}" # test`);
  });

  it.each([
    ["--key", live],
    [`--key=${live}`],
    ["--secret-key", "x"],
    [live],
    ["--name", live],
    ["--url", `https://x.dev/?k=whsec_0123456789abcdef`],
  ])("are refused as an argument, and not repeated: %s", async (...argv) => {
    const { status, out, err } = await run(["stripe", ...URL_OPTION, ...argv]);
    expect(status).toBe(2);
    expect(err).toContain("never given as an argument");
    expect(out + err).not.toMatch(/[0-9a-f]{8}/);
    expect(stripe.gets).toBe(0);
  });

  it.each([
    ["GET products", "Having the 'rak_product_read' permission would allow this request to continue.", "product_read"],
    ["POST prices", "Enabling Plans Write ('plan_write') permissions on this key would allow this.", "plan_write"],
    ["POST webhook_endpoints", "Not allowed.", "write Webhook Endpoints"],
  ])("that lack a permission are told which: %s", async (what, message, named) => {
    stripe.forbidden.set(what, `The provided key '${stripe.key}' does not have the required permissions. ${message}`);
    const { status, err } = await setup();
    expect(status).toBe(1);
    expect(err).toContain(named);
    expect(err).toContain("Products, Prices, Payment Links, Webhook Endpoints");
    stripe.forbidden.clear();
    expect((await setup()).status).toBe(0);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });
});

describe("--dry-run", () => {
  it("shows every call with its parameters and makes none, without a key", async () => {
    const env = { STRIPE_SECRET_KEY: "" };
    const { status, out } = await run(["stripe", "--url", "http://localhost:8787", "--dry-run"], { env });
    expect(status).toBe(0);
    expect(out.match(/^POST \S+/gm)).toEqual([
      "POST /v1/products",
      "POST /v1/prices",
      "POST /v1/payment_links",
      "POST /v1/webhook_endpoints",
      "POST /v1/webhook_endpoints/<new",
    ]);
    expect(out).toContain("custom_unit_amount[enabled]=true");
    for (const type of EVENT_TYPES) expect(out).toContain(`=${type}\n`);
    expect(out).toContain("write .dev.vars: STRIPE_PAYMENT_LINK, STRIPE_WEBHOOK_SECRET");
    expect([stripe.gets, stripe.posts.length]).toEqual([0, 0]);
    expect(readdirSync(directory)).toEqual(["wrangler.toml"]);
  });

  it("only reads with a key, and shows what differs", async () => {
    expect((await setup(["--dry-run"])).status).toBe(0);
    expect(stripe.gets).toBeGreaterThan(0);
    expect(stripe.posts).toEqual([]);
    await setup();
    const posts = stripe.posts.length;
    const before = devVars();
    const { answer } = await setupJson(["--dry-run", "--url", "https://new.example.com", "--roll-webhook"]);
    expect(answer.calls.map(({ path }: { path: string }) => path)).toEqual([
      `/v1/payment_links/${stripe.all("payment_links")[0]?.id}`,
      "/v1/webhook_endpoints",
      "/v1/webhook_endpoints/<new webhook>",
      `/v1/webhook_endpoints/${stripe.all("webhook_endpoints")[0]?.id}`,
    ]);
    expect(stripe.posts).toHaveLength(posts);
    expect(devVars()).toBe(before);
  });
});

describe(".dev.vars", () => {
  it("keeps every other line, comment and line ending", async () => {
    const before = [
      "# Mine",
      "ENVELOPE_SECRET='a # b'",
      "ENVELOPE_TEST_CHECKOUT=true",
      "export STRIPE_WEBHOOK_SECRET = whsec_local # random",
      "",
      "# STRIPE_PAYMENT_LINK=https://buy.stripe.com/…",
      "LAST=1",
    ].join("\r\n");
    writeDevVars(before);
    chmodSync(join(directory, ".dev.vars"), 0o644);
    const { out } = await setup();
    const secret = stripe.secrets.get(enabled()[0]?.id ?? "");
    const link = stripe.all("payment_links")[0]?.["url"];
    expect(devVars()).toBe(`${before.replace("whsec_local", `${secret}`)}\r\nSTRIPE_PAYMENT_LINK=${link}\r\n`);
    expect(statSync(join(directory, ".dev.vars")).mode & 0o777).toBe(0o600);
    expect(out).toContain("ENVELOPE_TEST_CHECKOUT");
  });

  it.each([
    ["", "A=new\n"],
    ["B=1", "B=1\nA=new\n"],
    ["A=\nB=1\n", "A=new\nB=1\n"],
    ["A=1\nA=2 # two\n", "A=1\nA=new # two\n"],
    ['A="x#y" # c\n', "A=new # c\n"],
    ["A='x\ny'\nB=1\n", "A=new\nB=1\n"],
    ["XA=1\n#A=2\nA_=3\n", "XA=1\n#A=2\nA_=3\nA=new\n"],
  ])("sets a variable in %j", (before, after) => {
    expect(withVariable(before, "A", "new")).toBe(after);
    expect(withVariable(after, "A", "new")).toBe(after);
  });

  it("quotes what would be cut off as a comment, and takes no pattern of a value", () => {
    expect(withVariable("A=1\n", "A", "x#y")).toBe("A='x#y'\n");
    expect(withVariable("A=1\n", "A", "$&")).toBe("A='$&'\n");
  });

  it("is refused before anything is made when git tracks it, and pointed at when git does not ignore it", async () => {
    const git = (...command: string[]) => execFileSync("git", command, { cwd: directory, stdio: "pipe" });
    git("init", "--quiet");
    writeDevVars("A=1\n");
    expect((await setup()).out).toContain("add it to .gitignore");
    writeFileSync(join(directory, ".gitignore"), ".dev.vars\n");
    expect((await setup()).out).not.toContain("add it to .gitignore");
    git("add", "--force", ".dev.vars");
    const [posts, before] = [stripe.posts.length, devVars()];
    expect(await setup(["--roll-webhook"])).toMatchObject({
      status: 1,
      err: expect.stringContaining("tracked by git"),
    });
    expect(stripe.posts).toHaveLength(posts);
    expect(devVars()).toBe(before);
  });
});

describe("--secrets wrangler", () => {
  const WRANGLER = ["--secrets", "wrangler"];
  let env: Record<string, string>;
  const put = () =>
    readFileSync(join(directory, "put.log"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { argv: string[]; stdin: string; key: string | null; fetches: string });

  beforeEach(() => {
    const bin = join(directory, "bin");
    mkdirSync(bin);
    const script = `#!${process.execPath}
      const { appendFileSync, existsSync, readFileSync } = require("node:fs");
      const stdin = readFileSync(0, "utf8");
      if (existsSync("logged-out")) { console.error("You are not logged in. " + stdin); process.exit(1); }
      const { STRIPE_SECRET_KEY: key = null, npm_config_yes: fetches } = process.env;
      appendFileSync("put.log", JSON.stringify({ argv: process.argv.slice(2), stdin, key, fetches }) + "\\n");
      console.log("Uploaded " + stdin);
    `;
    writeFileSync(join(bin, "npx"), script, { mode: 0o755 });
    env = { PATH: [bin, process.env["PATH"]].join(delimiter) };
  });

  it("pipes each value into wrangler, and touches no file", async () => {
    expect((await setup([...WRANGLER, "--store-key"], { env })).status).toBe(0);
    expect(put()).toEqual(
      [
        ["STRIPE_PAYMENT_LINK", stripe.all("payment_links")[0]?.["url"]],
        ["STRIPE_SECRET_KEY", stripe.key],
        ["STRIPE_WEBHOOK_SECRET", stripe.secrets.get(enabled()[0]?.id ?? "")],
      ].map(([name, stdin]) => ({ argv: ["wrangler", "secret", "put", name], stdin, key: null, fetches: "false" })),
    );
    expect(existsSync(join(directory, ".dev.vars"))).toBe(false);
  });

  it("does not ask for the signing secret again, on any later day", async () => {
    stripe.now -= 2 * DAY_SECONDS;
    await setup(WRANGLER, { env });
    const posts = stripe.posts.length;
    expect((await setup(WRANGLER, { env })).status).toBe(0);
    expect(stripe.posts).toHaveLength(posts);
    expect(put().map(({ argv }) => argv[3])).toEqual([
      "STRIPE_PAYMENT_LINK",
      "STRIPE_WEBHOOK_SECRET",
      "STRIPE_PAYMENT_LINK",
    ]);
  });

  it("finds out that wrangler is not logged in before Stripe shows a secret", async () => {
    writeFileSync(join(directory, "logged-out"), "");
    const { status, err } = await setup(WRANGLER, { env });
    expect({ status, err }).toMatchObject({ status: 1, err: expect.stringContaining("npx wrangler login") });
    expect(counts()).toEqual([1, 1, 1, 0]);
    rmSync(join(directory, "logged-out"));
    expect((await setup(WRANGLER, { env })).status).toBe(0);
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  it("fails without repeating the secret, and takes the same secret the next time", async () => {
    await setup(WRANGLER, { env });
    writeFileSync(join(directory, "put.log"), "");
    stripe.onPost = (_count, moment) => {
      if (moment === "after") writeFileSync(join(directory, "logged-out"), "");
      return false;
    };
    const { status, err } = await setup([...WRANGLER, "--roll-webhook"], { env });
    expect(status).toBe(1);
    expect(err).toContain("You are not logged in. …");
    expect(enabled()).toHaveLength(2);
    stripe.onPost = () => false;
    rmSync(join(directory, "logged-out"));
    expect((await setup([...WRANGLER, "--roll-webhook"], { env })).status).toBe(0);
    expect([enabled().length, stripe.all("webhook_endpoints").length]).toEqual([1, 2]);
    expect(put().at(-1)?.stdin).toBe(stripe.secrets.get(enabled()[0]?.id ?? ""));
  });

  it("takes the signing secret from .dev.vars when it is there", async () => {
    stripe.now -= 2 * DAY_SECONDS;
    await setup();
    stripe.forgetAnswers();
    expect((await setup(WRANGLER, { env })).status).toBe(0);
    expect(put().at(-1)).toMatchObject({ stdin: variable("STRIPE_WEBHOOK_SECRET") });
    expect(counts()).toEqual([1, 1, 1, 1]);
  });
});

describe("the command line", () => {
  it("helps", async () => {
    expect(await run(["--help"])).toMatchObject({ status: 0, out: expect.stringContaining("with-envelope <command>") });
    const { status, out } = await run(["stripe", "--help"]);
    expect(status).toBe(0);
    for (const option of ["--url", "--live", "--dry-run", "--roll-webhook", "--key-stdin"])
      expect(out).toContain(option);
  });

  it.each([
    [[], "Usage"],
    [["strip"], 'Unknown command "strip"'],
    [["toString"], "Unknown command"],
    [["stripe"], "--url is required"],
    [["stripe", "--url"], "--url"],
    [["stripe", "--url", "worker.example.com"], "not a URL"],
    [["stripe", "--url", "http://worker.example.com"], "must be https"],
    [["stripe", "--url", "ftp://worker.example.com", "--dry-run"], "must be https"],
    [["stripe", "--url", "https://a:b@worker.example.com"], "no user"],
    [["stripe", "--url", "https://worker.example.com/?a=1"], "query"],
    [["stripe", ...URL_OPTION, "--frobnicate"], "--frobnicate"],
    [["stripe", ...URL_OPTION, "extra"], "extra"],
    [["stripe", ...URL_OPTION, "--currency", "dollars"], "--currency"],
    [["stripe", ...URL_OPTION, "--min", "5.00"], "--min"],
    [["stripe", ...URL_OPTION, "--min", "600", "--max", "500"], "--min is above --max"],
    [["stripe", ...URL_OPTION, "--preset", "600", "--max", "500"], "--preset is above --max"],
    [["stripe", ...URL_OPTION, "--secrets", "vault"], "--secrets"],
    [["stripe", ...URL_OPTION, "--name", " "], "--name"],
    [["stripe", ...URL_OPTION, "--api-base", "localhost"], "--api-base"],
  ])("refuses %j with status 2", async (argv, message) => {
    const { status, out, err } = await run(argv);
    expect({ status, out }).toEqual({ status: 2, out: "" });
    expect(err).toContain(message);
    expect(stripe.gets).toBe(0);
  });

  it("takes --name when there is no configuration, and asks for it", async () => {
    rmSync(join(directory, "wrangler.toml"));
    expect(await setup()).toMatchObject({ status: 2, err: expect.stringContaining("--name is needed") });
    expect((await setup(["--name", "mine"])).status).toBe(0);
  });

  it("answers one JSON object, in success and in failure", async () => {
    const { answer } = await setupJson();
    expect(answer).toMatchObject({
      ok: true,
      dry_run: false,
      mode: "test",
      app: "postcards",
      payment_link: { url: stripe.all("payment_links")[0]?.["url"] },
      stored: { in: "dev-vars", names: ["STRIPE_PAYMENT_LINK", "STRIPE_WEBHOOK_SECRET"] },
    });
    expect((await setupJson(["--currency", "x"])).answer).toMatchObject({ ok: false, error: { code: "usage" } });
  });

  it("is a program", () => {
    expect(readFileSync(CLI, "utf8").startsWith("#!/usr/bin/env node\n")).toBe(true);
  });
});

describe("masking", () => {
  it("shows four characters of a long secret and none of a short one", () => {
    expect(mask("whsec_0123456789abcdef")).toBe("whsec_…cdef");
    expect(mask("whsec_short")).toBe("whsec_…");
    expect(redact('bad key "sk_live_0123456789abcdef", whsec_0123456789abcdef.')).not.toMatch(/[0-9]{4}/);
  });
});
