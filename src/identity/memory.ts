/**
 * What was genuine, by how it was sent: to check a token again costs a keyed hash, and to find it in its header nearly as much.
 * Whether a token still counts is its envelope's to say, each time, so remembering keeps none alive.
 */
import type { Keyring } from "../settings.js";

/** Per isolate, and each: 4 MB where all texts are as long as may be. */
const REMEMBERED_MAX = 4_096;
/** A longer text is read each time. */
const REMEMBERED_CHARS_MAX = 1_024;

export class Memory<Said> {
  /** By keyring, so that a secret that was taken out of service takes its tokens with it. */
  readonly #said = new WeakMap<Keyring, Map<string, Said>>();

  /** `read` answers with `undefined` for what is not genuine: that is not remembered, so that junk drives nobody out. */
  recall(keys: Keyring, text: string, read: () => Said | undefined): Said | undefined {
    if (text.length > REMEMBERED_CHARS_MAX) return read();
    let said = this.#said.get(keys);
    if (said === undefined) {
      said = new Map();
      this.#said.set(keys, said);
    }
    const known = said.get(text);
    if (known !== undefined) return known;
    const genuine = read();
    if (genuine === undefined) return undefined;
    const [oldest] = said.size < REMEMBERED_MAX ? [] : said.keys();
    if (oldest !== undefined) said.delete(oldest);
    said.set(text, genuine);
    return genuine;
  }
}
