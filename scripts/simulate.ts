/**
 * What a month costs, from one envelope to ten million: requests, shards, lag, storage, rows and the bill at list prices,
 * beside a billing API called for each request and the usual way of keeping a balance. docs/scale.md says how to read it.
 *
 *   npm run simulate
 *   npm run simulate -- --bench bench.json      counts of `npm run bench -- --json > bench.json` instead of the last known
 *   npm run simulate -- --apart-ms 60000        another mirror rule; --first-ms too
 *   npm run simulate -- --chase                 … where a shipment also takes what arrives while it sends
 *   npm run simulate -- --json
 *
 * The mirror is played, charge by charge, for some envelopes of each kind; batches, alarms and lag come out of that and are
 * scaled. Prices are lists, counts are measured, activity is made up. It sees neither network nor Cloudflare.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { PACE } from "./lib/pace.ts";
import { differences } from "./simulate/check.ts";
import { DEFAULT_MEASURED, measuredFromReport } from "./simulate/measured.ts";
import { paced } from "./simulate/mirror.ts";
import { type Assumptions, monthOf, sample } from "./simulate/model.ts";
import { PROFILES } from "./simulate/profiles.ts";
import { type ProfileReport, type Report, written } from "./simulate/report.ts";
import { measureStorage } from "./simulate/storage.ts";

const { values } = parseArgs({
  options: {
    bench: { type: "string" },
    seed: { type: "string", default: "1" },
    "first-ms": { type: "string", default: String(PACE.wait_ms) },
    "apart-ms": { type: "string", default: String(PACE.apart_ms) },
    "object-ms": { type: "string", default: "10" },
    "batch-ms": { type: "string", default: "20" },
    peak: { type: "string", default: "3" },
    month: { type: "string", default: "12" },
    "raw-days": { type: "string", default: "90" },
    "price-cents": { type: "string", default: "1" },
    "api-percent": { type: "string", default: "0.7" },
    chase: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const wrong = differences();
if (wrong.length > 0) {
  console.error("The simulation does not do what its rule says:", wrong);
  process.exit(1);
}

const ENVELOPES = Array.from({ length: 8 }, (_, power) => 10 ** power);

const rule_ms = { first: number("first-ms"), apart: number("apart-ms"), chases: values.chase };
const times = { charge_ms: number("object-ms"), batch_ms: number("batch-ms") };
const assumptions: Assumptions = {
  seed: values.seed,
  rule: paced(rule_ms.first, rule_ms.apart, rule_ms.chases),
  times,
  peak: number("peak"),
  month: number("month"),
  raw_days: number("raw-days"),
  price_cents: number("price-cents"),
  api_percent: number("api-percent"),
};
const measured =
  values.bench === undefined
    ? DEFAULT_MEASURED
    : measuredFromReport(JSON.parse(readFileSync(values.bench, "utf8")), values.bench);
const bytes = measureStorage();

const profiles = PROFILES.map((profile): ProfileReport => {
  const sampled = profile.classes.map((one) => sample(one, assumptions));
  return {
    name: profile.name,
    what: profile.what,
    classes: profile.classes.map(({ name }, index) => {
      const { lags_ms: _lags, ...rest } = sampled[index] ?? {};
      return { name, ...rest };
    }),
    months: ENVELOPES.map((envelopes) => monthOf({ profile, envelopes, sampled, measured, bytes, assumptions })),
  };
});

const { rule: _rule, ...said } = assumptions;
const report: Report = { measured, bytes, assumptions: { ...said, rule_ms }, profiles };
console.log(values.json ? JSON.stringify(report, null, 2) : written(report));

function number(name: Exclude<keyof typeof values, "json" | "bench" | "seed" | "chase">): number {
  const value = Number(values[name]);
  if (!Number.isFinite(value) || value < 0) throw new TypeError(`--${name} must be a number, not below zero`);
  return value;
}
