/** How far the copy is behind the envelopes, the proof that it is right, and the way to make it anew. */
import type { AuditAnswer, HealthAnswer, ProofAnswer, RebuildAnswer } from "../../admin/api.js";
import type { Difference, ShardHealth } from "../../contract.js";
import { messageOf, post } from "../api.js";
import { openDialog } from "../dialog.js";
import { type Child, el, type VNode } from "../dom.js";
import { agoView, bytes, count, counted, duration, timeView } from "../format.js";
import { icon } from "../icons.js";
import type { Frame, Page } from "../page.js";
import { answered, badge, type Column, card, empty, envelopeLink, foreign, table } from "../parts.js";
import { auditTable } from "./envelope-tables.js";

const DIFFERENCES_MAX = 200;

interface Run {
  state: "running" | "done" | "stopped" | "failed";
  envelopes: number;
  entries: number;
  behind: number;
  differences: Difference[];
  unreachable: string[];
  problem?: string;
  at_ms: number;
}

const newRun = (): Run => ({
  state: "running",
  envelopes: 0,
  entries: 0,
  behind: 0,
  differences: [],
  unreachable: [],
  at_ms: Date.now(),
});

export function healthPage(frame: Frame): Page {
  const asked = frame.live.watch<HealthAnswer>(() => "/api/health", 4000);
  const audit = frame.live.watch<AuditAnswer>(() => "/api/audit?limit=20", 30_000);
  let proof: Run | undefined;
  let rebuild: Run | undefined;
  const prove = async () => {
    const run = newRun();
    proof = run;
    await pages(
      run,
      frame,
      (cursor) => post<ProofAnswer>("/api/proof", { cursor }, crypto.randomUUID()),
      (page: ProofAnswer) => {
        run.envelopes += page.envelopes;
        run.entries += page.entries;
        run.behind += page.behind;
        run.differences.push(...page.differences.slice(0, DIFFERENCES_MAX - run.differences.length));
      },
    );
  };
  const again = async (reason: string) => {
    const run = newRun();
    rebuild = run;
    await pages(
      run,
      frame,
      (cursor) => post<RebuildAnswer>("/api/rebuild", { cursor, reason }, crypto.randomUUID()),
      (page: RebuildAnswer) => {
        run.envelopes += page.asked;
        run.unreachable.push(...page.unreachable);
      },
    );
    frame.live.reload();
  };
  const all = () => asked.value?.shards.reduce((sum, { envelopes }) => sum + envelopes, 0) ?? 0;
  return {
    title: "Mirror",
    view: () => [
      el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Mirror")),
      el(
        "p",
        { class: "lead" },
        "Figures across envelopes come from a copy of every entry. Balances and charges never do: an envelope decides by itself.",
      ),
      answered(asked, ({ shards }) => [figures(shards)], 3),
      el(
        "div",
        { class: "grid halves" },
        proofCard(proof, all(), frame, () => void prove()),
        frame.session.readOnly ? null : rebuildCard(rebuild, all(), frame, (reason) => void again(reason)),
      ),
      card(
        { title: "Shards", wide: "flush", key: "shards" },
        answered(asked, ({ shards }) => shardTable(shards)),
      ),
      card(
        { title: "Audit", note: "What the owner did to the mirror", wide: "flush", key: "audit" },
        answered(audit, (value) => auditTable(value.audit, false, "the mirror")),
      ),
    ],
  };
}

/** Page by page to the end, or until it is stopped. */
async function pages<P extends { readonly cursor: string | null }>(
  run: Run,
  frame: Frame,
  ask: (cursor: string | null) => Promise<P>,
  take: (page: P) => void,
): Promise<void> {
  let cursor: string | null = null;
  try {
    do {
      frame.draw();
      const page: P = await ask(cursor);
      take(page);
      cursor = page.cursor;
    } while (cursor !== null && run.state === "running");
    if (run.state === "running") run.state = "done";
  } catch (error) {
    run.state = "failed";
    run.problem = messageOf(error);
  }
  run.at_ms = Date.now();
  frame.draw();
}

function figures(shards: readonly ShardHealth[]): VNode {
  const sum = (of: (shard: ShardHealth) => number) => shards.reduce((total, shard) => total + of(shard), 0);
  const lag_ms = Math.max(0, ...shards.map((shard) => shard.lag_ms));
  const one = (name: string, value: string, note: string) =>
    el(
      "div",
      { class: "figure", key: name },
      el("h2", null, name),
      el("p", { class: "big" }, value),
      el("p", { class: "note" }, note),
    );
  return el(
    "div",
    { class: "figures" },
    one("Lag", duration(lag_ms), "of the slowest shard"),
    one(
      "Behind",
      count(sum(({ behind }) => behind)),
      `of ${counted(
        sum(({ envelopes }) => envelopes),
        "envelope",
      )}`,
    ),
    one("Entries", count(sum(({ entries }) => entries)), `${count(sum(({ raw_events }) => raw_events))} kept in full`),
    one("Stored", bytes(sum(({ database_bytes }) => database_bytes)), `in ${counted(shards.length, "shard")}`),
  );
}

const SHARDS: readonly Column<ShardHealth>[] = [
  { head: "Shard", kind: "grow", cell: ({ shard }) => foreign(shard, "mono") },
  { head: "Envelopes", kind: "num", cell: ({ envelopes }) => count(envelopes) },
  { head: "Entries", kind: "num", cell: ({ entries }) => count(entries) },
  { head: "Lag", kind: "num", cell: ({ lag_ms }) => duration(lag_ms) },
  { head: "Behind", kind: "num", cell: ({ behind }) => (behind === 0 ? "0" : badge(count(behind), "warn")) },
  { head: "Gaps", kind: "num wide", cell: ({ gaps }) => count(gaps) },
  { head: "Duplicates", kind: "num wide", cell: ({ duplicates }) => count(duplicates) },
  {
    head: "Last batch",
    kind: "num wide",
    cell: ({ last_batch_at_ms }) => (last_batch_at_ms === null ? "–" : agoView(last_batch_at_ms)),
  },
  {
    head: "In full since",
    kind: "wide",
    cell: ({ raw_since_ms }) => (raw_since_ms === null ? "–" : timeView(raw_since_ms)),
  },
  { head: "Size", kind: "num wide", cell: ({ database_bytes }) => bytes(database_bytes) },
];

function shardTable(shards: readonly ShardHealth[]): Child {
  if (shards.length === 0) return empty("health", "No shards yet", "The first entry makes one.");
  return table({ label: "Shards", columns: SHARDS, rows: shards, key: ({ shard }) => shard });
}

function progress(run: Run, all: number, words: string): VNode {
  const most = Math.max(all, run.envelopes, 1);
  return el(
    "div",
    { class: "progress" },
    el("progress", {
      max: String(most),
      "aria-label": words,
      value: undefined,
      "data-at": run.envelopes,
      mount: mountProgress,
    }),
    el("p", { class: "note" }, `${count(run.envelopes)} of ${counted(Math.max(all, run.envelopes), "envelope")}`),
  );
}

function mountProgress(element: HTMLElement): () => void {
  return () => {
    (element as HTMLProgressElement).value = Number(element.dataset["at"]);
  };
}

function proofCard(run: Run | undefined, all: number, frame: Frame, start: () => void): VNode {
  const running = run?.state === "running";
  const stop = () => {
    if (run !== undefined) run.state = "stopped";
    frame.draw();
  };
  const button = running
    ? el("button", { type: "button", class: "button", key: "stop", onclick: stop }, "Stop")
    : el("button", { type: "button", class: "button primary", key: "start", onclick: start }, "Run the proof");
  return card(
    {
      title: "Proof",
      note: "Compares every copied figure with the envelopes themselves, down to the last digit.",
      key: "proof",
    },
    el(
      "div",
      { class: "run" },
      run === undefined ? null : [running ? progress(run, all, "Proof") : verdict(run)],
      el("div", { class: "buttons start" }, button),
    ),
  );
}

function verdict(run: Run): VNode {
  const { state, differences, envelopes, entries, behind, problem } = run;
  if (state === "failed") return el("p", { class: "problem", role: "alert" }, problem ?? "");
  const good = differences.length === 0;
  const text = good
    ? state === "done"
      ? "Everything agrees"
      : "Stopped; nothing differed so far"
    : counted(differences.length, "difference");
  return el(
    "div",
    { class: "verdict", role: "status" },
    el("p", { class: good ? "yes" : "no" }, icon(good ? "check" : "alert"), text),
    el(
      "p",
      { class: "note" },
      `${counted(envelopes, "envelope")}, ${counted(entries, "entry", "entries")}${behind > 0 ? `, ${count(behind)} still on their way` : ""}, `,
      timeView(run.at_ms),
    ),
    good ? null : differenceTable(differences),
  );
}

function differenceTable(rows: readonly Difference[]): VNode {
  return table<Difference>({
    label: "Differences",
    tall: true,
    rows,
    key: (_row, index) => index,
    columns: [
      { head: "Envelope", cell: ({ envelope_id }) => (envelope_id === null ? "all" : envelopeLink(envelope_id)) },
      { head: "Figure", kind: "grow", cell: ({ what }) => foreign(what) },
      {
        head: "Should be",
        kind: "num",
        cell: ({ expected, exact }) => count(exact ? BigInt(exact.expected) : expected),
      },
      { head: "Is", kind: "num", cell: ({ found, exact }) => count(exact ? BigInt(exact.found) : found) },
    ],
  });
}

function rebuildCard(run: Run | undefined, all: number, frame: Frame, start: (reason: string) => void): VNode {
  const running = run?.state === "running";
  const after =
    run === undefined || running
      ? null
      : run.state === "failed"
        ? el("p", { class: "problem", role: "alert" }, run.problem ?? "")
        : el(
            "div",
            { class: "verdict", role: "status" },
            el(
              "p",
              { class: "yes" },
              icon("check"),
              `${counted(run.envelopes, "envelope")} asked to send everything again`,
            ),
            run.unreachable.length === 0
              ? null
              : el(
                  "p",
                  { class: "note" },
                  `${count(run.unreachable.length)} could not be reached: `,
                  foreign(run.unreachable.join(" ")),
                ),
          );
  return card(
    {
      title: "Rebuild",
      note: "Forgets the copy and asks every envelope for all of its entries again. No money moves.",
      key: "rebuild",
    },
    el(
      "div",
      { class: "run" },
      running && run !== undefined ? progress(run, all, "Rebuild") : after,
      el(
        "div",
        { class: "buttons start" },
        el(
          "button",
          { type: "button", class: "button", disabled: running, onclick: () => confirmRebuild(frame, start) },
          "Rebuild the mirror…",
        ),
      ),
    ),
  );
}

function confirmRebuild(_frame: Frame, start: (reason: string) => void): void {
  openDialog("Rebuild the mirror", (dialog) => {
    const submit = (event: SubmitEvent) => {
      event.preventDefault();
      const reason = String(new FormData(event.currentTarget as HTMLFormElement).get("reason") ?? "").trim();
      if (reason === "") return;
      dialog.close();
      start(reason);
    };
    return el(
      "form",
      { class: "form", onsubmit: submit },
      el(
        "div",
        { class: "restate" },
        el(
          "p",
          null,
          "All figures across envelopes are forgotten and counted anew. Until every envelope has answered, the overview shows ",
          el("strong", null, "less than there is"),
          ". Balances and charges are not touched.",
        ),
      ),
      el(
        "div",
        { class: "field" },
        el("label", { for: "rebuild-reason" }, "Reason"),
        el("textarea", { id: "rebuild-reason", name: "reason", rows: "2", maxlength: "256", required: true }),
      ),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"),
        el("button", { type: "submit", class: "button primary danger" }, "Rebuild"),
      ),
    );
  });
}
