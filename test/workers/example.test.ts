/** The example's metered routes, as a browser's page asks for them: each gives exactly what the balance is for. */
import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test, vi } from "vitest";
import example from "../../example/worker.js";
import { clientOf } from "./sockets.js";
import { type Caller, ORIGIN, Site } from "./support.js";

vi.mock("with-envelope", () => import("../../src/index.js"));
vi.mock("../../example/page.html", () => ({ default: "<!doctype html>" }));

const site = new Site();

async function withCents(cents: string): Promise<Caller> {
  const caller = await site.newcomer();
  await caller.envelope.grant(cents, { key: "coin" });
  return caller;
}

async function ask(caller: Caller, path: string, headers: Record<string, string> = {}) {
  const ctx = createExecutionContext();
  const request = new Request(new URL(path, ORIGIN), {
    headers: { Authorization: `Bearer ${caller.token}`, ...headers },
  });
  const response = await (example.fetch as unknown as ExportedHandlerFetchHandler)(request as never, env, ctx);
  return { response, over: () => waitOnExecutionContext(ctx) };
}

async function expectSpent(caller: Caller): Promise<void> {
  expect(await caller.envelope.state()).toMatchObject({ balance_micros: 0, held_micros: 0 });
}

test("T103 the story: as many words as there is money for, and why it stops", async () => {
  const caller = await withCents("0.7");
  const { response, over } = await ask(caller, "/story");
  const text = await response.text();
  await over();
  expect(text.match(/^data: \{"word"/gm)).toHaveLength(7);
  expect(text).toContain("event: error");
  await expectSpent(caller);
});

test("T103 the almanac: as many kilobytes", async () => {
  const caller = await withCents("0.42");
  const { response, over } = await ask(caller, "/almanac");
  expect((await response.arrayBuffer()).byteLength).toBe(42_000);
  await over();
  await expectSpent(caller);
});

test("T103 the tide: as many seconds, and the page is told what it cost", async () => {
  const caller = await withCents("0.5");
  const { response, over } = await ask(caller, "/feed", { Upgrade: "websocket" });
  const client = clientOf(response);
  expect(await client.end()).toEqual({ code: 4402, reason: "Balance exhausted" });
  await over();
  expect(client.said("envelope.ended")).toMatchObject([{ seconds: 2, price: "0.5", reason: "balance_exhausted" }]);
  expect(client.said().filter(({ height }) => height !== undefined).length).toBeGreaterThan(0);
  await expectSpent(caller);
});

test.each(["/story", "/almanac", "/feed"])("T8 %s without money is a 402 with a way to pay", async (path) => {
  const { response } = await ask(await site.newcomer(), path, path === "/feed" ? { Upgrade: "websocket" } : {});
  expect(response.status).toBe(402);
  expect(response.headers.get("X-Payment-Link")).toContain("client_reference_id=");
});
