/** What an `Idempotency-Key` was used for, as one text. Loaded where a key is sent. */
import { sha256 } from "@noble/hashes/sha2.js";
import { base62, digest, randomBase62 } from "./secrets.js";

/** How long a body may be to be compared: it is held in memory until the handler has read it too. */
const BODY_COMPARED_BYTES_MAX = 1_048_576;
/** How long a body may take to arrive to be compared: an answer does not wait for a slow upload. */
const BODY_COMPARED_MS_MAX = 5_000;

/** `undefined` when the body is too long, too slow, or breaks off. */
async function digestWithin(body: ReadableStream<Uint8Array>): Promise<string | undefined> {
  let timer: number | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, BODY_COMPARED_MS_MAX);
  });
  const read = digestOf(body, BODY_COMPARED_BYTES_MAX).catch(() => undefined);
  return Promise.race([read, late]).finally(() => clearTimeout(timer));
}

export async function fingerprint(
  request: Request,
  url: URL,
  body: ReadableStream<Uint8Array> | null,
): Promise<string> {
  const { method, headers } = request;
  const content = body === null ? "" : ((await digestWithin(body)) ?? randomBase62(22));
  const parts = [method, url.pathname, url.search, headers.get("Range"), headers.get("Content-Type"), content];
  return digest(JSON.stringify(parts), 12);
}

/** SHA-256 of a stream, in base62; `undefined` when it is longer than `bytes_max`, and then the rest is cancelled. */
async function digestOf(stream: ReadableStream<Uint8Array>, bytes_max: number): Promise<string | undefined> {
  const hash = sha256.create();
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.byteLength;
    if (length > bytes_max) return undefined;
    hash.update(chunk);
  }
  return base62(hash.digest().subarray(0, 16));
}
