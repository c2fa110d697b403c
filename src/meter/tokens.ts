/**
 * What an answer of a language model costs, by its tokens. Pure. While text flows its tokens are estimated; where the model says
 * what it used (`usage`, in the shapes of OpenAI's chat completions and responses, and of Anthropic's messages), that counts instead.
 *
 * - Chat completions: one chunk with `usage` at the end, when the request has `stream_options.include_usage`; cached tokens are among the prompt's.
 * - Responses: `usage` in the event that ends the response; cached tokens are among the input's.
 * - Messages: input in `message_start`, output (so far) in `message_delta`; tokens read from and written to the cache are told apart from the input's.
 */
import { type Currency, type Micros, type Price, parsePrice, toMicros } from "../money.js";

/** What a million tokens cost, in minor units. */
export interface TokenPrices {
  readonly input: Price;
  readonly output: Price;
  /** Read from the provider's cache. Default: as `input`. */
  readonly cachedInput?: Price | undefined;
  /** Written to the provider's cache. Default: as `input`. */
  readonly cacheWrite?: Price | undefined;
}

export interface Tokens {
  /** Neither read from a cache nor written to one. */
  readonly input: number;
  readonly cached: number;
  readonly written: number;
  readonly output: number;
}

/** The same, in micros for a million tokens. */
export type ResolvedTokenPrices = { readonly [Kind in keyof Tokens]: Micros };

/** `undefined` where one of them is outside the grammar of prices. */
export function resolveTokenPrices(prices: TokenPrices, currency: Currency): ResolvedTokenPrices | undefined {
  const { input, output, cachedInput = input, cacheWrite = input } = prices;
  const parsed = [input, cachedInput, cacheWrite, output].map((price) => parsePrice(price, currency));
  const [one, cached, written, other] = parsed;
  if (one === undefined || cached === undefined || written === undefined || other === undefined) return undefined;
  return { input: one, cached, written, output: other };
}

const MILLION = 1_000_000n;
const KINDS = ["input", "cached", "written", "output"] as const satisfies readonly (keyof Tokens)[];

/** Exact, and rounded once, up. Never more than 2^53−1 micros. */
export function costOfTokens(tokens: Tokens, prices: ResolvedTokenPrices): Micros {
  let millionths = 0n;
  for (const kind of KINDS) millionths += BigInt(tokens[kind]) * BigInt(prices[kind]);
  const micros = (millionths + MILLION - 1n) / MILLION;
  return toMicros(Number(micros)) ?? (Number.MAX_SAFE_INTEGER as Micros);
}

/** What a model says of its use in one place. What it does not say there is absent. */
interface Told {
  readonly tokens: Partial<Tokens>;
  /** Nothing more will be used: not the count so far. */
  readonly final: boolean;
}

type Json = { readonly [name: string]: unknown };

/** The usage in an event, or in a whole answer; `undefined` where there is none, or none that makes sense. */
export function readUsage(value: unknown): Told | undefined {
  const event = asObject(value);
  const type = event?.["type"];
  const inside = asObject(event?.["response"]) ?? asObject(event?.["message"]) ?? event;
  const usage = asObject(inside?.["usage"]) ?? asObject(event?.["usage"]);
  if (usage === undefined) return undefined;
  const tokens = "prompt_tokens" in usage || "completion_tokens" in usage ? chatTokens(usage) : messageTokens(usage);
  // What a message began with says nothing of how it ends.
  return tokens && { tokens, final: type !== "message_start" };
}

function chatTokens(usage: Json): Partial<Tokens> | undefined {
  return withCachedAmong(
    countOf(usage["prompt_tokens"]),
    countOf(asObject(usage["prompt_tokens_details"])?.["cached_tokens"] ?? 0),
    countOf(usage["completion_tokens"]),
  );
}

function messageTokens(usage: Json): Partial<Tokens> | undefined {
  const output = countOf(usage["output_tokens"]);
  const details = asObject(usage["input_tokens_details"]);
  if (details !== undefined) {
    return withCachedAmong(countOf(usage["input_tokens"]), countOf(details["cached_tokens"] ?? 0), output);
  }
  const tokens: Partial<Record<keyof Tokens, number>> = {};
  const told = {
    input: countOf(usage["input_tokens"]),
    cached: countOf(usage["cache_read_input_tokens"]),
    written: countOf(usage["cache_creation_input_tokens"]),
    output,
  };
  for (const kind of KINDS) if (told[kind] !== undefined) tokens[kind] = told[kind];
  return output === undefined && tokens.input === undefined ? undefined : tokens;
}

function withCachedAmong(
  all: number | undefined,
  cached: number | undefined,
  output: number | undefined,
): Partial<Tokens> | undefined {
  if (all === undefined || cached === undefined || output === undefined || cached > all) return undefined;
  return { input: all - cached, cached, written: 0, output };
}

/** More tokens than any answer has: such a number is a fault. */
const TOKENS_MAX = 1_000_000_000;

function countOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= TOKENS_MAX ? value : undefined;
}

function asObject(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

/** A token is about four letters of English; a third of the bytes is rather too much than too little, and holds for other scripts. */
const BYTES_PER_TOKEN = 3;

/** The names under which text, or what stands for it, is told in events of either kind. */
const TEXTS = new Set([
  "content",
  "text",
  "delta",
  "arguments",
  "partial_json",
  "thinking",
  "reasoning",
  "reasoning_content",
  "refusal",
  "partial_image_b64",
]);

/** How many tokens the text in an event or answer may be: at least one where there is some. */
export function estimateTokens(event: unknown): number {
  const bytes = repeatsText(event) ? 0 : textBytes(event, 0);
  return Math.ceil(bytes / BYTES_PER_TOKEN);
}

/** Of the events of a response, only deltas bring text; the others tell it again. */
function repeatsText(event: unknown): boolean {
  const type = asObject(event)?.["type"];
  return typeof type === "string" && type.startsWith("response.") && !type.endsWith(".delta");
}

const DONE = "[DONE]";
const DEPTH_MAX = 8;

function textBytes(value: unknown, depth: number): number {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) return 0;
  let bytes = 0;
  for (const [name, inside] of Object.entries(value)) {
    if (typeof inside === "string") bytes += TEXTS.has(name) ? utf8Length(inside) : 0;
    else bytes += textBytes(inside, depth + 1);
  }
  return bytes;
}

function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // A surrogate is half of a character of four bytes.
    if (code > 0x7f) bytes += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/** Follows one answer. */
export class TokenCount {
  #input: number;
  #cached = 0;
  #written = 0;
  #told = 0;
  #estimated = 0;
  #final = false;

  /** `input`: what the app knows of it beforehand; the model's own word takes its place. */
  constructor(input = 0) {
    this.#input = input;
  }

  /** What one event says; true where it brings text. One that is no JSON, as `[DONE]`, says nothing. */
  read(data: string): boolean {
    if (!/^\s*[{[]/.test(data) || data === DONE) return false;
    try {
      return this.add(JSON.parse(data));
    } catch {
      // Not JSON after all: nothing is known of it but that it was there.
      this.#estimated += Math.ceil(utf8Length(data) / BYTES_PER_TOKEN);
      this.#final = false;
      return true;
    }
  }

  add(event: unknown): boolean {
    const told = readUsage(event);
    const text = estimateTokens(event);
    this.#estimated += text;
    if (told === undefined) {
      // What was told before this text was not the last word.
      if (text > 0) this.#final = false;
      return text > 0;
    }
    const { input, cached, written, output } = told.tokens;
    this.#input = input ?? this.#input;
    this.#cached = cached ?? this.#cached;
    this.#written = written ?? this.#written;
    this.#told = Math.max(this.#told, output ?? 0);
    this.#final = told.final && output !== undefined;
    return text > 0;
  }

  get tokens(): Tokens {
    const output = this.#final ? this.#told : Math.max(this.#told, this.#estimated);
    return { input: this.#input, cached: this.#cached, written: this.#written, output };
  }

  /** The model said what it used. */
  get isTold(): boolean {
    return this.#final;
  }
}
