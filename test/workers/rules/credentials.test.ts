import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Credential } from "../../../src/contract.js";
import { decideRotation, judge, type StoredCredential } from "../../../src/envelope/credentials.js";

const NOW = 1_000;

const shown = (generation: number, hash: string): Credential => ({ generation, hash });
const used = (generation: number, hash: string): StoredCredential => ({
  ...shown(generation, hash),
  used_at_ms: 1,
  expires_at_ms: null,
});
const issued = (generation: number, hash: string): StoredCredential => ({
  ...used(generation, hash),
  used_at_ms: null,
});
const replaced = (generation: number, hash: string, expires_at_ms: number): StoredCredential => ({
  ...used(generation, hash),
  expires_at_ms,
});

type Kept = readonly StoredCredential[];

/** Rotated, and the new one not used yet; used, and the old one in its grace; and the grace over. */
const LOST = [used(0, "a"), issued(1, "b")];
const GRACED = [replaced(0, "a", NOW + 1), used(1, "b")];
const GONE = [replaced(0, "a", NOW), used(1, "b")];

const STANDINGS: readonly (readonly [threat: string, name: string, on: Kept, Credential, outcome: string])[] = [
  ["T58", "the first ever", [], shown(0, "a"), "first"],
  ["T58", "the first ever, of a later generation", [], shown(7, "h"), "first"],
  ["T58", "the only one", [used(0, "a")], shown(0, "a"), "current"],
  ["T62", "rotated, the new one not seen yet", LOST, shown(0, "a"), "current"],
  ["T62", "the new one, for the first time", LOST, shown(1, "b"), "successor"],
  ["T58", "the new one, used", GRACED, shown(1, "b"), "current"],
  ["T58", "the one before, in its grace", GRACED, shown(0, "a"), "superseded"],
  ["T58", "the one before, as its grace ends", GONE, shown(0, "a"), "revoked"],
  ["T58", "the one before, when its row is gone", [used(1, "b")], shown(0, "a"), "revoked"],
  [
    "T58",
    "skipped and never used, in its grace",
    [{ ...issued(1, "b"), expires_at_ms: NOW + 1 }, used(2, "c")],
    shown(1, "b"),
    "superseded",
  ],
  [
    "T58",
    "skipped and never used, after it",
    [{ ...issued(1, "b"), expires_at_ms: NOW }, used(2, "c")],
    shown(1, "b"),
    "revoked",
  ],
  ["T58", "the next, signed and never issued", GRACED, shown(2, "c"), "revoked"],
  ["T58", "the next but some", [used(0, "a")], shown(9, "j"), "revoked"],
  ["T58", "another of the newest generation", GRACED, shown(1, "z"), "revoked"],
  ["T58", "another of one not seen yet", LOST, shown(1, "z"), "revoked"],
  ["T58", "another of the generation before", GRACED, shown(0, "z"), "revoked"],
];

const ROTATIONS: readonly (readonly [
  threat: string,
  name: string,
  on: Kept,
  Credential,
  Credential,
  outcome: string,
  replaces?: string,
])[] = [
  ["T62", "from the only one", [used(0, "a")], shown(0, "a"), shown(1, "b"), "issue b"],
  ["T62", "from one never used", [], shown(0, "a"), shown(1, "b"), "issue b, first a"],
  ["T62", "from one issued and never used", LOST, shown(1, "b"), shown(2, "c"), "issue c"],
  ["T62", "double click, lost answer", LOST, shown(0, "a"), shown(1, "b"), "rotated"],
  ["T62", "again, under another secret", LOST, shown(0, "a"), shown(1, "B"), "superseded b"],
  ["T62", "again, in the place of one nobody can derive", LOST, shown(0, "a"), shown(1, "B"), "issue B", "b"],
  ["T62", "again, in the place of another than is there", LOST, shown(0, "a"), shown(1, "B"), "superseded b", "c"],
  ["T62", "again, although it is the same", LOST, shown(0, "a"), shown(1, "b"), "rotated", "b"],
  ["T58", "in the place of one that was used", GRACED, shown(0, "a"), shown(1, "B"), "unauthorized", "b"],
  [
    "T58",
    "in the place of one in use, from one that is too",
    [used(0, "a"), used(1, "b")],
    shown(0, "a"),
    shown(1, "B"),
    "superseded b",
    "b",
  ],
  ["T58", "again, once the new one was used", GRACED, shown(0, "a"), shown(1, "b"), "unauthorized"],
  [
    "T58",
    "again, under another secret, once the new one was used",
    GRACED,
    shown(0, "a"),
    shown(1, "B"),
    "unauthorized",
  ],
  ["T58", "from a revoked one", GONE, shown(0, "a"), shown(1, "b"), "unauthorized"],
  ["T58", "from a forged one of the newest generation", GRACED, shown(1, "z"), shown(2, "c"), "unauthorized"],
  ["T58", "from one that was never issued", GRACED, shown(2, "c"), shown(3, "d"), "unauthorized"],
];

function rotate(on: Kept, credential: Credential, next: Credential, replaces?: string): string {
  const decision = decideRotation(on, { credential, next, ...(replaces !== undefined && { replaces }) }, NOW);
  if ("issue" in decision)
    return `issue ${decision.issue.hash}${decision.first ? `, first ${decision.first.hash}` : ""}`;
  return decision.outcome.outcome === "superseded" ? `superseded ${decision.outcome.hash}` : decision.outcome.outcome;
}

describe("decision tables", () => {
  for (const [threat, name, on, presented, outcome] of STANDINGS) {
    it(`${threat} standing: ${name} → ${outcome}`, () => expect(judge(on, presented, NOW)).toBe(outcome));
  }
  for (const [threat, name, on, from, to, outcome, replaces] of ROTATIONS) {
    it(`${threat} rotation: ${name} → ${outcome}`, () => expect(rotate(on, from, to, replaces)).toBe(outcome));
  }
});

const GRACE = 100;

/** One holder with their tabs, and an envelope that keeps credentials as its table does. */
class World {
  now = 0;
  secrets: readonly string[] = ["x"];
  kept: Kept = [];
  /** Everything a tab ever received, oldest first. */
  readonly held: Credential[] = [shown(0, "a")];
  /** When each generation was first accepted on money. */
  readonly #firstUse = new Map<number, number>();

  get newest(): Credential {
    return this.held.at(-1) as Credential;
  }

  spend(credential: Credential): boolean {
    const { generation } = credential;
    const standing = judge(this.kept, credential, this.now);
    if (standing === "first") this.kept = [{ ...credential, used_at_ms: this.now, expires_at_ms: null }];
    if (standing === "successor") {
      this.kept = this.kept
        .map((one) => (one.generation === generation ? { ...one, used_at_ms: this.now } : one))
        .map((one) =>
          one.generation < generation ? { ...one, expires_at_ms: one.expires_at_ms ?? this.now + GRACE } : one,
        )
        .filter((one) => one.expires_at_ms === null || one.expires_at_ms > this.now);
    }
    if (standing !== "revoked" && !this.#firstUse.has(generation)) this.#firstUse.set(generation, this.now);
    return standing !== "revoked";
  }

  /** The Worker's part included: what was superseded is found again among the successors. Undefined when refused. */
  rotate(credential: Credential): Credential | undefined {
    const successors = this.secrets.map((secret) => shown(credential.generation + 1, `${credential.hash}${secret}`));
    const next = successors[0] as Credential;
    const decision = decideRotation(this.kept, { credential, next }, this.now);
    if ("issue" in decision) {
      if (decision.first !== undefined) {
        this.kept = [{ ...decision.first, used_at_ms: this.now, expires_at_ms: null }];
        this.#firstUse.set(credential.generation, this.now);
      }
      this.kept = [...this.kept, { ...decision.issue, used_at_ms: null, expires_at_ms: null }];
      return next;
    }
    const { outcome } = decision;
    if (outcome.outcome === "superseded") return successors.find(({ hash }) => hash === outcome.hash);
    return outcome.outcome === "rotated" ? next : undefined;
  }

  receive(credential: Credential): void {
    if (credential.generation > this.newest.generation) this.held.push(credential);
  }

  /** When something that follows this generation was first used. */
  replacedAt({ generation }: Credential): number | undefined {
    const times = [...this.#firstUse].filter(([by]) => by > generation).map(([, at]) => at);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}

type Step =
  | { readonly kind: "rotate"; readonly tab: number; readonly clicks: number; readonly lost: boolean }
  | { readonly kind: "spend"; readonly tab: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "new secret" };

const tab = fc.constantFrom(0, 0, 0, 1, 2, 3);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("rotate" as const), tab, clicks: fc.constantFrom(1, 2), lost: fc.boolean() }),
  fc.record({ kind: fc.constant("spend" as const), tab }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 150 }) }),
  fc.constant({ kind: "new secret" as const }),
);

/** A step from the newest credential a tab has, or one of the three before it. */
function take(world: World, one: Step): void {
  if (one.kind === "wait") world.now += one.ms;
  else if (one.kind === "new secret") world.secrets = [`${world.secrets.length}`, ...world.secrets];
  else {
    const from = world.held[Math.max(0, world.held.length - 1 - one.tab)] as Credential;
    const replacedAt = world.replacedAt(from);
    if (one.kind === "spend") {
      const good = replacedAt === undefined || world.now < replacedAt + GRACE;
      expect(world.spend(from), "good until a successor was used, and for the grace").toBe(good);
      return;
    }
    const answers = Array.from({ length: one.clicks }, () => world.rotate(from));
    expect(answers.every((answer) => (answer === undefined) === (replacedAt !== undefined))).toBe(true);
    expect(new Set(answers.map((answer) => answer?.hash)).size, "both clicks agree").toBe(1);
    if (!one.lost) for (const answer of answers) if (answer !== undefined) world.receive(answer);
  }
}

describe("random rotations, double clicks, lost answers, waits, and secrets that change", () => {
  it("T58 T62 the holder of the newest token is never locked out; what was replaced dies with its grace, and is never exchanged", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const world = new World();
        for (const one of steps) {
          take(world, one);
          expect(judge(world.kept, world.newest, world.now)).toBeOneOf(["first", "current", "successor"]);
          for (const old of world.held) {
            const replacedAt = world.replacedAt(old);
            const standing = judge(world.kept, old, world.now);
            seen.add(standing);
            if (replacedAt === undefined) continue;
            expect(standing).toBe(world.now < replacedAt + GRACE ? "superseded" : "revoked");
            expect(world.rotate(old)).toBeUndefined();
          }
        }
        // Whatever was lost: the newest token is exchanged for one that works, and that one rules from then on.
        const next = world.rotate(world.newest) as Credential;
        expect(world.spend(next)).toBe(true);
        expect(judge(world.kept, next, world.now)).toBe("current");
      }),
      { numRuns: 3_000 },
    );
    expect(seen, "every standing was met").toEqual(new Set(["first", "successor", "current", "superseded", "revoked"]));
  });

  it("T62 an answer that was lost is the same when asked for again, however long after and under whatever secret", () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.nat(3), fc.boolean(), (wait, secretsSince, spends) => {
        const world = new World();
        const lost = world.rotate(world.newest);
        world.now += wait;
        for (let since = 0; since < secretsSince; since++) take(world, { kind: "new secret" });
        if (spends) take(world, { kind: "spend", tab: 0 });
        expect(world.rotate(world.newest)).toEqual(lost);
      }),
    );
  });

  it("T58 nothing but what was issued opens an envelope, whichever generation and hash it shows", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.nat(20), fc.string(), (steps, generation, hash) => {
        const world = new World();
        world.spend(world.newest);
        for (const one of steps) take(world, one);
        const forged = shown(generation, `${hash}!`);
        expect(judge(world.kept, forged, world.now)).toBe("revoked");
        expect(world.rotate(forged)).toBeUndefined();
      }),
    );
  });
});
