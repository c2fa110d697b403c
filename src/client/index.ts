/**
 * `with-envelope/client`: what a page knows of its visitor's envelope. A client that asks `/me`, sends priced requests and keeps the
 * balance that their answers tell; and `<envelope-balance>`, which shows it with a way to top up. Of the Worker it knows names only.
 */
import { DEFAULT_PATHS, HEADER } from "../wire.js";

/** What `GET /me` answers. */
export interface Me {
  readonly client_reference_id: string;
  /** Minor units. */
  readonly balance: number;
  readonly balance_micros: number;
  readonly available_micros: number;
  /** ISO 4217, lower case. */
  readonly currency: string;
  readonly paymentLink: string | null;
  /** Something was ever paid in. */
  readonly registered: boolean;
}

/** A refusal, as problem details (RFC 9457). Amounts are decimals in minor units. */
export interface Refusal {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly limit?: "balance" | "window" | "key" | "frozen";
  readonly price?: string;
  readonly balance?: string;
  readonly shortfall?: string;
  readonly currency?: string;
  readonly resetsAt?: string | null;
  readonly canTopUp?: boolean;
  readonly paymentLink?: string | null;
}

export interface ClientOptions {
  /** Where the Worker is, when that is not where the page is. Its `cors.origins` must name the page's. */
  readonly origin?: string | undefined;
  /** Where paths of the Worker were renamed. */
  readonly paths?: { readonly me?: string; readonly pay?: string; readonly rotateToken?: string } | undefined;
}

interface Events {
  /** The balance, or something else of `me`, is another one. */
  readonly change: CustomEvent<Me>;
  /** A request was refused. */
  readonly refused: CustomEvent<Refusal>;
}

/** None of them is switched off by default. */
const PATHS = DEFAULT_PATHS as typeof DEFAULT_PATHS & Readonly<Record<"me" | "pay" | "rotateToken", string>>;

export class EnvelopeClient extends EventTarget {
  readonly #origin: string;
  readonly #paths: { readonly me: string; readonly pay: string; readonly rotateToken: string };
  #me: Me | undefined;
  /** The first question of all, which makes the visitor's identity. */
  #first: Promise<Me> | undefined;
  #asking: Promise<Me> | undefined;
  /** Requests whose answer may still change the balance. */
  #under_way = 0;
  /** More than one was under way at a time: which of their balances is the latest, no header says. */
  #overlapped = false;

  constructor({ origin, paths }: ClientOptions = {}) {
    super();
    this.#origin = origin ?? location.origin;
    const { me, pay, rotateToken } = PATHS;
    this.#paths = { me, pay, rotateToken, ...paths };
  }

  /** As last heard; `undefined` until the first answer. */
  get me(): Me | undefined {
    return this.#me;
  }

  /** Where the visitor tops up: it looks at the browser's cookie when it is followed, so the payment reaches whoever they are then. */
  get payUrl(): string {
    return new URL(this.#paths.pay, this.#origin).href;
  }

  /** Asks the Worker; one answer is for all who ask at the same time. @throws {Error} when it does not answer with a 200 */
  refresh(): Promise<Me> {
    this.#asking ??= this.#askMe().finally(() => {
      this.#asking = undefined;
    });
    this.#first ??= this.#asking;
    return this.#asking;
  }

  /**
   * `fetch`, to the Worker, with the visitor's cookie. The first one waits for `/me`: two first requests of a browser would be two
   * visitors. A refusal is told as the event `refused`, and answered like any response.
   */
  async fetch(input: string | URL, init: RequestInit = {}): Promise<Response> {
    // Should it fail, the request itself will say so better.
    await (this.#first ?? this.refresh()).catch(() => undefined);
    this.#under_way += 1;
    if (this.#under_way > 1) this.#overlapped = true;
    try {
      const response = await fetch(new URL(input, this.#origin), { credentials: "include", ...init });
      const balance = response.headers.get(HEADER.balance);
      if (balance !== null && !this.#overlapped) this.#tell(balance);
      if (/problem\+json/.test(response.headers.get("Content-Type") ?? "")) await this.#refused(response.clone());
      return response;
    } finally {
      this.#under_way -= 1;
      if (this.#under_way === 0 && this.#overlapped) {
        this.#overlapped = false;
        void this.refresh().catch(() => undefined);
      }
    }
  }

  /** A new cookie for the same envelope: whoever has a copy of the old one is shut out. */
  async rotate(): Promise<void> {
    const response = await this.fetch(this.#paths.rotateToken, { method: "POST" });
    if (!response.ok) throw new Error(`The token could not be rotated (${response.status})`);
  }

  /** `addEventListener`, with the types of our events. */
  on<Name extends keyof Events>(
    name: Name,
    listener: (event: Events[Name]) => void,
    options?: AddEventListenerOptions,
  ): void {
    this.addEventListener(name, listener as EventListener, options);
  }

  async #askMe(): Promise<Me> {
    const response = await fetch(new URL(this.#paths.me, this.#origin), { credentials: "include", cache: "no-store" });
    if (!response.ok) throw new Error(`The balance could not be read (${response.status})`);
    this.#know((await response.json()) as Me);
    return this.#me as Me;
  }

  /** What a header says of the balance, in minor units: the exact micros are the same digits. */
  #tell(minor: string): void {
    if (this.#me === undefined) return;
    const { currency, balance_micros, available_micros } = this.#me;
    const [whole = "", fraction = ""] = minor.replace("-", "").split(".");
    const digits = 6 - minorDigits(currency);
    const size = Number(whole + fraction.padEnd(digits, "0"));
    const micros = minor.startsWith("-") ? -size : size;
    const available = available_micros + micros - balance_micros;
    this.#know({ ...this.#me, balance: Number(minor), balance_micros: micros, available_micros: available });
  }

  async #refused(response: Response): Promise<void> {
    const refusal = (await response.json().catch(() => undefined)) as Refusal | undefined;
    if (refusal?.limit !== undefined) this.dispatchEvent(new CustomEvent("refused", { detail: refusal }));
  }

  #know(me: Me): void {
    const changed = JSON.stringify(me) !== JSON.stringify(this.#me);
    this.#me = me;
    if (changed) this.dispatchEvent(new CustomEvent("change", { detail: me }));
  }
}

/** As Stripe counts them, which is how prices are told: https://docs.stripe.com/currencies. */
function minorDigits(currency: string): number {
  if (/^(bif|clp|djf|gnf|jpy|kmf|krw|mga|pyg|rwf|vnd|vuv|xaf|xof|xpf)$/.test(currency)) return 0;
  return /^(bhd|jod|kwd|omr|tnd)$/.test(currency) ? 3 : 2;
}

/** Exactly, in the reader's language: Intl reads decimal text as it is, so no amount is ever a binary fraction. */
export function formatMoney(micros: number, currency: string, locale?: string): string {
  const format = new Intl.NumberFormat(locale, { style: "currency", currency, maximumFractionDigits: 6 });
  return format.format(`${micros}e-6` as unknown as number);
}

/** One for all elements of a page that name no client of their own. */
let shared: EnvelopeClient | undefined;

/**
 * `<envelope-balance>`: the balance, and a link to top up. Parts to style: `balance`, `topup`. Text of the link: its content, else “Top
 * up”. Give it a client by its property `client`, else all of a page share one. Looks again whenever the page is returned to.
 */
export function defineEnvelopeBalance(name = "envelope-balance"): void {
  if (customElements.get(name) === undefined) customElements.define(name, class extends EnvelopeBalance {});
}

export class EnvelopeBalance extends HTMLElement {
  #client: EnvelopeClient | undefined;
  readonly #shown = document.createElement("output");
  readonly #topup = document.createElement("a");
  #listening: AbortController | undefined;

  constructor() {
    super();
    this.#shown.part.add("balance");
    this.#shown.setAttribute("aria-live", "polite");
    this.#topup.part.add("topup");
    this.#topup.hidden = true;
    const text = document.createElement("slot");
    text.textContent = "Top up";
    this.#topup.append(text);
    this.attachShadow({ mode: "open" }).append(this.#shown, " ", this.#topup);
  }

  /** Whose balance is shown: by default that of the client which all elements of a page share. */
  get client(): EnvelopeClient | undefined {
    return this.#client;
  }

  set client(client: EnvelopeClient | undefined) {
    this.#client = client;
    if (this.isConnected) this.connectedCallback();
  }

  connectedCallback(): void {
    // Set before the element was defined, it hides the accessor.
    const early = Object.getOwnPropertyDescriptor(this, "client");
    if (early !== undefined) {
      Reflect.deleteProperty(this, "client");
      this.#client = early.value as EnvelopeClient;
    }
    this.#listening?.abort();
    shared ??= this.#client ?? new EnvelopeClient();
    const client = this.#client ?? shared;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const look = () => void client.refresh().catch(() => undefined);
    client.on("change", ({ detail }) => this.#show(detail), { signal });
    addEventListener("pageshow", look, { signal });
    document.addEventListener("visibilitychange", () => document.hidden || look(), { signal });
    this.#topup.href = client.payUrl;
    if (client.me === undefined) look();
    else this.#show(client.me);
  }

  disconnectedCallback(): void {
    this.#listening?.abort();
  }

  #show({ balance_micros, currency, paymentLink }: Me): void {
    const text = formatMoney(balance_micros, currency, this.lang || document.documentElement.lang || undefined);
    // Unchanged text is left alone: a screen reader would announce it again.
    if (this.#shown.value !== text) this.#shown.value = text;
    this.#topup.hidden = paymentLink === null;
  }
}
