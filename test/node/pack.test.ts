/**
 * The package as a user gets it: packed, installed into an empty project, type-checked, bundled and run. Once with today's
 * compatibility date and `[exports]`, once as an older project with bindings and migrations.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PACKAGE_FOLDER, temporaryFolder } from "../../scripts/lib/folders.ts";
import { newHolder } from "../../scripts/lib/holder.ts";
import { header, readJson, send } from "../../scripts/lib/http.ts";
import { npm } from "../../scripts/lib/npm.ts";
import {
  bindingsAndMigration,
  type ProjectInput,
  randomVars,
  readmeBlock,
  writeProject,
} from "../../scripts/lib/project.ts";
import { completedEvent, deliver } from "../../scripts/lib/stripe.ts";
import { startWranglerDev, wrangler } from "../../scripts/lib/wrangler.ts";

/** Like the README's, with an `Env` and `ctx` in use so that their types are checked. */
const WORKER = `import { withEnvelope } from "with-envelope";
export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope";

interface Env {
  readonly GREETING: string;
}

export default {
  fetch: withEnvelope<Env>((request, env, ctx) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/free") return new Response("free");
    const caller: string = ctx.envelope.id;
    ctx.waitUntil(Promise.resolve(caller));
    const greeting: string = env.GREETING;
    return Response.json({ greeting }, { headers: { "X-Price": "1" } });
  }),
} satisfies ExportedHandler<Env>;
`;

/** Whole Workers, and handlers that name no Env, are wrapped as well; a misspelt option is an error of types already. */
const OTHER_FORMS = `import { withEnvelope } from "with-envelope";

interface Env {
  readonly GREETING: string;
}

export const plain = {
  fetch: withEnvelope((request, env, ctx) => Response.json({ url: request.url, env, id: ctx.envelope.id })),
} satisfies ExportedHandler<Env>;

export const whole = withEnvelope<Env>({
  fetch: async (request, env, ctx) => {
    const { outcome, balance } = await ctx.envelope.charge("0.05", { key: "once" });
    return new Response(\`\${env.GREETING} \${request.method} \${outcome} \${balance}\`);
  },
  async scheduled(_controller, env) {
    console.log(env.GREETING);
  },
}, { currency: "eur", price: (request, env) => (request.url.endsWith(env.GREETING) ? 0.05 : undefined) }) satisfies ExportedHandler<Env>;

// @ts-expect-error
withEnvelope(() => new Response(), { holdSecond: 1 });
// @ts-expect-error
withEnvelope((_request, _env, ctx) => new Response(ctx.envelope.balanse));
`;

/** The subpath: its class is exported beside the others, and only who imports it has it. */
const WS402_WORKER = `import { withEnvelope } from "with-envelope";
import { MockPaymentProvider, type PaymentProvider, WS402 } from "with-envelope/ws402";
export { Envelope, EnvelopeDirectory, EnvelopeAggregate } from "with-envelope";

const ws402 = new WS402({ pricePerSecond: "0.05", resources: { feed: { name: "Live feed" } } });
export const WS402Sessions = ws402.Sessions;

export const providers: readonly PaymentProvider[] = [new MockPaymentProvider()];

export default {
  fetch: withEnvelope(async (request, env, ctx) => {
    const socket = () => {
      const { 0: client, 1: server } = new WebSocketPair();
      server.accept();
      server.send("live");
      return new Response(null, { status: 101, webSocket: client });
    };
    return (await ws402.handle(request, env, ctx, { socket })) ?? new Response("?", { status: 404 });
  }),
} satisfies ExportedHandler;

// @ts-expect-error
new WS402({ pricePerMinute: 1 });
`;

/** The owner's server: a client whose types are those of the routes. */
const CONTROL_PLANE = `import { controlPlane } from "with-envelope/control-plane";

const control = controlPlane({ url: "https://api.example.com", secret: "a secret" });
const made = await control.createEnvelope({ body: { name: "Team", timeWindow: "MONTHLY", capacity: 10 } });
export const id: string = made.ok ? made.value.id : made.problem.title;

// @ts-expect-error
await control.createEnvelope({ body: { name: "Team", timeWindow: "FORTNIGHTLY" } });
// @ts-expect-error
await control.grant({ id, body: { amount: 1, reason: "thanks" } });
export {};
`;

const TSCONFIG = {
  compilerOptions: {
    target: "es2022",
    lib: ["es2022"],
    module: "esnext",
    moduleResolution: "bundler",
    types: ["@cloudflare/workers-types"],
    strict: true,
    skipLibCheck: false,
    noEmit: true,
  },
  include: ["*.ts"],
};

const home = temporaryFolder("pack");
const installed = join(home.path, "node_modules/with-envelope");
const vars = { ...randomVars(), GREETING: "hello" };

beforeAll(() => {
  if (!existsSync(join(PACKAGE_FOLDER, "dist/index.js"))) throw new Error("There is no dist: run npm run build first");
  // Without the prepack script: it builds, and what is tested here is what was built already.
  npm(PACKAGE_FOLDER, ["pack", "--ignore-scripts", "--pack-destination", home.path]);
  const tarball = readdirSync(home.path).find((name) => name.endsWith(".tgz"));
  const dependencies = { "with-envelope": `file:${tarball}` };
  const devDependencies = { "@cloudflare/workers-types": ownVersionOf("@cloudflare/workers-types") };
  const manifest = { name: "consumer", private: true, type: "module", dependencies, devDependencies };
  writeFileSync(join(home.path, "package.json"), JSON.stringify(manifest));
  npm(home.path, ["install", "--prefer-offline", "--no-audit", "--no-fund"]);
});

afterAll(() => home.remove());

describe("the tarball", () => {
  test("holds the built package and nothing else", () => {
    const allowed = /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/.+\.(js|d\.ts))$/;
    expect(installedFiles().filter((name) => !allowed.test(name))).toEqual([]);
    expect(installedFiles()).toEqual(expect.arrayContaining(["package.json", "dist/index.js", "dist/index.d.ts"]));
  });

  test("tells no path of the machine it was built on, and no secret", () => {
    const forbidden = [PACKAGE_FOLDER, homedir(), ...localSecrets()].filter((text) => text.length > 4);
    const shapes = [/\b(sk|rk)_(live|test)_[0-9A-Za-z]{8,}/, /\bwhsec_[0-9A-Za-z]{8,}/, /file:\/\/\//];
    for (const name of installedFiles()) {
      const text = readFileSync(join(installed, name), "utf8");
      expect(
        forbidden.filter((one) => text.includes(one)),
        name,
      ).toEqual([]);
      expect(shapes.filter((shape) => shape.test(text)).map(String), name).toEqual([]);
    }
  });

  test("brings no more than its three dependencies", () => {
    const { dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Record<
      string,
      object
    >;
    expect(Object.keys(dependencies ?? {})).toEqual([
      "@cfworker/json-schema",
      "@noble/hashes",
      "itty-router",
      "jose",
      "stripe",
    ]);
  });
});

describe.each<[string, Partial<ProjectInput>]>([
  ["a project of today, declared as in the README", {}],
  [
    "a project of 2025-06-01 with bindings and migrations",
    { compatibilityDate: "2025-06-01", classes: bindingsAndMigration() },
  ],
])("%s", (_, how) => {
  const folder = join(home.path, how.compatibilityDate ?? "today");

  beforeAll(() => {
    mkdirSync(folder, { recursive: true });
    writeProject({ folder, main: "worker.ts", vars, ...how });
    writeFileSync(join(folder, "worker.ts"), WORKER);
    writeFileSync(join(folder, "readme.ts"), readmeBlock("ts"));
    writeFileSync(join(folder, "other-forms.ts"), OTHER_FORMS);
    writeFileSync(join(folder, "ws402.ts"), WS402_WORKER);
    writeFileSync(join(folder, "control-plane.ts"), CONTROL_PLANE);
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(TSCONFIG));
  });

  test("passes tsc, with the package's own declarations checked", () => {
    const tsc = join(PACKAGE_FOLDER, "node_modules/typescript/bin/tsc");
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    expect(stdout).toBe("");
    expect(status).toBe(0);
  });

  test("is bundled by wrangler deploy --dry-run", () => {
    expect(wrangler(folder, ["deploy", "--dry-run"])).toContain("--dry-run: exiting now.");
    expect(wrangler(folder, ["deploy", "readme.ts", "--dry-run"])).toContain("--dry-run: exiting now.");
    expect(wrangler(folder, ["deploy", "ws402.ts", "--dry-run"])).toContain("--dry-run: exiting now.");
  });

  test("answers 402, is topped up and charges", async () => {
    const server = await startWranglerDev(folder, join(folder, "storage"));
    try {
      expect((await send(server.origin, "/free")).body).toBe("free");
      const refused = await send(server.origin, "/");
      expect(refused.status).toBe(402);
      expect(readJson(refused)).toMatchObject({ limit: "balance", price: "1", canTopUp: true });

      const { cookie, reference } = await newHolder(server.origin);
      const event = completedEvent({ name: "pack", reference, amount: 500 });
      const credited = await deliver(server.origin, event, vars.STRIPE_WEBHOOK_SECRET);
      expect(readJson(credited)).toEqual({ received: true, outcome: "credited" });
      const charged = await send(server.origin, "/", { headers: { Cookie: cookie } });
      expect(charged.status).toBe(200);
      expect(readJson(charged)).toEqual({ greeting: "hello" });
      expect(header(charged, "X-Balance")).toBe("499");
    } finally {
      await server.kill();
    }
  });
});

function installedFiles(): readonly string[] {
  return readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(installed, join(entry.parentPath, entry.name)));
}

/** The developer's own secrets, if this machine has any. */
function localSecrets(): readonly string[] {
  const file = join(PACKAGE_FOLDER, ".dev.vars");
  if (!existsSync(file)) return [];
  const values = readFileSync(file, "utf8").match(/(?<==)"?[^\s"]{16,}/g) ?? [];
  return values.map((value) => value.replaceAll('"', ""));
}

function ownVersionOf(name: string): string {
  const text = readFileSync(join(PACKAGE_FOLDER, "package.json"), "utf8");
  const { devDependencies } = JSON.parse(text) as { devDependencies: Record<string, string> };
  return devDependencies[name] ?? "*";
}
