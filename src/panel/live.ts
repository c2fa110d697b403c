/** Keeps what a page shows up to date while somebody can see it, and says so when it cannot. */
import { get, messageOf, Problem } from "./api.js";

export interface Watched<T> {
  /** The newest answer, also while a newer question is under way. */
  readonly value: T | undefined;
  /** Why there is none newer. */
  readonly problem: string | undefined;
  /** Status of the problem; 0 when nothing answered. */
  readonly status: number;
  /** The answer belongs to an earlier question. */
  readonly outdated: boolean;
  reload(): void;
}

const TICK_MS = 400;
const BACK_OFF_MAX_MS = 60_000;

class Watch<T> implements Watched<T> {
  value: T | undefined;
  problem: string | undefined;
  status = 200;
  okAt_ms = 0;
  fails = 0;
  #asked: string | undefined;
  #answered: string | undefined;
  #due_ms = 0;
  #question = 0;
  readonly #path: () => string | undefined;
  readonly #every_ms: number;
  readonly #changed: () => void;

  constructor(path: () => string | undefined, every_ms: number, changed: () => void) {
    this.#path = path;
    this.#every_ms = every_ms;
    this.#changed = changed;
  }

  get outdated(): boolean {
    return this.#answered !== this.#path();
  }

  reload(): void {
    this.#due_ms = 0;
    this.tick(true);
  }

  tick(force = false): void {
    const path = this.#path();
    if (path === undefined) return;
    if (path === this.#asked && Date.now() < this.#due_ms && !force) return;
    if (path !== this.#asked) this.fails = 0;
    this.#asked = path;
    this.#due_ms = Number.POSITIVE_INFINITY;
    void this.#ask(path);
  }

  async #ask(path: string): Promise<void> {
    this.#question += 1;
    const question = this.#question;
    try {
      const value = await get<T>(path);
      if (question !== this.#question) return;
      this.value = value;
      this.#answered = path;
      this.problem = undefined;
      this.status = 200;
      this.fails = 0;
      this.okAt_ms = Date.now();
    } catch (error) {
      if (question !== this.#question) return;
      this.problem = messageOf(error);
      this.status = error instanceof Problem ? error.status : 0;
      this.fails += 1;
    }
    this.#due_ms = Date.now() + Math.min(BACK_OFF_MAX_MS, this.#every_ms * 2 ** this.fails);
    this.#changed();
  }
}

export class Live {
  readonly #watches: Watch<unknown>[] = [];
  readonly #changed: () => void;
  readonly #timer: number;
  readonly #wake = () => this.#tick();

  constructor(changed: () => void) {
    this.#changed = changed;
    this.#timer = window.setInterval(this.#wake, TICK_MS);
    document.addEventListener("visibilitychange", this.#wake);
  }

  /** Asks `path` now, whenever it changes, and every so often. */
  watch<T>(path: () => string | undefined, every_ms: number): Watched<T> {
    const watch = new Watch<T>(path, every_ms, this.#changed);
    this.#watches.push(watch as Watch<unknown>);
    watch.tick();
    return watch;
  }

  reload(): void {
    for (const watch of this.#watches) watch.reload();
  }

  /** Since when something on the page is older than it should be. */
  get staleSince_ms(): number | undefined {
    const failing = this.#watches.filter(({ fails, okAt_ms }) => fails > 0 && okAt_ms > 0);
    return failing.length === 0 ? undefined : Math.min(...failing.map(({ okAt_ms }) => okAt_ms));
  }

  stop(): void {
    window.clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.#wake);
  }

  /** Asks what is due or has changed, at once. */
  check(): void {
    this.#tick();
  }

  #tick(): void {
    if (document.hidden) return;
    for (const watch of this.#watches) watch.tick();
  }
}
