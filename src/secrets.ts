/**
 * Secrets: random identifiers, derived keys, keyed checks. Synchronous, so that a request which needs none of it pays
 * for none of it. Nothing here reads the environment or keeps a secret longer than a derived key.
 */
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** The largest multiple of 62 that fits in a byte: larger bytes are drawn again, so that every character is equally likely. */
const UNBIASED_BYTES = 248;

const encoder = new TextEncoder();

/** `length` characters of base62, each drawn uniformly (5.95 bits). */
export function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length + 8))) {
      if (byte < UNBIASED_BYTES && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}

let isolate: string | undefined;
let operations = 0;

/**
 * Names one attempt to write: unique, and no secret. Drawn once per isolate and counted from there, because each charge has one
 * and randomness costs more than the rest of a request.
 */
export function newOperation(): string {
  isolate ??= randomBase62(14);
  operations += 1;
  return `${isolate}-${operations.toString(36)}`;
}

/** Writes bytes as base62, big-endian, padded to the width that any value of that many bytes needs. */
export function base62(bytes: Uint8Array): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return base62Number(value, Math.ceil((bytes.length * 8) / Math.log2(62)));
}

export function base62Number(value: number | bigint, width: number): string {
  let rest = BigInt(value);
  let text = "";
  for (; rest > 0n; rest /= 62n) text = BASE62.charAt(Number(rest % 62n)) + text;
  return text.padStart(width, "0");
}

/** Inverse of `base62Number` for values up to 2^53−1. The text must be base62. */
export function numberFromBase62(text: string): number {
  let value = 0;
  for (const char of text) value = value * 62 + BASE62.indexOf(char);
  return value;
}

/**
 * One key per purpose, so that no keyed check can stand in for another: HKDF-SHA-256 (RFC 5869) without salt. What is derived is as
 * long as the hash, which is one block.
 */
export function deriveKey(secret: string, purpose: string): Uint8Array {
  const extracted = hmac(sha256, new Uint8Array(32), encoder.encode(secret));
  return hmac(sha256, extracted, encoder.encode(`with-envelope/${purpose}/v1\x01`));
}

/** HMAC-SHA-256 of `text`, cut to `bytes` and written in base62. */
export function keyedCheck(key: Uint8Array, text: string, bytes: number): string {
  return base62(hmac(sha256, key, encoder.encode(text)).subarray(0, bytes));
}

/** SHA-256 of `text`, cut to `bytes` and written in base62. */
export function digest(text: string, bytes = 16): string {
  return base62(sha256(encoder.encode(text)).subarray(0, bytes));
}

/** Compares without leaking where two texts differ. Both are fixed-length in every use, so the length is no secret. */
export function equalConstantTime(left: string, right: string): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= left.charCodeAt(i) ^ right.charCodeAt(i);
  return difference === 0;
}
