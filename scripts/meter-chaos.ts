/**
 * Metered sockets and bodies that end at random: the client closes, or vanishes; the app or its upstream closes, or fails; the money
 * runs out; the envelope's object is reset; the whole server is killed (SIGKILL). Afterwards no envelope keeps anything, and all that
 * was held was settled or released.
 *
 *   npm run chaos:meter -- --sessions 10000 --seed 1 --json
 *   npm run chaos:meter -- --control keep      asserts that the harness can fail: envelopes that keep what a meter left
 *   npm run chaos:meter -- --control flush     and: bodies that are paid for in the flush of a transform stream
 *
 * Exits 0 for pass, 1 for fail.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { run } from "./meter-chaos/run.ts";
import { SOCKET_ENDINGS } from "./meter-chaos/socket.ts";
import { STREAM_ENDINGS } from "./meter-chaos/stream.ts";

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
/** What each control has to be caught at. */
const CAUGHT: Readonly<Record<"keep" | "flush", readonly string[]>> = {
  keep: ["kept"],
  // What nobody flushed is held until its lease is over, and was never paid for from then on: whichever it is when the books are read.
  flush: ["kept", "undercharged"],
};
const control = oneOf(values.control);
const input = {
  sessions: wholeNumber("sessions", values.sessions),
  seed: wholeNumber("seed", values.seed),
  clients: wholeNumber("clients", values.clients),
  envelopes: wholeNumber("envelopes", values.envelopes),
  control,
  say: (text: string) => console.error(text),
};
console.error(`seed ${input.seed}, ${input.sessions} sessions`);
const { told, findings, ...figures } = await run(input);
const rules = counted(findings.map(({ rule }) => rule));
const settled = figures.settled_micros + figures.released_micros === figures.held_micros;
const passed =
  control === undefined ? findings.length === 0 && settled : CAUGHT[control].some((rule) => (rules[rule] ?? 0) > 0);
const report = {
  verdict: passed ? "pass" : "fail",
  control: control ?? null,
  seed: input.seed,
  sessions: told.length,
  endings: { ...none([...SOCKET_ENDINGS, ...STREAM_ENDINGS]), ...counted(told.map(({ ending }) => ending)) },
  refused: counted(told.flatMap(({ refused }) => (refused === undefined ? [] : [String(refused)]))),
  units: told.reduce((sum, { least }) => sum + least, 0),
  ...figures,
  findings: rules,
  examples: findings.slice(0, 10).map(({ rule, what }) => `${rule}: ${what}`),
};
console.log(JSON.stringify(report, null, 2));
process.exitCode = passed ? 0 : 1;

function oneOf(name: string | undefined): keyof typeof CAUGHT | undefined {
  if (name === undefined || name === "keep" || name === "flush") return name;
  throw new TypeError("--control must be keep or flush");
}

function none(names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, 0]));
}

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw new TypeError(`--${name} must be a whole number above zero`);
  return Number(text);
}
