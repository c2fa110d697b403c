/**
 * What headers said that were genuine, as they were sent: to check a token again costs a keyed hash, and to find it in its header
 * nearly as much. Whether a token still counts is its envelope's to say, each time, so remembering keeps none alive.
 */
import type { Keyring } from "../settings.js";

/** Per isolate, and each; the longest of them take 8 MB together. */
const REMEMBERED_MAX = 4_096;
/** A longer header is read each time. */
const REMEMBERED_CHARS_MAX = 1_024;

export class HeaderMemory<Said> {
  /** By keyring, so that a secret that was taken out of service takes its tokens with it. */
  readonly #said = new WeakMap<Keyring, Map<string, Said>>();

  /** `read` answers with `undefined` for what is not genuine: that is not remembered, so that junk drives nobody out. */
  recall(keys: Keyring, header: string, read: () => Said | undefined): Said | undefined {
    if (header.length > REMEMBERED_CHARS_MAX) return read();
    let said = this.#said.get(keys);
    if (said === undefined) {
      said = new Map();
      this.#said.set(keys, said);
    }
    const known = said.get(header);
    if (known !== undefined) return known;
    const genuine = read();
    if (genuine === undefined) return undefined;
    const [oldest] = said.size < REMEMBERED_MAX ? [] : said.keys();
    if (oldest !== undefined) said.delete(oldest);
    said.set(header, genuine);
    return genuine;
  }
}
