/**
 * The load: wrk where it is installed, because it spends a tenth of what the server spends; else a client in Node, of which
 * the report says so, since it may be the bottleneck. An answer of 400 or above, and any broken connection, ends the run.
 */
import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";

export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly ms: number;
  /** One of them is sent with each request, in turn. */
  readonly headers: readonly Readonly<Record<string, string>>[];
}

export interface Measured {
  readonly rps: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

export type Client = "wrk" | "node";

export const CLIENT: Client = spawnSync("wrk", ["-v"], { stdio: "ignore" }).error === undefined ? "wrk" : "node";

/** A turn in which hardly anything was answered, or that lasted for much longer, says nothing: it is taken again, and a third time. */
export async function measure(load: Load, folder: string): Promise<Measured> {
  for (let tries = 0; tries < 3; tries++) {
    const { requests, lasted_ms, ...measured } = await (CLIENT === "wrk" ? withWrk(load, folder) : withNode(load));
    if (requests >= REQUESTS_MIN && lasted_ms < 2 * load.ms + SLACK_MS) return measured;
  }
  throw new Error(`${load.url}: no turn of ${load.ms} ms had ${REQUESTS_MIN} answers, or all took too long`);
}

const REQUESTS_MIN = 20;
/** A client that works on much notices late that its time is over. */
const SLACK_MS = 2_000;

interface Turn extends Measured {
  readonly requests: number;
  readonly lasted_ms: number;
}

const run = promisify(execFile);

async function withWrk({ url, connections, ms, headers }: Load, folder: string): Promise<Turn> {
  const script = join(folder, "wrk.lua");
  const tables = headers.map(
    (one) =>
      `{${Object.entries(one)
        .map(([name, value]) => `[${JSON.stringify(name)}]=${JSON.stringify(value)}`)
        .join(",")}}`,
  );
  // Requests are formatted once: with a thousand headers, doing it for each would cost the client more than the server.
  writeFileSync(
    script,
    `local headers = {${tables.join(",\n")}}
local requests, turn = {}, 0
init = function()
  for i, one in ipairs(headers) do requests[i] = wrk.format("GET", nil, one) end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
done = function(summary, latency)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad))
end
`,
  );
  // It counts in whole seconds; interrupted, it reports what it did until then, and how long that was.
  const args = ["-t1", `-c${connections}`, `-d${Math.ceil(ms / 1000) + 60}s`, "--timeout", "30s", "-s", script, url];
  const running = run("wrk", args);
  const interrupt = () => running.child.kill("SIGINT");
  // It takes no notice while it starts.
  const timers = [setTimeout(interrupt, ms), setInterval(interrupt, ms + SLACK_MS)];
  const { stdout } = await running.finally(() => timers.forEach(clearTimeout));
  const [, requests, duration_us, p50_us, p99_us, bad] = /RESULT (\d+) (\d+) (\d+) (\d+) (\d+)/.exec(stdout) ?? [];
  if (requests === undefined) throw new Error(`wrk said:\n${stdout}`);
  if (bad !== "0") throw new Error(`${bad} of ${requests} requests to ${url} failed`);
  return {
    requests: Number(requests),
    lasted_ms: Number(duration_us) / 1000,
    rps: (Number(requests) / Number(duration_us)) * 1e6,
    p50_ms: Number(p50_us) / 1000,
    p99_ms: Number(p99_us) / 1000,
  };
}

async function withNode({ url, connections, ms, headers }: Load): Promise<Turn> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const times_ms: number[] = [];
  const began_ms = performance.now();
  let turn = 0;
  const work = async (): Promise<void> => {
    while (performance.now() - began_ms < ms) {
      const sent_ms = performance.now();
      await get(url, headers[turn++ % headers.length] ?? {}, agent);
      times_ms.push(performance.now() - sent_ms);
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
  const lasted_ms = performance.now() - began_ms;
  agent.destroy();
  times_ms.sort((one, other) => one - other);
  const at = (share: number): number => times_ms[Math.floor(times_ms.length * share)] ?? Number.NaN;
  return {
    requests: times_ms.length,
    lasted_ms,
    rps: (times_ms.length / lasted_ms) * 1000,
    p50_ms: at(0.5),
    p99_ms: at(0.99),
  };
}

function get(url: string, headers: Readonly<Record<string, string>>, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const sending = request(url, { headers, agent }, (answer) => {
      const { statusCode = 500 } = answer;
      answer.on("error", reject);
      answer.resume().on("end", () => {
        if (statusCode < 400) resolve();
        else reject(new Error(`${url} answered ${statusCode}`));
      });
    });
    sending.on("error", reject);
    sending.end();
  });
}
