/** `ctx.envelope.meter`: rates that headers cannot say, and the answers of language models. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EnvelopeContext, EnvelopeFetchHandler, MeterRate, MeterResult } from "../../../src/index.js";
import type { Problem } from "../support.js";
import { anthropicStream, CHAT_USAGE, chatStream, responsesStream } from "./llm-fixtures.js";
import { encoder, expectPaid, holdsOf, MeteredSite, readAll, streamOf, Tap } from "./support.js";

const CENT = 10_000;
const SSE = { "Content-Type": "text/event-stream" };

const metering =
  (response: () => Response, rate: () => MeterRate): EnvelopeFetchHandler<unknown> =>
  (_request, _env, ctx) =>
    ctx.envelope.meter(response(), rate());

/** In cents for a million: 3 micros in, 0.3 cached, 3.75 written, 15 out. */
const tokens = { input: "300", cachedInput: "30", cacheWrite: "375", output: "1500" } as const;

describe("a rate of the app's", () => {
  it("adds up: a base, seconds, kilobytes and messages; whatever the response's headers say", async () => {
    const headers = { ...SSE, "X-Price": "99", "X-Price-Per-Message": "77" };
    const rate: MeterRate = {
      base: "1",
      perSecond: "2",
      perKilobyte: "3",
      perMessage: "4",
      reason: "all of it",
      metadata: { n: 1 },
    };
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf("data: a\n\n", "data: b\n\n"), { headers }),
        () => rate,
      ),
    );
    const caller = await site.payer(100);
    const seen = await site.read(caller);
    expect([seen.headers.get("X-Price"), seen.headers.get("X-Balance")]).toEqual([null, "100"]);
    const [, entry] = await caller.envelope.entries();
    expect(entry).toMatchObject({ amount_micros: -(1 + 2 + 3 + 8) * CENT, reason: "all of it", metadata: '{"n":1}' });
    await expectPaid(caller, { paid_micros: 14 * CENT });
  });

  it("prices each message by what it says, before it is let through", async () => {
    const site = new MeteredSite(
      metering(
        () =>
          new Response(streamOf("data: a\n\n", ": free\n\n", "data: bbb\n\n", "data: none\n\n", "data: cc\n\n"), {
            headers: SSE,
          }),
        () => ({ price: (text) => (text === "none" ? undefined : String(text.length)) }),
      ),
    );
    const [rich, poor] = [await site.payer(10), await site.payer(5)];
    expect((await site.read(rich)).text).toContain("data: cc\n\n");
    await expectPaid(rich, { paid_micros: 6 * CENT });
    const cut = await site.read(poor);
    expect(cut.text.startsWith("data: a\n\n: free\n\ndata: bbb\n\ndata: none\n\nevent: error\n")).toBe(true);
    await expectPaid(poor, { paid_micros: 4 * CENT });
  });

  it("prices the chunks of a body that is neither events nor lines", async () => {
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf("ab", "cde")),
        () => ({ price: (chunk) => String(chunk.length) }),
      ),
    );
    const caller = await site.payer(10);
    expect((await site.read(caller)).text).toBe("abcde");
    await expectPaid(caller, { paid_micros: 5 * CENT });
  });

  it("a price function that answers with no price breaks the body off, and what came before is paid", async () => {
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf("data: 1\n\n", "data: -1\n\n"), { headers: SSE }),
        () => ({ price: (text) => String(text) }),
      ),
    );
    const caller = await site.payer(10);
    const seen = await site.read(caller);
    expect([seen.text, seen.broken]).toEqual(["data: 1\n\n", true]);
    await expectPaid(caller, { paid_micros: 1 * CENT });
  });

  it("T20 a source that fails costs nothing where the owner has it so", async () => {
    const tap = new Tap().write("data: 1\n\n");
    const site = new MeteredSite(
      metering(
        () => new Response(tap.stream, { headers: SSE }),
        () => ({ perMessage: "1", base: "2", onUpstreamError: "nothing" }),
      ),
    );
    const caller = await site.payer(10);
    const { response, over } = await site.fetch(caller);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    tap.fail(new Error("no more"));
    await expect(reader.read()).rejects.toThrow();
    await over();
    await expectPaid(caller, { paid_micros: 0 });
  });

  it("says how it ended, once", async () => {
    const ends: MeterResult[] = [];
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf("data: 1\n\n", "data: 2\n\n", "data: 3\n\n"), { headers: SSE }),
        () => ({ perMessage: "1", onEnd: (end) => void ends.push(end) }),
      ),
    );
    await site.read(await site.payer(10));
    await site.read(await site.payer(2));
    expect(ends).toMatchObject([
      {
        cause: "complete",
        units: { messages: 3, bytes: 27 },
        price: "3",
        price_micros: 3 * CENT,
        balance: "7",
        currency: "usd",
        missing_micros: 0,
      },
      { cause: "exhausted", units: { messages: 2, bytes: 18 }, price: "2", balance: "0" },
    ]);
  });

  it("T13 with a key it is paid once, and lets through what it paid for", async () => {
    let count = 3;
    const site = new MeteredSite(
      metering(
        () =>
          new Response(
            streamOf(
              ..."123456"
                .slice(0, count)
                .split("")
                .map((n) => `data: ${n}\n\n`),
            ),
            { headers: SSE },
          ),
        () => ({ perMessage: "1", key: "chat-7" }),
      ),
    );
    const caller = await site.payer(10);
    await site.read(caller);
    count = 6;
    expect((await site.read(caller)).text.match(/^data: [0-9]/gm)).toHaveLength(3);
    await expectPaid(caller, { paid_micros: 3 * CENT });
  });

  it("holds ahead as it is told, and no more", async () => {
    const tap = new Tap();
    const site = new MeteredSite(
      metering(
        () => new Response(tap.stream, { headers: SSE }),
        () => ({ perMessage: "1", slice: { first: "3", leaseSeconds: 600 } }),
      ),
    );
    const caller = await site.payer(100);
    const { response, over } = await site.fetch(caller);
    const { holds } = await caller.envelope.state();
    expect(holds).toMatchObject([{ amount_micros: 3 * CENT, used_micros: 0 }]);
    expect((holds[0]?.expires_at_ms ?? 0) - Date.now()).toBeGreaterThan(590_000);
    tap.close();
    await response.text();
    await over();
  });

  it.each<[string, unknown, string]>([
    ["an unknown name", { perMinute: "1" }, "rate.perMinute"],
    ["a price outside the grammar", { perSecond: "-1" }, "rate.perSecond"],
    ["another", { base: "1e2" }, "rate.base"],
    ["messages of what has none", { perMessage: "1" }, "rate.perMessage"],
    ["a maximum below one unit", { perSecond: "2", max: "1" }, "rate.max"],
    ["a price that is no function", { price: "1" }, "rate.price"],
    ["two prices of each part", { price: () => "1", tokens }, "rate.price"],
    ["prices of tokens outside the grammar", { tokens: { input: "-1", output: "1" } }, "rate.tokens"],
    ["half a token", { tokens: { ...tokens, expectedInput: 0.5 } }, "rate.tokens.expectedInput"],
    ["a slice of no time", { perSecond: "1", slice: { seconds: 0 } }, "rate.slice.seconds"],
    ["a lease of no time", { perSecond: "1", slice: { leaseSeconds: 1 } }, "rate.slice.leaseSeconds"],
    ["an unknown slice", { perSecond: "1", slice: { units: 5 } }, "rate.slice.units"],
    ["a key with a blank", { perSecond: "1", key: "a b" }, "rate.key"],
    ["a reason that is too long", { perSecond: "1", reason: "x".repeat(257) }, "rate.reason"],
    ["metadata that is too long", { perSecond: "1", metadata: "x".repeat(5_000) }, "rate.metadata"],
    ["another policy", { perSecond: "1", onUpstreamError: "maybe" }, "rate.onUpstreamError"],
    ["an end that is told to nobody", { perSecond: "1", onEnd: 7 }, "rate.onEnd"],
  ])("T3 %s is a TypeError that names it, and nothing is held", async (_name, rate, message) => {
    let thrown: unknown;
    const site = new MeteredSite(async (_request, _env, ctx) => {
      thrown = await ctx.envelope.meter(new Response("x"), rate as MeterRate).catch((error: unknown) => error);
      return new Response("told");
    });
    const caller = await site.payer(10);
    await site.read(caller);
    expect(thrown).toBeInstanceOf(TypeError);
    expect(String(thrown)).toContain(message);
    await expectPaid(caller, { paid_micros: 0 });
  });
});

describe("a stream that is no response yet", () => {
  const flowing = async (envelope: EnvelopeContext, rate: MeterRate) => {
    const metered = await envelope.meter(streamOf("data: 1\n\n", "data: 2\n\n", "data: 3\n\n"), {
      ...rate,
      contentType: "text/event-stream",
    });
    return metered.outcome === "metering"
      ? { metered, response: new Response(metered.body, { headers: SSE }) }
      : { metered, response: metered.response };
  };

  it("is metered, and its end can be waited for; or it is refused with the response that says why", async () => {
    const ends: MeterResult[] = [];
    const site = new MeteredSite(async (_request, _env, ctx) => {
      const { metered, response } = await flowing(ctx.envelope, { perMessage: "1" });
      if (metered.outcome === "metering") ctx.waitUntil(metered.ended.then((end) => void ends.push(end)));
      return response;
    });
    const [rich, poor] = [await site.payer(2), await site.site.newcomer()];
    expect((await site.read(rich)).text.match(/^data: [0-9]/gm)).toHaveLength(2);
    expect(ends).toMatchObject([{ cause: "exhausted", price: "2" }]);
    await poor.envelope.grant({ micros: 1 }, { key: "start" });
    const refused = await site.fetch(poor);
    expect(refused.response.status).toBe(402);
    expect(await refused.response.json<Problem>()).toMatchObject({ limit: "balance", price: "1" });
  });
});

describe("the answer of a language model", () => {
  const cut = (body: string, cuts: readonly number[]) => {
    const bytes = encoder.encode(body);
    const at = [0, ...cuts.map((one) => one % bytes.length).sort((one, other) => one - other), bytes.length];
    return streamOf(...at.slice(1).map((to, index) => bytes.slice(at[index], to)));
  };
  const CASES = [
    ["chat completions", chatStream, 11 * 3 + 8 * 0.3 + 9 * 15],
    ["responses", responsesStream, 30 * 3 + 6 * 0.3 + 12 * 15],
    ["messages", anthropicStream, 25 * 3 + 4 * 0.3 + 2 * 3.75 + 15 * 15],
  ] as const;

  for (const [name, stream, micros] of CASES) {
    it(`${name}: is paid by what the model says it used, rounded once, up, however its bytes arrive`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.nat(5_000), { maxLength: 25 }),
          fc.constantFrom("\n", "\r\n"),
          async (cuts, ending) => {
            const ends: MeterResult[] = [];
            const body = stream().replaceAll("\n", ending);
            const site = new MeteredSite(
              metering(
                () => new Response(cut(body, cuts), { headers: SSE }),
                () => ({ tokens, onEnd: (end) => void ends.push(end) }),
              ),
            );
            const caller = await site.payer(100);
            const { text } = await site.read(caller);
            expect(text.startsWith(body)).toBe(true);
            expect(ends).toMatchObject([
              { cause: "complete", tokens: { told: true }, price_micros: Math.ceil(micros), missing_micros: 0 },
            ]);
            await expectPaid(caller, { paid_micros: Math.ceil(micros) });
          },
        ),
        { numRuns: 8 },
      );
    });
  }

  it("without usage is paid by an estimate, which is told to be one", async () => {
    const ends: MeterResult[] = [];
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf(chatStream(["word "], null)), { headers: SSE }),
        () => ({ tokens: { ...tokens, expectedInput: 7 }, onEnd: (end) => void ends.push(end) }),
      ),
    );
    const caller = await site.payer(100);
    await site.read(caller);
    expect(ends).toMatchObject([{ tokens: { told: false, input: 7, output: 2 }, price_micros: 7 * 3 + 2 * 15 }]);
  });

  it("malformed usage is no usage", async () => {
    for (const usage of [
      { prompt_tokens: -5, completion_tokens: 1 },
      { prompt_tokens: 1, completion_tokens: 1e300 },
      "many",
      { total_tokens: 9 },
    ]) {
      const site = new MeteredSite(
        metering(
          () => new Response(streamOf(chatStream(["word "], usage)), { headers: SSE }),
          () => ({ tokens }),
        ),
      );
      const caller = await site.payer(100);
      await site.read(caller);
      await expectPaid(caller, { paid_micros: 2 * 15 });
    }
  });

  it("is cut when the money ends, and never lets through more than is paid", async () => {
    const words = Array.from({ length: 200 }, (_, n) => `word ${n} `);
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf(...chatStream(words).match(/.*\n\n/g)!), { headers: SSE }),
        () => ({ tokens }),
      ),
    );
    const caller = await site.site.newcomer();
    await caller.envelope.grant({ micros: 1_000 }, { key: "start" });
    const { text } = await site.read(caller);
    expect(text).toContain("event: error");
    expect(text).not.toContain("[DONE]");
    const let_through = [...text.matchAll(/"content":"(word [0-9]+ )"/g)].map(
      ([, word = ""]) => Math.ceil(word.length / 3) * 15,
    );
    const paid = let_through.reduce((sum, one) => sum + one, 0);
    expect(paid).toBeLessThanOrEqual(1_000);
    expect(paid).toBeGreaterThan(1_000 - 60);
    await expectPaid(caller, { paid_micros: paid });
  });

  it("museum: LiteLLM 27509, 38647 holds little while nothing is known, also many times at once", async () => {
    const taps = Array.from({ length: 10 }, () => new Tap());
    let next = 0;
    const site = new MeteredSite(
      metering(
        () => new Response(taps[next++]!.stream, { headers: SSE }),
        () => ({ tokens }),
      ),
    );
    const caller = await site.payer(100);
    const all = await Promise.all(taps.map(() => site.fetch(caller)));
    const { held_micros, balance_micros } = await caller.envelope.state();
    expect(held_micros).toBe(10 * 256 * 15);
    expect(held_micros).toBeLessThan(balance_micros / 20);
    for (const tap of taps) tap.write(chatStream()).close();
    for (const { response, over } of all) {
      await readAll(response);
      await over();
    }
    await expectPaid(caller, { paid_micros: 10 * 171 });
  });

  it("what it used beyond the estimate is taken as far as it is there, and the owner is told of the rest", async () => {
    const usage = { prompt_tokens: 1_000, completion_tokens: 9 };
    const site = new MeteredSite(
      metering(
        () => new Response(streamOf(chatStream(["a"], usage)), { headers: SSE }),
        () => ({ tokens }),
      ),
    );
    const caller = await site.site.newcomer();
    await caller.envelope.grant({ micros: 500 }, { key: "start" });
    const { text } = await site.read(caller);
    expect(text).toContain("[DONE]");
    await expectPaid(caller, { paid_micros: 500 });
    expect(site.incidents).toEqual([
      { kind: "unpaid", path: "/", envelope_id: caller.id, missing_micros: 3_000 + 135 - 500 },
    ]);
  });

  it("a whole answer is charged before it leaves, or refused in its place", async () => {
    const ends: MeterResult[] = [];
    const answer = () =>
      Response.json(
        { choices: [{ message: { content: "Hello" } }], usage: CHAT_USAGE },
        { headers: { "X-Model": "m" } },
      );
    const site = new MeteredSite(
      metering(answer, () => ({ tokens, base: "1", reason: "chat", onEnd: (end) => void ends.push(end) })),
    );
    const [rich, poor] = [await site.payer(100), await site.payer(1)];
    const seen = await site.read(rich);
    expect(JSON.parse(seen.text)).toMatchObject({ usage: CHAT_USAGE });
    const price = CENT + 33 + 3 + 135;
    expect([seen.headers.get("X-Balance"), seen.headers.get("X-Model"), seen.headers.get("X-Price")]).toEqual([
      String((100 * CENT - price) / CENT),
      "m",
      null,
    ]);
    await expectPaid(rich, { paid_micros: price });
    expect(ends).toMatchObject([
      { cause: "complete", price_micros: price, tokens: { told: true, input: 11, cached: 8, output: 9 } },
    ]);
    const refused = await site.read(poor);
    expect([refused.status, refused.text.includes("Hello")]).toEqual([402, false]);
    await expectPaid(poor, { paid_micros: 0 });
    expect(await holdsOf(rich.id)).toEqual([]);
  });
});
