/** What a caller or an app may name a charge by. */
import { REASON_MAX, TAG_MAX } from "./contract.js";

const KEY = /^[\x21-\x7e]{1,255}$/;

/** Whether a value may be an idempotency key: 1 to 255 visible ASCII characters. */
export function isKey(key: unknown): key is string {
  return typeof key === "string" && KEY.test(key);
}

export function isTag(tag: unknown): tag is string | undefined {
  return tag === undefined || (typeof tag === "string" && tag !== "" && tag.length <= TAG_MAX);
}

export function isReason(reason: unknown): reason is string | undefined {
  return reason === undefined || (typeof reason === "string" && reason.length <= REASON_MAX);
}
