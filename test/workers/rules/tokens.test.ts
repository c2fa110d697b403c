import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataOf, partsOf } from "../../../src/meter/parts.js";
import {
  costOfTokens,
  estimateTokens,
  readUsage,
  resolveTokenPrices,
  TokenCount,
  type Tokens,
} from "../../../src/meter/tokens.js";
import { type Currency, currencyOf } from "../../../src/money.js";
import { anthropicStream, chatStream, responsesStream } from "../meter/llm-fixtures.js";

const usd = currencyOf("usd") as Currency;
const PRICES = resolveTokenPrices({ input: "300", cachedInput: "30", cacheWrite: "375", output: "1500" }, usd)!;
const tokens = (over: Partial<Tokens>): Tokens => ({ input: 0, cached: 0, written: 0, output: 0, ...over });

describe("what tokens cost", () => {
  it.each([
    ["a million in: three dollars", { input: 1_000_000 }, 3_000_000],
    ["one in: three micros", { input: 1 }, 3],
    ["one out: fifteen", { output: 1 }, 15],
    ["cached", { cached: 10 }, 3],
    ["cached, rounded up once", { cached: 1 }, 1],
    ["written to the cache", { written: 4 }, 15],
    ["all, rounded up once and not each", { input: 1, cached: 1, written: 1, output: 1 }, 23],
    ["nothing", {}, 0],
  ])("%s", (_name, used, micros) => {
    expect(costOfTokens(tokens(used), PRICES)).toBe(micros);
  });

  it("is exact, and never less than exact", () => {
    const count = fc.nat(1_000_000_000);
    fc.assert(
      fc.property(count, count, count, count, (input, cached, written, output) => {
        const exact =
          BigInt(input) * 3_000_000n +
          BigInt(cached) * 300_000n +
          BigInt(written) * 3_750_000n +
          BigInt(output) * 15_000_000n;
        const micros = BigInt(costOfTokens({ input, cached, written, output }, PRICES)) * 1_000_000n;
        expect(micros >= exact && micros - exact < 1_000_000n).toBe(true);
      }),
    );
  });

  it("stays a safe integer", () => {
    const dear = resolveTokenPrices({ input: "900000000000", output: "900000000000" }, usd)!;
    expect(costOfTokens(tokens({ input: 1_000_000_000, output: 1_000_000_000 }), dear)).toBe(Number.MAX_SAFE_INTEGER);
  });

  it("T3 T5 is not computed from prices outside the grammar (museum: elizaOS 22681)", () => {
    for (const price of ["-1", -1, "1e3", "", Number.NaN, "0.00001", null]) {
      expect(resolveTokenPrices({ input: price as string, output: "1" }, usd)).toBeUndefined();
      expect(resolveTokenPrices({ input: "1", output: price as string }, usd)).toBeUndefined();
    }
    expect(resolveTokenPrices({ input: "1", output: "2" }, usd)).toMatchObject({ cached: 10_000, written: 10_000 });
  });
});

describe("usage, where a model says it", () => {
  it.each([
    [
      "a chat completion",
      { object: "chat.completion", usage: { prompt_tokens: 20, completion_tokens: 5, total_tokens: 25 } },
      { input: 20, cached: 0, written: 0, output: 5 },
    ],
    [
      "cached tokens among the prompt's",
      { usage: { prompt_tokens: 20, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 16 } } },
      { input: 4, cached: 16, written: 0, output: 5 },
    ],
    [
      "a response",
      { object: "response", usage: { input_tokens: 9, output_tokens: 4, input_tokens_details: { cached_tokens: 8 } } },
      { input: 1, cached: 8, written: 0, output: 4 },
    ],
    [
      "a message, its cache told apart",
      {
        type: "message",
        usage: { input_tokens: 3, output_tokens: 7, cache_read_input_tokens: 5, cache_creation_input_tokens: 2 },
      },
      { input: 3, cached: 5, written: 2, output: 7 },
    ],
    [
      "the end of a stream of messages",
      { type: "message_delta", delta: {}, usage: { output_tokens: 15 } },
      { output: 15 },
    ],
    [
      "the end of a stream of a response",
      {
        type: "response.completed",
        response: { usage: { input_tokens: 1, output_tokens: 2, input_tokens_details: {} } },
      },
      { input: 1, cached: 0, written: 0, output: 2 },
    ],
  ])("%s", (_name, value, expected) => {
    expect(readUsage(value)).toEqual({ tokens: expected, final: true });
  });

  it("a message that begins has said only what went in", () => {
    const event = { type: "message_start", message: { usage: { input_tokens: 25, output_tokens: 1 } } };
    expect(readUsage(event)).toEqual({ tokens: { input: 25, output: 1 }, final: false });
  });

  it.each([
    ["null", null],
    ["no usage", { choices: [] }],
    ["usage that is null", { usage: null }],
    ["usage that is a number", { usage: 7 }],
    ["usage that is empty", { usage: {} }],
    ["a negative count", { usage: { prompt_tokens: -1, completion_tokens: 5 } }],
    ["half a token", { usage: { prompt_tokens: 1.5, completion_tokens: 5 } }],
    ["a text", { usage: { prompt_tokens: "20", completion_tokens: 5 } }],
    ["more than there can be", { usage: { prompt_tokens: 1e300, completion_tokens: 5 } }],
    [
      "more cached than there were",
      { usage: { prompt_tokens: 1, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 2 } } },
    ],
    ["only half of it", { usage: { prompt_tokens: 20 } }],
  ])("%s is no usage", (_name, value) => {
    expect(readUsage(value)).toBeUndefined();
  });
});

/** What a count says of a stream that arrives cut at these places. */
function follow(body: string, cuts: readonly number[] = [], expectedInput = 0): TokenCount {
  const bytes = new TextEncoder().encode(body);
  const count = new TokenCount(expectedInput);
  const parts = partsOf("events");
  const at = [0, ...[...cuts].map((cut) => cut % bytes.length).sort((one, other) => one - other), bytes.length];
  const chunks = at.slice(1).map((to, index) => bytes.subarray(at[index], to));
  for (const part of [...chunks.flatMap((chunk) => parts.push(chunk)), ...parts.end()]) {
    if (part.message) count.read(dataOf(part.bytes));
  }
  return count;
}

describe("a stream that is followed", () => {
  const STREAMS = [
    ["chat completions", chatStream, { input: 11, cached: 8, written: 0, output: 9 }],
    ["responses", responsesStream, { input: 30, cached: 6, written: 0, output: 12 }],
    ["messages", anthropicStream, { input: 25, cached: 4, written: 2, output: 15 }],
  ] as const;

  for (const [name, stream, expected] of STREAMS) {
    it(`${name}: what the model says counts, however its bytes arrive`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.nat(10_000), { maxLength: 40 }),
          fc.constantFrom("\n", "\r\n", "\r"),
          (cuts, ending) => {
            const count = follow(stream().replaceAll("\n", ending), cuts);
            expect(count.tokens).toEqual(expected);
            expect(count.isTold).toBe(true);
          },
        ),
        { numRuns: 200 },
      );
    });

    it(`${name}: broken off, it is estimated by its text, and never at nothing`, () => {
      const events = stream().split("\n\n");
      const count = follow(`${events.slice(0, events.length - 4).join("\n\n")}\n\n`);
      expect(count.isTold).toBe(false);
      expect(count.tokens.output).toBeGreaterThanOrEqual(5);
      expect(count.tokens.output).toBeLessThanOrEqual(40);
    });
  }

  it("text after a usage takes its last word away; usage with every chunk is the last word each time", () => {
    const chunk = (text: string, usage: unknown) =>
      `data: ${JSON.stringify({ choices: [{ delta: { content: text } }], usage })}\n\n`;
    const zero = { prompt_tokens: 0, completion_tokens: 0 };
    const early = follow(chunk("", zero) + chunk("some words that cost something", null));
    expect(early.isTold).toBe(false);
    expect(early.tokens.output).toBe(10);
    const each = [1, 2, 3].map((n) => chunk("word", { prompt_tokens: 4, completion_tokens: n })).join("");
    expect(follow(each).tokens).toEqual({ input: 4, cached: 0, written: 0, output: 3 });
  });

  it("what is no JSON counts by its length, and [DONE] not at all", () => {
    expect(follow("data: {broken\n\n").tokens.output).toBe(3);
    expect(follow("data: [DONE]\n\ndata: hello\n\n").tokens.output).toBe(0);
  });

  it("what the app expects of the input counts until the model says it", () => {
    expect(follow("data: {}\n\n", [], 500).tokens.input).toBe(500);
    expect(follow(chatStream(), [], 500).tokens.input).toBe(11);
  });
});

describe("an estimate", () => {
  it("is a third of the text's bytes, rounded up, of every kind of text", () => {
    expect(estimateTokens({ choices: [{ delta: { content: "a" } }] })).toBe(1);
    expect(estimateTokens({ choices: [{ delta: { content: "abcdefg" } }] })).toBe(3);
    expect(estimateTokens({ delta: { type: "text_delta", text: "あいう" } })).toBe(3);
    expect(estimateTokens({ delta: { type: "input_json_delta", partial_json: '{"a"' } })).toBe(2);
    expect(estimateTokens({ choices: [{ delta: { tool_calls: [{ function: { arguments: "{}" } }] } }] })).toBe(1);
    expect(estimateTokens({ type: "response.output_text.delta", delta: "abc" })).toBe(1);
    expect(estimateTokens({ type: "response.output_text.done", text: "abc" })).toBe(0);
    expect(estimateTokens({ id: "chatcmpl-1", model: "a-long-name" })).toBe(0);
  });

  it("counts bytes as UTF-8 has them", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 50 }), (text) => {
        const bytes = new TextEncoder().encode(text).length;
        expect(estimateTokens({ content: text })).toBe(Math.ceil(bytes / 3));
      }),
    );
  });
});
