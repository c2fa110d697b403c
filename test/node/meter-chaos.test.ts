/** Metered sessions that end at random, short; and the negative control, without which a pass would mean little. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type Book, type HoldRow, judge } from "../../scripts/meter-chaos/judge.ts";
import type { Told } from "../../scripts/meter-chaos/told.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/meter-chaos.ts", import.meta.url));

function chaos(...args: readonly string[]): {
  readonly status: number | null;
  readonly report: Record<string, unknown>;
} {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: "utf8" });
  if (!stdout.startsWith("{")) throw new Error(`The harness gave no report:\n${stderr}`);
  return { status, report: JSON.parse(stdout) as Record<string, unknown> };
}

test("T19 T20 T98 T100 T101 all that was held for a metered socket or body is settled or released, however it ends", () => {
  const { status, report } = chaos("--sessions", "800");
  expect(report).toMatchObject({ verdict: "pass", findings: {}, examples: [] });
  expect(status).toBe(0);
  expect(Number(report["settled_micros"]) + Number(report["released_micros"])).toBe(report["held_micros"]);
  expect(report["kills"]).toBeGreaterThan(0);
  expect(report["lapsed"]).toBeGreaterThan(0);
});

test.each([
  ["envelopes that keep what a meter left", "keep"],
  ["bodies that are paid for in the flush of a transform stream", "flush"],
])("negative control: %s, and the harness sees it", (_, control) => {
  const { status, report } = chaos("--sessions", "300", "--control", control);
  expect(report).toMatchObject({ verdict: "pass", control });
  expect(status).toBe(0);
  expect((report["findings"] as Record<string, number>)["kept"]).toBeGreaterThan(0);
});

const told: Told = {
  path: "/s",
  envelope: 0,
  ending: "client_closes",
  price_micros: 10,
  least: 2,
  most: 3,
  short: false,
  began_ms: 10_000,
  ended_ms: 20_000,
  refused: undefined,
};

/** One session, of which `paid` was charged and its hold says so. */
function bookOf(paid: number, more: Partial<Book> = {}, hold: Partial<HoldRow> = {}): Book {
  const left = 1_000 - paid;
  const row = {
    hold_id: 1,
    state: "settled",
    amount_micros: 50,
    paid_micros: paid,
    reason: "GET /s",
    charged_micros: paid,
  };
  return {
    granted_micros: 1_000,
    balance_micros: left,
    available_micros: left,
    held_micros: 0,
    entries: [{ kind: "charge", amount_micros: 0 - paid, reason: "GET /s", balance_micros: left }],
    holds: [{ ...row, entries: 1, ...hold }],
    ...more,
  };
}

test.each<[string, Book, Partial<Told>, readonly number[], readonly string[]]>([
  ["all as it should be", bookOf(20), {}, [], []],
  ["less than was delivered", bookOf(10), {}, [], ["undercharged"]],
  ["the same, of a session whose server was killed", bookOf(10), {}, [15_000], []],
  ["more than went through", bookOf(40), {}, [], ["overcharged"]],
  ["money that is still held", bookOf(20, { held_micros: 5 }), {}, [], ["kept"]],
  ["a hold that is still open", bookOf(20, {}, { state: "open" }), {}, [], ["kept"]],
  ["a hold that says another price than the ledger", bookOf(20, {}, { paid_micros: 30 }), {}, [], ["unequal"]],
  ["a hold that was charged twice", bookOf(20, {}, { entries: 2 }), {}, [], ["unequal"]],
  ["less than nothing", bookOf(20, { available_micros: -1 }), {}, [], ["negative"]],
  ["a balance that does not add up", bookOf(20, { granted_micros: 999 }), {}, [], ["balance"]],
  ["a body that was cut too early", bookOf(20), { short: true }, [], ["short"]],
  ["a charge of no session", bookOf(20), { path: "/t", least: 0 }, [], ["stray"]],
])("the harness judges %s", (_, book, more, kills_ms, rules) => {
  expect(judge([{ ...told, ...more }], [book], kills_ms).map(({ rule }) => rule)).toEqual(rules);
});
