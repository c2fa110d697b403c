/**
 * Adaptive group commit. What arrives while a commit is on its way to disk waits for it, and is then done together in one turn. The platform
 * makes one transaction of a turn's writes, and holds every answer back until it is durable. So a busy envelope pays one trip to disk
 * for many charges instead of one for each. To look after a commit costs a turn of its own, so where nobody ever comes meanwhile it is done
 * for every sixteenth only: an idle envelope adds no latency.
 */
export class GroupCommit {
  readonly #sync: () => Promise<void>;
  #waiting: Waiting[] = [];
  #committing = false;
  /** How many commits were looked after, since the last one that somebody came for. */
  #lonely = 0;
  /** How many the next ones are that are done without looking after their commit, and how many of them are left. */
  #rest = 0;
  #left = 0;

  /** `sync` resolves when all that was written so far is durable (`DurableObjectStorage.sync`). */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** `work` decides and writes in one synchronous turn. When it throws, it fails alone, and must have written nothing. */
  run<T>(work: () => T): Promise<T> {
    if (this.#committing) return this.#wait(work);
    try {
      const result = work();
      if (this.#left > 0) this.#left -= 1;
      else this.#watch();
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
    let durable: Promise<void>;
    try {
      durable = this.#sync();
    } catch (error) {
      // Or all that comes from now on would wait for a commit that nobody looks after.
      durable = Promise.reject(error);
    }
    durable.then(this.#durable, this.#failed);
  }

  /** In the turn that learns of it: all that waited, in its order. */
  readonly #durable = (): void => {
    const group = this.#waiting;
    this.#waiting = [];
    for (const { act } of group) act();
    if (group.length > 0) {
      this.#lonely = 0;
      this.#watch();
      return;
    }
    this.#committing = false;
    this.#lonely += 1;
    this.#rest = this.#lonely < LONELY_MIN ? 0 : Math.min(2 * this.#rest + 1, REST_MAX);
    this.#left = this.#rest;
  };

  /** The platform resets the object. Those who wait have written nothing: they may try again. */
  readonly #failed = (error: unknown): void => {
    const group = this.#waiting;
    this.#waiting = [];
    this.#committing = false;
    for (const { reject } of group) reject(error);
  };
}

/** A crowd that was answered all at once takes a while to come again: that it is not here is no sign that it is gone. */
const LONELY_MIN = 4;

/** As many charges as a crowd may find each with a trip to disk of its own, before it is noticed. */
const REST_MAX = 15;

interface Waiting {
  readonly act: () => void;
  readonly reject: (reason: unknown) => void;
}
