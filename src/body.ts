/** Bodies that are read whole: up to a cap, because anybody may have sent them. */

/** `undefined` when it is longer; then the rest is cancelled. */
export async function readCapped(
  { headers, body }: Request | Response,
  bytes_max: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (Number(headers.get("Content-Length") ?? 0) > bytes_max) return undefined;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.byteLength;
    // Leaving the loop cancels the rest of the body, however long it would have been.
    if (length > bytes_max) return undefined;
    chunks.push(chunk);
  }
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}

/** `undefined` when it is longer; an empty form for what is none. */
export async function readForm(request: Request, bytes_max: number): Promise<FormData | undefined> {
  const bytes = await readCapped(request, bytes_max);
  if (bytes === undefined) return undefined;
  const headers = { "Content-Type": request.headers.get("Content-Type") ?? "" };
  return new Response(bytes, { headers }).formData().catch(() => new FormData());
}
