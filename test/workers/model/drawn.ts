/** What several commands draw. */
import fc from "fast-check";
import { micros } from "../rules/values.js";

export const money = fc
  .oneof({ weight: 20, arbitrary: fc.constantFrom(20, 50, 100) }, { weight: 1, arbitrary: fc.constant(2 ** 53 - 100) })
  .map(micros);
export const currency = fc.oneof(
  { weight: 30, arbitrary: fc.constant("usd") },
  { weight: 1, arbitrary: fc.constant("eur") },
);
