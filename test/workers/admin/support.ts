/** What the tests of the owner's paths share: an address of one's own, and a browser that keeps the session's cookie. */
import { Site } from "../support.js";

export const ADMIN = "an-owners-secret-0123456789-abcdefghij";
export const basic = (secret: string, user = "admin") => ({ Authorization: `Basic ${btoa(`${user}:${secret}`)}` });
export const bearer = (secret: string) => ({ Authorization: `Bearer ${secret}` });
export const siteOf = (vars: Record<string, unknown> = {}, options = {}) =>
  new Site(options, { ENVELOPE_ADMIN_SECRET: ADMIN, ...vars });

let addresses = 0;
/** An address that nobody tried from before. */
export const newAddress = (): string => `203.0.${Math.floor(++addresses / 250)}.${addresses % 250}`;

/** The owner at a browser: signs in, keeps the cookie, and asks from pages of the site. */
export class Browser {
  readonly site: Site;
  readonly address = newAddress();
  cookie = "";

  constructor(site: Site) {
    this.site = site;
  }

  async fetch(path: string, init: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
    const headers = {
      "CF-Connecting-IP": this.address,
      "Sec-Fetch-Site": "same-origin",
      "Sec-Fetch-Mode": "cors",
      ...(this.cookie === "" ? {} : { Cookie: this.cookie }),
      ...init.headers,
    };
    const response = await this.site.fetch(path, { redirect: "manual", ...init, headers });
    for (const one of response.headers.getSetCookie()) {
      if (one.startsWith("__Host-we_admin=")) this.cookie = one.split(";")[0] ?? "";
    }
    return response;
  }

  page(path: string): Promise<Response> {
    return this.fetch(path, { headers: { Accept: "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate" } });
  }

  signIn(secret = ADMIN, next = "/db"): Promise<Response> {
    return this.fetch("/db/sign-in", {
      method: "POST",
      body: new URLSearchParams({ secret, next }).toString(),
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    });
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.fetch(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID(), ...headers },
    });
  }

  async json<T>(path: string): Promise<T> {
    const response = await this.fetch(path);
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json<T>();
  }
}

export async function signedIn(site: Site): Promise<Browser> {
  const browser = new Browser(site);
  if ((await browser.signIn()).status !== 303) throw new Error("The owner was not let in");
  return browser;
}
