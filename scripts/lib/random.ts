/** Random choices that a seed repeats. Each purpose has a stream of its own, so that one's timing never shifts another's choices. */
import { createHash } from "node:crypto";

export interface Choices {
  /** From 0 up to, not including, 1. */
  fraction(): number;
  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number;
  /** True in that share of cases. */
  chance(share: number): boolean;
}

export function choicesOf(...purpose: readonly (string | number)[]): Choices {
  const digest = createHash("sha256").update(JSON.stringify(purpose)).digest();
  const fraction = smallFastCounting(digest);
  return {
    fraction,
    between: (least, most) => least + Math.floor(fraction() * (most - least + 1)),
    chance: (share) => fraction() < share,
  };
}

/** sfc32 of PractRand: 128 bits of state, passes its tests, ten lines. */
function smallFastCounting(seed: Buffer): () => number {
  let a = seed.readUInt32LE(0);
  let b = seed.readUInt32LE(4);
  let c = seed.readUInt32LE(8);
  let counter = seed.readUInt32LE(12);
  return () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
}
