/** One metered body, read to the end that was drawn for it. */
import { request } from "node:http";
import { cents, type Drawn, drawPrice, type Place, type Told } from "./told.ts";

/** How a body is to end. */
export const STREAM_ENDINGS = [
  "body_completes",
  "reader_leaves",
  "source_fails",
  "body_exhausted",
  "body_envelope_resets",
] as const;
type Ending = (typeof STREAM_ENDINGS)[number];

/** Server-sent events, lines and bytes: what a unit is in each. */
const FORMS = ["events", "lines", "bytes"] as const;
type Form = (typeof FORMS)[number];

const UNITS_MAX = 40;
const KILOBYTE_BYTES = 1_000;
const ANSWER_MS_MAX = 15_000;

export async function stream(place: Place, { choices, path, envelope }: Drawn): Promise<Told> {
  const ending = STREAM_ENDINGS[choices.between(0, STREAM_ENDINGS.length - 1)] as Ending;
  const form = FORMS[choices.between(0, FORMS.length - 1)] as Form;
  const price_micros = drawPrice(choices);
  const units = choices.between(1, UNITS_MAX);
  const first = choices.between(1, 30);
  const paid = ending === "body_exhausted" ? choices.between(1, UNITS_MAX) : units;
  const seen_max = ending === "reader_leaves" ? choices.between(0, units) : Number.POSITIVE_INFINITY;
  const asked = new URLSearchParams({
    form,
    units: `${units}`,
    price: cents(price_micros),
    first: cents(price_micros * Math.min(first, paid)),
    // A third of a unit is none.
    max: cents(price_micros * paid + Math.floor(price_micros / 3)),
    wait: `${choices.between(0, 8)}`,
    fails: String(ending === "source_fails"),
  });
  const began_ms = performance.now();
  const body = new Counted(form);
  let resets = ending === "body_envelope_resets";
  const read = await readBody(new URL(`${path}?${asked}`, await place.origin()), place.cookie, (chunk) => {
    body.push(chunk);
    if (resets && body.units >= Math.ceil(units / 2)) {
      resets = false;
      void place.reset();
    }
    return body.units < seen_max;
  });
  const due = Math.min(units, paid);
  const isWhole = read.ended && ending !== "reader_leaves" && ending !== "source_fails";
  const seen = { path, envelope, ending, price_micros, began_ms, ended_ms: performance.now(), refused: read.refused };
  if (read.refused !== undefined) return { ...seen, least: 0, most: 0, short: false };
  // What was written for a client that did not come to read it is paid for, too.
  return { ...seen, least: body.units, most: isWhole ? body.units : due, short: isWhole && body.units < due };
}

/** Counts units as they arrive. What the wrapper says at the end is none. */
class Counted {
  readonly #form: Form;
  #bytes = 0;
  #text = "";

  constructor(form: Form) {
    this.#form = form;
  }

  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#form !== "bytes") this.#text += chunk.toString("utf8");
  }

  get units(): number {
    if (this.#form === "bytes") return Math.ceil(this.#bytes / KILOBYTE_BYTES);
    return this.#text.match(this.#form === "events" ? /^data: unit\n\n/gm : /^unit\n/gm)?.length ?? 0;
  }
}

interface Read {
  /** The body came to its end. */
  readonly ended: boolean;
  readonly refused: number | undefined;
}

/** Reads until the body is over, or `more` says that it is enough: then the connection is gone. Never rejects. */
function readBody(url: URL, cookie: string, more: (chunk: Buffer) => boolean): Promise<Read> {
  return new Promise((resolve) => {
    let refused: number | undefined;
    const over = (ended: boolean): void => resolve({ ended, refused });
    const sending = request(url, { headers: { Cookie: cookie }, agent: false }, (incoming) => {
      if (incoming.statusCode !== 200) refused = incoming.statusCode;
      incoming.on("data", (chunk: Buffer) => {
        if (refused === undefined && !more(chunk)) sending.destroy();
      });
      incoming.on("end", () => over(incoming.complete));
      incoming.on("error", () => over(false));
      incoming.on("close", () => over(false));
    });
    sending.setTimeout(ANSWER_MS_MAX, () => sending.destroy());
    sending.on("error", () => over(false));
    sending.on("close", () => over(false));
    sending.end();
  });
}
