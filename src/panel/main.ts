/** The owner's panel: the frame around its pages, and which page an address means. */
import type { OverviewAnswer, SessionAnswer } from "../admin/api.js";
import { BASE, get, messageOf, toSignIn } from "./api.js";
import { el, patch } from "./dom.js";
import { useCurrency } from "./format.js";
import { Live, type Watched } from "./live.js";
import type { Frame, Page, PageMaker } from "./page.js";
import { databasePage } from "./pages/database.js";
import { envelopePage } from "./pages/envelope.js";
import { envelopesPage } from "./pages/envelopes.js";
import { healthPage } from "./pages/health.js";
import { missingPage } from "./pages/missing.js";
import { overviewPage } from "./pages/overview.js";
import { unclaimedPage } from "./pages/unclaimed.js";
import { frameView, type Place } from "./shell.js";
import { listenForShortcuts } from "./shortcuts.js";

const REFERENCE = /^[A-Za-z0-9_-]{1,200}$/;

interface Route {
  readonly place: Place | null;
  readonly make: PageMaker;
  readonly id: string;
}

function routeOf(pathname: string): Route {
  const path = pathname.slice(BASE.length).replace(/\/+$/, "");
  const [, first = "", second, ...more] = path.split("/");
  const missing: Route = { place: null, make: missingPage, id: "" };
  if (more.length > 0) return missing;
  if (second !== undefined) {
    return first === "envelopes" ? { place: "envelopes", make: envelopePage, id: decode(second) } : missing;
  }
  switch (first) {
    case "":
      return { place: "overview", make: overviewPage, id: "" };
    case "envelopes":
      return { place: "envelopes", make: envelopesPage, id: "" };
    case "unclaimed":
      return { place: "unclaimed", make: unclaimedPage, id: "" };
    case "health":
      return { place: "health", make: healthPage, id: "" };
    default:
      return REFERENCE.test(first) ? { place: "database", make: databasePage, id: first } : missing;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const PULSE_MS = 60_000;

class Panel implements Frame {
  readonly session: SessionAnswer;
  live: Live;
  /** Goes on from page to page. */
  readonly #pulse: Live;
  readonly #overview: Watched<OverviewAnswer>;
  #page: Page | undefined;
  #place: Place | null = null;
  #pathname = "";
  #drawing = false;
  readonly #root: HTMLElement;

  constructor(session: SessionAnswer, root: HTMLElement) {
    this.session = session;
    this.#root = root;
    this.live = new Live(() => this.draw());
    this.#pulse = new Live(() => this.draw());
    this.#overview = this.#pulse.watch<OverviewAnswer>(() => "/api/overview", PULSE_MS);
  }

  get unclaimed(): number {
    return this.#overview.value?.unclaimed ?? 0;
  }

  readonly refresh = (): void => {
    this.live.reload();
    this.#pulse.reload();
  };

  start(): void {
    addEventListener("popstate", () => this.#arrive(false));
    document.addEventListener("click", (event) => this.#follow(event));
    document.addEventListener("visibilitychange", () => this.draw());
    setInterval(() => this.draw(), 5000);
    listenForShortcuts(this);
    this.#arrive(true);
  }

  draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    queueMicrotask(() => {
      this.#drawing = false;
      this.#drawNow();
    });
  }

  query(): URLSearchParams {
    return new URLSearchParams(location.search);
  }

  go(path: string, how?: "replace"): void {
    const address = BASE + path;
    if (how === "replace") history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#arrive(false);
  }

  #arrive(first: boolean): void {
    const { pathname } = location;
    if (pathname === this.#pathname) {
      this.#page?.moved?.();
      this.live.check();
      this.draw();
      return;
    }
    this.#pathname = pathname;
    this.live.stop();
    this.live = new Live(() => this.draw());
    const { place, make, id } = routeOf(pathname);
    this.#place = place;
    this.#page = make(this, id);
    this.#drawNow();
    if (first) return;
    window.scrollTo(0, 0);
    // So that a screen reader says where one is, and the next Tab goes into the page.
    document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
  }

  #drawNow(): void {
    const page = this.#page;
    if (page === undefined) return;
    document.title = `${page.title} · Envelopes`;
    patch(this.#root, frameView(this, this.#place, el("div", { key: this.#pathname, class: "page" }, page.view())));
  }

  /** Our own links change the page and not the document. */
  #follow(event: MouseEvent): void {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.ctrlKey ||
      event.metaKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const anchor = event.target instanceof Element ? event.target.closest("a") : null;
    if (anchor === null || anchor.hasAttribute("download") || anchor.target !== "" || anchor.origin !== location.origin)
      return;
    const inside = anchor.pathname === BASE || anchor.pathname.startsWith(`${BASE}/`);
    if (!inside || anchor.hash !== "") return;
    event.preventDefault();
    const path = anchor.pathname.slice(BASE.length) + anchor.search;
    this.go(path, anchor.hasAttribute("data-replace") ? "replace" : undefined);
  }
}

async function start(): Promise<void> {
  const root = document.getElementById("app") ?? document.body;
  try {
    const session = await get<SessionAnswer>("/api/session");
    useCurrency(session.currency, session.exponent);
    new Panel(session, root).start();
  } catch (error) {
    const again = el(
      "button",
      { type: "button", class: "button primary", onclick: () => location.reload() },
      "Try again",
    );
    const signIn = el("button", { type: "button", class: "button", onclick: toSignIn }, "Sign in");
    const body = el(
      "div",
      { class: "failed", role: "alert" },
      el("p", null, messageOf(error)),
      el("p", { class: "row" }, again, signIn),
    );
    patch(root, el("main", { class: "alone" }, el("h1", null, "The panel could not start"), body));
  }
}

void start();
