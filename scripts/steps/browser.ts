/** A browser: it keeps cookies, follows what a payer follows, and sends the forms it is shown. */
import type { Session } from "../../test/stripe/objects.ts";
import { type Answer, type Question, readJson } from "../lib/http.ts";
import type { Stage } from "./stage.ts";

export interface Me {
  readonly client_reference_id: string;
  /** Cents. */
  readonly balance: number;
  readonly limited: boolean;
  readonly limited_sessions?: readonly unknown[];
}

/** An offer can be accepted a minute after it was shown. */
const WAITED = { "X-Ahead-Seconds": "61" };

export class Browser {
  /** What was paid last. */
  session: Session | undefined;
  readonly #stage: Stage;
  readonly #jar = new Map<string, string>();

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async fetch(path: string, { headers, ...question }: Question = {}): Promise<Answer> {
    const Cookie = [...this.#jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await this.#stage.send(path, {
      ...question,
      headers: { ...headers, "Sec-Fetch-Site": "same-origin", ...(Cookie !== "" && { Cookie }) },
    });
    for (const cookie of answer.headers["set-cookie"] ?? []) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (/Max-Age=0\b/.test(cookie)) this.#jar.delete(name);
      else this.#jar.set(name, value);
    }
    return answer;
  }

  async me(): Promise<Me> {
    return readJson(await this.fetch("/me")) as unknown as Me;
  }

  /** By way of Stripe's page, which then tells the webhook. */
  async pays(fingerprint: string, amount = 1000): Promise<Session> {
    const { account } = this.#stage.standIn;
    const { headers } = await this.fetch("/pay");
    const reference = new URL(headers.location ?? "").searchParams.get("client_reference_id");
    const session = account.checkout({ reference, amount, card: { fingerprint } });
    this.session = session;
    const event = account.events.at(-1);
    if (event?.type !== "checkout.session.completed") throw new Error("The payment made no event");
    await this.#stage.deliver(event);
    return session;
  }

  /** The return page. */
  async returns(session = this.session): Promise<string> {
    const { status, body } = await this.fetch(`/paid?session_id=${session?.id}`);
    if (status !== 200) throw new Error(`/paid answered ${status}`);
    return body;
  }

  /** @throws unless it is done. */
  async accepts(page: string): Promise<void> {
    const fields = new URLSearchParams({ last4: "4242" });
    for (const [, name = "", value = ""] of page.matchAll(/name="(\w+)" value="([^"]*)"/g)) fields.append(name, value);
    const body = fields.toString();
    const headers = { ...WAITED, "Content-Type": "application/x-www-form-urlencoded" };
    const answer = await this.fetch("/paid", { method: "POST", headers, body });
    if (answer.status === 303 || answer.body.includes("<h1>Card kept</h1>")) return;
    throw new Error(`The form was answered ${answer.status} (${kindOf(answer.body)})`);
  }
}

export function kindOf(page: string): "open" | "remember" | "foreign" | "again" | "plain" {
  if (page.includes("started in another browser")) return "foreign";
  if (page.includes("Open it")) return "open";
  if (page.includes("Keep this card")) return "remember";
  return page.includes("Try again") ? "again" : "plain";
}
