/** A caller with a cookie, as a browser would be. */
import { type Answer, readJson, send } from "./http.ts";

export interface Holder {
  /** The `Cookie` header to send. */
  readonly cookie: string;
  /** What a payment for this holder carries. */
  readonly reference: string;
}

export interface Me {
  readonly client_reference_id: string;
  readonly balance: number;
  readonly balance_micros: number;
  readonly available_micros: number;
  readonly registered: boolean;
}

/** A new identity, as `GET /me` hands it out to a caller without one. */
export async function newHolder(origin: string): Promise<Holder> {
  const answer = await send(origin, "/me");
  return { cookie: cookieOf(answer), reference: meOf(answer).client_reference_id };
}

export async function readMe(origin: string, cookie: string): Promise<Me> {
  return meOf(await send(origin, "/me", { headers: { Cookie: cookie } }));
}

export function cookieOf(answer: Answer): string {
  const [cookie = ""] = answer.headers["set-cookie"] ?? [];
  const [pair = ""] = cookie.split(";");
  if (pair === "") throw new Error("The answer sets no cookie");
  return pair;
}

function meOf(answer: Answer): Me {
  if (answer.status !== 200) throw new Error(`GET /me answered ${answer.status}: ${answer.body}`);
  return readJson(answer) as unknown as Me;
}
