/** Streams as language models send them: their shapes, with texts of our own. */

const events = (...data: readonly (readonly [name: string | null, data: unknown])[]): string =>
  data
    .map(
      ([name, one]) =>
        `${name === null ? "" : `event: ${name}\n`}data: ${typeof one === "string" ? one : JSON.stringify(one)}\n\n`,
    )
    .join("");

const WORDS = ["The ", "cent ", "is ", "in ", "the ", "größte ", "財布 ", "🎈", "."] as const;

/** OpenAI's chat completions with `stream_options: { include_usage: true }`: 19 tokens in, of which 8 were cached, 9 out. */
export function chatStream(words: readonly string[] = WORDS, usage: unknown = CHAT_USAGE): string {
  const chunk = (choices: unknown, used: unknown = null) => ({
    id: "chatcmpl-7",
    object: "chat.completion.chunk",
    created: 1_790_000_000,
    model: "a-model",
    choices,
    usage: used,
  });
  return (
    events(
      [null, chunk([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }])],
      ...words.map((content) => [null, chunk([{ index: 0, delta: { content }, finish_reason: null }])] as const),
      [null, chunk([{ index: 0, delta: {}, finish_reason: "stop" }])],
    ) + events(...(usage === null ? [] : [[null, chunk([], usage)] as const]), [null, "[DONE]"])
  );
}

export const CHAT_USAGE = {
  prompt_tokens: 19,
  completion_tokens: 9,
  total_tokens: 28,
  prompt_tokens_details: { cached_tokens: 8, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 0 },
};

/** OpenAI's responses: 36 tokens in, of which 6 were cached, 12 out. */
export function responsesStream(words: readonly string[] = WORDS): string {
  const text = words.join("");
  const response = { id: "resp_7", object: "response", status: "in_progress", output: [], usage: null };
  const item = { type: "message", id: "msg_7", role: "assistant", content: [{ type: "output_text", text }] };
  const usage = {
    input_tokens: 36,
    input_tokens_details: { cached_tokens: 6 },
    output_tokens: 12,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 48,
  };
  return events(
    ["response.created", { type: "response.created", response }],
    [
      "response.output_item.added",
      { type: "response.output_item.added", output_index: 0, item: { ...item, content: [] } },
    ],
    ...words.map(
      (delta) =>
        ["response.output_text.delta", { type: "response.output_text.delta", item_id: "msg_7", delta }] as const,
    ),
    ["response.output_text.done", { type: "response.output_text.done", item_id: "msg_7", text }],
    ["response.content_part.done", { type: "response.content_part.done", part: { type: "output_text", text } }],
    ["response.output_item.done", { type: "response.output_item.done", item }],
    [
      "response.completed",
      { type: "response.completed", response: { ...response, status: "completed", output: [item], usage } },
    ],
  );
}

/** Anthropic's messages: 25 tokens in, 4 read from the cache, 2 written to it, 15 out. */
export function anthropicStream(words: readonly string[] = WORDS): string {
  const usage = { input_tokens: 25, cache_creation_input_tokens: 2, cache_read_input_tokens: 4, output_tokens: 1 };
  const message = { id: "msg_7", type: "message", role: "assistant", content: [], model: "a-model", usage };
  return events(
    ["message_start", { type: "message_start", message }],
    ["content_block_start", { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }],
    ["ping", { type: "ping" }],
    ...words.map(
      (text) =>
        [
          "content_block_delta",
          { type: "content_block_delta", index: 0, delta: { type: "text_delta", text } },
        ] as const,
    ),
    ["content_block_stop", { type: "content_block_stop", index: 0 }],
    ["message_delta", { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 15 } }],
    ["message_stop", { type: "message_stop" }],
  );
}
