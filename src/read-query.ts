/**
 * The owner's look into a database: one statement that reads. Two walls, each enough for what it is there for. The text is admitted
 * only when its tokens are one statement that begins as a reading one does and holds no word that writes or sets (SQLite's
 * `PRAGMA` is why: some settings outlive a roll-back). And whatever runs is rolled back, always, in the turn that ran it.
 */
import type { QueryOutcome, QueryRows, ReadQuery } from "./contract.js";

export const QUERY_ROWS_MAX = 1_000;
const QUERY_MS_MAX = 2_000;
/** The clock of a deployed Worker stands still while it computes: there, this is what ends a statement that goes on and on. */
const QUERY_READS_MAX = 1_000_000;
const QUERY_CHARS_MAX = 16_384;
/** An answer crosses to the Worker in one message, of at most 32 MiB. */
const ANSWER_CHARS_MAX = 4_194_304;
const BINDINGS_MAX = 100;

const BEGINS = new Set(["SELECT", "WITH", "VALUES", "EXPLAIN"]);
/** Refused wherever they stand outside quotes, also where they could only be a name: a name can be quoted. */
const REFUSED = new Set(
  (
    "ALTER ANALYZE ATTACH BEGIN COMMIT CREATE DELETE DETACH DROP INSERT PRAGMA REINDEX RELEASE ROLLBACK SAVEPOINT " +
    "UPDATE VACUUM"
  ).split(" "),
);

type Token =
  /** `name`: bare, so that it may be a keyword. `quoted`: a string or a name in quotes; SQLite takes either for a name in places. */
  { readonly kind: "name" | "quoted" | "sign"; readonly text: string; readonly at: number };

/** Pure. What is admitted ends before its semicolon, so that SQLite is given no second statement whatever we made of the text. */
export function admitStatement(statement: string): { readonly statement: string } | { readonly refused: string } {
  if (statement.length > QUERY_CHARS_MAX) {
    return { refused: `A statement is at most ${QUERY_CHARS_MAX} characters` };
  }
  const tokens = tokenize(statement);
  if (typeof tokens === "string") return { refused: tokens };
  const refused = refuse(tokens);
  if (refused !== undefined) return { refused };
  const end = tokens.find(({ kind, text }) => kind === "sign" && text === ";");
  return { statement: end === undefined ? statement : statement.slice(0, end.at) };
}

/** Why they are not one statement that reads; `undefined` when they are. */
function refuse(tokens: readonly Token[]): string | undefined {
  const end = tokens.findIndex(({ kind, text }) => kind === "sign" && text === ";");
  const one = end === -1 ? tokens : tokens.slice(0, end);
  if (end !== -1 && tokens.slice(end).some(({ kind, text }) => kind !== "sign" || text !== ";"))
    return "Exactly one statement is needed";
  const [first] = one;
  if (first?.kind !== "name" || !BEGINS.has(first.text.toUpperCase())) {
    return "A statement must begin with SELECT, WITH, VALUES or EXPLAIN";
  }
  for (const [index, { kind, text }] of one.entries()) {
    if (kind === "sign") continue;
    if (/^pragma_/i.test(text)) return "pragma functions are not admitted";
    if (kind === "quoted") continue;
    const word = text.toUpperCase();
    // replace(x, y, z) is a function; REPLACE INTO is not.
    const next = one[index + 1];
    const calls = next?.kind === "sign" && next.text === "(";
    const writes = REFUSED.has(word) || (word === "REPLACE" && !calls);
    if (writes) return `${word} is not admitted: only statements that read are`;
  }
  return undefined;
}

const SPACE = /[ \t\n\f\r]+/y;
const LINE_COMMENT = /--[^\n]*/y;
const BLOCK_COMMENT = /\/\*[\s\S]*?(\*\/|$)/y;
const QUOTED = /'((?:[^']|'')*)'|"((?:[^"]|"")*)"|`((?:[^`]|``)*)`|\[([^\]]*)\]/y;
const NUMBER = /[0-9][0-9A-Za-z_.]*/y;
/** As SQLite has it: `$` within a name, and all that is not ASCII. */
const NAME = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;
const PARAMETER = /\?[0-9]*/y;
const SIGN = /[-+*/%=<>!&|~(),.;]/y;

/** The tokens of a statement; a text where there is none. What SQLite could read otherwise than we do is refused, not guessed at. */
function tokenize(statement: string): readonly Token[] | string {
  const tokens: Token[] = [];
  for (let at = 0; at < statement.length; ) {
    const take = (pattern: RegExp): RegExpExecArray | null => {
      pattern.lastIndex = at;
      return pattern.exec(statement);
    };
    const blank = take(SPACE) ?? take(LINE_COMMENT) ?? take(BLOCK_COMMENT);
    const quoted = blank === null ? take(QUOTED) : null;
    const name = blank === null && quoted === null ? take(NAME) : null;
    const other = blank ?? quoted ?? name ?? take(NUMBER) ?? take(PARAMETER) ?? take(SIGN);
    // NUL ends a statement for SQLite; `:`, `@`, `#` and `$` begin parameters that may swallow quotes and semicolons.
    if (other === null) return `A character at ${at + 1} is not admitted outside quotes`;
    if (other[0].includes("\0")) return "NUL is not admitted";
    const begin = at;
    at += other[0].length;
    if (blank !== null) continue;
    if (quoted !== null) {
      const [, single, double, tick, bracket] = quoted;
      tokens.push({ kind: "quoted", text: unescaped(single, double, tick) ?? bracket ?? "", at: begin });
    } else tokens.push({ kind: name === null ? "sign" : "name", text: other[0], at: begin });
  }
  return tokens;
}

function unescaped(
  single: string | undefined,
  double: string | undefined,
  tick: string | undefined,
): string | undefined {
  return single?.replaceAll("''", "'") ?? double?.replaceAll('""', '"') ?? tick?.replaceAll("``", "`");
}

/** `undefined` unless it is a list of strings, finite numbers and nulls. */
export function readBindings(value: unknown): readonly (string | number | null)[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > BINDINGS_MAX) return undefined;
  const fits = value.every((one) => one === null || typeof one === "string" || Number.isFinite(one));
  return fits ? (value as (string | number | null)[]) : undefined;
}

/** Carries the answer out of the transaction that it undoes. */
class Undone {
  readonly outcome: QueryOutcome;
  constructor(outcome: QueryOutcome) {
    this.outcome = outcome;
  }
}

/** Runs statements and undoes them, in one turn. Together they may take as long as one, and answer twice as much. */
export function readQuery(storage: DurableObjectStorage, { also, ...query }: ReadQuery): QueryOutcome {
  const begun_ms = Date.now();
  const first = readOne(storage, query);
  if (also === undefined || first.outcome === "invalid") return first;
  const others: QueryRows[] = [];
  let chars = charsOf(first);
  for (const one of also) {
    if (Date.now() - begun_ms > QUERY_MS_MAX) return { outcome: "invalid", detail: "Together they take too long" };
    const outcome = readOne(storage, one);
    if (outcome.outcome === "invalid") return outcome;
    chars += charsOf(outcome);
    if (chars > 2 * ANSWER_CHARS_MAX) return { outcome: "invalid", detail: "The answers are too long together" };
    others.push(outcome);
  }
  return { ...first, also: others };
}

function charsOf({ rows }: QueryRows): number {
  return rows.flat().reduce<number>((sum, value) => sum + (typeof value === "string" ? value.length : 8), 0);
}

/**
 * Runs a statement and undoes it. The caps hold between rows: a statement that computes long before its first row is stopped by
 * the platform only. So what might compute for ever is not begun.
 */
function readOne(storage: DurableObjectStorage, query: Omit<ReadQuery, "also">): QueryOutcome {
  const admission = admitStatement(query.statement);
  if ("refused" in admission) return { outcome: "invalid", detail: admission.refused };
  const bindings = readBindings(query.bindings);
  if (bindings === undefined) {
    return { outcome: "invalid", detail: `bindings must be at most ${BINDINGS_MAX} strings, numbers and nulls` };
  }
  try {
    return storage.transactionSync((): QueryOutcome => {
      throw new Undone(collect(storage, admission.statement, bindings));
    });
  } catch (error) {
    if (error instanceof Undone) return error.outcome;
    // SQLite's own words: about the statement, which the owner wrote.
    return {
      outcome: "invalid",
      detail: error instanceof Error ? error.message.slice(0, 500) : "The statement failed",
    };
  }
}

function collect(
  storage: DurableObjectStorage,
  statement: string,
  bindings: readonly (string | number | null)[],
): QueryOutcome {
  if (recurs(storage.sql, statement, bindings)) return { outcome: "invalid", detail: "Recursion is not admitted" };
  const begun_ms = Date.now();
  const cursor = storage.sql.exec(statement, ...bindings);
  const columns = cursor.columnNames;
  const rows: (string | number | null)[][] = [];
  let [chars, truncated] = [0, false];
  for (const row of cursor.raw()) {
    const long = cursor.rowsRead > QUERY_READS_MAX || Date.now() - begun_ms > QUERY_MS_MAX;
    // The first row was waited for already.
    if (rows.length >= QUERY_ROWS_MAX || chars > ANSWER_CHARS_MAX || (long && rows.length > 0)) {
      truncated = true;
      break;
    }
    const plain = Array.from(row, (value) => plainValue(value as SqlStorageValue));
    chars += plain.reduce<number>((sum, value) => sum + (typeof value === "string" ? value.length : 8), 0);
    rows.push(plain);
  }
  if (cursor.rowsWritten > 0) return { outcome: "invalid", detail: "The statement writes: it was undone" };
  // One row alone may be more than a message takes.
  if (chars > 2 * ANSWER_CHARS_MAX) return { outcome: "invalid", detail: "The answer is too long" };
  const duration_ms = Date.now() - begun_ms;
  return { outcome: "rows", columns, rows, truncated, rows_read: cursor.rowsRead, duration_ms };
}

/** By SQLite's own plan, because the word RECURSIVE may be left out. What has no plan is an EXPLAIN itself, or no statement. */
function recurs(sql: SqlStorage, statement: string, bindings: readonly (string | number | null)[]): boolean {
  try {
    const plan = sql.exec(`EXPLAIN QUERY PLAN ${statement}`, ...bindings).toArray();
    return plan.some(({ detail }) => detail === "RECURSIVE STEP");
  } catch {
    return false;
  }
}

function plainValue(value: SqlStorageValue): string | number | null {
  if (!(value instanceof ArrayBuffer)) return value;
  const bytes = new Uint8Array(value, 0, Math.min(value.byteLength, 4_096));
  return `x'${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}'`;
}
