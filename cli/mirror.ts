/**
 * `with-envelope proof` and `with-envelope rebuild`: the owner's two questions to the mirror, asked of a deployed Worker page by
 * page through its own API.
 */
import { usage } from "./failure.js";
import { owner } from "./owner.js";
import { print } from "./report.js";

export const PROOF_HELP = `Usage: with-envelope proof <origin> [--path /db] [--json]

  Compares the aggregate with every envelope's own ledger, and its sums with each other. Changes nothing.
  Exit status 0: no difference. 1: differences, which are printed.

  <origin>  where the Worker is, such as https://example.com
  --path    what options.paths.admin says; default /db

  The owner's secret is read from the environment variable ENVELOPE_ADMIN_SECRET, else from .dev.vars.
`;

export const REBUILD_HELP = `Usage: with-envelope rebuild <origin> --reason <text> [--path /db] [--json]

  Forgets what the aggregate copied and has every envelope send everything again. Money and charges are not touched; reports are
  incomplete until the envelopes have sent. Run "with-envelope proof" afterwards.

  The owner's secret is read from the environment variable ENVELOPE_ADMIN_SECRET, else from .dev.vars.
`;

interface ProofPage {
  readonly envelopes: number;
  readonly entries: number;
  readonly behind: number;
  readonly differences: readonly {
    readonly envelope_id: string | null;
    readonly what: string;
    readonly expected: number;
    readonly found: number;
    readonly exact?: { readonly expected: string; readonly found: string };
  }[];
  readonly cursor: string | null;
}

interface RebuildPage {
  readonly asked: number;
  readonly unreachable: readonly string[];
  readonly cursor: string | null;
}

export async function proof(argv: readonly string[]): Promise<number> {
  const { ask, json } = ownerOf(argv, PROOF_HELP);
  const total = { envelopes: 0, entries: 0, behind: 0, differences: [] as ProofPage["differences"][number][] };
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = (await ask("/api/proof", { cursor: cursor ?? null })) as ProofPage;
    total.envelopes += page.envelopes;
    total.entries += page.entries;
    total.behind += page.behind;
    total.differences.push(...page.differences);
    cursor = page.cursor;
  }
  const { envelopes, entries, behind, differences } = total;
  if (json) print(JSON.stringify({ ok: differences.length === 0, ...total }));
  else {
    for (const { envelope_id, what, expected, found, exact } of differences) {
      print(
        `${envelope_id ?? "sums"}: ${what} is ${exact?.found ?? found}, and should be ${exact?.expected ?? expected}`,
      );
    }
    print(`${envelopes} envelopes, ${entries} entries, ${behind} behind: ${differences.length} differences`);
  }
  return differences.length === 0 ? 0 : 1;
}

export async function rebuild(argv: readonly string[]): Promise<number> {
  const { ask, json, reason } = ownerOf(argv, REBUILD_HELP);
  if (reason === undefined || reason === "")
    throw usage(`--reason is needed: it goes into the audit.\n\n${REBUILD_HELP}`);
  let asked = 0;
  const unreachable: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = (await ask("/api/rebuild", { cursor: cursor ?? null, reason })) as RebuildPage;
    asked += page.asked;
    unreachable.push(...page.unreachable);
    cursor = page.cursor;
  }
  if (json) print(JSON.stringify({ ok: unreachable.length === 0, asked, unreachable }));
  else {
    for (const id of unreachable) print(`${id} could not be reached`);
    // An envelope may be asked twice: as one that was copied, and as one that the directory knows.
    print(`Envelopes were asked ${asked} times to send everything again`);
  }
  return unreachable.length === 0 ? 0 : 1;
}

/** Takes an origin and nothing else. */
function ownerOf(argv: readonly string[], help: string) {
  const known = owner(argv, help);
  if (known.names.length > 0) throw usage(`One origin is needed.\n\n${help}`);
  return known;
}
