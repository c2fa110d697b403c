/** What a client knows of its session afterwards, and what it needs to have one. */
import type { Choices } from "../lib/random.ts";

export interface Told {
  readonly path: string;
  readonly envelope: number;
  readonly ending: string;
  readonly price_micros: number;
  /** Units that are known to have been delivered, and as many as there can have been. */
  readonly least: number;
  readonly most: number;
  /** A body came to less than was to come, or than there was money for, although nobody had left. */
  readonly short: boolean;
  /** When it began and ended, by a clock that only goes forward. */
  readonly began_ms: number;
  readonly ended_ms: number;
  readonly refused: number | undefined;
}

export interface Place {
  readonly origin: () => Promise<string>;
  readonly cookie: string;
  readonly id: string;
  readonly reset: () => Promise<unknown>;
}

export interface Drawn {
  readonly choices: Choices;
  readonly path: string;
  readonly envelope: number;
}

/** A unit costs a ten-thousandth to a fiftieth of a cent, so that all sessions of a run fit into one grant. */
const PRICES_MICROS = [1, 7, 50, 200] as const;

export function drawPrice(choices: Choices): number {
  return PRICES_MICROS[choices.between(0, PRICES_MICROS.length - 1)] as number;
}

/** In the grammar of `X-Price`. */
export function cents(micros: number): string {
  return (micros / 10_000).toFixed(4);
}
