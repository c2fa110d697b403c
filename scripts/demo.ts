/**
 * The main job, end to end and without a human: a free page, a refusal, a top-up, exact charges, a retry, a crash. Prints
 * what happened line by line; exits 0 only if all of it held.
 *
 *   npm run demo
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { temporaryFolder } from "./lib/folders.ts";
import { cookieOf, readMe } from "./lib/holder.ts";
import { type Answer, header, type Question, readJson, send } from "./lib/http.ts";
import { randomVars, writeProject } from "./lib/project.ts";
import { completedEvent, deliver } from "./lib/stripe.ts";
import { type Server, startWranglerDev } from "./lib/wrangler.ts";

const WORKER = fileURLToPath(new URL("./workers/demo.ts", import.meta.url));
const vars = randomVars();
const secret = vars.STRIPE_WEBHOOK_SECRET;

let failures = 0;

const say = (text: string): void => console.log(text);

/** One fact: what it is, what was seen, what had to be seen. */
function check(what: string, seen: unknown, wanted: unknown): void {
  const held = isDeepStrictEqual(seen, wanted);
  if (!held) failures += 1;
  say(
    `  ${held ? "ok  " : "FAIL"} ${what}: ${JSON.stringify(seen)}${held ? "" : `, wanted ${JSON.stringify(wanted)}`}`,
  );
}

interface Caller {
  readonly cookie: string;
  readonly reference: string;
}

const folder = temporaryFolder("demo");
const storage = join(folder.path, "storage");
writeProject({ folder: folder.path, main: WORKER, vars });

say("Starting the Worker with wrangler dev, on empty storage");
let server: Server = await startWranglerDev(folder.path, storage);
try {
  await freePage();
  const caller = await refusedThenIdentified();
  await topUp(caller);
  await exactCharges(caller);
  await retry(caller);
  await crash(caller);
  await malformedPrice(caller);
  await tooDear(caller);
} catch (error) {
  failures += 1;
  console.error(error);
} finally {
  await server.kill();
  folder.remove();
}
say(failures === 0 ? "\nAll of it held." : `\n${failures} of it did not hold.`);
process.exitCode = failures === 0 ? 0 : 1;

async function freePage(): Promise<void> {
  say("\nA free page passes untouched");
  const answer = await get("/");
  check("status", answer.status, 200);
  check("body", answer.body, "free");
  check("the app's own header", header(answer, "X-Page"), "free");
  check(
    "headers added",
    ["X-Price", "X-Balance", "Set-Cookie"].filter((name) => header(answer, name) !== undefined),
    [],
  );
}

async function refusedThenIdentified(): Promise<Caller> {
  say("\nA page priced 1 cent, asked for by a stranger, is refused with a way to pay");
  const answer = await get("/joke");
  const problem = readJson(answer);
  check("status", answer.status, 402);
  check("content type", header(answer, "Content-Type"), "application/problem+json");
  check("price and shortfall", [problem["price"], problem["shortfall"]], ["1", "1"]);
  check("topping up would help", problem["canTopUp"], true);
  const link = new URL(String(problem["paymentLink"]));
  say(`       payment link: ${link.origin}${link.pathname}?client_reference_id=…`);
  check("where it leads", link.origin + link.pathname, vars.STRIPE_PAYMENT_LINK);
  check("the same link in a header", header(answer, "Link"), `<${link.href}>; rel="payment"`);
  const caller = { cookie: cookieOf(answer), reference: link.searchParams.get("client_reference_id") ?? "" };
  check("/me says the same caller has", (await readMe(server.origin, caller.cookie)).balance, 0);
  return caller;
}

async function topUp({ cookie, reference }: Caller): Promise<void> {
  say("\nStripe's webhook arrives twice, and one that Stripe did not sign");
  const event = completedEvent({ name: "demo", reference, amount: 500 });
  check("first delivery", readJson(await deliver(server.origin, event, secret)), {
    received: true,
    outcome: "credited",
  });
  check("second delivery", readJson(await deliver(server.origin, event, secret)), {
    received: true,
    outcome: "duplicate",
  });
  check("forged delivery", (await deliver(server.origin, event, "whsec_of_somebody_else")).status, 400);
  check("balance, credited once", (await readMe(server.origin, cookie)).balance, 500);
}

async function exactCharges({ cookie }: Caller): Promise<void> {
  say("\nCharges of 1 and of 0.05 cents are exact");
  const one = await get("/joke", cookie);
  check("/joke", paidBy(one), { status: 200, price: "1", balance: "499" });
  check("its body", readJson(one), { page: "/joke" });
  check("no cache may keep it", header(one, "Cache-Control"), "private, no-store");
  check("/word", paidBy(await get("/word", cookie)), { status: 200, price: "0.05", balance: "498.95" });
  check("/word again", paidBy(await get("/word", cookie)), { status: 200, price: "0.05", balance: "498.9" });
}

async function retry({ cookie }: Caller): Promise<void> {
  say("\nThe same Idempotency-Key is charged once");
  const keyed = { headers: { Cookie: cookie, "Idempotency-Key": "order-1" } };
  check("first", paidBy(await ask("/joke", keyed)), { status: 200, price: "1", balance: "497.9" });
  const again = await ask("/joke", keyed);
  check("again", paidBy(again), { status: 200, price: "1", balance: "497.9" });
  check("told as a replay", header(again, "X-Charge-Replayed"), "true");
  check("the key on another page", (await ask("/word", keyed)).status, 422);
}

async function crash({ cookie }: Caller): Promise<void> {
  say("\nEvery process is killed (SIGKILL) and started again");
  await server.kill();
  server = await startWranglerDev(folder.path, storage);
  check("balance", (await readMe(server.origin, cookie)).balance, 497.9);
  const replay = await ask("/joke", { headers: { Cookie: cookie, "Idempotency-Key": "order-1" } });
  check("the key, still charged once", paidBy(replay), { status: 200, price: "1", balance: "497.9" });
}

async function malformedPrice({ cookie }: Caller): Promise<void> {
  say("\nA price the owner got wrong (1,00) is the owner's error");
  const answer = await get("/mistake", cookie);
  check("status", answer.status, 500);
  check("the page is withheld", readJson(answer)["page"], undefined);
  check("nothing was charged", (await readMe(server.origin, cookie)).balance, 497.9);
}

async function tooDear({ cookie }: Caller): Promise<void> {
  say("\nMore than is left is refused, and takes nothing");
  const answer = await get("/book", cookie);
  const { balance, shortfall } = readJson(answer);
  check("status", answer.status, 402);
  check("balance and shortfall", [balance, shortfall], ["497.9", "99502.1"]);
  check("balance after", (await readMe(server.origin, cookie)).balance, 497.9);
}

function get(path: string, cookie?: string): Promise<Answer> {
  return ask(path, cookie === undefined ? {} : { headers: { Cookie: cookie } });
}

function ask(path: string, question: Question): Promise<Answer> {
  return send(server.origin, path, question);
}

function paidBy(answer: Answer): Readonly<Record<string, unknown>> {
  return { status: answer.status, price: header(answer, "X-Price"), balance: header(answer, "X-Balance") };
}
