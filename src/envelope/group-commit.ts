/**
 * Adaptive group commit. Where charges come one by one, each is done at once, and nobody looks after its commit. Where two come in one
 * millisecond, commits are watched: what arrives while one is on its way to disk waits for it, and is then done together in one turn. The
 * platform makes one transaction of a turn's writes, and holds every answer back until it is durable. So an idle envelope adds no latency,
 * and a busy one pays one trip to disk for many charges instead of one for each.
 */
export class GroupCommit {
  readonly #sync: () => Promise<void>;
  readonly #now: () => number;
  #waiting: Waiting[] = [];
  #committing = false;
  /** When the last one came that did not wait. */
  #came_ms = Number.NEGATIVE_INFINITY;

  /** `sync` resolves when all that was written so far is durable (`DurableObjectStorage.sync`). */
  constructor(sync: () => Promise<void>, now: () => number = Date.now) {
    this.#sync = sync;
    this.#now = now;
  }

  /** `work` decides and writes in one synchronous turn. When it throws, it fails alone, and must have written nothing. */
  run<T>(work: () => T): Promise<T> {
    if (this.#committing) return this.#wait(work);
    try {
      const result = work();
      const now = this.#now();
      if (now === this.#came_ms) this.#watch();
      this.#came_ms = now;
      return Promise.resolve(result);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #wait<T>(work: () => T): Promise<T> {
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

  #watch(): void {
    this.#committing = true;
    this.#sync().then(this.#durable, this.#failed);
  }

  /** In the turn that learns of it: all that waited, in its order. */
  readonly #durable = (): void => {
    const group = this.#waiting;
    this.#waiting = [];
    for (const { act } of group) act();
    if (group.length > 0) this.#watch();
    else this.#committing = false;
  };

  /** The platform resets the object. Those who wait have written nothing: they may try again. */
  readonly #failed = (error: unknown): void => {
    const group = this.#waiting;
    this.#waiting = [];
    this.#committing = false;
    for (const { reject } of group) reject(error);
  };
}

interface Waiting {
  readonly act: () => void;
  readonly reject: (reason: unknown) => void;
}
