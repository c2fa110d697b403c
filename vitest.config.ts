import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig, type Plugin } from "vitest/config";

const SOURCES = new URL("src/", import.meta.url).pathname;

const secrets = {
  ENVELOPE_SECRET: "test-root-secret-0123456789-abcdefghij",
  STRIPE_WEBHOOK_SECRET: "whsec_first_0123456789abcdef,whsec_second_0123456789abcdef",
  STRIPE_PAYMENT_LINK: "https://buy.stripe.com/test_link",
  // The objects have no other environment than this one, and auto top-up calls Stripe from there. Nobody answers at the address.
  STRIPE_SECRET_KEY: "sk_test_0123456789abcdefghij",
  STRIPE_API_BASE: "http://stripe.test",
  // Nobody answers here either, unless a test does: two secrets, as while they are changed.
  ENVELOPE_WEBHOOK_URL: "https://owner.test/alerts",
  ENVELOPE_WEBHOOK_SECRET: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
};

/** `CASES`: how many the differential test of the webhook's gate, and the model of grants, draw. */
const bindings = { ...secrets, CASES: process.env["CASES"] ?? "" };

/**
 * What `src/` loads when it is asked for is loaded at once here. The runner asks its server for every `import()`, also of a module
 * it has: where two objects of one isolate wait for that one answer, workerd refuses the second ("I/O on behalf of a different
 * Durable Object"). In a bundle, which the tests in `test/node` run, such an import is no I/O.
 */
const eager: Plugin = {
  name: "eager-imports",
  enforce: "pre",
  transform(code, id) {
    if (!id.startsWith(SOURCES) || !code.includes("import(")) return null;
    const names = new Map<string, string>();
    const body = code.replaceAll(/(?<!typeof )import\("(\.[^"]+)"\)/g, (_, path: string) => {
      const name = names.get(path) ?? `eager${names.size}`;
      names.set(path, name);
      return `Promise.resolve(${name})`;
    });
    return [...names].map(([path, name]) => `import * as ${name} from "${path}";`).join(" ") + body;
  },
};

export default defineConfig({
  test: {
    reporters: process.env["CI"] ? ["default", "json"] : ["default"],
    outputFile: { json: ".results/vitest.json" },
    projects: [
      {
        // Without it, a hundred lines on source maps that the stripe package does not ship.
        logLevel: "error",
        plugins: [eager, cloudflareTest({ wrangler: { configPath: "./test/wrangler.toml" }, miniflare: { bindings } })],
        // A busy machine is no failure: nothing here is a measurement.
        test: {
          name: "workers",
          // By default one less than there are cores: on two, one.
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 240_000,
          include: ["test/workers/**/*.test.ts"],
          setupFiles: ["test/workers/setup.ts"],
        },
      },
      {
        test: {
          name: "node",
          include: ["test/node/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
