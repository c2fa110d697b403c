/**
 * The crash harness: clients spend and pay while the whole server is killed (SIGKILL) about twice a second and restarted
 * on the same storage. Afterwards every promise is held against every ledger.
 *
 *   npm run chaos -- --seconds 60 --seed 1 --json
 *   npm run chaos -- --control no-keys     asserts that the harness can fail: retries without a stable key must double
 *
 * Exits 0 for pass, 1 for fail, 2 for unknown. What this does not show: SIGKILL is no power loss, and one machine's disk is
 * not Cloudflare's replicated storage.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { printable, reportOf } from "./chaos/report.ts";
import { type RunInput, run } from "./chaos/run.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(randomInt(1, 1_000_000_000)) },
    clients: { type: "string", default: "32" },
    envelopes: { type: "string", default: "12" },
    control: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
if (values.control !== undefined && values.control !== "no-keys") throw new TypeError("--control must be no-keys");

const input: RunInput = {
  seconds: wholeNumber("seconds", values.seconds),
  seed: wholeNumber("seed", values.seed),
  clients: wholeNumber("clients", values.clients),
  envelopes: wholeNumber("envelopes", values.envelopes),
  freshKeys: values.control === "no-keys",
  onRound: ({ history, findings, restarts_ms }) =>
    console.error(
      `round over: ${history.told.length} operations, ${restarts_ms.length} kills, ${findings.length} findings`,
    ),
};
console.error(`seed ${input.seed}, ${input.seconds} s`);
const report = reportOf(input, await run(input));
console.log(values.json ? JSON.stringify(report, null, 2) : printable(report));
process.exitCode = { pass: 0, fail: 1, unknown: 2 }[report.verdict];

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}
