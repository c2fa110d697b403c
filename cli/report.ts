/** What the command says. Every line passes through `redact`, and no secret is handed to it unmasked in the first place. */
import { linkOf, priceOf } from "./catalog.js";
import { DEV_VARS } from "./dev-vars.js";
import { endpointOf } from "./endpoint.js";
import type { Failure } from "./failure.js";
import type { Call, State, Storing, Wish } from "./model.js";
import { type Mode, redact } from "./secrets.js";

export interface Outcome {
  readonly wish: Wish;
  readonly mode: Mode | undefined;
  readonly dryRun: boolean;
  /** As found, before any step. */
  readonly before: State;
  readonly after: State;
  readonly done: readonly Done[];
  readonly notes: readonly string[];
  readonly problems: readonly Failure[];
}

export type Done =
  | { readonly step: Call; readonly id: string }
  | { readonly step: Storing; readonly shown: readonly string[]; readonly changed: boolean };

export function print(text: string): void {
  process.stdout.write(`${redact(text)}\n`);
}

export function printError(text: string): void {
  process.stderr.write(`${redact(text)}\n`);
}

const PAST = { create: "created", update: "updated", repeat: "asked" } as const;

export function doneLine(done: Done, wish: Wish): string {
  if ("id" in done) return line(PAST[done.step.kind], done.step.name, done.id, done.step.why);
  const place = wish.store === "wrangler" ? "wrangler" : DEV_VARS;
  return line(done.changed ? "stored" : "kept", place, done.shown.join(", "));
}

/** As a request would be written down, so that it can be compared with Stripe's documentation and logs. */
export function dryLine(done: Done, wish: Wish): string {
  if (!("id" in done)) {
    const { names } = done.step;
    return wish.store === "wrangler"
      ? names.map((name) => `npx wrangler secret put ${name}`).join("\n")
      : `write ${DEV_VARS}: ${names.join(", ")}`;
  }
  const { path, params, why } = done.step;
  return [`POST ${path}   # ${why}`, ...flatten(params).map((pair) => `  ${pair}`)].join("\n");
}

export function flatten(value: unknown, name = ""): string[] {
  if (typeof value !== "object" || value === null) return [`${name}=${String(value)}`];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, name === "" ? key : `${name}[${key}]`));
}

function line(verb: string, what: string, ...rest: string[]): string {
  return [verb.padEnd(8), what.padEnd(13), ...rest].join(" ").trimEnd();
}

/** What was there already, and is used. */
export function foundLines(wish: Wish, state: State): string[] {
  const found: (readonly [what: string, id: string | undefined])[] = [
    ["product", state.product_id],
    ["price", priceOf(wish, state)?.id],
    ["payment link", linkOf(wish, state)?.id],
    ["webhook", endpointOf(state)?.id],
  ];
  return found.flatMap(([what, id]) => (id === undefined ? [] : [line("found", what, id)]));
}

/** The options of `withEnvelope` that belong to this setup: every open link of ours buys credit. */
function workerOptions(wish: Wish, state: State) {
  const link = linkOf(wish, state);
  const others = state.links.filter(({ id }) => id !== link?.id);
  const currency = priceOf(wish, state)?.currency ?? "usd";
  const paymentLinks = [...(link ? [link] : []), ...others].map(({ id }) => id);
  return { ...(currency !== "usd" && { currency }), stripe: { paymentLinks } };
}

function optionLines({ currency, stripe }: ReturnType<typeof workerOptions>): string {
  const ids = stripe.paymentLinks.map((id) => JSON.stringify(id)).join(", ");
  return `${currency === undefined ? "" : `  currency: "${currency}",\n`}  stripe: { paymentLinks: [${ids}] }`;
}

export function summary({ wish, after, notes, dryRun, mode }: Outcome): string {
  const lines: string[] = [];
  const link = linkOf(wish, after);
  const endpoint = endpointOf(after);
  if (!dryRun) {
    lines.push("", `Payment link ${link?.id}: ${link?.url}`, `Webhook      ${endpoint?.id}: ${endpoint?.url}`);
    lines.push("", "Paste into the options of withEnvelope:", "", optionLines(workerOptions(wish, after)));
  } else {
    const account =
      mode === undefined ? "No key: shown as for an account without anything of this app." : "Nothing was changed.";
    lines.push("", `Dry run. ${account}`);
  }
  if (notes.length > 0) lines.push("", ...notes.map((note) => `- ${note}`));
  return lines.join("\n");
}

export function json(outcome: Outcome): string {
  const { wish, mode, dryRun, before, after, done, notes, problems } = outcome;
  const link = linkOf(wish, after);
  const endpoint = endpointOf(after);
  const [problem] = problems;
  const stored = done.flatMap((item) => ("id" in item ? [] : item.step.names));
  return redact(
    JSON.stringify({
      ok: problem === undefined,
      dry_run: dryRun,
      mode: mode ?? null,
      app: wish.app,
      product: { id: after.product_id, found: before.product_id === after.product_id },
      price: priceOf(wish, after),
      payment_link: { id: link?.id, url: link?.url },
      webhook: { id: endpoint?.id, url: endpoint?.url, api_version: endpoint?.api_version, events: endpoint?.events },
      calls: done.flatMap((item) => ("id" in item ? [callOf(item.step)] : [])),
      stored: { in: wish.store, names: stored },
      options: workerOptions(wish, after),
      notes,
      ...(problem && { error: { code: problem.code, message: problem.message } }),
    }),
  );
}

function callOf({ path, params, why }: Call) {
  return { method: "POST", path, params, why };
}
