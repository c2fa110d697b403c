/**
 * Metered sessions that end at random: the client closes, or vanishes without a close frame; the app closes, or fails; the money runs
 * out; the envelope's object is reset; the whole server is killed (SIGKILL). Afterwards no envelope keeps anything, and all that was
 * held was settled or released.
 *
 *   npm run chaos:meter -- --sessions 10000 --seed 1 --json
 *   npm run chaos:meter -- --control keep      asserts that the harness can fail: envelopes that keep what a meter left
 *
 * Exits 0 for pass, 1 for fail.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { run } from "./meter-chaos/run.ts";
import { ENDINGS } from "./meter-chaos/session.ts";

const { values } = parseArgs({
  options: {
    sessions: { type: "string", default: "10000" },
    seed: { type: "string", default: String(randomInt(1, 1_000_000_000)) },
    clients: { type: "string", default: "48" },
    envelopes: { type: "string", default: "12" },
    control: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
if (values.control !== undefined && values.control !== "keep") throw new TypeError("--control must be keep");
const keep = values.control === "keep";
const input = {
  sessions: wholeNumber("sessions", values.sessions),
  seed: wholeNumber("seed", values.seed),
  clients: wholeNumber("clients", values.clients),
  envelopes: wholeNumber("envelopes", values.envelopes),
  keep,
  say: (text: string) => console.error(text),
};
console.error(`seed ${input.seed}, ${input.sessions} sessions`);
const { told, findings, ...figures } = await run(input);
const rules = counted(findings.map(({ rule }) => rule));
const settled = figures.settled_micros + figures.released_micros === figures.held_micros;
const passed = keep ? (rules["kept"] ?? 0) > 0 : findings.length === 0 && settled;
const report = {
  verdict: passed ? "pass" : "fail",
  control: values.control ?? null,
  seed: input.seed,
  sessions: told.length,
  endings: { ...Object.fromEntries(ENDINGS.map((name) => [name, 0])), ...counted(told.map(({ ending }) => ending)) },
  refused: counted(told.flatMap(({ refused }) => (refused === undefined ? [] : [String(refused)]))),
  frames: told.reduce((sum, { sent, received }) => sum + sent + received, 0),
  ...figures,
  findings: rules,
  examples: findings.slice(0, 10).map(({ rule, what }) => `${rule}: ${what}`),
};
console.log(JSON.stringify(report, null, 2));
process.exitCode = passed ? 0 : 1;

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}
