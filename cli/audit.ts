/**
 * `with-envelope audit`: reads the audit of an envelope, or of all, line by line and checks that each line seals the one before it. Says
 * the rule over again, apart from the code that writes the lines, so that a fault in that one shows.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { usage } from "./failure.js";
import { type Owner, owner } from "./owner.js";
import { print } from "./report.js";

export const AUDIT_HELP = `Usage: with-envelope audit <origin> [envelope …] [--against <file>] [--path /db] [--json]

  Checks that no audit line was changed, dropped or put in later: each line's hash covers the line and the hash before it.
  Without an envelope's id or reference: all envelopes that the directory or the aggregate knows, and the owner's own audit.
  Prints the newest hash of each. That the newest lines were cut off, or all of them written anew, shows only to whoever kept
  such a hash elsewhere: keep what --json prints, and hold later runs against it.
  Exit status 0: every line follows, and what was kept is still there. 1: one does not, and is named.

  --against  a file with what an earlier run printed with --json

  The owner's secret is read from the environment variable ENVELOPE_ADMIN_SECRET, else from .dev.vars.
`;

interface Line {
  readonly audit_id: number;
  readonly at_ms: number;
  readonly actor: string;
  readonly action: string;
  readonly reason: string | null;
  readonly before: string | null;
  readonly after: string | null;
  readonly hash: string;
}

interface Checked {
  readonly name: string;
  readonly lines: number;
  readonly hash: string | null;
  /** The first line that does not follow, or the one that was kept and is not there. */
  readonly broken: number | null;
}

/** What an earlier run saw. */
type Kept = Pick<Checked, "name" | "lines" | "hash">;

export async function audit(argv: readonly string[]): Promise<number> {
  const asked = owner(argv, AUDIT_HELP);
  const kept = asked.against === undefined ? [] : readKept(asked.against);
  const names = asked.names.length > 0 ? new Set(asked.names) : await allNames(asked, kept);
  const checked: Checked[] = [];
  for (const name of names) {
    const one = await check(
      asked,
      name,
      name === OWNER ? "/api/audit" : `/api/envelopes/${encodeURIComponent(name)}/audit`,
    );
    checked.push(
      heldAgainst(
        one,
        kept.find((earlier) => earlier.name === name),
      ),
    );
  }
  const broken = checked.filter((one) => one.broken !== null);
  if (asked.json) print(JSON.stringify({ ok: broken.length === 0, audits: checked }));
  else {
    for (const { name, lines, hash, broken: line } of checked) {
      if (line !== null)
        print(`${name}: line ${line} does not follow the one before it, or is not the one that was kept`);
      else if (lines > 0) print(`${name}: ${lines} lines, ${hash}`);
    }
    print(`${checked.length} audits, ${broken.length} broken`);
  }
  return broken.length === 0 ? 0 : 1;
}

/** The audit of what was done to the mirror as a whole. No envelope is called that. */
const OWNER = "owner";

function readKept(file: string): readonly Kept[] {
  try {
    const { audits } = JSON.parse(readFileSync(file, "utf8")) as { readonly audits: readonly Kept[] };
    if (audits.every(({ name, lines }) => typeof name === "string" && Number.isSafeInteger(lines))) return audits;
  } catch {
    // Told below.
  }
  throw usage(`--against: ${file} is not what an earlier run printed with --json`);
}

/** Of those that were kept, too: one that is gone is found missing. */
async function allNames(asked: Owner, kept: readonly Kept[]): Promise<ReadonlySet<string>> {
  const names = new Set([OWNER]);
  for await (const page of pages<Page & { readonly envelope_ids: readonly string[] }>(
    asked,
    "/api/enrolled?limit=500",
  )) {
    for (const id of page.envelope_ids) names.add(id);
  }
  // An earlier version enrolled none that nothing was paid into.
  for await (const page of pages<Page & { readonly envelopes: readonly { readonly envelope_id: string }[] }>(
    asked,
    "/api/envelopes?order=id&limit=500",
  )) {
    for (const { envelope_id } of page.envelopes) names.add(envelope_id);
  }
  for (const { name } of kept) names.add(name);
  return names;
}

interface Page {
  readonly next: string | null;
}

async function* pages<One extends Page>(asked: Owner, path: string): AsyncGenerator<Awaited<One>> {
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page = (await asked.ask(
      cursor === "" ? path : `${path}&cursor=${encodeURIComponent(cursor)}`,
    )) as Awaited<One>;
    yield page;
    cursor = page.next;
  }
}

interface Read extends Checked {
  /** Of each line, oldest first. */
  readonly hashes: readonly string[];
}

/** Everything up to a hash is the same as long as that hash is where it was. */
function heldAgainst({ hashes, ...checked }: Read, kept: Kept | undefined): Checked {
  const same = kept === undefined || kept.lines === 0 || hashes[kept.lines - 1] === kept.hash;
  return same || checked.broken !== null
    ? checked
    : { ...checked, hash: null, broken: Math.min(kept.lines, hashes.length + 1) };
}

/** Pages come newest first, so each line is checked against the one that came before it in this order: the one it is sealed by. */
async function check(asked: Owner, name: string, path: string): Promise<Read> {
  const lines: Line[] = [];
  for await (const page of pages<Page & { readonly audit: readonly Line[] }>(asked, `${path}?limit=500`)) {
    lines.push(...page.audit);
  }
  lines.reverse();
  const hashes = lines.map(({ hash }) => hash);
  let previous: Line | undefined;
  for (const line of lines) {
    const follows = line.audit_id === (previous?.audit_id ?? 0) + 1 && line.hash === seal(previous?.hash ?? "", line);
    if (!follows) return { name, lines: lines.length, hash: null, broken: (previous?.audit_id ?? 0) + 1, hashes };
    previous = line;
  }
  return { name, lines: lines.length, hash: previous?.hash ?? null, broken: null, hashes };
}

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HASH_CHARS = 43;

/** Base62 of SHA-256 over a JSON array: the hash before, then the line's parts in this order (docs/storage.md). */
function seal(previous: string, { audit_id, at_ms, actor, action, reason, before, after }: Line): string {
  const text = JSON.stringify([previous, audit_id, at_ms, actor, action, reason, before, after]);
  let rest = BigInt(`0x${createHash("sha256").update(text).digest("hex")}`);
  let written = "";
  for (; rest > 0n; rest /= 62n) written = BASE62.charAt(Number(rest % 62n)) + written;
  return written.padStart(HASH_CHARS, "0");
}
