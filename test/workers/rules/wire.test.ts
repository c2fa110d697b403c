/** What is read off a request's URL without parsing it is what the parser says. */
import { withExports } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { setCookie } from "../../../src/identity/cookie-jar.js";
import { envelopeStub } from "../../../src/stubs.js";
import { isLocalHost, isLocalUrl, pathnameOf } from "../../../src/wire.js";

const part = fc.stringMatching(/^[a-zA-Z0-9:@%._~/?#"<>\\^`{|}\x20[\]-]{0,12}$/);
const scheme = fc.constantFrom("http", "https", "HTTP", "Https", "ws");
const user = fc.constantFrom("", "", "", "user@", "user:word@", "localhost:80@", "127.0.0.1@", "localhost@");
const host = fc.oneof(
  fc.constantFrom("localhost", "LOCALHOST", "api.localhost", "127.0.0.1", "127.1", "127.9.9.9", "[::1]", "[::2]"),
  fc.constantFrom("localhost.evil.com", "127.0.0.1.evil.com", "evil.com", "localhostx", "xlocalhost", "localhost."),
  fc.constantFrom("0x7f000001", "2130706433", "1270.0.1", "127.0.0.1.", "worker.test"),
);
const port = fc.constantFrom("", "", ":80", ":443", ":8787", ":");
const path = fc.oneof(
  fc.constantFrom("", "/", "/a", "/a/../me", "/./db", "/%2e%2e/me", "/db//x", "//evil", "?/me", "#/me", "/a?b=/c#/d"),
  part.map((text) => `/${text}`),
  part,
);
const written = fc.tuple(scheme, user, host, port, path).map(([a, b, c, d, e]) => `${a}://${b}${c}${d}${e}`);
const urls = written.filter((url) => URL.canParse(url));

describe("a request's URL", () => {
  it("is local when the parser says that it is http and of a local host, in whatever form it is written", () => {
    const seen = { local: 0, parsed: 0 };
    fc.assert(
      fc.property(urls, fc.boolean(), (text, normal) => {
        const url = new URL(text);
        const local = url.protocol === "http:" && isLocalHost(url.hostname);
        if (local) seen.local += 1;
        else seen.parsed += 1;
        expect(isLocalUrl(normal ? url.href : text)).toBe(local);
      }),
      { numRuns: 3_000 },
    );
    expect(Math.min(seen.local, seen.parsed)).toBeGreaterThan(100);
  });

  it.each([
    ["http://localhost:80@evil.com/", false],
    ["http://127.0.0.1:x@evil.com/", false],
    ["http://localhost@evil.com/", false],
    ["http://localhost.evil.com/", false],
    ["http://evil.com/http://localhost/", false],
    ["https://localhost/", false],
    ["http://user@localhost/", true],
    ["http://LocalHost:8787/", true],
    ["HTTP://127.0.0.1/", true],
    ["http://[::1]:8787/", true],
    ["http://127.9.9.9/", true],
    ["http://api.localhost/", true],
  ])("T64 %s: cookies without __Host- and Secure are set: %s", (url, local) => {
    expect(isLocalUrl(url)).toBe(local);
    const cookie = setCookie(new URL(url), "token");
    expect([cookie.startsWith("__Host-"), cookie.includes("Secure")]).toEqual([!local, !local]);
  });

  it("has the path that the parser says, in whatever form it is written", () => {
    fc.assert(
      fc.property(urls, fc.boolean(), (text, normal) => {
        const url = new URL(text);
        expect(pathnameOf(normal ? url.href : text)).toBe(url.pathname);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("a namespace", () => {
  const stub = (id: string) => ({ id }) as unknown as DurableObjectStub;
  const namespace = (of: string) => ({ getByName: (name: string) => stub(`${of} ${name}`) });
  const named = (env: unknown) => (envelopeStub(env, "name") as unknown as { id: string }).id;

  it("is the Worker's own export first, then a binding: those of this moment, whatever was found before", () => {
    const env = { ENVELOPE: namespace("bound") };
    const inside = (exported: unknown) => withExports(exported, () => named(env));
    expect(inside({ Envelope: namespace("one") })).toBe("one name");
    expect(inside({ Envelope: namespace("other") })).toBe("other name");
    expect(inside({ Envelope: class {} })).toBe("bound name");
    expect(inside({})).toBe("bound name");
    expect(withExports({}, () => named({ ENVELOPE: namespace("another") }))).toBe("another name");
    expect(() => withExports({}, () => named({}))).toThrow("Envelope is not configured");
  });
});
