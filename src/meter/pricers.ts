/** Prices of a part's own: by a function of the app's, or by the tokens of a language model. */
import { type Currency, type Micros, type Price, parsePrice } from "../money.js";
import type { Priced, Pricer } from "./deliver.js";
import { dataOf, type Framing, lineOf, type Part } from "./parts.js";
import { costOfTokens, type ResolvedTokenPrices, TokenCount } from "./tokens.js";

/** What an app's price function is given: what an event says, a line, or the bytes of a body that is neither. */
export type MeteredPart = string | Uint8Array;

const UNCOUNTED: Priced = { micros: 0, due: false };

/** @throws {TypeError} while the body flows, where the function's answer is outside the grammar of prices. */
export function pricerOf(
  price: (part: MeteredPart) => Price | undefined,
  framing: Framing,
  currency: Currency,
): Pricer {
  return {
    next: (part) => {
      if (framing !== "none" && !part.message) return UNCOUNTED;
      const answer = price(framing === "none" ? part.bytes : textOf(part, framing));
      if (answer === undefined) return UNCOUNTED;
      const micros = parsePrice(answer, currency);
      if (micros === undefined) throw new TypeError("rate.price must answer with a price, or undefined");
      return { micros, due: false };
    },
  };
}

/** Estimated while text flows; corrected by what the model says. */
export class TokenPricer implements Pricer {
  readonly #prices: ResolvedTokenPrices;
  readonly #framing: Framing;
  readonly #count: TokenCount;
  #total: Micros | 0 = 0;

  constructor(prices: ResolvedTokenPrices, framing: Framing, expectedInput: number) {
    this.#prices = prices;
    this.#framing = framing;
    this.#count = new TokenCount(expectedInput);
  }

  get count(): TokenCount {
    return this.#count;
  }

  next(part: Part): Priced {
    if (!part.message) return UNCOUNTED;
    const brings = this.#count.read(textOf(part, this.#framing));
    const total = costOfTokens(this.#count.tokens, this.#prices);
    const micros = total - this.#total;
    this.#total = total;
    // What the model used was used, whether its holder can pay or not; what brings more is let through when it is paid for.
    return { micros, due: !brings };
  }
}

function textOf({ bytes }: Part, framing: Framing): string {
  return framing === "events" ? dataOf(bytes) : lineOf(bytes);
}
