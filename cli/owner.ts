/** The owner at a deployed Worker, from a terminal: where it is, the secret, and how its API is asked. */
import { parseArgs } from "node:util";
import { DevVars } from "./dev-vars.js";
import { Failure, usage } from "./failure.js";

export interface Owner {
  /** What was named besides the origin. */
  readonly names: readonly string[];
  readonly json: boolean;
  readonly reason: string | undefined;
  readonly against: string | undefined;
  /** Posts a body; gets where there is none. `path` is below `--path`. */
  ask(path: string, body?: object): Promise<unknown>;
}

/** @throws {Failure} for arguments that are none, and where the secret would travel in the open */
export function owner(argv: readonly string[], help: string): Owner {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(argv);
  } catch (error) {
    throw usage(`${(error as Error).message}\n\n${help}`);
  }
  const { values, positionals } = parsed;
  const [origin, ...names] = positionals;
  if (origin === undefined || !URL.canParse(origin)) throw usage(`One origin is needed.\n\n${help}`);
  const base = new URL(origin);
  // The secret goes along: nobody on the way may read it.
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(base.hostname);
  if (base.protocol !== "https:" && !(base.protocol === "http:" && local)) {
    throw usage("The origin must be https, or on this machine.");
  }
  const secret = process.env["ENVELOPE_ADMIN_SECRET"] ?? new DevVars(process.cwd()).get("ENVELOPE_ADMIN_SECRET");
  if (secret === undefined || secret === "") throw usage("ENVELOPE_ADMIN_SECRET is not set.");
  return {
    names,
    json: values.json,
    reason: values.reason,
    against: values.against,
    ask: async (path, body) => {
      const answer = await fetch(new URL(values.path.replace(/\/$/, "") + path, base), {
        method: body === undefined ? "GET" : "POST",
        redirect: "error",
        headers: { Authorization: `Bearer ${secret}`, "Content-Type": "application/json" },
        body: body === undefined ? null : JSON.stringify(body),
      }).catch(() => undefined);
      if (answer === undefined) throw new Failure("unreachable", `${base.origin} does not answer`);
      if (!answer.ok)
        throw new Failure("refused", `${base.origin}${values.path}${path.split("?")[0]} answered ${answer.status}`);
      return answer.json();
    },
  };
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      path: { type: "string", default: "/db" },
      reason: { type: "string" },
      against: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
}
