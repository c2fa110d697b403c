/**
 * `with-envelope audit`: reads the audit of an envelope, or of all, line by line and checks that each line seals the one before it. Says
 * the rule over again, apart from the code that writes the lines, so that a fault in that one shows.
 */
import { createHash } from "node:crypto";
import { type Owner, owner } from "./owner.js";
import { print } from "./report.js";

export const AUDIT_HELP = `Usage: with-envelope audit <origin> [envelope …] [--path /db] [--json]

  Checks that no audit line was changed, dropped or put in later: each line's hash covers the line and the hash before it.
  Without an envelope's id or reference: all envelopes that the aggregate knows, and the owner's own audit.
  Prints the newest hash of each. Whoever keeps it elsewhere can tell later that everything up to it is still the same.
  Exit status 0: every line follows. 1: one does not, and is named.

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
  /** The first line that does not follow. */
  readonly broken: number | null;
}

export async function audit(argv: readonly string[]): Promise<number> {
  const asked = owner(argv, AUDIT_HELP);
  const checked: Checked[] = [];
  for (const name of asked.names)
    checked.push(await check(asked, name, `/api/envelopes/${encodeURIComponent(name)}/audit`));
  if (asked.names.length === 0) {
    checked.push(await check(asked, "owner", "/api/audit"));
    for await (const id of envelopes(asked)) checked.push(await check(asked, id, `/api/envelopes/${id}/audit`));
  }
  const broken = checked.filter((one) => one.broken !== null);
  if (asked.json) print(JSON.stringify({ ok: broken.length === 0, audits: checked }));
  else {
    for (const { name, lines, hash, broken: line } of checked) {
      if (line !== null) print(`${name}: line ${line} does not follow the one before it`);
      else if (lines > 0) print(`${name}: ${lines} lines, ${hash}`);
    }
    print(`${checked.length} audits, ${broken.length} broken`);
  }
  return broken.length === 0 ? 0 : 1;
}

async function* envelopes(asked: Owner): AsyncGenerator<string> {
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query: string = `?order=id&limit=500${cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = (await asked.ask(`/api/envelopes${query}`)) as {
      readonly envelopes: readonly { readonly envelope_id: string }[];
      readonly next: string | null;
    };
    for (const { envelope_id } of page.envelopes) yield envelope_id;
    cursor = page.next;
  }
}

/** Pages come newest first, so each line is checked against the one that came before it in this order: the one it is sealed by. */
async function check(asked: Owner, name: string, path: string): Promise<Checked> {
  const lines: Line[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query: string = `?limit=500${cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = (await asked.ask(path + query)) as { readonly audit: readonly Line[]; readonly next: string | null };
    lines.push(...page.audit);
    cursor = page.next;
  }
  lines.reverse();
  let previous: Line | undefined;
  for (const line of lines) {
    const follows = line.audit_id === (previous?.audit_id ?? 0) + 1 && line.hash === seal(previous?.hash ?? "", line);
    if (!follows) return { name, lines: lines.length, hash: null, broken: (previous?.audit_id ?? 0) + 1 };
    previous = line;
  }
  return { name, lines: lines.length, hash: previous?.hash ?? null, broken: null };
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
