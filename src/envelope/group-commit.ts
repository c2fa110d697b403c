/**
 * Adaptive group commit. What arrives while nothing is on its way to disk is done at once. What arrives while a commit is,
 * waits for it, and is then done together in one turn: the platform makes one transaction of a turn's writes, and holds
 * every answer back until it is durable. So an idle envelope adds no latency, and a busy one pays one trip to disk for many
 * charges instead of one for each.
 */
export class GroupCommit {
  readonly #sync: () => Promise<void>;
  readonly #waiting: Waiting[] = [];
  #committing = false;

  /** `sync` resolves when all that was written so far is durable (`DurableObjectStorage.sync`). */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** `work` decides and writes in one synchronous turn. When it throws, it fails alone, and must have written nothing. */
  async run<T>(work: () => T): Promise<T> {
    if (this.#committing) {
      return new Promise<T>((resolve, reject) => {
        const act = (): void => {
          try {
            resolve(work());
          } catch (error) {
            reject(error);
          }
        };
        this.#waiting.push({ act, reject });
      });
    }
    const result = work();
    void this.#commit();
    return result;
  }

  async #commit(): Promise<void> {
    this.#committing = true;
    try {
      let done: number;
      do {
        await this.#sync();
        const group = this.#waiting.splice(0);
        for (const { act } of group) act();
        done = group.length;
      } while (done > 0);
    } catch (error) {
      // The commit failed and the platform resets the object. Those who wait have written nothing: they may try again.
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    } finally {
      this.#committing = false;
    }
  }
}

interface Waiting {
  readonly act: () => void;
  readonly reject: (reason: unknown) => void;
}
