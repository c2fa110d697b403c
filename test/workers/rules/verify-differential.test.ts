import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { verify } from "../../../src/topup/verify.js";
import { askStripe, bytesOf, SECRETS, signature, signedRequest } from "./signing.js";

const NOW_SECONDS = 1_800_000_000;

/** More on request, because each case signs up to three times: `CASES=100000` before the command (docs/tests.md). */
const CASES = Number(env.CASES || 3_000);
const MS_PER_CASE_MAX = 20;

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

/** How the time stands in the header: as Stripe writes it, and in ways that `parseInt` reads as the same number. */
const TIMES: readonly [(t: number) => string, ...((t: number) => string)[]] = [
  (t) => `t=${t}`,
  (t) => `t=0${t}`,
  (t) => `t=${t}x`,
  (t) => `t= ${t}`,
  (t) => `t=+${t}`,
  (t) => `t=${t}.9`,
  (t) => `t=${t}=1`,
  (t) => ` t=${t}`,
  (t) => `t=1,t=${t}`,
  (t) => `t=${t},t=1`,
  () => "t=",
  () => "t=soon",
  () => "v1=t",
];

const FORMS: readonly [(good: string) => string, ...((good: string) => string)[]] = [
  (good) => `v1=${good}`,
  (good) => `v1=${good.toUpperCase()}`,
  (good) => `v1=${good}=`,
  (good) => `v1=${good} `,
  (good) => ` v1=${good}`,
  (good) => `v0=${good}`,
  (good) => `v1=${good.slice(0, -1)}`,
  (good) => `v1=${good}0`,
  (good) => `v1=${good.slice(0, -1)}${good.endsWith("0") ? "1" : "0"}`,
  () => `v1=${"0".repeat(64)}`,
  () => "v1=junk",
  () => "v1=",
];

type Change = (body: Uint8Array<ArrayBuffer>, at: number) => Uint8Array<ArrayBuffer>;

/** What happens to the body between signing and arrival. */
const CHANGES: readonly [Change, ...Change[]] = [
  (body) => body,
  (body, at) => body.with(at % body.length, (body[at % body.length] ?? 0) ^ 1),
  (body) => new Uint8Array([...body, 10]),
  (body, at) => body.slice(0, at % body.length),
  (body) => new Uint8Array([0xef, 0xbb, 0xbf, ...body]),
];

/** The first, which is how Stripe does it, nine times out of ten: several oddities at once would hide each other. */
const mostly = <T>([first, ...others]: readonly [T, ...T[]]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(first) }, { weight: 1, arbitrary: fc.constantFrom(...others) });

const FOREIGN = [[], [0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0xaf]] as const satisfies readonly number[][];
const typo = fc.tuple(fc.nat(200), fc.constantFrom(..."tv01=, a;"));

const scenario = fc.record({
  object: fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 4 }),
  /** Bytes that are not UTF-8, put inside the body's last text before it is signed. */
  foreign: mostly<readonly number[]>(FOREIGN),
  age: fc.oneof(fc.constantFrom(0, 1, -1, 299, 300, 301, -299, -300, -301), fc.integer({ min: -400, max: 400 })),
  time: mostly(TIMES),
  signers: fc.array(fc.tuple(fc.constantFrom(...SECRETS, SECRETS[0], "whsec_foreign"), mostly(FORMS)), {
    minLength: 1,
    maxLength: 3,
  }),
  padding: mostly([0, 1, 5, 6, 7, 8, 9, 10]),
  change: mostly(CHANGES),
  at: fc.nat(10_000),
  /** One character of the finished header replaced. */
  typo: fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: typo }),
  reversed: fc.boolean(),
});

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

async function arrivalOf(
  drawn: Scenario,
): Promise<{ readonly header: string; readonly body: Uint8Array<ArrayBuffer> }> {
  const text = bytesOf(JSON.stringify({ ...drawn.object, id: "evt_1" }));
  const sent = new Uint8Array([...text.slice(0, -2), ...drawn.foreign, ...text.slice(-2)]);
  const t = NOW_SECONDS - drawn.age;
  const signatures = await Promise.all(
    drawn.signers.map(async ([secret, form]) => form(await signature(secret, String(t), decoded(sent)))),
  );
  const padding = Array.from({ length: drawn.padding }, (_, index) => `v1=${String(index).repeat(64).slice(0, 64)}`);
  const parts = [drawn.time(t), ...padding, ...signatures];
  const written = (drawn.reversed ? parts.toReversed() : parts).join(",");
  const [at, char] = drawn.typo ?? [written.length, ""];
  const header = written.slice(0, at) + char + written.slice(at + 1);
  return { header: new Headers([["h", header]]).get("h") ?? "", body: drawn.change(sent, drawn.at) };
}

/** The package checks a signature over the text it decoded, so a signer that wants it fooled signs that. */
const decoded = (body: Uint8Array): Uint8Array => bytesOf(new TextDecoder().decode(body));

/** The ways in which the gate is stricter on purpose, told from the bytes as they arrived. */
function strictness(header: string, body: Uint8Array): string | undefined {
  const members = header.split(",").map((member) => {
    const [name = "", ...rest] = member.split("=");
    return [name, rest.join("=")] as const;
  });
  const times = members.filter(([name]) => name === "t").map(([, value]) => value);
  const signatures = members.filter(([name]) => name === "v1").map(([, value]) => value);
  const [t = ""] = times;
  if (times.length > 1) return "more than one time";
  if (t === "" || [...t].some((char) => char < "0" || char > "9")) return "a time that is not digits";
  if (Number(t) > NOW_SECONDS + 300) return "a time from the future";
  if (signatures.length > 8) return "more than 8 signatures";
  const isHex = (text: string) => text.length === 64 && [...text].every((char) => "0123456789abcdef".includes(char));
  if (!signatures.every(isHex)) return "a signature that is not 64 hex digits";
  const text = decoded(body);
  const same = text.length === body.length && text.every((byte, index) => byte === body[index]);
  return same ? undefined : "a body that is not plain UTF-8";
}

it("T27 T28 never accepts what Stripe's package refuses, and refuses more only in the documented ways", {
  timeout: CASES * MS_PER_CASE_MAX,
}, async () => {
  const seen = new Map<string, number>();
  const property = fc.asyncProperty(scenario, async (drawn) => {
    const { header, body } = await arrivalOf(drawn);
    const theirs = await askStripe(body, header, SECRETS);
    const ours = await verify(signedRequest(header, body), SECRETS, Date.now());
    const why = strictness(header, body);
    const kind = theirs === undefined ? "refused by both" : (why ?? "accepted by both");
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    expect(ours, kind).toEqual(
      kind === "accepted by both" ? { outcome: "verified", event: theirs } : { outcome: "refused" },
    );
  });
  await fc.assert(property, { numRuns: CASES });
  // The cases are worth nothing if one verdict crowds out the others.
  expect(Object.fromEntries(seen)).toEqual({
    "accepted by both": expect.toSatisfy((count: number) => count > 100),
    "refused by both": expect.toSatisfy((count: number) => count > 100),
    "more than one time": expect.toSatisfy((count: number) => count > 0),
    "a time that is not digits": expect.toSatisfy((count: number) => count > 0),
    "a time from the future": expect.toSatisfy((count: number) => count > 0),
    "more than 8 signatures": expect.toSatisfy((count: number) => count > 0),
    "a signature that is not 64 hex digits": expect.toSatisfy((count: number) => count > 0),
    "a body that is not plain UTF-8": expect.toSatisfy((count: number) => count > 0),
  });
});
