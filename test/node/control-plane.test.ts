/** The control plane as its page has it: the very lines, sent by curl to a real server; and the document that describes it. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Validator } from "@seriousme/openapi-schema-validator";
import Stripe from "stripe";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PACKAGE_FOLDER, temporaryFolder } from "../../scripts/lib/folders.ts";
import { randomVars, writeProject } from "../../scripts/lib/project.ts";
import { allowThisMachine, configureWorkerd, startWorkerd } from "../../scripts/lib/workerd.ts";
import { bundle, type Server, startWranglerDev } from "../../scripts/lib/wrangler.ts";
import { serve } from "../stripe/serve.js";
import { StripeStandIn } from "../stripe/stand-in.js";

const WORKER = fileURLToPath(new URL("../../scripts/workers/demo.ts", import.meta.url));
const PAGE = readFileSync(join(PACKAGE_FOLDER, "docs/control-plane.md"), "utf8");
const folder = temporaryFolder("control-plane");
const stripe = new StripeStandIn();
const vars = {
  ...randomVars(),
  ENVELOPE_ADMIN_SECRET: randomBytes(32).toString("base64url"),
  STRIPE_SECRET_KEY: stripe.key,
};
let server: Server;
/** What `npm start` starts, with secrets and storage of its own, and no account. */
let example: Server;
let standIn: Awaited<ReturnType<typeof serve>>;

beforeAll(async () => {
  standIn = await serve(stripe);
  const all = { ...vars, STRIPE_API_BASE: standIn.origin };
  writeProject({ folder: folder.path, main: WORKER, vars: all });
  const built = bundle(folder.path);
  configureWorkerd(built, all);
  allowThisMachine(built);
  server = await startWorkerd(built, join(folder.path, "storage"));
  const start = join(folder.path, "start");
  const toml = readFileSync(join(PACKAGE_FOLDER, "wrangler.toml"), "utf8");
  mkdirSync(start);
  writeFileSync(
    join(start, "wrangler.toml"),
    toml.replace(/^\[build\]\n(.+\n)+/m, "").replace('main = "', `main = "${PACKAGE_FOLDER}/`),
  );
  const { ENVELOPE_SECRET, STRIPE_WEBHOOK_SECRET, ENVELOPE_ADMIN_SECRET } = vars;
  const local = { ENVELOPE_SECRET, STRIPE_WEBHOOK_SECRET, ENVELOPE_ADMIN_SECRET, ENVELOPE_TEST_CHECKOUT: "true" };
  const lines = Object.entries(local).map((line) => line.join("="));
  writeFileSync(join(start, ".dev.vars"), `${lines.join("\n")}\n`);
  example = await startWranglerDev(start, join(folder.path, "local"));
}, 120_000);
afterAll(async () => {
  await Promise.all([server?.kill(), example?.kill()]);
  await standIn?.close();
  folder.remove();
});

/** The page's first block of shell, and after each call what it says comes back. */
function documented(): { readonly script: string; readonly answers: readonly (readonly string[])[] } {
  const [, block = ""] = /^```sh\n(.*?)^```/ms.exec(PAGE) ?? [];
  const answers = [...block.matchAll(/^# → (\d{3}) (.*)$/gm)].map(([, status = "", rest = ""]) => [
    status,
    ...rest.split(/ (?=")/),
  ]);
  const script = block
    .replaceAll("http://localhost:8787", example.origin)
    .replaceAll("curl -s", `curl -s -w ' %{http_code}'`);
  return { script, answers };
}

function bash(script: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env["PATH"] };
    const child = spawn("bash", ["-eu"], { env, cwd: join(folder.path, "start"), stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    child.on("close", (status) =>
      status === 0 ? resolve(said) : reject(new Error(`bash ended with ${status}: ${said}`)),
    );
    child.stdin.end(script);
  });
}

it("every line of the page works, and answers what the page says", async () => {
  const { script, answers } = documented();
  expect(answers.length).toBeGreaterThanOrEqual(9);
  const lines = (await bash(script)).trim().split("\n");
  expect(lines.map((line) => line.slice(-3))).toEqual(answers.map(([status]) => status));
  for (const [index, [, ...parts]] of answers.entries()) {
    for (const part of parts) expect(lines[index]).toContain(part);
  }
});

it("a top-up that was asked for is credited once its webhook says so", async () => {
  const call = (path: string, body?: unknown) =>
    fetch(server.origin + path, {
      method: body === undefined ? "GET" : "POST",
      headers: { Authorization: `Bearer ${vars.ENVELOPE_ADMIN_SECRET}`, "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    }).then((response) => response.json() as Promise<Record<string, unknown>>);
  const { id } = await call("/envelopes", { name: "Prepaid" });
  const asked = await call("/stripe/topup", { envelopeId: id, amount: "25" });
  expect(asked).toMatchObject({ status: "PENDING", amount: "25", amount_micros: 25_000_000 });
  expect(await call(`/envelopes/${id}/topups`)).toMatchObject({ topups: [{ status: "PENDING", origin: "api" }] });

  const { account } = stripe;
  account.collect(account.get("payment_intent", String(asked["paymentIntentId"])));
  const payload = JSON.stringify(account.events.find(({ type }) => type === "payment_intent.succeeded"));
  const secret = vars.STRIPE_WEBHOOK_SECRET;
  const signature = await Stripe.webhooks.generateTestHeaderStringAsync({ payload, secret });
  for (const outcome of ["credited", "duplicate"]) {
    const answer = await fetch(`${server.origin}/stripe/webhook`, {
      method: "POST",
      headers: { "Stripe-Signature": signature },
      body: payload,
    });
    expect(await answer.json()).toEqual({ received: true, outcome });
  }
  expect(await call(`/envelopes/${id}/topups`)).toMatchObject({ topups: [{ status: "SUCCEEDED" }] });
  expect(await call(`/envelopes/${id}/status`)).toMatchObject({ balance: "25", prepaid: true, capacity: null });
});

it("the OpenAPI document is valid 3.1, and names every operation of this deployment", async () => {
  const answer = await fetch(`${server.origin}/envelopes/openapi.json`, {
    headers: { Authorization: `Bearer ${vars.ENVELOPE_ADMIN_SECRET}` },
  });
  const document = (await answer.json()) as { paths: Record<string, Record<string, { operationId: string }>> };
  const validator = new Validator();
  expect(await validator.validate(document as never)).toEqual({ valid: true });
  expect(validator.version).toBe("3.1");
  const ids = Object.values(document.paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId),
  );
  const { OPERATIONS } = await import("../../src/admin/control/operations.js");
  expect(ids.sort()).toEqual(Object.keys(OPERATIONS).sort());
  // The control: a document that is not one is not taken for one.
  const broken = { ...document, paths: { "/x": { get: { responses: { 200: {} } } } } };
  expect((await new Validator().validate(broken as never)).valid).toBe(false);
});
