/**
 * One HTTP request, sent once. `node:http` and not `fetch`, because a client that quietly sends a request again would hide
 * exactly what the harnesses look for.
 */
import { Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Question {
  readonly method?: "GET" | "POST" | "PUT";
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
  readonly timeout_ms?: number;
}

const TIMEOUT_MS = 30_000;

const agent = new Agent({ keepAlive: true, maxSockets: 256 });

/** Rejects when no whole answer arrived: whether the request was acted upon is then unknown. */
export function send(origin: string, path: string, question: Question = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body, timeout_ms = TIMEOUT_MS } = question;
  return new Promise((resolve, reject) => {
    const sending = request(new URL(path, origin), { method, headers, agent, timeout: timeout_ms }, (incoming) => {
      let text = "";
      incoming.setEncoding("utf8");
      incoming.on("data", (piece: string) => {
        text += piece;
      });
      incoming.on("error", reject);
      incoming.on("end", () => {
        if (!incoming.complete) return reject(new Error("The answer was cut off"));
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: text });
      });
    });
    sending.on("timeout", () => sending.destroy(new Error(`No answer within ${timeout_ms} ms`)));
    sending.on("error", reject);
    sending.end(body);
  });
}

/** A header that occurs once; `undefined` when it is absent. */
export function header(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name.toLowerCase()];
  return Array.isArray(value) ? value.join(", ") : value;
}

export function readJson(answer: Answer): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(answer.body);
  if (typeof value !== "object" || value === null) throw new Error(`Expected a JSON object, got ${answer.body}`);
  return value as Readonly<Record<string, unknown>>;
}
