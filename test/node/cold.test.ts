/** What comes first in a process that was just started: the rules of an envelope are loaded with the first event of the first one. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundled } from "../../scripts/bench/sizes.ts";
import { readLedger } from "../../scripts/chaos/ledgers.ts";
import { temporaryFolder } from "../../scripts/lib/folders.ts";
import { type Holder, newHolder } from "../../scripts/lib/holder.ts";
import { header, readJson, send } from "../../scripts/lib/http.ts";
import { randomVars, writeProject } from "../../scripts/lib/project.ts";
import { completedEvent, deliver } from "../../scripts/lib/stripe.ts";
import { configureWorkerd, startWorkerd } from "../../scripts/lib/workerd.ts";
import { bundle, type Server } from "../../scripts/lib/wrangler.ts";

const WORKER = fileURLToPath(new URL("../../scripts/workers/chaos.ts", import.meta.url));

const vars = randomVars();
const folder = temporaryFolder("cold");
const storage = join(folder.path, "storage");
const inPieces = join(folder.path, "pieces");
let whole: string;
let server: Server | undefined;

beforeAll(async () => {
  // What wrangler makes is one module, and what is imported later a function in it; other bundlers leave modules.
  writeProject({ folder: folder.path, main: WORKER, vars });
  whole = bundle(folder.path);
  configureWorkerd(whole, vars);
  const main = JSON.stringify(WORKER);
  write(inPieces, await bundled(`export * from ${main}; export { default } from ${main};`));
});

function write(to: string, pieces: Awaited<ReturnType<typeof bundled>>): void {
  mkdirSync(to, { recursive: true });
  for (const { name, text } of pieces) writeFileSync(join(to, name), text);
  configureWorkerd(to, vars, pieces[0]?.name);
}

afterAll(async () => {
  await server?.kill();
  folder.remove();
});

/** The same storage in a new process. */
async function restart(built = whole): Promise<string> {
  await server?.kill();
  server = await startWorkerd(built, storage);
  return server.origin;
}

interface Payer extends Holder {
  readonly id: string;
}

let names = 0;

async function payer(origin: string, amount: number): Promise<Payer> {
  names += 1;
  const holder = await newHolder(origin);
  const who = readJson(await send(origin, "/who", { headers: { Cookie: holder.cookie } }));
  const event = completedEvent({ name: `cold${names}`, reference: holder.reference, amount });
  expect((await deliver(origin, event, vars.STRIPE_WEBHOOK_SECRET)).status).toBe(200);
  return { ...holder, id: String(who["id"]) };
}

const charge = (origin: string, { cookie }: Holder, name: string) =>
  send(origin, `/charge/${name}?price=1`, { method: "POST", headers: { Cookie: cookie } });

test.each(["one module", "pieces"])(
  "I2 the first calls of a process of %s, many at once on two envelopes, are each charged exactly once and as far as the money goes",
  async (kind) => {
    const built = kind === "pieces" ? inPieces : whole;
    const first = await restart(built);
    const payers = [await payer(first, 20), await payer(first, 30)];
    const origin = await restart(built);
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, number) => charge(origin, payers[number % 2] as Payer, `n${number}`)),
    );
    for (const [index, cents] of [20, 30].entries()) {
      const own = answers.filter((_, number) => number % 2 === index);
      const paid = own.filter(({ status }) => status === 200);
      expect(paid).toHaveLength(cents);
      expect(own.filter(({ status }) => status === 402)).toHaveLength(40 - cents);
      expect(new Set(paid.map((answer) => header(answer, "X-Balance"))).size).toBe(cents);
      const ledger = await readLedger(origin, (payers[index] as Payer).id);
      expect(ledger.balance_micros).toBe(0);
      expect(ledger.entries.map(({ seq }) => seq)).toEqual(Array.from({ length: cents + 1 }, (_, at) => at + 1));
    }
  },
);

test("T84 an alarm may be the first event of a process: what was written before the kill is mirrored, though nobody asks the envelope", async () => {
  const overview = async (origin: string) => readJson(await send(origin, "/overview"));
  const before = await restart();
  const { envelopes: known } = await overview(before);
  // The mirror waits a second for company: the kill comes before, unless the machine is very busy.
  await payer(before, 10);
  const origin = await restart();
  for (let waited_ms = 0; (await overview(origin))["envelopes"] === known; waited_ms += 250) {
    if (waited_ms > 20_000) throw new Error("Nothing was mirrored");
    await sleep(250);
  }
});

test("rules that cannot be loaded are an outage: nothing is charged, no body is released, and what is free goes on", async () => {
  const broken = temporaryFolder("cold-broken");
  const pieces = await bundled();
  const till = pieces.filter(({ name }) => name.startsWith("till-"));
  expect(till).toHaveLength(1);
  const sabotaged = pieces.map(({ name, text }) => {
    return { name, text: till[0]?.name === name ? `throw new Error("no rules");${text}` : text };
  });
  write(broken.path, sabotaged);
  const other = await startWorkerd(broken.path, join(broken.path, "storage"));
  try {
    const holder = await newHolder(other.origin);
    const event = completedEvent({ name: "broken", reference: holder.reference, amount: 10 });
    expect((await deliver(other.origin, event, vars.STRIPE_WEBHOOK_SECRET)).status).toBe(503);
    for (let tried = 1; tried <= 2; tried++) {
      const answer = await charge(other.origin, holder, "priced");
      expect([answer.status, header(answer, "Retry-After")]).toEqual([503, expect.anything()]);
      expect(answer.body).not.toContain("hello");
      expect(answer.body).not.toContain("no rules");
    }
    expect((await send(other.origin, "/health")).status).toBe(200);
  } finally {
    await other.kill();
    broken.remove();
  }
});
