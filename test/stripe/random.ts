/** Random choices that a seed repeats, in Node and in workerd alike. */

export interface Random {
  /** From 0 up to, not including, 1. */
  fraction(): number;
  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number;
  /** True in that share of cases. */
  chance(share: number): boolean;
  pick<One>(from: readonly One[]): One;
  /** A new array in random order (Fisher-Yates). */
  shuffled<One>(from: readonly One[]): One[];
}

/** Each purpose has a stream of its own, so that one's number of draws never shifts another's choices. */
export function randomOf(...purpose: readonly (string | number)[]): Random {
  const fraction = smallFastCounting(JSON.stringify(purpose));
  const between = (least: number, most: number) => least + Math.floor(fraction() * (most - least + 1));
  return {
    fraction,
    between,
    chance: (share) => fraction() < share,
    pick: (from) => {
      if (from.length === 0) throw new RangeError("Nothing to pick from");
      return from[between(0, from.length - 1)] as (typeof from)[number];
    },
    shuffled: (from) => {
      const order = [...from];
      for (let last = order.length - 1; last > 0; last--) {
        const other = between(0, last);
        [order[last], order[other]] = [order[other] as (typeof from)[number], order[last] as (typeof from)[number]];
      }
      return order;
    },
  };
}

/** sfc32 of PractRand, its state filled by FNV-1a and mixed by the customary twelve turns and a few more. */
function smallFastCounting(seed: string): () => number {
  let a = fnv1a(seed, 0);
  let b = fnv1a(seed, 1);
  let c = fnv1a(seed, 2);
  let counter = 1;
  const next = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let turn = 0; turn < 20; turn++) next();
  return next;
}

function fnv1a(text: string, salt: number): number {
  let hash = 0x811c9dc5 ^ salt;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash | 0;
}
