/** Calls to an object, tried again where that is safe. Safe means: the call names its operation, so the object finds what an earlier attempt wrote. */

import { ConfigurationError } from "./settings.js";

const ATTEMPTS_MAX = 3;
const PAUSE_FIRST_MS = 20;

/** The envelope could not be asked. Whether an earlier attempt was written is unknown; the same operation may be sent again. */
export class EnvelopeUnreachableError extends Error {
  override readonly name = "EnvelopeUnreachableError";
}

/**
 * `call` must take a new stub on each attempt, because a stub stays broken after its object resets. An overloaded object is
 * not tried again (https://developers.cloudflare.com/durable-objects/best-practices/error-handling/).
 */
export async function attempt<T>(call: (retry: boolean) => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await call(tried > 1);
    } catch (cause) {
      if (cause instanceof ConfigurationError) throw cause;
      if (tried >= ATTEMPTS_MAX || !isPassing(cause)) {
        throw new EnvelopeUnreachableError("The envelope could not be reached", { cause });
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_FIRST_MS * 4 ** (tried - 1) * (0.5 + Math.random())));
    }
  }
}

function isPassing(error: unknown): boolean {
  const { retryable, overloaded, durableObjectReset } = (error ?? {}) as Record<string, unknown>;
  return overloaded !== true && (retryable === true || durableObjectReset === true);
}
