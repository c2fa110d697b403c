/** What the clients were told. The judge holds it against the ledgers. */
import type { Operation, TopUp } from "./plan.ts";

/** How an operation ended, as far as its client knows. */
export interface Told {
  readonly operation: Operation;
  /** `indefinite`: it was sent, no answer came, and without a key it could not be sent again. */
  readonly outcome: "charged" | "refused" | "failed" | "indefinite";
  readonly attempts: number;
  /** Attempts that ended without a usable answer. */
  readonly lost: number;
  readonly replayed: boolean;
  /** What the answer said was taken, and left; of a charge only. */
  readonly price_micros: number | undefined;
  readonly balance_micros: number | undefined;
}

export interface ToldPayment {
  readonly topUp: TopUp;
  /** Deliveries answered `credited`. */
  readonly credited: number;
  readonly deliveries: number;
  /** False when no delivery was acknowledged before the run was given up. */
  readonly acknowledged: boolean;
}

export interface History {
  readonly told: Told[];
  readonly payments: ToldPayment[];
  /** Answers that no correct server gives. */
  readonly oddities: string[];
  readonly probes: { same: number; other_price: number };
  /** Steps that had not come to an end when the run was given up. */
  unfinished: number;
}

export function newHistory(): History {
  return { told: [], payments: [], oddities: [], probes: { same: 0, other_price: 0 }, unfinished: 0 };
}
