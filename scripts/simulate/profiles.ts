/** Who charges how often. Made up, so that each of them strains something else; say how yours differs before using a figure. */
import type { Pattern } from "./arrivals.ts";

/** Envelopes that behave alike. */
export interface Class {
  readonly name: string;
  /** How many of `envelopes` they are; may be a fraction of one, which then stands for an average over many deployments. */
  readonly envelopes: (envelopes: number) => number;
  readonly charges_per_month: number;
  readonly pattern: Pattern;
}

export interface Profile {
  readonly name: string;
  readonly what: string;
  readonly classes: readonly Class[];
}

export const MONTH_S = 30 * 24 * 3_600;

const IN_BURSTS: Pattern = { kind: "bursts", charges_per_burst: 10, apart_ms: 500 };
const HOT_PER_SECOND = 300;

const tail = (of: (envelopes: number) => number): readonly Class[] => [
  { name: "idle", envelopes: (all) => 0.9 * of(all), charges_per_month: 0, pattern: IN_BURSTS },
  { name: "occasional", envelopes: (all) => 0.09 * of(all), charges_per_month: 30, pattern: IN_BURSTS },
  { name: "regular", envelopes: (all) => 0.01 * of(all), charges_per_month: 3_000, pattern: IN_BURSTS },
];

export const PROFILES: readonly Profile[] = [
  {
    name: "long tail",
    what: "90 % idle all month, 9 % with 30 charges and 1 % with 3,000, in bursts of 10 on average, half a second apart",
    classes: tail((all) => all),
  },
  {
    name: "steady",
    what: "every envelope 1,000 charges a day, each on its own (Poisson)",
    classes: [{ name: "steady", envelopes: (all) => all, charges_per_month: 30_000, pattern: { kind: "poisson" } }],
  },
  {
    name: "hot tenant",
    what: `one envelope at ${HOT_PER_SECOND} charges a second day and night (Poisson), all others as in the long tail`,
    classes: [
      {
        name: "hot",
        envelopes: () => 1,
        charges_per_month: HOT_PER_SECOND * MONTH_S,
        pattern: { kind: "poisson" },
      },
      ...tail((all) => all - 1),
    ],
  },
];
