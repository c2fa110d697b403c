import { env } from "cloudflare:workers";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { abort, COMMANDS, crash, drain, grant, hold, refund, revoke, wait } from "./commands.js";
import { compare, START } from "./compare.js";
import type { Line, Model } from "./model.js";
import { counted } from "./real.js";

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterAll(() => {
  vi.useRealTimers();
});

/** What random commands must have come to, for a run of them to say anything about lots. */
const seen = {
  "an expiry": 0,
  "a revocation of something": 0,
  "a charge of several sources": 0,
  "a charge of what was paid before what was given": 0,
  "a refund to several sources": 0,
  "a refund to a grant that is over": 0,
  "a settlement of a grant that is over": 0,
  "a claw-back that leaves a grant beside a debt": 0,
};

function look(model: Model): void {
  const { lines } = model;
  const gone = (line: Line | undefined) => line?.kind === "expiry" || line?.kind === "revocation";
  const endedBefore = (line: Line) => lines.filter((one) => gone(one) && one.seq < line.seq).map(({ ref }) => ref);
  for (const line of lines) {
    const { kind, links, hold } = line;
    const sources = links.map(([source]) => source);
    const over = sources.some((source) => endedBefore(line).includes(source));
    if (kind === "expiry") seen["an expiry"] += 1;
    if (kind === "revocation" && line.amount < 0n) seen["a revocation of something"] += 1;
    if (kind === "charge" && links.length > 1) seen["a charge of several sources"] += 1;
    if (kind === "charge" && sources.indexOf(0) !== -1 && sources.at(-1) !== 0)
      seen["a charge of what was paid before what was given"] += 1;
    if (kind === "refund" && links.length > 1) seen["a refund to several sources"] += 1;
    if (kind === "refund" && over) seen["a refund to a grant that is over"] += 1;
    if (kind === "charge" && hold !== undefined && over) seen["a settlement of a grant that is over"] += 1;
    if (kind === "clawback") {
      const until = lines.filter(({ seq }) => seq <= line.seq);
      const paid = until
        .flatMap((one) => one.links)
        .reduce((sum, [source, part]) => (source === 0 ? sum + part : sum), 0n);
      const all = until.reduce((sum, one) => sum + one.amount, 0n);
      if (paid < 0n && all > paid) seen["a claw-back that leaves a grant beside a debt"] += 1;
    }
  }
}

// `CASES=100000` runs as many.
it("I1 I2 I4 T87 T88 grants, expiry, tags, refunds, claw-backs and holds, through time, clocks set back and crashes", {
  timeout: 3_600_000,
}, async () => {
  const enough = counted.commands + Number(env.CASES || 1_000);
  const lots = [
    drain,
    drain,
    grant,
    grant,
    grant,
    hold,
    hold,
    refund,
    refund,
    revoke,
    wait,
    wait,
    wait,
    wait,
    wait,
    abort,
    crash,
  ];
  // The rarest of it may take some more; that it never comes is a failure.
  const isMissing = () => Object.values(seen).includes(0) && counted.commands < enough + 10_000;
  while (counted.commands < enough || isMissing()) await compare([...COMMANDS, ...lots], 5, look);
  for (const [what, often] of Object.entries(seen)) expect(often, what).toBeGreaterThan(0);
});
