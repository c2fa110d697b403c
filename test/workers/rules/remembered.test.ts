/** What is remembered of who asked: it may save work, and never change an answer. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Caller, identifyCaller } from "../../../src/identity/caller.js";
import { Memory } from "../../../src/identity/memory.js";
import {
  newKeyToken,
  newToken,
  type Token,
  writeKeyToken,
  writeLimitedToken,
  writeToken,
} from "../../../src/identity/token.js";
import { deriveKey } from "../../../src/secrets.js";
import type { Keyring, Keys } from "../../../src/settings.js";
import { LIMITED_COOKIE } from "../../../src/wire.js";

const ring = (...secrets: readonly string[]): Keyring =>
  secrets.map((secret) => deriveKey(secret, "token")) as unknown as Keyring;
const [OLD, NEW] = ["an-older-root-secret-0123456789-abcdefgh", "the-newer-root-secret-0123456789-abcdefg"];

const keysOf = (token: Keyring): Keys => ({ token }) as Partial<Keys> as Keys;

function identify(headers: Record<string, string>, keys: Keys, url = "https://worker.test/x"): Caller {
  const presented = { identity: undefined, limited: true, cookies: true };
  return identifyCaller(new Request(url, { headers }), url, () => keys, presented);
}

/** Of a caller, what does not differ each time that nobody is made up. */
const named = (caller: Caller): string => {
  if (caller.kind === "fresh") return "fresh";
  return JSON.stringify(caller.kind === "limited" ? { ...caller, own: named(caller.own) } : caller);
};

describe("a caller", () => {
  const keys = keysOf(ring(NEW));
  const tokens: readonly Token[] = Array.from({ length: 4 }, newToken);
  const texts = tokens.map((token) => writeToken(keys.token, token));
  const apiKeys = Array.from({ length: 2 }, () => writeKeyToken(keys.token, newKeyToken(newToken().envelopeId)));
  const forged = writeToken(ring(OLD), newToken());
  // A limited session of the first one's own envelope, and of one that is nobody's here.
  const limited = [tokens[0] as Token, newToken()].map(({ envelopeId }) =>
    writeLimitedToken(keys.token, newKeyToken(envelopeId)),
  );
  const quoted = texts.map((text) => `"${text}"`);
  const bearers = [...texts, ...apiKeys].map((text) => `Bearer ${text}`);
  const junk = [...limited, ...apiKeys, ...bearers, forged, "x", ""];
  const value = fc.oneof(fc.constantFrom(...texts, ...quoted), fc.constantFrom(...junk));
  const name = fc.constantFrom(
    ...["__Host-we", "__Host-we", "__Host-we_aside", "we_dev", "a"],
    ...[LIMITED_COOKIE.secure, LIMITED_COOKIE.local],
  );
  const cookies = fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 4 });
  const headers = fc.oneof(
    cookies.map((pairs) => ({ Cookie: pairs.map((pair) => pair.join("=")).join("; ") })),
    fc
      .constantFrom(...texts, ...apiKeys, ...limited, forged, "")
      .map((token) => ({ Authorization: `Bearer ${token}` })),
    fc.record({
      Authorization: fc.constantFrom("Basic YTpi", ...texts.map((text) => `bearer ${text}`)),
      Cookie: value.map((text) => `__Host-we=${text}`),
    }),
  );
  const urls = ["https://worker.test/x", "http://localhost:8787/x"] as const;

  it("is the same whether or not they were remembered, in whatever order they come, over https or plain http", () => {
    const requests = fc.array(fc.tuple(headers, fc.boolean()), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(requests, (asked) => {
        const again = asked.map(([headers, plain]) => [headers, !plain] as const);
        for (const [headers, plain] of [...asked, ...again, ...asked]) {
          const url = urls[plain ? 1 : 0];
          // Keys that nobody else has: nothing was ever remembered under them.
          const anew = named(identify(headers, keysOf(ring(NEW)), url));
          expect(named(identify(headers, keys, url))).toBe(anew);
        }
      }),
    );
  });

  it("is nobody any more once the secret that signed their token is taken out of service", () => {
    const [token] = tokens;
    const both = keysOf(ring(NEW, OLD));
    const text = writeToken(ring(OLD), token as Token);
    const sent = [{ Cookie: `__Host-we=${text}` }, { Authorization: `Bearer ${text}` }];
    for (const headers of [...sent, ...sent]) expect(identify(headers, both)).toMatchObject({ token });
    const alone = keysOf(ring(NEW));
    expect(sent.map((headers) => identify(headers, alone).kind)).toEqual(["fresh", "rejected"]);
  });

  it("is found, however long the header is and whatever else changes in it", () => {
    for (const length of [0, 10, 2_000, 2_000]) {
      const Cookie = `seen=${"y".repeat(length)}; __Host-we=${texts[0]}`;
      expect(identify({ Cookie }, keys)).toMatchObject({ kind: "cookie", token: tokens[0] });
    }
  });

  it("without a cookie of ours needs no secret", () => {
    const none = (): Keys => {
      throw new Error("not configured");
    };
    const request = new Request("https://worker.test/x", { headers: { Cookie: "a=b", Authorization: "Basic YTpi" } });
    const presented = { identity: undefined, limited: false, cookies: true };
    expect(identifyCaller(request, request.url, none, presented).kind).toBe("fresh");
  });
});

describe("a memory", () => {
  const keys = ring(NEW);

  it("reads a genuine text once, and junk each time; the oldest goes first", () => {
    const memory = new Memory<string>();
    const read: string[] = [];
    const recall = (text: string) =>
      memory.recall(keys, text, () => {
        read.push(text);
        return text.startsWith("junk") ? undefined : text;
      });
    for (const text of ["a", "a", "junk", "junk"]) recall(text);
    expect(read).toEqual(["a", "junk", "junk"]);
    for (let number = 0; number < 5_000; number++) recall(`junk ${number}`);
    read.length = 0;
    expect([recall("a"), read]).toEqual(["a", []]);
    for (let number = 0; number < 4_096; number++) recall(`more ${number}`);
    read.length = 0;
    expect([recall("more 4095"), recall("a"), read]).toEqual(["more 4095", "a", ["a"]]);
  });

  it("keeps nothing that is long", () => {
    const memory = new Memory<number>();
    let reads = 0;
    const recall = (length: number) => memory.recall(keys, "x".repeat(length), () => ++reads);
    expect([recall(1_024), recall(1_024), recall(1_025), recall(1_025)]).toEqual([1, 1, 2, 3]);
  });
});
